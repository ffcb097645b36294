#include "cli/session.h"

#include "cli/password.h"
#include "cli/values.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define HTTPS_PORT        5986
#define STALL_TIMEOUT_SEC 150 /* longer than the operation timeout that requests carry */

struct Session {
    WsmanClient *client;
    GPtrArray   *strings; /* behind the connection's configuration */
    bool         quiet;
};

/* ---- the connection ---- */

static const char *
keep(GPtrArray *strings, char *text)
{
    g_ptr_array_add(strings, text);
    return text;
}

static bool
parse_https(const char *text, HttpClientConfig *config, GPtrArray *strings, GError **error)
{
    g_autoptr(GUri) uri = g_uri_parse(text, G_URI_FLAGS_HAS_PASSWORD, NULL);
    const char *host = uri != NULL ? g_uri_get_host(uri) : NULL;

    if (host == NULL || *host == '\0' || g_uri_get_port(uri) == 0 || g_uri_get_port(uri) > G_MAXUINT16) {
        g_set_error(error, COMMAND_ERROR, COMMAND_ERROR_USAGE,
                    "'%s' is not a connection; write wsman+https://USER@HOST:%d", text, HTTPS_PORT);
        return false;
    }
    if (g_uri_get_password(uri) != NULL) {
        g_set_error_literal(error, COMMAND_ERROR, COMMAND_ERROR_USAGE,
                            "A password does not belong on the command line, where others see it; put it into "
                            "VIRT_REPLICA_PASSWORD, or wait for the prompt");
        return false;
    }
    config->host = keep(strings, g_strdup(host));
    config->port = g_uri_get_port(uri) > 0 ? (uint16_t)g_uri_get_port(uri) : HTTPS_PORT;
    config->tls = true;
    config->user = g_uri_get_user(uri) != NULL ? keep(strings, g_strdup(g_uri_get_user(uri))) : NULL;
    return true;
}

bool
session_parse_uri(const char *uri, HttpClientConfig *config, GPtrArray *strings, GError **error)
{
    if (g_str_has_prefix(uri, "unix:///")) {
        config->unix_path = keep(strings, g_strdup(uri + strlen("unix://")));
        return true;
    }
    if (g_str_has_prefix(uri, "wsman+https://"))
        return parse_https(uri, config, strings, error);
    g_set_error(error, COMMAND_ERROR, COMMAND_ERROR_USAGE,
                "'%s' is not a connection; write unix:///PATH or wsman+https://USER@HOST:%d", uri, HTTPS_PORT);
    return false;
}

static bool
fill_password(HttpClientConfig *config, GPtrArray *strings, GError **error)
{
    char *password;

    if (config->user == NULL)
        return true;
    password = password_get(config->user, config->host, error);
    if (password == NULL)
        return false;
    config->password = keep(strings, password);
    return true;
}

Session *
session_open(const SessionOptions *options, GError **error)
{
    g_autoptr(Session) self = g_new0(Session, 1);
    HttpClientConfig config = { .ca_file = options->ca_file, .stall_timeout_sec = STALL_TIMEOUT_SEC };
    const char *uri = options->uri != NULL ? options->uri : SESSION_DEFAULT_URI;

    self->strings = g_ptr_array_new_with_free_func(g_free);
    self->quiet = options->quiet;
    if (!session_parse_uri(uri, &config, self->strings, error) || !fill_password(&config, self->strings, error))
        return NULL;
    self->client = wsman_client_new(&config, error);
    if (self->client == NULL)
        return NULL;
    return g_steal_pointer(&self);
}

void
session_close(Session *self)
{
    if (self == NULL)
        return;
    wsman_client_free(self->client);
    g_ptr_array_unref(self->strings);
    g_free(self);
}

WsmanClient *
session_client(Session *self)
{
    return self->client;
}

bool
session_quiet(const Session *self)
{
    return self->quiet;
}

