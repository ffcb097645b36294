/* What is left to do when a primary, or a VM that did not replicate, has become a replica in the store: the definition of a replica in the place of its own, so that it starts
 * from its images no more, and these images open for writing. Done again until it is all done. */
#include "replication/replica-private.h"

#include "disk/image.h"
#include "replication/primary.h"
#include "replication/replica-folder.h"

#define BITMAPS_OF_OURS "vr-"

static bool
find_domain(Replica *self, const StoreRelationship *row, VirtDomain **ret_domain, GError **error)
{
    g_autoptr(GError) cause = NULL;
    *ret_domain = virt_host_find(self->context->virt, row->vm_uuid, &cause);
    if (*ret_domain != NULL || g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN))
        return true;
    g_propagate_error(error, g_steal_pointer(&cause));
    return false;
}

static bool
place(Replica *self, const StoreRelationship *row, bool locked, GError **error)
{
    g_autoptr(VirtDomain) domain = NULL;
    if (!find_domain(self, row, &domain, error))
        return false;
    if (domain != NULL && domain->state != VIRT_OFF && domain->state != VIRT_CRASHED) {
        g_set_error(error, VIRT_ERROR, VIRT_ERROR_STATE,
                    "VM '%s' was started on this host, which holds its replica now; turn it off here", row->vm_name);
        return false;
    }
    if (domain != NULL && replica_is_on_overlays(self->context, row))
        return true;
    /* It could be started from its images until now, and what it wrote then is in no set of changes. */
    if (!locked && !replica_turn_unnote(row->folder, TURN_KNOWN, error))
        return false;
    return replica_place_domain(self->context, row, error);
}

/* By their paths: the VM is defined on overlays, where libvirt's checkpoints would look for them in vain. Broken ones, too, with which QEMU
 * would refuse to resize an image. */
static bool
drop_bitmaps(const StoreRelationship *row, GError **error)
{
    g_auto(GStrv) ids = replica_folder_disks(row->folder, error);
    for (char **id = ids; id != NULL && *id != NULL; id++) {
        g_autofree char *path = replica_disk_path(row->folder, *id);
        g_autoptr(ImageInfo) info = NULL;
        if (!image_info(path, "qcow2", false, &info, error))
            return false;
        for (char **name = info->bitmaps; *name != NULL; name++) {
            if (g_str_has_prefix(*name, BITMAPS_OF_OURS) && !image_bitmap_remove(path, *name, error))
                return false;
        }
    }
    return ids != NULL;
}

bool
replica_is_awaited(const StoreRelationship *row)
{
    return replication_mode_is_replica(row->mode) && row->lineage == NULL;
}

bool
replica_is_seeded(const StoreRelationship *row)
{
    if (!replication_mode_is_replica(row->mode) || row->initial_complete || row->folder == NULL)
        return false;
    g_autofree char *fact = replica_turn_fact(row->folder, TURN_SEEDED);
    return fact != NULL;
}

bool
replica_settle(Replica *self, bool locked, GError **error)
{
    g_autoptr(StoreRelationship) row = self->settled ? NULL : relationship_row(self->relationship);
    if (self->settled || replica_is_awaited(row))
        return true;
    g_autofree char *from = replica_turn_fact(row->folder, TURN_FROM), *settled = replica_turn_fact(row->folder, TURN_SETTLED);
    g_autofree char *lock = primary_lock_folder(self->context, row->vm_uuid);
    bool open = (from != NULL || replica_is_seeded(row)) && settled == NULL;
    /* The lock is held until the definition is another. */
    self->settled = !open || (place(self, row, locked, error) && primary_forget(self->context, row->vm_uuid, error) &&
                              disk_server_end_left_over(lock, error) && drop_bitmaps(row, error) &&
                              replica_open_disks(self, error) && replica_turn_note(row->folder, TURN_SETTLED, "", error));
    return self->settled;
}
