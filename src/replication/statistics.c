#include "replication/statistics.h"

#include <string.h>

/* ---- boundaries ---- */

static int64_t
local_offset(GTimeZone *zone, int64_t utc_sec)
{
    return g_time_zone_get_offset(zone, g_time_zone_find_interval(zone, G_TIME_TYPE_UNIVERSAL, utc_sec));
}

/* Seconds UTC at which the local clock shows @wall_sec; a time that is left out in spring is the moment of the change.
 */
static int64_t
utc_of_wall(GTimeZone *zone, int64_t wall_sec)
{
    gint64 wall = wall_sec;
    gint interval = g_time_zone_adjust_time(zone, G_TIME_TYPE_STANDARD, &wall);
    return wall - g_time_zone_get_offset(zone, interval);
}

static int64_t
floor_divide(int64_t number, int64_t divisor)
{
    int64_t quotient = number / divisor;
    return quotient * divisor > number ? quotient - 1 : quotient;
}

/* Boundary number @n, counted from 1970-01-01 of the local clock. */
static int64_t
boundary(const StatisticsPlan *plan, int64_t n)
{
    return utc_of_wall(plan->zone, (int64_t)plan->start_sec + n * (int64_t)plan->interval_sec);
}

/* A number whose boundary is not after @sec, and at most a few before the last such. */
static int64_t
number_before(const StatisticsPlan *plan, int64_t sec)
{
    int64_t n = floor_divide(sec + local_offset(plan->zone, sec) - (int64_t)plan->start_sec, plan->interval_sec);
    while (boundary(plan, n) > sec)
        n--;
    return n;
}

int64_t
statistics_boundary_after(const StatisticsPlan *plan, int64_t usec)
{
    int64_t sec = floor_divide(usec, G_USEC_PER_SEC), n = number_before(plan, sec);
    while (boundary(plan, n) <= sec)
        n++;
    return boundary(plan, n) * G_USEC_PER_SEC;
}

int64_t
statistics_boundary_before(const StatisticsPlan *plan, int64_t usec)
{
    int64_t sec = floor_divide(usec, G_USEC_PER_SEC), n = number_before(plan, sec);
    while (boundary(plan, n + 1) <= sec)
        n++;
    return boundary(plan, n) * G_USEC_PER_SEC;
}

/* ---- windows ---- */

static void
begin_at(Statistics *self, const StatisticsPlan *plan, int64_t start_usec, int64_t now_usec)
{
    Statistics fresh = {.start_usec = start_usec,
                        .end_usec = statistics_boundary_after(plan, now_usec),
                        .pending_bytes = self->pending_bytes,
                        .last_test_failover_usec = self->last_test_failover_usec};
    *self = fresh;
}

void
statistics_begin(Statistics *self, const StatisticsPlan *plan, int64_t now_usec)
{
    begin_at(self, plan, now_usec, now_usec);
}

bool
statistics_roll(Statistics *self, const StatisticsPlan *plan, int64_t now_usec, Statistics *ret_old)
{
    if (now_usec < self->start_usec) {
        self->start_usec = now_usec;
        statistics_replan(self, plan, now_usec);
        return false;
    }
    if (now_usec < self->end_usec)
        return false;
    *ret_old = *self;
    begin_at(self, plan, statistics_boundary_before(plan, now_usec), now_usec);
    return true;
}

void
statistics_replan(Statistics *self, const StatisticsPlan *plan, int64_t now_usec)
{
    self->end_usec = statistics_boundary_after(plan, now_usec);
}

/* ---- counting ---- */

void
statistics_count_success(Statistics *self, uint64_t bytes, int64_t latency_usec)
{
    uint64_t latency = (uint64_t)MAX(latency_usec, 0);
    self->success++;
    self->bytes += bytes;
    self->max_bytes = MAX(self->max_bytes, bytes);
    self->latency_usec += latency;
    self->max_latency_usec = MAX(self->max_latency_usec, latency);
}

