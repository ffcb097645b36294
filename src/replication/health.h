/* health: what a relationship's facts say about its health, with a sentence of cause and cure for each rule that is not
 * met.
 *
 * Pure. The rules are those of Hyper-V Replica; docs/design/health.md has them, and how they scale with the interval.
 */
#pragma once

#include "replication/service.h"

/* Why a cycle, or the applying of what was received, does not succeed now. */
typedef enum {
    FAILURE_NONE,
    FAILURE_WAITING, /* for another job on the VM to end: nothing is wrong but the growing lag */
    FAILURE_NETWORK, /* the other host is not reached */
    FAILURE_PEER,    /* it is reached and does not take what is sent */
    FAILURE_LOCAL,   /* anything on this host */
} FailureKind;

typedef struct {
    const char      *vm_name;
    const char      *peer;       /* (nullable): replica server on a primary, primary on a replica */
    ReplicationMode  mode;
    ReplicationState state;
    FailureKind      failure;
    const char      *last_error; /* (nullable) */
    bool             runs_twice; /* the VM was last seen to run on both hosts */
    const char *runs_on;     /* (nullable) where else, when that is not the peer */
    const char      *consistent_error; /* (nullable): why application-consistent points fail */
    const char      *left_out; /* (nullable): disks that the VM got and that do not replicate */
    const char      *disks_failure; /* (nullable): why a change of the disks that replicate was given up */
    const char      *guest_error; /* (nullable): why a guest does not have the addresses that were set for it */
    int64_t          lag_usec;   /* age of the newest complete copy; -1 there is none */
    int64_t          silent_usec; /* replica: since the primary was heard of; else -1 */
    unsigned         interval_sec;
    const char      *exported;        /* (nullable) where a first copy is that waits for its import */
    bool             awaits;          /* a replica that no primary has asked for yet */
    uint32_t         success, missed; /* of the window */
    uint64_t         latency_usec;    /* average of the window */
} HealthFacts;

/* The limits at an interval. */
int64_t  health_lag_limit_sec(unsigned interval_sec);     /* 12 intervals, 5 min to 1 h */
unsigned health_latency_limit_sec(unsigned interval_sec); /* 1 interval, 30 s to 5 min */

/* The worst of its issues; @ret_issues (nullable): of HealthIssue, critical ones first, empty when all is well. */
ReplicationHealth health_judge(const HealthFacts *facts, GPtrArray **ret_issues);
