#!/usr/bin/python3
"""CommitFailover: what the VM wrote is its disk, on a running guest and on one that is off; there is no way back."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402

BUILD = sys.argv[1]
FAILED, INVALID_STATE = 32768, 32775


def check_committed(replica, uuid):
    assert replica.state(uuid) == hosts.COMMITTED
    for path in replica.disk_paths():
        assert os.path.basename(os.path.dirname(path)) == "disks", f"the VM is still on {path}"
    assert not replica.points(uuid), "recovery points are left"
    left = [name for folder, _, names in os.walk(replica.storage) for name in names
            if os.path.basename(folder) in ("undo", "staging", "failover")]
    assert not left, left
    replica.revert(uuid, want=INVALID_STATE)
    replica.failover(uuid, want=INVALID_STATE)
    replica.commit(uuid, want=INVALID_STATE)


def test_refusals():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        primary.commit(guest.uuid, want=INVALID_STATE)
        replica.commit(guest.uuid, want=INVALID_STATE)
        assert replica.state(guest.uuid) == hosts.REPLICATING


def test_commit_while_it_runs():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        replica.wait_replication(uuid, 3)
        replica.failover(uuid, replica.points(uuid)[1])
        replica.power(uuid, hosts.POWER_ON)
        serial = replica.serial()
        serial.wait_number(serial.verdict() + 32)
        replica.commit(uuid)
        written = serial.reached()
        serial.wait_number(written + 32)  # the guest noticed nothing
        check_committed(replica, uuid)
        written = serial.reached()
        replica.power(uuid, hosts.POWER_OFF)
        verdict = replica.check_disks()
        assert verdict.whole and verdict.last >= written, verdict
        serial.skip()
        replica.power(uuid, hosts.POWER_ON)
        assert serial.verdict() >= written


def test_commit_while_it_is_off():
    with hosts.replicating_pair(BUILD) as (primary, replica, guest):
        uuid = guest.uuid
        replica.wait_replication(uuid, 3)
        replica.failover(uuid, replica.points(uuid)[0])
        wanted = replica.check_disks()
        replica.commit(uuid)
        check_committed(replica, uuid)
        verdict = replica.check_disks()
        assert verdict.whole and verdict.last == wanted.last, (verdict, wanted)
        replica.power(uuid, hosts.POWER_ON)
        assert replica.serial().verdict() == wanted.last


def test_commit_survives_the_daemon():
    with hosts.replicating_pair(BUILD, libvirtd=True) as (primary, replica, guest):
        uuid = guest.uuid
        replica.wait_replication(uuid, 3)
        replica.failover(uuid, replica.points(uuid)[1])
        replica.power(uuid, hosts.POWER_ON)
        serial = replica.serial()
        serial.wait_number(serial.verdict() + 32)
        api = replica.api
        result = api.invoke(api.enumerate("Msvm_ReplicationService")[0], "CommitFailover", {"ComputerSystem": replica.vm_epr(uuid)})
        assert result.return_value == hosts.JOB_STARTED, result.message
        replica.kill()
        replica.start()
        hosts.wait_for(lambda: not replica.points(uuid), "the commit to be taken up", 60)
        hosts.wait_for(lambda: all("/disks/" in path for path in replica.disk_paths()), "the VM to be on its disks")
        serial.wait_number(serial.reached() + 32)
        replica.power(uuid, hosts.POWER_OFF)
        assert replica.check_disks().whole


if __name__ == "__main__":
    tap.run()
