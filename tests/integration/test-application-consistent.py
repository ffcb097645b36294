#!/usr/bin/python3
"""Application-consistent points: a real agent freezes a real file system, and whatever goes wrong, the guest is thawed."""

import glob
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import linux_guest  # noqa: E402
import tap  # noqa: E402

BUILD = sys.argv[1]
CONSISTENT = "Microsoft:Hyper-V:Snapshot:Replica:ApplicationConsistent"
HEALTH_OK, HEALTH_WARNING = 1, 2
FROZEN_MAX_MSEC = 5000


def consistent_points(host, uuid):
    return [point for point in host.points(uuid) if point["VirtualSystemType"] == CONSISTENT]


def consistent_time(host, uuid):
    return host.relationship(uuid).properties.get("LastApplicationConsistentReplicationTime")


def wait_consistent(host, uuid, count=1, timeout=90):
    """Until @count more application-consistent points were received."""
    for _ in range(count):
        before = consistent_time(host, uuid)
        hosts.wait_for(lambda: consistent_time(host, uuid) not in (None, before), "an application-consistent point", timeout)


def health(host, uuid):
    return host.relationship(uuid).number("ReplicationHealth")


def said(host, words):
    return [line for line in host.log_lines() if words in line]


def markers(host):
    return glob.glob(os.path.join(host.folder, "scratch/vr-frozen-*"))


def test_each_point_mounts_clean_and_keeps_the_rule_of_the_application():
    with linux_guest.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        wait_consistent(replica, uuid, 3)
        assert primary.relationship(uuid).properties.get("LastApplicationConsistentReplicationTime")
        linux_guest.log_of(primary).wait_writes()
        standing = [int(found.group(1)) for found in re.finditer(r"stood still for (\d+) ms", "\n".join(primary.log_lines()))]
        assert len(standing) >= 3 and max(standing) < FROZEN_MAX_MSEC, standing
        primary.stop()
        assert not markers(primary)
        points = consistent_points(replica, uuid)
        assert len(points) >= 3 and len(replica.points(uuid)) > len(points), (len(points), len(replica.points(uuid)))
        for point in points[-3:]:
            replica.failover(uuid, point)
            assert replica.relationship(uuid).number("FailedOverReplicationType") == 2
            found = linux_guest.look_at(replica.disk_paths(guest.name)[1])
            assert found.clean, found.said
            assert found.first and found.first == found.second, found
            replica.revert(uuid)
        other = next(point for point in reversed(replica.points(uuid)) if point["VirtualSystemType"] != CONSISTENT)
        replica.failover(uuid, other)
        assert replica.relationship(uuid).number("FailedOverReplicationType") == 1
        assert not linux_guest.look_at(replica.disk_paths(guest.name)[1]).clean, "this one was not frozen"
        replica.revert(uuid)
        replica.failover(uuid, points[-1])
        replica.power(uuid, hosts.POWER_ON)
        log = linux_guest.log_of(replica)
        assert log.wait("MOUNTED", 120) == f"MOUNTED first={found.first} second={found.second}"
        log.wait("WROTE")
        print(f"# frozen for {min(standing)} to {max(standing)} ms")


def test_an_agent_that_hangs_costs_consistency_only():
    with linux_guest.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        wait_consistent(replica, uuid)
        assert health(primary, uuid) == HEALTH_OK
        guest.run("kill -STOP $(pidof qemu-ga)")
        hosts.wait_for(lambda: said(primary, "no application-consistent point"), "a word in the log", 60)
        hosts.wait_for(lambda: "crash-consistent" in primary.health_issues(uuid), "a warning")
        assert health(primary, uuid) >= HEALTH_WARNING
        replica.wait_replication(uuid, 2)
        linux_guest.log_of(primary).wait_writes()
        guest.run("kill -CONT $(pidof qemu-ga)")
        wait_consistent(replica, uuid)
        # On a busy machine it may have others: a cycle that took too long
        hosts.wait_for(lambda: "crash-consistent" not in primary.health_issues(uuid), "an end of the warning")
        linux_guest.log_of(primary).wait_writes()
        assert not markers(primary)


def test_an_agent_that_hangs_with_the_guest_frozen():
    with linux_guest.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        wait_consistent(replica, uuid)
        # The agent makes this file when it freezes, and hangs for longer than libvirt waits for its answers
        log = linux_guest.log_of(primary).skip()
        guest.run("(while [ ! -e /run/agent/qga.state.isfrozen ]; do :; done; kill -STOP $(pidof qemu-ga); echo LINUX HANGS >/dev/ttyS0;"
                  " sleep 15; kill -CONT $(pidof qemu-ga)) &")
        log.wait("HANGS")
        hosts.wait_for(lambda: said(primary, "no application-consistent point"), "a word in the log", 60)
        log.wait_writes(3, 60)
        replica.wait_replication(uuid, 2)
        wait_consistent(replica, uuid)
        hosts.wait_for(lambda: not markers(primary), "thawed for good")


def test_without_an_agent():
    with linux_guest.replicating_pair(BUILD, agent=False) as (primary, replica, guest):
        uuid = guest.uuid
        replica.wait_replication(uuid, 3)
        assert said(primary, "no channel org.qemu.guest_agent.0")
        assert health(primary, uuid) == HEALTH_WARNING
        assert not consistent_points(replica, uuid) and consistent_time(replica, uuid) is None
        linux_guest.log_of(primary).wait_writes()


def kill_while_frozen(primary, guest):
    """Kills the daemon as soon as the agent freezes the guest."""
    guest.run("until [ -e /run/agent/qga.state.isfrozen ]; do usleep 2000; done")
    primary.kill()


def test_the_daemon_is_killed_while_the_guest_is_frozen():
    with linux_guest.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        frozen = 0
        for _ in range(5):
            wait_consistent(replica, uuid)
            kill_while_frozen(primary, guest)
            log = linux_guest.log_of(primary)
            try:
                log.wait_writes(1, 1.5 / hosts.PATIENCE)
            except hosts.Timeout:
                frozen += 1
            primary.release()
            log.wait_writes()
            assert not markers(primary)
            primary.start()
            if frozen >= 2:
                break
        assert frozen, "the guest never was frozen when the daemon died"
        wait_consistent(replica, uuid)
        replica.wait_state(uuid, hosts.REPLICATING)


if __name__ == "__main__":
    tap.run()
