#include "replication/moment.h"

#include "disk/disk-server.h"
#include "disk/image.h"
#include "replication/blob-rules.h"
#include "replication/sent-parts.h"
#include "replication/tpm-state.h"

#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#define ENDING_USEC      (5 * G_USEC_PER_SEC) /* so long a QEMU that was told to end may take to be gone */
#define ENDING_LOOK_USEC (50 * 1000)

struct Moment {
    const ReplicationContext *context;
    char        *vm_uuid;
    char       **targets;
    char        *checkpoint;
    VirtCapture *capture; /* running */
    GPtrArray   *servers; /* off: one DiskServer a disk */
    GPtrArray   *disks;   /* MomentDisk */
    char        *marker;  /* off */
    bool         marker_tells; /* what changes an image changes the marker */
    bool         made_checkpoint;
    bool         finished;     /* all was read; what becomes of the VM does not matter any more */
    int64_t      taken_usec;
    bool         consistent;   /* the guest's file systems were frozen */
    int64_t      frozen_usec;  /* so long */
    GError      *freeze_error; /* or why not */
    MomentHolder holder;       /* of disks that are no VM's; all NULL once they are released */
};

static void
moment_disk_free(MomentDisk *disk)
{
    disk_client_free(disk->client);
    extent_set_free(disk->dirty);
    g_free(disk->id);
    g_free(disk->path);
    g_free(disk);
}

static void
release(Moment *self)
{
    MomentHolder holder = self->holder;
    self->holder = (MomentHolder){ NULL };
    if (holder.release != NULL)
        holder.release(holder.opaque);
}

void
moment_close(Moment *self)
{
    if (self == NULL)
        return;
    g_ptr_array_unref(self->disks);
    release(self);
    virt_capture_end(self->capture);
    if (self->servers != NULL)
        g_ptr_array_unref(self->servers);
    g_free(self->vm_uuid);
    g_strfreev(self->targets);
    g_free(self->checkpoint);
    g_free(self->marker);
    g_clear_error(&self->freeze_error);
    g_free(self);
}

static const VirtDisk *
find_disk(const GPtrArray *disks, const char *target)
{
    for (guint i = 0; i < disks->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(disks, i);
        if (strcmp(disk->target, target) == 0)
            return disk;
    }
    return NULL;
}

static MomentDisk *
add_disk(Moment *self, const VirtDisk *info)
{
    MomentDisk *disk = g_new0(MomentDisk, 1);
    disk->id = g_strdup(info->target);
    disk->path = g_strdup(info->path);
    g_ptr_array_add(self->disks, disk);
    return disk;
}

static bool
connect_disk(Moment *self, MomentDisk *disk, const char *socket, const char *export, const char *bitmap, GError **error)
{
    disk->client = disk_client_connect(socket, export, bitmap, self->context->pool, error);
    if (disk->client == NULL)
        return false;
    disk->size_bytes = disk_client_size(disk->client);
    return bitmap == NULL || disk_client_dirty(disk->client, 0, disk->size_bytes, &disk->dirty, error);
}

/* What changed is in another export than the disk. */
static bool
read_changes(Moment *self, MomentDisk *disk, const char *socket, const char *export, const char *bitmap, GError **error)
{
    DiskClient *client = disk_client_connect(socket, export, bitmap, self->context->pool, error);
    bool good = client != NULL && disk_client_dirty(client, 0, MIN(disk->size_bytes, disk_client_size(client)), &disk->dirty, error);
    if (good && disk_client_size(client) != disk->size_bytes) {
        g_set_error(error, VIRT_ERROR, VIRT_ERROR_BITMAP_LOST, "disk '%s' changed its size when it was captured", disk->id);
        good = false;
    }
    disk_client_free(client);
    return good;
}

static bool
connect_captured(Moment *self, MomentDisk *disk, GError **error)
{
    const char *socket = virt_capture_socket(self->capture), *export = virt_capture_export(self->capture, disk->id);
    const char *bitmap = virt_capture_bitmap(self->capture, disk->id);
    const char *other = virt_capture_bitmap_export(self->capture, disk->id);
    if (strcmp(export, other) == 0)
        return connect_disk(self, disk, socket, export, bitmap, error);
    return connect_disk(self, disk, socket, export, NULL, error) && read_changes(self, disk, socket, other, bitmap, error);
}

static bool
is_off(const VirtDomain *domain)
{
    return domain->state == VIRT_OFF || domain->state == VIRT_SAVED || domain->state == VIRT_CRASHED;
}

