#include "store/store.h"

#include "store-schema.h"

#include <sqlite3.h>
#include <stdarg.h>
#include <string.h>

#define SCHEMA_VERSION 10

/* What makes version n + 1 of version n; schema/store.sql is the newest. */
static const char *const migrations[SCHEMA_VERSION] = {
    [1] = "ALTER TABLE point ADD COLUMN running_usec INTEGER NOT NULL DEFAULT 0;",
    [2] = "CREATE TABLE unfinished (vm_uuid TEXT PRIMARY KEY, folder TEXT NOT NULL, token TEXT NOT NULL) STRICT;"
          "CREATE TRIGGER replica_finished AFTER INSERT ON relationship WHEN NEW.mode = 2 BEGIN"
          " DELETE FROM unfinished WHERE vm_uuid = NEW.vm_uuid; END;",
    [3] = "ALTER TABLE entry ADD COLUMN additional_settings TEXT;"
          "ALTER TABLE relationship ADD COLUMN declared_bytes INTEGER NOT NULL DEFAULT 0;",
    [4] = "ALTER TABLE relationship ADD COLUMN statistics TEXT;",
    [5] = "ALTER TABLE relationship ADD COLUMN test_uuid TEXT;"
          "ALTER TABLE relationship ADD COLUMN test_point TEXT;"
          "ALTER TABLE relationship ADD COLUMN test_stage INTEGER NOT NULL DEFAULT 0;",
    [6] = "ALTER TABLE relationship ADD COLUMN start_usec INTEGER NOT NULL DEFAULT 0;",
    [7] = "ALTER TABLE relationship ADD COLUMN guest_todo INTEGER NOT NULL DEFAULT 0;"
          "CREATE TABLE adapter (vm_uuid TEXT NOT NULL, mac TEXT NOT NULL, settings TEXT NOT NULL, PRIMARY KEY (vm_uuid, mac)) STRICT;",
    [9] = "DROP TRIGGER replica_finished;"
          "CREATE TRIGGER replica_finished AFTER INSERT ON relationship WHEN NEW.mode IN (2, 4) BEGIN"
          " DELETE FROM unfinished WHERE vm_uuid = NEW.vm_uuid; END;",
    [8] = "ALTER TABLE relationship ADD COLUMN export_folder TEXT;"
          "ALTER TABLE relationship ADD COLUMN exported INTEGER NOT NULL DEFAULT 0;",
};

G_DEFINE_QUARK(store-error-quark, store_error)

struct Store {
    GMutex   lock; /* one statement at a time */
    sqlite3 *db;
};

static bool
fail(Store *self, const char *what, GError **error)
{
    g_set_error(error, STORE_ERROR, STORE_ERROR_FAILED, "state database: cannot %s: %s", what,
                sqlite3_errmsg(self->db));
    return false;
}

