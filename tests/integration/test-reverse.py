#!/usr/bin/python3
"""Planned failover and the way back: nothing is lost, and only what differs travels."""

import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402
from relay import Relay  # noqa: E402

BUILD = sys.argv[1]
TURNS = int(os.environ.get("VR_TEST_TURNS", "3"))
INVALID_STATE = 32775
AS_REPLICA, RESUME, PREPARE, SUSPEND = 2, 3, 4, 7
PRIMARY, REPLICA = 1, 2
REPURPOSE = 18
PLANNED = 3


def mode(host, uuid):
    return host.vm(uuid).number("ReplicationMode")


def start(host, uuid):
    """Starts the guest. (the log of this boot, the last number that it found)"""
    log = host.serial()
    log.skip()
    host.power(uuid, hosts.POWER_ON)
    return log, log.verdict()


def both_ways(primary, replica):
    primary.enable_server(replica.name)


def written_last(host):
    verdict = host.check_disks()
    assert verdict.whole, verdict
    return verdict.last


def test_planned_failover_loses_nothing():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        primary.change_state(uuid, PREPARE, want=INVALID_STATE)  # it runs
        replica.change_state(uuid, PREPARE, want=(INVALID_STATE, 32770))
        primary.power(uuid, hosts.POWER_OFF)
        last = written_last(primary)
        primary.change_state(uuid, PREPARE)
        assert primary.state(uuid) == hosts.PREPARED
        primary.power(uuid, hosts.POWER_ON, want=INVALID_STATE)
        primary.change_state(uuid, SUSPEND, want=INVALID_STATE)

        replica.failover(uuid)
        assert replica.relationship(uuid).number("FailedOverReplicationType") == PLANNED
        assert written_last(replica) == last, "numbers were lost"
        assert start(replica, uuid)[1] == last
        primary.revert(uuid, want=INVALID_STATE)  # it runs over there

        replica.power(uuid, hosts.POWER_OFF)
        replica.revert(uuid)
        primary.revert(uuid)
        assert primary.state(uuid) == hosts.REPLICATING
        assert start(primary, uuid)[1] == last
        replica.wait_replication(uuid, 2)


def test_prepared_survives_a_restart():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        primary.power(uuid, hosts.POWER_OFF)
        primary.change_state(uuid, PREPARE)
        primary.kill()
        primary.start()
        assert primary.state(uuid) == hosts.PREPARED
        primary.power(uuid, hosts.POWER_ON, want=INVALID_STATE)
        primary.change_state(uuid, RESUME)
        primary.change_state(uuid, SUSPEND)  # that outlives a role that is given up and taken back
        primary.change_state(uuid, AS_REPLICA)
        assert primary.state(uuid) == REPURPOSE
        primary.change_state(uuid, RESUME)
        assert primary.state(uuid) == hosts.SUSPENDED
        primary.change_state(uuid, RESUME)
        primary.power(uuid, hosts.POWER_ON)
        replica.wait_replication(uuid, 2)


def test_reverse_is_refused_by_a_primary_that_is_one():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        both_ways(primary, replica)
        replica.reverse(uuid, primary, want=INVALID_STATE)  # not failed over
        replica.failover(uuid)
        try:
            replica.reverse(uuid, primary)
        except hosts.JobFailed as failed:
            assert "still the primary" in str(failed), failed
        else:
            raise AssertionError("a running primary was turned into a replica")
        assert replica.state(uuid) == hosts.RECOVERED and mode(primary, uuid) == PRIMARY
        replica.revert(uuid)  # nothing was given up
        replica.wait_replication(uuid, 2)


def fill(path):
    """Data that does not compress, between the ledger's records: they are the last sector of each 16 KiB."""
    with tempfile.NamedTemporaryFile() as piece:
        piece.write(os.urandom(8192))
        piece.flush()
        subprocess.run(["qemu-io", "-f", "qcow2", *(word for place in range(4096) for word in (
            "-c", f"write -q -s {piece.name} {place * 16384 + 4096} {place % 8 * 512 + 4096}")), path], check=True)


def autostart(host, uuid):
    return host.virsh("dominfo", uuid).split("Autostart:")[1].split()[0]


def check_locked(host, uuid):
    try:
        host.virsh("start", uuid)
    except AssertionError as refused:
        assert "lock" in str(refused), refused
    else:
        raise AssertionError("a prepared VM was started")


