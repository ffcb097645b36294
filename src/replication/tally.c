#include "replication/tally.h"

#include "util/log.h"

struct Tally {
    char       *vm_name;
    GMutex      lock; /* guards all below */
    unsigned    interval_sec, start_sec; /* of windows; 0: no plan yet */
    Statistics  now;
    CycleClock  clock;
    FailureKind trouble;
    int64_t     heard_usec;   /* monotonic */
    int64_t     changed_usec; /* monotonic; of the oldest change that no text has; 0 none */
};

Tally *
tally_new(const char *vm_name, const char *text)
{
    Tally *self = g_new0(Tally, 1);
    self->vm_name = g_strdup(vm_name);
    g_mutex_init(&self->lock);
    self->heard_usec = g_get_monotonic_time();
    Statistics kept = { 0 };
    if (statistics_parse(&kept, text))
        self->now = kept;
    return self;
}

void
tally_free(Tally *self)
{
    if (self == NULL)
        return;
    g_mutex_clear(&self->lock);
    g_free(self->vm_name);
    g_free(self);
}

static char *
time_text(int64_t usec)
{
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_utc(usec / G_USEC_PER_SEC);
    return time != NULL ? g_date_time_format(time, "%Y-%m-%dT%H:%M:%SZ") : g_strdup("?");
}

static void
log_window(const Tally *self, const Statistics *old)
{
    g_autofree char *start = time_text(old->start_usec), *end = time_text(old->end_usec);
    log_notice("statistics", self->vm_name,
               "%s to %s: %u cycles, %u missed, %u failed (%u by the network); %" G_GUINT64_FORMAT
               " bytes, %" G_GUINT64_FORMAT " at most, latency %.1f s, %.1f s at most; %" G_GUINT64_FORMAT
               " bytes resynchronized; %u application-consistent points "
               "failed",
               start, end, old->success, old->missed, old->failed, old->network_failed, old->bytes, old->max_bytes,
               (double)statistics_average_latency_usec(old) / G_USEC_PER_SEC,
               (double)old->max_latency_usec / G_USEC_PER_SEC, old->resync_bytes, old->consistent_failed);
}

static void
note_change(Tally *self)
{
    if (self->changed_usec == 0)
        self->changed_usec = g_get_monotonic_time();
}

/* Brings it to now. Under the lock, before anything is counted. */
static void
update(Tally *self)
{
    uint32_t missed = cycle_clock_missed(&self->clock, g_get_monotonic_time());
    self->now.missed += missed;
    if (missed > 0)
        note_change(self);
    if (self->interval_sec == 0)
        return;
    g_autoptr(GTimeZone) zone = g_time_zone_new_local();
    StatisticsPlan plan = { self->interval_sec, self->start_sec, zone };
    Statistics old;
    if (!statistics_roll(&self->now, &plan, g_get_real_time(), &old))
        return;
    log_window(self, &old);
    note_change(self);
}

void
tally_set_plan(Tally *self, unsigned interval_sec, unsigned start_sec)
{
    g_autoptr(GTimeZone) zone = g_time_zone_new_local();
    StatisticsPlan plan = { interval_sec, start_sec, zone };
    int64_t now = g_get_real_time();
    g_mutex_lock(&self->lock);
    bool same = self->interval_sec == interval_sec && self->start_sec == start_sec;
    self->interval_sec = interval_sec;
    self->start_sec = start_sec;
    if (self->now.start_usec == 0)
        statistics_begin(&self->now, &plan, now);
    update(self);
    if (!same)
        statistics_replan(&self->now, &plan, now);
    note_change(self);
    g_mutex_unlock(&self->lock);
}

void
tally_read(Tally *self, Statistics *ret_statistics)
{
    g_mutex_lock(&self->lock);
    update(self);
    *ret_statistics = self->now;
    g_mutex_unlock(&self->lock);
}

