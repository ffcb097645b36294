/* Network adapters of VMs: what their guests get there after a failover, and where test VMs are connected. */
#include "replication/service-private.h"

#include "replication/adapter.h"
#include "util/log.h"

#include <string.h>

#define NETWORK_MAX 128 /* characters */

/* ---- reading ---- */

static AdapterView *
find_adapter(const GPtrArray *adapters, const char *mac)
{
    for (guint i = 0; i < adapters->len; i++) {
        AdapterView *adapter = g_ptr_array_index(adapters, i);
        if (strcmp(adapter->mac, mac) == 0)
            return adapter;
    }
    return NULL;
}

static GPtrArray *
adapters_of(ReplicationService *self, const char *vm_uuid, GError **error)
{
    g_autoptr(GPtrArray) interfaces = virt_host_interfaces(self->context.virt, vm_uuid, error);
    g_autoptr(GPtrArray) stored = interfaces != NULL ? adapters_stored(self->context.store, vm_uuid, error) : NULL;
    if (stored == NULL)
        return NULL;
    GPtrArray *adapters = g_ptr_array_new_with_free_func((GDestroyNotify)adapter_view_free);
    for (guint i = 0; i < interfaces->len; i++) {
        const VirtInterface *interface = g_ptr_array_index(interfaces, i);
        g_autofree char *mac = interface->mac != NULL ? g_ascii_strdown(interface->mac, -1) : NULL;
        if (mac == NULL || find_adapter(adapters, mac) != NULL)
            continue;
        const AdapterView *known = find_adapter(stored, mac);
        AdapterView *adapter = known != NULL ? adapter_view_copy(known) : adapter_view_new(mac);
        adapter->model = g_strdup(interface->model);
        adapter->source = g_strdup(interface->source);
        g_ptr_array_add(adapters, adapter);
    }
    return adapters;
}

GPtrArray *
replication_service_adapters(ReplicationService *self, const char *vm_uuid, GError **error)
{
    GError *cause = NULL;
    g_autofree char *lower = g_ascii_strdown(vm_uuid, -1);
    GPtrArray *adapters = adapters_of(self, lower, &cause);
    if (adapters == NULL)
        service_fail(cause, error);
    return adapters;
}

/* ---- changing ---- */

/* Every adapter that has something to be kept. Those that the VM does not have any more are not among them. */
static bool
save(ReplicationService *self, const char *vm_uuid, const GPtrArray *adapters, GError **error)
{
    g_autoptr(GPtrArray) rows = g_ptr_array_new_with_free_func((GDestroyNotify)store_adapter_free);
    for (guint i = 0; i < adapters->len; i++) {
        const AdapterView *adapter = g_ptr_array_index(adapters, i);
        if (!adapter->is_set && adapter->test_network == NULL && adapter->test_pool == NULL)
            continue;
        StoreAdapter *row = g_new0(StoreAdapter, 1);
        row->mac = g_strdup(adapter->mac);
        row->settings = adapter_to_json(adapter);
        g_ptr_array_add(rows, row);
    }
    return store_adapters_set(self->context.store, vm_uuid, rows, error);
}

static bool
refuse_unknown(const VirtDomain *domain, const GPtrArray *adapters, const char *mac, GError **error)
{
    g_autoptr(GString) known = g_string_new(NULL);
    for (guint i = 0; i < adapters->len; i++)
        g_string_append_printf(known, "%s%s", i > 0 ? ", " : "", ((AdapterView *)g_ptr_array_index(adapters, i))->mac);
    return replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER, "VM '%s' has no network adapter '%s'; it has %s", domain->name, mac,
                              known->len > 0 ? known->str : "none");
}

static void
take_settings(AdapterView *into, const AdapterView *from)
{
    char ***lists[] = { &into->addresses, &into->subnets, &into->gateways, &into->dns };
    char **wanted[] = { from->addresses, from->subnets, from->gateways, from->dns };
    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++) {
        g_strfreev(*lists[i]);
        *lists[i] = g_strdupv(wanted[i]);
    }
    into->protocol = from->protocol;
    into->dhcp = from->dhcp;
    into->is_set = from->dhcp || from->addresses[0] != NULL;
}

