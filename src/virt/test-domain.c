#include "virt/test-support.h"

#include <glib/gstdio.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Domains and their devices as the rest of the program sees them. */

static TestBed *bed;

static void
test_list_tells_domains_and_their_process(void)
{
    g_autofree char *uuid = test_guest_new(bed, "seen");
    g_autoptr(GError) error = NULL;
    g_autoptr(VirtDomain) domain = virt_host_find_by_name(bed->host, "seen", &error);
    g_assert_no_error(error);
    g_assert_cmpstr(domain->uuid, ==, uuid);
    g_assert_cmpint(domain->state, ==, VIRT_RUNNING);
    g_assert_true(domain->persistent);
    g_assert_cmpuint(domain->memory_bytes, ==, 16 << 20);
    g_assert_cmpint(domain->pid, >, 1);
    g_assert_cmpint(ABS(g_get_real_time() - domain->started_usec), <, 60 * G_USEC_PER_SEC);

    virt_host_stop(bed->host, uuid, &error);
    g_assert_no_error(error);
    g_autoptr(VirtDomain) off = virt_host_find(bed->host, uuid, &error);
    g_assert_cmpint(off->state, ==, VIRT_OFF);
    g_assert_cmpint(off->pid, ==, 0);
    virt_host_undefine(bed->host, uuid, &error);
    g_assert_no_error(error);
    g_assert_null(virt_host_find(bed->host, uuid, &error));
    g_assert_error(error, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN);
}

static const VirtDisk *
find_disk(GPtrArray *disks, const char *target)
{
    for (guint i = 0; i < disks->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(disks, i);
        if (strcmp(disk->target, target) == 0)
            return disk;
    }
    g_assert_not_reached();
}

static void
test_disks_say_what_cannot_be_tracked(void)
{
    g_autofree char *raw = g_build_filename(bed->root, "kinds.raw", NULL), *old = g_build_filename(bed->root, "old", NULL);
    g_free(test_run("qemu-img", "create", "-f", "raw", raw, "1M", NULL));
    g_free(test_run("qemu-img", "create", "-f", "qcow2", "-o", "compat=0.10", old, "2M", NULL));
    g_autofree char *secret = g_build_filename(bed->root, "secret.qcow2", NULL);
    /* Its definition says luks, which decides. An image of luks is not made: qemu-img then measures its own speed, and on a machine with a coarse clock for CPU time it gives up. */
    g_free(test_run("qemu-img", "create", "-f", "qcow2", "--object", "secret,id=s,data=0123", "-o",
                    "encrypt.format=aes,encrypt.key-secret=s", secret, "2M", NULL));
    g_autofree char *more = g_strdup_printf(
        "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='%s'/><target dev='vdc'/></disk>"
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='%s'/><target dev='vdd'/>"
        "<serial>S1</serial></disk>"
        "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='%s'/><target dev='vde'/><readonly/>"
        "</disk><disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='%s'/><target dev='vdf'/>"
        "<shareable/></disk><disk type='file' device='cdrom'><target dev='hdc' bus='ide'/><readonly/></disk>"
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='%s'><encryption format='luks'><secret "
        "type='passphrase' uuid='b4a1ef23-2e3b-4fb8-9b9b-5ff9b8c7a111'/></encryption></source><target dev='vdg'/></disk>",
        raw, old, raw, raw, secret);
    g_autofree char *uuid = test_guest_define(bed, "kinds", more);
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) disks = virt_host_disks(bed->host, uuid, &error);
    g_assert_no_error(error);

    const VirtDisk *good = find_disk(disks, "vda");
    g_assert_true(good->replicable);
    g_assert_null(good->untrackable);
    g_assert_cmpuint(good->size_bytes, ==, TEST_DISK_MIB << 20);
    g_assert_cmpstr(good->format, ==, "qcow2");
    g_assert_cmpstr(good->bus, ==, "virtio");

    g_assert_false(good->forgets);
    g_assert_null(find_disk(disks, "vdc")->untrackable);
    g_assert_true(find_disk(disks, "vdc")->forgets);
    g_assert_nonnull(strstr(find_disk(disks, "vdd")->untrackable, "qemu-img amend"));
    g_assert_cmpstr(find_disk(disks, "vdd")->serial, ==, "S1");
    g_assert_false(find_disk(disks, "vde")->replicable);
    g_assert_false(find_disk(disks, "vdf")->replicable);
    g_assert_false(find_disk(disks, "hdc")->replicable);
    g_assert_null(find_disk(disks, "hdc")->path);
    g_assert_true(find_disk(disks, "vdg")->replicable);
    g_assert_nonnull(strstr(find_disk(disks, "vdg")->untrackable, "plain text")); /* never in silence */
    test_guest_remove(bed, uuid);
}

