#include "disk/client.h"

#include <string.h>

#define STATUS_STEP     (4095ull << 20) /* bytes asked for at once; a request has 32 bits for it */
#define BITMAP_PREFIX   "qemu:dirty-bitmap:"
#define BITMAP_IS_DIRTY 1u

G_DEFINE_QUARK(disk-error-quark, disk_error)

static bool
learn_about_disk(DiskClient *self, GError **error)
{
    int64_t size = nbd_get_size(self->nbd);
    if (size < 0)
        return connection_fail(self->nbd, DISK_ERROR_CONNECT, error);
    self->size = (uint64_t)size;
    self->read_only = nbd_is_read_only(self->nbd) == 1;
    self->can_flush = nbd_can_flush(self->nbd) == 1;
    int64_t maximum = nbd_get_block_size(self->nbd, LIBNBD_SIZE_MAXIMUM);
    self->piece_max = DISK_BUFFER_SIZE;
    if (maximum > 0 && (uint64_t)maximum < DISK_BUFFER_SIZE)
        self->piece_max = (uint64_t)maximum;
    return true;
}

static bool
open_bitmap(DiskClient *self, const char *socket_path, const char *export_name, const char *bitmap, GError **error)
{
    self->bitmap_context = g_strconcat(BITMAP_PREFIX, bitmap, NULL);
    const char *contexts[] = { self->bitmap_context, NULL };
    self->bitmap_nbd = connection_open(socket_path, export_name, contexts, error);
    if (self->bitmap_nbd == NULL)
        return false;
    if (nbd_can_meta_context(self->bitmap_nbd, self->bitmap_context) == 1)
        return true;
    g_set_error(error, DISK_ERROR, DISK_ERROR_MISSING, "Export '%s' does not show dirty bitmap '%s'.", export_name,
                bitmap);
    return false;
}

DiskClient *
disk_client_connect(const char *socket_path, const char *export_name, const char *bitmap, DiskBufferPool *pool,
                    GError **error)
{
    static const char *const contexts[] = { LIBNBD_CONTEXT_BASE_ALLOCATION, NULL };
    g_autoptr(DiskClient) self = g_new0(DiskClient, 1);
    self->pool = disk_buffer_pool_ref(pool);
    self->writes = g_ptr_array_new();
    self->nbd = connection_open(socket_path, export_name, contexts, error);
    if (self->nbd == NULL || !learn_about_disk(self, error))
        return NULL;
    if (bitmap != NULL && !open_bitmap(self, socket_path, export_name, bitmap, error))
        return NULL;
    return g_steal_pointer(&self);
}

void
disk_client_free(DiskClient *self)
{
    if (self == NULL)
        return;
    disk_client_give_up(self);
    g_ptr_array_unref(self->writes);
    g_clear_error(&self->write_error);
    disk_buffer_pool_unref(self->pool);
    g_free(self->bitmap_context);
    g_free(self);
}

uint64_t
disk_client_size(const DiskClient *self)
{
    return self->size;
}

bool
disk_client_is_read_only(const DiskClient *self)
{
    return self->read_only;
}

bool
disk_client_check(const DiskClient *self, uint64_t offset, uint64_t length, GError **error)
{
    if (self->nbd == NULL) {
        g_set_error(error, DISK_ERROR, DISK_ERROR_CONNECT, "The connection to the disk has ended; connect again.");
        return false;
    }
    if (offset > self->size || length > self->size - offset) {
        g_set_error(error, DISK_ERROR, DISK_ERROR_IO,
                    "[%" G_GUINT64_FORMAT ", +%" G_GUINT64_FORMAT ") is outside the disk of %" G_GUINT64_FORMAT " bytes.",
                    offset, length, self->size);
        return false;
    }
    return true;
}

