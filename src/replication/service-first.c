/* Before a first copy is started: what its kind needs. */
#include "replication/service-private.h"

static bool
check_startable(Member *member, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    ReplicationState next;
    return state_table_next(row->mode, row->state, row->resume_state, OPERATION_START_INITIAL, &next, error);
}

/* Only a replica that was made of a VM there has something to compare with. */
static bool
check_seed(Member *member, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autoptr(RelationshipSettings) settings = relationship_settings(member->relationship);
    const char *host = settings->recovery_connection_point;
    GError *cause = NULL;
    LinkPosition position;
    if (!primary_ask_position(&member->service->context, row->vm_uuid, settings, &position, &cause))
        return service_fail(cause, error);
    return position.seeded ||
           replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                              "there is no VM on '%s' to seed the replica of '%s' from: it was made with empty disks. Remove the replication "
                              "here, define the VM there with the UUID %s and copies of its disks, run 'virt-replica as-replica %s' there, then "
                              "enable replication again; or send all of it (type 1)", host, row->vm_name, row->vm_uuid, row->vm_name);
}

/* The plan that the first pass begins with: everything, and only what differs is sent. */
static bool
plan_comparison(Member *member, GError **error)
{
    g_autoptr(Plan) plan = plan_new(true, NULL);
    GError *cause = NULL;
    return primary_save_plan(&member->service->context, relationship_vm(member->relationship), plan, &cause) ||
           service_fail(cause, error);
}

static bool
forget_plan(Member *member, GError **error)
{
    GError *cause = NULL;
    return primary_forget_plan(&member->service->context, relationship_vm(member->relationship), &cause) || service_fail(cause, error);
}

bool
service_plan_first_copy(Member *member, unsigned type, GError **error)
{
    if (!check_startable(member, error))
        return false;
    return type == 3 ? check_seed(member, error) && plan_comparison(member, error) : forget_plan(member, error);
}
