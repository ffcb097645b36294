/* Cancelling a copy under way: the first one, or a resynchronization, on the primary; by its state or by its job. */
#include "replication/service-private.h"

#include "replication/replica-folder.h"
#include "util/log.h"

/* A first copy that was suspended is in the states that a suspended cycle is in, too. */
static bool
check_first_copy(Member *member, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    if (!row->initial_complete)
        return true;
    return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                              "cannot cancel initial replication: the first copy of VM '%s' is complete; remove its replication "
                              "to end it", row->vm_name);
}

static bool
check_state(Member *member, Operation operation, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    ReplicationState next;
    return state_table_next(row->mode, row->state, row->resume_state, operation, &next, error) &&
           (operation != OPERATION_CANCEL_INITIAL || check_first_copy(member, error));
}

/* Before the state is left, so that the next copy can never go on with the plan of this one. */
static bool
drop_plan(Member *member, Operation operation, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    GError *cause = NULL;
    bool good = operation == OPERATION_CANCEL_INITIAL ? primary_leave(member->primary, &cause) :
                                                        primary_forget_plan(&member->service->context, row, &cause);
    return good || service_fail(cause, error);
}

/* A start that was set for later goes with it, and so does an export: its folder stays as it is. */
static bool
forget_start(Member *member, Operation operation, GError **error)
{
    StoreRelationship *edit = relationship_edit(member->relationship);
    edit->start_usec = 0;
    if (operation == OPERATION_CANCEL_INITIAL) {
        g_clear_pointer(&edit->export_folder, g_free);
        g_clear_pointer(&edit->checkpoint, g_free);
        g_clear_pointer(&edit->blob_hash, g_free);
        edit->exported = false;
    }
    return relationship_edit_end(member->relationship, edit, error);
}

static void
end_job_of_copy(Member *member, const Caller *caller)
{
    g_autoptr(GError) ended = g_error_new(REPLICATION_ERROR, REPLICATION_ERROR_FAILED, "cancelled by %s", caller->user);
    relationship_end_job(member->relationship, ended);
}

bool
service_cancel_copy(Member *member, const Caller *caller, Operation operation, GError **error)
{
    if (!relationship_begin_operation(member->relationship, operation_name(operation), error))
        return false;
    bool good = check_state(member, operation, error) && drop_plan(member, operation, error) && forget_start(member, operation, error) &&
                relationship_move(member->relationship, operation, error);
    if (good) {
        g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
        relationship_set_percent(member->relationship, 0);
        end_job_of_copy(member, caller);
        log_notice("service", row->vm_name, "%s: asked for by %s", operation_name(operation), caller->user);
    }
    relationship_end_operation(member->relationship);
    service_wake_member(member);
    return good;
}

/* What was the primary and was never equal to the one that took its place can only be resynchronized: its state stays. */
static bool
was_turned(Member *member)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autofree char *from = replica_turn_fact(row->folder, TURN_FROM);
    return from != NULL;
}

bool
service_take_back_resync(Member *member, GError **error)
{
    GError *cause = NULL;
    if (!replica_apply_pending(member->replica, &cause) || !replica_give_up_passes(member->replica, &cause))
        return service_fail(cause, error);
    return was_turned(member) || relationship_move(member->relationship, OPERATION_RESUME, error);
}

static bool
operation_of_job(const JobView *view, Operation *ret)
{
    bool resync = view->type == JOB_RESYNC || view->type == JOB_RESYNC_EXTENDED;
    *ret = resync                             ? OPERATION_CANCEL_RESYNC
           : view->type == JOB_CHANGE_DISKS ? OPERATION_CANCEL_DISKS
                                              : OPERATION_CANCEL_INITIAL;
    return resync || view->type == JOB_CHANGE_DISKS || view->type == JOB_START_INITIAL || view->type == JOB_START_SEEDED ||
           view->type == JOB_START_EXPORT;
}

bool
replication_service_cancel_job(ReplicationService *self, const Caller *caller, Job *job, GError **error)
{
    g_autoptr(JobView) view = job_view(job);
    Operation operation;
    g_autoptr(Member) member = view->vm_uuid != NULL ? service_find_sender(self, view->vm_uuid) : NULL;
    if (member == NULL || !operation_of_job(view, &operation) || !job_cancel(job))
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                                  "the job has ended, or cannot be cancelled (its property Cancellable)");
    return operation == OPERATION_CANCEL_DISKS ? service_cancel_disks(member, caller, error) :
                                                 service_cancel_copy(member, caller, operation, error);
}
