#include "changelog/gather.h"

static void
check_equal(const ExtentSet *a, const ExtentSet *b)
{
    g_assert_cmpuint(extent_set_count(a), ==, extent_set_count(b));
    for (size_t i = 0; i < extent_set_count(a); i++) {
        g_assert_cmpuint(extent_set_at(a, i)->start, ==, extent_set_at(b, i)->start);
        g_assert_cmpuint(extent_set_at(a, i)->end, ==, extent_set_at(b, i)->end);
    }
}

/* Any order gives what an ExtentSet gives, alone and together with a set that is there. */
static void
test_random_order(void)
{
    g_autoptr(Gather) gather = gather_new();
    for (int round = 0; round < 200; round++) {
        g_autoptr(ExtentSet) want = extent_set_new();
        g_autoptr(ExtentSet) other = extent_set_new();
        for (int i = g_test_rand_int_range(0, 60); i > 0; i--) {
            uint64_t start = (uint64_t)g_test_rand_int_range(0, 500);
            uint64_t length = (uint64_t)g_test_rand_int_range(0, 20);
            g_assert_true(gather_add(gather, start, length, NULL));
            extent_set_add(want, start, length);
            if (round % 2 == 0)
                extent_set_add(other, start + 250, length / 2);
        }
        extent_set_add_set(want, other);
        g_autoptr(ExtentSet) got = gather_union(gather, round % 2 == 0 ? other : NULL, NULL);
        check_equal(got, want);
    }
}

/* From the end to the begin, twice: more than are kept unsorted, and the order that costs a sorted array most. */
static void
test_descending(void)
{
    enum { COUNT = 150000 };
    g_autoptr(Gather) gather = gather_new();
    for (int pass = 0; pass < 2; pass++) {
        for (uint64_t i = COUNT; i > 0; i--)
            g_assert_true(gather_add(gather, i * 1024, 512, NULL));
    }
    g_autoptr(ExtentSet) got = gather_union(gather, NULL, NULL);
    g_assert_cmpuint(extent_set_count(got), ==, COUNT);
    g_assert_cmpuint(extent_set_bytes(got), ==, COUNT * 512u);
    g_autoptr(ExtentSet) empty = gather_union(gather, NULL, NULL);
    g_assert_cmpuint(extent_set_count(empty), ==, 0);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/gather/any-order-gives-the-same-set", test_random_order);
    g_test_add_func("/gather/descending-order-is-cheap", test_descending);
    return g_test_run();
}
