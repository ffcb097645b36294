/* Msvm_ComputerSystem (host and virtual machines), Msvm_VirtualSystemSettingData (of virtual machines and recovery points),
 * Msvm_StorageAllocationSettingData. */
#include "cim/getters.h"
#include "cim/names.h"

/* ---- the host ---- */

static GPtrArray *
list_hosts(ReplicationService *service, GError **error)
{
    GPtrArray *hosts = g_ptr_array_new_with_free_func(g_free);

    g_ptr_array_add(hosts, g_strdup(replication_service_host_name(service)));
    return hosts;
}

static void *
find_host(ReplicationService *service, const char *key, GError **error)
{
    const char *host = replication_service_host_name(service);

    return g_ascii_strcasecmp(key, host) == 0 ? g_strdup(host) : NULL;
}

DEFINE_TEXT(host_name, char, view)

static const PropertyRow host_rows[] = {
    { "Caption", NULL, "Hosting Computer System" },
    { "CreationClassName", NULL, "Msvm_ComputerSystem" },
    { "Description", NULL, "Microsoft Hosting Computer System" },
    { "ElementName", host_name },
    { "EnabledDefault", NULL, "2" },
    { "EnabledState", NULL, "2" },
    { "HealthState", NULL, "5" },
    { "Name", host_name },
    { "OperationalStatus", NULL, "2" },
    { "RequestedState", NULL, "12" },
    { "Status", NULL, "OK" },
    { "StatusDescriptions", NULL, "OK" },
    { NULL },
};

/* ---- virtual machines ---- */

static GPtrArray *
list_vms(ReplicationService *service, GError **error)
{
    return replication_service_vms(service, error);
}

static void *
find_vm(ReplicationService *service, const char *key, GError **error)
{
    g_autofree char *uuid = guid_of_name(key);

    return uuid == NULL ? NULL : replication_service_vm(service, uuid, error);
}

static uint64_t
milliseconds_since(int64_t usec)
{
    int64_t now = g_get_real_time();

    return usec == 0 || usec > now ? 0 : (uint64_t) (now - usec) / 1000;
}

static CimValue *
process_id(const VmView *vm)
{
    if (vm->process_id <= 0)
        return cim_value_new_null(CIM_UINT32, false);
    return cim_value_new_uint(CIM_UINT32, (uint64_t) vm->process_id);
}

DEFINE_MADE_TEXT(vm_guid, VmView, name_of_guid(view->uuid))
DEFINE_TEXT(vm_name, VmView, view->name)
DEFINE_UINT16(vm_power, VmView, view->power)
DEFINE_TIME(vm_created, VmView, view->created_usec)
DEFINE_TIME(vm_started, VmView, view->started_usec)
DEFINE_UINT64(vm_on_time, VmView, milliseconds_since(view->started_usec))
DEFINE_GETTER(vm_process, VmView, process_id(view))
DEFINE_UINT16(vm_mode, VmView, view->mode)
DEFINE_UINT16(vm_state, VmView, view->relationships[0]->state)
DEFINE_UINT16(vm_health, VmView, view->relationships[0]->health)
DEFINE_UINT16(vm_failed_over_kind, VmView, view->relationships[0]->failed_over_kind)
DEFINE_UINT16(vm_last_kind, VmView, view->relationships[0]->last_kind)
DEFINE_TIME(vm_last_consistent, VmView, view->relationships[0]->last_application_consistent_usec)
DEFINE_TIME(vm_last_replication, VmView, view->relationships[0]->last_replication_usec)

static const PropertyRow vm_rows[] = {
    { "Caption", NULL, "Virtual Machine" },
    { "CreationClassName", NULL, "Msvm_ComputerSystem" },
    { "Description", NULL, "Microsoft Virtual Computer System" },
    { "ElementName", vm_name },
    { "EnabledDefault", NULL, "3" },
    { "EnabledState", vm_power },
    { "FailedOverReplicationType", vm_failed_over_kind },
    { "HealthState", NULL, "5" },
    { "InstallDate", vm_created },
    { "LastApplicationConsistentReplicationTime", vm_last_consistent },
    { "LastReplicationTime", vm_last_replication },
    { "LastReplicationType", vm_last_kind },
    { "Name", vm_guid },
    { "OnTimeInMilliseconds", vm_on_time },
    { "OperationalStatus", NULL, "2" },
    { "ProcessID", vm_process },
    { "ReplicationHealth", vm_health },
    { "ReplicationMode", vm_mode },
    { "ReplicationState", vm_state },
    { "RequestedState", NULL, "12" },
    { "Status", NULL, "OK" },
    { "StatusDescriptions", NULL, "Operating normally" },
    { "TimeOfLastStateChange", vm_started },
    { NULL },
};

