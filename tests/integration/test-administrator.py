#!/usr/bin/python3
"""The administrator of the primary works on the VM while it replicates: that comes first, and replication goes on after it by itself,
without a resynchronization."""

import os
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import guest as guests  # noqa: E402
import hosts  # noqa: E402
import tap  # noqa: E402
from relay import Relay  # noqa: E402

BUILD = sys.argv[1]
MIB = 2**20


def again_and_again(claim, what, timeout=60):
    """libvirt refuses some things while a change is captured."""
    refusals = []

    def succeeds():
        try:
            claim()
        except AssertionError as error:
            refusals.append(str(error))
            return False
        return True
    try:
        hosts.wait_for(succeeds, what, timeout, pause=0.2)
    except hosts.Timeout as timeout:
        raise AssertionError(f"{what}: {refusals[-1]}") from timeout


def assert_no_resynchronization(*both):
    for host in both:
        lines = [line for line in host.log_lines() if "resynchroniz" in line]
        assert not lines, f"{host.name}: {lines}"


def goes_on(primary, replica, uuid):
    replica.wait_replication(uuid, 2, 60)
    assert primary.state(uuid) == hosts.REPLICATING and replica.state(uuid) == hosts.REPLICATING
    assert_no_resynchronization(primary, replica)


def same_ledger(primary, replica, uuid):
    """All that the guest wrote until now arrives."""
    written = primary.serial().reached()
    replica.wait_replication(uuid, 2)
    replica.failover(uuid)
    verdict = guests.check_images(replica.disk_paths()[:2])
    assert verdict.whole and verdict.last >= written, f"{verdict}, {written} was written before"
    replica.revert(uuid)


def make_image(path, size, image_format="qcow2"):
    subprocess.run(["qemu-img", "create", "-q", "-f", image_format, path, str(size)], check=True)
    return path


def test_the_backup_of_another_tool_is_waited_for():
    with hosts.replicating_pair(BUILD, libvirtd=True) as (primary, replica, guest):
        uuid = guest.uuid
        xml = os.path.join(primary.folder, "theirs.xml")
        with open(xml, "w", encoding="ascii") as file:
            file.write(f"<domainbackup mode='pull'><server transport='unix' socket='{primary.folder}/theirs.sock'/><disks>"
                       f"<disk name='vda' backup='yes' type='file'><scratch file='{primary.folder}/theirs'/></disk>"
                       "<disk name='vdb' backup='no'/></disks></domainbackup>")
        again_and_again(lambda: primary.virsh("backup-begin", uuid, xml), "their backup to begin")

        def waits():
            return sum("has another job" in line for line in primary.log_lines()) >= 5  # some 15 s
        hosts.wait_for(waits, "replication to wait for their backup", 60)
        assert primary.state(uuid) == hosts.REPLICATING
        assert "Backup" in primary.virsh("domjobinfo", uuid), "their backup was ended"
        primary.virsh("domjobabort", uuid)
        goes_on(primary, replica, uuid)
        same_ledger(primary, replica, uuid)


def test_our_job_is_aborted_by_hand():
    with hosts.replicating_pair(BUILD, libvirtd=True) as (primary, replica, guest):
        for _ in range(3):
            again_and_again(lambda: primary.virsh("domjobabort", guest.uuid), "a job of ours to be there and to be aborted")
            goes_on(primary, replica, guest.uuid)
        same_ledger(primary, replica, guest.uuid)


def test_pause_save_and_snapshot():
    with hosts.replicating_pair(BUILD, libvirtd=True) as (primary, replica, guest):
        uuid = guest.uuid
        again_and_again(lambda: primary.virsh("suspend", uuid), "the pause")
        goes_on(primary, replica, uuid)
        assert primary.virsh("domstate", uuid).strip() == "paused", "a guest that was paused by hand was resumed"
        primary.virsh("resume", uuid)

        again_and_again(lambda: primary.virsh("managedsave", uuid), "the managed save")
        hosts.wait_for(lambda: primary.qemu(uuid) is None, "end of QEMU")
        primary.virsh("start", uuid)
        goes_on(primary, replica, uuid)

        again_and_again(lambda: primary.virsh("snapshot-create-as", uuid, "--disk-only", "--no-metadata", "--diskspec",
                                              f"vda,file={primary.folder}/disks/over.qcow2"), "the snapshot")
        goes_on(primary, replica, uuid)
        again_and_again(lambda: primary.virsh("blockcommit", uuid, "vda", "--active"), "the commit")
        again_and_again(lambda: primary.virsh("blockjob", uuid, "vda", "--pivot"), "its end")
        goes_on(primary, replica, uuid)
        same_ledger(primary, replica, uuid)


