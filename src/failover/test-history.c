/* The receiving side from the log to the overlay, with real storage daemons, image files and store: at every kept point the overlay
 * holds what the primary had, also when the receiver dies between any two durable steps, and again while it recovers. */
#include "disk/disk-server.h"
#include "disk/image.h"
#include "failover/overlay.h"
#include "replication/replica.h"
#include "replication/replica-folder.h"
#include "replication/replica-private.h"
#include "replication/settings.h"
#include "util/durable.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define UUID       "11111111-2222-3333-4444-555555555555"
#define LINEAGE    "66666666-7777-8888-9999-000000000000"
#define DISK_ID    "vda"
#define SIZE_MAX_  (40u * CHANGE_LOG_GRAIN)
#define POOL_BYTES (4u << 20)
#define LAST       16 /* position that the script leads to */
#define DEATH      77 /* status of a child that died as it was to */

/* ---- dying at a durable step, or at a request to a storage daemon: every one of this process, SQLite's and libnbd's too, comes by
 * here ---- */

static int steps_to_live = -1;

static void
count_step(void)
{
    if (steps_to_live > 0 && --steps_to_live == 0)
        _exit(DEATH);
}

int fsync(int fd);
int fdatasync(int fd);
int rename(const char *from, const char *to);
int unlink(const char *path);
ssize_t send(int socket, const void *data, size_t length, int flags);

int
fsync(int fd)
{
    count_step();
    return (int)syscall(SYS_fsync, fd);
}

int
fdatasync(int fd)
{
    count_step();
    return (int)syscall(SYS_fdatasync, fd);
}

