/* The broker over the in-memory service of test-service.h: methods, their arguments, rights and return codes. */
#include "cim/cim.h"
#include "cim/method.h"
#include "cim/test-service.h"

#include <string.h>

#define NAMESPACE "root/virtualization/v2"
#define SERVICE "Msvm_ReplicationService"
#define VM(uuid) "Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name=\"" uuid "\""
#define POINT(id) "Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:" id "\""
#define RELATIONSHIP(uuid, index) \
    "<INSTANCE CLASSNAME=\"Msvm_ReplicationRelationship\"><PROPERTY NAME=\"InstanceID\" TYPE=\"string\"><VALUE>Microsoft:" uuid \
    "\\HVR\\" index "</VALUE></PROPERTY></INSTANCE>"
#define SETTINGS(body) "<INSTANCE CLASSNAME=\"Msvm_ReplicationSettingData\">" body "</INSTANCE>"
#define PROPERTY(name, value) "<PROPERTY NAME=\"" name "\" TYPE=\"string\"><VALUE>" value "</VALUE></PROPERTY>"

static const CimCaller administrator = { "anna", CIM_ROLE_ADMINISTRATOR };

typedef struct {
    ReplicationService *service;
    CimBroker  *broker;
    GHashTable *out;      /* of the last call */
    uint32_t    code;
    char       *message;
    GError     *error;
} Fixture;

static void
set_up(Fixture *fixture, const void *data)
{
    fixture->service = test_service_new();
    fixture->broker = cim_broker_new(fixture->service);
}

static void
forget_result(Fixture *fixture)
{
    g_clear_pointer(&fixture->out, g_hash_table_unref);
    g_clear_pointer(&fixture->message, g_free);
    g_clear_error(&fixture->error);
}

static void
tear_down(Fixture *fixture, const void *data)
{
    forget_result(fixture);
    cim_broker_free(fixture->broker);
    test_service_free(fixture->service);
}

/* Arguments are pairs of name and text; NULL ends them. Texts are converted to what the method declares. */
static bool G_GNUC_NULL_TERMINATED
invoke_as(Fixture *fixture, const CimCaller *caller, const char *object, const char *name, ...)
{
    g_autoptr(GHashTable) in = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify) cim_value_free);
    CimPath *path = cim_path_from_text(object, NAMESPACE, NULL);
    const CimMethod *method = cim_class_method(cim_class_find(NAMESPACE, path->class_name), name);
    va_list arguments;
    const char *argument_name;
    bool ok;

    forget_result(fixture);
    g_assert_nonnull(method);
    va_start(arguments, name);
    while ((argument_name = va_arg(arguments, const char *)) != NULL)
        g_hash_table_insert(in, (char *) argument_name, cim_value_new_string(va_arg(arguments, const char *)));
    va_end(arguments);
    ok = cim_broker_invoke(fixture->broker, caller, path, method, in, &fixture->out, &fixture->code, &fixture->message, &fixture->error);
    cim_path_free(path);
    return ok;
}

#define INVOKE(object, ...) g_assert_true(invoke_as(fixture, &administrator, (object), __VA_ARGS__, NULL))

static void
assert_call(Fixture *fixture, const char *operation, const char *vm_uuid)
{
    const TestCall *call = test_service_last_call(fixture->service);

    g_assert_cmpstr(call->operation, ==, operation);
    g_assert_cmpstr(call->vm_uuid, ==, vm_uuid);
    g_assert_cmpstr(call->user, ==, "anna");
}

static void
assert_refused(Fixture *fixture, uint32_t code)
{
    g_assert_cmpuint(fixture->code, ==, code);
    g_assert_nonnull(fixture->message);
}

static const CimValue *
out(Fixture *fixture, const char *name)
{
    const CimValue *value = g_hash_table_lookup(fixture->out, name);

    g_assert_nonnull(value);
    return value;
}

/* 4096, and the job can be read at once. */
static CimInstance *
started_job(Fixture *fixture)
{
    CimInstance *job = NULL;

    g_assert_cmpuint(fixture->code, ==, 4096);
    g_assert_null(fixture->message);
    g_assert_true(cim_broker_get(fixture->broker, &administrator, out(fixture, "Job")->v.path, &job, NULL));
    return job;
}

/* ---- failover ---- */

static void
test_failover_to_latest(Fixture *fixture, const void *data)
{
    CimInstance *job;

    INVOKE(SERVICE, "InitiateFailover", "ComputerSystem", VM(TEST_REPLICA));
    assert_call(fixture, "failover", TEST_REPLICA);
    g_assert_null(test_service_last_call(fixture->service)->text);
    job = started_job(fixture);
    g_assert_cmpuint(cim_instance_get(job, "JobState")->v.uint, ==, 4);
    g_assert_cmpuint(cim_instance_get(job, "JobType")->v.uint, ==, 97);
    g_assert_cmpstr(cim_instance_get(job, "Owner")->v.string, ==, "anna");
    g_assert_cmpstr(cim_instance_get(job, "TimeBeforeRemoval")->v.string, ==, "00000000000500.000000:000");
    cim_instance_free(job);
    INVOKE(SERVICE, "InitiateFailover", "ComputerSystem", VM(TEST_REPLICA), "SnapshotSettingData", (const char *) NULL);
    g_assert_null(test_service_last_call(fixture->service)->text);
    INVOKE(SERVICE, "InitiateFailover", "ComputerSystem", VM(TEST_REPLICA), "SnapshotSettingData", "");
    g_assert_null(test_service_last_call(fixture->service)->text);
}

static void
test_failover_to_point(Fixture *fixture, const void *data)
{
    static const char *const forms[] = {
        POINT(TEST_POINT_1), "\\\\OTHER\\root\\virtualization\\v2:" POINT(TEST_POINT_1),
        "CIM_VirtualSystemSettingData.InstanceID='microsoft:44444444-DDDD-4444-8444-000000000001'",
        "<INSTANCE CLASSNAME=\"Msvm_VirtualSystemSettingData\">" PROPERTY("InstanceID", "Microsoft:" TEST_POINT_1) "</INSTANCE>",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(forms); i++) {
        INVOKE(SERVICE, "InitiateFailover", "ComputerSystem", VM(TEST_REPLICA), "SnapshotSettingData", forms[i]);
        g_assert_cmpuint(fixture->code, ==, 4096);
        g_assert_cmpstr(test_service_last_call(fixture->service)->text, ==, TEST_POINT_1);
    }
}

