#include "replication/health.h"

#include "replication/state-table.h"

#define MISSED_PERCENT      20
#define MISSED_MIN_SEC      10 /* of intervals of a second or two: a hiccup is none of a person's business */
#define LAG_LIMIT_INTERVALS 12

int64_t
health_lag_limit_sec(unsigned interval_sec)
{
    return CLAMP((int64_t)interval_sec * LAG_LIMIT_INTERVALS, 300, 3600);
}

unsigned
health_latency_limit_sec(unsigned interval_sec)
{
    return CLAMP(interval_sec, 30, 300);
}

/* ---- the rules: the sentence of one that is not met, else NULL ---- */

static const char *
peer_of(const HealthFacts *facts)
{
    if (facts->peer != NULL)
        return facts->peer;
    return replication_mode_is_replica(facts->mode) ? "its primary" : "its replica server";
}

static const char *
error_of(const HealthFacts *facts, const char *otherwise)
{
    return facts->last_error != NULL ? facts->last_error : otherwise;
}

static bool
is_replica(const HealthFacts *facts)
{
    return replication_mode_is_replica(facts->mode);
}

/* "2 h 5 min", "40 s" */
static char *
duration(int64_t sec)
{
    if (sec >= 3600)
        return g_strdup_printf("%" G_GINT64_FORMAT " h %" G_GINT64_FORMAT " min", sec / 3600, sec % 3600 / 60);
    if (sec >= 60)
        return g_strdup_printf("%" G_GINT64_FORMAT " min %" G_GINT64_FORMAT " s", sec / 60, sec % 60);
    return g_strdup_printf("%" G_GINT64_FORMAT " s", sec);
}

static char *
two_copies(const HealthFacts *facts)
{
    if (!facts->runs_twice)
        return NULL;
    return g_strdup_printf("'%s' runs here and on %s, each copy with changes of its own, and only one of them can be kept; turn the other off at "
                           "once.", facts->vm_name, facts->runs_on != NULL ? facts->runs_on : peer_of(facts));
}

static char *
in_error(const HealthFacts *facts)
{
    if (facts->state != STATE_CRITICAL)
        return NULL;
    return g_strdup_printf(
        "Replication of '%s' has stopped with an error: %s; remove the cause, then 'virt-replica resume %s' "
        "goes on.",
        facts->vm_name, error_of(facts, "the log of virt-replicad has it"), facts->vm_name);
}

static char *
disks_not_changed(const HealthFacts *facts)
{
    if (facts->state != STATE_DISK_UPDATE_CRITICAL)
        return NULL;
    return g_strdup_printf("The disks of '%s' that replicate could not be changed: %s; those that replicated before go on. Remove the cause and try "
                           "again with 'virt-replica resume %s', or give it up with 'virt-replica cancel %s'.", facts->vm_name,
                           facts->disks_failure != NULL ? facts->disks_failure : "the log of virt-replicad has it", facts->vm_name,
                           facts->vm_name);
}

static char *
needs_resync(const HealthFacts *facts)
{
    if (facts->state != STATE_WAITING_RESYNC)
        return NULL;
    if (is_replica(facts))
        return g_strdup_printf("The replica of '%s' must be resynchronized; start that on %s.", facts->vm_name,
                               peer_of(facts));
    return g_strdup_printf("The replica of '%s' misses changes: %s.", facts->vm_name,
                           error_of(facts, "a resynchronization is needed and starts by itself"));
}

/* While it waits for a resynchronization, or is in error, the error is told there. */
static bool
tells_failure(const HealthFacts *facts, FailureKind kind)
{
    bool failing = facts->last_error != NULL &&
                   (facts->failure == kind || (facts->failure == FAILURE_NONE && kind == FAILURE_LOCAL));
    return failing && facts->state != STATE_WAITING_RESYNC && facts->state != STATE_CRITICAL &&
           facts->state != STATE_DISABLED;
}

static char *
not_reached(const HealthFacts *facts)
{
    if (!tells_failure(facts, FAILURE_NETWORK))
        return NULL;
    return g_strdup_printf(
        "Nothing of '%s' reaches %s: %s; mend the network, or start virt-replicad there, and replication goes on "
        "by itself.",
        facts->vm_name, peer_of(facts), facts->last_error);
}

static char *
not_taken(const HealthFacts *facts)
{
    if (!tells_failure(facts, FAILURE_PEER))
        return NULL;
    return g_strdup_printf(
        "%s does not take what '%s' sends: %s; remove the cause there, and replication goes on by itself.",
        peer_of(facts), facts->vm_name, facts->last_error);
}

static char *
fails_here(const HealthFacts *facts)
{
    if (!tells_failure(facts, FAILURE_LOCAL))
        return NULL;
    return g_strdup_printf(
        is_replica(facts)
            ? "What comes of '%s' cannot be kept here: %s; remove the cause, it is tried again by itself."
            : "Replication of '%s' fails on this host: %s; remove the cause, it is tried again by itself.",
        facts->vm_name, facts->last_error);
}

