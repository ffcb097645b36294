#!/usr/bin/python3
"""The ledger is whole at every recovery point of a run, not only at the last.

VR_TEST_CYCLES: how many replications (default 30)."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402

BUILD = sys.argv[1]
CYCLES = int(os.environ.get("VR_TEST_CYCLES", "30"))


def test_every_point_is_whole():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        hosts.wait_for(lambda: len(replica.points(uuid)) >= CYCLES, f"{CYCLES} recovery points", CYCLES * 10)
        primary.stop()  # the guest runs on, but no new points come
        points = replica.points(uuid)
        before = 0
        for i, point in enumerate(points):
            replica.failover(uuid, point)
            verdict = replica.check_disks()
            assert verdict.whole, f"point {i} of {len(points)}, {point['CreationTime']}: {verdict}"
            assert verdict.last > before or before == 0, f"point {i}: {verdict} after {before}"
            before = verdict.last
            replica.revert(uuid)
        print(f"# {len(points)} points, the last with number {before}")


if __name__ == "__main__":
    tap.run()
