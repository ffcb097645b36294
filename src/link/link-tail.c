#include "link/link-tail.h"

#include <string.h>

#define PIECE_BYTES ((size_t)1024 * 1024)

typedef struct {
    size_t  length;
    uint8_t bytes[];
} Piece;

struct LinkTail {
    GQueue   pieces; /* all but the newest are full */
    size_t   limit;
    uint64_t start, end; /* bytes of the stream that are here */
};

LinkTail *
link_tail_new(size_t limit)
{
    LinkTail *self = g_new0(LinkTail, 1);
    g_queue_init(&self->pieces);
    self->limit = limit;
    return self;
}

static void
drop_all(LinkTail *self)
{
    g_queue_clear_full(&self->pieces, g_free);
    self->start = self->end;
}

void
link_tail_free(LinkTail *self)
{
    if (self == NULL)
        return;
    drop_all(self);
    g_free(self);
}

/* Takes pieces off the begin as long as enough is left. */
static void
trim(LinkTail *self)
{
    for (Piece *oldest; (oldest = g_queue_peek_head(&self->pieces)) != NULL;) {
        if (self->end - self->start - oldest->length < self->limit)
            return;
        self->start += oldest->length;
        g_free(g_queue_pop_head(&self->pieces));
    }
}

/* Returns: (nullable): a piece with room, owned by @self */
static Piece *
piece_with_room(LinkTail *self)
{
    Piece *newest = g_queue_peek_tail(&self->pieces);
    if (newest != NULL && newest->length < PIECE_BYTES)
        return newest;
    newest = g_try_malloc(sizeof *newest + PIECE_BYTES);
    if (newest == NULL)
        return NULL;
    newest->length = 0;
    g_queue_push_tail(&self->pieces, newest);
    return newest;
}

void
link_tail_add(LinkTail *self, const void *data, size_t length)
{
    const uint8_t *at = data;
    while (length > 0) {
        Piece *piece = piece_with_room(self);
        if (piece == NULL) {
            self->end += length;
            drop_all(self);
            return;
        }
        size_t part = MIN(length, PIECE_BYTES - piece->length);
        memcpy(piece->bytes + piece->length, at, part);
        piece->length += part;
        self->end += part;
        at += part;
        length -= part;
        trim(self);
    }
}

bool
link_tail_holds(const LinkTail *self, uint64_t offset)
{
    return offset >= self->start && offset <= self->end;
}

bool
link_tail_write(const LinkTail *self, uint64_t offset, ChangeLogSink sink, GError **error)
{
    uint64_t start = self->start;
    for (GList *link = self->pieces.head; link != NULL; link = link->next) {
        const Piece *piece = link->data;
        uint64_t end = start + piece->length;
        if (end > offset) {
            size_t skip = offset > start ? (size_t)(offset - start) : 0;
            if (!sink.write(sink.opaque, piece->bytes + skip, piece->length - skip, error))
                return false;
        }
        start = end;
    }
    return true;
}
