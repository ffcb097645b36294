/* Network adapters of virtual machines: Msvm_SyntheticEthernetPortSettingData, Msvm_EthernetPortAllocationSettingData (what they are
 * connected to) and Msvm_FailoverNetworkAdapterSettingData (what their guests get after a failover). */
#include "cim/getters.h"
#include "cim/names.h"

#include <string.h>

typedef struct {
    char        *vm_uuid;
    AdapterView *adapter;
} VmAdapter;

static void
vm_adapter_free(VmAdapter *self)
{
    g_free(self->vm_uuid);
    adapter_view_free(self->adapter);
    g_free(self);
}

static GPtrArray *
list_vm_adapters(ReplicationService *service, const char *vm_uuid, GError **error)
{
    g_autoptr(GPtrArray) adapters = replication_service_adapters(service, vm_uuid, error);
    GPtrArray *all;

    if (adapters == NULL)
        return NULL;
    all = g_ptr_array_new_with_free_func((GDestroyNotify) vm_adapter_free);
    while (adapters->len > 0) {
        VmAdapter *item = g_new0(VmAdapter, 1);
        item->vm_uuid = g_strdup(vm_uuid);
        item->adapter = g_ptr_array_steal_index(adapters, 0);
        g_ptr_array_add(all, item);
    }
    return all;
}

static GPtrArray *
list_adapters(ReplicationService *service, GError **error)
{
    return provider_list_of_each_vm(service, list_vm_adapters, (GDestroyNotify) vm_adapter_free, error);
}

/* @rest: what follows the adapter's own name. */
static void *
find_by(ReplicationService *service, const char *key, const char *rest, GError **error)
{
    g_autofree char *uuid = NULL, *mac = NULL;
    g_autoptr(GPtrArray) adapters = NULL;

    if (!adapter_of_instance_id(key, rest, &uuid, &mac))
        return NULL;
    adapters = list_vm_adapters(service, uuid, error);
    for (unsigned i = 0; adapters != NULL && i < adapters->len; i++) {
        if (strcmp(((VmAdapter *) adapters->pdata[i])->adapter->mac, mac) == 0)
            return g_ptr_array_steal_index(adapters, i);
    }
    return NULL;
}

static void *
find_adapter(ReplicationService *service, const char *key, GError **error)
{
    return find_by(service, key, "", error);
}

static void *
find_connection(ReplicationService *service, const char *key, GError **error)
{
    return find_by(service, key, ADAPTER_CONNECTION, error);
}

/* ---- getters ---- */

static CimValue *
texts(char **items)
{
    CimValue *array = cim_value_new_array(CIM_STRING);

    for (char **item = items; *item != NULL; item++)
        cim_value_append(array, cim_value_new_string(*item));
    return array;
}

static CimValue *
one_text(char *text) /* takes it; NULL is null */
{
    CimValue *array = text == NULL ? cim_value_new_null(CIM_STRING, true) : cim_value_new_array(CIM_STRING);

    if (text != NULL)
        cim_value_append(array, cim_value_new_string(text));
    g_free(text);
    return array;
}

static CimValue *
parent(ReplicationService *service, const VmAdapter *view)
{
    g_autofree char *id = name_of_adapter(view->vm_uuid, view->adapter->mac, "");

    return taken_text(path_of_instance_id(service, "Msvm_SyntheticEthernetPortSettingData", id));
}

static CimValue *
optional_text(const char *text)
{
    return text == NULL ? cim_value_new_null(CIM_STRING, false) : cim_value_new_string(text);
}

DEFINE_MADE_TEXT(adapter_id, VmAdapter, name_of_adapter(view->vm_uuid, view->adapter->mac, ""))
DEFINE_MADE_TEXT(connection_id, VmAdapter, name_of_adapter(view->vm_uuid, view->adapter->mac, ADAPTER_CONNECTION))
DEFINE_MADE_TEXT(adapter_address, VmAdapter, mac_digits(view->adapter->mac))
DEFINE_TEXT(adapter_name, VmAdapter, view->adapter->mac)
DEFINE_GETTER(adapter_vm, VmAdapter, one_text(name_of_guid(view->vm_uuid)))
DEFINE_GETTER(connection_parent, VmAdapter, parent(service, view))
DEFINE_GETTER(connection_source, VmAdapter, one_text(g_strdup(view->adapter->source)))
DEFINE_GETTER(test_network, VmAdapter, optional_text(view->adapter->test_network))
DEFINE_GETTER(test_pool, VmAdapter, optional_text(view->adapter->test_pool))
DEFINE_UINT16(failover_protocol, VmAdapter, view->adapter->protocol)
DEFINE_BOOLEAN(failover_dhcp, VmAdapter, view->adapter->dhcp)
DEFINE_GETTER(failover_addresses, VmAdapter, texts(view->adapter->addresses))
DEFINE_GETTER(failover_subnets, VmAdapter, texts(view->adapter->subnets))
DEFINE_GETTER(failover_gateways, VmAdapter, texts(view->adapter->gateways))
DEFINE_GETTER(failover_servers, VmAdapter, texts(view->adapter->dns))