/* ---- settings of virtual machines as they are ---- */

static void *
find_vm_settings(ReplicationService *service, const char *key, GError **error)
{
    g_autofree char *uuid = NULL;
    const char *rest;

    if (!guid_of_instance_id(key, &uuid, &rest) || *rest != '\0')
        return NULL;
    return replication_service_vm(service, uuid, error);
}

DEFINE_MADE_TEXT(vm_settings_id, VmView, name_of_settings(view->uuid))

static const PropertyRow vm_settings_rows[] = {
    { "BIOSGUID", vm_guid },
    { "Caption", NULL, "Virtual Machine Settings" },
    { "ConfigurationID", vm_guid },
    { "CreationTime", vm_created },
    { "Description", NULL, "Active settings for the virtual machine" },
    { "ElementName", vm_name },
    { "InstanceID", vm_settings_id },
    { "VirtualSystemIdentifier", vm_guid },
    { "VirtualSystemType", NULL, "Microsoft:Hyper-V:System:Realized" },
    { NULL },
};

/* ---- recovery points ---- */

static GPtrArray *
list_points(ReplicationService *service, GError **error)
{
    return provider_list_of_each_vm(service, replication_service_points, (GDestroyNotify) point_view_free, error);
}

static void *
find_point(ReplicationService *service, const char *key, GError **error)
{
    g_autofree char *id = NULL;
    const char *rest;

    if (!guid_of_instance_id(key, &id, &rest) || *rest != '\0')
        return NULL;
    return replication_service_point(service, id, error);
}

static const char *
point_type(PointKind kind)
{
    if (kind == POINT_KIND_APPLICATION_CONSISTENT)
        return "Microsoft:Hyper-V:Snapshot:Replica:ApplicationConsistent";
    if (kind == POINT_KIND_PLANNED)
        return "Microsoft:Hyper-V:Snapshot:Replica:PlannedFailover";
    return "Microsoft:Hyper-V:Snapshot:Replica:Standard";
}

static char *
point_title(const PointView *point)
{
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_utc(point->taken_usec / G_USEC_PER_SEC);
    g_autoptr(GDateTime) local = time == NULL ? NULL : g_date_time_to_local(time);
    g_autofree char *when = local == NULL ? g_strdup("?") : g_date_time_format(local, "%Y-%m-%d %H:%M:%S");

    return g_strdup_printf("%s - Replica - (%s)", point->vm_name, when);
}

static char *
point_parent(ReplicationService *service, const PointView *point)
{
    g_autofree char *id = point->parent_id == NULL ? NULL : name_of_settings(point->parent_id);

    return id == NULL ? NULL : path_of_instance_id(service, "Msvm_VirtualSystemSettingData", id);
}

DEFINE_MADE_TEXT(point_id, PointView, name_of_settings(view->id))
DEFINE_MADE_TEXT(point_guid, PointView, name_of_guid(view->id))
DEFINE_MADE_TEXT(point_vm, PointView, name_of_guid(view->vm_uuid))
DEFINE_MADE_TEXT(point_name, PointView, point_title(view))
DEFINE_MADE_TEXT(point_before, PointView, point_parent(service, view))
DEFINE_TEXT(point_system_type, PointView, point_type(view->kind))
DEFINE_TIME(point_time, PointView, view->taken_usec)

static const PropertyRow point_rows[] = {
    { "Caption", NULL, "Virtual Machine Settings" },
    { "ConfigurationID", point_guid },
    { "CreationTime", point_time },
    { "Description", NULL, "Settings of the virtual machine at a recovery point" },
    { "ElementName", point_name },
    { "InstanceID", point_id },
    { "IsSaved", NULL, "FALSE" },
    { "Parent", point_before },
    { "VirtualSystemIdentifier", point_vm },
    { "VirtualSystemType", point_system_type },
    { NULL },
};

/* ---- disks ---- */

typedef struct {
    char     *vm_uuid;
    DiskView *disk;
} VmDisk;

static void
vm_disk_free(VmDisk *self)
{
    g_free(self->vm_uuid);
    disk_view_free(self->disk);
    g_free(self);
}

static GPtrArray *
list_vm_disks(ReplicationService *service, const char *vm_uuid, GError **error)
{
    g_autoptr(GPtrArray) disks = replication_service_disks(service, vm_uuid, error);
    GPtrArray *all;

    if (disks == NULL)
        return NULL;
    all = g_ptr_array_new_with_free_func((GDestroyNotify) vm_disk_free);
    while (disks->len > 0) {
        VmDisk *item = g_new0(VmDisk, 1);
        item->vm_uuid = g_strdup(vm_uuid);
        item->disk = g_ptr_array_steal_index(disks, 0);
        g_ptr_array_add(all, item);
    }
    return all;
}