static const struct { const char *vm, *point; uint32_t code; } failover_refusals[] = {
    { NULL, NULL, REPLICATION_ERROR_INVALID_PARAMETER },
    { VM("99999999-aaaa-4111-8111-111111111111"), NULL, REPLICATION_ERROR_INVALID_PARAMETER },
    { "Msvm_ComputerSystem.Name=\"" TEST_HOST "\"", NULL, REPLICATION_ERROR_INVALID_PARAMETER },
    { "Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\"", NULL, REPLICATION_ERROR_INVALID_PARAMETER },
    { "Msvm_ConcreteJob.InstanceID=\"x\"", NULL, REPLICATION_ERROR_WRONG_TYPE },
    { "Win32_ComputerSystem.Name=\"x\"", NULL, REPLICATION_ERROR_WRONG_TYPE },
    { VM(TEST_PRIMARY), POINT(TEST_POINT_1), REPLICATION_ERROR_INVALID_PARAMETER },
    { VM(TEST_REPLICA), POINT("44444444-dddd-4444-8444-000000000009"), REPLICATION_ERROR_INVALID_PARAMETER },
    { VM(TEST_REPLICA), POINT(TEST_REPLICA), REPLICATION_ERROR_INVALID_PARAMETER },
    { VM(TEST_REPLICA), POINT("junk"), REPLICATION_ERROR_INVALID_PARAMETER },
    { VM(TEST_REPLICA), "Msvm_VirtualSystemSettingData", REPLICATION_ERROR_INVALID_PARAMETER },
    { VM(TEST_REPLICA), VM(TEST_REPLICA), REPLICATION_ERROR_WRONG_TYPE },
    { VM(TEST_REPLICA), "Msvm_StorageAllocationSettingData.InstanceID=\"Microsoft:" TEST_POINT_1 "\"", REPLICATION_ERROR_WRONG_TYPE },
};

static void
test_failover_refusals(Fixture *fixture, const void *data)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(failover_refusals); i++) {
        INVOKE(SERVICE, "InitiateFailover", "ComputerSystem", failover_refusals[i].vm, "SnapshotSettingData", failover_refusals[i].point);
        assert_refused(fixture, failover_refusals[i].code);
        g_assert_true(out(fixture, "Job")->is_null);
        g_assert_null(test_service_last_call(fixture->service)->operation);
    }
}

static void
test_codes_of_the_service_pass_through(Fixture *fixture, const void *data)
{
    for (int code = REPLICATION_ERROR_FAILED; code <= REPLICATION_ERROR_FILE_NOT_FOUND; code++) {
        test_service_refuse_next(fixture->service, code);
        INVOKE(SERVICE, "InitiateFailover", "ComputerSystem", VM(TEST_REPLICA));
        assert_refused(fixture, (uint32_t) code);
        g_assert_cmpstr(fixture->message, ==, "Refused as the test wants");
    }
    test_service_refuse_next(fixture->service, 0);
    INVOKE(SERVICE, "RevertFailover", "ComputerSystem", VM(TEST_REPLICA));
    g_assert_cmpuint(fixture->code, ==, 0);
    g_assert_true(out(fixture, "Job")->is_null);
    assert_call(fixture, "revert", TEST_REPLICA);
    INVOKE(SERVICE, "CommitFailover", "ComputerSystem", VM(TEST_REPLICA));
    assert_call(fixture, "commit", TEST_REPLICA);
}

/* ---- test failover ---- */

static unsigned
count_associators(Fixture *fixture, const CimPath *path, const char *assoc_class, const char *result_class)
{
    g_autofree char *text = cim_path_to_text(path, NULL);
    g_autofree char *query = g_strdup_printf("associators of {%s} where AssocClass = %s ResultClass = %s", text, assoc_class, result_class);
    g_autoptr(GPtrArray) found = NULL;
    g_autoptr(GError) error = NULL;

    cim_broker_query(fixture->broker, &administrator, NAMESPACE, query, &found, &error);
    g_assert_no_error(error);
    return found->len;
}

/* Both ways to the new VM that clients know: the out parameter, and what the job affects. */
static void
test_test_failover(Fixture *fixture, const void *data)
{
    CimInstance *vm = NULL, *job;
    CimPath *replica = cim_path_from_text(VM(TEST_REPLICA), NAMESPACE, NULL);

    INVOKE(SERVICE, "TestReplicaSystem", "ComputerSystem", VM(TEST_REPLICA), "SnapshotSettingData", POINT(TEST_POINT_1));
    assert_call(fixture, "test", TEST_REPLICA);
    g_assert_cmpstr(test_service_last_call(fixture->service)->text, ==, TEST_POINT_1);
    job = started_job(fixture);
    g_assert_cmpuint(cim_instance_get(job, "JobType")->v.uint, ==, 102);
    g_assert_true(cim_broker_get(fixture->broker, &administrator, out(fixture, "ResultingSystem")->v.path, &vm, NULL));
    g_assert_cmpstr(cim_instance_get(vm, "ElementName")->v.string, ==, "db - Test");
    g_assert_cmpuint(cim_instance_get(vm, "ReplicationMode")->v.uint, ==, 3);
    g_assert_cmpuint(count_associators(fixture, out(fixture, "Job")->v.path, "Msvm_AffectedJobElement", "Msvm_ComputerSystem"), ==, 2);
    g_assert_cmpuint(count_associators(fixture, replica, "Msvm_ReplicaSystemDependency", "Msvm_ComputerSystem"), ==, 1);
    g_assert_cmpuint(count_associators(fixture, out(fixture, "ResultingSystem")->v.path, "Msvm_ReplicaSystemDependency",
                                       "Msvm_ComputerSystem"), ==, 1);
    cim_instance_free(vm);
    cim_instance_free(job);
    cim_path_free(replica);
    INVOKE("Msvm_VirtualSystemManagementService", "DestroySystem", "AffectedSystem", VM(TEST_TEST_VM));
    assert_call(fixture, "end-test", TEST_TEST_VM);
    job = started_job(fixture);
    g_assert_cmpuint(cim_instance_get(job, "JobType")->v.uint, ==, 103);
    cim_instance_free(job);
    test_service_refuse_next(fixture->service, REPLICATION_ERROR_INVALID_STATE);
    INVOKE(SERVICE, "TestReplicaSystem", "ComputerSystem", VM(TEST_REPLICA));
    assert_refused(fixture, REPLICATION_ERROR_INVALID_STATE);
    g_assert_true(out(fixture, "ResultingSystem")->is_null);
}

/* ---- create ---- */

