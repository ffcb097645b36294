#include "replication/health.h"

#include <string.h>

#define HOUR (INT64_C(3600) * G_USEC_PER_SEC)
#define MIN_ (INT64_C(60) * G_USEC_PER_SEC)

#define P                                                                                                              \
    .vm_name = "vm", .mode = MODE_PRIMARY, .state = STATE_REPLICATING, .interval_sec = 300, .success = 100,            \
    .silent_usec = -1
#define R    .vm_name = "vm", .mode = MODE_REPLICA, .state = STATE_REPLICATING, .interval_sec = 300, .success = 100
#define ERROR(kind) .failure = kind, .last_error = "the cause"
#define PEER .peer = "other.example.org"

/* Each rule, met and not met; @says: what its sentence has. Without it there is no issue. */
static const struct {
    const char       *name;
    HealthFacts       facts;
    ReplicationHealth want;
    const char       *says;
} cases[] = {
    {"well", {P, .lag_usec = MIN_}, HEALTH_OK, NULL},
    {"well-on-replica", {R, .lag_usec = MIN_}, HEALTH_OK, NULL},
    {"nothing-to-judge",
     {.vm_name = "vm", .state = STATE_DISABLED, .interval_sec = 1, .lag_usec = -1},
     HEALTH_NOT_APPLICABLE,
     NULL},

    {"in-error",
     {.vm_name = "vm", .mode = MODE_REPLICA, .state = STATE_CRITICAL, ERROR(FAILURE_LOCAL)},
     HEALTH_CRITICAL,
     "stopped with an error: the cause; remove the cause, then 'virt-replica resume vm'"},
    {"needs-resync",
     {.vm_name = "vm", .mode = MODE_PRIMARY, .state = STATE_WAITING_RESYNC, ERROR(FAILURE_LOCAL)},
     HEALTH_CRITICAL,
     "misses changes: the cause"},
    {"not-reached",
     {P, PEER, ERROR(FAILURE_NETWORK)},
     HEALTH_CRITICAL,
     "reaches other.example.org: the cause; mend the network"},
    {"not-taken",
     {P, PEER, ERROR(FAILURE_PEER)},
     HEALTH_CRITICAL,
     "other.example.org does not take what 'vm' sends: the cause"},
    {"fails-here", {P, ERROR(FAILURE_LOCAL)}, HEALTH_CRITICAL, "fails on this host: the cause"},
    {"fails-on-replica", {R, ERROR(FAILURE_LOCAL)}, HEALTH_CRITICAL, "cannot be kept here: the cause"},
    {"fails-for-no-known-reason", {P, ERROR(FAILURE_NONE)}, HEALTH_CRITICAL, "fails on this host: the cause"},
    {"trouble-that-is-over", {P, .failure = FAILURE_NETWORK}, HEALTH_OK, NULL},
    {"suspended-on-replica",
     {.vm_name = "vm", .mode = MODE_REPLICA, .state = STATE_SUSPENDED},
     HEALTH_CRITICAL,
     "'virt-replica resume vm' on this host"},

    {"guest-without-its-addresses",
     {R, .guest_error = "the agent does not run"},
     HEALTH_WARNING,
     "does not have the addresses that were set for it: the agent does not run; set them"},

    {"disks-are-being-changed", {.vm_name = "vm", .mode = MODE_PRIMARY, .state = STATE_DISK_UPDATE, .interval_sec = 300, .silent_usec = -1},
     HEALTH_WARNING, "until that is done a failover has those of before"},
    {"disks-could-not-be-changed",
     {.vm_name = "vm", .mode = MODE_PRIMARY, .state = STATE_DISK_UPDATE_CRITICAL, .interval_sec = 300, .silent_usec = -1,
      .disks_failure = "no room"},
     HEALTH_CRITICAL, "could not be changed: no room; those that replicated before go on"},
    {"a-disk-that-does-not-replicate", {P, .left_out = "vdc"}, HEALTH_WARNING, "do not replicate: vdc"},

    {"waits-for-another-backup", {P, ERROR(FAILURE_WAITING), .lag_usec = 10 * MIN_}, HEALTH_OK, NULL},
    {"waits-too-long",
     {P, ERROR(FAILURE_WAITING), .lag_usec = 2 * HOUR},
     HEALTH_WARNING,
     "is 2 h 0 min old: the cause; end what is in the way"},
    {"suspended-on-primary",
     {.vm_name = "vm", .mode = MODE_PRIMARY, .state = STATE_SUSPENDED},
     HEALTH_WARNING,
     "'virt-replica resume vm' goes on"},
    {"not-started",
     {.vm_name = "vm", .mode = MODE_PRIMARY, .state = STATE_READY, .lag_usec = -1},
     HEALTH_WARNING,
     "'virt-replica start-initial vm'"},
    {"first-copy",
     {.vm_name = "vm", .mode = MODE_REPLICA, .state = STATE_WAITING_INITIAL, .lag_usec = -1},
     HEALTH_WARNING,
     "first copy of 'vm' is not complete"},
    {"exported",
     {.vm_name = "vm", .mode = MODE_PRIMARY, .state = STATE_WAITING_INITIAL, .lag_usec = -1, .exported = "/mnt/vm_1"},
     HEALTH_WARNING,
     "is in '/mnt/vm_1'"},
    {"no-primary-yet",
     {.vm_name = "vm", .mode = MODE_REPLICA, .state = STATE_WAITING_INITIAL, .lag_usec = -1, .awaits = true},
     HEALTH_WARNING,
     "'virt-replica remove vm' here takes that back"},
    {"resynchronizing",
     {.vm_name = "vm", .mode = MODE_PRIMARY, .state = STATE_RESYNCHRONIZING},
     HEALTH_WARNING,
     "resynchronized"},
    {"failed-over",
     {.vm_name = "vm", .mode = MODE_REPLICA, .state = STATE_RECOVERED, .lag_usec = 9 * HOUR},
     HEALTH_WARNING,
     "not replicated in the other direction; revert or commit"},
    {"committed",
     {.vm_name = "vm", .mode = MODE_REPLICA, .state = STATE_COMMITTED},
     HEALTH_WARNING,
     "replicate it from here"},
    {"prepared", {.vm_name = "vm", .mode = MODE_PRIMARY, .state = STATE_PREPARED}, HEALTH_WARNING, "planned failover"},
    {"gave-up-its-role",
     {.vm_name = "vm", .mode = MODE_PRIMARY, .state = STATE_REPURPOSE},
     HEALTH_WARNING,
     "reverse the replication"},

    {"lag-at-5-min", {P, .lag_usec = HOUR}, HEALTH_OK, NULL},
    {"too-old-at-5-min", {P, .lag_usec = HOUR + 1}, HEALTH_WARNING, "is 1 h 0 min old"},
    {"too-old-on-replica", {R, .lag_usec = HOUR + 1}, HEALTH_WARNING, "on the primary"},
    {"lag-at-1-s",
     {.vm_name = "vm",
      .mode = MODE_PRIMARY,
      .state = STATE_REPLICATING,
      .interval_sec = 1,
      .success = 1,
      .lag_usec = 5 * MIN_ + 1},
     HEALTH_WARNING,
     "is 5 min 0 s old"},
    {"no-copy-has-no-age", {P, .lag_usec = -1}, HEALTH_OK, NULL},
    {"silence", {R, .silent_usec = HOUR + 1}, HEALTH_WARNING, "Nothing was heard of the primary of 'vm' for 1 h"},

    {"20-percent-missed",
     {.vm_name = "vm",
      .mode = MODE_PRIMARY,
      .state = STATE_REPLICATING,
      .interval_sec = 300,
      .success = 80,
      .missed = 20},
     HEALTH_OK,
     NULL},
    {"21-percent-missed",
     {.vm_name = "vm",
      .mode = MODE_PRIMARY,
      .state = STATE_REPLICATING,
      .interval_sec = 300,
      .success = 79,
      .missed = 21},
     HEALTH_WARNING,
     "21 of 100 cycles of 'vm' were missed"},
    {"one-of-one-missed",
     {.vm_name = "vm", .mode = MODE_PRIMARY, .state = STATE_REPLICATING, .interval_sec = 900, .missed = 1},
     HEALTH_WARNING,
     "1 of 1 cycles"},
    {"a-hiccup-at-1-s",
     {.vm_name = "vm", .mode = MODE_PRIMARY, .state = STATE_REPLICATING, .interval_sec = 1, .success = 2, .missed = 9},
     HEALTH_OK,
     NULL},
    {"more-than-that-at-1-s",
     {.vm_name = "vm", .mode = MODE_PRIMARY, .state = STATE_REPLICATING, .interval_sec = 1, .success = 2, .missed = 10},
     HEALTH_WARNING,
     "--reset"},
    {"all-missed-in-4-billion",
     {.vm_name = "vm", .mode = MODE_PRIMARY, .state = STATE_REPLICATING, .interval_sec = 1, .missed = UINT32_MAX},
     HEALTH_WARNING,
     "4294967295 of 4294967295"},

    {"latency-of-5-min", {P, .latency_usec = 5 * MIN_}, HEALTH_OK, NULL},
    {"latency-over-5-min",
     {P, .latency_usec = 5 * MIN_ + 1},
     HEALTH_WARNING,
     "takes 5 min 0 s on average, more than 300 s"},
    {"latency-at-1-s",
     {.vm_name = "vm",
      .mode = MODE_PRIMARY,
      .state = STATE_REPLICATING,
      .interval_sec = 1,
      .success = 1,
      .latency_usec = 31 * G_USEC_PER_SEC},
     HEALTH_WARNING,
     "more than 30 s"},
};

