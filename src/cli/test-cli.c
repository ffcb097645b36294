#include "cli/commands.h"
#include "cli/output.h"
#include "cli/point.h"
#include "cli/progress.h"
#include "cli/settings.h"
#include "cli/values.h"
#include "cli/wsman-message.h"

#include <string.h>

/* An instance from property text, as the service would send it. */
static WsmanInstance *
instance_new(const char *properties)
{
    g_autofree char *text = g_strdup_printf("<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><s:Body><X>%s</X>"
                                            "</s:Body></s:Envelope>", properties);
    g_autoptr(WsmanReply) reply = wsman_reply_parse(text, strlen(text), NULL);

    return wsman_reply_instance(reply, NULL);
}

static void
test_table(void)
{
    static const char *const titles[] = { "Name", "State", NULL };
    g_autoptr(OutputTable) table = output_table_new(titles);
    g_autofree char *text = NULL;

    output_table_add(table, "größer");
    output_table_add(table, NULL);
    output_table_add(table, "a\033[2Jb");
    output_table_add(table, "on");
    text = output_table_text(table);
    g_assert_cmpstr(text, ==, "Name     State\n"
                              "--------------\n"
                              "größer   -\n"
                              "a?[2Jb   on\n");
}

static void
test_progress(void)
{
    g_autofree char *half = progress_line("Failover", 50, 35);
    g_autofree char *narrow = progress_line("Failover", 130, 1);

    g_assert_cmpstr(half, ==, "Failover  [========        ]  50 %");
    g_assert_cmpstr(narrow, ==, "Failover  [==========] 100 %");
}

