#!/usr/bin/python3
"""Extended replication: a replica is sent on to a third host, which can be failed over to, and become the replica of the replica."""

import contextlib
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402
from images import MIB, differ, resize, scribble, wait_received  # noqa: E402
from mortal import Mortal  # noqa: E402

BUILD = sys.argv[1]
NOT_SUPPORTED, INVALID_PARAMETER, INVALID_STATE = 32770, 32773, 32775
PREPARE, RESUME, SUSPEND, RETRY = 4, 3, 7, 15  # RETRY: of a change of the disks
PRIMARY, REPLICA, EXTENDED = 1, 2, 4
PLANNED = 3
# The durable steps at which the daemon in the middle dies.
STEPS = [int(word) for word in os.environ.get("VR_TEST_DEATHS", "2 7 12").split()]
QUICK = "interval=1;journal=1h"


def mode(host, uuid):
    return host.vm(uuid).number("ReplicationMode")


def extend(second, uuid, third, want=(0, hosts.JOB_STARTED), **more):
    settings = {"RecoveryHistory": 4, "ReplicationInterval": 300}
    settings.update(more)
    return second.create_relationship(uuid, third, settings.pop("additional", QUICK), want, **settings)


@contextlib.contextmanager
def chain(extended=True):
    """(first, second, third, uuid): a VM that replicates to the second host, and from there to the third."""
    with hosts.replicating_pair(BUILD) as (first, second, guest):
        third = second.site.host("x")
        third.start()
        third.enable_server(second.name)
        if extended:
            extend(second, guest.uuid, third)
            second.start_replication(guest.uuid)
            second.wait_state(guest.uuid, hosts.REPLICATING, index=1)
            third.wait_replication(guest.uuid)
        yield first, second, third, guest.uuid


def check_third(first, third, uuid):
    """Fails over there: all is on it that was written two of its cycles ago. What it has; the failover stays."""
    written = first.serial().reached() if first is not None else 0
    third.wait_replication(uuid, 3)
    third.failover(uuid)
    verdict = third.check_disks()
    assert verdict.whole and verdict.last >= written, f"{written} was written, the third host has {verdict}"
    return verdict.last


def refused(call, word):
    try:
        call()
    except hosts.JobFailed as failed:
        assert word in str(failed), failed
    else:
        raise AssertionError(f"not refused: {word}")


def remove(host, uuid, index, want=hosts.JOB_STARTED):
    return host.call("RemoveReplicationRelationshipEx", want, ComputerSystem=host.vm_epr(uuid),
                     ReplicationRelationship=host.embedded_relationship(uuid, index))


def test_what_is_refused():
    with chain(extended=False) as (first, second, third, uuid):
        def change_to_primary():
            return second.call("ChangeReplicationModeToPrimary", INVALID_STATE, ComputerSystem=second.vm_epr(uuid),
                               ReplicationRelationship=second.embedded_relationship(uuid, 1))
        assert second.state(uuid, 1) == hosts.DISABLED
        change_to_primary()
        extend(second, uuid, third, INVALID_PARAMETER, additional="", ReplicationInterval=30)
        extend(second, uuid, third, INVALID_PARAMETER, additional="interval=1;consistent=1h")
        extend(second, uuid, third, INVALID_PARAMETER, ApplicationConsistentSnapshotInterval=1)
        extend(first, uuid, third, INVALID_STATE)  # it replicates already
        extend(second, uuid, third, INVALID_STATE, InstanceID=f"Microsoft:{uuid.upper()}\\HVR\\0")
        second.change_state(uuid, SUSPEND, INVALID_STATE, index=1)
        remove(second, uuid, 1, INVALID_STATE)
        extend(second, uuid, third)
        assert second.state(uuid, 1) == hosts.READY and third.state(uuid) == hosts.WAITING_INITIAL
        assert [mode(host, uuid) for host in (first, second, third)] == [PRIMARY, REPLICA, EXTENDED]
        extend(second, uuid, third, INVALID_STATE)
        extend(third, uuid, second, INVALID_STATE)  # the end of the chain
        remove(second, uuid, 0, INVALID_STATE)
        change_to_primary()
        second.change_state(uuid, PREPARE, INVALID_STATE, index=1)
        second.start_replication(uuid)
        second.wait_state(uuid, hosts.REPLICATING, index=1)
        second.change_state(uuid, PREPARE, INVALID_STATE, index=1)  # its primary runs
        second.change_state(uuid, SUSPEND, index=1)
        assert second.state(uuid, 1) == hosts.SUSPENDED and second.state(uuid) == hosts.REPLICATING
        second.change_state(uuid, RESUME, index=1)
        third.wait_replication(uuid)

        folder = os.path.join(second.storage, uuid, "extended")
        assert os.listdir(folder)
        remove(second, uuid, 1)
        assert second.state(uuid, 1) == hosts.DISABLED and not os.listdir(folder)
        second.wait_replication(uuid, 2)  # the rest goes on
        remove(third, uuid, 0)