bool
disk_client_read(DiskClient *self, uint64_t offset, void *buffer, size_t length, GError **error)
{
    if (!disk_client_check(self, offset, length, error) || !disk_client_settle(self, offset, length, error))
        return false;
    uint8_t *into = buffer;
    while (length > 0) {
        size_t step = MIN(length, self->piece_max);
        ConnectionRequest request;
        if (!connection_begin_read(self->nbd, into, step, offset, &request, error))
            return false;
        if (!connection_finish(self->nbd, &request, "read", offset, error)) {
            if (!request.done)
                disk_client_give_up(self);
            return false;
        }
        into += step;
        offset += step;
        length -= step;
    }
    return true;
}

/* One walk over block status: collects the extents of @context whose flags have @flag. */
typedef struct {
    const char *context;
    uint32_t    flag;
    uint64_t    position; /* everything before it is known */
    uint64_t    end;
    ExtentSet  *found;
} StatusWalk;

static int
on_extents(void *user_data, const char *context, uint64_t offset, uint32_t *entries, size_t n_entries, int *error)
{
    StatusWalk *walk = user_data;
    if (strcmp(context, walk->context) != 0 || offset != walk->position)
        return 0;
    for (size_t i = 0; i + 1 < n_entries && walk->position < walk->end; i += 2) {
        uint64_t length = MIN((uint64_t)entries[i], walk->end - walk->position);
        if (entries[i + 1] & walk->flag)
            extent_set_add(walk->found, walk->position, length);
        walk->position += length;
    }
    return 0;
}

static bool
walk_status(DiskClient *self, struct nbd_handle *nbd, StatusWalk *walk, GError **error)
{
    while (walk->position < walk->end) {
        uint64_t before = walk->position;
        uint64_t step = MIN(walk->end - before, STATUS_STEP);
        nbd_extent_callback extents = { .callback = on_extents, .user_data = walk };
        ConnectionRequest request;
        if (nbd_aio_block_status(nbd, step, before, extents, connection_completion(&request), 0) < 0)
            return connection_fail(nbd, DISK_ERROR_IO, error);
        if (!connection_finish(nbd, &request, "tell its extents", before, error)) {
            if (!request.done)
                disk_client_give_up(self);
            return false;
        }
        if (walk->position == before) {
            g_set_error(error, DISK_ERROR, DISK_ERROR_IO,
                        "The NBD server told nothing about context '%s' at offset %" G_GUINT64_FORMAT ".",
                        walk->context, before);
            return false;
        }
    }
    return true;
}

static bool
find_extents(DiskClient *self, struct nbd_handle *nbd, const char *context, uint32_t flag, uint64_t start, uint64_t end,
             ExtentSet **ret_extents, GError **error)
{
    g_autoptr(ExtentSet) found = extent_set_new();
    StatusWalk walk = { .context = context, .flag = flag, .position = start, .end = end, .found = found };
    if (!walk_status(self, nbd, &walk, error))
        return false;
    *ret_extents = g_steal_pointer(&found);
    return true;
}

bool
disk_client_dirty(DiskClient *self, uint64_t start, uint64_t end, ExtentSet **ret_dirty, GError **error)
{
    g_assert(self->bitmap_context != NULL && start <= end);
    if (!disk_client_check(self, start, end - start, error) || !disk_client_settle(self, start, end - start, error))
        return false;
    return find_extents(self, self->bitmap_nbd, self->bitmap_context, BITMAP_IS_DIRTY, start, end, ret_dirty, error);
}

bool
disk_client_zeroes(DiskClient *self, uint64_t start, uint64_t end, ExtentSet **ret_zeroes, GError **error)
{
    g_assert(start <= end);
    if (!disk_client_check(self, start, end - start, error) || !disk_client_settle(self, start, end - start, error))
        return false;
    if (nbd_can_meta_context(self->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) != 1) {
        *ret_zeroes = extent_set_new(); /* nothing is known to be zero */
        return true;
    }
    return find_extents(self, self->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION, LIBNBD_STATE_ZERO, start, end, ret_zeroes,
                        error);
}
