#include "replication/adapter.h"

#include <string.h>

#define MAC "52:54:00:00:00:01"

static char **
split(const char *words)
{
    return words[0] == '\0' ? g_new0(char *, 1) : g_strsplit(words, " ", -1);
}

static AdapterView *
make(const char *mac, unsigned protocol, bool dhcp, const char *addresses, const char *subnets, const char *gateways, const char *dns)
{
    AdapterView *self = adapter_view_new(mac);
    const char *texts[] = { addresses, subnets, gateways, dns };
    char ***lists[] = { &self->addresses, &self->subnets, &self->gateways, &self->dns };
    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++) {
        g_strfreev(*lists[i]);
        *lists[i] = split(texts[i]);
    }
    self->protocol = protocol;
    self->dhcp = dhcp;
    self->is_set = true;
    return self;
}

static const struct {
    const char *name;
    unsigned    protocol;
    bool        dhcp;
    const char *addresses, *subnets, *gateways, *dns;
    const char *complaint; /* NULL: good */
    unsigned    want;      /* protocol after that */
} cases[] = {
    { "dhcp", 0, true, "", "", "", "", NULL, 4096 },
    { "nothing", 0, false, "", "", "", "", NULL, 4096 },
    { "static-with-a-mask", 4096, false, "10.0.0.5", "255.255.255.0", "10.0.0.1", "10.0.0.2 fd00::2", NULL, 4096 },
    { "static-with-a-length", 0, false, "10.0.0.5", "24", "10.0.0.1", "", NULL, 4096 },
    { "two-addresses", 0, false, "10.0.0.5 10.1.0.5", "24 16", "10.1.9.9", "", NULL, 4096 },
    { "ipv6", 0, false, "fd00::5", "64", "fe80::1", "", NULL, 4097 },
    { "ipv6-beside-dhcp", 0, true, "fd00::5", "64", "fd00::1", "10.0.0.2", NULL, 4098 },
    { "both", 4098, false, "10.0.0.5 fd00::5", "24 64", "10.0.0.1 fd00::1", "", NULL, 4098 },
    { "a-network-of-its-own", 0, false, "10.0.0.5", "255.255.255.255", "192.0.2.1", "", NULL, 4096 },
    { "pair-of-hosts", 0, false, "10.0.0.4", "31", "10.0.0.5", "", NULL, 4096 },
    { "no-address", 0, false, "10.0.0", "24", "", "", "is no IPv4 or IPv6 address" },
    { "words", 0, false, "10.0.0.5;reboot", "24", "", "", "is no IPv4 or IPv6 address" },
    { "loopback", 0, false, "127.0.0.1", "8", "", "", "no host can have" },
    { "multicast", 0, false, "ff02::1", "64", "", "", "no host can have" },
    { "of-the-network", 0, false, "10.0.0.0", "24", "", "", "of the network or of all its hosts" },
    { "of-all-hosts", 0, false, "10.0.0.255", "24", "", "", "of the network or of all its hosts" },
    { "mask-with-a-hole", 0, false, "10.0.0.5", "255.0.255.0", "", "", "is no IPv4 mask" },
    { "mask-of-nothing", 0, false, "10.0.0.5", "0.0.0.0", "", "", "is no IPv4 mask" },
    { "length-too-long", 0, false, "10.0.0.5", "33", "", "", "is no IPv4 mask" },
    { "mask-for-ipv6", 0, false, "fd00::5", "255.255.255.0", "", "", "is no length of an IPv6 prefix" },
    { "subnet-missing", 0, false, "10.0.0.5 10.0.0.6", "24", "", "", "one entry for each" },
    { "subnet-too-many", 0, true, "", "24", "", "", "one entry for each" },
    { "static-and-dhcp", 0, true, "10.0.0.5", "24", "", "", "cannot come from DHCP and be" },
    { "gateway-and-dhcp", 0, true, "", "", "10.0.0.1", "", "comes from DHCP" },
    { "gateway-elsewhere", 0, false, "10.0.0.5", "24", "10.0.1.1", "", "is in no network" },
    { "gateway-itself", 0, false, "10.0.0.5", "24", "10.0.0.5", "", "is in no network" },
    { "gateway-of-no-family", 0, false, "10.0.0.5", "24", "fe80::1", "", "is in no network" },
    { "six-gateways", 0, false, "10.0.0.5", "24", "10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.6 10.0.0.7", "", "5 entries at most" },
    { "wrong-family", 4096, false, "fd00::5", "64", "", "", "does not fit ProtocolIFType 4096" },
    { "dhcp-is-ipv4", 4097, true, "", "", "", "", "DHCPEnabled is of IPv4" },
    { "unknown-protocol", 2, false, "10.0.0.5", "24", "", "", "ProtocolIFType 2 is none of" },
    { "server-of-nothing", 0, false, "", "", "", "10.0.0.2", "together with IPAddresses or DHCPEnabled" },
    { "no-server", 0, false, "10.0.0.5", "24", "", "dns.example", "is no address of a server" },
    { "address-twice", 0, false, "10.0.0.5 10.0.0.5", "24 24", "", "", "given more than once" },
};

