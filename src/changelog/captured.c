#include "changelog/captured.h"

struct ChangeLogCaptured {
    GHashTable *disks; /* id, owned -> ExtentSet, owned */
    GHashTable *blobs; /* set of names, owned */
};

ChangeLogCaptured *
change_log_captured_new(void)
{
    ChangeLogCaptured *self = g_new0(ChangeLogCaptured, 1);
    self->disks = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)extent_set_free);
    self->blobs = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    return self;
}

void
change_log_captured_free(ChangeLogCaptured *self)
{
    if (self == NULL)
        return;
    g_hash_table_unref(self->disks);
    g_hash_table_unref(self->blobs);
    g_free(self);
}

ChangeLogCaptured *
change_log_captured_copy(const ChangeLogCaptured *self)
{
    ChangeLogCaptured *copy = change_log_captured_new();
    GHashTableIter iter;
    gpointer key, value;
    g_hash_table_iter_init(&iter, self->disks);
    while (g_hash_table_iter_next(&iter, &key, &value))
        g_hash_table_insert(copy->disks, g_strdup(key), extent_set_copy(value));
    g_hash_table_iter_init(&iter, self->blobs);
    while (g_hash_table_iter_next(&iter, &key, NULL))
        g_hash_table_add(copy->blobs, g_strdup(key));
    return copy;
}

const ExtentSet *
change_log_captured_disk(const ChangeLogCaptured *self, const char *disk)
{
    return g_hash_table_lookup(self->disks, disk);
}

bool
change_log_captured_blob(const ChangeLogCaptured *self, const char *name)
{
    return g_hash_table_contains(self->blobs, name);
}

void
captured_addition_init(CapturedAddition *self, const ChangeLogHeader *header)
{
    self->header = header;
    for (unsigned i = 0; i < header->n_disks; i++)
        self->disks[i] = gather_new();
    self->blobs = g_ptr_array_new_with_free_func(g_free);
}

void
captured_addition_clear(CapturedAddition *self)
{
    for (unsigned i = 0; i < CHANGE_LOG_DISKS_MAX; i++)
        g_clear_pointer(&self->disks[i], gather_free);
    g_clear_pointer(&self->blobs, g_ptr_array_unref);
}

void
captured_addition_blob(CapturedAddition *self, const char *name)
{
    if (!g_ptr_array_find_with_equal_func(self->blobs, name, g_str_equal, NULL))
        g_ptr_array_add(self->blobs, g_strdup(name));
}

bool
change_log_captured_add(ChangeLogCaptured *self, CapturedAddition *addition, GError **error)
{
    g_autoptr(GPtrArray) sets = g_ptr_array_new_with_free_func((GDestroyNotify)extent_set_free);
    for (unsigned i = 0; i < addition->header->n_disks; i++) {
        const ExtentSet *old = change_log_captured_disk(self, addition->header->disks[i].id);
        ExtentSet *set = gather_union(addition->disks[i], old, error);
        if (set == NULL)
            return false;
        g_ptr_array_add(sets, set);
    }
    for (unsigned i = 0; i < addition->header->n_disks; i++)
        g_hash_table_replace(self->disks, g_strdup(addition->header->disks[i].id),
                             g_steal_pointer(&g_ptr_array_index(sets, i)));
    for (guint i = 0; i < addition->blobs->len; i++)
        g_hash_table_add(self->blobs, g_strdup(g_ptr_array_index(addition->blobs, i)));
    return true;
}

bool
change_log_captured_add_log(ChangeLogCaptured *self, ChangeLogSource undo, GError **error)
{
    g_autoptr(ChangeLogReader) reader = change_log_reader_new(undo, error);
    if (reader == NULL)
        return false;
    if (change_log_reader_header(reader)->kind != CHANGE_LOG_UNDO) {
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_MISFIT, "The change log is no undo: it captured nothing.");
        return false;
    }
    change_log_reader_skip_payloads(reader);
    g_auto(CapturedAddition) addition = { 0 };
    captured_addition_init(&addition, change_log_reader_header(reader));
    ChangeLogRecord record;
    do {
        if (!change_log_reader_next(reader, &record, error))
            return false;
        if (record.type == CHANGE_LOG_RECORD_BLOB)
            captured_addition_blob(&addition, record.name);
        else if (record.type != CHANGE_LOG_RECORD_END &&
                 !gather_add(addition.disks[record.disk], record.offset, record.length, error))
            return false;
    } while (record.type != CHANGE_LOG_RECORD_END);
    return change_log_captured_add(self, &addition, error);
}
