/* Applying a change log, and a chain of undos, to a target.
 *
 * Sizes come first: a growth must be there before anything is written into it, and what a shrink cuts off is not written
 * by the log. Repeating is harmless: the sizes are then right already, and the same contents are written again.
 */
#include "changelog/fold.h"

#include <string.h>

static bool
resize_to(const ChangeLogTarget *target, const char *id, uint64_t size, GError **error)
{
    uint64_t now;
    if (!target->disk_size(target->opaque, id, &now, error))
        return false;
    return now == size || target->resize(target->opaque, id, size, error);
}

static bool
apply_record(const ChangeLogTarget *target, const ChangeLogHeader *header, const ChangeLogRecord *record,
             GError **error)
{
    switch (record->type) {
    case CHANGE_LOG_RECORD_DATA:
        return target->write(target->opaque, header->disks[record->disk].id, record->offset, record->data,
                             (size_t)record->length, error);
    case CHANGE_LOG_RECORD_ZERO:
        return target->zero(target->opaque, header->disks[record->disk].id, record->offset, record->length, error);
    case CHANGE_LOG_RECORD_BLOB:
        return target->blob_set(target->opaque, record->name, record->blob, error);
    case CHANGE_LOG_RECORD_END:
        return target->flush(target->opaque, error);
    }
    g_assert_not_reached();
}

bool
change_log_apply(ChangeLogSource log, const ChangeLogTarget *target, GError **error)
{
    g_autoptr(ChangeLogReader) reader = change_log_reader_new(log, error);
    if (reader == NULL)
        return false;
    const ChangeLogHeader *header = change_log_reader_header(reader);
    for (unsigned i = 0; i < header->n_disks; i++) {
        if (!resize_to(target, header->disks[i].id, header->disks[i].size_bytes, error))
            return false;
    }
    ChangeLogRecord record;
    do {
        if (!change_log_reader_next(reader, &record, error) || !apply_record(target, header, &record, error))
            return false;
    } while (record.type != CHANGE_LOG_RECORD_END);
    return true;
}

/* ---- chain of undos ---- */

typedef struct {
    const ChangeLogTarget *target;
    GPtrArray *ids; /* disk ids, owned, as the fold counts them */
} ChainOutput;

static bool
chain_disk(void *opaque, const char *id, uint64_t size, GError **error)
{
    ChainOutput *self = opaque;
    g_ptr_array_add(self->ids, g_strdup(id));
    return resize_to(self->target, id, size, error);
}

static bool
chain_data(void *opaque, unsigned disk, uint64_t offset, const void *data, size_t length, GError **error)
{
    ChainOutput *self = opaque;
    return self->target->write(self->target->opaque, g_ptr_array_index(self->ids, disk), offset, data, length, error);
}

static bool
chain_zero(void *opaque, unsigned disk, uint64_t offset, uint64_t length, GError **error)
{
    ChainOutput *self = opaque;
    return self->target->zero(self->target->opaque, g_ptr_array_index(self->ids, disk), offset, length, error);
}

static bool
chain_blob(void *opaque, const char *name, GBytes *content, GError **error)
{
    ChainOutput *self = opaque;
    return self->target->blob_set(self->target->opaque, name, content, error);
}

/* @older is NULL for the first. */
static bool
check_link(const ChangeLogHeader *older, const ChangeLogHeader *undo, GError **error)
{
    const char *wrong = NULL;
    if (undo->kind != CHANGE_LOG_UNDO)
        wrong = "one is no undo";
    else if (older != NULL && strcmp(older->vm_uuid, undo->vm_uuid) != 0)
        wrong = "they are of different VMs";
    else if (older != NULL && !fold_undo_follows(older, undo))
        wrong = "one does not begin where the one before ends";
    if (wrong == NULL)
        return true;
    g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_MISFIT, "These change logs are no chain of undos: %s.", wrong);
    return false;
}

bool
change_log_apply_undo_chain(const ChangeLogSource *undos, unsigned n_undos, const ChangeLogTarget *target,
                            GError **error)
{
    g_autoptr(GPtrArray) ids = g_ptr_array_new_with_free_func(g_free);
    ChainOutput self = { .target = target, .ids = ids };
    FoldOutput output = { .opaque = &self, .disk = chain_disk, .data = chain_data, .zero = chain_zero,
                          .blob = chain_blob };
    g_autoptr(Fold) fold = fold_new(&output);
    ChangeLogHeader older;
    for (unsigned i = 0; i < n_undos; i++) {
        g_autoptr(ChangeLogReader) reader = change_log_reader_new(undos[i], error);
        if (reader == NULL || !check_link(i > 0 ? &older : NULL, change_log_reader_header(reader), error) ||
            !fold_log(fold, reader, error))
            return false;
        older = *change_log_reader_header(reader);
    }
    return fold_end(fold, error) && target->flush(target->opaque, error);
}
