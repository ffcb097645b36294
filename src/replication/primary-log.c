/* One log on its way: header, extents read at the moment, blobs. */
#include "replication/primary-private.h"

#include "replication/grain-hash.h"
#include "util/log.h"

#include <string.h>

#define READS_IN_FLIGHT        8
#define CHECKPOINT_PREFIX      "vr-"

void
primary_sending_clear(Sending *sending)
{
    change_log_writer_free(sending->writer);
    link_upload_free(sending->upload);
    primary_exported_log_free(sending->exported);
    memset(sending, 0, sizeof *sending);
}

void
primary_fill_header(const Primary *self, const StoreRelationship *row, const Moment *moment, ChangeLogKind kind,
            uint64_t position, PointKind point, ChangeLogHeader *header)
{
    memset(header, 0, sizeof *header);
    header->kind = kind;
    header->point_kind = point;
    g_strlcpy(header->vm_uuid, row->vm_uuid, sizeof header->vm_uuid);
    g_strlcpy(header->lineage, row->lineage, sizeof header->lineage);
    header->base = row->position;
    header->position = position;
    if (kind != CHANGE_LOG_INITIAL)
        memcpy(header->previous_digest, row->digest, sizeof header->previous_digest);
    header->n_disks = moment_disk_count(moment);
    for (unsigned i = 0; i < header->n_disks; i++) {
        const MomentDisk *disk = moment_disk(moment, i);
        g_strlcpy(header->disks[i].id, disk->id, sizeof header->disks[i].id);
        header->disks[i].size_bytes = disk->size_bytes;
    }
}

static bool
sending_write(void *opaque, const void *data, size_t length, GError **error)
{
    Sending *sending = opaque;
    GError *cause = NULL;
    ChangeLogSink sink = link_upload_sink(sending->upload);
    return sink.write(sink.opaque, data, length, &cause) || primary_sending_resume(sending, cause, error);
}

/* Writes the header to @sink. */
static bool
begin_log(Sending *sending, const ChangeLogHeader *header, Moment *moment, ChangeLogSink sink, bool compress, GError **error)
{
    sending->moment = moment;
    sending->base = header->base;
    sending->position = header->position;
    sending->writer = change_log_writer_new(sink, header, compress, error);
    return sending->writer != NULL;
}

bool
primary_sending_begin_export(Primary *self, const ChangeLogHeader *header, Moment *moment, const char *folder, unsigned number,
                             Sending *sending, GError **error)
{
    sending->primary = self;
    sending->exported = primary_export_begin(self->context, folder, number, error);
    return sending->exported != NULL &&
           begin_log(sending, header, moment, primary_export_sink(sending->exported), true, error);
}

bool
primary_sending_begin(Primary *self, const ChangeLogHeader *header, Moment *moment, const char *token, Sending *sending,
                      GError **error)
{
    g_autoptr(RelationshipSettings) settings = relationship_settings(self->relationship);
    sending->primary = self;
    sending->upload = link_client_send_log(self->client, relationship_vm(self->relationship), header,
                                           moment_taken(moment), token, error);
    if (sending->upload == NULL)
        return false;
    ChangeLogSink sink = { .write = sending_write, .opaque = sending };
    return begin_log(sending, header, moment, sink, settings->compression_enabled, error);
}

static bool
finish_export(Sending *sending, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(sending->primary->relationship);
    int64_t taken = g_get_real_time() - (g_get_monotonic_time() - moment_taken(sending->moment));
    return primary_export_finish(sending->exported, row, sending->digest, sending->closes ? taken : 0, error);
}

/* Bytes count as sent even when the log is not acknowledged. */
bool
primary_sending_finish(Sending *sending, LinkPosition *ret_position, GError **error)
{
    if (!change_log_writer_end(sending->writer, sending->digest, error))
        return false;
    sending->ended = true;
    GError *cause = NULL;
    if (sending->exported != NULL)
        return finish_export(sending, error);
    while (!link_upload_finish(sending->upload, ret_position, &cause)) {
        if (!primary_sending_resume(sending, g_steal_pointer(&cause), error))
            return false;
        if (sending->arrived) {
            *ret_position = sending->answer;
            break;
        }
    }
    return true;
}

/* Writes the grains of a piece whose hash differs from the peer's, joining neighbours. */
static bool
write_different(const SendExtents *target, uint64_t offset, uint64_t length, const uint8_t *data, GError **error)
{
    uint64_t disk_size = moment_disk(target->moment, target->disk)->size_bytes;
    uint64_t at = offset, end = offset + length, run = offset;
    while (at < end) {
        uint64_t next = MIN(at - at % CHANGE_LOG_GRAIN + CHANGE_LOG_GRAIN, end);
        uint64_t grain = at - at % CHANGE_LOG_GRAIN;
        bool whole = at == grain && next == MIN(grain + CHANGE_LOG_GRAIN, disk_size);
        uint8_t hash[LINK_HASH_SIZE];
        bool equal = false;
        if (whole) {
            grain_hash(data != NULL ? data + (at - offset) : NULL, next - at, hash);
            equal = memcmp(hash, target->peer_hashes + (grain - target->window) / CHANGE_LOG_GRAIN * LINK_HASH_SIZE,
                           LINK_HASH_SIZE) == 0;
        }
        if (equal || next == end) {
            uint64_t stop = equal ? at : next;
            if (stop > run) {
                bool good = data != NULL ? change_log_writer_data(target->writer, target->disk - target->first, run, data + (run - offset),
                                                                  stop - run, error)
                                         : change_log_writer_zero(target->writer, target->disk - target->first, run, stop - run, error);
                if (!good)
                    return false;
            }
            run = next;
        }
        at = next;
    }
    return true;
}

