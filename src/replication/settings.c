#include "replication/settings.h"

#include <json-glib/json-glib.h>
#include <string.h>

#define INTERVAL_MIN_SEC  1
#define INTERVAL_MAX_SEC  (24 * 3600)
#define JOURNAL_MAX_SEC   (7 * 24 * 3600)
#define CONSISTENT_MIN_SEC 5 /* the guest stands still for a part of that */
#define CONSISTENT_MAX_SEC (12 * 3600)
#define CONNECTION_POINT_MAX 256 /* characters, as Msvm_ReplicationSettingData allows */

RelationshipSettings *
relationship_settings_new(void)
{
    RelationshipSettings *self = g_new0(RelationshipSettings, 1);
    self->authentication_type = 2;
    self->compression_enabled = true;
    self->replicate_host_kvp_items = true;
    self->auto_resynchronize = true; /* at any time of day */
    self->replication_interval_sec = 300;
    return self;
}

void
relationship_settings_free(RelationshipSettings *self)
{
    if (self == NULL)
        return;
    g_free(self->certificate_thumb_print);
    g_free(self->root_certificate_thumb_print);
    g_free(self->recovery_connection_point);
    g_free(self->recovery_host_system);
    g_free(self->primary_connection_point);
    g_free(self->primary_host_system);
    g_strfreev(self->included_disks);
    g_free(self->additional_settings);
    g_free(self);
}

RelationshipSettings *
relationship_settings_copy(const RelationshipSettings *other)
{
    RelationshipSettings *self = g_new(RelationshipSettings, 1);
    *self = *other;
    self->certificate_thumb_print = g_strdup(other->certificate_thumb_print);
    self->root_certificate_thumb_print = g_strdup(other->root_certificate_thumb_print);
    self->recovery_connection_point = g_strdup(other->recovery_connection_point);
    self->recovery_host_system = g_strdup(other->recovery_host_system);
    self->primary_connection_point = g_strdup(other->primary_connection_point);
    self->primary_host_system = g_strdup(other->primary_host_system);
    self->included_disks = g_strdupv(other->included_disks);
    self->additional_settings = g_strdup(other->additional_settings);
    return self;
}

static bool
invalid(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

static bool
invalid(GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_PARAMETER, text);
    return false;
}

static bool
parse_duration(const char *key, const char *text, unsigned maximum_sec, unsigned *ret_sec, GError **error)
{
    char *end = NULL;
    guint64 number = g_ascii_strtoull(text, &end, 10);
    unsigned unit = 1;
    if (*end == 'm')
        unit = 60;
    else if (*end == 'h')
        unit = 3600;
    if (*end == 's' || *end == 'm' || *end == 'h')
        end++;
    if (!g_ascii_isdigit(text[0]) || *end != '\0' || number > maximum_sec / unit)
        return invalid(error, "AdditionalSettings: '%s=%s' is not a duration of at most %u s; write it as 30, 30s, 10m or 4h",
                       key, text, maximum_sec);
    *ret_sec = (unsigned)number * unit;
    return true;
}

bool
additional_settings_parse(const char *text, AdditionalSettings *ret_additional, GError **error)
{
    AdditionalSettings parsed = { 0 };
    g_auto(GStrv) parts = g_strsplit_set(text != NULL ? text : "", ";,", -1);
    for (char **part = parts; *part != NULL; part++) {
        g_strstrip(*part);
        if (**part == '\0')
            continue;
        char *equals = strchr(*part, '=');
        if (equals == NULL)
            return invalid(error, "AdditionalSettings: '%s' has no value; write KEY=VALUE;KEY=VALUE", *part);
        *equals = '\0';
        const char *key = g_strstrip(*part), *value = g_strstrip(equals + 1);
        if (g_ascii_strcasecmp(key, "interval") == 0) {
            if (!parse_duration(key, value, INTERVAL_MAX_SEC, &parsed.interval_sec, error))
                return false;
            if (parsed.interval_sec < INTERVAL_MIN_SEC)
                return invalid(error, "AdditionalSettings: interval must be at least %d s", INTERVAL_MIN_SEC);
        } else if (g_ascii_strcasecmp(key, "journal") == 0) {
            if (!parse_duration(key, value, JOURNAL_MAX_SEC, &parsed.journal_sec, error))
                return false;
        } else if (g_ascii_strcasecmp(key, "consistent") == 0) {
            if (!parse_duration(key, value, CONSISTENT_MAX_SEC, &parsed.consistent_sec, error))
                return false;
            if (parsed.consistent_sec < CONSISTENT_MIN_SEC)
                return invalid(error, "AdditionalSettings: consistent must be at least %d s", CONSISTENT_MIN_SEC);
        } else {
            return invalid(error, "AdditionalSettings: '%s' is unknown; known are interval, journal and consistent", key);
        }
    }
    *ret_additional = parsed;
    return true;
}

