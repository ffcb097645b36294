#!/usr/bin/python3
"""The connection breaks in the middle of a large log: that is continued, not begun again, and what arrives is one moment."""

import contextlib
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402
from relay import Relay  # noqa: E402

BUILD = sys.argv[1]
GRAIN = 65536
WRITES = 1500            # of the ledger guest; each dirties a grain of its own
CUT_AT = 900 * GRAIN


@contextlib.contextmanager
def pair_over_relay():
    """(primary, replica, guest, relay): replicating, uncompressed, so that a dirty grain is 64 KiB on the wire."""
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        guest = primary.add_guest(sizes=(2**30, 2**30), per_tick=10, slots=4096)
        primary.start()
        replica.start()
        replica.enable_server("p")
        relay = Relay(replica.port())
        try:
            primary.power(guest.uuid, hosts.POWER_ON)
            primary.serial().wait_number(1)
            primary.create_relationship(guest.uuid, replica, RecoveryServerPortNumber=relay.port,
                                        CompressionEnabled=False)
            primary.start_replication(guest.uuid)
            primary.wait_state(guest.uuid, hosts.REPLICATING, 120)
            replica.wait_state(guest.uuid, hosts.REPLICATING)
            yield primary, replica, guest, relay
        finally:
            relay.close()


def pile_up(primary, guest):
    """Suspended until a large cycle is waiting; gives the numbers of the ledger before and after."""
    primary.change_state(guest.uuid, 7)
    before = primary.serial().reached()
    return before, primary.serial().wait_number(before + WRITES, 120)


def continued_at(primary):
    """Byte positions at which logs were continued."""
    found = (re.search(r"the log goes on at byte (\d+)", line) for line in primary.log_lines())
    return [int(match.group(1)) for match in found if match]


def check_copy(primary, replica, guest, at_least):
    """Disaster on the primary: the replica must be whole."""
    primary.kill()
    primary.kill_qemu(guest.uuid)
    replica.failover(guest.uuid)
    replica.power(guest.uuid, hosts.POWER_ON)
    last = replica.serial().verdict()
    assert last >= at_least, f"{at_least} was acknowledged, the copy ends at {last}"


def test_cycle_is_continued():
    with pair_over_relay() as (primary, replica, guest, relay):
        before, waiting = pile_up(primary, guest)
        received = replica.replicated(guest.uuid)
        start = relay.forward_bytes
        relay.cut_after(CUT_AT)
        primary.change_state(guest.uuid, 3)
        hosts.wait_for(lambda: relay.is_cut, "the large cycle", 60)
        time.sleep(1)  # what is tested is a time without a connection
        assert replica.replicated(guest.uuid) == received
        relay.mend()
        hosts.wait_for(lambda: replica.replicated(guest.uuid) != received, "the rest of the cycle", 60)
        sent = relay.forward_bytes - start
        written = primary.serial().reached()
        positions = continued_at(primary)
        assert len(positions) == 1 and CUT_AT / 2 < positions[0] <= CUT_AT, positions
        # Begun again, it would be all of it and what went before the cut.
        assert sent > 0.9 * (waiting - before) * GRAIN, f"{sent} bytes are less than the cycle"
        assert sent < 1.2 * (written - before) * GRAIN, f"{sent} bytes for {written - before} grains"
        print(f"# {sent / 2**20:.0f} MiB for {(waiting - before) * GRAIN / 2**20:.0f} MiB or more, "
              f"continued at {positions[0] / 2**20:.0f} MiB")
        check_copy(primary, replica, guest, waiting)


def test_cut_again_and_again():
    with pair_over_relay() as (primary, replica, guest, relay):
        _, waiting = pile_up(primary, guest)
        received = replica.replicated(guest.uuid)
        relay.cut_after(CUT_AT // 5)
        primary.change_state(guest.uuid, 3)
        for _ in range(4):
            hosts.wait_for(lambda: relay.is_cut, "the large cycle", 60)
            relay.cut_after(CUT_AT // 5)
            relay.mend()
        hosts.wait_for(lambda: relay.is_cut, "the large cycle", 60)
        relay.mend()
        hosts.wait_for(lambda: replica.replicated(guest.uuid) != received, "the rest of the cycle", 60)
        positions = continued_at(primary)
        assert len(positions) >= 5 and positions == sorted(positions), positions
        check_copy(primary, replica, guest, waiting)


def test_a_replica_that_was_restarted_is_sent_another_moment():
    """It keeps nothing of the broken log, whose begin is not held any more: the next cycle sends the sum."""
    with pair_over_relay() as (primary, replica, guest, relay):
        _, waiting = pile_up(primary, guest)
        received = replica.replicated(guest.uuid)
        relay.cut_after(CUT_AT)
        primary.change_state(guest.uuid, 3)
        hosts.wait_for(lambda: relay.is_cut, "the large cycle", 60)
        replica.kill()
        replica.start()
        relay.target_port = replica.port()
        relay.mend()
        hosts.wait_for(lambda: replica.replicated(guest.uuid) not in (None, received), "the next cycle", 90)
        assert not continued_at(primary)
        check_copy(primary, replica, guest, waiting)


def test_a_primary_that_died_begins_another_moment():
    with pair_over_relay() as (primary, replica, guest, relay):
        _, waiting = pile_up(primary, guest)
        received = replica.replicated(guest.uuid)
        relay.cut_after(CUT_AT)
        primary.change_state(guest.uuid, 3)
        hosts.wait_for(lambda: relay.is_cut, "the large cycle", 60)
        primary.kill()
        primary.release()
        relay.mend()
        primary.start()
        hosts.wait_for(lambda: replica.replicated(guest.uuid) != received, "the next cycle", 90)
        assert not continued_at(primary)
        check_copy(primary, replica, guest, waiting)


if __name__ == "__main__":
    tap.run()