int
rename(const char *from, const char *to)
{
    count_step();
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int
unlink(const char *path)
{
    count_step();
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

ssize_t
send(int socket, const void *data, size_t length, int flags)
{
    count_step();
    return syscall(SYS_sendto, socket, data, length, flags, NULL, 0);
}

/* ---- the primary's disk ---- */

typedef struct {
    uint64_t size;
    uint8_t  bytes[SIZE_MAX_];
} Model;

typedef struct {
    uint64_t offset, length;
    uint8_t  value;
} Change;

static bool
is_resync(uint64_t position)
{
    return position == 5 || position == 11;
}

static uint64_t
size_at(uint64_t position)
{
    /* Grows, shrinks over what was written, and grows again. */
    static const uint64_t grains[] = { 32, 32, 40, 40, 24, 24, 36, 36, 20, 40 };
    return grains[position % G_N_ELEMENTS(grains)] * CHANGE_LOG_GRAIN;
}

/* Change @i of the step to @position; the same each time it is asked for. */
static Change
change_of(uint64_t position, unsigned i)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed((guint32)(position * 16 + i + 1));
    uint64_t sectors = size_at(position) / 512;
    uint64_t start = (uint64_t)g_rand_int_range(rand, 0, (gint32)sectors);
    uint64_t wanted = (uint64_t)g_rand_int_range(rand, 1, 5 * 128), n = MIN(sectors - start, wanted);
    uint8_t value = g_rand_int_range(rand, 0, 4) == 0 ? 0 : (uint8_t)g_rand_int_range(rand, 1, 256);
    return (Change){ start * 512, n * 512, value };
}

#define CHANGES 4

static void
model_at(uint64_t position, Model *model)
{
    memset(model, 0, sizeof *model);
    for (uint64_t n = 0; n <= position; n++) {
        model->size = size_at(n);
        memset(model->bytes + model->size, 0, SIZE_MAX_ - model->size);
        for (unsigned i = 0; i < CHANGES; i++) {
            Change change = change_of(n, i);
            memset(model->bytes + change.offset, change.value, change.length);
        }
    }
}

/* ---- its logs ---- */

static ChangeLogHeader
header_of(const StoreRelationship *row, ChangeLogKind kind, uint64_t position, PointKind point)
{
    ChangeLogHeader header = { .kind = kind, .point_kind = point, .base = position > 0 ? position - 1 : 0,
                               .position = position, .n_disks = 1 };
    g_strlcpy(header.vm_uuid, UUID, sizeof header.vm_uuid);
    g_strlcpy(header.lineage, LINEAGE, sizeof header.lineage);
    g_strlcpy(header.disks[0].id, DISK_ID, sizeof header.disks[0].id);
    header.disks[0].size_bytes = size_at(position);
    if (kind != CHANGE_LOG_INITIAL)
        memcpy(header.previous_digest, row->digest, sizeof header.previous_digest);
    return header;
}

static GByteArray *
make_log(const StoreRelationship *row, ChangeLogKind kind, uint64_t position, PointKind point, unsigned first, unsigned end)
{
    ChangeLogHeader header = header_of(row, kind, position, point);
    GByteArray *bytes = g_byte_array_new();
    g_autoptr(GError) error = NULL;
    g_autofree uint8_t *data = g_malloc(SIZE_MAX_);
    g_autoptr(ChangeLogWriter) writer = change_log_writer_new(change_log_sink_bytes(bytes), &header, true, NULL);
    g_assert_nonnull(writer);
    for (unsigned i = first; i < end; i++) {
        Change change = change_of(position, i);
        memset(data, change.value, change.length);
        change_log_writer_data(writer, 0, change.offset, data, change.length, &error);
        g_assert_no_error(error);
    }
    g_assert_true(change_log_writer_end(writer, NULL, NULL));
    return bytes;
}

/* ---- the receiver ---- */

typedef struct {
    const char *folder;
    ReplicationContext context;
    Relationship *relationship;
    Replica *replica;
    Model *model;
} Scene;

static void
nothing_to_wake(void *opaque)
{
}

static StoreRelationship *
stored_row(Scene *scene)
{
    g_autoptr(GPtrArray) rows = store_relationships(scene->context.store, NULL);
    g_assert_nonnull(rows);
    return rows->len > 0 ? store_relationship_copy(g_ptr_array_index(rows, 0)) : NULL;
}

static StoreRelationship *
make_row(Scene *scene)
{
    g_autoptr(RelationshipSettings) settings = relationship_settings_new();
    settings->recovery_history = 24;
    StoreRelationship *row = store_relationship_new(UUID, 0);
    row->mode = MODE_REPLICA;
    row->state = STATE_WAITING_INITIAL;
    row->vm_name = g_strdup("vm");
    row->lineage = g_strdup(LINEAGE);
    row->settings = relationship_settings_to_json(settings);
    row->folder = g_build_filename(scene->folder, "replica", NULL);
    g_assert_true(replica_folder_make(row->folder, NULL));
    g_autofree char *disk = replica_disk_path(row->folder, DISK_ID);
    g_assert_true(durable_unlink(disk, NULL) && image_create(disk, "qcow2", size_at(0), NULL));
    g_assert_true(store_relationship_save(scene->context.store, row, NULL));
    return row;
}

static void
scene_open(Scene *scene, const char *folder)
{
    memset(scene, 0, sizeof *scene);
    g_autoptr(GError) error = NULL;
    g_autofree char *database = g_build_filename(folder, "state.db", NULL);
    scene->folder = folder;
    scene->context.run_folder = g_build_filename(folder, "r", NULL);
    scene->context.pool = disk_buffer_pool_new(POOL_BYTES);
    scene->context.store = store_open(database, &error);
    g_assert_no_error(error);
    StoreRelationship *row = stored_row(scene);
    scene->relationship = relationship_new(scene->context.store, row != NULL ? row : make_row(scene), &error);
    g_assert_no_error(error);
    scene->replica = replica_new(&scene->context, scene->relationship, nothing_to_wake, NULL);
    scene->model = g_new(Model, 1);
}

static void
scene_close(Scene *scene)
{
    replica_unref(scene->replica);
    relationship_unref(scene->relationship);
    store_close(scene->context.store);
    disk_buffer_pool_unref(scene->context.pool);
    g_free(scene->context.run_folder);
    g_free(scene->model);
}

static void
send_part(Scene *scene, ChangeLogKind kind, uint64_t position, PointKind point, unsigned first, unsigned end)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(StoreRelationship) row = relationship_row(scene->relationship);
    g_autoptr(GByteArray) log = make_log(row, kind, position, point, first, end);
    ChangeLogMemory memory = { log->data, log->len, 0 };
    LinkPosition ignored;
    LinkStream stream = { .pass_token = "token" };
    replica_receive(scene->replica, change_log_source_memory(&memory), &stream, NULL, &ignored, &error);
    g_assert_no_error(error);
}

static void
apply(Scene *scene)
{
    g_autoptr(GError) error = NULL;
    g_assert_true(relationship_begin_work(scene->relationship));
    replica_apply_pending(scene->replica, &error);
    g_assert_no_error(error);
    relationship_end_work(scene->relationship);
}

/* As if an hour had gone by since the hourly point before. */
static void
keep_point(Scene *scene, uint64_t position)
{
    g_autoptr(GPtrArray) points = store_points(scene->context.store, UUID, NULL);
    for (guint i = 0; i < points->len; i++) {
        StorePoint *point = g_ptr_array_index(points, i);
        if (point->position == position) {
            point->kept = point->hourly = true;
            g_assert_true(store_point_save(scene->context.store, point, NULL));
        }
    }
}

