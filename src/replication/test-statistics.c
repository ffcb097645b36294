#include "replication/tally.h"

#include <string.h>

#define SEC  INT64_C(1000000)
#define HOUR (3600 * SEC)

static GTimeZone *vienna, *utc;

/* Local time of a zone. */
static int64_t
at(GTimeZone *zone, int year, int month, int day, int hour, int minute)
{
    g_autoptr(GDateTime) time = g_date_time_new(zone, year, month, day, hour, minute, 0);
    return g_date_time_to_unix(time) * SEC;
}

static void
test_boundaries(void)
{
    StatisticsPlan plan = { 12 * 3600, 9 * 3600, vienna };
    g_assert_cmpint(statistics_boundary_after(&plan, at(vienna, 2026, 5, 10, 8, 59)), ==,
                    at(vienna, 2026, 5, 10, 9, 0));
    g_assert_cmpint(statistics_boundary_after(&plan, at(vienna, 2026, 5, 10, 9, 0)), ==,
                    at(vienna, 2026, 5, 10, 21, 0));
    g_assert_cmpint(statistics_boundary_after(&plan, at(vienna, 2026, 5, 10, 23, 0)), ==,
                    at(vienna, 2026, 5, 11, 9, 0));
    g_assert_cmpint(statistics_boundary_before(&plan, at(vienna, 2026, 5, 10, 9, 0)), ==,
                    at(vienna, 2026, 5, 10, 9, 0));
    g_assert_cmpint(statistics_boundary_before(&plan, at(vienna, 2026, 5, 10, 8, 59)), ==,
                    at(vienna, 2026, 5, 9, 21, 0));
}

/* The hours of the clock stay, in spring and in autumn. */
static void
test_season(void)
{
    StatisticsPlan plan = { 24 * 3600, 9 * 3600, vienna };
    int64_t spring = statistics_boundary_after(&plan, at(vienna, 2026, 3, 28, 10, 0));
    g_assert_cmpint(spring, ==, at(vienna, 2026, 3, 29, 9, 0));
    g_assert_cmpint(spring - at(vienna, 2026, 3, 28, 9, 0), ==, 23 * HOUR);
    int64_t autumn = statistics_boundary_after(&plan, at(vienna, 2026, 10, 24, 10, 0));
    g_assert_cmpint(autumn, ==, at(vienna, 2026, 10, 25, 9, 0));
    g_assert_cmpint(autumn - at(vienna, 2026, 10, 24, 9, 0), ==, 25 * HOUR);
}

/* Whatever the clock does, a boundary is after the moment it is asked for, and windows follow each other without a gap.
 */
static void
test_every_interval_over_the_change(void)
{
    static const unsigned intervals[] = { 3600, 5000, 7200, 43200, 86400, 172800, 604800 };
    for (size_t i = 0; i < G_N_ELEMENTS(intervals); i++) {
        StatisticsPlan plan = { intervals[i], 2 * 3600 + 1800, vienna };
        for (int64_t now = at(utc, 2026, 3, 27, 0, 0); now < at(utc, 2026, 4, 1, 0, 0); now += 613 * SEC) {
            int64_t before = statistics_boundary_before(&plan, now), after = statistics_boundary_after(&plan, now);
            g_assert_cmpint(before, <=, now);
            g_assert_cmpint(after, >, now);
            g_assert_cmpint(statistics_boundary_after(&plan, before), ==, after);
        }
        for (int64_t now = at(utc, 2026, 10, 23, 0, 0); now < at(utc, 2026, 10, 28, 0, 0); now += 613 * SEC) {
            g_assert_cmpint(statistics_boundary_before(&plan, now), <=, now);
            g_assert_cmpint(statistics_boundary_after(&plan, now), >, now);
        }
    }
}

static void
test_enabled_mid_window(void)
{
    StatisticsPlan plan = { 12 * 3600, 9 * 3600, vienna };
    Statistics now = { 0 };
    statistics_begin(&now, &plan, at(vienna, 2026, 5, 10, 13, 20));
    g_assert_cmpint(now.start_usec, ==, at(vienna, 2026, 5, 10, 13, 20));
    g_assert_cmpint(now.end_usec, ==, at(vienna, 2026, 5, 10, 21, 0));
}

