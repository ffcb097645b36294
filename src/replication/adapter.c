#include "replication/adapter.h"

#include <arpa/inet.h>
#include <json-glib/json-glib.h>
#include <string.h>

#define ADDRESSES_MAX 32 /* of one adapter */
#define GATEWAYS_MAX  5  /* as Msvm_FailoverNetworkAdapterSettingData allows */
#define SERVERS_MAX   16

typedef struct {
    int     family;
    uint8_t bytes[16];
} Address;

static unsigned
bits_of(const Address *address)
{
    return address->family == AF_INET6 ? 128 : 32;
}

static bool
parse(const char *text, Address *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET;
    return inet_pton(ret->family, text, ret->bytes) == 1;
}

bool
adapter_is_ipv6(const char *address)
{
    return strchr(address, ':') != NULL;
}

/* ---- prefixes ---- */

static unsigned
prefix_of_mask(const uint8_t bytes[4])
{
    uint32_t mask = (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
    unsigned length = 0;
    while (length < 32 && (mask & 1u << (31 - length)) != 0)
        length++;
    return length == 32 || (uint32_t)(mask << length) == 0 ? length : 0;
}

unsigned
adapter_prefix(const char *address, const char *subnet)
{
    Address mask;
    guint64 number;
    unsigned most = adapter_is_ipv6(address) ? 128 : 32;
    if (g_ascii_string_to_unsigned(subnet, 10, 1, most, &number, NULL))
        return (unsigned)number;
    return most == 32 && parse(subnet, &mask) && mask.family == AF_INET ? prefix_of_mask(mask.bytes) : 0;
}

/* Are the first @length bits the same? */
static bool
same_network(const Address *a, const Address *b, unsigned length)
{
    if (a->family != b->family)
        return false;
    for (unsigned i = 0; i < length; i++) {
        if (((a->bytes[i / 8] ^ b->bytes[i / 8]) >> (7 - i % 8) & 1) != 0)
            return false;
    }
    return true;
}

/* The bits behind the prefix: are they all @one? */
static bool
rest_is(const Address *address, unsigned length, bool one)
{
    for (unsigned i = length; i < bits_of(address); i++) {
        if ((address->bytes[i / 8] >> (7 - i % 8) & 1) != one)
            return false;
    }
    return true;
}

/* ---- rules ---- */

static bool invalid(const AdapterView *self, GError **error, const char *format, ...) G_GNUC_PRINTF(3, 4);

static bool
invalid(const AdapterView *self, GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_PARAMETER, "adapter %s: %s", self->mac, text);
    return false;
}

/* Something that one host may have, or be reached at. */
static bool
is_unicast(const Address *address)
{
    static const uint8_t loopback[16] = { [15] = 1 };
    const uint8_t *bytes = address->bytes;
    if (address->family == AF_INET6)
        return bytes[0] != 0xff && memcmp(bytes, loopback, 16) != 0 && !rest_is(address, 0, false);
    return bytes[0] != 0 && bytes[0] != 127 && bytes[0] < 224;
}

static bool
read_address(const AdapterView *self, const char *what, const char *text, Address *ret, GError **error)
{
    if (!parse(text, ret))
        return invalid(self, error, "%s '%.60s' is no IPv4 or IPv6 address", what, text);
    return is_unicast(ret) || invalid(self, error, "%s '%s' is an address that no host can have", what, text);
}

static bool
allows_family(const AdapterView *self, const char *text, GError **error)
{
    bool ipv6 = adapter_is_ipv6(text);
    if ((self->protocol == ADAPTER_IPV4 && ipv6) || (self->protocol == ADAPTER_IPV6 && !ipv6))
        return invalid(self, error, "'%s' does not fit ProtocolIFType %u; 4096 is IPv4, 4097 IPv6, 4098 both", text, self->protocol);
    return true;
}

static bool
check_address(const AdapterView *self, unsigned i, GError **error)
{
    const char *text = self->addresses[i], *subnet = self->subnets[i];
    Address address;
    if (!read_address(self, "IPAddresses:", text, &address, error) || !allows_family(self, text, error))
        return false;
    unsigned prefix = adapter_prefix(text, subnet);
    if (prefix == 0)
        return invalid(self, error, "Subnets: '%.60s' is no %s", subnet,
                       address.family == AF_INET6 ? "length of an IPv6 prefix, such as 64" : "IPv4 mask, such as 255.255.255.0 or 24");
    if (self->dhcp && address.family == AF_INET)
        return invalid(self, error, "IPv4 cannot come from DHCP and be '%s', too; leave one of them out", text);
    if (address.family == AF_INET && prefix < 31 && (rest_is(&address, prefix, false) || rest_is(&address, prefix, true)))
        return invalid(self, error, "'%s' is the address of the network or of all its hosts, with the subnet '%s'", text, subnet);
    return true;
}

