#include "cim/association.h"
#include "cim/names.h"
#include "cim/provider.h"


#define NAMESPACE "root/virtualization/v2"

/* Appends to @far what belongs to @near. */
typedef bool (*Traversal)(ReplicationService *service, const CimInstance *near, GPtrArray *far, GError **error);

typedef struct {
    const char *assoc_class;
    const char *from_role, *from_class, *to_role, *to_class;
    Traversal   forward, backward;
    const PropertyRow *constants; /* (nullable) of the association instance */
} AssociationRow;

/* ---- traversals ---- */

static const char *
text_of(const CimInstance *instance, const char *property)
{
    const CimValue *value = cim_instance_get(instance, property);

    return value->is_null ? "" : value->v.string;
}

static bool
is_point(const CimInstance *settings)
{
    return g_str_has_prefix(text_of(settings, "VirtualSystemType"), "Microsoft:Hyper-V:Snapshot:");
}

static bool
is_host(ReplicationService *service, const CimInstance *system)
{
    return g_ascii_strcasecmp(text_of(system, "Name"), replication_service_host_name(service)) == 0;
}

static bool
relationships_of(ReplicationService *service, const char *class_name, const CimInstance *vm, GPtrArray *far,
                 GError **error)
{
    g_autofree char *uuid = guid_of_name(text_of(vm, "Name"));

    for (unsigned index = 0; uuid != NULL && index < 2; index++) {
        g_autofree char *id = name_of_relationship(uuid, index);
        if (!provider_collect_class(class_name, service, id, far, error))
            return false;
    }
    return true;
}

static bool
vm_to_relationships(ReplicationService *service, const CimInstance *vm, GPtrArray *far, GError **error)
{
    return relationships_of(service, "Msvm_ReplicationRelationship", vm, far, error);
}

static bool
vm_to_replication_settings(ReplicationService *service, const CimInstance *vm, GPtrArray *far, GError **error)
{
    return relationships_of(service, "Msvm_ReplicationSettingData", vm, far, error);
}

/* From what has an InstanceID with the virtual machine's GUID in it. */
static bool
instance_id_to_vm(ReplicationService *service, const CimInstance *near, GPtrArray *far, GError **error)
{
    g_autofree char *uuid = NULL;
    const char *rest;

    if (!guid_of_instance_id(text_of(near, "InstanceID"), &uuid, &rest))
        return true;
    return provider_collect_class("Msvm_ComputerSystem", service, uuid, far, error);
}

static bool
relationship_to_settings(ReplicationService *service, const CimInstance *relationship, GPtrArray *far, GError **error)
{
    return provider_collect_class("Msvm_ReplicationSettingData", service, text_of(relationship, "InstanceID"), far,
                                  error);
}

static bool
settings_to_relationship(ReplicationService *service, const CimInstance *settings, GPtrArray *far, GError **error)
{
    return provider_collect_class("Msvm_ReplicationRelationship", service, text_of(settings, "InstanceID"), far, error);
}

static bool
to_service(ReplicationService *service, const CimInstance *near, GPtrArray *far, GError **error)
{
    return provider_collect_class("Msvm_ReplicationService", service, NULL, far, error);
}

static bool
service_to_service_settings(ReplicationService *service, const CimInstance *near, GPtrArray *far, GError **error)
{
    return provider_collect_class("Msvm_ReplicationServiceSettingData", service, NULL, far, error);
}

static bool
service_to_entries(ReplicationService *service, const CimInstance *near, GPtrArray *far, GError **error)
{
    return provider_collect_class("Msvm_ReplicationAuthorizationSettingData", service, NULL, far, error);
}

static bool
vm_to_settings(ReplicationService *service, const CimInstance *vm, GPtrArray *far, GError **error)
{
    g_autofree char *uuid = guid_of_name(text_of(vm, "Name"));
    g_autofree char *id = uuid == NULL ? NULL : name_of_settings(uuid);

    return id == NULL || provider_collect_class("Msvm_VirtualSystemSettingData", service, id, far, error);
}

static bool
settings_to_vm(ReplicationService *service, const CimInstance *settings, GPtrArray *far, GError **error)
{
    return is_point(settings) || instance_id_to_vm(service, settings, far, error);
}

