#!/usr/bin/python3
"""Copies that are cancelled while the link is slow, by their state or their job, and begun again; or that begin later."""

import contextlib
import datetime
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402
from relay import Relay  # noqa: E402

BUILD = sys.argv[1]
INVALID_PARAMETER, INVALID_STATE = 32773, 32775
CANCEL_INITIAL, RESUME, SUSPEND, CANCEL_RESYNC = 1, 3, 7, 9
JOB_TERMINATE, JOB_TERMINATED = 4, 8
SLOW = 100_000  # bytes a second


@contextlib.contextmanager
def pair_over_relay():
    """(primary, replica, guest, relay): set up, the first copy not begun."""
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        guest = primary.add_guest()
        primary.start()
        replica.start()
        replica.enable_server("p")
        relay = Relay(replica.port(), SLOW)
        try:
            primary.power(guest.uuid, hosts.POWER_ON)
            primary.serial().wait_number(64)
            primary.create_relationship(guest.uuid, replica, RecoveryServerPortNumber=relay.port, CompressionEnabled=False)
            yield primary, replica, guest, relay
        finally:
            relay.close()


def begin(host, method, uuid, want=hosts.JOB_STARTED, start=None, **parameters):
    """The job of a method that lasts as long as its copy; it is not waited for."""
    result = host.api.invoke(host.api.enumerate("Msvm_ReplicationService")[0], method,
                             {"ComputerSystem": host.vm_epr(uuid), "StartTime": start, **parameters})
    assert result.return_value == want, (result.return_value, result.message)
    return result.job


def begin_first_copy(host, uuid, **more):
    return begin(host, "StartReplication", uuid, InitialReplicationType=1, InitialReplicationExportLocation=None, **more)


def later(**ahead):
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(**ahead)).strftime("%Y-%m-%dT%H:%M:%SZ")


def check_ended(host, job, state):
    hosts.wait_for(lambda: host.api.get(job).number("JobState") == state, "the end of the job")
    assert "cancelled" in host.api.get(job)["ErrorDescription"]


def some_passed(relay):
    start = relay.forward_bytes
    hosts.wait_for(lambda: relay.forward_bytes > start + 50_000, "some of the copy")


def test_a_first_copy_and_a_resynchronization():
    with pair_over_relay() as (primary, replica, guest, relay):
        uuid = guest.uuid
        primary.change_state(uuid, CANCEL_INITIAL, INVALID_STATE)  # there is none
        job = begin_first_copy(primary, uuid)
        some_passed(relay)
        assert primary.api.get(job).properties["Cancellable"]
        found = primary.api.get(job)
        assert primary.api.invoke(found, "RequestStateChange", {"RequestedState": JOB_TERMINATE}).return_value in (0, 4096)
        check_ended(primary, job, JOB_TERMINATED)
        assert primary.state(uuid) == hosts.READY

        begin_first_copy(primary, uuid)
        some_passed(relay)
        primary.change_state(uuid, SUSPEND)
        primary.change_state(uuid, CANCEL_RESYNC, INVALID_STATE)
        primary.change_state(uuid, CANCEL_INITIAL)
        assert primary.state(uuid) == hosts.READY

        begin_first_copy(primary, uuid, want=INVALID_PARAMETER, start=later(days=8))
        relay.cut()  # what was under way
        relay.mend()
        relay.rate = None
        start = relay.forward_bytes
        job = begin_first_copy(primary, uuid, start=later(days=6))
        primary.restart()
        assert primary.state(uuid) == hosts.WAITING_INITIAL and relay.forward_bytes == start, "it did not wait"
        primary.change_state(uuid, CANCEL_INITIAL)

        job = begin_first_copy(primary, uuid, start=later(seconds=3))
        assert ", from " in primary.api.get(job)["Description"]
        assert primary.state(uuid) == hosts.WAITING_INITIAL
        primary.wait_state(uuid, hosts.REPLICATING)
        written = primary.serial().reached()
        replica.wait_replication(uuid, 2)
        primary.change_state(uuid, CANCEL_INITIAL, INVALID_STATE)  # it is complete
        assert primary.api.get(job).number("JobState") == 7

        primary.change_state(uuid, SUSPEND)
        relay.rate = SLOW / 20
        job = begin(primary, "Resynchronize", uuid)
        hosts.wait_for(lambda: replica.state(uuid) == hosts.RESYNCHRONIZING or primary.state(uuid) == hosts.RESYNCHRONIZING, "its begin")
        primary.change_state(uuid, CANCEL_RESYNC)
        check_ended(primary, job, 10)
        assert primary.state(uuid) == hosts.WAITING_RESYNC
        hosts.wait_for(lambda: "one was cancelled" in primary.health_issues(uuid), "a word about it")
        relay.rate = None
        primary.restart()
        hosts.wait_for(lambda: "one was cancelled" in primary.health_issues(uuid), "the same after a restart")
        assert primary.state(uuid) == hosts.WAITING_RESYNC, "it started by itself"
        replica.failover(uuid)
        assert replica.check_disks().last >= written
        replica.revert(uuid)

        relay.rate = SLOW / 5
        begin(primary, "Resynchronize", uuid)
        replica.wait_state(uuid, hosts.RESYNCHRONIZING)
        relay.hold_after(1)
        assert relay.is_holding.wait(30)
        assert replica.state(uuid) == hosts.RESYNCHRONIZING
        replica.change_state(uuid, CANCEL_RESYNC, INVALID_STATE)  # that is the primary's
        replica.change_state(uuid, RESUME)
        assert replica.state(uuid) == hosts.REPLICATING
        replica.failover(uuid)
        verdict = replica.check_disks()
        assert verdict.whole and verdict.last >= written, f"{written} was written, after taking back there is {verdict}"
        replica.revert(uuid)
        relay.rate = None
        relay.let_go()
        primary.wait_state(uuid, hosts.REPLICATING)
        written = primary.serial().reached()
        replica.wait_replication(uuid, 2)
        replica.failover(uuid)
        verdict = replica.check_disks()
        assert verdict.whole and verdict.last >= written, f"{written} was written, the copy says {verdict}"


if __name__ == "__main__":
    tap.run()
