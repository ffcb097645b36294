/* statistics: what one window of one relationship counts, and where windows begin and end.
 *
 * Pure: no clock, no lock; tally.h keeps one while the daemon runs. A window lasts from a boundary to the next one, or
 * from the enabling of the relationship on. Boundaries are times of the local clock: start_sec after midnight, and
 * every interval_sec from there in both directions, counted from 1970-01-01. A change of the clock's season makes one
 * window an hour shorter or longer.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    unsigned   interval_sec; /* 3600 to 604800 */
    unsigned   start_sec;    /* local time of day */
    GTimeZone *zone;         /* borrowed */
} StatisticsPlan;

typedef struct {
    int64_t  start_usec, end_usec;  /* UTC; the end is the next boundary */
    uint32_t success;               /* cycles: acknowledged on a primary, durable on a replica */
    uint32_t missed;                /* intervals in which no cycle was finished */
    uint32_t failed;                /* tries that came to nothing, for any reason */
    uint32_t network_failed;        /* those of them for want of a connection */
    uint64_t bytes, max_bytes;      /* of cycles: on the wire on a primary, of the log on a replica */
    uint64_t latency_usec, max_latency_usec; /* of cycles: from the moment of capture until counted as a success */
    uint64_t resync_bytes;          /* of resynchronizations */
    uint32_t consistent_failed;     /* application-consistent points that were wanted and not taken */
    /* of no window: they stay when another begins */
    uint64_t pending_bytes;         /* primary: changed and not acknowledged, as found last */
    int64_t  last_test_failover_usec; /* replica; UTC, 0 never */
} Statistics;

/* The first boundary after @usec, and the last one that is not after it; microseconds UTC. */
int64_t statistics_boundary_after(const StatisticsPlan *plan, int64_t usec);
int64_t statistics_boundary_before(const StatisticsPlan *plan, int64_t usec);

/* A window that starts now: at the enabling, or at a reset. What is of no window stays. */
void statistics_begin(Statistics *self, const StatisticsPlan *plan, int64_t now_usec);
/* At or after the end of the window: gives the numbers to @ret_old, begins the window that @now_usec is in, and says
 * true. A clock that was set back before the start begins the window again now, with its numbers. */
bool statistics_roll(Statistics *self, const StatisticsPlan *plan, int64_t now_usec, Statistics *ret_old);
/* The boundaries changed: the window goes on to the next new one. */
void statistics_replan(Statistics *self, const StatisticsPlan *plan, int64_t now_usec);

void statistics_count_success(Statistics *self, uint64_t bytes, int64_t latency_usec);

/* Averages of a cycle; 0 without any. */
uint64_t statistics_average_bytes(const Statistics *self);
uint64_t statistics_average_latency_usec(const Statistics *self);

/* "name=number ..." for the store. Parsing leaves what a text does not name as it is, and ignores what it does not
 * know; false when there is no window in it. */
char *statistics_to_text(const Statistics *self);
bool  statistics_parse(Statistics *self, const char *text);

/* ---- which cycles are missed ----
 *
 * A cycle is due once in each interval. `due_usec` is when the next one must be finished; each interval that passes
 * after it without one is a missed cycle. */
typedef struct {
    int64_t due_usec; /* monotonic; 0: no cycles are due (suspended, first copy, failed over) */
    int64_t interval_usec;
} CycleClock;

/* Cycles are due from now on; no change when they were already. */
void     cycle_clock_run(CycleClock *self, int64_t interval_usec, int64_t now_usec);
void     cycle_clock_stop(CycleClock *self);
/* Intervals that ended without a cycle since the last look. */
uint32_t cycle_clock_missed(CycleClock *self, int64_t now_usec);
/* A cycle that began at @started_usec is finished; look for missed ones before. */
void     cycle_clock_finished(CycleClock *self, int64_t started_usec, int64_t now_usec);
