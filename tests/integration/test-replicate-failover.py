#!/usr/bin/python3
"""The main job: a running guest is replicated, its host dies, the replica takes over; then back, and to an older point."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402
from relay import Relay  # noqa: E402

BUILD = sys.argv[1]


def test_replicate_fail_over_revert_and_go_back():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        replica.wait_replication(uuid, 3)

        vm = replica.vm(uuid)
        assert vm.number("ReplicationMode") == hosts.MODE_REPLICA and vm.number("EnabledState") == hosts.POWER_OFF, repr(vm)
        assert vm["ElementName"] == guest.name
        vm = primary.vm(uuid)
        assert vm.number("ReplicationMode") == hosts.MODE_PRIMARY and vm.number("EnabledState") == hosts.POWER_ON, repr(vm)
        points = replica.points(uuid)
        assert len(points) >= 3, f"{len(points)} points"

        # What is written now has to be on the replica two replications later
        written = primary.serial().reached()
        replica.wait_replication(uuid, 2)

        primary.kill()
        primary.kill_qemu(uuid)
        reached = primary.serial().reached()

        points = replica.points(uuid)
        older = points[len(points) // 2]
        replica.failover(uuid)
        assert replica.state(uuid) == hosts.RECOVERED
        assert replica.qemu(uuid) is None, "failover started the VM"
        replica.power(uuid, hosts.POWER_ON)
        latest = replica.serial().verdict()
        assert written <= latest, f"{written} was acknowledged, the copy ends at {latest}"
        assert latest <= reached + 16, f"the copy has {latest}, the primary wrote {reached}"
        replica.serial().wait_number(latest + 32)

        replica.power(uuid, hosts.POWER_OFF)
        replica.revert(uuid)
        assert replica.state(uuid) == hosts.REPLICATING
        log = replica.serial().skip()
        replica.failover(uuid, older)
        replica.power(uuid, hosts.POWER_ON)
        earlier = log.verdict()
        assert earlier < latest, f"the older point has {earlier}, the latest {latest}"

        # And once more to the latest: what the two failovers wrote is gone
        replica.power(uuid, hosts.POWER_OFF)
        replica.revert(uuid)
        replica.failover(uuid)
        verdict = replica.check_disks()
        assert verdict.whole and verdict.last == latest, f"{verdict}, was {latest}"


def test_replication_goes_on_after_a_revert():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        replica.failover(uuid)
        replica.power(uuid, hosts.POWER_ON)
        replica.serial().verdict()
        primary.serial().wait_number(primary.serial().reached() + 64)
        replica.power(uuid, hosts.POWER_OFF)
        replica.revert(uuid)
        written = primary.serial().reached()
        replica.wait_replication(uuid, 2)
        replica.failover(uuid)
        verdict = replica.check_disks()
        assert verdict.whole and verdict.last >= written, f"{verdict}, {written} was written before"


def test_a_cut_cable_costs_nothing_but_time():
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        guest = primary.add_guest()
        uuid = guest.uuid
        primary.start()
        replica.start()
        replica.enable_server("p")
        relay = Relay(replica.port())
        primary.power(uuid, hosts.POWER_ON)
        primary.create_relationship(uuid, replica, RecoveryServerPortNumber=relay.port)
        primary.start_replication(uuid)
        replica.wait_state(uuid, hosts.REPLICATING, 120)
        replica.wait_replication(uuid, 2)
        for _ in range(3):
            relay.cut()
            before = primary.serial().reached()
            primary.serial().wait_number(before + 200)  # the guest does not wait for a cable
            relay.mend()
            written = primary.serial().reached()
            replica.wait_replication(uuid, 2, 120)
        primary.wait_state(uuid, hosts.REPLICATING)
        relay.close()
        primary.stop()
        replica.failover(uuid)
        verdict = replica.check_disks()
        assert verdict.whole and verdict.last >= written, f"{verdict}, {written} was acknowledged"


if __name__ == "__main__":
    tap.run()
