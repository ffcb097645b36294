/* state-table: which operation is possible in which mode and state, and where it leads.
 *
 * One table; a pair that is not in it is refused with REPLICATION_ERROR_INVALID_STATE. Pure.
 */
#pragma once

#include "replication/service.h"

typedef enum {
    OPERATION_CREATE,
    OPERATION_START_INITIAL,
    OPERATION_AWAIT_PRIMARY,     /* a VM may become the replica of a primary that comes */
    OPERATION_IMPORT,            /* a first copy from a folder */
    OPERATION_INITIAL_DONE,      /* the first copy is complete */
    OPERATION_CANCEL_INITIAL,
    OPERATION_CANCEL_RESYNC,
    OPERATION_SUSPEND,
    OPERATION_RESUME,
    OPERATION_CHANGES_LOST,      /* bitmap or position unknown */
    OPERATION_RESYNC,            /* starts */
    OPERATION_SEND_IN_PASSES,    /* of changes that do not fit one cycle */
    OPERATION_RESYNC_DONE,
    OPERATION_FAILOVER,
    OPERATION_FAILOVER_DONE,
    OPERATION_FAILOVER_FAILED,
    OPERATION_REVERT,
    OPERATION_PREPARE,           /* a planned failover */
    OPERATION_GIVE_UP_ROLE,      /* a primary that its former replica may turn into a replica */
    OPERATION_REVERSE,           /* the replica becomes the primary */
    OPERATION_COMMIT,
    OPERATION_CONTINUE,
    OPERATION_MODIFY,            /* its settings */
    OPERATION_CHANGE_DISKS,      /* which of the VM's replicate */
    OPERATION_DISKS_CHANGED,     /* the first position with the new set is on the replica */
    OPERATION_DISKS_FAILED,
    OPERATION_CANCEL_DISKS,
    OPERATION_TEST_FAILOVER,     /* a second VM beside the replica; replication goes on */
    OPERATION_REMOVE,
    N_OPERATIONS,
} Operation;

/* "failover" and the like, for messages. */
const char *operation_name(Operation operation);
const char *replication_state_name(ReplicationState state);
/* Of either kind: does it receive? */
bool        replication_mode_is_replica(ReplicationMode mode);
const char *replication_mode_name(ReplicationMode mode);

/**
 * state_table_next:
 * @resume_state: what a suspension interrupted; RESUME leads there
 *
 * Returns: true with the next state, or false with @error saying what the state allows.
 */
bool state_table_next(ReplicationMode mode, ReplicationState state, ReplicationState resume_state, Operation operation,
                      ReplicationState *ret_next, GError **error);
