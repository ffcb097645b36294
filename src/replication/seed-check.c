#include "replication/seed-check.h"

#include "disk/disk-server.h"
#include "disk/image.h"
#include "replication/entry-limits.h"
#include "replication/replica-folder.h"
#include "replication/turn-check.h"

#include <string.h>

char **
seed_targets(const LinkOffer *offer)
{
    g_autoptr(GStrvBuilder) targets = g_strv_builder_new();
    for (unsigned i = 0; i < offer->n_disks; i++)
        g_strv_builder_add(targets, offer->disks[i].id);
    return g_strv_builder_end(targets);
}

/* ---- its images ---- */

static bool
refuse(GError **error, const StoreRelationship *row, const VirtDisk *disk, const char *format, ...) G_GNUC_PRINTF(4, 5);

static bool
refuse(GError **error, const StoreRelationship *row, const VirtDisk *disk, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *what = g_strdup_vprintf(format, args);
    va_end(args);
    return replication_refuse(error, REPLICATION_ERROR_NOT_SUPPORTED, "disk '%s' of VM '%s' cannot become a replica's: %s", disk->target,
                              row->vm_name, what);
}

static bool
check_image(const StoreRelationship *row, const VirtDisk *disk, GError **error)
{
    g_autoptr(ImageInfo) info = NULL;
    GError *cause = NULL;
    if (g_strcmp0(disk->format, "qcow2") != 0)
        return refuse(error, row, disk, "its image '%s' has the format '%s'; make it qcow2 with 'qemu-img convert -O qcow2', with its "
                      "definition", disk->path, disk->format != NULL ? disk->format : "raw");
    if (!image_info(disk->path, "qcow2", true, &info, &cause))
        return service_fail(cause, error);
    if (info->backing_path != NULL)
        return refuse(error, row, disk, "its image '%s' is an overlay of '%s'; make one image of both with 'qemu-img rebase -b \"\" %s'",
                      disk->path, info->backing_path, disk->path);
    if (info->n_snapshots > 0)
        return refuse(error, row, disk, "its image '%s' holds snapshots; delete them with 'qemu-img snapshot -d'", disk->path);
    return true;
}

static bool
check_snapshots(ReplicationService *self, const StoreRelationship *row, GError **error)
{
    unsigned number;
    GError *cause = NULL;
    if (!virt_host_snapshots(self->context.virt, row->vm_uuid, &number, &cause))
        return service_fail(cause, error);
    return number == 0 || replication_refuse(error, REPLICATION_ERROR_NOT_SUPPORTED,
                                             "VM '%s' has snapshots, and a replica cannot; delete them with 'virsh snapshot-delete'",
                                             row->vm_name);
}

/* Of VirtDisk: what a replica would have of its disks. */
static GPtrArray *
replicable_disks(ReplicationService *self, const StoreRelationship *row, GError **error)
{
    GError *cause = NULL;
    GPtrArray *disks = virt_host_disks(self->context.virt, row->vm_uuid, &cause);
    for (guint i = 0; disks != NULL && i < disks->len;) {
        const VirtDisk *disk = g_ptr_array_index(disks, i);
        if (disk->replicable && disk->path != NULL)
            i++;
        else
            g_ptr_array_remove_index(disks, i);
    }
    if (disks == NULL)
        service_fail(cause, error);
    return disks;
}

bool
seed_check_off(ReplicationService *self, const StoreRelationship *row, GError **error)
{
    GError *cause = NULL;
    if (!turn_check_off(self, row, &cause))
        return service_fail(cause, error);
    return check_snapshots(self, row, error);
}

bool
seed_check_vm(ReplicationService *self, const StoreRelationship *row, GError **error)
{
    g_autoptr(GPtrArray) disks = seed_check_off(self, row, error) ? replicable_disks(self, row, error) : NULL;
    if (disks != NULL && disks->len == 0)
        return replication_refuse(error, REPLICATION_ERROR_NOT_SUPPORTED, "VM '%s' has no disk that could become a replica's", row->vm_name);
    bool good = disks != NULL;
    for (guint i = 0; good && i < disks->len; i++)
        good = check_image(row, g_ptr_array_index(disks, i), error);
    return good;
}

/* ---- what a primary offers ---- */

static bool
check_size(ReplicationService *self, const StoreRelationship *row, const VirtDisk *disk, const ChangeLogDisk *wanted, GError **error)
{
    g_autoptr(ImageInfo) info = NULL;
    if (!image_info(disk->path, "qcow2", true, &info, error))
        return false;
    return info->virtual_size == wanted->size_bytes ||
           service_deny_peer(error, "disk '%s' of VM '%s' has %" G_GUINT64_FORMAT " bytes on the primary and %" G_GUINT64_FORMAT " on '%s'; "
                             "make them equal with 'qemu-img resize %s %" G_GUINT64_FORMAT "' on '%s'", disk->target, row->vm_name,
                             wanted->size_bytes, info->virtual_size, self->context.host_name, disk->path, wanted->size_bytes,
                             self->context.host_name);
}