bool
relationship_settings_check(const RelationshipSettings *settings, GError **error)
{
    AdditionalSettings additional;
    if (!additional_settings_parse(settings->additional_settings, &additional, error))
        return false;
    unsigned interval = settings->replication_interval_sec;
    if (interval != 30 && interval != 300 && interval != 900)
        return invalid(error, "ReplicationInterval must be 30, 300 or 900 s, not %u; for any other give "
                              "AdditionalSettings interval=SECONDS", interval);
    if (settings->recovery_history > 24)
        return invalid(error, "RecoveryHistory must be 0 to 24 hours, not %u", settings->recovery_history);
    if (settings->application_consistent_interval_h > 12)
        return invalid(error, "ApplicationConsistentSnapshotInterval must be 0 to 12 hours, not %u",
                       settings->application_consistent_interval_h);
    if (settings->authentication_type != 2) {
        g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_NOT_SUPPORTED,
                    "AuthenticationType %u is not supported between hosts; use 2 (certificate)",
                    settings->authentication_type);
        return false;
    }
    if (settings->recovery_connection_point == NULL || settings->recovery_connection_point[0] == '\0')
        return invalid(error, "RecoveryConnectionPoint is empty; give the host name of the replica server");
    if (strlen(settings->recovery_connection_point) > CONNECTION_POINT_MAX ||
        strpbrk(settings->recovery_connection_point, "/@?#\\ \t\r\n") != NULL)
        return invalid(error, "RecoveryConnectionPoint '%s' is not a host name", settings->recovery_connection_point);
    for (char **disk = settings->included_disks; disk != NULL && *disk != NULL; disk++) {
        if (g_strv_contains((const char *const *)disk + 1, *disk))
            return invalid(error, "IncludedDisks names disk '%s' twice", *disk);
    }
    if (settings->recovery_server_port == 0 || settings->recovery_server_port > 65535)
        return invalid(error, "RecoveryServerPortNumber must be 1 to 65535, not %u", settings->recovery_server_port);
    return true;
}

unsigned
relationship_settings_interval(const RelationshipSettings *settings)
{
    AdditionalSettings additional;
    if (additional_settings_parse(settings->additional_settings, &additional, NULL) && additional.interval_sec > 0)
        return additional.interval_sec;
    return settings->replication_interval_sec;
}

unsigned
relationship_settings_consistent_interval(const RelationshipSettings *settings)
{
    AdditionalSettings additional;
    if (!additional_settings_parse(settings->additional_settings, &additional, NULL) ||
        (settings->recovery_history == 0 && additional.journal_sec == 0))
        return 0;
    return additional.consistent_sec > 0 ? additional.consistent_sec : settings->application_consistent_interval_h * 3600;
}

bool
relationship_settings_may_resynchronize(const RelationshipSettings *settings, unsigned time_of_day_sec)
{
    unsigned start = settings->auto_resynchronize_start_sec, end = settings->auto_resynchronize_end_sec;
    if (!settings->auto_resynchronize || start == end)
        return settings->auto_resynchronize;
    bool after_start = time_of_day_sec >= start, before_end = time_of_day_sec < end;
    return start < end ? after_start && before_end : after_start || before_end;
}

/* ---- JSON ---- */

typedef enum { MEMBER_UNSIGNED, MEMBER_BOOL, MEMBER_STRING } MemberKind;