static bool
check_addresses(const AdapterView *self, GError **error)
{
    unsigned n = g_strv_length(self->addresses);
    if (n > ADDRESSES_MAX)
        return invalid(self, error, "%u addresses are more than the %d that it can have", n, ADDRESSES_MAX);
    if (g_strv_length(self->subnets) != n)
        return invalid(self, error, "Subnets must have one entry for each of the %u IPAddresses", n);
    for (unsigned i = 0; i < n; i++) {
        if (!check_address(self, i, error))
            return false;
    }
    return true;
}

/* A gateway is in the network of an address, but for link-local ones, and for an address that is a network of its own. */
static bool
is_reachable(const AdapterView *self, const Address *gateway)
{
    bool has_address = false;
    for (unsigned i = 0; self->addresses[i] != NULL; i++) {
        Address address;
        parse(self->addresses[i], &address);
        unsigned prefix = adapter_prefix(self->addresses[i], self->subnets[i]);
        has_address |= address.family == gateway->family;
        if (same_network(&address, gateway, prefix) || (address.family == gateway->family && prefix == bits_of(&address)))
            return true;
    }
    return has_address && gateway->family == AF_INET6 && gateway->bytes[0] == 0xfe && (gateway->bytes[1] & 0xc0) == 0x80;
}

static bool
check_gateways(const AdapterView *self, GError **error)
{
    if (g_strv_length(self->gateways) > GATEWAYS_MAX)
        return invalid(self, error, "DefaultGateways can have %d entries at most", GATEWAYS_MAX);
    for (char **text = self->gateways; *text != NULL; text++) {
        Address gateway;
        if (!read_address(self, "DefaultGateways:", *text, &gateway, error) || !allows_family(self, *text, error))
            return false;
        if (self->dhcp && gateway.family == AF_INET)
            return invalid(self, error, "the gateway '%s' comes from DHCP; leave it out", *text);
        if (g_strv_contains((const char *const *)self->addresses, *text) || !is_reachable(self, &gateway))
            return invalid(self, error, "the gateway '%s' is in no network of its addresses", *text);
    }
    return true;
}

static bool
check_servers(const AdapterView *self, GError **error)
{
    if (g_strv_length(self->dns) > SERVERS_MAX)
        return invalid(self, error, "DNSServers can have %d entries at most", SERVERS_MAX);
    if (self->addresses[0] == NULL && !self->dhcp && self->dns[0] != NULL)
        return invalid(self, error, "DNSServers are set together with IPAddresses or DHCPEnabled only");
    for (char **text = self->dns; *text != NULL; text++) {
        Address server;
        if (!parse(*text, &server) || (!is_unicast(&server) && strcmp(*text, "127.0.0.1") != 0 && strcmp(*text, "::1") != 0))
            return invalid(self, error, "DNSServers: '%.60s' is no address of a server", *text);
    }
    return true;
}

static unsigned
protocol_of(const AdapterView *self)
{
    bool ipv4 = self->dhcp, ipv6 = false;
    for (char **text = self->addresses; *text != NULL; text++) {
        ipv4 |= !adapter_is_ipv6(*text);
        ipv6 |= adapter_is_ipv6(*text);
    }
    return ipv4 && ipv6 ? ADAPTER_BOTH : ipv6 ? ADAPTER_IPV6 : ADAPTER_IPV4;
}

static bool
check_one(AdapterView *self, GError **error)
{
    if (self->protocol != 0 && (self->protocol < ADAPTER_IPV4 || self->protocol > ADAPTER_BOTH))
        return invalid(self, error, "ProtocolIFType %u is none of 4096 (IPv4), 4097 (IPv6), 4098 (both)", self->protocol);
    if (self->dhcp && self->protocol == ADAPTER_IPV6)
        return invalid(self, error, "DHCPEnabled is of IPv4, which ProtocolIFType 4097 leaves out");
    if (!check_addresses(self, error) || !check_gateways(self, error) || !check_servers(self, error))
        return false;
    if (self->protocol == 0)
        self->protocol = protocol_of(self);
    return true;
}

