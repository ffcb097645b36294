#include "disk/test-disk.h"

#include "util/subprocess.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define SEED 0x5eed000000000000u

/* Takes the pieces of one reading and checks their order and content. */
typedef struct {
    uint64_t position;  /* end of the last piece */
    uint64_t data_bytes, zero_bytes;
    unsigned n_pieces, n_zero_pieces;
    pid_t    kill_pid;  /* gets kill_signal at the first piece, when not 0 */
    int      kill_signal;
    GThread *canceller; /* started at the first piece when cancelled is set */
    gint    *cancelled;
    bool     refuse;
} Taker;

static gpointer
set_cancelled(gpointer data)
{
    g_atomic_int_set((gint *)data, 1);
    return NULL;
}

static bool
take_piece(void *opaque, uint64_t offset, uint64_t length, const void *data, GError **error)
{
    Taker *taker = opaque;
    g_assert_cmpuint(offset, >=, taker->position);
    taker->position = offset + length;
    if (data != NULL) {
        g_assert_cmpuint(length, <=, MIB);
        test_pattern_check(data, offset, (size_t)length, SEED);
        taker->data_bytes += length;
    } else {
        taker->zero_bytes += length;
        taker->n_zero_pieces++;
    }
    if (taker->n_pieces++ == 0) {
        if (taker->kill_pid != 0)
            kill(taker->kill_pid, taker->kill_signal);
        if (taker->cancelled != NULL)
            taker->canceller = g_thread_new("canceller", set_cancelled, taker->cancelled);
    }
    if (taker->refuse)
        g_set_error(error, DISK_ERROR, DISK_ERROR_TOOL, "refused");
    return !taker->refuse;
}

static ExtentSet *
one_extent(uint64_t start, uint64_t length)
{
    ExtentSet *set = extent_set_new();
    extent_set_add(set, start, length);
    return set;
}

/* A server of a new disk of @size with the pattern in its first @filled bytes. */
static DiskServer *
serve_new(TestDisk *test, uint64_t size, uint64_t filled)
{
    g_autoptr(GError) error = NULL;
    image_create(test->image, "qcow2", size, &error);
    g_assert_no_error(error);
    DiskServer *server = test_disk_serve(test, test->image, "qcow2", true);
    g_autoptr(DiskClient) client = test_disk_connect(test, server);
    test_pattern_write(client, 0, filled, SEED);
    return server;
}

/* Random overlapping writes and zeroes, held to a model in memory. */
static void
test_model(TestDisk *test, gconstpointer data)
{
    enum { SIZE = 4 * MIB + 3 * 512, LENGTH_MAX = 200 * 1024, STEPS = 300 };
    g_autoptr(GError) error = NULL;
    g_autoptr(DiskServer) server = serve_new(test, SIZE, 0);
    g_autoptr(DiskClient) client = test_disk_connect(test, server);
    g_assert_cmpuint(disk_client_size(client), ==, SIZE);
    g_assert_false(disk_client_is_read_only(client));
    g_autofree uint8_t *model = g_malloc0(SIZE);
    g_autofree uint8_t *got = g_malloc(SIZE);
    for (uint64_t i = 0; i < STEPS; i++) {
        size_t offset = (size_t)g_test_rand_int_range(0, SIZE - LENGTH_MAX);
        size_t length = (size_t)g_test_rand_int_range(0, LENGTH_MAX);
        if (i % 7 == 0)
            offset = SIZE - length; /* the end counts too */
        if (i % 5 == 0) {
            memset(model + offset, 0, length);
            disk_client_zero(client, offset, length, &error);
        } else {
            test_pattern_fill(model + offset, offset, length, i << 40);
            disk_client_write(client, offset, model + offset, length, &error);
        }
        g_assert_no_error(error);
        if (i % 50 == 0) {
            disk_client_read(client, offset, got, length, &error);
            g_assert_no_error(error);
            g_assert_cmpmem(got, length, model + offset, length);
        }
    }
    disk_client_flush(client, &error);
    g_assert_no_error(error);
    disk_client_read(client, 0, got, SIZE, &error);
    g_assert_no_error(error);
    g_assert_cmpmem(got, SIZE, model, SIZE);
}

