/* Msvm_ReplicationService and its settings and authorization entries; relationships and their settings. */
#include "cim/getters.h"
#include "cim/names.h"

/* ---- the service ---- */

static GPtrArray *
list_service(ReplicationService *service, GError **error)
{
    GPtrArray *services = g_ptr_array_new_with_free_func(g_free);

    g_ptr_array_add(services, g_strdup(replication_service_host_name(service)));
    return services;
}

static void *
find_service(ReplicationService *service, const char *key, GError **error)
{
    return g_ascii_strcasecmp(key, "replicasvc") == 0 ? g_strdup(replication_service_host_name(service)) : NULL;
}

DEFINE_TEXT(service_host, char, view)

static const PropertyRow service_rows[] = {
    { "Caption", NULL, "Hyper-V Replica Service" },
    { "CreationClassName", NULL, "Msvm_ReplicationService" },
    { "Description", NULL, "Replication Service" },
    { "ElementName", NULL, "Hyper-V Replica Service" },
    { "EnabledDefault", NULL, "2" },
    { "EnabledState", NULL, "2" },
    { "HealthState", NULL, "5" },
    { "Name", NULL, "replicasvc" },
    { "OperationalStatus", NULL, "2" },
    { "RequestedState", NULL, "12" },
    { "Started", NULL, "TRUE" },
    { "Status", NULL, "OK" },
    { "StatusDescriptions", NULL, "OK" },
    { "SystemCreationClassName", NULL, "Msvm_ComputerSystem" },
    { "SystemName", service_host },
    { NULL },
};

/* ---- the service that manages virtual machines ---- */

static void *
find_management(ReplicationService *service, const char *key, GError **error)
{
    return g_ascii_strcasecmp(key, "vmms") == 0 ? g_strdup(replication_service_host_name(service)) : NULL;
}

static const PropertyRow management_rows[] = {
    { "Caption", NULL, "Hyper-V Virtual System Management Service" },
    { "CreationClassName", NULL, "Msvm_VirtualSystemManagementService" },
    { "Description", NULL, "Virtual System Management Service" },
    { "ElementName", NULL, "Hyper-V Virtual System Management Service" },
    { "EnabledDefault", NULL, "2" },
    { "EnabledState", NULL, "2" },
    { "HealthState", NULL, "5" },
    { "Name", NULL, "vmms" },
    { "OperationalStatus", NULL, "2" },
    { "RequestedState", NULL, "12" },
    { "Started", NULL, "TRUE" },
    { "Status", NULL, "OK" },
    { "StatusDescriptions", NULL, "OK" },
    { "SystemCreationClassName", NULL, "Msvm_ComputerSystem" },
    { "SystemName", service_host },
    { NULL },
};

/* ---- relationships; one view serves the relationship and its settings ---- */

static GPtrArray *
list_relationships(ReplicationService *service, GError **error)
{
    g_autoptr(GPtrArray) vms = replication_service_vms(service, error);
    GPtrArray *all;

    if (vms == NULL)
        return NULL;
    all = g_ptr_array_new_with_free_func((GDestroyNotify) relationship_view_free);
    for (unsigned i = 0; i < vms->len; i++) {
        VmView *vm = vms->pdata[i];
        for (unsigned n = 0; n < vm->n_relationships; n++)
            g_ptr_array_add(all, g_steal_pointer(&vm->relationships[n]));
        vm->n_relationships = 0;
    }
    return all;
}

static void *
find_relationship(ReplicationService *service, const char *key, GError **error)
{
    g_autofree char *uuid = NULL;
    g_autoptr(VmView) vm = NULL;
    RelationshipView *found = NULL;
    const char *rest;
    unsigned index;

    if (!guid_of_instance_id(key, &uuid, &rest) || !relationship_index_of_rest(rest, &index))
        return NULL;
    vm = replication_service_vm(service, uuid, error);
    if (vm != NULL && index < vm->n_relationships)
        found = g_steal_pointer(&vm->relationships[index]);
    return found;
}

