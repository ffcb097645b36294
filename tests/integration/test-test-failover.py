#!/usr/bin/python3
"""TestReplicaSystem and DestroySystem: a second VM of a recovery point, while replication goes on."""

import glob
import hashlib
import os
import signal
import sys
import xml.etree.ElementTree as ET

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402
from wsman_client import EmbeddedInstance  # noqa: E402

BUILD = sys.argv[1]
NOT_SUPPORTED, INVALID_STATE = 32770, 32775
NAME = "ledger - Test"
MODE_TEST = 3
RESUME, SUSPEND = 3, 7


def files(replica, part):
    return sorted(path for path in glob.glob(os.path.join(replica.storage, "*", part, "*")) if os.path.isfile(path))


def contents(replica):
    """A digest of each replica disk."""
    found = {}
    for path in files(replica, "disks"):
        with open(path, "rb") as file:
            found[path] = hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") \
                else hashlib.sha256(file.read()).hexdigest()
    assert found
    return found


def staged(replica):
    return [path for path in files(replica, "staging") if path.endswith(".log")]


def check_is_test(replica, uuid, test_uuid):
    vm = replica.vm(test_uuid)
    assert vm["ElementName"] == NAME and vm.number("ReplicationMode") == MODE_TEST, vm.properties
    assert replica.vm(uuid).number("ReplicationMode") == hosts.MODE_REPLICA
    found = replica.api.associators(replica.vm_epr(uuid), "Msvm_ReplicaSystemDependency", "Msvm_ComputerSystem")
    assert [one["Name"].lower() for one in found] == [test_uuid], found
    found = replica.api.associators(replica.vm_epr(test_uuid), "Msvm_ReplicaSystemDependency", "Msvm_ComputerSystem")
    assert [one["Name"].lower() for one in found] == [uuid], found


def check_is_gone(replica, uuid, test_uuid):
    assert replica.vm(test_uuid) is None
    assert not replica.has_domain(NAME)
    assert not files(replica, "test") and not files(replica, "test/blobs")
    assert not replica.api.associators(replica.vm_epr(uuid), "Msvm_ReplicaSystemDependency", "Msvm_ComputerSystem")
    assert replica.qemu(test_uuid) is None


def start_test_vm(replica, test_uuid, more=32):
    """What the guest found when it started; it has written @more numbers since."""
    replica.power(test_uuid, hosts.POWER_ON)
    serial = replica.serial(NAME)
    found = serial.verdict()
    serial.wait_number(found + more)
    return found


def wait_applied(replica):
    hosts.wait_for(lambda: len(staged(replica)) <= 1, "what was received meanwhile to be applied", 60)


def end(replica, uuid, test_uuid):
    replica.power(test_uuid, hosts.POWER_OFF)
    replica.end_test(test_uuid)
    check_is_gone(replica, uuid, test_uuid)
    wait_applied(replica)


def check_failover(primary, replica, uuid):
    """The replica is as good as ever: its latest state is whole, and newer than what the primary had when this was called."""
    written = primary.serial().reached()
    replica.wait_replication(uuid, 2)
    wait_applied(replica)
    replica.failover(uuid)
    verdict = replica.check_disks()
    assert verdict.whole and verdict.last >= written, (verdict, written)
    replica.revert(uuid)
    replica.wait_replication(uuid)


def test_of_the_latest_and_of_an_older_point():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        replica.wait_replication(uuid, 3)
        older = replica.points(uuid)[0]
        latest = None
        for point in (None, older):
            written = primary.serial().reached()
            test_uuid = replica.test(uuid, point)
            check_is_test(replica, uuid, test_uuid)
            assert replica.vm(test_uuid).number("EnabledState") == hosts.POWER_OFF, "it was started"
            frozen, points = contents(replica), len(replica.points(uuid))
            found = start_test_vm(replica, test_uuid)
            if point is None:
                latest = found
            else:
                assert found < latest, (found, latest)
            replica.wait_replication(uuid, 3)
            assert replica.state(uuid) == hosts.REPLICATING and primary.state(uuid) == hosts.REPLICATING
            assert len(replica.points(uuid)) >= points + 2, "points do not grow"
            assert len(staged(replica)) >= 3, "something was applied"
            assert contents(replica) == frozen, "the replica disks have changed"
            assert primary.serial().reached() > written
            replica.power(uuid, hosts.POWER_ON, want=INVALID_STATE)
            replica.test(uuid, want=INVALID_STATE)
            replica.end_test(test_uuid, want=INVALID_STATE)  # it runs
            end(replica, uuid, test_uuid)
        check_failover(primary, replica, uuid)