static void
test_create(Fixture *fixture, const void *data)
{
    const RelationshipSettings *settings;

    INVOKE(SERVICE, "CreateReplicationRelationship", "ComputerSystem", VM(TEST_IDLE), "ReplicationSettingData",
           SETTINGS(PROPERTY("InstanceID", "Microsoft:" TEST_IDLE "\\HVR\\0") PROPERTY("RecoveryConnectionPoint", "replica.example.org")
                    PROPERTY("RecoveryServerPortNumber", "443") PROPERTY("AuthenticationType", "2") PROPERTY("CompressionEnabled", "false")
                    PROPERTY("RecoveryHistory", "24") PROPERTY("ReplicationInterval", "30") PROPERTY("AdditionalSettings", "interval=1;journal=4h")
                    PROPERTY("PrimaryHostSystem", "ignored") PROPERTY("AutoResynchronizeIntervalStart", "PT1H")
                    "<PROPERTY.ARRAY NAME=\"IncludedDisks\" TYPE=\"string\"><VALUE.ARRAY>"
                    "<VALUE>\\\\H\\root\\virtualization\\v2:Msvm_StorageAllocationSettingData.InstanceID=\"Microsoft:" TEST_IDLE "\\\\vda\"</VALUE>"
                    "<VALUE>Microsoft:33333333-CCCC-4333-8333-333333333333\\vdb</VALUE></VALUE.ARRAY></PROPERTY.ARRAY>"));
    g_assert_cmpuint(fixture->code, ==, 4096);
    assert_call(fixture, "create", TEST_IDLE);
    settings = test_service_last_call(fixture->service)->settings;
    g_assert_cmpstr(settings->recovery_connection_point, ==, "replica.example.org");
    g_assert_cmpuint(settings->recovery_server_port, ==, 443);
    g_assert_false(settings->compression_enabled);
    g_assert_cmpuint(settings->recovery_history, ==, 24);
    g_assert_cmpuint(settings->replication_interval_sec, ==, 30);
    g_assert_cmpstr(settings->additional_settings, ==, "interval=1;journal=4h");
    g_assert_null(settings->primary_host_system);
    g_assert_cmpuint(settings->auto_resynchronize_start_sec, ==, 3600);
    g_assert_cmpuint(settings->auto_resynchronize_end_sec, ==, 0);
    g_assert_cmpuint(g_strv_length(settings->included_disks), ==, 2);
    g_assert_cmpstr(settings->included_disks[0], ==, "vda");
    g_assert_cmpstr(settings->included_disks[1], ==, "vdb");
}

/* What clients do: read the setting data, change it, send its text back. */
static void
test_create_from_own_text(Fixture *fixture, const void *data)
{
    CimPath *path = cim_path_from_text("Msvm_ReplicationSettingData.InstanceID=\"Microsoft:" TEST_IDLE "\\\\HVR\\\\0\"", NAMESPACE, NULL);
    CimInstance *settings = NULL;
    g_autofree char *xml = NULL;
    char **disks;

    g_assert_true(cim_broker_get(fixture->broker, &administrator, path, &settings, NULL));
    xml = cim_instance_to_xml(settings);
    INVOKE(SERVICE, "CreateReplicationRelationship", "ComputerSystem", VM(TEST_IDLE), "ReplicationSettingData", xml);
    g_assert_cmpuint(fixture->code, ==, 4096);
    disks = test_service_last_call(fixture->service)->settings->included_disks;
    g_assert_cmpuint(g_strv_length(disks), ==, 2);
    cim_instance_free(settings);
    cim_path_free(path);
}

static const struct { const char *settings; uint32_t code; } create_refusals[] = {
    { NULL, REPLICATION_ERROR_INVALID_PARAMETER }, { "", REPLICATION_ERROR_INVALID_PARAMETER },
    { "junk", REPLICATION_ERROR_INVALID_PARAMETER }, { "<INSTANCE", REPLICATION_ERROR_INVALID_PARAMETER },
    { "instance of Msvm_Error {};", REPLICATION_ERROR_WRONG_TYPE },
    { SETTINGS(PROPERTY("RecoveryHistory", "many")), REPLICATION_ERROR_WRONG_TYPE },
    { SETTINGS(PROPERTY("RecoveryHistroy", "1")), REPLICATION_ERROR_INVALID_PARAMETER },
    { SETTINGS(PROPERTY("InstanceID", "Microsoft:" TEST_PRIMARY "\\HVR\\0")), REPLICATION_ERROR_INVALID_PARAMETER },
    { SETTINGS(PROPERTY("ReplicationProvider", "X.Name=\"other\"")), REPLICATION_ERROR_NOT_SUPPORTED },
    { "instance of Msvm_ReplicationSettingData { IncludedDisks = { \"Microsoft:" TEST_PRIMARY "\\\\vda\" }; };", REPLICATION_ERROR_INVALID_PARAMETER },
    { "instance of Msvm_ReplicationSettingData { IncludedDisks = { \"vda vdb\" }; };", REPLICATION_ERROR_INVALID_PARAMETER },
    { "instance of Msvm_ReplicationSettingData { IncludedDisks = { \"Msvm_StorageAllocationSettingData\" }; };", REPLICATION_ERROR_INVALID_PARAMETER },
};

static void
test_create_refusals(Fixture *fixture, const void *data)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(create_refusals); i++) {
        INVOKE(SERVICE, "CreateReplicationRelationship", "ComputerSystem", VM(TEST_IDLE), "ReplicationSettingData",
               create_refusals[i].settings);
        assert_refused(fixture, create_refusals[i].code);
        g_assert_null(test_service_last_call(fixture->service)->operation);
    }
}

/* What is not named stays as it is. */
static void
test_modify(Fixture *fixture, const void *data)
{
    g_autoptr(VmView) before = replication_service_vm(fixture->service, TEST_PRIMARY, NULL);
    const RelationshipSettings *settings;

    INVOKE(SERVICE, "ModifyReplicationSettings", "ComputerSystem", VM(TEST_PRIMARY), "ReplicationSettingData",
           SETTINGS(PROPERTY("InstanceID", "Microsoft:" TEST_PRIMARY "\\HVR\\0") PROPERTY("RecoveryHistory", "7")));
    g_assert_cmpuint(fixture->code, ==, 4096);
    assert_call(fixture, "modify", TEST_PRIMARY);
    settings = test_service_last_call(fixture->service)->settings;
    g_assert_cmpuint(settings->recovery_history, ==, 7);
    g_assert_cmpuint(settings->replication_interval_sec, ==, before->relationships[0]->settings->replication_interval_sec);
    g_assert_cmpstr(settings->recovery_connection_point, ==, before->relationships[0]->settings->recovery_connection_point);
    INVOKE(SERVICE, "ModifyReplicationSettings", "ComputerSystem", VM(TEST_PRIMARY));
    assert_refused(fixture, REPLICATION_ERROR_INVALID_PARAMETER);
    INVOKE(SERVICE, "ModifyReplicationSettings", "ComputerSystem", VM(TEST_PRIMARY), "ReplicationSettingData",
           SETTINGS(PROPERTY("InstanceID", "Microsoft:" TEST_REPLICA "\\HVR\\0")));
    assert_refused(fixture, REPLICATION_ERROR_INVALID_PARAMETER);
    INVOKE(SERVICE, "ModifyReplicationSettings", "ComputerSystem", VM(TEST_PRIMARY), "ReplicationSettingData",
           SETTINGS(PROPERTY("InstanceID", "Microsoft:" TEST_PRIMARY "\\HVR\\1")));
    g_assert_cmpuint(test_service_last_call(fixture->service)->index, ==, 1);
}

