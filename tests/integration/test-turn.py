#!/usr/bin/python3
"""A primary that becomes the replica, with all that can be in its way: kill -9 at its durable steps, a VM that wrote in between, images on
backing files, disks that grew and shrank, firmware variables. Both sides are compared byte by byte. The guest is off all the time."""

import contextlib
import os
import random
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402
from images import MIB, assert_same, flat, io, replica_disks, resize, scribble, wait_received  # noqa: E402
from mortal import Mortal  # noqa: E402
from wsman_client import EmbeddedInstance  # noqa: E402

BUILD = sys.argv[1]
INVALID_STATE = 32775
AS_REPLICA = 2
# The durable step of the turn at which the host dies: while the folder is filled, at the decision, while it settles. A second number: of
# the turn that is asked for again.
DEATHS = [(int(first), int(second or 0)) for first, _, second in
          (word.partition("+") for word in os.environ.get("VR_TEST_DEATHS", "61 64 66+3 75+9").split())]


def wait_equal(here, there, uuid):
    there.wait_state(uuid, hosts.REPLICATING)
    here.wait_state(uuid, hosts.REPLICATING)
    assert_same(replica_disks(here, uuid), there.disk_paths())


def variables_of(host):
    return host.domain_xml().find("os/nvram").text


def read(path):
    with open(path, "rb") as file:
        return file.read()


def put_on_backing_file(path):
    """As images made from a template are; clusters larger than what is compared."""
    golden = path + ".golden"
    os.rename(path, golden)
    io(golden, "write -q -P 77 9M 6M")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", "-b", golden, "-F", "qcow2", path], check=True)


@contextlib.contextmanager
def pair_that_is_off():
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        store = os.path.join(primary.folder, "disks/variables.fd")
        guest = primary.add_guest(sizes=(16 * MIB, 16 * MIB), memory=128, variables=store)
        with open(store, "wb") as file:
            file.write(bytes(4096))
        for path in guest.disks:
            put_on_backing_file(path)
        mortals = {host: Mortal(host, BUILD) for host in (primary, replica)}
        for host, other in ((primary, "r"), (replica, "p")):
            host.start()
            host.enable_server(other)
        primary.create_relationship(guest.uuid, replica)
        primary.start_replication(guest.uuid)
        primary.wait_state(guest.uuid, hosts.REPLICATING)
        yield primary, replica, guest.uuid, mortals


def mode(host, uuid):
    return host.vm(uuid).number("ReplicationMode")


def refused(there, here, uuid, word):
    try:
        there.reverse(uuid, here)
    except hosts.JobFailed as failed:
        assert word in str(failed), failed
    else:
        raise AssertionError(f"it was not refused: {word}")
    assert there.state(uuid) == hosts.RECOVERED, "the failover was committed for a reversal that is refused"


def limit(host, other, text):
    host.call("ModifyAuthorizationEntry", AuthorizationEntry=EmbeddedInstance("Msvm_ReplicationAuthorizationSettingData", {
        "AllowedPrimaryHostSystem": other, "AdditionalSettings": text}))


def kill_lock(host):
    for pid in hosts.processes("--pidfile", os.path.join(host.folder, "run/l-")):
        hosts.kill(pid, signal.SIGKILL)


def reverse_with_death(here, there, uuid, mortal, step):
    """Dies @here when it is asked? Then the VM starts nowhere, and writes what it could have written where it could have been started."""
    own = here.disk_paths()
    mortal.arm(step)
    try:
        there.reverse(uuid, here)
    except hosts.JobFailed:
        here.process.wait(20)
    if not mortal.has_died():
        return False
    assert not here.has_domain() or os.path.exists(variables_of(here)) or here.disk_paths() != own, "the variables of the VM are gone"
    could_start = here.has_domain() and here.disk_paths() == own and "/failover/" not in own[0]
    if could_start:
        kill_lock(here)
        scribble(own)
    here.start()
    print(f"# step {step}: {'it could start, and was' if could_start else 'it could not start, and was'} "
          f"the {'replica' if mode(here, uuid) == hosts.MODE_REPLICA else 'primary'}", flush=True)
    here.power(uuid, hosts.POWER_ON, want=INVALID_STATE)
    if mode(here, uuid) == hosts.MODE_REPLICA and mode(there, uuid) == hosts.MODE_REPLICA:
        here.failover(uuid)
        here.revert(uuid)
        assert here.state(uuid) == hosts.RESYNCHRONIZING, "it is said to replicate and holds what it had"
    return True


