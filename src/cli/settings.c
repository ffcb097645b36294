#include "cli/settings.h"

#include "cli/values.h"

#include <stdio.h>
#include <string.h>

#define DEFAULT_PORT           8443
#define AUTHENTICATION_BY_CERTIFICATE "2"
#define INTERVAL_MAX_SEC       86400
#define JOURNAL_MAX_SEC        (7 * 86400)
#define CONSISTENT_MAX_SEC     (12 * 3600)

typedef struct {
    uint64_t port, interval_sec, history;
    unsigned journal_sec, consistent_sec;
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
parse_duration_option(const CommandLine *line, const char *option, unsigned maximum_sec, unsigned *seconds, GError **error)
{
    const char *text = command_line_value(line, option);

    if (text == NULL || value_parse_duration(text, maximum_sec, seconds, error))
        return true;
    g_prefix_error(error, "--%s: ", option);
    return false;
}

static bool
parse_numbers(const CommandLine *line, Numbers *ret_numbers, GError **error)
{
    *ret_numbers = (Numbers){ .port = DEFAULT_PORT, .interval_sec = 300 };
    if (!parse_number_option(line, "port", 1, G_MAXUINT16, &ret_numbers->port, error)
        || !parse_number_option(line, "interval", 1, INTERVAL_MAX_SEC, &ret_numbers->interval_sec, error)
        || !parse_number_option(line, "history", 0, 24, &ret_numbers->history, error))
        return false;
    return parse_duration_option(line, "journal", JOURNAL_MAX_SEC, &ret_numbers->journal_sec, error)
        && parse_duration_option(line, "consistent", CONSISTENT_MAX_SEC, &ret_numbers->consistent_sec, error);
}

/* ---- --resync ---- */

typedef struct {
    bool     given, by_itself;
    unsigned start_min, end_min; /* of the day */
} Resync;

static bool
parse_resync(const CommandLine *line, Resync *ret_resync, GError **error)
{
    const char *text = command_line_value(line, "resync");
    Resync resync = { .given = text != NULL };
    unsigned start_hour, start_min, end_hour, end_min;
    int length = 0;

    if (text != NULL && strcmp(text, "manual") != 0) {
        resync.by_itself = true;
        if (strcmp(text, "auto") != 0) {
            if (sscanf(text, "%2u:%2u-%2u:%2u%n", &start_hour, &start_min, &end_hour, &end_min, &length) != 4
                || text[length] != '\0' || start_hour > 23 || start_min > 59 || end_hour > 23 || end_min > 59) {
                g_set_error(error, COMMAND_ERROR, COMMAND_ERROR_USAGE,
                            "--resync: '%s' is not auto, manual or hours such as 22:00-06:00", text);
                return false;
            }
            resync.start_min = start_hour * 60 + start_min;
            resync.end_min = end_hour * 60 + end_min;
        }
    }
    *ret_resync = resync;
    return true;
}

static void
set_time_of_day(WsmanEmbedded *settings, const char *name, unsigned minutes)
{
    g_autofree char *text = g_strdup_printf("00000000%02u%02u00.000000:000", minutes / 60, minutes % 60);

    wsman_embedded_set(settings, name, "datetime", text);
}

/* Both ends being equal means the whole day. */
static void
set_resync(WsmanEmbedded *settings, const Resync *resync)
{
    if (!resync->given)
        return;
    wsman_embedded_set(settings, "AutoResynchronizeEnabled", "boolean", resync->by_itself ? "TRUE" : "FALSE");
    if (!resync->by_itself)
        return;
    set_time_of_day(settings, "AutoResynchronizeIntervalStart", resync->start_min);
    set_time_of_day(settings, "AutoResynchronizeIntervalEnd", resync->end_min);
}

bool
settings_check_line(const CommandLine *line, GError **error)
{
    Numbers numbers;
    Resync resync;

    if (command_line_value(line, "to") == NULL) {
        g_set_error_literal(error, COMMAND_ERROR, COMMAND_ERROR_USAGE, "--to HOST is missing: the replica server");
        return false;
    }
    return parse_numbers(line, &numbers, error) && parse_resync(line, &resync, error);
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

/* The property knows three values only; others go into AdditionalSettings, where they count instead of it. @none:
 * what stands for no settings, null or the empty text that takes away what was there. */
static void
set_durations(WsmanEmbedded *settings, const Numbers *numbers, const char *none)
{
    uint64_t documented = numbers->interval_sec >= 900 ? 900 : numbers->interval_sec >= 300 ? 300 : 30;
    g_autoptr(GString) additional = g_string_new(NULL);

    set_number(settings, "ReplicationInterval", documented);
    if (numbers->interval_sec != documented)
        g_string_append_printf(additional, "interval=%" G_GUINT64_FORMAT, numbers->interval_sec);
    if (numbers->journal_sec > 0)
        g_string_append_printf(additional, "%sjournal=%us", additional->len > 0 ? ";" : "", numbers->journal_sec);
    if (numbers->consistent_sec > 0)
        g_string_append_printf(additional, "%sconsistent=%us", additional->len > 0 ? ";" : "", numbers->consistent_sec);
    wsman_embedded_set(settings, "AdditionalSettings", "string", additional->len > 0 ? additional->str : none);
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

/* The target in an InstanceID, or in the object path that has it; (transfer full) */
static char *
target_of_disk(const char *text)
{
    const char *start = strrchr(text, '\\');

    start = start != NULL ? start + 1 : text;
    return g_strndup(start, strcspn(start, "\""));
}

/* The disks that replicate now, without those in @excluded and with those in @included (both nullable); (transfer full) a list with commas */
static char *
changed_disks(const WsmanInstance *current, const char *included, const char *excluded)
{
    const GPtrArray *now = wsman_instance_values(current, "IncludedDisks");
    g_auto(GStrv) in = g_strsplit(included != NULL ? included : "", ",", -1), out = g_strsplit(excluded != NULL ? excluded : "", ",", -1);
    g_autoptr(GPtrArray) targets = g_ptr_array_new_with_free_func(g_free);

    for (char **disk = out; *disk != NULL; disk++)
        g_strstrip(*disk);
    for (guint i = 0; now != NULL && i < now->len; i++) {
        g_autofree char *target = target_of_disk(now->pdata[i]);

        if (!g_strv_contains((const char *const *)out, target))
            g_ptr_array_add(targets, g_steal_pointer(&target));
    }
    for (char **disk = in; *disk != NULL; disk++) {
        if (*g_strstrip(*disk) != '\0' && !g_ptr_array_find_with_equal_func(targets, *disk, g_str_equal, NULL))
            g_ptr_array_add(targets, g_strdup(*disk));
    }
    g_ptr_array_add(targets, NULL);
    return g_strjoinv(",", (char **)targets->pdata);
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
    Resync resync;

    if (!parse_numbers(line, &numbers, error) || !parse_resync(line, &resync, error))
        return NULL;
    settings = copy_writable(current);
    wsman_embedded_set(settings, "AuthenticationType", "uint16", AUTHENTICATION_BY_CERTIFICATE);
    wsman_embedded_set(settings, "RecoveryConnectionPoint", "string", command_line_value(line, "to"));
    wsman_embedded_set(settings, "CompressionEnabled", "boolean",
                       command_line_switch(line, "no-compression") ? "FALSE" : "TRUE");
    set_number(settings, "RecoveryServerPortNumber", numbers.port);
    set_number(settings, "RecoveryHistory", numbers.history);
    set_durations(settings, &numbers, NULL);
    set_resync(settings, &resync);
    set_disks(settings, wsman_instance_text(current, "VirtualSystemIdentifier"), command_line_value(line, "disks"));
    return settings;
}

/* Seconds of one duration in AdditionalSettings; 0 when it is not there. */
static unsigned
additional_duration(const WsmanInstance *settings, const char *key, unsigned maximum_sec)
{
    const char *additional = wsman_instance_text(settings, "AdditionalSettings");
    g_auto(GStrv) parts = g_strsplit_set(additional != NULL ? additional : "", ";,", -1);

    for (char **part = parts; *part != NULL; part++) {
        unsigned seconds;

        if (g_str_has_prefix(g_strstrip(*part), key) && (*part)[strlen(key)] == '='
            && value_parse_duration(*part + strlen(key) + 1, maximum_sec, &seconds, NULL))
            return seconds;
    }
    return 0;
}

unsigned
settings_interval(const WsmanInstance *settings)
{
    unsigned own = additional_duration(settings, "interval", INTERVAL_MAX_SEC);

    return own > 0 ? own : (unsigned)wsman_instance_number(settings, "ReplicationInterval", 0);
}

/* ---- modify ---- */

bool
settings_check_changes(const CommandLine *line, GError **error)
{
    static const char *const options[] = { "to", "port", "interval", "history", "journal", "consistent", "resync", "include", "exclude" };
    Numbers numbers;
    Resync resync;
    bool any = false;

    for (size_t i = 0; i < G_N_ELEMENTS(options); i++)
        any = any || command_line_value(line, options[i]) != NULL;
    if (!any) {
        g_set_error_literal(error, COMMAND_ERROR, COMMAND_ERROR_USAGE, "nothing to change is given; 'virt-replica modify --help' shows what can be");
        return false;
    }
    return parse_numbers(line, &numbers, error) && parse_resync(line, &resync, error);
}

WsmanEmbedded *
settings_changes(const WsmanInstance *current, const CommandLine *line, GError **error)
{
    const char *to = command_line_value(line, "to");
    WsmanEmbedded *settings;
    Numbers numbers;
    Resync resync;

    if (!parse_numbers(line, &numbers, error) || !parse_resync(line, &resync, error))
        return NULL;
    settings = wsman_embedded_new("Msvm_ReplicationSettingData");
    wsman_embedded_set(settings, "InstanceID", "string", wsman_instance_text(current, "InstanceID"));
    if (to != NULL)
        wsman_embedded_set(settings, "RecoveryConnectionPoint", "string", to);
    if (command_line_value(line, "port") != NULL)
        set_number(settings, "RecoveryServerPortNumber", numbers.port);
    if (command_line_value(line, "history") != NULL)
        set_number(settings, "RecoveryHistory", numbers.history);
    if (command_line_value(line, "interval") != NULL || command_line_value(line, "journal") != NULL
        || command_line_value(line, "consistent") != NULL) {
        if (command_line_value(line, "interval") == NULL)
            numbers.interval_sec = settings_interval(current);
        if (command_line_value(line, "journal") == NULL)
            numbers.journal_sec = additional_duration(current, "journal", JOURNAL_MAX_SEC);
        if (command_line_value(line, "consistent") == NULL)
            numbers.consistent_sec = additional_duration(current, "consistent", CONSISTENT_MAX_SEC);
        set_durations(settings, &numbers, "");
    }
    if (command_line_value(line, "consistent") != NULL && numbers.consistent_sec == 0)
        set_number(settings, "ApplicationConsistentSnapshotInterval", 0); /* it would count otherwise */
    set_resync(settings, &resync);
    if (command_line_value(line, "include") != NULL || command_line_value(line, "exclude") != NULL) {
        g_autofree char *disks = changed_disks(current, command_line_value(line, "include"), command_line_value(line, "exclude"));

        set_disks(settings, wsman_instance_text(current, "VirtualSystemIdentifier"), disks);
    }
    return settings;
}