/* On a replica it is the one to a third host, where the settings do not say otherwise. */
static void
test_extend(Fixture *fixture, const void *data)
{
    INVOKE(SERVICE, "CreateReplicationRelationship", "ComputerSystem", VM(TEST_REPLICA), "ReplicationSettingData",
           SETTINGS(PROPERTY("RecoveryConnectionPoint", "third.example.org")));
    g_assert_cmpuint(test_service_last_call(fixture->service)->index, ==, 1);
    INVOKE(SERVICE, "CreateReplicationRelationship", "ComputerSystem", VM(TEST_REPLICA), "ReplicationSettingData",
           SETTINGS(PROPERTY("InstanceID", "Microsoft:" TEST_REPLICA "\\HVR\\0")));
    g_assert_cmpuint(test_service_last_call(fixture->service)->index, ==, 0);
    INVOKE(SERVICE, "ChangeReplicationModeToPrimary", "ComputerSystem", VM(TEST_REPLICA));
    g_assert_cmpuint(fixture->code, ==, 4096);
    assert_call(fixture, "continue", TEST_REPLICA);
}

/* ---- the others ---- */

static void
test_start_and_remove(Fixture *fixture, const void *data)
{
    INVOKE(SERVICE, "StartReplication", "ComputerSystem", VM(TEST_PRIMARY), "InitialReplicationType", "1");
    assert_call(fixture, "start", TEST_PRIMARY);
    g_assert_cmpuint(test_service_last_call(fixture->service)->number, ==, 1);
    g_assert_cmpint(test_service_last_call(fixture->service)->start_usec, ==, 0);
    INVOKE(SERVICE, "Resynchronize", "ComputerSystem", VM(TEST_PRIMARY), "StartTime", "2030-01-01T00:00:00Z");
    assert_call(fixture, "resynchronize", TEST_PRIMARY);
    g_assert_cmpint(test_service_last_call(fixture->service)->start_usec, ==, INT64_C(1893456000) * G_USEC_PER_SEC);
    INVOKE(SERVICE, "StartReplication", "ComputerSystem", VM(TEST_PRIMARY), "InitialReplicationType", "2",
           "InitialReplicationExportLocation", "/export", "StartTime", "2024-05-01T10:20:30Z");
    g_assert_cmpstr(test_service_last_call(fixture->service)->text, ==, "/export");
    g_assert_cmpint(test_service_last_call(fixture->service)->start_usec, ==, INT64_C(1714558830) * G_USEC_PER_SEC);
    INVOKE(SERVICE, "ImportInitialReplica", "ComputerSystem", VM(TEST_REPLICA), "InitialReplicationImportLocation", "/mnt/copy");
    assert_call(fixture, "import", TEST_REPLICA);
    g_assert_cmpstr(test_service_last_call(fixture->service)->text, ==, "/mnt/copy");
    INVOKE(SERVICE, "ImportInitialReplica", "ComputerSystem", VM(TEST_REPLICA));
    g_assert_null(test_service_last_call(fixture->service)->text);
    INVOKE(SERVICE, "StartReplication", "ComputerSystem", VM(TEST_PRIMARY));
    assert_refused(fixture, REPLICATION_ERROR_INVALID_PARAMETER);

    INVOKE(SERVICE, "RemoveReplicationRelationship", "ComputerSystem", VM(TEST_REPLICA));
    assert_call(fixture, "remove", TEST_REPLICA);
    INVOKE(SERVICE, "RemoveReplicationRelationshipEx", "ComputerSystem", VM(TEST_REPLICA), "ReplicationRelationship",
           RELATIONSHIP(TEST_REPLICA, "1"));
    g_assert_cmpuint(test_service_last_call(fixture->service)->index, ==, 1);
    INVOKE(SERVICE, "RemoveReplicationRelationshipEx", "ComputerSystem", VM(TEST_PRIMARY), "ReplicationRelationship",
           RELATIONSHIP(TEST_PRIMARY, "1"));
    assert_refused(fixture, REPLICATION_ERROR_INVALID_PARAMETER);
    INVOKE(SERVICE, "RemoveReplicationRelationshipEx", "ComputerSystem", VM(TEST_PRIMARY), "ReplicationRelationship",
           RELATIONSHIP(TEST_REPLICA, "0"));
    assert_refused(fixture, REPLICATION_ERROR_INVALID_PARAMETER);
}

static void
test_states(Fixture *fixture, const void *data)
{
    INVOKE(VM(TEST_PRIMARY), "RequestReplicationStateChange", "RequestedState", "7");
    assert_call(fixture, "change-state", TEST_PRIMARY);
    g_assert_cmpuint(test_service_last_call(fixture->service)->number, ==, 7);
    INVOKE(VM(TEST_REPLICA), "RequestReplicationStateChangeEx", "RequestedState", "3", "ReplicationRelationship",
           RELATIONSHIP(TEST_REPLICA, "1"));
    g_assert_cmpuint(test_service_last_call(fixture->service)->index, ==, 1);
    INVOKE(VM(TEST_REPLICA), "RequestReplicationStateChangeEx", "RequestedState", "3", "TimeoutPeriod", (const char *) NULL);
    g_assert_cmpuint(test_service_last_call(fixture->service)->index, ==, 0);
    g_assert_cmpuint(fixture->code, ==, 4096);
    INVOKE(VM(TEST_REPLICA), "RequestReplicationStateChangeEx", "ReplicationRelationship", (const char *) NULL);
    assert_refused(fixture, REPLICATION_ERROR_INVALID_PARAMETER);
    INVOKE("CIM_ComputerSystem.Name=\"" TEST_REPLICA "\"", "RequestStateChange", "RequestedState", "2");
    assert_call(fixture, "power", TEST_REPLICA);
    INVOKE("Msvm_ComputerSystem.Name=\"" TEST_HOST "\"", "RequestStateChange", "RequestedState", "3");
    assert_refused(fixture, REPLICATION_ERROR_NOT_SUPPORTED);
}

