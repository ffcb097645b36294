#include "cli/commands.h"

#include "cli/output.h"
#include "cli/session.h"

#include <string.h>

/* A method of the replication service that is about no VM. */
static bool
call_server(Session *session, const char *method, const char *title, const char *parameter, const char *value, GError **error)
{
    g_autoptr(WsmanReference) service = wsman_reference_new("Msvm_ReplicationService");
    g_autoptr(WsmanArguments) arguments = wsman_arguments_new();
    SessionCall call = { .target = service, .method = method, .title = title };

    wsman_reference_add(service, "CreationClassName", "Msvm_ReplicationService");
    wsman_reference_add(service, "Name", "replicasvc");
    wsman_arguments_add_text(arguments, parameter, value);
    return session_call(session, &call, arguments, error) == CALL_DONE;
}

/* ---- server ---- */

static bool
switch_server(Session *session, const WsmanInstance *current, bool enable, GError **error)
{
    g_autoptr(WsmanEmbedded) settings = wsman_embedded_new("Msvm_ReplicationServiceSettingData");
    g_autofree char *text = NULL;

    wsman_embedded_set(settings, "InstanceID", "string", wsman_instance_text(current, "InstanceID"));
    wsman_embedded_set(settings, "RecoveryServerEnabled", "boolean", enable ? "TRUE" : "FALSE");
    if (enable)
        wsman_embedded_set(settings, "AllowedAuthenticationType", "uint16", "2"); /* certificates */
    text = wsman_embedded_text(settings);
    if (!call_server(session, "ModifyServiceSettings", enable ? "Enabling the replica server" : "Disabling the replica server",
                     "SettingData", text, error))
        return false;
    session_say(session, "The replica server is %s", enable ? "enabled; 'virt-replica authorize' lets hosts in" : "disabled");
    return true;
}

static void
show_server(const WsmanInstance *settings, bool json)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    bool enabled = wsman_instance_flag(settings, "RecoveryServerEnabled");

    if (!json) {
        output_field("Replica server", enabled ? "enabled" : "disabled");
        output_field("Port", wsman_instance_text(settings, "HttpsPort"));
        output_field("Certificate", wsman_instance_text(settings, "CertificateThumbPrint"));
        return;
    }
    json_builder_begin_object(builder);
    output_json_flag(builder, "enabled", enabled);
    output_json_number(builder, "port", (int64_t)wsman_instance_number(settings, "HttpsPort", 0));
    output_json_string(builder, "certificate", wsman_instance_text(settings, "CertificateThumbPrint"));
    json_builder_end_object(builder);
    output_json_print(builder);
}

bool
command_server(Session *session, const CommandLine *line, GError **error)
{
    bool enable = command_line_switch(line, "enable"), disable = command_line_switch(line, "disable");
    g_autoptr(GPtrArray) settings = NULL;

    if (enable && disable) {
        g_set_error_literal(error, COMMAND_ERROR, COMMAND_ERROR_USAGE, "--enable and --disable exclude each other");
        return false;
    }
    settings = wsman_client_enumerate(session_client(session), "Msvm_ReplicationServiceSettingData", NULL, error);
    if (settings == NULL)
        return false;
    if (settings->len == 0) {
        g_set_error_literal(error, WSMAN_CLIENT_ERROR, WSMAN_CLIENT_ERROR_PROTOCOL, "The service shows no settings");
        return false;
    }
    if (enable || disable)
        return switch_server(session, settings->pdata[0], enable, error);
    show_server(settings->pdata[0], command_line_switch(line, "json"));
    return true;
}

/* ---- authorization entries ---- */

static const struct {
    const char *option, *key; /* of the command line; in AdditionalSettings */
} limits[] = {
    { "max-vms", "vms" },
    { "max-size", "size" },
    { "max-staging", "staging" },
};

/* The entry's limits with those of the line in their place; NULL when the line has none. The service checks them. */
static char *
limits_text(const CommandLine *line, const char *present)
{
    g_auto(GStrv) parts = g_strsplit_set(present != NULL ? present : "", ";,", -1);
    g_autoptr(GString) text = g_string_new(NULL);
    bool given = false;

    for (size_t i = 0; i < G_N_ELEMENTS(limits); i++) {
        const char *value = command_line_value(line, limits[i].option);
        g_autofree char *start = g_strconcat(limits[i].key, "=", NULL);

        given |= value != NULL;
        for (char **part = parts; value == NULL && *part != NULL; part++) {
            if (g_ascii_strncasecmp(g_strstrip(*part), start, strlen(start)) == 0)
                value = *part + strlen(start);
        }
        if (value != NULL && strcmp(value, "none") != 0)
            g_string_append_printf(text, "%s%s%s", text->len > 0 ? ";" : "", start, value);
    }
    return given ? g_string_free(g_steal_pointer(&text), FALSE) : NULL;
}

