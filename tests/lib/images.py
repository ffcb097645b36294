"""Images of guests that are off: writing into them as a guest would, and comparing them."""

import json
import os
import random
import subprocess

from hosts import wait_for

MIB = 2**20
GRAIN = 64 * 1024


def io(path, *commands):
    """What a guest would write, into an image that nobody has open; a look of the daemon's at it passes."""
    words = [word for command in commands for word in ("-c", command)]
    return wait_for(lambda: subprocess.run(["qemu-io", "-f", "qcow2", *words, path], check=False,
                                                 capture_output=True).returncode == 0, f"qemu-io on {path}")


def scribble(paths, within=8 * MIB):
    """New contents at some places of each disk, and zeroes at others."""
    for path in paths:
        places = random.sample(range(within // GRAIN), 6)
        io(path, *(f"write -q -P {random.randrange(1, 256)} {place * GRAIN + 4096} 8192" for place in places[:4]),
           *(f"write -q -z -u {place * GRAIN} {GRAIN}" for place in places[4:]))


def resize(path, size, *options):
    wait_for(lambda: subprocess.run(["qemu-img", "resize", "-q", *options, "-f", "qcow2", path, str(size)], check=False,
                                          capture_output=True).returncode == 0, f"another size of {path}")


def flat(path, folder):
    copy = os.path.join(folder, f"flat-{random.randrange(2**60):x}")
    subprocess.run(["qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", path, copy], check=True)
    return copy


def size_of(path):
    return int(json.loads(subprocess.run(["qemu-img", "info", "-U", "--output=json", path], check=True, capture_output=True).stdout)["virtual-size"])


def differ(left, right):
    """The first two images that do, or None."""
    for one, other in zip(left, right, strict=True):
        done = subprocess.run(["qemu-img", "compare", "-U", one, other], check=False, capture_output=True, text=True)
        if done.returncode != 0 or size_of(one) != size_of(other):
            return f"'{one}' and '{other}' differ: {done.stdout}{done.stderr}"
    return None


def assert_same(left, right):
    difference = differ(left, right)
    assert difference is None, difference


def _read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def replica_disks(host, uuid):
    folder, found = os.path.join(host.storage, uuid, "disks"), {}
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        found[name.partition(".")[0]] = _read(path) if name.endswith(".path") else path
    return [found[target] for target in sorted(found)]


def wait_received(primary, replica, uuid):
    wait_for(lambda: differ(primary.disk_paths(), replica_disks(replica, uuid)) is None, "the replica to be equal")
