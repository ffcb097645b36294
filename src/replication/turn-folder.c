#include "replication/turn-folder.h"

#include "replication/replica-folder.h"
#include "util/durable.h"

#include <string.h>

bool
turn_claim_folder(Member *member, const char *folder, GError **error)
{
    StoreRelationship *row = relationship_edit(member->relationship);
    g_free(row->folder);
    row->folder = g_strdup(folder);
    return relationship_edit_end(member->relationship, row, error) && durable_mkdir_passable(folder, error);
}

bool
turn_adopt_disks(const ReplicationContext *context, const char *vm_uuid, char *const *targets, const char *folder, GError **error)
{
    g_autoptr(GPtrArray) disks = virt_host_disks(context->virt, vm_uuid, error);
    for (guint i = 0; disks != NULL && i < disks->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(disks, i);
        if (g_strv_contains((const char *const *)targets, disk->target) &&
            !replica_disk_adopt(folder, disk->target, disk->path, error))
            return false;
    }
    return disks != NULL;
}

bool
turn_keep_definition(const ReplicationContext *context, const char *vm_uuid, const char *folder, GError **error)
{
    g_autofree char *path = replica_definition_before(folder);
    g_autofree char *xml = virt_host_xml(context->virt, vm_uuid, error);
    return xml != NULL && durable_replace(path, xml, strlen(xml), error);
}
