/* Methods of Msvm_ReplicationService. */
#include "cim/method.h"
#include "cim/names.h"
#include "failover/failover.h"
#include "replication/connection-test.h"

#define NOT_SUPPORTED 1 /* of the methods that CIM_Service has */

static CimInstance *
required_instance(const MethodCall *call, const char *name, const char *class_name, GError **error)
{
    g_autoptr(GError) own_error = NULL;
    CimInstance *instance = argument_instance(call, name, class_name, &own_error);

    if (instance == NULL && own_error == NULL)
        g_set_error(&own_error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_PARAMETER,
                    "%s is missing: give the text of an instance of %s", name, class_name);
    if (own_error != NULL)
        g_propagate_error(error, g_steal_pointer(&own_error));
    return instance;
}

static bool
is_extended(const VmView *vm)
{
    return vm->n_relationships > 1 && vm->relationships[1]->state != STATE_DISABLED;
}

/* The parameter ReplicationSettingData; what it leaves out is as @based has it in that relationship, or as by default. @otherwise: the
 * relationship, where it does not say which. */
static RelationshipSettings *
given_settings(const MethodCall *call, const VmView *vm, unsigned otherwise, const VmView *based, unsigned *ret_index, GError **error)
{
    CimInstance *instance = required_instance(call, "ReplicationSettingData", "Msvm_ReplicationSettingData", error);
    RelationshipSettings *settings = NULL;

    if (instance != NULL && settings_relationship(instance, vm, otherwise, ret_index, error)) {
        const RelationshipSettings *base =
            based != NULL && *ret_index < based->n_relationships ? based->relationships[*ret_index]->settings : NULL;
        settings = settings_from_instance(instance, vm, base, error);
    }
    cim_instance_free(instance);
    return settings;
}

static bool
create_relationship(MethodCall *call, GError **error)
{
    g_autoptr(VmView) vm = argument_vm(call, "ComputerSystem", error);
    g_autoptr(RelationshipSettings) settings = NULL;
    Caller caller = { call->user };
    unsigned otherwise, index;

    if (vm == NULL)
        return false;
    otherwise = vm->mode == MODE_REPLICA ? 1 : 0;
    settings = given_settings(call, vm, otherwise, NULL, &index, error);
    return settings != NULL &&
           replication_service_create(call->service, &caller, vm->uuid, index, settings, &call->job, error);
}

static bool
modify_settings(MethodCall *call, GError **error)
{
    g_autoptr(VmView) vm = argument_vm(call, "ComputerSystem", error);
    g_autoptr(RelationshipSettings) settings = NULL;
    Caller caller = { call->user };
    unsigned index;

    if (vm == NULL)
        return false;
    settings = given_settings(call, vm, is_extended(vm) ? 1 : 0, vm, &index, error);
    return settings != NULL &&
           replication_service_modify(call->service, &caller, vm->uuid, index, settings, &call->job, error);
}

static bool
start_replication(MethodCall *call, GError **error)
{
    g_autoptr(VmView) vm = argument_vm(call, "ComputerSystem", error);
    const CimValue *location = argument(call, "InitialReplicationExportLocation");
    const CimValue *start = argument(call, "StartTime");
    Caller caller = { call->user };
    unsigned type;

    if (vm == NULL || !argument_uint(call, "InitialReplicationType", &type, error))
        return false;
    return replication_service_start_initial(call->service, &caller, vm->uuid, type,
                                             location == NULL ? NULL : location->v.string,
                                             start == NULL ? 0 : cim_datetime_to_usec(start->v.string), &call->job, error);
}

/* A location that is null is the service's to refuse: with the name of the parameter. */
static bool
import_initial(MethodCall *call, GError **error)
{
    g_autoptr(VmView) vm = argument_vm(call, "ComputerSystem", error);
    const CimValue *location = argument(call, "InitialReplicationImportLocation");
    Caller caller = { call->user };

    return vm != NULL && replication_service_import_initial(call->service, &caller, vm->uuid,
                                                            location == NULL ? NULL : location->v.string, &call->job, error);
}

static bool
resynchronize(MethodCall *call, GError **error)
{
    g_autoptr(VmView) vm = argument_vm(call, "ComputerSystem", error);
    const CimValue *start = argument(call, "StartTime");
    Caller caller = { call->user };

    return vm != NULL &&
           replication_service_resynchronize(call->service, &caller, vm->uuid,
                                             start == NULL ? 0 : cim_datetime_to_usec(start->v.string), &call->job, error);
}

