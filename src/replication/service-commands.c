/* What callers of the service ask for: set-up, start, state changes, removal, power. */
#include "replication/service-private.h"

#include "replication/settings.h"
#include "util/durable.h"
#include "util/log.h"

#include <string.h>

/* "WHAT 'NAME'" for a job; (transfer full) */
static char *
describe(const char *what, Member *member)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    return g_strdup_printf("%s '%s'", what, row->vm_name);
}

Member *
service_find_relationship(ReplicationService *self, const char *vm_uuid, unsigned index, const char *what, GError **error)
{
    g_autoptr(Member) first = service_find_replicating(self, vm_uuid, what, error);
    if (first == NULL || index == 0)
        return g_steal_pointer(&first);
    Member *member = service_find_member_at(self, vm_uuid, index);
    if (member == NULL)
        replication_refuse(error, REPLICATION_ERROR_INVALID_STATE, "cannot %s: replication of the VM is not extended to a third host", what);
    return member;
}

static Member *
find_sending(ReplicationService *self, const char *vm_uuid, const char *what, GError **error)
{
    g_autoptr(Member) first = service_find_replicating(self, vm_uuid, what, error);
    return first != NULL ? service_find_sender(self, vm_uuid) : NULL;
}

Member *
service_find_replicating(ReplicationService *self, const char *vm_uuid, const char *what, GError **error)
{
    g_autoptr(VirtDomain) domain = service_find_domain(self, vm_uuid, error);
    if (domain == NULL)
        return NULL;
    Member *member = service_find_member(self, vm_uuid);
    if (member == NULL && service_refuse_test_vm(self, domain, what, error))
        replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                           "cannot %s: VM '%s' does not replicate; enable it first", what, domain->name);
    return member;
}

/* ---- CreateReplicationRelationship ---- */

/* What the administrator should know of disks that have no place for a dirty bitmap: a note, or nothing. */
static void
note_raw_disks(Member *member, const RelationshipSettings *settings, Job *job)
{
    const ReplicationContext *context = &member->service->context;
    const char *uuid = relationship_vm(member->relationship);
    g_auto(GStrv) targets = primary_disks(context, uuid, settings, NULL);
    g_autoptr(GPtrArray) disks = targets != NULL ? virt_host_disks(context->virt, uuid, NULL) : NULL;
    g_autoptr(GString) names = g_string_new(NULL);
    uint64_t bytes = 0;
    for (guint i = 0; disks != NULL && i < disks->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(disks, i);
        if (!disk->forgets || !g_strv_contains((const char *const *)targets, disk->target))
            continue;
        g_string_append_printf(names, "%s%s", names->len > 0 ? ", " : "", disk->target);
        bytes += disk->size_bytes;
    }
    if (names->len == 0)
        return;
    g_autofree char *size = g_format_size_full(bytes, G_FORMAT_SIZE_IEC_UNITS);
    g_autofree char *note = g_strdup_printf("raw disks (%s) forget what was written when the VM stops: after each stop and start "
                                            "both hosts read them whole, %s, and compare; qcow2 disks need no such thing",
                                            names->str, size);
    job_set_note(job, note);
}

static bool
create_job(Member *member, Job *job, void *data, GError **error)
{
    ReplicationService *self = member->service;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autoptr(RelationshipSettings) settings = relationship_settings(member->relationship);
    StoreRelationship *edit = NULL;
    /* A removal that a crash cut short may have left a plan and checkpoints. */
    bool good = primary_leave(member->primary, error) && primary_offer(&self->context, row, settings, error);
    if (good) {
        edit = relationship_edit(member->relationship);
        edit->state = STATE_READY;
        good = relationship_edit_end(member->relationship, edit, error);
    }
    if (!good) {
        relationship_close(member->relationship, true);
        service_drop_member(self, member);
        return false;
    }
    log_notice("service", row->vm_name, "replication to '%s' set up", settings->recovery_connection_point);
    if (member->primary != NULL && !upstream_is_of(row))
        note_raw_disks(member, settings, job);
    return true;
}

RelationshipSettings *
service_complete_settings(ReplicationService *self, const RelationshipSettings *wanted)
{
    RelationshipSettings *settings = relationship_settings_copy(wanted);
    g_free(settings->primary_connection_point);
    g_free(settings->primary_host_system);
    g_free(settings->recovery_host_system);
    settings->primary_connection_point = g_strdup(self->context.host_name);
    settings->primary_host_system = g_strdup(self->context.host_name);
    settings->recovery_host_system = g_strdup(settings->recovery_connection_point);
    return settings;
}

