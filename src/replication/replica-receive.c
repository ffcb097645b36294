/* Receiving: logs of every kind from the link, and the questions a primary asks. */
#include "replication/replica-private.h"

#include "replication/blob-rules.h"
#include "replication/disk-set.h"
#include "replication/grain-hash.h"
#include "replication/points.h"
#include "replication/replica-folder.h"
#include "replication/settings.h"
#include "util/durable.h"
#include "util/log.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG_MAX        16                        /* received but unapplied logs; part of the failover time */
#define KEPT_USEC          (2 * 60 * G_USEC_PER_SEC) /* of a broken log; its sender gives up earlier */

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

static bool
has_set(const ChangeLogHeader *header, char *const *ids)
{
    bool same = g_strv_length((char **)ids) == header->n_disks;
    for (unsigned i = 0; same && i < header->n_disks; i++)
        same = g_strv_contains((const char *const *)ids, header->disks[i].id);
    return same;
}

/* Is the log for the disks that replicate, or one of a change of them: with new disks alone, or the first with the new set? */
static bool
check_disks(const StoreRelationship *row, const ChangeLogHeader *header, GError **error)
{
    g_auto(GStrv) ids = replica_set(row, error);
    if (ids == NULL)
        return false;
    bool of_change = row->initial_complete && header->n_disks > 0 &&
                     (header->kind == CHANGE_LOG_DELTA || (header->kind == CHANGE_LOG_INITIAL && header->point_kind == POINT_KIND_NONE));
    bool fits = has_set(header, ids) && !(row->initial_complete && header->kind == CHANGE_LOG_INITIAL);
    for (unsigned i = 0; of_change && !fits && i < header->n_disks; i++) {
        bool replicates = g_strv_contains((const char *const *)ids, header->disks[i].id);
        of_change = (replicates && header->kind == CHANGE_LOG_DELTA) || replica_is_pending(row, ids, header->disks[i].id);
    }
    return fits || of_change || refuse(error, LINK_ERROR_MISFIT, "the log is for another set of disks than the replica has");
}

/* Sets what the replica's disks are declared to have, which counts against the entry's limit. */
static bool
set_declared(Replica *self, uint64_t bytes, GError **error)
{
    StoreRelationship *edit = relationship_edit(self->relationship);
    edit->declared_bytes = bytes;
    return relationship_edit_end(self->relationship, edit, error);
}

static uint64_t
declared_by(const ChangeLogHeader *header)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < header->n_disks; i++)
        bytes += MIN(header->disks[i].size_bytes, REPLICA_DISK_SIZE_MAX + 1);
    return bytes;
}

/* Disks that grow are noted as grown before the limit is asked for: of two replicas that grow at once none gets by. */
static bool
check_sizes(Replica *self, const StoreRelationship *row, const ChangeLogHeader *header, const ReplicaLimits *limits,
            GError **error)
{
    for (unsigned i = 0; i < header->n_disks; i++) {
        if (header->disks[i].size_bytes > REPLICA_DISK_SIZE_MAX)
            return refuse(error, LINK_ERROR_PROTOCOL, "disk '%s' has an impossible size", header->disks[i].id);
    }
    uint64_t declared = declared_by(header);
    if (declared <= row->declared_bytes)
        return true;
    if (!set_declared(self, declared, error))
        return false;
    if (limits == NULL || limits->check_declared(limits->opaque, error))
        return true;
    set_declared(self, row->declared_bytes, NULL);
    return false;
}

/* Is a log of this kind expected now? */
static bool
check_state(const StoreRelationship *row, ChangeLogKind kind, GError **error)
{
    bool good = false;
    if (kind == CHANGE_LOG_INITIAL)
        good = row->state == STATE_WAITING_INITIAL ||
               (row->initial_complete && (row->state == STATE_REPLICATING || row->state == STATE_DISK_UPDATE));
    else if (kind == CHANGE_LOG_DELTA)
        good = row->state == STATE_REPLICATING || row->state == STATE_DISK_UPDATE;
    else if (kind == CHANGE_LOG_RESYNC)
        good = row->state == STATE_REPLICATING || row->state == STATE_RESYNCHRONIZING;
    if (good && kind != CHANGE_LOG_DELTA && row->test_stage != TEST_NONE)
        return refuse(error, LINK_ERROR_STATE, "a test failover of the VM runs on the replica, and only changes that fit "
                      "one replication are taken meanwhile; the rest waits for its end");
    if (good)
        return true;
    if (row->state == STATE_RECOVERED || row->state == STATE_FAILOVER_RUNNING)
        return refuse(error, LINK_ERROR_STATE, "the replica is failed over: changes are held back until it is reverted");
    return refuse(error, LINK_ERROR_STATE, "the replica does not take this now, its state: %s",
                  replication_state_name(row->state));
}

