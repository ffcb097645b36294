#!/usr/bin/python3
"""First copies that do not all go over the link: into the images of a VM that is on the replica's host, and by a folder."""

import contextlib
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402
from relay import Relay  # noqa: E402

BUILD = sys.argv[1]
INVALID_PARAMETER, INVALID_STATE, NOT_SUPPORTED = 32773, 32775, 32770
AS_REPLICA = 2
NETWORK, EXPORT, SEEDED = 1, 2, 3
MIB = 2**20


def start(host, uuid, kind, want=hosts.JOB_STARTED, folder=None, timeout=120):
    return host.call("StartReplication", want, timeout, ComputerSystem=host.vm_epr(uuid), InitialReplicationType=kind,
                     InitialReplicationExportLocation=folder, StartTime=None)


def begin(host, uuid, kind, folder=None):
    """The same without waiting for its job."""
    result = host.api.invoke(host.api.enumerate("Msvm_ReplicationService")[0], "StartReplication",
                             {"ComputerSystem": host.vm_epr(uuid), "InitialReplicationType": kind,
                              "InitialReplicationExportLocation": folder, "StartTime": None})
    assert result.return_value == hosts.JOB_STARTED, (result.return_value, result.message)
    return result.job


def fill(path, mib):
    """Noise in three quarters of an image, beside the ledger's records, which are at the ends of its places of 2 MiB."""
    piece = path + ".piece"
    with open(piece, "wb") as file:
        file.write(os.urandom(3 * MIB // 2))
    words = [word for place in range(0, mib, 2) for word in ("-c", f"write -q -s {piece} {place * MIB + MIB // 4} {3 * MIB // 2}")]
    subprocess.run(["qemu-io", "-f", "qcow2", *words, path], check=True)
    os.unlink(piece)


def copy_guest(guest, host):
    """The guest's disks as they are now, and a VM of the same UUID on them, on @host. Before its daemon starts."""
    tree = ET.parse(guest.xml)
    paths = []
    for source in tree.iterfind("devices/disk/source"):
        path = os.path.join(host.folder, "disks", os.path.basename(source.get("file")))
        subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", source.get("file"), path], check=True)
        source.set("file", path)
        paths.append(path)
    tree.find("devices/serial/source").set("path", os.path.join(host.folder, "disks", "ledger.serial"))
    tree.write(os.path.join(host.folder, "ledger.xml"))
    host.virsh("define", os.path.join(host.folder, "ledger.xml"))
    return paths


def is_equal(left, right):
    done = subprocess.run(["qemu-img", "compare", "-U", left, right], check=False, capture_output=True, text=True)
    return done.returncode == 0


def power_off(host, uuid):
    host.power(uuid, hosts.POWER_OFF)
    hosts.wait_for(lambda: host.vm(uuid).number("EnabledState") == hosts.POWER_OFF, "the guest to be off")


@contextlib.contextmanager
def seeded_pair(rate=None, mib=64):
    """(primary, replica, guest, images on the replica's host, relay): a VM with disks full of noise, copied to the other host when it had
    run for a while, and running on the primary since."""
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        guest = primary.add_guest(sizes=(mib * MIB, mib * MIB), slots=mib // 2)
        for disk in guest.disks:
            fill(disk, mib)
        images = copy_guest(guest, replica)
        primary.start()
        replica.start()
        replica.enable_server("p")
        relay = Relay(replica.port(), rate)
        try:
            primary.power(guest.uuid, hosts.POWER_ON)
            primary.serial().wait_number(64)
            yield primary, replica, guest, images, relay
        finally:
            relay.close()


def create(primary, uuid, replica, relay, **more):
    return primary.create_relationship(uuid, replica, RecoveryServerPortNumber=relay.port, CompressionEnabled=False, **more)


def check_failover(primary, replica, uuid):
    written = primary.serial().reached()
    replica.wait_replication(uuid, 2)
    replica.failover(uuid)
    verdict = replica.check_disks()
    assert verdict.whole and verdict.last >= written, f"{written} was written, the copy says {verdict}"


def test_a_seed_takes_only_what_differs():
    with seeded_pair() as (primary, replica, guest, images, relay):
        uuid = guest.uuid
        before = replica.domain_xml().find("devices/disk/source").get("file")
        # Without the consent of its host nobody has the VM
        try:
            create(primary, uuid, replica, relay)
        except hosts.JobFailed as error:
            assert "as-replica" in str(error), error
        else:
            raise AssertionError("a peer has taken a VM away")
        assert replica.disk_paths()[0] == before
        replica.change_state(uuid, AS_REPLICA)
        assert replica.vm(uuid).number("ReplicationMode") == hosts.MODE_REPLICA and replica.state(uuid) == hosts.WAITING_INITIAL
        replica.restart()
        assert replica.state(uuid) == hosts.WAITING_INITIAL, "what its administrator said is forgotten"
        assert "none has come" in replica.health_issues(uuid), replica.health_issues(uuid)
        # and it can be taken back
        replica.call("RemoveReplicationRelationship", ComputerSystem=replica.vm_epr(uuid))
        assert replica.vm(uuid).number("ReplicationMode") == hosts.MODE_NONE and replica.disk_paths() == images
        replica.change_state(uuid, AS_REPLICA)

        create(primary, uuid, replica, relay)
        assert replica.disk_paths() != images, "it could still be started from its images"
        start_bytes = relay.forward_bytes
        start(primary, uuid, SEEDED)
        primary.wait_state(uuid, hosts.REPLICATING)
        replica.wait_state(uuid, hosts.REPLICATING)
        sent = relay.forward_bytes - start_bytes
        assert sent < 16 * MIB, f"{sent} bytes were sent of 128 MiB of which few differ"
        replica.wait_replication(uuid, 1)
        replica.restart()
        replica.wait_replication(uuid, 1)
        power_off(primary, uuid)
        hosts.wait_for(lambda: all(map(is_equal, guest.disks, images)), "the images to be equal")
        primary.power(uuid, hosts.POWER_ON)
        check_failover(primary, replica, uuid)


if __name__ == "__main__":
    tap.run()