void
session_say(const Session *self, const char *format, ...)
{
    va_list arguments;

    if (self->quiet)
        return;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

/* ---- VMs ---- */

char *
session_wql_quote(const char *text)
{
    GString *quoted = g_string_new("'");

    for (; *text != '\0'; text++) {
        if (*text == '\'' || *text == '\\')
            g_string_append_c(quoted, '\\');
        g_string_append_c(quoted, *text);
    }
    g_string_append_c(quoted, '\'');
    return g_string_free(quoted, FALSE);
}

void
session_vm_free(SessionVm *vm)
{
    if (vm == NULL)
        return;
    g_free(vm->uuid);
    g_free(vm->name);
    wsman_instance_free(vm->system);
    wsman_reference_free(vm->reference);
    g_free(vm);
}

/* Of several answers (WQL compares without case) the one that is meant; its place, or -1. */
static int
pick_vm(const GPtrArray *systems, const char *name_or_uuid)
{
    for (guint i = 0; i < systems->len; i++) {
        const char *uuid = wsman_instance_text(systems->pdata[i], "Name");

        if (uuid != NULL && g_uuid_string_is_valid(uuid) && g_ascii_strcasecmp(uuid, name_or_uuid) == 0)
            return (int)i;
    }
    for (guint i = 0; i < systems->len; i++) {
        const char *uuid = wsman_instance_text(systems->pdata[i], "Name");

        if (uuid != NULL && g_uuid_string_is_valid(uuid)
            && g_strcmp0(wsman_instance_text(systems->pdata[i], "ElementName"), name_or_uuid) == 0)
            return (int)i;
    }
    return -1;
}

SessionVm *
session_find_vm(Session *self, const char *name_or_uuid, GError **error)
{
    g_autofree char *quoted = session_wql_quote(name_or_uuid);
    g_autofree char *wql = g_strdup_printf("SELECT * FROM Msvm_ComputerSystem WHERE ElementName = %s OR Name = %s", quoted,
                                           quoted);
    g_autoptr(GPtrArray) systems = wsman_client_enumerate(self->client, "Msvm_ComputerSystem", wql, error);
    SessionVm *vm;
    int index;

    if (systems == NULL)
        return NULL;
    index = pick_vm(systems, name_or_uuid);
    if (index < 0) {
        g_set_error(error, COMMAND_ERROR, COMMAND_ERROR_REFUSED,
                    "There is no VM with the name or UUID '%s' on this host; 'virt-replica list' shows what there is",
                    name_or_uuid);
        return NULL;
    }
    vm = g_new0(SessionVm, 1);
    vm->system = g_ptr_array_steal_index(systems, (guint)index);
    vm->uuid = g_ascii_strdown(wsman_instance_text(vm->system, "Name"), -1);
    vm->name = g_strdup(wsman_instance_text(vm->system, "ElementName"));
    vm->reference = wsman_reference_new("Msvm_ComputerSystem");
    wsman_reference_add(vm->reference, "CreationClassName", "Msvm_ComputerSystem");
    wsman_reference_add(vm->reference, "Name", vm->uuid);
    return vm;
}

char *
session_relationship_id(const SessionVm *vm)
{
    return g_strdup_printf("Microsoft:%s\\HVR\\%u", vm->uuid, vm->relationship);
}

char *
session_embedded_relationship(const SessionVm *vm)
{
    g_autoptr(WsmanEmbedded) relationship = wsman_embedded_new("Msvm_ReplicationRelationship");
    g_autofree char *id = session_relationship_id(vm);

    wsman_embedded_set(relationship, "InstanceID", "string", id);
    return wsman_embedded_text(relationship);
}

static WsmanInstance *
get_of_relationship(Session *self, const SessionVm *vm, const char *class_name, GError **error)
{
    g_autoptr(WsmanReference) reference = wsman_reference_new(class_name);
    g_autofree char *id = session_relationship_id(vm);

    wsman_reference_add(reference, "InstanceID", id);
    return wsman_client_get(self->client, reference, error);
}

WsmanInstance *
session_relationship(Session *self, const SessionVm *vm, GError **error)
{
    return get_of_relationship(self, vm, "Msvm_ReplicationRelationship", error);
}

WsmanInstance *
session_settings(Session *self, const SessionVm *vm, GError **error)
{
    return get_of_relationship(self, vm, "Msvm_ReplicationSettingData", error);
}

static gint
compare_points(gconstpointer a, gconstpointer b)
{
    int64_t time_a = wsman_instance_time(*(WsmanInstance *const *)a, "CreationTime");
    int64_t time_b = wsman_instance_time(*(WsmanInstance *const *)b, "CreationTime");

    return time_a < time_b ? -1 : time_a > time_b;
}

GPtrArray *
session_points(Session *self, const SessionVm *vm, GError **error)
{
    g_autofree char *quoted = session_wql_quote(vm->uuid);
    g_autofree char *wql = g_strdup_printf("SELECT * FROM Msvm_VirtualSystemSettingData WHERE VirtualSystemIdentifier = %s",
                                           quoted);
    GPtrArray *points = wsman_client_enumerate(self->client, "Msvm_VirtualSystemSettingData", wql, error);

    for (guint i = points != NULL ? points->len : 0; i > 0; i--) {
        if (value_point_type(wsman_instance_text(points->pdata[i - 1], "VirtualSystemType")) == NULL)
            g_ptr_array_remove_index(points, i - 1);
    }
    if (points != NULL)
        g_ptr_array_sort(points, compare_points);
    return points;
}

GPtrArray *
session_adapters(Session *self, const SessionVm *vm, const char *class_name, GError **error)
{
    g_autofree char *wql = g_strdup_printf("SELECT * FROM %s WHERE InstanceID LIKE 'Microsoft:%s%%'", class_name, vm->uuid);

    return wsman_client_enumerate(self->client, class_name, wql, error);
}