static void
test_server_settings(Fixture *fixture, const void *data)
{
    g_autoptr(ServiceSettings) settings = NULL;

    INVOKE(SERVICE, "ModifyServiceSettings", "SettingData",
           "<INSTANCE CLASSNAME=\"Msvm_ReplicationServiceSettingData\">" PROPERTY("RecoveryServerEnabled", "TRUE")
           PROPERTY("HttpsPort", "8443") PROPERTY("MonitoringStartTime", "00000000010000.000000:000") "</INSTANCE>");
    g_assert_cmpuint(fixture->code, ==, 4096);
    settings = replication_service_settings(fixture->service);
    g_assert_true(settings->recovery_server_enabled);
    g_assert_cmpuint(settings->https_port, ==, 8443);
    g_assert_cmpuint(settings->http_port, ==, 80);
    g_assert_cmpuint(settings->monitoring_start_sec, ==, 3600);
    INVOKE(SERVICE, "ModifyServiceSettings", "SettingData", (const char *) NULL);
    assert_refused(fixture, REPLICATION_ERROR_INVALID_PARAMETER);
}

static void
test_entries(Fixture *fixture, const void *data)
{
    g_autoptr(GPtrArray) entries = NULL;

    INVOKE(SERVICE, "AddAuthorizationEntry", "AuthorizationEntry",
           "instance of Msvm_ReplicationAuthorizationSettingData { AllowedPrimaryHostSystem = \"p.example.org\"; TrustGroup = \"T\"; "
           "ReplicaStorageLocation = \"/replicas\"; };");
    g_assert_cmpuint(fixture->code, ==, 0);
    entries = replication_service_entries(fixture->service);
    g_assert_cmpuint(entries->len, ==, 1);
    g_assert_cmpstr(((AuthorizationEntry *) entries->pdata[0])->trust_group, ==, "T");
    INVOKE(SERVICE, "ModifyAuthorizationEntry", "AuthorizationEntry",
           "instance of Msvm_ReplicationAuthorizationSettingData { AllowedPrimaryHostSystem = \"p.example.org\"; "
           "AdditionalSettings = \"vms=2\"; };");
    g_assert_cmpuint(fixture->code, ==, 0);
    g_autoptr(GPtrArray) changed = replication_service_entries(fixture->service);
    g_assert_cmpstr(((AuthorizationEntry *) changed->pdata[0])->additional_settings, ==, "vms=2");
    g_assert_cmpstr(((AuthorizationEntry *) changed->pdata[0])->storage_location, ==, "/replicas");
    INVOKE(SERVICE, "SetAuthorizationEntry", "ComputerSystem", VM(TEST_REPLICA), "AuthorizationEntry",
           "instance of Msvm_ReplicationAuthorizationSettingData { AllowedPrimaryHostSystem = \"p.example.org\"; };");
    assert_call(fixture, "set-entry", TEST_REPLICA);
    g_assert_cmpstr(test_service_last_call(fixture->service)->text, ==, "p.example.org");
    INVOKE(SERVICE, "SetAuthorizationEntry", "ComputerSystem", VM(TEST_REPLICA), "AuthorizationEntry", (const char *) NULL);
    assert_refused(fixture, REPLICATION_ERROR_INVALID_PARAMETER);
    INVOKE(SERVICE, "AddAuthorizationEntry", "AuthorizationEntry", "instance of Msvm_ReplicationAuthorizationSettingData { };");
    assert_refused(fixture, REPLICATION_ERROR_INVALID_PARAMETER);
    INVOKE(SERVICE, "RemoveAuthorizationEntry", "AllowedPrimaryHostSystem", "p.example.org");
    g_assert_cmpstr(test_service_last_call(fixture->service)->text, ==, "p.example.org");
    INVOKE(SERVICE, "RemoveAuthorizationEntry", "AllowedPrimaryHostSystem", "");
    assert_refused(fixture, REPLICATION_ERROR_INVALID_PARAMETER);
}

static void
test_connection(Fixture *fixture, const void *data)
{
    const TestCall *call = test_service_last_call(fixture->service);

    INVOKE(SERVICE, "TestReplicationConnection", "RecoveryConnectionPoint", "r.example.org", "RecoveryServerPortNumber", "8443",
           "AuthenticationType", "2", "BypassProxyServer", "true");
    g_assert_cmpuint(fixture->code, ==, 4096);
    g_assert_cmpstr(call->operation, ==, "test-connection");
    g_assert_cmpstr(call->settings->recovery_connection_point, ==, "r.example.org");
    g_assert_cmpuint(call->settings->recovery_server_port, ==, 8443);
    g_assert_cmpuint(call->settings->authentication_type, ==, 2);
    g_assert_true(call->settings->bypass_proxy_server);
    INVOKE(SERVICE, "TestReplicationConnection", "RecoveryServerPortNumber", "8443");
    assert_refused(fixture, REPLICATION_ERROR_INVALID_PARAMETER);
    INVOKE(SERVICE, "TestReplicationConnection", "RecoveryConnectionPoint", "r.example.org");
    assert_refused(fixture, REPLICATION_ERROR_INVALID_PARAMETER);
}

/* ---- jobs ---- */

static void
test_job_methods(Fixture *fixture, const void *data)
{
    g_autoptr(Job) job = job_list_add(replication_service_jobs(fixture->service), JOB_INITIATE_FAILOVER, TEST_REPLICA, "anna", "Failing over", true);
    g_autofree char *path = g_strdup_printf("Msvm_ConcreteJob.InstanceID=\"%s\"", job_id(job));
    g_autoptr(GError) error = g_error_new_literal(REPLICATION_ERROR, REPLICATION_ERROR_FILE_NOT_FOUND, "Point <2> is gone");
    const CimValue *errors;
    CimInstance *read;

    INVOKE(path, "GetError");
    g_assert_cmpuint(fixture->code, ==, 0);
    g_assert_true(out(fixture, "Error")->is_null);
    INVOKE(path, "GetErrorEx");
    g_assert_true(out(fixture, "Errors")->is_null);
    INVOKE(path, "RequestStateChange", "RequestedState", "3");
    g_assert_cmpuint(fixture->code, ==, 1);
    INVOKE(path, "RequestStateChange", "RequestedState", "9");
    g_assert_cmpuint(fixture->code, ==, 5);
    INVOKE(path, "KillJob", "DeleteOnKill", "true");
    g_assert_cmpuint(fixture->code, ==, 1);
    INVOKE(path, "RequestStateChange", "RequestedState", "4");
    g_assert_cmpuint(fixture->code, ==, 0);
    g_assert_true(job_is_cancelled(job));
    job_end(job, error);
    INVOKE(path, "RequestStateChange", "RequestedState", "5");
    assert_refused(fixture, 4097);
    INVOKE(path, "GetErrorEx");
    errors = out(fixture, "Errors");
    g_assert_cmpuint(errors->v.items->len, ==, 1);
    read = cim_instance_from_text(((CimValue *) errors->v.items->pdata[0])->v.string, NAMESPACE, NULL);
    g_assert_cmpstr(cim_instance_get(read, "Message")->v.string, ==, "Point <2> is gone");
    g_assert_cmpstr(cim_instance_get(read, "MessageID")->v.string, ==, "32779");
    cim_instance_free(read);
    INVOKE(path, "GetError");
    g_assert_true(g_str_has_prefix(out(fixture, "Error")->v.string, "<INSTANCE CLASSNAME=\"Msvm_Error\">"));
}

