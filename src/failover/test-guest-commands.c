#include "failover/guest-commands.h"

#include <string.h>

static AdapterView *
make(bool dhcp, const char *addresses, const char *subnets, const char *gateways, const char *dns)
{
    AdapterView *self = adapter_view_new("52:54:00:00:00:0A");
    const char *texts[] = { addresses, subnets, gateways, dns };
    char ***lists[] = { &self->addresses, &self->subnets, &self->gateways, &self->dns };
    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++) {
        g_strfreev(*lists[i]);
        *lists[i] = texts[i][0] == '\0' ? g_new0(char *, 1) : g_strsplit(texts[i], " ", -1);
    }
    self->dhcp = dhcp;
    self->is_set = true;
    return self;
}

static void
assert_linux(const AdapterView *adapter, const char *want)
{
    g_auto(GStrv) command = guest_linux_command(adapter, "eth0");
    g_autofree char *text = g_strjoinv(" ", command);
    g_assert_true(g_str_has_prefix(text, "/bin/sh -s -- device=eth0 mac=52:54:00:00:00:0a "));
    g_assert_cmpstr(text + strlen("/bin/sh -s -- device=eth0 mac=52:54:00:00:00:0a "), ==, want);
}

static void
test_linux(void)
{
    g_autoptr(AdapterView) both = make(false, "10.0.0.5 fd00::5", "255.255.254.0 64", "10.0.0.1 fe80::1", "10.0.0.2");
    g_autoptr(AdapterView) dhcp = make(true, "", "", "", "10.0.0.2");
    g_autoptr(AdapterView) ipv6 = make(false, "fd00::5", "64", "", "");
    assert_linux(both, "ipv4=static ipv6=static address=10.0.0.5/23 address=fd00::5/64 gateway=10.0.0.1 gateway=fe80::1 dns=10.0.0.2");
    assert_linux(dhcp, "ipv4=dhcp ipv6=keep dns=10.0.0.2");
    assert_linux(ipv6, "ipv4=keep ipv6=static address=fd00::5/64");
    g_assert_nonnull(strstr(guest_linux_script(), "main \"$@\" </dev/null"));
}

static void
assert_windows(const AdapterView *adapter, const char *want)
{
    g_autoptr(GPtrArray) commands = guest_windows_commands(adapter, "Ethernet 2");
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < commands->len; i++) {
        g_autofree char *line = g_strjoinv("|", g_ptr_array_index(commands, i));
        g_string_append_printf(text, "%s\n", line);
    }
    g_assert_cmpstr(text->str, ==, want);
}

#define IPV4 "netsh.exe|interface|ipv4|"
#define IPV6 "netsh.exe|interface|ipv6|"

static void
test_windows(void)
{
    g_autoptr(AdapterView) both = make(false, "10.0.0.5 fd00::5 10.0.0.6", "23 64 255.255.254.0", "10.0.0.1 fe80::1", "10.0.0.2 fd00::2 10.0.0.3");
    g_autoptr(AdapterView) dhcp = make(true, "", "", "", "10.0.0.2");
    assert_windows(both,
                   IPV4 "set|address|name=Ethernet 2|source=static|address=10.0.0.5|mask=255.255.254.0|gateway=10.0.0.1\n"
                   IPV6 "set|address|interface=Ethernet 2|address=fd00::5/64\n"
                   IPV4 "add|address|name=Ethernet 2|address=10.0.0.6|mask=255.255.254.0\n"
                   IPV6 "set|route|prefix=::/0|interface=Ethernet 2|nexthop=fe80::1\n"
                   IPV4 "set|dnsservers|name=Ethernet 2|source=static|address=10.0.0.2|validate=no\n"
                   IPV4 "add|dnsservers|name=Ethernet 2|address=10.0.0.3|validate=no\n"
                   IPV6 "set|dnsservers|name=Ethernet 2|source=static|address=fd00::2|validate=no\n");
    assert_windows(dhcp,
                   IPV4 "set|address|name=Ethernet 2|source=dhcp\n"
                   IPV4 "set|dnsservers|name=Ethernet 2|source=dhcp\n"
                   IPV4 "set|dnsservers|name=Ethernet 2|source=static|address=10.0.0.2|validate=no\n");
}

static bool
has(const AdapterView *adapter, const char *found)
{
    g_auto(GStrv) addresses = g_strsplit(found, " ", -1);
    return guest_has_addresses(adapter, (const char *const *)addresses);
}

static void
test_what_the_guest_has(void)
{
    g_autoptr(AdapterView) both = make(false, "10.0.0.5 fd00:0::5", "255.255.255.0 64", "", "");
    g_autoptr(AdapterView) dhcp = make(true, "", "", "", "");
    g_assert_true(has(both, "10.0.0.5/24 fd00::5/64"));
    g_assert_true(has(both, "fe80::1/64 fd00::5/64 10.9.9.9/8 10.0.0.5/24"));
    g_assert_false(has(both, "10.0.0.5/24"));
    g_assert_false(has(both, "10.0.0.5/16 fd00::5/64"));
    g_assert_false(has(both, "10.0.0.5 fd00::5/64"));
    g_assert_true(has(dhcp, "10.0.2.15/24"));
    g_assert_false(has(dhcp, "fe80::1/64 169.254.3.4/16"));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/guest-commands/linux", test_linux);
    g_test_add_func("/guest-commands/windows", test_windows);
    g_test_add_func("/guest-commands/what-the-guest-has", test_what_the_guest_has);
    return g_test_run();
}