static bool
initiate_failover(MethodCall *call, GError **error)
{
    g_autoptr(VmView) vm = argument_vm(call, "ComputerSystem", error);
    g_autofree char *point_id = NULL;
    Caller caller = { call->user };

    if (vm == NULL || !argument_point(call, "SnapshotSettingData", vm, &point_id, error))
        return false;
    return failover_initiate(call->service, &caller, vm->uuid, point_id, &call->job, error);
}

static bool
revert_failover(MethodCall *call, GError **error)
{
    g_autoptr(VmView) vm = argument_vm(call, "ComputerSystem", error);
    Caller caller = { call->user };

    return vm != NULL && failover_revert(call->service, &caller, vm->uuid, &call->job, error);
}

static bool
commit_failover(MethodCall *call, GError **error)
{
    g_autoptr(VmView) vm = argument_vm(call, "ComputerSystem", error);
    Caller caller = { call->user };

    return vm != NULL && failover_commit(call->service, &caller, vm->uuid, &call->job, error);
}

/* The reference is that of the virtual machine that the job makes. */
static bool
test_replica_system(MethodCall *call, GError **error)
{
    g_autoptr(VmView) vm = argument_vm(call, "ComputerSystem", error);
    g_autofree char *point_id = NULL, *test_uuid = NULL, *name = NULL;
    Caller caller = { call->user };
    CimPath *path;

    if (vm == NULL || !argument_point(call, "SnapshotSettingData", vm, &point_id, error) ||
        !failover_test(call->service, &caller, vm->uuid, point_id, &test_uuid, &call->job, error))
        return false;
    name = name_of_guid(test_uuid);
    path = cim_path_new("root/virtualization/v2", "Msvm_ComputerSystem");
    cim_path_add(path, "CreationClassName", cim_value_new_string("Msvm_ComputerSystem"));
    cim_path_add(path, "Name", cim_value_new_string(name));
    g_hash_table_insert(call->out, g_strdup("ResultingSystem"), cim_value_new_reference(path));
    return true;
}

static bool
reverse_relationship(MethodCall *call, GError **error)
{
    g_autoptr(VmView) vm = argument_vm(call, "ComputerSystem", error);
    g_autoptr(RelationshipSettings) settings = NULL;
    Caller caller = { call->user };
    unsigned index;

    if (vm == NULL)
        return false;
    settings = given_settings(call, vm, 0, NULL, &index, error);
    if (settings != NULL && index > 0)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER,
                                  "ReplicationSettingData is that of extended replication; give the one that ends with \\HVR\\0");
    return settings != NULL && failover_reverse(call->service, &caller, vm->uuid, settings, &call->job, error);
}

/* Which relationship becomes the one with index 0 needs no telling; one that is given must be the extended one. */
static bool
change_to_primary(MethodCall *call, GError **error)
{
    g_autoptr(VmView) vm = argument_vm(call, "ComputerSystem", error);
    Caller caller = { call->user };
    unsigned index;

    if (vm == NULL || !argument_relationship(call, "ReplicationRelationship", vm, &index, error))
        return false;
    if (index == 0 && argument(call, "ReplicationRelationship") != NULL)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER,
                                  "ReplicationRelationship must be the extended one, which ends with \\HVR\\1");
    return failover_continue(call->service, &caller, vm->uuid, &call->job, error);
}

static bool
remove_relationship(MethodCall *call, GError **error)
{
    g_autoptr(VmView) vm = argument_vm(call, "ComputerSystem", error);
    Caller caller = { call->user };
    unsigned index;

    if (vm == NULL || !argument_relationship(call, "ReplicationRelationship", vm, &index, error))
        return false;
    return replication_service_remove(call->service, &caller, vm->uuid, index, &call->job, error);
}

static bool
modify_service_settings(MethodCall *call, GError **error)
{
    CimInstance *instance = required_instance(call, "SettingData", "Msvm_ReplicationServiceSettingData", error);
    g_autoptr(ServiceSettings) settings = NULL;
    Caller caller = { call->user };

    if (instance == NULL)
        return false;
    settings = replication_service_settings(call->service);
    service_settings_change(settings, instance);
    cim_instance_free(instance);
    return replication_service_set_settings(call->service, &caller, settings, &call->job, error);
}

