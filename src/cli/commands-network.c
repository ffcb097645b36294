/* failover-network: what a guest gets on its network adapters after a failover, and where the VMs of tests are connected. */
#include "cli/commands.h"

#include "cli/adapters.h"
#include "cli/output.h"
#include "cli/session.h"

#include <string.h>

#define FAILOVER_CLASS   "Msvm_FailoverNetworkAdapterSettingData"
#define CONNECTION_CLASS "Msvm_EthernetPortAllocationSettingData"

/* ---- reading ---- */

typedef struct {
    WsmanInstance *settings, *connection; /* of the two classes above */
} Adapter;

static void
adapter_free(Adapter *self)
{
    wsman_instance_free(self->settings);
    wsman_instance_free(self->connection);
    g_free(self);
}

/* InstanceIDs of connections have two characters behind those of their adapters. */
static bool
belongs(const WsmanInstance *connection, const WsmanInstance *settings)
{
    const char *id = wsman_instance_text(connection, "InstanceID"), *adapter = wsman_instance_text(settings, "InstanceID");

    return id != NULL && adapter != NULL && strlen(id) == strlen(adapter) + 2 && g_ascii_strncasecmp(id, adapter, strlen(adapter)) == 0;
}

/* Of Adapter, as the VM has them. */
static GPtrArray *
read_adapters(Session *session, const SessionVm *vm, GError **error)
{
    g_autoptr(GPtrArray) settings = session_adapters(session, vm, FAILOVER_CLASS, error);
    g_autoptr(GPtrArray) connections = settings != NULL ? session_adapters(session, vm, CONNECTION_CLASS, error) : NULL;
    GPtrArray *adapters;

    if (connections == NULL)
        return NULL;
    adapters = g_ptr_array_new_with_free_func((GDestroyNotify)adapter_free);
    while (settings->len > 0) {
        Adapter *adapter = g_new0(Adapter, 1);

        adapter->settings = g_ptr_array_steal_index(settings, 0);
        for (guint i = 0; adapter->connection == NULL && i < connections->len; i++) {
            if (belongs(connections->pdata[i], adapter->settings))
                adapter->connection = g_ptr_array_steal_index(connections, i);
        }
        g_ptr_array_add(adapters, adapter);
    }
    return adapters;
}

static const char *
test_network(const Adapter *adapter)
{
    const char *network = adapter->connection != NULL ? wsman_instance_text(adapter->connection, "TestReplicaSwitchName") : NULL;

    if (network == NULL && adapter->connection != NULL)
        network = wsman_instance_text(adapter->connection, "TestReplicaPoolID");
    return network;
}

/* ---- showing ---- */

static void
show_table(const GPtrArray *adapters)
{
    static const char *const titles[] = { "No", "Adapter", "Addresses", "Gateways", "DNS", "Network of tests", NULL };
    g_autoptr(OutputTable) table = output_table_new(titles);

    for (guint i = 0; i < adapters->len; i++) {
        const Adapter *adapter = adapters->pdata[i];
        g_autofree char *number = g_strdup_printf("%u", i + 1), *addresses = adapters_addresses(adapter->settings);
        g_autofree char *gateways = adapters_list(adapter->settings, "DefaultGateways"), *dns = adapters_list(adapter->settings, "DNSServers");

        output_table_add(table, number);
        output_table_add(table, wsman_instance_text(adapter->settings, "ElementName"));
        output_table_add(table, addresses);
        output_table_add(table, gateways);
        output_table_add(table, dns);
        output_table_add(table, test_network(adapter));
    }
    output_table_print(table);
}

static void
show_json(const GPtrArray *adapters)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();

    json_builder_begin_array(builder);
    for (guint i = 0; i < adapters->len; i++) {
        const Adapter *adapter = adapters->pdata[i];

        json_builder_begin_object(builder);
        output_json_string(builder, "mac", wsman_instance_text(adapter->settings, "ElementName"));
        adapters_json(builder, adapter->settings);
        output_json_string(builder, "test_network", test_network(adapter));
        json_builder_end_object(builder);
    }
    json_builder_end_array(builder);
    output_json_print(builder);
}

/* ---- changing ---- */

static bool
has_settings(const CommandLine *line)
{
    return command_line_value(line, "ip") != NULL || command_line_switch(line, "dhcp") || command_line_switch(line, "clear");
}

