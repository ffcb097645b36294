#!/usr/bin/python3
"""First copies that do not all go over the link: into the images of a VM that is on the replica's host, and by a folder."""

import contextlib
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402
from mortal import Mortal  # noqa: E402
from relay import Relay  # noqa: E402

BUILD = sys.argv[1]
FAILED, ACCESS_DENIED, NOT_SUPPORTED, INVALID_PARAMETER, INVALID_STATE, FILE_NOT_FOUND = 32768, 32769, 32770, 32773, 32775, 32779
AS_REPLICA, CANCEL_INITIAL = 2, 1
NETWORK, EXPORT, SEEDED = 1, 2, 3
MIB = 2**20
# The durable step at which a host dies
EXPORT_DEATHS = [int(step) for step in os.environ.get("VR_TEST_EXPORT_DEATHS", "3 9 16 24 31").split()]
IMPORT_DEATHS = [int(step) for step in os.environ.get("VR_TEST_IMPORT_DEATHS", "2 6 10 14").split()]


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


def copy_guest(guest, host):
    """The guest's disks as they are now, and a VM of the same UUID on them, on @host. Before its daemon starts."""
    tree = ET.parse(guest.xml)
    paths = []
    for source in tree.iterfind("devices/disk/source"):
        path = os.path.join(host.folder, "disks", os.path.basename(source.get("file")))
        subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", source.get("file"), path], check=True)
        source.set("file", path)
        paths.append(path)
    tree.find("devices/serial/source").set("path", os.path.join(host.folder, "disks", "ledger.serial"))
    tree.write(os.path.join(host.folder, "ledger.xml"))
    host.virsh("define", os.path.join(host.folder, "ledger.xml"))
    return paths


def is_equal(left, right):
    done = subprocess.run(["qemu-img", "compare", "-U", left, right], check=False, capture_output=True, text=True)
    return done.returncode == 0


def read(path):
    with open(path, "rb") as file:
        return file.read()


def replica_images(host, uuid):
    folder = os.path.join(host.storage, uuid, "disks")
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder))]


def power_off(host, uuid):
    host.power(uuid, hosts.POWER_OFF)
    hosts.wait_for(lambda: host.vm(uuid).number("EnabledState") == hosts.POWER_OFF, "the guest to be off")


@contextlib.contextmanager
def seeded_pair(rate=None, mib=64):
    """(primary, replica, guest, images on the replica's host, relay): a VM with disks full of noise, copied to the other host when it had
    run for a while, and running on the primary since."""
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        guest = primary.add_guest(sizes=(mib * MIB, mib * MIB), slots=mib // 2)
        for disk in guest.disks:
            fill(disk, mib)
        images = copy_guest(guest, replica)
        primary.start()
        replica.start()
        replica.enable_server("p")
        relay = Relay(replica.port(), rate)
        try:
            primary.power(guest.uuid, hosts.POWER_ON)
            primary.serial().wait_number(64)
            yield primary, replica, guest, images, relay
        finally:
            relay.close()


def create(primary, uuid, replica, relay, **more):
    return primary.create_relationship(uuid, replica, RecoveryServerPortNumber=relay.port, CompressionEnabled=False, **more)


def check_failover(primary, replica, uuid):
    written = primary.serial().reached()
    replica.wait_replication(uuid, 2)
    replica.failover(uuid)
    verdict = replica.check_disks()
    assert verdict.whole and verdict.last >= written, f"{written} was written, the copy says {verdict}"


def test_a_seed_takes_only_what_differs():
    with seeded_pair() as (primary, replica, guest, images, relay):
        uuid = guest.uuid
        before = replica.domain_xml().find("devices/disk/source").get("file")
        # Without the consent of its host nobody has the VM
        try:
            create(primary, uuid, replica, relay)
        except hosts.JobFailed as error:
            assert "as-replica" in str(error), error
        else:
            raise AssertionError("a peer has taken a VM away")
        assert replica.disk_paths()[0] == before
        replica.change_state(uuid, AS_REPLICA)
        assert replica.vm(uuid).number("ReplicationMode") == hosts.MODE_REPLICA and replica.state(uuid) == hosts.WAITING_INITIAL
        replica.restart()
        assert replica.state(uuid) == hosts.WAITING_INITIAL, "what its administrator said is forgotten"
        assert "none has come" in replica.health_issues(uuid), replica.health_issues(uuid)
        # and it can be taken back
        replica.call("RemoveReplicationRelationship", ComputerSystem=replica.vm_epr(uuid))
        assert replica.vm(uuid).number("ReplicationMode") == hosts.MODE_NONE and replica.disk_paths() == images
        replica.change_state(uuid, AS_REPLICA)

        create(primary, uuid, replica, relay)
        assert replica.disk_paths() != images, "it could still be started from its images"
        start_bytes = relay.forward_bytes
        start(primary, uuid, SEEDED)
        primary.wait_state(uuid, hosts.REPLICATING)
        replica.wait_state(uuid, hosts.REPLICATING)
        sent = relay.forward_bytes - start_bytes
        assert sent < 16 * MIB, f"{sent} bytes were sent of 128 MiB of which few differ"
        replica.wait_replication(uuid, 1)
        replica.restart()
        replica.wait_replication(uuid, 1)
        power_off(primary, uuid)
        hosts.wait_for(lambda: all(map(is_equal, guest.disks, images)), "the images to be equal")
        primary.power(uuid, hosts.POWER_ON)
        check_failover(primary, replica, uuid)


def definition(host):
    """What a guest has of the definition."""
    return [ET.tostring(part) for part in host.domain_xml().getroot().iterfind("devices/*") if part.tag in ("disk", "serial")]


def some_passed(relay, enough=MIB):
    start_bytes = relay.forward_bytes
    hosts.wait_for(lambda: relay.forward_bytes > start_bytes + enough, "some of the copy")


def die_and_live(host):
    host.kill()
    host.release()
    host.start()


def remove(host, uuid):
    """What its job says at its end."""
    result = host.call("RemoveReplicationRelationship", ComputerSystem=host.vm_epr(uuid))
    return host.api.get(result.job)["JobStatus"]


def test_a_seed_that_breaks_off():
    with seeded_pair(rate=2 * MIB, mib=32) as (primary, replica, guest, images, relay):
        uuid, before = guest.uuid, definition(replica)
        replica.stop()
        for image in images:
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, str(32 * MIB)], check=True)  # all differs
        replica.start()
        replica.change_state(uuid, AS_REPLICA)
        create(primary, uuid, replica, relay)
        # The primary does not want it any more
        remove(primary, uuid)
        hosts.wait_for(lambda: replica.vm(uuid).number("ReplicationMode") == hosts.MODE_NONE, "the VM to be its own again")
        assert definition(replica) == before and not os.listdir(replica.storage), os.listdir(replica.storage)

        replica.change_state(uuid, AS_REPLICA)
        create(primary, uuid, replica, relay)
        begin(primary, uuid, SEEDED)
        some_passed(relay)
        die_and_live(replica)
        some_passed(relay)
        die_and_live(primary)
        some_passed(relay)
        # It ends in the middle on the replica's side: nothing is said that is not so
        hosts.wait_for(lambda: any("changed" in name for name in os.listdir(os.path.join(replica.storage, uuid, "reversed"))),
                       "a pass to be written", 60)
        replica.call("InitiateFailover", INVALID_STATE, ComputerSystem=replica.vm_epr(uuid), SnapshotSettingData=None)
        word = remove(replica, uuid)
        assert "images were changed" in word, word
        assert definition(replica) == before and not os.listdir(replica.storage)
        remove(primary, uuid)

        replica.change_state(uuid, AS_REPLICA)
        relay.rate = None
        create(primary, uuid, replica, relay)
        start(primary, uuid, SEEDED)
        replica.wait_state(uuid, hosts.REPLICATING)
        check_failover(primary, replica, uuid)


