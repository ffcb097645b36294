#include "replication/copy-folder.h"

#include "util/durable.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VM      "11111111-2222-3333-4444-555555555555"
#define LINEAGE "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"

typedef struct {
    char *folder;
} Scene;

static void
scene_open(Scene *scene, gconstpointer data)
{
    scene->folder = g_dir_make_tmp("vr-copy-XXXXXX", NULL);
}

static void
scene_close(Scene *scene, gconstpointer data)
{
    durable_remove_tree(scene->folder, NULL);
    g_free(scene->folder);
}

/* Log @number in the folder: one record with @byte all over. */
static CopyLog
write_log(Scene *scene, unsigned number, int byte)
{
    g_autofree char *path = copy_folder_log_path(scene->folder, number);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    g_assert_cmpint(fd, >=, 0);
    ChangeLogHeader header = { .kind = CHANGE_LOG_INITIAL, .vm_uuid = VM, .lineage = LINEAGE, .n_disks = 1,
                               .disks = { { "vda", CHANGE_LOG_GRAIN } } };
    CopyLog log = { 0 };
    g_autofree char *data = g_malloc(CHANGE_LOG_GRAIN);
    memset(data, byte, CHANGE_LOG_GRAIN);
    ChangeLogWriter *writer = change_log_writer_new(change_log_sink_fd(&fd), &header, false, NULL);
    g_assert_true(change_log_writer_data(writer, 0, 0, data, CHANGE_LOG_GRAIN, NULL));
    g_assert_true(change_log_writer_end(writer, log.digest, NULL));
    change_log_writer_free(writer);
    log.bytes = (uint64_t)lseek(fd, 0, SEEK_END);
    close(fd);
    return log;
}

static CopyFolder *
make(Scene *scene, int64_t taken_usec)
{
    CopyFolder *list = copy_folder_new(VM, "a name: with=signs", LINEAGE);
    for (unsigned number = 1; number <= 2; number++) {
        CopyLog log = write_log(scene, number, (int)number);
        g_assert_true(copy_folder_set_log(list, number, &log));
    }
    list->taken_usec = taken_usec;
    g_assert_true(copy_folder_save(list, scene->folder, NULL));
    return list;
}