bool
service_check_included(ReplicationService *self, const char *vm_uuid, const RelationshipSettings *settings, GError **error)
{
    g_autoptr(GPtrArray) disks = replication_service_disks(self, vm_uuid, error);
    if (disks == NULL)
        return false;
    for (char **target = settings->included_disks; target != NULL && *target != NULL; target++) {
        bool found = false;
        for (guint i = 0; i < disks->len; i++)
            found |= strcmp(((DiskView *)g_ptr_array_index(disks, i))->target, *target) == 0;
        if (!found)
            return replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER,
                                      "IncludedDisks: the VM has no disk '%s'", *target);
    }
    return true;
}

/* Takes @row, of a VM that @domain is. */
static bool
begin_relationship(ReplicationService *self, const Caller *caller, const VirtDomain *domain, StoreRelationship *row,
                   const RelationshipSettings *settings, Job **ret_job, GError **error)
{
    row->mode = MODE_PRIMARY;
    row->state = STATE_DISABLED;
    row->vm_name = g_strdup(domain->name);
    row->lineage = g_uuid_string_random();
    row->settings = relationship_settings_to_json(settings);
    g_autoptr(Member) member = service_add_member(self, row, error);
    if (member == NULL || !relationship_begin_operation(member->relationship, "enable replication", error))
        return false;
    g_autofree char *what = g_strdup_printf(relationship_index(member->relationship) == 0 ? "Enabling replication of '%s'" :
                                            "Extending replication of '%s'", domain->name);
    *ret_job = job_list_add(self->jobs, JOB_CREATE_RELATIONSHIP, domain->uuid, caller->user, what, false);
    service_run_job(member, *ret_job, create_job, NULL, NULL);
    return true;
}

/* By the operation of the replica's own relationship, which must not go meanwhile. */
static bool
extend(ReplicationService *self, const Caller *caller, const VirtDomain *domain, const RelationshipSettings *wanted, Job **ret_job,
       GError **error)
{
    static const char what[] = "extend replication";
    g_autoptr(RelationshipSettings) settings = service_complete_settings(self, wanted);
    g_autoptr(Member) first = service_find_replicating(self, domain->uuid, what, error);
    if (first == NULL || !relationship_begin_operation(first->relationship, what, error))
        return false;
    StoreRelationship *row = service_extended_row(self, domain, settings, error);
    bool good = row != NULL && begin_relationship(self, caller, domain, row, settings, ret_job, error);
    relationship_end_operation(first->relationship);
    service_wake_member(first);
    return good;
}

bool
replication_service_create(ReplicationService *self, const Caller *caller, const char *vm_uuid, unsigned index,
                           const RelationshipSettings *wanted, Job **ret_job, GError **error)
{
    *ret_job = NULL;
    g_autoptr(VirtDomain) domain = service_find_domain(self, vm_uuid, error);
    if (domain == NULL || !service_refuse_test_vm(self, domain, "enable replication", error) ||
        !relationship_settings_check(wanted, error))
        return false;
    if (index > 0)
        return extend(self, caller, domain, wanted, ret_job, error);
    g_autoptr(Member) present = service_find_member(self, vm_uuid);
    if (present != NULL) {
        g_autoptr(StoreRelationship) row = relationship_row(present->relationship);
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                                  "VM '%s' replicates already: it is %s, state: %s", domain->name,
                                  replication_mode_name(row->mode), replication_state_name(row->state));
    }
    if (!domain->persistent)
        return replication_refuse(error, REPLICATION_ERROR_NOT_SUPPORTED,
                                  "VM '%s' is transient; define it before it is replicated",
                                  domain->name);
    if (!service_check_included(self, vm_uuid, wanted, error))
        return false;
    g_autoptr(RelationshipSettings) settings = service_complete_settings(self, wanted);
    g_auto(GStrv) targets = primary_disks(&self->context, domain->uuid, settings, error);
    if (targets == NULL)
        return false;
    /* What is replicated is settled now: a disk that the VM gets later stays out, and does not stop replication. */
    g_strfreev(settings->included_disks);
    settings->included_disks = g_strdupv(targets);
    return begin_relationship(self, caller, domain, store_relationship_new(domain->uuid, 0), settings, ret_job, error);
}

/* ---- StartReplication ---- */

#define START_AHEAD_MAX_USEC ((int64_t)7 * 24 * 3600 * G_USEC_PER_SEC)

static bool
check_start(int64_t start_usec, GError **error)
{
    if (start_usec <= g_get_real_time() + START_AHEAD_MAX_USEC)
        return true;
    return replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER, "StartTime is more than 7 days ahead; give an earlier one");
}

