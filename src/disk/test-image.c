#include "disk/test-disk.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static void
test_create(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(ImageInfo) info = NULL;
    image_create(test->image, "qcow2", 5 * MIB, &error);
    g_assert_no_error(error);
    image_info(test->image, "qcow2", false, &info, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(info->virtual_size, ==, 5 * MIB);
    g_assert_cmpuint(info->actual_size, >, 0);
    g_assert_null(info->backing_path);
    g_assert_cmpuint(g_strv_length(info->bitmaps), ==, 0);
    g_assert_cmpuint(g_strv_length(info->broken_bitmaps), ==, 0);
    image_check(test->image, "qcow2", &error);
    g_assert_no_error(error);
    g_assert_false(image_create(test->image, "qcow2", MIB, &error)); /* never empties an image */
    g_assert_error(error, DISK_ERROR, DISK_ERROR_TOOL);
}

static void
test_overlay(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(ImageInfo) info = NULL;
    g_autofree char *overlay = g_build_filename(test->folder, "overlay.qcow2", NULL);
    g_assert_false(image_create_overlay(overlay, test->image, "qcow2", MIB, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_MISSING);
    g_clear_error(&error);
    image_create(test->image, "qcow2", MIB, &error);
    g_assert_no_error(error);
    image_create_overlay(overlay, test->image, "qcow2", 2 * MIB, &error);
    g_assert_no_error(error);
    image_info(overlay, "qcow2", false, &info, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(info->virtual_size, ==, 2 * MIB);
    g_assert_cmpstr(info->backing_path, ==, test->image);
    g_assert_false(image_create_overlay(overlay, test->image, "qcow2", MIB, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_TOOL);
}

static void
test_bitmaps(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(ImageInfo) info = NULL;
    image_create(test->image, "qcow2", MIB, &error);
    g_assert_no_error(error);
    image_bitmap_add(test->image, "-odd name", &error);
    g_assert_no_error(error);
    image_info(test->image, "qcow2", false, &info, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(info->bitmaps[0], ==, "-odd name");
    g_assert_null(info->bitmaps[1]);
    g_assert_null(info->broken_bitmaps[0]);
    g_assert_false(image_bitmap_add(test->image, "-odd name", &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_TOOL);
    g_clear_error(&error);
    image_bitmap_remove(test->image, "-odd name", &error);
    g_assert_no_error(error);
    g_assert_false(image_bitmap_remove(test->image, "-odd name", &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_MISSING);
}

static void
test_names(TestDisk *test, gconstpointer data)
{
    static const char *const names[] = { "-f,raw", "json:{\"driver\":\"null-co\"}", "nbd:a:b,c=d", "fat:x",
                                         "a \"b' $c%s,,d\\", "k\xc3\xa4se.qcow2" };
    g_autofree char *before = g_get_current_dir();
    g_assert_cmpint(chdir(test->folder), ==, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(ImageInfo) info = NULL;
        g_autofree char *overlay = g_strconcat(names[i], ":overlay", NULL);
        g_autofree char *want = g_build_filename(test->folder, names[i], NULL);
        image_create(names[i], "qcow2", MIB, &error);
        g_assert_no_error(error);
        image_create_overlay(overlay, names[i], "qcow2", MIB, &error);
        g_assert_no_error(error);
        image_bitmap_add(overlay, "b", &error);
        g_assert_no_error(error);
        image_check(overlay, "qcow2", &error);
        g_assert_no_error(error);
        image_info(overlay, "qcow2", false, &info, &error);
        g_assert_no_error(error);
        g_assert_cmpstr(info->backing_path, ==, want);

        const DiskServerImage image = { "vda", overlay, "qcow2", names[i], "qcow2" };
        g_autoptr(DiskServer) server = disk_server_start(test->run, &image, 1, true, &error);
        g_assert_no_error(error);
        g_autoptr(DiskClient) client = test_disk_connect(test, server);
        test_pattern_write(client, 0, 65536, 0);
    }
    g_assert_cmpint(chdir(before), ==, 0);
}

static void
test_missing(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(ImageInfo) info = NULL;
    g_assert_false(image_info(test->image, "qcow2", false, &info, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_MISSING);
    g_clear_error(&error);
    g_assert_false(image_check(test->image, "qcow2", &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_MISSING);
}

/* A guest can write a qcow2 header on its raw disk; the image stays raw. */
static void
test_format_is_not_probed(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(ImageInfo) info = NULL;
    image_create(test->image, "qcow2", 900 * MIB, &error);
    g_assert_no_error(error);
    image_info(test->image, "raw", false, &info, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(info->virtual_size, <, MIB);
}

/* Clears the first block of reference counts: all clusters in use count as free. */
static void
damage(const char *path)
{
    static const uint8_t nothing[512];
    uint64_t table = 0, block = 0;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    g_assert_cmpint(pread(fd, &table, 8, 48), ==, 8);
    g_assert_cmpint(pread(fd, &block, 8, (off_t)GUINT64_FROM_BE(table)), ==, 8);
    g_assert_cmpint(pwrite(fd, nothing, sizeof nothing, (off_t)GUINT64_FROM_BE(block)), ==, sizeof nothing);
    close(fd);
}

static void
test_check(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    image_create(test->image, "qcow2", MIB, &error);
    g_assert_no_error(error);
    damage(test->image);
    g_assert_false(image_check(test->image, "qcow2", &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_IO);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    test_disk_add("/image/create", test_create);
    test_disk_add("/image/overlay", test_overlay);
    test_disk_add("/image/bitmaps", test_bitmaps);
    test_disk_add("/image/any-file-name", test_names);
    test_disk_add("/image/missing", test_missing);
    test_disk_add("/image/format-is-not-probed", test_format_is_not_probed);
    test_disk_add("/image/damage-is-found", test_check);
    return g_test_run();
}
