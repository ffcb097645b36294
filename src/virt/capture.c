#include "virt/virt-private.h"

#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

/* A capture is a libvirt pull backup with a watchdog thread.
 *
 * INVARIANTS
 *  (1) From the moment the job exists until it is gone, the watchdog looks every virt_capture_poll_msec.
 *  (2) Only the watchdog ends the job, and it ends no job but the one that serves our socket.
 *  (3) `cancelled` is set before the job is aborted, so a reader learns it before its reads fail.
 *  (4) A guest that an I/O error paused while our job was open is resumed after it, whatever else ended the job. One
 *      that was paused before, by an error or by somebody, stays so.
 */

/* Two looks are 20 ms apart, an abort takes 5 ms: a guest that writes 500 MB/s fills 13 MB of scratch in that time. */
gint virt_capture_poll_msec = 20;

#define FREE_FLOOR_BYTES   (256 * UINT64_C(1048576)) /* left alone on the scratch file system ... */
#define FREE_FLOOR_PART    8                         /* ... or this part of a small one: half a second at 500 MB/s */
#define SCRATCH_PART       8     /* this part of the allowance is kept for what comes before the abort has effect */
#define GROWTH_LOOKS       2     /* ... or so many times what the last look saw coming, whichever is more */
#define LOOK_AT_JOB_USEC   (1 * G_USEC_PER_SEC) /* besides what events tell */
#define BITMAP_NAME        "dirty" /* of every export */
#define LIBVIRT_SYSTEM_FOLDER "/var/lib/libvirt/qemu"
#define LIBVIRT_SHORT_NAME    20 /* characters of a VM's name that libvirt puts into names of folders */
#define END_TIMEOUT_SEC    60
#define UNDO_TIMEOUT_SEC   10

struct VirtCapture {
    VirtHost  *host;
    char      *uuid, *job_id, *socket, *scratch_folder;
    GPtrArray *targets; /* of char * */
    GPtrArray *raw;     /* of VirtDisk: those of them that have their bitmaps in QEMU's memory ... */
    GPtrArray *changes; /* ... and the names under which those are served, in the same order */
    GPtrArray *scratch; /* of paths, in the order of targets */
    bool       incremental;
    char     **whole;   /* (nullable): targets that have no bitmap all the same */
    bool       was_io_paused; /* by an error of the guest's own storage, before there was a job */
    uint64_t   scratch_max, free_floor, used_before;
    int64_t    deadline_usec, next_look_usec; /* monotonic */
    GThread   *watchdog;
    gint       cancelled;
    bool       consistent;
    int64_t    frozen_usec;
    GError    *freeze_error;

    GMutex            lock;
    GCond             wake;
    VirtCaptureStatus status;
    bool              ending;     /* the owner wants it to end */
    bool              io_error;   /* seen on one of the guest's disks */
    bool              maybe_gone; /* an event said that the job may have ended */
};

/* ---- the watchdog ---- */

uint64_t
virt_capture_scratch_bytes(VirtCapture *self)
{
    uint64_t bytes = 0;
    for (guint i = 0; i < self->scratch->len; i++) {
        struct stat st;
        if (stat(g_ptr_array_index(self->scratch, i), &st) == 0)
            bytes += (uint64_t)st.st_blocks * 512;
    }
    return bytes;
}

static bool
free_space(const char *folder, uint64_t *ret_free, uint64_t *ret_total)
{
    struct statvfs st;
    if (statvfs(folder, &st) < 0)
        return false;
    *ret_free = (uint64_t)st.f_bavail * st.f_frsize;
    *ret_total = (uint64_t)st.f_blocks * st.f_frsize;
    return true;
}

static bool
scratch_runs_low(VirtCapture *self)
{
    uint64_t used = virt_capture_scratch_bytes(self), available = 0, total = 0;
    uint64_t coming = (used - MIN(used, self->used_before)) * GROWTH_LOOKS;
    self->used_before = used;
    if (used + MAX(coming, self->scratch_max / SCRATCH_PART) > self->scratch_max)
        return true;
    return !free_space(self->scratch_folder, &available, &total) || available < self->free_floor + coming;
}

