#!/usr/bin/python3
"""The settings of a relationship are changed while it replicates: what counts at once, what the replica is told, and what it keeps."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "interop"))
import hosts  # noqa: E402
import tap  # noqa: E402
from wsman_client import EmbeddedInstance, Epr  # noqa: E402

BUILD = sys.argv[1]
NOT_SUPPORTED, INVALID_PARAMETER, INVALID_STATE = 32770, 32773, 32775
RESUME, SUSPEND, GIVE_UP_ROLE = 3, 7, 2
ACCESS_DENIED, UNAVAILABLE = 32769, 32777
JOB_MODIFY, JOB_TEST_CONNECTION = 92, 115


def settings_id(uuid, index=0):
    return f"Microsoft:{uuid.upper()}\\HVR\\{index}"


def modify(host, uuid, want=hosts.JOB_STARTED, identity=None, **changes):
    changes["InstanceID"] = identity or settings_id(uuid)
    return host.call("ModifyReplicationSettings", want, ComputerSystem=host.vm_epr(uuid),
                     ReplicationSettingData=EmbeddedInstance("Msvm_ReplicationSettingData", changes))


def settings(host, uuid):
    return host.api.get(Epr("Msvm_ReplicationSettingData", {"InstanceID": settings_id(uuid)}))


def shown(host, uuid):
    found = settings(host, uuid)
    return found.number("RecoveryHistory"), found["AdditionalSettings"]


def refused(primary, replica, uuid):
    """Nothing of it is changed on any side."""
    before = [settings(host, uuid).properties for host in (primary, replica)]
    modify(primary, uuid, INVALID_PARAMETER, RecoveryHistory=25)
    modify(primary, uuid, INVALID_PARAMETER, ReplicationInterval=31)
    modify(primary, uuid, INVALID_PARAMETER, AdditionalSettings="colour=blue")
    modify(primary, uuid, INVALID_PARAMETER, RecoveryServerPortNumber=0)
    modify(primary, uuid, NOT_SUPPORTED, AuthenticationType=1)
    modify(primary, uuid, INVALID_STATE, identity=settings_id(uuid, 1), RecoveryHistory=1)
    modify(primary, uuid, INVALID_PARAMETER, identity=settings_id("00000000-0000-4000-8000-000000000000"), RecoveryHistory=1)
    modify(replica, uuid, INVALID_STATE, RecoveryHistory=1)
    try:
        modify(primary, uuid, RecoveryServerPortNumber=1)  # nobody listens there
    except hosts.JobFailed:
        pass
    else:
        raise AssertionError("a replica server was taken that is not there")
    assert before == [settings(host, uuid).properties for host in (primary, replica)]


def test_changes_reach_the_replica():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        replica.wait_replication(uuid, 3)
        refused(primary, replica, uuid)
        result = modify(primary, uuid, RecoveryHistory=9, AutoResynchronizeEnabled=False)
        assert primary.api.get(result.job).number("JobType") == JOB_MODIFY
        for host in (primary, replica):
            assert shown(host, uuid) == (9, "interval=1;journal=1h"), shown(host, uuid)
            assert settings(host, uuid)["AutoResynchronizeEnabled"] in (False, "false")
        # What a client does: reads all of it, changes one value, sends the text back.
        modify(primary, uuid, AdditionalSettings="interval=2;journal=2h")
        replica.wait_replication(uuid, 2)
        primary.change_state(uuid, SUSPEND)
        modify(primary, uuid, RecoveryHistory=8)  # also while no cycle runs
        assert shown(replica, uuid)[0] == 8
        assert primary.state(uuid) == hosts.SUSPENDED
        primary.change_state(uuid, RESUME)
        replica.wait_replication(uuid, 2)


def test_a_replica_that_is_away_is_told_later():
    """Also when the primary's daemon dies meanwhile."""
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        port = replica.port()
        replica.kill()
        result = modify(primary, uuid, RecoveryHistory=11)
        assert "when it can be reached" in primary.api.get(result.job)["Description"]
        primary.kill()
        primary.start()
        assert shown(primary, uuid)[0] == 11
        replica.start()
        if replica.port() != port:  # a free port is chosen at each start
            modify(primary, uuid, RecoveryServerPortNumber=replica.port())
        hosts.wait_for(lambda: shown(replica, uuid)[0] == 11, "the replica to have the new settings", 60)
        replica.restart()
        assert shown(replica, uuid)[0] == 11


def test_fewer_points_are_no_reason_to_drop_those_that_are_there():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        replica.wait_replication(uuid, 4)
        kept = {point["InstanceID"] for point in replica.points(uuid)}
        modify(primary, uuid, RecoveryHistory=0, AdditionalSettings="interval=1")
        assert shown(replica, uuid) == (0, "interval=1")
        replica.restart()  # the first log after a start prunes thoroughly
        if settings(primary, uuid).number("RecoveryServerPortNumber") != replica.port():
            modify(primary, uuid, RecoveryServerPortNumber=replica.port())
        replica.wait_replication(uuid, 3)
        now = replica.points(uuid)
        assert len(kept - {point["InstanceID"] for point in now}) <= 1, "points were dropped"  # the latest one may be a passing one
        replica.failover(uuid, now[0])
        assert replica.check_disks().whole
        modify(replica, uuid, INVALID_STATE, RecoveryHistory=3)


def connection(primary, port, want=hosts.JOB_STARTED, authentication=2):
    """The job, as it ended."""
    api = primary.api
    result = api.invoke(api.enumerate("Msvm_ReplicationService")[0], "TestReplicationConnection", {
        "RecoveryConnectionPoint": "localhost", "RecoveryServerPortNumber": port, "AuthenticationType": authentication,
        "CertificateThumbPrint": None, "BypassProxyServer": False})
    assert result.return_value == want, (result.return_value, result.message)
    if want != hosts.JOB_STARTED:
        return None
    hosts.wait_for(lambda: api.get(result.job).number("JobState") in (7, 10), "the end of the job")
    return api.get(result.job)


def test_a_connection_is_tested_before_anything_is_set_up():
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        primary.start()
        replica.start()
        replica.enable_server()
        denied = connection(primary, replica.port())
        assert (denied.number("JobState"), denied.number("ErrorCode")) == (10, ACCESS_DENIED), denied.properties
        assert "authoriz" in denied["ErrorDescription"], denied.properties
        replica.allow(primary.name)
        good = connection(primary, replica.port())
        assert (good.number("JobState"), good.number("JobType")) == (7, JOB_TEST_CONNECTION), good.properties
        away = connection(primary, 1)
        assert (away.number("JobState"), away.number("ErrorCode")) == (10, UNAVAILABLE), away.properties
        connection(primary, 0, INVALID_PARAMETER)
        connection(primary, replica.port(), NOT_SUPPORTED, authentication=1)


if __name__ == "__main__":
    tap.run()
