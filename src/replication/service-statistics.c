/* Statistics and health of members: what feeds them, and what callers see of them. */
#include "replication/service-private.h"

#include "http/http-client.h"
#include "replication/settings.h"
#include "util/log.h"

#define UNSAVED_MAX_USEC (60 * G_USEC_PER_SEC) /* of what a crash may take from the counters */

/* ---- feeding ---- */

static FailureKind
failure_of(const GError *error)
{
    if (error == NULL)
        return FAILURE_NONE;
    if (error->domain == VIRT_ERROR && error->code == VIRT_ERROR_BUSY)
        return FAILURE_WAITING;
    if (error->domain == LINK_ERROR)
        return error->code == LINK_ERROR_UNREACHABLE ? FAILURE_NETWORK : FAILURE_PEER;
    return FAILURE_LOCAL;
}

/* A log that does not come whole was cut off on its way; one that is refused for the state of things is no failure of
 * anybody. */
FailureKind
service_failure_of_received(const GError *error)
{
    if (error == NULL || g_error_matches(error, LINK_ERROR, LINK_ERROR_STATE) ||
        g_error_matches(error, LINK_ERROR, LINK_ERROR_MISFIT))
        return FAILURE_NONE;
    bool cut = error->domain == HTTP_ERROR || g_error_matches(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_TRUNCATED) ||
               g_error_matches(error, LINK_ERROR, LINK_ERROR_UNREACHABLE);
    return cut ? FAILURE_NETWORK : FAILURE_LOCAL;
}

void
service_count_cycle(Member *member, CycleResult result, int64_t started_usec, const GError *error)
{
    Tally *tally = relationship_tally(member->relationship);
    g_autoptr(RelationshipSettings) settings = relationship_settings(member->relationship);
    if (relationship_state(member->relationship) == STATE_REPLICATING) {
        tally_run(tally, relationship_settings_interval(settings));
        if (member->primary != NULL && result == CYCLE_DONE)
            tally_finished(tally, started_usec);
    } else {
        tally_stop(tally);
    }
    FailureKind kind = failure_of(error);
    if (kind != FAILURE_NONE)
        tally_set_trouble(tally, kind);
    if (result == CYCLE_RETRY)
        tally_failure(tally, kind);
    g_autoptr(GError) unsaved = NULL;
    if (!relationship_save_statistics(member->relationship, UNSAVED_MAX_USEC, &unsaved))
        log_debug("statistics", relationship_vm(member->relationship), "not saved: %s", unsaved->message);
}

void
service_tend_statistics(ReplicationService *self)
{
    g_autoptr(GPtrArray) members = service_members(self);
    for (guint i = 0; i < members->len; i++) {
        Relationship *relationship = ((Member *)g_ptr_array_index(members, i))->relationship;
        Statistics now;
        tally_read(relationship_tally(relationship), &now);
        relationship_save_statistics(relationship, UNSAVED_MAX_USEC, NULL);
    }
}

void
service_plan_statistics(ReplicationService *self, Member *member)
{
    g_mutex_lock(&self->lock);
    unsigned interval = self->settings.monitoring_interval_sec, start = self->settings.monitoring_start_sec;
    g_mutex_unlock(&self->lock);
    tally_set_plan(relationship_tally(member->relationship), interval, start);
}

/* ---- seen from outside ---- */

