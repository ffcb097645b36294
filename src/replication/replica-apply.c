/* Applying what was received: the way back first, then the new contents. */
#include "replication/replica-private.h"

#include "replication/points.h"
#include "replication/retention.h"
#include "replication/replica-folder.h"
#include "util/durable.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define PRUNE_EVERY_USEC   (30 * G_USEC_PER_SEC)

bool
replica_write_position(const StoreRelationship *row, uint64_t position, const uint8_t *digest, GError **error)
{
    ReplicaPosition file = { .position = position };
    g_strlcpy(file.lineage, row->lineage, sizeof file.lineage);
    memcpy(file.digest, digest, sizeof file.digest);
    return replica_position_write(row->folder, &file, error);
}

int
replica_open_log(const char *path, GError **error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_IO, "cannot open '%s': %s", path, g_strerror(errno));
    return fd;
}

static bool
add_undo_to_captured(const StoreRelationship *row, const StoreUndo *undo, ChangeLogCaptured *captured, GError **error)
{
    g_autofree char *path = replica_undo_path(row->folder, undo);
    int fd = replica_open_log(path, error);
    if (fd < 0)
        return false;
    bool good = change_log_captured_add_log(captured, change_log_source_fd(&fd), error);
    close(fd);
    return good;
}

/* Makes `captured` hold what the undo logs from @base on hold. */
bool
replica_load_captured(Replica *self, const StoreRelationship *row, uint64_t base, GError **error)
{
    if (self->captured != NULL && self->captured_base == base)
        return true;
    g_clear_pointer(&self->captured, change_log_captured_free);
    g_autoptr(ChangeLogCaptured) captured = change_log_captured_new();
    g_autoptr(GPtrArray) undos = store_undos(self->context->store, row->vm_uuid, error);
    if (undos == NULL)
        return false;
    for (guint i = 0; i < undos->len; i++) {
        const StoreUndo *undo = g_ptr_array_index(undos, i);
        if (undo->base >= base && !add_undo_to_captured(row, undo, captured, error))
            return false;
    }
    self->captured = g_steal_pointer(&captured);
    self->captured_base = base;
    return true;
}

/* Writes the inverse of the log in @fd as undo @undo, durably, unless that undo is there already. */
bool
replica_capture_undo(Replica *self, const StoreRelationship *row, int fd, StoreUndo *undo, GError **error)
{
    g_autofree char *path = replica_undo_path(row->folder, undo);
    g_autofree char *part = g_strconcat(path, ".part", NULL);
    int out = open(part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (out < 0) {
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_IO, "cannot create '%s': %s", part, g_strerror(errno));
        return false;
    }
    ChangeLogTarget target = disk_target_as_target(self->disks);
    SpaceWatch watch;
    SpaceSink sink = { &watch, change_log_sink_fd(&out) };
    bool good = space_watch_begin(&watch, self->context, row->folder, NULL, error) &&
                change_log_capture(change_log_source_fd(&fd), &target, self->captured, space_sink(&sink), undo->digest, error);
    undo->bytes = (uint64_t)MAX(lseek(out, 0, SEEK_END), 0);
    if (good && fsync(out) < 0) {
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_IO, "cannot sync '%s': %s", part, g_strerror(errno));
        good = false;
    }
    close(out);
    good = good && durable_rename(part, path, error) && store_undo_save(self->context->store, undo, error);
    if (!good) {
        unlink(part);
        g_clear_pointer(&self->captured, change_log_captured_free);
    }
    return good && lseek(fd, 0, SEEK_SET) == 0;
}

static bool
has_undo(Replica *self, const StoreRelationship *row, const StoreUndo *wanted, bool *ret_there, GError **error)
{
    g_autoptr(GPtrArray) undos = store_undos(self->context->store, row->vm_uuid, error);
    *ret_there = false;
    for (guint i = 0; undos != NULL && i < undos->len; i++) {
        const StoreUndo *undo = g_ptr_array_index(undos, i);
        *ret_there |= undo->position == wanted->position && undo->base <= wanted->base && undo->pass == wanted->pass;
    }
    return undos != NULL;
}

