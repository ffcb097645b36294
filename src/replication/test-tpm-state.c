#include "replication/tpm-state.h"

static void
test_names(void)
{
    static const char *const good[] = { "tpm2-00.permall", "tpm-00.permall" };
    static const char *const bad[] = {
        "", "tpm", "tpm2", "tpm2-", "tpm2-0", "tpm2-00", "tpm2-00.", "tpm2-00.permall.bak", "tpm2-00.permall/", "../tpm2-00.permall",
        "tpm2-../.permall", "tpm2-00/permall", "tpm2-0g.permall", "tpm2-01.permall", "tpm22-00.permall", "TMP2-00.permall", "tpm2-00.volatilestate",
        ".lock", "nvram", "domain.xml",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(good); i++)
        g_assert_true(tpm_state_is_name(good[i]));
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_false(tpm_state_is_name(bad[i]));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tpm-state/names", test_names);
    return g_test_run();
}