void
tally_reset(Tally *self)
{
    g_autoptr(GTimeZone) zone = g_time_zone_new_local();
    g_mutex_lock(&self->lock);
    update(self);
    if (self->interval_sec != 0) {
        StatisticsPlan plan = { self->interval_sec, self->start_sec, zone };
        int64_t now = g_get_real_time();
        self->now.end_usec = now;
        log_window(self, &self->now);
        statistics_begin(&self->now, &plan, now);
    }
    note_change(self);
    g_mutex_unlock(&self->lock);
}

char *
tally_text(Tally *self)
{
    g_mutex_lock(&self->lock);
    char *text = self->now.start_usec != 0 ? statistics_to_text(&self->now) : NULL;
    self->changed_usec = 0;
    g_mutex_unlock(&self->lock);
    return text;
}

bool
tally_is_unsaved(Tally *self, int64_t age_usec)
{
    g_mutex_lock(&self->lock);
    bool unsaved = self->changed_usec != 0 && g_get_monotonic_time() - self->changed_usec >= age_usec;
    g_mutex_unlock(&self->lock);
    return unsaved;
}

void
tally_run(Tally *self, unsigned interval_sec)
{
    g_mutex_lock(&self->lock);
    update(self);
    cycle_clock_run(&self->clock, (int64_t)interval_sec * G_USEC_PER_SEC, g_get_monotonic_time());
    g_mutex_unlock(&self->lock);
}

void
tally_stop(Tally *self)
{
    g_mutex_lock(&self->lock);
    update(self);
    cycle_clock_stop(&self->clock);
    g_mutex_unlock(&self->lock);
}

void
tally_success(Tally *self, uint64_t bytes, int64_t latency_usec)
{
    g_mutex_lock(&self->lock);
    update(self);
    statistics_count_success(&self->now, bytes, latency_usec);
    note_change(self);
    g_mutex_unlock(&self->lock);
}

void
tally_finished(Tally *self, int64_t started_usec)
{
    g_mutex_lock(&self->lock);
    update(self);
    cycle_clock_finished(&self->clock, started_usec, g_get_monotonic_time());
    g_mutex_unlock(&self->lock);
}

void
tally_failure(Tally *self, FailureKind kind)
{
    if (kind == FAILURE_NONE || kind == FAILURE_WAITING)
        return;
    g_mutex_lock(&self->lock);
    update(self);
    self->now.failed++;
    self->now.network_failed += kind == FAILURE_NETWORK;
    note_change(self);
    g_mutex_unlock(&self->lock);
}

void
tally_resync_bytes(Tally *self, uint64_t bytes)
{
    g_mutex_lock(&self->lock);
    update(self);
    self->now.resync_bytes += bytes;
    note_change(self);
    g_mutex_unlock(&self->lock);
}

void
tally_pending(Tally *self, uint64_t bytes)
{
    g_mutex_lock(&self->lock);
    self->now.pending_bytes = bytes;
    g_mutex_unlock(&self->lock);
}

void
tally_consistent_failure(Tally *self)
{
    g_mutex_lock(&self->lock);
    update(self);
    self->now.consistent_failed++;
    note_change(self);
    g_mutex_unlock(&self->lock);
}

void
tally_test_failover(Tally *self)
{
    g_mutex_lock(&self->lock);
    self->now.last_test_failover_usec = g_get_real_time();
    note_change(self);
    g_mutex_unlock(&self->lock);
}

void
tally_set_trouble(Tally *self, FailureKind kind)
{
    g_mutex_lock(&self->lock);
    self->trouble = kind;
    g_mutex_unlock(&self->lock);
}

FailureKind
tally_trouble(Tally *self)
{
    g_mutex_lock(&self->lock);
    FailureKind kind = self->trouble;
    g_mutex_unlock(&self->lock);
    return kind;
}

void
tally_heard(Tally *self)
{
    int64_t now = g_get_monotonic_time();
    g_mutex_lock(&self->lock);
    update(self);
    self->heard_usec = now;
    cycle_clock_finished(&self->clock, now, now);
    g_mutex_unlock(&self->lock);
}

int64_t
tally_silent_usec(Tally *self)
{
    g_mutex_lock(&self->lock);
    int64_t silent = g_get_monotonic_time() - self->heard_usec;
    g_mutex_unlock(&self->lock);
    return silent;
}
