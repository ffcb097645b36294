#include "disk/test-disk.h"

#include "util/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEED 0x0ddba11000000000u

static void
make_image(const char *path)
{
    g_autoptr(GError) error = NULL;
    image_create(path, "qcow2", 4 * MIB, &error);
    g_assert_no_error(error);
}

static char *
second_run_folder(TestDisk *test)
{
    return g_build_filename(test->folder, "run2", NULL);
}

static void
test_content_is_kept(TestDisk *test, gconstpointer data)
{
    make_image(test->image);
    DiskServer *server = test_disk_serve(test, test->image, "qcow2", true);
    DiskClient *client = test_disk_connect(test, server);
    test_pattern_write(client, MIB, MIB, SEED);
    disk_server_stop(server); /* with a client still connected */
    disk_client_free(client);

    g_autoptr(GError) error = NULL;
    g_autoptr(DiskServer) again = test_disk_serve(test, test->image, "qcow2", false);
    g_autoptr(DiskClient) reader = test_disk_connect(test, again);
    g_autofree uint8_t *buffer = g_malloc(MIB);
    disk_client_read(reader, MIB, buffer, MIB, &error);
    g_assert_no_error(error);
    test_pattern_check(buffer, MIB, MIB, SEED);
    image_check(test->image, "qcow2", &error);
    g_assert_no_error(error);
}

static void
test_two_disks(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *second = g_build_filename(test->folder, "raw,image:x", NULL);
    make_image(test->image);
    image_create(second, "raw", 2 * MIB, &error);
    g_assert_no_error(error);
    const DiskServerImage images[] = { { .id = "vda", .path = test->image, .format = "qcow2" },
                                       { .id = "a-quite-long-name_of.a-disk-that-is-longer-than-a-node-name-may-be",
                                         .path = second, .format = "raw" } };
    g_autoptr(DiskServer) server = disk_server_start(test->run, images, 2, true, &error);
    g_assert_no_error(error);
    for (unsigned i = 0; i < 2; i++) {
        g_autoptr(DiskClient) client = disk_client_connect(disk_server_socket(server), images[i].id, NULL, test->pool,
                                                           &error);
        g_assert_no_error(error);
        g_assert_cmpuint(disk_client_size(client), ==, i == 0 ? 4 * MIB : 2 * MIB);
    }
}

