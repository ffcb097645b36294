/* The broker over the in-memory service of test-service.h: reading. */
#include "cim/cim.h"
#include "cim/test-service.h"

#include <string.h>

#define NAMESPACE "root/virtualization/v2"
#define PRIMARY_PATH "Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name=\"" TEST_PRIMARY "\""
#define REPLICA_PATH "Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name=\"" TEST_REPLICA "\""
#define HOST_PATH "Msvm_ComputerSystem.Name=\"" TEST_HOST "\""

static const CimCaller reader = { "rita", CIM_ROLE_READER };

typedef struct {
    ReplicationService *service;
    CimBroker *broker;
} Fixture;

static void
set_up(Fixture *fixture, const void *data)
{
    AuthorizationEntry entry = { (char *) "*.example.org", (char *) "DEFAULT", (char *) "/replicas", (char *) "vms=3" };
    Caller caller = { "set-up" };

    fixture->service = test_service_new();
    fixture->broker = cim_broker_new(fixture->service);
    g_assert_true(replication_service_add_entry(fixture->service, &caller, &entry, NULL));
    job_unref(job_list_add(replication_service_jobs(fixture->service), JOB_INITIATE_FAILOVER, TEST_REPLICA, "olga", "Failing over", true));
}

static void
tear_down(Fixture *fixture, const void *data)
{
    cim_broker_free(fixture->broker);
    test_service_free(fixture->service);
}

static CimInstance *
get(Fixture *fixture, const char *text, GError **error)
{
    CimPath *path = cim_path_from_text(text, NAMESPACE, NULL);
    CimInstance *instance = NULL;

    g_assert_nonnull(path);
    cim_broker_get(fixture->broker, &reader, path, &instance, error);
    cim_path_free(path);
    return instance;
}

static const char *
text_of(const CimInstance *instance, const char *property)
{
    const CimValue *value = cim_instance_get(instance, property);

    return value->is_null ? NULL : value->v.string;
}

static uint64_t
number_of(const CimInstance *instance, const char *property)
{
    const CimValue *value = cim_instance_get(instance, property);

    g_assert_false(value->is_null);
    return value->v.uint;
}

/* ---- get ---- */

