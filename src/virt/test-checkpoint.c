#include "virt/test-support.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

/* Checkpoints: deleted, lost and adopted, whatever state the guest is in. */

static TestBed *bed;

static char *
bitmaps_of(const char *name, const char *target)
{
    g_autofree char *path = test_image(bed, name, target);
    return test_run("qemu-img", "info", "--output=json", "-f", "qcow2", path, NULL);
}

static void
test_checkpoints_are_deleted_whatever_the_state(void)
{
    g_autofree char *uuid = test_guest_new(bed, "states");
    g_autoptr(GError) error = NULL;
    test_make_checkpoint(bed, uuid, "vr-live");
    test_make_checkpoint(bed, uuid, "vr-off");
    g_assert_true(virt_checkpoint_delete(bed->host, uuid, "vr-live", &error));
    test_assert_no_checkpoint(bed, uuid, "vr-live");
    g_assert_true(virt_checkpoint_delete(bed->host, uuid, "vr-live", &error)); /* again is fine */

    virt_host_stop(bed->host, uuid, &error);
    g_assert_no_error(error);
    g_autofree char *before = bitmaps_of("states", "vda");
    g_assert_nonnull(strstr(before, "vr-off"));
    g_assert_null(strstr(before, "vr-live"));
    g_assert_true(virt_checkpoint_delete(bed->host, uuid, "vr-off", &error));
    g_assert_no_error(error);
    test_assert_no_checkpoint(bed, uuid, "vr-off");
    g_autofree char *after = bitmaps_of("states", "vdb");
    g_assert_null(strstr(after, "vr-off"));
    g_assert_true(virt_checkpoint_delete(bed->host, uuid, "vr-off", &error));
    test_guest_remove(bed, uuid);
}

static void
kill_qemu(const char *uuid)
{
    g_autoptr(VirtDomain) domain = virt_host_find(bed->host, uuid, NULL);
    g_assert_cmpint(domain->pid, >, 1);
    g_assert_cmpint(kill((pid_t)domain->pid, SIGKILL), ==, 0);
    int64_t deadline = g_get_monotonic_time() + 30 * G_USEC_PER_SEC;
    for (VirtState state = VIRT_RUNNING; state != VIRT_OFF;) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_usleep(5000);
        g_autoptr(VirtDomain) now = virt_host_find(bed->host, uuid, NULL);
        state = now->state;
    }
}

static void
test_bitmaps_of_a_killed_qemu_are_lost_and_can_be_deleted(void)
{
    g_autofree char *uuid = test_guest_new(bed, "killed");
    g_autoptr(GError) error = NULL;
    test_make_checkpoint(bed, uuid, "vr-stored"); /* in the image since the stop, inconsistent after the kill */
    virt_host_stop(bed->host, uuid, &error);
    g_assert_no_error(error);
    virt_host_start(bed->host, uuid, &error);
    g_assert_no_error(error);
    test_make_checkpoint(bed, uuid, "vr-unstored");

    VirtCaptureRequest request = test_request(bed, uuid, "k");
    request.incremental = "vr-unstored";
    VirtCapture *capture = test_begin(bed, &request);
    kill_qemu(uuid);
    g_assert_cmpint(test_wait_status(capture, 30), ==, VIRT_CAPTURE_ENDED_OUTSIDE);
    virt_capture_end(capture);
    g_assert_false(test_has_file_of_ours(bed->scratch));
    g_assert_false(test_has_file_of_ours(bed->root));

    virt_host_start(bed->host, uuid, &error);
    g_assert_no_error(error);
    static const char *const lost[] = { "vr-stored", "vr-unstored" };
    for (size_t i = 0; i < G_N_ELEMENTS(lost); i++) {
        request.incremental = lost[i];
        request.checkpoint = "vr-next";
        g_assert_null(virt_capture_begin(bed->host, &request, &error));
        g_assert_error(error, VIRT_ERROR, VIRT_ERROR_BITMAP_LOST);
        g_clear_error(&error);
        test_assert_no_checkpoint(bed, uuid, "vr-next");
        g_assert_true(virt_checkpoint_delete(bed->host, uuid, lost[i], &error));
        g_assert_no_error(error);
        test_assert_no_checkpoint(bed, uuid, lost[i]);
    }
    test_make_checkpoint(bed, uuid, "vr-next"); /* and a new start works */
    test_assert_clean(bed, uuid);
    virt_host_stop(bed->host, uuid, NULL);
    g_autofree char *left = bitmaps_of("killed", "vda");
    g_assert_null(strstr(left, "stored"));
    test_guest_remove(bed, uuid);
}

static void
test_bitmap_of_a_killed_qemu_is_deleted_while_off(void)
{
    g_autofree char *uuid = test_guest_new(bed, "killed-off");
    g_autoptr(GError) error = NULL;
    test_make_checkpoint(bed, uuid, "vr-stored");
    virt_host_stop(bed->host, uuid, NULL);
    virt_host_start(bed->host, uuid, &error);
    g_assert_no_error(error);
    test_make_checkpoint(bed, uuid, "vr-unstored");
    kill_qemu(uuid);
    g_assert_true(virt_checkpoint_delete(bed->host, uuid, "vr-stored", &error));
    g_assert_true(virt_checkpoint_delete(bed->host, uuid, "vr-unstored", &error));
    g_assert_no_error(error);
    test_assert_no_checkpoint(bed, uuid, "vr-stored");
    test_assert_no_checkpoint(bed, uuid, "vr-unstored");
    g_autofree char *left = bitmaps_of("killed-off", "vda");
    g_assert_null(strstr(left, "stored"));
    test_guest_remove(bed, uuid);
}

