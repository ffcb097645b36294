/* ChangeReplicationModeToPrimary: a replica whose failover is committed takes the place of its primary for the third host that it was sent on to.
 * Only what that host lacks travels: what had not been sent on yet, joined with what the failover and the guest changed since, which is in the
 * bitmap that the commit left in the disks. */
#include "failover/failover-private.h"

#include "failover/overlay.h"
#include "replication/plan.h"
#include "replication/replica-folder.h"
#include "replication/settings.h"
#include "util/log.h"

#include <string.h>

/* ---- what the third host lacks ---- */

static bool
sizes_known(const char *folder, char *const *ids)
{
    uint64_t size;
    bool known = true;
    for (; *ids != NULL; ids++)
        known &= replica_failover_size_read(folder, *ids, &size, NULL);
    return known;
}

/* What the disk has grown by since the failover came up without a bit in the bitmap; the first pass adds it, as the plan is for the smaller one. */
static bool
plan_one(Plan *plan, const char *folder, const VirtDisk *disk, const Plan *left, GError **error)
{
    uint64_t at_failover;
    PlanDisk *unsent = plan_disk(left, disk->target);
    if (unsent == NULL || !replica_failover_size_read(folder, disk->target, &at_failover, error))
        return unsent == NULL; /* a disk that the third host does not have */
    PlanDisk *planned = plan_add_disk(plan, disk->target, MIN(disk->size_bytes, at_failover));
    extent_set_clear(planned->todo);
    extent_set_add_set(planned->todo, unsent->todo);
    extent_set_remove(planned->todo, planned->size_bytes, UINT64_MAX - planned->size_bytes);
    return true;
}

static Plan *
make_plan(Member *onward, const StoreRelationship *next, char *const *ids, GError **error)
{
    g_autoptr(Plan) left = primary_left_to_send(onward->primary, error);
    g_autoptr(GPtrArray) disks = left != NULL ? virt_host_disks(onward->service->context.virt, next->vm_uuid, error) : NULL;
    if (disks == NULL)
        return NULL;
    bool known = !left->compare && sizes_known(next->folder, ids);
    g_autoptr(Plan) plan = plan_new(!known, known ? OVERLAY_CHECKPOINT : NULL);
    plan->pass = known ? left->pass : 0; /* what these sent is in no set any more: the third host must still have it */
    for (guint i = 0; known && i < disks->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(disks, i);
        if (g_strv_contains((const char *const *)ids, disk->target) && !plan_one(plan, next->folder, disk, left, error))
            return NULL;
    }
    return g_steal_pointer(&plan);
}

/* ---- the row ---- */

/* What the relationship with the third host was, in the place of the one with the primary. */
static StoreRelationship *
next_row(const StoreRelationship *first, const StoreRelationship *onward, const RelationshipSettings *settings)
{
    StoreRelationship *next = store_relationship_copy(onward);
    next->index = 0;
    next->mode = MODE_PRIMARY;
    next->state = STATE_RESYNCHRONIZING;
    next->resume_state = STATE_UNKNOWN;
    g_free(next->folder);
    next->folder = g_strdup(first->folder);
    g_free(next->settings);
    next->settings = relationship_settings_to_json(settings);
    g_free(next->peer);
    next->peer = g_strdup(first->peer); /* it is told what became of its replica */
    g_clear_pointer(&next->checkpoint, g_free);
    g_clear_pointer(&next->blob_hash, g_free);
    return next;
}

/* The row is the decision; the rest is done again by a start. */
static bool
become_primary(Member *member, Member *onward, const StoreRelationship *next, GError **error)
{
    ReplicationService *service = member->service;
    store_relationship_free(relationship_edit(member->relationship)); /* all of the row is new */
    if (!relationship_edit_end(member->relationship, store_relationship_copy(next), error))
        return false;
    g_autoptr(GError) left = NULL;
    if (!primary_leave(onward->primary, &left) || !relationship_remove(onward->relationship, NULL, &left))
        log_warning("failover", next->vm_name, "%s; what is left of it goes at the next start", left->message);
    relationship_close(onward->relationship, true);
    service_drop_member(service, onward);
    replica_close_disks(member->replica);
    g_autoptr(Member) primary = service_replace_member(service, member, error);
    if (primary == NULL)
        return false;
    primary_give_back_autostart(&service->context, next->vm_uuid); /* of its time as a primary before */
    service_wake_member(primary);
    return true;
}