static const struct { const char *path; int code; } get_cases[] = {
    { PRIMARY_PATH, 0 },
    { "Msvm_ComputerSystem.Name=\"11111111-AAAA-4111-8111-111111111111\"", 0 },
    { "CIM_ComputerSystem.Name=\"" TEST_PRIMARY "\"", 0 },
    { "Msvm_ComputerSystem.CreationClassName=\"Other\",Name=\"" TEST_PRIMARY "\"", CIM_ERROR_NOT_FOUND },
    { "Msvm_ComputerSystem.Name=\"99999999-aaaa-4111-8111-111111111111\"", CIM_ERROR_NOT_FOUND },
    { "Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\"", CIM_ERROR_AMBIGUOUS },
    { "Msvm_ComputerSystem.ElementName=\"web\"", CIM_ERROR_NO_SUCH_PROPERTY },
    { "Msvm_ComputerSystem", CIM_ERROR_INVALID_PARAMETER },
    { "No_Such.Name=\"x\"", CIM_ERROR_INVALID_CLASS },
    { "root/cimv2:Msvm_ComputerSystem.Name=\"x\"", CIM_ERROR_INVALID_NAMESPACE },
    { HOST_PATH, 0 },
    { "Msvm_ReplicationService", 0 },
    { "Msvm_ReplicationService.Name=\"replicasvc\"", 0 },
    { "Msvm_ReplicationService.CreationClassName=\"Msvm_ReplicationService\",Name=\"replicasvc\",SystemCreationClassName=\"Msvm_ComputerSystem\",SystemName=\"TESTHOST\"", 0 },
    { "Msvm_ReplicationServiceSettingData", 0 },
    { "Msvm_ReplicationServiceSettingData.InstanceID=\"Microsoft:testhost\"", 0 },
    { "Msvm_ReplicationRelationship.InstanceID=\"Microsoft:" TEST_REPLICA "\\\\HVR\\\\1\"", 0 },
    { "Msvm_ReplicationRelationship.InstanceID=\"Microsoft:" TEST_IDLE "\\\\HVR\\\\0\"", 0 },
    { "Msvm_ReplicationRelationship.InstanceID=\"Microsoft:" TEST_PRIMARY "\\\\HVR\\\\1\"", CIM_ERROR_NOT_FOUND },
    { "Msvm_ReplicationRelationship.InstanceID=\"Microsoft:" TEST_PRIMARY "\\\\HVR\\\\2\"", CIM_ERROR_NOT_FOUND },
    { "Msvm_ReplicationSettingData.InstanceID=\"Microsoft:" TEST_IDLE "\\\\HVR\\\\0\"", 0 },
    { "Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:" TEST_PRIMARY "\"", 0 },
    { "Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:" TEST_POINT_2 "\"", 0 },
    { "Msvm_VirtualSystemSettingData.InstanceID=\"junk\"", CIM_ERROR_NOT_FOUND },
    { "Msvm_StorageAllocationSettingData.InstanceID=\"Microsoft:" TEST_PRIMARY "\\\\vdb\"", 0 },
    { "Msvm_StorageAllocationSettingData.InstanceID=\"Microsoft:" TEST_PRIMARY "\\\\vdz\"", CIM_ERROR_NOT_FOUND },
    { "Msvm_SyntheticEthernetPortSettingData.InstanceID=\"Microsoft:" TEST_PRIMARY "\\\\52540000000a\"", 0 },
    { "Msvm_SyntheticEthernetPortSettingData.InstanceID=\"Microsoft:" TEST_PRIMARY "\\\\52540000000C\"", CIM_ERROR_NOT_FOUND },
    { "Msvm_EthernetPortAllocationSettingData.InstanceID=\"Microsoft:" TEST_PRIMARY "\\\\52540000000B\\\\C\"", 0 },
    { "Msvm_EthernetPortAllocationSettingData.InstanceID=\"Microsoft:" TEST_PRIMARY "\\\\52540000000B\"", CIM_ERROR_NOT_FOUND },
    { "Msvm_FailoverNetworkAdapterSettingData.InstanceID=\"Microsoft:" TEST_IDLE "\\\\52540000000A\"", 0 },
    { "Msvm_FailoverNetworkAdapterSettingData.InstanceID=\"Microsoft:" TEST_IDLE "\\\\52540000000B\"", CIM_ERROR_NOT_FOUND },
    { "Msvm_ReplicationAuthorizationSettingData.InstanceID=\"Microsoft:*.EXAMPLE.org\"", 0 },
    { "Msvm_ConcreteJob.InstanceID=\"x\"", CIM_ERROR_NOT_FOUND },
    { "Msvm_HostedService.Antecedent=\"" "Msvm_ComputerSystem.Name=\\\"TESTHOST\\\"\",Dependent=\"Msvm_ReplicationService.Name=\\\"replicasvc\\\"\"", 0 },
    { "Msvm_HostedService.Antecedent=\"" "Msvm_ComputerSystem.Name=\\\"" TEST_IDLE "\\\"\",Dependent=\"Msvm_ReplicationService.Name=\\\"replicasvc\\\"\"", CIM_ERROR_NOT_FOUND },
    { "Msvm_HostedService", CIM_ERROR_INVALID_PARAMETER },
    { "Msvm_Error", CIM_ERROR_NOT_FOUND },
    { "Msvm_ReplicationStatistics", CIM_ERROR_NOT_FOUND },
};

static void
test_get(Fixture *fixture, const void *data)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(get_cases); i++) {
        g_autoptr(GError) error = NULL;
        CimInstance *instance = get(fixture, get_cases[i].path, &error);

        if ((error == NULL ? 0 : error->code) != get_cases[i].code)
            g_error("%s: %s", get_cases[i].path, error == NULL ? "found" : error->message);
        cim_instance_free(instance);
    }
}

static void
test_vm(Fixture *fixture, const void *data)
{
    CimInstance *vm = get(fixture, PRIMARY_PATH, NULL), *host = get(fixture, HOST_PATH, NULL);

    g_assert_cmpstr(text_of(vm, "Name"), ==, "11111111-AAAA-4111-8111-111111111111");
    g_assert_cmpstr(text_of(vm, "ElementName"), ==, "web");
    g_assert_cmpuint(number_of(vm, "EnabledState"), ==, 2);
    g_assert_cmpuint(number_of(vm, "ReplicationState"), ==, 3);
    g_assert_cmpuint(number_of(vm, "ReplicationMode"), ==, 1);
    g_assert_cmpuint(number_of(vm, "ProcessID"), ==, 4711);
    g_assert_cmpuint(number_of(vm, "OnTimeInMilliseconds"), >, 0);
    g_assert_cmpstr(text_of(vm, "InstallDate"), ==, "20240501102030.000000+000");
    g_assert_cmpstr(text_of(vm, "Caption"), ==, "Virtual Machine");
    g_assert_cmpstr(text_of(host, "Caption"), ==, "Hosting Computer System");
    g_assert_true(cim_instance_get(host, "InstallDate")->is_null);
    g_assert_true(cim_instance_get(host, "ReplicationState")->is_null);
    cim_instance_free(vm);
    cim_instance_free(host);
}

