#include "replication/tpm-state.h"

#include "util/durable.h"
#include "util/log.h"

#include <string.h>
#include <sys/stat.h>

bool
tpm_state_is_name(const char *name)
{
    if (!g_str_has_prefix(name, "tpm"))
        return false;
    name += strlen("tpm");
    if (name[0] == '2')
        name++;
    return strcmp(name, "-00.permall") == 0; /* the number of the TPM in its process, of which there is one */
}

/* ---- reading ---- */

static bool
read_file(const char *vm_uuid, const char *folder, const char *name, GHashTable *blobs, GError **error)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    struct stat st;
    if (lstat(path, &st) < 0) /* replaced just now: the next replication has it */
        return true;
    if (!S_ISREG(st.st_mode) || st.st_size > TPM_STATE_MAX) {
        log_warning("tpm", vm_uuid, "'%s' is no state of a TPM (a regular file of at most %d bytes), continuing without it", path,
                    TPM_STATE_MAX);
        return true;
    }
    g_autoptr(GError) cause = NULL;
    char *content = NULL;
    gsize length = 0;
    if (g_file_get_contents(path, &content, &length, &cause)) {
        g_hash_table_insert(blobs, g_strconcat(TPM_STATE_BLOB_PREFIX, name, NULL), g_bytes_new_take(content, length));
        return true;
    }
    if (g_error_matches(cause, G_FILE_ERROR, G_FILE_ERROR_NOENT))
        return true;
    g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_FAILED, cause->message);
    return false;
}

bool
tpm_state_read(const ReplicationContext *context, const char *vm_uuid, GHashTable *blobs, GError **error)
{
    g_autofree char *folder = NULL;
    if (!virt_host_tpm_folder(context->virt, vm_uuid, &folder, error))
        return false;
    if (folder == NULL)
        return true;
    g_autoptr(GError) cause = NULL;
    g_autoptr(GDir) dir = g_dir_open(folder, 0, &cause);
    if (dir == NULL) {
        if (g_error_matches(cause, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            return true; /* never started */
        g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_FAILED, cause->message);
        return false;
    }
    const char *name;
    while ((name = g_dir_read_name(dir)) != NULL) {
        if (tpm_state_is_name(name) && !read_file(vm_uuid, folder, name, blobs, error))
            return false;
    }
    return true;
}

/* ---- installing ---- */

/* @folder is STORAGE/UUID/VERSION; swtpm's user must be able to pass through the folders above it. */
static bool
make_folder(const char *folder, GError **error)
{
    g_autofree char *of_vm = g_path_get_dirname(folder);
    return durable_remove_tree(of_vm, error) && durable_mkdir_passable(of_vm, error) && durable_mkdir(folder, error);
}

bool
tpm_state_install(const ReplicationContext *context, const char *vm_uuid, const char *blob_folder, GError **error)
{
    g_autofree char *folder = NULL;
    if (!virt_host_tpm_folder(context->virt, vm_uuid, &folder, error))
        return false;
    if (folder == NULL)
        return true;
    g_autoptr(GDir) dir = g_dir_open(blob_folder, 0, error);
    if (dir == NULL || !make_folder(folder, error))
        return false;
    const char *blob;
    while ((blob = g_dir_read_name(dir)) != NULL) {
        const char *name = g_str_has_prefix(blob, TPM_STATE_BLOB_PREFIX) ? blob + strlen(TPM_STATE_BLOB_PREFIX) : "";
        if (!tpm_state_is_name(name))
            continue;
        g_autofree char *source = g_build_filename(blob_folder, blob, NULL);
        g_autofree char *target = g_build_filename(folder, name, NULL);
        g_autofree char *content = NULL;
        gsize length = 0;
        if (!g_file_get_contents(source, &content, &length, error) || !durable_replace(target, content, length, error))
            return false;
    }
    return true;
}
