/* The fence around a replica while a test failover runs: the test VM reads the replica disks, so that the storage daemon
 * cannot have them open for writing. Instead it holds the overlays that the replica VM is defined on. Nobody can start
 * that VM then, and as whoever has an overlay open forbids writing below it, nobody can write the replica disks, not
 * even a commit of the test VM's own overlays. */
#include "replication/replica-private.h"

#include "replication/replica-folder.h"

bool
replica_open_fence(Replica *self, GError **error)
{
    if (self->fence != NULL && disk_server_is_alive(self->fence))
        return true;
    replica_close_fence(self);
    replica_close_disks(self);
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    g_auto(GStrv) ids = replica_folder_disks(row->folder, error);
    if (ids == NULL)
        return false;
    unsigned n = g_strv_length(ids);
    g_autofree DiskServerImage *images = g_new0(DiskServerImage, n);
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    for (unsigned i = 0; i < n; i++) {
        char *overlay = replica_overlay_path(row->folder, ids[i]), *base = replica_disk_path(row->folder, ids[i]);
        g_ptr_array_add(paths, overlay);
        g_ptr_array_add(paths, base);
        images[i] = (DiskServerImage){ .id = ids[i], .path = overlay, .format = "qcow2", .backing_path = base,
                                       .backing_format = "qcow2",
                                       .follow_header = replica_disk_is_adopted(row->folder, ids[i]) };
    }
    g_autofree char *run = replica_run_folder(self->context, row->vm_uuid);
    self->fence = disk_server_start(run, images, n, true, error);
    return self->fence != NULL;
}

void
replica_close_fence(Replica *self)
{
    g_clear_pointer(&self->fence, disk_server_stop);
}