/* Whoever waits for an operation on the VM does not wait for a slow link: what was sent of a pass counts, a delta is
 * sent again. */
static bool
may_go_on(SendExtents *send, GError **error)
{
    bool waits = relationship_should_yield(send->primary->relationship);
    if (send->may_stop)
        send->stopped = waits || g_get_monotonic_time() > send->stop_usec || !moment_has_room(send->moment);
    if (!waits && !send->stopped)
        return true;
    g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_IN_USE, "another operation on the VM waits");
    return false;
}

static bool
write_piece(void *opaque, uint64_t offset, uint64_t length, const void *data, GError **error)
{
    SendExtents *target = opaque;
    if (!may_go_on(target, error))
        return false;
    if (target->peer_hashes != NULL)
        return write_different(target, offset, length, data, error);
    if (data == NULL)
        return change_log_writer_zero(target->writer, target->disk - target->first, offset, length, error);
    return change_log_writer_data(target->writer, target->disk - target->first, offset, data, length, error);
}

bool
primary_send_extents(SendExtents *send, const ExtentSet *extents, GError **error)
{
    if (extent_set_count(extents) == 0)
        return true;
    const MomentDisk *disk = moment_disk(send->moment, send->disk);
    uint64_t start = extent_set_at(extents, 0)->start;
    uint64_t end = extent_set_at(extents, extent_set_count(extents) - 1)->end;
    g_autoptr(ExtentSet) zeroes = NULL;
    g_autoptr(GError) cause = NULL;
    send->done = start;
    if (!disk_client_zeroes(disk->client, start, end, &zeroes, error))
        return false;
    if (disk_client_read_extents(disk->client, extents, zeroes, READS_IN_FLIGHT, moment_cancelled(send->moment), write_piece,
                                 send, &send->done, &cause) || send->stopped)
        return true;
    g_propagate_error(error, g_steal_pointer(&cause));
    return false;
}

bool
primary_write_blobs(ChangeLogWriter *writer, GHashTable *blobs, GError **error)
{
    g_autoptr(GList) names = g_list_sort(g_hash_table_get_keys(blobs), (GCompareFunc)strcmp);
    for (GList *name = names; name != NULL; name = name->next) {
        if (!change_log_writer_blob(writer, name->data, g_hash_table_lookup(blobs, name->data), error))
            return false;
    }
    return true;
}

char *
primary_hash_of_blobs(GHashTable *blobs)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_autoptr(GList) names = g_list_sort(g_hash_table_get_keys(blobs), (GCompareFunc)strcmp);
    for (GList *name = names; name != NULL; name = name->next) {
        gsize length = 0;
        const guchar *data = g_bytes_get_data(g_hash_table_lookup(blobs, name->data), &length);
        g_checksum_update(sum, name->data, (gssize)strlen(name->data) + 1);
        g_checksum_update(sum, data, (gssize)length);
    }
    return g_strdup(g_checksum_get_string(sum));
}

char *
primary_checkpoint_name(const StoreRelationship *row, char what, uint64_t number)
{
    return g_strdup_printf(CHECKPOINT_PREFIX "%.8s-%c%" G_GUINT64_FORMAT, row->lineage, what, number);
}

/* Removes every checkpoint of ours but the ones to keep; failures are left for the next time. */
void
primary_drop_vm_checkpoints(const ReplicationContext *context, const char *vm_uuid, const char *keep, const char *keep_too)
{
    g_auto(GStrv) names = virt_checkpoint_list(context->virt, vm_uuid, NULL);
    for (char **name = names; name != NULL && *name != NULL; name++) {
        if (!g_str_has_prefix(*name, CHECKPOINT_PREFIX) || g_strcmp0(*name, keep) == 0 || g_strcmp0(*name, keep_too) == 0)
            continue;
        g_autoptr(GError) error = NULL;
        if (!virt_checkpoint_delete(context->virt, vm_uuid, *name, &error))
            log_debug("cycle", vm_uuid, "checkpoint '%s' stays for now: %s", *name, error->message);
    }
}

static void
note_left(Primary *self, const GError *error)
{
    log_debug("cycle", relationship_vm(self->relationship), "%s; trying again later", error->message);
}

void
primary_drop_checkpoints(Primary *self, const char *keep, const char *keep_too)
{
    g_autoptr(GError) error = NULL;
    if (self->upstream == NULL)
        primary_drop_vm_checkpoints(self->context, relationship_vm(self->relationship), keep, keep_too);
    else if (!change_journal_delete_others(upstream_journal(self->upstream), keep, keep_too, &error))
        note_left(self, error);
}

void
primary_drop_checkpoint(Primary *self, const char *name)
{
    g_autoptr(GError) error = NULL;
    bool good = self->upstream != NULL ? change_journal_delete(upstream_journal(self->upstream), name, &error)
                                       : virt_checkpoint_delete(self->context->virt, relationship_vm(self->relationship), name, &error);
    if (!good)
        note_left(self, error);
}

Moment *
primary_open_moment(Primary *self, const MomentRequest *request, GError **error)
{
    return self->upstream != NULL ? upstream_moment(self->upstream, request, error) : moment_open(self->context, request, error);
}

GHashTable *
primary_blobs(Primary *self, const StoreRelationship *row, GError **error)
{
    return self->upstream != NULL ? upstream_blobs(row, error) : moment_blobs(self->context, row->vm_uuid, error);
}

void
primary_add_sent(Primary *self, StoreRelationship *row, const Sending *sending)
{
    row->bytes_sent += sending->upload != NULL ? link_upload_sent(sending->upload) : 0;
}
