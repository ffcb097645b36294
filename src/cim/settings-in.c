/* Settings that clients send as embedded instances, to the structures of replication/service.h. Ranges are checked there. */
#include "cim/method.h"
#include "cim/names.h"

#include <string.h>

#define NAMESPACE "root/virtualization/v2"
#define PROVIDER_GUID "22391CDC-272C-4DDF-BA88-9BEFB1A0975C"

static void
read_text(const CimInstance *instance, const char *name, char **into)
{
    const CimValue *value = cim_instance_get(instance, name);

    if (value->is_null)
        return;
    g_free(*into);
    *into = g_strdup(value->v.string);
}

static void
read_uint(const CimInstance *instance, const char *name, unsigned *into)
{
    const CimValue *value = cim_instance_get(instance, name);

    if (!value->is_null)
        *into = (unsigned) value->v.uint;
}

static void
read_boolean(const CimInstance *instance, const char *name, bool *into)
{
    const CimValue *value = cim_instance_get(instance, name);

    if (!value->is_null)
        *into = value->v.boolean;
}

static void
read_time_of_day(const CimInstance *instance, const char *name, unsigned *into)
{
    const CimValue *value = cim_instance_get(instance, name);

    if (!value->is_null)
        *into = (unsigned) (cim_datetime_to_usec(value->v.string) / G_USEC_PER_SEC % 86400);
}

/* ---- relationship ---- */

/* InstanceID of a disk out of what clients put into IncludedDisks: that, an object path, or an embedded instance. */
static char *
disk_instance_id(const char *text, GError **error)
{
    CimInstance *instance;
    CimPath *path;
    const CimValue *key;
    char *id = NULL;

    if (g_ascii_strncasecmp(text, "Microsoft:", strlen("Microsoft:")) == 0)
        return g_strdup(text);
    if (*text == '<' || g_ascii_strncasecmp(text, "instance ", strlen("instance ")) == 0) {
        instance = cim_instance_from_text(text, NAMESPACE, error);
        path = instance == NULL ? NULL : cim_instance_path(instance);
        cim_instance_free(instance);
    } else
        path = cim_path_from_text(text, NAMESPACE, error);
    if (path == NULL)
        return NULL;
    key = cim_path_key(path, "InstanceID");
    if (key != NULL && !key->is_null && key->type == CIM_STRING)
        id = g_strdup(key->v.string);
    else
        g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_PARAMETER,
                    "IncludedDisks: '%.120s' has no InstanceID", text);
    cim_path_free(path);
    return id;
}

static char *
disk_target(const char *text, const VmView *vm, GError **error)
{
    g_autofree char *id = disk_instance_id(text, error), *uuid = NULL;
    const char *rest;

    if (id == NULL)
        return NULL;
    if (guid_of_instance_id(id, &uuid, &rest) && g_ascii_strcasecmp(uuid, vm->uuid) == 0 && *rest == '\\')
        return g_strdup(rest + 1);
    g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_PARAMETER,
                "IncludedDisks: '%s' is no disk of VM '%s'", id, vm->name);
    return NULL;
}

static bool
read_disks(const CimInstance *instance, const VmView *vm, char ***into, GError **error)
{
    const CimValue *disks = cim_instance_get(instance, "IncludedDisks");
    g_autoptr(GPtrArray) targets = g_ptr_array_new_with_free_func(g_free);

    if (disks->is_null)
        return true;
    for (unsigned i = 0; i < disks->v.items->len; i++) {
        const CimValue *item = disks->v.items->pdata[i];
        char *target = item->is_null ? NULL : disk_target(item->v.string, vm, error);
        if (target != NULL)
            g_ptr_array_add(targets, target);
        else if (!item->is_null)
            return false;
    }
    g_ptr_array_add(targets, NULL);
    g_strfreev(*into);
    *into = (char **) g_ptr_array_free(g_steal_pointer(&targets), FALSE);
    return true;
}