/* The next step of the primary: of a resynchronization that was interrupted all passes again. */
static void
step(Scene *scene, uint64_t position)
{
    if (position == 0 || is_resync(position)) {
        ChangeLogKind kind = position == 0 ? CHANGE_LOG_INITIAL : CHANGE_LOG_RESYNC;
        send_part(scene, kind, position, POINT_KIND_NONE, 0, CHANGES / 2);
        send_part(scene, kind, position, POINT_KIND_NONE, CHANGES / 2, CHANGES);
        send_part(scene, kind, position, POINT_KIND_STANDARD, 0, 0);
        return;
    }
    send_part(scene, CHANGE_LOG_DELTA, position, POINT_KIND_STANDARD, 0, CHANGES);
    if (position % 3 == 0)
        keep_point(scene, position);
    if (position % 4 != 1) /* now and then more than one waits */
        apply(scene);
}

/* ---- what a failover finds ---- */

static void
check_image(Scene *scene, const StoreRelationship *row, uint64_t position, const DiskServerImage *image)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *run = g_build_filename(scene->folder, "o", NULL);
    g_autoptr(DiskServer) server = disk_server_start(run, image, 1, false, &error);
    g_assert_no_error(error);
    g_autoptr(DiskClient) client = disk_client_connect(disk_server_socket(server), DISK_ID, NULL, scene->context.pool, &error);
    g_assert_no_error(error);
    model_at(position, scene->model);
    g_assert_cmpuint(disk_client_size(client), ==, scene->model->size);
    g_autofree uint8_t *found = g_malloc(SIZE_MAX_);
    g_assert_true(disk_client_read(client, 0, found, scene->model->size, &error));
    for (uint64_t at = 0; at < scene->model->size; at += 512) {
        if (memcmp(found + at, scene->model->bytes + at, 512) != 0)
            g_error("position %" G_GUINT64_FORMAT ", applied %" G_GUINT64_FORMAT ", passes %u: offset %" G_GUINT64_FORMAT
                    " has %02x, should have %02x", position, row->applied, row->resync_passes, at, found[at],
                    scene->model->bytes[at]);
    }
}

static void
check_point(Scene *scene, uint64_t position)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(StoreRelationship) row = relationship_row(scene->relationship);
    g_autoptr(GPtrArray) chain = overlay_undo_chain(&scene->context, row, position, &error);
    g_assert_no_error(error);
    g_autofree char *run = g_build_filename(scene->folder, "f", NULL);
    replica_close_disks(scene->replica);
    overlay_make(&scene->context, row, OVERLAY_FAILOVER, chain, run, &error);
    g_assert_no_error(error);
    g_autofree char *base = replica_disk_path(row->folder, DISK_ID), *overlay = replica_overlay_path(row->folder, DISK_ID);
    check_image(scene, row, position, &(DiskServerImage){ .id = DISK_ID, .path = overlay, .format = "qcow2", .backing_path = base,
                                                          .backing_format = "qcow2" });
}

/* Every @each-th kept point from the newest on, whatever is half applied. */
static void
check_points(Scene *scene, unsigned each)
{
    g_autoptr(StoreRelationship) row = relationship_row(scene->relationship);
    g_autoptr(GPtrArray) points = store_points(scene->context.store, UUID, NULL);
    unsigned n = 0;
    for (guint i = points->len; row->initial_complete && i-- > 0;) {
        const StorePoint *point = g_ptr_array_index(points, i);
        if (point->kept && point->position <= row->applied && n++ % each == 0)
            check_point(scene, point->position);
    }
}

/* Ends the storage daemon of a life before. */
static void
open_disks(Scene *scene)
{
    g_autoptr(GError) error = NULL;
    g_assert_true(relationship_begin_work(scene->relationship));
    replica_open_disks(scene->replica, &error);
    g_assert_no_error(error);
    relationship_end_work(scene->relationship);
}

/* The script from wherever the store says it is. */
static void
go_on(Scene *scene)
{
    open_disks(scene);
    apply(scene);
    g_autoptr(StoreRelationship) row = relationship_row(scene->relationship);
    for (uint64_t next = row->initial_complete ? row->position + 1 : 0; next <= LAST; next++)
        step(scene, next);
    apply(scene);
}

/* ---- tests ---- */

static void
remove_folder(const char *folder)
{
    static const char *const runs[] = { "f", "o", "r/11111111-2222" };
    for (size_t i = 0; i < G_N_ELEMENTS(runs); i++) {
        g_autofree char *run = g_build_filename(folder, runs[i], NULL);
        disk_server_end_left_over(run, NULL);
    }
    durable_remove_tree(folder, NULL);
}

