#!/usr/bin/python3
"""Return codes of InitiateFailover and its neighbours through WS-Management, each for its real cause, with a text that helps."""

import os
import sys
import threading
import uuid as uuids

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402
from wsman_client import Epr  # noqa: E402

BUILD = sys.argv[1]
FAILED, ACCESS_DENIED, INVALID_PARAMETER, IN_USE, INVALID_STATE, WRONG_TYPE, UNAVAILABLE, \
    FILE_NOT_FOUND = 32768, 32769, 32773, 32774, 32775, 32776, 32777, 32779


def refused(result, *words):
    """The text is there, and names the cure."""
    assert result.message, f"no text with {result.return_value}"
    for word in words:
        assert word.lower() in result.message.lower(), f"'{word}' is not in: {result.message}"


def test_unknown_vm_and_foreign_point():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        replica.wait_replication(guest.uuid, 2)
        unknown = str(uuids.uuid4())
        refused(replica.failover(unknown, want=INVALID_PARAMETER), "virt-replica list")
        point = dict(replica.points(guest.uuid)[0].properties)
        point["InstanceID"] = "Microsoft:" + unknown.upper()
        refused(replica.failover(guest.uuid, point, want=INVALID_PARAMETER))
        # A point where a VM belongs, and the other way round
        result = replica.call("InitiateFailover", (INVALID_PARAMETER, 32776), ComputerSystem=replica.point_epr(
            replica.points(guest.uuid)[0]), SnapshotSettingData=None)
        refused(result)
        assert replica.state(guest.uuid) == hosts.REPLICATING, "a refused call changed something"


def test_wrong_states():
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        guest = primary.add_guest()
        uuid = guest.uuid
        primary.start()
        replica.start()
        refused(primary.failover(uuid, want=INVALID_STATE), "enable")  # does not replicate at all
        replica.enable_server("p")
        primary.power(uuid, hosts.POWER_ON)
        primary.create_relationship(uuid, replica)
        refused(replica.failover(uuid, want=INVALID_STATE), "wait")  # before the first replication
        refused(replica.power(uuid, hosts.POWER_ON, want=INVALID_STATE), "fail over")  # a replica does not start
        primary.start_replication(uuid)
        replica.wait_state(uuid, hosts.REPLICATING, 120)
        replica.wait_replication(uuid)

        refused(primary.failover(uuid, want=INVALID_STATE), "replica")  # on the primary
        refused(primary.revert(uuid, want=INVALID_STATE), "replica")
        refused(replica.revert(uuid, want=INVALID_STATE), "only a replica that is failed over")  # nothing to revert
        refused(replica.start_replication(uuid, want=INVALID_STATE), "on the primary")
        refused(primary.create_relationship(uuid, replica, want=INVALID_STATE), "already")  # twice

        replica.failover(uuid)
        refused(replica.failover(uuid, want=INVALID_STATE), "revert")  # twice
        replica.power(uuid, hosts.POWER_ON)
        refused(replica.failover(uuid, want=INVALID_STATE), "turn it off")  # running
        refused(replica.revert(uuid, want=INVALID_STATE), "turn it off")
        assert replica.state(uuid) == hosts.RECOVERED


