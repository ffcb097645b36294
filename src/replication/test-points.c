#include "replication/points.h"
#include "replication/retention.h"

#include "replication/replica-folder.h"
#include "util/durable.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define UUID      "11111111-2222-3333-4444-555555555555"
#define LINEAGE   "66666666-7777-8888-9999-000000000000"
#define DISK_SIZE (64 * CHANGE_LOG_GRAIN)
#define MINUTE    (60ll * G_USEC_PER_SEC)

typedef struct {
    char *folder;
    ReplicationContext context;
    StoreRelationship *row;
    RelationshipSettings *settings;
} Scene;

static void
scene_open(Scene *scene)
{
    memset(scene, 0, sizeof *scene);
    scene->folder = g_dir_make_tmp("vr-points-XXXXXX", NULL);
    g_autofree char *database = g_build_filename(scene->folder, "state.db", NULL);
    scene->context.store = store_open(database, NULL);
    g_assert_nonnull(scene->context.store);
    scene->row = store_relationship_new(UUID, 0);
    scene->row->folder = g_build_filename(scene->folder, "replica", NULL);
    scene->row->vm_name = g_strdup("vm");
    scene->row->mode = MODE_REPLICA;
    g_assert_true(replica_folder_make(scene->row->folder, NULL));
    scene->settings = relationship_settings_new();
}

static void
scene_close(Scene *scene)
{
    store_close(scene->context.store);
    store_relationship_free(scene->row);
    relationship_settings_free(scene->settings);
    durable_remove_tree(scene->folder, NULL);
    g_free(scene->folder);
}

/* An undo that writes one grain of the value @position - 1 at a place of its own. */
static void
make_undo(Scene *scene, uint64_t position)
{
    ChangeLogHeader header = { .kind = CHANGE_LOG_UNDO, .base = position - 1, .position = position, .n_disks = 1 };
    g_strlcpy(header.vm_uuid, UUID, sizeof header.vm_uuid);
    g_strlcpy(header.lineage, LINEAGE, sizeof header.lineage);
    g_strlcpy(header.disks[0].id, "vda", sizeof header.disks[0].id);
    header.disks[0].size_bytes = DISK_SIZE;
    StoreUndo undo = { .vm_uuid = scene->row->vm_uuid, .position = position, .base = position - 1 };
    g_autofree char *path = replica_undo_path(scene->row->folder, &undo);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    g_assert_cmpint(fd, >=, 0);
    g_autoptr(GError) error = NULL;
    g_autoptr(ChangeLogWriter) writer = change_log_writer_new(change_log_sink_fd(&fd), &header, true, &error);
    g_assert_no_error(error);
    g_autofree uint8_t *grain = g_malloc(CHANGE_LOG_GRAIN);
    memset(grain, (int)(position - 1) | 0x80, CHANGE_LOG_GRAIN);
    uint64_t place = position % 64 * CHANGE_LOG_GRAIN;
    g_assert_true(change_log_writer_data(writer, 0, place, grain, CHANGE_LOG_GRAIN, &error));
    g_assert_true(change_log_writer_end(writer, undo.digest, &error));
    close(fd);
    g_assert_true(store_undo_save(scene->context.store, &undo, NULL));
}

/* Receives and "applies" positions up to @last; position n was taken @step_usec after n - 1, the last one now. */
static void
run_to(Scene *scene, uint64_t first, uint64_t last, int64_t step_usec)
{
    for (uint64_t n = first; n <= last; n++) {
        int64_t age = (int64_t)(last - n) * step_usec;
        g_autoptr(GError) error = NULL;
        g_assert_true(points_received(&scene->context, UUID, scene->settings, n, POINT_KIND_STANDARD, age, &error));
        g_assert_no_error(error);
        if (n > 0)
            make_undo(scene, n);
    }
    scene->row->applied = scene->row->position = last;
}

static void
prune(Scene *scene)
{
    g_autoptr(GError) error = NULL;
    g_assert_true(points_prune(&scene->context, scene->row, scene->settings, scene->row->applied, true, &error));
    g_assert_no_error(error);
}

static GPtrArray *
points_of(Scene *scene)
{
    return store_points(scene->context.store, UUID, NULL);
}

static uint64_t
oldest_kept(Scene *scene)
{
    g_autoptr(GPtrArray) points = points_of(scene);
    return ((StorePoint *)g_ptr_array_index(points, 0))->position;
}

/* The undo logs lead without a gap from the latest position to the oldest kept point, and the files are those of the rows. */
static unsigned
check_undos(Scene *scene)
{
    g_autoptr(GPtrArray) undos = store_undos(scene->context.store, UUID, NULL);
    uint64_t at = oldest_kept(scene);
    for (guint i = 0; i < undos->len; i++) {
        const StoreUndo *undo = g_ptr_array_index(undos, i);
        g_assert_cmpuint(undo->base, ==, at);
        at = undo->position;
        g_autofree char *path = replica_undo_path(scene->row->folder, undo);
        int fd = open(path, O_RDONLY);
        g_assert_cmpint(fd, >=, 0);
        ChangeLogSummary summary;
        g_assert_true(change_log_verify(change_log_source_fd(&fd), &summary, NULL));
        g_assert_cmpmem(summary.digest, sizeof summary.digest, undo->digest, sizeof undo->digest);
        g_assert_cmpuint(summary.header.base, ==, undo->base);
        g_assert_cmpuint(summary.header.position, ==, undo->position);
        close(fd);
    }
    g_assert_cmpuint(at, ==, scene->row->applied);
    g_autofree char *folder = g_build_filename(scene->row->folder, "undo", NULL);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    unsigned files = 0;
    while (g_dir_read_name(dir) != NULL)
        files++;
    g_assert_cmpuint(files, ==, undos->len);
    return undos->len;
}