static void
test_setting_data(Fixture *fixture, const void *data)
{
    CimInstance *settings = get(fixture, "Msvm_ReplicationSettingData.InstanceID=\"Microsoft:" TEST_IDLE "\\\\HVR\"", NULL);
    const GPtrArray *disks;

    g_assert_null(settings); /* the key of the instance ends with \HVR\0 */
    settings = get(fixture, "Msvm_ReplicationSettingData.InstanceID=\"Microsoft:" TEST_IDLE "\\\\HVR\\\\0\"", NULL);
    disks = cim_instance_get(settings, "IncludedDisks")->v.items;
    g_assert_cmpstr(text_of(settings, "VirtualSystemIdentifier"), ==, "33333333-CCCC-4333-8333-333333333333");
    g_assert_cmpstr(text_of(settings, "VirtualSystemType"), ==, "Microsoft:Hyper-V:Replica");
    g_assert_true(g_str_has_suffix(text_of(settings, "ReplicationProvider"), ",Name=\"22391CDC-272C-4DDF-BA88-9BEFB1A0975C\""));
    g_assert_cmpstr(text_of(settings, "AutoResynchronizeIntervalStart"), ==, "00000000000000.000000:000");
    g_assert_cmpuint(number_of(settings, "ReplicationInterval"), ==, 300);
    g_assert_cmpuint(disks->len, ==, 2);
    g_assert_cmpstr(((CimValue *) disks->pdata[1])->v.string, ==,
                    "\\\\TESTHOST\\root\\virtualization\\v2:Msvm_StorageAllocationSettingData."
                    "InstanceID=\"Microsoft:33333333-CCCC-4333-8333-333333333333\\\\vdb\"");
    cim_instance_free(settings);
}

static void
test_point(Fixture *fixture, const void *data)
{
    CimInstance *point = get(fixture, "Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:" TEST_POINT_2 "\"", NULL);
    CimInstance *first = get(fixture, "Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:" TEST_POINT_1 "\"", NULL);

    g_assert_cmpstr(text_of(point, "VirtualSystemType"), ==, "Microsoft:Hyper-V:Snapshot:Replica:ApplicationConsistent");
    g_assert_cmpstr(text_of(point, "VirtualSystemIdentifier"), ==, "22222222-BBBB-4222-8222-222222222222");
    g_assert_cmpstr(text_of(point, "CreationTime"), ==, "20240501122030.000000+000");
    g_assert_true(g_regex_match_simple("^db - Replica - \\(2024-05-0[12] \\d\\d:\\d\\d:30\\)$", text_of(point, "ElementName"), 0, 0));
    g_assert_cmpstr(text_of(point, "Parent"), ==,
                    "\\\\TESTHOST\\root\\virtualization\\v2:Msvm_VirtualSystemSettingData."
                    "InstanceID=\"Microsoft:44444444-DDDD-4444-8444-000000000001\"");
    g_assert_null(text_of(first, "Parent"));
    g_assert_cmpstr(text_of(first, "VirtualSystemType"), ==, "Microsoft:Hyper-V:Snapshot:Replica:Standard");
    cim_instance_free(point);
    cim_instance_free(first);
}

/* ---- enumerate ---- */