static bool
job_is_open(VirtCapture *self)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VirtBackupJob) job = NULL;
    g_auto(virDomainPtr) domain = virt_host_domain(self->host, self->uuid, &error);
    if (domain == NULL)
        return !g_error_matches(error, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN);
    if (!virt_backup_job_get(domain, &job)) {
        virt_host_suspect(self->host);
        return true;
    }
    return job != NULL && g_strcmp0(job->socket, self->socket) == 0;
}

static bool
is_io_paused(VirtCapture *self)
{
    g_auto(virDomainPtr) domain = virt_host_domain(self->host, self->uuid, NULL);
    return domain != NULL && virt_domain_is_io_paused(domain);
}

static VirtCaptureStatus
look(VirtCapture *self, bool io_error, bool maybe_gone)
{
    int64_t now = g_get_monotonic_time();
    if (io_error)
        return VIRT_CAPTURE_GAVE_UP_GUEST;
    if (scratch_runs_low(self))
        return VIRT_CAPTURE_GAVE_UP_SCRATCH;
    if (now >= self->deadline_usec)
        return VIRT_CAPTURE_GAVE_UP_TIME;
    if (maybe_gone || now >= self->next_look_usec) {
        self->next_look_usec = now + LOOK_AT_JOB_USEC;
        if (!job_is_open(self))
            return VIRT_CAPTURE_ENDED_OUTSIDE;
        if (!self->was_io_paused && is_io_paused(self)) /* an event may have been lost with a connection */
            return VIRT_CAPTURE_GAVE_UP_GUEST;
    }
    return VIRT_CAPTURE_ACTIVE;
}

static void
remove_files(VirtCapture *self)
{
    for (guint i = 0; i < self->scratch->len; i++)
        unlink(g_ptr_array_index(self->scratch, i));
    unlink(self->socket);
}

/* Ends the job and looks after the guest. The note stays when that failed, for virt_release(). */
static void
finish(VirtCapture *self)
{
    int64_t give_up = g_get_monotonic_time() + END_TIMEOUT_SEC * G_USEC_PER_SEC;
    for (;;) {
        g_autoptr(GError) error = NULL;
        if (virt_backup_job_end(self->host, self->uuid, self->scratch_folder, self->socket, END_TIMEOUT_SEC, &error) &&
            (self->was_io_paused || virt_resume_after_io_error(self->host, self->uuid, &error)))
            break;
        if (g_error_matches(error, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN))
            break;
        if (g_get_monotonic_time() > give_up)
            return;
        g_usleep(G_USEC_PER_SEC / 10); /* libvirt is away or busy */
    }
    remove_files(self);
    virt_job_note_remove(self->scratch_folder, self->job_id);
}

static void *
watch(void *opaque)
{
    VirtCapture *self = opaque;
    g_mutex_lock(&self->lock);
    while (!self->ending && self->status == VIRT_CAPTURE_ACTIVE) {
        bool io_error = self->io_error, maybe_gone = self->maybe_gone;
        self->maybe_gone = false;
        g_mutex_unlock(&self->lock);
        VirtCaptureStatus status = look(self, io_error, maybe_gone);
        if (status != VIRT_CAPTURE_ACTIVE)
            g_atomic_int_set(&self->cancelled, 1);
        g_mutex_lock(&self->lock);
        self->status = status;
        if (status == VIRT_CAPTURE_ACTIVE && !self->ending && !self->io_error && !self->maybe_gone)
            g_cond_wait_until(&self->wake, &self->lock,
                              g_get_monotonic_time() + g_atomic_int_get(&virt_capture_poll_msec) * 1000);
    }
    g_mutex_unlock(&self->lock);
    finish(self);
    return NULL;
}

