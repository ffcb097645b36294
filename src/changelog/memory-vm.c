#include "changelog/memory-vm.h"

#include <string.h>

static void
memory_disk_free(gpointer data)
{
    MemoryDisk *disk = data;
    g_free(disk->id);
    g_byte_array_unref(disk->content);
    g_free(disk);
}

MemoryVm *
memory_vm_new(void)
{
    MemoryVm *self = g_new0(MemoryVm, 1);
    self->disks = g_ptr_array_new_with_free_func(memory_disk_free);
    self->blobs = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_bytes_unref);
    self->fail_after = -1;
    return self;
}

void
memory_vm_free(MemoryVm *self)
{
    if (self == NULL)
        return;
    g_ptr_array_unref(self->disks);
    g_hash_table_unref(self->blobs);
    g_free(self);
}

static void
disk_resize(MemoryDisk *disk, uint64_t size)
{
    guint old = disk->content->len;
    g_byte_array_set_size(disk->content, (guint)size);
    if (size > old)
        memset(disk->content->data + old, 0, size - old);
}

MemoryDisk *
memory_vm_add_disk(MemoryVm *self, const char *id, uint64_t size)
{
    MemoryDisk *disk = g_new0(MemoryDisk, 1);
    disk->id = g_strdup(id);
    disk->content = g_byte_array_new();
    disk_resize(disk, size);
    g_ptr_array_add(self->disks, disk);
    return disk;
}

MemoryDisk *
memory_vm_disk(const MemoryVm *self, const char *id)
{
    for (guint i = 0; i < self->disks->len; i++) {
        MemoryDisk *disk = g_ptr_array_index(self->disks, i);
        if (strcmp(disk->id, id) == 0)
            return disk;
    }
    return NULL;
}

void
memory_vm_set_blob(MemoryVm *self, const char *name, GBytes *content)
{
    if (content != NULL)
        g_hash_table_replace(self->blobs, g_strdup(name), g_bytes_ref(content));
    else
        g_hash_table_remove(self->blobs, name);
}

MemoryVm *
memory_vm_copy(const MemoryVm *self)
{
    MemoryVm *copy = memory_vm_new();
    for (guint i = 0; i < self->disks->len; i++) {
        const MemoryDisk *disk = g_ptr_array_index(self->disks, i);
        MemoryDisk *fresh = memory_vm_add_disk(copy, disk->id, disk->content->len);
        if (disk->content->len > 0)
            memcpy(fresh->content->data, disk->content->data, disk->content->len);
    }
    GHashTableIter iter;
    gpointer name, content;
    g_hash_table_iter_init(&iter, self->blobs);
    while (g_hash_table_iter_next(&iter, &name, &content))
        memory_vm_set_blob(copy, name, content);
    return copy;
}

bool
memory_vm_equal(const MemoryVm *a, const MemoryVm *b)
{
    if (a->disks->len != b->disks->len || g_hash_table_size(a->blobs) != g_hash_table_size(b->blobs))
        return false;
    for (guint i = 0; i < a->disks->len; i++) {
        const MemoryDisk *one = g_ptr_array_index(a->disks, i);
        const MemoryDisk *other = memory_vm_disk(b, one->id);
        if (other == NULL || one->content->len != other->content->len ||
            (one->content->len > 0 && memcmp(one->content->data, other->content->data, one->content->len) != 0))
            return false;
    }
    GHashTableIter iter;
    gpointer name, content;
    g_hash_table_iter_init(&iter, a->blobs);
    while (g_hash_table_iter_next(&iter, &name, &content)) {
        GBytes *other = g_hash_table_lookup(b->blobs, name);
        if (other == NULL || !g_bytes_equal(content, other))
            return false;
    }
    return true;
}

/* ---- as a target ---- */

static MemoryDisk *
find(const MemoryVm *self, const char *id, GError **error)
{
    MemoryDisk *disk = memory_vm_disk(self, id);
    if (disk == NULL)
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_TARGET, "The VM has no disk '%s'.", id);
    return disk;
}