/* Before a delta overwrites anything: the way back to the newest kept point, if there is one. */
static bool
prepare_undo(Replica *self, const StoreRelationship *row, int fd, uint64_t position, GError **error)
{
    uint64_t kept;
    g_autoptr(GError) cause = NULL;
    if (!points_newest_kept(self->context, row->vm_uuid, position - 1, &kept, &cause)) {
        if (cause == NULL)
            return true;
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    StoreUndo undo = { .vm_uuid = row->vm_uuid, .position = position, .base = position - 1 };
    bool there;
    if (!has_undo(self, row, &undo, &there, error))
        return false;
    return there || (replica_load_captured(self, row, kept, error) && replica_capture_undo(self, row, fd, &undo, error));
}

bool
replica_apply_source(Replica *self, ChangeLogSource log, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    ChangeLogTarget target = disk_target_as_target(self->disks);
    SpaceWatch watch;
    g_auto(GStrv) places = space_disk_places(row->folder, error);
    if (places == NULL || !space_watch_begin_disks(&watch, self->context, row->folder, places, error))
        return false;
    disk_target_watch(self->disks, &watch);
    bool good = change_log_apply(log, &target, error);
    disk_target_watch(self->disks, NULL);
    return good;
}

/* A log that was verified; it is read from where it stands, and stands there again. */
bool
replica_note_changes(Replica *self, int fd, GError **error)
{
    if (self->journal == NULL || !change_journal_is_kept(self->journal))
        return true;
    ChangeLogHeader header;
    ExtentSet *sets[CHANGE_LOG_DISKS_MAX];
    off_t start = lseek(fd, 0, SEEK_CUR);
    if (start < 0 || !change_log_touched(change_log_source_fd(&fd), &header, sets, error))
        return false;
    bool good = change_journal_note(self->journal, header.disks, header.n_disks, sets, error);
    for (unsigned i = 0; i < header.n_disks; i++)
        extent_set_free(sets[i]);
    if (good && lseek(fd, start, SEEK_SET) != start) {
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_IO, "cannot read the log again: %s", g_strerror(errno));
        good = false;
    }
    return good;
}

bool
replica_apply_log(Replica *self, int fd, GError **error)
{
    return replica_note_changes(self, fd, error) && replica_apply_source(self, change_log_source_fd(&fd), error);
}

static void
signal_applied(Replica *self)
{
    g_mutex_lock(&self->backlog_lock);
    g_cond_broadcast(&self->applied);
    g_mutex_unlock(&self->backlog_lock);
}

static bool
log_digest(const char *path, uint8_t *ret_digest, GError **error)
{
    int fd = replica_open_log(path, error);
    if (fd < 0)
        return false;
    ChangeLogSummary summary;
    bool good = change_log_verify(change_log_source_fd(&fd), &summary, error);
    close(fd);
    if (good)
        memcpy(ret_digest, summary.digest, CHANGE_LOG_DIGEST_SIZE);
    return good;
}

static bool
note_applied(Replica *self, uint64_t position, const uint8_t *digest, GError **error)
{
    StoreRelationship *row = relationship_edit(self->relationship);
    row->applied = position;
    memcpy(row->applied_digest, digest, CHANGE_LOG_DIGEST_SIZE);
    row->last_apply_usec = g_get_real_time();
    return relationship_edit_end(self->relationship, row, error);
}

static bool
prune(Replica *self, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    g_autoptr(RelationshipSettings) settings = relationship_settings(self->relationship);
    int64_t now = g_get_monotonic_time();
    if (row->state == STATE_FAILOVER_RUNNING || row->test_stage != TEST_NONE)
        return true; /* the point that was chosen might be the one to go */
    bool thorough = now - self->pruned_usec > PRUNE_EVERY_USEC;
    if (thorough)
        self->pruned_usec = now;
    if (thorough && !retention_raise(self->context, row->vm_uuid, settings, error))
        return false;
    return points_prune(self->context, row, settings, row->applied, thorough, error) &&
           (!thorough || replica_tidy_disks(self, row, error));
}

static bool
apply_one(Replica *self, const StoreRelationship *row, uint64_t position, GError **error)
{
    g_autofree char *path = replica_staging_path(row->folder, position);
    uint8_t digest[CHANGE_LOG_DIGEST_SIZE];
    int fd = replica_open_log(path, error);
    if (fd < 0)
        return false;
    bool good = log_digest(path, digest, error) && prepare_undo(self, row, fd, position, error) &&
                replica_apply_log(self, fd, error) && replica_write_position(row, position, digest, error) &&
                note_applied(self, position, digest, error);
    close(fd);
    if (!good)
        return false;
    signal_applied(self);
    replica_redefine_if_changed(self, row);
    unlink(path);
    return prune(self, error);
}

bool
replica_apply_received(Replica *self, GError **error)
{
    for (;;) {
        g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
        if (!row->initial_complete)
            return true;
        if (!replica_check_folder(self, error))
            return false;
        if (row->applied >= row->position)
            return true;
        if (!replica_open_disks(self, error) || !apply_one(self, row, row->applied + 1, error)) {
            replica_close_disks(self); /* whatever is wrong with the storage daemon, the next try starts a new one */
            return false;
        }
    }
}

bool
replica_apply_pending(Replica *self, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    if (row->test_stage == TEST_NONE)
        return replica_settle(self, false, error) && replica_apply_received(self, error);
    return row->test_stage != TEST_MADE || replica_open_fence(self, error);
}
