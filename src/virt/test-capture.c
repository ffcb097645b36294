#include "virt/test-support.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Captures and checkpoints of running guests. */

static TestBed *bed;

static const char *const both_disks[] = { "vda", "vdb", NULL };

static VirtCaptureRequest
request_for(const char *uuid, const char *job_id)
{
    return (VirtCaptureRequest){
        .uuid = uuid, .job_id = job_id, .disks = both_disks, .scratch_folder = bed->scratch,
        .socket_folder = bed->root, .scratch_max_bytes = UINT64_C(1) << 30, .timeout_sec = 60,
    };
}

static VirtCapture *
begin(const VirtCaptureRequest *request)
{
    g_autoptr(GError) error = NULL;
    VirtCapture *capture = virt_capture_begin(bed->host, request, &error);
    g_assert_no_error(error);
    g_assert_nonnull(capture);
    return capture;
}

/* One cycle without a reader: a checkpoint is all that stays. */
static void
make_checkpoint(const char *uuid, const char *name)
{
    VirtCaptureRequest request = request_for(uuid, name);
    request.checkpoint = name;
    virt_capture_end(begin(&request));
}

static void
assert_clean(const char *uuid)
{
    g_assert_false(test_has_job(bed, uuid));
    g_assert_false(test_has_file_of_ours(bed->scratch));
    g_assert_false(test_has_file_of_ours(bed->root));
}

static void
assert_no_checkpoint(const char *uuid, const char *name)
{
    g_auto(GStrv) names = virt_checkpoint_list(bed->host, uuid, NULL);
    g_assert_nonnull(names);
    g_assert_false(g_strv_contains((const char *const *)names, name));
}

/* ---- looking ---- */

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

/* ---- captures ---- */

static void
test_two_disks_are_of_one_moment(void)
{
    g_autofree char *uuid = test_guest_new(bed, "moment");
    g_autofree char *previous = NULL;
    for (int cycle = 0; cycle < 4; cycle++) {
        g_autofree char *name = g_strdup_printf("vr-c%d", cycle), *job = g_strdup_printf("m%d", cycle);
        VirtCaptureRequest request = request_for(uuid, job);
        request.incremental = previous;
        request.checkpoint = name;
        VirtCapture *capture = begin(&request);
        test_guest_writes(bed, uuid, 50);

        unsigned first = 0, second = 0, failed = 0;
        test_read_round(capture, "vda", &first, &failed);
        test_read_round(capture, "vdb", &second, &failed);
        g_assert_cmpuint(failed, ==, 0);
        g_assert_cmpuint(first - second, <=, 1); /* vda is written first */
        g_assert_cmpint(virt_capture_status(capture), ==, VIRT_CAPTURE_ACTIVE);
        g_assert_cmpuint(virt_capture_scratch_bytes(capture), >, 0);
        if (previous != NULL) {
            uint64_t dirty = test_dirty_bytes(capture, "vda");
            g_assert_cmpuint(dirty, >, 0);
            g_assert_cmpuint(dirty, <=, TEST_DISK_MIB << 20);
            g_autoptr(GError) error = NULL;
            virt_checkpoint_delete(bed->host, uuid, previous, &error);
            g_assert_no_error(error);
        } else {
            g_assert_null(virt_capture_bitmap(capture, "vda"));
        }
        g_assert_null(virt_capture_export(capture, "vdz"));
        virt_capture_end(capture);
        assert_clean(uuid);
        g_free(previous);
        previous = g_strdup(name);
    }
    test_guest_remove(bed, uuid);
}