bool
settings_relationship(const CimInstance *instance, const VmView *vm, unsigned otherwise, unsigned *ret_index, GError **error)
{
    const CimValue *id = cim_instance_get(instance, "InstanceID");
    g_autofree char *uuid = NULL;
    const char *rest;

    *ret_index = otherwise;
    if (id->is_null || *id->v.string == '\0')
        return true;
    if (guid_of_instance_id(id->v.string, &uuid, &rest) && relationship_index_of_rest(rest, ret_index) &&
        g_ascii_strcasecmp(uuid, vm->uuid) == 0)
        return true;
    g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_PARAMETER,
                "ReplicationSettingData has the InstanceID '%s', which is not of VM '%s'", id->v.string, vm->name);
    return false;
}

static bool
check_provider(const CimInstance *instance, GError **error)
{
    const CimValue *provider = cim_instance_get(instance, "ReplicationProvider");
    g_autofree char *upper = provider->is_null ? NULL : g_ascii_strup(provider->v.string, -1);

    if (upper == NULL || *upper == '\0' || strstr(upper, PROVIDER_GUID) != NULL)
        return true;
    g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_NOT_SUPPORTED,
                "ReplicationProvider '%s' is not known; leave it as it was read, or null", provider->v.string);
    return false;
}

RelationshipSettings *
settings_from_instance(const CimInstance *instance, const VmView *vm, const RelationshipSettings *base, GError **error)
{
    g_autoptr(RelationshipSettings) settings = base != NULL ? relationship_settings_copy(base) : relationship_settings_new();

    if (!check_provider(instance, error) ||
        !read_disks(instance, vm, &settings->included_disks, error))
        return NULL;
    read_uint(instance, "AuthenticationType", &settings->authentication_type);
    read_text(instance, "CertificateThumbPrint", &settings->certificate_thumb_print);
    read_boolean(instance, "CompressionEnabled", &settings->compression_enabled);
    read_boolean(instance, "BypassProxyServer", &settings->bypass_proxy_server);
    read_text(instance, "RecoveryConnectionPoint", &settings->recovery_connection_point);
    read_uint(instance, "RecoveryServerPortNumber", &settings->recovery_server_port);
    read_boolean(instance, "ReplicateHostKvpItems", &settings->replicate_host_kvp_items);
    read_uint(instance, "ApplicationConsistentSnapshotInterval", &settings->application_consistent_interval_h);
    read_uint(instance, "RecoveryHistory", &settings->recovery_history);
    read_boolean(instance, "AutoResynchronizeEnabled", &settings->auto_resynchronize);
    read_time_of_day(instance, "AutoResynchronizeIntervalStart", &settings->auto_resynchronize_start_sec);
    read_time_of_day(instance, "AutoResynchronizeIntervalEnd", &settings->auto_resynchronize_end_sec);
    read_uint(instance, "ReplicationInterval", &settings->replication_interval_sec);
    read_text(instance, "AdditionalSettings", &settings->additional_settings);
    return g_steal_pointer(&settings);
}

/* ---- network adapters ---- */

static bool
refuse_adapter(GError **error, const char *format, const char *text, const char *vm)
{
    g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_PARAMETER, format, text, vm);
    return false;
}

static bool
read_adapter_mac(const CimInstance *instance, const VmView *vm, const GPtrArray *adapters, char **ret_mac, GError **error)
{
    const CimValue *id = cim_instance_get(instance, "InstanceID");
    g_autofree char *uuid = NULL, *mac = NULL;

    if (id->is_null || *id->v.string == '\0') {
        if (adapters->len != 1)
            return refuse_adapter(error, "%s: VM '%s' has not just one network adapter; give the InstanceID that tells which is meant",
                                  "NetworkSettings", vm->name);
        *ret_mac = g_strdup(((AdapterView *) adapters->pdata[0])->mac);
        return true;
    }
    if (!adapter_of_instance_id(id->v.string, "", &uuid, &mac) || g_ascii_strcasecmp(uuid, vm->uuid) != 0)
        return refuse_adapter(error, "NetworkSettings: '%s' is no InstanceID of a network adapter of VM '%s'; "
                              "Msvm_EthernetPortFailoverSettingDataComponent leads to them", id->v.string, vm->name);
    *ret_mac = g_steal_pointer(&mac);
    return true;
}

