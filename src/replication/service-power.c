/* Power of VMs: what replication forbids, and the fence before a VM starts that may still run elsewhere. */
#include "replication/service-private.h"

#include "util/log.h"
#include "util/subprocess.h"

#include <string.h>

#define FENCE_TIMEOUT_SEC 120

static const struct {
    unsigned requested; /* Msvm_ComputerSystem.RequestStateChange */
    bool   (*act)(VirtHost *, const char *, GError **);
    const char *name;
} power_actions[] = {
    { 2, virt_host_start, "start" },   { 3, virt_host_stop, "turn off" }, { 4, virt_host_shutdown, "shut down" },
    { 9, virt_host_pause, "pause" },   { 10, virt_host_reset, "reboot" }, { 11, virt_host_reset, "reset" },
};

/* May the VM be started as far as replication goes? */
static bool
check_may_start(Member *member, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    if (replica_is_awaited(row))
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                                  "VM '%s' may become a replica, and is locked against starting; 'virt-replica remove %s' takes that back",
                                  row->vm_name, row->vm_name);
    if (replication_mode_is_replica(row->mode) && row->state != STATE_RECOVERED && row->state != STATE_COMMITTED)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                                  "VM '%s' is a replica and locked against starting; fail over to it first", row->vm_name);
    if (service_is_locked(member) || (member->primary != NULL && primary_is_unclear(member->primary)))
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                                  "VM '%s' is prepared for a planned failover and locked against starting; cancel that first",
                                  row->vm_name);
    return true;
}

static bool
run_power(ReplicationService *self, const VirtDomain *domain, size_t action, GError **error)
{
    bool resume = power_actions[action].requested == 2 && domain->state == VIRT_PAUSED;
    GError *cause = NULL;
    if ((resume ? virt_host_resume : power_actions[action].act)(self->context.virt, domain->uuid, &cause))
        return true;
    return service_fail(cause, error);
}

bool
service_runs_failed_over(Member *member)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    if (!replication_mode_is_replica(row->mode) || (row->state != STATE_RECOVERED && row->state != STATE_COMMITTED))
        return false;
    g_autoptr(VirtDomain) domain = virt_host_find(member->service->context.virt, row->vm_uuid, NULL);
    return domain != NULL && domain->state != VIRT_OFF && domain->state != VIRT_CRASHED && domain->state != VIRT_SAVED;
}

/* ---- the fence ---- */

bool
service_fence_is_waived(Member *member)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    const char *names = member->service->config.fence_waived;
    g_auto(GStrv) waived = g_strsplit_set(names != NULL ? names : "", ";,", -1);
    bool found = false;
    for (char **name = waived; *name != NULL; name++)
        found |= strcmp(g_strstrip(*name), row->vm_name) == 0;
    return found;
}

/* After an unplanned failover nobody here knows whether the VM still runs on the primary. */
static bool
needs_fence(ReplicationService *self, Member *member)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    const char *command = self->config.fence_command;
    if (command == NULL || !replication_mode_is_replica(row->mode) || row->failed_over_kind == POINT_KIND_PLANNED)
        return false;
    bool waived = service_fence_is_waived(member);
    if (waived)
        log_warning("service", row->vm_name, "it is started without asking the fence command, as the configuration says");
    return !waived;
}

static bool
run_fence(ReplicationService *self, Member *member, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autoptr(RelationshipSettings) settings = relationship_settings(member->relationship);
    const char *primary = settings->primary_host_system != NULL ? settings->primary_host_system : "";
    const char *const argv[] = { self->config.fence_command, row->vm_name, row->vm_uuid, primary, NULL };
    g_autoptr(GError) cause = NULL;
    log_notice("service", row->vm_name, "asking the fence command '%s' whether it is off on '%s'", argv[0], primary);
    if (subprocess_run(argv, FENCE_TIMEOUT_SEC, NULL, &cause))
        return true;
    return replication_refuse(error, REPLICATION_ERROR_FAILED,
                              "VM '%s' is not started: the fence command '%s' could not make sure that it is off on '%s' (%s); see to that, or "
                              "name the VM in [failover] fence-waived", row->vm_name, argv[0], primary, cause->message);
}

static bool
fenced_start_job(Member *member, Job *job, void *data, GError **error)
{
    ReplicationService *self = member->service;
    g_autoptr(VirtDomain) domain = service_find_domain(self, relationship_vm(member->relationship), error);
    if (domain == NULL || !run_fence(self, member, error) || !run_power(self, domain, 0, error))
        return false;
    log_notice("service", domain->name, "started behind the fence");
    return true;
}

static bool
start_fenced(ReplicationService *self, Member *member, const VirtDomain *domain, const Caller *caller, Job **ret_job)
{
    g_autofree char *what = g_strdup_printf("Fencing and starting '%s'", domain->name);
    *ret_job = job_list_add(self->jobs, JOB_START_VM, domain->uuid, caller->user, what, false);
    service_run_job(member, *ret_job, fenced_start_job, NULL, NULL);
    return true;
}

/* ---- RequestStateChange ---- */

/* A QEMU that is ended within a backup job of ours may be killed before it has saved its bitmaps, and then both sides must be compared. What
 * is under way gives way at once; where it cannot be had, the VM is turned off all the same. */
static bool
turn_off(Member *member, const VirtDomain *domain, size_t action, GError **error)
{
    bool held = member->primary != NULL && relationship_begin_operation(member->relationship, "turn off the VM", NULL);
    bool good = run_power(member->service, domain, action, error);
    if (held)
        relationship_end_operation(member->relationship);
    service_wake_member(member);
    return good;
}

bool
replication_service_power(ReplicationService *self, const Caller *caller, const char *vm_uuid, unsigned requested,
                          Job **ret_job, GError **error)
{
    *ret_job = NULL;
    size_t action = 0;
    while (action < G_N_ELEMENTS(power_actions) && power_actions[action].requested != requested)
        action++;
    if (action == G_N_ELEMENTS(power_actions))
        return replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER,
                                  "RequestedState %u is not one of 2, 3, 4, 9, 10, 11", requested);
    g_autoptr(VirtDomain) domain = service_find_domain(self, vm_uuid, error);
    if (domain == NULL)
        return false;
    g_autoptr(Member) member = service_find_member(self, vm_uuid);
    if (member != NULL && requested == 3)
        return turn_off(member, domain, action, error);
    if (member == NULL || requested != 2)
        return run_power(self, domain, action, error);
    if (!relationship_begin_operation(member->relationship, "start the VM", error))
        return false;
    bool good = check_may_start(member, error);
    if (good && needs_fence(self, member))
        return start_fenced(self, member, domain, caller, ret_job);
    good = good && run_power(self, domain, action, error);
    relationship_end_operation(member->relationship);
    service_wake_member(member);
    if (good)
        log_notice("service", domain->name, "started by %s", caller->user);
    return good;
}