static void
test_full_scratch_gives_the_job_up_and_the_guest_runs_on(void)
{
    g_autofree char *uuid = test_guest_new(bed, "scratch");
    VirtCaptureRequest request = request_for(uuid, "s");
    request.scratch_max_bytes = 8 << 20;
    VirtCapture *capture = begin(&request);
    g_assert_cmpint(test_wait_status(capture, 30), ==, VIRT_CAPTURE_GAVE_UP_SCRATCH);
    g_assert_cmpint(g_atomic_int_get(virt_capture_cancelled(capture)), !=, 0);
    g_assert_cmpuint(virt_capture_scratch_bytes(capture), <=, 8 << 20);
    virt_capture_end(capture);
    g_assert_true(test_guest_is_running(bed, uuid));
    test_guest_writes(bed, uuid, 50);
    assert_clean(uuid);

    request.job_id = "s2"; /* the next one works */
    request.scratch_max_bytes = 1 << 30;
    unsigned round = 0, failed = 0;
    capture = begin(&request);
    test_read_round(capture, "vdb", &round, &failed);
    g_assert_cmpuint(round, >, 0);
    g_assert_cmpuint(failed, ==, 0);
    virt_capture_end(capture);
    test_guest_remove(bed, uuid);
}

static void
test_a_capture_that_takes_too_long_is_given_up(void)
{
    g_autofree char *uuid = test_guest_new(bed, "time");
    VirtCaptureRequest request = request_for(uuid, "t");
    request.timeout_sec = 1;
    VirtCapture *capture = begin(&request);
    g_assert_cmpint(test_wait_status(capture, 30), ==, VIRT_CAPTURE_GAVE_UP_TIME);
    virt_capture_end(capture);
    g_assert_true(test_guest_is_running(bed, uuid));
    assert_clean(uuid);
    test_guest_remove(bed, uuid);
}

static void
test_a_guest_that_stops_ends_the_capture(void)
{
    g_autofree char *uuid = test_guest_new(bed, "stops");
    VirtCaptureRequest request = request_for(uuid, "e");
    request.checkpoint = "vr-before";
    VirtCapture *capture = begin(&request);
    g_autoptr(GError) error = NULL;
    virt_host_stop(bed->host, uuid, &error);
    g_assert_no_error(error);
    g_assert_cmpint(test_wait_status(capture, 30), ==, VIRT_CAPTURE_ENDED_OUTSIDE);
    virt_capture_end(capture);
    assert_clean(uuid);
    test_guest_remove(bed, uuid);
}

static void
test_an_administrator_may_end_the_job(void)
{
    g_autofree char *uuid = test_guest_new(bed, "admin");
    VirtCaptureRequest request = request_for(uuid, "a");
    VirtCapture *capture = begin(&request);
    g_auto(virDomainPtr) domain = virt_host_domain(bed->host, uuid, NULL);
    g_assert_cmpint(virDomainAbortJob(domain), ==, 0);
    g_assert_cmpint(test_wait_status(capture, 30), ==, VIRT_CAPTURE_ENDED_OUTSIDE);
    virt_capture_end(capture);
    g_assert_true(test_guest_is_running(bed, uuid));
    assert_clean(uuid);
    test_guest_remove(bed, uuid);
}

static void
test_another_tools_job_is_left_alone(void)
{
    g_autofree char *uuid = test_guest_new(bed, "other");
    g_autofree char *xml = g_strdup_printf(
        "<domainbackup mode='pull'><server transport='unix' socket='%s/theirs.sock'/><disks>"
        "<disk name='vda' backup='yes' type='file'><scratch file='%s/theirs'/></disk></disks></domainbackup>",
        bed->root, bed->root);
    g_auto(virDomainPtr) domain = virt_host_domain(bed->host, uuid, NULL);
    g_assert_cmpint(virDomainBackupBegin(domain, xml, NULL, 0), ==, 0);

    g_autoptr(GError) error = NULL;
    VirtCaptureRequest request = request_for(uuid, "o");
    request.checkpoint = "vr-c";
    g_assert_null(virt_capture_begin(bed->host, &request, &error));
    g_assert_error(error, VIRT_ERROR, VIRT_ERROR_BUSY);
    g_clear_error(&error);
    assert_no_checkpoint(uuid, "vr-c");
    g_assert_false(test_has_file_of_ours(bed->scratch));
    g_assert_true(virt_release(bed->host, uuid, bed->scratch, &error));
    g_assert_true(virt_release(bed->host, NULL, bed->scratch, &error));
    g_assert_true(test_has_job(bed, uuid));
    g_assert_cmpint(virDomainAbortJob(domain), ==, 0);
    test_guest_remove(bed, uuid);
}