static void
test_failed_job_as_instance(Fixture *fixture, const void *data)
{
    g_autoptr(Job) job = job_list_add(replication_service_jobs(fixture->service), JOB_INITIATE_FAILOVER, TEST_REPLICA, "anna", "Failing over", true);
    g_autoptr(GError) error = g_error_new_literal(REPLICATION_ERROR, REPLICATION_ERROR_TIMEOUT, "Too slow");
    g_autofree char *query = g_strdup_printf("SELECT * FROM Msvm_ConcreteJob WHERE InstanceID = '%s'", job_id(job));
    g_autoptr(GPtrArray) found = NULL;

    job_end(job, error);
    g_assert_true(cim_broker_query(fixture->broker, &administrator, NAMESPACE, query, &found, NULL));
    g_assert_cmpuint(found->len, ==, 1);
    g_assert_cmpuint(cim_instance_get(found->pdata[0], "JobState")->v.uint, ==, 10);
    g_assert_cmpuint(cim_instance_get(found->pdata[0], "ErrorCode")->v.uint, ==, REPLICATION_ERROR_TIMEOUT);
    g_assert_cmpstr(cim_instance_get(found->pdata[0], "ErrorDescription")->v.string, ==, "Too slow");
}

/* ---- statistics ---- */

/* The first item of an out array, as an instance. */
static CimInstance *
first_embedded(const CimValue *array)
{
    g_assert_cmpuint(array->v.items->len, ==, 1);
    return cim_instance_from_text(((CimValue *) array->v.items->pdata[0])->v.string, NAMESPACE, NULL);
}

static void
check_statistics(Fixture *fixture)
{
    CimInstance *read = first_embedded(out(fixture, "ReplicationStatistics"));

    g_assert_cmpuint(fixture->code, ==, 0); /* at once: clients know no job here */
    g_assert_true(out(fixture, "Job")->is_null);
    g_assert_cmpuint(cim_instance_get(read, "ReplicationSuccessCount")->v.uint, ==, 12);
    g_assert_cmpuint(cim_instance_get(read, "ReplicationMissCount")->v.uint, ==, 3);
    g_assert_cmpuint(cim_instance_get(read, "ReplicationFailureCount")->v.uint, ==, 2);
    g_assert_cmpuint(cim_instance_get(read, "NetworkFailureCount")->v.uint, ==, 1);
    g_assert_cmpuint(cim_instance_get(read, "ReplicationSize")->v.uint, ==, 5000000000);
    g_assert_cmpuint(cim_instance_get(read, "PendingReplicationSize")->v.uint, ==, 77);
    g_assert_cmpuint(cim_instance_get(read, "ReplicationLatency")->v.uint, ==, 3);
    g_assert_cmpuint(cim_instance_get(read, "MaxReplicationLatency")->v.uint, ==, 0);
    g_assert_cmpuint(cim_instance_get(read, "ReplicationHealth")->v.uint, ==, 2);
    g_assert_true(cim_instance_get(read, "LastTestFailoverTime")->is_null);
    g_assert_true(cim_instance_get(read, "InstanceID")->is_null);
    cim_instance_free(read);
    read = first_embedded(out(fixture, "ReplicationHealthIssues"));
    g_assert_cmpstr(cim_instance_get(read, "Message")->v.string, ==, "3 of 15 cycles & more were missed; wait.");
    cim_instance_free(read);
}

static void
test_statistics(Fixture *fixture, const void *data)
{
    g_autofree char *relationship = g_strdup_printf("<INSTANCE CLASSNAME=\"Msvm_ReplicationRelationship\">"
                                                    PROPERTY("InstanceID", "Microsoft:%s\\HVR\\0") "</INSTANCE>", TEST_PRIMARY);

    INVOKE(SERVICE, "GetReplicationStatistics", "ComputerSystem", VM(TEST_PRIMARY));
    check_statistics(fixture);
    INVOKE(SERVICE, "GetReplicationStatisticsEx", "ComputerSystem", VM(TEST_PRIMARY), "ReplicationRelationship", relationship);
    check_statistics(fixture);
    INVOKE(SERVICE, "GetReplicationStatisticsEx", "ComputerSystem", VM(TEST_IDLE));
    assert_refused(fixture, REPLICATION_ERROR_INVALID_STATE);
    INVOKE(SERVICE, "GetReplicationStatistics");
    assert_refused(fixture, REPLICATION_ERROR_INVALID_PARAMETER);
    INVOKE(SERVICE, "ResetReplicationStatisticsEx", "ComputerSystem", VM(TEST_PRIMARY), "ReplicationRelationship", relationship);
    g_assert_cmpuint(fixture->code, ==, 0);
    g_assert_cmpstr(test_service_last_call(fixture->service)->operation, ==, "reset-statistics");
    g_assert_cmpuint(test_service_last_call(fixture->service)->index, ==, 0);
    INVOKE(SERVICE, "ResetReplicationStatistics", "ComputerSystem", VM(TEST_REPLICA));
    g_assert_cmpuint(fixture->code, ==, 0);
    g_assert_cmpstr(test_service_last_call(fixture->service)->vm_uuid, ==, TEST_REPLICA);
}

/* ---- rights, and what is not there ---- */