static bool
run_script(Store *self, const char *sql, const char *what, GError **error)
{
    if (sqlite3_exec(self->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return fail(self, what, error);
    return true;
}

static int
schema_version(Store *self)
{
    sqlite3_stmt *statement = NULL;
    int version = -1;
    if (sqlite3_prepare_v2(self->db, "PRAGMA user_version", -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        version = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    return version;
}

static bool
change_schema(Store *self, const char *sql, int version, const char *what, GError **error)
{
    g_autofree char *script = g_strdup_printf("BEGIN; %s PRAGMA user_version=%d; COMMIT;", sql, version);
    if (run_script(self, script, what, error))
        return true;
    sqlite3_exec(self->db, "ROLLBACK", NULL, NULL, NULL);
    return false;
}

static bool
prepare_schema(Store *self, const char *path, GError **error)
{
    if (!run_script(self, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;", "set it up",
                    error))
        return false;
    int version = schema_version(self);
    if (version < 0 || version > SCHEMA_VERSION) {
        g_set_error(error, STORE_ERROR, STORE_ERROR_OPEN,
                    "state database '%s' has schema version %d, this program knows %d; use the version that made it",
                    path, version, SCHEMA_VERSION);
        return false;
    }
    if (version == 0)
        return change_schema(self, store_schema_sql, SCHEMA_VERSION, "create its tables", error);
    for (; version < SCHEMA_VERSION; version++) {
        if (!change_schema(self, migrations[version], version + 1, "bring it to this version", error))
            return false;
    }
    return true;
}

Store *
store_open(const char *path, GError **error)
{
    Store *self = g_new0(Store, 1);
    g_mutex_init(&self->lock);
    if (sqlite3_open_v2(path, &self->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, NULL) !=
        SQLITE_OK) {
        g_set_error(error, STORE_ERROR, STORE_ERROR_OPEN, "cannot open state database '%s': %s", path,
                    self->db != NULL ? sqlite3_errmsg(self->db) : "out of memory");
        store_close(self);
        return NULL;
    }
    sqlite3_busy_timeout(self->db, 10000);
    if (!prepare_schema(self, path, error)) {
        store_close(self);
        return NULL;
    }
    return self;
}

void
store_close(Store *self)
{
    if (self == NULL)
        return;
    sqlite3_close(self->db);
    g_mutex_clear(&self->lock);
    g_free(self);
}

/* ---- statements with their values in one line ----
 *
 * Letters of @types: t text (nullable), i int64_t, u unsigned, b digest of CHANGE_LOG_DIGEST_SIZE bytes. */
static void
bind_values(sqlite3_stmt *statement, const char *types, va_list args)
{
    for (int i = 1; *types != '\0'; i++, types++) {
        switch (*types) {
        case 't':
            sqlite3_bind_text(statement, i, va_arg(args, const char *), -1, SQLITE_TRANSIENT);
            break;
        case 'i':
            sqlite3_bind_int64(statement, i, va_arg(args, int64_t));
            break;
        case 'u':
            sqlite3_bind_int64(statement, i, va_arg(args, unsigned));
            break;
        case 'b':
            sqlite3_bind_blob(statement, i, va_arg(args, const uint8_t *), CHANGE_LOG_DIGEST_SIZE, SQLITE_TRANSIENT);
            break;
        default:
            g_assert_not_reached();
        }
    }
}

static bool
run_locked(Store *self, GError **error, const char *sql, const char *types, va_list args)
{
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(self->db, sql, -1, &statement, NULL) != SQLITE_OK)
        return fail(self, sql, error);
    bind_values(statement, types, args);
    int rc = sqlite3_step(statement);
    bool good = rc == SQLITE_DONE || rc == SQLITE_ROW;
    if (!good)
        fail(self, "write to it", error);
    sqlite3_finalize(statement);
    return good;
}

static bool
run(Store *self, GError **error, const char *sql, const char *types, ...)
{
    va_list args;
    va_start(args, types);
    g_mutex_lock(&self->lock);
    bool good = run_locked(self, error, sql, types, args);
    g_mutex_unlock(&self->lock);
    va_end(args);
    return good;
}

/* As run(), by somebody who holds the lock and has a transaction open. */
static bool
run_inside(Store *self, GError **error, const char *sql, const char *types, ...)
{
    va_list args;
    va_start(args, types);
    bool good = run_locked(self, error, sql, types, args);
    va_end(args);
    return good;
}

static bool
end_transaction(Store *self, bool good, GError **error)
{
    if (good && sqlite3_exec(self->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        good = fail(self, "commit", error);
    if (!good)
        sqlite3_exec(self->db, "ROLLBACK", NULL, NULL, NULL);
    return good;
}

static char *
column_text(sqlite3_stmt *statement, int column)
{
    return g_strdup((const char *)sqlite3_column_text(statement, column));
}

static void
column_digest(sqlite3_stmt *statement, int column, uint8_t *ret_digest)
{
    memset(ret_digest, 0, CHANGE_LOG_DIGEST_SIZE);
    if (sqlite3_column_bytes(statement, column) == CHANGE_LOG_DIGEST_SIZE)
        memcpy(ret_digest, sqlite3_column_blob(statement, column), CHANGE_LOG_DIGEST_SIZE);
}

/* Makes an array of what @make builds of each row. @key (nullable) is bound as ?1. */
static GPtrArray *
select_rows(Store *self, const char *sql, const char *key, gpointer (*make)(sqlite3_stmt *), GDestroyNotify destroy,
            GError **error)
{
    g_mutex_lock(&self->lock);
    sqlite3_stmt *statement = NULL;
    GPtrArray *rows = NULL;
    int rc = sqlite3_prepare_v2(self->db, sql, -1, &statement, NULL);
    if (rc == SQLITE_OK) {
        if (key != NULL)
            sqlite3_bind_text(statement, 1, key, -1, SQLITE_TRANSIENT);
        rows = g_ptr_array_new_with_free_func(destroy);
        while ((rc = sqlite3_step(statement)) == SQLITE_ROW)
            g_ptr_array_add(rows, make(statement));
    }
    if (rc != SQLITE_DONE) {
        fail(self, "read from it", error);
        g_clear_pointer(&rows, g_ptr_array_unref);
    }
    sqlite3_finalize(statement);
    g_mutex_unlock(&self->lock);
    return rows;
}

/* ---- relationships ---- */

StoreRelationship *
store_relationship_new(const char *vm_uuid, unsigned index)
{
    StoreRelationship *row = g_new0(StoreRelationship, 1);
    row->vm_uuid = g_strdup(vm_uuid);
    row->index = index;
    return row;
}

StoreRelationship *
store_relationship_copy(const StoreRelationship *other)
{
    StoreRelationship *row = g_new(StoreRelationship, 1);
    *row = *other;
    char **strings[] = { &row->vm_uuid,    &row->vm_name,    &row->lineage,        &row->settings, &row->peer, &row->folder,
                         &row->checkpoint, &row->pass_token, &row->failover_point, &row->blob_hash, &row->statistics,
                         &row->test_uuid,  &row->test_point, &row->export_folder };
    for (size_t i = 0; i < G_N_ELEMENTS(strings); i++)
        *strings[i] = g_strdup(*strings[i]);
    return row;
}

void
store_relationship_free(StoreRelationship *row)
{
    if (row == NULL)
        return;
    char *strings[] = { row->vm_uuid,    row->vm_name,    row->lineage,        row->settings, row->peer, row->folder,
                        row->checkpoint, row->pass_token, row->failover_point, row->blob_hash, row->statistics,
                        row->test_uuid,  row->test_point, row->export_folder };
    for (size_t i = 0; i < G_N_ELEMENTS(strings); i++)
        g_free(strings[i]);
    g_free(row);
}

#define RELATIONSHIP_COLUMNS                                                                                          \
    "vm_uuid, idx, mode, state, resume_state, vm_name, lineage, settings, peer, folder, initial_complete, position, " \
    "digest, applied, applied_digest, checkpoint, pass_token, resync_passes, last_kind, failed_over_kind, "            \
    "last_replication_usec, last_apply_usec, last_application_consistent_usec, bytes_sent, failover_point, blob_hash, declared_bytes, " \
    "statistics, test_uuid, test_point, test_stage, start_usec, guest_todo, export_folder, exported"

static gpointer
relationship_from_row(sqlite3_stmt *s)
{
    StoreRelationship *row = g_new0(StoreRelationship, 1);
    int c = 0;
    row->vm_uuid = column_text(s, c++);
    row->index = (unsigned)sqlite3_column_int64(s, c++);
    row->mode = (unsigned)sqlite3_column_int64(s, c++);
    row->state = (unsigned)sqlite3_column_int64(s, c++);
    row->resume_state = (unsigned)sqlite3_column_int64(s, c++);
    row->vm_name = column_text(s, c++);
    row->lineage = column_text(s, c++);
    row->settings = column_text(s, c++);
    row->peer = column_text(s, c++);
    row->folder = column_text(s, c++);
    row->initial_complete = sqlite3_column_int(s, c++) != 0;
    row->position = (uint64_t)sqlite3_column_int64(s, c++);
    column_digest(s, c++, row->digest);
    row->applied = (uint64_t)sqlite3_column_int64(s, c++);
    column_digest(s, c++, row->applied_digest);
    row->checkpoint = column_text(s, c++);
    row->pass_token = column_text(s, c++);
    row->resync_passes = (unsigned)sqlite3_column_int64(s, c++);
    row->last_kind = (unsigned)sqlite3_column_int64(s, c++);
    row->failed_over_kind = (unsigned)sqlite3_column_int64(s, c++);
    row->last_replication_usec = sqlite3_column_int64(s, c++);
    row->last_apply_usec = sqlite3_column_int64(s, c++);
    row->last_application_consistent_usec = sqlite3_column_int64(s, c++);
    row->bytes_sent = (uint64_t)sqlite3_column_int64(s, c++);
    row->failover_point = column_text(s, c++);
    row->blob_hash = column_text(s, c++);
    row->declared_bytes = (uint64_t)sqlite3_column_int64(s, c++);
    row->statistics = column_text(s, c++);
    row->test_uuid = column_text(s, c++);
    row->test_point = column_text(s, c++);
    row->test_stage = (unsigned)sqlite3_column_int64(s, c++);
    row->start_usec = sqlite3_column_int64(s, c++);
    row->guest_todo = (unsigned)sqlite3_column_int64(s, c++);
    row->export_folder = column_text(s, c++);
    row->exported = sqlite3_column_int(s, c++) != 0;
    return row;
}

GPtrArray *
store_relationships(Store *self, GError **error)
{
    return select_rows(self, "SELECT " RELATIONSHIP_COLUMNS " FROM relationship ORDER BY vm_uuid, idx", NULL,
                       relationship_from_row, (GDestroyNotify)store_relationship_free, error);
}

bool
store_relationship_save(Store *self, const StoreRelationship *row, GError **error)
{
    return run(self, error,
               "INSERT OR REPLACE INTO relationship (" RELATIONSHIP_COLUMNS ") VALUES "
               "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
               "tuuuutttttuibibttuuuiiiittitttuiutu", row->vm_uuid, row->index, row->mode, row->state, row->resume_state,
               row->vm_name, row->lineage, row->settings, row->peer, row->folder, (unsigned)row->initial_complete,
               (int64_t)row->position, row->digest, (int64_t)row->applied, row->applied_digest, row->checkpoint,
               row->pass_token, row->resync_passes, row->last_kind, row->failed_over_kind, row->last_replication_usec,
               row->last_apply_usec, row->last_application_consistent_usec, (int64_t)row->bytes_sent,
               row->failover_point, row->blob_hash, (int64_t)row->declared_bytes, row->statistics, row->test_uuid,
               row->test_point, row->test_stage, row->start_usec, row->guest_todo, row->export_folder, (unsigned)row->exported);
}

static const char unfinished_insert[] = "INSERT OR REPLACE INTO unfinished (vm_uuid, folder, token) VALUES (?,?,?)";

bool
store_relationship_remove(Store *self, const char *vm_uuid, unsigned index, const StoreUnfinished *leaves, GError **error)
{
    g_mutex_lock(&self->lock);
    bool good = sqlite3_exec(self->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK;
    if (!good)
        fail(self, "begin", error);
    good = good && run_inside(self, error, "DELETE FROM relationship WHERE vm_uuid=? AND idx=?", "tu", vm_uuid, index);
    if (index == 0) {
        good = good && run_inside(self, error, "DELETE FROM point WHERE vm_uuid=?", "t", vm_uuid);
        good = good && run_inside(self, error, "DELETE FROM undo WHERE vm_uuid=?", "t", vm_uuid);
        good = good && run_inside(self, error, "DELETE FROM adapter WHERE vm_uuid=?", "t", vm_uuid);
    }
    if (leaves != NULL)
        good = good && run_inside(self, error, unfinished_insert, "ttt", leaves->vm_uuid, leaves->folder, leaves->token);
    good = end_transaction(self, good, error);
    g_mutex_unlock(&self->lock);
    return good;
}

/* ---- network adapters ---- */

void
store_adapter_free(StoreAdapter *row)
{
    if (row == NULL)
        return;
    g_free(row->vm_uuid);
    g_free(row->mac);
    g_free(row->settings);
    g_free(row);
}

static gpointer
adapter_from_row(sqlite3_stmt *s)
{
    StoreAdapter *row = g_new0(StoreAdapter, 1);
    row->vm_uuid = column_text(s, 0);
    row->mac = column_text(s, 1);
    row->settings = column_text(s, 2);
    return row;
}

GPtrArray *
store_adapters(Store *self, const char *vm_uuid, GError **error)
{
    return select_rows(self, "SELECT vm_uuid, mac, settings FROM adapter WHERE vm_uuid=?1 ORDER BY mac", vm_uuid, adapter_from_row,
                       (GDestroyNotify)store_adapter_free, error);
}

bool
store_adapters_set(Store *self, const char *vm_uuid, const GPtrArray *adapters, GError **error)
{
    g_mutex_lock(&self->lock);
    bool good = sqlite3_exec(self->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK;
    if (!good)
        fail(self, "begin", error);
    good = good && run_inside(self, error, "DELETE FROM adapter WHERE vm_uuid=?", "t", vm_uuid);
    for (guint i = 0; good && i < adapters->len; i++) {
        const StoreAdapter *row = g_ptr_array_index(adapters, i);
        good = run_inside(self, error, "INSERT INTO adapter (vm_uuid, mac, settings) VALUES (?,?,?)", "ttt", vm_uuid, row->mac,
                          row->settings);
    }
    good = end_transaction(self, good, error);
    g_mutex_unlock(&self->lock);
    return good;
}

/* ---- replicas being made or dropped ---- */

void
store_unfinished_free(StoreUnfinished *row)
{
    if (row == NULL)
        return;
    g_free(row->vm_uuid);
    g_free(row->folder);
    g_free(row->token);
    g_free(row);
}

static gpointer
unfinished_from_row(sqlite3_stmt *s)
{
    StoreUnfinished *row = g_new0(StoreUnfinished, 1);
    row->vm_uuid = column_text(s, 0);
    row->folder = column_text(s, 1);
    row->token = column_text(s, 2);
    return row;
}

GPtrArray *
store_unfinished(Store *self, const char *vm_uuid, GError **error)
{
    return select_rows(self,
                       vm_uuid != NULL ? "SELECT vm_uuid, folder, token FROM unfinished WHERE vm_uuid=?1"
                                       : "SELECT vm_uuid, folder, token FROM unfinished",
                       vm_uuid, unfinished_from_row, (GDestroyNotify)store_unfinished_free, error);
}

bool
store_unfinished_save(Store *self, const StoreUnfinished *row, GError **error)
{
    return run(self, error, unfinished_insert, "ttt", row->vm_uuid, row->folder, row->token);
}

bool
store_unfinished_remove(Store *self, const char *vm_uuid, GError **error)
{
    return run(self, error, "DELETE FROM unfinished WHERE vm_uuid=?", "t", vm_uuid);
}

/* ---- points ---- */

void
store_point_free(StorePoint *row)
{
    if (row == NULL)
        return;
    g_free(row->id);
    g_free(row->vm_uuid);
    g_free(row);
}

static gpointer
point_from_row(sqlite3_stmt *s)
{
    StorePoint *row = g_new0(StorePoint, 1);
    row->id = column_text(s, 0);
    row->vm_uuid = column_text(s, 1);
    row->position = (uint64_t)sqlite3_column_int64(s, 2);
    row->kind = (unsigned)sqlite3_column_int64(s, 3);
    row->kept = sqlite3_column_int(s, 4) != 0;
    row->hourly = sqlite3_column_int(s, 5) != 0;
    row->taken_usec = sqlite3_column_int64(s, 6);
    row->running_usec = sqlite3_column_int64(s, 7);
    return row;
}

GPtrArray *
store_points(Store *self, const char *vm_uuid, GError **error)
{
    const char *sql = vm_uuid != NULL
                          ? "SELECT id, vm_uuid, position, kind, kept, hourly, taken_usec, running_usec FROM point WHERE vm_uuid=?1 "
                            "ORDER BY position"
                          : "SELECT id, vm_uuid, position, kind, kept, hourly, taken_usec, running_usec FROM point "
                            "ORDER BY vm_uuid, position";
    return select_rows(self, sql, vm_uuid, point_from_row, (GDestroyNotify)store_point_free, error);
}

bool
store_point_save(Store *self, const StorePoint *row, GError **error)
{
    return run(self, error,
               "INSERT OR REPLACE INTO point (id, vm_uuid, position, kind, kept, hourly, taken_usec, running_usec) VALUES "
               "(?,?,?,?,?,?,?,?)",
               "ttiuuuii", row->id, row->vm_uuid, (int64_t)row->position, row->kind, (unsigned)row->kept,
               (unsigned)row->hourly, row->taken_usec, row->running_usec);
}

bool
store_point_remove(Store *self, const char *id, GError **error)
{
    return run(self, error, "DELETE FROM point WHERE id=?", "t", id);
}

/* ---- undo logs ---- */

void
store_undo_free(StoreUndo *row)
{
    if (row == NULL)
        return;
    g_free(row->vm_uuid);
    g_free(row);
}

static gpointer
undo_from_row(sqlite3_stmt *s)
{
    StoreUndo *row = g_new0(StoreUndo, 1);
    row->vm_uuid = column_text(s, 0);
    row->position = (uint64_t)sqlite3_column_int64(s, 1);
    row->base = (uint64_t)sqlite3_column_int64(s, 2);
    row->pass = (unsigned)sqlite3_column_int64(s, 3);
    column_digest(s, 4, row->digest);
    row->bytes = (uint64_t)sqlite3_column_int64(s, 5);
    return row;
}

GPtrArray *
store_undos(Store *self, const char *vm_uuid, GError **error)
{
    return select_rows(self,
                       "SELECT vm_uuid, position, base, pass, digest, bytes FROM undo WHERE vm_uuid=?1 "
                       "ORDER BY base, pass",
                       vm_uuid, undo_from_row, (GDestroyNotify)store_undo_free, error);
}

static const char undo_insert[] =
    "INSERT OR REPLACE INTO undo (vm_uuid, position, base, pass, digest, bytes) VALUES (?,?,?,?,?,?)";
static const char undo_delete[] = "DELETE FROM undo WHERE vm_uuid=? AND base=? AND pass=?";

bool
store_undo_save(Store *self, const StoreUndo *row, GError **error)
{
    return run(self, error, undo_insert, "tiiubi", row->vm_uuid, (int64_t)row->position, (int64_t)row->base, row->pass,
               row->digest, (int64_t)row->bytes);
}

bool
store_undo_remove(Store *self, const StoreUndo *row, GError **error)
{
    return run(self, error, undo_delete, "tiu", row->vm_uuid, (int64_t)row->base, row->pass);
}

bool
store_undo_replace(Store *self, const GPtrArray *old, const StoreUndo *merged, GError **error)
{
    g_mutex_lock(&self->lock);
    bool good = sqlite3_exec(self->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK;
    if (!good)
        fail(self, "begin", error);
    for (guint i = 0; good && i < old->len; i++) {
        const StoreUndo *row = g_ptr_array_index(old, i);
        good = run_inside(self, error, undo_delete, "tiu", row->vm_uuid, (int64_t)row->base, row->pass);
    }
    good = good && run_inside(self, error, undo_insert, "tiiubi", merged->vm_uuid, (int64_t)merged->position,
                              (int64_t)merged->base, merged->pass, merged->digest, (int64_t)merged->bytes);
    good = end_transaction(self, good, error);
    g_mutex_unlock(&self->lock);
    return good;
}

/* ---- authorization entries ---- */

void
store_entry_free(StoreEntry *row)
{
    if (row == NULL)
        return;
    g_free(row->allowed_primary);
    g_free(row->trust_group);
    g_free(row->storage_location);
    g_free(row->additional_settings);
    g_free(row);
}

static gpointer
entry_from_row(sqlite3_stmt *s)
{
    StoreEntry *row = g_new0(StoreEntry, 1);
    row->allowed_primary = column_text(s, 0);
    row->trust_group = column_text(s, 1);
    row->storage_location = column_text(s, 2);
    row->additional_settings = column_text(s, 3);
    return row;
}

GPtrArray *
store_entries(Store *self, GError **error)
{
    return select_rows(self,
                       "SELECT allowed_primary, trust_group, storage_location, additional_settings FROM entry "
                       "ORDER BY allowed_primary", NULL, entry_from_row, (GDestroyNotify)store_entry_free, error);
}

bool
store_entry_save(Store *self, const StoreEntry *row, GError **error)
{
    return run(self, error,
               "INSERT OR REPLACE INTO entry (allowed_primary, trust_group, storage_location, additional_settings) "
               "VALUES (?,?,?,?)",
               "tttt", row->allowed_primary, row->trust_group, row->storage_location, row->additional_settings);
}

bool
store_entry_remove(Store *self, const char *allowed_primary, bool *ret_existed, GError **error)
{
    g_mutex_lock(&self->lock);
    bool good = run_inside(self, error, "DELETE FROM entry WHERE allowed_primary=?", "t", allowed_primary);
    if (good)
        *ret_existed = sqlite3_changes(self->db) > 0;
    g_mutex_unlock(&self->lock);
    return good;
}

/* ---- values ---- */

static gpointer
text_from_row(sqlite3_stmt *s)
{
    return column_text(s, 0);
}

char *
store_value(Store *self, const char *name, GError **error)
{
    g_autoptr(GPtrArray) rows = select_rows(self, "SELECT value FROM value WHERE name=?1", name, text_from_row, g_free,
                                            error);
    if (rows == NULL || rows->len == 0)
        return NULL;
    return g_strdup(g_ptr_array_index(rows, 0));
}

bool
store_value_set(Store *self, const char *name, const char *value, GError **error)
{
    return run(self, error, "INSERT OR REPLACE INTO value (name, value) VALUES (?,?)", "tt", name, value);
}

static gpointer
number_from_row(sqlite3_stmt *s)
{
    int64_t *number = g_new(int64_t, 1);
    *number = sqlite3_column_int64(s, 0);
    return number;
}

int64_t
store_vm_created(Store *self, const char *vm_uuid, int64_t now_usec)
{
    g_autoptr(GPtrArray) rows = select_rows(self, "SELECT created_usec FROM vm WHERE uuid=?1", vm_uuid, number_from_row,
                                            g_free, NULL);
    if (rows != NULL && rows->len > 0)
        return *(int64_t *)g_ptr_array_index(rows, 0);
    run(self, NULL, "INSERT OR IGNORE INTO vm (uuid, created_usec) VALUES (?,?)", "ti", vm_uuid, now_usec);
    return now_usec;
}