static void
test_every_point(void)
{
    g_autofree char *folder = g_dir_make_tmp("vrh-XXXXXX", NULL);
    Scene scene;
    scene_open(&scene, folder);
    go_on(&scene);
    check_points(&scene, 1);
    check_point(&scene, LAST);
    scene_close(&scene);
    remove_folder(folder);
}

/* What removing the replication in the middle of a resynchronization does; or what a start does after a death in that. */
static void
take_back(bool died)
{
    g_autofree char *folder = g_dir_make_tmp("vrh-XXXXXX", NULL);
    g_autoptr(GError) error = NULL;
    Scene scene;
    scene_open(&scene, folder);
    open_disks(&scene);
    for (uint64_t position = 0; position < 5; position++)
        step(&scene, position);
    send_part(&scene, CHANGE_LOG_RESYNC, 5, POINT_KIND_NONE, 0, CHANGES / 2);
    send_part(&scene, CHANGE_LOG_RESYNC, 5, POINT_KIND_NONE, CHANGES / 2, CHANGES);

    g_autoptr(StoreRelationship) row = relationship_row(scene.relationship);
    g_autofree char *mark = g_build_filename(row->folder, "taking-back", NULL);
    g_assert_cmpuint(row->resync_passes, ==, 2);
    if (died)
        g_assert_true(g_file_set_contents(mark, "", 0, NULL));
    g_assert_true(relationship_begin_work(scene.relationship));
    (died ? replica_end_taking_back : replica_give_up_passes)(scene.replica, &error);
    g_assert_no_error(error);
    replica_close_disks(scene.replica);
    relationship_end_work(scene.relationship);
    g_assert_false(g_file_test(mark, G_FILE_TEST_EXISTS));

    g_autoptr(StoreRelationship) after = relationship_row(scene.relationship);
    g_autoptr(GPtrArray) left = store_undos(scene.context.store, row->vm_uuid, &error);
    g_assert_cmpuint(after->resync_passes, ==, 0);
    for (guint i = 0; i < left->len; i++)
        g_assert_cmpuint(((StoreUndo *)g_ptr_array_index(left, i))->pass, ==, 0);
    g_autofree char *disk = replica_disk_path(row->folder, DISK_ID);
    check_image(&scene, row, 4, &(DiskServerImage){ .id = DISK_ID, .path = disk, .format = "qcow2" });
    scene_close(&scene);
    remove_folder(folder);
}

static void
test_take_back(void)
{
    take_back(false);
    take_back(true);
}

/* A stream in the middle of which a failover comes and ends. */
typedef struct {
    ChangeLogMemory memory;
    ChangeLogSource source;
    Relationship   *relationship;
} Interrupted;

static ssize_t
read_interrupted(void *opaque, void *buffer, size_t length, GError **error)
{
    Interrupted *self = opaque;
    if (self->memory.offset > self->memory.length / 2 && relationship_state(self->relationship) != STATE_RECOVERED) {
        g_assert_true(relationship_begin_operation(self->relationship, "fail over", NULL));
        StoreRelationship *row = relationship_edit(self->relationship);
        row->state = STATE_RECOVERED;
        g_assert_true(relationship_edit_end(self->relationship, row, NULL));
        relationship_end_operation(self->relationship);
    }
    return self->source.read(self->source.opaque, buffer, MIN(length, 4096), error);
}

static void
test_failover_while_a_pass_comes_in(void)
{
    g_autofree char *folder = g_dir_make_tmp("vrh-XXXXXX", NULL);
    Scene scene;
    scene_open(&scene, folder);
    open_disks(&scene);
    for (uint64_t position = 0; position < 5; position++)
        step(&scene, position);
    g_autoptr(StoreRelationship) row = relationship_row(scene.relationship);
    g_autoptr(GByteArray) log = make_log(row, CHANGE_LOG_RESYNC, 5, POINT_KIND_NONE, 0, CHANGES);
    Interrupted source = { .memory = { log->data, log->len, 0 }, .relationship = scene.relationship };
    source.source = change_log_source_memory(&source.memory);
    LinkStream stream = { .pass_token = "token" };
    LinkPosition ignored;
    g_autoptr(GError) error = NULL;
    replica_receive(scene.replica, (ChangeLogSource){ read_interrupted, &source }, &stream, NULL, &ignored, &error);
    g_assert_error(error, LINK_ERROR, LINK_ERROR_STATE);
    g_assert_cmpuint(relationship_state(scene.relationship), ==, STATE_RECOVERED);
    replica_close_disks(scene.replica);
    g_autofree char *disk = replica_disk_path(row->folder, DISK_ID);
    check_image(&scene, row, 4, &(DiskServerImage){ .id = DISK_ID, .path = disk, .format = "qcow2" });
    scene_close(&scene);
    remove_folder(folder);
}

