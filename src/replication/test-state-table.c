#include "replication/state-table.h"

/* What callers are promised, row by row: the state afterwards, or -1 for a refusal. */
static const struct {
    ReplicationMode  mode;
    ReplicationState state;
    Operation        operation;
    int              next;
} promises[] = {
    { MODE_NONE, STATE_DISABLED, OPERATION_CREATE, STATE_READY },
    { MODE_PRIMARY, STATE_READY, OPERATION_START_INITIAL, STATE_WAITING_INITIAL },
    { MODE_PRIMARY, STATE_REPLICATING, OPERATION_START_INITIAL, -1 },
    { MODE_PRIMARY, STATE_REPLICATING, OPERATION_FAILOVER, -1 },
    { MODE_PRIMARY, STATE_REPLICATING, OPERATION_SUSPEND, STATE_SUSPENDED },
    { MODE_PRIMARY, STATE_SUSPENDED, OPERATION_SUSPEND, -1 },
    { MODE_PRIMARY, STATE_REPLICATING, OPERATION_RESUME, -1 },
    { MODE_PRIMARY, STATE_REPLICATING, OPERATION_PREPARE, STATE_PREPARED },
    { MODE_PRIMARY, STATE_SUSPENDED, OPERATION_PREPARE, -1 },
    { MODE_PRIMARY, STATE_PREPARED, OPERATION_REVERT, STATE_REPLICATING },
    { MODE_PRIMARY, STATE_WAITING_RESYNC, OPERATION_RESYNC, STATE_RESYNCHRONIZING },
    { MODE_PRIMARY, STATE_SUSPENDED, OPERATION_RESYNC, STATE_RESYNCHRONIZING },
    { MODE_PRIMARY, STATE_RESYNC_SUSPENDED, OPERATION_RESYNC, STATE_RESYNCHRONIZING },
    { MODE_PRIMARY, STATE_REPLICATING, OPERATION_RESYNC, -1 },
    { MODE_PRIMARY, STATE_RESYNCHRONIZING, OPERATION_RESYNC, -1 },
    { MODE_REPLICA, STATE_WAITING_INITIAL, OPERATION_FAILOVER, -1 },
    { MODE_REPLICA, STATE_REPLICATING, OPERATION_FAILOVER, STATE_FAILOVER_RUNNING },
    { MODE_REPLICA, STATE_SUSPENDED, OPERATION_FAILOVER, STATE_FAILOVER_RUNNING },
    { MODE_REPLICA, STATE_RESYNCHRONIZING, OPERATION_FAILOVER, STATE_FAILOVER_RUNNING },
    { MODE_REPLICA, STATE_RECOVERED, OPERATION_FAILOVER, -1 },
    { MODE_REPLICA, STATE_RECOVERED, OPERATION_REVERT, STATE_REPLICATING },
    { MODE_REPLICA, STATE_REPLICATING, OPERATION_REVERT, -1 },
    { MODE_REPLICA, STATE_COMMITTED, OPERATION_REVERT, -1 },
    { MODE_REPLICA, STATE_RECOVERED, OPERATION_COMMIT, STATE_COMMITTED },
    { MODE_REPLICA, STATE_REPLICATING, OPERATION_COMMIT, -1 },
    { MODE_PRIMARY, STATE_REPLICATING, OPERATION_COMMIT, -1 },
    { MODE_PRIMARY, STATE_READY, OPERATION_MODIFY, STATE_READY },
    { MODE_PRIMARY, STATE_SUSPENDED, OPERATION_MODIFY, STATE_SUSPENDED },
    { MODE_PRIMARY, STATE_RESYNC_SUSPENDED, OPERATION_MODIFY, STATE_RESYNC_SUSPENDED },
    { MODE_PRIMARY, STATE_REPURPOSE, OPERATION_MODIFY, -1 },
    { MODE_PRIMARY, STATE_DISK_UPDATE, OPERATION_MODIFY, -1 },
    { MODE_REPLICA, STATE_REPLICATING, OPERATION_MODIFY, -1 },
    { MODE_NONE, STATE_DISABLED, OPERATION_MODIFY, -1 },
    { MODE_REPLICA, STATE_REPLICATING, OPERATION_TEST_FAILOVER, STATE_REPLICATING },
    { MODE_REPLICA, STATE_SUSPENDED, OPERATION_TEST_FAILOVER, STATE_SUSPENDED },
    { MODE_EXTENDED_REPLICA, STATE_REPLICATING, OPERATION_TEST_FAILOVER, STATE_REPLICATING },
    { MODE_REPLICA, STATE_WAITING_INITIAL, OPERATION_TEST_FAILOVER, -1 },
    { MODE_REPLICA, STATE_RESYNCHRONIZING, OPERATION_TEST_FAILOVER, -1 },
    { MODE_REPLICA, STATE_RESYNC_SUSPENDED, OPERATION_TEST_FAILOVER, -1 },
    { MODE_REPLICA, STATE_DISK_UPDATE, OPERATION_TEST_FAILOVER, -1 },
    { MODE_REPLICA, STATE_FAILOVER_RUNNING, OPERATION_TEST_FAILOVER, -1 },
    { MODE_REPLICA, STATE_RECOVERED, OPERATION_TEST_FAILOVER, -1 },
    { MODE_REPLICA, STATE_COMMITTED, OPERATION_TEST_FAILOVER, -1 },
    { MODE_REPLICA, STATE_CRITICAL, OPERATION_TEST_FAILOVER, -1 },
    { MODE_PRIMARY, STATE_REPLICATING, OPERATION_TEST_FAILOVER, -1 },
    { MODE_TEST_REPLICA, STATE_DISABLED, OPERATION_TEST_FAILOVER, -1 },
    { MODE_TEST_REPLICA, STATE_DISABLED, OPERATION_CREATE, -1 },
    { MODE_REPLICA, STATE_REPLICATING, OPERATION_REMOVE, STATE_DISABLED },
    { MODE_TEST_REPLICA, STATE_DISABLED, OPERATION_REMOVE, -1 },
    { MODE_NONE, STATE_DISABLED, OPERATION_REMOVE, -1 },
};