def round_of(here, there, uuid, mortal, deaths):
    """@here, the primary, becomes the replica of @there; both have written since they were equal."""
    there.failover(uuid)
    scribble(there.disk_paths())
    scribble(here.disk_paths())
    mark = random.randbytes(4096)
    with open(variables_of(there), "wb") as file:
        file.write(mark)
    here.change_state(uuid, AS_REPLICA)
    died = [step > 0 and reverse_with_death(here, there, uuid, mortal, step) for step in deaths]
    if mode(there, uuid) != hosts.MODE_PRIMARY:
        there.reverse(uuid, here)
    wait_equal(here, there, uuid)
    assert not os.path.exists(os.path.join(here.storage, uuid, "reversed")), "what it had written is still told"
    assert read(os.path.join(here.storage, uuid, "blobs/nvram")) == mark
    return died


def test_a_turn_that_breaks_off():
    random.seed(4711)
    with pair_that_is_off() as (primary, replica, uuid, mortals):
        here, there = primary, replica

        # what refuses it does so before anything is given up
        scribble(here.disk_paths())
        wait_received(here, there, uuid)
        there.failover(uuid)
        here.change_state(uuid, AS_REPLICA)
        os.mkdir(os.path.join(here.storage, uuid))
        refused(there, here, uuid, "move it away")
        os.rmdir(os.path.join(here.storage, uuid))
        limit(here, "r", "size=1M")
        refused(there, here, uuid, "--max-size")
        limit(here, "r", "")
        os.rename(here.disk_paths()[0] + ".golden", here.disk_paths()[0] + ".away")
        refused(there, here, uuid, "which is not there")
        os.rename(here.disk_paths()[0] + ".away", here.disk_paths()[0] + ".golden")

        # what the former primary had is a point, also where both sides are compared
        for path in there.disk_paths():
            io(path, f"write -q -z -u 11M {MIB}")
        here.stop()
        kill_lock(here)
        scribble_without_trace(here)
        here.start()
        had = [flat(path, here.folder) for path in here.disk_paths()]
        there.reverse(uuid, here)
        wait_equal(here, there, uuid)
        point = here.points(uuid)[0]
        here.failover(uuid, point)
        for path, copy in zip(here.disk_paths(), had, strict=True):
            done = subprocess.run(["qemu-img", "compare", "-U", "-f", "qcow2", "-F", "raw", path, copy], check=False,
                                  capture_output=True, text=True)
            assert done.returncode == 0, f"the point is not what the former primary had: {done.stdout}{done.stderr}"
        here.revert(uuid)
        here, there = there, here
        total = []
        for deaths in DEATHS:
            total += round_of(here, there, uuid, mortals[here], deaths)
            print(f"# deaths at {deaths}: {total}", flush=True)
            here, there = there, here
        assert any(total), "it never died"


def scribble_without_trace(host):
    """The bitmaps of these images are lost: nobody knows what was written."""
    for path in host.disk_paths():
        info = subprocess.run(["qemu-img", "info", "-U", path], check=True, capture_output=True, text=True).stdout
        for name in [line.split(":")[1].strip() for line in info.splitlines() if line.strip().startswith("name:")]:
            hosts.wait_for(lambda p=path, n=name: subprocess.run(["qemu-img", "bitmap", "--remove", "-f", "qcow2", p, n],
                                                                 check=False, capture_output=True).returncode == 0, "a bitmap to go")
    scribble(host.disk_paths())


def test_sizes_on_the_two_sides():
    """What one disk lost and got back, and what another lost, is in no bitmap."""
    random.seed(815)
    with pair_that_is_off() as (primary, replica, uuid, mortals):
        scribble(primary.disk_paths())
        wait_received(primary, replica, uuid)
        old = replica.points(uuid)[-1]
        second = primary.disk_paths()[1]
        resize(second, 24 * MIB)
        io(second, "write -q -P 3 18M 4M")
        wait_received(primary, replica, uuid)
        replica.failover(uuid, old)
        replica.commit(uuid)  # smaller than what it is committed into
        resize(replica.disk_paths()[1], 24 * MIB)
        primary.change_state(uuid, AS_REPLICA)
        replica.reverse(uuid, primary)
        wait_equal(primary, replica, uuid)

        # the other way round: the former primary has shrunk
        io(replica.disk_paths()[1], "write -q -P 5 20M 2M")
        wait_received(replica, primary, uuid)
        primary.failover(uuid)
        resize(replica.disk_paths()[1], 16 * MIB, "--shrink")
        replica.change_state(uuid, AS_REPLICA)
        primary.reverse(uuid, replica)
        wait_equal(replica, primary, uuid)


if __name__ == "__main__":
    tap.run()
