#!/usr/bin/python3
"""The disks that replicate are changed while the guest writes: taken in, taken out, given up, over deaths; and what failovers find then."""

import contextlib
import os
import subprocess
import sys
import uuid as uuids

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "interop"))
import guest as guests  # noqa: E402
import hosts  # noqa: E402
import images  # noqa: E402
import tap  # noqa: E402
from relay import Relay  # noqa: E402
from wsman_client import EmbeddedInstance, Epr  # noqa: E402

BUILD = sys.argv[1]
MIB = 2**20
NOT_SUPPORTED, INVALID_PARAMETER, IN_USE, INVALID_STATE = 32770, 32773, 32774, 32775
RESUME, RETRY = 3, 15
DISK_UPDATE, DISK_UPDATE_CRITICAL = 15, 16
JOB_CHANGE_DISKS, JOB_TERMINATE, JOB_TERMINATED = 125, 4, 8

DISK = """<disk type='file' device='disk'>
  <driver name='qemu' type='qcow2'/>
  <source file='{path}'/>
  <target dev='sda' bus='scsi'/>
</disk>
"""


def change(host, uuid, disks, want=hosts.JOB_STARTED):
    """ModifyReplicationSettings with those IncludedDisks; its job, which is not waited for."""
    settings = EmbeddedInstance("Msvm_ReplicationSettingData", {
        "InstanceID": f"Microsoft:{uuid.upper()}\\HVR\\0", "IncludedDisks": [f"Microsoft:{uuid.upper()}\\{disk}" for disk in disks]})
    result = host.api.invoke(host.api.enumerate("Msvm_ReplicationService")[0], "ModifyReplicationSettings",
                             {"ComputerSystem": host.vm_epr(uuid), "ReplicationSettingData": settings})
    assert result.return_value == want, (result.return_value, result.message)
    return result.job


def finish(host, job, state=7):
    hosts.wait_for(lambda: host.api.get(job).number("JobState") not in (3, 4), "the end of the job", 60)
    found = host.api.get(job)
    assert found.number("JobType") == JOB_CHANGE_DISKS and found.number("JobState") == state, (found["JobState"], found["ErrorDescription"])


def included(host, uuid):
    found = host.api.get(Epr("Msvm_ReplicationSettingData", {"InstanceID": f"Microsoft:{uuid.upper()}\\HVR\\0"}))
    disks = found["IncludedDisks"]
    return sorted(text.rstrip('"').rsplit("\\", 1)[1] for text in (disks if isinstance(disks, list) else [disks]))


def defined(host, name="ledger"):
    return sorted(disk.find("target").get("dev") for disk in host.domain_xml(name).iterfind("devices/disk[@device='disk']"))


def image_on(replica, uuid, disk):
    return os.path.join(replica.storage, uuid, "disks", f"{disk}.qcow2")


def verdict_of_failover(replica, uuid, point=None):
    """What the guest itself finds on its disks after a failover; it is reverted."""
    replica.failover(uuid, point)
    serial = replica.serial().skip()
    replica.power(uuid, hosts.POWER_ON)
    last = serial.verdict()
    replica.power(uuid, hosts.POWER_OFF)
    disks = defined(replica)
    replica.revert(uuid)
    return last, disks


@contextlib.contextmanager
def pair(disks, relay=False, libvirtd=False, fill=None, **guest):
    """(primary, replica, guest, relay): only @disks of the guest's replicate."""
    with hosts.Site(BUILD) as site, contextlib.ExitStack() as stack:
        primary, replica = site.host("p", libvirtd=libvirtd), site.host("r")
        made = primary.add_guest(guest_uuid=str(uuids.uuid4()), **guest)
        if fill is not None:
            guests.fill(made.disks[fill])
        primary.start()
        replica.start()
        replica.enable_server("p")
        way = Relay(replica.port()) if relay else None
        if way:
            stack.callback(way.close)
        primary.power(made.uuid, hosts.POWER_ON)
        primary.serial().wait_number(1)
        more = {"RecoveryServerPortNumber": way.port} if way else {}
        primary.create_relationship(made.uuid, replica, IncludedDisks=[f"Microsoft:{made.uuid.upper()}\\{disk}" for disk in disks], **more)
        primary.start_replication(made.uuid)
        primary.wait_state(made.uuid, hosts.REPLICATING, 120)
        replica.wait_replication(made.uuid)
        yield primary, replica, made, way


