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

/* ---- the last changes ----
 *
 * Once the replica has them it may start the VM without asking anybody. So from before they are sent until the replica has acknowledged them, or
 * has agreed that the VM may run here, a note in the store says that this is not clear, and the VM stays locked. */

static char *
unclear_key(const char *vm_uuid, unsigned index)
{
    return g_strdup_printf("planned-unclear:%s/%u", vm_uuid, index);
}

static bool
note_unclear(Primary *self, bool unclear, GError **error)
{
    g_autofree char *key = unclear_key(relationship_vm(self->relationship), relationship_index(self->relationship));
    if (!store_value_set(self->context->store, key, unclear ? "1" : NULL, error))
        return false;
    g_atomic_int_set(&self->unclear, unclear);
    return true;
}

bool
primary_is_unclear(const Primary *self)
{
    return g_atomic_int_get(&self->unclear) != 0;
}

bool
primary_forget_planned(const ReplicationContext *context, const char *vm_uuid, unsigned index, GError **error)
{
    g_autofree char *key = unclear_key(vm_uuid, index);
    return store_value_set(context->store, key, NULL, error);
}

bool
primary_clear_planned(Primary *self, GError **error)
{
    return !primary_is_unclear(self) || note_unclear(self, false, error);
}

static void
load_unclear(Primary *self)
{
    g_autofree char *key = unclear_key(relationship_vm(self->relationship), relationship_index(self->relationship));
    g_autoptr(GError) error = NULL;
    g_autofree char *noted = store_value(self->context->store, key, &error);
    g_atomic_int_set(&self->unclear, error != NULL || (noted != NULL && noted[0] != '\0'));
}

/* What broke it off was the end of the daemon, or of the host: the VM is locked again, by the cycle where that fails now, unless it runs. */
static bool
recover_unclear(Primary *self, GError **error)
{
    g_autoptr(GError) cause = NULL;
    bool locked = primary_lock(self, &cause);
    if (!locked && g_error_matches(cause, DISK_ERROR, DISK_ERROR_LOCKED))
        return true;
    if (!relationship_move(self->relationship, OPERATION_PREPARE, error))
        return false;
    if (!locked)
        g_propagate_error(error, g_steal_pointer(&cause));
    return locked;
}

bool
primary_recover(Primary *self, GError **error)
{
    ReplicationState state = relationship_state(self->relationship);
    load_unclear(self);
    primary_load_autostart(self);
    if (state == STATE_REPLICATING && primary_is_unclear(self))
        return recover_unclear(self, error);
    if (self->upstream != NULL)
        return true;
    if (state == STATE_PREPARED || state == STATE_REPURPOSE)
        return primary_lock(self, error);
    g_autofree char *folder = lock_folder(self);
    primary_give_back_autostart(self->context, relationship_vm(self->relationship));
    return disk_server_end_left_over(folder, error);
}

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
    bool again = agreed->state == STATE_PREPARED && primary_is_unclear(self);
    if (agreed->state != STATE_REPLICATING && !again)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                                  "the last changes of VM '%s' cannot be sent now: its replication is %s; wait until it replicates again",
                                  row->vm_name, replication_state_name(agreed->state));
    return note_unclear(self, true, error) && primary_run_delta(self, agreed, targets, POINT_KIND_PLANNED, error) &&
           (again || relationship_move(self->relationship, OPERATION_PREPARE, error)) && note_unclear(self, false, error);
}

/* After a failure: may the VM run here, as far as the replica goes? */
static bool
is_ours(Primary *self)
{
    g_autoptr(RelationshipSettings) settings = relationship_settings(self->relationship);
    g_autoptr(GError) error = NULL;
    if (!primary_is_unclear(self))
        return relationship_state(self->relationship) == STATE_REPLICATING;
    return relationship_state(self->relationship) == STATE_REPLICATING &&
           primary_keep_role(self->context, relationship_vm(self->relationship), settings, relationship_yield_flag(self->relationship), &error) && note_unclear(self, false, &error);
}

static void
explain_locked(Primary *self, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    g_prefix_error(error, "the replica of VM '%s' may have its last changes, and be started: it stays locked here; what is missing is sent when its "
                   "replica server answers, and 'virt-replica resume %s%s' cancels that: ", row->vm_name, row->index > 0 ? "--extended " : "",
                   row->vm_name);
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
    if (is_ours(self)) {
        primary_unlock(self);
        if (self->upstream == NULL)
            primary_give_back_autostart(self->context, relationship_vm(self->relationship));
    } else {
        if (relationship_state(self->relationship) == STATE_REPLICATING)
            relationship_move(self->relationship, OPERATION_PREPARE, NULL);
        explain_locked(self, &cause);
    }
    g_autoptr(GError) for_caller = primary_error_for_caller(cause);
    relationship_end_job(self->relationship, for_caller);
    g_propagate_error(error, g_steal_pointer(&cause));
    return false;
}

/* A preparation that was broken off goes on. Where the VM could not be locked any more the replica is told that it runs here. */
bool
primary_settle_planned(Primary *self, GError **error)
{
    g_autoptr(RelationshipSettings) settings = relationship_settings(self->relationship);
    if (relationship_state(self->relationship) == STATE_PREPARED)
        return primary_lock(self, error) && send_last_changes(self, error);
    return primary_keep_role(self->context, relationship_vm(self->relationship), settings, relationship_yield_flag(self->relationship), error) && note_unclear(self, false, error);
}
