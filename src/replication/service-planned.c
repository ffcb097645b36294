/* Planned failover on the primary: preparing it, taking that back, and giving up the role of the primary. */
#include "replication/service-private.h"

#include "util/log.h"

/* ---- preparing ---- */

bool
service_is_locked(Member *member)
{
    ReplicationState state = relationship_state(member->relationship);
    return member->primary != NULL && (state == STATE_PREPARED || state == STATE_REPURPOSE);
}

static bool
check_off(Member *member, const char *what, VirtDomain **ret_domain, GError **error)
{
    g_autoptr(VirtDomain) domain = service_find_domain(member->service, relationship_vm(member->relationship), error);
    if (domain == NULL)
        return false;
    if (domain->state == VIRT_SAVED)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                                  "cannot %s: VM '%s' has a saved state; start it and shut it down, or drop that with "
                                  "'virsh managedsave-remove'", what, domain->name);
    if (domain->state != VIRT_OFF && domain->state != VIRT_CRASHED)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE, "cannot %s: VM '%s' is running; shut it down first", what,
                                  domain->name);
    *ret_domain = g_steal_pointer(&domain);
    return true;
}

static bool
can_move(Member *member, Operation operation, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    ReplicationState next;
    return state_table_next(row->mode, row->state, row->resume_state, operation, &next, error);
}

/* A VM has to be off, and stays so; a replica is locked as it is. */
static bool
prepare_vm(Member *member, GError **error)
{
    g_autoptr(VirtDomain) domain = NULL;
    if (relationship_index(member->relationship) > 0)
        return service_check_extended_planned(member, error);
    return check_off(member, operation_name(OPERATION_PREPARE), &domain, error) && primary_drop_autostart(member->primary, error) &&
           primary_hold_autostart(&member->service->context, domain->uuid, error);
}

bool
service_prepare_planned(Member *member, const Caller *caller, Job **ret_job, GError **error)
{
    ReplicationService *self = member->service;
    if (!can_move(member, OPERATION_PREPARE, error) ||
        !relationship_begin_operation(member->relationship, operation_name(OPERATION_PREPARE), error))
        return false;
    GError *cause = NULL;
    bool good = can_move(member, OPERATION_PREPARE, &cause) && prepare_vm(member, &cause);
    if (good) {
        g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
        g_autofree char *what = g_strdup_printf("Sending the last changes of '%s'", row->vm_name);
        *ret_job = job_list_add(self->jobs, JOB_PLANNED, row->vm_uuid, caller->user, what, false);
        relationship_set_job(member->relationship, *ret_job);
        primary_prepare(member->primary);
    }
    relationship_end_operation(member->relationship);
    service_wake_member(member);
    return good || service_fail(cause, error);
}

/* ---- taking it back ---- */

/* A replica that is failed over runs, or may: the VM must not run here, too. One that was failed over later must not pass for planned. So the
 * replica has to agree, unless the administrator answers for it. */
static bool
ask_replica(Member *member, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autoptr(RelationshipSettings) settings = relationship_settings(member->relationship);
    const char *host = settings->recovery_connection_point;
    if (primary_keep_role(&member->service->context, row->vm_uuid, settings, NULL, &cause))
        return true;
    bool silent = g_error_matches(cause, LINK_ERROR, LINK_ERROR_UNREACHABLE);
    if (silent && service_fence_is_waived(member)) {
        log_warning("service", row->vm_name, "nobody can say whether it is failed over on '%s' (%s); it is named in fence-waived, continuing",
                    host, cause->message);
        return true;
    }
    if (silent)
        return replication_refuse(error, REPLICATION_ERROR_UNAVAILABLE,
                                  "VM '%s' may be failed over on '%s', and its replica cannot be asked: %s; make sure that it is not, then "
                                  "name it in [failover] fence-waived, or remove its replication here", row->vm_name, host, cause->message);
    g_prefix_error(&cause, "host '%s' does not agree that VM '%s' may run here: ", host, row->vm_name);
    return service_fail(g_steal_pointer(&cause), error);
}

/* What was sent last is no planned failover's any more, over there neither. */
static bool
forget_planned(Member *member, GError **error)
{
    StoreRelationship *row = relationship_edit(member->relationship);
    row->last_kind = row->last_kind == POINT_KIND_PLANNED ? POINT_KIND_STANDARD : row->last_kind;
    return relationship_edit_end(member->relationship, row, error);
}

/* A suspension outlives a role that is given up and taken back. */
static char *
suspended_key(Member *member)
{
    return g_strconcat("suspended-before:", relationship_vm(member->relationship), NULL);
}

static bool
note_suspended(Member *member, GError **error)
{
    g_autofree char *key = suspended_key(member);
    bool suspended = relationship_state(member->relationship) == STATE_SUSPENDED;
    return store_value_set(member->service->context.store, key, suspended ? "1" : NULL, error);
}

static bool
take_back_role(Member *member, GError **error)
{
    g_autofree char *key = suspended_key(member), *noted = store_value(member->service->context.store, key, NULL);
    bool given_up = relationship_state(member->relationship) == STATE_REPURPOSE;
    if (!relationship_move(member->relationship, OPERATION_RESUME, error))
        return false;
    return !given_up || g_strcmp0(noted, "1") != 0 || relationship_move(member->relationship, OPERATION_SUSPEND, error);
}

bool
service_cancel_prepared(Member *member, const Caller *caller, GError **error)
{
    if (!can_move(member, OPERATION_RESUME, error) ||
        !relationship_begin_operation(member->relationship, "cancel the planned failover", error))
        return false;
    GError *cause = NULL;
    bool good = ask_replica(member, &cause) && primary_clear_planned(member->primary, &cause) && forget_planned(member, &cause) &&
                take_back_role(member, &cause);
    if (good && relationship_index(member->relationship) > 0) {
        log_notice("service", relationship_vm(member->relationship), "the planned failover to the third host is cancelled by %s", caller->user);
    } else if (good) {
        primary_unlock(member->primary);
        primary_give_back_autostart(&member->service->context, relationship_vm(member->relationship));
        log_notice("service", relationship_vm(member->relationship), "the planned failover is cancelled by %s; the VM may start again",
                   caller->user);
    }
    relationship_end_operation(member->relationship);
    service_wake_member(member);
    return good || service_fail(cause, error);
}

/* ---- giving up the role ---- */

bool
service_give_up_role(Member *member, const Caller *caller, GError **error)
{
    static const char what[] = "turn the VM into a replica";
    g_autoptr(VirtDomain) domain = NULL;
    if (relationship_index(member->relationship) > 0)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE, "cannot %s: it is one already", what);
    if (!can_move(member, OPERATION_GIVE_UP_ROLE, error) || !relationship_begin_operation(member->relationship, what, error))
        return false;
    GError *cause = NULL;
    bool good = check_off(member, what, &domain, &cause) && primary_drop_autostart(member->primary, &cause) &&
                primary_lock(member->primary, &cause) &&
                primary_hold_autostart(&member->service->context, domain->uuid, &cause) && note_suspended(member, &cause) &&
                relationship_move(member->relationship, OPERATION_GIVE_UP_ROLE, &cause);
    if (good) {
        g_autoptr(GError) ended = g_error_new_literal(REPLICATION_ERROR, REPLICATION_ERROR_INVALID_STATE, "the VM gives up its role");
        relationship_end_job(member->relationship, ended);
        log_notice("service", domain->name, "may become the replica of its former replica, wanted by %s; it is locked until then", caller->user);
    } else {
        primary_recover(member->primary, NULL);
    }
    relationship_end_operation(member->relationship);
    return good || service_fail(cause, error);
}