static void
on_notice(void *opaque, VirtNotice notice)
{
    VirtCapture *self = opaque;
    g_mutex_lock(&self->lock);
    if (notice == VIRT_NOTICE_IO_ERROR)
        self->io_error = true;
    else
        self->maybe_gone = true;
    g_cond_signal(&self->wake);
    g_mutex_unlock(&self->lock);
}

/* ---- beginning ---- */

static bool
refuse(GError **error, VirtError code, const char *format, ...) G_GNUC_PRINTF(3, 4);

static bool
refuse(GError **error, VirtError code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, VIRT_ERROR, code, text);
    return false;
}

static bool
is_plain_name(const char *text)
{
    if (text[0] == '\0' || text[0] == '.')
        return false;
    for (const char *c = text; *c != '\0'; c++) {
        if (!g_ascii_isalnum(*c) && strchr("-_.", *c) == NULL)
            return false;
    }
    return true;
}

/* A network file system answers a lost server with errors that QEMU would hand to the guest. */
static bool
is_local_file_system(const char *folder)
{
    static const long remote[] = { NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, CIFS_SUPER_MAGIC, SMB2_SUPER_MAGIC,
                                   CEPH_SUPER_MAGIC, V9FS_MAGIC,     AFS_FS_MAGIC,     FUSE_SUPER_MAGIC };
    struct statfs st;
    if (statfs(folder, &st) < 0)
        return true; /* the space check after this one says what is wrong */
    for (size_t i = 0; i < G_N_ELEMENTS(remote); i++) {
        if ((unsigned int)st.f_type == (unsigned int)remote[i])
            return false;
    }
    return true;
}

static bool
check_scratch(VirtCapture *self, GError **error)
{
    uint64_t available = 0, total = 0;
    if (!is_local_file_system(self->scratch_folder))
        return refuse(error, VIRT_ERROR_FAILED, "the scratch folder '%s' is on a network or FUSE file system, whose errors "
                      "would reach the guest; set [paths] scratch to a local one", self->scratch_folder);
    if (!free_space(self->scratch_folder, &available, &total))
        return refuse(error, VIRT_ERROR_FAILED, "the scratch folder '%s' cannot be used: %s", self->scratch_folder,
                      g_strerror(errno));
    self->free_floor = MIN(FREE_FLOOR_BYTES, total / FREE_FLOOR_PART);
    if (available <= self->free_floor)
        return refuse(error, VIRT_ERROR_FAILED, "the scratch folder '%s' has %" G_GUINT64_FORMAT " MiB free, of which %"
                      G_GUINT64_FORMAT " MiB are kept as a reserve; free some space there", self->scratch_folder,
                      available >> 20, self->free_floor >> 20);
    return true;
}

static bool
check_request(const VirtCaptureRequest *request, GError **error)
{
    if (request->disks == NULL || request->disks[0] == NULL)
        return refuse(error, VIRT_ERROR_FAILED, "a capture of VM '%s' names no disk", request->uuid);
    if (!is_plain_name(request->job_id))
        return refuse(error, VIRT_ERROR_FAILED, "'%s' is no usable job name", request->job_id);
    for (size_t i = 0; request->disks[i] != NULL; i++) {
        if (!is_plain_name(request->disks[i]))
            return refuse(error, VIRT_ERROR_FAILED, "'%s' is no disk target", request->disks[i]);
    }
    return true;
}

static bool
check_socket(const VirtCapture *self, GError **error)
{
    struct sockaddr_un address;
    return strlen(self->socket) < sizeof address.sun_path ||
           refuse(error, VIRT_ERROR_FAILED, "'%s' is too long for the path of a socket, which may have %zu bytes; choose a "
                  "run folder with a shorter path", self->socket, sizeof address.sun_path - 1);
}