static const struct {
    const char *name;
    MemberKind  kind;
    size_t      offset;
} members[] = {
#define MEMBER(kind, name) { #name, kind, G_STRUCT_OFFSET(RelationshipSettings, name) }
    MEMBER(MEMBER_UNSIGNED, authentication_type),
    MEMBER(MEMBER_STRING, certificate_thumb_print),
    MEMBER(MEMBER_STRING, root_certificate_thumb_print),
    MEMBER(MEMBER_BOOL, compression_enabled),
    MEMBER(MEMBER_BOOL, bypass_proxy_server),
    MEMBER(MEMBER_STRING, recovery_connection_point),
    MEMBER(MEMBER_STRING, recovery_host_system),
    MEMBER(MEMBER_STRING, primary_connection_point),
    MEMBER(MEMBER_STRING, primary_host_system),
    MEMBER(MEMBER_UNSIGNED, recovery_server_port),
    MEMBER(MEMBER_BOOL, replicate_host_kvp_items),
    MEMBER(MEMBER_UNSIGNED, application_consistent_interval_h),
    MEMBER(MEMBER_UNSIGNED, recovery_history),
    MEMBER(MEMBER_BOOL, auto_resynchronize),
    MEMBER(MEMBER_UNSIGNED, auto_resynchronize_start_sec),
    MEMBER(MEMBER_UNSIGNED, auto_resynchronize_end_sec),
    MEMBER(MEMBER_UNSIGNED, replication_interval_sec),
    MEMBER(MEMBER_STRING, additional_settings),
#undef MEMBER
};

char *
relationship_settings_to_json(const RelationshipSettings *settings)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    json_builder_begin_object(builder);
    for (size_t i = 0; i < G_N_ELEMENTS(members); i++) {
        const void *place = (const char *)settings + members[i].offset;
        if (members[i].kind == MEMBER_STRING && *(char *const *)place == NULL)
            continue;
        json_builder_set_member_name(builder, members[i].name);
        if (members[i].kind == MEMBER_UNSIGNED)
            json_builder_add_int_value(builder, *(const unsigned *)place);
        else if (members[i].kind == MEMBER_BOOL)
            json_builder_add_boolean_value(builder, *(const bool *)place);
        else
            json_builder_add_string_value(builder, *(char *const *)place);
    }
    if (settings->included_disks != NULL) {
        json_builder_set_member_name(builder, "included_disks");
        json_builder_begin_array(builder);
        for (char **disk = settings->included_disks; *disk != NULL; disk++)
            json_builder_add_string_value(builder, *disk);
        json_builder_end_array(builder);
    }
    json_builder_end_object(builder);
    g_autoptr(JsonNode) root = json_builder_get_root(builder);
    return json_to_string(root, false);
}

static void
read_member(RelationshipSettings *settings, size_t i, JsonObject *object)
{
    JsonNode *node = json_object_get_member(object, members[i].name);
    if (node == NULL || !JSON_NODE_HOLDS_VALUE(node))
        return;
    void *place = (char *)settings + members[i].offset;
    GType type = json_node_get_value_type(node);
    if (members[i].kind == MEMBER_UNSIGNED && type == G_TYPE_INT64) {
        int64_t number = json_node_get_int(node);
        if (number >= 0 && number <= G_MAXUINT)
            *(unsigned *)place = (unsigned)number;
    } else if (members[i].kind == MEMBER_BOOL && type == G_TYPE_BOOLEAN) {
        *(bool *)place = json_node_get_boolean(node);
    } else if (members[i].kind == MEMBER_STRING && type == G_TYPE_STRING) {
        g_free(*(char **)place);
        *(char **)place = g_strdup(json_node_get_string(node));
    }
}

static char **
read_disks(JsonObject *object)
{
    JsonNode *node = json_object_get_member(object, "included_disks");
    if (node == NULL || !JSON_NODE_HOLDS_ARRAY(node))
        return NULL;
    JsonArray *array = json_node_get_array(node);
    g_autoptr(GPtrArray) disks = g_ptr_array_new();
    for (guint i = 0; i < json_array_get_length(array); i++) {
        JsonNode *item = json_array_get_element(array, i);
        if (JSON_NODE_HOLDS_VALUE(item) && json_node_get_value_type(item) == G_TYPE_STRING)
            g_ptr_array_add(disks, g_strdup(json_node_get_string(item)));
    }
    g_ptr_array_add(disks, NULL);
    return (char **)g_ptr_array_steal(disks, NULL);
}

RelationshipSettings *
relationship_settings_from_json(const char *json, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    g_autoptr(GError) cause = NULL;
    if (json == NULL || !json_parser_load_from_data(parser, json, -1, &cause) ||
        json_parser_get_root(parser) == NULL || !JSON_NODE_HOLDS_OBJECT(json_parser_get_root(parser))) {
        invalid(error, "relationship settings are not a JSON object: %s", cause != NULL ? cause->message : "wrong type");
        return NULL;
    }
    JsonObject *object = json_node_get_object(json_parser_get_root(parser));
    RelationshipSettings *settings = relationship_settings_new();
    for (size_t i = 0; i < G_N_ELEMENTS(members); i++)
        read_member(settings, i, object);
    settings->included_disks = read_disks(object);
    return settings;
}
