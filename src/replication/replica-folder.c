#include "replication/replica-folder.h"

#include "util/durable.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DISK_SUFFIX ".qcow2"
#define ELSEWHERE_SUFFIX ".path" /* a text file in the place of the disk: where it is */

static char *
file_in(const char *folder, const char *part, const char *name, const char *suffix)
{
    return g_strconcat(folder, "/", part, "/", name, suffix, NULL);
}

char *
replica_disk_path(const char *folder, const char *id)
{
    g_autofree char *elsewhere = file_in(folder, "disks", id, ELSEWHERE_SUFFIX);
    char *path = NULL;
    return g_file_get_contents(elsewhere, &path, NULL, NULL) ? path : file_in(folder, "disks", id, DISK_SUFFIX);
}

bool
replica_disk_adopt(const char *folder, const char *id, const char *path, GError **error)
{
    g_autofree char *elsewhere = file_in(folder, "disks", id, ELSEWHERE_SUFFIX);
    g_autofree char *own = file_in(folder, "disks", id, DISK_SUFFIX);
    return strcmp(path, own) == 0 ? durable_unlink(elsewhere, error) : durable_replace(elsewhere, path, strlen(path), error);
}

bool
replica_disk_is_adopted(const char *folder, const char *id)
{
    g_autofree char *elsewhere = file_in(folder, "disks", id, ELSEWHERE_SUFFIX);
    return g_file_test(elsewhere, G_FILE_TEST_EXISTS);
}

/* ---- the turn of a primary ---- */

static char *
changes_path(const char *folder, const char *id)
{
    return file_in(folder, "reversed", id, ".bits");
}

bool
replica_changes_write(const char *folder, const char *id, const ExtentSet *changes, uint64_t size_bytes, GError **error)
{
    uint64_t grains = (size_bytes + CHANGE_LOG_GRAIN - 1) / CHANGE_LOG_GRAIN;
    g_autofree char *parent = g_build_filename(folder, "reversed", NULL);
    g_autofree char *path = changes_path(folder, id);
    size_t length = (size_t)((grains + 7) / 8);
    g_autofree uint8_t *bits = g_malloc0(MAX(length, 1));
    for (size_t i = 0; i < extent_set_count(changes); i++) {
        const Extent *extent = extent_set_at(changes, i);
        for (uint64_t grain = extent->start / CHANGE_LOG_GRAIN; grain * CHANGE_LOG_GRAIN < MIN(extent->end, size_bytes); grain++)
            bits[grain / 8] |= (uint8_t)(1u << grain % 8);
    }
    return durable_mkdir(parent, error) && durable_replace(path, bits, length, error);
}

bool
replica_changes_read(const char *folder, const char *id, uint64_t offset, uint64_t length, GByteArray *bits, GError **error)
{
    g_autofree char *path = changes_path(folder, id);
    g_autofree char *content = NULL;
    gsize size = 0;
    if (!g_file_get_contents(path, &content, &size, error))
        return false;
    uint64_t first = offset / CHANGE_LOG_GRAIN / 8, wanted = ((length + CHANGE_LOG_GRAIN - 1) / CHANGE_LOG_GRAIN + 7) / 8;
    for (uint64_t i = first; i < first + wanted; i++) {
        uint8_t byte = i < size ? (uint8_t)content[i] : 0;
        g_byte_array_append(bits, &byte, 1);
    }
    return true;
}

bool
replica_turn_note(const char *folder, const char *fact, const char *text, GError **error)
{
    g_autofree char *path = file_in(folder, "reversed", fact, ""), *parent = g_path_get_dirname(path);
    return durable_mkdir(parent, error) && durable_replace(path, text, strlen(text), error);
}

bool
replica_turn_unnote(const char *folder, const char *fact, GError **error)
{
    g_autofree char *path = file_in(folder, "reversed", fact, "");
    return durable_unlink(path, error);
}

char *
replica_turn_fact(const char *folder, const char *fact)
{
    g_autofree char *path = file_in(folder, "reversed", fact, "");
    char *text = NULL;
    return g_file_get_contents(path, &text, NULL, NULL) ? text : NULL;
}