static void
test_durations(void)
{
    static const struct {
        const char *text;
        bool        good;
        unsigned    want_sec;
    } cases[] = {
        { "30", true, 30 }, { "30s", true, 30 }, { "10m", true, 600 }, { "4h", true, 14400 }, { "1d", true, 86400 },
        { "2d", false, 0 }, { "", false, 0 },    { "h", false, 0 },    { "4hh", false, 0 },   { "-1", false, 0 },
        { "4 h", false, 0 }, { "99999999999999999999", false, 0 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        unsigned seconds = 0;

        g_assert_true(value_parse_duration(cases[i].text, 86400, &seconds, NULL) == cases[i].good);
        g_assert_cmpuint(seconds, ==, cases[i].want_sec);
    }
}

static void
test_times(void)
{
    const int64_t now = G_GINT64_CONSTANT(1777623630000000); /* 2026-05-01T08:20:30Z */
    static const struct {
        const char *text;
        bool        good;
        int64_t     want_sec;
    } cases[] = {
        { "2026-05-01T10:20:30+02:00", true, 1777623630 }, { "2026-05-01T08:20:30Z", true, 1777623630 },
        { "2026-05-01 08:20:30", true, 1777623630 },       { "08:20", true, 1777623600 },
        { "2026-05-01 08:20", true, 1777623600 },          { "2026-05-01", true, 1777593600 },
        { "08:20:30", true, 1777623630 },                  { "-15m", true, 1777623630 - 900 },
        { "+2h", true, 1777623630 + 7200 },                { "+", false, 0 },
        { "yesterday", false, 0 },                         { "", false, 0 },
        { "-", false, 0 },                                 { "25:00", false, 0 },
        { "2026-05-01 08:2", false, 0 },                   { "2026-05-01 25:00:00", false, 0 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        int64_t usec = 0;

        g_assert_true(value_parse_time(cases[i].text, now, &usec, &error) == cases[i].good);
        g_assert_true((error == NULL) == cases[i].good);
        g_assert_cmpint(usec, ==, cases[i].want_sec * G_USEC_PER_SEC);
    }
}

static void
test_points(void)
{
    g_autoptr(GPtrArray) points = g_ptr_array_new_with_free_func((GDestroyNotify)wsman_instance_free);
    g_autoptr(GError) error = NULL;

    g_ptr_array_add(points, instance_new("<InstanceID>Microsoft:v\\abcd-1</InstanceID><CreationTime>2026-05-01T08:00:00Z</CreationTime>"));
    g_ptr_array_add(points, instance_new("<InstanceID>Microsoft:abcd-2</InstanceID><CreationTime>2026-05-01T09:00:00Z</CreationTime>"));
    g_assert_cmpstr(point_id(points->pdata[0]), ==, "abcd-1");
    g_assert_true(point_find(points, "ABCD-1", &error) == points->pdata[0]);
    g_assert_true(point_find(points, "Microsoft:abcd-2", &error) == points->pdata[1]);
    g_assert_null(point_find(points, "abcd", &error));
    g_assert_nonnull(strstr(error->message, "More than one"));
    g_clear_error(&error);
    g_assert_null(point_find(points, "zzzz", &error));
    g_assert_error(error, COMMAND_ERROR, COMMAND_ERROR_REFUSED);
    g_clear_error(&error);
    g_assert_true(point_find_at(points, G_GINT64_CONSTANT(1777625999) * G_USEC_PER_SEC, &error) == points->pdata[0]);
    g_assert_true(point_find_at(points, G_GINT64_CONSTANT(1777626000) * G_USEC_PER_SEC, &error) == points->pdata[1]);
    g_assert_null(point_find_at(points, G_GINT64_CONSTANT(1777600000) * G_USEC_PER_SEC, &error));
    g_assert_error(error, COMMAND_ERROR, COMMAND_ERROR_REFUSED);
}

/* ---- settings of enable ---- */

static CommandLine *
enable_line(const char *words, GError **error)
{
    g_auto(GStrv) argv = g_strsplit(words, " ", -1);

    return command_line_parse(commands_find("enable")->options, (const char *const *)argv, false, error);
}

static void
test_settings(void)
{
    static const struct {
        const char *words, *want; /* @want: part of the text */
    } cases[] = {
        { "v --to hostb", "NAME=\"RecoveryServerPortNumber\" TYPE=\"uint16\"><VALUE>8443<" },
        { "v --to hostb", "NAME=\"InstanceID\" TYPE=\"string\"><VALUE>Microsoft:u\\HVR\\0<" },
        { "v --to hostb", "NAME=\"ReplicationInterval\" TYPE=\"uint16\"><VALUE>300<" },
        { "v --to hostb", "NAME=\"AdditionalSettings\" TYPE=\"string\"></PROPERTY>" },
        { "v --to hostb", "NAME=\"RecoveryHistory\" TYPE=\"uint16\"><VALUE>0<" },
        { "v --to hostb --history 24", "NAME=\"RecoveryHistory\" TYPE=\"uint16\"><VALUE>24<" },
        { "v --to hostb --interval 1 --journal 4h", "<VALUE>interval=1;journal=14400s<" },
        { "v --to hostb --interval 30", "NAME=\"ReplicationInterval\" TYPE=\"uint16\"><VALUE>30<" },
        { "v --to hostb --resync manual", "NAME=\"AutoResynchronizeEnabled\" TYPE=\"boolean\"><VALUE>FALSE<" },
        { "v --to hostb --resync 22:30-06:00", "Start\" TYPE=\"datetime\"><VALUE>00000000223000.000000:000<" },
        { "v --to hostb --resync 22:30-06:00", "End\" TYPE=\"datetime\"><VALUE>00000000060000.000000:000<" },
        { "v --to hostb --no-compression", "NAME=\"CompressionEnabled\" TYPE=\"boolean\"><VALUE>FALSE<" },
        { "v --to hostb --disks vda,vdb", "<VALUE.ARRAY><VALUE>Microsoft:U\\vda</VALUE><VALUE>Microsoft:U\\vdb</VALUE></VALUE.ARRAY>" },
    };
    g_autoptr(WsmanInstance) current = instance_new("<InstanceID>Microsoft:u\\HVR\\0</InstanceID><VirtualSystemIdentifier>U</VirtualSystemIdentifier><RecoveryHistory>5</RecoveryHistory>");

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(CommandLine) line = enable_line(cases[i].words, NULL);
        g_autoptr(WsmanEmbedded) settings = settings_from_line(current, line, NULL);
        g_autofree char *text = wsman_embedded_text(settings);

        if (strstr(text, cases[i].want) == NULL)
            g_error("%s: no '%s' in %s", cases[i].words, cases[i].want, text);
    }
}

static void
test_settings_refused(void)
{
    static const char *const cases[] = {
        "v", "v --to hostb --port 0", "v --to hostb --history 25", "v --to hostb --interval 0", "v --to hostb --journal 8d",
        "v --to hostb --resync sometimes", "v --to hostb --resync 22:00-24:00", "v --to hostb --resync 22:00-06:00h",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(CommandLine) line = enable_line(cases[i], &error);

        g_assert_no_error(error);
        g_assert_false(settings_check_line(line, &error));
        g_assert_error(error, COMMAND_ERROR, COMMAND_ERROR_USAGE);
    }
}

/* What is not named is not sent, and the one half of AdditionalSettings that is not named stays. */
static void
test_changes(void)
{
    static const struct {
        const char *words, *want, *want_not;
    } cases[] = {
        { "v --history 7", "NAME=\"RecoveryHistory\" TYPE=\"uint16\"><VALUE>7<", "ReplicationInterval" },
        { "v --history 7", "NAME=\"InstanceID\" TYPE=\"string\"><VALUE>Microsoft:u\\HVR\\0<", "AdditionalSettings" },
        { "v --interval 2", "<VALUE>interval=2;journal=14400s<", "RecoveryHistory" },
        { "v --journal 30m", "<VALUE>interval=5;journal=1800s<", "RecoveryConnectionPoint" },
        { "v --interval 300 --journal 0", "NAME=\"AdditionalSettings\" TYPE=\"string\"><VALUE></VALUE>", "journal" },
        { "v --consistent 1h", "<VALUE>interval=5;journal=14400s;consistent=3600s<", "RecoveryHistory" },
        { "v --consistent 0", "NAME=\"ApplicationConsistentSnapshotInterval\" TYPE=\"uint16\"><VALUE>0<", "consistent=" },
        { "v --resync auto", "NAME=\"AutoResynchronizeEnabled\" TYPE=\"boolean\"><VALUE>TRUE<", "RecoveryHistory" },
        { "v --include vdc", "<VALUE>Microsoft:V\\vda</VALUE><VALUE>Microsoft:V\\vdb</VALUE><VALUE>Microsoft:V\\vdc</VALUE>", "RecoveryHistory" },
        { "v --include vdb,vdc --exclude vda", "<VALUE>Microsoft:V\\vdb</VALUE><VALUE>Microsoft:V\\vdc</VALUE>", "vda" },
        { "v --exclude vdb", "<VALUE>Microsoft:V\\vda</VALUE>", "vdb" },
        { "v --history 1", "RecoveryHistory", "IncludedDisks" },
        { "v --to hostc --port 99", "NAME=\"RecoveryServerPortNumber\" TYPE=\"uint16\"><VALUE>99<", "AutoResynchronize" },
    };
    g_autoptr(WsmanInstance) current = instance_new("<InstanceID>Microsoft:u\\HVR\\0</InstanceID><ReplicationInterval>30</ReplicationInterval>"
                                                    "<AdditionalSettings>interval=5;journal=4h</AdditionalSettings>"
                                                    "<VirtualSystemIdentifier>V</VirtualSystemIdentifier>"
                                                    "<IncludedDisks>A.InstanceID=\"Microsoft:V\\vda\"</IncludedDisks>"
                                                    "<IncludedDisks>A.InstanceID=\"Microsoft:V\\vdb\"</IncludedDisks>");

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(GStrv) argv = g_strsplit(cases[i].words, " ", -1);
        g_autoptr(CommandLine) line = command_line_parse(commands_find("modify")->options, (const char *const *)argv, false, NULL);
        g_autoptr(WsmanEmbedded) settings = NULL;
        g_autofree char *text = NULL;

        g_assert_true(settings_check_changes(line, NULL));
        settings = settings_changes(current, line, NULL);
        text = wsman_embedded_text(settings);
        if (strstr(text, cases[i].want) == NULL || strstr(text, cases[i].want_not) != NULL)
            g_error("%s: no '%s', or '%s', in %s", cases[i].words, cases[i].want, cases[i].want_not, text);
    }
    g_autoptr(CommandLine) nothing = command_line_parse(commands_find("modify")->options, (const char *const[]){ "v", NULL }, false, NULL);
    g_assert_false(settings_check_changes(nothing, NULL));
}