/* Sends a log of @kind with one blob; how it was taken. */
static bool
send_blob(Scene *scene, ChangeLogKind kind, uint64_t position, const char *name, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(scene->relationship);
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_autoptr(GBytes) content = g_bytes_new_static("x", 1);
    ChangeLogHeader header = header_of(row, kind, position, POINT_KIND_STANDARD);
    g_autoptr(ChangeLogWriter) writer = change_log_writer_new(change_log_sink_bytes(bytes), &header, true, NULL);
    g_assert_true(change_log_writer_blob(writer, name, content, NULL));
    g_assert_true(change_log_writer_end(writer, NULL, NULL));
    ChangeLogMemory memory = { bytes->data, bytes->len, 0 };
    LinkPosition ignored;
    LinkStream stream = { .pass_token = "token" };
    return replica_receive(scene->replica, change_log_source_memory(&memory), &stream, NULL, &ignored, error);
}

static void
test_blobs(void)
{
    static const ChangeLogKind kinds[] = { CHANGE_LOG_INITIAL, CHANGE_LOG_DELTA, CHANGE_LOG_RESYNC };
    g_autofree char *folder = g_dir_make_tmp("vrh-XXXXXX", NULL);
    Scene scene;
    scene_open(&scene, folder);
    open_disks(&scene);
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(StoreRelationship) row = relationship_row(scene.relationship);
        g_autofree char *path = g_build_filename(row->folder, "blobs/evil", NULL);
        uint64_t position = kinds[i] == CHANGE_LOG_INITIAL ? 0 : row->position + 1;
        g_assert_false(send_blob(&scene, kinds[i], position, "evil", &error));
        g_assert_error(error, LINK_ERROR, LINK_ERROR_PROTOCOL);
        g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
        g_clear_error(&error);
        open_disks(&scene);
        send_blob(&scene, kinds[i], position, "nvram", &error);
        g_assert_no_error(error);
        apply(&scene);
    }
    scene_close(&scene);
    remove_folder(folder);
}

/* A disk that is as good as full refuses a log of every kind, also one that was received and is to be applied, and nothing is lost. */
static void
test_no_room(void)
{
    static const uint64_t full = G_MAXINT64;
    g_autofree char *folder = g_dir_make_tmp("vrh-XXXXXX", NULL);
    Scene scene;
    scene_open(&scene, folder);
    for (uint64_t position = 0; position <= 6; position++) {
        g_autoptr(GError) error = NULL;
        open_disks(&scene);
        g_autoptr(StoreRelationship) row = relationship_row(scene.relationship);
        ChangeLogKind kind = position == 0 ? CHANGE_LOG_INITIAL : is_resync(position) ? CHANGE_LOG_RESYNC : CHANGE_LOG_DELTA;
        g_autoptr(GByteArray) log = make_log(row, kind, position, POINT_KIND_NONE, 0, CHANGES);
        ChangeLogMemory memory = { log->data, log->len, 0 };
        LinkPosition ignored;
        scene.context.storage_reserve_bytes = full;
        LinkStream stream = { .pass_token = "token" };
        g_assert_false(replica_receive(scene.replica, change_log_source_memory(&memory), &stream, NULL, &ignored, &error));
        g_assert_error(error, LINK_ERROR, LINK_ERROR_NO_SPACE);
        g_clear_error(&error);
        scene.context.storage_reserve_bytes = 0;
        open_disks(&scene);
        step(&scene, position);
    }
    send_part(&scene, CHANGE_LOG_DELTA, 7, POINT_KIND_STANDARD, 0, CHANGES);
    g_autoptr(GError) error = NULL;
    scene.context.storage_reserve_bytes = full;
    g_assert_true(relationship_begin_work(scene.relationship));
    g_assert_false(replica_apply_pending(scene.replica, &error));
    g_assert_error(error, LINK_ERROR, LINK_ERROR_NO_SPACE);
    relationship_end_work(scene.relationship);
    scene.context.storage_reserve_bytes = 0;
    apply(&scene);
    check_points(&scene, 1);
    check_point(&scene, 7);
    scene_close(&scene);
    remove_folder(folder);
}

/* ---- streams that break ---- */

#define ID_A "aaaaaaaa-0000-0000-0000-000000000001"
#define ID_B "bbbbbbbb-0000-0000-0000-000000000002"

typedef struct {
    const uint8_t *data;
    size_t         length; /* here the stream breaks */
    size_t         offset;
} Breaking;

