#include "replication/settings.h"

static const struct {
    const char *text;
    bool        good;
    unsigned    interval, journal, consistent;
} additional[] = {
    { NULL, true, 0, 0 },
    { "", true, 0, 0 },
    { "interval=1", true, 1, 0 },
    { "interval=1;journal=4h", true, 1, 4 * 3600 },
    { " Journal = 10m ; ", true, 0, 600 },
    { "interval=90s,journal=5", true, 90, 5 },
    { "consistent=30s;journal=1h", true, 0, 3600, 30 },
    { "consistent=2h", true, 0, 0, 7200 },
    { "consistent=4", false, 0, 0 },
    { "consistent=13h", false, 0, 0 },
    { "interval=0", false, 0, 0 },
    { "interval=-1", false, 0, 0 },
    { "interval", false, 0, 0 },
    { "journal=4d", false, 0, 0 },
    { "journal=99999999999999999999h", false, 0, 0 },
    { "color=red", false, 0, 0 },
};

static void
test_additional(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(additional); i++) {
        AdditionalSettings parsed = { 0 };
        g_autoptr(GError) error = NULL;
        bool good = additional_settings_parse(additional[i].text, &parsed, &error);
        g_assert_true(good == additional[i].good);
        g_assert_cmpuint(parsed.interval_sec, ==, additional[i].interval);
        g_assert_cmpuint(parsed.journal_sec, ==, additional[i].journal);
        g_assert_cmpuint(parsed.consistent_sec, ==, additional[i].consistent);
        if (!good)
            g_assert_error(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_PARAMETER);
    }
}

/* Hours of the property, or the shorter time that is asked for besides; none where no point would be kept. */
static void
test_consistent_interval(void)
{
    g_autoptr(RelationshipSettings) settings = relationship_settings_new();
    g_assert_cmpuint(relationship_settings_consistent_interval(settings), ==, 0);
    settings->application_consistent_interval_h = 4;
    g_assert_cmpuint(relationship_settings_consistent_interval(settings), ==, 0);
    settings->recovery_history = 1;
    g_assert_cmpuint(relationship_settings_consistent_interval(settings), ==, 4 * 3600);
    settings->additional_settings = g_strdup("consistent=30s");
    g_assert_cmpuint(relationship_settings_consistent_interval(settings), ==, 30);
    settings->recovery_history = 0;
    g_assert_cmpuint(relationship_settings_consistent_interval(settings), ==, 0);
}

static RelationshipSettings *
usable_settings(void)
{
    RelationshipSettings *settings = relationship_settings_new();
    settings->recovery_connection_point = g_strdup("replica.example");
    settings->recovery_server_port = 8443;
    return settings;
}

static void
expect(const RelationshipSettings *settings, int code)
{
    g_autoptr(GError) error = NULL;
    bool good = relationship_settings_check(settings, &error);
    if (code == 0) {
        g_assert_no_error(error);
        g_assert_true(good);
    } else {
        g_assert_error(error, REPLICATION_ERROR, code);
    }
}

static void
test_ranges(void)
{
    g_autoptr(RelationshipSettings) settings = usable_settings();
    expect(settings, 0);
    settings->replication_interval_sec = 60;
    expect(settings, REPLICATION_ERROR_INVALID_PARAMETER);
    settings->replication_interval_sec = 30;
    settings->recovery_history = 25;
    expect(settings, REPLICATION_ERROR_INVALID_PARAMETER);
    settings->recovery_history = 24;
    expect(settings, 0);
    settings->application_consistent_interval_h = 13;
    expect(settings, REPLICATION_ERROR_INVALID_PARAMETER);
    settings->application_consistent_interval_h = 0;
    settings->authentication_type = 1;
    expect(settings, REPLICATION_ERROR_NOT_SUPPORTED);
    settings->authentication_type = 2;
    settings->recovery_server_port = 0;
    expect(settings, REPLICATION_ERROR_INVALID_PARAMETER);
    settings->recovery_server_port = 65535;
    g_free(settings->recovery_connection_point);
    settings->recovery_connection_point = g_strdup("host/../path");
    expect(settings, REPLICATION_ERROR_INVALID_PARAMETER);
}

static void
test_json_keeps_everything(void)
{
    g_autoptr(RelationshipSettings) settings = usable_settings();
    const char *disks[] = { "vda", "vdb", NULL };
    settings->included_disks = g_strdupv((char **)disks);
    settings->additional_settings = g_strdup("interval=1;journal=\"x\"");
    settings->compression_enabled = false;
    settings->recovery_history = 7;
    g_autofree char *json = relationship_settings_to_json(settings);
    g_autoptr(GError) error = NULL;
    g_autoptr(RelationshipSettings) read = relationship_settings_from_json(json, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(read->recovery_connection_point, ==, "replica.example");
    g_assert_cmpuint(read->recovery_server_port, ==, 8443);
    g_assert_cmpstrv(read->included_disks, disks);
    g_assert_cmpstr(read->additional_settings, ==, settings->additional_settings);
    g_assert_false(read->compression_enabled);
    g_assert_cmpuint(read->recovery_history, ==, 7);
}

static void
test_hostile_json(void)
{
    static const char *const texts[] = { "", "[]", "{", "7", "null", "\"x\"" };
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(relationship_settings_from_json(texts[i], &error));
        g_assert_nonnull(error);
    }
    g_autoptr(RelationshipSettings) odd = relationship_settings_from_json(
        "{\"recovery_history\": -1, \"included_disks\": [1, {}, \"vda\"], \"compression_enabled\": \"no\"}", NULL);
    g_assert_cmpuint(odd->recovery_history, ==, 0);
    g_assert_cmpuint(g_strv_length(odd->included_disks), ==, 1);
}

/* Over midnight, within a day, all day, never. */
static void
test_hours_of_resynchronization(void)
{
    g_autoptr(RelationshipSettings) settings = relationship_settings_new();
    g_assert_true(relationship_settings_may_resynchronize(settings, 12 * 3600));
    settings->auto_resynchronize_start_sec = 18 * 3600 + 30 * 60;
    settings->auto_resynchronize_end_sec = 6 * 3600;
    g_assert_true(relationship_settings_may_resynchronize(settings, 18 * 3600 + 30 * 60));
    g_assert_true(relationship_settings_may_resynchronize(settings, 0));
    g_assert_false(relationship_settings_may_resynchronize(settings, 6 * 3600));
    g_assert_false(relationship_settings_may_resynchronize(settings, 12 * 3600));
    settings->auto_resynchronize_start_sec = 1 * 3600;
    g_assert_true(relationship_settings_may_resynchronize(settings, 3 * 3600));
    g_assert_false(relationship_settings_may_resynchronize(settings, 7 * 3600));
    g_assert_false(relationship_settings_may_resynchronize(settings, 0));
    settings->auto_resynchronize = false;
    g_assert_false(relationship_settings_may_resynchronize(settings, 3 * 3600));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/settings/additional", test_additional);
    g_test_add_func("/settings/consistent-interval", test_consistent_interval);
    g_test_add_func("/settings/ranges", test_ranges);
    g_test_add_func("/settings/json-keeps-everything", test_json_keeps_everything);
    g_test_add_func("/settings/hostile-json", test_hostile_json);
    g_test_add_func("/settings/hours-of-resynchronization", test_hours_of_resynchronization);
    return g_test_run();
}
