#include "virt/virt-private.h"
#include "virt/domxml.h"

#include <string.h>
#include <unistd.h>

/* What libvirt and the scratch folder say about open backup jobs, and how one of ours is ended. */

#define ABORT_AGAIN_USEC (1 * G_USEC_PER_SEC) /* when an abort had no effect */
#define LOOK_USEC        5000                 /* a job is gone 10 to 30 ms after its abort */

void
virt_backup_job_free(VirtBackupJob *self)
{
    if (self == NULL)
        return;
    g_free(self->socket);
    g_ptr_array_unref(self->scratch);
    g_free(self);
}

static VirtBackupJob *
parse_job(const char *text)
{
    g_autoptr(xmlDoc) doc = domxml_parse(text, NULL);
    if (doc == NULL)
        return NULL;
    VirtBackupJob *self = g_new0(VirtBackupJob, 1);
    self->scratch = g_ptr_array_new_with_free_func(g_free);
    xmlNode *root = xmlDocGetRootElement(doc);
    self->socket = domxml_attr(domxml_child(root, "server"), "socket");
    for (xmlNode *disk = domxml_child(domxml_child(root, "disks"), "disk"); disk != NULL; disk = domxml_next(disk, "disk")) {
        char *path = domxml_attr(domxml_child(disk, "scratch"), "file");
        if (path != NULL)
            g_ptr_array_add(self->scratch, path);
    }
    return self;
}

bool
virt_backup_job_get(virDomainPtr domain, VirtBackupJob **ret_job)
{
    char *text = virDomainBackupGetXMLDesc(domain, 0);
    if (text == NULL) {
        int code = virGetLastErrorCode();
        if (code != VIR_ERR_NO_DOMAIN_BACKUP && code != VIR_ERR_NO_DOMAIN && code != VIR_ERR_OPERATION_INVALID)
            return false;
        *ret_job = NULL;
        return true;
    }
    *ret_job = parse_job(text);
    free(text);
    return *ret_job != NULL;
}

bool
virt_scratch_is_ours(const char *path, const char *folder)
{
    g_autofree char *place = g_path_get_dirname(path);
    g_autofree char *name = g_path_get_basename(path);
    g_autofree char *have = g_canonicalize_filename(place, "/");
    g_autofree char *want = g_canonicalize_filename(folder, NULL);
    return g_str_has_prefix(name, VIRT_NAME_PREFIX) && strcmp(have, want) == 0;
}

bool
virt_backup_job_is_in(const VirtBackupJob *self, const char *folder)
{
    for (guint i = 0; i < self->scratch->len; i++) {
        if (virt_scratch_is_ours(g_ptr_array_index(self->scratch, i), folder))
            return true;
    }
    return false;
}

static void
remove_files(const VirtBackupJob *job)
{
    for (guint i = 0; i < job->scratch->len; i++)
        unlink(g_ptr_array_index(job->scratch, i));
    if (job->socket != NULL)
        unlink(job->socket);
}

/* Sets @ret_job to the job to be ended, NULL when there is none. */
static bool
find_ours(VirtHost *host, virDomainPtr domain, const char *folder, const char *socket, VirtBackupJob **ret_job,
          GError **error)
{
    g_autoptr(VirtBackupJob) job = NULL;
    if (!virt_backup_job_get(domain, &job))
        return virt_fail(host, domain, error, "may have a backup job, which cannot be looked at");
    bool ours = job != NULL && virt_backup_job_is_in(job, folder) &&
                (socket == NULL || g_strcmp0(job->socket, socket) == 0);
    *ret_job = ours ? g_steal_pointer(&job) : NULL;
    return true;
}

/* libvirt forgets the job first and takes the nodes of its last disk out of QEMU afterwards. It does so within one job
 * of its own on the VM, and a question that needs such a job, too, is answered after it. This one does not ask QEMU. */
static bool
wait_until_libvirt_is_done(VirtHost *host, virDomainPtr domain, GError **error)
{
    virTypedParameterPtr unused = NULL;
    int n_unused = 0;
    bool done = virDomainGetPerfEvents(domain, &unused, &n_unused, 0) == 0;
    virTypedParamsFree(unused, n_unused);
    return done || virt_fail(host, domain, error, "may not have ended its backup job yet");
}

bool
virt_backup_job_end(VirtHost *host, const char *uuid, const char *folder, const char *socket, unsigned timeout_sec,
                    GError **error)
{
    g_auto(virDomainPtr) domain = virt_host_domain(host, uuid, error);
    if (domain == NULL)
        return false;
    g_autoptr(VirtBackupJob) job = NULL;
    if (!find_ours(host, domain, folder, socket, &job, error))
        return false;
    int64_t start = g_get_monotonic_time(), aborted = 0;
    bool open = job != NULL;
    while (open) {
        int64_t now = g_get_monotonic_time();
        if (now - start > (int64_t)timeout_sec * G_USEC_PER_SEC) {
            g_set_error(error, VIRT_ERROR, VIRT_ERROR_BUSY, "the backup job of VM '%s' did not end in %u s",
                        virDomainGetName(domain), timeout_sec);
            return false;
        }
        if (aborted == 0 || now - aborted > ABORT_AGAIN_USEC) {
            virDomainAbortJob(domain); /* whether it helped is seen below */
            aborted = now;
        }
        g_autoptr(VirtBackupJob) still = NULL;
        if (!find_ours(host, domain, folder, socket, &still, error))
            return false;
        open = still != NULL;
        if (open)
            g_usleep(LOOK_USEC);
    }
    if (!wait_until_libvirt_is_done(host, domain, error))
        return false;
    if (job != NULL)
        remove_files(job);
    return true;
}

/* ---- notes ---- */

static char *
note_path(const char *scratch_folder, const char *job_id)
{
    return g_strdup_printf("%s/" VIRT_NAME_PREFIX "%s.job", scratch_folder, job_id);
}

bool
virt_job_note_write(const char *scratch_folder, const char *job_id, const char *uuid, const char *socket, GError **error)
{
    g_autofree char *path = note_path(scratch_folder, job_id);
    g_autoptr(GKeyFile) note = g_key_file_new();
    g_key_file_set_string(note, "job", "vm", uuid);
    g_key_file_set_string(note, "job", "socket", socket);
    g_autoptr(GError) cause = NULL;
    if (g_key_file_save_to_file(note, path, &cause))
        return true;
    g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "the scratch folder cannot be written: %s", cause->message);
    return false;
}

void
virt_job_note_remove(const char *scratch_folder, const char *job_id)
{
    g_autofree char *path = note_path(scratch_folder, job_id);
    unlink(path);
}

bool
virt_job_note_read(const char *path, char **ret_uuid, char **ret_socket)
{
    g_autoptr(GKeyFile) note = g_key_file_new();
    if (!g_key_file_load_from_file(note, path, G_KEY_FILE_NONE, NULL))
        return false;
    g_autofree char *uuid = g_key_file_get_string(note, "job", "vm", NULL);
    g_autofree char *socket = g_key_file_get_string(note, "job", "socket", NULL);
    if (uuid == NULL || socket == NULL)
        return false;
    *ret_uuid = g_steal_pointer(&uuid);
    *ret_socket = g_steal_pointer(&socket);
    return true;
}