/* A log that says which disks replicate must be for these. */
static bool
check_named_set(const ChangeLogHeader *header, GBytes *blob, GError **error)
{
    gsize length = 0;
    const char *text = blob != NULL ? g_bytes_get_data(blob, &length) : NULL;
    g_auto(GStrv) ids = disk_set_from_text(text != NULL ? text : "", length);
    return has_set(header, ids) || refuse(error, LINK_ERROR_PROTOCOL, "the log names other disks than it is for");
}

static bool
read_to_end(ChangeLogReader *reader, uint8_t *ret_digest, bool *ret_names_set, GError **error)
{
    *ret_names_set = false;
    for (;;) {
        ChangeLogRecord record;
        if (!change_log_reader_next(reader, &record, error))
            return false;
        if (record.type == CHANGE_LOG_RECORD_END) {
            memcpy(ret_digest, record.digest, CHANGE_LOG_DIGEST_SIZE);
            return true;
        }
        if (record.type == CHANGE_LOG_RECORD_BLOB && !blob_rules_check(record.name, record.length, error))
            return false;
        if (record.type != CHANGE_LOG_RECORD_BLOB || strcmp(record.name, BLOB_DISKS) != 0)
            continue;
        if (!check_named_set(change_log_reader_header(reader), record.blob, error))
            return false;
        *ret_names_set = true;
    }
}

static bool
sync_and_rename(int fd, const char *part, const char *path, GError **error)
{
    if (fsync(fd) < 0) {
        unlink(part);
        return refuse(error, LINK_ERROR_NO_SPACE, "cannot sync the staged log: %s", g_strerror(errno));
    }
    return durable_rename(part, path, error);
}

/* What waits for the end of a test failover is applied by none before it, so that there is nothing to wait for here. */
static bool
check_test_backlog(Replica *self, const StoreRelationship *row, GError **error)
{
    if (space_staged_bytes(row->folder) < self->context->test_backlog_bytes)
        return true;
    g_autofree char *allowed = g_format_size_full(self->context->test_backlog_bytes, G_FORMAT_SIZE_IEC_UNITS);
    return refuse(error, LINK_ERROR_NO_SPACE, "%s wait on the replica for the end of its test failover, which is what "
                  "test-backlog in its virt-replicad.conf allows; end it there with 'virt-replica test-end %s'", allowed,
                  row->vm_name);
}

static bool
wait_for_backlog(Replica *self, GError **error)
{
    g_autoptr(StoreRelationship) tested = relationship_row(self->relationship);
    if (tested->test_stage != TEST_NONE)
        return check_test_backlog(self, tested, error);
    g_mutex_lock(&self->backlog_lock);
    bool good = true;
    for (;;) {
        g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
        if (row->position - row->applied < BACKLOG_MAX)
            break;
        int64_t deadline = g_get_monotonic_time() + 20 * G_USEC_PER_SEC;
        if (!g_cond_wait_until(&self->applied, &self->backlog_lock, deadline)) {
            good = refuse(error, LINK_ERROR_STATE, "the replica is behind with applying");
            break;
        }
    }
    g_mutex_unlock(&self->backlog_lock);
    return good;
}

/* Both sides are equal: what this one had written, or been, before it became the replica is of no use any more. */
static void
forget_turn(Replica *self)
{
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    g_autoptr(GError) error = NULL;
    if (!replica_turn_forget(row->folder, &error))
        log_warning("replica", row->vm_name, "%s; continuing", error->message);
}

/* The set that a log of a change brings: those that leave are noted first. */
static bool
check_joining(const StoreRelationship *row, const ChangeLogHeader *header, bool names_set, GError **error)
{
    g_auto(GStrv) ids = replica_set(row, error);
    if (ids == NULL)
        return false;
    if (has_set(header, ids))
        return true;
    return names_set ? replica_note_leaving(row, header, error)
                     : refuse(error, LINK_ERROR_MISFIT, "the log is for another set of disks than the replica has, and does not name it");
}

