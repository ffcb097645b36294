#!/usr/bin/python3
"""A disk far larger than the scratch space: a fresh 4 GiB disk under constant writing replicates with 64 MiB of it."""

import os
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402

BUILD = sys.argv[1]
SCRATCH = 64 * 2**20
STRIDE, FILLED_STRIDES = 2**20, 1024  # 4 GiB in 4096 places


class ScratchWatch(threading.Thread):
    """The largest use of a scratch folder seen."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.folder, self.largest, self.ended = folder, 0, threading.Event()

    def run(self):
        while not self.ended.wait(0.02):
            used = 0
            for name in os.listdir(self.folder):
                try:
                    used += os.stat(os.path.join(self.folder, name)).st_blocks * 512
                except FileNotFoundError:
                    pass
            self.largest = max(self.largest, used)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()


def fill(path):
    """Data that does not compress, so that the first copy takes a while and the guest writes into what is not copied yet. The
    last sector of each stride is the ledger's."""
    with tempfile.NamedTemporaryFile() as piece:
        piece.write(os.urandom(STRIDE - 512))
        piece.flush()
        subprocess.run(["qemu-io", "-f", "qcow2", *(word for stride in range(FILLED_STRIDES) for word in (
            "-c", f"write -q -s {piece.name} {(stride + 1) * STRIDE} {STRIDE - 512}")), path], check=True)


def test_big_disk_small_scratch():
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p", scratch_max="64M"), site.host("r")
        guest = primary.add_guest(sizes=(4 * 2**30, 64 * 2**20), per_tick=60)
        uuid = guest.uuid
        fill(primary.disk_paths()[0])
        primary.start()
        replica.start()
        replica.enable_server("p")
        primary.power(uuid, hosts.POWER_ON)
        primary.serial().wait_number(2000)
        with ScratchWatch(os.path.join(primary.folder, "scratch")) as watch:
            primary.create_relationship(uuid, replica)
            primary.start_replication(uuid)
            primary.wait_state(uuid, hosts.REPLICATING, 180)
            replica.wait_replication(uuid, 3)
        written = primary.serial().reached()
        replica.wait_replication(uuid, 2)
        assert watch.largest <= SCRATCH * 5 / 4, f"{watch.largest} bytes of scratch space were used"
        print(f"# at most {watch.largest / 2**20:.1f} MiB of scratch space")
        primary.kill()
        primary.kill_qemu(uuid)
        replica.failover(uuid)
        replica.power(uuid, hosts.POWER_ON)
        last = replica.serial().verdict()
        assert last >= written, f"{written} was acknowledged, the copy ends at {last}"


if __name__ == "__main__":
    tap.run()
