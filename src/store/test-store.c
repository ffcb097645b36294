#include "store/store.h"
#include "util/durable.h"

#include <sqlite3.h>
#include <string.h>

static char *folder;

static Store *
open_again(void)
{
    g_autofree char *path = g_build_filename(folder, "state.db", NULL);
    g_autoptr(GError) error = NULL;
    Store *store = store_open(path, &error);
    g_assert_no_error(error);
    return store;
}

static void
test_relationship_survives_reopening(void)
{
    Store *store = open_again();
    g_autoptr(StoreRelationship) row = store_relationship_new("11111111-2222-3333-4444-555555555555", 0);
    row->mode = 1;
    row->state = 3;
    row->vm_name = g_strdup("it's a \"name\"");
    row->checkpoint = g_strdup("vr-x-7");
    row->position = 7;
    row->initial_complete = true;
    row->bytes_sent = 1ull << 40;
    row->declared_bytes = 1ull << 41;
    row->guest_todo = 3;
    memset(row->digest, 0xab, sizeof row->digest);
    g_assert_true(store_relationship_save(store, row, NULL));
    store_close(store);

    store = open_again();
    g_autoptr(GPtrArray) rows = store_relationships(store, NULL);
    g_assert_cmpuint(rows->len, ==, 1);
    const StoreRelationship *read = g_ptr_array_index(rows, 0);
    g_assert_cmpstr(read->vm_name, ==, row->vm_name);
    g_assert_cmpstr(read->checkpoint, ==, "vr-x-7");
    g_assert_null(read->blob_hash);
    g_assert_cmpuint(read->position, ==, 7);
    g_assert_cmpuint(read->bytes_sent, ==, 1ull << 40);
    g_assert_true(read->initial_complete);
    g_assert_cmpuint(read->declared_bytes, ==, 1ull << 41);
    g_assert_cmpuint(read->guest_todo, ==, 3);
    g_assert_cmpmem(read->digest, sizeof read->digest, row->digest, sizeof row->digest);
    g_assert_true(store_relationship_remove(store, row->vm_uuid, 0, NULL, NULL));
    g_autoptr(GPtrArray) none = store_relationships(store, NULL);
    g_assert_cmpuint(none->len, ==, 0);
    store_close(store);
}

static void
test_undo_replaced_at_once(void)
{
    Store *store = open_again();
    char uuid[] = "v";
    for (uint64_t n = 5; n > 0; n--) {
        StoreUndo row = { .vm_uuid = uuid, .position = n, .base = n - 1, .bytes = n };
        g_assert_true(store_undo_save(store, &row, NULL));
    }
    g_autoptr(GPtrArray) rows = store_undos(store, uuid, NULL);
    g_assert_cmpuint(rows->len, ==, 5);
    g_assert_cmpuint(((StoreUndo *)g_ptr_array_index(rows, 0))->base, ==, 0);

    g_autoptr(GPtrArray) old = g_ptr_array_new();
    g_ptr_array_add(old, g_ptr_array_index(rows, 1));
    g_ptr_array_add(old, g_ptr_array_index(rows, 2));
    StoreUndo merged = { .vm_uuid = uuid, .position = 3, .base = 1, .bytes = 99 };
    g_assert_true(store_undo_replace(store, old, &merged, NULL));
    g_autoptr(GPtrArray) after = store_undos(store, uuid, NULL);
    g_assert_cmpuint(after->len, ==, 4);
    g_assert_cmpuint(((StoreUndo *)g_ptr_array_index(after, 1))->position, ==, 3);
    store_close(store);
}

static void
check_adapters(Store *store)
{
    char uuid[] = "a", one[] = "52:54:00:00:00:01", two[] = "52:54:00:00:00:02", text[] = "{}";
    StoreAdapter rows[] = { { uuid, two, text }, { uuid, one, text } };
    g_autoptr(GPtrArray) both = g_ptr_array_new();
    g_ptr_array_add(both, &rows[0]);
    g_ptr_array_add(both, &rows[1]);
    g_assert_true(store_adapters_set(store, uuid, both, NULL));
    g_ptr_array_remove_index(both, 0);
    g_assert_true(store_adapters_set(store, "another", both, NULL));
    g_autoptr(GPtrArray) found = store_adapters(store, uuid, NULL);
    g_assert_cmpuint(found->len, ==, 2);
    g_assert_cmpstr(((StoreAdapter *)g_ptr_array_index(found, 0))->mac, ==, one);
    g_assert_true(store_relationship_remove(store, uuid, 0, NULL, NULL));
    g_autoptr(GPtrArray) none = store_adapters(store, uuid, NULL);
    g_assert_cmpuint(none->len, ==, 0);
    g_autoptr(GPtrArray) other = store_adapters(store, "another", NULL);
    g_assert_cmpuint(other->len, ==, 1);
}

static void
test_adapters_go_with_the_relationship(void)
{
    Store *store = open_again();
    check_adapters(store);
    store_close(store);
}

static void
test_entries_compare_without_case(void)
{
    Store *store = open_again();
    char name[] = "Host.Example", group[] = "g", place[] = "/x", limits[] = "vms=1";
    StoreEntry row = { name, group, place, limits };
    g_assert_true(store_entry_save(store, &row, NULL));
    g_autoptr(GPtrArray) rows = store_entries(store, NULL);
    g_assert_cmpstr(((StoreEntry *)g_ptr_array_index(rows, 0))->additional_settings, ==, limits);
    bool existed = false;
    g_assert_true(store_entry_remove(store, "HOST.example", &existed, NULL));
    g_assert_true(existed);
    g_assert_true(store_entry_remove(store, "HOST.example", &existed, NULL));
    g_assert_false(existed);
    store_close(store);
}

