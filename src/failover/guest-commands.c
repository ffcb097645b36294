#include "failover/guest-commands.h"

#include "guest-network-script.h"
#include "replication/adapter.h"

#include <arpa/inet.h>
#include <string.h>

static void G_GNUC_PRINTF(2, 3)
add(GPtrArray *words, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_ptr_array_add(words, g_strdup_vprintf(format, args));
    va_end(args);
}

static char **
finish(GPtrArray *words)
{
    g_ptr_array_add(words, NULL);
    return (char **)g_ptr_array_free(words, FALSE);
}

static bool
has_family(const AdapterView *adapter, bool ipv6)
{
    for (char **address = adapter->addresses; *address != NULL; address++) {
        if (adapter_is_ipv6(*address) == ipv6)
            return true;
    }
    return false;
}

/* ---- Linux ---- */

const char *
guest_linux_script(void)
{
    return guest_network_script;
}

char **
guest_linux_command(const AdapterView *adapter, const char *device)
{
    GPtrArray *words = g_ptr_array_new();
    add(words, "/bin/sh");
    add(words, "-s");
    add(words, "--");
    add(words, "device=%s", device);
    add(words, "mac=%s", adapter->mac);
    add(words, "ipv4=%s", adapter->dhcp ? "dhcp" : has_family(adapter, false) ? "static" : "keep");
    add(words, "ipv6=%s", has_family(adapter, true) ? "static" : "keep");
    for (unsigned i = 0; adapter->addresses[i] != NULL; i++)
        add(words, "address=%s/%u", adapter->addresses[i], adapter_prefix(adapter->addresses[i], adapter->subnets[i]));
    for (char **gateway = adapter->gateways; *gateway != NULL; gateway++)
        add(words, "gateway=%s", *gateway);
    for (char **server = adapter->dns; *server != NULL; server++)
        add(words, "dns=%s", *server);
    return finish(words);
}

/* ---- Windows ----
 *
 * netsh keeps what it sets, and is in every Windows. Setting the first address takes the others of its family away; DHCP that is on
 * already is an error there, which guest_has_addresses() tells from a real one. */

static char *
mask_of(unsigned prefix)
{
    uint32_t mask = prefix == 0 ? 0 : UINT32_MAX << (32 - prefix);
    return g_strdup_printf("%u.%u.%u.%u", mask >> 24, mask >> 16 & 0xff, mask >> 8 & 0xff, mask & 0xff);
}

static const char *
first_gateway(const AdapterView *adapter, bool ipv6)
{
    for (char **gateway = adapter->gateways; *gateway != NULL; gateway++) {
        if (adapter_is_ipv6(*gateway) == ipv6)
            return *gateway;
    }
    return NULL;
}

static GPtrArray *
netsh(const char *family, const char *verb, const char *what)
{
    GPtrArray *words = g_ptr_array_new();
    add(words, "netsh.exe");
    add(words, "interface");
    add(words, "%s", family);
    add(words, "%s", verb);
    add(words, "%s", what);
    return words;
}

static void
windows_ipv4_address(GPtrArray *commands, const AdapterView *adapter, unsigned i, const char *device, bool is_first)
{
    g_autofree char *mask = mask_of(adapter_prefix(adapter->addresses[i], adapter->subnets[i]));
    const char *gateway = is_first ? first_gateway(adapter, false) : NULL;
    GPtrArray *words = netsh("ipv4", is_first ? "set" : "add", "address");
    add(words, "name=%s", device);
    if (is_first)
        add(words, "source=static");
    add(words, "address=%s", adapter->addresses[i]);
    add(words, "mask=%s", mask);
    if (gateway != NULL)
        add(words, "gateway=%s", gateway);
    g_ptr_array_add(commands, finish(words));
}

static void
windows_ipv6_address(GPtrArray *commands, const AdapterView *adapter, unsigned i, const char *device)
{
    GPtrArray *words = netsh("ipv6", "set", "address");
    add(words, "interface=%s", device);
    add(words, "address=%s/%u", adapter->addresses[i], adapter_prefix(adapter->addresses[i], adapter->subnets[i]));
    g_ptr_array_add(commands, finish(words));
}

static void
windows_dhcp(GPtrArray *commands, const char *what, const char *device)
{
    GPtrArray *words = netsh("ipv4", "set", what);
    add(words, "name=%s", device);
    add(words, "source=dhcp");
    g_ptr_array_add(commands, finish(words));
}

static void
windows_servers(GPtrArray *commands, const AdapterView *adapter, bool ipv6, const char *device)
{
    bool is_first = true;
    for (char **server = adapter->dns; *server != NULL; server++) {
        if (adapter_is_ipv6(*server) != ipv6)
            continue;
        GPtrArray *words = netsh(ipv6 ? "ipv6" : "ipv4", is_first ? "set" : "add", "dnsservers");
        add(words, "name=%s", device);
        if (is_first)
            add(words, "source=static");
        add(words, "address=%s", *server);
        add(words, "validate=no");
        g_ptr_array_add(commands, finish(words));
        is_first = false;
    }
}

GPtrArray *
guest_windows_commands(const AdapterView *adapter, const char *device)
{
    GPtrArray *commands = g_ptr_array_new_with_free_func((GDestroyNotify)g_strfreev);
    const char *gateway = first_gateway(adapter, true);
    bool is_first = true;
    if (adapter->dhcp) {
        windows_dhcp(commands, "address", device);
        windows_dhcp(commands, "dnsservers", device);
    }
    for (unsigned i = 0; adapter->addresses[i] != NULL; i++) {
        if (adapter_is_ipv6(adapter->addresses[i])) {
            windows_ipv6_address(commands, adapter, i, device);
        } else {
            windows_ipv4_address(commands, adapter, i, device, is_first);
            is_first = false;
        }
    }
    if (gateway != NULL) {
        GPtrArray *words = netsh("ipv6", "set", "route");
        add(words, "prefix=::/0");
        add(words, "interface=%s", device);
        add(words, "nexthop=%s", gateway);
        g_ptr_array_add(commands, finish(words));
    }
    windows_servers(commands, adapter, false, device);
    windows_servers(commands, adapter, true, device);
    return commands;
}

/* ---- what came of it ---- */

static bool
is_same(const char *address, unsigned prefix, const char *found)
{
    uint8_t a[16], b[16];
    g_auto(GStrv) parts = g_strsplit(found, "/", 2);
    int family = adapter_is_ipv6(address) ? AF_INET6 : AF_INET;
    g_autofree char *length = g_strdup_printf("%u", prefix);
    return parts[0] != NULL && g_strcmp0(parts[1], length) == 0 && inet_pton(family, address, a) == 1 &&
           inet_pton(family, parts[0], b) == 1 && memcmp(a, b, family == AF_INET6 ? 16 : 4) == 0;
}

bool
guest_has_addresses(const AdapterView *adapter, const char *const *addresses)
{
    bool has_ipv4 = false;
    for (const char *const *found = addresses; *found != NULL; found++)
        has_ipv4 |= !adapter_is_ipv6(*found) && !g_str_has_prefix(*found, "169.254.");
    for (unsigned i = 0; adapter->addresses[i] != NULL; i++) {
        bool is_there = false;
        for (const char *const *found = addresses; *found != NULL; found++)
            is_there |= is_same(adapter->addresses[i], adapter_prefix(adapter->addresses[i], adapter->subnets[i]), *found);
        if (!is_there)
            return false;
    }
    return has_ipv4 || !adapter->dhcp;
}
