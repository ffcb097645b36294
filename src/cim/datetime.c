/* Texts of points in time and intervals.
 *
 * DMTF form (DSP0004 5.2.4), always 25 characters:
 *   point     yyyymmddHHMMSS.mmmmmmsUUU   s is + or -, UUU minutes from UTC
 *   interval  ddddddddHHMMSS.mmmmmm:000
 * ISO 8601 form (WS-CIM): 2024-05-01T10:20:30.5+02:00, P1DT2H3M4.5S
 */
#include "cim/cim.h"

#include <string.h>

#define DMTF_LENGTH 25
#define USEC_PER_DAY (INT64_C(86400) * G_USEC_PER_SEC)
#define MAX_INTERVAL_DAYS 99999999

typedef struct {
    bool is_interval;
    int  year, month, day, hour, minute, second, usec, offset_min;
    int64_t days; /* of an interval */
} Moment;

static bool
take_digits(const char **text, unsigned n, int64_t *ret)
{
    int64_t number = 0;

    for (unsigned i = 0; i < n; i++) {
        if (!g_ascii_isdigit((*text)[i]))
            return false;
        number = number * 10 + ((*text)[i] - '0');
    }
    *text += n;
    *ret = number;
    return true;
}

static bool
take_number(const char **text, unsigned n, int *ret)
{
    int64_t number;

    if (!take_digits(text, n, &number))
        return false;
    *ret = (int) number;
    return true;
}

static bool
take_char(const char **text, char wanted)
{
    if (**text != wanted)
        return false;
    (*text)++;
    return true;
}

/* Up to six digits of a second's fraction count; more are dropped. */
static bool
take_fraction(const char **text, int *ret_usec)
{
    int usec = 0;
    unsigned n = 0;

    for (; g_ascii_isdigit(**text); (*text)++, n++) {
        if (n < 6)
            usec = usec * 10 + (**text - '0');
    }
    if (n == 0)
        return false;
    for (; n < 6; n++)
        usec *= 10;
    *ret_usec = usec;
    return true;
}

static bool
moment_is_valid(const Moment *moment)
{
    if (moment->hour > 23 || moment->minute > 59 || moment->second > 59)
        return false;
    if (moment->is_interval)
        return moment->days <= MAX_INTERVAL_DAYS;
    return moment->year >= 1 && moment->month >= 1 && moment->month <= 12 && ABS(moment->offset_min) <= 999 &&
           g_date_valid_dmy((GDateDay) moment->day, (GDateMonth) moment->month, (GDateYear) moment->year);
}

static bool
parse_dmtf(const char *text, Moment *moment)
{
    int64_t date;
    char sign;

    if (strlen(text) != DMTF_LENGTH || !take_digits(&text, 8, &date))
        return false;
    if (!take_number(&text, 2, &moment->hour) || !take_number(&text, 2, &moment->minute) ||
        !take_number(&text, 2, &moment->second) || !take_char(&text, '.') || !take_number(&text, 6, &moment->usec))
        return false;
    sign = *text++;
    if (!take_number(&text, 3, &moment->offset_min))
        return false;
    if (sign == ':') {
        moment->is_interval = true;
        moment->days = date;
        return moment->offset_min == 0 && moment_is_valid(moment);
    }
    if (sign == '-')
        moment->offset_min = -moment->offset_min;
    moment->year = (int) (date / 10000);
    moment->month = (int) (date / 100 % 100);
    moment->day = (int) (date % 100);
    return (sign == '+' || sign == '-') && moment_is_valid(moment);
}

static bool
parse_zone(const char *text, Moment *moment)
{
    int sign = *text == '-' ? -1 : 1;
    int hours, minutes;

    if (strcmp(text, "") == 0 || strcmp(text, "Z") == 0 || strcmp(text, "z") == 0)
        return true;
    if ((*text != '+' && *text != '-') || strlen(text) < 5)
        return false;
    text++;
    if (!take_number(&text, 2, &hours))
        return false;
    take_char(&text, ':');
    if (!take_number(&text, 2, &minutes) || *text != '\0' || minutes > 59)
        return false;
    moment->offset_min = sign * (hours * 60 + minutes);
    return true;
}