static void
test_case(gconstpointer data)
{
    size_t i = GPOINTER_TO_SIZE(data);
    g_autoptr(GPtrArray) issues = NULL;
    g_assert_cmpint(health_judge(&cases[i].facts, &issues), ==, cases[i].want);
    g_assert_cmpint(health_judge(&cases[i].facts, NULL), ==, cases[i].want);
    g_assert_cmpuint(issues->len, ==, cases[i].says != NULL);
    if (cases[i].says == NULL)
        return;
    const HealthIssue *issue = g_ptr_array_index(issues, 0);
    if (strstr(issue->text, cases[i].says) == NULL)
        g_error("'%s' is not in '%s'", cases[i].says, issue->text);
    g_assert_cmpint(issue->severity, ==, cases[i].want);
    g_assert_true(g_str_has_suffix(issue->text, ".") && strchr(issue->text, '\n') == NULL);
}

/* Every rule that is not met has its sentence; critical wins. */
static void
test_all_are_told(void)
{
    HealthFacts facts = { P, ERROR(FAILURE_NETWORK), .lag_usec = 2 * HOUR, .missed = 50, .latency_usec = 10 * MIN_ };
    g_autoptr(GPtrArray) issues = NULL;
    g_assert_cmpint(health_judge(&facts, &issues), ==, HEALTH_CRITICAL);
    g_assert_cmpuint(issues->len, ==, 4);
    g_assert_cmpint(((HealthIssue *)g_ptr_array_index(issues, 0))->severity, ==, HEALTH_CRITICAL);
    g_assert_cmpint(((HealthIssue *)g_ptr_array_index(issues, 3))->severity, ==, HEALTH_WARNING);
    HealthFacts copying = {
        .vm_name = "vm", .mode = MODE_PRIMARY, .state = STATE_WAITING_INITIAL, ERROR(FAILURE_NETWORK)};
    g_clear_pointer(&issues, g_ptr_array_unref);
    g_assert_cmpint(health_judge(&copying, &issues), ==, HEALTH_CRITICAL);
    g_assert_cmpuint(issues->len, ==, 2);
}