/* From this position on the disks of the log replicate. */
static bool
take_set(StoreRelationship *row, const ChangeLogHeader *header, GError **error)
{
    g_autoptr(RelationshipSettings) settings = relationship_settings_from_json(row->settings, error);
    g_auto(GStrv) before = settings != NULL ? replica_set(row, error) : NULL;
    if (before == NULL)
        return false;
    if (has_set(header, before))
        return true;
    g_autoptr(GStrvBuilder) ids = g_strv_builder_new();
    for (unsigned i = 0; i < header->n_disks; i++) {
        bool replicates = g_strv_contains((const char *const *)before, header->disks[i].id);
        if (!replicates && row->state != STATE_DISK_UPDATE)
            return refuse(error, LINK_ERROR_MISFIT, "the change of the disks that replicate was cancelled on the replica");
        g_strv_builder_add(ids, header->disks[i].id);
    }
    g_strfreev(settings->included_disks);
    settings->included_disks = g_strv_builder_end(ids);
    g_free(row->settings);
    row->settings = relationship_settings_to_json(settings);
    g_auto(GStrv) there = replica_folder_disks(row->folder, error);
    bool pending = false;
    for (char **id = there; id != NULL && *id != NULL; id++)
        pending |= replica_is_pending(row, settings->included_disks, *id);
    if (there != NULL && row->state == STATE_DISK_UPDATE && !pending)
        row->state = STATE_REPLICATING;
    return there != NULL;
}

static bool
note_received(Replica *self, const ChangeLogHeader *header, const uint8_t *digest, int64_t captured_usec, GError **error)
{
    g_autoptr(RelationshipSettings) settings = relationship_settings(self->relationship);
    int64_t age = g_get_monotonic_time() - captured_usec;
    if (!points_received(self->context, header->vm_uuid, settings, header->position, header->point_kind, age, error))
        return false;
    StoreRelationship *row = relationship_edit(self->relationship);
    ReplicationState next;
    if (row->state != STATE_REPLICATING && row->state != STATE_RESYNCHRONIZING && row->state != STATE_WAITING_INITIAL &&
        row->state != STATE_DISK_UPDATE) {
        relationship_edit_cancel(self->relationship, row);
        return refuse(error, LINK_ERROR_STATE, "the replica's state changed while the log was received");
    }
    if (header->kind == CHANGE_LOG_DELTA && !take_set(row, header, error)) {
        relationship_edit_cancel(self->relationship, row);
        return false;
    }
    /* In a change of the disks, those that are being copied count already. */
    row->declared_bytes = row->state == STATE_DISK_UPDATE ? MAX(row->declared_bytes, declared_by(header)) : declared_by(header);
    row->position = header->position;
    memcpy(row->digest, digest, CHANGE_LOG_DIGEST_SIZE);
    row->last_replication_usec = g_get_real_time() - age;
    row->last_kind = header->point_kind;
    if (header->point_kind == POINT_KIND_APPLICATION_CONSISTENT)
        row->last_application_consistent_usec = row->last_replication_usec;
    if (header->kind != CHANGE_LOG_DELTA) {
        row->initial_complete = true;
        row->applied = header->position;
        memcpy(row->applied_digest, digest, CHANGE_LOG_DIGEST_SIZE);
        row->last_apply_usec = g_get_real_time();
        row->resync_passes = 0;
        Operation done = header->kind == CHANGE_LOG_INITIAL ? OPERATION_INITIAL_DONE : OPERATION_RESYNC_DONE;
        if (state_table_next(row->mode, row->state, row->resume_state, done, &next, NULL))
            row->state = next;
    }
    if (!relationship_edit_end(self->relationship, row, error))
        return false;
    relationship_set_captured(self->relationship, captured_usec);
    if (header->kind != CHANGE_LOG_DELTA)
        forget_turn(self);
    return true;
}

static uint64_t
file_bytes(int fd)
{
    struct stat info;
    return fstat(fd, &info) == 0 ? (uint64_t)info.st_size : 0;
}

/* ---- a delta: staged, verified, durable, then acknowledged ---- */