def test_what_cannot_be_a_seed():
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        guest = primary.add_guest(sizes=(16 * MIB, 16 * MIB))
        uuid, images = guest.uuid, copy_guest(guest, replica)
        spare = [image + ".spare" for image in images]
        for image, kept in zip(images, spare, strict=True):
            shutil.copy(image, kept)
        before = definition(replica)

        def again():
            for image, kept in zip(images, spare, strict=True):
                shutil.copy(kept, image)

        def run(*words):
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)

        def refused(word):
            """By its host, as soon as it is said."""
            replica.start()
            result = replica.change_state(uuid, AS_REPLICA, want=(NOT_SUPPORTED, INVALID_STATE))
            assert word in result.message, result.message
            assert replica.vm(uuid).number("ReplicationMode") == hosts.MODE_NONE
            replica.stop()
            again()

        base = images[0] + ".base"
        os.rename(images[0], base)
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", images[0])
        refused("overlay")
        run("qemu-img", "snapshot", "-c", "old", images[1])
        refused("holds snapshots")
        replica.virsh("snapshot-create", "ledger")
        refused("virsh snapshot-delete")
        replica.virsh("snapshot-delete", "ledger", "--current", "--metadata")
        replica.start()
        replica.power(uuid, hosts.POWER_ON)
        assert "shut it down" in replica.change_state(uuid, AS_REPLICA, want=INVALID_STATE).message
        power_off(replica, uuid)
        replica.stop()
        again()

        # By what the primary offers
        replica.start()
        primary.start()
        replica.enable_server("p")
        replica.change_state(uuid, AS_REPLICA)
        for change, word in (((lambda: run("qemu-img", "resize", "-q", "-f", "qcow2", images[1], "+1M")), "qemu-img resize"),
                             ((lambda: run("qemu-img", "snapshot", "-c", "old", images[1])), "holds snapshots")):
            change()
            try:
                primary.create_relationship(uuid, replica)
            except hosts.JobFailed as error:
                assert word in str(error), error
            else:
                raise AssertionError(f"{word}: it was taken")
            again()
        try:
            primary.create_relationship(uuid, replica, IncludedDisks=[f"Microsoft:{uuid.upper()}\\vda"])
        except hosts.JobFailed as error:
            assert "other disks" in str(error), error
        else:
            raise AssertionError("it was taken with other disks")
        assert definition(replica) == before and replica.state(uuid) == hosts.WAITING_INITIAL and not os.listdir(replica.storage)
        primary.create_relationship(uuid, replica)
        assert definition(replica) != before


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
