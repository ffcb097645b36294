#include "replication/turn-check.h"

#include "disk/image.h"
#include "replication/entry-limits.h"
#include "replication/replica-folder.h"
#include "util/reach.h"

#include <string.h>

char *
turn_folder(ReplicationService *self, const StoreRelationship *row, const AuthorizationEntry *entry)
{
    return row->folder != NULL ? g_strdup(row->folder) : service_replica_folder(self, entry, row->vm_uuid);
}

/* ---- the VM ---- */

bool
turn_check_off(ReplicationService *self, const StoreRelationship *row, GError **error)
{
    g_autoptr(VirtDomain) domain = virt_host_find(self->context.virt, row->vm_uuid, error);
    if (domain == NULL)
        return false;
    if (domain->state == VIRT_OFF || domain->state == VIRT_CRASHED)
        return true;
    g_set_error(error, LINK_ERROR, LINK_ERROR_STATE, "VM '%s' %s on '%s'", row->vm_name,
                domain->state == VIRT_SAVED ? "has a saved state; drop it with 'virsh managedsave-remove'" : "runs; shut it down",
                self->context.host_name);
    return false;
}

bool
turn_check_definition(ReplicationService *self, const StoreRelationship *row, const char *definition, char *const *targets,
                      const char *folder, GError **error)
{
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    for (char *const *id = targets; *id != NULL; id++)
        g_ptr_array_add(paths, replica_overlay_path(folder, *id));
    g_ptr_array_add(paths, NULL);
    VirtRebuild rebuild = { .name = row->vm_name,
                            .uuid = row->vm_uuid,
                            .targets = (const char *const *)targets,
                            .paths = (const char *const *)paths->pdata,
                            .format = "qcow2",
                            .serial_log_folder = self->context.serial_log_folder };
    g_autofree char *xml = virt_rebuild_xml(definition, &rebuild, NULL, error);
    return xml != NULL;
}

/* ---- its files ---- */

static bool
is_below(const char *path, const char *folder, const char *part)
{
    g_autofree char *prefix = g_strdup_printf("%s/%s%s", folder, part, part[0] != '\0' ? "/" : "");
    return g_str_has_prefix(path, prefix);
}

static bool
check_image(ReplicationService *self, const StoreRelationship *row, const VirtDisk *disk, const char *folder, GError **error)
{
    g_autoptr(ImageInfo) info = NULL;
    if (is_below(disk->path, folder, "") && !is_below(disk->path, folder, "disks"))
        return service_deny_peer(error, "disk '%s' of VM '%s' on '%s' is '%s', in a place for files of replication; move it elsewhere "
                                        "(qemu-img convert), with its definition", disk->target, row->vm_name, self->context.host_name,
                                 disk->path);
    if (disk->forgets)
        return service_deny_peer(error, "disk '%s' of VM '%s' on '%s' is raw, and the disks of a replica are qcow2 images; "
                                        "commit the failover, remove replication on both hosts and enable it again from "
                                        "where the VM runs", disk->target, row->vm_name, self->context.host_name);
    if (!image_info(disk->path, "qcow2", true, &info, error))
        return false;
    return info->backing_path == NULL || g_file_test(info->backing_path, G_FILE_TEST_EXISTS) ||
           service_deny_peer(error, "disk '%s' of VM '%s' is on top of '%s', which is not there on '%s'", disk->target, row->vm_name,
                             info->backing_path, self->context.host_name);
}

static bool
check_images(ReplicationService *self, const StoreRelationship *row, char *const *targets, const char *folder, GError **error)
{
    g_autoptr(GPtrArray) disks = virt_host_disks(self->context.virt, row->vm_uuid, error);
    unsigned found = 0;
    for (guint i = 0; disks != NULL && i < disks->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(disks, i);
        bool included = g_strv_contains((const char *const *)targets, disk->target);
        if (included && disk->path != NULL && !check_image(self, row, disk, folder, error))
            return false;
        found += included && disk->path != NULL;
    }
    return disks != NULL && (found == g_strv_length((char **)targets) ||
                             service_deny_peer(error, "VM '%s' has lost a disk that is replicated on '%s'", row->vm_name,
                                               self->context.host_name));
}

