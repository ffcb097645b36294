#include "virt/test-support.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

/* Full scratch space, and the death of the process that captures. The scratch folder is a small file system of its own,
 * in a user namespace, so that it really fills; where the system allows none, those tests are skipped. */

#define SCRATCH_MIB 64 /* an eighth is the watchdog's reserve */

static TestBed *bed;
static bool     small_scratch;
static char    *orphans[2]; /* guests whose capture lost its process, one for each test */
static gint     n_suspended;

static const char *const orphan_names[] = { "orphan0", "orphan1" };

static void
write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t ignored = write(fd, text, strlen(text));
        (void)ignored;
        close(fd);
    }
}

/* Mounts a small file system on @folder that only this process and its children see. */
static bool
mount_small(const char *folder)
{
    g_autofree char *uid = g_strdup_printf("%u %u 1", (unsigned)getuid(), (unsigned)getuid());
    g_autofree char *gid = g_strdup_printf("%u %u 1", (unsigned)getgid(), (unsigned)getgid());
    g_autofree char *options = g_strdup_printf("size=%dm,mode=0700", SCRATCH_MIB);
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return false;
    write_text("/proc/self/setgroups", "deny");
    write_text("/proc/self/uid_map", uid);
    write_text("/proc/self/gid_map", gid);
    return mount("scratch", folder, "tmpfs", 0, options) == 0;
}

/* ---- the process that dies ---- */

/* Starts two guests with a capture on each, tells their UUIDs and waits for its end. */
static void
capture_and_wait(const char *root, int tell)
{
    g_random_set_seed((guint32)getpid()); /* or both processes make the same UUIDs */
    g_atomic_int_set(&virt_capture_poll_msec, 600 * 1000); /* as if it were dead already */
    bed = test_start(root);
    for (int i = 0; i < 2; i++) { /* paused, lest the first fills the scratch space before the second begins */
        orphans[i] = test_guest_new(bed, orphan_names[i]);
        g_assert_true(virt_host_pause(bed->host, orphans[i], NULL));
    }
    for (int i = 0; i < 2; i++) {
        VirtCaptureRequest request = test_request(bed, orphans[i], orphan_names[i]);
        virt_host_unwatch(bed->host, test_begin(bed, &request)); /* nor does it hear of errors */
    }
    for (int i = 0; i < 2; i++)
        g_assert_true(virt_host_resume(bed->host, orphans[i], NULL));
    g_autofree char *told = g_strdup_printf("%s\n%s\n", orphans[0], orphans[1]);
    g_assert_cmpint(write(tell, told, strlen(told)), ==, (gssize)strlen(told));
    for (;;)
        pause();
}

static void
make_orphans(const char *root)
{
    int ends[2];
    char text[256];
    size_t length = 0;
    g_assert_cmpint(pipe2(ends, O_CLOEXEC), ==, 0);
    pid_t child = fork();
    if (child == 0)
        capture_and_wait(root, ends[1]);
    close(ends[1]);
    for (ssize_t n; length < sizeof text - 1 && (n = read(ends[0], text + length, sizeof text - 1 - length)) > 0;) {
        length += (size_t)n;
        if (length >= 2 * 37)
            break;
    }
    close(ends[0]);
    g_assert_cmpint(kill(child, SIGKILL), ==, 0);
    g_assert_cmpint(waitpid(child, NULL, 0), ==, child);
    text[length] = '\0';
    g_auto(GStrv) lines = g_strsplit(text, "\n", 3);
    g_assert_cmpuint(g_strv_length(lines), ==, 3);
    orphans[0] = g_strdup(lines[0]);
    orphans[1] = g_strdup(lines[1]);
}

/* ---- tests ---- */

static void
wait_for_io_pause(const char *uuid)
{
    g_auto(virDomainPtr) domain = virt_host_domain(bed->host, uuid, NULL);
    int64_t deadline = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    while (!virt_domain_is_io_paused(domain)) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_usleep(5000);
    }
}

/* The guest counts its failed writes and leaves the number on the disk. */
static void
assert_no_write_failed(const char *uuid, const char *name)
{
    unsigned round = 0, failed = 0;
    g_autofree char *path = test_image(bed, name, "vdb");
    test_guest_writes(bed, uuid, 20);
    virt_host_stop(bed->host, uuid, NULL);
    test_read_image_round(path, &round, &failed);
    g_assert_cmpuint(round, >, 0);
    g_assert_cmpuint(failed, ==, 0);
}

