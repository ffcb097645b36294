#include "replication/plan.h"

#include "util/durable.h"

static void
test_survives_in_its_file(void)
{
    g_autofree char *folder = g_dir_make_tmp("vr-plan-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(folder, "x.plan", NULL);
    g_autoptr(GError) error = NULL;
    g_assert_null(plan_load(path, &error));
    g_assert_no_error(error);

    g_autoptr(Plan) plan = plan_new(true, "vr-abc-p7");
    PlanDisk *disk = plan_add_disk(plan, "vda", 1 << 20);
    plan_add_disk(plan, "vdb", 1 << 16);
    extent_set_remove(disk->todo, 65536, 65536);
    plan->pass = 3;
    plan->total_bytes = 1 << 22;
    g_assert_true(plan_save(plan, path, &error));
    g_autoptr(Plan) read = plan_load(path, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(read->pass, ==, 3);
    g_assert_true(read->compare);
    g_assert_cmpstr(read->checkpoint, ==, "vr-abc-p7");
    g_assert_cmpuint(plan_left(read), ==, plan_left(plan));
    g_assert_cmpuint(extent_set_count(plan_disk(read, "vda")->todo), ==, 2);
    g_assert_cmpuint(plan_disk(read, "vdb")->size_bytes, ==, 1 << 16);
    durable_remove_tree(folder, NULL);
}

/* A plan cut anywhere must not pass for a shorter one: what it forgets would never be sent. */
static void
test_cut_file_is_refused(void)
{
    g_autofree char *folder = g_dir_make_tmp("vr-plan-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(folder, "x.plan", NULL);
    g_autoptr(Plan) plan = plan_new(false, NULL);
    plan_add_disk(plan, "vda", 1 << 20);
    g_assert_true(plan_save(plan, path, NULL));
    g_autofree char *text = NULL;
    gsize length = 0;
    g_assert_true(g_file_get_contents(path, &text, &length, NULL));
    for (gsize cut = 0; cut < length - 1; cut++) {
        g_autoptr(GError) error = NULL;
        g_assert_true(g_file_set_contents(path, text, (gssize)cut, NULL));
        g_assert_null(plan_load(path, &error));
        g_assert_nonnull(error);
    }
    durable_remove_tree(folder, NULL);
}

static void
test_resize(void)
{
    g_autoptr(Plan) plan = plan_new(false, NULL);
    PlanDisk *disk = plan_add_disk(plan, "vda", 100 * 65536);
    extent_set_clear(disk->todo);
    plan_disk_resize(disk, 110 * 65536);
    g_assert_cmpuint(plan_left(plan), ==, 10 * 65536);
    plan_disk_resize(disk, 50 * 65536);
    g_assert_cmpuint(plan_left(plan), ==, 0);
    plan_disk_resize(disk, 110 * 65536);
    g_assert_cmpuint(plan_left(plan), ==, 60 * 65536);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/plan/survives-in-its-file", test_survives_in_its_file);
    g_test_add_func("/plan/cut-file-is-refused", test_cut_file_is_refused);
    g_test_add_func("/plan/resize", test_resize);
    return g_test_run();
}