static ssize_t
read_breaking(void *opaque, void *buffer, size_t length, GError **error)
{
    Breaking *self = opaque;
    size_t n = MIN(length, self->length - self->offset);
    if (n == 0) {
        g_set_error(error, HTTP_ERROR, HTTP_ERROR_BODY, "cut");
        return -1;
    }
    memcpy(buffer, self->data + self->offset, n);
    self->offset += n;
    return (ssize_t)n;
}

/* Sends bytes [@from, @end) of @log; at @end the stream breaks, unless that is the log's. Gives LINK_ERROR_..., or -1 when it
 * was taken. */
static int
send_bytes(Scene *scene, const GByteArray *log, const char *id, uint64_t resume_at, size_t from, size_t end)
{
    Breaking breaking = { log->data + from, end - from, 0 };
    ChangeLogMemory memory = { log->data + from, end - from, 0 };
    ChangeLogSource whole = change_log_source_memory(&memory), part = { read_breaking, &breaking };
    LinkStream stream = { .pass_token = "token", .id = id, .resume_at = resume_at };
    LinkPosition position;
    g_autoptr(GError) error = NULL;
    if (replica_receive(scene->replica, end == log->len ? whole : part, &stream, NULL, &position,
                        &error))
        return -1;
    return error->domain == LINK_ERROR ? error->code : LINK_ERROR_UNREACHABLE;
}

static LinkPosition
position_of(Scene *scene)
{
    LinkPosition position;
    replica_position(scene->replica, &position);
    g_assert_false(position.receiving);
    return position;
}

/* Cut at random bytes, sent on from where the replica says. */
static void
send_with_cuts(Scene *scene, const GByteArray *log)
{
    g_autofree char *id = g_uuid_string_random();
    uint64_t at = 0, before = position_of(scene).position;
    for (int cuts = 0;; cuts++) {
        size_t end = cuts < 12 ? (size_t)g_test_rand_int_range((gint32)at + 1, (gint32)log->len + 1) : log->len;
        int code = send_bytes(scene, log, id, at, at, end);
        if (end == log->len) {
            g_assert_cmpint(code, ==, -1);
            return;
        }
        g_assert_cmpint(code, ==, LINK_ERROR_UNREACHABLE);
        LinkPosition position = position_of(scene);
        g_assert_cmpuint(position.position, ==, before);
        g_assert_cmpuint(position.partial_bytes, <=, end);
        g_assert_cmpuint(position.partial_bytes, >=, at);
        g_assert_cmpstr(position.partial_id, ==, position.partial_bytes > 0 ? id : "");
        at = position.partial_bytes;
    }
}

static void
test_broken_streams(void)
{
    g_autofree char *folder = g_dir_make_tmp("vrh-XXXXXX", NULL);
    Scene scene;
    scene_open(&scene, folder);
    open_disks(&scene);
    step(&scene, 0);
    for (uint64_t position = 1; position <= LAST; position++) {
        bool resync = is_resync(position);
        g_autoptr(StoreRelationship) row = relationship_row(scene.relationship);
        g_autoptr(GByteArray) log = make_log(row, resync ? CHANGE_LOG_RESYNC : CHANGE_LOG_DELTA, position,
                                             resync ? POINT_KIND_NONE : POINT_KIND_STANDARD, 0, CHANGES);
        send_with_cuts(&scene, log);
        if (resync)
            send_part(&scene, CHANGE_LOG_RESYNC, position, POINT_KIND_STANDARD, 0, 0);
        keep_point(&scene, position);
        apply(&scene);
    }
    replica_close_disks(scene.replica);
    check_points(&scene, 1);
    check_point(&scene, LAST);
    scene_close(&scene);
    remove_folder(folder);
}

