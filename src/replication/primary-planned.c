/* A planned failover, as far as the primary goes: the last changes of a VM that is off, and the lock that keeps it off. */
#include "replication/primary-private.h"

#include "util/log.h"

#include <string.h>

/* ---- the lock ---- */

char *
primary_lock_folder(const ReplicationContext *context, const char *vm_uuid)
{
    return g_strdup_printf("%s/" PRIMARY_LOCK_PREFIX "%.13s", context->run_folder, vm_uuid);
}

static char *
lock_folder(const Primary *self)
{
    return primary_lock_folder(self->context, relationship_vm(self->relationship));
}

/* A storage daemon has the images open for reading: QEMU's image lock then lets nobody open them for writing, so that the VM does not
 * start, whoever asks for it. */
bool
primary_lock(Primary *self, GError **error)
{
    if (self->upstream != NULL || (self->lock != NULL && disk_server_is_alive(self->lock)))
        return true; /* a replica is locked as it is */
    primary_unlock(self);
    g_autoptr(RelationshipSettings) settings = relationship_settings(self->relationship);
    const char *uuid = relationship_vm(self->relationship);
    g_auto(GStrv) targets = primary_disks(self->context, uuid, settings, error);
    g_autoptr(GPtrArray) disks = targets != NULL ? virt_host_disks(self->context->virt, uuid, error) : NULL;
    if (disks == NULL)
        return false;
    g_autofree DiskServerImage *images = g_new0(DiskServerImage, disks->len);
    unsigned n = 0;
    for (guint i = 0; i < disks->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(disks, i);
        if (g_strv_contains((const char *const *)targets, disk->target))
            images[n++] = (DiskServerImage){ .id = disk->target, .path = disk->path, .format = disk->format };
    }
    g_autofree char *folder = lock_folder(self);
    self->lock = disk_server_start(folder, images, n, false, error);
    return self->lock != NULL;
}

void
primary_unlock(Primary *self)
{
    g_clear_pointer(&self->lock, disk_server_stop);
}

void
primary_leave_lock(Primary *self)
{
    g_clear_pointer(&self->lock, disk_server_leave);
}

bool
primary_recover(Primary *self, GError **error)
{
    ReplicationState state = relationship_state(self->relationship);
    if (self->upstream != NULL)
        return true;
    if (state == STATE_PREPARED || state == STATE_REPURPOSE)
        return primary_lock(self, error);
    g_autofree char *folder = lock_folder(self);
    primary_give_back_autostart(self->context, relationship_vm(self->relationship));
    return disk_server_end_left_over(folder, error);
}

/* ---- the last changes ---- */

void
primary_prepare(Primary *self)
{
    self->preparing = true;
}

static bool
send_last_changes(Primary *self, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    g_autoptr(RelationshipSettings) settings = relationship_settings(self->relationship);
    g_auto(GStrv) targets = primary_find_disks(self, row, settings, error);
    if (targets == NULL || !primary_make_contact(self, error) || !primary_lock(self, error))
        return false;
    g_autoptr(StoreRelationship) agreed = relationship_row(self->relationship);
    if (agreed->state != STATE_REPLICATING)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                                  "the last changes of VM '%s' cannot be sent now: its replication is %s; wait until it replicates again",
                                  row->vm_name, replication_state_name(agreed->state));
    return primary_run_delta(self, agreed, targets, POINT_KIND_PLANNED, error) &&
           relationship_move(self->relationship, OPERATION_PREPARE, error);
}

bool
primary_run_preparation(Primary *self, GError **error)
{
    g_autoptr(GError) cause = NULL;
    self->preparing = false;
    if (send_last_changes(self, &cause)) {
        log_notice("cycle", relationship_vm(self->relationship), "prepared for a planned failover: its last changes are on the replica, and "
                   "it is locked against starting");
        relationship_end_job(self->relationship, NULL);
        return true;
    }
    primary_unlock(self);
    if (self->upstream == NULL)
        primary_give_back_autostart(self->context, relationship_vm(self->relationship));
    g_autoptr(GError) for_caller = primary_error_for_caller(cause);
    relationship_end_job(self->relationship, for_caller);
    g_propagate_error(error, g_steal_pointer(&cause));
    return false;
}
