#!/usr/bin/python3
"""guest-network.sh in a folder that stands for a guest, with programs that write down how they are called."""

import os
import subprocess
import sys
import tempfile
import unittest

SCRIPT = sys.argv.pop(1)
MAC = "52:54:00:00:00:0a"
TOOLS = ("awk", "cat", "chmod", "cmp", "cp", "grep", "mkdir", "rm", "sed")


class Guest:
    def __init__(self, folder):
        self.root = os.path.join(folder, "root")
        self.bin = os.path.join(folder, "bin")
        self.calls = os.path.join(folder, "calls")
        os.makedirs(os.path.join(self.root, "etc"))
        os.makedirs(self.bin)
        for tool in TOOLS:
            found = next(path for path in (f"/usr/bin/{tool}", f"/bin/{tool}") if os.path.exists(path))
            os.symlink(found, os.path.join(self.bin, tool))

    def program(self, name, answers="", status=0):
        """One that is in the guest: @answers are the words of a shell's case statement."""
        path = os.path.join(self.bin, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(f'#!/bin/sh\necho "{name} $*" >>{self.calls}\ncase "$*" in\n{answers}\nesac\nexit {status}\n')
        os.chmod(path, 0o755)

    def write(self, name, text):
        path = os.path.join(self.root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def read(self, name):
        with open(os.path.join(self.root, name), encoding="utf-8") as file:
            return file.read()

    def run(self, *words):
        """What the last line says, and how programs were called."""
        with open(self.calls, "w", encoding="utf-8"):
            pass
        with open(SCRIPT, encoding="utf-8") as script:
            text = script.read().replace("PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin", "")
        done = subprocess.run(["/bin/sh", "-s", "--", "device=eth0", f"mac={MAC}", *words], input=text, text=True, capture_output=True,
                              env={"PATH": self.bin, "VR_ROOT": self.root}, check=False)
        with open(self.calls, encoding="utf-8") as file:
            calls = file.read().splitlines()
        return done.returncode, done.stdout.strip(), calls, done.stderr


STATIC = ("ipv4=static", "ipv6=keep", "address=10.0.0.5/24", "address=10.0.0.6/24", "gateway=10.0.0.1", "dns=10.0.0.2", "dns=fd00::2")
BOTH = ("ipv4=static", "ipv6=static", "address=10.0.0.5/24", "address=fd00::5/64", "gateway=fe80::1", "gateway=10.0.0.1", "dns=10.0.0.2")
DHCP = ("ipv4=dhcp", "ipv6=keep")
IPV6 = ("ipv4=keep", "ipv6=static", "address=fd00::5/64")

INTERFACES = """source /etc/network/interfaces.d/*
auto lo
iface lo inet loopback
allow-hotplug eth0
iface eth0 inet static
    address 192.0.2.10/24
    gateway 192.0.2.1
iface eth0 inet6 static
    address fd99::10/64
auto eth1
iface eth1 inet dhcp
"""


class Test(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="vr-")
        self.addCleanup(folder.cleanup)
        self.guest = Guest(folder.name)

    def good(self, way, *words):
        status, said, calls, complaint = self.guest.run(*words)
        self.assertEqual((status, said), (0, way), complaint)
        return calls

    # ---- ifupdown ----

    def ifupdown(self):
        self.guest.program("ifup")
        self.guest.program("ifdown")
        self.guest.program("ip")
        self.guest.write("etc/network/interfaces", INTERFACES)

    def test_ifupdown_replaces_the_family(self):
        self.ifupdown()
        calls = self.good("ifupdown", *STATIC)
        text = self.guest.read("etc/network/interfaces")
        self.assertNotIn("192.0.2", text)
        for kept in ("fd99::10/64", "iface eth1 inet dhcp", "allow-hotplug eth0", "iface lo inet loopback"):
            self.assertIn(kept, text)
        self.assertNotIn("auto eth0", text)
        self.assertTrue(text.endswith("""iface eth0 inet static
    address 10.0.0.5/24
    gateway 10.0.0.1
    dns-nameservers 10.0.0.2
iface eth0 inet static
    address 10.0.0.6/24
"""), text)
        self.assertEqual(self.guest.read("etc/network/before-virt-replica/interfaces"), INTERFACES)
        self.assertLess(calls.index("ifdown --force eth0"), calls.index("ifup --force eth0"))
        self.assertIn("nameserver 10.0.0.2\nnameserver fd00::2\n", self.guest.read("etc/resolv.conf"))

    def test_ifupdown_again_and_again(self):
        self.ifupdown()
        self.good("ifupdown", *BOTH)
        once = self.guest.read("etc/network/interfaces")
        self.good("ifupdown", *BOTH)
        self.assertEqual(self.guest.read("etc/network/interfaces"), once)
        self.good("ifupdown", *DHCP)
        text = self.guest.read("etc/network/interfaces")
        self.assertIn("iface eth0 inet dhcp", text)
        self.assertIn("fd00::5/64", text)
        self.assertNotIn("10.0.0.5", text)
        self.assertEqual(self.guest.read("etc/network/before-virt-replica/interfaces"), INTERFACES)

    def test_ifupdown_looks_into_its_folder_too(self):
        self.ifupdown()
        self.guest.write("etc/network/interfaces", "source /etc/network/interfaces.d/*\n")
        self.guest.write("etc/network/interfaces.d/50-cloud-init", "auto eth0\niface eth0 inet dhcp\n")
        self.good("ifupdown", *STATIC)
        self.assertEqual(self.guest.read("etc/network/interfaces.d/50-cloud-init"), "auto eth0\n")
        self.assertIn("address 10.0.0.5/24", self.guest.read("etc/network/interfaces"))

    def test_ifupdown_keeps_a_bridge(self):
        self.ifupdown()
        self.guest.write("etc/network/interfaces", "auto eth0\niface eth0 inet static\n    address 192.0.2.10/24\n    bridge_ports ens3\n"
                                                   "    bridge_stp off\n    post-up ip route add 198.51.100.0/24 via 192.0.2.1\n")
        for words, method in ((STATIC, "static\n    address 10.0.0.5/24\n    gateway 10.0.0.1\n    dns-nameservers 10.0.0.2"), (DHCP, "dhcp")):
            self.good("ifupdown", *words)
            text = self.guest.read("etc/network/interfaces")
            self.assertIn(f"iface eth0 inet {method}\n    bridge_ports ens3\n    bridge_stp off\n", text)
            self.assertEqual(text.count("bridge_ports"), 1)
            self.assertNotIn("192.0.2", text)

    def test_ifupdown_that_fails_is_told(self):
        self.ifupdown()
        self.guest.program("ifup", status=1)
        status, _, _, complaint = self.guest.run(*STATIC)
        self.assertEqual(status, 1)
        self.assertIn("ifupdown could not set the addresses of eth0", complaint)

    # ---- systemd-networkd ----

    def networkd(self, setup="configured", file="/run/systemd/network/10-netplan-eth0.network", resolved=True):
        self.guest.program("networkctl", f"list*) echo '  2 eth0 ether routable {setup}' ;;\n"
                                         f"status*) echo '     Network File: {file}' ;;")
        self.guest.program("systemctl", "" if resolved else "*resolved*) exit 3 ;;")

    def test_networkd_gets_a_file_of_ours(self):
        self.networkd()
        calls = self.good("networkd", *BOTH)
        self.assertEqual(self.guest.read("etc/systemd/network/00-virt-replica-eth0.network"), f"""# Written by virt-replica after a failover
[Match]
Name=eth0
MACAddress={MAC}

[Network]
DHCP=no
Address=10.0.0.5/24
Address=fd00::5/64
Gateway=fe80::1
Gateway=10.0.0.1
DNS=10.0.0.2
""")
        self.assertEqual(calls[-2:], ["networkctl reload", "networkctl reconfigure eth0"])
        self.assertFalse(os.path.exists(os.path.join(self.guest.root, "etc/resolv.conf")))

    def test_networkd_with_ipv4_as_it_is(self):
        self.networkd()
        self.good("networkd", *IPV6)
        text = self.guest.read("etc/systemd/network/10-netplan-eth0.network.d/virt-replica.conf")
        self.assertEqual(text, "# Written by virt-replica after a failover\n[Network]\nAddress=fd00::5/64\n")

    def test_networkd_without_its_resolver(self):
        self.networkd(resolved=False)
        self.guest.write("etc/resolv.conf", "search example\nnameserver 192.0.2.1\n")
        self.good("networkd", *STATIC)
        self.assertEqual(self.guest.read("etc/resolv.conf"), "search example\nnameserver 10.0.0.2\nnameserver fd00::2\n")

    def test_a_device_that_networkd_does_not_manage(self):
        self.networkd(setup="unmanaged")
        self.ifupdown()
        self.good("ifupdown", *STATIC)

    # ---- NetworkManager ----

    def networkmanager(self, state="100 (connected)", ours=False):
        self.guest.program("nmcli", f"'-g GENERAL.STATE'*) echo '{state}' ;;\n'-g GENERAL.CONNECTION'*) echo 'Wired 1' ;;\n"
                                    f"'connection show'*) exit {0 if ours else 10} ;;")

    def test_networkmanager_gets_a_profile_of_ours(self):
        self.networkmanager()
        calls = self.good("networkmanager", *BOTH)
        self.assertIn("nmcli connection clone Wired 1 virt-replica eth0", calls)
        self.assertIn("nmcli connection modify virt-replica eth0 ipv4.method manual ipv4.addresses 10.0.0.5/24 ipv4.gateway 10.0.0.1 "
                      "ipv4.dns 10.0.0.2", calls)
        self.assertIn("nmcli connection modify virt-replica eth0 ipv6.method manual ipv6.addresses fd00::5/64 ipv6.gateway fe80::1 "
                      "ipv6.dns ", calls)
        self.assertEqual(calls[-1], "nmcli connection up virt-replica eth0")

    def test_networkmanager_again(self):
        self.networkmanager(ours=True)
        calls = self.good("networkmanager", *DHCP)
        self.assertFalse([call for call in calls if "clone" in call or "connection add" in call], calls)
        self.assertIn("nmcli connection modify virt-replica eth0 ipv4.method auto ipv4.addresses  ipv4.gateway  ipv4.dns ", calls)

    def test_a_device_that_networkmanager_does_not_manage(self):
        self.networkmanager(state="10 (unmanaged)")
        self.ifupdown()
        self.good("ifupdown", *STATIC)

    # ---- nobody ----

    def test_the_kernel_when_there_is_nobody(self):
        self.guest.program("ip")
        calls = self.good("kernel", *BOTH)
        self.assertEqual(calls, ["ip link set dev eth0 up", "ip -4 addr flush dev eth0 scope global", "ip -6 addr flush dev eth0 scope global",
                                 "ip addr add 10.0.0.5/24 dev eth0", "ip addr add fd00::5/64 dev eth0",
                                 "ip -6 route replace default via fe80::1 dev eth0", "ip route replace default via 10.0.0.1 dev eth0"])

    def test_dhcp_without_a_client(self):
        self.guest.program("ip")
        status, _, _, complaint = self.guest.run(*DHCP)
        self.assertEqual(status, 1)
        self.assertIn("no client of DHCP", complaint)


if __name__ == "__main__":
    unittest.main()
