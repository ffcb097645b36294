/* The replica server's settings and authorization entries, and its listener. */
#include "replication/entry-limits.h"
#include "replication/service-private.h"

#include "util/log.h"

#include <string.h>

#define DAY_SEC 86400

static const struct {
    const char *name;
    size_t      offset;
} numbers[] = {
    { "allowed-authentication-type", G_STRUCT_OFFSET(ServiceSettings, allowed_authentication_type) },
    { "http-port", G_STRUCT_OFFSET(ServiceSettings, http_port) },
    { "https-port", G_STRUCT_OFFSET(ServiceSettings, https_port) },
    { "monitoring-interval", G_STRUCT_OFFSET(ServiceSettings, monitoring_interval_sec) },
    { "monitoring-start", G_STRUCT_OFFSET(ServiceSettings, monitoring_start_sec) },
};

static unsigned *
number_of(ServiceSettings *settings, size_t i)
{
    return (unsigned *)(void *)((char *)settings + numbers[i].offset);
}

bool
service_load_settings(ReplicationService *self, GError **error)
{
    ServiceSettings *settings = &self->settings;
    settings->http_port = 80;
    settings->https_port = self->config.listen_port;
    settings->monitoring_interval_sec = 43200;
    settings->monitoring_start_sec = 9 * 3600; /* here and in the store: local time, so that windows keep their hours in summer */
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        g_autofree char *text = store_value(self->context.store, numbers[i].name, NULL);
        if (text != NULL)
            *number_of(settings, i) = (unsigned)g_ascii_strtoull(text, NULL, 10);
    }
    g_autofree char *enabled = store_value(self->context.store, "recovery-server-enabled", NULL);
    settings->recovery_server_enabled = g_strcmp0(enabled, "1") == 0;
    settings->certificate_thumb_print = store_value(self->context.store, "certificate-thumb-print", NULL);
    return true;
}

/* A time of day plus or minus what the local clock is ahead of UTC now. */
static unsigned
shift_time_of_day(unsigned sec, bool to_local)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_local();
    int64_t ahead = g_date_time_get_utc_offset(now) / G_TIME_SPAN_SECOND;
    return (unsigned)(((int64_t)sec + (to_local ? ahead : -ahead) + 2 * DAY_SEC) % DAY_SEC);
}

static bool
save_settings(ReplicationService *self, const ServiceSettings *given, GError **error)
{
    ServiceSettings local = *given, *settings = &local;
    local.monitoring_start_sec = shift_time_of_day(given->monitoring_start_sec, true);
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        g_autofree char *text = g_strdup_printf("%u", *number_of(settings, i));
        if (!store_value_set(self->context.store, numbers[i].name, text, error))
            return false;
    }
    return store_value_set(self->context.store, "certificate-thumb-print", settings->certificate_thumb_print, error) &&
           store_value_set(self->context.store, "recovery-server-enabled", settings->recovery_server_enabled ? "1" : "0",
                           error);
}

static LinkServer *
start_link_server(ReplicationService *self, unsigned port, GError **error)
{
    HttpServerConfig config = {
        .address = self->config.listen_address,
        .port = (uint16_t)port,
        .certificate_file = self->context.certificate_file,
        .key_file = self->context.key_file,
        .client_ca_file = self->context.ca_file,
        .require_client_certificate = true,
        .tls13_only = true,
        .unix_group = (gid_t)-1,
    };
    LinkServerOps ops = service_link_ops(self);
    return link_server_start(&config, &ops, error);
}

/* Listens as the settings say. The port that was free once is kept, since primaries remember it. */
bool
service_update_link_server(ReplicationService *self, GError **error)
{
    g_autoptr(ServiceSettings) settings = replication_service_settings(self);
    g_mutex_lock(&self->link_lock);
    bool good = true;
    bool wrong = self->link != NULL &&
                 (!settings->recovery_server_enabled || link_server_port(self->link) != settings->https_port);
    if (wrong)
        link_server_stop(g_steal_pointer(&self->link));
    if (self->link == NULL && settings->recovery_server_enabled) {
        self->link = start_link_server(self, settings->https_port, error);
        good = self->link != NULL;
    }
    unsigned port = self->link != NULL ? link_server_port(self->link) : 0;
    g_mutex_unlock(&self->link_lock);
    if (port != 0 && port != settings->https_port) {
        g_mutex_lock(&self->lock);
        self->settings.https_port = port;
        g_mutex_unlock(&self->lock);
        g_autofree char *text = g_strdup_printf("%u", port);
        store_value_set(self->context.store, "https-port", text, NULL);
    }
    if (self->config.port_changed != NULL)
        self->config.port_changed(self->config.opaque, port);
    return good;
}