DEFINE_MADE_TEXT(relationship_id, RelationshipView, name_of_relationship(view->vm_uuid, view->index))
DEFINE_MADE_TEXT(relationship_guid, RelationshipView, name_of_guid(view->vm_uuid))
DEFINE_TEXT(relationship_name, RelationshipView, view->vm_name)
DEFINE_UINT16(relationship_state, RelationshipView, view->state)
DEFINE_UINT16(relationship_health, RelationshipView, view->health)
DEFINE_UINT16(relationship_failed_over_kind, RelationshipView, view->failed_over_kind)
DEFINE_UINT16(relationship_last_kind, RelationshipView, view->last_kind)
DEFINE_TIME(relationship_last_consistent, RelationshipView, view->last_application_consistent_usec)
DEFINE_TIME(relationship_last_replication, RelationshipView, view->last_replication_usec)
DEFINE_TIME(relationship_last_apply, RelationshipView, view->last_apply_usec)

static const PropertyRow relationship_rows[] = {
    { "Caption", NULL, "Replication Relationship" },
    { "Description", NULL, "Replication Relationship" },
    { "ElementName", relationship_name },
    { "FailedOverReplicationType", relationship_failed_over_kind },
    { "InstanceID", relationship_id },
    { "LastApplicationConsistentReplicationTime", relationship_last_consistent },
    { "LastApplyTime", relationship_last_apply },
    { "LastReplicationTime", relationship_last_replication },
    { "LastReplicationType", relationship_last_kind },
    { "ReplicationHealth", relationship_health },
    { "ReplicationState", relationship_state },
    { NULL },
};

/* Key Name comes last: clients look whether the path ends with the built-in provider's GUID and a quote. */
static char *
provider_path(ReplicationService *service)
{
    const char *host = replication_service_host_name(service);
    g_autofree char *id = g_strdup_printf("Microsoft:%s\\ReplicationProvider\\virt-replica", host);
    CimPath *path = cim_path_new("root/virtualization/v2", "Msvm_ReplicationProvider");
    char *text;

    cim_path_add(path, "InstanceID", cim_value_new_string(id));
    cim_path_add(path, "Name", cim_value_new_string("22391CDC-272C-4DDF-BA88-9BEFB1A0975C"));
    text = cim_path_to_text(path, host);
    cim_path_free(path);
    return text;
}

static void
append_disk(ReplicationService *service, CimValue *array, const char *vm_uuid, const char *target)
{
    g_autofree char *id = name_of_disk(vm_uuid, target);
    g_autofree char *path = path_of_instance_id(service, "Msvm_StorageAllocationSettingData", id);

    cim_value_append(array, cim_value_new_string(path));
}

static CimValue *
all_disks(ReplicationService *service, const char *vm_uuid)
{
    g_autoptr(GPtrArray) disks = replication_service_disks(service, vm_uuid, NULL);
    CimValue *array;

    if (disks == NULL)
        return cim_value_new_null(CIM_STRING, true);
    array = cim_value_new_array(CIM_STRING);
    for (unsigned i = 0; i < disks->len; i++) {
        const DiskView *disk = disks->pdata[i];
        if (disk->replicable)
            append_disk(service, array, vm_uuid, disk->target);
    }
    return array;
}

static CimValue *
included_disks(ReplicationService *service, const RelationshipView *relationship)
{
    char **targets = relationship->settings->included_disks;
    CimValue *array;

    if (targets == NULL)
        return all_disks(service, relationship->vm_uuid);
    array = cim_value_new_array(CIM_STRING);
    for (; *targets != NULL; targets++)
        append_disk(service, array, relationship->vm_uuid, *targets);
    return array;
}