static const struct { const char *class_name; bool exact; unsigned n; } enumerate_cases[] = {
    { "Msvm_ComputerSystem", false, 4 }, { "cim_computersystem", false, 4 }, { "CIM_ComputerSystem", true, 0 },
    { "Msvm_ReplicationService", true, 1 }, { "CIM_Service", false, 2 }, { "Msvm_VirtualSystemManagementService", false, 1 },
    { "Msvm_ReplicaSystemDependency", false, 0 }, { "Msvm_ReplicationRelationship", false, 4 },
    { "Msvm_ReplicationSettingData", false, 4 }, { "Msvm_VirtualSystemSettingData", false, 6 },
    { "CIM_VirtualSystemSettingData", false, 10 }, { "Msvm_StorageAllocationSettingData", false, 9 }, { "Msvm_ConcreteJob", false, 1 },
    { "Msvm_ReplicationServiceSettingData", false, 1 }, { "Msvm_ReplicationAuthorizationSettingData", false, 1 },
    { "Msvm_Error", false, 0 }, { "Msvm_SystemReplicationRelationship", false, 4 }, { "Msvm_ElementSettingData", false, 6 },
    { "CIM_ElementSettingData", false, 6 }, { "Msvm_SettingsDefineState", false, 7 }, { "Msvm_SnapshotOfVirtualSystem", false, 3 },
    { "Msvm_MostCurrentSnapshotInBranch", false, 1 }, { "Msvm_VirtualSystemSettingDataComponent", false, 19 },
    { "Msvm_SyntheticEthernetPortSettingData", false, 5 }, { "Msvm_EthernetPortFailoverSettingDataComponent", false, 5 },
    { "Msvm_EthernetPortAllocationSettingData", true, 5 }, { "Msvm_FailoverNetworkAdapterSettingData", false, 5 },
    { "Msvm_AffectedJobElement", false, 1 }, { "Msvm_OwningJobElement", false, 1 }, { "Msvm_HostedService", false, 1 },
    { "Msvm_HostedDependency", false, 3 }, { "Msvm_ServiceAffectsElement", false, 3 }, { "CIM_Dependency", false, 12 },
};

static void
test_enumerate(Fixture *fixture, const void *data)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(enumerate_cases); i++) {
        g_autoptr(GPtrArray) instances = NULL;
        g_autoptr(GError) error = NULL;

        cim_broker_enumerate(fixture->broker, &reader, "root\\virtualization\\V2", enumerate_cases[i].class_name,
                             enumerate_cases[i].exact, &instances, &error);
        g_assert_no_error(error);
        if (instances->len != enumerate_cases[i].n)
            g_error("%s: %u instances, not %u", enumerate_cases[i].class_name, instances->len, enumerate_cases[i].n);
    }
}

/* What is enumerated can be read again by its own path. */
static void
test_paths_lead_back(Fixture *fixture, const void *data)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(enumerate_cases); i++) {
        g_autoptr(GPtrArray) instances = NULL;

        cim_broker_enumerate(fixture->broker, &reader, NAMESPACE, enumerate_cases[i].class_name, false, &instances, NULL);
        for (unsigned n = 0; n < instances->len; n++) {
            CimPath *path = cim_instance_path(instances->pdata[n]), *again_path;
            g_autofree char *text = cim_path_to_text(path, TEST_HOST);
            g_autoptr(GError) error = NULL;
            CimInstance *again = get(fixture, text, &error);
            g_autofree char *again_text = NULL;

            g_assert_no_error(error);
            again_path = cim_instance_path(again);
            again_text = cim_path_to_text(again_path, TEST_HOST);
            g_assert_cmpstr(again_text, ==, text);
            cim_path_free(path);
            cim_path_free(again_path);
            cim_instance_free(again);
        }
    }
}

/* ---- associations, as clients walk them ---- */