bool
replica_turn_forget(const char *folder, GError **error)
{
    g_autofree char *path = g_build_filename(folder, "reversed", NULL);
    return durable_remove_tree(path, error);
}

/* What is in "failover" may be in use, firmware variables above all; the next failover replaces it. */
bool
replica_folder_clear(const char *folder, GError **error)
{
    static const char *const parts[] = { "blobs", "staging", "undo", "reversed", "extended", "left" };
    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        g_autofree char *path = g_build_filename(folder, parts[i], NULL);
        if (!durable_remove_tree(path, error))
            return false;
    }
    return replica_folder_make(folder, error);
}

char *
replica_definition_before(const char *folder)
{
    return g_build_filename(folder, "definition-before.xml", NULL);
}

bool
replica_failover_size_write(const char *folder, const char *id, uint64_t size_bytes, GError **error)
{
    g_autofree char *path = file_in(folder, "sizes", id, ""), *parent = g_path_get_dirname(path);
    g_autofree char *text = g_strdup_printf("%" PRIu64 "\n", size_bytes);
    return durable_mkdir(parent, error) && durable_replace(path, text, strlen(text), error);
}

bool
replica_failover_size_read(const char *folder, const char *id, uint64_t *ret_size_bytes, GError **error)
{
    g_autofree char *path = file_in(folder, "sizes", id, "");
    g_autofree char *text = NULL;
    if (!g_file_get_contents(path, &text, NULL, error))
        return false;
    return g_ascii_string_to_unsigned(g_strstrip(text), 10, 1, G_MAXINT64, ret_size_bytes, error);
}

bool
replica_left_write(const char *folder, const char *id, uint64_t position, GError **error)
{
    g_autofree char *path = file_in(folder, "left", id, ""), *parent = g_path_get_dirname(path);
    g_autofree char *text = g_strdup_printf("%" PRIu64 "\n", position);
    return durable_mkdir(parent, error) && durable_replace(path, text, strlen(text), error);
}

bool
replica_left_forget(const char *folder, const char *id, GError **error)
{
    g_autofree char *path = file_in(folder, "left", id, "");
    return !g_file_test(path, G_FILE_TEST_EXISTS) || durable_unlink(path, error);
}

bool
replica_left_read(const char *folder, const char *id, uint64_t *ret_position)
{
    g_autofree char *path = file_in(folder, "left", id, ""), *text = NULL;
    return g_file_get_contents(path, &text, NULL, NULL) &&
           g_ascii_string_to_unsigned(g_strstrip(text), 10, 0, G_MAXINT64, ret_position, NULL);
}

bool
replica_disk_remove(const char *folder, const char *id, GError **error)
{
    g_autofree char *own = file_in(folder, "disks", id, DISK_SUFFIX), *elsewhere = file_in(folder, "disks", id, ELSEWHERE_SUFFIX);
    g_autofree char *overlay = replica_overlay_path(folder, id);
    return durable_unlink(overlay, error) && durable_unlink(elsewhere, error) && durable_unlink(own, error);
}

char *
replica_overlay_path(const char *folder, const char *id)
{
    return file_in(folder, "failover", id, DISK_SUFFIX);
}

char *
replica_blob_folder(const char *folder)
{
    return g_build_filename(folder, "blobs", NULL);
}

char *
replica_failover_blob_folder(const char *folder)
{
    return g_build_filename(folder, "failover", "blobs", NULL);
}

char *
replica_test_folder(const char *folder)
{
    return g_build_filename(folder, "test", NULL);
}

char *
replica_test_disk_path(const char *folder, const char *id)
{
    return file_in(folder, "test", id, DISK_SUFFIX);
}

char *
replica_test_blob_folder(const char *folder)
{
    return g_build_filename(folder, "test", "blobs", NULL);
}

char *
replica_staging_folder(const char *folder)
{
    return g_build_filename(folder, "staging", NULL);
}

char *
replica_staging_path(const char *folder, uint64_t position)
{
    return g_strdup_printf("%s/staging/%" PRIu64 ".log", folder, position);
}

char *
replica_resync_staging_path(const char *folder)
{
    return g_build_filename(folder, "staging", "resync.log", NULL);
}

