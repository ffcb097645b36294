/* Autostart of a VM that may run elsewhere: a host that boots must not start it then. What was set is kept in the store for the way back. */
#include "replication/primary.h"

#include "util/log.h"

static char *
key_of(const char *vm_uuid)
{
    return g_strconcat("autostart-held:", vm_uuid, NULL);
}

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
primary_give_back_autostart(const ReplicationContext *context, const char *vm_uuid)
{
    g_autofree char *key = key_of(vm_uuid);
    g_autofree char *held = store_value(context->store, key, NULL);
    g_autoptr(GError) error = NULL;
    if (held == NULL || held[0] == '\0')
        return;
    if (virt_host_set_autostart(context->virt, vm_uuid, true, &error) && primary_forget_autostart(context, vm_uuid, &error))
        return;
    log_warning("service", vm_uuid, "its autostart was off while it might run elsewhere and could not be switched on again: %s; do it with "
                "'virsh autostart'", error->message);
}

bool
primary_forget_autostart(const ReplicationContext *context, const char *vm_uuid, GError **error)
{
    g_autofree char *key = key_of(vm_uuid);
    return store_value_set(context->store, key, NULL, error);
}