static const struct { const char *object, *assoc_class, *result_class, *role, *result_role; unsigned n; const char *first; } walks[] = {
    { REPLICA_PATH, NULL, "Msvm_ReplicationSettingData", NULL, NULL, 2, "Microsoft:22222222-BBBB-4222-8222-222222222222\\HVR\\0" },
    { REPLICA_PATH, "Msvm_ElementSettingData", "Msvm_ReplicationSettingData", NULL, NULL, 2, NULL },
    { REPLICA_PATH, NULL, "Msvm_ReplicationRelationship", NULL, NULL, 2, "Microsoft:22222222-BBBB-4222-8222-222222222222\\HVR\\0" },
    { PRIMARY_PATH, "Msvm_SystemReplicationRelationship", "Msvm_ReplicationRelationship", "Antecedent", "Dependent", 1, NULL },
    { PRIMARY_PATH, "Msvm_SystemReplicationRelationship", NULL, "Dependent", NULL, 0, NULL },
    { PRIMARY_PATH, NULL, "Msvm_ReplicationService", NULL, NULL, 1, NULL },
    { REPLICA_PATH, "Msvm_SettingsDefineState", "Msvm_VirtualSystemSettingData", NULL, NULL, 1, "Microsoft:22222222-BBBB-4222-8222-222222222222" },
    { REPLICA_PATH, NULL, "Msvm_VirtualSystemSettingData", NULL, NULL, 4, NULL },
    { REPLICA_PATH, "Msvm_SnapshotOfVirtualSystem", NULL, NULL, NULL, 3, "Microsoft:44444444-DDDD-4444-8444-000000000001" },
    { REPLICA_PATH, "Msvm_MostCurrentSnapshotInBranch", NULL, NULL, NULL, 1, "Microsoft:44444444-DDDD-4444-8444-000000000003" },
    { REPLICA_PATH, "Msvm_AffectedJobElement", NULL, "AffectedElement", "AffectingElement", 1, NULL },
    { PRIMARY_PATH, "Msvm_AffectedJobElement", NULL, NULL, NULL, 0, NULL },
    { PRIMARY_PATH, "Msvm_HostedDependency", NULL, NULL, NULL, 1, NULL },
    { PRIMARY_PATH, "CIM_HostedDependency", "CIM_System", "Dependent", "Antecedent", 1, NULL },
    { HOST_PATH, "Msvm_HostedDependency", NULL, NULL, NULL, 3, NULL },
    { HOST_PATH, NULL, "CIM_Service", NULL, NULL, 1, NULL },
    { HOST_PATH, "Msvm_ServiceAffectsElement", NULL, NULL, NULL, 0, NULL },
    { "Msvm_ReplicationService", NULL, "Msvm_ReplicationServiceSettingData", NULL, NULL, 1, "Microsoft:TESTHOST" },
    { "Msvm_ReplicationService", "Msvm_ElementSettingData", "Msvm_ReplicationAuthorizationSettingData", NULL, NULL, 1, NULL },
    { "Msvm_ReplicationService", "Msvm_ServiceAffectsElement", NULL, NULL, NULL, 3, NULL },
    { "Msvm_ReplicationService", "Msvm_HostedService", NULL, NULL, NULL, 1, NULL },
    { "Msvm_ReplicationService", "Msvm_OwningJobElement", NULL, NULL, NULL, 1, NULL },
    { "Msvm_ReplicationSettingData.InstanceID=\"Microsoft:" TEST_REPLICA "\\\\HVR\\\\1\"", "Msvm_SettingsDefineState",
      "Msvm_ReplicationRelationship", NULL, NULL, 1, "Microsoft:22222222-BBBB-4222-8222-222222222222\\HVR\\1" },
    { "Msvm_ReplicationRelationship.InstanceID=\"Microsoft:" TEST_REPLICA "\\\\HVR\\\\0\"", NULL, NULL, NULL, NULL, 2, NULL },
    { "Msvm_ReplicationSettingData.InstanceID=\"Microsoft:" TEST_IDLE "\\\\HVR\\\\0\"", "Msvm_ElementSettingData", NULL, NULL, NULL, 1, NULL },
    { "Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:" TEST_PRIMARY "\"", "Msvm_VirtualSystemSettingDataComponent",
      "Msvm_StorageAllocationSettingData", NULL, NULL, 3, "Microsoft:11111111-AAAA-4111-8111-111111111111\\vda" },
    { "Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:" TEST_PRIMARY "\"", NULL, "Msvm_ComputerSystem", NULL, NULL, 1, NULL },
    { "Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:" TEST_POINT_1 "\"", "Msvm_SnapshotOfVirtualSystem", NULL, NULL, NULL, 1, NULL },
    { "Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:" TEST_POINT_1 "\"", "Msvm_MostCurrentSnapshotInBranch", NULL, NULL, NULL, 0, NULL },
    { "Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:" TEST_POINT_3 "\"", "Msvm_MostCurrentSnapshotInBranch", NULL, NULL, NULL, 1, NULL },
    { "Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:" TEST_POINT_3 "\"", NULL, "Msvm_StorageAllocationSettingData", NULL, NULL, 0, NULL },
    { "Msvm_StorageAllocationSettingData.InstanceID=\"Microsoft:" TEST_PRIMARY "\\\\vda\"", NULL, NULL, NULL, NULL, 1,
      "Microsoft:11111111-AAAA-4111-8111-111111111111" },
};

