#!/usr/bin/python3
"""kill -9 at random moments: of either daemon, the guest's QEMU on either side, the storage daemon of the replica.

Afterwards replication goes on by itself, nothing acknowledged is lost, every point stays whole, and the guest was never left
paused or with a job of ours. The hosts have a libvirtd of their own, as in production: an embedded libvirt would die with the
daemon, in the middle of its own work. VR_TEST_KILLS: how many (default 12); VR_TEST_SEED: repeat a run."""

import os
import random
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402

BUILD = sys.argv[1]
KILLS = int(os.environ.get("VR_TEST_KILLS", "12"))
SEED = int(os.environ.get("VR_TEST_SEED", random.randrange(2**32)))
dice = random.Random(SEED)


def kill_primary_daemon(primary, replica, guest):
    primary.kill()
    writes_on(primary, "with its daemon dead")
    primary.release()
    primary.start()


def kill_replica_daemon(primary, replica, guest):
    replica.kill()
    writes_on(primary, "with the replica server dead")
    replica.start()


def wait_off(host, guest):
    def is_off():
        host.revive_libvirtd()
        try:
            return host.vm(guest.uuid).number("EnabledState") == hosts.POWER_OFF
        except hosts.Fault:
            return False  # libvirt is not reachable just now
    hosts.wait_for(is_off, f"the guest on {host.name} to be off")


def kill_guest(primary, replica, guest):
    primary.kill_qemu(guest.uuid)
    wait_off(primary, guest)
    log = primary.serial().skip()
    primary.power(guest.uuid, hosts.POWER_ON)
    log.verdict()


def kill_storage_daemon(primary, replica, guest):
    for pid, arguments in hosts.processes(replica.folder).items():
        if os.path.basename(arguments[0]) == "qemu-storage-daemon":
            hosts.kill(pid)


def kill_failed_over_guest(primary, replica, guest):
    """The VM that runs on the replica loses its power; what it wrote there stays whole. Then the failover is reverted."""
    replica.failover(guest.uuid)
    replica.power(guest.uuid, hosts.POWER_ON)
    log = replica.serial()
    log.wait_number(log.verdict() + 32)
    reached = log.reached()
    replica.kill_qemu(guest.uuid)
    wait_off(replica, guest)
    log.skip()
    replica.power(guest.uuid, hosts.POWER_ON)
    found = log.verdict()
    assert found >= reached, f"the failed-over VM had printed {reached}, after its power cut it finds {found}"
    replica.power(guest.uuid, hosts.POWER_OFF)
    replica.revert(guest.uuid)


def kill_replica_daemon_in_failover(primary, replica, guest):
    """The next daemon ends what was begun."""
    api = replica.api
    result = api.invoke(api.enumerate("Msvm_ReplicationService")[0], "InitiateFailover",
                        {"ComputerSystem": replica.vm_epr(guest.uuid), "SnapshotSettingData": None})
    assert result.return_value == hosts.JOB_STARTED, result.message
    threading.Event().wait(dice.uniform(0, 0.3))
    replica.kill()
    replica.start()
    replica.wait_state(guest.uuid, hosts.RECOVERED)
    verdict = replica.check_disks()
    assert verdict.whole, verdict
    replica.revert(guest.uuid)


VICTIMS = [kill_primary_daemon, kill_replica_daemon, kill_guest, kill_storage_daemon, kill_failed_over_guest,
           kill_replica_daemon_in_failover]


def writes_on(primary, when):
    before = primary.serial().reached()
    try:
        primary.serial().wait_number(before + 32, 20)
    except hosts.Timeout:
        raise AssertionError(f"the guest stopped writing {when}") from None


def test_replication_survives_kills():
    with hosts.replicating_pair(BUILD, libvirtd=True) as (primary, replica, guest):
        uuid = guest.uuid
        replica.wait_replication(uuid, 2)
        victims = (VICTIMS * KILLS)[:KILLS]  # each its share
        dice.shuffle(victims)
        for i, victim in enumerate(victims):
            known = {point["InstanceID"] for point in replica.points(uuid)}
            threading.Event().wait(dice.uniform(0, 1.5))  # any moment of a cycle
            victim(primary, replica, guest)
            print(f"# {i + 1}: {victim.__name__}", flush=True)
            written = primary.serial().reached()
            replica.wait_replication(uuid, 2, 90)
            primary.wait_state(uuid, hosts.REPLICATING)
            writes_on(primary, f"after {victim.__name__}")
            now = {point["InstanceID"] for point in replica.points(uuid)}
            assert known <= now, f"{len(known - now)} points were lost by {victim.__name__} (seed {SEED})"

        replica.wait_replication(uuid, 1)
        primary.stop()
        assert primary.virsh("domstate", "ledger").strip() == "running"
        assert "None" in primary.virsh("domjobinfo", "ledger"), primary.virsh("domjobinfo", "ledger")
        assert not os.listdir(os.path.join(primary.folder, "scratch")), os.listdir(os.path.join(primary.folder, "scratch"))

        points = replica.points(uuid)
        chosen = sorted(dice.sample(range(len(points) - 1), min(12, len(points) - 1))) + [len(points) - 1]
        last = 0
        for i in chosen:
            replica.failover(uuid, points[i])
            verdict = replica.check_disks()
            assert verdict.whole, f"point {i} of {len(points)}: {verdict} (seed {SEED})"
            assert verdict.last >= last, f"point {i}: {verdict} after {last} (seed {SEED})"
            last = verdict.last
            replica.revert(uuid)
        assert last >= written, f"{written} was acknowledged, the last point ends at {last} (seed {SEED})"


if __name__ == "__main__":
    print(f"# seed {SEED}")
    tap.run()