static void
test_release_ends_the_job_of_a_dead_process(void)
{
    g_autoptr(GError) error = NULL;
    g_assert_true(test_has_job(bed, orphans[0]));
    if (small_scratch)
        wait_for_io_pause(orphans[0]); /* nobody watched, so the scratch file system is full by now */
    g_assert_true(virt_release(bed->host, orphans[0], bed->scratch, &error));
    g_assert_no_error(error);
    g_assert_false(test_has_job(bed, orphans[0]));
    g_assert_true(test_guest_is_running(bed, orphans[0]));
    g_assert_true(test_has_job(bed, orphans[1])); /* was not asked for */
    g_assert_true(virt_release(bed->host, orphans[0], bed->scratch, &error)); /* again is fine */
    assert_no_write_failed(orphans[0], "orphan0");
}

static void
test_a_new_capture_takes_the_place_of_a_dead_ones(void)
{
    if (small_scratch)
        wait_for_io_pause(orphans[1]);
    VirtCaptureRequest request = test_request(bed, orphans[1], "after");
    virt_capture_end(test_begin(bed, &request));
    g_assert_true(test_guest_is_running(bed, orphans[1]));
    test_assert_clean(bed, orphans[1]);
    assert_no_write_failed(orphans[1], "orphan1");
}

static void
test_release_removes_what_a_dead_guest_left(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *nobody = g_uuid_string_random();
    g_autofree char *socket = g_build_filename(bed->root, "vr-gone.sock", NULL);
    g_autofree char *scratch = g_build_filename(bed->scratch, "vr-gone-vda.scratch", NULL);
    g_autofree char *orphan = g_build_filename(bed->scratch, "vr-older-vda.scratch", NULL);
    g_autofree char *frozen = g_strdup_printf("%s/vr-frozen-%s", bed->scratch, orphans[0]); /* off by now */
    g_autofree char *theirs = g_build_filename(bed->scratch, "theirs.scratch", NULL);
    g_assert_true(virt_job_note_write(bed->scratch, "gone", nobody, socket, &error));
    const char *const files[] = { socket, scratch, orphan, frozen, theirs };
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++)
        g_assert_true(g_file_set_contents(files[i], "x", 1, NULL));
    g_assert_true(virt_release(bed->host, NULL, bed->scratch, &error));
    g_assert_no_error(error);
    g_assert_false(test_has_file_of_ours(bed->scratch));
    g_assert_false(test_has_file_of_ours(bed->root));
    g_assert_true(g_file_test(theirs, G_FILE_TEST_EXISTS));
    g_unlink(theirs);
}

static void
test_a_guest_that_cannot_be_thawed_is_named_and_the_rest_released(void)
{
    g_autofree char *uuid = test_guest_new(bed, "frozen");
    g_autofree char *marker = g_strdup_printf("%s/vr-frozen-%s", bed->scratch, uuid);
    g_autofree char *left = g_build_filename(bed->scratch, "vr-x.job", NULL);
    g_autoptr(GError) error = NULL;
    g_assert_true(g_file_set_contents(marker, "", 0, NULL));
    g_assert_true(g_file_set_contents(left, "", 0, NULL));
    g_assert_false(virt_release(bed->host, NULL, bed->scratch, &error)); /* it has no agent */
    g_assert_nonnull(strstr(error->message, "frozen"));
    g_assert_true(g_file_test(marker, G_FILE_TEST_EXISTS));
    g_assert_false(g_file_test(left, G_FILE_TEST_EXISTS));
    g_unlink(marker);
    test_guest_remove(bed, uuid);
}

/* Leaves @left_mib of the scratch file system. (transfer full): the file to be removed. */
static char *
take_space(unsigned left_mib)
{
    char *path = g_build_filename(bed->scratch, "taken", NULL);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(posix_fallocate(fd, 0, (off_t)(SCRATCH_MIB - left_mib) << 20), ==, 0);
    close(fd);
    return path;
}

static void
count_suspends(void *opaque, VirtEvent event, const char *uuid, const char *detail)
{
    if (event == VIRT_EVENT_SUSPENDED)
        g_atomic_int_inc(&n_suspended);
}

static void
test_a_full_file_system_is_noticed_before_the_guest_feels_it(void)
{
    if (!small_scratch) {
        g_test_skip("no user namespace with a mount of its own here");
        return;
    }
    g_autofree char *uuid = test_guest_new(bed, "early"), *taken = take_space(32);
    VirtCaptureRequest request = test_request(bed, uuid, "early");
    g_atomic_int_set(&virt_capture_poll_msec, 20);
    g_atomic_int_set(&n_suspended, 0);
    VirtCapture *capture = test_begin(bed, &request);
    g_assert_cmpint(test_wait_status(capture, 60), ==, VIRT_CAPTURE_GAVE_UP_SCRATCH);
    virt_capture_end(capture);
    g_assert_true(test_guest_is_running(bed, uuid));
    g_assert_cmpint(g_atomic_int_get(&n_suspended), ==, 0);
    test_assert_clean(bed, uuid);
    assert_no_write_failed(uuid, "early");
    g_unlink(taken);
    test_guest_remove(bed, uuid);
}

