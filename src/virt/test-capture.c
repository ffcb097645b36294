#include "virt/test-support.h"

#include <string.h>

/* Captures of running guests, and every way in which one ends. */

static TestBed *bed;

static void
test_two_disks_are_of_one_moment(void)
{
    g_autofree char *uuid = test_guest_new(bed, "moment");
    g_autofree char *previous = NULL;
    for (int cycle = 0; cycle < 4; cycle++) {
        g_autofree char *name = g_strdup_printf("vr-c%d", cycle), *job = g_strdup_printf("m%d", cycle);
        VirtCaptureRequest request = test_request(bed, uuid, job);
        request.incremental = previous;
        request.checkpoint = name;
        VirtCapture *capture = test_begin(bed, &request);
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
        test_assert_clean(bed, uuid);
        g_free(previous);
        previous = g_strdup(name);
    }
    test_guest_remove(bed, uuid);
}

static void
test_full_scratch_gives_the_job_up_and_the_guest_runs_on(void)
{
    g_autofree char *uuid = test_guest_new(bed, "scratch");
    VirtCaptureRequest request = test_request(bed, uuid, "s");
    request.scratch_max_bytes = 8 << 20;
    VirtCapture *capture = test_begin(bed, &request);
    g_assert_cmpint(test_wait_status(capture, 30), ==, VIRT_CAPTURE_GAVE_UP_SCRATCH);
    g_assert_cmpint(g_atomic_int_get(virt_capture_cancelled(capture)), !=, 0);
    g_assert_cmpuint(virt_capture_scratch_bytes(capture), <=, 2 * (8 << 20)); /* a busy machine looks late */
    virt_capture_end(capture);
    g_assert_true(test_guest_is_running(bed, uuid));
    test_guest_writes(bed, uuid, 50);
    test_assert_clean(bed, uuid);

    request.job_id = "s2"; /* the next one works */
    request.scratch_max_bytes = 1 << 30;
    unsigned round = 0, failed = 0;
    capture = test_begin(bed, &request);
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
    VirtCaptureRequest request = test_request(bed, uuid, "t");
    request.timeout_sec = 1;
    VirtCapture *capture = test_begin(bed, &request);
    g_assert_cmpint(test_wait_status(capture, 30), ==, VIRT_CAPTURE_GAVE_UP_TIME);
    virt_capture_end(capture);
    g_assert_true(test_guest_is_running(bed, uuid));
    test_assert_clean(bed, uuid);
    test_guest_remove(bed, uuid);
}

static void
test_a_guest_that_stops_ends_the_capture(void)
{
    g_autofree char *uuid = test_guest_new(bed, "stops");
    VirtCaptureRequest request = test_request(bed, uuid, "e");
    request.checkpoint = "vr-before";
    VirtCapture *capture = test_begin(bed, &request);
    g_autoptr(GError) error = NULL;
    virt_host_stop(bed->host, uuid, &error);
    g_assert_no_error(error);
    g_assert_cmpint(test_wait_status(capture, 30), ==, VIRT_CAPTURE_ENDED_OUTSIDE);
    virt_capture_end(capture);
    test_assert_clean(bed, uuid);
    test_guest_remove(bed, uuid);
}

static void
test_an_administrator_may_end_the_job(void)
{
    g_autofree char *uuid = test_guest_new(bed, "admin");
    VirtCaptureRequest request = test_request(bed, uuid, "a");
    VirtCapture *capture = test_begin(bed, &request);
    g_auto(virDomainPtr) domain = virt_host_domain(bed->host, uuid, NULL);
    g_assert_cmpint(virDomainAbortJob(domain), ==, 0);
    g_assert_cmpint(test_wait_status(capture, 30), ==, VIRT_CAPTURE_ENDED_OUTSIDE);
    virt_capture_end(capture);
    g_assert_true(test_guest_is_running(bed, uuid));
    test_assert_clean(bed, uuid);
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
    VirtCaptureRequest request = test_request(bed, uuid, "o");
    request.checkpoint = "vr-c";
    g_assert_null(virt_capture_begin(bed->host, &request, &error));
    g_assert_error(error, VIRT_ERROR, VIRT_ERROR_BUSY);
    g_clear_error(&error);
    test_assert_no_checkpoint(bed, uuid, "vr-c");
    g_assert_false(test_has_file_of_ours(bed->scratch));
    g_assert_true(virt_release(bed->host, uuid, bed->scratch, &error));
    g_assert_true(virt_release(bed->host, NULL, bed->scratch, &error));
    g_assert_true(test_has_job(bed, uuid));
    g_assert_cmpint(virDomainAbortJob(domain), ==, 0);
    test_guest_remove(bed, uuid);
}

