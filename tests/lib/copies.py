"""First copies of every kind, for the tests of those that do not all go over the link."""

import os
import subprocess

import hosts

FAILED, ACCESS_DENIED, NOT_SUPPORTED, INVALID_PARAMETER, INVALID_STATE, FILE_NOT_FOUND = 32768, 32769, 32770, 32773, 32775, 32779
NETWORK, EXPORT, SEEDED = 1, 2, 3  # InitialReplicationType
AS_REPLICA, CANCEL_INITIAL = 2, 1  # RequestReplicationStateChangeEx
MIB = 2**20


def start(host, uuid, kind, want=hosts.JOB_STARTED, folder=None, timeout=120):
    return host.call("StartReplication", want, timeout, ComputerSystem=host.vm_epr(uuid), InitialReplicationType=kind,
                     InitialReplicationExportLocation=folder, StartTime=None)


def begin(host, uuid, kind, folder=None):
    """The same without waiting for its job."""
    result = host.api.invoke(host.api.enumerate("Msvm_ReplicationService")[0], "StartReplication",
                             {"ComputerSystem": host.vm_epr(uuid), "InitialReplicationType": kind,
                              "InitialReplicationExportLocation": folder, "StartTime": None})
    assert result.return_value == hosts.JOB_STARTED, (result.return_value, result.message)
    return result.job


def fill(path, mib):
    """Noise in three quarters of an image, beside the ledger's records, which are at the ends of its places of 2 MiB."""
    piece = path + ".piece"
    with open(piece, "wb") as file:
        file.write(os.urandom(3 * MIB // 2))
    words = [word for place in range(0, mib, 2) for word in ("-c", f"write -q -s {piece} {place * MIB + MIB // 4} {3 * MIB // 2}")]
    subprocess.run(["qemu-io", "-f", "qcow2", *words, path], check=True)
    os.unlink(piece)


def power_off(host, uuid):
    host.power(uuid, hosts.POWER_OFF)
    hosts.wait_for(lambda: host.vm(uuid).number("EnabledState") == hosts.POWER_OFF, "the guest to be off")


def create(primary, uuid, replica, relay, **more):
    return primary.create_relationship(uuid, replica, RecoveryServerPortNumber=relay.port, CompressionEnabled=False, **more)


def check_failover(primary, replica, uuid):
    written = primary.serial().reached()
    replica.wait_replication(uuid, 2)
    replica.failover(uuid)
    verdict = replica.check_disks()
    assert verdict.whole and verdict.last >= written, f"{written} was written, the copy says {verdict}"


def remove(host, uuid):
    """What its job says at its end."""
    result = host.call("RemoveReplicationRelationship", ComputerSystem=host.vm_epr(uuid))
    return host.api.get(result.job)["JobStatus"]