static MemoryDisk *
find_place(const MemoryVm *self, const char *id, uint64_t offset, uint64_t length, GError **error)
{
    MemoryDisk *disk = find(self, id, error);
    if (disk == NULL)
        return NULL;
    if (offset > disk->content->len || length > disk->content->len - offset) {
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_TARGET, "Disk '%s' is shorter than that.", id);
        return NULL;
    }
    return disk;
}

/* Counts a change; fails it when its time has come. */
static bool
count_change(MemoryVm *self, GError **error)
{
    self->flushed = false;
    if (self->fail_after >= 0 && self->changes >= (unsigned)self->fail_after) {
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_IO, "The disk failed, as it was told to.");
        return false;
    }
    self->changes++;
    return true;
}

static bool
target_disk_size(void *opaque, const char *id, uint64_t *ret_size, GError **error)
{
    const MemoryDisk *disk = find(opaque, id, error);
    if (disk == NULL)
        return false;
    *ret_size = disk->content->len;
    return true;
}

static bool
target_read(void *opaque, const char *id, uint64_t offset, void *buffer, size_t length, GError **error)
{
    const MemoryDisk *disk = find_place(opaque, id, offset, length, error);
    if (disk == NULL)
        return false;
    memcpy(buffer, disk->content->data + offset, length);
    ((MemoryVm *)opaque)->bytes_read += length;
    return true;
}

/* Knows zeroes in blocks of 4 KiB of which all is asked about. */
static bool
target_zeroes(void *opaque, const char *id, uint64_t start, uint64_t end, ExtentSet **ret_zeroes, GError **error)
{
    static const uint8_t block[4096];
    const MemoryDisk *disk = find_place(opaque, id, start, end - start, error);
    if (disk == NULL)
        return false;
    *ret_zeroes = extent_set_new();
    for (uint64_t at = (start + sizeof block - 1) / sizeof block * sizeof block; at + sizeof block <= end;
         at += sizeof block) {
        if (memcmp(disk->content->data + at, block, sizeof block) == 0)
            extent_set_add(*ret_zeroes, at, sizeof block);
    }
    return true;
}

static bool
target_write(void *opaque, const char *id, uint64_t offset, const void *data, size_t length, GError **error)
{
    MemoryDisk *disk = find_place(opaque, id, offset, length, error);
    if (disk == NULL || !count_change(opaque, error))
        return false;
    memcpy(disk->content->data + offset, data, length);
    return true;
}

static bool
target_zero(void *opaque, const char *id, uint64_t offset, uint64_t length, GError **error)
{
    MemoryDisk *disk = find_place(opaque, id, offset, length, error);
    if (disk == NULL || !count_change(opaque, error))
        return false;
    memset(disk->content->data + offset, 0, length);
    return true;
}

static bool
target_resize(void *opaque, const char *id, uint64_t size, GError **error)
{
    MemoryDisk *disk = find(opaque, id, error);
    if (disk == NULL || !count_change(opaque, error))
        return false;
    if (size > MEMORY_VM_SIZE_MAX) {
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_TARGET, "Disk '%s' cannot grow so far.", id);
        return false;
    }
    disk_resize(disk, size);
    return true;
}

static bool
target_flush(void *opaque, GError **error)
{
    MemoryVm *self = opaque;
    self->flushed = true;
    return true;
}

static bool
target_blob_get(void *opaque, const char *name, GBytes **ret_blob, GError **error)
{
    MemoryVm *self = opaque;
    GBytes *content = g_hash_table_lookup(self->blobs, name);
    *ret_blob = content != NULL ? g_bytes_ref(content) : NULL;
    return true;
}

static bool
target_blob_set(void *opaque, const char *name, GBytes *content, GError **error)
{
    if (!count_change(opaque, error))
        return false;
    memory_vm_set_blob(opaque, name, content);
    return true;
}

ChangeLogTarget
memory_vm_target(MemoryVm *self)
{
    return (ChangeLogTarget){
        .opaque = self,
        .disk_size = target_disk_size,
        .read = target_read,
        .write = target_write,
        .zero = target_zero,
        .resize = target_resize,
        .flush = target_flush,
        .blob_get = target_blob_get,
        .blob_set = target_blob_set,
        .zeroes = target_zeroes,
    };
}
