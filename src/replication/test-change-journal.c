#include "replication/change-journal.h"

#include "util/durable.h"
#include "virt/virt.h"

#include <fcntl.h>
#include <unistd.h>

#define G CHANGE_LOG_GRAIN

typedef struct {
    char          *folder;
    ChangeJournal *journal;
} Scene;

static void
scene_open(Scene *scene, gconstpointer data)
{
    scene->folder = g_dir_make_tmp("vr-journal-XXXXXX", NULL);
    scene->journal = change_journal_open(scene->folder);
}

static void
scene_close(Scene *scene, gconstpointer data)
{
    change_journal_close(scene->journal);
    durable_remove_tree(scene->folder, NULL);
    g_free(scene->folder);
}

static void
restart(Scene *scene)
{
    change_journal_close(scene->journal);
    scene->journal = change_journal_open(scene->folder);
}

static void
cut(Scene *scene, const char *name, uint64_t grains)
{
    ChangeLogDisk disk = { "vda", grains * G };
    g_assert_true(change_journal_cut(scene->journal, name, &disk, 1, NULL));
}

/* Grains [first, end) of a disk that has @grains after it. */
static void
note(Scene *scene, uint64_t first, uint64_t end, uint64_t grains)
{
    ChangeLogDisk disk = { "vda", grains * G };
    g_autoptr(ExtentSet) set = extent_set_new();
    extent_set_add(set, first * G, (end - first) * G);
    ExtentSet *sets[] = { set };
    g_assert_true(change_journal_note(scene->journal, &disk, 1, sets, NULL));
}

/* Grains in the set, of a disk that has @grains; -1: not known */
static int64_t
since(Scene *scene, const char *name, uint64_t grains)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(ExtentSet) set = change_journal_since(scene->journal, name, "vda", grains * G, &error);
    if (set == NULL)
        g_assert_error(error, VIRT_ERROR, VIRT_ERROR_BITMAP_LOST);
    return set != NULL ? (int64_t)(extent_set_bytes(set) / G) : -1;
}

static void
test_keeps_what_changed_since(Scene *scene, gconstpointer data)
{
    note(scene, 0, 9, 100); /* before any moment: not kept */
    g_assert_false(change_journal_is_kept(scene->journal));
    cut(scene, "vr-a", 100);
    note(scene, 10, 20, 100);
    cut(scene, "vr-b", 100);
    note(scene, 15, 25, 100);
    for (unsigned i = 0; i < 2; i++, restart(scene)) {
        g_assert_cmpint(since(scene, "vr-a", 100), ==, 15);
        g_assert_cmpint(since(scene, "vr-b", 100), ==, 10);
        g_assert_cmpint(since(scene, "vr-c", 100), ==, -1);
    }
}

/* A cycle that was acknowledged drops the older moment, one that was not the newer. */
static void
test_moments_go(Scene *scene, gconstpointer data)
{
    cut(scene, "vr-a", 100);
    note(scene, 0, 5, 100);
    cut(scene, "vr-b", 100);
    note(scene, 50, 52, 100);
    g_assert_true(change_journal_delete(scene->journal, "vr-b", NULL));
    g_assert_cmpint(since(scene, "vr-a", 100), ==, 7);
    cut(scene, "vr-c", 100);
    note(scene, 60, 61, 100);
    g_assert_true(change_journal_delete(scene->journal, "vr-a", NULL));
    restart(scene);
    g_assert_cmpint(since(scene, "vr-a", 100), ==, -1);
    g_assert_cmpint(since(scene, "vr-c", 100), ==, 1);
    g_assert_true(change_journal_delete_others(scene->journal, NULL, NULL, NULL));
    g_assert_false(change_journal_is_kept(scene->journal));
}

static int64_t
bytes_of(Scene *scene)
{
    g_autoptr(GDir) dir = g_dir_open(scene->folder, 0, NULL);
    g_autofree char *path = g_build_filename(scene->folder, g_dir_read_name(dir), NULL);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int64_t bytes = lseek(fd, 0, SEEK_END);
    close(fd);
    return bytes;
}

static void
test_a_place_counts_once(Scene *scene, gconstpointer data)
{
    cut(scene, "vr-a", 100);
    note(scene, 3, 30, 100);
    int64_t bytes = bytes_of(scene);
    for (unsigned i = 0; i < 1000; i++)
        note(scene, 3 + i % 20, 24, 100);
    g_assert_cmpint(bytes_of(scene), ==, bytes);
}

/* What a disk loses and gets again reads as zeroes, and has to be sent. */
static void
test_a_disk_shrinks_and_grows(Scene *scene, gconstpointer data)
{
    cut(scene, "vr-a", 100);
    note(scene, 0, 0, 60);
    g_assert_cmpint(since(scene, "vr-a", 60), ==, 0);
    note(scene, 0, 0, 120);
    restart(scene);
    g_assert_cmpint(since(scene, "vr-a", 120), ==, 40);
}

static void
damage(Scene *scene)
{
    g_autoptr(GDir) dir = g_dir_open(scene->folder, 0, NULL);
    g_autofree char *path = g_build_filename(scene->folder, g_dir_read_name(dir), NULL);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    g_assert_cmpint(pwrite(fd, "x", 1, lseek(fd, 0, SEEK_END) - 1), ==, 1);
    close(fd);
}

static void
test_damage_is_nothing_known(Scene *scene, gconstpointer data)
{
    cut(scene, "vr-a", 100);
    note(scene, 3, 30, 100);
    damage(scene);
    restart(scene);
    g_assert_cmpint(since(scene, "vr-a", 100), ==, -1);
    g_assert_false(change_journal_is_kept(scene->journal));
}

/* What cannot be noted is not known afterwards; what is applied goes on. */
static void
test_nothing_is_known_after_a_failure(Scene *scene, gconstpointer data)
{
    cut(scene, "vr-a", 100);
    g_autoptr(GDir) dir = g_dir_open(scene->folder, 0, NULL);
    g_autofree char *path = g_build_filename(scene->folder, g_dir_read_name(dir), NULL);
    unlink(path);
    note(scene, 3, 30, 100);
    g_assert_cmpint(since(scene, "vr-a", 100), ==, -1);
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*func)(Scene *, gconstpointer);
    } tests[] = {
        { "keeps-what-changed-since", test_keeps_what_changed_since },
        { "moments-go", test_moments_go },
        { "a-place-counts-once", test_a_place_counts_once },
        { "a-disk-shrinks-and-grows", test_a_disk_shrinks_and_grows },
        { "damage-is-nothing-known", test_damage_is_nothing_known },
        { "nothing-is-known-after-a-failure", test_nothing_is_known_after_a_failure },
    };
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *path = g_strconcat("/change-journal/", tests[i].name, NULL);
        g_test_add(path, Scene, NULL, scene_open, tests[i].func, scene_close);
    }
    return g_test_run();
}
