/* Which disks a replica has. The folder may hold more than replicate: those being copied in a change of the set, and those that have left it
 * and that recovery points before that need. A blob tells the set of a state; undo takes it back with the rest. */
#include "replication/replica-private.h"

#include "disk/image.h"
#include "replication/disk-set.h"
#include "replication/replica-folder.h"
#include "replication/settings.h"
#include "util/durable.h"
#include "util/log.h"

#include <string.h>

static bool
refuse(GError **error, int code, const char *format, ...) G_GNUC_PRINTF(3, 4);

static bool
refuse(GError **error, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, LINK_ERROR, code, text);
    return false;
}

char **
replica_set(const StoreRelationship *row, GError **error)
{
    g_autoptr(RelationshipSettings) settings = relationship_settings_from_json(row->settings, error);
    if (settings == NULL)
        return NULL;
    return settings->included_disks != NULL ? g_strdupv(settings->included_disks) : replica_folder_disks(row->folder, error);
}

static char *
blob_path(const char *blob_folder)
{
    return g_build_filename(blob_folder, BLOB_DISKS, NULL);
}

char **
replica_set_of_state(const StoreRelationship *row, const char *blob_folder, GError **error)
{
    g_autofree char *path = blob_path(blob_folder), *text = NULL;
    gsize length = 0;
    g_auto(GStrv) there = replica_folder_disks(row->folder, error);
    if (there == NULL)
        return NULL;
    g_auto(GStrv) named = g_file_get_contents(path, &text, &length, NULL) ? disk_set_from_text(text, length) : replica_set(row, error);
    return named != NULL ? disk_set_common((const char *const *)there, (const char *const *)named) : NULL;
}

bool
replica_is_pending(const StoreRelationship *row, char *const *set, const char *id)
{
    uint64_t left;
    g_auto(GStrv) there = replica_folder_disks(row->folder, NULL);
    return there != NULL && g_strv_contains((const char *const *)there, id) && !g_strv_contains((const char *const *)set, id) &&
           !replica_left_read(row->folder, id, &left);
}

/* ---- a change ---- */

/* The set before any change is named, too: the undo of the first change must lead back to it. */
static bool
name_set_before(const StoreRelationship *row, char *const *set, GError **error)
{
    g_autofree char *blobs = replica_blob_folder(row->folder), *path = blob_path(blobs);
    if (g_file_test(path, G_FILE_TEST_EXISTS))
        return true;
    g_autoptr(GBytes) blob = disk_set_to_blob((const char *const *)set);
    gsize length;
    const char *text = g_bytes_get_data(blob, &length);
    return durable_replace(path, text, length, error);
}

static bool
check_left(const StoreRelationship *row, const char *id, GError **error)
{
    uint64_t position;
    g_autofree char *path = replica_disk_path(row->folder, id);
    if (!replica_left_read(row->folder, id, &position))
        return true;
    if (!g_file_test(path, G_FILE_TEST_EXISTS)) /* a death after it was removed */
        return replica_left_forget(row->folder, id, error);
    return refuse(error, LINK_ERROR_DENIED, "the replica still has the disk '%s' that was taken out before, as recovery points from before that "
                  "need it; it can be taken in when those are gone, which fewer of them (RecoveryHistory) hastens", id);
}

static bool
declare(Replica *self, const LinkOffer *offer, const ReplicaLimits *limits, GError **error)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < offer->n_disks; i++)
        bytes += offer->disks[i].size_bytes;
    StoreRelationship *edit = relationship_edit(self->relationship);
    uint64_t before = edit->declared_bytes;
    edit->declared_bytes = MAX(before, bytes);
    if (!relationship_edit_end(self->relationship, edit, error))
        return false;
    if (bytes <= before || limits == NULL || limits->check_declared(limits->opaque, error))
        return true;
    edit = relationship_edit(self->relationship);
    edit->declared_bytes = before;
    relationship_edit_end(self->relationship, edit, NULL);
    return false;
}