static void
test_rule(const void *data)
{
    size_t i = GPOINTER_TO_SIZE(data);
    g_autoptr(GPtrArray) adapters = g_ptr_array_new_with_free_func((GDestroyNotify)adapter_view_free);
    g_autoptr(GError) error = NULL;
    AdapterView *adapter = make(MAC, cases[i].protocol, cases[i].dhcp, cases[i].addresses, cases[i].subnets, cases[i].gateways, cases[i].dns);
    g_ptr_array_add(adapters, adapter);
    bool good = adapters_check(adapters, &error);
    if (cases[i].complaint == NULL) {
        g_assert_no_error(error);
        g_assert_cmpuint(adapter->protocol, ==, cases[i].want);
        return;
    }
    g_assert_false(good);
    g_assert_error(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_PARAMETER);
    g_assert_nonnull(strstr(error->message, cases[i].complaint));
    g_assert_nonnull(strstr(error->message, MAC));
}

static void
test_adapters_share_no_address(void)
{
    g_autoptr(GPtrArray) adapters = g_ptr_array_new_with_free_func((GDestroyNotify)adapter_view_free);
    g_autoptr(GError) error = NULL;
    g_ptr_array_add(adapters, make(MAC, 0, false, "10.0.0.5", "24", "", ""));
    g_ptr_array_add(adapters, make("52:54:00:00:00:02", 0, false, "10.0.0.5", "24", "", ""));
    g_assert_false(adapters_check(adapters, &error));
    g_assert_error(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_PARAMETER);
    g_ptr_array_set_size(adapters, 1);
    g_ptr_array_add(adapters, make(MAC, 0, true, "", "", "", ""));
    g_assert_false(adapters_check(adapters, NULL));
}

static void
test_prefixes(void)
{
    g_assert_cmpuint(adapter_prefix("10.0.0.5", "255.255.255.255"), ==, 32);
    g_assert_cmpuint(adapter_prefix("10.0.0.5", "255.255.254.0"), ==, 23);
    g_assert_cmpuint(adapter_prefix("10.0.0.5", "128.0.0.0"), ==, 1);
    g_assert_cmpuint(adapter_prefix("fd00::5", "128"), ==, 128);
    g_assert_cmpuint(adapter_prefix("fd00::5", "129"), ==, 0);
    g_assert_cmpuint(adapter_prefix("10.0.0.5", ""), ==, 0);
}

static void
test_kept_as_given(void)
{
    g_autoptr(AdapterView) adapter = make(MAC, 4098, false, "10.0.0.5 fd00::5", "255.255.255.0 64", "10.0.0.1", "10.0.0.2");
    adapter->test_network = g_strdup("bridge/br9");
    g_autofree char *json = adapter_to_json(adapter);
    g_autoptr(AdapterView) read = adapter_from_json(MAC, json, NULL);
    g_autofree char *again = adapter_to_json(read);
    g_assert_cmpstr(json, ==, again);
    g_assert_cmpstr(read->subnets[0], ==, "255.255.255.0");
    g_assert_cmpstr(read->test_network, ==, "bridge/br9");
    g_assert_null(read->test_pool);
    g_assert_true(read->is_set);
    g_autoptr(GError) error = NULL;
    g_assert_null(adapter_from_json(MAC, "[]", &error));
    g_assert_error(error, REPLICATION_ERROR, REPLICATION_ERROR_FAILED);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strconcat("/adapter/rule/", cases[i].name, NULL);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_rule);
    }
    g_test_add_func("/adapter/adapters-share-no-address", test_adapters_share_no_address);
    g_test_add_func("/adapter/prefixes", test_prefixes);
    g_test_add_func("/adapter/kept-as-given", test_kept_as_given);
    return g_test_run();
}