static const PropertyRow adapter_rows[] = {
    { "Address", adapter_address },
    { "Caption", NULL, "Network Adapter" },
    { "Description", NULL, "Settings for the network adapter" },
    { "ElementName", adapter_name },
    { "InstanceID", adapter_id },
    { "ResourceSubType", NULL, "Microsoft:Hyper-V:Synthetic Ethernet Port" },
    { "ResourceType", NULL, "10" },
    { "StaticMacAddress", NULL, "TRUE" },
    { "VirtualQuantity", NULL, "1" },
    { "VirtualSystemIdentifiers", adapter_vm },
    { NULL },
};

static const PropertyRow connection_rows[] = {
    { "Address", adapter_address },
    { "Caption", NULL, "Ethernet Connection" },
    { "Description", NULL, "What the network adapter is connected to" },
    { "ElementName", adapter_name },
    { "HostResource", connection_source },
    { "InstanceID", connection_id },
    { "Parent", connection_parent },
    { "ResourceSubType", NULL, "Microsoft:Hyper-V:Ethernet Connection" },
    { "ResourceType", NULL, "33" },
    { "TestReplicaPoolID", test_pool },
    { "TestReplicaSwitchName", test_network },
    { "VirtualQuantity", NULL, "1" },
    { NULL },
};

static const PropertyRow failover_rows[] = {
    { "Caption", NULL, "Failover Network Adapter Settings" },
    { "DHCPEnabled", failover_dhcp },
    { "DNSServers", failover_servers },
    { "DefaultGateways", failover_gateways },
    { "Description", NULL, "What the guest gets on the network adapter after a failover" },
    { "ElementName", adapter_name },
    { "IPAddresses", failover_addresses },
    { "InstanceID", adapter_id },
    { "ProtocolIFType", failover_protocol },
    { "Subnets", failover_subnets },
    { NULL },
};

enum { PROVIDER_ADAPTER, PROVIDER_CONNECTION };

const Provider adapter_providers[] = {
    [PROVIDER_ADAPTER] = { "Msvm_SyntheticEthernetPortSettingData", "InstanceID", false, list_adapters, find_adapter,
                           (GDestroyNotify) vm_adapter_free, adapter_rows },
    [PROVIDER_CONNECTION] = { "Msvm_EthernetPortAllocationSettingData", "InstanceID", false, list_adapters, find_connection,
                              (GDestroyNotify) vm_adapter_free, connection_rows },
    { "Msvm_FailoverNetworkAdapterSettingData", "InstanceID", false, list_adapters, find_adapter,
      (GDestroyNotify) vm_adapter_free, failover_rows },
    { NULL },
};

static bool
collect(unsigned provider, ReplicationService *service, const char *vm_uuid, GPtrArray *instances, GError **error)
{
    const Provider *self = &adapter_providers[provider];
    const CimClass *cim_class = cim_class_find("root/virtualization/v2", self->class_name);
    g_autoptr(GPtrArray) adapters = list_vm_adapters(service, vm_uuid, error);

    for (unsigned i = 0; adapters != NULL && i < adapters->len; i++)
        g_ptr_array_add(instances, provider_make(self, cim_class, service, adapters->pdata[i]));
    return adapters != NULL;
}

bool
provider_collect_adapters(ReplicationService *service, const char *vm_uuid, GPtrArray *instances, GError **error)
{
    return collect(PROVIDER_ADAPTER, service, vm_uuid, instances, error);
}

bool
provider_collect_connections(ReplicationService *service, const char *vm_uuid, GPtrArray *instances, GError **error)
{
    return collect(PROVIDER_CONNECTION, service, vm_uuid, instances, error);
}