static void
test_boundary_resets(void)
{
    StatisticsPlan plan = { 3600, 0, utc };
    Statistics now = { .last_test_failover_usec = 5 }, old;
    statistics_begin(&now, &plan, at(utc, 2026, 5, 10, 13, 20));
    statistics_count_success(&now, 100, 3 * SEC);
    statistics_count_success(&now, 50, 5 * SEC);
    now.missed = 7;
    now.pending_bytes = 9;
    g_assert_false(statistics_roll(&now, &plan, at(utc, 2026, 5, 10, 13, 59), &old));
    g_assert_true(statistics_roll(&now, &plan, at(utc, 2026, 5, 10, 14, 0), &old));
    g_assert_cmpuint(old.success, ==, 2);
    g_assert_cmpuint(old.bytes, ==, 150);
    g_assert_cmpuint(old.max_bytes, ==, 100);
    g_assert_cmpuint(statistics_average_bytes(&old), ==, 75);
    g_assert_cmpuint(statistics_average_latency_usec(&old), ==, 4 * SEC);
    g_assert_cmpuint(old.max_latency_usec, ==, 5 * SEC);
    g_assert_cmpuint(old.missed, ==, 7);
    g_assert_cmpint(now.start_usec, ==, at(utc, 2026, 5, 10, 14, 0));
    g_assert_cmpint(now.end_usec, ==, at(utc, 2026, 5, 10, 15, 0));
    g_assert_true(now.success == 0 && now.missed == 0 && now.bytes == 0 && now.latency_usec == 0);
    g_assert_cmpuint(now.pending_bytes, ==, 9); /* no window makes it less */
    g_assert_cmpint(now.last_test_failover_usec, ==, 5);
}

/* A daemon that was down for days begins the window that it wakes up in. */
static void
test_windows_without_a_daemon(void)
{
    StatisticsPlan plan = { 3600, 0, utc };
    Statistics now = { 0 }, old;
    statistics_begin(&now, &plan, at(utc, 2026, 5, 10, 13, 20));
    g_assert_true(statistics_roll(&now, &plan, at(utc, 2026, 5, 12, 7, 30), &old));
    g_assert_cmpint(old.end_usec, ==, at(utc, 2026, 5, 10, 14, 0));
    g_assert_cmpint(now.start_usec, ==, at(utc, 2026, 5, 12, 7, 0));
}

static void
test_clock_set_back(void)
{
    StatisticsPlan plan = { 3600, 0, utc };
    Statistics now = { 0 }, old;
    statistics_begin(&now, &plan, at(utc, 2026, 5, 10, 13, 20));
    statistics_count_success(&now, 1, 1);
    g_assert_false(statistics_roll(&now, &plan, at(utc, 2026, 5, 1, 0, 10), &old));
    g_assert_cmpint(now.end_usec, ==, at(utc, 2026, 5, 1, 1, 0));
    g_assert_cmpuint(now.success, ==, 1);
}

static void
test_text_survives_a_restart(void)
{
    Statistics now, read = { 0 };
    for (size_t i = 0; i < sizeof now; i++)
        ((uint8_t *)&now)[i] = (uint8_t)(i % 100 + 1);
    now.start_usec = 1000;
    now.end_usec = INT64_C(99999999999999);
    now.last_test_failover_usec = 123456789;
    g_autofree char *text = statistics_to_text(&now);
    g_assert_true(statistics_parse(&read, text));
    g_autofree char *again = statistics_to_text(&read);
    g_assert_cmpstr(text, ==, again);
    g_assert_cmpuint(read.max_latency_usec, ==, now.max_latency_usec);
    g_assert_cmpuint(read.consistent_failed, ==, now.consistent_failed);
    g_assert_false(statistics_parse(&(Statistics){ 0 }, NULL));
    g_assert_false(statistics_parse(&(Statistics){ 0 }, "start_usec=5 nonsense =7 end_usec="));
    g_assert_true(statistics_parse(&read, "start_usec=5 end_usec=9 newer=3"));
}

/* ---- missed cycles ---- */

