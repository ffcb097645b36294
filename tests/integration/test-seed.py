#!/usr/bin/python3
"""A first copy into the images of a VM that is on the replica's host."""

import contextlib
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402
from copies import (  # noqa: E402
    AS_REPLICA, INVALID_STATE, MIB, NOT_SUPPORTED, SEEDED, begin, check_failover, create, fill, power_off, remove,
    start)
from mortal import Mortal  # noqa: E402
from peer import Peer  # noqa: E402
from relay import Relay  # noqa: E402

BUILD = sys.argv[1]
SUSPEND, RESUME = 7, 3
# The durable step at which the replica's host dies
TAKE_DEATHS = [int(step) for step in os.environ.get("VR_TEST_TAKE_DEATHS", "7 14 22 30").split()]


def write_noise(path):
    """As a guest would, into an image that nobody has open."""
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -q -P 77 1M 1M", path], check=True)


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

        # What was a replica is a seed again: on its images, with what it wrote since it was failed over
        assert "images" not in remove(replica, uuid)
        remove(primary, uuid)
        for target in "vda", "vdb":
            write_noise(os.path.join(replica.storage, uuid, "failover", target + ".qcow2"))
        replica.change_state(uuid, AS_REPLICA)
        assert replica.disk_paths() == images
        create(primary, uuid, replica, relay)
        start_bytes = relay.forward_bytes
        start(primary, uuid, SEEDED)
        replica.wait_state(uuid, hosts.REPLICATING)
        assert relay.forward_bytes - start_bytes < 16 * MIB
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


def ends_a_pass(primary, replica, relay, uuid):
    """What was sent of a pass counts when the copy is suspended, unless it was just being tried again."""
    some_passed(relay)
    primary.change_state(uuid, SUSPEND)
    with contextlib.suppress(hosts.Timeout):
        return hosts.wait_for(lambda: "changed" in os.listdir(os.path.join(replica.storage, uuid, "reversed")), "a pass", 3)
    primary.change_state(uuid, RESUME)
    return False


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
        # It ends in the middle on the replica's side: nothing is said that is not so
        hosts.wait_for(lambda: ends_a_pass(primary, replica, relay, uuid), "a pass to be written", 60)
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


def test_deaths_while_a_vm_becomes_a_replica_and_back():
    with hosts.Site(BUILD) as site:
        host = site.host("r")
        subprocess.run([os.path.join(hosts.HERE, "make-certificates"), site.certificates, "p"], check=True)
        guest = host.add_guest(name="local", sizes=(MIB,), slots=64)
        mortal = Mortal(host, BUILD)
        host.start()
        host.enable_server("p")
        own, deaths = host.disk_paths("local"), 0
        with open(guest.xml, encoding="utf-8") as file:
            xml = file.read()

        def offer():
            return Peer(site.certificates, "p", host.port()).offer(guest.uuid, xml, name="local")

        for step in TAKE_DEATHS:
            host.change_state(guest.uuid, AS_REPLICA)
            deaths += mortal.dies(step, offer)
            assert host.state(guest.uuid) == hosts.WAITING_INITIAL
            # Whatever became of it: the primary comes again, and it can be taken back
            status, text = offer()
            assert status == 200 and text["seeded"], text
            assert host.disk_paths("local") != own
            deaths += mortal.dies(step, lambda: remove(host, guest.uuid))
            if host.vm(guest.uuid).number("ReplicationMode") != hosts.MODE_NONE:
                remove(host, guest.uuid)
            assert host.disk_paths("local") == own and os.path.exists(own[0])
        assert deaths >= len(TAKE_DEATHS), f"{deaths} deaths only"


if __name__ == "__main__":
    tap.run()
