#include "replication/replica-making.h"

#include "disk/disk-server.h"
#include "replication/replica-folder.h"
#include "util/durable.h"
#include "util/log.h"
#include "util/reach.h"

#include <string.h>

static char *
token_path(const char *folder)
{
    return g_build_filename(folder, "made-as", NULL);
}

/* Beside @folder, so that one becomes the other by a rename. */
static char *
hidden_folder(const StoreUnfinished *note)
{
    g_autofree char *parent = g_path_get_dirname(note->folder);
    return g_strdup_printf("%s/.%s.%s", parent, note->vm_uuid, note->token);
}

static StoreUnfinished *
note_new(const StoreRelationship *row)
{
    StoreUnfinished *note = g_new0(StoreUnfinished, 1);
    note->vm_uuid = g_strdup(row->vm_uuid);
    note->folder = g_strdup(row->folder);
    note->token = g_uuid_string_random();
    return note;
}

static bool
write_token(const StoreUnfinished *note, const char *folder, GError **error)
{
    g_autofree char *path = token_path(folder);
    return durable_replace(path, note->token, strlen(note->token), error);
}

static bool
has_token(const StoreUnfinished *note)
{
    g_autofree char *path = token_path(note->folder), *text = NULL;
    return g_file_get_contents(path, &text, NULL, NULL) && strcmp(text, note->token) == 0;
}

bool
replica_making_begin(const ReplicationContext *context, const StoreRelationship *row, GError **error)
{
    g_autoptr(StoreUnfinished) note = note_new(row);
    g_autofree char *hidden = hidden_folder(note);
    return reach_check(context->qemu_user, row->folder, error) && store_unfinished_save(context->store, note, error) &&
           durable_mkdir_passable(hidden, error) && write_token(note, hidden, error) &&
           durable_rename(hidden, row->folder, error);
}

StoreUnfinished *
replica_making_mark(const StoreRelationship *row, GError **error)
{
    g_autoptr(StoreUnfinished) note = note_new(row);
    if (g_file_test(row->folder, G_FILE_TEST_IS_DIR) && !write_token(note, row->folder, error))
        return NULL;
    return g_steal_pointer(&note);
}

/* ---- undoing ---- */

/* Are all disks of the domain files in @folder? */
static bool
is_domain_of(const GPtrArray *disks, const char *folder)
{
    g_autofree char *prefix = g_strconcat(folder, "/", NULL);
    unsigned n = 0;
    for (guint i = 0; i < disks->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(disks, i);
        if (disk->path != NULL && !g_str_has_prefix(disk->path, prefix))
            return false;
        n += disk->path != NULL;
    }
    return n > 0;
}

static bool
undo_domain(const ReplicationContext *context, const StoreUnfinished *note, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autoptr(VirtDomain) domain = virt_host_find(context->virt, note->vm_uuid, &cause);
    if (g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN))
        return true;
    g_autoptr(GPtrArray) disks = domain != NULL ? virt_host_disks(context->virt, note->vm_uuid, &cause) : NULL;
    if (disks == NULL) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    if (!is_domain_of(disks, note->folder)) {
        log_warning("replica", domain->name, "it is not the replica that was in '%s', and stays", note->folder);
        return true;
    }
    if (domain->state != VIRT_OFF) {
        g_set_error(error, VIRT_ERROR, VIRT_ERROR_STATE,
                    "VM '%s' is what is left of a replica that was not finished, and runs; turn it off", domain->name);
        return false;
    }
    return virt_host_undefine(context->virt, note->vm_uuid, error);
}

/* Out of the way by one rename first: a folder that is half removed might have lost its token. */
static bool
undo_folder(const StoreUnfinished *note, GError **error)
{
    g_autofree char *hidden = hidden_folder(note);
    if (has_token(note)) {
        if (!durable_remove_tree(hidden, error) || !durable_rename(note->folder, hidden, error))
            return false;
    } else if (g_file_test(note->folder, G_FILE_TEST_EXISTS)) {
        log_warning("replica", note->vm_uuid, "the folder '%s' is not the one that was made for its replica, and stays",
                    note->folder);
    }
    return durable_remove_tree(hidden, error);
}

static bool
undo(const ReplicationContext *context, const StoreUnfinished *note, GError **error)
{
    g_autofree char *run = replica_run_folder(context, note->vm_uuid);
    return disk_server_end_left_over(run, error) && undo_domain(context, note, error) && undo_folder(note, error) &&
           store_unfinished_remove(context->store, note->vm_uuid, error);
}

bool
replica_making_undo(const ReplicationContext *context, const char *vm_uuid, GError **error)
{
    g_autoptr(GPtrArray) notes = store_unfinished(context->store, vm_uuid, error);
    bool good = notes != NULL;
    for (guint i = 0; good && i < notes->len; i++)
        good = undo(context, g_ptr_array_index(notes, i), error);
    return good;
}