uint64_t
statistics_average_bytes(const Statistics *self)
{
    return self->success > 0 ? self->bytes / self->success : 0;
}

uint64_t
statistics_average_latency_usec(const Statistics *self)
{
    return self->success > 0 ? self->latency_usec / self->success : 0;
}

/* ---- as text ---- */

#define NUMBER(name) { #name, G_STRUCT_OFFSET(Statistics, name), sizeof(((Statistics *)NULL)->name) }

static const struct {
    const char *name;
    size_t      offset, size;
} numbers[] = {
    NUMBER(start_usec),     NUMBER(end_usec),      NUMBER(success),       NUMBER(missed),
    NUMBER(failed),         NUMBER(network_failed), NUMBER(bytes),        NUMBER(max_bytes),
    NUMBER(latency_usec),   NUMBER(max_latency_usec), NUMBER(resync_bytes), NUMBER(consistent_failed),
    NUMBER(pending_bytes),  NUMBER(last_test_failover_usec),
};

static uint64_t
get_number(const Statistics *self, size_t i)
{
    uint32_t narrow;
    uint64_t wide;
    const char *field = (const char *)self + numbers[i].offset;
    if (numbers[i].size == sizeof narrow) {
        memcpy(&narrow, field, sizeof narrow);
        return narrow;
    }
    memcpy(&wide, field, sizeof wide);
    return wide;
}

static void
set_number(Statistics *self, size_t i, uint64_t wide)
{
    uint32_t narrow = (uint32_t)MIN(wide, UINT32_MAX);
    bool is_narrow = numbers[i].size == sizeof narrow;
    memcpy((char *)self + numbers[i].offset, is_narrow ? (void *)&narrow : (void *)&wide, numbers[i].size);
}

char *
statistics_to_text(const Statistics *self)
{
    GString *text = g_string_new(NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
        g_string_append_printf(text, "%s%s=%" G_GUINT64_FORMAT, i > 0 ? " " : "", numbers[i].name, get_number(self, i));
    return g_string_free(text, FALSE);
}

static void
parse_word(Statistics *self, const char *word)
{
    const char *equals = strchr(word, '=');
    for (size_t i = 0; equals != NULL && i < G_N_ELEMENTS(numbers); i++) {
        if (strlen(numbers[i].name) == (size_t)(equals - word) && g_str_has_prefix(word, numbers[i].name))
            set_number(self, i, g_ascii_strtoull(equals + 1, NULL, 10));
    }
}

bool
statistics_parse(Statistics *self, const char *text)
{
    g_auto(GStrv) words = g_strsplit(text != NULL ? text : "", " ", -1);
    for (char **word = words; *word != NULL; word++)
        parse_word(self, *word);
    return self->start_usec > 0 && self->end_usec > self->start_usec;
}

/* ---- the clock of cycles ---- */

void
cycle_clock_run(CycleClock *self, int64_t interval_usec, int64_t now_usec)
{
    self->interval_usec = interval_usec;
    if (self->due_usec == 0)
        self->due_usec = now_usec + 2 * interval_usec; /* one may begin within an interval, and then takes one */
}

void
cycle_clock_stop(CycleClock *self)
{
    self->due_usec = 0;
}

uint32_t
cycle_clock_missed(CycleClock *self, int64_t now_usec)
{
    if (self->due_usec == 0 || self->interval_usec <= 0 || now_usec <= self->due_usec)
        return 0;
    int64_t missed = (now_usec - self->due_usec - 1) / self->interval_usec + 1;
    self->due_usec += missed * self->interval_usec;
    return (uint32_t)MIN(missed, UINT32_MAX);
}

void
cycle_clock_finished(CycleClock *self, int64_t started_usec, int64_t now_usec)
{
    if (self->due_usec != 0)
        self->due_usec = MAX(started_usec + 2 * self->interval_usec, now_usec + self->interval_usec);
}
