#!/usr/bin/python3
"""A first copy by a folder that is carried from one host to the other."""

import contextlib
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402
from copies import (  # noqa: E402
    ACCESS_DENIED, CANCEL_INITIAL, EXPORT, FAILED, FILE_NOT_FOUND, INVALID_PARAMETER, INVALID_STATE, MIB, SEEDED, begin,
    check_failover, create, fill, start)
from mortal import Mortal  # noqa: E402
from relay import Relay  # noqa: E402

BUILD = sys.argv[1]
# The durable step at which a host dies
EXPORT_DEATHS = [int(step) for step in os.environ.get("VR_TEST_EXPORT_DEATHS", "3 9 16 24 31").split()]
IMPORT_DEATHS = [int(step) for step in os.environ.get("VR_TEST_IMPORT_DEATHS", "2 6 10 14").split()]


def read(path):
    with open(path, "rb") as file:
        return file.read()


def replica_images(host, uuid):
    folder = os.path.join(host.storage, uuid, "disks")
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder))]


@contextlib.contextmanager
def exporting_pair(mib=32):
    """(primary, replica, guest, folder for exports, relay): a VM that runs, its replication enabled, its first copy not begun."""
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        guest = primary.add_guest(sizes=(mib * MIB, mib * MIB), slots=mib // 2)
        for disk in guest.disks:
            fill(disk, mib)
        location = os.path.join(site.folder, "export")
        os.mkdir(location)
        primary.start()
        replica.start()
        replica.enable_server("p")
        relay = Relay(replica.port())
        try:
            primary.power(guest.uuid, hosts.POWER_ON)
            primary.serial().wait_number(32)
            create(primary, guest.uuid, replica, relay)
            yield primary, replica, guest, location, relay
        finally:
            relay.close()


def set_reserve(host, size):
    """Restarts the host's daemon with another storage-reserve."""
    host.stop()
    with open(host.config, encoding="utf-8") as file:
        lines = [line for line in file if not line.startswith("storage-reserve=")]
    lines.insert(lines.index("[replication]\n") + 1, f"storage-reserve={size}\n")
    with open(host.config, "w", encoding="utf-8") as file:
        file.writelines(lines)
    host.start()


def import_copy(host, uuid, folder, want=hosts.JOB_STARTED, timeout=120):
    return host.call("ImportInitialReplica", want, timeout, ComputerSystem=host.vm_epr(uuid), InitialReplicationImportLocation=folder)


def failed_import(host, uuid, folder, word):
    try:
        result = import_copy(host, uuid, folder, want=(hosts.JOB_STARTED, INVALID_PARAMETER, INVALID_STATE, FILE_NOT_FOUND))
        text = result.message
        assert result.return_value != hosts.JOB_STARTED, "it was imported"
    except hosts.JobFailed as error:
        text = str(error)
    assert word in text, text
    assert host.state(uuid) == hosts.WAITING_INITIAL


def test_a_folder_brings_the_first_copy():
    with exporting_pair() as (primary, replica, guest, location, relay):
        uuid = guest.uuid
        for folder, code in ((None, INVALID_PARAMETER), ("export", INVALID_PARAMETER), (location + "/none", FILE_NOT_FOUND),
                             (guest.disks[0], INVALID_PARAMETER), ("/proc", None)):
            result = start(primary, uuid, EXPORT, want=(INVALID_PARAMETER, FILE_NOT_FOUND, ACCESS_DENIED, FAILED), folder=folder)
            assert code in (None, result.return_value), (folder, result.return_value, result.message)
            assert "InitialReplicationExportLocation" in result.message, result.message
            assert primary.state(uuid) == hosts.READY
        assert start(primary, uuid, SEEDED, want=INVALID_STATE).message.count("as-replica") == 1
        sent = relay.forward_bytes
        set_reserve(primary, "4000000G")  # as if the disk were full
        begin(primary, uuid, EXPORT, location)
        hosts.wait_for(lambda: "storage-reserve" in primary.health_issues(uuid), "a word about the disk")
        set_reserve(primary, "1M")
        hosts.wait_for(lambda: "import-initial" in primary.health_issues(uuid), "the export to go on by itself")
        primary.change_state(uuid, CANCEL_INITIAL)
        (begun,) = os.listdir(location)
        shutil.rmtree(os.path.join(location, begun))
        start(primary, uuid, EXPORT, folder=location)
        assert relay.forward_bytes - sent < MIB, "it went over the link"
        assert primary.state(uuid) == hosts.WAITING_INITIAL
        (name,) = os.listdir(location)
        assert name.startswith("ledger_"), name
        folder = os.path.join(location, name)
        assert "import-initial" in primary.health_issues(uuid) and folder in primary.health_issues(uuid)
        written = primary.serial().reached()
        primary.serial().wait_number(written + 20)
        primary.restart()

        import_copy(replica, uuid, None, INVALID_PARAMETER)
        import_copy(replica, uuid, name, INVALID_PARAMETER)
        import_copy(replica, uuid, location + "/none", FILE_NOT_FOUND)
        failed_import(replica, uuid, location, "NAME_GUID")
        failed_import(primary, uuid, folder, "replica")
        # Brought in part, or damaged on the way
        copy = os.path.join(location, "copy")
        shutil.copytree(folder, copy)
        logs = sorted(part for part in os.listdir(copy) if part.endswith(".log"))
        with open(os.path.join(copy, logs[0]), "r+b") as file:
            file.seek(os.path.getsize(file.name) // 2)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))
        before = [read(path) for path in replica_images(replica, uuid)]
        failed_import(replica, uuid, copy, "damaged")
        os.unlink(os.path.join(copy, logs[-1]))
        failed_import(replica, uuid, copy, "damaged")
        with open(os.path.join(copy, "first-copy"), "r+", encoding="utf-8") as file:
            text = file.read().replace("complete", "compleat")
            file.seek(0)
            file.write(text)
        failed_import(replica, uuid, copy, "damaged")
        assert [read(path) for path in replica_images(replica, uuid)] == before, "something was written"

        sent = relay.forward_bytes
        import_copy(replica, uuid, folder)
        replica.wait_state(uuid, hosts.REPLICATING)
        primary.wait_state(uuid, hosts.REPLICATING)
        import_copy(replica, uuid, folder, INVALID_STATE)
        replica.wait_replication(uuid, 2)
        assert relay.forward_bytes - sent < 12 * MIB, "the disks went over the link"
        assert not any("resynchronization" in line for line in primary.log_lines()), "the changes since the export were lost track of"
        check_failover(primary, replica, uuid)


def dies(mortal, step, act):
    """Does the daemon die at that step of what @act asks for?"""
    mortal.arm(step)
    try:
        act()
    except Exception:  # whatever it is that the caller sees of it
        with contextlib.suppress(subprocess.TimeoutExpired):
            mortal.host.process.wait(5)
    return mortal.has_died()


def test_deaths_in_an_export_and_an_import():
    with exporting_pair() as (primary, replica, guest, location, _):
        uuid, mortals = guest.uuid, {host: Mortal(host, BUILD) for host in (primary, replica)}
        for host in mortals:
            host.restart()
        deaths = 0
        for step in EXPORT_DEATHS:
            for name in os.listdir(location):
                shutil.rmtree(os.path.join(location, name))
            died = dies(mortals[primary], step, lambda: start(primary, uuid, EXPORT, folder=location))
            deaths += died
            for name in os.listdir(location) if died else ():
                failed_import(replica, uuid, os.path.join(location, name), "")
            if died:
                primary.release()
                primary.start()
            if primary.state(uuid) == hosts.READY:
                start(primary, uuid, EXPORT, folder=location)
            hosts.wait_for(lambda: "import-initial" in primary.health_issues(uuid), "the end of the export")
            if step != EXPORT_DEATHS[-1]:
                primary.change_state(uuid, CANCEL_INITIAL)
        folders = [os.path.join(location, name) for name in os.listdir(location)]
        folder = next(path for path in folders if path in primary.health_issues(uuid))
        for step in IMPORT_DEATHS:
            if dies(mortals[replica], step, lambda: import_copy(replica, uuid, folder)):
                deaths += 1
                replica.release()
                replica.start()
        if replica.state(uuid) == hosts.WAITING_INITIAL:
            import_copy(replica, uuid, folder)
        assert deaths > 4, f"{deaths} deaths only"
        primary.wait_state(uuid, hosts.REPLICATING)
        replica.wait_state(uuid, hosts.REPLICATING)
        check_failover(primary, replica, uuid)


if __name__ == "__main__":
    tap.run()