static bool
goes_on_running(const Moment *self, pid_t pid)
{
    g_autoptr(VirtDomain) domain = virt_host_find(self->context->virt, self->vm_uuid, NULL);
    return domain != NULL && !is_off(domain) && domain->pid == pid && kill(pid, 0) == 0;
}

/* A QEMU that is about to end has put its bitmaps into the images already, and shows none any more. */
static bool
explain_lost_bitmap(const Moment *self, pid_t pid, GError **error)
{
    for (int64_t waited = 0; waited < ENDING_USEC; waited += ENDING_LOOK_USEC) {
        if (!goes_on_running(self, pid)) {
            g_clear_error(error);
            g_set_error(error, VIRT_ERROR, VIRT_ERROR_STATE, "the VM ended when its changes were to be read");
            return false;
        }
        g_usleep(ENDING_LOOK_USEC);
    }
    return false;
}

/* Of the disks that it may not cover, those that the checkpoint does not; (transfer full), NULL at the end */
static char **
uncovered_disks(const Moment *self, const MomentRequest *request, GError **error)
{
    g_autoptr(GStrvBuilder) whole = g_strv_builder_new();
    for (const char *const *target = request->may_lack; target != NULL && *target != NULL; target++) {
        bool covers;
        if (!virt_checkpoint_covers(self->context->virt, request->vm_uuid, request->incremental, *target, &covers, error))
            return NULL;
        if (!covers)
            g_strv_builder_add(whole, *target);
    }
    return g_strv_builder_end(whole);
}

static bool
open_running(Moment *self, const MomentRequest *request, pid_t pid, const GPtrArray *infos, GError **error)
{
    g_autofree char *random = g_uuid_string_random();
    random[8] = '\0';
    g_autofree char *job = g_strdup_printf("vr-%s", random);
    g_auto(GStrv) whole = uncovered_disks(self, request, error);
    if (whole == NULL)
        return false;
    VirtCaptureRequest capture = {
        .uuid = request->vm_uuid,
        .job_id = job,
        .disks = request->disks,
        .incremental = request->incremental,
        .whole = (const char *const *)whole,
        .checkpoint = request->checkpoint,
        .scratch_folder = self->context->scratch_folder,
        .socket_folder = self->context->run_folder,
        .scratch_max_bytes = self->context->scratch_max_bytes,
        .timeout_sec = request->timeout_sec,
        .freeze = request->freeze,
    };
    g_autoptr(GError) cause = NULL;
    self->capture = virt_capture_begin(self->context->virt, &capture, &cause);
    if (self->capture == NULL) {
        bool lost = g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_BITMAP_LOST);
        g_propagate_error(error, g_steal_pointer(&cause));
        return lost ? explain_lost_bitmap(self, pid, error) : false;
    }
    self->made_checkpoint = request->checkpoint != NULL;
    const GError *not_frozen = NULL;
    self->consistent = virt_capture_is_consistent(self->capture, &self->frozen_usec, &not_frozen);
    self->freeze_error = not_frozen != NULL ? g_error_copy(not_frozen) : NULL;
    for (guint i = 0; i < infos->len; i++) {
        MomentDisk *disk = add_disk(self, g_ptr_array_index(infos, i));
        if (!connect_captured(self, disk, error))
            return false;
    }
    return true;
}

/* Every image's place, size and times: changes whenever anything opens it for writing. Not so for a block device, whose times say
 * nothing. */