static bool
receive_delta(Replica *self, const StoreRelationship *row, ChangeLogReader *reader, const char *part, int fd,
              int64_t captured_usec, GError **error)
{
    const ChangeLogHeader *header = change_log_reader_header(reader);
    if (header->position != header->base + 1)
        return refuse(error, LINK_ERROR_MISFIT, "a cycle must lead to the next position");
    bool names_set;
    uint8_t digest[CHANGE_LOG_DIGEST_SIZE];
    g_autofree char *path = replica_staging_path(row->folder, header->position);
    if (!wait_for_backlog(self, error) || !read_to_end(reader, digest, &names_set, error) || !check_joining(row, header, names_set, error) ||
        !sync_and_rename(fd, part, path, error) || !note_received(self, header, digest, captured_usec, error))
        return false;
    tally_success(relationship_tally(self->relationship), file_bytes(fd), g_get_monotonic_time() - captured_usec);
    self->wake(self->wake_opaque);
    return true;
}

/* Begins the work of applying what was received. While it came in no work was held, so that an operation, a failover too, may
 * have been there: what is under an overlay now must not be written. */
static bool
begin_receiving_work(Replica *self, ChangeLogKind kind, GError **error)
{
    if (!relationship_begin_work(self->relationship))
        return refuse(error, LINK_ERROR_STATE, "another operation on the replica is running");
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    if (check_state(row, kind, error) && replica_end_taking_back(self, error))
        return true;
    relationship_end_work(self->relationship);
    return false;
}

/* ---- passes of a resynchronization: staged like a delta, applied before they are acknowledged ---- */

static bool
apply_resync_pass(Replica *self, const StoreRelationship *row, const ChangeLogHeader *header, int fd, const char *token,
                  GError **error)
{
    StoreUndo undo = { .vm_uuid = row->vm_uuid, .position = header->position, .base = header->base,
                       .pass = row->resync_passes + 1 };
    if (row->resync_passes == 0 || self->captured_base != header->base)
        g_clear_pointer(&self->captured, change_log_captured_free);
    /* The number is noted first: an undo that a crash leaves behind is never overwritten by the next pass. */
    StoreRelationship *edit = relationship_edit(self->relationship);
    edit->resync_passes = undo.pass;
    g_free(edit->pass_token);
    edit->pass_token = g_strdup(token);
    if (!relationship_edit_end(self->relationship, edit, error))
        return false;
    return replica_load_captured(self, row, header->base, error) && replica_capture_undo(self, row, fd, &undo, error) &&
           replica_apply_log(self, fd, error);
}

static bool
finish_resync(Replica *self, const StoreRelationship *row, const ChangeLogHeader *header, const uint8_t *digest,
              int64_t captured_usec, GError **error)
{
    if (header->point_kind == POINT_KIND_NONE)
        return true;
    return replica_write_position(row, header->position, digest, error) &&
           note_received(self, header, digest, captured_usec, error);
}

/* The number of a pass in its token; 0 when there is none. */
static uint64_t
pass_number(const char *token)
{
    const char *dash = token != NULL ? strrchr(token, '-') : NULL;
    guint64 number = 0;
    return dash != NULL && g_ascii_string_to_unsigned(dash + 1, 10, 0, G_MAXINT64, &number, NULL) ? number : 0;
}

/* A pass brings what the ones before it left out: without them it would leave holes that nobody sees. The last one may come again. */
static bool
check_pass(const StoreRelationship *row, const char *token, GError **error)
{
    uint64_t before = pass_number(row->pass_token), number = pass_number(token);
    if (number <= 1 || number == before || number == before + 1)
        return true;
    return refuse(error, LINK_ERROR_MISFIT, "pass %" G_GUINT64_FORMAT " of the resynchronization does not follow what is "
                  "here; it has to begin anew", number);
}

static bool
apply_resync(Replica *self, const ChangeLogHeader *header, int fd, const uint8_t *digest, const char *token,
             int64_t captured_usec, GError **error)
{
    if (!replica_open_disks(self, error) || !replica_apply_pending(self, error))
        return false;
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    if (!check_pass(row, token, error) ||
        (row->state == STATE_REPLICATING && !relationship_move(self->relationship, OPERATION_RESYNC, error)))
        return false;
    if (lseek(fd, 0, SEEK_SET) < 0)
        return refuse(error, LINK_ERROR_FAILED, "cannot read the staged log");
    if (!apply_resync_pass(self, row, header, fd, token, error) ||
        !finish_resync(self, row, header, digest, captured_usec, error)) {
        replica_close_disks(self);
        return false;
    }
    replica_redefine_if_changed(self, row);
    return true;
}