static void
test_interval(void)
{
    g_autoptr(WsmanInstance) plain = instance_new("<ReplicationInterval>300</ReplicationInterval>");
    g_autoptr(WsmanInstance) other = instance_new("<ReplicationInterval>30</ReplicationInterval>"
                                                  "<AdditionalSettings>journal=4h; interval=5</AdditionalSettings>");

    g_assert_cmpuint(settings_interval(plain), ==, 300);
    g_assert_cmpuint(settings_interval(other), ==, 5);
}

/* ---- the table against what describes it ---- */

static char *
read_documentation(const char *name)
{
    g_autofree char *path = g_build_filename(g_getenv("SOURCE_ROOT"), name, NULL);
    char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return text;
}

static void
expect_described(const char *text, const char *where, const char *what)
{
    if (strstr(text, what) == NULL)
        g_error("%s does not tell of %s", where, what);
}

static void
test_documented(void)
{
    g_autofree char *manual = read_documentation("docs/man/virt-replica.1");
    g_autofree char *completion = read_documentation("data/virt-replica.bash");

    for (const Command *command = commands_table(); command->name != NULL; command++) {
        g_autofree char *heading = g_strdup_printf(".It Ic %s", command->name);

        expect_described(manual, "the manual page", heading);
        expect_described(completion, "the completion", command->name);
        for (const CommandOption *const *list = command->options; list != NULL && *list != NULL; list++) {
            for (const CommandOption *option = *list; option->name != NULL; option++) {
                g_autofree char *in_manual = g_strdup_printf("Fl -%s", option->name);
                g_autofree char *in_completion = g_strdup_printf("--%s", option->name);

                expect_described(manual, "the manual page", in_manual);
                expect_described(completion, "the completion", in_completion);
            }
        }
    }
}

static void
test_command_line(void)
{
    const char *const words[] = { "--to", "hostb", "--", "--vm", NULL };
    g_autoptr(CommandLine) line = command_line_parse(commands_find("enable")->options, words, false, NULL);

    g_assert_cmpstr(command_line_value(line, "to"), ==, "hostb");
    g_assert_null(command_line_value(line, "port"));
    g_assert_false(command_line_switch(line, "detach"));
    g_assert_cmpstr(command_line_word(line, 0), ==, "--vm");
    g_assert_null(command_line_word(line, 1));
}

int
main(int argc, char **argv)
{
    g_setenv("TZ", "UTC", TRUE);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/output/table", test_table);
    g_test_add_func("/progress/line", test_progress);
    g_test_add_func("/values/durations", test_durations);
    g_test_add_func("/values/times", test_times);
    g_test_add_func("/point/choice", test_points);
    g_test_add_func("/settings/from-options", test_settings);
    g_test_add_func("/settings/changes", test_changes);
    g_test_add_func("/settings/refused", test_settings_refused);
    g_test_add_func("/settings/interval", test_interval);
    g_test_add_func("/command/line", test_command_line);
    g_test_add_func("/commands/documented", test_documented);
    return g_test_run();
}
