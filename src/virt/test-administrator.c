#include "virt/test-support.h"

#include <glib/gstdio.h>
#include <string.h>

/* What an administrator does with a guest that is captured all the time: it gets its way soon, and capturing goes on after it. */

#define PATIENCE_SEC   30                       /* of an administrator who tries again and again */
#define AGAIN_USEC     (G_USEC_PER_SEC / 10)
#define INTERVAL_USEC  (G_USEC_PER_SEC)          /* the shortest between two captures */

static TestBed *bed;

/* A capture of what changed since @before that makes checkpoint @name; the dirty bytes of vda. */
static uint64_t
capture_changes(const char *uuid, const char *before, const char *name)
{
    VirtCaptureRequest request = test_request(bed, uuid, name);
    request.incremental = before;
    request.checkpoint = name;
    VirtCapture *capture = test_begin(bed, &request);
    uint64_t dirty = test_dirty_bytes(capture, "vda");
    virt_capture_end(capture);
    return dirty;
}

/* ---- operations beside captures without pause ---- */

typedef struct {
    const char *uuid;
    int       (*operate)(virDomainPtr domain);
    gint        done;
    bool        good;
} Operation;

static void *
run_operation(void *opaque)
{
    Operation *self = opaque;
    g_auto(virDomainPtr) domain = virt_host_domain(bed->host, self->uuid, NULL);
    int64_t deadline = g_get_monotonic_time() + PATIENCE_SEC * G_USEC_PER_SEC;
    while (!(self->good = self->operate(domain) == 0) && g_get_monotonic_time() < deadline) {
        g_test_message("%s", virGetLastErrorMessage()); /* libvirt refuses much at once while a backup job is open */
        g_usleep(AGAIN_USEC);
    }
    g_atomic_int_set(&self->done, 1);
    return NULL;
}

/* Captures at the shortest interval, each open for a while, until @operate is through. */
static void
operate_between_captures(const char *uuid, int (*operate)(virDomainPtr domain))
{
    Operation operation = { .uuid = uuid, .operate = operate };
    GThread *thread = NULL;
    do {
        g_autoptr(GError) error = NULL;
        VirtCaptureRequest request = test_request(bed, uuid, "beside");
        int64_t next = g_get_monotonic_time() + INTERVAL_USEC;
        VirtCapture *capture = virt_capture_begin(bed->host, &request, &error);
        if (capture == NULL)
            g_assert_error(error, VIRT_ERROR, VIRT_ERROR_BUSY); /* it has its turn */
        else if (thread == NULL)
            thread = g_thread_new("administrator", run_operation, &operation);
        if (capture != NULL)
            test_guest_writes(bed, uuid, 20);
        virt_capture_end(capture);
        while (g_atomic_int_get(&operation.done) == 0 && g_get_monotonic_time() < next)
            g_usleep(5000);
    } while (g_atomic_int_get(&operation.done) == 0);
    g_thread_join(thread);
    g_assert_true(operation.good);
    g_assert_true(test_guest_is_running(bed, uuid));
}

static int
take_snapshot(virDomainPtr domain)
{
    g_autofree char *xml = g_strdup_printf(
        "<domainsnapshot><disks><disk name='vda' snapshot='external'><source file='%s/%s.over'/></disk>"
        "<disk name='vdb' snapshot='no'/></disks></domainsnapshot>", bed->root, virDomainGetName(domain));
    virDomainSnapshotPtr snapshot = virDomainSnapshotCreateXML(
        domain, xml, VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY | VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA);
    if (snapshot == NULL)
        return -1;
    virDomainSnapshotFree(snapshot);
    return 0;
}

static int
commit(virDomainPtr domain)
{
    return virDomainBlockCommit(domain, "vda", NULL, NULL, 0, VIR_DOMAIN_BLOCK_COMMIT_ACTIVE);
}

static int
pivot(virDomainPtr domain)
{
    int64_t deadline = g_get_monotonic_time() + PATIENCE_SEC * G_USEC_PER_SEC;
    while (virDomainBlockJobAbort(domain, "vda", VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT) < 0) { /* not ready yet */
        if (g_get_monotonic_time() > deadline)
            return -1;
        g_usleep(20000);
    }
    return 0;
}

static void
test_a_snapshot_and_its_commit_get_their_way(void)
{
    g_autofree char *uuid = test_guest_new(bed, "snapshot");
    test_make_checkpoint(bed, uuid, "vr-0");
    operate_between_captures(uuid, take_snapshot);
    test_guest_writes(bed, uuid, 20);
    g_assert_cmpuint(capture_changes(uuid, "vr-0", "vr-1"), >, 0); /* the track goes on in the overlay */
    test_guest_writes(bed, uuid, 20);

    operate_between_captures(uuid, commit);
    g_auto(virDomainPtr) domain = virt_host_domain(bed->host, uuid, NULL);
    g_assert_cmpint(pivot(domain), ==, 0);
    test_guest_writes(bed, uuid, 20);
    g_assert_cmpuint(capture_changes(uuid, "vr-1", "vr-2"), >, 0);
    test_assert_clean(bed, uuid);
    test_guest_remove(bed, uuid);
}