static void
test_promises(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(promises); i++) {
        ReplicationState next = STATE_UNKNOWN;
        g_autoptr(GError) error = NULL;
        bool good = state_table_next(promises[i].mode, promises[i].state, STATE_REPLICATING, promises[i].operation, &next, &error);
        g_assert_true(good == (promises[i].next >= 0));
        if (good)
            g_assert_cmpint((int)next, ==, promises[i].next);
        else
            g_assert_error(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_STATE);
    }
}

/* Every pair of the whole space: a known state with a name, or a refusal that says why; never back from removal. */
static void
test_every_pair(void)
{
    for (int mode = MODE_NONE; mode <= MODE_EXTENDED_REPLICA; mode++) {
        for (int state = STATE_DISABLED; state <= STATE_REPURPOSE; state++) {
            for (int operation = 0; operation < N_OPERATIONS; operation++) {
                ReplicationState next = STATE_UNKNOWN;
                g_autoptr(GError) error = NULL;
                bool good = state_table_next(mode, state, STATE_WAITING_INITIAL, operation, &next, &error);
                g_assert_true(good == (error == NULL));
                g_assert_true(!good || next != STATE_UNKNOWN);
                g_assert_nonnull(operation_name(operation));
            }
        }
    }
}

/* A suspension goes back to what it interrupted. */
static void
test_resume_goes_back(void)
{
    ReplicationState next;
    g_assert_true(state_table_next(MODE_PRIMARY, STATE_SUSPENDED, STATE_WAITING_INITIAL, OPERATION_RESUME, &next, NULL));
    g_assert_cmpint((int)next, ==, STATE_WAITING_INITIAL);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/state-table/promises", test_promises);
    g_test_add_func("/state-table/every-pair", test_every_pair);
    g_test_add_func("/state-table/resume-goes-back", test_resume_goes_back);
    return g_test_run();
}
