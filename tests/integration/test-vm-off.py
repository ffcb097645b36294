#!/usr/bin/python3
"""Guests that are off, and what a daemon leaves behind in a guest when it stops."""

import os
import random
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402
from images import MIB, scribble, wait_received  # noqa: E402
from relay import Relay  # noqa: E402

BUILD = sys.argv[1]
NOT_SUPPORTED = 32770


def resynchronized(host):
    return [line for line in host.log_lines() if "resynchroniz" in line]


def same_end(primary, replica, uuid):
    """Both sides hold the same ledger; the guest must be off."""
    wanted = primary.check_disks()
    assert wanted.whole, wanted

    def arrived():
        replica.failover(uuid)
        found = replica.check_disks()
        replica.revert(uuid)
        assert found.whole, found
        return found.last == wanted.last
    hosts.wait_for(arrived, f"the primary's last number {wanted.last} on the replica", 60, pause=3)  # nothing is received while failed over


def test_the_last_changes_of_a_guest_that_was_turned_off_arrive():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        for _ in range(2):
            primary.serial().wait_number(primary.serial().reached() + 32)
            primary.power(uuid, hosts.POWER_OFF)
            same_end(primary, replica, uuid)
            primary.power(uuid, hosts.POWER_ON)
            replica.wait_replication(uuid, 2)
        assert not resynchronized(primary), "turning the guest off lost the track of its changes"


def test_an_image_that_is_put_back():
    """To a moment since its newest checkpoint, so that its bitmap is the right one, and does not tell what was written after that moment."""
    random.seed(12)
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        guest = primary.add_guest((16 * MIB, 16 * MIB), memory=128)
        uuid = guest.uuid
        primary.start()
        replica.start()
        replica.enable_server("p")
        primary.create_relationship(uuid, replica)
        primary.start_replication(uuid)
        primary.wait_state(uuid, hosts.REPLICATING)
        for restarts in (False, True):
            scribble(guest.disks)
            wait_received(primary, replica, uuid)
            for path in guest.disks:
                shutil.copy2(path, path + ".copy")
            scribble(guest.disks)
            wait_received(primary, replica, uuid)
            if restarts:
                primary.stop()
            for path in guest.disks:
                os.rename(path + ".copy", path)
            if restarts:
                primary.start()
            wait_received(primary, replica, uuid)
        assert not resynchronized(primary)


def test_first_copy_of_a_guest_that_is_off():
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        guest = primary.add_guest()
        uuid = guest.uuid
        primary.start()
        replica.start()
        replica.enable_server("p")
        primary.power(uuid, hosts.POWER_ON)
        primary.serial().wait_number(100)
        primary.power(uuid, hosts.POWER_OFF)
        primary.create_relationship(uuid, replica)
        primary.start_replication(uuid)
        primary.wait_state(uuid, hosts.REPLICATING, 120)
        replica.wait_state(uuid, hosts.REPLICATING)
        same_end(primary, replica, uuid)
        # Reading its images must not be in the way of a start, and the track must hold from its first write on
        primary.power(uuid, hosts.POWER_ON)
        replica.wait_replication(uuid, 2)
        assert not resynchronized(primary)
        primary.power(uuid, hosts.POWER_OFF)
        same_end(primary, replica, uuid)


def test_a_disk_that_cannot_be_tracked_is_named():
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        guest = primary.add_guest()
        old = guest.disks[0]
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "compat=0.10", old, "64M"], check=True)
        primary.start()
        replica.start()
        replica.enable_server("p")
        result = primary.create_relationship(guest.uuid, replica, want=NOT_SUPPORTED)
        assert "vda" in result.message and "qcow2" in result.message, result.message
        assert primary.state(guest.uuid) == hosts.DISABLED
        assert not replica.has_domain()


def test_a_daemon_that_stops_leaves_no_job_in_the_guest():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        for _ in range(3):
            replica.wait_replication(uuid, 1)
            primary.stop()
            assert "None" in primary.virsh("domjobinfo", uuid), "a job is open"
            assert "running" in primary.virsh("domstate", uuid)
            checkpoints = primary.virsh("checkpoint-list", uuid, "--name").split()
            assert len(checkpoints) == 1, checkpoints
            assert os.listdir(os.path.join(primary.folder, "scratch")) == []
            primary.start()
        assert not resynchronized(primary)
        replica.wait_replication(uuid, 2)