static char *
make_marker(const GPtrArray *infos, const char *checkpoint, bool *ret_tells)
{
    GString *marker = g_string_new(checkpoint);
    *ret_tells = true;
    for (guint i = 0; i < infos->len; i++) {
        const VirtDisk *info = g_ptr_array_index(infos, i);
        struct stat st = { 0 };
        if (stat(info->path, &st) < 0 || !S_ISREG(st.st_mode))
            *ret_tells = false;
        g_string_append_printf(marker, "|%s:%ju:%ju:%jd.%09ld", info->path, (uintmax_t)st.st_ino, (uintmax_t)st.st_size,
                               (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    }
    return g_string_free(marker, FALSE);
}

static bool
add_bitmaps(Moment *self, const MomentRequest *request, const GPtrArray *infos, GError **error)
{
    self->made_checkpoint = true; /* also when it is made in part: then it is taken away again */
    for (guint i = 0; i < infos->len; i++) {
        const VirtDisk *info = g_ptr_array_index(infos, i);
        if (!info->forgets && !image_bitmap_add(info->path, request->checkpoint, error))
            return false;
    }
    return virt_checkpoint_adopt(self->context->virt, request->vm_uuid, request->checkpoint, request->disks, error);
}

static bool
has_bitmap(const ImageInfo *info, const char *name)
{
    return info->bitmaps != NULL && g_strv_contains((const char *const *)info->bitmaps, name) &&
           !(info->broken_bitmaps != NULL && g_strv_contains((const char *const *)info->broken_bitmaps, name));
}

/* In the image of a VM that was started meanwhile every bitmap looks broken. */
static bool
fail_for_bitmap(const Moment *self, const VirtDisk *info, const char *bitmap, GError **error)
{
    g_autoptr(VirtDomain) domain = virt_host_find(self->context->virt, self->vm_uuid, error);
    if (domain == NULL)
        return false;
    if (is_off(domain))
        g_set_error(error, VIRT_ERROR, VIRT_ERROR_BITMAP_LOST,
                    "disk '%s': bitmap '%s' is missing or inconsistent, changes since it are unknown", info->target, bitmap);
    else
        g_set_error(error, VIRT_ERROR, VIRT_ERROR_STATE, "the VM was started when its images were to be read");
    return false;
}

/* A disk that the checkpoint does not cover yet is covered from now on. */
static bool
cover_disks(const Moment *self, const MomentRequest *request, const GPtrArray *infos, GHashTable *fresh, GError **error)
{
    for (guint i = 0; request->may_lack != NULL && i < infos->len; i++) {
        const VirtDisk *info = g_ptr_array_index(infos, i);
        g_autoptr(ImageInfo) image = NULL;
        if (!g_strv_contains(request->may_lack, info->target))
            continue;
        if (!image_info(info->path, info->format, true, &image, error))
            return false;
        if (image->bitmaps != NULL && g_strv_contains((const char *const *)image->bitmaps, request->incremental))
            continue;
        if (!image_bitmap_add(info->path, request->incremental, error))
            return false;
        g_hash_table_add(fresh, g_strdup(info->target));
    }
    return g_hash_table_size(fresh) == 0 ||
           virt_checkpoint_extend(self->context->virt, request->vm_uuid, request->incremental, request->disks, error);
}

/* A raw disk: did it stay as it was when all of it was known? */
static bool
check_known(const Moment *self, const MomentRequest *request, const VirtDisk *info, GError **error)
{
    if (request->incremental == NULL || (self->marker_tells && g_strcmp0(self->marker, request->known) == 0))
        return true;
    if (request->planned && !self->marker_tells)
        g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNTRACKABLE, "disk '%s' is raw and on a block device, which does not tell "
                    "whether it was written to; no planned failover is possible", info->target);
    else
        g_set_error(error, VIRT_ERROR, VIRT_ERROR_BITMAP_LOST, "disk '%s' is raw: what was written to it is known only "
                    "while the VM runs; it is compared as a whole%s", info->target,
                    request->planned ? " first, try again when it replicates again" : "");
    return false;
}

static bool
check_image(const Moment *self, const MomentRequest *request, const VirtDisk *info, const char *bitmap, GError **error)
{
    if (info->forgets)
        return check_known(self, request, info, error);
    g_autoptr(ImageInfo) image = NULL;
    return image_info(info->path, info->format, true, &image, error) &&
           (has_bitmap(image, bitmap) || fail_for_bitmap(self, info, bitmap, error));
}

static bool
open_off(Moment *self, const MomentRequest *request, const GPtrArray *infos, GError **error)
{
    if (request->incremental == NULL && !add_bitmaps(self, request, infos, error))
        return false;
    g_autoptr(GHashTable) fresh = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    if (request->incremental != NULL && !cover_disks(self, request, infos, fresh, error))
        return false;
    const char *bitmap = request->incremental != NULL ? request->incremental : request->checkpoint;
    self->marker = make_marker(infos, bitmap, &self->marker_tells);
    self->servers = g_ptr_array_new_with_free_func((GDestroyNotify)disk_server_stop);
    for (guint i = 0; i < infos->len; i++) {
        const VirtDisk *info = g_ptr_array_index(infos, i);
        if (!check_image(self, request, info, bitmap, error))
            return false;
        g_autofree char *random = g_uuid_string_random();
        random[8] = '\0';
        g_autofree char *folder = g_build_filename(self->context->run_folder, random, NULL);
        const char *own = info->forgets ? NULL : bitmap;
        DiskServer *server = disk_server_start_bitmap(folder, info->path, info->format, own, error);
        if (server == NULL)
            return false;
        g_ptr_array_add(self->servers, server);
        MomentDisk *disk = add_disk(self, info);
        if (!connect_disk(self, disk, disk_server_socket(server), DISK_SERVER_BITMAP_EXPORT, own, error))
            return false;
        if (request->incremental == NULL || g_hash_table_contains(fresh, info->target))
            g_clear_pointer(&disk->dirty, extent_set_free);
        else if (info->forgets)
            disk->dirty = extent_set_new();
    }
    return true;
}

/* The wanted disks, in the order of the request. */
static GPtrArray *
wanted_disks(const ReplicationContext *context, const char *vm_uuid, const char *const *targets, GPtrArray *all,
             GError **error)
{
    g_autoptr(GPtrArray) wanted = g_ptr_array_new();
    for (; *targets != NULL; targets++) {
        const VirtDisk *disk = find_disk(all, *targets);
        if (disk == NULL || disk->path == NULL) {
            g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "disk '%s' is no longer part of the VM", *targets);
            return NULL;
        }
        if (disk->untrackable != NULL) {
            g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNTRACKABLE, "disk '%s': %s", *targets, disk->untrackable);
            return NULL;
        }
        g_ptr_array_add(wanted, (gpointer)disk);
    }
    return g_steal_pointer(&wanted);
}

