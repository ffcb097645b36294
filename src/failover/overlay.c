#include "failover/overlay.h"

#include "disk/image.h"
#include "replication/disk-target.h"
#include "replication/replica-folder.h"
#include "replication/replication-error.h"
#include "util/durable.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static bool
gone(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

static bool
gone(GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, REPLICATION_ERROR, REPLICATION_ERROR_FILE_NOT_FOUND, text);
    return false;
}

GPtrArray *
overlay_undo_chain(const ReplicationContext *context, const StoreRelationship *row, uint64_t point, GError **error)
{
    g_autoptr(GPtrArray) undos = store_undos(context->store, row->vm_uuid, error);
    if (undos == NULL)
        return NULL;
    g_autoptr(GPtrArray) chain = g_ptr_array_new_with_free_func((GDestroyNotify)store_undo_free);
    uint64_t at = point, pass_base = UINT64_MAX;
    for (guint i = 0; i < undos->len; i++) {
        const StoreUndo *undo = g_ptr_array_index(undos, i);
        if (undo->base < point)
            continue;
        bool follows = undo->base == at || (undo->pass > 1 && undo->base == pass_base);
        g_autofree char *path = replica_undo_path(row->folder, undo);
        if (!follows || access(path, R_OK) != 0) {
            gone(error, "recovery point at position %" G_GUINT64_FORMAT " of VM '%s' cannot be reached: undo log '%s' is gone; "
                        "choose a newer point", point, row->vm_name, path);
            return NULL;
        }
        pass_base = undo->base;
        at = undo->position;
        StoreUndo *copy = g_new(StoreUndo, 1);
        *copy = *undo;
        copy->vm_uuid = g_strdup(undo->vm_uuid);
        g_ptr_array_add(chain, copy);
    }
    /* One ahead: a resynchronization or a log is being applied, and the way back from it is captured. */
    bool one_ahead = chain->len > 0 && at == row->applied + 1 && (row->resync_passes > 0 || row->position > row->applied);
    if (at != row->applied && !one_ahead) {
        gone(error, "recovery point at position %" G_GUINT64_FORMAT " of VM '%s' cannot be reached: undo logs from position %"
                    G_GUINT64_FORMAT " on are gone; choose a newer point", point, row->vm_name, at);
        return NULL;
    }
    return g_steal_pointer(&chain);
}

/* ---- sizes at the point ---- */

typedef struct {
    int             *fds;
    ChangeLogSource *sources;
    guint            n;
} OpenChain;

static void
open_chain_clear(OpenChain *chain)
{
    for (guint i = 0; i < chain->n; i++)
        close(chain->fds[i]);
    g_free(chain->fds);
    g_free(chain->sources);
}

static bool
open_chain(const StoreRelationship *row, const GPtrArray *undos, OpenChain *ret_chain, GError **error)
{
    ret_chain->fds = g_new0(int, undos->len);
    ret_chain->sources = g_new0(ChangeLogSource, undos->len);
    for (ret_chain->n = 0; ret_chain->n < undos->len; ret_chain->n++) {
        guint i = ret_chain->n;
        g_autofree char *path = replica_undo_path(row->folder, g_ptr_array_index(undos, i));
        ret_chain->fds[i] = open(path, O_RDONLY | O_CLOEXEC);
        if (ret_chain->fds[i] < 0)
            return gone(error, "undo log '%s' cannot be opened: %s", path, g_strerror(errno));
        ret_chain->sources[i] = change_log_source_fd(&ret_chain->fds[i]);
    }
    return true;
}

/* The oldest undo knows the sizes of the disks at the point; without one it is the sizes now. */
static bool
read_header(const OpenChain *chain, ChangeLogHeader *ret_header, GError **error)
{
    g_autoptr(ChangeLogReader) reader = change_log_reader_new(chain->sources[0], error);
    if (reader == NULL)
        return false;
    *ret_header = *change_log_reader_header(reader);
    return lseek(chain->fds[0], 0, SEEK_SET) == 0;
}

static bool
size_at_point(const ChangeLogHeader *header, const char *id, const char *base, uint64_t *ret_size, GError **error)
{
    for (unsigned i = 0; header != NULL && i < header->n_disks; i++) {
        if (strcmp(header->disks[i].id, id) == 0) {
            *ret_size = header->disks[i].size_bytes;
            return true;
        }
    }
    g_autoptr(ImageInfo) info = NULL;
    if (!image_info(base, "qcow2", true, &info, error))
        return false;
    *ret_size = info->virtual_size;
    return true;
}