def fill(path):
    """Data that does not compress, between the ledger's records: they are the last sector of each 16 KiB."""
    with tempfile.NamedTemporaryFile() as piece:
        piece.write(os.urandom(8192))
        piece.flush()
        subprocess.run(["qemu-io", "-f", "qcow2", *(word for place in range(4096) for word in (
            "-c", f"write -q -s {piece.name} {place * 16384 + 4096} {place % 8 * 512 + 4096}")), path], check=True)


def test_guest_starts_while_its_images_are_read():
    """Nothing of ours is in the way of a start, and what was read of an image that is written to now is thrown away."""
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        guest = primary.add_guest()
        uuid = guest.uuid
        for path in primary.disk_paths():
            fill(path)
        primary.start()
        replica.start()
        replica.enable_server("p")
        relay = Relay(replica.port())
        primary.create_relationship(uuid, replica, RecoveryServerPortNumber=relay.port)
        relay.hold_after(2**17)
        api = primary.api
        api.invoke(api.enumerate("Msvm_ReplicationService")[0], "StartReplication", {
            "ComputerSystem": primary.vm_epr(uuid), "InitialReplicationType": 1})
        assert relay.is_holding.wait(60), "the copy was too small to be stopped up"
        primary.power(uuid, hosts.POWER_ON)
        primary.serial().wait_number(100)
        relay.let_go()
        primary.wait_state(uuid, hosts.REPLICATING, 120)
        replica.wait_replication(uuid, 2)
        primary.power(uuid, hosts.POWER_OFF)
        same_end(primary, replica, uuid)
        relay.close()


def test_discarded_areas_are_zeroes_on_the_replica():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        primary.power(uuid, hosts.POWER_OFF)
        image = primary.disk_paths()[1]

        def change(command):
            subprocess.run(["qemu-io", "-f", "qcow2", "-d", "unmap", "-c", command, image], check=True, stdout=subprocess.DEVNULL)
            replica.wait_replication(uuid)
            hosts.wait_for(equal, f"both sides to be equal after '{command}'", 60, pause=2)

        def equal():
            replica.failover(uuid)
            done = subprocess.run(["qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", image, replica.disk_paths()[1]],
                                  check=False, stdout=subprocess.DEVNULL)
            replica.revert(uuid)
            return done.returncode == 0
        change(f"write -P 7 {8 * 2**20} 2M")
        change(f"discard {8 * 2**20} 1M")
        change(f"write -z -u {9 * 2**20} 1M")


def test_removal_leaves_nothing_of_ours_in_the_guest():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        primary.call("RemoveReplicationRelationship", ComputerSystem=primary.vm_epr(uuid))
        assert primary.state(uuid) == hosts.DISABLED
        assert replica.state(uuid) == hosts.REPLICATING, "the replica is removed on its own host only"
        primary.stop()
        assert primary.virsh("checkpoint-list", uuid, "--name").split() == []
        assert "running" in primary.virsh("domstate", uuid)


def test_networks_of_the_replica_take_the_place_of_the_primarys():
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        guest = primary.add_guest((MIB,), network=True)
        with open(guest.xml, encoding="utf-8") as file:
            text = file.read()
        start, end = text.index("    <interface"), text.index("</interface>\n") + len("</interface>\n")
        one = text[start:end].replace("type='user'>", "type='network'><source network='{}'/>", 1)
        many = "".join(one.format(name).replace("12:34:56", f"12:34:0{i}") for i, name in enumerate(("prod", "dark", "same")))
        with open(guest.xml, "w", encoding="utf-8") as file:
            file.write(text[:start] + many + text[end:])
        primary.virsh("define", guest.xml)
        replica.configure("network-map", **{"network/prod": "bridge/br5", "dark": "none"})
        primary.start()
        replica.start()
        replica.enable_server("p")
        primary.create_relationship(guest.uuid, replica)
        primary.start_replication(guest.uuid)
        primary.wait_state(guest.uuid, hosts.REPLICATING)
        wait_received(primary, replica, guest.uuid)
        assert {link.get("state") for link in replica.domain_xml().iterfind("devices/interface/link")} == {"down"}
        replica.failover(guest.uuid)
        found = [(one.get("type"), dict(one.find("source").attrib if one.find("source") is not None else {}), one.find("link").get("state"),
                  one.find("mac").get("address")) for one in replica.domain_xml().iterfind("devices/interface")]
        assert found == [("bridge", {"bridge": "br5"}, "up", "52:54:00:12:34:00"), ("user", {}, "down", "52:54:00:12:34:01"),
                         ("network", {"network": "same"}, "up", "52:54:00:12:34:02")], found
        replica.revert(guest.uuid)


if __name__ == "__main__":
    tap.run()