ServiceSettings *
replication_service_settings(ReplicationService *self)
{
    ServiceSettings *copy = g_new(ServiceSettings, 1);
    g_mutex_lock(&self->lock);
    *copy = self->settings;
    copy->certificate_thumb_print = g_strdup(copy->certificate_thumb_print);
    g_mutex_unlock(&self->lock);
    copy->monitoring_start_sec = shift_time_of_day(copy->monitoring_start_sec, false);
    return copy;
}

static bool
invalid(GError **error, const char *text)
{
    g_set_error_literal(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_PARAMETER, text);
    return false;
}

static bool
check_settings(const ServiceSettings *settings, GError **error)
{
    if (settings->allowed_authentication_type > 3)
        return invalid(error, "AllowedAuthenticationType must be 0 to 3");
    if (settings->allowed_authentication_type == 1) {
        g_set_error_literal(error, REPLICATION_ERROR, REPLICATION_ERROR_NOT_SUPPORTED,
                            "hosts authenticate to each other with certificates: AllowedAuthenticationType must be 2 or 3");
        return false;
    }
    if (settings->https_port > 65535 || settings->http_port > 65535)
        return invalid(error, "a port is a number from 0 to 65535");
    if (settings->monitoring_interval_sec < 3600 || settings->monitoring_interval_sec > 604800)
        return invalid(error, "MonitoringInterval must be 3600 to 604800 s");
    if (settings->monitoring_start_sec >= DAY_SEC)
        return invalid(error, "MonitoringStartTime must be less than a day");
    return true;
}

static void
take_settings(ReplicationService *self, const ServiceSettings *settings)
{
    g_mutex_lock(&self->lock);
    g_free(self->settings.certificate_thumb_print);
    self->settings = *settings;
    self->settings.monitoring_start_sec = shift_time_of_day(settings->monitoring_start_sec, true);
    self->settings.certificate_thumb_print = g_strdup(settings->certificate_thumb_print);
    g_mutex_unlock(&self->lock);
}

bool
replication_service_set_settings(ReplicationService *self, const Caller *caller, const ServiceSettings *settings,
                                 Job **ret_job, GError **error)
{
    *ret_job = NULL;
    if (!check_settings(settings, error))
        return false;
    GError *cause = NULL;
    g_autoptr(ServiceSettings) old = replication_service_settings(self);
    if (!save_settings(self, settings, &cause))
        return service_fail(cause, error);
    take_settings(self, settings);
    if (!service_update_link_server(self, &cause)) {
        /* Listening failed: the old settings hold on. */
        take_settings(self, old);
        save_settings(self, old, NULL);
        service_update_link_server(self, NULL);
        return service_fail(cause, error);
    }
    g_autoptr(GPtrArray) members = service_members(self);
    for (guint i = 0; i < members->len; i++)
        service_plan_statistics(self, g_ptr_array_index(members, i));
    log_notice("service", NULL, "replica server %s by %s", settings->recovery_server_enabled ? "enabled" : "disabled",
               caller->user);
    return true;
}

/* ---- authorization entries ---- */

static bool
check_entry(const AuthorizationEntry *entry, GError **error)
{
    const char *name = entry->allowed_primary;
    if (name == NULL || name[0] == '\0' || strlen(name) > 255)
        return invalid(error, "AllowedPrimaryHostSystem is empty; give a host name, *.DOMAIN or *");
    const char *rest = strcmp(name, "*") == 0 ? "" : g_str_has_prefix(name, "*.") ? name + 2 : name;
    for (const char *c = rest; *c != '\0'; c++) {
        if (!g_ascii_isalnum(*c) && *c != '-' && *c != '.' && *c != '_')
            return invalid(error, "AllowedPrimaryHostSystem is not a host name; a wildcard stands for the first label only");
    }
    const char *place = entry->storage_location;
    if (place != NULL && place[0] != '\0' && (place[0] != '/' || strstr(place, "/../") != NULL))
        return invalid(error, "ReplicaStorageLocation must be an absolute path without '..'");
    EntryLimits limits;
    return entry_limits_parse(entry->additional_settings, &limits, error);
}

static AuthorizationEntry *
entry_of_row(const StoreEntry *row)
{
    AuthorizationEntry *entry = g_new0(AuthorizationEntry, 1);
    entry->allowed_primary = g_strdup(row->allowed_primary);
    entry->trust_group = g_strdup(row->trust_group);
    entry->storage_location = g_strdup(row->storage_location);
    entry->additional_settings = g_strdup(row->additional_settings);
    return entry;
}