static GPtrArray *
list_disks(ReplicationService *service, GError **error)
{
    return provider_list_of_each_vm(service, list_vm_disks, (GDestroyNotify) vm_disk_free, error);
}

static void *
find_disk(ReplicationService *service, const char *key, GError **error)
{
    g_autofree char *uuid = NULL;
    g_autoptr(GPtrArray) disks = NULL;
    const char *rest;

    if (!guid_of_instance_id(key, &uuid, &rest) || *rest != '\\')
        return NULL;
    disks = list_vm_disks(service, uuid, error);
    for (unsigned i = 0; disks != NULL && i < disks->len; i++) {
        if (g_ascii_strcasecmp(((VmDisk *) disks->pdata[i])->disk->target, rest + 1) == 0)
            return g_ptr_array_steal_index(disks, i);
    }
    return NULL;
}

static CimValue *
one_text(const char *text)
{
    CimValue *array = text == NULL ? cim_value_new_null(CIM_STRING, true) : cim_value_new_array(CIM_STRING);

    if (text != NULL)
        cim_value_append(array, cim_value_new_string(text));
    return array;
}

DEFINE_MADE_TEXT(disk_id, VmDisk, name_of_disk(view->vm_uuid, view->disk->target))
DEFINE_TEXT(disk_target, VmDisk, view->disk->target)
DEFINE_UINT64(disk_size, VmDisk, view->disk->size_bytes)
DEFINE_GETTER(disk_path, VmDisk, one_text(view->disk->path))

static const PropertyRow disk_rows[] = {
    { "Access", NULL, "3" },
    { "Address", disk_target },
    { "AllocationUnits", NULL, "bytes" },
    { "Caption", NULL, "Hard Disk Image" },
    { "Description", NULL, "Settings for the virtual hard disk" },
    { "ElementName", disk_target },
    { "HostResource", disk_path },
    { "InstanceID", disk_id },
    { "ResourceSubType", NULL, "Microsoft:Hyper-V:Virtual Hard Disk" },
    { "ResourceType", NULL, "31" },
    { "VirtualQuantity", disk_size },
    { "VirtualQuantityUnits", NULL, "bytes" },
    { NULL },
};

/* ---- all together ---- */

enum { PROVIDER_HOST, PROVIDER_VM, PROVIDER_VM_SETTINGS, PROVIDER_POINT, PROVIDER_DISK };

const Provider system_providers[] = {
    [PROVIDER_HOST] = { "Msvm_ComputerSystem", "Name", false, list_hosts, find_host, g_free, host_rows },
    [PROVIDER_VM] = { "Msvm_ComputerSystem", "Name", false, list_vms, find_vm, (GDestroyNotify) vm_view_free, vm_rows },
    [PROVIDER_VM_SETTINGS] = { "Msvm_VirtualSystemSettingData", "InstanceID", false, list_vms, find_vm_settings,
                               (GDestroyNotify) vm_view_free, vm_settings_rows },
    [PROVIDER_POINT] = { "Msvm_VirtualSystemSettingData", "InstanceID", false, list_points, find_point,
                         (GDestroyNotify) point_view_free, point_rows },
    [PROVIDER_DISK] = { "Msvm_StorageAllocationSettingData", "InstanceID", false, list_disks, find_disk,
                        (GDestroyNotify) vm_disk_free, disk_rows },
    { NULL },
};

static void
append_view(ReplicationService *service, unsigned provider, const void *view, GPtrArray *instances)
{
    const Provider *self = &system_providers[provider];

    g_ptr_array_add(instances,
                    provider_make(self, cim_class_find("root/virtualization/v2", self->class_name), service, view));
}

bool
provider_collect_points(ReplicationService *service, const char *vm_uuid, bool latest_only, GPtrArray *instances,
                        GError **error)
{
    g_autoptr(GPtrArray) points = replication_service_points(service, vm_uuid, error);

    for (unsigned i = 0; points != NULL && i < points->len; i++) {
        if (!latest_only || ((const PointView *) points->pdata[i])->latest)
            append_view(service, PROVIDER_POINT, points->pdata[i], instances);
    }
    return points != NULL;
}

bool
provider_collect_disks(ReplicationService *service, const char *vm_uuid, GPtrArray *instances, GError **error)
{
    g_autoptr(GPtrArray) disks = list_vm_disks(service, vm_uuid, error);

    for (unsigned i = 0; disks != NULL && i < disks->len; i++)
        append_view(service, PROVIDER_DISK, disks->pdata[i], instances);
    return disks != NULL;
}