/* The copy that the state now asks for begins then; by the operation that asked for it. */
static bool
note_start(Member *member, int64_t start_usec, GError **error)
{
    StoreRelationship *edit = relationship_edit(member->relationship);
    edit->start_usec = start_usec > g_get_real_time() ? start_usec : 0;
    return relationship_edit_end(member->relationship, edit, error);
}

static Job *
add_copy_job(Member *member, JobType type, const char *what, const Caller *caller, int64_t start_usec)
{
    g_autofree char *text = describe(what, member);
    g_autoptr(GDateTime) start = g_date_time_new_from_unix_local(start_usec / G_USEC_PER_SEC);
    g_autofree char *when = g_date_time_format(start, "%Y-%m-%d %H:%M:%S");
    g_autofree char *title = start_usec > g_get_real_time() ? g_strdup_printf("%s, from %s on", text, when) : g_strdup(text);
    Job *job = job_list_add(member->service->jobs, type, relationship_vm(member->relationship), caller->user, title, true);
    relationship_set_job(member->relationship, job);
    return job;
}

static const struct {
    JobType     job;
    const char *title;
} first_copies[] = { /* by InitialReplicationType */
    [1] = { JOB_START_INITIAL, "Sending the first copy of" },
    [2] = { JOB_START_EXPORT, "Exporting the first copy of" },
    [3] = { JOB_START_SEEDED, "Comparing and sending the first copy of" },
};

bool
replication_service_start_initial(ReplicationService *self, const Caller *caller, const char *vm_uuid, unsigned type,
                                  const char *export_location, int64_t start_usec, Job **ret_job, GError **error)
{
    *ret_job = NULL;
    if (type < 1 || type > 3)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER,
                                  "InitialReplicationType must be 1 (network), 2 (export) or 3 (seeded), not %u", type);
    g_autoptr(Member) member = find_sending(self, vm_uuid, "start initial replication", error);
    if (member == NULL)
        return false;
    if (type == 2)
        start_usec = 0; /* as on Hyper-V */
    if (!check_start(start_usec, error))
        return false;
    if (!relationship_begin_operation(member->relationship, "start initial replication", error))
        return false;
    bool good = service_plan_first_copy(member, type, export_location, error) && note_start(member, start_usec, error) &&
                relationship_move(member->relationship, OPERATION_START_INITIAL, error);
    if (good)
        *ret_job = add_copy_job(member, first_copies[type].job, first_copies[type].title, caller, start_usec);
    if (good)
        service_note_export(member, *ret_job);
    relationship_end_operation(member->relationship);
    service_wake_member(member);
    return good;
}

/* ---- Resynchronize ---- */

static bool
check_may_resynchronize(Member *member, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    if (row->mode != MODE_PRIMARY)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                                  "cannot resynchronize: VM '%s' is a replica; start it on the primary", row->vm_name);
    if (row->initial_complete)
        return true; /* the rest is the state table's */
    return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                              "cannot resynchronize: the first copy of VM '%s' is not complete; resume it instead", row->vm_name);
}

/* A comparison of everything, but for one that was suspended: that goes on. */
static bool
start_resync(ReplicationService *self, Member *member, GError **error)
{
    GError *cause = NULL;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    bool goes_on = row->state == STATE_RESYNC_SUSPENDED;
    if (!goes_on && member->primary != NULL && !primary_forget_plan(&self->context, row, &cause))
        return service_fail(cause, error);
    return relationship_move(member->relationship, OPERATION_RESYNC, error);
}

bool
replication_service_resynchronize(ReplicationService *self, const Caller *caller, const char *vm_uuid, int64_t start_usec,
                                  Job **ret_job, GError **error)
{
    *ret_job = NULL;
    g_autoptr(Member) member = find_sending(self, vm_uuid, "resynchronize", error);
    if (member == NULL || !check_start(start_usec, error) ||
        !relationship_begin_operation(member->relationship, "resynchronize", error))
        return false;
    bool good = check_may_resynchronize(member, error) && note_start(member, start_usec, error) && start_resync(self, member, error);
    if (good)
        *ret_job = add_copy_job(member, relationship_index(member->relationship) == 0 ? JOB_RESYNC : JOB_RESYNC_EXTENDED, "Resynchronizing",
                                caller, start_usec);
    relationship_end_operation(member->relationship);
    service_wake_member(member);
    return good;
}

/* ---- RequestReplicationStateChangeEx ---- */

