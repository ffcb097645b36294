#include "disk/client.h"

#include <string.h>

/* Writes are copied and left under way, so that the next record is read while the disk writes. The copies are not
 * taken from the pool: they are held while the caller waits for its next data, and that data may come from a reader
 * that waits for the pool. */
#define WRITES_MAX       16
#define WRITES_BYTES_MAX (4u * DISK_BUFFER_SIZE)
#define ZERO_STEP        (1ull << 30) /* bytes in one request; the protocol allows just under 4 GiB */

/* After so many bytes a flush is left under way too. The disk works while data come, and the flush that somebody waits
 * for at the end has little left to do, however much memory the host has for unwritten data. */
#define FLUSH_BEHIND     (128u * 1024u * 1024u)

typedef enum { WRITE_DATA, WRITE_ZEROES, WRITE_FLUSH } WriteKind;

typedef struct {
    ConnectionRequest request;
    WriteKind         kind;
    uint64_t          offset, length; /* a flush has none, so that nothing overlaps it */
    void             *data;
} Write;

static void
write_free(DiskClient *self, Write *item)
{
    if (item->data != NULL)
        self->writes_bytes -= item->length;
    g_free(item->data);
    g_free(item);
}

static void
note_write_error(DiskClient *self, const Write *item)
{
    static const char *const verbs[] = { "write", "write zeroes", "flush" }; /* as WriteKind */
    if (self->write_error == NULL)
        connection_fail_request(item->request.error, verbs[item->kind], item->offset, &self->write_error);
}

/* Takes the finished ones out of the list. */
static void
reap(DiskClient *self)
{
    for (guint i = self->writes->len; i-- > 0;) {
        Write *item = g_ptr_array_index(self->writes, i);
        if (!item->request.done)
            continue;
        if (item->request.error != 0)
            note_write_error(self, item);
        g_ptr_array_remove_index_fast(self->writes, i);
        write_free(self, item);
    }
}

void
disk_client_give_up(DiskClient *self)
{
    reap(self);
    if (self->writes->len > 0 && self->write_error == NULL)
        g_set_error(&self->write_error, DISK_ERROR, DISK_ERROR_IO, "The connection ended before all was written.");
    nbd_close(self->nbd);
    self->nbd = NULL;
    nbd_close(self->bitmap_nbd);
    self->bitmap_nbd = NULL;
    for (guint i = 0; i < self->writes->len; i++)
        write_free(self, g_ptr_array_index(self->writes, i));
    g_ptr_array_set_size(self->writes, 0);
}

static bool
step(DiskClient *self, GError **error)
{
    if (!connection_step(self->nbd, error)) {
        disk_client_give_up(self);
        return false;
    }
    reap(self);
    return true;
}

static bool
is_busy(const DiskClient *self, uint64_t offset, uint64_t length)
{
    for (guint i = 0; i < self->writes->len; i++) {
        const Write *item = g_ptr_array_index(self->writes, i);
        if (item->offset < offset + length && offset < item->offset + item->length)
            return true;
    }
    return false;
}

bool
disk_client_settle(DiskClient *self, uint64_t offset, uint64_t length, GError **error)
{
    while (is_busy(self, offset, length)) {
        if (!step(self, error))
            return false;
    }
    return true;
}

static bool
check_earlier_writes(const DiskClient *self, GError **error)
{
    if (self->write_error == NULL)
        return true;
    if (error != NULL)
        *error = g_error_copy(self->write_error);
    return false;
}

/* Keeps the error of a request that could not be sent; it is as final as one from the disk. Returns false. */
static bool
fail_unsent(DiskClient *self, GError **error)
{
    if (self->write_error == NULL)
        connection_fail(self->nbd, DISK_ERROR_IO, &self->write_error);
    return check_earlier_writes(self, error);
}

/* Waits for a request that is on the stack, and keeps its error. */
static bool
finish_now(DiskClient *self, ConnectionRequest *request, const char *verb, uint64_t offset, GError **error)
{
    g_autoptr(GError) local = NULL;
    if (connection_finish(self->nbd, request, verb, offset, &local))
        return true;
    if (self->write_error == NULL)
        self->write_error = g_steal_pointer(&local);
    if (!request->done)
        disk_client_give_up(self);
    return check_earlier_writes(self, error);
}

