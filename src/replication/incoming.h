/* incoming: the file in which a log is staged while it comes in, and what is kept of it when its stream breaks.
 *
 * What is kept are whole records that were checked, of one sending, known by its id. Only the same sending goes on with
 * them, and only at their end; everything is then checked once more from the file, up to END with its digest over all.
 * They are not kept over a restart. No lock: one thread at a time.
 */
#pragma once

#include "replication/replica-space.h"

typedef struct Incoming Incoming;

typedef struct {
    char     id[37]; /* of the sending; empty when nothing is kept */
    uint64_t bytes, records;
} IncomingKept;

Incoming *incoming_new(const char *path);
void      incoming_free(Incoming *self); /* what is kept goes */

/* Begins a log; what is kept of another goes. @id (nullable): without one nothing will be kept of this one. @watch, borrowed
 * until incoming_end(), says how far the file may grow. */
bool incoming_begin(Incoming *self, const char *id, ChangeLogSource log, SpaceWatch *watch, GError **error);
/* Goes on with what is kept: @rest has what follows after @offset. On failure, LINK_ERROR_MISFIT, all is as before. */
bool incoming_resume(Incoming *self, const char *id, uint64_t offset, ChangeLogSource rest, SpaceWatch *watch,
                     GError **error);
/* The log from its first byte, in both cases. What is read from the stream is in the file then. */
ChangeLogSource incoming_source(Incoming *self);
/* The file, open for reading and writing, until incoming_end(). */
int  incoming_fd(const Incoming *self);
/* Ends the stream. @reader (nullable) has read from incoming_source() as far as it went. Not @good: when the stream broke,
 * what the reader found good is kept; in any other case the file goes. */
void incoming_end(Incoming *self, const ChangeLogReader *reader, bool good);

/* While no stream is open. */
IncomingKept incoming_kept(const Incoming *self);
/* Drops what is kept for longer than @usec; 0: what is kept. Not while a stream is open. */
void incoming_drop(Incoming *self, int64_t usec);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Incoming, incoming_free)