/* ---- passes of a first copy into what is not empty: staged, too, as this side is asked for hashes while they come ---- */

static bool
save_token(Replica *self, const char *token, GError **error)
{
    StoreRelationship *edit = relationship_edit(self->relationship);
    g_free(edit->pass_token);
    edit->pass_token = g_strdup(token);
    return relationship_edit_end(self->relationship, edit, error);
}

/* The closing log of a first copy is applied: with it the copy is complete. */
static bool
finish_initial(Replica *self, const StoreRelationship *row, const ChangeLogHeader *header, const uint8_t *digest,
               int64_t captured_usec, GError **error)
{
    if (!replica_write_position(row, 0, digest, error) || !note_received(self, header, digest, captured_usec, error))
        return false;
    replica_redefine_if_changed(self, row);
    log_notice("replica", row->vm_name, "first copy complete");
    return true;
}

bool
replica_apply_first(Replica *self, const ChangeLogHeader *header, int fd, const uint8_t *digest, const char *token,
                    int64_t captured_usec, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    if (!replica_open_disks(self, error) || (replica_is_seeded(row) && !replica_turn_note(row->folder, TURN_CHANGED, "", error)))
        return false;
    if (lseek(fd, 0, SEEK_SET) < 0)
        return refuse(error, LINK_ERROR_FAILED, "cannot read the log of a first copy: %s", g_strerror(errno));
    if (replica_apply_log(self, fd, error))
        return save_token(self, token, error) &&
               (header->point_kind == POINT_KIND_NONE || finish_initial(self, row, header, digest, captured_usec, error));
    replica_close_disks(self);
    return false;
}

/* ---- passes of either kind ---- */

static bool
apply_pass(Replica *self, const ChangeLogHeader *header, int fd, const uint8_t *digest, const char *token, int64_t captured_usec,
           GError **error)
{
    return header->kind == CHANGE_LOG_INITIAL ? replica_settle(self, false, error) &&
                                                    replica_apply_first(self, header, fd, digest, token, captured_usec, error)
                                              : apply_resync(self, header, fd, digest, token, captured_usec, error);
}

static bool
receive_pass(Replica *self, const StoreRelationship *row, ChangeLogReader *reader, const char *part, int fd,
             int64_t captured_usec, const char *token, GError **error)
{
    const ChangeLogHeader *header = change_log_reader_header(reader);
    if (header->kind == CHANGE_LOG_RESYNC && header->position != header->base + 1)
        return refuse(error, LINK_ERROR_MISFIT, "a resynchronization must lead to the next position");
    bool names_set;
    uint8_t digest[CHANGE_LOG_DIGEST_SIZE];
    g_autofree char *path = replica_resync_staging_path(row->folder);
    if (!read_to_end(reader, digest, &names_set, error) || !sync_and_rename(fd, part, path, error))
        return false;
    if (header->kind == CHANGE_LOG_RESYNC)
        tally_resync_bytes(relationship_tally(self->relationship), file_bytes(fd));
    if (!begin_receiving_work(self, header->kind, error)) {
        unlink(path);
        return false;
    }
    bool good = apply_pass(self, header, fd, digest, token, captured_usec, error);
    relationship_end_work(self->relationship);
    unlink(path);
    return good;
}

/* ---- passes of the first copy: applied as they come ---- */

/* Gives a log whose header was read already once more from its start. */
typedef struct {
    GByteArray     *seen;
    size_t          offset;
    ChangeLogSource rest;
} Replay;

static ssize_t
replay_read(void *opaque, void *buffer, size_t length, GError **error)
{
    Replay *replay = opaque;
    if (replay->offset < replay->seen->len) {
        size_t n = MIN(length, replay->seen->len - replay->offset);
        memcpy(buffer, replay->seen->data + replay->offset, n);
        replay->offset += n;
        return (ssize_t)n;
    }
    return replay->rest.read(replay->rest.opaque, buffer, length, error);
}