/* Waits for room for one more write and for those that it must not overtake. */
static bool
make_room(DiskClient *self, uint64_t offset, uint64_t length, size_t held, GError **error)
{
    while (self->writes->len > 0 &&
           (self->writes->len >= WRITES_MAX || self->writes_bytes + held > WRITES_BYTES_MAX)) {
        if (!step(self, error))
            return false;
    }
    return disk_client_settle(self, offset, length, error) && check_earlier_writes(self, error);
}

static int64_t
send_request(DiskClient *self, Write *item)
{
    nbd_completion_callback completion = connection_completion(&item->request);
    if (item->kind == WRITE_DATA)
        return nbd_aio_pwrite(self->nbd, item->data, (size_t)item->length, item->offset, completion, 0);
    if (item->kind == WRITE_ZEROES)
        return nbd_aio_zero(self->nbd, item->length, item->offset, completion, 0);
    return nbd_aio_flush(self->nbd, completion, 0);
}

/* Leaves one request under way; @copy is owned from here on. */
static bool
begin(DiskClient *self, WriteKind kind, void *copy, uint64_t offset, uint64_t length, GError **error)
{
    Write *item = g_new0(Write, 1);
    *item = (Write){ .kind = kind, .offset = offset, .length = length, .data = copy };
    if (copy != NULL)
        self->writes_bytes += length;
    if (send_request(self, item) < 0) {
        write_free(self, item);
        return fail_unsent(self, error);
    }
    g_ptr_array_add(self->writes, item);
    reap(self);
    return true;
}

static bool
flush_behind(DiskClient *self, uint64_t length, GError **error)
{
    self->unflushed_bytes += length;
    if (self->unflushed_bytes < FLUSH_BEHIND || !self->can_flush)
        return true;
    self->unflushed_bytes = 0;
    return begin(self, WRITE_FLUSH, NULL, 0, 0, error);
}

/* Without memory for a copy: writes from the caller's memory and waits. */
static bool
write_now(DiskClient *self, const void *data, uint64_t offset, size_t length, GError **error)
{
    ConnectionRequest request;
    if (nbd_aio_pwrite(self->nbd, data, length, offset, connection_completion(&request), 0) < 0)
        return fail_unsent(self, error);
    return finish_now(self, &request, "write", offset, error);
}

bool
disk_client_write(DiskClient *self, uint64_t offset, const void *data, size_t length, GError **error)
{
    if (!check_earlier_writes(self, error) || !disk_client_check(self, offset, length, error))
        return false;
    const uint8_t *from = data;
    while (length > 0) {
        size_t part = MIN(length, self->piece_max);
        if (!make_room(self, offset, part, part, error))
            return false;
        void *copy = g_try_malloc(part);
        if (copy != NULL)
            memcpy(copy, from, part);
        bool good = copy != NULL ? begin(self, WRITE_DATA, copy, offset, part, error)
                                 : write_now(self, from, offset, part, error);
        if (!good || !flush_behind(self, part, error))
            return false;
        from += part;
        offset += part;
        length -= part;
    }
    return true;
}

bool
disk_client_zero(DiskClient *self, uint64_t offset, uint64_t length, GError **error)
{
    if (!check_earlier_writes(self, error) || !disk_client_check(self, offset, length, error))
        return false;
    while (length > 0) {
        uint64_t part = MIN(length, ZERO_STEP);
        if (!make_room(self, offset, part, 0, error) || !begin(self, WRITE_ZEROES, NULL, offset, part, error))
            return false;
        offset += part;
        length -= part;
    }
    return true;
}

bool
disk_client_flush(DiskClient *self, GError **error)
{
    if (!check_earlier_writes(self, error) || !disk_client_check(self, 0, 0, error))
        return false;
    while (self->writes->len > 0) { /* flushes too: an error that one of them took is not told again by the next */
        if (!step(self, error))
            return false;
    }
    if (!check_earlier_writes(self, error))
        return false;
    self->unflushed_bytes = 0;
    if (!self->can_flush)
        return true; /* the server has nothing that could be lost */
    ConnectionRequest request;
    if (nbd_aio_flush(self->nbd, connection_completion(&request), 0) < 0)
        return fail_unsent(self, error);
    return finish_now(self, &request, "flush", 0, error);
}