typedef bool (*EntryFunc)(ReplicationService *self, const Caller *caller, const AuthorizationEntry *entry, GError **error);

static bool
give_entry(MethodCall *call, EntryFunc func, GError **error)
{
    CimInstance *instance = required_instance(call, "AuthorizationEntry", "Msvm_ReplicationAuthorizationSettingData",
                                              error);
    Caller caller = { call->user };
    AuthorizationEntry *entry;
    bool ok;

    if (instance == NULL)
        return false;
    entry = entry_from_instance(instance, error);
    cim_instance_free(instance);
    ok = entry != NULL && func(call->service, &caller, entry, error);
    authorization_entry_free(entry);
    return ok;
}

static bool
add_entry(MethodCall *call, GError **error)
{
    return give_entry(call, replication_service_add_entry, error);
}

static bool
modify_entry(MethodCall *call, GError **error)
{
    return give_entry(call, replication_service_change_entry, error);
}

static bool
remove_entry(MethodCall *call, GError **error)
{
    const char *primary = argument_text(call, "AllowedPrimaryHostSystem", error);
    Caller caller = { call->user };

    return primary != NULL && replication_service_remove_entry(call->service, &caller, primary, error);
}

/* Of the entry only its name counts: it is one that the service has. */
static bool
set_entry(MethodCall *call, GError **error)
{
    g_autoptr(VmView) vm = argument_vm(call, "ComputerSystem", error);
    Caller caller = { call->user };
    CimInstance *instance;
    AuthorizationEntry *entry;
    bool ok;

    if (vm == NULL)
        return false;
    instance = required_instance(call, "AuthorizationEntry", "Msvm_ReplicationAuthorizationSettingData", error);
    if (instance == NULL)
        return false;
    entry = entry_from_instance(instance, error);
    cim_instance_free(instance);
    ok = entry != NULL && replication_service_set_entry(call->service, &caller, vm->uuid, entry->allowed_primary, error);
    authorization_entry_free(entry);
    return ok;
}

static bool
get_certificates(MethodCall *call, GError **error)
{
    g_autoptr(GPtrArray) texts = replication_service_certificates(call->service, error);
    CimValue *certificates;

    if (texts == NULL)
        return false;
    certificates = cim_value_new_array(CIM_STRING);
    for (unsigned i = 0; i < texts->len; i++)
        cim_value_append(certificates, cim_value_new_string(texts->pdata[i]));
    g_hash_table_insert(call->out, g_strdup("EncodedCertificates"), certificates);
    return true;
}

/* ---- network adapters ---- */

static bool
set_network_adapters(MethodCall *call, GError **error)
{
    g_autoptr(VmView) vm = argument_vm(call, "ComputerSystem", error);
    g_autoptr(GPtrArray) instances = NULL, present = NULL, wanted = NULL;
    Caller caller = { call->user };

    if (vm == NULL)
        return false;
    instances = argument_instances(call, "NetworkSettings", "Msvm_FailoverNetworkAdapterSettingData", error);
    present = instances == NULL ? NULL : replication_service_adapters(call->service, vm->uuid, error);
    if (present == NULL)
        return false;
    wanted = g_ptr_array_new_with_free_func((GDestroyNotify) adapter_view_free);
    for (unsigned i = 0; i < instances->len; i++) {
        AdapterView *adapter = adapter_from_instance(instances->pdata[i], vm, present, error);
        if (adapter == NULL)
            return false;
        g_ptr_array_add(wanted, adapter);
    }
    return replication_service_set_adapters(call->service, &caller, vm->uuid, wanted, error);
}

/* ---- statistics ---- */

static unsigned
whole_seconds(uint64_t usec)
{
    return (unsigned) MIN((usec + G_USEC_PER_SEC / 2) / G_USEC_PER_SEC, UINT32_MAX);
}