static char *
not_consistent(const HealthFacts *facts)
{
    if (facts->consistent_error == NULL || facts->state != STATE_REPLICATING)
        return NULL;
    return g_strdup_printf("'%s' replicates with crash-consistent points only: %s; it is tried again by itself.", facts->vm_name,
                           facts->consistent_error);
}

static char *
not_addressed(const HealthFacts *facts)
{
    if (facts->guest_error == NULL)
        return NULL;
    return g_strdup_printf("The guest of '%s', or of its test, does not have the addresses that were set for it: %s; set them in the guest, or see "
                           "to the cause and start the VM again.", facts->vm_name, facts->guest_error);
}

static bool
is_suspended(const HealthFacts *facts)
{
    return facts->state == STATE_SUSPENDED || facts->state == STATE_RESYNC_SUSPENDED;
}

static char *
suspended_on_replica(const HealthFacts *facts)
{
    if (!is_suspended(facts) || !is_replica(facts))
        return NULL;
    return g_strdup_printf(
        "The replica of '%s' is suspended and takes nothing; 'virt-replica resume %s' on this host ends that.",
        facts->vm_name, facts->vm_name);
}

static char *
suspended_on_primary(const HealthFacts *facts)
{
    if (!is_suspended(facts) || is_replica(facts))
        return NULL;
    return g_strdup_printf("Replication of '%s' is suspended; 'virt-replica resume %s' goes on.", facts->vm_name,
                           facts->vm_name);
}

static char *
first_copy(const HealthFacts *facts)
{
    if (facts->state == STATE_READY)
        return g_strdup_printf("The first copy of '%s' was not started; 'virt-replica start-initial %s' starts it.",
                               facts->vm_name, facts->vm_name);
    if (facts->state == STATE_WAITING_INITIAL && facts->awaits)
        return g_strdup_printf("'%s' may become the replica of a primary with its UUID and disks, and none has come; 'virt-replica enable' "
                               "on that host brings it, 'virt-replica remove %s' here takes that back.", facts->vm_name, facts->vm_name);
    if (facts->state == STATE_WAITING_INITIAL && facts->exported != NULL)
        return g_strdup_printf("The first copy of '%s' is in '%s'; bring it to %s and take it in there with 'virt-replica import-initial %s "
                               "FOLDER'. What changes meanwhile is sent then.", facts->vm_name, facts->exported, peer_of(facts),
                               facts->vm_name);
    if (facts->state == STATE_WAITING_INITIAL)
        return g_strdup_printf(
            "The first copy of '%s' is not complete, so that there is nothing to fail over to; wait for its end.",
            facts->vm_name);
    return NULL;
}

static char *
resynchronizing(const HealthFacts *facts)
{
    if (facts->state != STATE_RESYNCHRONIZING)
        return NULL;
    return g_strdup_printf(
        "'%s' is being resynchronized, and its replica does not get younger until then; wait for the end.",
        facts->vm_name);
}

static char *
changing_disks(const HealthFacts *facts)
{
    if (facts->state != STATE_DISK_UPDATE)
        return NULL;
    return g_strdup_printf("The disks of '%s' that replicate are being changed; until that is done a failover has those of before.", facts->vm_name);
}

static char *
left_out(const HealthFacts *facts)
{
    if (facts->left_out == NULL)
        return NULL;
    return g_strdup_printf("'%s' has got disks that do not replicate: %s; take them in with 'virt-replica modify %s --include DISKS', or say that "
                           "they stay out with '--exclude DISKS'.", facts->vm_name, facts->left_out, facts->vm_name);
}

static char *
failed_over(const HealthFacts *facts)
{
    if (facts->state == STATE_FAILOVER_RUNNING)
        return g_strdup_printf("A failover of '%s' is running, and changes are held back; wait for its end.",
                               facts->vm_name);
    if (facts->state == STATE_PREPARED)
        return g_strdup_printf(
            "'%s' is prepared for a planned failover and sends nothing; fail over on its replica server, or "
            "'virt-replica resume %s' here.",
            facts->vm_name, facts->vm_name);
    if (facts->state == STATE_REPURPOSE)
        return g_strdup_printf(
            "'%s' has given up its role as the primary and sends nothing; reverse the replication on the other "
            "host, or 'virt-replica resume %s' here.",
            facts->vm_name, facts->vm_name);
    if (facts->state != STATE_RECOVERED && facts->state != STATE_COMMITTED)
        return NULL;
    return g_strdup_printf("'%s' is failed over and not replicated in the other direction; %s.", facts->vm_name,
                           facts->state == STATE_RECOVERED
                               ? "revert or commit the failover, then replicate it from here"
                               : "replicate it from here");
}

static char *
other_state(const HealthFacts *facts)
{
    if (facts->state < STATE_FAILBACK_RUNNING || facts->state == STATE_DISK_UPDATE || facts->state == STATE_DISK_UPDATE_CRITICAL ||
        facts->state == STATE_REPURPOSE)
        return NULL;
    return g_strdup_printf("Replication of '%s' is in a passing state (%u) in which nothing is sent; wait for its end.",
                           facts->vm_name, facts->state);
}