static void
test_odd_raw_size(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    image_create(test->image, "raw", 0, &error);
    g_assert_no_error(error);
    g_assert_cmpint(truncate(test->image, 1000001), ==, 0);
    g_autoptr(DiskServer) server = test_disk_serve(test, test->image, "raw", true);
    g_autoptr(DiskClient) client = test_disk_connect(test, server);
    uint64_t size = disk_client_size(client);
    g_assert_cmpuint(size, ==, 1000448);
    test_pattern_write(client, 0, size, SEED);
    Taker taker = { 0 };
    g_autoptr(ExtentSet) all = one_extent(0, size);
    uint64_t last = 0;
    disk_client_read_extents(client, all, NULL, 4, NULL, take_piece, &taker, &last, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(taker.data_bytes, ==, size);
    g_assert_cmpuint(last, ==, size);
}

static void
test_outside(TestDisk *test, gconstpointer data)
{
    g_autoptr(DiskServer) server = serve_new(test, MIB, 0);
    g_autoptr(DiskClient) client = test_disk_connect(test, server);
    uint8_t byte = 1;
    g_autoptr(GError) error = NULL;
    g_assert_false(disk_client_read(client, MIB, &byte, 1, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_IO);
    g_clear_error(&error);
    g_assert_false(disk_client_write(client, G_MAXUINT64, &byte, 1, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_IO);
    g_clear_error(&error);
    disk_client_read(client, MIB - 1, &byte, 1, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(byte, ==, 0);
}

static void
test_read_only(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    image_create(test->image, "qcow2", MIB, &error);
    g_assert_no_error(error);
    g_autoptr(DiskServer) server = test_disk_serve(test, test->image, "qcow2", false);
    g_autoptr(DiskClient) client = test_disk_connect(test, server);
    g_assert_true(disk_client_is_read_only(client));
    g_assert_false(disk_client_write(client, 0, "x", 1, &error) && disk_client_flush(client, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_IO);
}

static void
test_zero_pieces(TestDisk *test, gconstpointer data)
{
    const uint64_t size = 3ull << 40;
    g_autoptr(GError) error = NULL;
    g_autoptr(DiskServer) server = serve_new(test, size, 0);
    g_autoptr(DiskClient) client = test_disk_connect(test, server);
    test_pattern_write(client, 5 * MIB, 3 * MIB, SEED);
    test_pattern_write(client, size - 65536, 65536, SEED);

    g_autoptr(ExtentSet) zeroes = NULL;
    disk_client_zeroes(client, 0, size, &zeroes, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(extent_set_bytes(zeroes), ==, size - 3 * MIB - 65536);
    g_assert_cmpuint(extent_set_count(zeroes), ==, 2);

    Taker taker = { 0 };
    g_autoptr(ExtentSet) all = one_extent(0, size);
    disk_client_read_extents(client, all, zeroes, 4, NULL, take_piece, &taker, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(taker.data_bytes, ==, 3 * MIB + 65536);
    g_assert_cmpuint(taker.zero_bytes, ==, size - taker.data_bytes);
    g_assert_cmpuint(taker.n_zero_pieces, <=, 4); /* 5 MiB, then 3 TiB in pieces of the largest size */
}

/* Zeroes that end within a grain are read as data there; extents that touch only in part are respected. */
static void
test_zeroes_cut_to_grains(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DiskServer) server = serve_new(test, 4 * MIB, 4 * MIB);
    g_autoptr(DiskClient) client = test_disk_connect(test, server);
    g_autoptr(ExtentSet) extents = one_extent(65536, MIB);
    extent_set_add(extents, 2 * MIB, 3 * 65536);
    extent_set_add(extents, 3 * MIB, 65536 + 512);
    g_autoptr(ExtentSet) zeroes = one_extent(2 * 65536 - 512, 65536 + 1024); /* one whole grain */
    extent_set_add(zeroes, 2 * MIB + 65536 + 1, 65535 + 65536);              /* grain at the end */
    extent_set_add(zeroes, 3 * MIB - 512, MIB + 512);                        /* more than the extent */
    Taker taker = { 0 };
    uint64_t last = 0;
    disk_client_read_extents(client, extents, zeroes, 3, NULL, take_piece, &taker, &last, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(taker.zero_bytes, ==, 65536 + 65536 + 65536 + 512);
    g_assert_cmpuint(taker.zero_bytes + taker.data_bytes, ==, extent_set_bytes(extents));
    g_assert_cmpuint(last, ==, 3 * MIB + 65536 + 512);
}

/* Pieces of a reading of random extents with random zeroes. */
typedef struct {
    ExtentSet       *taken;
    const ExtentSet *zeroes;
} Coverage;

static bool
note_piece(void *opaque, uint64_t offset, uint64_t length, const void *data, GError **error)
{
    Coverage *coverage = opaque;
    size_t n = extent_set_count(coverage->taken);
    g_assert_true(n == 0 || extent_set_at(coverage->taken, n - 1)->end <= offset);
    if (data != NULL)
        test_pattern_check(data, offset, (size_t)length, SEED);
    else
        g_assert_true(extent_set_contains(coverage->zeroes, offset, length));
    extent_set_add(coverage->taken, offset, length);
    return true;
}

static void
test_pieces_cover_extents(TestDisk *test, gconstpointer data)
{
    enum { SIZE = 4 * MIB, ROUNDS = 60, EXTENTS = 12, MAX_LENGTH = 200000 };
    g_autoptr(DiskServer) server = serve_new(test, SIZE, SIZE);
    g_autoptr(DiskClient) client = test_disk_connect(test, server);
    for (unsigned round = 0; round < ROUNDS; round++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(ExtentSet) extents = extent_set_new();
        g_autoptr(ExtentSet) zeroes = extent_set_new();
        for (unsigned i = 0; i < EXTENTS; i++) {
            uint64_t lengths[2] = { (uint64_t)g_test_rand_int_range(1, MAX_LENGTH),
                                    (uint64_t)g_test_rand_int_range(1, MAX_LENGTH) };
            extent_set_add(extents, (uint64_t)g_test_rand_int_range(0, SIZE - MAX_LENGTH), lengths[0]);
            extent_set_add(zeroes, (uint64_t)g_test_rand_int_range(0, SIZE), lengths[1]);
        }
        Coverage coverage = { extent_set_new(), zeroes };
        disk_client_read_extents(client, extents, zeroes, round % 6, NULL, note_piece, &coverage, NULL, &error);
        g_assert_no_error(error);
        extent_set_remove_set(extents, coverage.taken);
        g_assert_cmpuint(extent_set_count(extents), ==, 0);
        extent_set_free(coverage.taken);
    }
}

typedef struct {
    TestDisk       *test;
    DiskServer     *server;
    DiskBufferPool *pool;
} SharedPool;

static gpointer
read_all(gpointer data)
{
    SharedPool *shared = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(DiskClient) client = disk_client_connect(disk_server_socket(shared->server), "vda", NULL, shared->pool,
                                                       &error);
    g_assert_no_error(error);
    uint64_t size = disk_client_size(client);
    g_autoptr(ExtentSet) all = one_extent(0, size);
    Taker taker = { 0 };
    disk_client_read_extents(client, all, NULL, 8, NULL, take_piece, &taker, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(taker.data_bytes, ==, size);
    return NULL;
}

static void
test_readers_share_pool(TestDisk *test, gconstpointer data)
{
    g_autoptr(DiskServer) server = serve_new(test, 16 * MIB, 16 * MIB);
    for (unsigned budget = 1; budget <= 3; budget++) {
        SharedPool shared = { test, server, disk_buffer_pool_new(budget * MIB) };
        GThread *threads[3];
        for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++)
            threads[i] = g_thread_new("reader", read_all, &shared);
        for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++)
            g_thread_join(threads[i]);
        disk_buffer_pool_unref(shared.pool);
    }
}

static void
test_server_killed(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DiskServer) server = serve_new(test, 32 * MIB, 32 * MIB);
    g_autoptr(DiskClient) client = test_disk_connect(test, server);
    Taker taker = { .kill_pid = test_disk_server_pid(test), .kill_signal = SIGKILL };
    g_autoptr(ExtentSet) all = one_extent(0, 32 * MIB);
    uint64_t last = 0;
    g_assert_false(disk_client_read_extents(client, all, NULL, 4, NULL, take_piece, &taker, &last, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_IO);
    g_assert_cmpuint(last, ==, taker.position);
    g_clear_error(&error);
    uint8_t byte;
    g_assert_false(disk_client_read(client, 0, &byte, 1, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_CONNECT);
    g_clear_error(&error);
    g_assert_null(disk_client_connect(disk_server_socket(server), "vda", NULL, test->pool, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_CONNECT);
}

static void
test_write_to_killed_server(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DiskServer) server = serve_new(test, 4 * MIB, 0);
    g_autoptr(DiskClient) client = test_disk_connect(test, server);
    kill(test_disk_server_pid(test), SIGKILL);
    g_autofree uint8_t *buffer = g_malloc0(MIB);
    bool ok = disk_client_write(client, 0, buffer, MIB, &error) && disk_client_flush(client, &error);
    g_assert_false(ok);
    g_assert_true(error->domain == DISK_ERROR);
    g_clear_error(&error);
    g_assert_false(disk_client_flush(client, &error)); /* an error of writing is final */
    g_assert_true(error->domain == DISK_ERROR);
}

static void
test_cancel_while_server_stalls(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DiskServer) server = serve_new(test, 32 * MIB, 32 * MIB);
    g_autoptr(DiskClient) client = test_disk_connect(test, server);
    gint cancelled = 0;
    pid_t pid = test_disk_server_pid(test);
    Taker taker = { .kill_pid = pid, .kill_signal = SIGSTOP, .cancelled = &cancelled };
    g_autoptr(ExtentSet) all = one_extent(0, 32 * MIB);
    g_assert_false(disk_client_read_extents(client, all, NULL, 4, &cancelled, take_piece, &taker, NULL, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_CANCELLED);
    g_thread_join(taker.canceller);
    kill(pid, SIGCONT);
}

static gpointer
wait_for_buffer(gpointer data)
{
    g_autoptr(GError) error = NULL;
    SharedPool *shared = data;
    gint cancelled = 1; /* given up as soon as it finds that it must wait */
    g_autoptr(DiskClient) client = disk_client_connect(disk_server_socket(shared->server), "vda", NULL, shared->pool,
                                                       &error);
    g_assert_no_error(error);
    Taker taker = { 0 };
    g_autoptr(ExtentSet) all = one_extent(0, MIB);
    g_assert_false(disk_client_read_extents(client, all, NULL, 1, &cancelled, take_piece, &taker, NULL, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_CANCELLED);
    return NULL;
}

static bool
cancel_other(void *opaque, uint64_t offset, uint64_t length, const void *data, GError **error)
{
    g_thread_join(g_thread_new("waiter", wait_for_buffer, opaque));
    return true;
}

/* One buffer, held by the one reader during its callback: the other one must be able to give up. */
static void
test_cancel_while_pool_is_empty(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DiskServer) server = serve_new(test, MIB, MIB);
    SharedPool shared = { test, server, disk_buffer_pool_new(MIB) };
    g_autoptr(DiskClient) client = disk_client_connect(disk_server_socket(server), "vda", NULL, shared.pool, &error);
    g_assert_no_error(error);
    g_autoptr(ExtentSet) all = one_extent(0, MIB);
    disk_client_read_extents(client, all, NULL, 2, NULL, cancel_other, &shared, NULL, &error);
    g_assert_no_error(error);
    disk_buffer_pool_unref(shared.pool);
}

static void
test_refusal_stops(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DiskServer) server = serve_new(test, 16 * MIB, 16 * MIB);
    g_autoptr(DiskClient) client = test_disk_connect(test, server);
    Taker taker = { .refuse = true };
    g_autoptr(ExtentSet) all = one_extent(0, 16 * MIB);
    uint64_t last = 77;
    g_assert_false(disk_client_read_extents(client, all, NULL, 4, NULL, take_piece, &taker, &last, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_TOOL);
    g_assert_cmpuint(taker.n_pieces, ==, 1);
    g_assert_cmpuint(last, ==, 77);
}

#define AT_5_MIB "sector=10240"

/* A server like ours, of a raw disk of 8 MiB that fails @operation as @where says. */
static void
serve_faulty(TestDisk *test, const char *operation, const char *where)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *pid_file = g_build_filename(test->run, "pid", NULL);
    g_autofree char *nbd = g_strdup_printf("addr.type=unix,addr.path=%s/nbd", test->run);
    g_autofree char *chardev = g_strdup_printf("socket,id=qmp,server=on,wait=off,path=%s/qmp", test->run);
    g_autofree char *node = g_strdup_printf("driver=blkdebug,node-name=n,image.driver=file,image.filename=%s,"
                                            "inject-error.0.event=none,inject-error.0.iotype=%s,"
                                            "inject-error.0.errno=28,inject-error.0.%s",
                                            test->image, operation, where);
    const char *argv[] = { "qemu-storage-daemon", "--daemonize", "--pidfile", pid_file, "--chardev", chardev, "--monitor",
                           "chardev=qmp", "--nbd-server", nbd, "--blockdev", node, "--export",
                           "type=nbd,id=e,node-name=n,name=vda,writable=on", NULL };
    image_create(test->image, "raw", 8 * MIB, &error);
    g_assert_no_error(error);
    g_assert_cmpint(g_mkdir(test->run, 0700), ==, 0);
    subprocess_run(argv, 60, NULL, &error);
    g_assert_no_error(error);
}

static DiskClient *
connect_faulty(TestDisk *test)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *socket = g_build_filename(test->run, "nbd", NULL);
    DiskClient *client = disk_client_connect(socket, "vda", NULL, test->pool, &error);
    g_assert_no_error(error);
    return client;
}

/* Nothing from the bad place on is handed over, though later reads succeeded. */
static void
test_read_error(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    serve_faulty(test, "read", AT_5_MIB);
    g_autoptr(DiskClient) client = connect_faulty(test);
    test_pattern_write(client, 0, 8 * MIB, SEED);
    uint8_t byte;
    g_assert_false(disk_client_read(client, 5 * MIB, &byte, 1, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_IO);
    g_clear_error(&error);
    disk_client_read(client, 0, &byte, 1, &error); /* the connection goes on */
    g_assert_no_error(error);

    Taker taker = { 0 };
    g_autoptr(ExtentSet) all = one_extent(0, 8 * MIB);
    uint64_t last = 0;
    g_assert_false(disk_client_read_extents(client, all, NULL, 8, NULL, take_piece, &taker, &last, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_IO);
    g_assert_cmpuint(last, ==, 5 * MIB);
    g_assert_cmpuint(taker.data_bytes, ==, 5 * MIB);
}

static void
test_write_error(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    serve_faulty(test, "write", AT_5_MIB);
    g_autoptr(DiskClient) client = connect_faulty(test);
    g_autofree uint8_t *buffer = g_malloc0(8 * MIB);
    bool ok = disk_client_write(client, 0, buffer, 8 * MIB, &error) && disk_client_flush(client, &error);
    g_assert_false(ok);
    g_assert_error(error, DISK_ERROR, DISK_ERROR_IO);
    g_assert_nonnull(strstr(error->message, g_strerror(ENOSPC)));
    g_clear_error(&error);
    g_assert_false(disk_client_write(client, 0, buffer, 512, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_IO);
    g_clear_error(&error);
    g_assert_false(disk_client_flush(client, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_IO);
}

/* A disk tells once that it could not keep what was written. Whichever flush hears it, the one that is waited for fails. */
static void
test_flush_error(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    serve_faulty(test, "flush", "once=on");
    g_autoptr(DiskClient) client = connect_faulty(test);
    g_autofree uint8_t *buffer = g_malloc0(8 * MIB);
    bool ok = true;
    for (unsigned i = 0; ok && i < 20; i++) /* more than is left unflushed */
        ok = disk_client_write(client, 0, buffer, 8 * MIB, &error);
    ok = ok && disk_client_flush(client, &error);
    g_assert_false(ok);
    g_assert_error(error, DISK_ERROR, DISK_ERROR_IO);
    g_clear_error(&error);
    g_assert_false(disk_client_flush(client, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_IO);
}

static void
test_missing(TestDisk *test, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DiskServer) server = serve_new(test, MIB, 0);
    const char *socket = disk_server_socket(server);
    g_assert_null(disk_client_connect(socket, "vdb", NULL, test->pool, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_MISSING);
    g_clear_error(&error);
    g_assert_null(disk_client_connect(socket, "vda", "no-such-bitmap", test->pool, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_MISSING);
    g_clear_error(&error);
    g_assert_null(disk_client_connect("/nonexistent/socket", "vda", NULL, test->pool, &error));
    g_assert_error(error, DISK_ERROR, DISK_ERROR_CONNECT);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    test_disk_add("/disk-client/writes-agree-with-memory", test_model);
    test_disk_add("/disk-client/size-not-a-multiple", test_odd_raw_size);
    test_disk_add("/disk-client/outside-is-refused", test_outside);
    test_disk_add("/disk-client/read-only-is-refused", test_read_only);
    test_disk_add("/disk-client/zeroes-are-not-read", test_zero_pieces);
    test_disk_add("/disk-client/zeroes-are-cut-to-grains", test_zeroes_cut_to_grains);
    test_disk_add("/disk-client/pieces-cover-the-extents", test_pieces_cover_extents);
    test_disk_add("/disk-client/readers-share-a-small-pool", test_readers_share_pool);
    test_disk_add("/disk-client/server-killed-while-reading", test_server_killed);
    test_disk_add("/disk-client/server-killed-before-writing", test_write_to_killed_server);
    test_disk_add("/disk-client/cancel-while-server-stalls", test_cancel_while_server_stalls);
    test_disk_add("/disk-client/cancel-while-pool-is-empty", test_cancel_while_pool_is_empty);
    test_disk_add("/disk-client/refused-piece-stops", test_refusal_stops);
    test_disk_add("/disk-client/read-error", test_read_error);
    test_disk_add("/disk-client/write-error", test_write_error);
    test_disk_add("/disk-client/flush-error", test_flush_error);
    test_disk_add("/disk-client/missing-export-bitmap-server", test_missing);
    return g_test_run();
}