static void
capture_free(VirtCapture *self)
{
    g_free(self->uuid);
    g_free(self->job_id);
    g_free(self->socket);
    g_free(self->scratch_folder);
    g_ptr_array_unref(self->targets);
    g_ptr_array_unref(self->raw);
    g_ptr_array_unref(self->changes);
    g_ptr_array_unref(self->scratch);
    g_strfreev(self->whole);
    g_clear_error(&self->freeze_error);
    g_mutex_clear(&self->lock);
    g_cond_clear(&self->wake);
    g_free(self);
}

static bool
is_system(const char *uri)
{
    g_autofree char *path = NULL;
    return g_uri_split(uri, G_URI_FLAGS_NONE, NULL, NULL, NULL, NULL, &path, NULL, NULL, NULL) && strcmp(path, "/system") == 0;
}

/* Where QEMU can make a socket and nobody else but us can get at it. QEMU of the system libvirt is another user than we, and may be
 * confined; but libvirt keeps a folder for each running VM that belongs to QEMU, and that its AppArmor and SELinux
 * profiles allow this QEMU alone. Elsewhere QEMU is the same user, and takes @given. */
static char *
socket_folder(VirtHost *host, virDomainPtr domain, const char *given)
{
    const char *name = virDomainGetName(domain);
    g_autofree char *start = g_utf8_substring(name, 0, MIN(g_utf8_strlen(name, -1), LIBVIRT_SHORT_NAME));
    g_autofree char *folder = g_strdup_printf(LIBVIRT_SYSTEM_FOLDER "/domain-%u-%s", virDomainGetID(domain), start);
    bool usable = is_system(virt_host_uri(host)) && g_file_test(folder, G_FILE_TEST_IS_DIR);
    return usable ? g_steal_pointer(&folder) : g_strdup(given);
}

static VirtCapture *
capture_new(VirtHost *host, virDomainPtr domain, const VirtCaptureRequest *request)
{
    g_autofree char *folder = socket_folder(host, domain, request->socket_folder);
    VirtCapture *self = g_new0(VirtCapture, 1);
    self->host = host;
    self->uuid = g_strdup(request->uuid);
    self->job_id = g_strdup(request->job_id);
    self->socket = g_strdup_printf("%s/" VIRT_NAME_PREFIX "%s.sock", folder, request->job_id);
    self->scratch_folder = g_strdup(request->scratch_folder);
    self->targets = g_ptr_array_new_with_free_func(g_free);
    self->scratch = g_ptr_array_new_with_free_func(g_free);
    self->raw = g_ptr_array_new_with_free_func((GDestroyNotify)virt_disk_free);
    self->changes = g_ptr_array_new_with_free_func(g_free);
    for (size_t i = 0; request->disks[i] != NULL; i++) {
        g_ptr_array_add(self->targets, g_strdup(request->disks[i]));
        g_ptr_array_add(self->scratch, g_strdup_printf("%s/" VIRT_NAME_PREFIX "%s-%s.scratch", request->scratch_folder,
                                                       request->job_id, request->disks[i]));
    }
    self->incremental = request->incremental != NULL;
    self->whole = g_strdupv((char **)request->whole);
    self->scratch_max = request->scratch_max_bytes;
    self->deadline_usec = g_get_monotonic_time() + (int64_t)request->timeout_sec * G_USEC_PER_SEC;
    self->next_look_usec = g_get_monotonic_time() + LOOK_AT_JOB_USEC;
    g_mutex_init(&self->lock);
    g_cond_init(&self->wake);
    return self;
}

/* A libvirt daemon that was killed while it began a backup believes in it ever after; see repair.c. */
static bool
refuse_unknown_job(VirtCapture *self, virDomainPtr domain, GError **error)
{
    if (strstr(virGetLastErrorMessage(), "backup job data missing") == NULL)
        return virt_fail(self->host, domain, error, "cannot be asked for its jobs");
    return refuse(error, VIRT_ERROR_BUSY, "libvirt believes for VM '%s' in a backup job that does not exist, since it was "
                  "killed while it began one. That ends when the VM is next shut down and started, or without "
                  "stopping the VM as virt-replicad(8) says under TROUBLESHOOTING", virDomainGetName(domain));
}

