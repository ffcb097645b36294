#!/usr/bin/python3
"""Raw disks beside qcow2 ones: every point is of one moment, and what is not known after a stop is compared."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402
from relay import Relay  # noqa: E402

BUILD = sys.argv[1]
PREPARE = 4
PLANNED = 3
STRIDE = 2**17
RATE = 6 * 2**20


def check_points(replica, uuid, points):
    before = 0
    for point in points:
        replica.failover(uuid, point)
        verdict = replica.check_disks()
        assert verdict.whole and verdict.last >= before, f"{point['CreationTime']}: {verdict} after {before}"
        before = verdict.last
        replica.revert(uuid)
    return before


def test_the_price_is_told():
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        guest = primary.add_guest(raw=(1,))
        primary.start()
        replica.start()
        replica.enable_server(primary.name)
        job = primary.create_relationship(guest.uuid, replica).job
        said = primary.api.get(job)["JobStatus"]
        assert "raw disks (vdb)" in said and "64.0" in said, said


def written_last(host):
    verdict = host.check_disks()
    assert verdict.whole, verdict
    return verdict.last


def resynchronized(host):
    return sum("resynchronization complete" in line for line in host.log_lines())


def power_off(host, uuid):
    host.power(uuid, hosts.POWER_OFF)
    hosts.wait_for(lambda: host.vm(uuid).number("EnabledState") == hosts.POWER_OFF, "the guest to be off")


def prepare(primary, uuid):
    """A planned failover is refused until what was written to the raw disks at last is known."""
    for _ in range(20):
        try:
            primary.change_state(uuid, PREPARE, want=hosts.JOB_STARTED)
            return
        except (AssertionError, hosts.JobFailed) as refused:
            print(f"# {str(refused).splitlines()[0][:160]}")
            hosts.wait_for(lambda: primary.state(uuid) == hosts.REPLICATING, "it to replicate again", 60)
    raise AssertionError("it never could be prepared")


def check_raw(raw):
    with hosts.replicating_pair(BUILD, raw=raw) as (primary, replica, guest):
        uuid = guest.uuid
        replica.wait_replication(uuid, 6)
        assert resynchronized(primary) == 0
        check_points(replica, uuid, replica.points(uuid)[-5:])
        replica.wait_replication(uuid, 2)
        assert resynchronized(primary) == 0, "a running VM is compared without need"

        # The daemon's death loses nothing that QEMU remembers
        primary.kill()
        primary.release()
        primary.serial().wait_number(primary.serial().reached() + 16)
        primary.start()
        replica.wait_replication(uuid, 2)
        assert resynchronized(primary) == 0

        # QEMU's end does
        power_off(primary, uuid)
        hosts.wait_for(lambda: resynchronized(primary) == 1, "a comparison", 60)
        primary.wait_state(uuid, hosts.REPLICATING)
        primary.power(uuid, hosts.POWER_ON)
        primary.serial().wait_number(primary.serial().reached() + 16)
        hosts.wait_for(lambda: resynchronized(primary) == 2, "another comparison", 60)
        replica.wait_replication(uuid, 3)
        check_points(replica, uuid, replica.points(uuid)[-6:])

        power_off(primary, uuid)
        last = written_last(primary)
        prepare(primary, uuid)
        replica.failover(uuid)
        assert replica.relationship(uuid).number("FailedOverReplicationType") == PLANNED
        assert written_last(replica) == last
        primary.enable_server(replica.name)
        replica.power(uuid, hosts.POWER_ON)
        try:
            replica.reverse(uuid, primary)
        except hosts.JobFailed as refused:
            assert "is raw" in str(refused), refused
        else:
            raise AssertionError("raw images became a replica's")
        assert replica.state(uuid) == hosts.RECOVERED


def test_a_raw_disk_beside_a_qcow2_one():
    check_raw((1,))


def test_raw_disks_only():
    check_raw((0, 1))


def fill(path):
    """Noise between the ledger's records, which are at the ends of its places of 128 KiB."""
    with open(path, "r+b") as disk:
        for place in range(os.path.getsize(path) // STRIDE):
            disk.seek(place * STRIDE + STRIDE // 4)
            disk.write(os.urandom(STRIDE * 3 // 4 - 512))


def test_a_first_copy_that_takes_many_passes():
    """Passes end early when the scratch space fills; what changes on the raw disk meanwhile is in the next one."""
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p", scratch_max="16M"), site.host("r")
        guest = primary.add_guest(raw=(1,), per_tick=4, report=16)
        fill(guest.disks[1])
        primary.start()
        replica.start()
        replica.enable_server(primary.name)
        relay = Relay(replica.port(), rate=RATE)
        try:
            primary.power(guest.uuid, hosts.POWER_ON)
            primary.serial().wait_number(64)
            primary.create_relationship(guest.uuid, replica, RecoveryServerPortNumber=relay.port)
            primary.start_replication(guest.uuid)
            primary.wait_state(guest.uuid, hosts.REPLICATING, 120)
            replica.wait_replication(guest.uuid, 4)
            passes = next(int(line.split()[-2]) for line in primary.log_lines() if "first copy complete after" in line)
            assert passes > 1, "it was no test"
            check_points(replica, guest.uuid, replica.points(guest.uuid)[-3:])
        finally:
            relay.close()


if __name__ == "__main__":
    tap.run()
