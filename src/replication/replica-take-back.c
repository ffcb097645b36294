/* Giving up a resynchronization: the disks go back from between two states to the one before it. A file beside them says that this is under
 * way, so that a death in it is made good before anything else is done with them. Doing it again changes nothing. */
#include "replication/replica-private.h"

#include "replication/replica-folder.h"
#include "util/durable.h"
#include "util/log.h"

#include <unistd.h>

static char *
mark_path(const StoreRelationship *row)
{
    return g_build_filename(row->folder, "taking-back", NULL);
}

/* The undo logs of its passes, the oldest first; (transfer full)(nullable) */
static GPtrArray *
find_passes(Replica *self, const StoreRelationship *row, GError **error)
{
    GPtrArray *undos = store_undos(self->context->store, row->vm_uuid, error);
    for (guint i = 0; undos != NULL && i < undos->len;) {
        const StoreUndo *undo = g_ptr_array_index(undos, i);
        if (undo->base == row->applied && undo->pass > 0)
            i++;
        else
            g_ptr_array_remove_index(undos, i);
    }
    return undos;
}

static bool
apply(Replica *self, const StoreRelationship *row, const GPtrArray *passes, GError **error)
{
    g_autofree int *fds = g_new(int, MAX(passes->len, 1));
    g_autofree ChangeLogSource *sources = g_new(ChangeLogSource, MAX(passes->len, 1));
    bool good = replica_open_disks(self, error);
    guint n = 0;
    for (; good && n < passes->len; n += good) {
        g_autofree char *path = replica_undo_path(row->folder, g_ptr_array_index(passes, n));
        fds[n] = replica_open_log(path, error);
        sources[n] = change_log_source_fd(&fds[n]);
        good = fds[n] >= 0 && replica_note_changes(self, fds[n], error);
        if (!good && fds[n] >= 0)
            close(fds[n]);
    }
    if (good) {
        ChangeLogTarget target = disk_target_as_target(self->disks);
        good = change_log_apply_undo_chain(sources, n, &target, error);
    }
    for (guint i = 0; i < n; i++)
        close(fds[i]);
    return good && replica_write_position(row, row->applied, row->applied_digest, error);
}

/* The newest first: what is left of them leads to the same state. */
static bool
forget_passes(Replica *self, const StoreRelationship *row, const GPtrArray *passes, GError **error)
{
    for (guint i = passes->len; i > 0; i--) {
        const StoreUndo *undo = g_ptr_array_index(passes, i - 1);
        g_autofree char *path = replica_undo_path(row->folder, undo);
        if (!store_undo_remove(self->context->store, undo, error) || !durable_unlink(path, error))
            return false;
    }
    StoreRelationship *edit = relationship_edit(self->relationship);
    edit->resync_passes = 0;
    g_clear_pointer(&edit->pass_token, g_free);
    return relationship_edit_end(self->relationship, edit, error);
}

static bool
take_back(Replica *self, const StoreRelationship *row, GError **error)
{
    g_autofree char *mark = mark_path(row);
    g_autoptr(GPtrArray) passes = find_passes(self, row, error);
    if (passes == NULL || !durable_replace(mark, "", 0, error))
        return false;
    g_clear_pointer(&self->captured, change_log_captured_free);
    if (!apply(self, row, passes, error) || !forget_passes(self, row, passes, error) || !durable_unlink(mark, error))
        return false;
    log_notice("replica", row->vm_name, "its disks are what they were before the resynchronization");
    return true;
}

static bool
finish(Replica *self, const StoreRelationship *row, GError **error)
{
    GError *cause = NULL;
    if (take_back(self, row, &cause))
        return true;
    replica_close_disks(self);
    g_propagate_prefixed_error(error, cause, "the disks of VM '%s' are between two states, and could not be taken back to the one before the "
                               "resynchronization: ", row->vm_name);
    return false;
}

bool
replica_give_up_passes(Replica *self, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    return row->resync_passes == 0 ? replica_end_taking_back(self, error) : finish(self, row, error);
}

bool
replica_end_taking_back(Replica *self, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    g_autofree char *mark = mark_path(row);
    return !g_file_test(mark, G_FILE_TEST_EXISTS) || finish(self, row, error);
}