/* What is kept is continued by the same sending, at its end, or not at all; whatever else a peer claims changes nothing. */
static void
test_wrong_continuations(void)
{
    g_autofree char *folder = g_dir_make_tmp("vrh-XXXXXX", NULL);
    Scene scene;
    scene_open(&scene, folder);
    open_disks(&scene);
    for (uint64_t position = 0; position < 3; position++)
        step(&scene, position);
    g_autoptr(StoreRelationship) row = relationship_row(scene.relationship);
    g_autoptr(GByteArray) log = make_log(row, CHANGE_LOG_DELTA, 3, POINT_KIND_STANDARD, 0, CHANGES);
    g_autoptr(GByteArray) other = make_log(row, CHANGE_LOG_DELTA, 3, POINT_KIND_STANDARD, 1, CHANGES);
    size_t cut = log->len - 40;

    g_assert_cmpint(send_bytes(&scene, log, ID_A, 500, 500, log->len), ==, LINK_ERROR_MISFIT); /* nothing is kept yet */
    g_assert_cmpint(send_bytes(&scene, log, ID_A, 0, 0, cut), ==, LINK_ERROR_UNREACHABLE);
    LinkPosition kept = position_of(&scene);
    uint64_t at = kept.partial_bytes;
    g_assert_cmpuint(at, >, 0);
    g_assert_cmpuint(kept.partial_records, ==, CHANGES);

    const struct { const char *id; uint64_t offset; } wrong[] = {
        { ID_B, at }, { NULL, at }, { "", at }, { ID_A, at - 1 }, { ID_A, at + 1 }, { ID_A, 1 }, { ID_A, INT64_MAX },
        { ID_A, log->len },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_assert_cmpint(send_bytes(&scene, log, wrong[i].id, wrong[i].offset, at, log->len), ==, LINK_ERROR_MISFIT);
        LinkPosition now = position_of(&scene);
        g_assert_cmpmem(&now, sizeof now, &kept, sizeof kept);
    }
    /* Records that are there already, sent once more; then nothing is kept. */
    ChangeLogMemory memory = { log->data, log->len, 0 };
    g_autoptr(ChangeLogReader) reader = change_log_reader_new(change_log_source_memory(&memory), NULL);
    size_t header = (size_t)change_log_reader_good_bytes(reader);
    g_assert_cmpint(send_bytes(&scene, log, ID_A, at, header, log->len), !=, -1);
    g_assert_cmpstr(position_of(&scene).partial_id, ==, "");

    /* The end of another moment's log, under a stolen id. */
    g_assert_cmpint(send_bytes(&scene, log, ID_A, 0, 0, cut), ==, LINK_ERROR_UNREACHABLE);
    g_assert_cmpint(send_bytes(&scene, other, ID_A, at, other->len - (log->len - at), other->len), !=, -1);
    g_assert_cmpstr(position_of(&scene).partial_id, ==, "");

    /* A new log makes the old one void, also when it breaks in its header; one without an id leaves nothing. */
    g_assert_cmpint(send_bytes(&scene, log, ID_A, 0, 0, cut), ==, LINK_ERROR_UNREACHABLE);
    g_assert_cmpint(send_bytes(&scene, log, ID_B, 0, 0, 50), ==, LINK_ERROR_UNREACHABLE);
    g_assert_cmpint(send_bytes(&scene, log, ID_A, at, at, log->len), ==, LINK_ERROR_MISFIT);
    g_assert_cmpint(send_bytes(&scene, log, NULL, 0, 0, cut), ==, LINK_ERROR_UNREACHABLE);
    g_assert_cmpstr(position_of(&scene).partial_id, ==, "");

    /* The history went on meanwhile, by another log. */
    g_assert_cmpint(send_bytes(&scene, log, ID_A, 0, 0, cut), ==, LINK_ERROR_UNREACHABLE);
    step(&scene, 3);
    g_assert_cmpint(send_bytes(&scene, log, ID_A, at, at, log->len), ==, LINK_ERROR_MISFIT);

    /* A start of the daemon keeps nothing. */
    g_autoptr(StoreRelationship) row4 = relationship_row(scene.relationship);
    g_autoptr(GByteArray) log4 = make_log(row4, CHANGE_LOG_DELTA, 4, POINT_KIND_STANDARD, 0, CHANGES);
    g_assert_cmpint(send_bytes(&scene, log4, ID_A, 0, 0, log4->len - 40), ==, LINK_ERROR_UNREACHABLE);
    g_autofree char *part = replica_incoming_path(row->folder);
    g_assert_true(g_file_test(part, G_FILE_TEST_EXISTS));
    scene_close(&scene);
    g_assert_false(g_file_test(part, G_FILE_TEST_EXISTS));
    scene_open(&scene, folder);
    open_disks(&scene);
    g_assert_cmpstr(position_of(&scene).partial_id, ==, "");
    go_on(&scene);
    replica_close_disks(scene.replica);
    check_points(&scene, 1);
    check_point(&scene, LAST);
    scene_close(&scene);
    remove_folder(folder);
}