ReplicationHealth
service_judge(Relationship *relationship, const StoreRelationship *row, const RelationshipSettings *settings,
              const char *last_error, int64_t lag_usec, GPtrArray **ret_issues)
{
    Tally *tally = relationship_tally(relationship);
    Statistics now;
    tally_read(tally, &now);
    g_autofree char *consistent_error = relationship_consistent_error(relationship);
    g_autofree char *guest_error = row->guest_todo != 0 ? relationship_guest_error(relationship) : NULL;
    g_autofree char *disks_failure = row->state == STATE_DISK_UPDATE_CRITICAL ? relationship_disks_failure(relationship) : NULL;
    g_autofree char *left_out = relationship_left_out(relationship);
    bool is_replica = replication_mode_is_replica(row->mode);
    HealthFacts facts = {
        .vm_name = row->vm_name,
        .peer = is_replica ? settings->primary_host_system : settings->recovery_connection_point,
        .mode = row->mode,
        .state = row->state,
        .awaits = replica_is_awaited(row),
        .exported = primary_awaits_import(row) ? row->export_folder : NULL,
        .failure = tally_trouble(tally),
        .runs_twice = relationship_runs_twice(relationship) && (!is_replica || row->state == STATE_RECOVERED || row->state == STATE_COMMITTED),
        .runs_on = relationship_runs_at_former(relationship) ? row->peer : NULL,
        .last_error = last_error,
        .consistent_error = consistent_error,
        .guest_error = guest_error,
        .left_out = left_out,
        .disks_failure = disks_failure,
        .lag_usec = lag_usec,
        .silent_usec = is_replica ? tally_silent_usec(tally) : -1,
        .interval_sec = relationship_settings_interval(settings),
        .success = now.success,
        .missed = now.missed,
        .latency_usec = statistics_average_latency_usec(&now),
    };
    return health_judge(&facts, ret_issues);
}

static StatisticsView *
view_of_statistics(Relationship *relationship)
{
    g_autoptr(StoreRelationship) row = relationship_row(relationship);
    g_autoptr(RelationshipSettings) settings = relationship_settings(relationship);
    g_autofree char *last_error = relationship_error(relationship);
    StatisticsView *view = g_new0(StatisticsView, 1);
    view->health =
        service_judge(relationship, row, settings, last_error, service_lag(relationship, row), &view->issues);
    Statistics now;
    tally_read(relationship_tally(relationship), &now);
    view->start_usec = now.start_usec;
    view->end_usec = now.end_usec;
    view->success = now.success;
    view->missed = now.missed;
    view->failed = now.failed;
    view->network_failed = now.network_failed;
    view->consistent_failed = now.consistent_failed;
    view->bytes = now.bytes;
    view->max_bytes = now.max_bytes;
    view->pending_bytes = row->mode == MODE_PRIMARY ? now.pending_bytes : 0;
    view->resync_bytes = now.resync_bytes;
    view->latency_usec = now.latency_usec;
    view->max_latency_usec = now.max_latency_usec;
    view->last_test_failover_usec = now.last_test_failover_usec;
    return view;
}

static Member *
find_counted(ReplicationService *self, const char *vm_uuid, unsigned index, GError **error)
{
    g_autoptr(VirtDomain) domain = service_find_domain(self, vm_uuid, error);
    if (domain == NULL)
        return NULL;
    g_autoptr(Member) member = service_find_member_at(self, vm_uuid, index);
    if (member != NULL)
        return g_steal_pointer(&member);
    replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                       "VM '%s' has no %sreplication on this host that could be measured; enable it first",
                       domain->name, index > 0 ? "extended " : "");
    return NULL;
}

StatisticsView *
replication_service_statistics(ReplicationService *self, const char *vm_uuid, unsigned index, GError **error)
{
    g_autoptr(Member) member = find_counted(self, vm_uuid, index, error);
    return member != NULL ? view_of_statistics(member->relationship) : NULL;
}

bool
replication_service_reset_statistics(ReplicationService *self, const Caller *caller, const char *vm_uuid,
                                     unsigned index, GError **error)
{
    g_autoptr(Member) member = find_counted(self, vm_uuid, index, error);
    if (member == NULL)
        return false;
    tally_reset(relationship_tally(member->relationship));
    GError *cause = NULL;
    if (!relationship_save_statistics(member->relationship, 0, &cause))
        return service_fail(cause, error);
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    log_notice("statistics", row->vm_name, "begun anew by %s", caller->user);
    return true;
}
