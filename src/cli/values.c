#include "cli/values.h"

#include "cli/command.h"

#include <string.h>

typedef struct {
    uint64_t    number;
    const char *name;
} ValueName;

static const char *
find(const ValueName *names, size_t n_names, uint64_t number)
{
    for (size_t i = 0; i < n_names; i++) {
        if (names[i].number == number)
            return names[i].name;
    }
    return "unknown";
}

const char *
value_replication_state(uint64_t number)
{
    static const ValueName names[] = {
        { 0, "not replicated" },         { 1, "ready" },
        { 2, "initial replication" },    { 3, "replicating" },
        { 4, "prepared" },               { 5, "failed over" },
        { 6, "committed" },              { 7, "suspended" },
        { 8, "critical" },               { 9, "waiting for resync" },
        { 10, "resynchronizing" },       { 11, "resync suspended" },
        { 12, "failing over" },          { 13, "failing back" },
        { 14, "failback complete" },     { 15, "disk update" },
        { 16, "disk update critical" },  { 18, "changing role" },
    };

    return find(names, G_N_ELEMENTS(names), number);
}

const char *
value_health(uint64_t number)
{
    static const ValueName names[] = { { 0, "-" }, { 1, "ok" }, { 2, "warning" }, { 3, "critical" } };

    return find(names, G_N_ELEMENTS(names), number);
}

const char *
value_mode(uint64_t number)
{
    static const ValueName names[] = {
        { 0, "-" }, { 1, "primary" }, { 2, "replica" }, { 3, "test replica" }, { 4, "extended replica" },
    };

    return find(names, G_N_ELEMENTS(names), number);
}

const char *
value_point_kind(uint64_t number)
{
    static const ValueName names[] = {
        { 0, "none" }, { 1, "standard" }, { 2, "application-consistent" }, { 3, "planned" },
    };

    return find(names, G_N_ELEMENTS(names), number);
}

const char *
value_power(uint64_t number)
{
    static const ValueName names[] = {
        { 2, "running" }, { 3, "off" },     { 4, "shutting down" }, { 6, "saved" },
        { 9, "paused" },  { 10, "starting" },
    };

    return find(names, G_N_ELEMENTS(names), number);
}

const char *
value_job_state(uint64_t number)
{
    static const ValueName names[] = {
        { 2, "new" },       { 3, "starting" },   { 4, "running" }, { 5, "suspended" }, { 6, "shutting down" },
        { 7, "completed" }, { 8, "terminated" }, { 9, "killed" },  { 10, "failed" },   { 32768, "completed with warnings" },
    };

    return find(names, G_N_ELEMENTS(names), number);
}

const char *
value_job_type(uint64_t number)
{
    static const ValueName names[] = {
        { 12, "start" },           { 13, "power off" },          { 16, "shut down" },
        { 90, "modify server" },   { 91, "enable" },             { 92, "modify" },
        { 93, "remove" },          { 94, "start initial" },      { 95, "import" },
        { 96, "change state" },    { 97, "failover" },           { 98, "revert" },
        { 99, "commit" },          { 100, "prepare" },           { 101, "cancel preparation" },
        { 102, "test failover" },  { 103, "remove test" },       { 104, "reverse" },
        { 105, "sending" },        { 106, "receiving" },         { 107, "resync" },
        { 108, "apply" },          { 115, "test connection" },   { 116, "sending initial" },
    };

    return find(names, G_N_ELEMENTS(names), number);
}

const char *
value_return_code(uint64_t code)
{
    static const ValueName names[] = {
        { 1, "not supported" },
        { 32768, "the operation failed" },
        { 32769, "access denied: this needs root, a member of the socket's group, or an API user with the right" },
        { 32770, "not supported by this version of virt-replica" },
        { 32771, "the state is not known" },
        { 32772, "it took too long; try again" },
        { 32773, "a parameter is not valid: no such VM or recovery point, or a value out of its range" },
        { 32774, "another operation on this VM runs; wait for its end ('virt-replica jobs' shows it)" },
        { 32775, "not possible in the state of this VM; 'virt-replica status' shows the state" },
        { 32776, "a value has the wrong type" },
        { 32777, "the hypervisor or the other host is not available; try again when it is" },
        { 32778, "out of memory" },
        { 32779, "the files of the recovery point are gone; choose another one of 'virt-replica points'" },
    };

    return find(names, G_N_ELEMENTS(names), code);
}