/* The rules hold for all adapters of the VM together. */
static bool
check_all(const GPtrArray *adapters, const GPtrArray *wanted, GError **error)
{
    g_autoptr(GPtrArray) set = g_ptr_array_new();
    for (guint i = 0; i < adapters->len; i++) {
        if (((AdapterView *)g_ptr_array_index(adapters, i))->is_set)
            g_ptr_array_add(set, g_ptr_array_index(adapters, i));
    }
    return adapters_check(wanted, error) && adapters_check(set, error);
}

/* A failed-over VM gets them now; its guest may have got others before. */
static bool
commit(Member *member, const GPtrArray *adapters, bool for_guest, GError **error)
{
    StoreRelationship *edit = relationship_edit(member->relationship);
    if (!save(member->service, edit->vm_uuid, adapters, error)) {
        relationship_edit_cancel(member->relationship, edit);
        return false;
    }
    if (for_guest && replication_mode_is_replica(edit->mode) && edit->state == STATE_RECOVERED)
        edit->guest_todo |= GUEST_OF_FAILOVER;
    return relationship_edit_end(member->relationship, edit, error);
}

static bool
set_adapters(ReplicationService *self, Member *member, const VirtDomain *domain, const GPtrArray *wanted, GError **error)
{
    g_autoptr(GPtrArray) adapters = adapters_of(self, domain->uuid, error);
    for (guint i = 0; adapters != NULL && i < wanted->len; i++) {
        const AdapterView *one = g_ptr_array_index(wanted, i);
        AdapterView *adapter = find_adapter(adapters, one->mac);
        if (adapter == NULL)
            return refuse_unknown(domain, adapters, one->mac, error);
        take_settings(adapter, one);
    }
    return adapters != NULL && check_all(adapters, wanted, error) && commit(member, adapters, true, error);
}

bool
replication_service_set_adapters(ReplicationService *self, const Caller *caller, const char *vm_uuid, const GPtrArray *adapters, GError **error)
{
    GError *cause = NULL;
    g_autoptr(Member) member = service_find_replicating(self, vm_uuid, "set the addresses after a failover", error);
    g_autoptr(VirtDomain) domain = member != NULL ? service_find_domain(self, vm_uuid, error) : NULL;
    if (domain == NULL)
        return false;
    if (adapters->len == 0)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER,
                                  "NetworkSettings is empty: give the settings of each network adapter to be changed");
    if (!set_adapters(self, member, domain, adapters, &cause))
        return service_fail(cause, error);
    log_notice("service", domain->name, "addresses after a failover set by %s", caller->user);
    service_look_after_guest(member);
    return true;
}

/* ---- networks of test VMs ---- */

static bool
set_network(ReplicationService *self, Member *member, const VirtDomain *domain, const char *mac, const char *network, const char *pool,
            GError **error)
{
    g_autoptr(GPtrArray) adapters = adapters_of(self, domain->uuid, error);
    AdapterView *adapter = adapters != NULL ? find_adapter(adapters, mac) : NULL;
    if (adapter == NULL)
        return adapters != NULL && refuse_unknown(domain, adapters, mac, error);
    char **into[] = { &adapter->test_network, &adapter->test_pool };
    const char *wanted[] = { network, pool };
    for (size_t i = 0; i < G_N_ELEMENTS(into); i++) {
        bool none = wanted[i] == NULL || wanted[i][0] == '\0';
        g_free(*into[i]);
        *into[i] = none ? NULL : g_strdup(wanted[i]);
        if (!none && (strlen(wanted[i]) > NETWORK_MAX || !virt_network_is_valid(wanted[i])))
            return replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER,
                                      "'%.140s' is no name of a network; give that of a network of libvirt, or bridge/NAME", wanted[i]);
    }
    return commit(member, adapters, false, error);
}

bool
replication_service_set_test_network(ReplicationService *self, const Caller *caller, const char *vm_uuid, const char *mac, const char *network,
                                     const char *pool, GError **error)
{
    GError *cause = NULL;
    g_autoptr(Member) member = service_find_replicating(self, vm_uuid, "set the network of test VMs", error);
    g_autoptr(VirtDomain) domain = member != NULL ? service_find_domain(self, vm_uuid, error) : NULL;
    g_autofree char *lower = g_ascii_strdown(mac, -1);
    if (domain == NULL)
        return false;
    if (!set_network(self, member, domain, lower, network, pool, &cause))
        return service_fail(cause, error);
    log_notice("service", domain->name, "network of its test VMs set by %s", caller->user);
    return true;
}