def test_the_lock_holds_against_virsh_too():
    with hosts.replicating_pair(BUILD, libvirtd=True) as (primary, replica, guest):
        primary.stop()
        primary.configure("failover", autostart_wait=0)
        primary.start()
        primary.virsh("autostart", guest.uuid)
        primary.power(guest.uuid, hosts.POWER_OFF)
        replica.stop()
        try:
            primary.change_state(guest.uuid, PREPARE)
        except hosts.JobFailed as failed:
            assert "cannot reach" in str(failed), failed
        else:
            raise AssertionError("prepared without its replica")
        assert autostart(primary, guest.uuid) == "enable", "lost by what failed"
        replica.start()
        replica.wait_replication(guest.uuid)

        primary.change_state(guest.uuid, PREPARE)
        assert autostart(primary, guest.uuid) == "disable"
        check_locked(primary, guest.uuid)
        primary.stop()
        check_locked(primary, guest.uuid)
        primary.start()
        assert primary.state(guest.uuid) == hosts.PREPARED
        check_locked(primary, guest.uuid)
        primary.change_state(guest.uuid, RESUME)
        assert autostart(primary, guest.uuid) == "enable"
        primary.virsh("start", guest.uuid)
        replica.wait_replication(guest.uuid, 2)


def reverse_and_count(there, here, uuid):
    """Bytes that went to the former primary until both sides were equal."""
    relay = Relay(here.port())
    there.reverse(uuid, here, RecoveryServerPortNumber=relay.port)
    there.wait_state(uuid, hosts.REPLICATING)
    sent = relay.forward_bytes
    return relay, sent


def test_forth_and_back_with_planned_failovers():
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        guest = primary.add_guest()
        uuid = guest.uuid
        for path in primary.disk_paths():
            fill(path)
        primary.start()
        replica.start()
        replica.enable_server(primary.name)
        both_ways(primary, replica)
        primary.power(uuid, hosts.POWER_ON)
        primary.serial().wait_number(64)
        primary.create_relationship(uuid, replica)
        primary.start_replication(uuid)
        replica.wait_replication(uuid, 2)
        here, there, relays = primary, replica, []
        for turn in range(TURNS):
            here.power(uuid, hosts.POWER_OFF)
            last = written_last(here)
            here.change_state(uuid, PREPARE)
            there.failover(uuid)
            relay, sent = reverse_and_count(there, here, uuid)
            relays.append(relay)
            print(f"# turn {turn}: {sent} bytes to the former primary")
            assert sent < 2**20, f"{sent} bytes were sent, with nothing to send"
            assert mode(there, uuid) == PRIMARY and mode(here, uuid) == REPLICA
            log, found = start(there, uuid)
            assert found == last, f"turn {turn}: {last} was written, {found} is there"
            there.wait_state(uuid, hosts.REPLICATING)
            here.wait_state(uuid, hosts.REPLICATING)
            log.wait_number(log.reached() + 32)
            here.wait_replication(uuid, 3)
            here, there = there, here
        for point in there.points(uuid)[-3:]:
            there.failover(uuid, point)
            written_last(there)
            there.revert(uuid)
        for relay in relays:
            relay.close()


def test_reverse_after_an_unplanned_failover():
    """The old primary comes back with what nobody has: it becomes the replica, and its abandoned numbers go."""
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        both_ways(primary, replica)
        replica.wait_replication(uuid, 3)
        primary.serial().wait_number(primary.serial().reached() + 32)
        primary.kill()
        primary.kill_qemu(uuid)
        replica.failover(uuid, replica.points(uuid)[1])
        log, found = start(replica, uuid)
        log.wait_number(found + 64)

        primary.start()
        hosts.wait_for(lambda: primary.vm(uuid).number("EnabledState") == hosts.POWER_OFF, "the old guest to be off")
        primary.change_state(uuid, AS_REPLICA)
        assert primary.state(uuid) == REPURPOSE
        primary.power(uuid, hosts.POWER_ON, want=INVALID_STATE)
        replica.reverse(uuid, primary)
        assert mode(replica, uuid) == PRIMARY and mode(primary, uuid) == REPLICA
        replica.wait_state(uuid, hosts.REPLICATING)
        primary.wait_replication(uuid, 3)
        log.wait_number(log.reached() + 32)
        primary.wait_replication(uuid, 2)
        written = log.reached()
        primary.wait_replication(uuid, 2)
        replica.power(uuid, hosts.POWER_OFF)
        replica.change_state(uuid, PREPARE)
        primary.failover(uuid)
        assert start(primary, uuid)[1] >= written


if __name__ == "__main__":
    tap.run()