static void
test_associators(Fixture *fixture, const void *data)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(walks); i++) {
        CimAssociationFilter filter = { walks[i].assoc_class, walks[i].result_class, walks[i].role, walks[i].result_role };
        CimPath *path = cim_path_from_text(walks[i].object, NAMESPACE, NULL);
        g_autoptr(GPtrArray) found = NULL, references = NULL;
        g_autoptr(GError) error = NULL;

        cim_broker_associators(fixture->broker, &reader, path, &filter, &found, &error);
        g_assert_no_error(error);
        if (found->len != walks[i].n)
            g_error("walk %u from %s: %u instances, not %u", i, walks[i].object, found->len, walks[i].n);
        if (walks[i].first != NULL)
            g_assert_cmpstr(text_of(found->pdata[0], "InstanceID"), ==, walks[i].first);
        filter.result_class = filter.result_role = NULL;
        cim_broker_references(fixture->broker, &reader, path, &filter, &references, &error);
        g_assert_no_error(error);
        g_assert_cmpuint(references->len, >=, found->len);
        cim_path_free(path);
    }
}

static void
test_association_instances(Fixture *fixture, const void *data)
{
    CimAssociationFilter filter = { .result_class = "CIM_ServiceAffectsElement" };
    CimPath *path = cim_path_from_text(PRIMARY_PATH, NAMESPACE, NULL);
    g_autoptr(GPtrArray) found = NULL;
    const CimInstance *link;

    g_assert_true(cim_broker_references(fixture->broker, &reader, path, &filter, &found, NULL));
    g_assert_cmpuint(found->len, ==, 1);
    link = found->pdata[0];
    g_assert_cmpstr(cim_instance_class(link)->name, ==, "Msvm_ServiceAffectsElement");
    g_assert_cmpstr(cim_instance_get(link, "AffectingElement")->v.path->class_name, ==, "Msvm_ReplicationService");
    g_assert_cmpuint(((CimValue *) cim_instance_get(link, "ElementEffects")->v.items->pdata[0])->v.uint, ==, 5);
    cim_path_free(path);
}

static void
test_association_errors(Fixture *fixture, const void *data)
{
    CimAssociationFilter filter = { .result_class = "No_Such" }, none = { NULL };
    CimPath *vm = cim_path_from_text(PRIMARY_PATH, NAMESPACE, NULL);
    CimPath *gone = cim_path_from_text("Msvm_ComputerSystem.Name=\"gone\"", NAMESPACE, NULL);
    g_autoptr(GPtrArray) found = NULL;
    g_autoptr(GError) error = NULL;

    g_assert_false(cim_broker_associators(fixture->broker, &reader, vm, &filter, &found, &error));
    g_assert_error(error, CIM_ERROR, CIM_ERROR_INVALID_CLASS);
    g_clear_error(&error);
    g_assert_false(cim_broker_associators(fixture->broker, &reader, gone, &none, &found, &error));
    g_assert_error(error, CIM_ERROR, CIM_ERROR_NOT_FOUND);
    cim_path_free(vm);
    cim_path_free(gone);
}

/* ---- queries, as clients send them ---- */

