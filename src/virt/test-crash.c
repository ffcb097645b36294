#include "virt/test-support.h"

#include <errno.h>
#include <fcntl.h>
#include <libvirt/libvirt-qemu.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A process that captures a running guest without pause is killed at random moments, and each time the next one finds
 * the guest running, cleans up and goes on with an incremental capture. A process is a child of the test, which itself
 * never opens the hypervisor: that would be a second one in it. Children tell by pipe how far they are. */

#define ROUNDS     30
#define ROUNDS_MAX 90 /* when none of them met what it is for */
#define SEED       9
#define DEATHS_AFTER_END 5

enum { TOLD_CLEAN = 'c', TOLD_BEGIN = 'b' };

static char *root, *uuid;
static gint  n_suspended;

/* ---- a look past libvirt ---- */

static char *
ask_qemu(TestBed *bed, const char *command)
{
    char *reply = NULL;
    g_auto(virDomainPtr) domain = virt_host_domain(bed->host, uuid, NULL);
    g_assert_cmpint(virDomainQemuMonitorCommand(domain, command, &reply, 0), ==, 0);
    char *copy = g_strdup(reply);
    free(reply);
    return copy;
}

static void
assert_empty_list(TestBed *bed, const char *command)
{
    g_autofree char *request = g_strdup_printf("{\"execute\":\"%s\"}", command);
    g_autofree char *reply = ask_qemu(bed, request);
    g_assert_nonnull(strstr(reply, "\"return\":[]"));
}

/* Nothing of ours but the bitmaps of checkpoint @known. */
static void
assert_qemu_is_clean(TestBed *bed, const char *known)
{
    unsigned n_known = 0;
    g_autofree char *wanted = g_strdup_printf("\"%s\"", known);
    g_autofree char *nodes = ask_qemu(bed, "{\"execute\":\"query-named-block-nodes\",\"arguments\":{\"flat\":true}}");
    g_assert_null(strstr(nodes, ".scratch"));
    g_auto(GStrv) named = g_strsplit(nodes, "\"name\":", -1);
    for (size_t i = 1; named[i] != NULL; i++) {
        const char *name = g_strchug(named[i]);
        if (g_str_has_prefix(name, wanted))
            n_known++;
        else
            g_assert_false(g_str_has_prefix(name, "\"" VIRT_NAME_PREFIX));
    }
    g_assert_cmpuint(n_known, ==, 2); /* disks */
    assert_empty_list(bed, "query-jobs");
    assert_empty_list(bed, "query-block-exports");
}

/* ---- one round: in a process that will be killed ---- */

static void
tell(int pipe, char what)
{
    g_assert_cmpint(write(pipe, &what, 1), ==, 1);
}

static char *
known_name(unsigned round)
{
    return g_strdup_printf("vr-known%u", round);
}

static void
delete_all_but(TestBed *bed, const char *known)
{
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) names = virt_checkpoint_list(bed->host, uuid, &error);
    g_assert_no_error(error);
    g_assert_true(g_strv_contains((const char *const *)names, known));
    for (size_t i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], known) != 0)
            virt_checkpoint_delete(bed->host, uuid, names[i], &error);
        g_assert_no_error(error);
    }
}

static void
count_suspends(void *opaque, VirtEvent event, const char *vm, const char *detail)
{
    if (event == VIRT_EVENT_SUSPENDED)
        g_atomic_int_inc(&n_suspended);
}

static void
capture(TestBed *bed, const char *job, const char *incremental, const char *checkpoint, bool look)
{
    VirtCaptureRequest request = test_request(bed, uuid, job);
    unsigned count = 0, failed = 0;
    request.incremental = incremental;
    request.checkpoint = checkpoint;
    VirtCapture *begun = test_begin(bed, &request);
    if (look) {
        test_read_round(begun, "vda", &count, &failed);
        g_assert_cmpuint(count, >, 0);
        g_assert_cmpuint(failed, ==, 0);
        g_assert_cmpuint(test_dirty_bytes(begun, "vda"), >, 0);
    }
    virt_capture_end(begun);
}

/* What the dead one left is gone, and the changes since the last good capture are known. */
static void
go_on_after_a_death(TestBed *bed, unsigned round)
{
    g_autofree char *before = known_name(round - 1), *now = known_name(round);
    g_autoptr(GError) error = NULL;
    virt_release(bed->host, NULL, bed->scratch, &error);
    g_assert_no_error(error);
    g_assert_true(test_guest_is_running(bed, uuid));
    test_assert_clean(bed, uuid);
    delete_all_but(bed, before);
    assert_qemu_is_clean(bed, before);
    test_guest_writes(bed, uuid, 4);
    capture(bed, now, before, now, true);
    delete_all_but(bed, now);
    assert_qemu_is_clean(bed, now);
    g_assert_cmpint(g_atomic_int_get(&n_suspended), ==, 0);
}

