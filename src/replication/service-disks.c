/* A change of the disks that replicate, as callers and the peer ask for it. */
#include "replication/service-private.h"

#include "replication/disk-set.h"
#include "replication/entry-limits.h"
#include "replication/settings.h"
#include "util/log.h"

static Job *
add_job(Member *member, const Caller *caller)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autofree char *what = g_strdup_printf("Changing the disks of '%s' that replicate", row->vm_name);
    Job *job = job_list_add(member->service->jobs, JOB_CHANGE_DISKS, row->vm_uuid, caller->user, what, true);
    relationship_set_percent(member->relationship, 0);
    relationship_set_job(member->relationship, job);
    return job;
}

/* ---- on the primary ---- */

static bool
lists_disk(char *const *targets, const char *target)
{
    return targets != NULL && g_strv_contains((const char *const *)targets, target);
}

/* What changes on a raw disk is not known across a stop of the VM, which may come while the set changes. */
static bool
check_no_raw_disk(Member *member, const RelationshipSettings *current, const RelationshipSettings *wanted, GError **error)
{
    GError *cause = NULL;
    g_autoptr(GPtrArray) disks = virt_host_disks(member->service->context.virt, relationship_vm(member->relationship), &cause);
    if (disks == NULL)
        return service_fail(cause, error);
    for (guint i = 0; i < disks->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(disks, i);
        if (disk->forgets && (lists_disk(current->included_disks, disk->target) || lists_disk(wanted->included_disks, disk->target)))
            return replication_refuse(error, REPLICATION_ERROR_NOT_SUPPORTED,
                                      "disk '%s' is raw, and the disks of a VM with raw ones cannot be changed while it replicates; "
                                      "remove replication and enable it again, or convert the disk (qemu-img convert -O qcow2)",
                                      disk->target);
    }
    return true;
}

/* All that can be refused before anything is changed. */
static bool
check_change(Member *member, const RelationshipSettings *wanted, GError **error)
{
    GError *cause = NULL;
    if (!service_check_included(member->service, relationship_vm(member->relationship), wanted, error))
        return false;
    g_autoptr(RelationshipSettings) current = relationship_settings(member->relationship);
    if (!check_no_raw_disk(member, current, wanted, error))
        return false;
    if (g_ascii_strcasecmp(current->recovery_connection_point, wanted->recovery_connection_point) != 0 ||
        current->recovery_server_port != wanted->recovery_server_port)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER,
                                  "IncludedDisks and the replica server cannot be changed together: change one after the other");
    g_auto(GStrv) kept = disk_set_common((const char *const *)current->included_disks, (const char *const *)wanted->included_disks);
    if (kept[0] == NULL)
        return replication_refuse(error, REPLICATION_ERROR_NOT_SUPPORTED,
                                  "at least one of the disks that replicate must stay; to replicate others only, remove replication and enable it again");
    if (!primary_check_new_disks(&member->service->context, relationship_vm(member->relationship), wanted->included_disks, &cause))
        return service_fail(cause, error);
    return true;
}

/* The other settings, those of before but for the disks; they go to the replica with the offer of the new set. */
static bool
keep_settings(Member *member, const RelationshipSettings *wanted, GError **error)
{
    g_autoptr(RelationshipSettings) current = relationship_settings(member->relationship);
    g_autoptr(RelationshipSettings) settings = service_complete_settings(member->service, wanted);
    g_strfreev(settings->included_disks);
    settings->included_disks = g_strdupv(current->included_disks);
    StoreRelationship *row = relationship_edit(member->relationship);
    g_free(row->settings);
    row->settings = relationship_settings_to_json(settings);
    return relationship_edit_end(member->relationship, row, error);
}

/* What is wanted comes first: it means nothing without the state. */
static bool
begin_change(Member *member, char *const *wanted, GError **error)
{
    const ReplicationContext *context = &member->service->context;
    const char *vm = relationship_vm(member->relationship);
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    GError *cause = NULL;
    if (!primary_forget_plan(context, row, &cause) || !primary_note_wanted_disks(context, vm, wanted, &cause) ||
        !primary_note_seen_disks(context, vm, &cause))
        return service_fail(cause, error);
    return relationship_move(member->relationship, OPERATION_CHANGE_DISKS, error);
}

bool
service_change_disks(Member *member, const Caller *caller, const RelationshipSettings *wanted, Job **ret_job, GError **error)
{
    const char *verb = operation_name(OPERATION_CHANGE_DISKS);
    if (relationship_index(member->relationship) > 0)
        return replication_refuse(error, REPLICATION_ERROR_NOT_SUPPORTED,
                                  "IncludedDisks: a third host gets all disks that the replica has; leave it out");
    if (!relationship_begin_operation(member->relationship, verb, error))
        return false;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    ReplicationState next;
    bool good = state_table_next(row->mode, row->state, row->resume_state, OPERATION_CHANGE_DISKS, &next, error) &&
                check_change(member, wanted, error) && keep_settings(member, wanted, error) &&
                begin_change(member, wanted->included_disks, error);
    if (good) {
        g_autofree char *names = g_strjoinv(", ", wanted->included_disks);
        *ret_job = add_job(member, caller);
        primary_settings_changed(member->primary);
        log_notice("service", row->vm_name, "the disks that replicate are to be: %s; asked for by %s", names, caller->user);
    }
    relationship_end_operation(member->relationship);
    service_wake_member(member);
    return good;
}

