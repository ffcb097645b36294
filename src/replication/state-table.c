#include "replication/state-table.h"

/* STATE_UNKNOWN as a next state stands for the state that a suspension interrupted. */
#define INTERRUPTED STATE_UNKNOWN

static const struct {
    ReplicationMode  mode;
    ReplicationState state;
    Operation        operation;
    ReplicationState next;
} transitions[] = {
    /* mode         state                     operation                  next */
    { MODE_NONE,    STATE_DISABLED,           OPERATION_CREATE,          STATE_READY },
    { MODE_NONE,    STATE_DISABLED,           OPERATION_AWAIT_PRIMARY,   STATE_WAITING_INITIAL },

    { MODE_PRIMARY, STATE_READY,              OPERATION_START_INITIAL,   STATE_WAITING_INITIAL },
    { MODE_PRIMARY, STATE_WAITING_INITIAL,    OPERATION_INITIAL_DONE,    STATE_REPLICATING },
    { MODE_PRIMARY, STATE_WAITING_INITIAL,    OPERATION_CANCEL_INITIAL,  STATE_READY },
    { MODE_PRIMARY, STATE_SUSPENDED,          OPERATION_CANCEL_INITIAL,  STATE_READY }, /* a first copy that was */
    { MODE_PRIMARY, STATE_CRITICAL,           OPERATION_CANCEL_INITIAL,  STATE_READY },
    { MODE_PRIMARY, STATE_WAITING_INITIAL,    OPERATION_SUSPEND,         STATE_SUSPENDED },
    { MODE_PRIMARY, STATE_WAITING_INITIAL,    OPERATION_CHANGES_LOST,    STATE_WAITING_INITIAL },
    { MODE_PRIMARY, STATE_REPLICATING,        OPERATION_SUSPEND,         STATE_SUSPENDED },
    { MODE_PRIMARY, STATE_REPLICATING,        OPERATION_CHANGES_LOST,    STATE_WAITING_RESYNC },
    { MODE_PRIMARY, STATE_RESYNCHRONIZING,    OPERATION_CHANGES_LOST,    STATE_WAITING_RESYNC },
    { MODE_PRIMARY, STATE_WAITING_RESYNC,     OPERATION_RESYNC,          STATE_RESYNCHRONIZING },
    { MODE_PRIMARY, STATE_WAITING_RESYNC,     OPERATION_RESUME,          STATE_RESYNCHRONIZING },
    { MODE_PRIMARY, STATE_SUSPENDED,          OPERATION_RESYNC,          STATE_RESYNCHRONIZING },
    { MODE_PRIMARY, STATE_CRITICAL,           OPERATION_RESYNC,          STATE_RESYNCHRONIZING },
    { MODE_PRIMARY, STATE_RESYNC_SUSPENDED,   OPERATION_RESYNC,          STATE_RESYNCHRONIZING },
    { MODE_PRIMARY, STATE_REPLICATING,        OPERATION_SEND_IN_PASSES,  STATE_RESYNCHRONIZING },
    { MODE_PRIMARY, STATE_RESYNCHRONIZING,    OPERATION_RESYNC_DONE,     STATE_REPLICATING },
    { MODE_PRIMARY, STATE_RESYNCHRONIZING,    OPERATION_CANCEL_RESYNC,   STATE_WAITING_RESYNC },
    { MODE_PRIMARY, STATE_RESYNCHRONIZING,    OPERATION_SUSPEND,         STATE_RESYNC_SUSPENDED },
    { MODE_PRIMARY, STATE_RESYNC_SUSPENDED,   OPERATION_RESUME,          STATE_RESYNCHRONIZING },
    { MODE_PRIMARY, STATE_SUSPENDED,          OPERATION_RESUME,          INTERRUPTED },
    { MODE_PRIMARY, STATE_CRITICAL,           OPERATION_RESUME,          INTERRUPTED },

    { MODE_PRIMARY, STATE_REPLICATING,        OPERATION_PREPARE,         STATE_PREPARED },
    { MODE_PRIMARY, STATE_PREPARED,           OPERATION_REVERT,          STATE_REPLICATING },
    { MODE_PRIMARY, STATE_PREPARED,           OPERATION_RESUME,          STATE_REPLICATING },

    { MODE_PRIMARY, STATE_REPLICATING,        OPERATION_GIVE_UP_ROLE,    STATE_REPURPOSE },
    { MODE_PRIMARY, STATE_SUSPENDED,          OPERATION_GIVE_UP_ROLE,    STATE_REPURPOSE },
    { MODE_PRIMARY, STATE_CRITICAL,           OPERATION_GIVE_UP_ROLE,    STATE_REPURPOSE },
    { MODE_PRIMARY, STATE_WAITING_RESYNC,     OPERATION_GIVE_UP_ROLE,    STATE_REPURPOSE },
    { MODE_PRIMARY, STATE_RESYNCHRONIZING,    OPERATION_GIVE_UP_ROLE,    STATE_REPURPOSE },
    { MODE_PRIMARY, STATE_RESYNC_SUSPENDED,   OPERATION_GIVE_UP_ROLE,    STATE_REPURPOSE },
    { MODE_PRIMARY, STATE_REPURPOSE,          OPERATION_RESUME,          INTERRUPTED },

    { MODE_PRIMARY, STATE_REPLICATING,        OPERATION_CHANGE_DISKS,    STATE_DISK_UPDATE },
    { MODE_PRIMARY, STATE_DISK_UPDATE_CRITICAL, OPERATION_CHANGE_DISKS,  STATE_DISK_UPDATE },
    { MODE_PRIMARY, STATE_DISK_UPDATE,        OPERATION_DISKS_CHANGED,   STATE_REPLICATING },
    { MODE_PRIMARY, STATE_DISK_UPDATE,        OPERATION_DISKS_FAILED,    STATE_DISK_UPDATE_CRITICAL },
    { MODE_PRIMARY, STATE_DISK_UPDATE,        OPERATION_CANCEL_DISKS,    STATE_REPLICATING },
    { MODE_PRIMARY, STATE_DISK_UPDATE_CRITICAL, OPERATION_CANCEL_DISKS,  STATE_REPLICATING },
    { MODE_PRIMARY, STATE_DISK_UPDATE,        OPERATION_CHANGES_LOST,    STATE_WAITING_RESYNC },
    { MODE_PRIMARY, STATE_DISK_UPDATE_CRITICAL, OPERATION_CHANGES_LOST,  STATE_WAITING_RESYNC },
    { MODE_PRIMARY, STATE_DISK_UPDATE,        OPERATION_GIVE_UP_ROLE,    STATE_REPURPOSE },
    { MODE_PRIMARY, STATE_DISK_UPDATE_CRITICAL, OPERATION_GIVE_UP_ROLE,  STATE_REPURPOSE },

    { MODE_PRIMARY, STATE_READY,              OPERATION_MODIFY,          STATE_READY },
    { MODE_PRIMARY, STATE_WAITING_INITIAL,    OPERATION_MODIFY,          STATE_WAITING_INITIAL },
    { MODE_PRIMARY, STATE_REPLICATING,        OPERATION_MODIFY,          STATE_REPLICATING },
    { MODE_PRIMARY, STATE_PREPARED,           OPERATION_MODIFY,          STATE_PREPARED },
    { MODE_PRIMARY, STATE_SUSPENDED,          OPERATION_MODIFY,          STATE_SUSPENDED },
    { MODE_PRIMARY, STATE_CRITICAL,           OPERATION_MODIFY,          STATE_CRITICAL },
    { MODE_PRIMARY, STATE_WAITING_RESYNC,     OPERATION_MODIFY,          STATE_WAITING_RESYNC },
    { MODE_PRIMARY, STATE_RESYNCHRONIZING,    OPERATION_MODIFY,          STATE_RESYNCHRONIZING },
    { MODE_PRIMARY, STATE_RESYNC_SUSPENDED,   OPERATION_MODIFY,          STATE_RESYNC_SUSPENDED },

    { MODE_REPLICA, STATE_WAITING_INITIAL,    OPERATION_INITIAL_DONE,    STATE_REPLICATING },
    { MODE_REPLICA, STATE_WAITING_INITIAL,    OPERATION_IMPORT,          STATE_REPLICATING },
    { MODE_REPLICA, STATE_WAITING_INITIAL,    OPERATION_SUSPEND,         STATE_SUSPENDED },
    { MODE_REPLICA, STATE_REPLICATING,        OPERATION_SUSPEND,         STATE_SUSPENDED },
    { MODE_REPLICA, STATE_REPLICATING,        OPERATION_RESYNC,          STATE_RESYNCHRONIZING },
    { MODE_REPLICA, STATE_REPLICATING,        OPERATION_FAILOVER,        STATE_FAILOVER_RUNNING },
    { MODE_REPLICA, STATE_SUSPENDED,          OPERATION_RESUME,          INTERRUPTED },
    { MODE_REPLICA, STATE_SUSPENDED,          OPERATION_FAILOVER,        STATE_FAILOVER_RUNNING },
    { MODE_REPLICA, STATE_CRITICAL,           OPERATION_RESUME,          INTERRUPTED },
    { MODE_REPLICA, STATE_RESYNCHRONIZING,    OPERATION_RESUME,          STATE_REPLICATING }, /* it is taken back */
    { MODE_REPLICA, STATE_RESYNCHRONIZING,    OPERATION_RESYNC_DONE,     STATE_REPLICATING },
    { MODE_REPLICA, STATE_RESYNCHRONIZING,    OPERATION_SUSPEND,         STATE_RESYNC_SUSPENDED },
    { MODE_REPLICA, STATE_RESYNCHRONIZING,    OPERATION_FAILOVER,        STATE_FAILOVER_RUNNING },
    { MODE_REPLICA, STATE_RESYNC_SUSPENDED,   OPERATION_RESUME,          STATE_RESYNCHRONIZING },
    { MODE_REPLICA, STATE_REPLICATING,        OPERATION_CHANGE_DISKS,    STATE_DISK_UPDATE },
    { MODE_REPLICA, STATE_DISK_UPDATE,        OPERATION_CHANGE_DISKS,    STATE_DISK_UPDATE },
    { MODE_REPLICA, STATE_DISK_UPDATE,        OPERATION_DISKS_CHANGED,   STATE_REPLICATING },
    { MODE_REPLICA, STATE_DISK_UPDATE,        OPERATION_CANCEL_DISKS,    STATE_REPLICATING },
    { MODE_REPLICA, STATE_DISK_UPDATE,        OPERATION_FAILOVER,        STATE_FAILOVER_RUNNING },
    { MODE_REPLICA, STATE_FAILOVER_RUNNING,   OPERATION_FAILOVER_DONE,   STATE_RECOVERED },
    { MODE_REPLICA, STATE_FAILOVER_RUNNING,   OPERATION_FAILOVER_FAILED, STATE_REPLICATING },
    { MODE_REPLICA, STATE_FAILOVER_RUNNING,   OPERATION_REVERT,          STATE_REPLICATING },
    { MODE_REPLICA, STATE_RECOVERED,          OPERATION_REVERT,          STATE_REPLICATING },
    { MODE_REPLICA, STATE_RECOVERED,          OPERATION_REVERSE,         STATE_RESYNCHRONIZING },
    { MODE_REPLICA, STATE_COMMITTED,          OPERATION_REVERSE,         STATE_RESYNCHRONIZING },
    { MODE_REPLICA, STATE_RECOVERED,          OPERATION_COMMIT,          STATE_COMMITTED },
    { MODE_REPLICA, STATE_COMMITTED,          OPERATION_CONTINUE,        STATE_RESYNCHRONIZING },
    { MODE_REPLICA, STATE_COMMITTED,          OPERATION_COMMIT,          STATE_COMMITTED }, /* one that was interrupted */
    { MODE_REPLICA, STATE_REPLICATING,        OPERATION_TEST_FAILOVER,   STATE_REPLICATING },
    { MODE_REPLICA, STATE_SUSPENDED,          OPERATION_TEST_FAILOVER,   STATE_SUSPENDED },
};