/* A job that an earlier process of ours left behind is ended; anybody else's is a reason to wait. */
static bool
check_domain(VirtCapture *self, virDomainPtr domain, GError **error)
{
    int state = 0;
    if (virDomainGetState(domain, &state, NULL, 0) < 0)
        return virt_fail(self->host, domain, error, "cannot be looked at");
    if (state != VIR_DOMAIN_RUNNING && state != VIR_DOMAIN_BLOCKED && state != VIR_DOMAIN_PAUSED)
        return refuse(error, VIRT_ERROR_STATE, "VM '%s' is not running", virDomainGetName(domain));
    if (!virt_host_is_watched(self->host, self->uuid) &&
        !virt_release_jobs(self->host, self->uuid, self->scratch_folder, error))
        return false;
    virDomainJobInfo job = { 0 };
    if (virDomainGetJobInfo(domain, &job) < 0)
        return refuse_unknown_job(self, domain, error);
    if (job.type != VIR_DOMAIN_JOB_NONE)
        return refuse(error, VIRT_ERROR_BUSY, "VM '%s' has another job (backup, migration, snapshot); waiting for its end",
                      virDomainGetName(domain));
    self->was_io_paused = virt_domain_is_io_paused(domain); /* what our own dead jobs did was undone above */
    return true;
}

/* ---- disks whose bitmaps are in the memory of QEMU ---- */

/* The name under which the changes of a raw disk are served; NULL for another disk. */
static const char *
changes_of(const VirtCapture *self, const char *target)
{
    for (guint i = 0; i < self->raw->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(self->raw, i);
        if (strcmp(disk->target, target) == 0)
            return g_ptr_array_index(self->changes, i);
    }
    return NULL;
}

static bool
begin_raw(VirtCapture *self, virDomainPtr domain, const VirtCaptureRequest *request, GError **error)
{
    g_autoptr(GPtrArray) disks = virt_host_disks(self->host, self->uuid, error);
    while (disks != NULL && disks->len > 0) {
        VirtDisk *disk = g_ptr_array_steal_index(disks, disks->len - 1);
        bool wanted = g_ptr_array_find_with_equal_func(self->targets, disk->target, g_str_equal, NULL);
        if (!wanted || !disk->forgets) {
            virt_disk_free(disk);
            continue;
        }
        g_ptr_array_add(self->raw, disk);
        g_ptr_array_add(self->changes, g_strdup_printf(VIRT_NAME_PREFIX "%s-%s", self->job_id, disk->target));
    }
    for (guint i = 0; disks != NULL && i < self->raw->len; i++) {
        if (!virt_memory_bitmap_begin(self->host, domain, g_ptr_array_index(self->raw, i), request->incremental,
                                      request->checkpoint, error))
            return false;
    }
    return disks != NULL;
}

static bool
serve_raw(VirtCapture *self, virDomainPtr domain, const VirtCaptureRequest *request, GError **error)
{
    for (guint i = 0; request->incremental != NULL && i < self->raw->len; i++) {
        if (!virt_memory_bitmap_serve(self->host, domain, g_ptr_array_index(self->raw, i), request->incremental,
                                      g_ptr_array_index(self->changes, i), error))
            return false;
    }
    return true;
}

/* ---- the job ---- */

static bool
has_bitmap(const VirtCapture *self, const char *target)
{
    return self->incremental && virt_capture_export(self, target) != NULL &&
           (self->whole == NULL || !g_strv_contains((const char *const *)self->whole, target));
}

static bool
has_own_bitmap(const VirtCapture *self, const char *target)
{
    return has_bitmap(self, target) && changes_of(self, target) == NULL;
}