def test_a_disk_is_taken_in_under_writing():
    """The ledger is over both disks: what the guest finds after a failover is of one moment, or it finds a hole."""
    with pair(["vda"]) as (primary, replica, guest, _):
        uuid = guest.uuid
        assert included(primary, uuid) == ["vda"] and defined(replica) == ["vda"]
        change(primary, uuid, ["vda", "vdq"], INVALID_PARAMETER)
        change(primary, uuid, ["vdb"], NOT_SUPPORTED)
        change(replica, uuid, ["vda"], INVALID_STATE)
        before = primary.serial().reached()
        finish(primary, change(primary, uuid, ["vda", "vdb"]))
        assert primary.state(uuid) == hosts.REPLICATING
        hosts.wait_for(lambda: replica.state(uuid) == hosts.REPLICATING, "the replica's end of the change")
        assert included(primary, uuid) == included(replica, uuid) == ["vda", "vdb"]
        primary.serial().wait_number(before + 20)
        replica.wait_replication(uuid, 2)
        last, disks = verdict_of_failover(replica, uuid)
        assert last >= before and disks == ["vda", "vdb"], (last, before, disks)

        points = replica.points(uuid)
        replica.failover(uuid, points[0])
        assert defined(replica) == ["vda"], "a point from before the change has the disks of then"
        replica.revert(uuid)
        replica.wait_replication(uuid, 2)
        assert replica.check_disks().whole and defined(replica) == ["vda", "vdb"]


def same_bytes(primary, replica, guest, disks):
    """The guest is off, and the replica has what it left."""
    hosts.wait_for(lambda: images.differ([guest.disks["abcdefgh".index(disk[2])] for disk in disks],
                                         [image_on(replica, guest.uuid, disk) for disk in disks]) is None, "the same bytes on both hosts", 20)


def test_deaths_in_the_middle():
    with pair(["vda"], relay=True, fill=1) as (primary, replica, guest, relay):
        uuid = guest.uuid
        relay.rate = 1_000_000
        change(primary, uuid, ["vda", "vdb"])
        replica.wait_state(uuid, DISK_UPDATE)
        start = relay.forward_bytes
        hosts.wait_for(lambda: relay.forward_bytes > start + 500_000, "some of the disk")
        assert primary.state(uuid) == DISK_UPDATE
        primary.kill()
        replica.failover(uuid)  # in the middle: the disks of before
        assert defined(replica) == ["vda"]
        replica.revert(uuid)
        primary.start()
        start = relay.forward_bytes
        hosts.wait_for(lambda: relay.forward_bytes > start + 500_000, "more of the disk")
        replica.kill()
        replica.start()
        relay.target_port = replica.port()
        relay.rate = None
        primary.wait_state(uuid, hosts.REPLICATING)
        replica.wait_state(uuid, hosts.REPLICATING)
        assert included(primary, uuid) == included(replica, uuid) == ["vda", "vdb"]
        primary.power(uuid, hosts.POWER_OFF)
        same_bytes(primary, replica, guest, ["vda", "vdb"])
        last, disks = verdict_of_failover(replica, uuid)
        assert disks == ["vda", "vdb"] and last >= primary.serial().reached() - 1


def test_a_change_is_given_up():
    with pair(["vda"], relay=True, fill=1) as (primary, replica, guest, relay):
        uuid = guest.uuid
        relay.rate = 500_000
        job = change(primary, uuid, ["vda", "vdb"])
        replica.wait_state(uuid, DISK_UPDATE)
        hosts.wait_for(lambda: os.path.exists(image_on(replica, uuid, "vdb")), "the disk on the replica")
        found = primary.api.get(job)
        assert primary.api.invoke(found, "RequestStateChange", {"RequestedState": JOB_TERMINATE}).return_value in (0, hosts.JOB_STARTED)
        finish(primary, job, JOB_TERMINATED)
        assert primary.state(uuid) == hosts.REPLICATING and included(primary, uuid) == ["vda"]
        hosts.wait_for(lambda: not os.path.exists(image_on(replica, uuid, "vdb")), "the replica to forget the disk", 40)
        replica.wait_state(uuid, hosts.REPLICATING)
        replica.wait_replication(uuid, 2)

        job = change(primary, uuid, ["vda", "vdb"])
        replica.wait_state(uuid, DISK_UPDATE)
        hosts.wait_for(lambda: os.path.exists(image_on(replica, uuid, "vdb")), "the disk on the replica")
        hosts.wait_for(lambda: replica.change_state(uuid, RESUME, (0, IN_USE)).return_value == 0, "the replica to give it up")
        primary.wait_state(uuid, DISK_UPDATE_CRITICAL)
        finish(primary, job, 10)
        assert "could not be changed" in primary.health_issues(uuid), primary.health_issues(uuid)
        replica.wait_replication(uuid, 2)  # the others go on
        relay.rate = None
        primary.change_state(uuid, RETRY)
        assert primary.state(uuid) == hosts.REPLICATING and included(replica, uuid) == ["vda", "vdb"]
        primary.change_state(uuid, RESUME, INVALID_STATE)
        primary.change_state(uuid, RETRY, INVALID_STATE)