static void
test_latest_only(void)
{
    Scene scene;
    scene_open(&scene);
    run_to(&scene, 0, 5, MINUTE);
    prune(&scene);
    g_autoptr(GPtrArray) points = points_of(&scene);
    g_assert_cmpuint(points->len, ==, 1);
    g_assert_cmpuint(((StorePoint *)g_ptr_array_index(points, 0))->position, ==, 5);
    g_assert_cmpuint(check_undos(&scene), ==, 0);
    scene_close(&scene);
}

/* Ten hours of a cycle every ten minutes, four hourly points wanted. */
static void
test_hourly_grid(void)
{
    Scene scene;
    scene_open(&scene);
    scene.settings->recovery_history = 4;
    run_to(&scene, 0, 60, 10 * MINUTE);
    prune(&scene);
    g_autoptr(GPtrArray) points = points_of(&scene);
    unsigned hourly = 0;
    for (guint i = 0; i < points->len; i++) {
        const StorePoint *point = g_ptr_array_index(points, i);
        hourly += point->hourly;
        g_assert_true(point->hourly || point->position == 60);
        if (point->hourly)
            g_assert_cmpuint(point->position % 6, ==, 0);
    }
    g_assert_cmpuint(hourly, ==, 4);
    /* One merged log between two hourly points. */
    g_assert_cmpuint(check_undos(&scene), <=, 4);
    scene_close(&scene);
}

static void
test_journal_ages_into_the_grid(void)
{
    Scene scene;
    scene_open(&scene);
    scene.settings->recovery_history = 24;
    scene.settings->additional_settings = g_strdup("journal=30m");
    run_to(&scene, 0, 180, MINUTE);
    prune(&scene);
    g_autoptr(GPtrArray) points = points_of(&scene);
    unsigned young = 0, old = 0;
    for (guint i = 0; i < points->len; i++) {
        const StorePoint *point = g_ptr_array_index(points, i);
        if (g_get_real_time() - point->taken_usec <= 31 * MINUTE)
            young++;
        else
            old++;
    }
    g_assert_cmpuint(young, >=, 30);
    g_assert_cmpuint(young, <=, 32);
    g_assert_cmpuint(old, ==, 3); /* 180, 120 and 60 minutes ago */
    check_undos(&scene);
    scene_close(&scene);
}

/* What the undo logs do must not change by merging: the chain gives each place what the oldest undo of it holds. */
static void
test_merging_keeps_the_oldest_content(void)
{
    Scene scene;
    scene_open(&scene);
    scene.settings->recovery_history = 1;
    run_to(&scene, 0, 100, G_USEC_PER_SEC); /* places are used again after 64 positions */
    prune(&scene);
    g_assert_cmpuint(oldest_kept(&scene), ==, 0);
    g_assert_cmpuint(check_undos(&scene), ==, 1);

    StoreUndo merged = { .vm_uuid = scene.row->vm_uuid, .position = 100, .base = 0 };
    g_autofree char *path = replica_undo_path(scene.row->folder, &merged);
    int fd = open(path, O_RDONLY);
    g_autoptr(ChangeLogReader) reader = change_log_reader_new(change_log_source_fd(&fd), NULL);
    unsigned grains = 0;
    for (;;) {
        ChangeLogRecord record;
        g_assert_true(change_log_reader_next(reader, &record, NULL));
        if (record.type == CHANGE_LOG_RECORD_END)
            break;
        for (uint64_t at = 0; at < record.length; at += CHANGE_LOG_GRAIN, grains++) {
            uint64_t place = (record.offset + at) / CHANGE_LOG_GRAIN;
            uint64_t oldest = place == 0 ? 64 : place; /* first position that uses the place */
            g_assert_cmpuint(((const uint8_t *)record.data)[at], ==, (oldest - 1) | 0x80);
        }
    }
    close(fd);
    g_assert_cmpuint(grains, ==, 64);
    scene_close(&scene);
}

static void
test_receiving_twice_makes_one_point(void)
{
    Scene scene;
    scene_open(&scene);
    run_to(&scene, 0, 2, MINUTE);
    run_to(&scene, 2, 2, MINUTE);
    g_autoptr(GPtrArray) points = points_of(&scene);
    g_assert_cmpuint(points->len, ==, 3);
    scene_close(&scene);
}

