#!/usr/bin/python3
"""Changes that were lost track of: when the resynchronization starts, who may start it, and what it leaves."""

import datetime
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402
from relay import Relay  # noqa: E402

BUILD = sys.argv[1]
INVALID_STATE = 32775
RESUME, SUSPEND = 3, 7
JOB_RESYNCHRONIZE = 107
HEALTH_CRITICAL = 3


def lose_bitmap(primary, guest):
    """What a power cut does: the bitmap in QEMU's memory is gone. The guest runs again afterwards."""
    primary.kill_qemu(guest.uuid)
    hosts.wait_for(lambda: primary.vm(guest.uuid).number("EnabledState") == hosts.POWER_OFF, "the guest to be off")
    primary.power(guest.uuid, hosts.POWER_ON)


def resynchronize(host, uuid, want=hosts.JOB_STARTED):
    return host.call("Resynchronize", want, 120, ComputerSystem=host.vm_epr(uuid), StartTime=None)


def reason(host, uuid):
    return [line for line in host.log_lines() if "a resynchronization is needed;" in line]


def check_points(primary, replica, uuid):
    """Points from before the resynchronization are there and whole, and so is the latest state."""
    points = replica.points(uuid)
    for point in (points[0], None):
        replica.failover(uuid, point)
        assert replica.check_disks().whole
        replica.revert(uuid)


def test_switched_off_it_waits_for_a_person():
    with hosts.replicating_pair(BUILD, settings={"AutoResynchronizeEnabled": False}) as (primary, replica, guest):
        uuid = guest.uuid
        replica.wait_replication(uuid, 3)
        kept = len(replica.points(uuid))
        resynchronize(primary, uuid, INVALID_STATE)  # nothing to resynchronize: state 3
        resynchronize(replica, uuid, INVALID_STATE)
        lose_bitmap(primary, guest)
        primary.wait_state(uuid, hosts.WAITING_RESYNC)
        hosts.wait_for(lambda: reason(primary, uuid), "a line that says what is waited for")
        assert "AutoResynchronizeEnabled is off" in reason(primary, uuid)[0]
        assert primary.relationship(uuid).number("ReplicationHealth") == HEALTH_CRITICAL
        result = resynchronize(primary, uuid)
        job = primary.api.get(result.job)
        assert job.number("JobType") == JOB_RESYNCHRONIZE and job.number("JobState") == 7, job.properties
        primary.wait_state(uuid, hosts.REPLICATING)
        replica.wait_replication(uuid, 2)
        assert len(replica.points(uuid)) > kept, "recovery points were lost"
        check_points(primary, replica, uuid)


def test_outside_of_its_hours_it_waits_until_resumed():
    now = datetime.datetime.now()
    start, end = now + datetime.timedelta(hours=3), now + datetime.timedelta(hours=4)
    settings = {"AutoResynchronizeEnabled": True,
                "AutoResynchronizeIntervalStart": f"00000000{start:%H%M}00.000000:000",
                "AutoResynchronizeIntervalEnd": f"00000000{end:%H%M}00.000000:000"}
    with hosts.replicating_pair(BUILD, settings=settings) as (primary, replica, guest):
        uuid = guest.uuid
        lose_bitmap(primary, guest)
        primary.wait_state(uuid, hosts.WAITING_RESYNC)
        hosts.wait_for(lambda: reason(primary, uuid), "a line that says what is waited for")
        assert f"{start:%H:%M}" in reason(primary, uuid)[0]
        primary.change_state(uuid, RESUME)
        primary.wait_state(uuid, hosts.REPLICATING)
        replica.wait_replication(uuid, 2)
        check_points(primary, replica, uuid)


def test_forced_after_a_suspension():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        primary.change_state(uuid, SUSPEND)
        primary.serial().wait_number(primary.serial().reached() + 64)
        resynchronize(primary, uuid)
        primary.wait_state(uuid, hosts.REPLICATING)
        replica.wait_replication(uuid, 2)
        check_points(primary, replica, uuid)


def test_a_hundredth_of_a_big_disk():
    """Only what differs travels, besides the hashes; nothing is compressed here."""
    size = 4 * 2**30
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        guest = primary.add_guest(sizes=(size,), slots=1024, per_tick=40, report=16)
        uuid = guest.uuid
        primary.start()
        replica.start()
        replica.enable_server("p")
        relay = Relay(replica.port())
        primary.power(uuid, hosts.POWER_ON)
        primary.serial().wait_number(1)
        primary.create_relationship(uuid, replica, RecoveryServerPortNumber=relay.port, CompressionEnabled=False,
                                    AutoResynchronizeEnabled=False)
        primary.start_replication(uuid)
        replica.wait_replication(uuid, 2)
        primary.change_state(uuid, SUSPEND)
        written = primary.serial().reached()
        primary.serial().wait_number(written + size // 65536 // 100, 120)
        lose_bitmap(primary, guest)
        primary.power(uuid, hosts.POWER_OFF)
        differ = primary.serial().reached() - written
        primary.change_state(uuid, RESUME)
        primary.wait_state(uuid, hosts.WAITING_RESYNC)
        before = relay.forward_bytes + relay.backward_bytes
        resynchronize(primary, uuid)
        sent = relay.forward_bytes + relay.backward_bytes - before
        print(f"# {sent / 2**20:.1f} MiB both ways for {differ} of {size // 65536} grains that differ: {100 * sent / size:.2f} % of the disk")
        assert differ * 65536 * 0.9 < sent < 0.03 * size
        check_points(primary, replica, uuid)
        relay.close()


if __name__ == "__main__":
    tap.run()
