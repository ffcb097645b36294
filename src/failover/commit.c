/* CommitFailover: what the started VM wrote becomes its disk, and the way back goes. */
#include "failover/failover-private.h"

#include "disk/image.h"
#include "failover/overlay.h"
#include "replication/replica-folder.h"
#include "util/durable.h"
#include "util/log.h"

#include <string.h>
#include <unistd.h>

bool
failover_commit_is_open(const StoreRelationship *row)
{
    g_auto(GStrv) ids = replica_folder_disks(row->folder, NULL);
    for (char **id = ids; id != NULL && *id != NULL; id++) {
        g_autofree char *overlay = replica_overlay_path(row->folder, *id);
        if (g_file_test(overlay, G_FILE_TEST_EXISTS))
            return true;
    }
    return false;
}

/* ---- the disks ---- */

typedef enum { DISK_ON_OVERLAY, DISK_COMMITTED, DISK_ELSEWHERE } DiskPlace;

static const VirtDisk *
find_disk(const GPtrArray *disks, const char *id)
{
    for (guint i = 0; i < disks->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(disks, i);
        if (strcmp(disk->target, id) == 0)
            return disk;
    }
    return NULL;
}

static DiskPlace
place_of(const StoreRelationship *row, const GPtrArray *disks, const char *id)
{
    const VirtDisk *disk = find_disk(disks, id);
    g_autofree char *overlay = replica_overlay_path(row->folder, id), *base = replica_disk_path(row->folder, id);
    if (disk != NULL && g_strcmp0(disk->path, overlay) == 0)
        return DISK_ON_OVERLAY;
    return disk != NULL && g_strcmp0(disk->path, base) == 0 ? DISK_COMMITTED : DISK_ELSEWHERE;
}

/* Everything that can refuse a commit without having changed anything. */
static bool
check_disks(Member *member, const StoreRelationship *row, GError **error)
{
    g_autoptr(GPtrArray) disks = virt_host_disks(member->service->context.virt, row->vm_uuid, error);
    g_autofree char *blobs = replica_failover_blob_folder(row->folder);
    g_auto(GStrv) ids = disks != NULL ? replica_set_of_state(row, blobs, error) : NULL;
    for (char **id = ids; id != NULL && *id != NULL; id++) {
        if (place_of(row, disks, *id) == DISK_ELSEWHERE)
            return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                                      "cannot commit the failover: disk '%s' of VM '%s' is no longer what was failed over to; commit or "
                                      "delete its snapshots first", *id, row->vm_name);
    }
    return ids != NULL;
}

typedef struct {
    Job     *job;
    unsigned done, n; /* disks */
} Progress;

static void
show_progress(void *opaque, unsigned percent)
{
    const Progress *progress = opaque;
    job_set_percent(progress->job, (progress->done * 100 + percent) / progress->n);
}

static bool
commit_running(Member *member, const StoreRelationship *row, const char *id, Progress *progress, GError **error)
{
    g_autofree char *overlay = replica_overlay_path(row->folder, id), *base = replica_disk_path(row->folder, id);
    g_autoptr(ImageInfo) top = NULL;
    g_autoptr(ImageInfo) below = NULL;
    if (!image_info(overlay, "qcow2", true, &top, error) || !image_info(base, "qcow2", true, &below, error))
        return false;
    if (top->virtual_size < below->virtual_size)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                                  "disk '%s' of VM '%s' was smaller at the recovery point; turn the VM off and commit again", id,
                                  row->vm_name);
    return virt_host_commit_disk(member->service->context.virt, row->vm_uuid, id, show_progress, progress, error);
}

/* A bitmap that a killed QEMU left broken is worth nothing; a later reverse compares whole disks then. */
static bool
commit_off(const StoreRelationship *row, const char *id, GError **error)
{
    g_autofree char *overlay = replica_overlay_path(row->folder, id), *base = replica_disk_path(row->folder, id);
    g_autoptr(ImageInfo) info = NULL;
    if (!image_info(overlay, "qcow2", false, &info, error))
        return false;
    bool known = g_strv_contains((const char *const *)info->bitmaps, OVERLAY_CHECKPOINT) &&
                 !g_strv_contains((const char *const *)info->broken_bitmaps, OVERLAY_CHECKPOINT);
    return image_commit(overlay, base, known ? OVERLAY_CHECKPOINT : NULL, error);
}

static bool
find_place(Member *member, const StoreRelationship *row, const char *id, VirtDomain **ret_domain, DiskPlace *ret_place, GError **error)
{
    VirtHost *virt = member->service->context.virt;
    g_autoptr(VirtDomain) domain = virt_host_find(virt, row->vm_uuid, error);
    g_autoptr(GPtrArray) disks = domain != NULL ? virt_host_disks(virt, row->vm_uuid, error) : NULL;
    if (disks == NULL)
        return false;
    *ret_place = place_of(row, disks, id);
    *ret_domain = g_steal_pointer(&domain);
    return true;
}

static bool
is_off(const VirtDomain *domain)
{
    return domain->state == VIRT_OFF || domain->state == VIRT_CRASHED;
}

/* As the VM is now: it may be started or end at any time. */
static bool
commit_as_it_is(Member *member, const StoreRelationship *row, const char *id, Progress *progress, bool *ret_was_running, GError **error)
{
    g_autoptr(VirtDomain) domain = NULL;
    DiskPlace place;
    if (!find_place(member, row, id, &domain, &place, error))
        return false;
    if (domain->state == VIRT_SAVED)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                                  "VM '%s' has a saved state; start it, or drop that with 'virsh managedsave-remove'", row->vm_name);
    *ret_was_running = !is_off(domain);
    return place != DISK_ON_OVERLAY || (is_off(domain) ? commit_off(row, id, error) : commit_running(member, row, id, progress, error));
}

