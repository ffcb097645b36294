#!/usr/bin/python3
"""The system libvirt: virt-replicad is root, QEMU is not. Run by in-private-host."""

import os
import pwd
import socket
import stat
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from system_hosts import QEMU_USER, two_hosts  # noqa: E402
import hosts  # noqa: E402
import tap  # noqa: E402

BUILD = sys.argv[1]
SIZES = (8 * 2**20, 8 * 2**20)  # the guest reads all of its disks at each start


def replicate(primary, replica, guest):
    """Has a running ledger guest replicate each second, until the first copy and one more replication are there."""
    replica.enable_server(primary.name)
    primary.power(guest.uuid, hosts.POWER_ON)
    primary.serial().wait_number(1)
    primary.create_relationship(guest.uuid, replica)
    primary.start_replication(guest.uuid)
    primary.wait_state(guest.uuid, hosts.REPLICATING)
    replica.wait_state(guest.uuid, hosts.REPLICATING)
    replica.wait_replication(guest.uuid)


def owner_of_process(pid):
    return pwd.getpwuid(os.stat(f"/proc/{pid}").st_uid).pw_name


def open_to_others(folder):
    """Paths below @folder that others than their owner may list or read; sockets are left out."""
    found = []
    for place, names, files in os.walk(folder):
        for path in [place] + [os.path.join(place, name) for name in files]:
            mode = os.lstat(path).st_mode
            if not stat.S_ISSOCK(mode) and mode & 0o066:
                found.append(f"{path} {stat.filemode(mode)}")
    return found


def release(host):
    """virt-replicad --release, whatever it ends with: (exit code, what it said)."""
    done = subprocess.run([host.program, "--config", host.config, "--release"], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_a_guest_of_the_system_libvirt_replicates():
    with two_hosts(BUILD) as (system, ordinary):
        guest = system.add_guest(SIZES)
        uuid = guest.uuid
        assert system.check() == (0, "configuration is good\n"), system.check()
        system.start()
        ordinary.start()
        replicate(system, ordinary, guest)
        assert owner_of_process(system.qemu(uuid)) == QEMU_USER
        ordinary.wait_replication(uuid, 5)
        for place in ("state", "run", "scratch"):
            assert not open_to_others(os.path.join(system.folder, place)), open_to_others(os.path.join(system.folder, place))

        code, said = release(system)
        assert code == 1 and "another virt-replicad works in" in said, (code, said)
        ordinary.wait_replication(uuid, 2)

        # The daemon dies: nothing of it may stay in the guest
        system.kill()
        written = ordinary.replicated(uuid)
        system.release()
        assert system.virsh("domjobinfo", guest.name).split() == ["Job", "type:", "None"], system.virsh("domjobinfo", guest.name)
        assert system.virsh("domstate", guest.name).strip() == "running"
        assert not [name for name in os.listdir(os.path.join(system.folder, "scratch")) if name.endswith(".scratch")]
        system.start()
        hosts.wait_for(lambda: ordinary.replicated(uuid) != written, "a replication after the restart")

        reached = system.serial().reached()
        ordinary.wait_replication(uuid, 2)
        system.kill()
        system.kill_qemu(uuid)
        ordinary.failover(uuid)
        verdict = ordinary.check_disks()
        assert verdict.whole and verdict.last >= reached, f"{verdict}, {reached} was written before"


def test_a_replica_under_the_system_libvirt_takes_over():
    with two_hosts(BUILD) as (system, ordinary):
        guest = ordinary.add_guest(SIZES)
        uuid = guest.uuid
        system.start()
        ordinary.start()
        replicate(ordinary, system, guest)
        system.wait_replication(uuid, 2)

        complaint = system.start_vm(guest.name)
        assert complaint is not None and "lock" in complaint, complaint
        written = ordinary.serial().reached()
        system.wait_replication(uuid, 2)

        system.failover(uuid)
        system.power(uuid, hosts.POWER_ON)
        assert owner_of_process(system.qemu(uuid)) == QEMU_USER
        latest = system.serial().verdict()
        assert latest >= written, f"the copy ends at {latest}, {written} was written before"
        system.serial().wait_number(latest + 32)
        folder = os.path.join(system.storage, uuid)
        for closed in ("staging", "undo", "blobs"):
            assert not os.stat(os.path.join(folder, closed)).st_mode & 0o077, closed
        assert not open_to_others(folder), open_to_others(folder)

        # Back: root's storage daemon opens the disks again that libvirt had given to QEMU's user
        system.power(uuid, hosts.POWER_OFF)
        system.revert(uuid)
        assert system.state(uuid) == hosts.REPLICATING
        complaint = system.start_vm(guest.name)
        assert complaint is not None and "lock" in complaint, complaint
        points = system.points(uuid)
        system.wait_replication(uuid, 2)
        log = system.serial().skip()
        system.failover(uuid, points[0])
        system.power(uuid, hosts.POWER_ON)
        earlier = log.verdict()
        assert earlier <= latest, f"the oldest point has {earlier}, the latest {latest}"


def test_a_service_manager_is_told():
    with two_hosts(BUILD) as (system, _):
        path = os.path.join(system.folder, "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(path)
            manager.settimeout(60)
            os.environ["NOTIFY_SOCKET"] = path
            try:
                system.start()
                assert manager.recv(100) == b"READY=1"
                system.stop()
                assert manager.recv(100) == b"STOPPING=1"
            finally:
                del os.environ["NOTIFY_SOCKET"]


def test_places_that_qemu_cannot_reach_are_named():
    with two_hosts(BUILD) as (system, ordinary):
        guest = ordinary.add_guest(SIZES)
        closed = os.path.join(system.folder, "closed")
        os.mkdir(closed, 0o700)
        system.storage = os.path.join(closed, "replicas")
        system.start()
        ordinary.start()
        system.enable_server(ordinary.name)
        ordinary.power(guest.uuid, hosts.POWER_ON)
        try:
            ordinary.create_relationship(guest.uuid, system)
            raise AssertionError("a replica was made where QEMU cannot read it")
        except hosts.JobFailed as error:
            assert f"'{QEMU_USER}', who may not pass through '{closed}'" in str(error), error
        system.stop()

        os.chmod(os.path.join(system.folder, "scratch"), 0o700)
        code, said = system.check()
        assert code == 2 and "[paths] scratch: QEMU runs as user" in said and "chmod o+x" in said, (code, said)


if __name__ == "__main__":
    tap.run()