def sent(host, uuid):
    found = host.call("GetReplicationStatisticsEx", 0, ComputerSystem=host.vm_epr(uuid),
                      ReplicationRelationship=host.embedded_relationship(uuid, 1)).out["ReplicationStatistics"]
    return int(hosts.parse_cim_xml(found if isinstance(found, str) else found[0])[1]["ReplicationSize"])


def test_the_third_host_is_failed_over_to():
    with chain() as (first, second, third, uuid):
        check_third(first, third, uuid)
        hosts.wait_for(lambda: "failed over" in second.health_issues(uuid, 1), "the second host to say so")
        second.wait_replication(uuid, 2)  # nobody else is held up
        third.revert(uuid)
        points = third.points(uuid)
        assert len(points) > 2, points

        # It is away while the guest writes; the one in the middle dies
        before = sent(second, uuid)
        third.stop()
        number = first.serial().reached()
        first.serial().wait_number(number + 200)
        second.kill()
        second.start()
        first.serial().wait_number(number + 400)
        third.start()
        third.wait_state(uuid, hosts.REPLICATING)
        third.wait_replication(uuid, 2)
        grown = sent(second, uuid) - before
        assert 0 < grown < 16 * 2**20, f"{grown} bytes for a few hundred records"

        # A test failover of the one in the middle holds its disks
        test = second.test(uuid)
        third.wait_replication(uuid, 2)
        second.end_test(test)
        last = check_third(first, third, uuid)
        third.revert(uuid)
        third.failover(uuid, points[1])
        verdict = third.check_disks()
        assert verdict.whole and 0 < verdict.last < last, verdict


def test_planned_failover_along_the_chain():
    with chain() as (first, second, third, uuid):
        first.power(uuid, hosts.POWER_OFF)
        first.change_state(uuid, PREPARE)
        last = first.check_disks().last
        hosts.wait_for(lambda: second.relationship(uuid).number("LastReplicationType") == PLANNED, "the last changes")
        second.change_state(uuid, PREPARE, index=1)
        assert second.state(uuid, 1) == hosts.PREPARED
        second.failover(uuid, want=INVALID_STATE)
        first.change_state(uuid, RESUME, want=INVALID_STATE)  # the third host may start it
        third.failover(uuid)
        assert third.relationship(uuid).number("FailedOverReplicationType") == PLANNED
        verdict = third.check_disks()
        assert verdict.whole and verdict.last == last, f"{last} was written, the third host has {verdict}"
        second.change_state(uuid, RESUME, INVALID_STATE, index=1)

        third.revert(uuid)
        second.change_state(uuid, RESUME, index=1)
        first.change_state(uuid, RESUME)
        first.power(uuid, hosts.POWER_ON)
        check_third(first, third, uuid)


def begin_to_die(mortal, step):
    """The daemon dies at that step of whatever it does next."""
    mortal.arm(step)
    hosts.wait_for(lambda: mortal.host.process.poll() is not None, f"the daemon of {mortal.host.name} to die at step {step}")
    assert mortal.has_died()
    mortal.host.start()


def ask_until(host, uuid, state, index, ask):
    def reached():
        if host.state(uuid, index) == state:
            return True
        with contextlib.suppress(hosts.JobFailed, AssertionError):
            ask()
        return host.state(uuid, index) == state
    hosts.wait_for(reached, f"state {state} of relationship {index}")


def replica_images(host, uuid):
    return [os.path.join(host.storage, uuid, "disks", name) for name in sorted(os.listdir(os.path.join(host.storage, uuid, "disks")))]