/* The state of an encrypted TPM is in no copy. */
static void
test_a_displaced_vm_keeps_its_tpm(void)
{
    static const char tpm[] = "<tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm>";
    g_autoptr(GError) error = NULL;
    g_autofree char *folder = NULL;
    g_autofree char *uuid = test_guest_define(bed, "sealed", tpm);
    g_assert_true(virt_host_tpm_folder(bed->host, uuid, &folder, &error));
    g_assert_no_error(error);
    g_autofree char *state = g_build_filename(folder, "tpm2-00.permall", NULL);
    g_assert_cmpint(g_mkdir_with_parents(folder, 0700), ==, 0);
    g_assert_true(g_file_set_contents(state, "sealed", -1, NULL));
    g_autofree char *xml = virt_host_xml(bed->host, uuid, &error);
    virt_host_displace(bed->host, uuid, &error);
    g_assert_no_error(error);
    g_assert_null(virt_host_find(bed->host, uuid, NULL));
    g_assert_true(g_file_test(state, G_FILE_TEST_EXISTS));
    virt_host_define(bed->host, xml, &error);
    g_assert_no_error(error);
    virt_host_undefine(bed->host, uuid, &error);
    g_assert_no_error(error);
    g_assert_false(g_file_test(state, G_FILE_TEST_EXISTS));
}

static void
test_an_image_that_is_open_elsewhere_does_not_start(void)
{
    g_autofree char *uuid = test_guest_new(bed, "first");
    g_autofree char *other = test_guest_define(bed, "second", "");
    g_autofree char *path = test_image(bed, "second", "vda"), *first = test_image(bed, "first", "vda");
    g_assert_cmpint(remove(path), ==, 0);
    g_assert_cmpint(link(first, path), ==, 0);
    g_autoptr(GError) error = NULL;
    g_assert_false(virt_host_start(bed->host, other, &error));
    g_assert_error(error, VIRT_ERROR, VIRT_ERROR_LOCKED);
    test_guest_remove(bed, other);
    test_guest_remove(bed, uuid);
}

