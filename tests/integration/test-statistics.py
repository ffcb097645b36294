#!/usr/bin/python3
"""Statistics and health through the interface: the numbers are what happened, a cut link is told with cause and cure, and
what was missed is forgotten by a reset only."""

import contextlib
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402
from relay import Relay  # noqa: E402
from wsman_client import EmbeddedInstance, parse_cim_xml  # noqa: E402

BUILD = sys.argv[1]
OK, WARNING, CRITICAL = 1, 2, 3
INVALID_PARAMETER, INVALID_STATE = 32773, 32775
NUMBERS = ("ReplicationSuccessCount", "ReplicationMissCount", "ReplicationFailureCount", "NetworkFailureCount",
           "ReplicationSize", "MaxReplicationSize", "PendingReplicationSize", "ReplicationLatency", "MaxReplicationLatency",
           "ReplicationHealth")


class Measured:
    """What GetReplicationStatistics answers."""

    def __init__(self, host, uuid):
        out = host.call("GetReplicationStatistics", 0, ComputerSystem=host.vm_epr(uuid)).out
        name, found = parse_cim_xml(out["ReplicationStatistics"])
        assert name == "Msvm_ReplicationStatistics", name
        self.start, self.end = found["StartStatisticTime"], found["EndStatisticTime"]
        (self.success, self.missed, self.failed, self.network, self.bytes, self.largest, self.pending, self.latency,
         self.slowest, self.health) = (int(found[number]) for number in NUMBERS)
        issues = out.get("ReplicationHealthIssues") or []
        issues = issues if isinstance(issues, list) else [issues]
        self.issues = [parse_cim_xml(issue)[1]["Message"] for issue in issues]

    def __repr__(self):
        return str(vars(self))


def reset(host, uuid, want=0):
    host.call("ResetReplicationStatistics", want, ComputerSystem=host.vm_epr(uuid))


def modify(primary, want=0, **more):
    settings = primary.api.enumerate("Msvm_ReplicationServiceSettingData")[0]
    primary.call("ModifyServiceSettings", want, SettingData=EmbeddedInstance("Msvm_ReplicationServiceSettingData", {
        "InstanceID": settings["InstanceID"], **more}))


@contextlib.contextmanager
def pair_over_relay():
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        guest = primary.add_guest()
        primary.start()
        replica.start()
        replica.enable_server("p")
        relay = Relay(replica.port())
        try:
            primary.power(guest.uuid, hosts.POWER_ON)
            primary.serial().wait_number(1)
            primary.create_relationship(guest.uuid, replica, RecoveryServerPortNumber=relay.port)
            yield primary, replica, guest.uuid, relay
        finally:
            relay.close()


def start(primary, replica, uuid):
    primary.start_replication(uuid)
    primary.wait_state(uuid, hosts.REPLICATING, 120)
    replica.wait_state(uuid, hosts.REPLICATING)
    replica.wait_replication(uuid, 2)


def wait_health(host, uuid, health, says=None):
    """Until that is the health in all three places, with a sentence that has @says."""
    def look():
        measured = Measured(host, uuid)
        if measured.health != health or (says is not None and not any(says in issue for issue in measured.issues)):
            return None
        return measured

    measured = hosts.wait_for(look, f"health {health} ({says}) on {host.name}, now {Measured(host, uuid)}", 60, 0.2)
    assert (not measured.issues) == (health == OK), measured
    return measured