def test_disks_come_grow_shrink_and_go():
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p", libvirtd=True), site.host("r", libvirtd=True)
        guest = primary.add_guest()
        uuid = guest.uuid
        third = make_image(os.path.join(primary.folder, "disks/third.qcow2"), 32 * MIB)
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 0x5a 0 32M", third], check=True, stdout=subprocess.DEVNULL)
        primary.virsh("attach-disk", uuid, third, "vdc", "--subdriver", "qcow2", "--config")
        primary.start()
        replica.start()
        replica.enable_server("p")
        primary.power(uuid, hosts.POWER_ON)
        primary.serial().wait_number(1)
        primary.create_relationship(uuid, replica)
        primary.start_replication(uuid)
        replica.wait_state(uuid, hosts.REPLICATING, 120)

        # What was not there when replication was enabled stays out, whatever it is
        raw = make_image(os.path.join(primary.folder, "disks/fourth.raw"), MIB, "raw")
        again_and_again(lambda: primary.virsh("attach-disk", uuid, raw, "sda", "--targetbus", "usb", "--subdriver", "raw", "--live"), "a disk more")
        goes_on(primary, replica, uuid)

        def third_on_replica():
            replica.failover(uuid)
            path = replica.disk_paths()[2]
            copy = os.path.join(site.folder, "third.raw")
            subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, copy], check=True)
            replica.revert(uuid)
            with open(copy, "rb") as file:
                return file.read()

        again_and_again(lambda: primary.virsh("blockresize", uuid, "vdc", "48M"), "a larger disk")
        goes_on(primary, replica, uuid)
        content = third_on_replica()
        assert content == b"\x5a" * 32 * MIB + bytes(16 * MIB), "the grown disk differs"

        primary.power(uuid, hosts.POWER_OFF)
        subprocess.run(["qemu-img", "resize", "-q", "--shrink", "-f", "qcow2", third, "8M"], check=True)
        primary.power(uuid, hosts.POWER_ON)
        goes_on(primary, replica, uuid)
        content = third_on_replica()
        assert content == b"\x5a" * 8 * MIB, f"the shrunk disk differs, it has {len(content)} bytes"
        same_ledger(primary, replica, uuid)

        primary.power(uuid, hosts.POWER_OFF)
        primary.virsh("detach-disk", uuid, "vdc", "--config")
        primary.power(uuid, hosts.POWER_ON)

        def is_named():
            return any("disk 'vdc' is to be replicated" in line for line in primary.log_lines())
        hosts.wait_for(is_named, "the missing disk to be named", 60)
        assert_no_resynchronization(primary, replica)


def test_a_slow_link_keeps_nobody_waiting():
    """Some 12 MiB that do not compress at 400 kB/s: half a minute. No job stays open that long, and who wants to suspend may do so."""
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        guest = primary.add_guest(reserved_bytes=16 * MIB)
        uuid = guest.uuid
        filler = os.path.join(site.folder, "filler")
        with open(filler, "wb") as file:
            file.write(os.urandom(12 * MIB))
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -s {filler} 50M 12M", guest.disks[1]], check=True,
                       stdout=subprocess.DEVNULL)
        primary.start()
        replica.start()
        replica.enable_server("p")
        relay = Relay(replica.port(), rate=400_000)
        primary.power(uuid, hosts.POWER_ON)
        primary.serial().wait_number(1)
        primary.create_relationship(uuid, replica, RecoveryServerPortNumber=relay.port)
        scratch, ended, longest = os.path.join(primary.folder, "scratch"), threading.Event(), [0.0]

        def watch():
            since = {}
            while not ended.wait(0.05):
                now, names = time.monotonic(), set(os.listdir(scratch))
                since = {name: since.get(name, now) for name in names}
                longest[0] = max([longest[0]] + [now - began for began in since.values()])
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            api = primary.api  # its job is the whole copy
            api.invoke(api.enumerate("Msvm_ReplicationService")[0], "StartReplication", {
                "ComputerSystem": primary.vm_epr(uuid), "InitialReplicationType": 1})
            hosts.wait_for(lambda: relay.forward_bytes > MIB, "the first copy to be on its way")
            began = time.monotonic()
            primary.change_state(uuid, hosts.SUSPENDED)
            took = time.monotonic() - began
            assert took < 10 * hosts.PATIENCE, f"suspending took {took:.0f} s"
            primary.change_state(uuid, hosts.REPLICATING)
            primary.wait_state(uuid, hosts.REPLICATING, 120)
        finally:
            ended.set()
            watcher.join()
        assert relay.forward_bytes < 20 * MIB, f"{relay.forward_bytes} bytes were sent for 12 MiB: parts of it twice"
        assert longest[0] < 30 * hosts.PATIENCE, f"a job was open for {longest[0]:.0f} s"
        print(f"# at most {longest[0]:.1f} s, suspended in {took:.1f} s")

        # A dead link holds up neither an operation nor a clean stop
        relay.rate = 1000
        threading.Event().wait(2)
        began = time.monotonic()
        primary.stop()
        assert time.monotonic() - began < 30 * hosts.PATIENCE, "a slow link held up the stop"
        relay.close()


if __name__ == "__main__":
    tap.run()
