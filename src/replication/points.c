#include "replication/points.h"

#include "replication/replica-folder.h"
#include "replication/settings.h"
#include "util/durable.h"
#include "util/log.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define HOUR_USEC       (3600ll * G_USEC_PER_SEC)
#define MERGE_WHEN_OPEN 32 /* undo logs of the segment that still grows are merged in lots of that many */

int64_t
points_clock(const ReplicationContext *context)
{
    return context->running_base_usec + g_get_monotonic_time();
}

bool
points_clock_start(ReplicationContext *context, GError **error)
{
    g_autoptr(GPtrArray) points = store_points(context->store, NULL, error);
    if (points == NULL)
        return false;
    int64_t newest = 0;
    for (guint i = 0; i < points->len; i++)
        newest = MAX(newest, ((StorePoint *)g_ptr_array_index(points, i))->running_usec);
    context->running_base_usec = newest - g_get_monotonic_time();
    return true;
}

bool
points_received(const ReplicationContext *context, const char *vm_uuid, const RelationshipSettings *settings,
                uint64_t position, PointKind kind, int64_t age_usec, GError **error)
{
    int64_t running = points_clock(context) - age_usec;
    AdditionalSettings additional = { 0 };
    if (!additional_settings_parse(settings->additional_settings, &additional, error))
        return false;
    g_autoptr(GPtrArray) points = store_points(context->store, vm_uuid, error);
    if (points == NULL)
        return false;
    bool hourly = settings->recovery_history > 0;
    g_autofree char *id = NULL;
    for (guint i = 0; i < points->len; i++) {
        const StorePoint *point = g_ptr_array_index(points, i);
        if (point->position == position)
            id = g_strdup(point->id); /* of a log that was not received after all: what it would have held is not what this one holds */
        else if (kind != POINT_KIND_APPLICATION_CONSISTENT && point->hourly && running - point->running_usec < HOUR_USEC)
            hourly = false;
    }
    if (id == NULL)
        id = g_uuid_string_random();
    StorePoint point = { .id = id, .vm_uuid = (char *)vm_uuid, .position = position, .kind = kind,
                         .kept = hourly || additional.journal_sec > 0, .hourly = hourly,
                         .taken_usec = g_get_real_time() - age_usec, .running_usec = running };
    return store_point_save(context->store, &point, error);
}

bool
points_newest_kept(const ReplicationContext *context, const char *vm_uuid, uint64_t position, uint64_t *ret_position,
                   GError **error)
{
    g_autoptr(GPtrArray) points = store_points(context->store, vm_uuid, error);
    bool found = false;
    for (guint i = 0; points != NULL && i < points->len; i++) {
        const StorePoint *point = g_ptr_array_index(points, i);
        if (point->kept && point->position <= position) {
            *ret_position = point->position;
            found = true;
        }
    }
    return found;
}

/* ---- merging ---- */

static bool
rewind_fd(void *opaque, GError **error)
{
    if (lseek(*(int *)opaque, 0, SEEK_SET) == 0)
        return true;
    g_set_error_literal(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_IO, "cannot read an undo log again");
    return false;
}

static bool
merge_files(const StoreRelationship *row, const GPtrArray *undos, const char *part_path, StoreUndo *merged, GError **error)
{
    guint n = undos->len;
    g_autofree int *fds = g_new(int, n);
    g_autofree ChangeLogSource *sources = g_new(ChangeLogSource, n);
    guint opened = 0;
    bool good = true;
    for (; good && opened < n; opened++) {
        /* Newest first: the order in which they are applied. */
        g_autofree char *path = replica_undo_path(row->folder, g_ptr_array_index(undos, n - 1 - opened));
        fds[opened] = open(path, O_RDONLY | O_CLOEXEC);
        if (fds[opened] < 0) {
            g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_IO, "undo log '%s' cannot be opened", path);
            good = false;
            break;
        }
        sources[opened] = change_log_source_fd(&fds[opened]);
    }
    int out = good ? open(part_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    if (good && out < 0) {
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_IO, "cannot create '%s'", part_path);
        good = false;
    }
    good = good && change_log_merge(sources, n, rewind_fd, true, change_log_sink_fd(&out), merged->digest, error);
    if (good && fsync(out) < 0) {
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_IO, "cannot sync '%s'", part_path);
        good = false;
    }
    if (out >= 0) {
        merged->bytes = good ? (uint64_t)lseek(out, 0, SEEK_END) : 0;
        close(out);
    }
    for (guint i = 0; i < opened; i++)
        close(fds[i]);
    return good;
}

/* Makes one undo log of several that follow each other. The old files go only when the store names the new one. */
static bool
merge_group(const ReplicationContext *context, const StoreRelationship *row, const GPtrArray *undos, GError **error)
{
    const StoreUndo *oldest = g_ptr_array_index(undos, 0), *newest = g_ptr_array_index(undos, undos->len - 1);
    StoreUndo merged = { .vm_uuid = row->vm_uuid, .base = oldest->base, .position = newest->position };
    g_autofree char *path = replica_undo_path(row->folder, &merged);
    g_autofree char *part = g_strconcat(path, ".part", NULL);
    if (!merge_files(row, undos, part, &merged, error) || !durable_rename(part, path, error) ||
        !store_undo_replace(context->store, undos, &merged, error)) {
        unlink(part);
        return false;
    }
    for (guint i = 0; i < undos->len; i++) {
        g_autofree char *old = replica_undo_path(row->folder, g_ptr_array_index(undos, i));
        if (strcmp(old, path) != 0)
            durable_unlink(old, NULL);
    }
    return true;
}