static void
test_a_running_block_job_is_waited_for(void)
{
    g_autofree char *uuid = test_guest_new(bed, "commit");
    g_autofree char *xml = g_strdup_printf(
        "<domainsnapshot><disks><disk name='vda' snapshot='external'><source file='%s/over'/></disk>"
        "<disk name='vdb' snapshot='no'/></disks></domainsnapshot>", bed->root);
    test_make_checkpoint(bed, uuid, "vr-before");
    g_auto(virDomainPtr) domain = virt_host_domain(bed->host, uuid, NULL);
    virDomainSnapshotPtr snapshot = virDomainSnapshotCreateXML(
        domain, xml, VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY | VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA);
    g_assert_nonnull(snapshot);
    virDomainSnapshotFree(snapshot);
    test_guest_writes(bed, uuid, 20);
    g_assert_cmpint(virDomainBlockCommit(domain, "vda", NULL, NULL, 1, VIR_DOMAIN_BLOCK_COMMIT_ACTIVE), ==, 0);

    g_autoptr(GError) error = NULL;
    VirtCaptureRequest request = test_request(bed, uuid, "bc");
    request.checkpoint = "vr-during";
    g_assert_null(virt_capture_begin(bed->host, &request, &error));
    g_assert_error(error, VIRT_ERROR, VIRT_ERROR_BUSY);
    g_clear_error(&error);
    test_assert_no_checkpoint(bed, uuid, "vr-during");

    g_assert_cmpint(virDomainBlockJobAbort(domain, "vda", 0), ==, 0);
    request.incremental = "vr-before"; /* through the snapshot, the bitmap goes on recording */
    VirtCapture *capture = test_begin(bed, &request);
    g_assert_cmpuint(test_dirty_bytes(capture, "vda"), >, 0);
    virt_capture_end(capture);
    test_guest_remove(bed, uuid);
}

/* ---- raw disks ---- */