static void
test_begin_refuses_what_cannot_work_and_leaves_nothing(void)
{
    g_autofree char *raw = g_build_filename(bed->root, "no.raw", NULL);
    g_free(test_run("qemu-img", "create", "-f", "raw", raw, "1M", NULL));
    g_autofree char *more = g_strdup_printf("<disk type='file' device='disk'><driver name='qemu' type='raw'/><source "
                                            "file='%s'/><target dev='vdc'/></disk>", raw);
    g_autofree char *uuid = test_guest_define(bed, "refused", more);
    g_autoptr(GError) error = NULL;
    VirtCaptureRequest request = request_for(uuid, "r");
    request.checkpoint = "vr-new";
    g_assert_null(virt_capture_begin(bed->host, &request, &error));
    g_assert_error(error, VIRT_ERROR, VIRT_ERROR_STATE); /* off */
    g_clear_error(&error);
    virt_host_start(bed->host, uuid, &error);
    g_assert_no_error(error);

    request.incremental = "vr-never-made";
    g_assert_null(virt_capture_begin(bed->host, &request, &error));
    g_assert_error(error, VIRT_ERROR, VIRT_ERROR_BITMAP_LOST);
    g_clear_error(&error);

    static const char *const with_raw[] = { "vda", "vdc", NULL };
    request.incremental = NULL;
    request.disks = with_raw;
    g_assert_null(virt_capture_begin(bed->host, &request, &error));
    g_assert_error(error, VIRT_ERROR, VIRT_ERROR_UNTRACKABLE);
    g_assert_nonnull(strstr(error->message, "vdc"));
    g_clear_error(&error);

    request.disks = both_disks;
    request.job_id = "../r";
    g_assert_null(virt_capture_begin(bed->host, &request, &error));
    g_assert_error(error, VIRT_ERROR, VIRT_ERROR_FAILED);
    g_clear_error(&error);

    assert_no_checkpoint(uuid, "vr-new");
    assert_clean(uuid);
    test_guest_remove(bed, uuid);
}

