/* Methods of Msvm_VirtualSystemManagementService: of all that it has on Hyper-V, what belongs to replication. */
#include "cim/method.h"
#include "cim/names.h"
#include "failover/failover.h"

#define NOT_SUPPORTED 1 /* of the methods that CIM_Service has */

static bool
destroy_system(MethodCall *call, GError **error)
{
    g_autoptr(VmView) vm = argument_vm(call, "AffectedSystem", error);
    Caller caller = { call->user };

    return vm != NULL && failover_end_test(call->service, &caller, vm->uuid, &call->job, error);
}

/* ---- ModifyResourceSettings ---- */

typedef struct {
    VmView *vm;
    char   *mac;
    const char *network, *pool; /* (nullable) borrowed */
} TestNetwork;

static void
test_network_clear(TestNetwork *self)
{
    vm_view_free(self->vm);
    g_free(self->mac);
}

static const char *
text_of(const CimInstance *instance, const char *name)
{
    const CimValue *value = cim_instance_get(instance, name);

    return value->is_null ? NULL : value->v.string;
}

static bool
read_test_network(MethodCall *call, const CimInstance *instance, TestNetwork *ret, GError **error)
{
    const char *id = text_of(instance, "InstanceID");
    g_autofree char *uuid = NULL;

    if (!adapter_of_instance_id(id != NULL ? id : "", ADAPTER_CONNECTION, &uuid, &ret->mac)) {
        g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_PARAMETER,
                    "ResourceSettings: '%s' is no InstanceID of an Msvm_EthernetPortAllocationSettingData", id != NULL ? id : "");
        return false;
    }
    ret->vm = replication_service_vm(call->service, uuid, error);
    ret->network = text_of(instance, "TestReplicaSwitchName");
    ret->pool = text_of(instance, "TestReplicaPoolID");
    return ret->vm != NULL;
}

static CimValue *
reference_to(const CimInstance *instance)
{
    return cim_value_new_reference(cim_instance_path(instance));
}

/* All are read before the first is changed. */
static bool
set_test_networks(MethodCall *call, const GPtrArray *instances, GError **error)
{
    g_autoptr(GArray) networks = g_array_new(FALSE, TRUE, sizeof(TestNetwork));
    CimValue *resulting = cim_value_new_array(CIM_REFERENCE);
    Caller caller = { call->user };
    bool ok = true;

    g_array_set_clear_func(networks, (GDestroyNotify) test_network_clear);
    g_array_set_size(networks, instances->len);
    for (unsigned i = 0; ok && i < instances->len; i++)
        ok = read_test_network(call, instances->pdata[i], &g_array_index(networks, TestNetwork, i), error);
    for (unsigned i = 0; ok && i < instances->len; i++) {
        const TestNetwork *one = &g_array_index(networks, TestNetwork, i);
        ok = replication_service_set_test_network(call->service, &caller, one->vm->uuid, one->mac, one->network, one->pool, error);
        cim_value_append(resulting, reference_to(instances->pdata[i]));
    }
    if (ok)
        g_hash_table_insert(call->out, g_strdup("ResultingResourceSettings"), resulting);
    else
        cim_value_free(resulting);
    return ok;
}

static bool
modify_resources(MethodCall *call, GError **error)
{
    g_autoptr(GPtrArray) instances = argument_instances(call, "ResourceSettings", "CIM_ResourceAllocationSettingData", error);

    if (instances == NULL)
        return false;
    for (unsigned i = 0; i < instances->len; i++) {
        const CimClass *cim_class = cim_instance_class(instances->pdata[i]);
        if (g_ascii_strcasecmp(cim_class->name, "Msvm_EthernetPortAllocationSettingData") != 0) {
            g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_NOT_SUPPORTED,
                        "The settings of %s are not changed here; use virsh", cim_class->name);
            return false;
        }
    }
    if (instances->len > 0)
        return set_test_networks(call, instances, error);
    g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_PARAMETER, "ResourceSettings is empty");
    return false;
}

#define SERVICE "Msvm_VirtualSystemManagementService"

const MethodRow management_methods[] = {
    { SERVICE, "DestroySystem", CIM_ROLE_OPERATOR, destroy_system },
    { SERVICE, "ModifyResourceSettings", CIM_ROLE_ADMINISTRATOR, modify_resources },
    { SERVICE, "RequestStateChange", CIM_ROLE_READER, NULL, NOT_SUPPORTED },
    { SERVICE, "StartService", CIM_ROLE_READER, NULL, NOT_SUPPORTED },
    { SERVICE, "StopService", CIM_ROLE_READER, NULL, NOT_SUPPORTED },
    { NULL },
};