/* (nullable) The limits of the entry of @host as they are. */
static bool
present_limits(Session *session, const char *host, char **ret_limits, GError **error)
{
    g_autoptr(GPtrArray) entries = wsman_client_enumerate(session_client(session), "Msvm_ReplicationAuthorizationSettingData",
                                                          NULL, error);

    *ret_limits = NULL;
    for (guint i = 0; entries != NULL && i < entries->len; i++) {
        const char *name = wsman_instance_text(entries->pdata[i], "AllowedPrimaryHostSystem");

        if (name != NULL && g_ascii_strcasecmp(name, host) == 0) {
            g_free(*ret_limits);
            *ret_limits = g_strdup(wsman_instance_text(entries->pdata[i], "AdditionalSettings"));
        }
    }
    return entries != NULL;
}

bool
command_authorize(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(WsmanEmbedded) entry = wsman_embedded_new("Msvm_ReplicationAuthorizationSettingData");
    const char *host = command_line_word(line, 0);
    const char *storage = command_line_value(line, "storage");
    const char *group = command_line_value(line, "trust-group");
    bool change = command_line_switch(line, "change");
    g_autofree char *title = g_strdup_printf(change ? "Changing the authorization of '%s'" : "Authorizing '%s'", host);
    g_autofree char *present = NULL, *wanted = NULL, *text = NULL;

    if (storage != NULL ? storage[0] != '/' : !change) {
        g_set_error_literal(error, COMMAND_ERROR, COMMAND_ERROR_USAGE,
                            "--storage DIR is missing or no absolute path: the folder for the replicas of that host");
        return false;
    }
    if (change && !present_limits(session, host, &present, error))
        return false;
    wsman_embedded_set(entry, "AllowedPrimaryHostSystem", "string", host);
    if (storage != NULL)
        wsman_embedded_set(entry, "ReplicaStorageLocation", "string", storage);
    if (group != NULL || !change)
        wsman_embedded_set(entry, "TrustGroup", "string", group != NULL ? group : "DEFAULT");
    wanted = limits_text(line, present);
    if (wanted != NULL)
        wsman_embedded_set(entry, "AdditionalSettings", "string", wanted);
    text = wsman_embedded_text(entry);
    if (!call_server(session, change ? "ModifyAuthorizationEntry" : "AddAuthorizationEntry", title, "AuthorizationEntry", text, error))
        return false;
    if (change)
        session_say(session, "The authorization of host '%s' is changed", host);
    else
        session_say(session, "Host '%s' may replicate to this one, into %s", host, storage);
    return true;
}

bool
command_unauthorize(Session *session, const CommandLine *line, GError **error)
{
    const char *host = command_line_word(line, 0);
    g_autofree char *title = g_strdup_printf("Withdrawing the authorization of '%s'", host);

    if (!call_server(session, "RemoveAuthorizationEntry", title, "AllowedPrimaryHostSystem", host, error))
        return false;
    session_say(session, "Host '%s' may no longer replicate to this one", host);
    return true;
}

static void
entries_table(const GPtrArray *entries)
{
    static const char *const titles[] = { "Primary host", "Trust group", "Limits", "Storage", NULL };
    g_autoptr(OutputTable) table = output_table_new(titles);

    for (guint i = 0; i < entries->len; i++) {
        output_table_add(table, wsman_instance_text(entries->pdata[i], "AllowedPrimaryHostSystem"));
        output_table_add(table, wsman_instance_text(entries->pdata[i], "TrustGroup"));
        output_table_add(table, wsman_instance_text(entries->pdata[i], "AdditionalSettings"));
        output_table_add(table, wsman_instance_text(entries->pdata[i], "ReplicaStorageLocation"));
    }
    output_table_print(table);
}

static void
entries_json(const GPtrArray *entries)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();

    json_builder_begin_array(builder);
    for (guint i = 0; i < entries->len; i++) {
        json_builder_begin_object(builder);
        output_json_string(builder, "primary_host", wsman_instance_text(entries->pdata[i], "AllowedPrimaryHostSystem"));
        output_json_string(builder, "trust_group", wsman_instance_text(entries->pdata[i], "TrustGroup"));
        output_json_string(builder, "storage", wsman_instance_text(entries->pdata[i], "ReplicaStorageLocation"));
        output_json_string(builder, "limits", wsman_instance_text(entries->pdata[i], "AdditionalSettings"));
        json_builder_end_object(builder);
    }
    json_builder_end_array(builder);
    output_json_print(builder);
}

bool
command_entries(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(GPtrArray) entries = wsman_client_enumerate(session_client(session), "Msvm_ReplicationAuthorizationSettingData",
                                                          NULL, error);

    if (entries == NULL)
        return false;
    if (command_line_switch(line, "json"))
        entries_json(entries);
    else
        entries_table(entries);
    return true;
}
