#include "cli/settings.h"

#include "cli/values.h"

#include <string.h>

#define DEFAULT_PORT           8443
#define AUTHENTICATION_BY_CERTIFICATE "2"
#define INTERVAL_MAX_SEC       86400
#define JOURNAL_MAX_SEC        (7 * 86400)

typedef struct {
    uint64_t port, interval_sec, history;
    unsigned journal_sec;
} Numbers;

static bool
parse_number_option(const CommandLine *line, const char *option, uint64_t minimum, uint64_t maximum, uint64_t *number,
                    GError **error)
{
    const char *text = command_line_value(line, option);

    if (text == NULL || value_parse_number(text, minimum, maximum, number, error))
        return true;
    g_prefix_error(error, "--%s: ", option);
    return false;
}

static bool
parse_numbers(const CommandLine *line, Numbers *ret_numbers, GError **error)
{
    const char *journal = command_line_value(line, "journal");

    *ret_numbers = (Numbers){ .port = DEFAULT_PORT, .interval_sec = 300 };
    if (!parse_number_option(line, "port", 1, G_MAXUINT16, &ret_numbers->port, error)
        || !parse_number_option(line, "interval", 1, INTERVAL_MAX_SEC, &ret_numbers->interval_sec, error)
        || !parse_number_option(line, "history", 0, 24, &ret_numbers->history, error))
        return false;
    if (journal == NULL || value_parse_duration(journal, JOURNAL_MAX_SEC, &ret_numbers->journal_sec, error))
        return true;
    g_prefix_error(error, "--journal: ");
    return false;
}

bool
settings_check_line(const CommandLine *line, GError **error)
{
    Numbers numbers;

    if (command_line_value(line, "to") == NULL) {
        g_set_error_literal(error, COMMAND_ERROR, COMMAND_ERROR_USAGE, "--to HOST is missing: the replica server");
        return false;
    }
    return parse_numbers(line, &numbers, error);
}

/* What clients may write; the rest of the class is read-only or belongs to others. */
static const struct {
    const char *name, *type;
} writable[] = {
    { "InstanceID", "string" },
    { "VirtualSystemIdentifier", "string" },
    { "AuthenticationType", "uint16" },
    { "CertificateThumbPrint", "string" },
    { "CompressionEnabled", "boolean" },
    { "BypassProxyServer", "boolean" },
    { "RecoveryConnectionPoint", "string" },
    { "RecoveryServerPortNumber", "uint16" },
    { "ReplicateHostKvpItems", "boolean" },
    { "ApplicationConsistentSnapshotInterval", "uint16" },
    { "RecoveryHistory", "uint16" },
    { "AutoResynchronizeEnabled", "boolean" },
    { "AdditionalSettings", "string" },
    { "ReplicationInterval", "uint16" },
};

static void
set_number(WsmanEmbedded *settings, const char *name, uint64_t number)
{
    g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, number);

    wsman_embedded_set(settings, name, "uint16", text);
}

/* The property knows three values only; others go into AdditionalSettings, where they count instead of it. */
static void
set_interval(WsmanEmbedded *settings, const Numbers *numbers)
{
    uint64_t documented = numbers->interval_sec >= 900 ? 900 : numbers->interval_sec >= 300 ? 300 : 30;
    g_autoptr(GString) additional = g_string_new(NULL);

    set_number(settings, "ReplicationInterval", documented);
    if (numbers->interval_sec != documented)
        g_string_append_printf(additional, "interval=%" G_GUINT64_FORMAT, numbers->interval_sec);
    if (numbers->journal_sec > 0)
        g_string_append_printf(additional, "%sjournal=%us", additional->len > 0 ? ";" : "", numbers->journal_sec);
    wsman_embedded_set(settings, "AdditionalSettings", "string", additional->len > 0 ? additional->str : NULL);
}

/* By the InstanceIDs of Msvm_StorageAllocationSettingData, which are made of VM and target. */
static void
set_disks(WsmanEmbedded *settings, const char *vm, const char *list)
{
    g_auto(GStrv) disks = list != NULL ? g_strsplit(list, ",", -1) : NULL;

    for (char **disk = disks; disk != NULL && *disk != NULL; disk++) {
        g_autofree char *target = *disk;

        *disk = g_strdup_printf("Microsoft:%s\\%s", vm, g_strstrip(target));
    }
    if (disks != NULL)
        wsman_embedded_set_array(settings, "IncludedDisks", "string", (const char *const *)disks);
}

static WsmanEmbedded *
copy_writable(const WsmanInstance *current)
{
    WsmanEmbedded *settings = wsman_embedded_new("Msvm_ReplicationSettingData");

    for (size_t i = 0; i < G_N_ELEMENTS(writable); i++) {
        const char *value = wsman_instance_text(current, writable[i].name);

        if (value != NULL)
            wsman_embedded_set(settings, writable[i].name, writable[i].type, value);
    }
    return settings;
}

WsmanEmbedded *
settings_for_reverse(const WsmanInstance *current, const CommandLine *line, GError **error)
{
    const char *to = command_line_value(line, "to");
    uint64_t port = DEFAULT_PORT;
    WsmanEmbedded *settings;

    if (!parse_number_option(line, "port", 1, G_MAXUINT16, &port, error))
        return NULL;
    if (to == NULL)
        to = wsman_instance_text(current, "PrimaryConnectionPoint");
    if (to == NULL) {
        g_set_error_literal(error, COMMAND_ERROR, COMMAND_ERROR_USAGE, "--to HOST is missing: the former primary's host");
        return NULL;
    }
    settings = copy_writable(current);
    wsman_embedded_set(settings, "RecoveryConnectionPoint", "string", to);
    set_number(settings, "RecoveryServerPortNumber", port);
    return settings;
}

WsmanEmbedded *
settings_from_line(const WsmanInstance *current, const CommandLine *line, GError **error)
{
    WsmanEmbedded *settings;
    Numbers numbers;

    if (!parse_numbers(line, &numbers, error))
        return NULL;
    settings = copy_writable(current);
    wsman_embedded_set(settings, "AuthenticationType", "uint16", AUTHENTICATION_BY_CERTIFICATE);
    wsman_embedded_set(settings, "RecoveryConnectionPoint", "string", command_line_value(line, "to"));
    wsman_embedded_set(settings, "CompressionEnabled", "boolean",
                       command_line_switch(line, "no-compression") ? "FALSE" : "TRUE");
    set_number(settings, "RecoveryServerPortNumber", numbers.port);
    set_number(settings, "RecoveryHistory", numbers.history);
    set_interval(settings, &numbers);
    set_disks(settings, wsman_instance_text(current, "VirtualSystemIdentifier"), command_line_value(line, "disks"));
    return settings;
}

unsigned
settings_interval(const WsmanInstance *settings)
{
    const char *additional = wsman_instance_text(settings, "AdditionalSettings");
    g_auto(GStrv) parts = g_strsplit(additional != NULL ? additional : "", ";", -1);

    for (char **part = parts; *part != NULL; part++) {
        unsigned seconds;

        if (g_str_has_prefix(g_strstrip(*part), "interval=")
            && value_parse_duration(*part + strlen("interval="), INTERVAL_MAX_SEC, &seconds, NULL))
            return seconds;
    }
    return (unsigned)wsman_instance_number(settings, "ReplicationInterval", 0);
}
