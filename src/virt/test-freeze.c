#include "virt/test-support.h"

#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>

/* A Linux guest with a real agent is frozen, and asked for this and that; the argument is the folder in which make-linux-guest made its boot disk. */

#define DATA_BYTES  "33554432"
#define WAIT_USEC   (120 * G_USEC_PER_SEC)
#define LOOK_USEC   10000

static TestBed *bed;
static char    *guest, *marker;

static char *
make_disks(const char *boot)
{
    g_autofree char *data = g_build_filename(bed->root, "data.raw", NULL);
    char *vda = test_image(bed, "linux", "vda"), *vdb = test_image(bed, "linux", "vdb");
    g_free(test_run("qemu-img", "create", "-q", "-f", "raw", data, DATA_BYTES, NULL));
    g_free(test_run("/usr/sbin/mkfs.ext4", "-q", "-F", data, NULL));
    g_free(test_run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", data, vdb, NULL));
    g_free(test_run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", boot, vda, NULL));
    char *xml = g_strdup_printf("<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='%s'/>"
                                "<target dev='vda' bus='virtio'/></disk>"
                                "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='%s'/>"
                                "<target dev='vdb' bus='virtio'/></disk>", vda, vdb);
    g_free(vda);
    g_free(vdb);
    return xml;
}

/* Defines and starts it; its agent comes up when it has booted. */
static void
start_guest(const char *boot)
{
    g_autofree char *disks = make_disks(boot);
    guest = g_uuid_string_random();
    marker = virt_frozen_marker(bed->scratch, guest);
    g_autofree char *xml = g_strdup_printf(
        "<domain type='qemu'><name>linux</name><uuid>%s</uuid><memory unit='MiB'>192</memory><vcpu>1</vcpu>"
        "<os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features><cpu mode='maximum'/><devices>%s"
        "<serial type='file'><source path='%s/serial'/></serial><serial type='null'/>"
        "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel></devices></domain>",
        guest, disks, bed->root);
    g_autoptr(GError) error = NULL;
    virt_host_define(bed->host, xml, &error);
    g_assert_no_error(error);
    virt_host_start(bed->host, guest, &error);
    g_assert_no_error(error);
}

static VirtFreeze *
freeze(void)
{
    int64_t give_up = g_get_monotonic_time() + WAIT_USEC;
    for (;;) {
        g_autoptr(GError) error = NULL;
        VirtFreeze *self = virt_freeze_begin(bed->host, guest, bed->scratch, &error);
        if (self != NULL)
            return self;
        if (g_get_monotonic_time() > give_up)
            g_error("never frozen: %s", error->message);
        g_usleep(LOOK_USEC * 10);
    }
}

static void
wait_for_thaw(void)
{
    int64_t give_up = g_get_monotonic_time() + WAIT_USEC;
    while (g_file_test(marker, G_FILE_TEST_EXISTS)) {
        g_assert_cmpint(g_get_monotonic_time(), <, give_up);
        g_usleep(LOOK_USEC);
    }
}

static void
test_it_is_frozen_until_the_end(void)
{
    g_autoptr(GError) error = NULL;
    int64_t frozen_usec = 0;
    g_atomic_int_set(&virt_freeze_hold_msec, 60000);
    VirtFreeze *self = freeze();
    g_assert_true(g_file_test(marker, G_FILE_TEST_EXISTS));
    g_assert_true(virt_freeze_end(self, &frozen_usec, &error));
    g_assert_no_error(error);
    g_assert_cmpint(frozen_usec, >, 0);
    g_assert_false(g_file_test(marker, G_FILE_TEST_EXISTS));
}

static void
test_it_is_thawed_when_its_time_is_up(void)
{
    g_autoptr(GError) error = NULL;
    g_atomic_int_set(&virt_freeze_hold_msec, 300);
    VirtFreeze *self = freeze();
    wait_for_thaw(); /* though nobody asks for it */
    g_assert_false(virt_freeze_end(self, NULL, &error));
    g_assert_error(error, VIRT_ERROR, VIRT_ERROR_GAVE_UP);
}

static void
test_what_somebody_else_thaws_does_not_count(void)
{
    g_autoptr(GError) error = NULL;
    g_atomic_int_set(&virt_freeze_hold_msec, 60000);
    VirtFreeze *self = freeze();
    g_auto(virDomainPtr) domain = virt_host_domain(bed->host, guest, NULL);
    g_assert_cmpint(virDomainFSThaw(domain, NULL, 0, 0), ==, 1);
    g_assert_false(virt_freeze_end(self, NULL, &error));
    g_assert_error(error, VIRT_ERROR, VIRT_ERROR_GAVE_UP);
}

static void
test_release_thaws(void)
{
    g_autoptr(GError) error = NULL;
    g_atomic_int_set(&virt_freeze_hold_msec, 60000);
    VirtFreeze *self = freeze(); /* as if its process had died */
    g_assert_true(virt_release(bed->host, NULL, bed->scratch, &error));
    g_assert_no_error(error);
    g_assert_false(g_file_test(marker, G_FILE_TEST_EXISTS));
    g_auto(virDomainPtr) domain = virt_host_domain(bed->host, guest, NULL);
    g_assert_cmpint(virDomainFSThaw(domain, NULL, 0, 0), ==, 0);
    g_assert_false(virt_freeze_end(self, NULL, NULL));
}

static void
test_a_paused_guest_is_not_asked(void)
{
    g_autoptr(GError) error = NULL;
    g_assert_true(virt_host_pause(bed->host, guest, NULL));
    g_assert_null(virt_freeze_begin(bed->host, guest, bed->scratch, &error));
    g_assert_error(error, VIRT_ERROR, VIRT_ERROR_STATE);
    g_assert_true(virt_host_resume(bed->host, guest, NULL));
    g_assert_false(g_file_test(marker, G_FILE_TEST_EXISTS));
}

static void
test_without_an_agent_nothing_is_left(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *uuid = test_guest_new(bed, "plain");
    g_assert_null(virt_freeze_begin(bed->host, uuid, bed->scratch, &error));
    g_assert_nonnull(strstr(error->message, "org.qemu.guest_agent.0"));
    test_assert_clean(bed, uuid);
    test_guest_remove(bed, uuid);
}

/* ---- the agent ---- */

static bool
run_in_guest(const char *script, const char *input, unsigned timeout_sec, char **ret_output, GError **error)
{
    static const gint never = 0;
    const char *const argv[] = { "/bin/sh", "-c", script, NULL };
    return virt_agent_run(bed->host, guest, argv, input, timeout_sec, &never, ret_output, error);
}

static void
test_the_agent_runs_programs(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *said = NULL, *end = NULL;
    g_assert_true(run_in_guest("read -r word; echo \"$word\"; echo and more", "what it is told\n", 60, &said, &error));
    g_assert_no_error(error);
    g_assert_cmpstr(said, ==, "what it is told and more");
    g_assert_true(run_in_guest("i=0; while [ $i -lt 1000 ]; do printf 'line %d\\n\\033' $i; i=$((i + 1)); done; echo end", NULL, 60, &end, NULL));
    g_assert_true(g_str_has_suffix(end, "line 999  end"));
    g_assert_cmpuint(strlen(end), <, 500);
    g_assert_null(strchr(end, '\033'));
}

static void
test_a_program_that_fails_says_why(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GError) late = NULL;
    g_autoptr(GError) given_up = NULL;
    static const gint cancelled = 1;
    const char *const argv[] = { "/bin/sleep", "60", NULL };
    g_assert_false(run_in_guest("echo the reason >&2; exit 7", NULL, 60, NULL, &error));
    g_assert_nonnull(strstr(error->message, "ended with status 7: the reason"));
    g_assert_false(run_in_guest("sleep 60", NULL, 1, NULL, &late));
    g_assert_nonnull(strstr(late->message, "has not ended within 1 s"));
    g_assert_false(virt_agent_run(bed->host, guest, argv, NULL, 60, &cancelled, NULL, &given_up));
    g_assert_error(given_up, VIRT_ERROR, VIRT_ERROR_GAVE_UP);
}

static void
test_the_agent_knows_its_devices(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) interfaces = virt_agent_interfaces(bed->host, guest, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(interfaces->len, >=, 1);
    const VirtGuestInterface *loopback = g_ptr_array_index(interfaces, 0);
    g_assert_cmpstr(loopback->name, ==, "lo");
    g_assert_true(g_strv_contains((const char *const *)loopback->addresses, "127.0.0.1/8"));
    g_assert_true(virt_agent_is_ready(bed->host, guest, &error));
    g_autofree char *plain = test_guest_new(bed, "agentless");
    g_assert_false(virt_agent_is_ready(bed->host, plain, &error));
    g_assert_error(error, VIRT_ERROR, VIRT_ERROR_FAILED);
    test_guest_remove(bed, plain);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_autofree char *boot = g_build_filename(argc > 1 ? argv[1] : ".", "boot.img", NULL);
    if (!g_file_test(boot, G_FILE_TEST_EXISTS)) {
        printf("1..0 # SKIP there is no Linux guest, tests/guests/make-linux-guest says why\n");
        return 0;
    }
    g_autofree char *root = test_root_new();
    bed = test_start(root);
    start_guest(boot);
    g_test_add_func("/freeze/it-is-frozen-until-the-end", test_it_is_frozen_until_the_end);
    g_test_add_func("/freeze/it-is-thawed-when-its-time-is-up", test_it_is_thawed_when_its_time_is_up);
    g_test_add_func("/freeze/what-somebody-else-thaws-does-not-count", test_what_somebody_else_thaws_does_not_count);
    g_test_add_func("/freeze/release-thaws", test_release_thaws);
    g_test_add_func("/freeze/a-paused-guest-is-not-asked", test_a_paused_guest_is_not_asked);
    g_test_add_func("/freeze/without-an-agent-nothing-is-left", test_without_an_agent_nothing_is_left);
    g_test_add_func("/agent/it-runs-programs", test_the_agent_runs_programs);
    g_test_add_func("/agent/a-program-that-fails-says-why", test_a_program_that_fails_says_why);
    g_test_add_func("/agent/it-knows-its-devices", test_the_agent_knows_its_devices);
    int result = g_test_run();
    test_stop(bed);
    g_free(guest);
    g_free(marker);
    return result;
}