static bool
parse_iso_point(const char *text, Moment *moment)
{
    if (!take_number(&text, 4, &moment->year) || !take_char(&text, '-') || !take_number(&text, 2, &moment->month) ||
        !take_char(&text, '-') || !take_number(&text, 2, &moment->day))
        return false;
    if (*text == 'T' || *text == 't' || *text == ' ') {
        text++;
        if (!take_number(&text, 2, &moment->hour) || !take_char(&text, ':') ||
            !take_number(&text, 2, &moment->minute) || !take_char(&text, ':') ||
            !take_number(&text, 2, &moment->second))
            return false;
        if (take_char(&text, '.') && !take_fraction(&text, &moment->usec))
            return false;
    }
    return parse_zone(text, moment) && moment_is_valid(moment);
}

static void
moment_set_interval(Moment *moment, int64_t usec)
{
    int64_t seconds = usec / G_USEC_PER_SEC;

    moment->is_interval = true;
    moment->usec = (int) (usec % G_USEC_PER_SEC);
    moment->days = seconds / 86400;
    moment->hour = (int) (seconds / 3600 % 24);
    moment->minute = (int) (seconds / 60 % 60);
    moment->second = (int) (seconds % 60);
}

/* Years and months have no fixed length: they may only be 0. */
static bool
duration_unit_usec(char unit, bool in_time, int64_t *ret)
{
    static const struct { char unit; bool in_time; int64_t sec; } units[] = {
        { 'Y', false, 0 }, { 'M', false, 0 }, { 'W', false, 604800 }, { 'D', false, 86400 },
        { 'H', true, 3600 }, { 'M', true, 60 }, { 'S', true, 1 },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(units); i++) {
        if (units[i].unit == unit && units[i].in_time == in_time) {
            *ret = units[i].sec * G_USEC_PER_SEC;
            return true;
        }
    }
    return false;
}

static bool
parse_iso_duration(const char *text, Moment *moment)
{
    int64_t total = 0;
    bool in_time = false, any = false;

    for (text++; *text != '\0'; text++) {
        uint64_t number;
        int64_t unit;
        int fraction = 0;
        char *end;

        if (!in_time && *text == 'T') {
            in_time = true;
            continue;
        }
        if (!g_ascii_isdigit(*text))
            return false;
        number = g_ascii_strtoull(text, &end, 10);
        text = end;
        if (take_char(&text, '.') && !(take_fraction(&text, &fraction) && *text == 'S'))
            return false;
        if (!duration_unit_usec(*text, in_time, &unit) || (unit == 0 && number != 0))
            return false;
        if (unit != 0 && number > (uint64_t) (MAX_INTERVAL_DAYS * USEC_PER_DAY / unit))
            return false;
        if (__builtin_add_overflow(total, (int64_t) number * unit + fraction, &total))
            return false;
        any = true;
    }
    moment_set_interval(moment, total);
    return any && moment_is_valid(moment);
}

static bool
parse_any(const char *text, Moment *moment)
{
    memset(moment, 0, sizeof *moment);
    if (parse_dmtf(text, moment))
        return true;
    memset(moment, 0, sizeof *moment);
    return *text == 'P' ? parse_iso_duration(text, moment) : parse_iso_point(text, moment);
}

static char *
moment_to_dmtf(const Moment *moment)
{
    if (moment->is_interval)
        return g_strdup_printf("%08" G_GINT64_FORMAT "%02d%02d%02d.%06d:000", (gint64) moment->days, moment->hour,
                               moment->minute, moment->second, moment->usec);
    return g_strdup_printf("%04d%02d%02d%02d%02d%02d.%06d%c%03d", moment->year, moment->month, moment->day,
                           moment->hour, moment->minute, moment->second, moment->usec, moment->offset_min < 0 ? '-' : '+',
                           ABS(moment->offset_min));
}