/* ---- the job ---- */

typedef struct {
    Member *onward; /* this has its operation */
} Continue;

static void
continue_free(gpointer data)
{
    Continue *self = data;
    relationship_end_operation(self->onward->relationship);
    member_unref(self->onward);
    g_free(self);
}

static bool
continue_job(Member *member, Job *job, void *data, GError **error)
{
    Continue *self = data;
    const ReplicationContext *context = &member->service->context;
    g_autoptr(StoreRelationship) first = relationship_row(member->relationship);
    g_autoptr(StoreRelationship) second = relationship_row(self->onward->relationship);
    g_autoptr(RelationshipSettings) settings = relationship_settings(self->onward->relationship);
    if (failover_commit_is_open(first) && !failover_commit_job(member, job, NULL, error))
        return false;
    g_strfreev(settings->included_disks);
    g_autofree char *blobs = replica_failover_blob_folder(first->folder);
    settings->included_disks = replica_set_of_state(first, blobs, error);
    if (settings->included_disks == NULL)
        return false;
    g_autoptr(StoreRelationship) next = next_row(first, second, settings);
    g_autoptr(Plan) plan = make_plan(self->onward, next, settings->included_disks, error);
    /* The third host is told that it is nobody's extended replica any more. */
    if (plan == NULL || !primary_save_plan(context, next, plan, error) || !primary_note_settings_untold(context, next, true, error) ||
        !become_primary(member, self->onward, next, error))
        return false;
    log_notice("failover", next->vm_name, "is the primary from now on; it replicates to '%s'", settings->recovery_connection_point);
    return true;
}

/* ---- asking for it ---- */

static bool
check(Member *member, Member *onward, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    ReplicationState next;
    if (!state_table_next(row->mode, row->state, row->resume_state, OPERATION_CONTINUE, &next, error))
        return false;
    g_autoptr(StoreRelationship) second = relationship_row(onward->relationship);
    if (!second->initial_complete)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                                  "the first copy of VM '%s' to the third host is not complete; remove that relationship, and reverse the "
                                  "replication instead", row->vm_name);
    return second->state != STATE_PREPARED ||
           replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                              "VM '%s' is prepared for a planned failover to the third host; cancel that first", row->vm_name);
}

bool
failover_continue(ReplicationService *service, const Caller *caller, const char *vm_uuid, Job **ret_job, GError **error)
{
    static const char what[] = "become the primary of the third host";
    *ret_job = NULL;
    g_autoptr(Member) member = failover_find_replica(service, vm_uuid, what, false, error);
    g_autoptr(Member) onward = member != NULL ? service_find_relationship(service, vm_uuid, 1, what, error) : NULL;
    if (onward == NULL || !check(member, onward, error) || !relationship_begin_operation(member->relationship, what, error))
        return false;
    if (!relationship_begin_operation(onward->relationship, what, error)) {
        relationship_end_operation(member->relationship);
        return false;
    }
    if (!check(member, onward, error)) {
        relationship_end_operation(onward->relationship);
        relationship_end_operation(member->relationship);
        return false;
    }
    Continue *self = g_new0(Continue, 1);
    self->onward = g_steal_pointer(&onward);
    *ret_job = failover_add_job(member, JOB_CHANGE_TO_PRIMARY, "Making a primary of", caller->user);
    log_notice("failover", relationship_vm(member->relationship), "%s, asked for by %s", what, caller->user);
    service_run_job(member, *ret_job, continue_job, self, continue_free);
    return true;
}