static bool
ended_meanwhile(Member *member, const StoreRelationship *row)
{
    g_autoptr(VirtDomain) domain = virt_host_find(member->service->context.virt, row->vm_uuid, NULL);
    return domain != NULL && is_off(domain);
}

static bool
commit_disk(Member *member, const StoreRelationship *row, const char *id, Progress *progress, GError **error)
{
    g_autoptr(GError) cause = NULL;
    bool was_running = false;
    bool good = commit_as_it_is(member, row, id, progress, &was_running, &cause);
    if (!good && was_running && ended_meanwhile(member, row)) {
        log_notice("failover", row->vm_name, "it ended while its failover was committed; going on with its images");
        g_clear_error(&cause);
        good = commit_as_it_is(member, row, id, progress, &was_running, &cause);
    }
    if (!good) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    g_autofree char *base = replica_disk_path(row->folder, id);
    return virt_host_set_disk_path(member->service->context.virt, row->vm_uuid, id, base, error);
}

static bool
commit_disks(Member *member, const StoreRelationship *row, Job *job, GError **error)
{
    g_autofree char *blobs = replica_failover_blob_folder(row->folder);
    g_auto(GStrv) ids = replica_set_of_state(row, blobs, error);
    if (ids == NULL)
        return false;
    unsigned n = g_strv_length(ids);
    Progress progress = { .job = job, .n = MAX(n, 1) };
    for (; progress.done < n; progress.done++) {
        if (!commit_disk(member, row, ids[progress.done], &progress, error))
            return false;
    }
    /* Started just before it was defined on its disks, it runs on overlays yet. From now on it cannot be: one more look is enough. */
    for (progress.done = 0; progress.done < n; progress.done++) {
        g_autoptr(VirtDomain) domain = NULL;
        DiskPlace place;
        if (!find_place(member, row, ids[progress.done], &domain, &place, error) ||
            (place == DISK_ON_OVERLAY && !commit_disk(member, row, ids[progress.done], &progress, error)))
            return false;
    }
    return true;
}

/* ---- the history ---- */

static bool
drop_points(const ReplicationContext *context, const StoreRelationship *row, GError **error)
{
    g_autoptr(GPtrArray) points = store_points(context->store, row->vm_uuid, error);
    for (guint i = 0; points != NULL && i < points->len; i++) {
        if (!store_point_remove(context->store, ((StorePoint *)g_ptr_array_index(points, i))->id, error))
            return false;
    }
    g_autoptr(GPtrArray) undos = points != NULL ? store_undos(context->store, row->vm_uuid, error) : NULL;
    for (guint i = 0; undos != NULL && i < undos->len; i++) {
        const StoreUndo *undo = g_ptr_array_index(undos, i);
        g_autofree char *path = replica_undo_path(row->folder, undo);
        if (!store_undo_remove(context->store, undo, error) || !durable_unlink(path, error))
            return false;
    }
    return undos != NULL;
}

static bool
drop_overlays(const StoreRelationship *row, GError **error)
{
    g_auto(GStrv) ids = replica_folder_disks(row->folder, error);
    for (char **id = ids; id != NULL && *id != NULL; id++) {
        g_autofree char *overlay = replica_overlay_path(row->folder, *id);
        if (!durable_unlink(overlay, error))
            return false;
    }
    return ids != NULL;
}

/* ---- CommitFailover ---- */

bool
failover_commit_job(Member *member, Job *job, void *data, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    if (!commit_disks(member, row, job, error))
        return false;
    sync(); /* libvirt does not see to it that what it defines survives a loss of power */
    /* The overlays last: they tell that there is something left to do. */
    if (!drop_points(&member->service->context, row, error) || !drop_overlays(row, error))
        return false;
    log_notice("failover", row->vm_name, "failover committed; its recovery points are gone");
    return true;
}

/* The decision is durable before the first byte is written: a restart goes on, and nothing can take it back. */
bool
failover_commit_begin(Member *member, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    ReplicationState next;
    if (!state_table_next(row->mode, row->state, row->resume_state, OPERATION_COMMIT, &next, error))
        return false;
    if (row->state == STATE_COMMITTED && !failover_commit_is_open(row))
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE, "the failover of VM '%s' is committed already; reverse the "
                                  "replication, or remove it", row->vm_name);
    return check_disks(member, row, error) && relationship_move(member->relationship, OPERATION_COMMIT, error);
}

bool
failover_commit(ReplicationService *service, const Caller *caller, const char *vm_uuid, Job **ret_job, GError **error)
{
    *ret_job = NULL;
    g_autoptr(Member) member = failover_find_replica(service, vm_uuid, "commit the failover", false, error);
    if (member == NULL || !relationship_begin_operation(member->relationship, "commit the failover", error))
        return false;
    GError *cause = NULL;
    if (!failover_commit_begin(member, &cause)) {
        relationship_end_operation(member->relationship);
        return service_fail(cause, error);
    }
    *ret_job = failover_add_job(member, JOB_COMMIT_FAILOVER, "Committing the failover of", caller->user);
    service_run_job(member, *ret_job, failover_commit_job, NULL, NULL);
    return true;
}