/* The host's clock was set a year ahead, and the daemon started again: neither makes a point older. */
static void
test_clock_changes_prune_nothing(void)
{
    Scene scene;
    scene_open(&scene);
    scene.settings->recovery_history = 2;
    scene.settings->additional_settings = g_strdup("journal=4h");
    run_to(&scene, 0, 30, MINUTE);
    g_autoptr(GPtrArray) points = points_of(&scene);
    for (guint i = 0; i < points->len; i++) {
        StorePoint *point = g_ptr_array_index(points, i);
        point->taken_usec -= 365ll * 24 * 60 * MINUTE;
        g_assert_true(store_point_save(scene.context.store, point, NULL));
    }
    g_assert_true(points_clock_start(&scene.context, NULL));
    prune(&scene);
    g_autoptr(GPtrArray) left = points_of(&scene);
    g_assert_cmpuint(left->len, ==, points->len);
    scene_close(&scene);
}

/* Five hours of a cycle every ten minutes. Between two points of the grid comes an application-consistent one. */
static void
test_application_consistent_points_are_kept(void)
{
    Scene scene;
    scene_open(&scene);
    scene.settings->recovery_history = 4;
    run_to(&scene, 0, 30, 10 * MINUTE);
    g_autoptr(GError) error = NULL;
    g_assert_true(points_received(&scene.context, UUID, scene.settings, 27, POINT_KIND_APPLICATION_CONSISTENT, 30 * MINUTE, &error));
    g_assert_no_error(error);
    prune(&scene);
    g_autoptr(GPtrArray) points = points_of(&scene);
    uint64_t kept[] = { 18, 24, 27, 30 };
    g_assert_cmpuint(points->len, ==, G_N_ELEMENTS(kept));
    for (guint i = 0; i < points->len; i++) {
        const StorePoint *point = g_ptr_array_index(points, i);
        g_assert_cmpuint(point->position, ==, kept[i]);
        g_assert_cmpuint(point->kind, ==, kept[i] == 27 ? POINT_KIND_APPLICATION_CONSISTENT : POINT_KIND_STANDARD);
    }
    check_undos(&scene);
    scene_close(&scene);
}

static void
test_left_over_files_go(void)
{
    Scene scene;
    scene_open(&scene);
    scene.settings->recovery_history = 1;
    run_to(&scene, 0, 2, MINUTE);
    g_autofree char *stray = g_build_filename(scene.row->folder, "undo", "7-9-0.log.part", NULL);
    g_assert_true(g_file_set_contents(stray, "x", 1, NULL));
    g_assert_true(points_clean_folder(&scene.context, scene.row, NULL));
    g_assert_false(g_file_test(stray, G_FILE_TEST_EXISTS));
    check_undos(&scene);
    scene_close(&scene);
}

/* A primary's word for fewer points counts when the time that was promised before is over; its word for more counts at once. */
static void
test_fewer_points_count_later(void)
{
    Scene scene;
    scene_open(&scene);
    g_autoptr(RelationshipSettings) after = relationship_settings_copy(scene.settings);
    scene.settings->recovery_history = 3;
    scene.settings->additional_settings = g_strdup("journal=5h");
    after->recovery_history = 1;
    g_assert_true(retention_hold(&scene.context, UUID, scene.settings, after, NULL));
    g_autoptr(RelationshipSettings) held = relationship_settings_copy(after);
    g_assert_true(retention_raise(&scene.context, UUID, held, NULL));
    g_assert_cmpuint(held->recovery_history, ==, 3);
    g_assert_cmpstr(held->additional_settings, ==, "journal=18000");
    g_autoptr(RelationshipSettings) more = relationship_settings_copy(after);
    more->recovery_history = 9;
    g_assert_true(retention_raise(&scene.context, UUID, more, NULL));
    g_assert_cmpuint(more->recovery_history, ==, 9);

    scene.context.running_base_usec += INT64_C(4) * 3600 * G_USEC_PER_SEC;
    g_clear_pointer(&held, relationship_settings_free);
    held = relationship_settings_copy(after);
    g_assert_true(retention_raise(&scene.context, UUID, held, NULL));
    g_assert_cmpuint(held->recovery_history, ==, 3);
    scene.context.running_base_usec += INT64_C(1) * 3600 * G_USEC_PER_SEC;
    g_assert_true(retention_raise(&scene.context, UUID, after, NULL));
    g_assert_cmpuint(after->recovery_history, ==, 1);
    g_assert_null(after->additional_settings);
    scene_close(&scene);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/points/latest-only", test_latest_only);
    g_test_add_func("/points/hourly-grid", test_hourly_grid);
    g_test_add_func("/points/journal-ages-into-the-grid", test_journal_ages_into_the_grid);
    g_test_add_func("/points/merging-keeps-the-oldest-content", test_merging_keeps_the_oldest_content);
    g_test_add_func("/points/receiving-twice-makes-one-point", test_receiving_twice_makes_one_point);
    g_test_add_func("/points/clock-changes-prune-nothing", test_clock_changes_prune_nothing);
    g_test_add_func("/points/application-consistent-points-are-kept", test_application_consistent_points_are_kept);
    g_test_add_func("/points/left-over-files-go", test_left_over_files_go);
    g_test_add_func("/points/fewer-count-later", test_fewer_points_count_later);
    return g_test_run();
}
