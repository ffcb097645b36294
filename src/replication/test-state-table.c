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
    { MODE_PRIMARY, STATE_WAITING_INITIAL, OPERATION_CANCEL_INITIAL, STATE_READY },
    { MODE_PRIMARY, STATE_SUSPENDED, OPERATION_CANCEL_INITIAL, STATE_READY },
    { MODE_PRIMARY, STATE_REPLICATING, OPERATION_CANCEL_INITIAL, -1 },
    { MODE_REPLICA, STATE_WAITING_INITIAL, OPERATION_CANCEL_INITIAL, -1 },
    { MODE_PRIMARY, STATE_RESYNCHRONIZING, OPERATION_CANCEL_RESYNC, STATE_WAITING_RESYNC },
    { MODE_PRIMARY, STATE_WAITING_RESYNC, OPERATION_CANCEL_RESYNC, -1 },
    { MODE_PRIMARY, STATE_REPLICATING, OPERATION_CANCEL_RESYNC, -1 },
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
    { MODE_REPLICA, STATE_RESYNCHRONIZING, OPERATION_RESUME, STATE_REPLICATING },
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

/* What callers may ask for and in which states it is possible, as Hyper-V Replica has it; everything else is refused. Bits are
 * states; a third host's replica is like a replica. */
#define IN(state) (1u << STATE_##state)
#define ANY       (~IN(DISABLED))

static const struct {
    Operation operation;
    unsigned  none, primary, replica;
} possible[] = {
    { OPERATION_CREATE, IN(DISABLED), 0, 0 },
    { OPERATION_START_INITIAL, 0, IN(READY), 0 },
    { OPERATION_CANCEL_INITIAL, 0, IN(WAITING_INITIAL) | IN(SUSPENDED) | IN(CRITICAL), 0 },
    { OPERATION_SUSPEND, 0, IN(WAITING_INITIAL) | IN(REPLICATING) | IN(RESYNCHRONIZING),
      IN(WAITING_INITIAL) | IN(REPLICATING) | IN(RESYNCHRONIZING) },
    /* 4 and 18: it cancels what was begun on the primary */
    { OPERATION_RESUME, 0,
      IN(PREPARED) | IN(SUSPENDED) | IN(CRITICAL) | IN(WAITING_RESYNC) | IN(RESYNC_SUSPENDED) | IN(REPURPOSE),
      IN(SUSPENDED) | IN(CRITICAL) | IN(RESYNC_SUSPENDED) | IN(RESYNCHRONIZING) },
    /* A replica's is begun by its primary */
    { OPERATION_RESYNC, 0, IN(SUSPENDED) | IN(CRITICAL) | IN(WAITING_RESYNC) | IN(RESYNC_SUSPENDED), IN(REPLICATING) },
    { OPERATION_CANCEL_RESYNC, 0, IN(RESYNCHRONIZING), 0 },
    { OPERATION_MODIFY, 0,
      IN(READY) | IN(WAITING_INITIAL) | IN(REPLICATING) | IN(PREPARED) | IN(SUSPENDED) | IN(CRITICAL) | IN(WAITING_RESYNC) |
      IN(RESYNCHRONIZING) | IN(RESYNC_SUSPENDED), 0 },
    { OPERATION_PREPARE, 0, IN(REPLICATING), 0 },
    { OPERATION_GIVE_UP_ROLE, 0,
      IN(REPLICATING) | IN(SUSPENDED) | IN(CRITICAL) | IN(WAITING_RESYNC) | IN(RESYNCHRONIZING) | IN(RESYNC_SUSPENDED), 0 },
    { OPERATION_FAILOVER, 0, 0, IN(REPLICATING) | IN(SUSPENDED) | IN(RESYNCHRONIZING) | IN(DISK_UPDATE) },
    { OPERATION_REVERT, 0, IN(PREPARED), IN(RECOVERED) | IN(FAILOVER_RUNNING) },
    { OPERATION_COMMIT, 0, 0, IN(RECOVERED) | IN(COMMITTED) }, /* 6: one that was interrupted */
    { OPERATION_REVERSE, 0, 0, IN(RECOVERED) | IN(COMMITTED) },
    { OPERATION_TEST_FAILOVER, 0, 0, IN(REPLICATING) | IN(SUSPENDED) },
    { OPERATION_REMOVE, 0, ANY, ANY },
};

static unsigned
possible_in(size_t i, ReplicationMode mode)
{
    if (mode == MODE_NONE)
        return possible[i].none;
    if (mode == MODE_TEST_REPLICA)
        return 0;
    return mode == MODE_PRIMARY ? possible[i].primary : possible[i].replica;
}

/* Every mode and state: what is possible leads to a known state, the rest is refused with a sentence. */
static void
test_the_whole_table(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(possible); i++) {
        for (ReplicationMode mode = MODE_NONE; mode <= MODE_EXTENDED_REPLICA; mode++) {
            for (ReplicationState state = STATE_DISABLED; state <= STATE_REPURPOSE; state++) {
                bool wanted = (possible_in(i, mode) & 1u << state) != 0;
                ReplicationState next = STATE_UNKNOWN;
                g_autoptr(GError) error = NULL;
                bool good = state_table_next(mode, state, STATE_WAITING_INITIAL, possible[i].operation, &next, &error);
                if (good != wanted)
                    g_error("%s in mode %d, state %d: %s", operation_name(possible[i].operation), mode, state,
                            good ? "is allowed" : error->message);
                g_assert_true(good == (next != STATE_UNKNOWN));
                g_assert_true(good || g_error_matches(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_STATE));
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
    g_test_add_func("/state-table/the-whole-table", test_the_whole_table);
    g_test_add_func("/state-table/resume-goes-back", test_resume_goes_back);
    return g_test_run();
}