static bool
points_of(ReplicationService *service, const CimInstance *vm, bool latest_only, GPtrArray *far, GError **error)
{
    g_autofree char *uuid = guid_of_name(text_of(vm, "Name"));

    return uuid == NULL || provider_collect_points(service, uuid, latest_only, far, error);
}

static bool
vm_to_points(ReplicationService *service, const CimInstance *vm, GPtrArray *far, GError **error)
{
    return points_of(service, vm, false, far, error);
}

static bool
vm_to_latest_point(ReplicationService *service, const CimInstance *vm, GPtrArray *far, GError **error)
{
    return points_of(service, vm, true, far, error);
}

static bool
point_to_vm(ReplicationService *service, const CimInstance *point, GPtrArray *far, GError **error)
{
    return !is_point(point) ||
           provider_collect_class("Msvm_ComputerSystem", service, text_of(point, "VirtualSystemIdentifier"), far,
                                  error);
}

static bool
latest_point_to_vm(ReplicationService *service, const CimInstance *point, GPtrArray *far, GError **error)
{
    g_autofree char *id = NULL;
    g_autoptr(PointView) view = NULL;
    const char *rest;

    if (!is_point(point) || !guid_of_instance_id(text_of(point, "InstanceID"), &id, &rest))
        return true;
    view = replication_service_point(service, id, NULL);
    return view == NULL || !view->latest || point_to_vm(service, point, far, error);
}

static bool
settings_to_disks(ReplicationService *service, const CimInstance *settings, GPtrArray *far, GError **error)
{
    g_autofree char *uuid = NULL;
    const char *rest;

    return is_point(settings) || !guid_of_instance_id(text_of(settings, "InstanceID"), &uuid, &rest) ||
           provider_collect_disks(service, uuid, far, error);
}

static bool
part_to_settings(ReplicationService *service, const CimInstance *part, GPtrArray *far, GError **error)
{
    g_autofree char *uuid = NULL, *id = NULL;
    const char *rest;

    if (!guid_of_instance_id(text_of(part, "InstanceID"), &uuid, &rest))
        return true;
    id = name_of_settings(uuid);
    return provider_collect_class("Msvm_VirtualSystemSettingData", service, id, far, error);
}

/* ---- network adapters ---- */

static bool
settings_to_adapters(ReplicationService *service, const CimInstance *settings, GPtrArray *far, GError **error)
{
    g_autofree char *uuid = NULL;
    const char *rest;

    return is_point(settings) || !guid_of_instance_id(text_of(settings, "InstanceID"), &uuid, &rest) ||
           provider_collect_adapters(service, uuid, far, error);
}

static bool
settings_to_connections(ReplicationService *service, const CimInstance *settings, GPtrArray *far, GError **error)
{
    g_autofree char *uuid = NULL;
    const char *rest;

    return is_point(settings) || !guid_of_instance_id(text_of(settings, "InstanceID"), &uuid, &rest) ||
           provider_collect_connections(service, uuid, far, error);
}

static bool
adapter_to_failover(ReplicationService *service, const CimInstance *adapter, GPtrArray *far, GError **error)
{
    return provider_collect_class("Msvm_FailoverNetworkAdapterSettingData", service, text_of(adapter, "InstanceID"), far, error);
}

static bool
failover_to_adapter(ReplicationService *service, const CimInstance *settings, GPtrArray *far, GError **error)
{
    return provider_collect_class("Msvm_SyntheticEthernetPortSettingData", service, text_of(settings, "InstanceID"), far, error);
}

/* ---- virtual machines of tests, jobs, the host ---- */

/* From a replica to the virtual machine of its test failover, or the other way. */
static bool
test_pair(ReplicationService *service, const CimInstance *near, bool forward, GPtrArray *far, GError **error)
{
    g_autofree char *uuid = guid_of_name(text_of(near, "Name"));
    g_autoptr(VmView) vm = uuid == NULL ? NULL : replication_service_vm(service, uuid, NULL);
    const char *other = vm == NULL ? NULL : forward ? vm->test_vm_uuid : vm->replica_vm_uuid;

    return other == NULL || provider_collect_class("Msvm_ComputerSystem", service, other, far, error);
}

static bool
replica_to_test_vm(ReplicationService *service, const CimInstance *replica, GPtrArray *far, GError **error)
{
    return test_pair(service, replica, true, far, error);
}