Moment *
moment_open(const ReplicationContext *context, const MomentRequest *request, GError **error)
{
    g_autoptr(VirtDomain) domain = virt_host_find(context->virt, request->vm_uuid, error);
    if (domain == NULL)
        return NULL;
    g_autoptr(GPtrArray) all = virt_host_disks(context->virt, request->vm_uuid, error);
    if (all == NULL)
        return NULL;
    g_autoptr(GPtrArray) infos = wanted_disks(context, request->vm_uuid, request->disks, all, error);
    if (infos == NULL)
        return NULL;

    Moment *self = g_new0(Moment, 1);
    self->context = context;
    self->vm_uuid = g_strdup(request->vm_uuid);
    self->targets = g_strdupv((char **)request->disks);
    self->disks = g_ptr_array_new_with_free_func((GDestroyNotify)moment_disk_free);
    self->checkpoint = g_strdup(request->incremental != NULL ? request->incremental : request->checkpoint);
    self->taken_usec = g_get_monotonic_time();
    bool good = is_off(domain) ? open_off(self, request, infos, error) : open_running(self, request, domain->pid, infos, error);
    good = good && (request->incremental == NULL || sent_parts_add(context, request->vm_uuid, request->incremental, self, error));
    if (!good) {
        bool made = self->made_checkpoint;
        moment_close(self);
        if (made)
            virt_checkpoint_delete(context->virt, request->vm_uuid, request->checkpoint, NULL);
        return NULL;
    }
    return self;
}

Moment *
moment_new_held(const ReplicationContext *context, const MomentHolder *holder, int64_t taken_usec)
{
    Moment *self = g_new0(Moment, 1);
    self->context = context;
    self->disks = g_ptr_array_new_with_free_func((GDestroyNotify)moment_disk_free);
    self->holder = *holder;
    self->taken_usec = taken_usec;
    self->made_checkpoint = true;
    return self;
}

bool
moment_add_held(Moment *self, const char *socket, const char *id, ExtentSet *dirty, GError **error)
{
    MomentDisk *disk = g_new0(MomentDisk, 1);
    disk->id = g_strdup(id);
    disk->dirty = dirty;
    g_ptr_array_add(self->disks, disk);
    return connect_disk(self, disk, socket, id, NULL, error);
}

unsigned
moment_disk_count(const Moment *self)
{
    return self->disks->len;
}

const MomentDisk *
moment_disk(const Moment *self, unsigned index)
{
    return g_ptr_array_index(self->disks, index);
}

bool
moment_made_checkpoint(const Moment *self)
{
    return self->made_checkpoint;
}

int64_t
moment_taken(const Moment *self)
{
    return self->taken_usec;
}

bool
moment_is_consistent(const Moment *self, int64_t *ret_frozen_usec, const GError **ret_error)
{
    *ret_frozen_usec = self->frozen_usec;
    *ret_error = self->freeze_error;
    return self->consistent;
}

const char *
moment_marker(const Moment *self)
{
    return self->marker_tells ? self->marker : NULL;
}

const gint *
moment_cancelled(const Moment *self)
{
    return self->capture != NULL ? virt_capture_cancelled(self->capture) : self->holder.cancelled;
}

bool
moment_has_room(Moment *self)
{
    return self->capture == NULL ||
           virt_capture_scratch_bytes(self->capture) < self->context->scratch_max_bytes / 2;
}