def test_disks_go_and_come_back():
    """The guest is off in the second half."""
    with pair(["vda", "vdb"]) as (primary, replica, guest, _):
        uuid = guest.uuid
        replica.wait_replication(uuid, 2)
        before = primary.serial().reached()
        finish(primary, change(primary, uuid, ["vda"]))
        replica.wait_replication(uuid, 2)
        assert defined(replica) == ["vda"] and os.path.exists(image_on(replica, uuid, "vdb"))
        last, disks = verdict_of_failover(replica, uuid, replica.points(uuid)[0])
        assert 0 < last <= before + 20 and disks == ["vda", "vdb"]
        replica.wait_replication(uuid)

        job = change(primary, uuid, ["vda", "vdb"])  # its old image is needed by the points
        primary.wait_state(uuid, DISK_UPDATE_CRITICAL)
        finish(primary, job, 10)
        assert "recovery points from before" in primary.health_issues(uuid), primary.health_issues(uuid)
        primary.change_state(uuid, RESUME)
        assert primary.state(uuid) == hosts.REPLICATING

        primary.power(uuid, hosts.POWER_OFF)
        primary.stop()
        path = os.path.join(os.path.dirname(guest.disks[0]), "new.qcow2")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "64M"], check=True)
        guests.fill(path)
        primary.virsh("attach-disk", "ledger", path, "vdd", "--subdriver", "qcow2", "--config")
        primary.start()
        hosts.wait_for(lambda: "do not replicate: vdd" in primary.health_issues(uuid), "word of the new disk", 30)
        finish(primary, change(primary, uuid, ["vda", "vdd"]))
        assert "do not replicate" not in primary.health_issues(uuid)
        hosts.wait_for(lambda: defined(replica) == ["vda", "vdd"], "the new disk in the replica")
        images.assert_same([guest.disks[0], path], [image_on(replica, uuid, "vda"), image_on(replica, uuid, "vdd")])

        primary.stop()
        primary.virsh("detach-disk", "ledger", "vdd", "--config")
        primary.start()
        hosts.wait_for(lambda: "--exclude vdd" in primary.health_issues(uuid), "word of the disk that is gone", 30)
        finish(primary, change(primary, uuid, ["vda"]))
        hosts.wait_for(lambda: defined(replica) == ["vda"], "the replica without the disk")
        hosts.wait_for(lambda: "vdd" not in primary.health_issues(uuid), "the end of the words about it", 30)


def test_a_disk_is_plugged_in_and_out():
    with pair(["vda", "vdb"], libvirtd=True, acpi=True) as (primary, replica, guest, _):
        uuid = guest.uuid
        folder = os.path.dirname(guest.disks[0])
        path, disk, controller = (os.path.join(folder, name) for name in ("new.qcow2", "disk.xml", "controller.xml"))
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "64M"], check=True)
        guests.fill(path)
        for name, text in ((disk, DISK.format(path=path)), (controller, "<controller type='scsi' model='virtio-scsi'/>")):
            with open(name, "w", encoding="utf-8") as file:
                file.write(text)
        primary.virsh("attach-device", "ledger", controller, "--live", "--config")
        primary.virsh("attach-device", "ledger", disk, "--live")
        hosts.wait_for(lambda: "do not replicate: sda" in primary.health_issues(uuid), "word of the new disk", 30)
        change(primary, uuid, ["vda", "vdb", "sda"], NOT_SUPPORTED)  # a definition without it would go to the replica
        primary.virsh("attach-device", "ledger", disk, "--config")
        finish(primary, change(primary, uuid, ["vda", "vdb", "sda"]))
        replica.wait_replication(uuid, 2)
        assert images.differ([path], [image_on(replica, uuid, "sda")]) is None

        primary.virsh("detach-device", "ledger", disk, "--live", "--config")
        hosts.wait_for(lambda: "--exclude sda" in primary.health_issues(uuid), "word of the disk that is gone", 30)
        finish(primary, change(primary, uuid, ["vda", "vdb"]))
        replica.wait_replication(uuid, 2)
        assert len(primary.virsh("checkpoint-list", "ledger", "--name").split()) <= 2  # a cycle may be on its way
        last, disks = verdict_of_failover(replica, uuid)
        assert last > 0 and disks == ["vda", "vdb"]


if __name__ == "__main__":
    tap.run()