def test_refusals_change_nothing():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        assert primary.test(uuid, want=INVALID_STATE) is None
        replica.end_test(uuid, want=NOT_SUPPORTED)
        assert replica.vm(uuid) is not None
        replica.stop()
        replica.add_guest(name=NAME)
        replica.start()
        replica.wait_replication(uuid)
        replica.test(uuid, want=INVALID_STATE)
        assert not files(replica, "test")
        replica.stop()
        replica.virsh("undefine", NAME)
        replica.start()
        replica.wait_replication(uuid)
        test_uuid = replica.test(uuid)
        replica.call("RemoveReplicationRelationship", INVALID_STATE, ComputerSystem=replica.vm_epr(uuid))
        for method in ("InitiateFailover", "RevertFailover", "CommitFailover", "TestReplicaSystem", "RemoveReplicationRelationship"):
            replica.call(method, INVALID_STATE, ComputerSystem=replica.vm_epr(test_uuid))
        replica.create_relationship(test_uuid, replica, want=INVALID_STATE)
        check_is_test(replica, uuid, test_uuid)
        replica.end_test(test_uuid)
        replica.failover(uuid)
        replica.test(uuid, want=INVALID_STATE)
        replica.revert(uuid)
        replica.call("RemoveReplicationRelationship", ComputerSystem=replica.vm_epr(uuid))


def connect_tests(replica, uuid, network):
    """Where the adapter of test VMs is connected from now on."""
    api = replica.api
    connection, = (one for one in api.enumerate("Msvm_EthernetPortAllocationSettingData") if uuid.upper() in one["InstanceID"])
    result = api.invoke(api.enumerate("Msvm_VirtualSystemManagementService")[0], "ModifyResourceSettings", {"ResourceSettings": [
        EmbeddedInstance("Msvm_EthernetPortAllocationSettingData", {"InstanceID": connection["InstanceID"],
                                                                    "TestReplicaSwitchName": network})]})
    assert result.return_value == 0, result.message


def test_while_suspended():
    with hosts.replicating_pair(BUILD, network=True) as (primary, replica, guest):
        uuid = guest.uuid
        replica.change_state(uuid, SUSPEND)
        test_uuid = replica.test(uuid)
        links = [link.get("state") for link in replica.domain_xml(NAME).iterfind("devices/interface/link")]
        assert links == ["down"], "the test VM is on a network"
        connect_tests(replica, uuid, "bridge/br9")  # the next one
        # Addresses for a guest that has no agent: it starts all the same
        adapter = f"Microsoft:{uuid.upper()}\\525400123456"
        replica.call("SetFailoverNetworkAdapterSettings", 0, ComputerSystem=replica.vm_epr(uuid), NetworkSettings=[EmbeddedInstance(
            "Msvm_FailoverNetworkAdapterSettingData", {"InstanceID": adapter, "DHCPEnabled": False, "IPAddresses": ["10.0.0.5"],
                                                       "Subnets": ["24"]})])
        start_test_vm(replica, test_uuid)
        hosts.wait_for(lambda: "no channel org.qemu.guest_agent.0" in replica.health_issues(uuid), "a warning", 60)
        job, = (one for one in replica.api.enumerate("Msvm_ConcreteJob") if "network addresses" in one["Description"])
        assert job.number("JobState") == 10 and "no channel" in job["ErrorDescription"], job.properties
        assert replica.state(uuid) == hosts.SUSPENDED
        replica.change_state(uuid, RESUME)
        replica.wait_replication(uuid, 2)
        end(replica, uuid, test_uuid)
        assert "guest_agent" not in replica.health_issues(uuid)
        test_uuid = replica.test(uuid)
        interface, = replica.domain_xml(NAME).iterfind("devices/interface")
        assert interface.get("type") == "bridge" and interface.find("source").get("bridge") == "br9", ET.tostring(interface)
        assert interface.find("link").get("state") == "up" and interface.find("mac").get("address") == "52:54:00:12:34:56"
        replica.end_test(test_uuid)
        check_failover(primary, replica, uuid)


def test_what_waits_is_bounded():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        replica.stop()
        with open(replica.config, encoding="utf-8") as file:
            text = file.read().replace("[replication]\n", "[replication]\ntest-backlog=64K\n")
        with open(replica.config, "w", encoding="utf-8") as file:
            file.write(text)
        replica.start()
        replica.wait_replication(uuid)
        test_uuid = replica.test(uuid)
        for host in (primary, replica):
            hosts.wait_for(lambda host=host: any("test-backlog" in line for line in host.log_lines()), f"a warning on {host.name}", 60)
        received, waiting = replica.replicated(uuid), len(staged(replica))
        primary.serial().wait_number(primary.serial().reached() + 64)
        assert replica.replicated(uuid) == received and len(staged(replica)) == waiting, "more was taken"
        replica.end_test(test_uuid)
        check_failover(primary, replica, uuid)
        assert replica.state(uuid) == primary.state(uuid) == hosts.REPLICATING, "a resynchronization was needed"


def test_a_failover_ends_the_test():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        test_uuid = replica.test(uuid)
        start_test_vm(replica, test_uuid)
        replica.wait_replication(uuid, 3)
        point = replica.points(uuid)[-2]  # received since, not applied
        written = primary.serial().reached()
        replica.wait_replication(uuid, 2)
        replica.failover(uuid)
        check_is_gone(replica, uuid, test_uuid)
        verdict = replica.check_disks()
        assert verdict.whole and verdict.last >= written, (verdict, written)
        replica.revert(uuid)
        replica.failover(uuid, point)
        older = replica.check_disks()
        assert older.whole and older.last < verdict.last, (older, verdict)
        replica.revert(uuid)
        check_failover(primary, replica, uuid)