static const char *const operation_names[N_OPERATIONS] = {
    [OPERATION_CREATE] = "enable replication",
    [OPERATION_START_INITIAL] = "start initial replication",
    [OPERATION_AWAIT_PRIMARY] = "become a replica",
    [OPERATION_IMPORT] = "import the first copy",
    [OPERATION_INITIAL_DONE] = "complete initial replication",
    [OPERATION_CANCEL_INITIAL] = "cancel initial replication",
    [OPERATION_CANCEL_RESYNC] = "cancel the resynchronization",
    [OPERATION_SUSPEND] = "suspend replication",
    [OPERATION_RESUME] = "resume replication",
    [OPERATION_CHANGES_LOST] = "require a resynchronization",
    [OPERATION_RESYNC] = "resynchronize",
    [OPERATION_SEND_IN_PASSES] = "send the changes in passes",
    [OPERATION_RESYNC_DONE] = "complete resynchronization",
    [OPERATION_FAILOVER] = "fail over",
    [OPERATION_FAILOVER_DONE] = "complete the failover",
    [OPERATION_FAILOVER_FAILED] = "take the failover back",
    [OPERATION_REVERT] = "revert the failover",
    [OPERATION_PREPARE] = "prepare a planned failover",
    [OPERATION_GIVE_UP_ROLE] = "give up the role of the primary",
    [OPERATION_REVERSE] = "reverse the replication",
    [OPERATION_COMMIT] = "commit the failover",
    [OPERATION_CONTINUE] = "become the primary of the third host",
    [OPERATION_MODIFY] = "change the settings of replication",
    [OPERATION_CHANGE_DISKS] = "change the disks that replicate",
    [OPERATION_DISKS_CHANGED] = "complete the change of the disks that replicate",
    [OPERATION_DISKS_FAILED] = "give up the change of the disks that replicate",
    [OPERATION_CANCEL_DISKS] = "cancel the change of the disks that replicate",
    [OPERATION_TEST_FAILOVER] = "test the failover",
    [OPERATION_REMOVE] = "remove replication",
};