static char *
statistics_xml(const StatisticsView *view)
{
    CimInstance *instance = cim_instance_new(cim_class_find("root/virtualization/v2", "Msvm_ReplicationStatistics"));
    const struct { const char *name; CimType type; uint64_t number; } numbers[] = {
        { "ReplicationSuccessCount", CIM_UINT32, view->success },
        { "ReplicationSize", CIM_UINT64, view->bytes },
        { "MaxReplicationSize", CIM_UINT64, view->max_bytes },
        { "PendingReplicationSize", CIM_UINT64, view->pending_bytes },
        { "ReplicationLatency", CIM_UINT32, whole_seconds(view->latency_usec) },
        { "MaxReplicationLatency", CIM_UINT32, whole_seconds(view->max_latency_usec) },
        { "ReplicationMissCount", CIM_UINT32, view->missed },
        { "ReplicationFailureCount", CIM_UINT32, view->failed },
        { "NetworkFailureCount", CIM_UINT32, view->network_failed },
        { "ApplicationConsistentSnapshotFailureCount", CIM_UINT32, view->consistent_failed },
        { "ReplicationHealth", CIM_UINT32, view->health },
    };
    char *xml;

    cim_instance_set(instance, "StartStatisticTime", cim_value_new_datetime(view->start_usec));
    cim_instance_set(instance, "EndStatisticTime", cim_value_new_datetime(view->end_usec));
    cim_instance_set(instance, "LastTestFailoverTime", cim_value_new_datetime(view->last_test_failover_usec));
    for (unsigned i = 0; i < G_N_ELEMENTS(numbers); i++)
        cim_instance_set(instance, numbers[i].name, cim_value_new_uint(numbers[i].type, numbers[i].number));
    xml = cim_instance_to_xml(instance);
    cim_instance_free(instance);
    return xml;
}

static char *
issue_xml(const HealthIssue *issue)
{
    enum { DEGRADED = 3, CRITICAL = 6 }; /* CIM_Error.PerceivedSeverity */
    CimInstance *instance = cim_instance_new(cim_class_find("root/virtualization/v2", "Msvm_Error"));
    char *xml;

    cim_instance_set(instance, "OwningEntity", cim_value_new_string("virt-replica"));
    cim_instance_set(instance, "Message", cim_value_new_string(issue->text));
    cim_instance_set(instance, "PerceivedSeverity",
                     cim_value_new_uint(CIM_UINT16, issue->severity == HEALTH_CRITICAL ? CRITICAL : DEGRADED));
    xml = cim_instance_to_xml(instance);
    cim_instance_free(instance);
    return xml;
}

static void
append_text(CimValue *array, char *text) /* takes it */
{
    cim_value_append(array, cim_value_new_string(text));
    g_free(text);
}

/* The parameter ReplicationRelationship is of the method with Ex only; without it relationship 0 is meant. */
static bool
measured_relationship(const MethodCall *call, const VmView *vm, unsigned *ret_index, GError **error)
{
    *ret_index = 0;
    return argument(call, "ReplicationRelationship") == NULL ||
           argument_relationship(call, "ReplicationRelationship", vm, ret_index, error);
}

static bool
get_statistics(MethodCall *call, GError **error)
{
    g_autoptr(VmView) vm = argument_vm(call, "ComputerSystem", error);
    g_autoptr(StatisticsView) view = NULL;
    CimValue *statistics, *issues;
    unsigned index;

    if (vm == NULL || !measured_relationship(call, vm, &index, error))
        return false;
    view = replication_service_statistics(call->service, vm->uuid, index, error);
    if (view == NULL)
        return false;
    statistics = cim_value_new_array(CIM_STRING);
    append_text(statistics, statistics_xml(view));
    issues = cim_value_new_array(CIM_STRING);
    for (unsigned i = 0; i < view->issues->len; i++)
        append_text(issues, issue_xml(view->issues->pdata[i]));
    g_hash_table_insert(call->out, g_strdup("ReplicationStatistics"), statistics);
    g_hash_table_insert(call->out, g_strdup("ReplicationHealthIssues"), issues);
    return true;
}

static bool
reset_statistics(MethodCall *call, GError **error)
{
    g_autoptr(VmView) vm = argument_vm(call, "ComputerSystem", error);
    Caller caller = { call->user };
    unsigned index;

    return vm != NULL && measured_relationship(call, vm, &index, error) &&
           replication_service_reset_statistics(call->service, &caller, vm->uuid, index, error);
}

