#!/usr/bin/python3
"""Addresses after a failover: a real guest with Debian's ifupdown and the real agent has those that were set for its new home."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import linux_guest  # noqa: E402
import tap  # noqa: E402
from wsman_client import EmbeddedInstance  # noqa: E402

BUILD = sys.argv[1]
NAME = "l"  # short, as it is part of the path of a socket
MACS = ("52:54:00:00:00:0a", "52:54:00:00:00:0b")
FAILOVER = "Msvm_FailoverNetworkAdapterSettingData"
INVALID_PARAMETER, INVALID_STATE = 32773, 32775
OLD = "eth0 192.0.2.10/24"


def adapter_id(uuid, mac):
    return f"Microsoft:{uuid.upper()}\\{mac.replace(':', '').upper()}"


def set_adapters(host, uuid, *adapters, want=0):
    """@adapters: (MAC, properties)."""
    return host.call("SetFailoverNetworkAdapterSettings", want, ComputerSystem=host.vm_epr(uuid), NetworkSettings=[
        EmbeddedInstance(FAILOVER, {"InstanceID": adapter_id(uuid, mac), **properties}) for mac, properties in adapters])


def read_adapters(host, uuid):
    """{MAC digits: Msvm_FailoverNetworkAdapterSettingData}, the way clients go: VM, its settings, their adapters."""
    api = host.api
    found = {}
    settings, = api.associators(host.vm_epr(uuid), "Msvm_SettingsDefineState", "Msvm_VirtualSystemSettingData")
    for port in api.associators(settings, result_class="Msvm_SyntheticEthernetPortSettingData"):
        found[port["Address"]], = api.associators(port, "Msvm_EthernetPortFailoverSettingDataComponent", FAILOVER)
    return found


def wait_addresses(log, *wanted, timeout=120):
    """The line in which the guest says that it has all of @wanted."""
    def look():
        return next((line for line in log.lines() if line.startswith("ADDRESSES") and all(word in line for word in wanted)), None)
    return hosts.wait_for(look, f"the addresses {wanted}", timeout)


def said(host, words):
    return [line for line in host.log_lines() if words in line]


STATIC = {"DHCPEnabled": False, "IPAddresses": ["10.99.0.5", "fd00:99::5"], "Subnets": ["255.255.255.0", "64"],
          "DefaultGateways": ["10.99.0.1"], "DNSServers": ["10.99.0.2"]}
BY_DHCP = {"DHCPEnabled": True, "IPAddresses": []}
NEW = ("eth0 10.99.0.5/24", "eth0 fd00:99::5/64")


def test_a_guest_has_its_addresses_after_a_failover_and_a_test():
    with linux_guest.replicating_pair(BUILD, "interval=1;journal=1h", macs=MACS, name=NAME) as (primary, replica, guest):
        uuid = guest.uuid
        wait_addresses(linux_guest.log_of(primary, NAME), OLD)
        set_adapters(replica, uuid, (MACS[0], STATIC), (MACS[1], BY_DHCP))
        replica.restart()
        replica.wait_replication(uuid)
        found = read_adapters(replica, uuid)
        assert sorted(found) == ["52540000000A", "52540000000B"], found
        assert found["52540000000A"]["IPAddresses"] == STATIC["IPAddresses"], found
        set_adapters(replica, uuid, ("52:54:00:00:00:0c", STATIC), want=INVALID_PARAMETER)
        set_adapters(replica, uuid, (MACS[1], {**BY_DHCP, "DefaultGateways": ["10.0.2.2"]}), want=INVALID_PARAMETER)
        set_adapters(replica, uuid, (MACS[1], {**STATIC, "DefaultGateways": []}), want=INVALID_PARAMETER)  # the first one has these
        assert read_adapters(replica, uuid)["52540000000B"]["DHCPEnabled"] in (True, "true"), read_adapters(replica, uuid)
        set_adapters(primary, uuid, (MACS[0], {**STATIC, "IPAddresses": ["192.0.2.10"], "Subnets": ["24"], "DefaultGateways": []}))
        # The VM of a test, whose adapters are connected to nothing: nobody is asked for DHCP
        test_uuid = replica.test(uuid)
        set_adapters(replica, test_uuid, (MACS[0], STATIC), want=INVALID_STATE)
        replica.power(test_uuid, hosts.POWER_ON)
        line = wait_addresses(linux_guest.log_of(replica, NAME + " - Test"), *NEW)
        assert OLD not in line, line
        hosts.wait_for(lambda: said(replica, "has the network addresses"), "a word in the log", 60)
        replica.power(test_uuid, hosts.POWER_OFF)
        replica.end_test(test_uuid)
        # The VM itself
        replica.failover(uuid)
        replica.power(uuid, hosts.POWER_ON)
        log = linux_guest.log_of(replica, NAME)
        line = wait_addresses(log, *NEW, "eth1 10.0.2.")
        assert OLD not in line, line
        hosts.wait_for(lambda: len(said(replica, "has the network addresses")) == 2, "a word in the log", 60)
        # Once: this guest forgets what it was told, and is not told again
        replica.power(uuid, hosts.POWER_OFF)
        log.skip()
        replica.power(uuid, hosts.POWER_ON)
        wait_addresses(log, OLD)
        # Other ones, while it runs
        set_adapters(replica, uuid, (MACS[0], {"DHCPEnabled": False, "IPAddresses": ["10.98.0.5"], "Subnets": ["16"]}))
        line = wait_addresses(log, "eth0 10.98.0.5/16")
        assert OLD not in line, line


if __name__ == "__main__":
    tap.run()
