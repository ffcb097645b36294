/* Merging change logs into one of the same effect.
 *
 * First the headers of all are read, for the header of the result; then each log once more, the last one in order of
 * application first, and only what no log so far has said is written (fold.h).
 */
#include "changelog/fold.h"

#include <string.h>

typedef bool (*RewindFunc)(void *opaque, GError **error);

static bool
misfit(GError **error, const char *what)
{
    g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_MISFIT, "These change logs cannot be merged: %s.", what);
    return false;
}

/* @next is applied after @one. */
static bool
check_link(const ChangeLogHeader *one, const ChangeLogHeader *next, GError **error)
{
    if (one->kind != next->kind)
        return misfit(error, "they are of different kinds");
    if (strcmp(one->vm_uuid, next->vm_uuid) != 0)
        return misfit(error, "they are of different VMs");
    if (strcmp(one->lineage, next->lineage) != 0)
        return misfit(error, "they are of different lineages");
    bool follows = one->kind == CHANGE_LOG_UNDO ? fold_undo_follows(next, one) : next->base == one->position;
    return follows || misfit(error, "they do not follow one another");
}

static ChangeLogReader *
open_log(const ChangeLogSource *log, RewindFunc rewind, GError **error)
{
    if (!rewind(log->opaque, error))
        return NULL;
    return change_log_reader_new(*log, error);
}

/* Headers of all logs. */
static bool
read_headers(const ChangeLogSource *logs, unsigned n_logs, RewindFunc rewind, ChangeLogHeader *ret_headers,
             GError **error)
{
    for (unsigned i = 0; i < n_logs; i++) {
        g_autoptr(ChangeLogReader) reader = open_log(&logs[i], rewind, error);
        if (reader == NULL)
            return false;
        ret_headers[i] = *change_log_reader_header(reader);
        if (i > 0 && !check_link(&ret_headers[i - 1], &ret_headers[i], error))
            return false;
    }
    return true;
}

/* The header of the result without its disks. An undo's base, position and predecessor are those of the log it takes
 * back; so the oldest log is the first of forward ones and the last of undos. */
static ChangeLogHeader
joint_header(const ChangeLogHeader *first, const ChangeLogHeader *last)
{
    bool undo = first->kind == CHANGE_LOG_UNDO;
    const ChangeLogHeader *oldest = undo ? last : first;
    const ChangeLogHeader *newest = undo ? first : last;
    ChangeLogHeader header = *newest;
    header.base = oldest->base;
    memcpy(header.previous_digest, oldest->previous_digest, sizeof header.previous_digest);
    header.n_disks = 0;
    memset(header.disks, 0, sizeof header.disks);
    return header;
}

/* The writer can only be made when all disks are known: until then they are collected in the header. */
typedef struct {
    ChangeLogHeader header;
    ChangeLogWriter *writer;
} MergeOutput;

static bool
merge_disk(void *opaque, const char *id, uint64_t size, GError **error)
{
    MergeOutput *self = opaque;
    ChangeLogDisk *disk = &self->header.disks[self->header.n_disks++];
    g_strlcpy(disk->id, id, sizeof disk->id);
    disk->size_bytes = size;
    return true;
}

static bool
merge_data(void *opaque, unsigned disk, uint64_t offset, const void *data, size_t length, GError **error)
{
    MergeOutput *self = opaque;
    return change_log_writer_data(self->writer, disk, offset, data, length, error);
}

static bool
merge_zero(void *opaque, unsigned disk, uint64_t offset, uint64_t length, GError **error)
{
    MergeOutput *self = opaque;
    return change_log_writer_zero(self->writer, disk, offset, length, error);
}

static bool
merge_blob(void *opaque, const char *name, GBytes *content, GError **error)
{
    MergeOutput *self = opaque;
    return change_log_writer_blob(self->writer, name, content, error);
}

bool
change_log_merge(const ChangeLogSource *logs, unsigned n_logs, RewindFunc rewind, bool compress, ChangeLogSink out,
                 uint8_t ret_digest[CHANGE_LOG_DIGEST_SIZE], GError **error)
{
    if (n_logs == 0)
        return misfit(error, "there are none");
    g_autofree ChangeLogHeader *headers = g_new0(ChangeLogHeader, n_logs);
    if (!read_headers(logs, n_logs, rewind, headers, error))
        return false;

    MergeOutput self = { .header = joint_header(&headers[0], &headers[n_logs - 1]) };
    FoldOutput output = { .opaque = &self, .disk = merge_disk, .data = merge_data, .zero = merge_zero,
                          .blob = merge_blob };
    g_autoptr(Fold) fold = fold_new(&output);
    for (unsigned i = n_logs; i > 0; i--) {
        if (!fold_disks(fold, &headers[i - 1], error))
            return false;
    }
    g_autoptr(ChangeLogWriter) writer = change_log_writer_new(out, &self.header, compress, error);
    if (writer == NULL)
        return false;
    self.writer = writer;
    for (unsigned i = n_logs; i > 0; i--) {
        g_autoptr(ChangeLogReader) reader = open_log(&logs[i - 1], rewind, error);
        if (reader == NULL || !fold_log(fold, reader, error))
            return false;
    }
    return fold_end(fold, error) && change_log_writer_end(writer, ret_digest, error);
}
