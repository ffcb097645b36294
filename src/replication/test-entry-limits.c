#include "replication/entry-limits.h"

static const struct {
    const char *text;
    EntryLimits want;
    const char *complaint; /* a word in it; NULL: it is good */
} cases[] = {
    { NULL, { 0 }, NULL },
    { "", { 0 }, NULL },
    { "vms=3", { .vms = 3 }, NULL },
    { " VMs = 3 ; size=2T;staging=50g,", { 3, 2ull << 40, 50ull << 30 }, NULL },
    { "size=1000", { .size_bytes = 1000 }, NULL },
    { "staging=4k", { .staging_bytes = 4096 }, NULL },
    { "vms", { 0 }, "no value" },
    { "vms=0", { 0 }, "from 1" },
    { "vms=-1", { 0 }, "from 1" },
    { "vms=2147483648", { 0 }, "from 1" },
    { "size=0", { 0 }, "from 1" },
    { "size=", { 0 }, "such as" },
    { "size=1.5T", { 0 }, "such as" },
    { "size=1TB", { 0 }, "such as" },
    { "size=-1", { 0 }, "such as" },
    { "size=8388608T", { 0 }, "such as" },
    { "staging=x", { 0 }, "staging" },
    { "disks=4", { 0 }, "known are vms" },
};

static void
test_words(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        EntryLimits limits = { 9, 9, 9 };
        bool good = entry_limits_parse(cases[i].text, &limits, &error);
        g_test_message("%s: %s", cases[i].text, good ? "good" : error->message);
        g_assert_cmpint(good, ==, cases[i].complaint == NULL);
        if (!good) {
            g_assert_error(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_PARAMETER);
            g_assert_nonnull(g_strstr_len(error->message, -1, cases[i].complaint));
            g_assert_cmpuint(limits.vms, ==, 9);
            continue;
        }
        g_assert_cmpuint(limits.vms, ==, cases[i].want.vms);
        g_assert_cmpuint(limits.size_bytes, ==, cases[i].want.size_bytes);
        g_assert_cmpuint(limits.staging_bytes, ==, cases[i].want.staging_bytes);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/entry-limits/words", test_words);
    return g_test_run();
}
