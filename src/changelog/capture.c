/* Capture: the inverse of a change log, read from the target before the log is applied.
 *
 * The undo's disks have the sizes the target has now; all its records lie below them. Applying it resizes first, so:
 *
 *  (1) what the log writes below the size of now is captured, widened to grains and cut at that size;
 *  (2) what the log writes above it is cut off by the resize back, and needs no capture;
 *  (3) what the log cuts off (its size is the smaller one) is captured: the resize back brings zeroes there.
 *
 * Undos in a chain that share the captured set: content that an earlier undo holds is skipped. A later undo may
 * hold places above the size that the chain ends with; applying the earlier ones cuts them off. It cannot happen
 * that an earlier one cuts off what only a later one holds: to be cut off it must have been missing in between,
 * and the log that made it missing captured it by (3), so that the later one found it in the set.
 */
#include "changelog/captured.h"

#include <string.h>

#define ZEROES_PAY CHANGE_LOG_RECORD_MAX /* a shorter extent is read sooner than asked about */

static bool
undo_header(const ChangeLogHeader *log, const ChangeLogTarget *target, ChangeLogHeader *ret_header, GError **error)
{
    *ret_header = *log;
    ret_header->kind = CHANGE_LOG_UNDO;
    for (unsigned i = 0; i < log->n_disks; i++) {
        if (!target->disk_size(target->opaque, log->disks[i].id, &ret_header->disks[i].size_bytes, error))
            return false;
    }
    return true;
}

/* Notes [start, start + length) of a disk that has @size bytes now, widened to grains. */
static bool
touch(Gather *touched, uint64_t start, uint64_t length, uint64_t size, GError **error)
{
    if (start >= size || length == 0)
        return true;
    uint64_t end = MIN(start + length, size);
    uint64_t over = end % CHANGE_LOG_GRAIN;
    if (over > 0)
        end = size - end < CHANGE_LOG_GRAIN - over ? size : end + CHANGE_LOG_GRAIN - over;
    start -= start % CHANGE_LOG_GRAIN;
    return gather_add(touched, start, end - start, error);
}

/* What the log changes on the target as it is now. */
static bool
collect_touched(ChangeLogReader *log, const ChangeLogHeader *undo, CapturedAddition *touched, GError **error)
{
    for (unsigned i = 0; i < undo->n_disks; i++) {
        uint64_t before = undo->disks[i].size_bytes;
        uint64_t after = change_log_reader_header(log)->disks[i].size_bytes;
        if (after < before && !touch(touched->disks[i], after, before - after, before, error))
            return false;
    }
    ChangeLogRecord record;
    do {
        if (!change_log_reader_next(log, &record, error))
            return false;
        if (record.type == CHANGE_LOG_RECORD_BLOB)
            captured_addition_blob(touched, record.name);
        else if (record.type != CHANGE_LOG_RECORD_END &&
                 !touch(touched->disks[record.disk], record.offset, record.length,
                        undo->disks[record.disk].size_bytes, error))
            return false;
    } while (record.type != CHANGE_LOG_RECORD_END);
    return true;
}

typedef struct {
    const ChangeLogTarget *target;
    const ChangeLogCaptured *captured; /* (nullable) what is held already */
    CapturedAddition *added;           /* what this undo holds */
    ChangeLogWriter *undo;
    uint8_t *buffer; /* CHANGE_LOG_RECORD_MAX bytes */
} Capture;

static bool
save_content(Capture *self, unsigned disk, const char *id, const Extent *extent, GError **error)
{
    for (uint64_t at = extent->start; at < extent->end;) {
        size_t length = (size_t)MIN(extent->end - at, CHANGE_LOG_RECORD_MAX);
        if (!self->target->read(self->target->opaque, id, at, self->buffer, length, error) ||
            !change_log_writer_data(self->undo, disk, at, self->buffer, length, error))
            return false;
        at += length;
    }
    return true;
}

/* Reads only what is not in @zeroes. */
static bool
save_around(Capture *self, unsigned disk, const char *id, const Extent *extent, const ExtentSet *zeroes, GError **error)
{
    g_autoptr(ExtentSet) content = extent_set_missing(zeroes, extent->start, extent->end - extent->start);
    for (size_t i = 0; i < extent_set_count(content); i++) {
        if (!save_content(self, disk, id, extent_set_at(content, i), error))
            return false;
    }
    for (size_t i = 0; i < extent_set_count(zeroes); i++) {
        uint64_t start = MAX(extent_set_at(zeroes, i)->start, extent->start);
        uint64_t end = MIN(extent_set_at(zeroes, i)->end, extent->end);
        if (start < end && !change_log_writer_zero(self->undo, disk, start, end - start, error))
            return false;
    }
    return true;
}

