/* Methods of Msvm_ComputerSystem. */
#include "cim/method.h"
#include "cim/names.h"

static VmView *
target_vm(const MethodCall *call, GError **error)
{
    const char *name = cim_instance_get(call->target, "Name")->v.string;
    g_autofree char *uuid = guid_of_name(name);

    if (uuid != NULL)
        return replication_service_vm(call->service, uuid, error);
    g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_NOT_SUPPORTED,
                "'%s' is the host; only virtual machines change their state",
                name);
    return NULL;
}

static bool
request_state_change(MethodCall *call, GError **error)
{
    g_autoptr(VmView) vm = target_vm(call, error);
    Caller caller = { call->user };
    unsigned requested;

    if (vm == NULL || !argument_uint(call, "RequestedState", &requested, error))
        return false;
    return replication_service_power(call->service, &caller, vm->uuid, requested, &call->job, error);
}

static bool
request_replication_state_change(MethodCall *call, GError **error)
{
    g_autoptr(VmView) vm = target_vm(call, error);
    Caller caller = { call->user };
    unsigned requested, index;

    if (vm == NULL || !argument_uint(call, "RequestedState", &requested, error) ||
        !argument_relationship(call, "ReplicationRelationship", vm, &index, error))
        return false;
    return replication_service_change_state(call->service, &caller, vm->uuid, index, requested, &call->job, error);
}

const MethodRow system_methods[] = {
    { "Msvm_ComputerSystem", "RequestStateChange", CIM_ROLE_OPERATOR, request_state_change },
    { "Msvm_ComputerSystem", "RequestReplicationStateChange", CIM_ROLE_OPERATOR, request_replication_state_change },
    { "Msvm_ComputerSystem", "RequestReplicationStateChangeEx", CIM_ROLE_OPERATOR, request_replication_state_change },
    { NULL },
};
