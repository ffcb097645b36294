/* Planned failover on the primary: preparing it, taking that back, and giving up the role of the primary. */
#include "replication/service-private.h"

#include "util/log.h"

#include <string.h>

/* ---- autostart ---- */

static char *
autostart_key(const char *vm_uuid)
{
    return g_strconcat("autostart-held:", vm_uuid, NULL);
}

/* A host that boots must not start a VM that may run elsewhere. What was set is kept for the way back. */
static bool
hold_autostart(ReplicationService *self, const VirtDomain *domain, GError **error)
{
    g_autofree char *key = autostart_key(domain->uuid);
    return !domain->autostart || (store_value_set(self->context.store, key, "1", error) &&
                                  virt_host_set_autostart(self->context.virt, domain->uuid, false, error));
}

static void
give_back_autostart(ReplicationService *self, const char *vm_uuid)
{
    g_autofree char *key = autostart_key(vm_uuid);
    g_autofree char *held = store_value(self->context.store, key, NULL);
    if (held != NULL && held[0] != '\0' && virt_host_set_autostart(self->context.virt, vm_uuid, true, NULL))
        store_value_set(self->context.store, key, NULL, NULL);
}

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

bool
service_prepare_planned(Member *member, const Caller *caller, Job **ret_job, GError **error)
{
    ReplicationService *self = member->service;
    g_autoptr(VirtDomain) domain = NULL;
    if (!can_move(member, OPERATION_PREPARE, error) ||
        !relationship_begin_operation(member->relationship, operation_name(OPERATION_PREPARE), error))
        return false;
    GError *cause = NULL;
    bool good = can_move(member, OPERATION_PREPARE, &cause) &&
                check_off(member, operation_name(OPERATION_PREPARE), &domain, &cause) && hold_autostart(self, domain, &cause);
    if (good) {
        g_autofree char *what = g_strdup_printf("Sending the last changes of '%s'", domain->name);
        *ret_job = job_list_add(self->jobs, JOB_PLANNED, domain->uuid, caller->user, what, false);
        relationship_set_job(member->relationship, *ret_job);
        primary_prepare(member->primary);
    }
    relationship_end_operation(member->relationship);
    service_wake_member(member);
    return good || service_fail(cause, error);
}

/* ---- taking it back ---- */

/* A replica that is failed over runs, or may: the VM must not run here, too. One that cannot be asked is not waited for. */
static bool
check_replica_waits(Member *member, GError **error)
{
    g_autoptr(GError) away = NULL;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autoptr(RelationshipSettings) settings = relationship_settings(member->relationship);
    ReplicationState state;
    if (!primary_ask_state(&member->service->context, row->vm_uuid, settings, &state, &away)) {
        log_warning("service", row->vm_name, "nobody can say whether its replica is failed over: %s; continuing", away->message);
        return true;
    }
    if (state != STATE_RECOVERED && state != STATE_COMMITTED && state != STATE_FAILOVER_RUNNING)
        return true;
    return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                              "VM '%s' is failed over on '%s'; revert that first, or reverse the replication there", row->vm_name,
                              settings->recovery_connection_point);
}

bool
service_cancel_prepared(Member *member, const Caller *caller, GError **error)
{
    if (!can_move(member, OPERATION_RESUME, error) ||
        !relationship_begin_operation(member->relationship, "cancel the planned failover", error))
        return false;
    GError *cause = NULL;
    bool good = check_replica_waits(member, &cause) && relationship_move(member->relationship, OPERATION_RESUME, &cause);
    if (good) {
        primary_unlock(member->primary);
        give_back_autostart(member->service, relationship_vm(member->relationship));
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
    if (!can_move(member, OPERATION_GIVE_UP_ROLE, error) || !relationship_begin_operation(member->relationship, what, error))
        return false;
    GError *cause = NULL;
    bool good = check_off(member, what, &domain, &cause) && primary_lock(member->primary, &cause) &&
                hold_autostart(member->service, domain, &cause) &&
                relationship_move(member->relationship, OPERATION_GIVE_UP_ROLE, &cause);
    if (good)
        log_notice("service", domain->name, "may become the replica of its former replica, wanted by %s; it is locked until then", caller->user);
    else
        primary_recover(member->primary, NULL);
    relationship_end_operation(member->relationship);
    return good || service_fail(cause, error);
}