static char *
backup_xml(const VirtCapture *self, const VirtCaptureRequest *request)
{
    GString *xml = g_string_new("<domainbackup mode='pull'>");
    g_autofree char *socket = g_markup_printf_escaped("<server transport='unix' socket='%s'/><disks>", self->socket);
    if (request->incremental != NULL) {
        g_autofree char *incremental = g_markup_printf_escaped("<incremental>%s</incremental>", request->incremental);
        g_string_append(xml, incremental);
    }
    g_string_append(xml, socket);
    for (guint i = 0; i < self->targets->len; i++) {
        const char *target = g_ptr_array_index(self->targets, i);
        g_autofree char *scratch = g_markup_escape_text(g_ptr_array_index(self->scratch, i), -1);
        /* Targets are plain names, see check_request(). */
        const char *mode = !self->incremental                            ? ""
                           : has_own_bitmap(self, target)           ? " exportbitmap='" BITMAP_NAME "'"
                                                                       : " backupmode='full'";
        g_string_append_printf(xml, "<disk name='%s' backup='yes' type='file' exportname='%s'%s><scratch file='%s'/></disk>",
                               target, target, mode, scratch);
    }
    g_string_append(xml, "</disks></domainbackup>");
    return g_string_free(xml, FALSE);
}

static char *
checkpoint_xml(const VirtCapture *self, const VirtCaptureRequest *request)
{
    g_autofree char *name = g_markup_printf_escaped("<domaincheckpoint><name>%s</name><disks>", request->checkpoint);
    GString *xml = g_string_new(name);
    for (size_t i = 0; request->disks[i] != NULL; i++) {
        g_autofree char *disk = g_markup_printf_escaped("<disk name='%s' checkpoint='%s'/>", request->disks[i],
                                                        changes_of(self, request->disks[i]) != NULL ? "no" : "bitmap");
        g_string_append(xml, disk);
    }
    g_string_append(xml, "</disks></domaincheckpoint>");
    return g_string_free(xml, FALSE);
}

static bool
has_checkpoint(virDomainPtr domain, const char *name)
{
    g_auto(virDomainCheckpointPtr) checkpoint = virDomainCheckpointLookupByName(domain, name, 0);
    return checkpoint != NULL;
}

/* Where libvirt went away, the note stays, and the next begin looks what became of this one. */
static void
undo_begin(VirtCapture *self, virDomainPtr domain, const VirtCaptureRequest *request, const GError *cause)
{
    if (g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_UNAVAILABLE) ||
        !virt_backup_job_end(self->host, self->uuid, self->scratch_folder, self->socket, UNDO_TIMEOUT_SEC, NULL))
        return;
    if (request->checkpoint != NULL && has_checkpoint(domain, request->checkpoint))
        virt_checkpoint_delete(self->host, self->uuid, request->checkpoint, NULL);
    remove_files(self);
    virt_job_note_remove(self->scratch_folder, self->job_id);
}

/* libvirt says little about a disk that cannot be tracked; our own look says what to do. */
static void
explain(VirtCapture *self, GError **cause)
{
    g_autoptr(GPtrArray) disks = virt_host_disks(self->host, self->uuid, NULL);
    for (guint i = 0; disks != NULL && i < disks->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(disks, i);
        bool wanted = g_ptr_array_find_with_equal_func(self->targets, disk->target, g_str_equal, NULL);
        if (wanted && disk->untrackable != NULL) {
            g_clear_error(cause);
            g_set_error_literal(cause, VIRT_ERROR, VIRT_ERROR_UNTRACKABLE, disk->untrackable);
            return;
        }
    }
}

static bool
start_job(VirtCapture *self, virDomainPtr domain, const VirtCaptureRequest *request, GError **error)
{
    g_autofree char *backup = backup_xml(self, request);
    g_autofree char *checkpoint = request->checkpoint != NULL ? checkpoint_xml(self, request) : NULL;
    remove_files(self); /* of an earlier job of the same name */
    if (!virt_job_note_write(self->scratch_folder, self->job_id, self->uuid, self->socket, error))
        return false;
    GError *cause = NULL;
    if (virDomainBackupBegin(domain, backup, checkpoint, 0) < 0)
        virt_fail(self->host, domain, &cause, "cannot be captured");
    else
        return true;
    undo_begin(self, domain, request, cause);
    if (g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_FAILED) || g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_STATE))
        explain(self, &cause);
    g_propagate_error(error, cause);
    return false;
}