static char *
too_old(const HealthFacts *facts)
{
    int64_t limit = is_replica(facts) ? 3600 : health_lag_limit_sec(facts->interval_sec);
    bool follows = facts->state == STATE_REPLICATING || facts->state == STATE_DISK_UPDATE || facts->state == STATE_DISK_UPDATE_CRITICAL;
    if (!follows || facts->lag_usec <= limit * G_USEC_PER_SEC)
        return NULL;
    g_autofree char *age = duration(facts->lag_usec / G_USEC_PER_SEC);
    bool waits = tells_failure(facts, FAILURE_WAITING);
    return g_strdup_printf("The newest copy of '%s' is %s old: %s%s.", facts->vm_name, age,
                           waits ? facts->last_error : "",
                           waits               ? "; end what is in the way"
                           : is_replica(facts) ? "see its health on the primary, or start the VM if it is off"
                                               : "see what the other issues and the log say");
}

static char *
nothing_heard(const HealthFacts *facts)
{
    if (facts->state != STATE_REPLICATING ||
        facts->silent_usec <= health_lag_limit_sec(facts->interval_sec) * G_USEC_PER_SEC)
        return NULL;
    g_autofree char *silence = duration(facts->silent_usec / G_USEC_PER_SEC);
    return g_strdup_printf(
        "Nothing was heard of the primary of '%s' for %s; see whether that host runs and reaches this one, or fail "
        "over.",
        facts->vm_name, silence);
}

static char *
too_many_missed(const HealthFacts *facts)
{
    uint64_t due = (uint64_t)facts->success + facts->missed;
    if (facts->state != STATE_REPLICATING || (uint64_t)facts->missed * 100 <= due * MISSED_PERCENT ||
        (uint64_t)facts->missed * facts->interval_sec < MISSED_MIN_SEC)
        return NULL;
    return g_strdup_printf(
        "%u of %" G_GUINT64_FORMAT " cycles of '%s' were missed, more than %u %%: link or disks are too slow for an "
        "interval of %u s, or were away; choose a longer one, or 'virt-replica statistics %s --reset' when that is "
        "over.",
        facts->missed, due, facts->vm_name, MISSED_PERCENT, facts->interval_sec, facts->vm_name);
}

static char *
too_slow(const HealthFacts *facts)
{
    unsigned limit = health_latency_limit_sec(facts->interval_sec);
    if (facts->state != STATE_REPLICATING || facts->latency_usec <= (uint64_t)limit * G_USEC_PER_SEC)
        return NULL;
    g_autofree char *latency = duration((int64_t)(facts->latency_usec / G_USEC_PER_SEC));
    return g_strdup_printf(
        "A cycle of '%s' takes %s on average, more than %u s; give it a faster link, or its host faster disks.",
        facts->vm_name, latency, limit);
}

static const struct {
    ReplicationHealth severity;
    char *(*issue)(const HealthFacts *facts);
} rules[] = {
    { HEALTH_CRITICAL, two_copies },
    { HEALTH_CRITICAL, in_error },
    { HEALTH_CRITICAL, disks_not_changed },
    { HEALTH_CRITICAL, needs_resync },
    { HEALTH_CRITICAL, not_reached },
    { HEALTH_CRITICAL, not_taken },
    { HEALTH_CRITICAL, fails_here },
    { HEALTH_CRITICAL, suspended_on_replica },
    { HEALTH_WARNING, suspended_on_primary },
    { HEALTH_WARNING, first_copy },
    { HEALTH_WARNING, resynchronizing },
    { HEALTH_WARNING, changing_disks },
    { HEALTH_WARNING, left_out },
    { HEALTH_WARNING, failed_over },
    { HEALTH_WARNING, other_state },
    { HEALTH_WARNING, too_old },
    { HEALTH_WARNING, nothing_heard },
    { HEALTH_WARNING, too_many_missed },
    { HEALTH_WARNING, too_slow },
    { HEALTH_WARNING, not_consistent },
    { HEALTH_WARNING, not_addressed },
};

ReplicationHealth
health_judge(const HealthFacts *facts, GPtrArray **ret_issues)
{
    g_autoptr(GPtrArray) issues = g_ptr_array_new_with_free_func((GDestroyNotify)health_issue_free);
    ReplicationHealth health = facts->state == STATE_DISABLED ? HEALTH_NOT_APPLICABLE : HEALTH_OK;
    for (size_t i = 0; health != HEALTH_NOT_APPLICABLE && i < G_N_ELEMENTS(rules); i++) {
        char *text = rules[i].issue(facts);
        if (text == NULL)
            continue;
        HealthIssue *issue = g_new0(HealthIssue, 1);
        issue->severity = rules[i].severity;
        issue->text = text;
        g_ptr_array_add(issues, issue);
    }
    for (guint i = 0; i < issues->len; i++)
        health = MAX(health, ((HealthIssue *)g_ptr_array_index(issues, i))->severity);
    if (ret_issues != NULL)
        *ret_issues = g_steal_pointer(&issues);
    return health;
}
