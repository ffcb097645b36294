/* What a replica that is sent on has not sent yet: what its third host lacks when the replica becomes its primary. */
#include "replication/primary-private.h"

#include "util/log.h"

static bool
is_copying(const StoreRelationship *row)
{
    ReplicationState state = row->state == STATE_SUSPENDED || row->state == STATE_CRITICAL ? row->resume_state : row->state;
    return state == STATE_RESYNCHRONIZING || state == STATE_RESYNC_SUSPENDED;
}

static bool
is_known(const StoreRelationship *row)
{
    ReplicationState state = row->state == STATE_SUSPENDED || row->state == STATE_CRITICAL ? row->resume_state : row->state;
    return is_copying(row) || (state == STATE_REPLICATING && row->checkpoint != NULL);
}

static bool
add_changes(Primary *self, Plan *plan, char *const *ids, GError **error)
{
    for (; *ids != NULL; ids++) {
        g_autoptr(ExtentSet) changed = change_journal_since(upstream_journal(self->upstream), plan->checkpoint, *ids, REPLICA_DISK_SIZE_MAX, error);
        if (changed == NULL)
            return false;
        PlanDisk *disk = plan_disk(plan, *ids);
        if (disk == NULL) {
            disk = plan_add_disk(plan, *ids, REPLICA_DISK_SIZE_MAX);
            extent_set_clear(disk->todo);
        }
        extent_set_add_set(disk->todo, changed);
    }
    return true;
}

Plan *
primary_left_to_send(Primary *self, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    g_auto(GStrv) ids = upstream_disks(row, error);
    g_autoptr(GError) unknown = NULL;
    if (ids == NULL)
        return NULL;
    g_autofree char *path = primary_plan_path(self);
    g_autoptr(Plan) plan = NULL;
    if (is_copying(row))
        plan = plan_load(path, NULL);
    else if (is_known(row))
        plan = plan_new(false, row->checkpoint);
    if (plan == NULL || plan->compare || plan->checkpoint == NULL)
        return plan_new(true, NULL);
    if (add_changes(self, plan, ids, &unknown))
        return g_steal_pointer(&plan);
    log_notice("extended", row->vm_name, "%s; both sides are compared", unknown->message);
    return plan_new(true, NULL);
}