static void
write_raw(const char *uuid, const char *what)
{
    g_autoptr(GError) error = NULL;
    g_auto(virDomainPtr) domain = virt_host_domain(bed->host, uuid, &error);
    g_autofree char *line = g_strdup_printf("qemu-io -d /machine/peripheral/virtio-disk2/virtio-backend \"%s\"", what);
    JsonObject *arguments = json_object_new();
    json_object_set_string_member(arguments, "command-line", line);
    g_autoptr(JsonNode) answer = virt_monitor_ask(bed->host, domain, "human-monitor-command", arguments, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(json_node_get_string(answer), ==, "");
}

static const char *const raw_too[] = { "vda", "vdc", NULL };

static VirtCapture *
begin_raw_too(const char *uuid, const char *since, const char *name)
{
    VirtCaptureRequest request = test_request(bed, uuid, name);
    request.disks = raw_too;
    request.incremental = since;
    request.checkpoint = name;
    return test_begin(bed, &request);
}

static void
assert_dirty(VirtCapture *capture, uint64_t first, uint64_t bytes)
{
    g_autofree char *image = g_strdup_printf("driver=nbd,export=%s,server.type=unix,server.path=%s,x-dirty-bitmap=qemu:dirty-bitmap:%s",
                                             virt_capture_bitmap_export(capture, "vdc"), virt_capture_socket(capture),
                                             virt_capture_bitmap(capture, "vdc"));
    g_autofree char *map = test_run("qemu-img", "map", "--output=json", "--image-opts", image, NULL);
    g_autofree char *want = g_strdup_printf("\"start\": %" G_GUINT64_FORMAT ", \"length\": %" G_GUINT64_FORMAT
                                            ", \"depth\": 0, \"present\": false", first, bytes);
    g_assert_nonnull(strstr(map, want));
    const char *dirty = strstr(map, "\"present\": false");
    g_assert_null(strstr(dirty + 1, "\"present\": false"));
}

static void
assert_raw_content(VirtCapture *capture, const char *pattern, const char *where)
{
    g_autofree char *image = g_strdup_printf("nbd+unix:///%s?socket=%s", virt_capture_export(capture, "vdc"), virt_capture_socket(capture));
    g_autofree char *command = g_strdup_printf("read -P %s %s 64k", pattern, where);
    g_autofree char *said = test_run("qemu-io", "-r", "-f", "raw", "-c", command, image, NULL);
    g_assert_null(strstr(said, "failed"));
}

static void
test_a_raw_disk_is_captured_with_the_others_until_the_vm_stops(void)
{
    g_autofree char *raw = g_build_filename(bed->root, "more.raw", NULL);
    g_free(test_run("qemu-img", "create", "-f", "raw", raw, "4M", NULL));
    g_autofree char *more = g_strdup_printf("<disk type='file' device='disk'><driver name='qemu' type='raw'/><source "
                                            "file='%s'/><target dev='vdc' bus='virtio'/></disk>", raw);
    g_autofree char *uuid = test_guest_define(bed, "raw", more);
    g_autoptr(GError) error = NULL;
    virt_host_start(bed->host, uuid, &error);
    g_assert_no_error(error);
    write_raw(uuid, "write -P 1 0 64k");

    VirtCapture *capture = begin_raw_too(uuid, NULL, "vr-r1");
    g_assert_null(virt_capture_bitmap(capture, "vdc"));
    assert_raw_content(capture, "1", "0");
    write_raw(uuid, "write -P 2 1M 64k"); /* after the moment */
    assert_raw_content(capture, "0", "1M");
    virt_capture_end(capture);

    capture = begin_raw_too(uuid, "vr-r1", "vr-r2");
    assert_dirty(capture, 1 << 20, 65536);
    assert_raw_content(capture, "2", "1M");
    g_assert_cmpuint(test_dirty_bytes(capture, "vda"), >, 0);
    virt_capture_end(capture);
    test_assert_clean(bed, uuid);

    write_raw(uuid, "write -P 3 2M 64k");
    capture = begin_raw_too(uuid, "vr-r2", "vr-r3");
    assert_dirty(capture, 2 << 20, 65536);
    virt_capture_end(capture);
    virt_checkpoint_delete(bed->host, uuid, "vr-r3", &error);
    g_assert_no_error(error);
    capture = begin_raw_too(uuid, "vr-r1", "vr-r3"); /* the name again: of the new moment only */
    virt_capture_end(capture);
    write_raw(uuid, "write -P 4 3M 64k");
    capture = begin_raw_too(uuid, "vr-r3", "vr-r4");
    assert_dirty(capture, 3 << 20, 65536);
    virt_capture_end(capture);

    virt_host_stop(bed->host, uuid, &error);
    g_assert_no_error(error);
    virt_host_start(bed->host, uuid, &error);
    g_assert_no_error(error);
    VirtCaptureRequest request = test_request(bed, uuid, "lost");
    request.disks = raw_too;
    request.incremental = "vr-r4";
    request.checkpoint = "vr-r5";
    g_assert_null(virt_capture_begin(bed->host, &request, &error));
    g_assert_error(error, VIRT_ERROR, VIRT_ERROR_BITMAP_LOST);
    test_assert_no_checkpoint(bed, uuid, "vr-r5");
    test_assert_clean(bed, uuid);
    test_guest_remove(bed, uuid);
}

static void
test_begin_refuses_what_cannot_work_and_leaves_nothing(void)
{
    g_autofree char *old = g_build_filename(bed->root, "old.qcow2", NULL);
    g_free(test_run("qemu-img", "create", "-f", "qcow2", "-o", "compat=0.10", old, "1M", NULL));
    g_autofree char *more = g_strdup_printf("<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source "
                                            "file='%s'/><target dev='vdc'/></disk>", old);
    g_autofree char *uuid = test_guest_define(bed, "refused", more);
    g_autoptr(GError) error = NULL;
    VirtCaptureRequest request = test_request(bed, uuid, "r");
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

    static const char *const with_old[] = { "vda", "vdc", NULL };
    request.incremental = NULL;
    request.disks = with_old;
    g_assert_null(virt_capture_begin(bed->host, &request, &error));
    g_assert_error(error, VIRT_ERROR, VIRT_ERROR_UNTRACKABLE);
    g_assert_nonnull(strstr(error->message, "vdc"));
    g_clear_error(&error);

    request.disks = test_both_disks;
    request.job_id = "../r";
    g_assert_null(virt_capture_begin(bed->host, &request, &error));
    g_assert_error(error, VIRT_ERROR, VIRT_ERROR_FAILED);
    g_clear_error(&error);

    test_assert_no_checkpoint(bed, uuid, "vr-new");
    test_assert_clean(bed, uuid);
    test_guest_remove(bed, uuid);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_autofree char *root = test_root_new();
    bed = test_start(root);
    g_test_add_func("/capture/two-disks-are-of-one-moment", test_two_disks_are_of_one_moment);
    g_test_add_func("/capture/full-scratch-gives-the-job-up-and-the-guest-runs-on",
                    test_full_scratch_gives_the_job_up_and_the_guest_runs_on);
    g_test_add_func("/capture/a-capture-that-takes-too-long-is-given-up",
                    test_a_capture_that_takes_too_long_is_given_up);
    g_test_add_func("/capture/a-guest-that-stops-ends-the-capture", test_a_guest_that_stops_ends_the_capture);
    g_test_add_func("/capture/an-administrator-may-end-the-job", test_an_administrator_may_end_the_job);
    g_test_add_func("/capture/another-tools-job-is-left-alone", test_another_tools_job_is_left_alone);
    g_test_add_func("/capture/a-running-block-job-is-waited-for", test_a_running_block_job_is_waited_for);
    g_test_add_func("/capture/begin-refuses-what-cannot-work-and-leaves-nothing",
                    test_begin_refuses_what_cannot_work_and_leaves_nothing);
    g_test_add_func("/capture/a-raw-disk-is-captured-with-the-others-until-the-vm-stops",
                    test_a_raw_disk_is_captured_with_the_others_until_the_vm_stops);
    int status = g_test_run();
    test_stop(bed);
    return status;
}
