#!/usr/bin/python3
"""After an unplanned failover a VM starts only behind the administrator's fence, unless he waived it by name."""

import contextlib
import os
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402

BUILD = sys.argv[1]
RESUME, PREPARE, SUSPEND = 3, 4, 7
STANDARD = 1
UNAVAILABLE = 32777
CRITICAL = 3


def write_fence(host, ends):
    """A fence that notes what it is asked, and ends so."""
    path, notes = os.path.join(host.folder, "fence"), os.path.join(host.folder, "asked")
    with open(path, "w", encoding="ascii") as file:
        file.write(f"#!/bin/sh\necho \"$@\" >> '{notes}'\necho the board does not answer >&2\nexit {ends}\n")
    os.chmod(path, 0o700)
    return path


def asked(host):
    try:
        with open(os.path.join(host.folder, "asked"), encoding="ascii") as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


def restart_with(host, **settings):
    with open(host.config, encoding="utf-8") as file:
        kept = file.read().split("\n[failover]")[0]
    with open(host.config, "w", encoding="utf-8") as file:
        file.write(kept)
    host.stop()
    host.configure("failover", **settings)
    host.start()


def start_again(host, uuid):
    log = host.serial()
    log.skip()
    host.power(uuid, hosts.POWER_ON)
    assert log.verdict() > 0


def test_the_fence_decides():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        fence = write_fence(replica, 1)
        restart_with(replica, fence_command=fence)
        replica.wait_replication(uuid, 2)
        primary.kill()
        primary.kill_qemu(uuid)
        replica.failover(uuid)
        try:
            replica.power(uuid, hosts.POWER_ON)
        except hosts.JobFailed as failed:
            assert "the board does not answer" in str(failed) and "fence-waived" in str(failed), failed
        else:
            raise AssertionError("the VM started against the fence")
        assert asked(replica) == [f"ledger {uuid} p"], asked(replica)
        assert replica.qemu(uuid) is None

        write_fence(replica, 0)
        replica.power(uuid, hosts.POWER_ON)
        assert replica.serial().verdict() > 0
        assert len(asked(replica)) == 2

        replica.power(uuid, hosts.POWER_OFF)
        write_fence(replica, 1)
        restart_with(replica, fence_command=fence, fence_waived="other; ledger")
        replica.power(uuid, hosts.POWER_ON)
        assert len(asked(replica)) == 2


def test_a_planned_failover_needs_no_fence():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        restart_with(replica, fence_command=write_fence(replica, 1))
        replica.wait_replication(uuid)
        primary.power(uuid, hosts.POWER_OFF)
        primary.change_state(uuid, PREPARE)
        replica.failover(uuid)
        replica.power(uuid, hosts.POWER_ON)
        assert not asked(replica) and replica.serial().verdict() > 0


def test_a_cancelled_planned_failover_is_none():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        restart_with(replica, fence_command=write_fence(replica, 1))
        replica.wait_replication(uuid)
        primary.power(uuid, hosts.POWER_OFF)
        primary.change_state(uuid, PREPARE)
        replica.change_state(uuid, SUSPEND)  # nothing more comes in
        replica.kill()
        primary.change_state(uuid, RESUME, want=UNAVAILABLE)  # it might be failed over
        replica.start()
        primary.change_state(uuid, RESUME)
        start_again(primary, uuid)
        replica.failover(uuid)
        assert replica.relationship(uuid).number("FailedOverReplicationType") == STANDARD
        try:
            replica.power(uuid, hosts.POWER_ON)
        except hosts.JobFailed as failed:
            assert "the board does not answer" in str(failed), failed
        else:
            raise AssertionError("it runs twice")
        assert len(asked(replica)) == 1


def test_a_cancel_without_the_replica_has_to_be_answered_for():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        primary.power(uuid, hosts.POWER_OFF)
        primary.change_state(uuid, PREPARE)
        replica.kill()
        restart_with(primary, fence_waived="ledger")
        primary.change_state(uuid, RESUME)
        start_again(primary, uuid)


def critical_twice(host, uuid):
    return host.vm(uuid).number("ReplicationHealth") == CRITICAL and "runs here and on" in host.health_issues(uuid)


def host_starts(primary, uuid):
    """The host of the primary loses its power and comes back."""
    primary.stop()
    if primary.qemu(uuid) is not None:
        primary.kill_qemu(uuid)
    with contextlib.closing(sqlite3.connect(os.path.join(primary.folder, "state", "state.db"))) as store:
        assert store.execute("UPDATE value SET value = 'another' WHERE name = 'boot-id'").rowcount == 1
        store.commit()
    primary.start()


def has_autostart(primary, uuid):
    return "enable" in primary.virsh("dominfo", uuid).split("Autostart:")[1].split()[0]


def test_a_failed_over_vm_does_not_start_with_its_host():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid

        def runs():
            return primary.vm(uuid).number("EnabledState") == hosts.POWER_ON
        primary.stop()
        primary.virsh("autostart", uuid)
        primary.start()
        replica.wait_replication(uuid, 2)
        primary.stop()
        assert not has_autostart(primary, uuid)
        primary.start()
        host_starts(primary, uuid)
        hosts.wait_for(runs, "the VM to start with its host")
        replica.wait_state(uuid, hosts.REPLICATING)

        replica.failover(uuid)
        host_starts(primary, uuid)
        hosts.wait_for(lambda: any("is not started with the host" in line for line in primary.log_lines()), "a word of it")
        assert not runs()
        replica.revert(uuid)

        replica.stop()
        primary.configure("failover", autostart_wait=3)
        host_starts(primary, uuid)
        hosts.wait_for(lambda: "waits for its replica server" in primary.health_issues(uuid), "it to wait", 10)
        hosts.wait_for(runs, "the VM to start all the same", 60)
        primary.stop()
        primary.configure("failover", autostart_wait=0)
        primary.start()
        replica.start()
        primary.wait_state(uuid, hosts.REPLICATING)
        replica.wait_replication(uuid, 2)
        primary.stop()
        assert has_autostart(primary, uuid)


def test_two_copies():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        replica.failover(uuid)
        hosts.wait_for(lambda: "is failed over on" in primary.health_issues(uuid), "the primary to see it")
        assert not critical_twice(primary, uuid)
        replica.power(uuid, hosts.POWER_ON)
        hosts.wait_for(lambda: critical_twice(primary, uuid) and critical_twice(replica, uuid), "both to say so", 120)
        assert primary.qemu(uuid) is not None, "it was not asked to end it"
        replica.power(uuid, hosts.POWER_OFF)
        replica.revert(uuid)
        hosts.wait_for(lambda: "runs here and on" not in primary.health_issues(uuid), "one copy again", 120)
        replica.wait_replication(uuid, 2)
        assert "runs here and on" not in replica.health_issues(uuid)

        restart_with(primary, stale_primary="turn-off")
        replica.failover(uuid)
        replica.power(uuid, hosts.POWER_ON)
        hosts.wait_for(lambda: primary.qemu(uuid) is None, "the stale VM to be turned off", 120)
        assert replica.qemu(uuid) is not None
        hosts.wait_for(lambda: not critical_twice(primary, uuid) and not critical_twice(replica, uuid), "one copy", 120)


if __name__ == "__main__":
    tap.run()