def check_numbers(primary, replica, uuid, relay):
    """Between two moments at which nothing is on its way, both sides and the cable have counted the same."""
    primary.change_state(uuid, 7)
    wait_health(primary, uuid, WARNING, "'virt-replica resume ledger' goes on")
    for host in (primary, replica):
        reset(host, uuid)
        empty = Measured(host, uuid)
        assert (empty.success, empty.bytes, empty.missed, empty.largest, empty.latency) == (0, 0, 0, 0, 0), empty
    passed = relay.forward_bytes
    primary.change_state(uuid, 3)
    hosts.wait_for(lambda: Measured(primary, uuid).success >= 5, "five cycles", 60, 0.2)
    primary.change_state(uuid, 7)
    sent, received = Measured(primary, uuid), Measured(replica, uuid)
    passed = relay.forward_bytes - passed
    assert sent.success == received.success and sent.failed == 0, (sent, received)
    # A cycle that gives way to the suspension is no failure for the primary, and broke off for the replica.
    assert received.failed == received.network <= 1, received
    assert received.bytes <= sent.bytes <= passed, (sent, received, passed)
    assert received.bytes > 0 and passed - sent.bytes < 20000 * (sent.success + 2), (sent, received, passed)
    assert sent.bytes / sent.success <= sent.largest <= sent.bytes and sent.slowest <= 5, sent
    primary.change_state(uuid, 3)


def check_restart(host, uuid):
    before = Measured(host, uuid)
    host.restart()
    after = Measured(host, uuid)
    assert after.start == before.start and after.end == before.end and after.success >= before.success, (before, after)


def test_numbers_and_windows():
    with pair_over_relay() as (primary, replica, uuid, relay):
        wait_health(primary, uuid, WARNING, "'virt-replica start-initial ledger' starts it")
        start(primary, replica, uuid)
        check_numbers(primary, replica, uuid, relay)
        check_restart(primary, uuid)
        check_restart(replica, uuid)

        modify(primary, INVALID_PARAMETER, MonitoringInterval=3599)
        modify(primary, INVALID_PARAMETER, MonitoringInterval=604801)
        modify(primary, MonitoringInterval=3600, MonitoringStartTime="00000000001700.000000:000")
        settings = primary.api.enumerate("Msvm_ReplicationServiceSettingData")[0]
        assert settings.number("MonitoringInterval") == 3600
        begun, measured = Measured(primary, uuid).start, Measured(primary, uuid)
        assert measured.end[10:14] == "1700" and measured.start == begun, measured  # 17 min after the hour
        modify(primary, MonitoringInterval=43200)
        reset(primary, "11111111-2222-4333-8444-555555555555", INVALID_PARAMETER)


def test_a_cut_link_is_told_and_forgotten_by_a_reset():
    with pair_over_relay() as (primary, replica, uuid, relay):
        start(primary, replica, uuid)
        wait_health(primary, uuid, OK)
        wait_health(replica, uuid, OK)
        relay.cut()
        told = wait_health(primary, uuid, CRITICAL, "Nothing of 'ledger' reaches localhost")
        sentence = next(issue for issue in told.issues if "reaches localhost" in issue)
        assert "start virt-replicad there" in sentence and sentence.endswith("."), sentence
        assert primary.relationship(uuid).number("ReplicationHealth") == CRITICAL
        assert primary.vm(uuid).number("ReplicationHealth") == CRITICAL
        lost = hosts.wait_for(lambda: (m := Measured(primary, uuid)).missed >= 12 and m, "missed cycles on the primary", 60,
                              0.2)
        assert lost.failed >= lost.network >= 1, lost
        hosts.wait_for(lambda: Measured(replica, uuid).missed >= 10, "missed cycles on the replica", 60, 0.2)

        primary.change_state(uuid, 7)  # a bound for what is missed: none is due now
        reset(replica, uuid)
        kept = Measured(primary, uuid)
        assert kept.missed >= 12, kept
        relay.mend()
        primary.change_state(uuid, 3)
        replica.wait_replication(uuid)
        told = wait_health(primary, uuid, WARNING, "cycles of 'ledger' were missed, more than 20 %")
        assert "'virt-replica statistics ledger --reset'" in told.issues[0], told
        reset(primary, uuid)
        well = wait_health(primary, uuid, OK)
        assert well.missed <= 1 and well.network == 0 and well.start > told.start, well
        wait_health(replica, uuid, OK)


if __name__ == "__main__":
    tap.run()