/* What an operation that was refused needs. */
static const char *const operation_needs[N_OPERATIONS] = {
    [OPERATION_CREATE] = "remove its replication first",
    [OPERATION_START_INITIAL] = "that is done once, on the primary, after replication was enabled",
    [OPERATION_AWAIT_PRIMARY] = "only a VM that does not replicate can",
    [OPERATION_IMPORT] = "that is done on the replica, while it waits for its first copy",
    [OPERATION_CANCEL_INITIAL] = "only a first copy that is not complete can be cancelled, on the primary",
    [OPERATION_CANCEL_RESYNC] = "only a resynchronization that runs can be cancelled, on the primary",
    [OPERATION_SUSPEND] = "only replication that runs can be suspended",
    [OPERATION_RESUME] = "only replication that is suspended or critical can be resumed, and on the replica a resynchronization taken back",
    [OPERATION_RESYNC] = "that is for replication that lost track of changes",
    [OPERATION_FAILOVER] = "wait for the end of a first copy, and revert a failover before the next one; a replica that "
                           "receives, or is suspended, can be failed over",
    [OPERATION_REVERT] = "only a replica that is failed over can go back",
    [OPERATION_CONTINUE] = "commit the failover first; a replica that is sent on to a third host can",
    [OPERATION_MODIFY] = "they are changed on the primary, while it does not change its role",
    [OPERATION_CHANGE_DISKS] = "that is done on the primary, while it replicates; resume it, or wait for the end of what is under way",
    [OPERATION_CANCEL_DISKS] = "there is no such change under way",
    [OPERATION_TEST_FAILOVER] = "a replica that receives, or is suspended, can be tested; wait for the end of a resynchronization",
    [OPERATION_REMOVE] = "there is nothing to remove",
};