/* An image that is there was made whole, and is gone on with. */
static bool
make_disk(const StoreRelationship *row, const ChangeLogDisk *disk, bool *ret_made, GError **error)
{
    g_autofree char *path = replica_disk_path(row->folder, disk->id), *part = g_strconcat(path, ".part", NULL);
    g_autofree char *overlay = replica_overlay_path(row->folder, disk->id);
    *ret_made = !g_file_test(path, G_FILE_TEST_EXISTS);
    if (*ret_made && (!durable_unlink(part, error) || !image_create(part, "qcow2", disk->size_bytes, error) || !durable_rename(part, path, error)))
        return false;
    return durable_unlink(overlay, error) && image_create_overlay(overlay, path, "qcow2", disk->size_bytes, error);
}

/* All that is being copied and is not in @wanted (nullable) */
static bool
drop_pending(const StoreRelationship *row, char *const *set, const LinkOffer *wanted, GError **error)
{
    g_auto(GStrv) there = replica_folder_disks(row->folder, error);
    for (char **id = there; id != NULL && *id != NULL; id++) {
        bool is_wanted = false;
        for (unsigned i = 0; wanted != NULL && i < wanted->n_disks; i++)
            is_wanted |= strcmp(wanted->disks[i].id, *id) == 0;
        if (!is_wanted && replica_is_pending(row, set, *id) && !replica_disk_remove(row->folder, *id, error))
            return false;
    }
    return there != NULL;
}

/* With new images, what the primary takes for copied is not there. */
static bool
forget_token(Replica *self, GError **error)
{
    StoreRelationship *edit = relationship_edit(self->relationship);
    g_clear_pointer(&edit->pass_token, g_free);
    return relationship_edit_end(self->relationship, edit, error);
}

static bool
make_disks(Replica *self, const StoreRelationship *row, char *const *set, const LinkOffer *offer, GError **error)
{
    bool any = false;
    for (unsigned i = 0; i < offer->n_disks; i++) {
        const ChangeLogDisk *disk = &offer->disks[i];
        bool made = false;
        if (!g_strv_contains((const char *const *)set, disk->id) && !make_disk(row, disk, &made, error))
            return false;
        any |= made;
    }
    return !any || forget_token(self, error);
}

/* Is there something to do? What is asked for again, and is there, is left alone. */
static bool
is_ready(const StoreRelationship *row, char *const *set, const LinkOffer *offer)
{
    g_auto(GStrv) there = replica_folder_disks(row->folder, NULL);
    bool ready = row->state == STATE_DISK_UPDATE && there != NULL;
    for (unsigned i = 0; ready && i < offer->n_disks; i++) {
        g_autofree char *overlay = replica_overlay_path(row->folder, offer->disks[i].id);
        ready = g_strv_contains((const char *const *)there, offer->disks[i].id) && g_file_test(overlay, G_FILE_TEST_EXISTS);
    }
    for (char **id = there; ready && *id != NULL; id++) {
        bool wanted = !replica_is_pending(row, set, *id);
        for (unsigned i = 0; i < offer->n_disks; i++)
            wanted |= strcmp(offer->disks[i].id, *id) == 0;
        ready = wanted;
    }
    return ready;
}

/* A way back over a change has the disks of before and after it; there is no more room for them than for those of a log. */
static bool
check_number(const StoreRelationship *row, const LinkOffer *offer, GError **error)
{
    g_auto(GStrv) there = replica_folder_disks(row->folder, error);
    if (there == NULL)
        return false;
    unsigned n = g_strv_length(there);
    for (unsigned i = 0; i < offer->n_disks; i++)
        n += !g_strv_contains((const char *const *)there, offer->disks[i].id);
    return n <= CHANGE_LOG_DISKS_MAX ||
           refuse(error, LINK_ERROR_DENIED, "the replica would have %u disks, with those that were taken out and that recovery points from before "
                  "need; %u are possible", n, CHANGE_LOG_DISKS_MAX);
}