static const struct { const char *text; unsigned n; } queries[] = {
    { "select * from Msvm_ReplicationService", 1 },
    { "SELECT * FROM Msvm_ComputerSystem WHERE ElementName=\"web\"", 1 },
    { "SELECT * FROM Msvm_ComputerSystem WHERE ElementName = 'web' OR Name = '" TEST_IDLE "'", 2 },
    { "SELECT ElementName, EnabledState, ReplicationState, ReplicationHealth FROM MsVm_ComputerSystem WHERE ReplicationState IS NOT NULL", 3 },
    { "SELECT ElementName, InstallDate FROM Msvm_ComputerSystem WHERE ReplicationMode = 3", 0 },
    { "SELECT * FROM Msvm_ComputerSystem WHERE Caption = 'Virtual Machine' AND Name != __SERVER ", 3 },
    { "SELECT * FROM Msvm_ComputerSystem WHERE Name = '" TEST_PRIMARY "'", 1 },
    { "SELECT * FROM Msvm_ComputerSystem WHERE Name = '" TEST_PRIMARY "' AND EnabledState = 3", 0 },
    { "SELECT * FROM Msvm_ComputerSystem WHERE Name = 'none'", 0 },
    { "SELECT ElementName, InstanceID, ReplicationHealth, ReplicationState FROM Msvm_ReplicationRelationship", 4 },
    { "SELECT * FROM Msvm_ReplicationSettingData WHERE VirtualSystemIdentifier LIKE \"" TEST_PRIMARY "\"", 1 },
    { "SELECT * FROM Msvm_StorageAllocationSettingData WHERE InstanceID LIKE \"Microsoft:" TEST_PRIMARY "%\"", 3 },
    { "SELECT * FROM Msvm_ReplicationRelationship WHERE InstanceID = 'Microsoft:" TEST_REPLICA "\\\\HVR\\\\1'", 1 },
    { "SELECT * FROM CIM_ElementSettingData WHERE ManagedElement ISA 'Msvm_ReplicationService'", 2 },
    { "SELECT * FROM Msvm_SystemReplicationRelationship WHERE Antecedent = '" "Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name=\"" TEST_REPLICA "\"'", 2 },
    { "ASSOCIATORS OF {" REPLICA_PATH "} WHERE ResultClass = Msvm_ReplicationRelationship", 2 },
    { "references of {" REPLICA_PATH "} where ResultClass=Msvm_SystemReplicationRelationship Role=Antecedent", 2 },
};

static void
test_queries(Fixture *fixture, const void *data)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(queries); i++) {
        g_autoptr(GPtrArray) found = NULL;
        g_autoptr(GError) error = NULL;

        cim_broker_query(fixture->broker, &reader, NAMESPACE, queries[i].text, &found, &error);
        g_assert_no_error(error);
        if (found->len != queries[i].n)
            g_error("%s: %u instances, not %u", queries[i].text, found->len, queries[i].n);
    }
}

/* ---- rights and changes ---- */

static void
test_nobody_reads(Fixture *fixture, const void *data)
{
    const CimCaller nobody = { "nora", CIM_ROLE_NONE };
    CimPath *path = cim_path_from_text(PRIMARY_PATH, NAMESPACE, NULL);
    CimAssociationFilter filter = { NULL };
    g_autoptr(GError) error = NULL;
    GPtrArray *found = NULL;
    CimInstance *instance = NULL;

    g_assert_false(cim_broker_get(fixture->broker, &nobody, path, &instance, &error));
    g_assert_error(error, CIM_ERROR, CIM_ERROR_ACCESS_DENIED);
    g_assert_false(cim_broker_enumerate(fixture->broker, &nobody, NAMESPACE, "Msvm_ComputerSystem", false, &found, NULL));
    g_assert_false(cim_broker_query(fixture->broker, &nobody, NAMESPACE, "SELECT * FROM Msvm_ComputerSystem", &found, NULL));
    g_assert_false(cim_broker_associators(fixture->broker, &nobody, path, &filter, &found, NULL));
    g_assert_false(cim_broker_references(fixture->broker, &nobody, path, &filter, &found, NULL));
    cim_path_free(path);
}

static void
test_modify_is_refused(Fixture *fixture, const void *data)
{
    CimInstance *settings = get(fixture, "Msvm_ReplicationServiceSettingData", NULL);
    CimPath *path = cim_instance_path(settings);
    const CimCaller administrator = { "anna", CIM_ROLE_ADMINISTRATOR };
    g_autoptr(GError) error = NULL;

    g_assert_false(cim_broker_modify(fixture->broker, &administrator, path, settings, &error));
    g_assert_error(error, CIM_ERROR, CIM_ERROR_NOT_SUPPORTED);
    cim_path_free(path);
    cim_instance_free(settings);
}

int
main(int argc, char **argv)
{
    static const struct { const char *name; void (*run)(Fixture *, const void *); } tests[] = {
        { "/broker/get", test_get }, { "/broker/vm", test_vm }, { "/broker/setting-data", test_setting_data },
        { "/broker/point", test_point }, { "/broker/enumerate", test_enumerate }, { "/broker/paths-lead-back", test_paths_lead_back },
        { "/broker/associators", test_associators }, { "/broker/association-instances", test_association_instances },
        { "/broker/association-errors", test_association_errors }, { "/broker/queries", test_queries },
        { "/broker/nobody-reads", test_nobody_reads }, { "/broker/modify-is-refused", test_modify_is_refused },
    };

    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, Fixture, NULL, set_up, tests[i].run, tear_down);
    return g_test_run();
}
