/* tally: the statistics of one relationship while the daemon runs: counted as things happen, ended at each boundary.
 *
 * Safe from any thread; its lock is the innermost and is held over nothing but a line of the log. Nothing here writes
 * to the store: the relationship's row takes the text along whenever it is saved.
 */
#pragma once

#include "replication/health.h"
#include "replication/statistics.h"

typedef struct Tally Tally;
/* @text (nullable): as tally_text() gave it before a restart. Windows begin with tally_set_plan(). */
Tally *tally_new(const char *vm_name, const char *text);
void   tally_free(Tally *self);
/* Windows from now on; a window that ended while no daemon ran is told in the log. */
void   tally_set_plan(Tally *self, unsigned interval_sec, unsigned start_sec);

/* As of now: intervals that were missed are counted, and a window that ended is logged and over. */
void   tally_read(Tally *self, Statistics *ret_statistics);
void   tally_reset(Tally *self);
/* What the store is to have; (transfer full)(nullable). */
char  *tally_text(Tally *self);
/* Is there something that was not in a text for longer than @age_usec? */
bool   tally_is_unsaved(Tally *self, int64_t age_usec);

/* Cycles of that interval are due, or are not: by state. */
void   tally_run(Tally *self, unsigned interval_sec);
void   tally_stop(Tally *self);
void   tally_success(Tally *self, uint64_t bytes, int64_t latency_usec);
void   tally_finished(Tally *self, int64_t started_usec); /* a cycle; monotonic */
/* A try that came to nothing. Waiting for another job on the VM is none. */
void   tally_failure(Tally *self, FailureKind kind);
void   tally_resync_bytes(Tally *self, uint64_t bytes);
void   tally_pending(Tally *self, uint64_t bytes);
void   tally_consistent_failure(Tally *self);
void   tally_test_failover(Tally *self); /* one was made now */

/* What holds it up now; FAILURE_NONE ends that. */
void        tally_set_trouble(Tally *self, FailureKind kind);
FailureKind tally_trouble(Tally *self);
/* The peer gave a sign of life; cycles in which it had nothing to send are none that were missed. */
void        tally_heard(Tally *self);
int64_t     tally_silent_usec(Tally *self); /* since then, or since the start */

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Tally, tally_free)
