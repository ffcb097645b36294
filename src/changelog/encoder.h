/* encoder: makes the contents of records into what a log stores (compressed where it pays, with its checksum), several
 * at a time on threads that all encoders of the process share. Private to changelog/.
 *
 * A queue: what was pushed comes out in the same order, encoded. One thread at a time may use an encoder; the
 * shared threads touch nothing but the piece that they encode. Memory is bounded: ENCODER_PIECES pieces of 2 MiB.
 */
#pragma once

#include "changelog/format.h"

#define ENCODER_PIECES 6u /* two processors are kept busy while the oldest piece is sent and the next is read */

typedef struct {
    ChangeLogFormatRecord record; /* all but its sequence */
    const void *stored;           /* the payload: record.stored_length bytes */
} EncoderPiece;

typedef struct Encoder Encoder;

Encoder *encoder_new(void);
void     encoder_free(Encoder *self);

unsigned encoder_count(const Encoder *self); /* pieces in it */
/* To be called when fewer than ENCODER_PIECES are in it. @data is copied; at most CHANGE_LOG_RECORD_MAX bytes. A @record
 * without content (@data NULL) just takes its place in the order. */
void encoder_push(Encoder *self, const ChangeLogFormatRecord *record, const void *data);
/* The oldest piece, to be called when there is one; NULL while it is not encoded, unless @wait. Valid until
 * encoder_pop. */
const EncoderPiece *encoder_head(Encoder *self, bool wait);
void                encoder_pop(Encoder *self);

/**
 * encoder_compress:
 * Compresses @length bytes on this thread into at most encoder_room(@length) bytes at @ret.
 * Returns: the compressed length, or 0 when it does not pay or there is no memory for it
 */
size_t encoder_compress(const void *data, size_t length, void *ret);
size_t encoder_room(size_t length);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Encoder, encoder_free)