bool
service_retry_disks(Member *member, const Caller *caller, Job **ret_job, GError **error)
{
    if (!relationship_begin_operation(member->relationship, operation_name(OPERATION_CHANGE_DISKS), error))
        return false;
    bool good = relationship_state(member->relationship) == STATE_DISK_UPDATE_CRITICAL;
    if (!good)
        replication_refuse(error, REPLICATION_ERROR_INVALID_STATE, "cannot try the change of the disks that replicate again: none has failed");
    good = good && relationship_move(member->relationship, OPERATION_CHANGE_DISKS, error);
    if (good) {
        *ret_job = add_job(member, caller);
        primary_settings_changed(member->primary);
    }
    relationship_end_operation(member->relationship);
    service_wake_member(member);
    return good;
}

/* The replica is told of the old set as soon as it can be reached. */
static bool
cancel_on_primary(Member *member, const Caller *caller, GError **error)
{
    const ReplicationContext *context = &member->service->context;
    const char *vm = relationship_vm(member->relationship);
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    GError *cause = NULL;
    if (!primary_note_settings_untold(context, row, true, &cause) || !primary_forget_plan(context, row, &cause))
        return service_fail(cause, error);
    if (!relationship_move(member->relationship, OPERATION_CANCEL_DISKS, error))
        return false;
    g_autoptr(GError) ended = g_error_new(REPLICATION_ERROR, REPLICATION_ERROR_FAILED, "cancelled by %s", caller->user);
    relationship_set_percent(member->relationship, 0);
    relationship_end_job(member->relationship, ended);
    primary_note_wanted_disks(context, vm, NULL, NULL);
    primary_settings_changed(member->primary);
    return true;
}

bool
service_is_changing_disks(Member *member)
{
    ReplicationState state = relationship_state(member->relationship);
    return state == STATE_DISK_UPDATE || state == STATE_DISK_UPDATE_CRITICAL;
}

bool
service_cancel_disks(Member *member, const Caller *caller, GError **error)
{
    if (!relationship_begin_operation(member->relationship, operation_name(OPERATION_CANCEL_DISKS), error))
        return false;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    ReplicationState next;
    GError *cause = NULL;
    bool good = state_table_next(row->mode, row->state, row->resume_state, OPERATION_CANCEL_DISKS, &next, error);
    if (good && member->primary != NULL)
        good = cancel_on_primary(member, caller, error);
    else if (good && !replica_end_change(member->replica, &cause))
        good = service_fail(cause, error);
    if (good)
        log_notice("service", row->vm_name, "the change of the disks that replicate was cancelled by %s", caller->user);
    relationship_end_operation(member->relationship);
    service_wake_member(member);
    return good;
}

/* ---- on the replica ---- */

static bool
has_same_set(Member *member, const LinkOffer *offer, bool *ret_same, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_auto(GStrv) set = replica_set(row, error);
    if (set == NULL)
        return false;
    *ret_same = g_strv_length(set) == offer->n_disks;
    for (unsigned i = 0; *ret_same && i < offer->n_disks; i++)
        *ret_same = g_strv_contains((const char *const *)set, offer->disks[i].id);
    return true;
}

bool
service_take_disks(Member *member, const LinkOffer *offer, GError **error)
{
    bool same;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    if (!has_same_set(member, offer, &same, error))
        return false;
    if (!row->initial_complete || (same && row->state != STATE_DISK_UPDATE))
        return true;
    GError *cause = NULL;
    g_autoptr(Member) onward = service_find_member_at(member->service, row->vm_uuid, 1);
    if (!same && onward != NULL)
        return service_deny_peer(error, "the replica of VM '%s' is sent on to a third host, which ends with 'virt-replica remove --extended %s' on "
                                 "'%s'; until then its disks cannot be changed", row->vm_name, row->vm_name, member->service->context.host_name);
    if (!relationship_begin_operation(member->relationship, operation_name(OPERATION_CHANGE_DISKS), &cause)) {
        g_set_error_literal(error, LINK_ERROR, LINK_ERROR_STATE, cause->message);
        g_error_free(cause);
        return false;
    }
    ReplicaLimits limits = entry_limits_of(member);
    bool good = same ? replica_end_change(member->replica, error) : replica_begin_change(member->replica, offer, &limits, error);
    relationship_end_operation(member->relationship);
    service_wake_member(member);
    return good;
}