const char *
value_point_type(const char *virtual_system_type)
{
    static const struct { const char *type, *name; } names[] = {
        { "Microsoft:Hyper-V:Snapshot:Replica:Standard", "standard" },
        { "Microsoft:Hyper-V:Snapshot:Replica:ApplicationConsistent", "application-consistent" },
        { "Microsoft:Hyper-V:Snapshot:Replica:PlannedFailover", "planned" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        if (g_strcmp0(virtual_system_type, names[i].type) == 0)
            return names[i].name;
    }
    return NULL;
}

/* ---- times ---- */

char *
value_time_local(int64_t usec)
{
    g_autoptr(GDateTime) time = usec != 0 ? g_date_time_new_from_unix_local(usec / G_USEC_PER_SEC) : NULL;

    return time != NULL ? g_date_time_format(time, "%Y-%m-%d %H:%M:%S") : g_strdup("never");
}

char *
value_time_utc(int64_t usec)
{
    g_autoptr(GDateTime) time = usec != 0 ? g_date_time_new_from_unix_utc(usec / G_USEC_PER_SEC) : NULL;

    return time != NULL ? g_date_time_format(time, "%Y-%m-%dT%H:%M:%SZ") : NULL;
}

char *
value_duration(int64_t seconds)
{
    int64_t minutes = seconds / 60, hours = minutes / 60, days = hours / 24;

    if (minutes == 0)
        return g_strdup_printf("%" G_GINT64_FORMAT " s", seconds);
    if (hours == 0)
        return g_strdup_printf("%" G_GINT64_FORMAT " min %" G_GINT64_FORMAT " s", minutes, seconds % 60);
    if (days == 0)
        return g_strdup_printf("%" G_GINT64_FORMAT " h %" G_GINT64_FORMAT " min", hours, minutes % 60);
    return g_strdup_printf("%" G_GINT64_FORMAT " d %" G_GINT64_FORMAT " h", days, hours % 24);
}

static unsigned
unit_seconds(char unit)
{
    switch (unit) {
    case '\0':
    case 's':
        return 1;
    case 'm':
        return 60;
    case 'h':
        return 3600;
    case 'd':
        return 86400;
    default:
        return 0;
    }
}

bool
value_parse_duration(const char *text, unsigned maximum_sec, unsigned *ret_sec, GError **error)
{
    char *end = NULL;
    guint64 number = g_ascii_strtoull(text, &end, 10);
    unsigned unit = *end != '\0' && end[1] != '\0' ? 0 : unit_seconds(*end);

    if (!g_ascii_isdigit(text[0]) || unit == 0 || number > maximum_sec / unit) {
        g_set_error(error, COMMAND_ERROR, COMMAND_ERROR_USAGE,
                    "'%s' is not a duration of at most %u s; write it as 30, 30s, 10m, 4h or 1d", text, maximum_sec);
        return false;
    }
    *ret_sec = (unsigned)number * unit;
    return true;
}

bool
value_parse_number(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *ret_number, GError **error)
{
    guint64 number;

    if (!g_ascii_string_to_unsigned(text, 10, minimum, maximum, &number, NULL)) {
        g_set_error(error, COMMAND_ERROR, COMMAND_ERROR_USAGE,
                    "'%s' is not a number from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT, text, minimum, maximum);
        return false;
    }
    *ret_number = number;
    return true;
}

/* Dates and clock times with what people leave out put in: the day, the seconds, the T. */
static char *
complete_time(const char *text, int64_t now_usec)
{
    g_autoptr(GDateTime) now = g_date_time_new_from_unix_local(now_usec / G_USEC_PER_SEC);
    g_autofree char *today = g_date_time_format(now, "%Y-%m-%dT");
    size_t length = strlen(text);
    bool has_date = length >= strlen("2026-05-01") && text[4] == '-';
    bool lacks_clock = has_date && length == strlen("2026-05-01");
    bool lacks_seconds = length == (has_date ? strlen("2026-05-01T10:20") : strlen("10:20"));
    char *full = g_strconcat(has_date ? "" : today, text, lacks_clock ? "T00:00:00" : lacks_seconds ? ":00" : "", NULL);

    return g_strdelimit(full, " ", 'T');
}

bool
value_parse_time(const char *text, int64_t now_usec, int64_t *ret_usec, GError **error)
{
    g_autoptr(GTimeZone) local = g_time_zone_new_local();
    g_autofree char *full = complete_time(text, now_usec);
    g_autoptr(GDateTime) time = NULL;
    unsigned away_sec;

    if (text[0] == '-' || text[0] == '+') {
        if (!value_parse_duration(text + 1, 366 * 86400, &away_sec, error))
            return false;
        *ret_usec = now_usec + (text[0] == '-' ? -1 : 1) * (int64_t)away_sec * G_USEC_PER_SEC;
        return true;
    }
    time = g_date_time_new_from_iso8601(full, local);
    if (time == NULL) {
        g_set_error(error, COMMAND_ERROR, COMMAND_ERROR_USAGE,
                    "'%s' is not a time; write '2026-05-01 10:20:30' (local time, or with Z or +02:00), 10:20:30, -15m or +2h", text);
        return false;
    }
    *ret_usec = g_date_time_to_unix(time) * G_USEC_PER_SEC + g_date_time_get_microsecond(time);
    return true;
}