def test_another_operation_runs():
    """Many calls at once: one is taken, the others are told that it runs, or that its state is not theirs any more."""
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        replica.wait_replication(uuid, 3)
        seen = []
        for _ in range(5):
            oldest = replica.points(uuid)[0]
            together = threading.Barrier(6)
            results = []

            def ask():
                api = replica.api
                service = api.enumerate("Msvm_ReplicationService")[0]
                together.wait()
                results.append(api.invoke(service, "InitiateFailover", {
                    "ComputerSystem": replica.vm_epr(uuid), "SnapshotSettingData": replica.point_epr(oldest)}))

            threads = [threading.Thread(target=ask) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            codes = sorted(result.return_value for result in results)
            assert codes.count(hosts.JOB_STARTED) == 1, codes
            assert set(codes) <= {hosts.JOB_STARTED, IN_USE, INVALID_STATE}, codes
            seen += codes
            for result in results:
                if result.return_value == hosts.JOB_STARTED:
                    replica.api.wait_job(result)
                else:
                    refused(result)
            replica.revert(uuid)
        assert IN_USE in seen, f"no call was told that another runs: {seen}"


def test_a_reader_may_look_but_not_touch():
    with hosts.Site(BUILD) as site:
        host = site.host("p", users=[("reader", "reader", "see all"), ("keeper", "administrator", "do all")])
        guest = host.add_guest()
        host.start()
        for user, password, expected in (("reader", "see all", ACCESS_DENIED), ("keeper", "do all", INVALID_STATE)):
            api = host.api_as(user, password)
            vms = api.wql(f"SELECT * FROM Msvm_ComputerSystem WHERE Name = '{guest.uuid.upper()}'")
            assert len(vms) == 1 and vms[0]["ElementName"] == guest.name
            result = api.invoke(api.enumerate("Msvm_ReplicationService")[0], "InitiateFailover", {
                "ComputerSystem": host.vm_epr(guest.uuid), "SnapshotSettingData": None})
            assert result.return_value == expected, f"{user}: {result.return_value} {result.message}"
            refused(result)
        result = host.api_as("reader", "see all").invoke(host.vm_epr(guest.uuid), "RequestStateChange", {"RequestedState": 2})
        assert result.return_value == ACCESS_DENIED, result.return_value
        assert host.qemu(guest.uuid) is None


def test_a_job_can_be_read_at_once_and_later():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        api = replica.api
        result = api.invoke(api.enumerate("Msvm_ReplicationService")[0], "InitiateFailover", {
            "ComputerSystem": replica.vm_epr(guest.uuid), "SnapshotSettingData": None})
        assert result.return_value == hosts.JOB_STARTED and isinstance(result.job, Epr)
        job = api.get(result.job)
        assert job.number("JobState") in (4, 7), repr(job)
        assert 0 <= job.number("PercentComplete") <= 100
        job = api.wait_job(result)
        assert job.number("JobState") == 7 and job.number("PercentComplete") == 100 and job.number("ErrorCode") == 0, repr(job)
        assert api.get(result.job).number("JobState") == 7


def test_files_of_a_point_are_gone():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        replica.wait_replication(uuid, 4)
        primary.stop()
        oldest = replica.points(uuid)[0]
        removed = 0
        for folder, _, names in os.walk(replica.folder):
            for name in names:
                if "undo" in os.path.join(os.path.relpath(folder, replica.folder), name) and not name.endswith(".qcow2"):
                    os.unlink(os.path.join(folder, name))
                    removed += 1
        assert removed, "no undo logs were found"
        api = replica.api
        result = api.invoke(api.enumerate("Msvm_ReplicationService")[0], "InitiateFailover", {
            "ComputerSystem": replica.vm_epr(uuid), "SnapshotSettingData": replica.point_epr(oldest)})
        if result.return_value == hosts.JOB_STARTED:
            job = api.wait_job(result, want=None)
            assert job.number("JobState") == 10 and job.number("ErrorCode") == FILE_NOT_FOUND, repr(job)
            assert job["ErrorDescription"]
        else:
            assert result.return_value == FILE_NOT_FOUND, result
            refused(result)
        assert replica.state(uuid) == hosts.REPLICATING
        replica.failover(uuid)  # the latest needs no undo
        assert replica.check_disks().whole


def test_damaged_files_of_a_point():
    """Found while the failover runs: the job ends in JobState 10 with what happened, and nothing has changed."""
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        replica.wait_replication(uuid, 4)
        primary.stop()
        oldest = replica.points(uuid)[0]
        for folder, _, names in os.walk(replica.folder):
            for name in names if os.path.basename(folder) == "undo" else ():
                with open(os.path.join(folder, name), "r+b") as file:
                    file.seek(os.path.getsize(file.name) // 2)
                    byte = file.read(1)
                    file.seek(-1, os.SEEK_CUR)
                    file.write(bytes([byte[0] ^ 1]))
        api = replica.api
        result = api.invoke(api.enumerate("Msvm_ReplicationService")[0], "InitiateFailover", {
            "ComputerSystem": replica.vm_epr(uuid), "SnapshotSettingData": replica.point_epr(oldest)})
        assert result.return_value == hosts.JOB_STARTED, result
        job = api.wait_job(result, want=None)
        assert job.number("JobState") == 10 and job.number("ErrorCode") == FAILED, repr(job)
        assert "undo" in job["ErrorDescription"], job["ErrorDescription"]
        assert api.get(result.job).number("JobState") == 10, "the job cannot be read any more"
        replica.wait_state(uuid, hosts.REPLICATING)
        replica.failover(uuid)
        assert replica.check_disks().whole


def test_references_of_the_wrong_class():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        point = replica.point_epr(replica.points(uuid)[0])
        refused(replica.call("InitiateFailover", WRONG_TYPE, ComputerSystem=point, SnapshotSettingData=None), "Msvm_ComputerSystem")
        refused(replica.call("InitiateFailover", WRONG_TYPE, ComputerSystem=replica.vm_epr(uuid),
                             SnapshotSettingData=replica.vm_epr(uuid)), "Msvm_VirtualSystemSettingData")
        assert replica.state(uuid) == hosts.REPLICATING


def test_qemu_tools_that_fail():
    """Here because they may not write: the job says so, and the replica is as before."""
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        folder = os.path.join(replica.storage, uuid, "failover")
        before = replica.points(uuid)[0]["InstanceID"]
        mode = os.stat(folder).st_mode
        os.chmod(folder, 0o500)
        api = replica.api
        result = api.invoke(api.enumerate("Msvm_ReplicationService")[0], "InitiateFailover", {
            "ComputerSystem": replica.vm_epr(uuid), "SnapshotSettingData": None})
        assert result.return_value == hosts.JOB_STARTED, result
        job = api.wait_job(result, want=None)
        os.chmod(folder, mode)
        assert job.number("JobState") == 10 and job.number("ErrorCode") == FAILED, repr(job)
        assert folder in job["ErrorDescription"], job["ErrorDescription"]
        hosts.wait_for(lambda: replica.state(uuid) == hosts.REPLICATING, "the replica to receive again", 30)
        assert replica.points(uuid)[0]["InstanceID"] == before
        replica.wait_replication(uuid, 2, 60)
        replica.failover(uuid)
        assert replica.check_disks().whole


def test_libvirt_is_away():
    with hosts.replicating_pair(BUILD, libvirtd=True) as (primary, replica, guest):
        uuid = guest.uuid
        hosts.kill(replica.libvirtd.pid)

        def answer():
            result = replica.call("InitiateFailover", (UNAVAILABLE, hosts.JOB_STARTED, 32768), ComputerSystem=replica.vm_epr(uuid),
                                  SnapshotSettingData=None)
            assert result.return_value != hosts.JOB_STARTED, "a failover began without libvirt"
            return result.return_value == UNAVAILABLE and result
        refused(hosts.wait_for(answer, "the service to say that libvirt is away", 30), "libvirt", "not reachable")
        replica.revive_libvirtd()

        def is_back():
            try:
                return replica.vm(uuid) is not None
            except hosts.Fault:
                return False
        hosts.wait_for(is_back, "libvirt to be reached again", 60)
        replica.failover(uuid)
        assert replica.check_disks().whole


if __name__ == "__main__":
    tap.run()