static void
test_an_adopted_bitmap_knows_the_first_write(void)
{
    /* As a failover does it: an overlay with a bitmap from before anything was written into it. */
    g_autofree char *uuid = test_guest_define(bed, "adopted", "");
    g_autoptr(GError) error = NULL;
    for (size_t i = 0; test_both_disks[i] != NULL; i++) {
        g_autofree char *path = test_image(bed, "adopted", test_both_disks[i]), *base = g_strconcat(path, ".base", NULL);
        g_assert_cmpint(rename(path, base), ==, 0);
        g_free(test_run("qemu-img", "create", "-f", "qcow2", "-b", base, "-F", "qcow2", path, NULL));
        g_free(test_run("qemu-img", "bitmap", "--add", "-g", "65536", "-f", "qcow2", path, "vr-first", NULL));
    }
    virt_checkpoint_adopt(bed->host, uuid, "vr-first", test_both_disks, &error);
    g_assert_no_error(error);
    virt_host_start(bed->host, uuid, &error);
    g_assert_no_error(error);
    test_guest_writes(bed, uuid, 40);

    VirtCaptureRequest request = test_request(bed, uuid, "ad");
    request.incremental = "vr-first";
    request.checkpoint = "vr-second";
    VirtCapture *capture = test_begin(bed, &request);
    uint64_t dirty = test_dirty_bytes(capture, "vda");
    g_assert_cmpuint(dirty, >=, 15 * 65536); /* half of the writes are to the round's sector */
    g_assert_cmpuint(dirty, <, TEST_DISK_MIB << 20);
    virt_capture_end(capture);
    g_assert_true(virt_checkpoint_delete(bed->host, uuid, "vr-first", &error));
    test_assert_clean(bed, uuid);
    test_guest_remove(bed, uuid);
}

/* Undefined while it runs, a VM loses libvirt's record of its checkpoints with its stop; the bitmaps stay in the images. */
static void
forget_checkpoint(const char *uuid, const char *xml)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = test_image(bed, "forgot", "vda");
    test_make_checkpoint(bed, uuid, "vr-forgotten");
    virt_host_undefine(bed->host, uuid, &error);
    g_assert_no_error(error);
    virt_host_stop(bed->host, uuid, &error);
    g_assert_no_error(error);
    g_free(test_run("qemu-img", "bitmap", "--add", "-f", "qcow2", path, "theirs", NULL));
    virt_host_define(bed->host, xml, &error);
    g_assert_no_error(error);
    g_autofree char *before = bitmaps_of("forgot", "vdb");
    g_assert_nonnull(strstr(before, "vr-forgotten"));
}

static void
test_bitmaps_that_libvirt_forgot_are_removed(void)
{
    g_autofree char *uuid = test_guest_new(bed, "forgot"), *path = test_image(bed, "forgot", "vda");
    g_autoptr(GError) error = NULL;
    g_autofree char *xml = virt_host_xml(bed->host, uuid, &error);
    for (int running = 0; running <= 1; running++) {
        forget_checkpoint(uuid, xml);
        if (running)
            g_assert_true(virt_host_start(bed->host, uuid, &error));
        virt_checkpoint_drop_unknown(bed->host, uuid, bed->scratch, &error);
        g_assert_no_error(error);
        virt_host_stop(bed->host, uuid, NULL);
        g_autofree char *vda = bitmaps_of("forgot", "vda"), *vdb = bitmaps_of("forgot", "vdb");
        g_assert_null(strstr(vda, "vr-forgotten"));
        g_assert_null(strstr(vdb, "vr-forgotten"));
        g_assert_nonnull(strstr(vda, "theirs"));
        g_free(test_run("qemu-img", "bitmap", "--remove", "-f", "qcow2", path, "theirs", NULL));

        g_assert_true(virt_host_start(bed->host, uuid, &error));
        test_make_checkpoint(bed, uuid, "vr-known"); /* what is known stays */
        virt_checkpoint_drop_unknown(bed->host, uuid, bed->scratch, &error);
        g_assert_no_error(error);
        g_auto(GStrv) names = virt_checkpoint_list(bed->host, uuid, NULL);
        g_assert_cmpuint(g_strv_length(names), ==, 1);
        g_assert_true(virt_checkpoint_delete(bed->host, uuid, "vr-known", NULL));
    }
    test_guest_remove(bed, uuid);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_autofree char *root = test_root_new();
    bed = test_start(root);
    g_test_add_func("/checkpoint/checkpoints-are-deleted-whatever-the-state",
                    test_checkpoints_are_deleted_whatever_the_state);
    g_test_add_func("/checkpoint/bitmaps-of-a-killed-qemu-are-lost-and-can-be-deleted",
                    test_bitmaps_of_a_killed_qemu_are_lost_and_can_be_deleted);
    g_test_add_func("/checkpoint/bitmap-of-a-killed-qemu-is-deleted-while-off",
                    test_bitmap_of_a_killed_qemu_is_deleted_while_off);
    g_test_add_func("/checkpoint/an-adopted-bitmap-knows-the-first-write",
                    test_an_adopted_bitmap_knows_the_first_write);
    g_test_add_func("/checkpoint/bitmaps-that-libvirt-forgot-are-removed", test_bitmaps_that_libvirt_forgot_are_removed);
    int status = g_test_run();
    test_stop(bed);
    return status;
}