/* Another job was looked for before: the guest does not stand frozen while that ends. */
static bool
start_frozen(VirtCapture *self, virDomainPtr domain, const VirtCaptureRequest *request, GError **error)
{
    VirtFreeze *freeze = NULL;
    if (request->checkpoint != NULL && has_checkpoint(domain, request->checkpoint))
        return refuse(error, VIRT_ERROR_FAILED, "VM '%s' has a checkpoint '%s' already", virDomainGetName(domain),
                      request->checkpoint);
    if (!begin_raw(self, domain, request, error))
        return false;
    if (request->freeze)
        freeze = virt_freeze_begin(self->host, self->uuid, self->scratch_folder, &self->freeze_error);
    bool started = start_job(self, domain, request, error);
    if (freeze != NULL)
        self->consistent = virt_freeze_end(freeze, &self->frozen_usec, &self->freeze_error);
    GError *cause = NULL;
    if (!started || serve_raw(self, domain, request, &cause))
        return started;
    undo_begin(self, domain, request, cause);
    g_propagate_error(error, cause);
    return false;
}

VirtCapture *
virt_capture_begin(VirtHost *host, const VirtCaptureRequest *request, GError **error)
{
    if (!check_request(request, error))
        return NULL;
    g_auto(virDomainPtr) domain = virt_host_domain(host, request->uuid, error);
    if (domain == NULL)
        return NULL;
    VirtCapture *self = capture_new(host, domain, request);
    if (!check_socket(self, error) || !check_domain(self, domain, error) || !check_scratch(self, error)) {
        capture_free(self);
        return NULL;
    }
    virt_host_watch(host, self->uuid, on_notice, self);
    if (!start_frozen(self, domain, request, error)) {
        virt_host_unwatch(host, self);
        capture_free(self);
        return NULL;
    }
    self->watchdog = g_thread_new("virt-watchdog", watch, self);
    return self;
}

/* ---- what the owner sees ---- */

bool
virt_capture_is_consistent(const VirtCapture *self, int64_t *ret_frozen_usec, const GError **ret_error)
{
    *ret_frozen_usec = self->frozen_usec;
    if (ret_error != NULL)
        *ret_error = self->freeze_error;
    return self->consistent;
}

const char *
virt_capture_socket(const VirtCapture *self)
{
    return self->socket;
}

const char *
virt_capture_export(const VirtCapture *self, const char *target)
{
    guint index = 0;
    if (!g_ptr_array_find_with_equal_func(self->targets, target, g_str_equal, &index))
        return NULL;
    return g_ptr_array_index(self->targets, index);
}

const char *
virt_capture_bitmap(const VirtCapture *self, const char *target)
{
    if (!has_bitmap(self, target))
        return NULL;
    return changes_of(self, target) != NULL ? changes_of(self, target) : BITMAP_NAME;
}

const char *
virt_capture_bitmap_export(const VirtCapture *self, const char *target)
{
    bool apart = has_bitmap(self, target) && changes_of(self, target) != NULL;
    return apart ? changes_of(self, target) : virt_capture_export(self, target);
}

VirtCaptureStatus
virt_capture_status(VirtCapture *self)
{
    g_mutex_lock(&self->lock);
    VirtCaptureStatus status = self->status;
    g_mutex_unlock(&self->lock);
    return status;
}

const gint *
virt_capture_cancelled(const VirtCapture *self)
{
    return &self->cancelled;
}

void
virt_capture_end(VirtCapture *self)
{
    if (self == NULL)
        return;
    g_mutex_lock(&self->lock);
    self->ending = true;
    g_cond_signal(&self->wake);
    g_mutex_unlock(&self->lock);
    g_thread_join(self->watchdog);
    virt_host_unwatch(self->host, self);
    capture_free(self);
}