/* ---- checkpoints ---- */

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
    make_checkpoint(uuid, "vr-live");
    make_checkpoint(uuid, "vr-off");
    g_assert_true(virt_checkpoint_delete(bed->host, uuid, "vr-live", &error));
    assert_no_checkpoint(uuid, "vr-live");
    g_assert_true(virt_checkpoint_delete(bed->host, uuid, "vr-live", &error)); /* again is fine */

    virt_host_stop(bed->host, uuid, &error);
    g_assert_no_error(error);
    g_autofree char *before = bitmaps_of("states", "vda");
    g_assert_nonnull(strstr(before, "vr-off"));
    g_assert_null(strstr(before, "vr-live"));
    g_assert_true(virt_checkpoint_delete(bed->host, uuid, "vr-off", &error));
    g_assert_no_error(error);
    assert_no_checkpoint(uuid, "vr-off");
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
    make_checkpoint(uuid, "vr-stored"); /* in the image since the stop, inconsistent after the kill */
    virt_host_stop(bed->host, uuid, &error);
    g_assert_no_error(error);
    virt_host_start(bed->host, uuid, &error);
    g_assert_no_error(error);
    make_checkpoint(uuid, "vr-unstored");

    VirtCaptureRequest request = request_for(uuid, "k");
    request.incremental = "vr-unstored";
    VirtCapture *capture = begin(&request);
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
        assert_no_checkpoint(uuid, "vr-next");
        g_assert_true(virt_checkpoint_delete(bed->host, uuid, lost[i], &error));
        g_assert_no_error(error);
        assert_no_checkpoint(uuid, lost[i]);
    }
    make_checkpoint(uuid, "vr-next"); /* and a new start works */
    assert_clean(uuid);
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
    make_checkpoint(uuid, "vr-stored");
    virt_host_stop(bed->host, uuid, NULL);
    virt_host_start(bed->host, uuid, &error);
    g_assert_no_error(error);
    make_checkpoint(uuid, "vr-unstored");
    kill_qemu(uuid);
    g_assert_true(virt_checkpoint_delete(bed->host, uuid, "vr-stored", &error));
    g_assert_true(virt_checkpoint_delete(bed->host, uuid, "vr-unstored", &error));
    g_assert_no_error(error);
    assert_no_checkpoint(uuid, "vr-stored");
    assert_no_checkpoint(uuid, "vr-unstored");
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
    for (size_t i = 0; both_disks[i] != NULL; i++) {
        g_autofree char *path = test_image(bed, "adopted", both_disks[i]), *base = g_strconcat(path, ".base", NULL);
        g_assert_cmpint(rename(path, base), ==, 0);
        g_free(test_run("qemu-img", "create", "-f", "qcow2", "-b", base, "-F", "qcow2", path, NULL));
        g_free(test_run("qemu-img", "bitmap", "--add", "-g", "65536", "-f", "qcow2", path, "vr-first", NULL));
    }
    virt_checkpoint_adopt(bed->host, uuid, "vr-first", both_disks, &error);
    g_assert_no_error(error);
    virt_host_start(bed->host, uuid, &error);
    g_assert_no_error(error);
    test_guest_writes(bed, uuid, 40);

    VirtCaptureRequest request = request_for(uuid, "ad");
    request.incremental = "vr-first";
    request.checkpoint = "vr-second";
    VirtCapture *capture = begin(&request);
    uint64_t dirty = test_dirty_bytes(capture, "vda");
    g_assert_cmpuint(dirty, >=, 15 * 65536); /* half of the writes are to the round's sector */
    g_assert_cmpuint(dirty, <, TEST_DISK_MIB << 20);
    virt_capture_end(capture);
    g_assert_true(virt_checkpoint_delete(bed->host, uuid, "vr-first", &error));
    assert_clean(uuid);
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
    bed = test_start(NULL);
    g_test_add_func("/capture/list-tells-domains-and-their-process", test_list_tells_domains_and_their_process);
    g_test_add_func("/capture/disks-say-what-cannot-be-tracked", test_disks_say_what_cannot_be_tracked);
    g_test_add_func("/capture/two-disks-are-of-one-moment", test_two_disks_are_of_one_moment);
    g_test_add_func("/capture/full-scratch-gives-the-job-up-and-the-guest-runs-on",
                    test_full_scratch_gives_the_job_up_and_the_guest_runs_on);
    g_test_add_func("/capture/a-capture-that-takes-too-long-is-given-up",
                    test_a_capture_that_takes_too_long_is_given_up);
    g_test_add_func("/capture/a-guest-that-stops-ends-the-capture", test_a_guest_that_stops_ends_the_capture);
    g_test_add_func("/capture/an-administrator-may-end-the-job", test_an_administrator_may_end_the_job);
    g_test_add_func("/capture/another-tools-job-is-left-alone", test_another_tools_job_is_left_alone);
    g_test_add_func("/capture/begin-refuses-what-cannot-work-and-leaves-nothing",
                    test_begin_refuses_what_cannot_work_and_leaves_nothing);
    g_test_add_func("/capture/checkpoints-are-deleted-whatever-the-state",
                    test_checkpoints_are_deleted_whatever_the_state);
    g_test_add_func("/capture/bitmaps-of-a-killed-qemu-are-lost-and-can-be-deleted",
                    test_bitmaps_of_a_killed_qemu_are_lost_and_can_be_deleted);
    g_test_add_func("/capture/bitmap-of-a-killed-qemu-is-deleted-while-off",
                    test_bitmap_of_a_killed_qemu_is_deleted_while_off);
    g_test_add_func("/capture/an-adopted-bitmap-knows-the-first-write",
                    test_an_adopted_bitmap_knows_the_first_write);
    g_test_add_func("/capture/an-image-that-is-open-elsewhere-does-not-start",
                    test_an_image_that_is_open_elsewhere_does_not_start);
    int status = g_test_run();
    test_stop(bed);
    return status;
}