bool
replica_begin_change(Replica *self, const LinkOffer *offer, const ReplicaLimits *limits, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    g_auto(GStrv) set = replica_set(row, error);
    if (set == NULL)
        return false;
    for (unsigned i = 0; i < offer->n_disks; i++) {
        if (!g_strv_contains((const char *const *)set, offer->disks[i].id) && !check_left(row, offer->disks[i].id, error))
            return false;
    }
    if (is_ready(row, set, offer))
        return true;
    if (!check_number(row, offer, error))
        return false;
    if (row->test_stage != TEST_NONE)
        return refuse(error, LINK_ERROR_STATE, "a test failover of the VM runs on the replica; its disks can be changed after its end");
    GError *cause = NULL;
    if (!relationship_move(self->relationship, OPERATION_CHANGE_DISKS, &cause)) {
        refuse(error, LINK_ERROR_STATE, "%s", cause->message);
        g_error_free(cause);
        return false;
    }
    replica_close_disks(self);
    if (!declare(self, offer, limits, error) || !name_set_before(row, set, error) || !drop_pending(row, set, offer, error) ||
        !make_disks(self, row, set, offer, error) || !replica_open_disks(self, error))
        return false;
    log_notice("replica", row->vm_name, "the primary changes the disks that replicate");
    return true;
}

/* The state first: from then on no log brings a disk in, and what it has brought is in the set. */
bool
replica_end_change(Replica *self, GError **error)
{
    if (relationship_state(self->relationship) == STATE_DISK_UPDATE &&
        !relationship_move(self->relationship, OPERATION_CANCEL_DISKS, error))
        return false;
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    g_auto(GStrv) set = replica_set(row, error);
    if (set == NULL)
        return false;
    replica_close_disks(self);
    return forget_token(self, error) && drop_pending(row, set, NULL, error) && replica_open_disks(self, error);
}

/* ---- disks that leave ---- */

bool
replica_note_leaving(const StoreRelationship *row, const ChangeLogHeader *header, GError **error)
{
    g_auto(GStrv) set = replica_set(row, error);
    if (set == NULL || !name_set_before(row, set, error))
        return false;
    for (char **id = set; *id != NULL; id++) {
        bool stays = false;
        for (unsigned i = 0; i < header->n_disks; i++)
            stays |= strcmp(header->disks[i].id, *id) == 0;
        if (!stays && !replica_left_write(row->folder, *id, header->position, error))
            return false;
    }
    return true;
}

static bool
is_needed(const GPtrArray *points, const GPtrArray *undos, uint64_t position)
{
    for (guint i = 0; i < points->len; i++) {
        if (((const StorePoint *)g_ptr_array_index(points, i))->position < position)
            return true;
    }
    for (guint i = 0; i < undos->len; i++) {
        if (((const StoreUndo *)g_ptr_array_index(undos, i))->base < position)
            return true;
    }
    return false;
}

static bool
remove_left(Replica *self, const StoreRelationship *row, const char *id, GError **error)
{
    replica_close_disks(self);
    if (!replica_disk_remove(row->folder, id, error) || !replica_left_forget(row->folder, id, error) || !replica_open_disks(self, error))
        return false;
    log_notice("replica", row->vm_name, "disk '%s', which was taken out of the replication, is removed: no recovery point needs it any more", id);
    return true;
}

/* The note is read before the row: the log with which the disk leaves may come in just now, and its position and set are one row. */
static bool
tidy_disk(Replica *self, const char *id, const GPtrArray *points, const GPtrArray *undos, GError **error)
{
    uint64_t position;
    g_autoptr(StoreRelationship) before = relationship_row(self->relationship);
    if (!replica_left_read(before->folder, id, &position))
        return true;
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    g_auto(GStrv) set = replica_set(row, error);
    if (set == NULL)
        return false;
    if (g_strv_contains((const char *const *)set, id)) /* a death, or a refusal, before it could leave */
        return position > row->position || replica_left_forget(row->folder, id, error);
    return position > row->applied || is_needed(points, undos, position) || remove_left(self, row, id, error);
}

bool
replica_tidy_disks(Replica *self, const StoreRelationship *row, GError **error)
{
    g_autofree char *folder = g_build_filename(row->folder, "left", NULL);
    if (!g_file_test(folder, G_FILE_TEST_IS_DIR))
        return true;
    g_auto(GStrv) there = replica_folder_disks(row->folder, error), set = there != NULL ? replica_set(row, error) : NULL;
    g_autoptr(GPtrArray) points = set != NULL ? store_points(self->context->store, row->vm_uuid, error) : NULL;
    g_autoptr(GPtrArray) undos = points != NULL ? store_undos(self->context->store, row->vm_uuid, error) : NULL;
    if (undos == NULL)
        return false;
    for (char **id = there; *id != NULL; id++) {
        if (!tidy_disk(self, *id, points, undos, error))
            return false;
    }
    return true;
}
