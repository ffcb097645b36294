#include "util/reach.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Only root can ask as somebody else; for others there is nothing to be found out. */
static bool
skip_without_root(void)
{
    if (geteuid() == 0)
        return false;
    g_test_skip("only root can find out");
    return true;
}

static void
test_open_and_closed(void)
{
    if (skip_without_root())
        return;
    g_autoptr(GError) error = NULL;
    g_autofree char *top = g_dir_make_tmp("vr-XXXXXX", NULL);
    g_autofree char *inner = g_build_filename(top, "inner", NULL);
    g_autofree char *later = g_build_filename(inner, "made/later", NULL);
    g_assert_cmpint(chmod(top, 0711), ==, 0);
    g_assert_cmpint(g_mkdir(inner, 0711), ==, 0);
    g_assert_cmpint(chmod(inner, 0711), ==, 0);
    g_assert_true(reach_check("nobody", later, &error));
    g_assert_no_error(error);

    g_assert_cmpint(chmod(top, 0700), ==, 0);
    g_assert_false(reach_check("nobody", later, &error));
    g_autofree char *culprit = g_strdup_printf("pass through '%s' to", top);
    g_assert_nonnull(strstr(error->message, culprit));
    g_assert_true(reach_check("root", later, NULL));
    g_assert_true(reach_check(NULL, later, NULL));
    g_rmdir(inner);
    g_rmdir(top);
}

static void
test_unknown_user(void)
{
    if (skip_without_root())
        return;
    g_autoptr(GError) error = NULL;
    g_assert_false(reach_check("no such user", "/", &error));
    g_assert_cmpstr(error->message, ==, "there is no user 'no such user'");
}

static void
test_the_root_itself(void)
{
    g_assert_true(reach_check(geteuid() == 0 ? "nobody" : "no such user", "/", NULL));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/reach/open-and-closed", test_open_and_closed);
    g_test_add_func("/reach/unknown-user", test_unknown_user);
    g_test_add_func("/reach/the-root-itself", test_the_root_itself);
    return g_test_run();
}