static void
test_missed(void)
{
    CycleClock clock = { 0 };
    g_assert_cmpuint(cycle_clock_missed(&clock, 1000 * SEC), ==, 0); /* none are due */
    cycle_clock_run(&clock, 10 * SEC, 1000 * SEC);
    g_assert_cmpuint(cycle_clock_missed(&clock, 1020 * SEC), ==, 0);
    cycle_clock_finished(&clock, 1005 * SEC, 1012 * SEC);
    g_assert_cmpuint(cycle_clock_missed(&clock, 1025 * SEC), ==, 0);
    g_assert_cmpuint(cycle_clock_missed(&clock, 1026 * SEC), ==, 1);
    g_assert_cmpuint(cycle_clock_missed(&clock, 1026 * SEC), ==, 0); /* each once */
    g_assert_cmpuint(cycle_clock_missed(&clock, 1066 * SEC), ==, 4);
    cycle_clock_run(&clock, 10 * SEC, 1066 * SEC); /* goes on, no new grace */
    g_assert_cmpuint(cycle_clock_missed(&clock, 1076 * SEC), ==, 1);
    cycle_clock_stop(&clock);
    g_assert_cmpuint(cycle_clock_missed(&clock, 9999 * SEC), ==, 0);
}

/* A cycle that takes 35 s of an interval of 10 s has let three or four go by. */
static void
test_slow_cycle(void)
{
    CycleClock clock = { 0 };
    cycle_clock_run(&clock, 10 * SEC, 0);
    cycle_clock_finished(&clock, 5 * SEC, 6 * SEC);
    g_assert_cmpuint(cycle_clock_missed(&clock, 50 * SEC), ==, 3); /* due at 25, begun at 15 */
    cycle_clock_finished(&clock, 15 * SEC, 50 * SEC);
    g_assert_cmpuint(cycle_clock_missed(&clock, 60 * SEC), ==, 0); /* the next begins at once */
}

/* ---- a tally ---- */

static void
test_tally_goes_on_after_a_restart(void)
{
    Statistics read;
    Tally *first = tally_new("vm", NULL);
    tally_set_plan(first, 604800, 0);
    tally_success(first, 10, 1);
    tally_failure(first, FAILURE_NETWORK);
    tally_failure(first, FAILURE_LOCAL);
    tally_failure(first, FAILURE_WAITING); /* is none */
    tally_consistent_failure(first);
    tally_test_failover(first);
    tally_resync_bytes(first, 44);
    g_assert_true(tally_is_unsaved(first, 0));
    g_autofree char *text = tally_text(first);
    g_assert_false(tally_is_unsaved(first, 0));
    tally_read(first, &read);
    int64_t start = read.start_usec;
    tally_free(first);

    Tally *second = tally_new("vm", text);
    tally_set_plan(second, 604800, 0);
    tally_read(second, &read);
    g_assert_cmpint(read.start_usec, ==, start);
    g_assert_cmpuint(read.success, ==, 1);
    g_assert_cmpuint(read.failed, ==, 2);
    g_assert_cmpuint(read.network_failed, ==, 1);
    g_assert_cmpuint(read.consistent_failed, ==, 1);
    g_assert_cmpuint(read.resync_bytes, ==, 44);
    g_assert_cmpint(read.last_test_failover_usec, >=, start);
    tally_reset(second);
    tally_read(second, &read);
    g_assert_cmpint(read.start_usec, >=, start);
    g_assert_true(read.success == 0 && read.failed == 0 && read.resync_bytes == 0);
    tally_free(second);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    /* Written out: a zone by its name would need files that a machine may not have. */
    vienna = g_time_zone_new_identifier("CET-1CEST,M3.5.0,M10.5.0/3");
    utc = g_time_zone_new_utc();
    g_assert_nonnull(vienna);
    g_test_add_func("/statistics/boundaries", test_boundaries);
    g_test_add_func("/statistics/season", test_season);
    g_test_add_func("/statistics/every-interval-over-the-change", test_every_interval_over_the_change);
    g_test_add_func("/statistics/enabled-mid-window", test_enabled_mid_window);
    g_test_add_func("/statistics/boundary-resets", test_boundary_resets);
    g_test_add_func("/statistics/windows-without-a-daemon", test_windows_without_a_daemon);
    g_test_add_func("/statistics/clock-set-back", test_clock_set_back);
    g_test_add_func("/statistics/text-survives-a-restart", test_text_survives_a_restart);
    g_test_add_func("/statistics/missed", test_missed);
    g_test_add_func("/statistics/slow-cycle", test_slow_cycle);
    g_test_add_func("/statistics/tally-goes-on-after-a-restart", test_tally_goes_on_after_a_restart);
    int status = g_test_run();
    g_time_zone_unref(vienna);
    g_time_zone_unref(utc);
    return status;
}
