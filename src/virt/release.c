#include "virt/virt-private.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

/* What is done after a process of ours died: see virt_release() in virt.h. */

#define END_TIMEOUT_SEC 30
#define THAW_WITHIN_SEC 10
#define THAW_PAUSE_USEC (G_USEC_PER_SEC / 5)

/* Keeps the first error and goes on: one VM that cannot be helped must not keep the others from it. */
static void
note_error(GError **first, GError *error)
{
    if (*first == NULL)
        *first = error;
    else
        g_clear_error(&error);
}

/* The scratch folder's files whose names start and end so; (transfer full). */
static GPtrArray *
files_of_ours(const char *folder, const char *prefix, const char *suffix)
{
    GPtrArray *paths = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        if (g_str_has_prefix(name, prefix) && g_str_has_suffix(name, suffix))
            g_ptr_array_add(paths, g_build_filename(folder, name, NULL));
    }
    return paths;
}

static void
thaw_all(VirtHost *host, const char *uuid, const char *folder, GError **first)
{
    g_autoptr(GPtrArray) markers = files_of_ours(folder, VIRT_NAME_PREFIX, "");
    for (guint i = 0; i < markers->len; i++) {
        const char *marker = g_ptr_array_index(markers, i);
        const char *frozen = virt_frozen_uuid(marker + strlen(folder) + strlen("/"));
        GError *error = NULL;
        if (frozen != NULL && (uuid == NULL || strcmp(uuid, frozen) == 0) && virt_thaw(host, frozen, folder, &error) < 0)
            note_error(first, error);
    }
}

/* libvirt that was just opened has not found the agents of running guests again. */
static void
thaw_patiently(VirtHost *host, const char *uuid, const char *folder, GError **first)
{
    int64_t give_up = g_get_monotonic_time() + THAW_WITHIN_SEC * G_USEC_PER_SEC;
    for (;;) {
        GError *error = NULL;
        thaw_all(host, uuid, folder, &error);
        if (error == NULL || g_get_monotonic_time() > give_up) {
            if (error != NULL)
                note_error(first, error);
            return;
        }
        g_error_free(error);
        g_usleep(THAW_PAUSE_USEC);
    }
}

/* Ends the job a note tells of, resumes its guest, removes its files, and then the note. */
static bool
release_note(VirtHost *host, const char *uuid, const char *folder, const char *note, GError **error)
{
    g_autofree char *vm = NULL, *socket = NULL, *job = NULL;
    if (!virt_job_note_read(note, &vm, &socket)) {
        unlink(note); /* cut short by a crash: no job had begun */
        return true;
    }
    if (uuid != NULL && strcmp(uuid, vm) != 0)
        return true;
    g_autoptr(GError) cause = NULL;
    if (!(virt_backup_job_end(host, vm, folder, NULL, END_TIMEOUT_SEC, &cause) &&
          virt_sweep(host, vm, folder, &cause) && virt_resume_after_io_error(host, vm, &cause)) &&
        !g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN)) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    job = g_strndup(note, strlen(note) - strlen(".job"));
    g_autofree char *name = g_path_get_basename(job), *prefix = g_strconcat(name, "-", NULL);
    g_autoptr(GPtrArray) scratch = files_of_ours(folder, prefix, ".scratch");
    for (guint i = 0; i < scratch->len; i++)
        unlink(g_ptr_array_index(scratch, i));
    unlink(socket);
    unlink(note);
    return true;
}

static void
release_notes(VirtHost *host, const char *uuid, const char *folder, GError **first)
{
    g_autoptr(GPtrArray) notes = files_of_ours(folder, VIRT_NAME_PREFIX, ".job");
    for (guint i = 0; i < notes->len; i++) {
        GError *error = NULL;
        if (!release_note(host, uuid, folder, g_ptr_array_index(notes, i), &error))
            note_error(first, error);
    }
}

/* A job whose note was lost still shows itself by its scratch path. */
static void
release_domain(VirtHost *host, const char *uuid, const char *folder, GError **first)
{
    GError *error = NULL;
    g_autoptr(VirtBackupJob) job = NULL;
    g_auto(virDomainPtr) domain = virt_host_domain(host, uuid, &error);
    if (domain == NULL || !virt_backup_job_get(domain, &job)) {
        if (domain != NULL)
            virt_fail(host, domain, &error, "may have a backup job, which cannot be looked at");
        note_error(first, error);
        return;
    }
    if (job == NULL || !virt_backup_job_is_in(job, folder))
        return;
    if (!virt_backup_job_end(host, uuid, folder, NULL, END_TIMEOUT_SEC, &error) ||
        !virt_resume_after_io_error(host, uuid, &error))
        note_error(first, error);
}

static void
release_all_domains(VirtHost *host, const char *folder, GError **first)
{
    GError *error = NULL;
    g_autoptr(GPtrArray) domains = virt_host_list(host, &error);
    if (domains == NULL) {
        note_error(first, error);
        return;
    }
    for (guint i = 0; i < domains->len; i++) {
        const VirtDomain *domain = g_ptr_array_index(domains, i);
        if (domain->state != VIRT_OFF && domain->state != VIRT_SAVED)
            release_domain(host, domain->uuid, folder, first);
    }
}

static void
remove_left_scratch(const char *folder)
{
    g_autoptr(GPtrArray) left = files_of_ours(folder, VIRT_NAME_PREFIX, ".scratch");
    for (guint i = 0; i < left->len; i++)
        unlink(g_ptr_array_index(left, i));
}

bool
virt_release_jobs(VirtHost *host, const char *uuid, const char *scratch_folder, GError **error)
{
    GError *first = NULL;
    release_notes(host, uuid, scratch_folder, &first);
    if (uuid != NULL)
        release_domain(host, uuid, scratch_folder, &first);
    else
        release_all_domains(host, scratch_folder, &first);
    if (first != NULL) {
        g_propagate_error(error, first);
        return false;
    }
    return true;
}

bool
virt_release(VirtHost *host, const char *uuid, const char *scratch_folder, GError **error)
{
    GError *first = NULL, *second = NULL;
    thaw_all(host, uuid, scratch_folder, &first); /* a frozen guest feels it most */
    g_clear_error(&first);
    if (!virt_release_jobs(host, uuid, scratch_folder, &second))
        note_error(&first, second);
    else if (uuid == NULL)
        remove_left_scratch(scratch_folder);
    thaw_patiently(host, uuid, scratch_folder, &first);
    if (first != NULL) {
        g_propagate_error(error, first);
        return false;
    }
    return true;
}
