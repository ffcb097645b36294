#!/usr/bin/python3
"""The lag that hosts show is the age of what they have: it counts from the capture, grows while nothing arrives, and no restart
makes it smaller."""

import datetime
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402
from relay import Relay  # noqa: E402

BUILD = sys.argv[1]
CUT_SEC = 5


def lag(host, uuid):
    """Seconds, as a client computes it: now minus LastReplicationTime."""
    time = datetime.datetime.fromisoformat(host.replicated(uuid).replace("Z", "+00:00"))
    return (datetime.datetime.now(datetime.timezone.utc) - time).total_seconds()


def test_lag_is_the_age_of_the_newest_copy():
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        guest = primary.add_guest()
        uuid = guest.uuid
        primary.start()
        replica.start()
        replica.enable_server("p")
        relay = Relay(replica.port())
        primary.power(uuid, hosts.POWER_ON)
        primary.serial().wait_number(1)
        primary.create_relationship(uuid, replica, RecoveryServerPortNumber=relay.port)
        primary.start_replication(uuid)
        primary.wait_state(uuid, hosts.REPLICATING, 120)
        replica.wait_replication(uuid, 2)
        hosts.wait_for(lambda: max(lag(primary, uuid), lag(replica, uuid)) < CUT_SEC, "a small lag")

        relay.cut()
        before = max(lag(primary, uuid), lag(replica, uuid))
        hosts.wait_for(lambda: min(lag(primary, uuid), lag(replica, uuid)) >= CUT_SEC + before,
                       "the lag to grow on both hosts", CUT_SEC + 10)
        assert primary.relationship(uuid).number("ReplicationState") == hosts.REPLICATING
        hosts.wait_for(lambda: primary.relationship(uuid).number("ReplicationHealth") == 3, "the primary to be critical")
        for host in (primary, replica):
            known = host.replicated(uuid)
            host.stop()
            host.start()
            assert host.replicated(uuid) <= known, f"a restart of {host.name} made its copy younger"
            assert lag(host, uuid) >= CUT_SEC

        relay.mend()
        hosts.wait_for(lambda: max(lag(primary, uuid), lag(replica, uuid)) < CUT_SEC, "a small lag after the cable is mended", 60)
        relay.close()


if __name__ == "__main__":
    tap.run()