static void
run_round(unsigned round, int pipe)
{
    g_autofree char *known = known_name(round);
    TestBed *bed = test_start(root);
    virt_host_on_event(bed->host, count_suspends, NULL);
    if (round > 0)
        go_on_after_a_death(bed, round);
    else
        capture(bed, known, NULL, known, false);
    tell(pipe, TOLD_CLEAN);
    for (unsigned i = 0;; i++) {
        g_autofree char *next = g_strdup_printf("vr-loop%u-%u", round, i);
        tell(pipe, TOLD_BEGIN);
        capture(bed, next, known, next, false);
        delete_all_but(bed, known);
    }
}

/* ---- the one who kills ---- */

static pid_t
start_child(void (*run)(unsigned round, int pipe), unsigned round, int *ret_pipe)
{
    int ends[2];
    g_assert_cmpint(pipe2(ends, O_CLOEXEC), ==, 0);
    pid_t child = fork();
    g_assert_cmpint(child, >=, 0);
    if (child == 0) {
        close(ends[0]);
        run(round, ends[1]);
        _exit(0);
    }
    close(ends[1]);
    *ret_pipe = ends[0];
    return child;
}

static char
hear(int pipe)
{
    char what = 0;
    ssize_t n;
    while ((n = read(pipe, &what, 1)) < 0 && errno == EINTR)
        ;
    return n == 1 ? what : 0;
}

static char *
read_status(void)
{
    g_autofree char *path = g_build_filename(root, "run", "qemu", "guest.xml", NULL);
    char *text = NULL;
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return text;
}

static void
write_status(const char *text)
{
    g_autofree char *path = g_build_filename(root, "run", "qemu", "guest.xml", NULL);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static bool
status_is_phantom(void)
{
    g_autofree char *text = read_status();
    return strstr(text, "async='backup'") != NULL && strstr(text, "<domainbackup") == NULL;
}

/* One that ends by itself after it told that all is well. */
static void
run_child(void (*run)(unsigned round, int pipe), unsigned round)
{
    int pipe = -1;
    pid_t child = start_child(run, round, &pipe);
    g_assert_cmpint(hear(pipe), ==, TOLD_CLEAN);
    g_assert_cmpint(waitpid(child, NULL, 0), ==, child);
    close(pipe);
}

static void
kill_child(pid_t child, int pipe)
{
    int status = 0;
    kill(child, SIGKILL);
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_true(WIFSIGNALED(status));
    g_assert_cmpint(WTERMSIG(status), ==, SIGKILL); /* it had not failed by itself */
    close(pipe);
}

/* At a part of the time that the capture before took, however busy the machine is. */
static void
run_and_kill(unsigned round, double moment)
{
    int pipe = -1;
    pid_t child = start_child(run_round, round, &pipe);
    g_assert_cmpint(hear(pipe), ==, TOLD_CLEAN);
    g_assert_cmpint(hear(pipe), ==, TOLD_BEGIN);
    int64_t begun = g_get_monotonic_time();
    g_assert_cmpint(hear(pipe), ==, TOLD_BEGIN);
    int64_t took = g_get_monotonic_time() - begun;
    g_usleep((gulong)((double)took * moment)); /* until the moment of death, not for anything */
    kill_child(child, pipe);
}

static void
test_replication_goes_on_after_a_death_at_any_moment(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(SEED);
    unsigned n_phantoms = 0, round = 0;
    for (; round < ROUNDS || (n_phantoms == 0 && round < ROUNDS_MAX); round++) {
        run_and_kill(round, g_rand_double(rand));
        n_phantoms += status_is_phantom();
    }
    g_test_message("%u of %u deaths left libvirt with a backup job it could not end", n_phantoms, round);
    g_assert_cmpuint(n_phantoms, >, 0);
}

static void
go_on_once(unsigned round, int pipe)
{
    TestBed *bed = test_start(root);
    go_on_after_a_death(bed, round);
    tell(pipe, TOLD_CLEAN);
}

/* ---- a death as soon as a capture has ended ---- */

static void
die_after_end(unsigned round, int pipe)
{
    g_autofree char *known = known_name(round);
    TestBed *bed = test_start(root);
    virt_release(bed->host, NULL, bed->scratch, NULL);
    capture(bed, known, NULL, known, false);
    delete_all_but(bed, known);
    capture(bed, "last", known, NULL, false);
    kill(getpid(), SIGKILL); /* nothing is left that would tell the next one to look into QEMU */
}

static void
test_a_death_after_the_end_of_a_capture_leaves_nothing(void)
{
    for (unsigned i = 0; i < DEATHS_AFTER_END; i++) {
        unsigned round = ROUNDS_MAX + 10 + 2 * i;
        int pipe = -1, status = 0;
        pid_t child = start_child(die_after_end, round, &pipe);
        g_assert_cmpint(waitpid(child, &status, 0), ==, child);
        g_assert_true(WIFSIGNALED(status));
        g_assert_cmpint(WTERMSIG(status), ==, SIGKILL);
        close(pipe);
        run_child(go_on_once, round + 1);
    }
}

/* ---- a death between the states of two disks ---- */

static void
hold_capture(unsigned round, int pipe)
{
    g_autofree char *known = known_name(round);
    TestBed *bed = test_start(root);
    virt_release(bed->host, NULL, bed->scratch, NULL);
    capture(bed, known, NULL, known, false);
    delete_all_but(bed, known);
    VirtCaptureRequest request = test_request(bed, uuid, "held");
    test_begin(bed, &request);
    tell(pipe, TOLD_BEGIN);
    for (;;)
        pause();
}

/* As libvirt saves it when it has started one of the two disks' jobs. */
static void
forget_state_of_second_disk(void)
{
    g_autofree char *text = read_status();
    g_auto(GStrv) parts = g_strsplit(text, "<disk name='vdb' backup='yes' state='running'", -1);
    g_assert_cmpuint(g_strv_length(parts), ==, 2);
    g_autofree char *forgetful = g_strjoinv("<disk name='vdb' backup='yes'", parts);
    write_status(forgetful);
}

static void
test_a_job_that_libvirt_cannot_read_does_not_lose_the_guest(void)
{
    int pipe = -1;
    pid_t child = start_child(hold_capture, ROUNDS_MAX, &pipe);
    g_assert_cmpint(hear(pipe), ==, TOLD_BEGIN);
    kill_child(child, pipe);
    forget_state_of_second_disk();
    run_child(go_on_once, ROUNDS_MAX + 1);
}

/* ---- a phantom that nobody may repair ---- */

static void
write_phantom(void)
{
    g_autofree char *text = read_status();
    g_auto(GStrv) parts = g_strsplit(text, "</qemuCaps>", 2);
    g_autofree char *phantom = g_strconcat(parts[0], "</qemuCaps><job type='none' async='backup' flags='0x0'/>",
                                           parts[1], NULL);
    write_status(phantom);
}

/* The second look of a process at a root repairs nothing, as with a hypervisor of somebody else. */
static void
meet_a_phantom(unsigned round, int pipe)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *uri = g_strdup_printf("qemu:///embed?root=%s", root);
    virt_repair_status(uri);
    write_phantom();
    TestBed *bed = test_start(root);
    VirtCaptureRequest request = test_request(bed, uuid, "refused");
    g_assert_null(virt_capture_begin(bed->host, &request, &error));
    g_assert_error(error, VIRT_ERROR, VIRT_ERROR_BUSY);
    g_assert_nonnull(strstr(error->message, "TROUBLESHOOTING"));
    g_clear_error(&error);
    virt_sweep(bed->host, uuid, bed->scratch, &error); /* what it began in QEMU can be removed all the same */
    g_assert_no_error(error);
    g_assert_true(test_guest_is_running(bed, uuid));
    tell(pipe, TOLD_CLEAN);
}