static const AuthorizationEntry *
find_named(const GPtrArray *entries, const char *allowed_primary)
{
    for (guint i = 0; i < entries->len; i++) {
        const AuthorizationEntry *entry = g_ptr_array_index(entries, i);
        if (g_ascii_strcasecmp(entry->allowed_primary, allowed_primary) == 0)
            return entry;
    }
    return NULL;
}

static bool
no_entry(const char *allowed_primary, GError **error)
{
    return replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER, "there is no entry for '%s'", allowed_primary);
}

bool
replication_service_add_entry(ReplicationService *self, const Caller *caller, const AuthorizationEntry *entry,
                              GError **error)
{
    if (!check_entry(entry, error))
        return false;
    g_autoptr(GPtrArray) entries = replication_service_entries(self);
    if (find_named(entries, entry->allowed_primary) != NULL)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER,
                                  "there is an entry for '%s' already; remove it first", entry->allowed_primary);
    GError *cause = NULL;
    StoreEntry row = { entry->allowed_primary, entry->trust_group, entry->storage_location, entry->additional_settings };
    if (!store_entry_save(self->context.store, &row, &cause))
        return service_fail(cause, error);
    log_notice("service", NULL, "host '%s' may replicate to this host, allowed by %s", entry->allowed_primary, caller->user);
    return true;
}

bool
replication_service_change_entry(ReplicationService *self, const Caller *caller, const AuthorizationEntry *change,
                                 GError **error)
{
    g_autoptr(GPtrArray) entries = replication_service_entries(self);
    const AuthorizationEntry *found = find_named(entries, change->allowed_primary);
    if (found == NULL)
        return no_entry(change->allowed_primary, error);
    AuthorizationEntry wanted = *found;
    if (change->trust_group != NULL)
        wanted.trust_group = change->trust_group;
    if (change->storage_location != NULL)
        wanted.storage_location = change->storage_location;
    if (change->additional_settings != NULL)
        wanted.additional_settings = change->additional_settings;
    if (!check_entry(&wanted, error))
        return false;
    GError *cause = NULL;
    StoreEntry row = { wanted.allowed_primary, wanted.trust_group, wanted.storage_location, wanted.additional_settings };
    if (!store_entry_save(self->context.store, &row, &cause))
        return service_fail(cause, error);
    log_notice("service", NULL, "the entry for host '%s' was changed by %s", wanted.allowed_primary, caller->user);
    return true;
}

bool
replication_service_remove_entry(ReplicationService *self, const Caller *caller, const char *allowed_primary,
                                 GError **error)
{
    GError *cause = NULL;
    bool existed = false;
    if (!store_entry_remove(self->context.store, allowed_primary, &existed, &cause))
        return service_fail(cause, error);
    if (!existed)
        return no_entry(allowed_primary, error);
    log_notice("service", NULL, "host '%s' may no longer replicate to this host, removed by %s", allowed_primary,
               caller->user);
    return true;
}

bool
replication_service_set_entry(ReplicationService *self, const Caller *caller, const char *vm_uuid, const char *allowed_primary,
                              GError **error)
{
    g_autoptr(Member) member = service_find_replicating(self, vm_uuid, "set its authorization entry", error);
    if (member == NULL)
        return false;
    g_autoptr(GPtrArray) entries = replication_service_entries(self);
    const AuthorizationEntry *found = find_named(entries, allowed_primary);
    if (found == NULL)
        return no_entry(allowed_primary, error);
    if (member->replica == NULL)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                                  "cannot set its authorization entry: the VM is primary; an entry says who may send to a replica");
    GError *cause = NULL;
    if (!relationship_begin_operation(member->relationship, "set its authorization entry", error))
        return false;
    StoreRelationship *edit = relationship_edit(member->relationship);
    g_free(edit->peer);
    edit->peer = g_strdup(found->allowed_primary);
    bool good = relationship_edit_end(member->relationship, edit, &cause) || service_fail(cause, error);
    relationship_end_operation(member->relationship);
    service_wake_member(member);
    if (good)
        log_notice("service", vm_uuid, "only '%s', or another host of its trust group, may send to the replica; set by %s",
                   found->allowed_primary, caller->user);
    return good;
}

GPtrArray *
replication_service_entries(ReplicationService *self)
{
    GPtrArray *entries = g_ptr_array_new_with_free_func((GDestroyNotify)authorization_entry_free);
    g_autoptr(GPtrArray) rows = store_entries(self->context.store, NULL);
    for (guint i = 0; rows != NULL && i < rows->len; i++) {
        g_ptr_array_add(entries, entry_of_row(g_ptr_array_index(rows, i)));
    }
    return entries;
}