static bool
test_connection(MethodCall *call, GError **error)
{
    g_autoptr(RelationshipSettings) settings = relationship_settings_new();
    const char *host = argument_text(call, "RecoveryConnectionPoint", error);
    const CimValue *authentication = argument(call, "AuthenticationType");
    const CimValue *bypass = argument(call, "BypassProxyServer");
    Caller caller = { call->user };

    if (host == NULL || !argument_uint(call, "RecoveryServerPortNumber", &settings->recovery_server_port, error))
        return false;
    settings->recovery_connection_point = g_strdup(host);
    if (authentication != NULL)
        settings->authentication_type = (unsigned) authentication->v.uint;
    settings->bypass_proxy_server = bypass != NULL && bypass->v.boolean;
    return replication_service_test_connection(call->service, &caller, settings, &call->job, error);
}

#define SERVICE "Msvm_ReplicationService"
#define UNSUPPORTED(name, role) { SERVICE, name, role, NULL, REPLICATION_ERROR_NOT_SUPPORTED }

/* In the order in which the class declares them. */
const MethodRow replication_methods[] = {
    { SERVICE, "CreateReplicationRelationship", CIM_ROLE_ADMINISTRATOR, create_relationship },
    { SERVICE, "ModifyReplicationSettings", CIM_ROLE_ADMINISTRATOR, modify_settings },
    { SERVICE, "RemoveReplicationRelationship", CIM_ROLE_ADMINISTRATOR, remove_relationship },
    { SERVICE, "RemoveReplicationRelationshipEx", CIM_ROLE_ADMINISTRATOR, remove_relationship },
    { SERVICE, "ReverseReplicationRelationship", CIM_ROLE_OPERATOR, reverse_relationship },
    { SERVICE, "ChangeReplicationModeToPrimary", CIM_ROLE_OPERATOR, change_to_primary },
    { SERVICE, "StartReplication", CIM_ROLE_OPERATOR, start_replication },
    { SERVICE, "ImportInitialReplica", CIM_ROLE_OPERATOR, import_initial },
    { SERVICE, "Resynchronize", CIM_ROLE_OPERATOR, resynchronize },
    { SERVICE, "InitiateFailover", CIM_ROLE_OPERATOR, initiate_failover },
    { SERVICE, "RevertFailover", CIM_ROLE_OPERATOR, revert_failover },
    { SERVICE, "CommitFailover", CIM_ROLE_OPERATOR, commit_failover },
    { SERVICE, "TestReplicaSystem", CIM_ROLE_OPERATOR, test_replica_system },
    { SERVICE, "SetFailoverNetworkAdapterSettings", CIM_ROLE_ADMINISTRATOR, set_network_adapters },
    UNSUPPORTED("InitiateFailback", CIM_ROLE_OPERATOR),
    { SERVICE, "ModifyServiceSettings", CIM_ROLE_ADMINISTRATOR, modify_service_settings },
    { SERVICE, "AddAuthorizationEntry", CIM_ROLE_ADMINISTRATOR, add_entry },
    { SERVICE, "ModifyAuthorizationEntry", CIM_ROLE_ADMINISTRATOR, modify_entry },
    { SERVICE, "RemoveAuthorizationEntry", CIM_ROLE_ADMINISTRATOR, remove_entry },
    { SERVICE, "SetAuthorizationEntry", CIM_ROLE_ADMINISTRATOR, set_entry },
    { SERVICE, "TestReplicationConnection", CIM_ROLE_ADMINISTRATOR, test_connection },
    { SERVICE, "GetSystemCertificates", CIM_ROLE_READER, get_certificates },
    { SERVICE, "GetReplicationStatistics", CIM_ROLE_READER, get_statistics },
    { SERVICE, "GetReplicationStatisticsEx", CIM_ROLE_READER, get_statistics },
    { SERVICE, "ResetReplicationStatistics", CIM_ROLE_OPERATOR, reset_statistics },
    { SERVICE, "ResetReplicationStatisticsEx", CIM_ROLE_OPERATOR, reset_statistics },
    { SERVICE, "RequestStateChange", CIM_ROLE_READER, NULL, NOT_SUPPORTED },
    { SERVICE, "StartService", CIM_ROLE_READER, NULL, NOT_SUPPORTED },
    { SERVICE, "StopService", CIM_ROLE_READER, NULL, NOT_SUPPORTED },
    { NULL },
};