typedef struct {
    ChangeLogSource source;
    GByteArray     *seen;
} Recorder;

static ssize_t
recorder_read(void *opaque, void *buffer, size_t length, GError **error)
{
    Recorder *recorder = opaque;
    ssize_t n = recorder->source.read(recorder->source.opaque, buffer, length, error);
    if (n > 0)
        g_byte_array_append(recorder->seen, buffer, (guint)n);
    return n;
}

/* The digest of a log passes by at its end only: the last record of an applied closing log. */
typedef struct {
    Replay         *replay;
    Relationship   *relationship;
    GByteArray     *all; /* (nullable): a closing log is small and is kept whole to get its digest */
} Closing;

static ssize_t
closing_read(void *opaque, void *buffer, size_t length, GError **error)
{
    Closing *closing = opaque;
    if (relationship_should_yield(closing->relationship)) {
        refuse(error, LINK_ERROR_STATE, "an operation on the replica waits; send the pass again");
        return -1;
    }
    ssize_t n = replay_read(closing->replay, buffer, length, error);
    if (n > 0 && closing->all != NULL) {
        if (closing->all->len + (size_t)n > 2 * CHANGE_LOG_BLOB_MAX + CHANGE_LOG_RECORD_MAX) {
            refuse(error, LINK_ERROR_PROTOCOL, "a closing log may hold blobs only");
            return -1;
        }
        g_byte_array_append(closing->all, buffer, (guint)n);
    }
    return n;
}

static bool
apply_initial(Replica *self, const StoreRelationship *row, const ChangeLogHeader *header, Replay *replay,
              const char *token, int64_t captured_usec, GError **error)
{
    bool last = header->point_kind != POINT_KIND_NONE;
    g_autoptr(GByteArray) all = last ? g_byte_array_new() : NULL;
    Closing closing = { replay, self->relationship, all };
    ChangeLogSource source = { closing_read, &closing };
    /* After a failover in a change of the disks, that goes on. */
    if (row->initial_complete && row->state == STATE_REPLICATING && !relationship_move(self->relationship, OPERATION_CHANGE_DISKS, error))
        return false;
    if (!replica_open_disks(self, error))
        return false;
    /* Beside positions there is no way back from them. */
    disk_target_refuse_blobs(self->disks, row->initial_complete);
    bool applied = replica_apply_source(self, source, error);
    disk_target_refuse_blobs(self->disks, false);
    if (!applied) {
        replica_close_disks(self);
        return false;
    }
    if (!save_token(self, token, error))
        return false;
    if (!last)
        return true;
    ChangeLogMemory memory = { all->data, all->len, 0 };
    ChangeLogSummary summary;
    return change_log_verify(change_log_source_memory(&memory), &summary, error) &&
           finish_initial(self, row, header, summary.digest, captured_usec, error);
}

static bool
receive_initial(Replica *self, const StoreRelationship *row, const ChangeLogHeader *header, Replay *replay, const char *token,
                int64_t captured_usec, GError **error)
{
    if (!begin_receiving_work(self, CHANGE_LOG_INITIAL, error))
        return false;
    g_autoptr(StoreRelationship) now = relationship_row(self->relationship);
    bool good = check_disks(now, header, error) && apply_initial(self, row, header, replay, token, captured_usec, error);
    relationship_end_work(self->relationship);
    return good;
}

/* ---- any log ---- */

static bool
check_header(Replica *self, const StoreRelationship *row, const ChangeLogHeader *header, const ReplicaLimits *limits,
             GError **error)
{
    static const uint8_t none[CHANGE_LOG_DIGEST_SIZE];
    bool initial = header->kind == CHANGE_LOG_INITIAL;
    g_autoptr(GError) cause = NULL;
    if (!check_state(row, header->kind, error))
        return false;
    if (!change_log_fits(header, row->vm_uuid, row->lineage, initial ? 0 : row->position, initial ? none : row->digest,
                         &cause))
        return refuse(error, LINK_ERROR_MISFIT, "%s", cause->message);
    return check_disks(row, header, error) && check_sizes(self, row, header, limits, error);
}

bool
replica_check_header(Replica *self, const ChangeLogHeader *header, const ReplicaLimits *limits, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    return check_header(self, row, header, limits, error);
}

