#include "changelog/fold.h"

#include <string.h>

typedef struct {
    char id[CHANGE_LOG_NAME_MAX + 1];
    uint64_t size;      /* at the end */
    uint64_t shortest;  /* its smallest size in the logs so far: what an earlier log says from there on is cut off */
    ExtentSet *covered; /* said by the logs so far */
} FoldDisk;

struct Fold {
    FoldOutput output;
    unsigned n_disks;
    FoldDisk disks[CHANGE_LOG_DISKS_MAX];
    GHashTable *blobs; /* set of names, owned: said by the logs so far */
};

Fold *
fold_new(const FoldOutput *output)
{
    Fold *self = g_new0(Fold, 1);
    self->output = *output;
    self->blobs = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    return self;
}

void
fold_free(Fold *self)
{
    if (self == NULL)
        return;
    for (unsigned i = 0; i < self->n_disks; i++)
        extent_set_free(self->disks[i].covered);
    g_hash_table_unref(self->blobs);
    g_free(self);
}

static int
find_disk(const Fold *self, const char *id)
{
    for (unsigned i = 0; i < self->n_disks; i++) {
        if (strcmp(self->disks[i].id, id) == 0)
            return (int)i;
    }
    return -1;
}

bool
fold_disks(Fold *self, const ChangeLogHeader *header, GError **error)
{
    for (unsigned i = 0; i < header->n_disks; i++) {
        const ChangeLogDisk *disk = &header->disks[i];
        if (find_disk(self, disk->id) >= 0)
            continue;
        if (self->n_disks == CHANGE_LOG_DISKS_MAX) {
            g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_LIMIT,
                        "The change logs have more than %u disks together.", CHANGE_LOG_DISKS_MAX);
            return false;
        }
        FoldDisk *fresh = &self->disks[self->n_disks++];
        memcpy(fresh->id, disk->id, sizeof fresh->id);
        fresh->size = fresh->shortest = disk->size_bytes;
        fresh->covered = extent_set_new();
        if (!self->output.disk(self->output.opaque, disk->id, disk->size_bytes, error))
            return false;
    }
    return true;
}

/* What one log says of one disk while it is read. */
typedef struct {
    int disk; /* in the fold */
    Gather *said;
} SourceDisk;

typedef struct {
    SourceDisk disks[CHANGE_LOG_DISKS_MAX]; /* as its header counts them */
    GPtrArray *blobs;                       /* names, owned */
} FoldSource;

static void
fold_source_clear(FoldSource *source)
{
    for (unsigned i = 0; i < CHANGE_LOG_DISKS_MAX; i++)
        g_clear_pointer(&source->disks[i].said, gather_free);
    g_clear_pointer(&source->blobs, g_ptr_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(FoldSource, fold_source_clear)

static void
fold_source_init(FoldSource *source, const Fold *fold, const ChangeLogHeader *header)
{
    for (unsigned i = 0; i < header->n_disks; i++) {
        source->disks[i].disk = find_disk(fold, header->disks[i].id);
        source->disks[i].said = gather_new();
    }
    source->blobs = g_ptr_array_new_with_free_func(g_free);
}

static bool
put_piece(Fold *self, unsigned disk, const ChangeLogRecord *record, const Extent *piece, GError **error)
{
    uint64_t length = piece->end - piece->start;
    if (record->type == CHANGE_LOG_RECORD_ZERO)
        return self->output.zero(self->output.opaque, disk, piece->start, length, error);
    const uint8_t *data = (const uint8_t *)record->data + (piece->start - record->offset);
    return self->output.data(self->output.opaque, disk, piece->start, data, (size_t)length, error);
}

/* Hands out the parts of an extent that later logs neither say nor cut off. */
static bool
fold_extent(Fold *self, SourceDisk *from, const ChangeLogRecord *record, GError **error)
{
    FoldDisk *disk = &self->disks[from->disk];
    if (record->offset >= disk->shortest)
        return true;
    uint64_t length = MIN(record->length, disk->shortest - record->offset);
    g_autoptr(ExtentSet) visible = extent_set_missing(disk->covered, record->offset, length);
    for (size_t i = 0; i < extent_set_count(visible); i++) {
        if (!put_piece(self, (unsigned)from->disk, record, extent_set_at(visible, i), error))
            return false;
    }
    return gather_add(from->said, record->offset, length, error);
}

static bool
fold_blob(Fold *self, FoldSource *source, const ChangeLogRecord *record, GError **error)
{
    if (g_hash_table_contains(self->blobs, record->name))
        return true;
    g_ptr_array_add(source->blobs, g_strdup(record->name));
    return self->output.blob(self->output.opaque, record->name, record->blob, error);
}

/* What the log said counts for the logs before it; within itself its later records held over its earlier ones
 * by being told later. */
static bool
close_source(Fold *self, FoldSource *source, const ChangeLogHeader *header, GError **error)
{
    for (unsigned i = 0; i < header->n_disks; i++) {
        FoldDisk *disk = &self->disks[source->disks[i].disk];
        ExtentSet *joined = gather_union(source->disks[i].said, disk->covered, error);
        if (joined == NULL)
            return false;
        extent_set_free(disk->covered);
        disk->covered = joined;
        disk->shortest = MIN(disk->shortest, header->disks[i].size_bytes);
    }
    for (guint i = 0; i < source->blobs->len; i++)
        g_hash_table_add(self->blobs, g_strdup(g_ptr_array_index(source->blobs, i)));
    return true;
}

bool
fold_log(Fold *self, ChangeLogReader *reader, GError **error)
{
    const ChangeLogHeader *header = change_log_reader_header(reader);
    if (!fold_disks(self, header, error))
        return false;
    g_auto(FoldSource) source = { 0 };
    fold_source_init(&source, self, header);
    ChangeLogRecord record;
    do {
        if (!change_log_reader_next(reader, &record, error))
            return false;
        if (record.type == CHANGE_LOG_RECORD_BLOB) {
            if (!fold_blob(self, &source, &record, error))
                return false;
        } else if (record.type != CHANGE_LOG_RECORD_END &&
                   !fold_extent(self, &source.disks[record.disk], &record, error)) {
            return false;
        }
    } while (record.type != CHANGE_LOG_RECORD_END);
    return close_source(self, &source, header, error);
}

bool
fold_end(Fold *self, GError **error)
{
    for (unsigned i = 0; i < self->n_disks; i++) {
        const FoldDisk *disk = &self->disks[i];
        g_autoptr(ExtentSet) cut = extent_set_missing(disk->covered, disk->shortest, disk->size - disk->shortest);
        for (size_t k = 0; k < extent_set_count(cut); k++) {
            const Extent *e = extent_set_at(cut, k);
            if (!self->output.zero(self->output.opaque, i, e->start, e->end - e->start, error))
                return false;
        }
    }
    return true;
}

bool
fold_undo_follows(const ChangeLogHeader *older, const ChangeLogHeader *newer)
{
    bool same_step = newer->base == older->base && newer->position == older->position;
    return newer->base == older->position || same_step;
}