static bool
test_vm_to_replica(ReplicationService *service, const CimInstance *test_vm, GPtrArray *far, GError **error)
{
    return test_pair(service, test_vm, false, far, error);
}

/* Is the job about the virtual machine, or does it make it? */
static bool
job_affects(const JobView *job, const CimInstance *vm)
{
    const char *name = text_of(vm, "Name");

    return (job->vm_uuid != NULL && g_ascii_strcasecmp(job->vm_uuid, name) == 0) ||
           (job->result_vm_uuid != NULL && g_ascii_strcasecmp(job->result_vm_uuid, name) == 0);
}

static bool
vm_to_jobs(ReplicationService *service, const CimInstance *vm, GPtrArray *far, GError **error)
{
    g_autoptr(GPtrArray) jobs = job_list_all(replication_service_jobs(service));

    for (unsigned i = 0; i < jobs->len; i++) {
        const JobView *job = jobs->pdata[i];
        if (job_affects(job, vm) &&
            !provider_collect_class("Msvm_ConcreteJob", service, job->id, far, error))
            return false;
    }
    return true;
}

static bool
job_to_vm(ReplicationService *service, const CimInstance *job, GPtrArray *far, GError **error)
{
    g_autofree char *id = guid_of_name(text_of(job, "InstanceID"));
    g_autoptr(Job) found = id == NULL ? NULL : job_list_find(replication_service_jobs(service), id);
    g_autoptr(JobView) view = found == NULL ? NULL : job_view(found);

    if (view == NULL)
        return true;
    for (unsigned i = 0; i < 2; i++) {
        const char *uuid = i == 0 ? view->vm_uuid : view->result_vm_uuid;
        if (uuid != NULL && !provider_collect_class("Msvm_ComputerSystem", service, uuid, far, error))
            return false;
    }
    return true;
}

static bool
service_to_jobs(ReplicationService *service, const CimInstance *near, GPtrArray *far, GError **error)
{
    return provider_collect_class("Msvm_ConcreteJob", service, NULL, far, error);
}

static bool
to_host(ReplicationService *service, const CimInstance *near, GPtrArray *far, GError **error)
{
    return provider_collect_class("Msvm_ComputerSystem", service, replication_service_host_name(service), far, error);
}

static bool
vm_to_host(ReplicationService *service, const CimInstance *vm, GPtrArray *far, GError **error)
{
    return is_host(service, vm) || to_host(service, vm, far, error);
}

static bool
host_to_service(ReplicationService *service, const CimInstance *host, GPtrArray *far, GError **error)
{
    return !is_host(service, host) || to_service(service, host, far, error);
}

static bool
vm_to_service(ReplicationService *service, const CimInstance *vm, GPtrArray *far, GError **error)
{
    return is_host(service, vm) || to_service(service, vm, far, error);
}

static bool
to_vms(ReplicationService *service, const CimInstance *near, GPtrArray *far, GError **error)
{
    g_autoptr(GPtrArray) systems = provider_instances_new();

    if (!provider_collect_class("Msvm_ComputerSystem", service, NULL, systems, error))
        return false;
    for (unsigned i = 0; i < systems->len; i++) {
        if (!is_host(service, systems->pdata[i]))
            g_ptr_array_add(far, g_steal_pointer(&systems->pdata[i]));
    }
    return true;
}

static bool
host_to_vms(ReplicationService *service, const CimInstance *host, GPtrArray *far, GError **error)
{
    return !is_host(service, host) || to_vms(service, host, far, error);
}

/* ---- the table ---- */

static const PropertyRow setting_constants[] = {
    { "IsCurrent", NULL, "0" }, { "IsDefault", NULL, "0" }, { "IsNext", NULL, "0" }, { NULL },
};
static const PropertyRow manages_constants[] = { { "ElementEffects", NULL, "5" }, { NULL } };
static const PropertyRow job_constants[] = { { "ElementEffects", NULL, "0" }, { NULL } };