DEFINE_UINT16(setting_authentication, RelationshipView, view->settings->authentication_type)
DEFINE_TEXT(setting_certificate, RelationshipView, view->settings->certificate_thumb_print)
DEFINE_TEXT(setting_root_certificate, RelationshipView, view->settings->root_certificate_thumb_print)
DEFINE_BOOLEAN(setting_compression, RelationshipView, view->settings->compression_enabled)
DEFINE_BOOLEAN(setting_bypass_proxy, RelationshipView, view->settings->bypass_proxy_server)
DEFINE_TEXT(setting_recovery_point, RelationshipView, view->settings->recovery_connection_point)
DEFINE_TEXT(setting_recovery_host, RelationshipView, view->settings->recovery_host_system)
DEFINE_TEXT(setting_primary_point, RelationshipView, view->settings->primary_connection_point)
DEFINE_TEXT(setting_primary_host, RelationshipView, view->settings->primary_host_system)
DEFINE_UINT16(setting_port, RelationshipView, view->settings->recovery_server_port)
DEFINE_BOOLEAN(setting_kvp, RelationshipView, view->settings->replicate_host_kvp_items)
DEFINE_UINT16(setting_consistent_interval, RelationshipView, view->settings->application_consistent_interval_h)
DEFINE_UINT16(setting_history, RelationshipView, view->settings->recovery_history)
DEFINE_GETTER(setting_disks, RelationshipView, included_disks(service, view))
DEFINE_BOOLEAN(setting_auto_resync, RelationshipView, view->settings->auto_resynchronize)
DEFINE_INTERVAL(setting_auto_resync_start, RelationshipView,
                (int64_t) view->settings->auto_resynchronize_start_sec * G_USEC_PER_SEC)
DEFINE_INTERVAL(setting_auto_resync_end, RelationshipView,
                (int64_t) view->settings->auto_resynchronize_end_sec * G_USEC_PER_SEC)
DEFINE_MADE_TEXT(setting_provider, RelationshipView, provider_path(service))
DEFINE_TEXT(setting_additional, RelationshipView, view->settings->additional_settings)
DEFINE_UINT16(setting_interval, RelationshipView, view->settings->replication_interval_sec)

static const PropertyRow setting_rows[] = {
    { "AdditionalSettings", setting_additional },
    { "ApplicationConsistentSnapshotInterval", setting_consistent_interval },
    { "AuthenticationType", setting_authentication },
    { "AutoResynchronizeEnabled", setting_auto_resync },
    { "AutoResynchronizeIntervalEnd", setting_auto_resync_end },
    { "AutoResynchronizeIntervalStart", setting_auto_resync_start },
    { "BypassProxyServer", setting_bypass_proxy },
    { "Caption", NULL, "Replication Settings" },
    { "CertificateThumbPrint", setting_certificate },
    { "CompressionEnabled", setting_compression },
    { "Description", NULL, "Virtual Machine Replication Settings Data" },
    { "ElementName", relationship_name },
    { "EnableWriteOrderPreservationAcrossDisks", NULL, "TRUE" },
    { "IncludedDisks", setting_disks },
    { "InstanceID", relationship_id },
    { "PrimaryConnectionPoint", setting_primary_point },
    { "PrimaryHostSystem", setting_primary_host },
    { "RecoveryConnectionPoint", setting_recovery_point },
    { "RecoveryHistory", setting_history },
    { "RecoveryHostSystem", setting_recovery_host },
    { "RecoveryServerPortNumber", setting_port },
    { "ReplicateHostKvpItems", setting_kvp },
    { "ReplicationInterval", setting_interval },
    { "ReplicationProvider", setting_provider },
    { "RootCertificateThumbPrint", setting_root_certificate },
    { "VirtualSystemIdentifier", relationship_guid },
    { "VirtualSystemType", NULL, "Microsoft:Hyper-V:Replica" },
    { NULL },
};

/* ---- settings of the service ---- */

static GPtrArray *
list_service_settings(ReplicationService *service, GError **error)
{
    GPtrArray *all = g_ptr_array_new_with_free_func((GDestroyNotify) service_settings_free);

    g_ptr_array_add(all, replication_service_settings(service));
    return all;
}

static char *
service_settings_name(ReplicationService *service)
{
    return g_strconcat("Microsoft:", replication_service_host_name(service), NULL);
}

static void *
find_service_settings(ReplicationService *service, const char *key, GError **error)
{
    g_autofree char *name = service_settings_name(service);

    return g_ascii_strcasecmp(key, name) == 0 ? replication_service_settings(service) : NULL;
}