const char *
operation_name(Operation operation)
{
    return operation_names[operation];
}

const char *
replication_state_name(ReplicationState state)
{
    static const char *const names[] = {
        "disabled", "ready for initial replication", "initial replication not complete", "replicating",
        "prepared for planned failover", "failed over", "failover committed", "suspended", "critical",
        "waiting for resynchronization", "resynchronizing", "resynchronization suspended", "failover in progress",
        "failback in progress", "failback complete", "disk update in progress", "disk update critical", "unknown",
        "changing role",
    };
    return (unsigned)state < G_N_ELEMENTS(names) ? names[state] : "unknown";
}

bool
replication_mode_is_replica(ReplicationMode mode)
{
    return mode == MODE_REPLICA || mode == MODE_EXTENDED_REPLICA;
}

const char *
replication_mode_name(ReplicationMode mode)
{
    static const char *const names[] = { "not replicated", "primary", "replica", "test replica", "extended replica" };
    return (unsigned)mode < G_N_ELEMENTS(names) ? names[mode] : "unknown";
}

bool
state_table_next(ReplicationMode mode, ReplicationState state, ReplicationState resume_state, Operation operation,
                 ReplicationState *ret_next, GError **error)
{
    if (operation == OPERATION_REMOVE && mode != MODE_NONE && mode != MODE_TEST_REPLICA && state != STATE_DISABLED) {
        *ret_next = STATE_DISABLED;
        return true;
    }
    ReplicationMode row_mode = replication_mode_is_replica(mode) ? MODE_REPLICA : mode;
    for (size_t i = 0; i < G_N_ELEMENTS(transitions); i++) {
        if (transitions[i].mode == row_mode && transitions[i].state == state && transitions[i].operation == operation) {
            *ret_next = transitions[i].next == INTERRUPTED ? resume_state : transitions[i].next;
            return true;
        }
    }
    const char *needs = operation_needs[operation];
    g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_STATE, "cannot %s: the VM is %s, state: %s%s%s",
                operation_name(operation), replication_mode_name(mode), replication_state_name(state),
                needs != NULL ? "; " : "", needs != NULL ? needs : "");
    return false;
}