static int
grow(virDomainPtr domain)
{
    return virDomainBlockResize(domain, "vda", (TEST_DISK_MIB + 8) << 20, VIR_DOMAIN_BLOCK_RESIZE_BYTES);
}

static void
test_a_disk_grows(void)
{
    g_autofree char *uuid = test_guest_new(bed, "grows");
    test_make_checkpoint(bed, uuid, "vr-0");
    operate_between_captures(uuid, grow);
    g_autoptr(GPtrArray) disks = virt_host_disks(bed->host, uuid, NULL);
    g_assert_cmpuint(((VirtDisk *)g_ptr_array_index(disks, 0))->size_bytes, ==, (TEST_DISK_MIB + 8) << 20);
    g_assert_cmpuint(capture_changes(uuid, "vr-0", "vr-1"), >, 0);
    test_guest_remove(bed, uuid);
}

static void
test_a_block_job_abort_ends_the_capture_only(void)
{
    g_autofree char *uuid = test_guest_new(bed, "abort");
    test_make_checkpoint(bed, uuid, "vr-0");
    VirtCaptureRequest request = test_request(bed, uuid, "ab");
    request.incremental = "vr-0";
    VirtCapture *capture = test_begin(bed, &request);
    g_auto(virDomainPtr) domain = virt_host_domain(bed->host, uuid, NULL);
    g_assert_cmpint(virDomainBlockJobAbort(domain, "vda", 0), ==, 0);
    g_assert_cmpint(test_wait_status(capture, 30), ==, VIRT_CAPTURE_ENDED_OUTSIDE);
    virt_capture_end(capture);
    g_assert_true(test_guest_is_running(bed, uuid));
    test_assert_clean(bed, uuid);
    test_guest_writes(bed, uuid, 20);
    g_assert_cmpuint(capture_changes(uuid, "vr-0", "vr-1"), >, 0);
    test_guest_remove(bed, uuid);
}

/* ---- guests that were put to rest ---- */

static void
test_a_guest_that_was_paused_stays_so(void)
{
    g_autofree char *uuid = test_guest_new(bed, "paused");
    g_assert_true(virt_host_pause(bed->host, uuid, NULL));
    test_make_checkpoint(bed, uuid, "vr-0");
    g_autoptr(GError) error = NULL;
    g_assert_true(virt_release(bed->host, NULL, bed->scratch, &error));
    g_autoptr(VirtDomain) domain = virt_host_find(bed->host, uuid, NULL);
    g_assert_cmpint(domain->state, ==, VIRT_PAUSED);

    /* Paused while a job is open */
    g_assert_true(virt_host_resume(bed->host, uuid, NULL));
    VirtCaptureRequest request = test_request(bed, uuid, "during");
    VirtCapture *capture = test_begin(bed, &request);
    g_assert_true(virt_host_pause(bed->host, uuid, NULL));
    virt_capture_end(capture);
    g_autoptr(VirtDomain) later = virt_host_find(bed->host, uuid, NULL);
    g_assert_cmpint(later->state, ==, VIRT_PAUSED);
    test_guest_remove(bed, uuid);
}

static void
test_the_track_survives_a_managed_save(void)
{
    g_autofree char *uuid = test_guest_new(bed, "saved");
    g_autoptr(GError) error = NULL;
    test_make_checkpoint(bed, uuid, "vr-0");
    test_guest_writes(bed, uuid, 20);
    g_auto(virDomainPtr) domain = virt_host_domain(bed->host, uuid, NULL);
    g_assert_cmpint(virDomainManagedSave(domain, 0), ==, 0);
    g_autoptr(VirtDomain) saved = virt_host_find(bed->host, uuid, NULL);
    g_assert_cmpint(saved->state, ==, VIRT_SAVED);
    g_autofree char *path = test_image(bed, "saved", "vda");
    g_autofree char *info = test_run("qemu-img", "info", "--output=json", path, NULL);
    g_assert_nonnull(strstr(info, "vr-0"));

    virt_host_start(bed->host, uuid, &error);
    g_assert_no_error(error);
    test_guest_writes(bed, uuid, 20);
    g_assert_cmpuint(capture_changes(uuid, "vr-0", "vr-1"), >, 0);
    test_guest_remove(bed, uuid);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_autofree char *root = test_root_new();
    bed = test_start(root);
    g_test_add_func("/administrator/a-snapshot-and-its-commit-get-their-way", test_a_snapshot_and_its_commit_get_their_way);
    g_test_add_func("/administrator/a-disk-grows", test_a_disk_grows);
    g_test_add_func("/administrator/a-block-job-abort-ends-the-capture-only", test_a_block_job_abort_ends_the_capture_only);
    g_test_add_func("/administrator/a-guest-that-was-paused-stays-so", test_a_guest_that_was_paused_stays_so);
    g_test_add_func("/administrator/the-track-survives-a-managed-save", test_the_track_survives_a_managed_save);
    int status = g_test_run();
    test_stop(bed);
    return status;
}