static bool
is_kept_position(const GPtrArray *points, uint64_t position)
{
    for (guint i = 0; i < points->len; i++) {
        const StorePoint *point = g_ptr_array_index(points, i);
        if (point->kept && point->position == position)
            return true;
    }
    return false;
}

static bool
merge_undos(const ReplicationContext *context, const StoreRelationship *row, const GPtrArray *points, GError **error)
{
    g_autoptr(GPtrArray) undos = store_undos(context->store, row->vm_uuid, error);
    if (undos == NULL)
        return false;
    g_autoptr(GPtrArray) group = g_ptr_array_new();
    for (guint i = 0; i < undos->len; i++) {
        StoreUndo *undo = g_ptr_array_index(undos, i);
        g_ptr_array_add(group, undo);
        bool ends = is_kept_position(points, undo->position);
        bool last = i + 1 == undos->len;
        const StoreUndo *next = last ? NULL : g_ptr_array_index(undos, i + 1);
        if (next != NULL && next->base == undo->base)
            continue; /* passes of one resynchronization stay together */
        if (!ends && !last)
            continue;
        guint enough = ends ? 2 : MERGE_WHEN_OPEN;
        if (group->len >= enough && undo->position <= row->applied && !merge_group(context, row, group, error))
            return false;
        g_ptr_array_set_size(group, 0);
    }
    return true;
}

/* ---- pruning ---- */

static bool
has_left_journal(const StorePoint *point, const AdditionalSettings *additional, int64_t now_usec)
{
    return now_usec - point->running_usec > (int64_t)additional->journal_sec * G_USEC_PER_SEC;
}

/* Undo logs that lead to before the oldest kept point lead nowhere anybody may go. */
static bool
remove_useless_undos(const ReplicationContext *context, const StoreRelationship *row, const GPtrArray *points,
                     GError **error)
{
    uint64_t oldest = UINT64_MAX;
    for (guint i = 0; i < points->len; i++) {
        const StorePoint *point = g_ptr_array_index(points, i);
        if (point->kept)
            oldest = MIN(oldest, point->position);
    }
    g_autoptr(GPtrArray) undos = store_undos(context->store, row->vm_uuid, error);
    if (undos == NULL)
        return false;
    for (guint i = 0; i < undos->len; i++) {
        StoreUndo *undo = g_ptr_array_index(undos, i);
        bool open_resync = undo->position > row->applied;
        if (open_resync || (oldest != UINT64_MAX && undo->base >= oldest))
            continue;
        g_autofree char *path = replica_undo_path(row->folder, undo);
        if (!store_undo_remove(context->store, undo, error))
            return false;
        durable_unlink(path, NULL);
    }
    return true;
}

bool
points_prune(const ReplicationContext *context, const StoreRelationship *row, const RelationshipSettings *settings,
             uint64_t applied, bool thorough, GError **error)
{
    AdditionalSettings additional = { 0 };
    g_autoptr(GPtrArray) points = store_points(context->store, row->vm_uuid, error);
    if (points == NULL || !additional_settings_parse(settings->additional_settings, &additional, error))
        return false;
    unsigned n_hourly = 0;
    for (guint i = 0; i < points->len; i++)
        n_hourly += ((StorePoint *)g_ptr_array_index(points, i))->hourly;

    int64_t now = points_clock(context);
    for (guint i = 0; i < points->len;) {
        StorePoint *point = g_ptr_array_index(points, i);
        bool drop = point->position < applied && !point->kept;
        if (thorough && point->position < applied && point->kept) {
            if (point->hourly && n_hourly > settings->recovery_history) {
                n_hourly--;
                drop = has_left_journal(point, &additional, now);
            } else if (!point->hourly) {
                drop = has_left_journal(point, &additional, now);
            }
        }
        if (!drop) {
            i++;
            continue;
        }
        if (!store_point_remove(context->store, point->id, error))
            return false;
        g_ptr_array_remove_index(points, i);
    }
    if (!thorough)
        return true;
    return remove_useless_undos(context, row, points, error) && merge_undos(context, row, points, error);
}

bool
points_clean_folder(const ReplicationContext *context, const StoreRelationship *row, GError **error)
{
    g_autoptr(GPtrArray) undos = store_undos(context->store, row->vm_uuid, error);
    if (undos == NULL)
        return false;
    g_autoptr(GHashTable) known = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (guint i = 0; i < undos->len; i++)
        g_hash_table_add(known, replica_undo_path(row->folder, g_ptr_array_index(undos, i)));
    g_autofree char *folder = g_build_filename(row->folder, "undo", NULL);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, error);
    if (dir == NULL)
        return false;
    const char *name;
    while ((name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        if (!g_hash_table_contains(known, path)) {
            log_info("points", row->vm_name, "removing '%s', left by an interrupted step", path);
            unlink(path);
        }
    }
    return true;
}