/* Firmware variables in what is emptied when the VM turns would be gone. */
static bool
check_variables(ReplicationService *self, const StoreRelationship *row, const char *folder, GError **error)
{
    static const char *const emptied[] = { "blobs", "staging", "undo", "reversed" };
    g_autofree char *path = NULL;
    if (!virt_host_nvram_path(self->context.virt, row->vm_uuid, &path, error))
        return false;
    for (size_t i = 0; path != NULL && i < G_N_ELEMENTS(emptied); i++) {
        if (is_below(path, folder, emptied[i]))
            return service_deny_peer(error, "the firmware variables of VM '%s' on '%s' are '%s', in a place for files of replication; move "
                                            "them elsewhere, with its definition", row->vm_name, self->context.host_name, path);
    }
    return true;
}

/* What lies in the folder of disks is taken for the replica's. */
static bool
check_strays(const StoreRelationship *row, char *const *targets, const char *folder, GError **error)
{
    g_autofree char *place = g_build_filename(folder, "disks", NULL);
    if (!g_file_test(place, G_FILE_TEST_EXISTS))
        return true;
    g_auto(GStrv) ids = replica_folder_disks(folder, error);
    for (char **id = ids; id != NULL && *id != NULL; id++) {
        if (!g_strv_contains((const char *const *)targets, *id))
            return service_deny_peer(error, "'%s' holds a disk '%s', which is none of those that replicate of VM '%s'; move it away", place,
                                     *id, row->vm_name);
    }
    return ids != NULL;
}

bool
turn_check_files(ReplicationService *self, const StoreRelationship *row, char *const *targets, const char *folder, GError **error)
{
    return reach_check(self->context.qemu_user, folder, error) && check_strays(row, targets, folder, error) &&
           check_variables(self, row, folder, error) && check_images(self, row, targets, folder, error);
}

/* ---- all ---- */

bool
turn_declared_bytes(ReplicationService *self, const char *vm_uuid, const LinkReversal *reversal, uint64_t *ret_bytes, GError **error)
{
    g_autoptr(GPtrArray) disks = virt_host_disks(self->context.virt, vm_uuid, error);
    uint64_t bytes = 0;
    for (unsigned i = 0; disks != NULL && i < reversal->offer.n_disks; i++) {
        uint64_t size = reversal->offer.disks[i].size_bytes;
        for (guint j = 0; j < disks->len; j++) {
            const VirtDisk *disk = g_ptr_array_index(disks, j);
            if (strcmp(disk->target, reversal->offer.disks[i].id) == 0)
                size = MAX(size, disk->size_bytes);
        }
        bytes += size;
    }
    *ret_bytes = bytes;
    return disks != NULL;
}

/* A folder that is not known as this relationship's may be that of an earlier replica, with disks that its VM still uses. */
static bool
check_folder(ReplicationService *self, const StoreRelationship *row, const char *folder, GError **error)
{
    return row->folder != NULL || !g_file_test(folder, G_FILE_TEST_EXISTS) ||
           service_deny_peer(error, "the folder '%s' on host '%s' holds files of an earlier replica; move it away or remove it", folder,
                             self->context.host_name);
}

bool
turn_check(ReplicationService *self, const StoreRelationship *row, const RelationshipSettings *settings,
           const AuthorizationEntry *entry, const LinkReversal *reversal, GError **error)
{
    g_autofree char *folder = turn_folder(self, row, entry);
    char *const *targets = settings->included_disks;
    uint64_t bytes;
    if (!turn_check_off(self, row, error) || !check_folder(self, row, folder, error) ||
        !turn_check_files(self, row, targets, folder, error))
        return false;
    g_autofree char *own = virt_host_xml(self->context.virt, row->vm_uuid, error);
    return own != NULL && turn_check_definition(self, row, own, targets, folder, error) &&
           turn_declared_bytes(self, row->vm_uuid, reversal, &bytes, error) &&
           entry_limits_check_turn(self, entry->allowed_primary, bytes, error);
}
