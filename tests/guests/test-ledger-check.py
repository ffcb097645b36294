#!/usr/bin/python3
"""The check of a ledger finds what it is there to find: without booting anything."""

import os
import random
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import ledger  # noqa: E402
import tap  # noqa: E402

GRAIN = 65536
SIZE = 2 * 2**20
SLOTS = 64  # per disk: two records in each grain, and a lap takes 128 records
SEED = int(os.environ.get("LEDGER_TEST_SEED", random.randrange(2**32)))
dice = random.Random(SEED)


class Disks:
    """A ledger on two raw images in a folder of its own."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="vr-ledger-")
        self.paths = [os.path.join(self.folder, f"{i}.raw") for i in range(2)]
        config = ledger.choose_config([SIZE, SIZE], slots=SLOTS)
        for i, path in enumerate(self.paths):
            with open(path, "wb") as file:
                if i == 0:
                    file.write(ledger.boot_program(bytes(4096), config))
                file.truncate(SIZE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder)

    def write(self, count):
        writer = ledger.Writer(self.paths)
        writer.write(count)
        writer.close()

    def contents(self):
        images = []
        for path in self.paths:
            with open(path, "rb") as file:
                images.append(file.read())
        return images

    def put(self, images):
        for path, image in zip(self.paths, images):
            with open(path, "wb") as file:
                file.write(image)

    def check(self):
        return ledger.check(self.paths)


def expect(verdict, last):
    assert verdict.whole and verdict.last == last, f"{verdict}, expected LAST {last} (seed {SEED})"


def mix(older, newer, chance):
    """Each grain of each disk from one of two moments."""
    mixed = []
    for a, b in zip(older, newer):
        grains = []
        for offset in range(0, SIZE, GRAIN):
            source = b if dice.random() < chance else a
            grains.append(source[offset:offset + GRAIN])
        mixed.append(b"".join(grains))
    return mixed


def test_every_moment_is_whole():
    with Disks() as disks:
        expect(disks.check(), 0)
        written = 0
        for count in [1, 1, 1, 60, 64, 1, 1, 100, 128, 1000]:
            disks.write(count)
            written += count
            expect(disks.check(), written)


def test_a_mix_of_two_moments_is_found():
    with Disks() as disks:
        for _ in range(12):
            disks.write(dice.randrange(1, 400))
            older = disks.contents()
            disks.write(dice.randrange(40, 400))
            newer = disks.contents()
            for chance in (0.02, 0.5, 0.98):
                mixed = mix(older, newer, chance)
                if mixed in (older, newer):
                    continue
                disks.put(mixed)
                assert not disks.check().whole, f"a mix passed (seed {SEED})"
            disks.put(newer)


def test_disks_of_different_moments_are_found():
    with Disks() as disks:
        for lead in (3, 10, 128, 129, 500):
            disks.write(77)
            older = disks.contents()
            disks.write(lead)
            newer = disks.contents()
            disks.put([older[0], newer[1]])
            assert not disks.check().whole, f"lead {lead}"
            disks.put([newer[0], older[1]])
            assert not disks.check().whole, f"lead {lead}"
            disks.put(newer)


def test_two_histories_do_not_mix():
    """Both went on from the same moment and wrote the same numbers, as after a failover with the primary still running."""
    with Disks() as disks:
        disks.write(50)
        common = disks.contents()
        disks.write(300)
        one = disks.contents()
        disks.put(common)
        disks.write(300)
        other = disks.contents()
        expect(disks.check(), 350)
        for chance in (0.05, 0.5, 0.95):
            mixed = mix(one, other, chance)
            if mixed in (one, other):
                continue
            disks.put(mixed)
            assert not disks.check().whole, f"a mix of histories passed (seed {SEED})"


def test_a_lost_write_is_found():
    """One grain goes back to what it was before its newest record."""
    with Disks() as disks:
        disks.write(200)
        for _ in range(40):
            before = disks.contents()
            config = ledger.Config.unpack(before[0][:512])
            disk, offset = ledger.Layout(config, [SIZE, SIZE]).position(disks.check().last + 1)
            disks.write(2)
            after = disks.contents()
            grain = offset // GRAIN * GRAIN
            image = after[disk]
            lost = image[:grain] + before[disk][grain:grain + GRAIN] + image[grain + GRAIN:]
            disks.put([lost if i == disk else after[i] for i in range(2)])
            verdict = disks.check()
            assert not verdict.whole and verdict.disk == disk, f"{verdict} (seed {SEED})"
            disks.put(after)


def test_any_damaged_byte_of_a_record_is_found():
    for written in (40, 700):
        with Disks() as disks:
            disks.write(written)
            good = disks.contents()
            config = ledger.Config.unpack(good[0][:512])
            layout = ledger.Layout(config, [SIZE, SIZE])
            for byte in range(0, 512, 3):
                number = dice.randrange(max(1, written - config.places + 1), written)
                disk, offset = layout.position(number)
                images = [bytearray(image) for image in good]
                images[disk][offset + byte] ^= 1 << dice.randrange(8)
                disks.put(images)
                verdict = disks.check()
                assert not verdict.whole and verdict.hole == number, f"{verdict}, byte {byte} of {number} (seed {SEED})"


def test_something_beyond_the_end_is_found():
    with Disks() as disks:
        disks.write(20)
        images = [bytearray(image) for image in disks.contents()]
        config = ledger.Config.unpack(images[0][:512])
        disk, offset = ledger.Layout(config, [SIZE, SIZE]).position(100)
        images[disk][offset + 7] = 1
        disks.put(images)
        verdict = disks.check()
        assert verdict.hole == 100 and verdict.disk == disk, str(verdict)


if __name__ == "__main__":
    print(f"# seed {SEED}")
    tap.run()
