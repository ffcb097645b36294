/* A VM that was a replica here, and whose replication was removed, is defined on overlays of the images that were the replica's disks. As the seed
 * of a new replica it is on these images: what it wrote into the overlays goes there. */
#include "replication/seed-check.h"

#include "disk/image.h"
#include "replication/replica-folder.h"
#include "util/durable.h"
#include "util/log.h"

#include <string.h>
#include <unistd.h>

/* @ret_base: the image below @disk when that is an overlay of ours on it, and nothing is below that; (transfer full)(nullable) */
static bool
find_base(const VirtDisk *disk, char **ret_base, GError **error)
{
    g_autofree char *part = g_path_get_dirname(disk->path), *folder = g_path_get_dirname(part);
    g_autofree char *overlay = replica_overlay_path(folder, disk->target), *base = replica_disk_path(folder, disk->target);
    g_autoptr(ImageInfo) above = NULL;
    g_autoptr(ImageInfo) below = NULL;
    *ret_base = NULL;
    if (strcmp(overlay, disk->path) != 0)
        return true;
    if (!image_info(overlay, "qcow2", true, &above, error) || !image_info(base, "qcow2", true, &below, error))
        return false;
    if (g_strcmp0(above->backing_path, base) == 0 && below->backing_path == NULL && below->n_snapshots == 0 &&
        above->n_snapshots == 0)
        *ret_base = g_steal_pointer(&base);
    return true;
}

static bool
fold(ReplicationService *self, const StoreRelationship *row, const VirtDisk *disk, const char *base, GError **error)
{
    if (!image_commit(disk->path, base, NULL, error) ||
        !virt_host_set_disk_path(self->context.virt, row->vm_uuid, disk->target, base, error))
        return false;
    /* Started just before, it writes to the overlay. */
    if (!seed_check_off(self, row, error)) {
        virt_host_set_disk_path(self->context.virt, row->vm_uuid, disk->target, disk->path, NULL);
        return false;
    }
    log_notice("seed", row->vm_name, "its disk '%s' is '%s' now, with what the overlay '%s' held", disk->target, base, disk->path);
    sync(); /* libvirt does not see to it that what it defines survives a loss of power */
    return durable_unlink(disk->path, error);
}

bool
seed_fold_overlays(ReplicationService *self, const StoreRelationship *row, GError **error)
{
    GError *cause = NULL;
    g_autoptr(GPtrArray) disks = virt_host_disks(self->context.virt, row->vm_uuid, &cause);
    bool good = disks != NULL;
    for (guint i = 0; good && i < disks->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(disks, i);
        g_autofree char *base = NULL;
        if (disk->replicable && disk->path != NULL)
            good = find_base(disk, &base, &cause) && (base == NULL || fold(self, row, disk, base, &cause));
    }
    return good || service_fail(cause, error);
}