static const char *
capture_problem(VirtCaptureStatus status)
{
    switch (status) {
    case VIRT_CAPTURE_ACTIVE:
        break;
    case VIRT_CAPTURE_GAVE_UP_SCRATCH:
        return "the scratch space ran low; give [paths] scratch-max more if this goes on";
    case VIRT_CAPTURE_GAVE_UP_TIME:
        return "it took too long";
    case VIRT_CAPTURE_GAVE_UP_GUEST:
        return "the guest was paused by a disk error and has been resumed";
    case VIRT_CAPTURE_ENDED_OUTSIDE:
        return "the VM stopped or its backup job was ended by somebody else";
    }
    return NULL;
}

char *
moment_marker_now(const ReplicationContext *context, const char *vm_uuid, const char *const *targets,
                  const char *checkpoint)
{
    g_autoptr(VirtDomain) domain = virt_host_find(context->virt, vm_uuid, NULL);
    if (domain == NULL || !is_off(domain))
        return NULL;
    g_autoptr(GPtrArray) all = virt_host_disks(context->virt, vm_uuid, NULL);
    g_autoptr(GPtrArray) infos = all != NULL ? wanted_disks(context, vm_uuid, targets, all, NULL) : NULL;
    bool tells;
    return infos != NULL ? make_marker(infos, checkpoint, &tells) : NULL;
}

bool
moment_check(Moment *self, GError **error)
{
    if (self->finished)
        return true;
    if (self->holder.check != NULL)
        return self->holder.check(self->holder.opaque, error);
    if (self->capture != NULL) {
        VirtCaptureStatus status = virt_capture_status(self->capture);
        if (status == VIRT_CAPTURE_ACTIVE)
            return true;
        g_set_error(error, VIRT_ERROR, status == VIRT_CAPTURE_ENDED_OUTSIDE ? VIRT_ERROR_STATE : VIRT_ERROR_GAVE_UP,
                    "the capture was given up: %s", capture_problem(status));
        return false;
    }
    g_autofree char *now = moment_marker_now(self->context, self->vm_uuid, (const char *const *)self->targets,
                                             self->checkpoint);
    if (g_strcmp0(now, self->marker) == 0)
        return true;
    g_set_error(error, VIRT_ERROR, VIRT_ERROR_STATE, "the VM was started, or its images changed, while they were read");
    return false;
}

bool
moment_finish(Moment *self, GError **error)
{
    if (!moment_check(self, error))
        return false;
    self->finished = true;
    bool held = self->capture != NULL || self->holder.release != NULL;
    for (guint i = 0; held && i < self->disks->len; i++) {
        MomentDisk *disk = g_ptr_array_index(self->disks, i);
        g_clear_pointer(&disk->client, disk_client_free);
    }
    g_clear_pointer(&self->capture, virt_capture_end);
    release(self);
    return true;
}

void
moment_explain(Moment *self, GError **error)
{
    g_autoptr(GError) cause = NULL;
    if (error == NULL || *error == NULL || moment_check(self, &cause))
        return;
    g_clear_error(error);
    g_propagate_error(error, g_steal_pointer(&cause));
}

/* Read after the disks' moment, and while QEMU may be writing to it: at most newer than the disks. */
static bool
read_nvram(const ReplicationContext *context, const char *vm_uuid, GHashTable *blobs, GError **error)
{
    g_autofree char *path = NULL;
    if (!virt_host_nvram_path(context->virt, vm_uuid, &path, error))
        return false;
    g_autoptr(GError) cause = NULL;
    char *content = NULL;
    gsize length = 0;
    if (path == NULL)
        return true;
    if (g_file_get_contents(path, &content, &length, &cause)) {
        g_hash_table_insert(blobs, g_strdup(BLOB_NVRAM), g_bytes_new_take(content, length));
        return true;
    }
    if (g_error_matches(cause, G_FILE_ERROR, G_FILE_ERROR_NOENT))
        return true; /* libvirt makes it at the first start */
    g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "the firmware variables cannot be read: %s", cause->message);
    return false;
}

GHashTable *
moment_blobs(const ReplicationContext *context, const char *vm_uuid, GError **error)
{
    g_autofree char *xml = virt_host_xml(context->virt, vm_uuid, error);
    if (xml == NULL)
        return NULL;
    g_autoptr(GHashTable) blobs = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_bytes_unref);
    g_hash_table_insert(blobs, g_strdup(BLOB_DOMAIN), g_bytes_new(xml, strlen(xml)));
    if (!read_nvram(context, vm_uuid, blobs, error) || !tpm_state_read(context, vm_uuid, blobs, error))
        return NULL;
    return g_steal_pointer(&blobs);
}