def test_deaths_of_the_one_in_the_middle():
    random.seed(7)
    with hosts.Site(BUILD) as site:
        first, second, third = (site.host(name) for name in "prx")
        guest = first.add_guest((16 * MIB, 16 * MIB), memory=128)
        uuid, mortal = guest.uuid, Mortal(second, BUILD)
        for host in (first, second, third):
            host.start()
        second.enable_server(first.name)
        third.enable_server(second.name)
        first.create_relationship(uuid, second)
        first.start_replication(uuid)
        second.wait_state(uuid, hosts.REPLICATING)
        mortal.dies(STEPS[0], lambda: extend(second, uuid, third))
        ask_until(second, uuid, hosts.READY, 1, lambda: extend(second, uuid, third))
        mortal.dies(STEPS[0], lambda: second.start_replication(uuid))
        ask_until(second, uuid, hosts.REPLICATING, 1, lambda: second.start_replication(uuid))
        for turn, step in enumerate(STEPS):
            scribble(first.disk_paths())
            begin_to_die(mortal, step)
            resize(first.disk_paths()[0], (20 + turn) * MIB)
            scribble(first.disk_paths())
            hosts.wait_for(lambda: differ(replica_images(third, uuid), first.disk_paths()) is None, "the third host to have all", 60)

        second.stop()  # what is to be sent on is damaged: both sides are compared
        journal = os.path.join(second.storage, uuid, "extended")
        for name in os.listdir(journal):
            with open(os.path.join(journal, name), "ab") as file:
                file.write(b"x")
        scribble(first.disk_paths())
        second.start()
        hosts.wait_for(lambda: differ(replica_images(third, uuid), first.disk_paths()) is None, "the third host to have all", 60)
        assert any("both sides are compared" in line for line in second.log_lines())

        scribble(first.disk_paths())
        wait_received(first, second, uuid)
        first.kill()
        second.failover(uuid)
        scribble(second.disk_paths())
        second.commit(uuid)
        scribble(second.disk_paths())

        def become_primary():
            second.call("ChangeReplicationModeToPrimary", ComputerSystem=second.vm_epr(uuid))
        for step in STEPS:
            if mode(second, uuid) != PRIMARY:
                mortal.dies(step, become_primary)
        ask_until(second, uuid, hosts.REPLICATING, 0, become_primary)
        scribble(second.disk_paths())
        hosts.wait_for(lambda: differ(replica_images(third, uuid), second.disk_paths()) is None, "the third host to have all", 60)


def test_the_disks_of_a_chain_stay():
    with hosts.Site(BUILD) as site:
        first, second, third = (site.host(name) for name in "prx")
        uuid = first.add_guest((16 * MIB, 16 * MIB), memory=128).uuid
        for host in (first, second, third):
            host.start()
        second.enable_server(first.name)
        third.enable_server(second.name)
        first.create_relationship(uuid, second, IncludedDisks=[f"Microsoft:{uuid.upper()}\\vda"])
        first.start_replication(uuid)
        second.wait_state(uuid, hosts.REPLICATING)
        extend(second, uuid, third)
        second.start_replication(uuid)
        second.wait_state(uuid, hosts.REPLICATING, index=1)
        settings = hosts.EmbeddedInstance("Msvm_ReplicationSettingData", {
            "InstanceID": f"Microsoft:{uuid.upper()}\\HVR\\0",
            "IncludedDisks": [f"Microsoft:{uuid.upper()}\\{disk}" for disk in ("vda", "vdb")]})
        refused(lambda: first.call("ModifyReplicationSettings", ComputerSystem=first.vm_epr(uuid), ReplicationSettingData=settings),
                "sent on to a third host")
        remove(second, uuid, 1)
        first.change_state(uuid, RETRY)
        first.wait_state(uuid, hosts.REPLICATING)
        scribble(first.disk_paths())
        hosts.wait_for(lambda: len(replica_images(second, uuid)) == 2 and differ(replica_images(second, uuid), first.disk_paths()) is None,
                       "the second host to have both", 60)


def test_the_second_host_becomes_the_primary():
    with chain() as (first, second, third, uuid):
        number = first.serial().reached()
        first.serial().wait_number(number + 100)
        second.wait_replication(uuid, 2)
        point = second.points(uuid)[-2]
        third.stop()
        first.serial().wait_number(number + 300)
        second.wait_replication(uuid, 2)
        first.kill()
        first.kill_qemu(uuid)
        second.failover(uuid, point)
        log = second.serial()
        log.skip()
        second.power(uuid, hosts.POWER_ON)
        start = log.verdict()
        log.wait_number(start + 50)
        second.reverse(uuid, second, want=INVALID_STATE)  # it is sent on
        second.commit(uuid)
        third.start()
        second.call("ChangeReplicationModeToPrimary", ComputerSystem=second.vm_epr(uuid),
                    ReplicationRelationship=second.embedded_relationship(uuid, 1))
        assert mode(second, uuid) == PRIMARY and second.relationship(uuid, 1) is None
        second.kill()
        second.start()
        second.wait_state(uuid, hosts.REPLICATING)
        hosts.wait_for(lambda: mode(third, uuid) == REPLICA, "the third host to be told")
        log.skip()
        log.wait_number(log.reached() + 50)
        check_third(second, third, uuid)

        first.start()  # and comes back: nothing of it is taken
        hosts.wait_for(lambda: "failed over" in first.health_issues(uuid), "the former primary to be told")
        first.power(uuid, hosts.POWER_ON)
        hosts.wait_for(lambda: "runs here and on" in first.health_issues(uuid), "that it runs twice")
        hosts.wait_for(lambda: "runs here and on p," in second.health_issues(uuid), "that it runs twice, there too")


if __name__ == "__main__":
    tap.run()