/* By its number, its MAC address, or without either: the only one. */
static const Adapter *
choose(const GPtrArray *adapters, const SessionVm *vm, const char *word, GError **error)
{
    guint64 number;

    if (word == NULL && adapters->len == 1)
        return adapters->pdata[0];
    if (word != NULL && g_ascii_string_to_unsigned(word, 10, 1, adapters->len, &number, NULL))
        return adapters->pdata[number - 1];
    for (guint i = 0; word != NULL && i < adapters->len; i++) {
        const char *mac = wsman_instance_text(((const Adapter *)adapters->pdata[i])->settings, "ElementName");

        if (mac != NULL && g_ascii_strcasecmp(mac, word) == 0)
            return adapters->pdata[i];
    }
    if (word == NULL)
        g_set_error(error, COMMAND_ERROR, COMMAND_ERROR_USAGE, "VM '%s' has %u network adapters; say which with --adapter", vm->name,
                    adapters->len);
    else
        g_set_error(error, COMMAND_ERROR, COMMAND_ERROR_REFUSED, "VM '%s' has no network adapter '%s'; 'virt-replica failover-network %s' "
                    "shows those that it has", vm->name, word, vm->name);
    return NULL;
}

static bool
set_addresses(Session *session, const SessionVm *vm, const Adapter *adapter, const CommandLine *line, GError **error)
{
    g_autoptr(WsmanEmbedded) settings = adapters_from_line(line, error);
    g_autoptr(WsmanReference) service = wsman_reference_new("Msvm_ReplicationService");
    g_autoptr(WsmanArguments) arguments = wsman_arguments_new();
    g_autofree char *title = g_strdup_printf("Setting the addresses of '%s' after a failover", vm->name), *text = NULL;
    SessionCall call = { service, "SetFailoverNetworkAdapterSettings", title, "Only a VM that replicates has a failover", vm, false };

    if (settings == NULL)
        return false;
    wsman_embedded_set(settings, "InstanceID", "string", wsman_instance_text(adapter->settings, "InstanceID"));
    text = wsman_embedded_text(settings);
    wsman_reference_add(service, "CreationClassName", "Msvm_ReplicationService");
    wsman_reference_add(service, "Name", "replicasvc");
    wsman_arguments_add_reference(arguments, "ComputerSystem", vm->reference);
    wsman_arguments_add_text(arguments, "NetworkSettings", text);
    return session_call(session, &call, arguments, error) != CALL_FAILED;
}

static bool
set_test_network(Session *session, const SessionVm *vm, const Adapter *adapter, const char *network, GError **error)
{
    g_autoptr(WsmanEmbedded) settings = wsman_embedded_new(CONNECTION_CLASS);
    g_autoptr(WsmanReference) service = wsman_reference_new("Msvm_VirtualSystemManagementService");
    g_autoptr(WsmanArguments) arguments = wsman_arguments_new();
    g_autofree char *title = g_strdup_printf("Setting the network of tests of '%s'", vm->name), *text = NULL;
    SessionCall call = { service, "ModifyResourceSettings", title, "Only a VM that replicates has tests", vm, false };

    wsman_embedded_set(settings, "InstanceID", "string",
                       adapter->connection != NULL ? wsman_instance_text(adapter->connection, "InstanceID") : NULL);
    wsman_embedded_set(settings, "TestReplicaSwitchName", "string", strcmp(network, "none") == 0 ? NULL : network);
    text = wsman_embedded_text(settings);
    wsman_reference_add(service, "CreationClassName", "Msvm_VirtualSystemManagementService");
    wsman_reference_add(service, "Name", "vmms");
    wsman_arguments_add_text(arguments, "ResourceSettings", text);
    return session_call(session, &call, arguments, error) != CALL_FAILED;
}

bool
command_failover_network(Session *session, const CommandLine *line, GError **error)
{
    const char *network = command_line_value(line, "test-network");
    g_autoptr(SessionVm) vm = NULL;
    g_autoptr(GPtrArray) adapters = NULL;
    const Adapter *adapter;

    if (!adapters_check_line(line, error))
        return false;
    vm = session_find_vm(session, command_line_word(line, 0), error);
    adapters = vm != NULL ? read_adapters(session, vm, error) : NULL;
    if (adapters == NULL)
        return false;
    if (!has_settings(line) && network == NULL) {
        (command_line_switch(line, "json") ? show_json : show_table)(adapters);
        return true;
    }
    adapter = choose(adapters, vm, command_line_value(line, "adapter"), error);
    if (adapter == NULL || (has_settings(line) && !set_addresses(session, vm, adapter, line, error)) ||
        (network != NULL && !set_test_network(session, vm, adapter, network, error)))
        return false;
    session_say(session, "Adapter %s of VM '%s' is set", wsman_instance_text(adapter->settings, "ElementName"), vm->name);
    return true;
}