def begin(replica, method, target, **parameters):
    api = replica.api
    result = api.invoke(api.enumerate(target)[0], method, parameters)
    assert result.return_value == hosts.JOB_STARTED, result.message
    return result


def resynchronize(primary, uuid):
    """Begins it; the result with the job."""
    primary.change_state(uuid, SUSPEND)
    return begin(primary, "Resynchronize", "Msvm_ReplicationService", ComputerSystem=primary.vm_epr(uuid), StartTime=None)


def test_a_resynchronization_and_a_test_wait_for_each_other():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        test_uuid = replica.test(uuid)
        frozen = contents(replica)
        job = resynchronize(primary, uuid)
        hosts.wait_for(lambda: any("a test failover of the VM runs" in line for line in primary.log_lines()), "the reason", 60)
        assert primary.state(uuid) == hosts.RESYNCHRONIZING and replica.state(uuid) == hosts.REPLICATING
        assert contents(replica) == frozen
        replica.end_test(test_uuid)
        primary.api.wait_job(job, 120 * hosts.PATIENCE)
        for _ in range(20):  # until it is caught in the middle
            job = resynchronize(primary, uuid)
            hosts.wait_for(lambda: replica.state(uuid) == hosts.RESYNCHRONIZING or primary.state(uuid) == hosts.REPLICATING,
                           "the resynchronization", 60, pause=0)
            primary.process.send_signal(signal.SIGSTOP)
            caught = replica.state(uuid) == hosts.RESYNCHRONIZING
            if caught:
                replica.test(uuid, want=INVALID_STATE)
            primary.process.send_signal(signal.SIGCONT)
            primary.api.wait_job(job, 120 * hosts.PATIENCE)
            if caught:
                break
        assert caught, "the resynchronization was too fast, twenty times"
        check_failover(primary, replica, uuid)


def virsh_fails(replica, *arguments):
    try:
        replica.virsh(*arguments)
    except AssertionError as error:
        return str(error)
    raise AssertionError(f"virsh {' '.join(arguments)} was not refused")


def test_the_daemon_dies():
    with hosts.replicating_pair(BUILD, libvirtd=True) as (primary, replica, guest):
        uuid = guest.uuid
        replica.wait_replication(uuid, 3)
        older = replica.points(uuid)[0]
        # while it is made
        made = begin(replica, "TestReplicaSystem", "Msvm_ReplicationService", ComputerSystem=replica.vm_epr(uuid),
                     SnapshotSettingData=replica.point_epr(older))
        test_uuid = made.out["ResultingSystem"].keys["Name"].lower()
        replica.kill()
        replica.start()
        hosts.wait_for(lambda: any("can be started" in line for line in replica.log_lines()), "the test to be taken up", 60)
        check_is_test(replica, uuid, test_uuid)
        # while it runs
        found = start_test_vm(replica, test_uuid)
        frozen = contents(replica)
        replica.kill()
        assert "lock" in virsh_fails(replica, "start", "ledger")
        replica.start()
        check_is_test(replica, uuid, test_uuid)
        assert replica.vm(test_uuid).number("EnabledState") == hosts.POWER_ON
        assert "lock" in virsh_fails(replica, "start", "ledger")
        replica.wait_replication(uuid, 2)
        assert contents(replica) == frozen
        serial = replica.serial(NAME)
        serial.wait_number(serial.reached() + 32)
        assert serial.reached() > found
        # while it is removed
        replica.power(test_uuid, hosts.POWER_OFF)
        begin(replica, "DestroySystem", "Msvm_VirtualSystemManagementService", AffectedSystem=replica.vm_epr(test_uuid))
        replica.kill()
        replica.start()
        hosts.wait_for(lambda: replica.vm(test_uuid) is None, "the test to be removed", 60)
        check_is_gone(replica, uuid, test_uuid)
        wait_applied(replica)
        check_failover(primary, replica, uuid)


def test_started_committed_and_removed_by_virsh():
    with hosts.replicating_pair(BUILD, libvirtd=True) as (primary, replica, guest):
        uuid = guest.uuid
        replica.wait_replication(uuid)
        test_uuid = replica.test(uuid)
        frozen = contents(replica)
        replica.virsh("start", NAME)
        serial = replica.serial(NAME)
        serial.wait_number(serial.verdict() + 32)
        virsh_fails(replica, "blockcommit", NAME, "vda", "--active", "--pivot", "--wait")
        assert contents(replica) == frozen, "the test VM was committed into the replica"
        replica.virsh("destroy", NAME)
        replica.virsh("undefine", NAME, "--nvram")
        hosts.wait_for(lambda: replica.vm(test_uuid) is None, "the test to end", 60)
        check_is_gone(replica, uuid, test_uuid)
        wait_applied(replica)
        test_uuid = replica.test(uuid)
        start_test_vm(replica, test_uuid)
        replica.virsh("managedsave", NAME)
        replica.end_test(test_uuid)
        check_is_gone(replica, uuid, test_uuid)
        check_failover(primary, replica, uuid)


if __name__ == "__main__":
    tap.run()