static void
test_a_phantom_that_is_not_ours_to_repair_is_named(void)
{
    run_child(meet_a_phantom, 0);
}

/* ---- the guest ---- */

static void
start_guest(unsigned round, int pipe)
{
    TestBed *bed = test_start(root);
    g_autofree char *told = test_guest_new(bed, "guest");
    g_assert_cmpint(write(pipe, told, 36), ==, 36);
}

/* It counts its failed writes and leaves the number on the disk. */
static void
end_guest(unsigned round, int pipe)
{
    unsigned count = 0, failed = 0;
    TestBed *bed = test_start(root);
    g_autofree char *path = test_image(bed, "guest", "vdb");
    test_guest_writes(bed, uuid, 4);
    virt_host_stop(bed->host, uuid, NULL);
    test_read_image_round(path, &count, &failed);
    g_assert_cmpuint(count, >, 0);
    g_assert_cmpuint(failed, ==, 0);
    test_stop(bed);
    tell(pipe, TOLD_CLEAN);
}

static void
test_no_write_of_the_guest_failed(void)
{
    run_child(end_guest, 0);
}

int
main(int argc, char **argv)
{
    int pipe = -1;
    g_test_init(&argc, &argv, NULL);
    root = test_root_new();
    pid_t child = start_child(start_guest, 0, &pipe);
    uuid = g_new0(char, 37);
    for (int i = 0; i < 36; i++)
        uuid[i] = hear(pipe);
    g_assert_cmpint(waitpid(child, NULL, 0), ==, child);
    close(pipe);
    g_test_add_func("/crash/replication-goes-on-after-a-death-at-any-moment",
                    test_replication_goes_on_after_a_death_at_any_moment);
    g_test_add_func("/crash/a-death-after-the-end-of-a-capture-leaves-nothing",
                    test_a_death_after_the_end_of_a_capture_leaves_nothing);
    g_test_add_func("/crash/a-job-that-libvirt-cannot-read-does-not-lose-the-guest",
                    test_a_job_that_libvirt_cannot_read_does_not_lose_the_guest);
    g_test_add_func("/crash/a-phantom-that-is-not-ours-to-repair-is-named",
                    test_a_phantom_that_is_not_ours_to_repair_is_named);
    g_test_add_func("/crash/no-write-of-the-guest-failed", test_no_write_of_the_guest_failed);
    int status = g_test_run();
    g_free(uuid);
    g_free(root);
    return status;
}
