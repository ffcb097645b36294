#!/usr/bin/python3
"""Failovers forth and back between two hosts, planned and unplanned in turn. The ledger stays whole, and only differences travel back.
VR_TEST_TURNS says how many."""

import concurrent.futures
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import guest as guests  # noqa: E402
import hosts  # noqa: E402
import tap  # noqa: E402
from images import MIB, differ, flat, replica_disks, scribble  # noqa: E402
from relay import Relay  # noqa: E402

BUILD = sys.argv[1]
TURNS = int(os.environ.get("VR_TEST_TURNS", "2"))
AS_REPLICA, PREPARE = 2, 4
SENT_MAX = 6 * 2**20  # of 64 MiB that do not compress


def write_last(host):
    verdict = host.check_disks()
    assert verdict.whole, verdict
    return verdict.last


def start(host, uuid):
    """(the log of this boot, the last number that it found)"""
    log = host.serial()
    log.skip()
    host.power(uuid, hosts.POWER_ON)
    return log, log.verdict()


def leave_planned(here, there, uuid):
    """The last number that must be there, exactly."""
    here.power(uuid, hosts.POWER_OFF)
    last = write_last(here)
    here.change_state(uuid, PREPARE)
    there.failover(uuid)
    return last, last


def leave_unplanned(here, there, uuid):
    """The host dies; it comes back when the VM runs on the other one. (the least, the most that may be there)"""
    acknowledged = here.serial().reached()
    there.wait_replication(uuid, 2)
    here.kill()
    here.kill_qemu(uuid)
    most = write_last(here)
    there.failover(uuid)
    return acknowledged, most


def come_back(here, uuid):
    here.start()
    hosts.wait_for(lambda: here.vm(uuid).number("EnabledState") == hosts.POWER_OFF, "the old guest to be off")
    here.change_state(uuid, AS_REPLICA)


def reverse_and_count(there, here, uuid):
    """Bytes of the reversal to the former primary."""
    relay = Relay(here.port())
    there.reverse(uuid, here, RecoveryServerPortNumber=relay.port)
    there.wait_state(uuid, hosts.REPLICATING, 120)
    here.wait_state(uuid, hosts.REPLICATING)
    return relay, relay.forward_bytes + relay.backward_bytes


def test_planned_and_unplanned_in_turn():
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        guest = primary.add_guest()
        uuid = guest.uuid
        for path in guest.disks:
            guests.fill(path)
        primary.start()
        replica.start()
        replica.enable_server(primary.name)
        primary.enable_server(replica.name)
        primary.power(uuid, hosts.POWER_ON)
        log = primary.serial()
        log.wait_number(64)
        primary.create_relationship(uuid, replica)
        primary.start_replication(uuid)
        replica.wait_replication(uuid, 2)
        here, there, relays = primary, replica, []
        for turn in range(TURNS):
            planned = turn % 2 == 1
            least, most = (leave_planned if planned else leave_unplanned)(here, there, uuid)
            log, found = start(there, uuid)
            assert least <= found <= most, f"turn {turn}: {found} is there, not {least} to {most}"
            if not planned:
                come_back(here, uuid)
            relay, sent = reverse_and_count(there, here, uuid)
            relays.append(relay)
            print(f"# turn {turn}, {'planned' if planned else 'unplanned'}: ledger {found} of {least} to {most}, {sent} bytes to and "
                  f"from the former primary", flush=True)
            assert sent < SENT_MAX, f"{sent} bytes are no difference"
            log.wait_number(log.reached() + 32)
            here.wait_replication(uuid, 3)
            here, there = there, here
        for point in (there.points(uuid)[0], None):
            there.failover(uuid, point)
            write_last(there)
            there.revert(uuid)
        for relay in relays:
            relay.close()


def test_several_at_once():
    """A site is down: all its VMs fail over at the same time, while their next changes are on the way."""
    random.seed(5)
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        guests = [primary.add_guest((16 * MIB, 16 * MIB), name=f"vm{n}", memory=128) for n in range(4)]
        primary.start()
        replica.start()
        replica.enable_server("p")
        for guest in guests:
            primary.create_relationship(guest.uuid, replica)
            primary.start_replication(guest.uuid)
        for guest in guests:
            primary.wait_state(guest.uuid, hosts.REPLICATING)
            scribble(guest.disks)
        for guest in guests:
            hosts.wait_for(lambda g=guest: differ(g.disks, replica_disks(replica, g.uuid)) is None, "the replica to be equal")
        had = {guest.uuid: [flat(path, replica.folder) for path in guest.disks] for guest in guests}
        points = {guest.uuid: replica.points(guest.uuid)[-1] for guest in guests}
        for guest in guests:
            scribble(guest.disks)
        with concurrent.futures.ThreadPoolExecutor(len(guests)) as pool:
            for done in [pool.submit(replica.failover, guest.uuid, points[guest.uuid]) for guest in guests]:
                done.result()
        primary.kill()
        for guest in guests:
            assert replica.state(guest.uuid) == hosts.RECOVERED
            for path, copy in zip(replica.disk_paths(guest.name), had[guest.uuid], strict=True):
                subprocess.run(["qemu-img", "compare", "-U", "-F", "raw", path, copy], check=True, capture_output=True)
        with concurrent.futures.ThreadPoolExecutor(len(guests)) as pool:
            for done in [pool.submit(replica.revert, guest.uuid) for guest in guests]:
                done.result()
        primary.start()
        for guest in guests:
            hosts.wait_for(lambda g=guest: differ(g.disks, replica_disks(replica, g.uuid)) is None, "the rest", 60)


if __name__ == "__main__":
    tap.run()