bool
adapters_check(const GPtrArray *adapters, GError **error)
{
    g_autoptr(GHashTable) macs = g_hash_table_new(g_str_hash, g_str_equal);
    g_autoptr(GHashTable) used = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < adapters->len; i++) {
        AdapterView *self = g_ptr_array_index(adapters, i);
        if (!g_hash_table_add(macs, self->mac))
            return invalid(self, error, "it is given more than once");
        if (!check_one(self, error))
            return false;
        for (char **text = self->addresses; *text != NULL; text++) {
            if (!g_hash_table_add(used, *text))
                return invalid(self, error, "the address '%s' is given more than once", *text);
        }
    }
    return true;
}

/* ---- in the store ---- */

static const struct { const char *name; size_t offset; } lists[] = {
    { "addresses", G_STRUCT_OFFSET(AdapterView, addresses) }, { "subnets", G_STRUCT_OFFSET(AdapterView, subnets) },
    { "gateways", G_STRUCT_OFFSET(AdapterView, gateways) },   { "dns", G_STRUCT_OFFSET(AdapterView, dns) },
};
static const struct { const char *name; size_t offset; } texts[] = {
    { "test_network", G_STRUCT_OFFSET(AdapterView, test_network) }, { "test_pool", G_STRUCT_OFFSET(AdapterView, test_pool) },
};

char *
adapter_to_json(const AdapterView *self)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "is_set");
    json_builder_add_boolean_value(builder, self->is_set);
    json_builder_set_member_name(builder, "protocol");
    json_builder_add_int_value(builder, self->protocol);
    json_builder_set_member_name(builder, "dhcp");
    json_builder_add_boolean_value(builder, self->dhcp);
    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++) {
        json_builder_set_member_name(builder, lists[i].name);
        json_builder_begin_array(builder);
        for (char **text = *(char ***)((char *)self + lists[i].offset); *text != NULL; text++)
            json_builder_add_string_value(builder, *text);
        json_builder_end_array(builder);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        const char *text = *(char **)((char *)self + texts[i].offset);
        if (text == NULL)
            continue;
        json_builder_set_member_name(builder, texts[i].name);
        json_builder_add_string_value(builder, text);
    }
    json_builder_end_object(builder);
    g_autoptr(JsonNode) root = json_builder_get_root(builder);
    return json_to_string(root, FALSE);
}

static void
read_list(JsonObject *object, const char *name, char ***into)
{
    if (!json_object_has_member(object, name))
        return;
    JsonArray *array = json_object_get_array_member(object, name);
    g_strfreev(*into);
    *into = g_new0(char *, json_array_get_length(array) + 1);
    for (guint i = 0; i < json_array_get_length(array); i++)
        (*into)[i] = g_strdup(json_array_get_string_element(array, i));
}

AdapterView *
adapter_from_json(const char *mac, const char *json, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autoptr(JsonNode) root = json_from_string(json, &cause);
    if (root == NULL || !JSON_NODE_HOLDS_OBJECT(root)) {
        g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_FAILED, "the settings of adapter %s in the state database are damaged", mac);
        return NULL;
    }
    JsonObject *object = json_node_get_object(root);
    AdapterView *self = adapter_view_new(mac);
    self->is_set = json_object_get_boolean_member_with_default(object, "is_set", FALSE);
    self->protocol = (unsigned)json_object_get_int_member_with_default(object, "protocol", 0);
    self->dhcp = json_object_get_boolean_member_with_default(object, "dhcp", FALSE);
    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++)
        read_list(object, lists[i].name, (char ***)((char *)self + lists[i].offset));
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        *(char **)((char *)self + texts[i].offset) = g_strdup(json_object_get_string_member_with_default(object, texts[i].name, NULL));
    return self;
}

GPtrArray *
adapters_stored(Store *store, const char *vm_uuid, GError **error)
{
    g_autoptr(GPtrArray) rows = store_adapters(store, vm_uuid, error);
    g_autoptr(GPtrArray) adapters = g_ptr_array_new_with_free_func((GDestroyNotify)adapter_view_free);
    for (guint i = 0; rows != NULL && i < rows->len; i++) {
        const StoreAdapter *row = g_ptr_array_index(rows, i);
        AdapterView *adapter = adapter_from_json(row->mac, row->settings, error);
        if (adapter == NULL)
            return NULL;
        g_ptr_array_add(adapters, adapter);
    }
    return rows != NULL ? g_steal_pointer(&adapters) : NULL;
}
