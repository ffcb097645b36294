#include "changelog/encoder.h"

#include <string.h>
#include <zstd.h>

#define ZSTD_LEVEL   1     /* a busy link is the reason to compress at all; level 1 does not slow a fast one much */
#define PAYS_DIVISOR 16    /* compressed content is kept when it saves a sixteenth; less is not worth the decoding */
#define HAND_OVER    16384 /* bytes; shorter content is encoded sooner than handed to a thread */
#define THREADS_MAX  16    /* of the process */

typedef enum {
    SLOT_DONE,    /* empty, or encoded */
    SLOT_WAITING, /* for a thread */
    SLOT_TAKEN,   /* by the thread that encodes it */
} SlotState;

/* INVARIANTS
 *
 *  (1) Slots are filled and emptied in a ring: the order of pushing is the order of coming out.
 *  (2) A slot that is taken belongs to the thread that took it, all others to the owner of the encoder.
 *  (3) Each push of work to the pool holds a reference: a thread that comes late finds the encoder, and nothing to do.
 *  (4) The owner never waits for a piece that no thread has taken: it encodes that itself.
 */
typedef struct {
    EncoderPiece piece;
    uint8_t     *raw, *packed; /* CHANGE_LOG_RECORD_MAX bytes, and the room for them; allocated when first needed */
    SlotState    state;        /* with the lock */
} Slot;

struct Encoder {
    gint     ref_count;
    Slot     slots[ENCODER_PIECES];
    unsigned first, used; /* of the owner's thread, changed with the lock */
    GMutex   lock;
    GCond    encoded;
};

static void
free_context(void *context)
{
    ZSTD_freeCCtx(context);
}

/* One for each thread that compresses; kept, since making one takes as long as compressing 64 KiB. */
static GPrivate thread_context = G_PRIVATE_INIT(free_context);

size_t
encoder_room(size_t length)
{
    return length - length / PAYS_DIVISOR;
}

size_t
encoder_compress(const void *data, size_t length, void *ret)
{
    ZSTD_CCtx *context = g_private_get(&thread_context);
    if (length < PAYS_DIVISOR)
        return 0;
    if (context == NULL) {
        context = ZSTD_createCCtx();
        if (context == NULL)
            return 0;
        g_private_set(&thread_context, context);
    }
    size_t n = ZSTD_compressCCtx(context, ret, encoder_room(length), data, length, ZSTD_LEVEL);
    return ZSTD_isError(n) || n >= length ? 0 : n;
}

static void
encode(Slot *slot)
{
    ChangeLogFormatRecord *record = &slot->piece.record;
    size_t compressed = encoder_compress(slot->raw, record->length, slot->packed);
    record->codec = compressed > 0 ? CHANGE_LOG_CODEC_ZSTD : CHANGE_LOG_CODEC_RAW;
    record->stored_length = (uint32_t)(compressed > 0 ? compressed : record->length);
    slot->piece.stored = compressed > 0 ? slot->packed : slot->raw;
    change_log_format_checksum(slot->piece.stored, record->stored_length, record->checksum);
}

static void
unref(Encoder *self)
{
    if (!g_atomic_int_dec_and_test(&self->ref_count))
        return;
    for (unsigned i = 0; i < ENCODER_PIECES; i++) {
        g_free(self->slots[i].raw);
        g_free(self->slots[i].packed);
    }
    g_mutex_clear(&self->lock);
    g_cond_clear(&self->encoded);
    g_free(self);
}

/* With the lock held: encodes without it. */
static void
encode_waiting(Encoder *self, Slot *slot)
{
    slot->state = SLOT_TAKEN;
    g_mutex_unlock(&self->lock);
    encode(slot);
    g_mutex_lock(&self->lock);
    slot->state = SLOT_DONE;
    g_cond_signal(&self->encoded);
}

/* On a thread of the pool: the oldest piece that waits, if the owner has left one. */
static void
encode_oldest(void *data, void *unused)
{
    Encoder *self = data;
    g_mutex_lock(&self->lock);
    for (unsigned i = 0; i < self->used; i++) {
        Slot *slot = &self->slots[(self->first + i) % ENCODER_PIECES];
        if (slot->state == SLOT_WAITING) {
            encode_waiting(self, slot);
            break;
        }
    }
    g_mutex_unlock(&self->lock);
    unref(self);
}

/* Threads that come and go with the work; never more than there are processors. */
static GThreadPool *
pool(void)
{
    static gsize once;
    static GThreadPool *threads;
    if (g_once_init_enter(&once)) {
        int most = (int)CLAMP(g_get_num_processors(), 1, THREADS_MAX);
        threads = g_thread_pool_new(encode_oldest, NULL, most, FALSE, NULL);
        g_once_init_leave(&once, 1);
    }
    return threads;
}

Encoder *
encoder_new(void)
{
    Encoder *self = g_new0(Encoder, 1);
    self->ref_count = 1;
    g_mutex_init(&self->lock);
    g_cond_init(&self->encoded);
    return self;
}

void
encoder_free(Encoder *self)
{
    if (self == NULL)
        return;
    g_mutex_lock(&self->lock);
    self->used = 0; /* nothing is left for the threads to take */
    g_mutex_unlock(&self->lock);
    unref(self);
}

unsigned
encoder_count(const Encoder *self)
{
    return self->used;
}

static void
fill(Slot *slot, const void *data, size_t length)
{
    if (slot->raw == NULL) {
        slot->raw = g_malloc(CHANGE_LOG_RECORD_MAX);
        slot->packed = g_malloc(encoder_room(CHANGE_LOG_RECORD_MAX));
    }
    memcpy(slot->raw, data, length);
}

void
encoder_push(Encoder *self, const ChangeLogFormatRecord *record, const void *data)
{
    g_assert(self->used < ENCODER_PIECES && (data == NULL || record->length <= CHANGE_LOG_RECORD_MAX));
    Slot *slot = &self->slots[(self->first + self->used) % ENCODER_PIECES];
    slot->piece = (EncoderPiece){ .record = *record };
    bool hand_over = data != NULL && record->length >= HAND_OVER;
    if (data != NULL)
        fill(slot, data, record->length);
    if (data != NULL && !hand_over)
        encode(slot);
    g_mutex_lock(&self->lock);
    slot->state = hand_over ? SLOT_WAITING : SLOT_DONE;
    self->used++;
    g_mutex_unlock(&self->lock);
    if (hand_over) {
        /* When no thread can be made, one that is there comes later, or the owner does it. */
        g_atomic_int_inc(&self->ref_count);
        g_thread_pool_push(pool(), self, NULL);
    }
}

const EncoderPiece *
encoder_head(Encoder *self, bool wait)
{
    g_assert(self->used > 0);
    Slot *slot = &self->slots[self->first];
    g_mutex_lock(&self->lock);
    if (wait && slot->state == SLOT_WAITING)
        encode_waiting(self, slot);
    while (wait && slot->state != SLOT_DONE)
        g_cond_wait(&self->encoded, &self->lock);
    bool done = slot->state == SLOT_DONE;
    g_mutex_unlock(&self->lock);
    return done ? &slot->piece : NULL;
}

void
encoder_pop(Encoder *self)
{
    g_assert(self->used > 0);
    g_mutex_lock(&self->lock);
    self->first = (self->first + 1) % ENCODER_PIECES;
    self->used--;
    g_mutex_unlock(&self->lock);
}