/* ---- making ---- */

static char *
overlay_path(const StoreRelationship *row, OverlayPlace place, const char *id)
{
    return place == OVERLAY_TEST ? replica_test_disk_path(row->folder, id) : replica_overlay_path(row->folder, id);
}

static char *
blob_folder(const StoreRelationship *row, OverlayPlace place)
{
    return place == OVERLAY_TEST ? replica_test_blob_folder(row->folder) : replica_failover_blob_folder(row->folder);
}

/* Nothing is ever reversed from a test: it needs no bitmap. */
static bool
make_image(const StoreRelationship *row, OverlayPlace place, const char *id, const ChangeLogHeader *header,
           GError **error)
{
    uint64_t size;
    g_autofree char *base = replica_disk_path(row->folder, id);
    g_autofree char *overlay = overlay_path(row, place, id);
    return size_at_point(header, id, base, &size, error) && durable_unlink(overlay, error) &&
           (place == OVERLAY_TEST || replica_failover_size_write(row->folder, id, size, error)) &&
           image_create_overlay(overlay, base, "qcow2", size, error) &&
           (place == OVERLAY_TEST || image_bitmap_add(overlay, OVERLAY_CHECKPOINT, error));
}

static bool
copy_blobs(const StoreRelationship *row, OverlayPlace place, GError **error)
{
    g_autofree char *from = replica_blob_folder(row->folder);
    g_autofree char *to = blob_folder(row, place);
    if (!durable_remove_tree(to, error) || !durable_mkdir_passable(to, error))
        return false;
    g_autoptr(GDir) dir = g_dir_open(from, 0, error);
    const char *name;
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *source = g_build_filename(from, name, NULL);
        g_autofree char *target = g_build_filename(to, name, NULL);
        g_autofree char *content = NULL;
        gsize length = 0;
        if (!g_file_get_contents(source, &content, &length, error) || !durable_replace(target, content, length, error))
            return false;
    }
    return dir != NULL;
}

static bool
write_undo(const ReplicationContext *context, const StoreRelationship *row, OverlayPlace place, char *const *ids,
           const OpenChain *chain, const char *run_folder, GError **error)
{
    unsigned n = g_strv_length((char **)ids);
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    g_autofree DiskServerImage *images = g_new0(DiskServerImage, n);
    for (unsigned i = 0; i < n; i++) {
        char *overlay = overlay_path(row, place, ids[i]), *base = replica_disk_path(row->folder, ids[i]);
        g_ptr_array_add(paths, overlay);
        g_ptr_array_add(paths, base);
        images[i] = (DiskServerImage){ .id = ids[i], .path = overlay, .format = "qcow2", .backing_path = base,
                                       .backing_format = "qcow2",
                                       .follow_header = replica_disk_is_adopted(row->folder, ids[i]) };
    }
    g_autofree char *blobs = blob_folder(row, place);
    DiskTarget *disks = disk_target_open(context, run_folder, images, n, blobs, error);
    if (disks == NULL)
        return false;
    ChangeLogTarget target = disk_target_as_target(disks);
    bool good = change_log_apply_undo_chain(chain->sources, chain->n, &target, error);
    disk_target_close(disks);
    return good;
}

/* Says which files it is about, and what can be done. */
static void
explain_damage(const StoreRelationship *row, GError **error)
{
    if (error != NULL && (g_error_matches(*error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_MALFORMED) ||
                          g_error_matches(*error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_TRUNCATED)))
        g_prefix_error(error, "an undo log in '%s/undo' that leads to the recovery point is damaged; fail over to a newer point, or "
                              "to the latest state, which needs none: ", row->folder);
}

bool
overlay_make(const ReplicationContext *context, const StoreRelationship *row, OverlayPlace place, const GPtrArray *undos,
             const char *run_folder, GError **error)
{
    g_auto(GStrv) ids = replica_folder_disks(row->folder, error);
    if (ids == NULL)
        return false;
    OpenChain chain = { 0 };
    ChangeLogHeader header;
    bool good = open_chain(row, undos, &chain, error) && (chain.n == 0 || read_header(&chain, &header, error)) &&
                copy_blobs(row, place, error);
    for (char **id = ids; good && *id != NULL; id++)
        good = make_image(row, place, *id, chain.n > 0 ? &header : NULL, error);
    good = good && (chain.n == 0 || write_undo(context, row, place, ids, &chain, run_folder, error));
    if (!good)
        explain_damage(row, error);
    open_chain_clear(&chain);
    return good;
}