static void
test_what_was_written_is_read(Scene *scene, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    copy_folder_free(make(scene, 1234567));
    g_autoptr(CopyFolder) list = copy_folder_load(scene->folder, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(list->vm_uuid, ==, VM);
    g_assert_cmpstr(list->vm_name, ==, "a name: with=signs");
    g_assert_cmpstr(list->lineage, ==, LINEAGE);
    g_assert_cmpint(list->taken_usec, ==, 1234567);
    g_assert_cmpuint(list->logs->len, ==, 2);
    for (unsigned number = 1; number <= 2; number++) {
        ChangeLogSummary summary;
        int fd = copy_folder_open_log(list, scene->folder, number, &summary, &error);
        g_assert_no_error(error);
        g_assert_cmpint((int)lseek(fd, 0, SEEK_CUR), ==, 0);
        g_assert_cmpuint(summary.data_bytes, ==, CHANGE_LOG_GRAIN);
        close(fd);
    }
}

/* A copy that was begun anew forgets what comes behind, and that it was complete. */
static void
test_a_log_again_ends_what_came_after(Scene *scene, gconstpointer data)
{
    g_autoptr(CopyFolder) list = make(scene, 99);
    CopyLog log = write_log(scene, 1, 7);
    g_assert_false(copy_folder_set_log(list, 4, &log));
    g_assert_false(copy_folder_set_log(list, 0, &log));
    g_assert_true(copy_folder_set_log(list, 1, &log));
    g_assert_cmpuint(list->logs->len, ==, 1);
    g_assert_cmpint(list->taken_usec, ==, 0);
}

/* Whatever byte of the list is another, or missing: it is not taken. */
static void
test_a_damaged_list_is_refused(Scene *scene, gconstpointer data)
{
    copy_folder_free(make(scene, 5));
    g_autofree char *path = g_build_filename(scene->folder, "first-copy", NULL), *text = NULL;
    gsize length;
    g_assert_true(g_file_get_contents(path, &text, &length, NULL));
    for (gsize i = 0; i < length; i++) {
        g_autofree char *other = g_memdup2(text, length);
        other[i] ^= 1;
        for (int cut = 0; cut < 2; cut++) {
            g_autoptr(GError) error = NULL;
            g_assert_true(g_file_set_contents_full(path, cut ? text : other, (gssize)(cut ? i : length), G_FILE_SET_CONTENTS_NONE, 0600,
                                                   NULL));
            g_assert_null(copy_folder_load(scene->folder, &error));
            g_assert_error(error, COPY_FOLDER_ERROR, COPY_FOLDER_ERROR_DAMAGED);
        }
    }
}

static void
assert_log_refused(Scene *scene, const CopyFolder *list, unsigned number)
{
    g_autoptr(GError) error = NULL;
    ChangeLogSummary summary;
    g_assert_cmpint(copy_folder_open_log(list, scene->folder, number, &summary, &error), ==, -1);
    g_assert_error(error, COPY_FOLDER_ERROR, COPY_FOLDER_ERROR_DAMAGED);
}

static void
test_logs_that_are_not_those_of_the_list(Scene *scene, gconstpointer data)
{
    g_autoptr(CopyFolder) list = make(scene, 5);
    g_autofree char *second = copy_folder_log_path(scene->folder, 2);
    write_log(scene, 1, 'x'); /* a good log of the same size */
    assert_log_refused(scene, list, 1);
    g_assert_cmpint(truncate(second, 100), ==, 0);
    assert_log_refused(scene, list, 2);
    g_assert_cmpint(unlink(second), ==, 0);
    assert_log_refused(scene, list, 2);
    g_assert_cmpint(mkfifo(second, 0600), ==, 0); /* nobody waits for a writer */
    assert_log_refused(scene, list, 2);
}

static void
test_no_copy_there(Scene *scene, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(copy_folder_load(scene->folder, &error));
    g_assert_error(error, COPY_FOLDER_ERROR, COPY_FOLDER_ERROR_NONE_THERE);
}

static void
test_names_of_folders(void)
{
    static const char *const names[][2] = {
        { "web1", "/x/web1_" }, { "a/b", "/x/a_b_" }, { "a\nb", "/x/a_b_" }, { "..", "/x/.._" },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *one = copy_folder_new_path("/x", names[i][0]), *other = copy_folder_new_path("/x", names[i][0]);
        g_assert_true(g_str_has_prefix(one, names[i][1]));
        g_assert_true(g_uuid_string_is_valid(one + strlen(names[i][1])));
        g_assert_cmpstr(one, !=, other);
    }
    g_autoptr(GString) letters = g_string_new("a");
    while (letters->len < 400)
        g_string_append(letters, "\u00e4");
    g_autofree char *cut = copy_folder_new_path("/x", letters->str);
    g_assert_true(g_utf8_validate(cut, -1, NULL));
    g_assert_cmpuint(strlen(cut), <, 255);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    static const struct {
        const char *name;
        void (*test)(Scene *scene, gconstpointer data);
    } tests[] = {
        { "/copy-folder/what-was-written-is-read", test_what_was_written_is_read },
        { "/copy-folder/a-log-again-ends-what-came-after", test_a_log_again_ends_what_came_after },
        { "/copy-folder/a-damaged-list-is-refused", test_a_damaged_list_is_refused },
        { "/copy-folder/logs-that-are-not-those-of-the-list", test_logs_that_are_not_those_of_the_list },
        { "/copy-folder/no-copy-there", test_no_copy_there },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, Scene, NULL, scene_open, tests[i].test, scene_close);
    g_test_add_func("/copy-folder/names-of-folders", test_names_of_folders);
    return g_test_run();
}
