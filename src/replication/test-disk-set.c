#include "replication/disk-set.h"

#include <string.h>

typedef const char *const Ids[];

static void
assert_ids(char **ids, const char *want)
{
    g_autofree char *text = g_strjoinv(",", ids);
    g_assert_cmpstr(text, ==, want);
    g_strfreev(ids);
}

static void
test_comparison(void)
{
    Ids ab = { "vda", "vdb", NULL }, ba = { "vdb", "vda", NULL }, ac = { "vda", "vdc", NULL }, a = { "vda", NULL }, none = { NULL };
    g_assert_true(disk_set_equal(ab, ba));
    g_assert_true(disk_set_equal(none, none));
    g_assert_false(disk_set_equal(ab, ac));
    g_assert_false(disk_set_equal(ab, a));
    g_assert_false(disk_set_equal(a, ab));
    assert_ids(disk_set_common(ab, ac), "vda");
    assert_ids(disk_set_without(ab, ac), "vdb");
    assert_ids(disk_set_without(ac, ab), "vdc");
    assert_ids(disk_set_common(ab, none), "");
}

static void
test_digest_tells_sets_apart(void)
{
    Ids ab = { "vda", "vdb", NULL }, ba = { "vdb", "vda", NULL }, one = { "vdavdb", NULL };
    char first[33], second[33], third[33];
    disk_set_digest(ab, first);
    disk_set_digest(ba, second);
    disk_set_digest(one, third);
    g_assert_cmpstr(first, ==, second);
    g_assert_cmpstr(first, !=, third);
    g_assert_cmpuint(strlen(first), ==, 32);
}

static void
test_blob_and_back(void)
{
    Ids ids = { "vdb", "sda", NULL };
    g_autoptr(GBytes) blob = disk_set_to_blob(ids);
    gsize length;
    const char *text = g_bytes_get_data(blob, &length);
    g_assert_cmpmem(text, length, "sda\nvdb\n", 8);
    assert_ids(disk_set_from_text(text, length), "sda,vdb");
}

/* What a peer sends names no file outside of the replica's folder. */
static void
test_hostile_text(void)
{
    static const char text[] = "vda\n../../etc\n.hidden\n\nvd b\nvdc";
    static const char cut[] = "vda\nvdb\0vdc\n";
    g_autofree char *endless = g_strnfill(100000, 'a');
    assert_ids(disk_set_from_text(text, sizeof text - 1), "vda,vdc");
    assert_ids(disk_set_from_text(cut, sizeof cut - 1), "vda,vdb");
    assert_ids(disk_set_from_text(endless, 100000), "");
    assert_ids(disk_set_from_text("", 0), "");
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/disk-set/comparison", test_comparison);
    g_test_add_func("/disk-set/digest-tells-sets-apart", test_digest_tells_sets_apart);
    g_test_add_func("/disk-set/blob-and-back", test_blob_and_back);
    g_test_add_func("/disk-set/hostile-text", test_hostile_text);
    return g_test_run();
}
