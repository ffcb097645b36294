/* Methods of Msvm_VirtualSystemManagementService: of all that it has on Hyper-V, what belongs to replication. */
#include "cim/method.h"
#include "failover/failover.h"

#define NOT_SUPPORTED 1 /* of the methods that CIM_Service has */

static bool
destroy_system(MethodCall *call, GError **error)
{
    g_autoptr(VmView) vm = argument_vm(call, "AffectedSystem", error);
    Caller caller = { call->user };

    return vm != NULL && failover_end_test(call->service, &caller, vm->uuid, &call->job, error);
}

#define SERVICE "Msvm_VirtualSystemManagementService"

const MethodRow management_methods[] = {
    { SERVICE, "DestroySystem", CIM_ROLE_OPERATOR, destroy_system },
    { SERVICE, "RequestStateChange", CIM_ROLE_READER, NULL, NOT_SUPPORTED },
    { SERVICE, "StartService", CIM_ROLE_READER, NULL, NOT_SUPPORTED },
    { SERVICE, "StopService", CIM_ROLE_READER, NULL, NOT_SUPPORTED },
    { NULL },
};