/* Takes a log of which the header was read already, from the staged file on. */
static bool
receive_staged_log(Replica *self, const StoreRelationship *row, ChangeLogReader *reader, const LinkStream *stream,
                   int64_t captured_usec, GError **error)
{
    g_autofree char *part = replica_incoming_path(row->folder);
    int fd = incoming_fd(self->incoming);
    if (change_log_reader_header(reader)->kind == CHANGE_LOG_DELTA)
        return receive_delta(self, row, reader, part, fd, captured_usec, error);
    return receive_pass(self, row, reader, part, fd, captured_usec, stream->pass_token, error);
}

static bool
receive_staged(Replica *self, const StoreRelationship *row, Replay *replay, const LinkStream *stream,
               const ReplicaLimits *limits, int64_t captured_usec, GError **error)
{
    SpaceWatch watch;
    ChangeLogSource source = { replay_read, replay };
    if (!space_watch_begin(&watch, self->context, row->folder, limits, error) ||
        !incoming_begin(self->incoming, stream->id, source, &watch, error))
        return false;
    g_autoptr(ChangeLogReader) reader = change_log_reader_new(incoming_source(self->incoming), error);
    bool good = reader != NULL && receive_staged_log(self, row, reader, stream, captured_usec, error);
    incoming_end(self->incoming, reader, good);
    return good;
}

/* The rest of a log whose stream broke. Whether it is still wanted is asked anew. */
static bool
receive_rest(Replica *self, ChangeLogSource rest, const LinkStream *stream, const ReplicaLimits *limits,
             int64_t captured_usec, GError **error)
{
    SpaceWatch watch;
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    if (!space_watch_begin(&watch, self->context, row->folder, limits, error) ||
        !incoming_resume(self->incoming, stream->id, stream->resume_at, rest, &watch, error))
        return false;
    g_autoptr(ChangeLogReader) reader = change_log_reader_new(incoming_source(self->incoming), error);
    bool good = reader != NULL && check_header(self, row, change_log_reader_header(reader), limits, error) &&
                receive_staged_log(self, row, reader, stream, captured_usec, error);
    incoming_end(self->incoming, reader, good);
    return good;
}

static bool
receive_stream(Replica *self, ChangeLogSource log, const LinkStream *stream, const ReplicaLimits *limits, GError **error)
{
    int64_t captured = g_get_monotonic_time() - MAX(stream->age_usec, 0);
    if (stream->resume_at > 0)
        return receive_rest(self, log, stream, limits, captured, error);
    incoming_drop(self->incoming, 0);
    g_autoptr(GByteArray) seen = g_byte_array_new();
    Recorder recorder = { log, seen };
    ChangeLogSource recording = { recorder_read, &recorder };
    g_autoptr(ChangeLogReader) reader = change_log_reader_new(recording, error);
    if (reader == NULL)
        return false;
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    ChangeLogHeader header = *change_log_reader_header(reader);
    if (!check_header(self, row, &header, limits, error))
        return false;
    Replay replay = { seen, 0, log };
    if (header.kind == CHANGE_LOG_INITIAL && !replica_is_seeded(row))
        return receive_initial(self, row, &header, &replay, stream->pass_token, captured, error);
    return receive_staged(self, row, &replay, stream, limits, captured, error);
}

/* One stream at a time. */
bool
replica_bar_receiving(Replica *self)
{
    g_mutex_lock(&self->receive_lock);
    bool good = !self->receiving;
    self->receiving = true; /* the one who is there has set it already */
    g_mutex_unlock(&self->receive_lock);
    return good;
}

void
replica_allow_receiving(Replica *self)
{
    g_mutex_lock(&self->receive_lock);
    self->receiving = false;
    g_mutex_unlock(&self->receive_lock);
}

bool
replica_receive(Replica *self, ChangeLogSource log, const LinkStream *stream, const ReplicaLimits *limits,
                LinkPosition *ret_position, GError **error)
{
    if (!replica_bar_receiving(self))
        return refuse(error, LINK_ERROR_STATE, "another log of this VM is being received");
    bool good = receive_stream(self, log, stream, limits, error);
    replica_allow_receiving(self);
    if (good)
        replica_position(self, ret_position);
    return good;
}

void
replica_drop_stale(Replica *self)
{
    g_mutex_lock(&self->receive_lock);
    if (!self->receiving)
        incoming_drop(self->incoming, KEPT_USEC);
    g_mutex_unlock(&self->receive_lock);
}

