#include "virt/test-support.h"

#include <stdio.h>
#include <string.h>
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
    g_autofree char *more = g_strdup_printf(
        "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='%s'/><target dev='vdc'/></disk>"
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='%s'/><target dev='vdd'/>"
        "<serial>S1</serial></disk>"
        "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='%s'/><target dev='vde'/><readonly/>"
        "</disk><disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='%s'/><target dev='vdf'/>"
        "<shareable/></disk><disk type='file' device='cdrom'><target dev='hdc' bus='ide'/><readonly/></disk>",
        raw, old, raw, raw);
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

    g_assert_nonnull(strstr(find_disk(disks, "vdc")->untrackable, "qemu-img convert"));
    g_assert_nonnull(strstr(find_disk(disks, "vdd")->untrackable, "qemu-img amend"));
    g_assert_cmpstr(find_disk(disks, "vdd")->serial, ==, "S1");
    g_assert_false(find_disk(disks, "vde")->replicable);
    g_assert_false(find_disk(disks, "vdf")->replicable);
    g_assert_false(find_disk(disks, "hdc")->replicable);
    g_assert_null(find_disk(disks, "hdc")->path);
    test_guest_remove(bed, uuid);
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
    int status = g_test_run();
    test_stop(bed);
    return status;
}