static void
read_texts(const CimInstance *instance, const char *name, char ***into)
{
    const CimValue *value = cim_instance_get(instance, name);
    g_autoptr(GPtrArray) texts = g_ptr_array_new();

    for (unsigned i = 0; !value->is_null && i < value->v.items->len; i++) {
        const CimValue *item = value->v.items->pdata[i];
        if (!item->is_null && *item->v.string != '\0')
            g_ptr_array_add(texts, g_strstrip(g_strdup(item->v.string)));
    }
    g_ptr_array_add(texts, NULL);
    g_strfreev(*into);
    *into = (char **) g_ptr_array_free(g_steal_pointer(&texts), FALSE);
}

AdapterView *
adapter_from_instance(const CimInstance *instance, const VmView *vm, const GPtrArray *adapters, GError **error)
{
    const CimValue *dhcp = cim_instance_get(instance, "DHCPEnabled"), *addresses = cim_instance_get(instance, "IPAddresses");
    g_autofree char *mac = NULL;
    AdapterView *self;

    if (!read_adapter_mac(instance, vm, adapters, &mac, error))
        return NULL;
    if (dhcp->is_null || (addresses->is_null && !dhcp->v.boolean)) {
        refuse_adapter(error, "NetworkSettings: adapter %s of VM '%s' needs DHCPEnabled, and IPAddresses where that is false; empty IPAddresses "
                       "then take its settings away", mac, vm->name);
        return NULL;
    }
    self = adapter_view_new(mac);
    read_uint(instance, "ProtocolIFType", &self->protocol);
    self->dhcp = dhcp->v.boolean;
    read_texts(instance, "IPAddresses", &self->addresses);
    read_texts(instance, "Subnets", &self->subnets);
    read_texts(instance, "DefaultGateways", &self->gateways);
    read_texts(instance, "DNSServers", &self->dns);
    self->is_set = true;
    return self;
}

/* ---- service and entries ---- */

void
service_settings_change(ServiceSettings *settings, const CimInstance *instance)
{
    read_boolean(instance, "RecoveryServerEnabled", &settings->recovery_server_enabled);
    read_uint(instance, "AllowedAuthenticationType", &settings->allowed_authentication_type);
    read_text(instance, "CertificateThumbPrint", &settings->certificate_thumb_print);
    read_uint(instance, "HttpPort", &settings->http_port);
    read_uint(instance, "HttpsPort", &settings->https_port);
    read_uint(instance, "MonitoringInterval", &settings->monitoring_interval_sec);
    read_time_of_day(instance, "MonitoringStartTime", &settings->monitoring_start_sec);
}

AuthorizationEntry *
entry_from_instance(const CimInstance *instance, GError **error)
{
    const CimValue *primary = cim_instance_get(instance, "AllowedPrimaryHostSystem");
    AuthorizationEntry *entry;

    if (primary->is_null || *primary->v.string == '\0') {
        g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_PARAMETER,
                    "AuthorizationEntry has no AllowedPrimaryHostSystem: give the name of the primary host");
        return NULL;
    }
    entry = g_new0(AuthorizationEntry, 1);
    read_text(instance, "AllowedPrimaryHostSystem", &entry->allowed_primary);
    read_text(instance, "TrustGroup", &entry->trust_group);
    read_text(instance, "ReplicaStorageLocation", &entry->storage_location);
    read_text(instance, "AdditionalSettings", &entry->additional_settings);
    return entry;
}
