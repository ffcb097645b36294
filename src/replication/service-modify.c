/* ModifyReplicationSettings: new settings of a relationship, on its primary. */
#include "replication/service-private.h"

#include "replication/settings.h"
#include "util/log.h"

static bool
has_same_disks(const RelationshipSettings *a, const RelationshipSettings *b)
{
    if (a->included_disks == NULL || b->included_disks == NULL)
        return a->included_disks == b->included_disks;
    for (char **target = a->included_disks; *target != NULL; target++) {
        if (!g_strv_contains((const char *const *)b->included_disks, *target))
            return false;
    }
    return g_strv_length(a->included_disks) == g_strv_length(b->included_disks);
}

static bool
check_wanted(Member *member, const RelationshipSettings *wanted, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    ReplicationState same;
    return state_table_next(row->mode, row->state, row->resume_state, OPERATION_MODIFY, &same, error) &&
           relationship_settings_check(wanted, error) && (row->index == 0 || service_check_extended(member->service, row, wanted, error));
}

static bool
wants_other_disks(Member *member, const RelationshipSettings *wanted)
{
    g_autoptr(RelationshipSettings) current = relationship_settings(member->relationship);
    return current->included_disks != NULL && wanted->included_disks != NULL && !has_same_disks(current, wanted);
}

/* Where the settings say the replica is, there must be one of this VM. */
static bool
check_replica_is_there(Member *member, const RelationshipSettings *wanted, GError **error)
{
    g_autoptr(RelationshipSettings) current = relationship_settings(member->relationship);
    ReplicationState state;
    if (g_ascii_strcasecmp(current->recovery_connection_point, wanted->recovery_connection_point) == 0 &&
        current->recovery_server_port == wanted->recovery_server_port && current->bypass_proxy_server == wanted->bypass_proxy_server)
        return true;
    return primary_ask_state(&member->service->context, relationship_vm(member->relationship), wanted, &state, error);
}

/* The note that the replica was not told comes first: after a crash in between it is told what it has. */
static bool
keep(Member *member, const RelationshipSettings *settings, GError **error)
{
    g_autoptr(StoreRelationship) before = relationship_row(member->relationship);
    if (!primary_note_settings_untold(&member->service->context, before, true, error))
        return false;
    StoreRelationship *row = relationship_edit(member->relationship);
    g_free(row->settings);
    row->settings = relationship_settings_to_json(settings);
    bool good = relationship_edit_end(member->relationship, row, error);
    primary_settings_changed(member->primary);
    g_autoptr(GError) unseen = NULL;
    if (good && !primary_note_seen_disks(&member->service->context, relationship_vm(member->relationship), &unseen))
        log_info("service", relationship_vm(member->relationship), "its disks cannot be looked at now: %s", unseen->message);
    return good;
}

static bool
modify_job(Member *member, Job *job, void *data, GError **error)
{
    const RelationshipSettings *settings = data;
    g_autoptr(GError) untold = NULL;
    if (!check_replica_is_there(member, settings, error) || !keep(member, settings, error))
        return false;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    if (primary_tell_settings(&member->service->context, row, settings, NULL, &untold))
        return true;
    g_autofree char *text = g_strdup_printf("The settings of '%s' are changed here; the replica gets them when it can be reached: %s",
                                            row->vm_name, untold->message);
    job_set_description(job, text);
    log_warning("service", row->vm_name, "the replica does not have the new settings yet: %s; trying again", untold->message);
    return true;
}

bool
replication_service_modify(ReplicationService *self, const Caller *caller, const char *vm_uuid, unsigned index,
                           const RelationshipSettings *wanted, Job **ret_job, GError **error)
{
    const char *verb = operation_name(OPERATION_MODIFY);
    *ret_job = NULL;
    g_autoptr(Member) member = service_find_relationship(self, vm_uuid, index, verb, error);
    if (member != NULL && member->primary != NULL && wants_other_disks(member, wanted))
        return relationship_settings_check(wanted, error) && service_change_disks(member, caller, wanted, ret_job, error);
    if (member == NULL || !check_wanted(member, wanted, error) ||
        !relationship_begin_operation(member->relationship, verb, error))
        return false;
    if (!check_wanted(member, wanted, error)) {
        relationship_end_operation(member->relationship);
        return false;
    }
    RelationshipSettings *settings = service_complete_settings(self, wanted);
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autofree char *what = g_strdup_printf("Changing the settings of '%s'", row->vm_name);
    *ret_job = job_list_add(self->jobs, JOB_MODIFY_RELATIONSHIP, row->vm_uuid, caller->user, what, false);
    log_notice("service", row->vm_name, "settings changed by %s", caller->user);
    service_run_job(member, *ret_job, modify_job, settings, (GDestroyNotify)relationship_settings_free);
    return true;
}