static const AssociationRow rows[] = {
    { "Msvm_SystemReplicationRelationship", "Antecedent", "Msvm_ComputerSystem", "Dependent", "Msvm_ReplicationRelationship",
      vm_to_relationships, instance_id_to_vm, NULL },
    { "Msvm_ElementSettingData", "ManagedElement", "Msvm_ComputerSystem", "SettingData", "Msvm_ReplicationSettingData",
      vm_to_replication_settings, instance_id_to_vm, setting_constants },
    { "Msvm_ElementSettingData", "ManagedElement", "Msvm_ReplicationService", "SettingData", "Msvm_ReplicationServiceSettingData",
      service_to_service_settings, to_service, setting_constants },
    { "Msvm_ElementSettingData", "ManagedElement", "Msvm_ReplicationService", "SettingData", "Msvm_ReplicationAuthorizationSettingData",
      service_to_entries, to_service, setting_constants },
    { "Msvm_SettingsDefineState", "ManagedElement", "Msvm_ComputerSystem", "SettingData", "Msvm_VirtualSystemSettingData",
      vm_to_settings, settings_to_vm, NULL },
    { "Msvm_SettingsDefineState", "ManagedElement", "Msvm_ReplicationRelationship", "SettingData", "Msvm_ReplicationSettingData",
      relationship_to_settings, settings_to_relationship, NULL },
    { "Msvm_SnapshotOfVirtualSystem", "Antecedent", "Msvm_ComputerSystem", "Dependent", "Msvm_VirtualSystemSettingData",
      vm_to_points, point_to_vm, NULL },
    { "Msvm_MostCurrentSnapshotInBranch", "Antecedent", "Msvm_ComputerSystem", "Dependent", "Msvm_VirtualSystemSettingData",
      vm_to_latest_point, latest_point_to_vm, NULL },
    { "Msvm_VirtualSystemSettingDataComponent", "GroupComponent", "Msvm_VirtualSystemSettingData", "PartComponent",
      "Msvm_StorageAllocationSettingData", settings_to_disks, part_to_settings, NULL },
    { "Msvm_VirtualSystemSettingDataComponent", "GroupComponent", "Msvm_VirtualSystemSettingData", "PartComponent",
      "Msvm_SyntheticEthernetPortSettingData", settings_to_adapters, part_to_settings, NULL },
    { "Msvm_VirtualSystemSettingDataComponent", "GroupComponent", "Msvm_VirtualSystemSettingData", "PartComponent",
      "Msvm_EthernetPortAllocationSettingData", settings_to_connections, part_to_settings, NULL },
    { "Msvm_EthernetPortFailoverSettingDataComponent", "GroupComponent", "Msvm_SyntheticEthernetPortSettingData", "PartComponent",
      "Msvm_FailoverNetworkAdapterSettingData", adapter_to_failover, failover_to_adapter, NULL },
    { "Msvm_ReplicaSystemDependency", "Antecedent", "Msvm_ComputerSystem", "Dependent", "Msvm_ComputerSystem",
      replica_to_test_vm, test_vm_to_replica, NULL },
    { "Msvm_AffectedJobElement", "AffectedElement", "Msvm_ComputerSystem", "AffectingElement", "Msvm_ConcreteJob",
      vm_to_jobs, job_to_vm, job_constants },
    { "Msvm_OwningJobElement", "OwningElement", "Msvm_ReplicationService", "OwnedElement", "Msvm_ConcreteJob",
      service_to_jobs, to_service, NULL },
    { "Msvm_HostedService", "Antecedent", "Msvm_ComputerSystem", "Dependent", "Msvm_ReplicationService",
      host_to_service, to_host, NULL },
    { "Msvm_HostedDependency", "Antecedent", "Msvm_ComputerSystem", "Dependent", "Msvm_ComputerSystem",
      host_to_vms, vm_to_host, NULL },
    { "Msvm_ServiceAffectsElement", "AffectedElement", "Msvm_ComputerSystem", "AffectingElement", "Msvm_ReplicationService",
      vm_to_service, to_vms, manages_constants },
};

/* ---- walking it ---- */

/* One direction of a row, as seen from the near end. */
typedef struct {
    const AssociationRow *row;
    const CimClass *assoc_class, *near_class, *far_class;
    const char     *near_role, *far_role;
    Traversal       go;
} Step;

static Step
make_step(const AssociationRow *row, bool forward)
{
    return (Step) {
        .row = row,
        .assoc_class = cim_class_find(NAMESPACE, row->assoc_class),
        .near_class = cim_class_find(NAMESPACE, forward ? row->from_class : row->to_class),
        .far_class = cim_class_find(NAMESPACE, forward ? row->to_class : row->from_class),
        .near_role = forward ? row->from_role : row->to_role,
        .far_role = forward ? row->to_role : row->from_role,
        .go = forward ? row->forward : row->backward,
    };
}

