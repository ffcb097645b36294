#include "util/extent-set.h"

#include <string.h>

/* A bitmap of small positions is the model that the set is held to. */
enum { UNIVERSE = 300 };

static void
check_equal(const ExtentSet *set, const bool *model)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < extent_set_count(set); i++) {
        const Extent *e = extent_set_at(set, i);
        g_assert_cmpuint(e->start, <, e->end);
        if (i > 0)
            g_assert_cmpuint(extent_set_at(set, i - 1)->end, <, e->start);
    }
    for (int i = 0; i < UNIVERSE; i++) {
        g_assert_true(extent_set_contains(set, (uint64_t)i, 1) == model[i]);
        bytes += model[i];
    }
    g_assert_cmpuint(extent_set_bytes(set), ==, bytes);
}

static void
test_against_bitmap(void)
{
    g_autoptr(ExtentSet) set = extent_set_new();
    bool model[UNIVERSE] = { false };
    for (int step = 0; step < 20000; step++) {
        int start = g_test_rand_int_range(0, UNIVERSE - 40);
        int length = g_test_rand_int_range(0, 40);
        bool add = g_test_rand_int_range(0, 2) == 0;
        if (add)
            extent_set_add(set, (uint64_t)start, (uint64_t)length);
        else
            extent_set_remove(set, (uint64_t)start, (uint64_t)length);
        memset(model + start, add, (size_t)length);
        check_equal(set, model);

        int from = g_test_rand_int_range(0, UNIVERSE - 60);
        int size = g_test_rand_int_range(1, 60);
        g_autoptr(ExtentSet) missing = extent_set_missing(set, (uint64_t)from, (uint64_t)size);
        for (int i = from; i < from + size; i++)
            g_assert_true(extent_set_contains(missing, (uint64_t)i, 1) != model[i]);
    }
}

static void
test_align(void)
{
    g_autoptr(ExtentSet) set = extent_set_new();
    extent_set_add(set, 10, 5);
    extent_set_add(set, 70, 10);
    extent_set_align(set, 64, 100);
    g_assert_cmpuint(extent_set_count(set), ==, 1);
    g_assert_cmpuint(extent_set_at(set, 0)->start, ==, 0);
    g_assert_cmpuint(extent_set_at(set, 0)->end, ==, 100);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/extent-set/agrees-with-a-bitmap", test_against_bitmap);
    g_test_add_func("/extent-set/align-widens-to-grains", test_align);
    return g_test_run();
}
