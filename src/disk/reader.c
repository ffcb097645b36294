#include "disk/client.h"

#include <string.h>

#define GRAIN 65536u /* bytes; cuts between pieces are multiples of it */

/* INVARIANTS of reading extents
 *
 *  (1) Pieces are queued in order of offset, and only the oldest is ever handed over.
 *  (2) A piece is handed over only after its read is done and its outcome was found good.
 *  (3) The pool is waited for only while no buffer is held.
 *  (4) A buffer goes back to the pool only when its read is done or the connection is closed.
 */
typedef struct {
    ConnectionRequest request;
    uint64_t          offset, length;
    void             *buffer; /* NULL: zeroes, no read */
} Piece;

typedef struct {
    DiskClient      *client;
    const ExtentSet *extents, *zeroes;
    size_t           extent_index, zero_index;
    uint64_t         position; /* in the current extent; everything before is queued */
    GQueue           queue;    /* Piece */
    unsigned         in_flight_max, n_buffers;
    const gint      *cancelled;
} Reader;

/* The next part of @e from @position on that is known to be zero, cut inward to grains unless it reaches an end of @e. */
static bool
next_zero(Reader *self, const Extent *e, Extent *ret_zero)
{
    while (self->zeroes != NULL && self->zero_index < extent_set_count(self->zeroes)) {
        const Extent *z = extent_set_at(self->zeroes, self->zero_index);
        uint64_t start = z->start <= e->start ? e->start : (z->start + GRAIN - 1) / GRAIN * GRAIN;
        uint64_t end = z->end >= e->end ? e->end : z->end / GRAIN * GRAIN;
        start = MAX(start, self->position);
        if (z->start >= e->end)
            return false;
        if (start < end) {
            *ret_zero = (Extent){ start, end };
            return true;
        }
        if (z->end >= e->end)
            return false; /* may reach into the next extent */
        self->zero_index++;
    }
    return false;
}

/* What comes next, without moving on; false at the end. */
static bool
peek_piece(Reader *self, uint64_t *ret_offset, uint64_t *ret_length, bool *ret_is_zero)
{
    while (self->extent_index < extent_set_count(self->extents)) {
        const Extent *e = extent_set_at(self->extents, self->extent_index);
        self->position = MAX(self->position, e->start);
        if (self->position >= e->end) {
            self->extent_index++;
            continue;
        }
        Extent zero;
        bool has_zero = next_zero(self, e, &zero);
        *ret_offset = self->position;
        *ret_is_zero = has_zero && zero.start == self->position;
        if (*ret_is_zero) {
            *ret_length = MIN(zero.end - zero.start, DISK_ZERO_PIECE_MAX);
            return true;
        }
        uint64_t limit = has_zero ? zero.start : e->end;
        uint64_t cut = self->position + self->client->piece_max;
        if (cut < limit && cut / GRAIN * GRAIN > self->position)
            cut = cut / GRAIN * GRAIN;
        *ret_length = MIN(cut, limit) - self->position;
        return true;
    }
    return false;
}

static void
piece_free(Reader *self, Piece *piece)
{
    if (piece->buffer != NULL) {
        disk_buffer_pool_give_back(self->client->pool, piece->buffer);
        self->n_buffers--;
    }
    g_free(piece);
}

/* NULL without @error: no buffer now, but one is held, so there is something to go on with. */
static void *
take_buffer(Reader *self, GError **error)
{
    void *buffer = disk_buffer_pool_try_take(self->client->pool);
    if (buffer == NULL && self->n_buffers == 0)
        buffer = disk_buffer_pool_take(self->client->pool, self->cancelled, error);
    if (buffer != NULL)
        self->n_buffers++;
    return buffer;
}

/* Queues pieces while there is room and buffers. */
static bool
fill(Reader *self, GError **error)
{
    uint64_t offset, length;
    bool is_zero;
    while (self->queue.length < self->in_flight_max && peek_piece(self, &offset, &length, &is_zero)) {
        void *buffer = NULL;
        if (!is_zero) {
            g_autoptr(GError) local = NULL;
            buffer = take_buffer(self, &local);
            if (local != NULL) {
                g_propagate_error(error, g_steal_pointer(&local));
                return false;
            }
            if (buffer == NULL)
                return true;
        }
        Piece *piece = g_new0(Piece, 1);
        piece->offset = offset;
        piece->length = length;
        piece->buffer = buffer;
        piece->request.done = is_zero;
        self->position = offset + length;
        g_queue_push_tail(&self->queue, piece);
        if (!is_zero && !connection_begin_read(self->client->nbd, buffer, (size_t)length, offset, &piece->request, error))
            return false;
    }
    return true;
}

static bool
check_cancelled(const Reader *self, GError **error)
{
    if (self->cancelled == NULL || g_atomic_int_get(self->cancelled) == 0)
        return true;
    g_set_error(error, DISK_ERROR, DISK_ERROR_CANCELLED, "Reading the disk was given up.");
    return false;
}

/* Hands over the finished pieces at the head of the queue. */
static bool
hand_over(Reader *self, DiskPieceFunc func, void *opaque, uint64_t *last_offset, GError **error)
{
    Piece *piece;
    while ((piece = g_queue_peek_head(&self->queue)) != NULL && piece->request.done) {
        if (piece->request.error != 0)
            return connection_fail_request(piece->request.error, "read", piece->offset, error);
        if (!check_cancelled(self, error) || !func(opaque, piece->offset, piece->length, piece->buffer, error))
            return false;
        if (last_offset != NULL)
            *last_offset = piece->offset + piece->length;
        piece_free(self, g_queue_pop_head(&self->queue));
    }
    return true;
}

static bool
run(Reader *self, DiskPieceFunc func, void *opaque, uint64_t *last_offset, GError **error)
{
    for (;;) {
        if (!check_cancelled(self, error) || !fill(self, error))
            return false;
        if (g_queue_is_empty(&self->queue))
            return true;
        if (!hand_over(self, func, opaque, last_offset, error))
            return false;
        const Piece *head = g_queue_peek_head(&self->queue);
        if (head != NULL && !head->request.done && !connection_step(self->client->nbd, error))
            return false;
    }
}

bool
disk_client_read_extents(DiskClient *self, const ExtentSet *extents, const ExtentSet *zeroes, unsigned in_flight,
                         const gint *cancelled, DiskPieceFunc piece, void *opaque, uint64_t *last_offset,
                         GError **error)
{
    size_t n = extent_set_count(extents);
    uint64_t end = n > 0 ? extent_set_at(extents, n - 1)->end : 0;
    if (!disk_client_check(self, 0, end, error) || !disk_client_settle(self, 0, end, error))
        return false;
    Reader reader = { .client = self, .extents = extents, .zeroes = zeroes, .in_flight_max = MAX(in_flight, 1),
                      .cancelled = cancelled };
    g_queue_init(&reader.queue);
    bool ok = run(&reader, piece, opaque, last_offset, error);
    if (!ok)
        disk_client_give_up(self); /* before the buffers of what is still under way go back */
    Piece *left;
    while ((left = g_queue_pop_head(&reader.queue)) != NULL)
        piece_free(&reader, left);
    return ok;
}