static bool
save_extent(Capture *self, unsigned disk, const char *id, const Extent *extent, GError **error)
{
    const ChangeLogTarget *target = self->target;
    uint64_t length = extent->end - extent->start;
    if (target->zeroes != NULL && length >= ZEROES_PAY) {
        g_autoptr(ExtentSet) zeroes = NULL;
        if (!target->zeroes(target->opaque, id, extent->start, extent->end, &zeroes, error) ||
            !save_around(self, disk, id, extent, zeroes, error))
            return false;
    } else if (!save_content(self, disk, id, extent, error)) {
        return false;
    }
    return gather_add(self->added->disks[disk], extent->start, length, error);
}

static bool
save_disk(Capture *self, unsigned disk, const char *id, Gather *touched, GError **error)
{
    g_autoptr(ExtentSet) all = gather_union(touched, NULL, error);
    if (all == NULL)
        return false;
    const ExtentSet *held = self->captured != NULL ? change_log_captured_disk(self->captured, id) : NULL;
    for (size_t i = 0; i < extent_set_count(all); i++) {
        const Extent *e = extent_set_at(all, i);
        if (held == NULL) {
            if (!save_extent(self, disk, id, e, error))
                return false;
            continue;
        }
        g_autoptr(ExtentSet) missing = extent_set_missing(held, e->start, e->end - e->start);
        for (size_t k = 0; k < extent_set_count(missing); k++) {
            if (!save_extent(self, disk, id, extent_set_at(missing, k), error))
                return false;
        }
    }
    return true;
}

static bool
save_blob(Capture *self, const char *name, GError **error)
{
    if (self->captured != NULL && change_log_captured_blob(self->captured, name))
        return true;
    g_autoptr(GBytes) content = NULL;
    if (!self->target->blob_get(self->target->opaque, name, &content, error) ||
        !change_log_writer_blob(self->undo, name, content, error))
        return false;
    captured_addition_blob(self->added, name);
    return true;
}

static bool
save_all(Capture *self, const ChangeLogHeader *header, CapturedAddition *touched, GError **error)
{
    for (unsigned i = 0; i < header->n_disks; i++) {
        if (!save_disk(self, i, header->disks[i].id, touched->disks[i], error))
            return false;
    }
    for (guint i = 0; i < touched->blobs->len; i++) {
        if (!save_blob(self, g_ptr_array_index(touched->blobs, i), error))
            return false;
    }
    return true;
}

bool
change_log_capture(ChangeLogSource log, const ChangeLogTarget *target, ChangeLogCaptured *captured, ChangeLogSink undo,
                   uint8_t ret_digest[CHANGE_LOG_DIGEST_SIZE], GError **error)
{
    g_autoptr(ChangeLogReader) reader = change_log_reader_new(log, error);
    if (reader == NULL)
        return false;
    if (change_log_reader_header(reader)->kind == CHANGE_LOG_UNDO) {
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_MISFIT, "An undo has no undo.");
        return false;
    }
    change_log_reader_skip_payloads(reader);
    ChangeLogHeader header;
    if (!undo_header(change_log_reader_header(reader), target, &header, error))
        return false;
    g_auto(CapturedAddition) touched = { 0 };
    captured_addition_init(&touched, &header);
    if (!collect_touched(reader, &header, &touched, error))
        return false;

    g_auto(CapturedAddition) added = { 0 };
    captured_addition_init(&added, &header);
    g_autoptr(ChangeLogWriter) writer = change_log_writer_new(undo, &header, true, error);
    g_autofree uint8_t *buffer = g_malloc(CHANGE_LOG_RECORD_MAX);
    Capture self = { .target = target, .captured = captured, .added = &added, .undo = writer, .buffer = buffer };
    if (writer == NULL || !save_all(&self, &header, &touched, error))
        return false;
    uint8_t digest[CHANGE_LOG_DIGEST_SIZE];
    if (!change_log_writer_end(writer, digest, error) ||
        (captured != NULL && !change_log_captured_add(captured, &added, error)))
        return false;
    if (ret_digest != NULL)
        memcpy(ret_digest, digest, sizeof digest);
    return true;
}