char *
replica_incoming_path(const char *folder)
{
    return g_build_filename(folder, "staging", "incoming.part", NULL);
}

char *
replica_undo_path(const char *folder, const StoreUndo *undo)
{
    return g_strdup_printf("%s/undo/%" PRIu64 "-%" PRIu64 "-%u.log", folder, undo->base, undo->position, undo->pass);
}

char *
replica_run_folder(const ReplicationContext *context, const char *vm_uuid)
{
    return g_strdup_printf("%s/%.13s", context->run_folder, vm_uuid);
}

bool
replica_folder_make(const char *folder, GError **error)
{
    static const char *const passable[] = { "disks", "failover", "failover/blobs" };
    static const char *const closed[] = { "blobs", "staging", "undo" };
    for (size_t i = 0; i < G_N_ELEMENTS(passable); i++) {
        g_autofree char *path = g_build_filename(folder, passable[i], NULL);
        if (!durable_mkdir_passable(path, error))
            return false;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(closed); i++) {
        g_autofree char *path = g_build_filename(folder, closed[i], NULL);
        if (!durable_mkdir(path, error))
            return false;
    }
    return true;
}

static int
compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char **
replica_folder_disks(const char *folder, GError **error)
{
    g_autofree char *path = g_build_filename(folder, "disks", NULL);
    g_autoptr(GDir) dir = g_dir_open(path, 0, error);
    if (dir == NULL)
        return NULL;
    g_autoptr(GPtrArray) ids = g_ptr_array_new();
    const char *name;
    while ((name = g_dir_read_name(dir)) != NULL) {
        const char *suffix = g_str_has_suffix(name, DISK_SUFFIX) ? DISK_SUFFIX : ELSEWHERE_SUFFIX;
        if (g_str_has_suffix(name, suffix))
            g_ptr_array_add(ids, g_strndup(name, strlen(name) - strlen(suffix)));
    }
    g_ptr_array_sort(ids, compare_names);
    /* An image of that name may lie beside the one elsewhere that is the disk. */
    g_autoptr(GPtrArray) once = g_ptr_array_new();
    for (guint i = 0; i < ids->len; i++) {
        char *id = g_ptr_array_index(ids, i);
        if (once->len > 0 && strcmp(id, g_ptr_array_index(once, once->len - 1)) == 0)
            g_free(id);
        else
            g_ptr_array_add(once, id);
    }
    g_ptr_array_add(once, NULL);
    return (char **)g_ptr_array_steal(once, NULL);
}

static char *
position_path(const char *folder)
{
    return g_build_filename(folder, "position", NULL);
}

static bool
parse_digest(const char *text, uint8_t *ret_digest)
{
    if (strlen(text) != 2 * CHANGE_LOG_DIGEST_SIZE)
        return false;
    for (size_t i = 0; i < CHANGE_LOG_DIGEST_SIZE; i++) {
        int high = g_ascii_xdigit_value(text[2 * i]), low = g_ascii_xdigit_value(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        ret_digest[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

bool
replica_position_read(const char *folder, ReplicaPosition *ret_position, GError **error)
{
    g_autofree char *path = position_path(folder);
    g_autofree char *text = NULL;
    g_autoptr(GError) cause = NULL;
    if (!g_file_get_contents(path, &text, NULL, &cause)) {
        if (!g_error_matches(cause, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    char digest[2 * CHANGE_LOG_DIGEST_SIZE + 1] = "";
    if (sscanf(text, "lineage %36s position %" SCNu64 " digest %64s", ret_position->lineage, &ret_position->position,
               digest) != 3 ||
        !parse_digest(digest, ret_position->digest)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "'%s' is damaged", path);
        return false;
    }
    return true;
}

bool
replica_position_write(const char *folder, const ReplicaPosition *position, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_string_append_printf(text, "lineage %s position %" PRIu64 " digest ", position->lineage, position->position);
    for (size_t i = 0; i < CHANGE_LOG_DIGEST_SIZE; i++)
        g_string_append_printf(text, "%02x", position->digest[i]);
    g_string_append_c(text, '\n');
    g_autofree char *path = position_path(folder);
    return durable_replace(path, text->str, text->len, error);
}
