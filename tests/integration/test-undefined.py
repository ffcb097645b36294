#!/usr/bin/python3
"""VMs that somebody undefined, or defined anew, while they replicate: nothing is stuck, nothing is lost."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402

BUILD = sys.argv[1]


def undefine(host, guest):
    host.virsh("undefine", "--checkpoints-metadata", "--keep-nvram", guest.uuid)


def error_of(host, word):
    return [line for line in host.log_lines() if word in line]


def test_undefined_primary_is_removed_from_replication():
    with hosts.replicating_pair(BUILD, libvirtd=True) as (primary, replica, guest):
        uuid = guest.uuid
        primary.power(uuid, hosts.POWER_OFF)
        undefine(primary, guest)
        hosts.wait_for(lambda: error_of(primary, "is no longer defined"), "a line that says what is wrong")
        assert primary.vm(uuid)["ElementName"] == "ledger", "its replication is not shown any more"
        primary.call("RemoveReplicationRelationship", ComputerSystem=primary.vm_epr(uuid))
        hosts.wait_for(lambda: primary.vm(uuid) is None, "the VM to be gone")
        replica.failover(uuid)
        assert replica.check_disks().whole


def test_primary_that_is_defined_anew_goes_on():
    with hosts.replicating_pair(BUILD, libvirtd=True) as (primary, replica, guest):
        uuid = guest.uuid
        xml = primary.virsh("dumpxml", "--inactive", uuid)
        primary.power(uuid, hosts.POWER_OFF)
        undefine(primary, guest)
        hosts.wait_for(lambda: error_of(primary, "is no longer defined"), "a line that says what is wrong")
        path = os.path.join(primary.folder, "again.xml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(xml)
        primary.virsh("define", path)
        primary.power(uuid, hosts.POWER_ON)
        written = primary.serial().reached()
        primary.wait_state(uuid, hosts.REPLICATING, 60)
        replica.wait_replication(uuid, 3, 60)
        replica.failover(uuid)
        verdict = replica.check_disks()
        assert verdict.whole and verdict.last >= written, verdict


def test_undefined_replica_fails_over():
    with hosts.replicating_pair(BUILD, libvirtd=True) as (primary, replica, guest):
        uuid = guest.uuid
        replica.wait_replication(uuid, 2)
        undefine(replica, guest)
        assert replica.vm(uuid)["ElementName"] == "ledger", "its replication is not shown any more"
        replica.failover(uuid)
        replica.power(uuid, hosts.POWER_ON)
        assert replica.serial().verdict() > 0


if __name__ == "__main__":
    tap.run()