/* No state but the two good ones is without a sentence. */
static void
test_every_state_is_explained(void)
{
    for (unsigned state = STATE_READY; state <= STATE_REPURPOSE; state++) {
        for (unsigned mode = MODE_PRIMARY; mode <= MODE_REPLICA; mode++) {
            HealthFacts facts = { .vm_name = "vm", .mode = mode, .state = state, .interval_sec = 30 };
            g_autoptr(GPtrArray) issues = NULL;
            ReplicationHealth health = health_judge(&facts, &issues);
            g_assert_true((health == HEALTH_OK) == (state == STATE_REPLICATING));
            g_assert_true((issues->len == 0) == (state == STATE_REPLICATING));
        }
    }
}

static void
test_limits_at_every_interval(void)
{
    static const struct { unsigned interval; int64_t lag; unsigned latency; } wants[] = {
        { 1, 300, 30 }, { 30, 360, 30 }, { 60, 720, 60 }, { 300, 3600, 300 }, { 900, 3600, 300 },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(wants); i++) {
        g_assert_cmpint(health_lag_limit_sec(wants[i].interval), ==, wants[i].lag);
        g_assert_cmpuint(health_latency_limit_sec(wants[i].interval), ==, wants[i].latency);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *name = g_strconcat("/health/", cases[i].name, NULL);
        g_test_add_data_func(name, GSIZE_TO_POINTER(i), test_case);
    }
    g_test_add_func("/health/all-are-told", test_all_are_told);
    g_test_add_func("/health/every-state-is-explained", test_every_state_is_explained);
    g_test_add_func("/health/limits-at-every-interval", test_limits_at_every_interval);
    return g_test_run();
}