/* What is kept of a log is not gone on with after a failover came in between. */
static void
test_failover_before_the_rest(void)
{
    g_autofree char *folder = g_dir_make_tmp("vrh-XXXXXX", NULL);
    Scene scene;
    scene_open(&scene, folder);
    open_disks(&scene);
    for (uint64_t position = 0; position < 3; position++)
        step(&scene, position);
    g_autoptr(StoreRelationship) row = relationship_row(scene.relationship);
    g_autoptr(GByteArray) log = make_log(row, CHANGE_LOG_DELTA, 3, POINT_KIND_STANDARD, 0, CHANGES);
    g_assert_cmpint(send_bytes(&scene, log, ID_A, 0, 0, log->len - 40), ==, LINK_ERROR_UNREACHABLE);
    uint64_t at = position_of(&scene).partial_bytes;
    StoreRelationship *edit = relationship_edit(scene.relationship);
    edit->state = STATE_RECOVERED;
    g_assert_true(relationship_edit_end(scene.relationship, edit, NULL));
    g_assert_cmpint(send_bytes(&scene, log, ID_A, at, at, log->len), ==, LINK_ERROR_STATE);
    LinkPosition position = position_of(&scene);
    g_assert_cmpuint(position.position, ==, 2);
    g_assert_cmpstr(position.partial_id, ==, "");
    scene_close(&scene);
    remove_folder(folder);
}

/* Disks of another day under a store of today. */
static void
test_replaced_files(void)
{
    g_autofree char *folder = g_dir_make_tmp("vrh-XXXXXX", NULL);
    Scene scene;
    scene_open(&scene, folder);
    open_disks(&scene);
    g_autoptr(StoreRelationship) row = relationship_row(scene.relationship);
    g_autofree char *path = g_build_filename(row->folder, "position", NULL), *old = NULL;
    for (uint64_t position = 0; position < 5; position++) {
        step(&scene, position);
        if (position == 2)
            g_assert_true(g_file_get_contents(path, &old, NULL, NULL));
    }
    send_part(&scene, CHANGE_LOG_DELTA, 5, POINT_KIND_STANDARD, 0, CHANGES);
    scene_close(&scene);
    g_assert_true(g_file_set_contents(path, old, -1, NULL));

    scene_open(&scene, folder);
    g_autoptr(GError) error = NULL;
    g_assert_true(relationship_begin_work(scene.relationship));
    g_assert_false(replica_apply_pending(scene.replica, &error));
    g_assert_error(error, REPLICATION_ERROR, REPLICATION_ERROR_FILE_NOT_FOUND);
    relationship_end_work(scene.relationship);
    scene_close(&scene);
    g_autofree char *now = NULL;
    g_assert_true(g_file_get_contents(path, &now, NULL, NULL));
    g_assert_cmpstr(now, ==, old);
    remove_folder(folder);
}

/* In a process of its own, which dies before its @lives-th durable step; 0: it does not. Returns how it ended. */
static int
run_child(const char *folder, int lives, unsigned check_each)
{
    pid_t pid = fork();
    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        Scene scene;
        scene_open(&scene, folder);
        if (check_each > 0) {
            open_disks(&scene);
            check_points(&scene, check_each);
        }
        steps_to_live = lives > 0 ? lives : -1;
        go_on(&scene);
        steps_to_live = -1;
        scene_close(&scene);
        _exit(0);
    }
    int status;
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Each life is a little longer than the one before, so that deaths come at every kind of step and the script goes on. */
static void
test_deaths(void)
{
    g_autofree char *folder = g_dir_make_tmp("vrh-XXXXXX", NULL);
    bool thorough = g_test_thorough();
    int ended = DEATH, lives = 1;
    unsigned n = 0;
    for (; ended != 0; n++) {
        ended = run_child(folder, lives, thorough ? 1 : n % 4 == 3 ? 2 : 0);
        g_assert_true(ended == DEATH || ended == 0);
        lives = lives >= 130 ? 45 : lives + (thorough ? 1 : 7);
    }
    g_test_message("%u lives", n);
    Scene scene;
    scene_open(&scene, folder);
    check_points(&scene, 1);
    check_point(&scene, LAST);
    scene_close(&scene);
    remove_folder(folder);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/history/every-point-is-what-the-primary-had", test_every_point);
    g_test_add_func("/history/passes-are-taken-back", test_take_back);
    g_test_add_func("/history/a-failover-while-a-pass-comes-in", test_failover_while_a_pass_comes_in);
    g_test_add_func("/history/unknown-blobs-are-refused", test_blobs);
    g_test_add_func("/history/no-room-and-then-room", test_no_room);
    g_test_add_func("/history/broken-streams-go-on", test_broken_streams);
    g_test_add_func("/history/wrong-continuations-change-nothing", test_wrong_continuations);
    g_test_add_func("/history/no-continuation-after-a-failover", test_failover_before_the_rest);
    g_test_add_func("/history/replaced-files-are-not-gone-on-from", test_replaced_files);
    g_test_add_func("/history/after-a-death-at-any-durable-step", test_deaths);
    return g_test_run();
}
