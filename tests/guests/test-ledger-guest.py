#!/usr/bin/python3
"""The ledger guest, booted in QEMU: what it writes, and what it says about copies."""

import os
import random
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import guest as guests  # noqa: E402
import ledger  # noqa: E402
import tap  # noqa: E402

PROGRAM = sys.argv[1]
QEMU = "qemu-system-x86_64"
GRAIN = 65536


class Boot:
    """The guest running on raw images; its serial port is our pipe."""

    def __init__(self, paths):
        tap.requires(QEMU, "qemu-img")
        command = [QEMU, "-accel", "tcg", "-machine", "pc", "-m", "16", "-nodefaults", "-display", "none", "-serial", "stdio"]
        for i, path in enumerate(paths):
            command += ["-drive", f"file={path},format=raw,if=none,id=d{i}",
                        "-device", f"virtio-blk-pci,drive=d{i},bootindex={i + 1}"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def line(self, word):
        """The next line that begins with LEDGER and @word; None when QEMU ends."""
        for line in self.process.stdout:
            text = line.decode("ascii", "replace").strip()
            if text.startswith("LEDGER " + word):
                return text
            assert not text.startswith(("LEDGER ERROR", "LEDGER DISKS")), text
        return None

    def verdict(self):
        return self.line("")

    def run_to(self, number):
        """Until it has written at least @number; gives the number it printed."""
        while True:
            written = int(self.line("AT").split()[2])
            if written >= number:
                return written


class Folder:
    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="vr-ledger-")
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path)

    def make(self, sizes=(4 * 2**20, 4 * 2**20), **config):
        self.disks = guests.make_guest(PROGRAM, self.path, list(sizes), image_format="raw", **config).disks
        return self.disks

    def copy(self, name):
        copies = [f"{path}.{name}" for path in self.disks]
        for path, copy in zip(self.disks, copies):
            subprocess.run(["cp", "--sparse=always", path, copy], check=True)
        return copies


def test_writes_what_the_check_reads():
    with Folder() as folder:
        disks = folder.make(slots=64, per_tick=0)
        reached = 0
        for goal in (100, 500):  # within the first lap of 128, and laps later
            with Boot(disks) as boot:
                first = int(boot.verdict().removeprefix("LEDGER LAST "))
                assert first >= reached, f"{first} after {reached}"
                reached = boot.run_to(goal)
            verdict = ledger.check(disks)
            assert verdict.whole and verdict.last >= reached, f"{verdict} after AT {reached}"
            reached = verdict.last


def test_killed_at_any_moment_it_goes_on():
    with Folder() as folder:
        disks = folder.make(slots=32, per_tick=0, report=1)
        last = 0
        for _ in range(4):
            with Boot(disks) as boot:
                assert boot.verdict() == f"LEDGER LAST {last}"
                boot.run_to(last + random.randrange(1, 200))
            last = ledger.check(disks).last


def test_finds_a_mix_of_two_moments():
    with Folder() as folder:
        disks = folder.make(slots=128, per_tick=0)
        with Boot(disks) as boot:
            boot.run_to(200)
        older = folder.copy("older")
        with Boot(disks) as boot:
            boot.run_to(600)
        newer = folder.copy("newer")
        for path, a, b in zip(disks, older, newer):
            with open(path, "r+b") as out, open(a, "rb") as first, open(b, "rb") as second:
                for offset in range(0, os.path.getsize(path), GRAIN):
                    source = random.choice((first, second))
                    source.seek(offset)
                    out.seek(offset)
                    out.write(source.read(GRAIN))
        verdict = ledger.check(disks)
        assert not verdict.whole
        with Boot(disks) as boot:
            seen = boot.verdict()
            assert seen == str(verdict), f"the guest says {seen}, the check {verdict}"
        with Boot([older[0], newer[1]]) as boot:
            assert boot.verdict().startswith("LEDGER HOLE")
        with Boot(newer) as boot:
            assert boot.verdict().startswith("LEDGER LAST")


def test_finds_two_histories():
    with Folder() as folder:
        disks = folder.make(slots=64, per_tick=0)
        with Boot(disks) as boot:
            boot.run_to(50)
        copies = folder.copy("branch")
        last = []
        for paths in (disks, copies):
            with Boot(paths) as boot:
                boot.run_to(400)
            last.append(ledger.check(paths).last)
        # Let the shorter one catch up, so that by their numbers alone the disks would match
        behind = disks if last[0] < last[1] else copies
        writer = ledger.Writer(behind)
        writer.write(abs(last[0] - last[1]))
        writer.close()
        with Boot([disks[0], copies[1]]) as boot:
            assert boot.verdict().startswith("LEDGER HOLE")


def test_reads_disks_of_different_sizes():
    with Folder() as folder:
        disks = folder.make(sizes=(64 * 2**20, 2**30, 3 * 2**20), per_tick=0)
        with Boot(disks) as boot:
            assert boot.verdict() == "LEDGER LAST 0"
            boot.run_to(300)
        verdict = ledger.check(disks)
        with Boot(disks) as boot:
            assert boot.verdict() == str(verdict)
            assert verdict.last >= 300


def test_bulk_writes_leave_the_ledger_alone():
    with Folder() as folder:
        disks = folder.make(sizes=(8 * 2**20, 8 * 2**20), per_tick=0, bulk=2, reserved_bytes=2**20)
        with Boot(disks) as boot:
            boot.run_to(64)
        verdict = ledger.check(disks)
        assert verdict.whole and verdict.last >= 64
        for path in disks:
            with open(path, "rb") as file:
                file.seek(7 * 2**20)
                grains = [file.read(GRAIN) for _ in range(16)]
            assert all(grain.strip(b"\0") for grain in grains), "not all of the reserved space was written"
            assert len(set(grains)) == 16, "bulk data repeats"


def test_misses_a_disk():
    with Folder() as folder:
        disks = folder.make()
        with Boot(disks[:1]) as boot:
            for line in boot.process.stdout:
                if b"LEDGER" in line:
                    break
            assert line.strip() == b"LEDGER DISKS 1", line


if __name__ == "__main__":
    tap.run()