DEFINE_MADE_TEXT(service_setting_id, ServiceSettings, service_settings_name(service))
DEFINE_BOOLEAN(service_setting_enabled, ServiceSettings, view->recovery_server_enabled)
DEFINE_UINT16(service_setting_authentication, ServiceSettings, view->allowed_authentication_type)
DEFINE_TEXT(service_setting_certificate, ServiceSettings, view->certificate_thumb_print)
DEFINE_UINT16(service_setting_http, ServiceSettings, view->http_port)
DEFINE_UINT16(service_setting_https, ServiceSettings, view->https_port)
DEFINE_UINT32(service_setting_interval, ServiceSettings, view->monitoring_interval_sec)
DEFINE_INTERVAL(service_setting_start, ServiceSettings, (int64_t) view->monitoring_start_sec * G_USEC_PER_SEC)

static const PropertyRow service_setting_rows[] = {
    { "AllowedAuthenticationType", service_setting_authentication },
    { "Caption", NULL, "Replication Service Settings" },
    { "CertificateThumbPrint", service_setting_certificate },
    { "Description", NULL, "Virtual Machine Replication Service Settings Data" },
    { "ElementName", NULL, "Replication Service Settings" },
    { "HttpPort", service_setting_http },
    { "HttpsPort", service_setting_https },
    { "InstanceID", service_setting_id },
    { "MonitoringInterval", service_setting_interval },
    { "MonitoringStartTime", service_setting_start },
    { "RecoveryServerEnabled", service_setting_enabled },
    { NULL },
};

/* ---- authorization entries ---- */

static GPtrArray *
list_entries(ReplicationService *service, GError **error)
{
    return replication_service_entries(service);
}

static char *
entry_name(const AuthorizationEntry *entry)
{
    return g_strconcat("Microsoft:", entry->allowed_primary, NULL);
}

static void *
find_entry(ReplicationService *service, const char *key, GError **error)
{
    g_autoptr(GPtrArray) entries = replication_service_entries(service);

    for (unsigned i = 0; i < entries->len; i++) {
        g_autofree char *name = entry_name(entries->pdata[i]);
        if (g_ascii_strcasecmp(name, key) == 0)
            return g_ptr_array_steal_index(entries, i);
    }
    return NULL;
}

DEFINE_MADE_TEXT(entry_id, AuthorizationEntry, entry_name(view))
DEFINE_TEXT(entry_primary, AuthorizationEntry, view->allowed_primary)
DEFINE_TEXT(entry_group, AuthorizationEntry, view->trust_group)
DEFINE_TEXT(entry_location, AuthorizationEntry, view->storage_location)
DEFINE_TEXT(entry_additional, AuthorizationEntry, view->additional_settings)

static const PropertyRow entry_rows[] = {
    { "AdditionalSettings", entry_additional },
    { "AllowedPrimaryHostSystem", entry_primary },
    { "Caption", NULL, "Replication Authorization Settings" },
    { "Description", NULL, "Virtual Machine Replication Authorization Settings Data" },
    { "ElementName", entry_primary },
    { "InstanceID", entry_id },
    { "ReplicaStorageLocation", entry_location },
    { "TrustGroup", entry_group },
    { NULL },
};

const Provider replication_providers[] = {
    { "Msvm_ReplicationService", "Name", true, list_service, find_service, g_free, service_rows },
    { "Msvm_VirtualSystemManagementService", "Name", true, list_service, find_management, g_free, management_rows },
    { "Msvm_ReplicationRelationship", "InstanceID", false, list_relationships, find_relationship,
      (GDestroyNotify) relationship_view_free, relationship_rows },
    { "Msvm_ReplicationSettingData", "InstanceID", false, list_relationships, find_relationship,
      (GDestroyNotify) relationship_view_free, setting_rows },
    { "Msvm_ReplicationServiceSettingData", "InstanceID", true, list_service_settings, find_service_settings,
      (GDestroyNotify) service_settings_free, service_setting_rows },
    { "Msvm_ReplicationAuthorizationSettingData", "InstanceID", false, list_entries, find_entry,
      (GDestroyNotify) authorization_entry_free, entry_rows },
    { NULL },
};