static unsigned
count_unfinished(Store *store, const char *vm_uuid)
{
    g_autoptr(GPtrArray) rows = store_unfinished(store, vm_uuid, NULL);
    g_assert_nonnull(rows);
    return rows->len;
}

/* A VM is unfinished or has a relationship, never both, never neither. */
static void
check_unfinished(Store *store)
{
    char uuid[] = "u", place[] = "/x/u", token[] = "t";
    StoreUnfinished note = { uuid, place, token };
    g_assert_true(store_unfinished_save(store, &note, NULL));
    g_autoptr(StoreRelationship) row = store_relationship_new(uuid, 0);
    row->mode = 1; /* a primary: another thing */
    g_assert_true(store_relationship_save(store, row, NULL));
    g_assert_cmpuint(count_unfinished(store, uuid), ==, 1);
    row->mode = 2;
    g_assert_true(store_relationship_save(store, row, NULL));
    g_assert_cmpuint(count_unfinished(store, NULL), ==, 0);
    g_assert_true(store_relationship_remove(store, uuid, 0, &note, NULL));
    g_assert_cmpuint(count_unfinished(store, "v"), ==, 0);
    g_autoptr(GPtrArray) notes = store_unfinished(store, uuid, NULL);
    g_assert_cmpuint(notes->len, ==, 1);
    const StoreUnfinished *read = g_ptr_array_index(notes, 0);
    g_assert_cmpstr(read->folder, ==, place);
    g_assert_cmpstr(read->token, ==, token);
    g_assert_true(store_unfinished_remove(store, uuid, NULL));
    g_assert_cmpuint(count_unfinished(store, NULL), ==, 0);
}

static void
test_unfinished_or_replica(void)
{
    Store *store = open_again();
    check_unfinished(store);
    store_close(store);
}

/* A database as version 1 made it, with a point in it. */
static void
make_version_1(const char *path)
{
    store_close(store_open(path, NULL));
    sqlite3 *db = NULL;
    g_assert_cmpint(sqlite3_open(path, &db), ==, SQLITE_OK);
    g_assert_cmpint(sqlite3_exec(db,
                                 "ALTER TABLE point DROP COLUMN running_usec; ALTER TABLE entry DROP COLUMN additional_settings;"
                                 "ALTER TABLE relationship DROP COLUMN declared_bytes; ALTER TABLE relationship DROP COLUMN statistics;"
                                 "ALTER TABLE relationship DROP COLUMN test_uuid; ALTER TABLE relationship DROP COLUMN test_point;"
                                 "ALTER TABLE relationship DROP COLUMN test_stage; ALTER TABLE relationship DROP COLUMN start_usec;"
                                 "ALTER TABLE relationship DROP COLUMN guest_todo; DROP TABLE adapter;"
                                 "ALTER TABLE relationship DROP COLUMN export_folder; ALTER TABLE relationship DROP COLUMN exported;"
                                 "DROP TRIGGER replica_finished; DROP TABLE unfinished;"
                                 "INSERT INTO point VALUES ('p', 'vm', 7, 1, 1, 0, 99); PRAGMA user_version=1;",
                                 NULL, NULL, NULL), ==, SQLITE_OK);
    sqlite3_close(db);
}

static void
test_older_schema_is_brought_up(void)
{
    g_autofree char *path = g_build_filename(folder, "older.db", NULL);
    make_version_1(path);
    g_autoptr(GError) error = NULL;
    Store *store = store_open(path, &error);
    g_assert_no_error(error);
    g_autoptr(GPtrArray) points = store_points(store, "vm", &error);
    g_assert_no_error(error);
    g_assert_cmpuint(points->len, ==, 1);
    StorePoint *point = g_ptr_array_index(points, 0);
    g_assert_cmpint(point->taken_usec, ==, 99);
    g_assert_cmpint(point->running_usec, ==, 0);
    point->running_usec = 5;
    g_assert_true(store_point_save(store, point, NULL));
    g_autoptr(GPtrArray) again = store_points(store, "vm", NULL);
    g_assert_cmpint(((StorePoint *)g_ptr_array_index(again, 0))->running_usec, ==, 5);
    check_unfinished(store);
    check_adapters(store);
    store_close(store);
}

static void
test_newer_schema_is_refused(void)
{
    g_autofree char *path = g_build_filename(folder, "newer.db", NULL);
    Store *store = store_open(path, NULL);
    store_close(store);
    /* user_version is a big-endian number at byte 60 of the file (SQLite file format, section 1.3). */
    g_autofree char *data = NULL;
    gsize length = 0;
    g_assert_true(g_file_get_contents(path, &data, &length, NULL));
    data[63] = 99;
    g_assert_true(g_file_set_contents(path, data, (gssize)length, NULL));
    g_autoptr(GError) error = NULL;
    g_assert_null(store_open(path, &error));
    g_assert_error(error, STORE_ERROR, STORE_ERROR_OPEN);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("vr-store-XXXXXX", NULL);
    g_test_add_func("/store/relationship-survives-reopening", test_relationship_survives_reopening);
    g_test_add_func("/store/undo-replaced-at-once", test_undo_replaced_at_once);
    g_test_add_func("/store/adapters-go-with-the-relationship", test_adapters_go_with_the_relationship);
    g_test_add_func("/store/entries-compare-without-case", test_entries_compare_without_case);
    g_test_add_func("/store/unfinished-or-a-replica", test_unfinished_or_replica);
    g_test_add_func("/store/older-schema-is-brought-up", test_older_schema_is_brought_up);
    g_test_add_func("/store/newer-schema-is-refused", test_newer_schema_is_refused);
    int status = g_test_run();
    durable_remove_tree(folder, NULL);
    g_free(folder);
    return status;
}