static bool
names_match(const char *wanted, const char *name)
{
    return wanted == NULL || g_ascii_strcasecmp(wanted, name) == 0;
}

static bool
step_applies(const Step *step, const CimClass *near_class, const AssociationFilter *filter)
{
    return cim_class_is_a(near_class, step->near_class) &&
           (filter->assoc_class == NULL || cim_class_is_a(step->assoc_class, filter->assoc_class)) &&
           (filter->result_class == NULL || cim_class_is_a(step->far_class, filter->result_class)) &&
           names_match(filter->role, step->near_role) && names_match(filter->result_role, step->far_role);
}

typedef bool (*StepFunc)(ReplicationService *service, const Step *step, const CimInstance *object, GPtrArray *results,
                         GError **error);

static bool
walk(ReplicationService *service, const CimInstance *object, const AssociationFilter *filter, StepFunc each,
     GPtrArray *results,
     GError **error)
{
    for (unsigned i = 0; i < 2 * G_N_ELEMENTS(rows); i++) {
        Step step = make_step(&rows[i / 2], i % 2 == 0);
        if (step_applies(&step, cim_instance_class(object), filter) && !each(service, &step, object, results, error))
            return false;
    }
    return true;
}

static char *
path_text(const CimInstance *instance)
{
    CimPath *path = cim_instance_path(instance);
    char *text = cim_path_to_text(path, NULL);

    cim_path_free(path);
    return text;
}

static bool
collect_far_ends(ReplicationService *service, const Step *step, const CimInstance *object, GPtrArray *results,
                 GError **error)
{
    return step->go(service, object, results, error);
}

bool
association_associators(ReplicationService *service, const CimInstance *object, const AssociationFilter *filter,
                        GPtrArray *results, GError **error)
{
    g_autoptr(GPtrArray) found = provider_instances_new();
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    if (!walk(service, object, filter, collect_far_ends, found, error))
        return false;
    for (unsigned i = 0; i < found->len; i++) {
        if (g_hash_table_add(seen, path_text(found->pdata[i])))
            g_ptr_array_add(results, g_steal_pointer(&found->pdata[i]));
    }
    return true;
}

static CimInstance *
make_association(const Step *step, const CimInstance *near, const CimInstance *far)
{
    CimInstance *instance = cim_instance_new(step->assoc_class);

    provider_set_constants(instance, step->row->constants);
    cim_instance_set(instance, step->near_role, cim_value_new_reference(cim_instance_path(near)));
    cim_instance_set(instance, step->far_role, cim_value_new_reference(cim_instance_path(far)));
    return instance;
}

static bool
collect_associations(ReplicationService *service, const Step *step, const CimInstance *object, GPtrArray *results,
                     GError **error)
{
    g_autoptr(GPtrArray) far = provider_instances_new();

    if (!step->go(service, object, far, error))
        return false;
    for (unsigned i = 0; i < far->len; i++)
        g_ptr_array_add(results, make_association(step, object, far->pdata[i]));
    return true;
}

bool
association_references(ReplicationService *service, const CimInstance *object, const AssociationFilter *filter,
                       GPtrArray *results, GError **error)
{
    return walk(service, object, filter, collect_associations, results, error);
}

static bool
enumerate_row(ReplicationService *service, const AssociationRow *row, GPtrArray *results, GError **error)
{
    Step step = make_step(row, true);
    g_autoptr(GPtrArray) near = provider_instances_new();

    if (!provider_collect_class(row->from_class, service, NULL, near, error))
        return false;
    for (unsigned i = 0; i < near->len; i++) {
        if (!collect_associations(service, &step, near->pdata[i], results, error))
            return false;
    }
    return true;
}

bool
association_enumerate(ReplicationService *service, const CimClass *cim_class, bool exact, GPtrArray *results,
                      GError **error)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        const CimClass *row_class = cim_class_find(NAMESPACE, rows[i].assoc_class);
        bool wanted = exact ? row_class == cim_class : cim_class_is_a(row_class, cim_class);
        if (wanted && !enumerate_row(service, &rows[i], results, error))
            return false;
    }
    return true;
}
