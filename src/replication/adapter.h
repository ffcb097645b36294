/* adapter: what a guest gets on its network adapters after a failover: the rules for it, and its form in the store.
 *
 * Stateless. The texts of addresses stay as the client gave them.
 */
#pragma once

#include "replication/service.h"
#include "store/store.h"

#define ADAPTER_IPV4 4096 /* ProtocolIFType */
#define ADAPTER_IPV6 4097
#define ADAPTER_BOTH 4098

/* Each adapter, and all together; REPLICATION_ERROR_INVALID_PARAMETER names the adapter and says what is wanted. Sets `protocol` where it
 * is 0. @adapters: of AdapterView that are set. */
bool adapters_check(const GPtrArray *adapters, GError **error);

/* Length of the prefix that a subnet of the address says: a mask, or the length as text; 0 when it says none. */
unsigned adapter_prefix(const char *address, const char *subnet);
bool     adapter_is_ipv6(const char *address);

char        *adapter_to_json(const AdapterView *self);
/* What the store has of a VM, whether the VM still has the adapters or not; of AdapterView, owned. */
GPtrArray   *adapters_stored(Store *store, const char *vm_uuid, GError **error);
AdapterView *adapter_from_json(const char *mac, const char *json, GError **error);