/* A replica whose files were not what was left there may go on only when they are again. */
static bool
check_may_resume(Member *member, GError **error)
{
    GError *cause = NULL;
    if (member->replica == NULL || relationship_state(member->relationship) != STATE_CRITICAL ||
        replica_recover(member->replica, &cause))
        return true;
    return service_fail(cause, error);
}

static bool
resynchronizes_as_replica(Member *member)
{
    return member->replica != NULL && relationship_state(member->relationship) == STATE_RESYNCHRONIZING;
}

bool
replication_service_change_state(ReplicationService *self, const Caller *caller, const char *vm_uuid, unsigned index,
                                 unsigned requested, Job **ret_job, GError **error)
{
    *ret_job = NULL;
    static const unsigned known[] = { 1, 2, 3, 4, 7, 9, 15 };
    bool is_known = false;
    for (size_t i = 0; i < G_N_ELEMENTS(known); i++)
        is_known |= known[i] == requested;
    if (!is_known)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER,
                                  "RequestedState %u is not one of 1, 2, 3, 4, 7, 9, 15",
                                  requested);
    g_autoptr(VirtDomain) domain = service_find_domain(self, vm_uuid, error);
    g_autoptr(Member) replicating = service_find_member(self, vm_uuid);
    if (domain != NULL && replicating == NULL && index == 0 && requested == 2)
        return service_await_primary(self, caller, domain, error);
    g_autoptr(Member) member = domain != NULL ? service_find_relationship(self, vm_uuid, index, "change the replication state", error) : NULL;
    if (member == NULL)
        return false;
    if (requested == 15 && member->primary != NULL)
        return service_retry_disks(member, caller, ret_job, error);
    if (service_is_changing_disks(member) && (requested == 3 || requested == (member->primary != NULL ? 1u : 2u)))
        return service_cancel_disks(member, caller, error);
    if (member->primary != NULL && requested == 2)
        return service_give_up_role(member, caller, error);
    if (member->primary != NULL && requested == 4)
        return service_prepare_planned(member, caller, ret_job, error);
    if (requested == 3 && service_is_locked(member))
        return service_cancel_prepared(member, caller, error);
    if (requested == 1 || requested == 9)
        return service_cancel_copy(member, caller, requested == 1 ? OPERATION_CANCEL_INITIAL : OPERATION_CANCEL_RESYNC, error);
    if (requested != 3 && requested != 7)
        return replication_refuse(error, REPLICATION_ERROR_NOT_SUPPORTED,
                                  "RequestedState %u is not available here; 3 (resume) and 7 (suspend) are, and on a primary 1 (cancel "
                                  "initial replication), 2 (become a replica), 4 (prepare a planned failover), 9 (cancel a "
                                  "resynchronization) and 15 (try a change of the disks again)",
                                  requested);
    Operation operation = requested == 3 ? OPERATION_RESUME : OPERATION_SUSPEND;
    if (!relationship_begin_operation(member->relationship, operation_name(operation), error))
        return false;
    bool good = check_may_resume(member, error) &&
                (operation == OPERATION_RESUME && resynchronizes_as_replica(member)
                     ? service_take_back_resync(member, error)
                     : relationship_move(member->relationship, operation, error));
    relationship_end_operation(member->relationship);
    if (good) {
        g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
        log_notice("service", row->vm_name, "replication %s by %s", requested == 3 ? "resumed" : "suspended", caller->user);
        service_wake_member(member);
    }
    return good;
}

/* ---- RemoveReplicationRelationship(Ex) ---- */

static void
remove_files(ReplicationService *self, const StoreRelationship *row)
{
    static const char *const parts[] = { "staging", "undo" };
    if (row->mode == MODE_PRIMARY)
        return;
    primary_forget_autostart(&self->context, row->vm_uuid, NULL);
    bool seeded = replica_is_seeded(row);
    if (seeded)
        service_clean_seed(row);
    if (seeded || row->folder == NULL)
        return;
    /* Disks that could not be looked at may be between two states; only the undo logs lead out of there. */
    bool keep_undo = row->state == STATE_CRITICAL && row->resync_passes > 0;
    for (size_t i = 0; i < G_N_ELEMENTS(parts) - keep_undo; i++) {
        g_autofree char *path = g_build_filename(row->folder, parts[i], NULL);
        g_autoptr(GError) error = NULL;
        if (!durable_remove_tree(path, &error))
            log_warning("service", row->vm_name, "%s; continuing", error->message);
    }
}

/* Whoever removes the replication keeps the disks: with all that was received, and not between two states. @ret_word: what else there is
 * to say of them. */