static void
test_roles(Fixture *fixture, const void *data)
{
    const CimCaller reader = { "rita", CIM_ROLE_READER }, operator = { "olga", CIM_ROLE_OPERATOR }, nobody = { "nora", CIM_ROLE_NONE };

    g_assert_true(invoke_as(fixture, &reader, SERVICE, "InitiateFailover", "ComputerSystem", VM(TEST_REPLICA), NULL));
    assert_refused(fixture, REPLICATION_ERROR_ACCESS_DENIED);
    g_assert_nonnull(strstr(fixture->message, "'rita' has the role 'reader', but InitiateFailover needs 'operator'"));
    g_assert_true(out(fixture, "Job")->is_null);
    g_assert_true(invoke_as(fixture, &reader, VM(TEST_REPLICA), "RequestStateChange", "RequestedState", "2", NULL));
    assert_refused(fixture, REPLICATION_ERROR_ACCESS_DENIED);
    g_assert_true(invoke_as(fixture, &operator, SERVICE, "RemoveReplicationRelationshipEx", "ComputerSystem", VM(TEST_REPLICA), NULL));
    assert_refused(fixture, REPLICATION_ERROR_ACCESS_DENIED);
    g_assert_null(test_service_last_call(fixture->service)->operation);
    g_assert_true(invoke_as(fixture, &operator, SERVICE, "InitiateFailover", "ComputerSystem", VM(TEST_REPLICA), NULL));
    g_assert_cmpuint(fixture->code, ==, 4096);
    g_assert_false(invoke_as(fixture, &nobody, SERVICE, "InitiateFailover", "ComputerSystem", VM(TEST_REPLICA), NULL));
    g_assert_error(fixture->error, CIM_ERROR, CIM_ERROR_ACCESS_DENIED);
}

static void
test_certificates(Fixture *fixture, const void *data)
{
    const CimValue *texts;

    INVOKE(SERVICE, "GetSystemCertificates");
    g_assert_cmpuint(fixture->code, ==, 0);
    texts = out(fixture, "EncodedCertificates");
    g_assert_cmpuint(texts->v.items->len, ==, 1);
    g_assert_cmpstr(((CimValue *) texts->v.items->pdata[0])->v.string, ==, "TUlJ");
}

/* ---- network adapters ---- */

#define ADAPTER(mac, body) \
    "<INSTANCE CLASSNAME=\"Msvm_FailoverNetworkAdapterSettingData\">" PROPERTY("InstanceID", "Microsoft:" TEST_PRIMARY "\\" mac) body \
    "</INSTANCE>"
#define LIST(name, value) \
    "<PROPERTY.ARRAY NAME=\"" name "\" TYPE=\"string\"><VALUE.ARRAY>" value "</VALUE.ARRAY></PROPERTY.ARRAY>"
#define VALUE(value) "<VALUE>" value "</VALUE>"
#define BODY PROPERTY("DHCPEnabled", "FALSE") LIST("IPAddresses", VALUE("10.0.0.7") VALUE("fd00::7")) LIST("Subnets", VALUE("24") VALUE("64")) \
    LIST("DefaultGateways", VALUE(" 10.0.0.1 ")) LIST("DNSServers", VALUE("10.0.0.2"))

/* As INVOKE, with an array. */
static void
set_adapters(Fixture *fixture, const char *vm, const char *const *texts)
{
    g_autoptr(GHashTable) in = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify) cim_value_free);
    CimPath *path = cim_path_from_text(SERVICE, NAMESPACE, NULL);
    CimValue *array = cim_value_new_array(CIM_STRING);

    forget_result(fixture);
    for (; *texts != NULL; texts++)
        cim_value_append(array, cim_value_new_string(*texts));
    g_hash_table_insert(in, (char *) "ComputerSystem", cim_value_new_string(vm));
    g_hash_table_insert(in, (char *) "NetworkSettings", array);
    g_assert_true(cim_broker_invoke(fixture->broker, &administrator, path,
                                    cim_class_method(cim_class_find(NAMESPACE, SERVICE), "SetFailoverNetworkAdapterSettings"), in,
                                    &fixture->out, &fixture->code, &fixture->message, &fixture->error));
    cim_path_free(path);
}

static void
test_network_adapters(Fixture *fixture, const void *data)
{
    static const char *const texts[] = { ADAPTER("52540000000A", BODY),
                                         ADAPTER("52540000000b", PROPERTY("dhcpenabled", "TRUE")), NULL };
    static const char *const alone[] = { "<INSTANCE CLASSNAME=\"Msvm_FailoverNetworkAdapterSettingData\">" BODY "</INSTANCE>", NULL };
    const AdapterView *adapter;

    set_adapters(fixture, VM(TEST_PRIMARY), texts);
    g_assert_cmpuint(fixture->code, ==, 0);
    assert_call(fixture, "set-adapters", TEST_PRIMARY);
    g_assert_cmpuint(test_service_last_call(fixture->service)->adapters->len, ==, 2);
    adapter = test_service_last_call(fixture->service)->adapters->pdata[0];
    g_assert_cmpstr(adapter->mac, ==, TEST_MAC_1);
    g_assert_false(adapter->dhcp);
    g_assert_cmpstr(adapter->addresses[1], ==, "fd00::7");
    g_assert_cmpstr(adapter->subnets[0], ==, "24");
    g_assert_cmpstr(adapter->gateways[0], ==, "10.0.0.1");
    g_assert_cmpstr(adapter->dns[0], ==, "10.0.0.2");
    adapter = test_service_last_call(fixture->service)->adapters->pdata[1];
    g_assert_cmpstr(adapter->mac, ==, TEST_MAC_2);
    g_assert_true(adapter->dhcp);
    g_assert_null(adapter->addresses[0]);
    set_adapters(fixture, VM(TEST_IDLE), alone);
    g_assert_cmpuint(fixture->code, ==, 0);
    g_assert_cmpstr(((AdapterView *) test_service_last_call(fixture->service)->adapters->pdata[0])->mac, ==, TEST_MAC_1);
    set_adapters(fixture, VM(TEST_PRIMARY), alone); /* which of two? */
    assert_refused(fixture, REPLICATION_ERROR_INVALID_PARAMETER);
}

#define MANAGEMENT "Msvm_VirtualSystemManagementService"
#define CONNECTION(id, body) \
    "<INSTANCE CLASSNAME=\"Msvm_EthernetPortAllocationSettingData\">" PROPERTY("InstanceID", id) body "</INSTANCE>"