static const ChangeLogDisk *
find_offered(const LinkOffer *offer, const char *target)
{
    for (unsigned i = 0; i < offer->n_disks; i++) {
        if (strcmp(offer->disks[i].id, target) == 0)
            return &offer->disks[i];
    }
    return NULL;
}

static bool
check_disks(ReplicationService *self, const StoreRelationship *row, const GPtrArray *disks, const LinkOffer *offer, GError **error)
{
    bool same = disks->len == offer->n_disks;
    for (guint i = 0; same && i < disks->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(disks, i);
        const ChangeLogDisk *wanted = find_offered(offer, disk->target);
        same = wanted != NULL;
        if (same && !check_size(self, row, disk, wanted, error))
            return false;
    }
    return same || service_deny_peer(error, "VM '%s' has other disks on '%s' than those that are to be replicated; give it the same ones "
                                     "there, with the same targets", row->vm_name, self->context.host_name);
}

/* Is there nothing in @folder, or no disk where disks would be? That is what a death within a removal leaves (service_clean_seed()). */
static bool
is_left_over(const char *folder)
{
    g_autofree char *disks = g_build_filename(folder, "disks", NULL);
    g_autoptr(GDir) part = g_dir_open(disks, 0, NULL);
    g_autoptr(GDir) all = part == NULL ? g_dir_open(folder, 0, NULL) : NULL;
    return (part != NULL && g_dir_read_name(part) == NULL) || (all != NULL && g_dir_read_name(all) == NULL);
}

/* Files of an earlier replica may be there only when they are this VM's: then its images are the disks there. */
static bool
check_folder(ReplicationService *self, const StoreRelationship *row, const GPtrArray *disks, const char *folder, GError **error)
{
    bool free_to_use = row->folder != NULL || !g_file_test(folder, G_FILE_TEST_EXISTS) || is_left_over(folder);
    for (guint i = 0; !free_to_use && i < disks->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(disks, i);
        g_autofree char *path = replica_disk_path(folder, disk->target);
        free_to_use = strcmp(path, disk->path) == 0;
    }
    return free_to_use || service_deny_peer(error, "the folder '%s' on host '%s' holds files of an earlier replica; move it away or remove it",
                                            folder, self->context.host_name);
}

/* As the replica will have them open. Another VM may use one of them. */
static bool
check_unused(ReplicationService *self, const StoreRelationship *row, const GPtrArray *disks, GError **error)
{
    g_autofree DiskServerImage *images = g_new0(DiskServerImage, MAX(disks->len, 1));
    for (guint i = 0; i < disks->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(disks, i);
        images[i] = (DiskServerImage){ .id = disk->target, .path = disk->path, .format = "qcow2" };
    }
    g_autofree char *run = replica_run_folder(&self->context, row->vm_uuid);
    g_autoptr(DiskServer) server = disk_server_start(run, images, disks->len, true, error);
    return server != NULL;
}

static uint64_t
offered_bytes(const LinkOffer *offer)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < offer->n_disks; i++)
        bytes += offer->disks[i].size_bytes;
    return bytes;
}

static bool
check_all(ReplicationService *self, const StoreRelationship *row, const LinkOffer *offer, const AuthorizationEntry *entry,
          const char *folder, GError **error)
{
    g_auto(GStrv) targets = seed_targets(offer);
    g_autoptr(GPtrArray) disks = seed_check_vm(self, row, error) ? replicable_disks(self, row, error) : NULL;
    return disks != NULL && check_disks(self, row, disks, offer, error) && check_folder(self, row, disks, folder, error) &&
           turn_check_files(self, row, targets, folder, error) &&
           turn_check_definition(self, row, offer->domain_xml, targets, folder, error) &&
           entry_limits_check_turn(self, entry->allowed_primary, offered_bytes(offer), error) && check_unused(self, row, disks, error);
}

bool
seed_check_offer(ReplicationService *self, const StoreRelationship *row, const LinkOffer *offer, const AuthorizationEntry *entry,
                 const char *folder, GError **error)
{
    g_autoptr(GError) cause = NULL;
    if (check_all(self, row, offer, entry, folder, &cause))
        return true;
    if (cause->domain == REPLICATION_ERROR)
        g_set_error(error, LINK_ERROR, LINK_ERROR_STATE, "on host '%s': %s", self->context.host_name, cause->message);
    else
        g_propagate_error(error, g_steal_pointer(&cause));
    return false;
}