static void
test_locked(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(ImageInfo) info = NULL;
    g_autofree char *run2 = second_run_folder(test);
    g_autofree char *overlay = g_build_filename(test->folder, "overlay", NULL);
    make_image(test->image);
    g_autoptr(DiskServer) server = test_disk_serve(test, test->image, "qcow2", true);
    const DiskServerImage same = { .id = "vda", .path = test->image, .format = "qcow2" };
    g_assert_null(disk_server_start(run2, &same, 1, true, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_LOCKED);
    g_clear_error(&error);
    g_assert_null(disk_server_start(run2, &same, 1, false, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_LOCKED);
    g_clear_error(&error);
    image_create_overlay(overlay, test->image, "qcow2", 4 * MIB, &error);
    g_assert_no_error(error);
    const DiskServerImage above = { "vda", overlay, "qcow2", test->image, "qcow2" };
    g_assert_null(disk_server_start(run2, &above, 1, true, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_LOCKED);
    g_clear_error(&error);
    g_assert_false(image_info(test->image, "qcow2", false, &info, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_LOCKED);
    g_clear_error(&error);
    image_info(test->image, "qcow2", true, &info, &error);
    g_assert_no_error(error);
    g_assert_true(disk_server_is_alive(server));
}

/* Starts a guest, which does not run a single instruction, on @path; false when QEMU does not start. */
static bool
start_guest(TestDisk *test, const char *path, GError **error)
{
    g_autofree char *pid_file = g_build_filename(test->folder, "guest-pid", NULL);
    g_autofree char *node = g_strdup_printf("driver=qcow2,node-name=d,file.driver=file,file.filename=%s", path);
    const char *argv[] = { "qemu-system-x86_64", "-daemonize", "-pidfile", pid_file, "-S", "-display", "none",
                           "-nodefaults", "-machine", "pc,accel=tcg", "-m", "16", "-blockdev", node, "-device",
                           "virtio-blk-pci,drive=d", NULL };
    return subprocess_run(argv, 60, NULL, error);
}

static void
kill_guest(TestDisk *test)
{
    g_autofree char *pid_file = g_build_filename(test->folder, "guest-pid", NULL);
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents(pid_file, &text, NULL, NULL));
    int pidfd = pidfd_open((pid_t)atoi(text), 0);
    g_assert_cmpint(pidfd, >=, 0);
    g_assert_cmpint(pidfd_send_signal(pidfd, SIGKILL, NULL, 0), ==, 0);
    struct pollfd item = { .fd = pidfd, .events = POLLIN };
    g_assert_cmpint(poll(&item, 1, 60000), ==, 1);
    close(pidfd);
}

static void
test_fence(TestDisk *test, gconstpointer data)
{
    g_autofree char *qemu = g_find_program_in_path("qemu-system-x86_64");
    if (qemu == NULL) {
        g_test_skip("qemu-system-x86_64 is missing");
        return;
    }
    g_autoptr(GError) error = NULL;
    g_autoptr(ImageInfo) info = NULL;
    g_autofree char *overlay = g_build_filename(test->folder, "overlay", NULL);
    make_image(test->image);
    image_bitmap_add(test->image, "b", &error);
    g_assert_no_error(error);
    image_create_overlay(overlay, test->image, "qcow2", 4 * MIB, &error);
    g_assert_no_error(error);

    DiskServer *server = test_disk_serve(test, test->image, "qcow2", true);
    g_assert_false(start_guest(test, test->image, &error));
    g_assert_nonnull(strstr(error->message, "lock"));
    g_clear_error(&error);
    g_assert_false(start_guest(test, overlay, &error));
    g_assert_nonnull(strstr(error->message, "lock"));
    g_clear_error(&error);
    disk_server_stop(server);

    server = disk_server_start_bitmap(test->run, test->image, "qcow2", "b", &error);
    g_assert_no_error(error);
    start_guest(test, test->image, &error); /* nothing is in its way */
    g_assert_no_error(error);
    disk_server_stop(server);

    const DiskServerImage image = { .id = "vda", .path = test->image, .format = "qcow2" };
    g_assert_null(disk_server_start(test->run, &image, 1, true, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_LOCKED);
    g_clear_error(&error);
    image_info(test->image, "qcow2", true, &info, &error);
    g_assert_no_error(error);
    kill_guest(test);
}

static void
test_bitmap(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    image_create(test->image, "qcow2", 4 * MIB + 3 * 512, &error);
    g_assert_no_error(error);
    image_bitmap_add(test->image, "b", &error);
    g_assert_no_error(error);
    DiskServer *server = test_disk_serve(test, test->image, "qcow2", true);
    DiskClient *client = test_disk_connect(test, server);
    test_pattern_write(client, 65536, 65536 * 2, SEED);
    test_pattern_write(client, 3 * MIB + 17, 100, SEED);
    test_pattern_write(client, 4 * MIB + 512, 2 * 512, SEED);
    disk_client_free(client);
    disk_server_stop(server);

    g_autoptr(DiskServer) shown = disk_server_start_bitmap(test->run, test->image, "qcow2", "b", &error);
    g_assert_no_error(error);
    g_autoptr(DiskClient) reader = disk_client_connect(disk_server_socket(shown), DISK_SERVER_BITMAP_EXPORT, "b",
                                                       test->pool, &error);
    g_assert_no_error(error);
    g_autoptr(ExtentSet) dirty = NULL;
    disk_client_dirty(reader, 0, disk_client_size(reader), &dirty, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(extent_set_count(dirty), ==, 3);
    g_assert_cmpuint(extent_set_bytes(dirty), ==, 3 * 65536 + 3 * 512);
    g_assert_true(extent_set_contains(dirty, 4 * MIB, 3 * 512));
    g_assert_true(extent_set_contains(dirty, 65536, 65536 * 2));
    g_assert_true(extent_set_contains(dirty, 3 * MIB, 65536));
    g_autoptr(ExtentSet) part = NULL;
    disk_client_dirty(reader, 100000, 3 * MIB + 1, &part, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(extent_set_bytes(part), ==, 3 * 65536 - 100000 + 1);

    /* It is in nobody's way: a writer starts beside it. */
    g_autofree char *run2 = second_run_folder(test);
    const DiskServerImage same = { .id = "vda", .path = test->image, .format = "qcow2" };
    g_autoptr(DiskServer) writer = disk_server_start(run2, &same, 1, true, &error);
    g_assert_no_error(error);
    g_assert_true(disk_server_is_alive(writer));
}

static void
test_bitmap_missing(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(ImageInfo) info = NULL;
    make_image(test->image);
    image_bitmap_add(test->image, "b", &error);
    g_assert_no_error(error);
    g_assert_null(disk_server_start_bitmap(test->run, test->image, "qcow2", "c", &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_MISSING);
    g_clear_error(&error);

    g_autoptr(DiskServer) server = test_disk_serve(test, test->image, "qcow2", true);
    g_autoptr(DiskClient) client = test_disk_connect(test, server);
    test_pattern_write(client, 0, 65536, SEED);
    kill(test_disk_server_pid(test), SIGKILL); /* the bitmap stays marked as in use */
    g_clear_pointer(&server, disk_server_stop);
    image_info(test->image, "qcow2", false, &info, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(info->broken_bitmaps[0], ==, "b");
    g_assert_null(disk_server_start_bitmap(test->run, test->image, "qcow2", "b", &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_MISSING);
}

/* What an undo does after a failover: writes into an overlay whose bitmap was made before. */
static void
test_overlay_is_recorded(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *overlay = g_build_filename(test->folder, "overlay.qcow2", NULL);
    g_autofree uint8_t *buffer = g_malloc(4 * MIB);
    make_image(test->image);
    DiskServer *server = test_disk_serve(test, test->image, "qcow2", true);
    DiskClient *client = test_disk_connect(test, server);
    test_pattern_write(client, 0, 4 * MIB, SEED);
    disk_client_free(client);
    disk_server_stop(server);

    image_create_overlay(overlay, test->image, "qcow2", 4 * MIB, &error);
    g_assert_no_error(error);
    image_bitmap_add(overlay, "b", &error);
    g_assert_no_error(error);
    const DiskServerImage image = { "vda", overlay, "qcow2", test->image, "qcow2" };
    server = disk_server_start(test->run, &image, 1, true, &error);
    g_assert_no_error(error);
    client = test_disk_connect(test, server);
    test_pattern_write(client, MIB, 65536, SEED + 1);
    disk_client_zero(client, 2 * MIB, 65536, &error);
    g_assert_no_error(error);
    disk_client_read(client, 0, buffer, 4 * MIB, &error);
    g_assert_no_error(error);
    test_pattern_check(buffer, 0, MIB, SEED);
    test_pattern_check(buffer + MIB, MIB, 65536, SEED + 1);
    g_assert_cmpuint(buffer[2 * MIB], ==, 0);
    g_assert_cmpuint(buffer[2 * MIB + 65535], ==, 0);
    test_pattern_check(buffer + 3 * MIB, 3 * MIB, MIB, SEED);
    disk_client_flush(client, &error);
    g_assert_no_error(error);
    disk_client_free(client);
    disk_server_stop(server);

    server = disk_server_start_bitmap(test->run, overlay, "qcow2", "b", &error);
    g_assert_no_error(error);
    client = disk_client_connect(disk_server_socket(server), DISK_SERVER_BITMAP_EXPORT, "b", test->pool, &error);
    g_assert_no_error(error);
    g_autoptr(ExtentSet) dirty = NULL;
    disk_client_dirty(client, 0, 4 * MIB, &dirty, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(extent_set_bytes(dirty), ==, 2 * 65536);
    g_assert_true(extent_set_contains(dirty, MIB, 65536));
    g_assert_true(extent_set_contains(dirty, 2 * MIB, 65536));
    disk_client_free(client);
    disk_server_stop(server);
}

static void
test_header_names_are_not_followed(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *secret = g_build_filename(test->folder, "secret", NULL);
    g_autofree char *data_file = g_strdup_printf("data_file=%s/secret2", test->folder);
    g_autofree char *split = g_build_filename(test->folder, "split.qcow2", NULL);
    g_autofree char *text = g_strnfill(65536, 's');
    g_file_set_contents(secret, text, 65536, &error);
    g_assert_no_error(error);
    image_create_overlay(test->image, secret, "raw", 65536, &error);
    g_assert_no_error(error);
    g_autoptr(DiskServer) server = test_disk_serve(test, test->image, "qcow2", false);
    g_autoptr(DiskClient) client = test_disk_connect(test, server);
    uint8_t byte = 1;
    disk_client_read(client, 0, &byte, 1, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(byte, ==, 0);

    const char *argv[] = { "qemu-img", "create", "-q", "-f", "qcow2", "-o", data_file, split, "1M", NULL };
    subprocess_run(argv, 60, NULL, &error);
    g_assert_no_error(error);
    g_autofree char *run2 = second_run_folder(test);
    const DiskServerImage image = { .id = "vda", .path = split, .format = "qcow2" };
    g_assert_null(disk_server_start(run2, &image, 1, true, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_TOOL);
}

static void
test_resize(TestDisk *test, gconstpointer data)
{
    static const uint64_t sizes[] = { 8 * MIB, 2 * MIB, 2 * MIB + 512 };
    make_image(test->image);
    g_autoptr(DiskServer) server = test_disk_serve(test, test->image, "qcow2", true);
    g_autoptr(DiskClient) connected = test_disk_connect(test, server);
    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autoptr(GError) error = NULL;
        disk_server_resize(server, "vda", sizes[i], &error);
        g_assert_no_error(error);
        g_autoptr(DiskClient) client = test_disk_connect(test, server);
        g_assert_cmpuint(disk_client_size(client), ==, sizes[i]);
        test_pattern_write(client, sizes[i] - 512, 512, SEED);
    }
    g_autoptr(GError) error = NULL;
    g_assert_false(disk_server_resize(server, "vdb", MIB, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_MISSING);
    g_clear_error(&error);
    uint8_t byte;
    g_assert_false(disk_client_read(connected, 0, &byte, 1, &error));
    g_assert_true(error->domain == DISK_ERROR);
}

/* The server outlives a process that is killed, is found by the next one and ended. */
static void
test_left_over(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    make_image(test->image);
    pid_t child = fork();
    if (child == 0) {
        const DiskServerImage image = { .id = "vda", .path = test->image, .format = "qcow2" };
        if (disk_server_start(test->run, &image, 1, true, NULL) != NULL)
            kill(getpid(), SIGKILL);
        _exit(1);
    }
    int status = 0;
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

    g_autofree char *socket = g_build_filename(test->run, "nbd", NULL);
    DiskClient *client = disk_client_connect(socket, "vda", NULL, test->pool, &error);
    g_assert_no_error(error);
    test_pattern_write(client, 0, MIB, SEED);
    disk_client_free(client);
    pid_t pid = test_disk_server_pid(test);
    g_assert_cmpint(getpgid(pid), !=, getpgrp());

    g_autofree char *run2 = second_run_folder(test);
    const DiskServerImage image = { .id = "vda", .path = test->image, .format = "qcow2" };
    g_assert_null(disk_server_start(run2, &image, 1, true, &error)); /* the fence holds */
    g_assert_error(error, DISK_ERROR, DISK_ERROR_LOCKED);
    g_clear_error(&error);

    g_autoptr(DiskServer) next = test_disk_serve(test, test->image, "qcow2", true); /* ends the left one first */
    g_assert_true(disk_server_is_alive(next));
    g_assert_cmpint(test_disk_server_pid(test), !=, pid);
    g_assert_false(subprocess_is_ours(pid, test->run));
}

/* Without its pid file it is found by its QMP socket. */
static void
test_left_over_without_pid_file(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    make_image(test->image);
    g_autoptr(DiskServer) server = test_disk_serve(test, test->image, "qcow2", true);
    g_autofree char *pid_file = g_build_filename(test->run, "pid", NULL);
    g_assert_cmpint(unlink(pid_file), ==, 0);
    disk_server_end_left_over(test->run, &error);
    g_assert_no_error(error);
    g_assert_false(disk_server_is_alive(server));
}

static void
test_foreign_process_is_spared(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *pid_file = g_build_filename(test->run, "pid", NULL);
    g_autofree char *mine = g_strdup_printf("%d\n", (int)getpid());
    g_assert_cmpint(mkdir(test->run, 0700), ==, 0);
    g_file_set_contents(pid_file, mine, -1, &error);
    g_assert_no_error(error);
    disk_server_end_left_over(test->run, &error); /* would be the end of this test */
    g_assert_no_error(error);
    make_image(test->image);
    g_autoptr(DiskServer) server = test_disk_serve(test, test->image, "qcow2", true);
    g_assert_true(disk_server_is_alive(server));
}

/* What is left goes on holding the image until its folder's server is ended. */
static void
test_left(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *other = second_run_folder(test);
    make_image(test->image);
    disk_server_leave(test_disk_serve(test, test->image, "qcow2", false));
    const DiskServerImage image = { .id = "vda", .path = test->image, .format = "qcow2" };
    g_assert_null(disk_server_start(other, &image, 1, true, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_LOCKED);
    g_clear_error(&error);
    disk_server_end_left_over(test->run, &error);
    g_assert_no_error(error);
    g_autoptr(DiskServer) server = disk_server_start(other, &image, 1, true, &error);
    g_assert_no_error(error);
    g_assert_true(disk_server_is_alive(server));
}

/* Only where it is asked for: below the image itself, and below the one that it is an overlay of. */
static void
test_header_is_followed_when_asked(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *middle = g_build_filename(test->folder, "middle", NULL), *top = g_build_filename(test->folder, "top", NULL);
    make_image(test->image);
    DiskServer *writer = test_disk_serve(test, test->image, "qcow2", true);
    DiskClient *client = test_disk_connect(test, writer);
    test_pattern_write(client, MIB, MIB, SEED);
    disk_client_free(client);
    disk_server_stop(writer);
    image_create_overlay(middle, test->image, "qcow2", 4 * MIB, &error);
    g_assert_no_error(error);
    image_create_overlay(top, middle, "qcow2", 4 * MIB, &error);
    g_assert_no_error(error);
    const DiskServerImage images[] = {
        { .id = "vda", .path = middle, .format = "qcow2", .follow_header = true },
        { .id = "vda", .path = top, .format = "qcow2", .backing_path = middle, .backing_format = "qcow2", .follow_header = true },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(images); i++) {
        g_autoptr(DiskServer) server = disk_server_start(test->run, &images[i], 1, true, &error);
        g_assert_no_error(error);
        g_autoptr(DiskClient) reader = test_disk_connect(test, server);
        g_autofree uint8_t *buffer = g_malloc(MIB);
        disk_client_read(reader, MIB, buffer, MIB, &error);
        g_assert_no_error(error);
        test_pattern_check(buffer, MIB, MIB, SEED);
    }
}

static void
test_no_descriptor_leaks(TestDisk *test, gconstpointer data)
{
    g_autofree char *marker = g_build_filename(test->folder, "marker", NULL);
    int fd = open(marker, O_RDWR | O_CREAT, 0600);
    make_image(test->image);
    g_autoptr(DiskServer) server = test_disk_serve(test, test->image, "qcow2", true);
    g_assert_true(disk_server_is_alive(server));
    g_autofree char *folder = g_strdup_printf("/proc/%d/fd", (int)test_disk_server_pid(test));
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    g_assert_nonnull(dir);
    const char *name;
    while ((name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        g_autofree char *target = g_file_read_link(path, NULL);
        g_assert_cmpstr(target, !=, marker);
    }
    close(fd);
}

static void
test_cannot_start(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    const DiskServerImage image = { .id = "vda", .path = test->image, .format = "qcow2" };
    g_assert_null(disk_server_start(test->run, &image, 1, true, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_MISSING);
    g_clear_error(&error);
    g_file_set_contents(test->image, "not a qcow2", -1, &error);
    g_assert_no_error(error);
    g_assert_null(disk_server_start(test->run, &image, 1, true, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_TOOL);
    g_clear_error(&error);
    g_autofree char *deep = g_strnfill(100, 'x');
    g_autofree char *run = g_build_filename(test->folder, deep, NULL);
    g_assert_null(disk_server_start(run, &image, 1, true, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_TOOL);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    test_disk_add("/disk-server/content-is-kept", test_content_is_kept);
    test_disk_add("/disk-server/several-disks", test_two_disks);
    test_disk_add("/disk-server/locked-image", test_locked);
    test_disk_add("/disk-server/fence-against-a-guest", test_fence);
    test_disk_add("/disk-server/bitmap-is-shown", test_bitmap);
    test_disk_add("/disk-server/bitmap-missing-or-broken", test_bitmap_missing);
    test_disk_add("/disk-server/overlay-writes-are-recorded", test_overlay_is_recorded);
    test_disk_add("/disk-server/header-names-are-not-followed", test_header_names_are_not_followed);
    test_disk_add("/disk-server/resize", test_resize);
    test_disk_add("/disk-server/outlives-its-parent", test_left_over);
    test_disk_add("/disk-server/left-over-without-pid-file", test_left_over_without_pid_file);
    test_disk_add("/disk-server/foreign-process-is-spared", test_foreign_process_is_spared);
    test_disk_add("/disk-server/one-that-is-left-goes-on", test_left);
    test_disk_add("/disk-server/header-is-followed-when-asked", test_header_is_followed_when_asked);
    test_disk_add("/disk-server/no-descriptor-leaks", test_no_descriptor_leaks);
    test_disk_add("/disk-server/cannot-start", test_cannot_start);
    return g_test_run();
}