static void
test_networks_of_tests(Fixture *fixture, const void *data)
{
    static const char *const wrong[] = {
        "", CONNECTION("Microsoft:" TEST_PRIMARY "\\52540000000A", ""), CONNECTION("Microsoft:" TEST_PRIMARY "\\52540000000A\\D", ""),
        CONNECTION("Microsoft:99999999-aaaa-4111-8111-111111111111\\52540000000A\\C", ""),
    };

    INVOKE(MANAGEMENT, "ModifyResourceSettings", "ResourceSettings",
           CONNECTION("Microsoft:" TEST_REPLICA "\\52540000000A\\C", PROPERTY("TestReplicaSwitchName", "isolated")));
    g_assert_cmpuint(fixture->code, ==, 0);
    assert_call(fixture, "set-test-network", TEST_REPLICA);
    g_assert_cmpstr(test_service_last_call(fixture->service)->text, ==, TEST_MAC_1 " isolated -");
    g_assert_cmpuint(out(fixture, "ResultingResourceSettings")->v.items->len, ==, 1);
    INVOKE(MANAGEMENT, "ModifyResourceSettings", "ResourceSettings",
           "<INSTANCE CLASSNAME=\"Msvm_StorageAllocationSettingData\">" PROPERTY("InstanceID", "Microsoft:" TEST_REPLICA "\\vda") "</INSTANCE>");
    assert_refused(fixture, REPLICATION_ERROR_NOT_SUPPORTED);
    for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
        INVOKE(MANAGEMENT, "ModifyResourceSettings", "ResourceSettings", wrong[i]);
        assert_refused(fixture, REPLICATION_ERROR_INVALID_PARAMETER);
    }
}

static const struct { const char *vm, *text; uint32_t code; } adapter_refusals[] = {
    { VM(TEST_PRIMARY), ADAPTER("52540000000A", LIST("IPAddresses", "")), REPLICATION_ERROR_INVALID_PARAMETER },
    { VM(TEST_PRIMARY), ADAPTER("52540000000A", PROPERTY("DHCPEnabled", "FALSE")), REPLICATION_ERROR_INVALID_PARAMETER },
    { VM(TEST_REPLICA), ADAPTER("52540000000A", BODY), REPLICATION_ERROR_INVALID_PARAMETER },
    { VM(TEST_PRIMARY), ADAPTER("vda", BODY), REPLICATION_ERROR_INVALID_PARAMETER },
    { VM(TEST_PRIMARY), RELATIONSHIP(TEST_PRIMARY, "0"), REPLICATION_ERROR_WRONG_TYPE },
    { VM(TEST_PRIMARY), "junk", REPLICATION_ERROR_INVALID_PARAMETER },
};

static void
test_network_adapter_refusals(Fixture *fixture, const void *data)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(adapter_refusals); i++) {
        const char *const texts[] = { adapter_refusals[i].text, NULL };
        set_adapters(fixture, adapter_refusals[i].vm, texts);
        assert_refused(fixture, adapter_refusals[i].code);
        g_assert_null(test_service_last_call(fixture->service)->operation);
    }
}

static const char *const not_supported[] = {
    "InitiateFailback",
};

static void
test_not_supported(Fixture *fixture, const void *data)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(not_supported); i++) {
        INVOKE(SERVICE, not_supported[i]);
        assert_refused(fixture, REPLICATION_ERROR_NOT_SUPPORTED);
    }
    INVOKE(SERVICE, "StopService");
    assert_refused(fixture, 1);
}

/* Every method of a class that has instances has its row, and every row its method. */
static void
test_rows_match_the_classes(Fixture *fixture, const void *data)
{
    const MethodRow *const tables[] = { replication_methods, system_methods, job_methods, management_methods };

    for (const CimClass *const *classes = cim_classes(NAMESPACE); *classes != NULL; classes++) {
        if (((*classes)->flags & CIM_ABSTRACT) != 0)
            continue;
        for (unsigned i = 0; i < (*classes)->n_methods; i++)
            g_assert_nonnull(method_find(*classes, (*classes)->methods[i].name));
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(tables); i++) {
        for (const MethodRow *row = tables[i]; row->class_name != NULL; row++)
            g_assert_nonnull(cim_class_method(cim_class_find(NAMESPACE, row->class_name), row->name));
    }
}

static void
test_wrong_arguments_are_faults(Fixture *fixture, const void *data)
{
    g_assert_false(invoke_as(fixture, &administrator, SERVICE, "InitiateFailover", "Computer", VM(TEST_REPLICA), NULL));
    g_assert_error(fixture->error, CIM_ERROR, CIM_ERROR_INVALID_PARAMETER);
    g_assert_false(invoke_as(fixture, &administrator, SERVICE, "StartReplication", "InitialReplicationType", "soon", NULL));
    g_assert_error(fixture->error, CIM_ERROR, CIM_ERROR_TYPE_MISMATCH);
    g_assert_false(invoke_as(fixture, &administrator, SERVICE, "InitiateFailover", "ComputerSystem", "{no path}", NULL));
    g_assert_error(fixture->error, CIM_ERROR, CIM_ERROR_INVALID_PARAMETER);
    g_assert_false(invoke_as(fixture, &administrator, VM("99999999-aaaa-4111-8111-111111111111"), "RequestStateChange", NULL));
    g_assert_error(fixture->error, CIM_ERROR, CIM_ERROR_NOT_FOUND);
    INVOKE(SERVICE, "initiatefailover", "COMPUTERSYSTEM", VM(TEST_REPLICA), "Job", "ignored");
    g_assert_cmpuint(fixture->code, ==, 4096);
}

int
main(int argc, char **argv)
{
    static const struct { const char *name; void (*run)(Fixture *, const void *); } tests[] = {
        { "/method/failover-to-latest", test_failover_to_latest }, { "/method/failover-to-point", test_failover_to_point },
        { "/method/failover-refusals", test_failover_refusals },
        { "/method/codes-of-the-service-pass-through", test_codes_of_the_service_pass_through },
        { "/method/test-failover", test_test_failover },
        { "/method/create", test_create }, { "/method/create-from-own-text", test_create_from_own_text },
        { "/method/create-refusals", test_create_refusals }, { "/method/modify", test_modify }, { "/method/extend", test_extend }, { "/method/start-and-remove", test_start_and_remove },
        { "/method/states", test_states }, { "/method/server-settings", test_server_settings }, { "/method/entries", test_entries },
        { "/method/certificates", test_certificates },
        { "/method/test-connection", test_connection }, { "/method/job-methods", test_job_methods }, { "/method/failed-job-as-instance", test_failed_job_as_instance },
        { "/method/statistics", test_statistics },
        { "/method/network-adapters", test_network_adapters }, { "/method/network-adapter-refusals", test_network_adapter_refusals },
        { "/method/networks-of-tests", test_networks_of_tests },
        { "/method/roles", test_roles }, { "/method/not-supported", test_not_supported },
        { "/method/rows-match-the-classes", test_rows_match_the_classes },
        { "/method/wrong-arguments-are-faults", test_wrong_arguments_are_faults },
    };

    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, Fixture, NULL, set_up, tests[i].run, tear_down);
    return g_test_run();
}