char *
cim_datetime_from_any(const char *text, GError **error)
{
    g_autofree char *trimmed = g_strstrip(g_strdup(text));
    Moment moment;

    if (!parse_any(trimmed, &moment)) {
        g_set_error(error, CIM_ERROR, CIM_ERROR_TYPE_MISMATCH,
                    "'%.60s' is no date and time: give it as 20240501102030.000000+000, as 2024-05-01T10:20:30Z, or an "
                    "interval as P1DT2H", trimmed);
        return NULL;
    }
    return moment_to_dmtf(&moment);
}

char *
cim_datetime_to_iso(const char *dmtf, bool *ret_is_interval)
{
    Moment moment;
    g_autofree char *fraction = NULL, *zone = NULL;

    if (!parse_any(dmtf, &moment))
        return g_strdup(dmtf);
    if (ret_is_interval != NULL)
        *ret_is_interval = moment.is_interval;
    fraction = moment.usec == 0 ? g_strdup("") : g_strdup_printf(".%06d", moment.usec);
    if (moment.is_interval)
        return g_strdup_printf("P%" G_GINT64_FORMAT "DT%dH%dM%d%sS", (gint64) moment.days, moment.hour, moment.minute,
                               moment.second, fraction);
    zone = moment.offset_min == 0 ? g_strdup("Z")
                                  : g_strdup_printf("%c%02d:%02d", moment.offset_min < 0 ? '-' : '+',
                                                    ABS(moment.offset_min) / 60, ABS(moment.offset_min) % 60);
    return g_strdup_printf("%04d-%02d-%02dT%02d:%02d:%02d%s%s", moment.year, moment.month, moment.day, moment.hour,
                           moment.minute, moment.second, fraction, zone);
}

int64_t
cim_datetime_to_usec(const char *dmtf)
{
    Moment moment;
    g_autoptr(GDateTime) day = NULL;
    int64_t seconds;

    if (!parse_any(dmtf, &moment))
        return 0;
    seconds = moment.hour * 3600 + moment.minute * 60 + moment.second;
    if (moment.is_interval)
        return (moment.days * 86400 + seconds) * G_USEC_PER_SEC + moment.usec;
    day = g_date_time_new_utc(moment.year, moment.month, moment.day, 0, 0, 0);
    return (g_date_time_to_unix(day) + seconds - moment.offset_min * 60) * G_USEC_PER_SEC + moment.usec;
}

CimValue *
cim_value_new_datetime(int64_t usec_since_epoch)
{
    CimValue *value = cim_value_new_null(CIM_DATETIME, false);
    g_autoptr(GDateTime) time = NULL;
    int usec = (int) (usec_since_epoch % G_USEC_PER_SEC);

    if (usec_since_epoch <= 0)
        return value;
    time = g_date_time_new_from_unix_utc(usec_since_epoch / G_USEC_PER_SEC);
    if (time == NULL || g_date_time_get_year(time) > 9999)
        return value;
    value->is_null = false;
    value->v.string = g_strdup_printf("%04d%02d%02d%02d%02d%02d.%06d+000", g_date_time_get_year(time),
                                      g_date_time_get_month(time), g_date_time_get_day_of_month(time),
                                      g_date_time_get_hour(time), g_date_time_get_minute(time), g_date_time_get_second(time),
                                      usec);
    return value;
}

CimValue *
cim_value_new_interval(int64_t usec)
{
    CimValue *value = cim_value_new_null(CIM_DATETIME, false);
    Moment moment = { 0 };

    moment_set_interval(&moment, CLAMP(usec, 0, (MAX_INTERVAL_DAYS + 1) * USEC_PER_DAY - 1));
    value->is_null = false;
    value->v.string = moment_to_dmtf(&moment);
    return value;
}