static void
tell_partial(Replica *self, LinkPosition *position)
{
    IncomingKept kept = { .id = "" };
    g_mutex_lock(&self->receive_lock);
    position->receiving = self->receiving;
    if (!self->receiving)
        kept = incoming_kept(self->incoming);
    g_mutex_unlock(&self->receive_lock);
    memcpy(position->partial_id, kept.id, sizeof position->partial_id);
    position->partial_bytes = kept.bytes;
    position->partial_records = kept.records;
}

void
replica_position(Replica *self, LinkPosition *ret_position)
{
    memset(ret_position, 0, sizeof *ret_position);
    tell_partial(self, ret_position); /* before the row: a log that ended in between is in there then */
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    ret_position->state = row->state;
    g_strlcpy(ret_position->lineage, row->lineage, sizeof ret_position->lineage);
    ret_position->initial_complete = row->initial_complete;
    ret_position->position = row->position;
    ret_position->applied = row->applied;
    memcpy(ret_position->digest, row->digest, sizeof ret_position->digest);
    ret_position->seeded = replica_is_seeded(row);
    g_auto(GStrv) ids = row->initial_complete ? replica_set(row, NULL) : NULL;
    if (ids != NULL)
        disk_set_digest((const char *const *)ids, ret_position->disk_set);
    if (row->pass_token != NULL)
        g_strlcpy(ret_position->pass_token, row->pass_token, sizeof ret_position->pass_token);
}

/* ---- hashes ---- */

static bool
hash_range(DiskClient *client, uint64_t offset, uint64_t length, GByteArray *hashes, GError **error)
{
    g_autofree uint8_t *buffer = g_malloc(CHANGE_LOG_RECORD_MAX);
    uint64_t end = offset + length;
    while (offset < end) {
        uint64_t part = MIN(end - offset, CHANGE_LOG_RECORD_MAX);
        if (!disk_client_read(client, offset, buffer, part, error))
            return false;
        for (uint64_t at = 0; at < part; at += CHANGE_LOG_GRAIN) {
            uint8_t hash[LINK_HASH_SIZE];
            grain_hash(buffer + at, MIN(part - at, CHANGE_LOG_GRAIN), hash);
            g_byte_array_append(hashes, hash, sizeof hash);
        }
        offset += part;
    }
    return true;
}

static bool
hashes_locked(Replica *self, const char *disk, uint64_t offset, uint64_t length, GByteArray *hashes, GError **error)
{
    if (!replica_open_disks(self, error) || !replica_apply_pending(self, error))
        return false;
    DiskClient *client = disk_target_client(self->disks, disk, error);
    if (client == NULL)
        return false;
    uint64_t size = disk_client_size(client);
    /* Space the replica has not got yet differs from anything: an empty hash there. */
    uint64_t there = offset < size ? MIN(length, size - offset) : 0;
    there -= there < length ? there % CHANGE_LOG_GRAIN : 0;
    if (!hash_range(client, offset, there, hashes, error))
        return false;
    guint wanted = (guint)((length + CHANGE_LOG_GRAIN - 1) / CHANGE_LOG_GRAIN * LINK_HASH_SIZE);
    guint have = hashes->len;
    if (have < wanted) {
        g_byte_array_set_size(hashes, wanted);
        memset(hashes->data + have, 0, wanted - have);
    }
    return true;
}

bool
replica_hashes(Replica *self, const char *disk, uint64_t offset, uint64_t length, GByteArray *hashes, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    g_auto(GStrv) ids = replica_folder_disks(row->folder, error);
    if (ids == NULL)
        return false;
    if (!g_strv_contains((const char *const *)ids, disk) || offset % CHANGE_LOG_GRAIN != 0 || length > LINK_HASHED_MAX)
        return refuse(error, LINK_ERROR_PROTOCOL, "no such disk or range");
    if (!begin_receiving_work(self, replica_is_seeded(row) ? CHANGE_LOG_INITIAL : CHANGE_LOG_RESYNC, error))
        return false;
    bool good = hashes_locked(self, disk, offset, length, hashes, error);
    if (!good)
        replica_close_disks(self); /* a broken connection to the storage daemon does not heal */
    relationship_end_work(self->relationship);
    return good;
}
