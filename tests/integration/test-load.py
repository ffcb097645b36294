#!/usr/bin/python3
"""A Debian guest under load: what fio wrote and synchronized is whole at every recovery point, and so is its ext4."""

import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import linux_guest  # noqa: E402
import tap  # noqa: E402

BUILD = sys.argv[1]
CONSISTENT = "Microsoft:Hyper-V:Snapshot:Replica:ApplicationConsistent"
NAME = "l"  # short, since libvirt makes the path of a socket of it
TEST_NAME = f"{NAME} - Test"
CHECK = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../guests/linux-fio")
OF_EACH_KIND = 3
FIXED = 1  # exit code of e2fsck: what was wrong is not any more


def tool(*command, want=(0,)):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          env=linux_guest.tools())
    assert done.returncode in want, f"{' '.join(command)}: {done.returncode}, {done.stdout}"
    return done.stdout


def needs_recovery(raw):
    head = tool("dumpe2fs", "-h", raw).splitlines()
    return "needs_recovery" in next(line for line in head if line.startswith("Filesystem features:"))


def check_file_system(raw, consistent):
    """Frozen ext4 has nothing in its journal that is not in its place too. Otherwise the journal is there to be gone
    through, as at each start after a power cut, and nothing is left to repair then."""
    assert needs_recovery(raw) != consistent
    if not consistent:
        said = tool("e2fsck", "-p", raw, want=(0, FIXED))
        assert "recovering journal" in said and "clean," in said, said
        assert not needs_recovery(raw)
    tool("e2fsck", "-f", "-n", raw)


def check_fio(line):
    """What fio found, as {word: value}: all that was synchronized is whole, and damage does not escape it."""
    found = dict(word.split("=") for word in line.split()[1:])
    assert int(found["whole"]) > 0 and found["verified"] == found["whole"] and found["damage"] == "noticed", line
    return found


def check_disk(path, consistent):
    """From outside, without starting the VM. The number of the newest file."""
    with tempfile.TemporaryDirectory(prefix="vr-") as folder:
        raw = os.path.join(folder, "raw")
        subprocess.run(["qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", path, raw], check=True)
        check_file_system(raw, consistent)
        tool("debugfs", "-R", f"rdump /load {folder}", raw)
        os.symlink(os.path.abspath(linux_guest.fio_folder(BUILD)), os.path.join(folder, "fio"))
        environment = dict(os.environ, DATA=folder, CONSOLE="/dev/stdout", TMPDIR=folder)
        said = subprocess.run(["sh", CHECK, "check"], env=environment, stdout=subprocess.PIPE, text=True,
                              check=True).stdout.splitlines()
        for line in said[:-1]:
            print(f"# {line}", flush=True)
        return int(check_fio(said[-1].partition(" ")[2])["last"])


def start_test_vm(replica, test_uuid, last):
    """The guest's own ext4 and fio find the same, and the load goes on."""
    replica.power(test_uuid, hosts.POWER_ON)
    log = linux_guest.log_of(replica, TEST_NAME)
    log.wait("MOUNTED", 120)
    assert int(check_fio(log.wait("FIO ", 120))["last"]) == last
    log.wait("FILE", 60)
    replica.power(test_uuid, hosts.POWER_OFF)


def is_consistent(point):
    return point["VirtualSystemType"] == CONSISTENT


def wait_points(replica, uuid, before):
    """The last points of each kind among those that are newer than @before, when there are enough of them."""
    def look():
        new = [point for point in replica.points(uuid) if point["CreationTime"] > before]
        kinds = [[point for point in new if is_consistent(point) == wanted] for wanted in (True, False)]
        return all(len(kind) >= OF_EACH_KIND for kind in kinds) and sorted(
            (point for kind in kinds for point in kind[-OF_EACH_KIND:]), key=lambda point: point["CreationTime"])
    return hosts.wait_for(look, "recovery points of both kinds", 120, 0.5)


def test_what_fio_has_synchronized_is_whole_at_each_point():
    with linux_guest.replicating_pair(BUILD, additional="interval=2;journal=1h;consistent=5s", name=NAME,
                                      fio=linux_guest.fio_folder(BUILD)) as (primary, replica, guest):
        uuid = guest.uuid
        written = int(linux_guest.log_of(primary, NAME).wait("FILE", 120).split()[1])
        replica.wait_replication(uuid, 2)
        points = wait_points(replica, uuid, replica.points(uuid)[-1]["CreationTime"])
        primary.power(uuid, hosts.POWER_OFF)
        last, started = [], {}
        for point in points:
            consistent = is_consistent(point)
            test_uuid = replica.test(uuid, point)
            last.append(check_disk(replica.disk_paths(TEST_NAME)[1], consistent))
            print(f"# {point['CreationTime']} {'consistent' if consistent else 'standard'}: file {last[-1]}")
            if consistent not in started:
                started[consistent] = start_test_vm(replica, test_uuid, last[-1])
            replica.end_test(test_uuid)
        assert last == sorted(last) and last[0] >= written and last[-1] > last[0], (written, last)


if __name__ == "__main__":
    tap.run()