static bool
leave_replica(Member *member, const StoreRelationship *row, char **ret_word, GError **error)
{
    if (replica_is_seeded(row))
        return service_leave_seed(member, ret_word, error);
    bool held = row->state == STATE_RECOVERED || row->state == STATE_COMMITTED || row->state == STATE_CRITICAL;
    if (!row->initial_complete || held)
        return true;
    return replica_apply_pending(member->replica, error) && replica_give_up_passes(member->replica, error) &&
           (row->state != STATE_DISK_UPDATE || replica_end_change(member->replica, error));
}

/* Without its lock the VM could be started here, too. A replica that cannot be asked does not bar the way out. */
static bool
check_not_failed_over(Member *member, const StoreRelationship *row, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autoptr(RelationshipSettings) settings = relationship_settings(member->relationship);
    if (!service_is_locked(member) || primary_keep_role(&member->service->context, row->vm_uuid, settings, NULL, &cause))
        return true;
    if (g_error_matches(cause, LINK_ERROR, LINK_ERROR_STATE))
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE, "cannot remove the replication of VM '%s', which is locked: %s",
                                  row->vm_name, cause->message);
    log_warning("service", row->vm_name, "it may be started again although nobody can say whether it runs on '%s': %s",
                settings->recovery_connection_point, cause->message);
    return true;
}

/* What we keep in the VM and its images costs it something as long as it is there. It goes first: with the row, nobody would know of it any
 * more. Where the row stays after all, the primary misses its bitmap and resynchronizes. */
static void
leave_guest(Member *member, const StoreRelationship *row)
{
    const ReplicationContext *context = &member->service->context;
    bool is_guest = row->state == STATE_RECOVERED || row->state == STATE_COMMITTED;
    g_autoptr(GError) cause = NULL;
    if (member->primary != NULL ? !primary_leave(member->primary, &cause) : is_guest && !primary_forget(context, row->vm_uuid, &cause))
        log_warning("service", row->vm_name, "%s; continuing", cause->message);
    if (member->primary != NULL && row->index == 0)
        primary_release_autostart(context, row->vm_uuid);
}

static void
leave_primary(Member *member, const StoreRelationship *row)
{
    const ReplicationContext *context = &member->service->context;
    g_autoptr(RelationshipSettings) settings = relationship_settings(member->relationship);
    primary_unlock(member->primary);
    primary_say_removed(context, row->vm_uuid, settings);
}

static bool
remove_job(Member *member, Job *job, void *data, GError **error)
{
    ReplicationService *self = member->service;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autofree char *word = NULL;
    if (member->replica != NULL ? !leave_replica(member, row, &word, error) : !check_not_failed_over(member, row, error))
        return false;
    leave_guest(member, row);
    if (!relationship_remove(member->relationship, NULL, error))
        return false;
    service_drop_member(self, member);
    if (member->replica != NULL)
        replica_close_disks(member->replica);
    else
        leave_primary(member, row);
    remove_files(self, row);
    if (word != NULL) {
        job_set_note(job, word);
        log_notice("service", row->vm_name, "%s", word);
    }
    g_autoptr(GError) ended = g_error_new_literal(REPLICATION_ERROR, REPLICATION_ERROR_INVALID_STATE,
                                                  "replication was removed");
    relationship_end_job(member->relationship, ended);
    log_notice("service", row->vm_name, "replication removed");
    return true;
}

bool
replication_service_remove(ReplicationService *self, const Caller *caller, const char *vm_uuid, unsigned index,
                           Job **ret_job, GError **error)
{
    *ret_job = NULL;
    g_autoptr(Member) member = service_find_relationship(self, vm_uuid, index, "remove replication", error);
    if (member == NULL || !relationship_begin_operation(member->relationship, "remove replication", error))
        return false;
    if (!service_refuse_extended(member, "remove replication", error)) {
        relationship_end_operation(member->relationship);
        service_wake_member(member);
        return false;
    }
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    if (row->test_stage != TEST_NONE) {
        relationship_end_operation(member->relationship);
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                                  "cannot remove replication: a test failover of VM '%s' runs; end it first with 'virt-replica test-end %s'",
                                  row->vm_name, row->vm_name);
    }
    g_autofree char *what = describe("Removing replication of", member);
    *ret_job = job_list_add(self->jobs, JOB_REMOVE_RELATIONSHIP, relationship_vm(member->relationship), caller->user, what,
                            false);
    service_run_job(member, *ret_job, remove_job, NULL, NULL);
    return true;
}