static void
test_a_guest_paused_by_full_scratch_goes_on_at_once(void)
{
    if (!small_scratch) {
        g_test_skip("no user namespace with a mount of its own here");
        return;
    }
    g_autofree char *uuid = test_guest_new(bed, "late"), *taken = take_space(16);
    VirtCaptureRequest request = test_request(bed, uuid, "late");
    g_atomic_int_set(&virt_capture_poll_msec, 600 * 1000); /* only the event is left to wake the watchdog */
    VirtCapture *capture = test_begin(bed, &request);
    g_assert_cmpint(test_wait_status(capture, 60), ==, VIRT_CAPTURE_GAVE_UP_GUEST);
    virt_capture_end(capture);
    g_assert_true(test_guest_is_running(bed, uuid));
    test_assert_clean(bed, uuid);
    assert_no_write_failed(uuid, "late");
    g_unlink(taken);
    g_atomic_int_set(&virt_capture_poll_msec, 20);
    test_guest_remove(bed, uuid);
}

/* vdb is thin, on a file system of its own that gets full: nothing of ours helps, and the guest waits for its administrator. */
static void
test_a_guest_paused_by_its_own_storage_stays_so(void)
{
    if (!small_scratch) {
        g_test_skip("no user namespace with a mount of its own here");
        return;
    }
    g_autofree char *uuid = test_guest_define(bed, "thin", ""), *path = test_image(bed, "thin", "vdb");
    g_autofree char *thin = g_build_filename(bed->scratch, "thin", NULL), *taken = take_space(8);
    g_autoptr(GError) error = NULL;
    g_unlink(path);
    g_free(test_run("qemu-img", "create", "-f", "qcow2", thin, G_STRINGIFY(TEST_DISK_MIB) "M", NULL));
    g_assert_cmpint(symlink(thin, path), ==, 0);
    virt_host_start(bed->host, uuid, &error);
    g_assert_no_error(error);
    wait_for_io_pause(uuid);

    VirtCaptureRequest request = test_request(bed, uuid, "thin");
    request.scratch_folder = bed->root;
    VirtCapture *capture = test_begin(bed, &request);
    g_assert_cmpint(virt_capture_status(capture), ==, VIRT_CAPTURE_ACTIVE);
    virt_capture_end(capture);
    g_auto(virDomainPtr) domain = virt_host_domain(bed->host, uuid, NULL);
    g_assert_true(virt_domain_is_io_paused(domain));
    g_unlink(taken);
    test_guest_remove(bed, uuid);
    g_unlink(thin);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_autofree char *root = test_root_new(), *scratch = g_build_filename(root, "scratch", NULL);
    g_mkdir(scratch, 0700);
    small_scratch = mount_small(scratch);
    make_orphans(root);
    bed = test_start(root);
    virt_host_on_event(bed->host, count_suspends, NULL);
    g_test_add_func("/release/ends-the-job-of-a-dead-process", test_release_ends_the_job_of_a_dead_process);
    g_test_add_func("/release/a-new-capture-takes-the-place-of-a-dead-ones", test_a_new_capture_takes_the_place_of_a_dead_ones);
    g_test_add_func("/release/removes-what-a-dead-guest-left", test_release_removes_what_a_dead_guest_left);
    g_test_add_func("/release/a-guest-that-cannot-be-thawed-is-named-and-the-rest-released",
                    test_a_guest_that_cannot_be_thawed_is_named_and_the_rest_released);
    g_test_add_func("/release/a-full-file-system-is-noticed-before-the-guest-feels-it",
                    test_a_full_file_system_is_noticed_before_the_guest_feels_it);
    g_test_add_func("/release/a-guest-paused-by-full-scratch-goes-on-at-once",
                    test_a_guest_paused_by_full_scratch_goes_on_at_once);
    g_test_add_func("/release/a-guest-paused-by-its-own-storage-stays-so", test_a_guest_paused_by_its_own_storage_stays_so);
    int status = g_test_run();
    test_stop(bed);
    g_free(orphans[0]);
    g_free(orphans[1]);
    return status;
}
