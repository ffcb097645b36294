/* Autostart of a VM that may run elsewhere. What was set is kept in the store for the way back.
 *
 * libvirt starts VMs before anybody has asked whether they were failed over. So while a VM is protected its autostart is off there, and after a
 * start of the host it is started here, when its replica says that it is not failed over. A replica that does not answer is waited for as long as
 * the administrator wants. */
#include "replication/primary-private.h"

#include "util/log.h"

#define BOOT_KEY       "boot-id"
#define LOOK_EVERY_USEC (30 * G_USEC_PER_SEC)

static char *
key_of(const char *vm_uuid)
{
    return g_strconcat("autostart-held:", vm_uuid, NULL);
}

static char *
due_key(const char *vm_uuid)
{
    return g_strconcat("autostart-due:", vm_uuid, NULL);
}

static bool
is_noted(const ReplicationContext *context, char *(*key_for)(const char *), const char *vm_uuid)
{
    g_autofree char *key = key_for(vm_uuid), *value = store_value(context->store, key, NULL);
    return value != NULL && value[0] != '\0';
}

/* ---- held and given back ---- */

bool
primary_hold_autostart(const ReplicationContext *context, const char *vm_uuid, GError **error)
{
    g_autofree char *key = key_of(vm_uuid);
    g_autoptr(VirtDomain) domain = virt_host_find(context->virt, vm_uuid, error);
    if (domain == NULL)
        return false;
    return !domain->autostart || (store_value_set(context->store, key, "1", error) &&
                                  virt_host_set_autostart(context->virt, vm_uuid, false, error));
}

void
primary_release_autostart(const ReplicationContext *context, const char *vm_uuid)
{
    g_autoptr(GError) error = NULL;
    if (!is_noted(context, key_of, vm_uuid))
        return;
    if (virt_host_set_autostart(context->virt, vm_uuid, true, &error) && primary_forget_autostart(context, vm_uuid, &error))
        return;
    log_warning("service", vm_uuid, "its autostart was off while it might run elsewhere and could not be switched on again: %s; do it with "
                "'virsh autostart'", error->message);
}

void
primary_give_back_autostart(const ReplicationContext *context, const char *vm_uuid)
{
    if (context->autostart_wait_sec == 0)
        primary_release_autostart(context, vm_uuid);
}

bool
primary_forget_autostart(const ReplicationContext *context, const char *vm_uuid, GError **error)
{
    g_autofree char *key = key_of(vm_uuid), *due = due_key(vm_uuid);
    return store_value_set(context->store, key, NULL, error) && store_value_set(context->store, due, NULL, error);
}

void
primary_tend_autostart(Primary *self, const StoreRelationship *row)
{
    int64_t now = g_get_monotonic_time();
    g_autoptr(GError) error = NULL;
    if (self->upstream != NULL || !row->initial_complete || (self->autostart_usec != 0 && now - self->autostart_usec < LOOK_EVERY_USEC))
        return;
    self->autostart_usec = now;
    if (self->context->autostart_wait_sec == 0)
        primary_release_autostart(self->context, row->vm_uuid);
    else if (!primary_hold_autostart(self->context, row->vm_uuid, &error))
        log_debug("service", row->vm_name, "its autostart is left alone for now: %s", error->message);
}

/* ---- after a start of the host ---- */

/* Notes come first: what a death leaves is noted again. */
bool
primary_note_boot(const ReplicationContext *context, GError **error)
{
    g_autofree char *now = NULL, *before = store_value(context->store, BOOT_KEY, NULL);
    if (!g_file_get_contents("/proc/sys/kernel/random/boot_id", &now, NULL, NULL) || g_strcmp0(now, before) == 0)
        return true;
    g_autoptr(GPtrArray) rows = store_relationships(context->store, error);
    for (guint i = 0; before != NULL && rows != NULL && i < rows->len; i++) {
        const StoreRelationship *row = g_ptr_array_index(rows, i);
        g_autofree char *key = due_key(row->vm_uuid);
        if (row->mode == MODE_PRIMARY && row->index == 0 && is_noted(context, key_of, row->vm_uuid) &&
            !store_value_set(context->store, key, "1", error))
            return false;
    }
    return rows != NULL && store_value_set(context->store, BOOT_KEY, now, error);
}

void
primary_load_autostart(Primary *self)
{
    const char *vm = relationship_vm(self->relationship);
    self->autostart_due = self->upstream == NULL && is_noted(self->context, due_key, vm);
    self->due_usec = g_get_monotonic_time();
}

static bool
settle(Primary *self, GError **error)
{
    g_autofree char *key = due_key(relationship_vm(self->relationship));
    self->autostart_due = !store_value_set(self->context->store, key, NULL, error);
    return !self->autostart_due;
}

bool
primary_drop_autostart(Primary *self, GError **error)
{
    return !self->autostart_due || settle(self, error);
}

static bool
start(Primary *self, const StoreRelationship *row, GError **error)
{
    if (!virt_host_start(self->context->virt, row->vm_uuid, error))
        return false;
    log_notice("service", row->vm_name, "started with the host");
    return settle(self, error);
}

/* Nobody says whether it is failed over. */
static bool
start_or_wait(Primary *self, const StoreRelationship *row, GError *cause, GError **error)
{
    unsigned wait = self->context->autostart_wait_sec;
    g_autoptr(GError) mine = cause;
    if (g_get_monotonic_time() - self->due_usec > wait * G_USEC_PER_SEC) {
        log_warning("service", row->vm_name, "starts with the host although nobody can say whether it is failed over: %s", mine->message);
        return start(self, row, error);
    }
    g_propagate_prefixed_error(error, g_steal_pointer(&mine), "VM '%s' starts with the host, and waits for its replica server to say that it is not "
                               "failed over, for %u s at most ('virsh start' starts it now): ", row->vm_name, wait);
    return false;
}

bool
primary_run_autostart(Primary *self, const StoreRelationship *row, GError **error)
{
    g_autoptr(GError) unknown = NULL;
    g_autoptr(VirtDomain) domain = virt_host_find(self->context->virt, row->vm_uuid, &unknown);
    if (domain == NULL && !g_error_matches(unknown, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN)) {
        g_propagate_error(error, g_steal_pointer(&unknown));
        return false;
    }
    bool off = domain != NULL && (domain->state == VIRT_OFF || domain->state == VIRT_SAVED || domain->state == VIRT_CRASHED);
    if (!off || row->state == STATE_PREPARED || row->state == STATE_REPURPOSE)
        return settle(self, error);
    g_autoptr(RelationshipSettings) settings = relationship_settings(self->relationship);
    GError *cause = NULL;
    LinkPosition position;
    g_autoptr(LinkClient) client = primary_connect_peer(self->context, settings, relationship_yield_flag(self->relationship), &cause);
    if (client == NULL || !link_client_position(client, row->vm_uuid, false, &position, &cause))
        return start_or_wait(self, row, cause, error);
    if (!primary_is_failed_over(&position))
        return start(self, row, error);
    log_warning("service", row->vm_name, "is not started with the host: it is failed over on '%s'", settings->recovery_connection_point);
    return settle(self, error);
}
