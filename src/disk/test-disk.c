#include "disk/test-disk.h"

#include "util/durable.h"

#include <stdlib.h>
#include <string.h>

void
test_disk_set_up(TestDisk *self, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    self->folder = g_dir_make_tmp("vr-disk-XXXXXX", &error);
    g_assert_no_error(error);
    self->image = g_build_filename(self->folder, "disk.qcow2", NULL);
    self->run = g_build_filename(self->folder, "run", NULL);
    self->pool = disk_buffer_pool_new(4 * MIB);
}

void
test_disk_tear_down(TestDisk *self, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    disk_server_end_left_over(self->run, &error);
    g_assert_no_error(error);
    durable_remove_tree(self->folder, &error);
    g_assert_no_error(error);
    g_free(self->folder);
    g_free(self->image);
    g_free(self->run);
    disk_buffer_pool_unref(self->pool);
}

DiskServer *
test_disk_serve(TestDisk *self, const char *path, const char *format, bool writable)
{
    g_autoptr(GError) error = NULL;
    const DiskServerImage image = { .id = "vda", .path = path, .format = format };
    DiskServer *server = disk_server_start(self->run, &image, 1, writable, &error);
    g_assert_no_error(error);
    return server;
}

DiskClient *
test_disk_connect(TestDisk *self, DiskServer *server)
{
    g_autoptr(GError) error = NULL;
    DiskClient *client = disk_client_connect(disk_server_socket(server), "vda", NULL, self->pool, &error);
    g_assert_no_error(error);
    return client;
}

pid_t
test_disk_server_pid(const TestDisk *self)
{
    g_autofree char *path = g_build_filename(self->run, "pid", NULL);
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    pid_t pid = (pid_t)atoi(text);
    g_assert_cmpint(pid, >, 1);
    return pid;
}

void
test_pattern_fill(void *buffer, uint64_t offset, size_t length, uint64_t seed)
{
    uint8_t *bytes = buffer;
    for (size_t i = 0; i < length;) {
        size_t skip = (size_t)((offset + i) % 8);
        size_t part = MIN(8 - skip, length - i);
        uint64_t word = offset + i - skip + seed;
        memcpy(bytes + i, (uint8_t *)&word + skip, part);
        i += part;
    }
}

void
test_pattern_write(DiskClient *client, uint64_t start, uint64_t length, uint64_t seed)
{
    g_autoptr(GError) error = NULL;
    g_autofree uint8_t *buffer = g_malloc(MIB);
    for (uint64_t done = 0; done < length;) {
        size_t part = (size_t)MIN(length - done, MIB);
        test_pattern_fill(buffer, start + done, part, seed);
        disk_client_write(client, start + done, buffer, part, &error);
        g_assert_no_error(error);
        done += part;
    }
    disk_client_flush(client, &error);
    g_assert_no_error(error);
}

void
test_pattern_check(const void *buffer, uint64_t offset, size_t length, uint64_t seed)
{
    g_autofree uint8_t *want = g_malloc(length);
    test_pattern_fill(want, offset, length, seed);
    g_assert_cmpmem(buffer, length, want, length);
}