/* A definition as libvirt writes it, from one host to the same guest on another. */
static void
test_a_rebuilt_definition_is_accepted_and_starts(void)
{
    g_autofree char *iso = g_build_filename(bed->root, "medium.iso", NULL), *rebuilt_xml = NULL;
    g_free(test_run("qemu-img", "create", "-f", "raw", iso, "1M", NULL));
    g_autofree char *more = g_strdup_printf(
        "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='%s'/><target dev='hdc' bus='ide'/>"
        "<readonly/></disk><controller type='virtio-serial' index='0'/><controller type='scsi' model='virtio-scsi'/>"
        "<interface type='user'><mac address='52:54:00:12:34:56'/><model type='virtio'/></interface>"
        "<serial type='null'/><console type='pty'><target type='virtio'/></console>"
        "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
        "<channel type='unix'><target type='virtio' name='other.0'/></channel><graphics type='vnc' listen='0.0.0.0'/>"
        "<video><model type='vga'/></video><input type='tablet' bus='usb'/><memballoon model='virtio'/>"
        "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng><watchdog model='i6300esb'/>"
        "<panic model='isa'/>", iso);
    g_autofree char *uuid = test_guest_define(bed, "peers", more);
    g_autoptr(GError) error = NULL;
    g_autofree char *peer_xml = virt_host_xml(bed->host, uuid, &error);
    g_assert_no_error(error);

    g_autofree char *vda = test_image(bed, "peers", "vda"), *vdb = test_image(bed, "peers", "vdb");
    const char *const targets[] = { "vda", "vdb", NULL }, *const paths[] = { vda, vdb, NULL };
    g_autofree char *new_uuid = g_uuid_string_random();
    const VirtRebuild how = { .name = "ours", .uuid = new_uuid, .targets = targets, .paths = paths, .format = "qcow2",
                              .domain_type = "qemu", .serial_log_folder = bed->root };
    rebuilt_xml = virt_rebuild_xml(peer_xml, &how, NULL, &error);
    g_assert_no_error(error);
    g_assert_null(strstr(rebuilt_xml, iso));
    virt_host_define(bed->host, rebuilt_xml, &error);
    g_assert_no_error(error);
    virt_host_start(bed->host, new_uuid, &error);
    g_assert_no_error(error);
    test_guest_writes(bed, new_uuid, 4);

    g_autoptr(GPtrArray) interfaces = virt_host_interfaces(bed->host, new_uuid, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(interfaces->len, ==, 1);
    const VirtInterface *interface = g_ptr_array_index(interfaces, 0);
    g_assert_cmpstr(interface->mac, ==, "52:54:00:12:34:56");
    g_assert_cmpstr(interface->kind, ==, "user");
    g_autofree char *log = g_strdup_printf("%s/%s-serial0.log", bed->root, new_uuid);
    g_assert_true(g_file_test(log, G_FILE_TEST_EXISTS));

    /* Once more from the rebuilt one: nothing is lost on the way back. */
    g_autofree char *back_xml = virt_host_xml(bed->host, new_uuid, &error);
    g_autofree char *again = virt_rebuild_xml(back_xml, &how, NULL, &error);
    g_assert_no_error(error);
    virt_host_define(bed->host, again, &error);
    g_assert_no_error(error);
    g_autofree char *second_xml = virt_host_xml(bed->host, new_uuid, &error);
    g_assert_cmpstr(back_xml, ==, second_xml);
    test_guest_remove(bed, new_uuid);
    test_guest_remove(bed, uuid);
}

/* ---- a libvirtd that goes and comes ---- */

static void
die_with_parent(void *opaque)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static GPid
start_libvirtd(const char *folder)
{
    g_autofree char *run = g_strconcat("XDG_RUNTIME_DIR=", folder, NULL), *home = g_strconcat("HOME=", folder, NULL);
    g_autofree char *cache = g_strconcat("XDG_CACHE_HOME=", folder, NULL), *conf = g_strconcat("XDG_CONFIG_HOME=", folder, NULL);
    g_autofree char *state = g_strconcat("XDG_DATA_HOME=", folder, NULL);
    char *env[] = { run, home, cache, conf, state, (char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
    char *argv[] = { (char *)"/usr/sbin/libvirtd", NULL };
    g_autoptr(GError) error = NULL;
    GPid pid = 0;
    g_spawn_async(NULL, argv, env, G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDERR_TO_DEV_NULL, die_with_parent, NULL, &pid, &error);
    g_assert_no_error(error);
    return pid;
}

static void
end_libvirtd(GPid pid)
{
    g_assert_cmpint(kill(pid, SIGKILL), ==, 0);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
}

static void
note_connected(void *opaque, VirtEvent event, const char *uuid, const char *detail)
{
    if (event == VIRT_EVENT_CONNECTED)
        g_atomic_int_set((gint *)opaque, 1);
}

static void
test_a_lost_connection_comes_back(void)
{
    if (!g_file_test("/usr/sbin/libvirtd", G_FILE_TEST_IS_EXECUTABLE)) {
        g_test_skip("libvirtd is not installed");
        return;
    }
    g_autofree char *folder = g_build_filename(bed->root, "d", NULL);
    g_autofree char *uri = g_strdup_printf("qemu+unix:///session?socket=%s/libvirt/libvirt-sock", folder);
    int64_t deadline = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    gint connected = 0;
    g_mkdir(folder, 0700);
    GPid pid = start_libvirtd(folder);
    VirtHost *host = NULL;
    while ((host = virt_host_open(uri, NULL)) == NULL) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_usleep(20000);
    }
    virt_host_on_event(host, note_connected, &connected);
    g_assert_true(virt_host_is_alive(host));

    end_libvirtd(pid);
    g_autoptr(GError) error = NULL;
    while (virt_host_is_alive(host))
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
    g_assert_null(virt_host_list(host, &error));
    g_assert_error(error, VIRT_ERROR, VIRT_ERROR_UNAVAILABLE);
    g_clear_error(&error);

    pid = start_libvirtd(folder);
    while (g_atomic_int_get(&connected) == 0) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_usleep(5000);
    }
    g_autoptr(GPtrArray) domains = virt_host_list(host, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(domains->len, ==, 0);
    virt_host_close(host);
    end_libvirtd(pid);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_autofree char *root = test_root_new();
    bed = test_start(root);
    g_test_add_func("/domain/list-tells-domains-and-their-process", test_list_tells_domains_and_their_process);
    g_test_add_func("/domain/disks-say-what-cannot-be-tracked", test_disks_say_what_cannot_be_tracked);
    g_test_add_func("/domain/an-image-that-is-open-elsewhere-does-not-start",
                    test_an_image_that_is_open_elsewhere_does_not_start);
    g_test_add_func("/domain/a-displaced-vm-keeps-its-tpm", test_a_displaced_vm_keeps_its_tpm);
    g_test_add_func("/domain/a-rebuilt-definition-is-accepted-and-starts", test_a_rebuilt_definition_is_accepted_and_starts);
    g_test_add_func("/domain/a-lost-connection-comes-back", test_a_lost_connection_comes_back);
    int status = g_test_run();
    test_stop(bed);
    return status;
}
