#!/usr/bin/python3
"""The ledger from outside: lays it out on disk images, and checks images as the ledger guest does.

docs/design/ledger-guest.md says what a ledger is. The numbers here (CONFIG, RECORD) are those of tests/guests/ledger.S.

    ledger.py check IMAGE...        raw images, disk 0 first; prints LEDGER LAST n or LEDGER HOLE n disk d
"""

import os
import secrets
import struct
import sys
import zlib
from dataclasses import dataclass

SECTOR = 512
CONFIG_MAGIC = b"VRLEDGER"
CONFIG_OFFSET = 4
CONFIG = struct.Struct("<8sIHHHHIHHH")
RECORD_MAGIC = b"VRLG"
RECORD = struct.Struct("<4sIIII")  # magic, ledger id, number, seed of the boot, link
PLACES_MAX = 16384  # the guest's tables
CODE_SECTORS = 8


@dataclass
class Config:
    """What is the same for the whole life of a ledger; kept in the boot sector."""

    ledger_id: int
    disks: int = 2
    slots: int = 512
    step: int = 0
    reserved: int = 0
    per_tick: int = 8
    report: int = 16
    bulk: int = 0

    def __post_init__(self):
        if self.step == 0:
            self.step = int(self.slots * 0.618) | 1

    @property
    def places(self):
        return self.disks * self.slots

    def pack(self):
        return CONFIG.pack(CONFIG_MAGIC, self.ledger_id, self.disks, self.slots, self.step, pow(self.step, -1, self.slots),
                           self.reserved, self.per_tick, self.report, self.bulk)

    @classmethod
    def unpack(cls, boot_sector):
        magic, ledger_id, disks, slots, step, _, reserved, per_tick, report, bulk = CONFIG.unpack_from(boot_sector, CONFIG_OFFSET)
        if magic != CONFIG_MAGIC:
            raise ValueError("this is not the first disk of a ledger")
        return cls(ledger_id, disks, slots, step, reserved, per_tick, report, bulk)


def choose_config(sizes, per_tick=1, report=2, bulk=0, reserved_bytes=0, slots=512):
    """A configuration for disks of @sizes bytes."""
    smallest = (min(sizes) - reserved_bytes) // SECTOR
    while slots * len(sizes) > PLACES_MAX or smallest // slots < 2 * CODE_SECTORS:
        slots //= 2
    if slots < 16:
        raise ValueError("the disks are too small for a ledger")
    if bulk and reserved_bytes < 65536:
        raise ValueError("bulk writes need reserved space of at least 64 KiB on each disk")
    return Config(secrets.randbits(31) | 1, len(sizes), slots, 0, reserved_bytes // SECTOR, per_tick, report, bulk)


def boot_program(program, config):
    """The assembled guest with @config written into it: the first bytes of disk 0."""
    packed = config.pack()
    return program[:CONFIG_OFFSET] + packed + program[CONFIG_OFFSET + len(packed):]


class Layout:
    """Where each number lives."""

    def __init__(self, config, sizes):
        self.config = config
        self.strides = [(size // SECTOR - config.reserved) // config.slots for size in sizes]

    def position(self, number):
        """(disk, byte offset) of a record."""
        disk = number % self.config.disks
        place = number // self.config.disks * self.config.step % self.config.slots
        return disk, ((place + 1) * self.strides[disk] - 1) * SECTOR


@dataclass
class Record:
    number: int
    seed: int
    link: int
    checksum: int


def make_record(config, number, seed, link):
    filler = secrets.token_bytes(SECTOR - RECORD.size - 4)
    body = RECORD.pack(RECORD_MAGIC, config.ledger_id, number, seed, link) + filler
    checksum = zlib.crc32(body)
    return body + struct.pack("<I", checksum), checksum


def parse_record(config, sector):
    """A Record, or None when the sector is not a valid one."""
    magic, ledger_id, number, seed, link = RECORD.unpack_from(sector)
    checksum, = struct.unpack_from("<I", sector, SECTOR - 4)
    if magic != RECORD_MAGIC or ledger_id != config.ledger_id or zlib.crc32(sector[:-4]) != checksum:
        return None
    return Record(number, seed, link, checksum)


@dataclass
class Verdict:
    last: int
    hole: int = None
    disk: int = None
    checksum: int = None  # of record @last: the link of the next one

    @property
    def whole(self):
        return self.hole is None

    def __str__(self):
        if self.whole:
            return f"LEDGER LAST {self.last}"
        return f"LEDGER HOLE {self.hole} disk {self.disk}"


def check(paths):
    """Are these raw images, disk 0 first, the state after one number n? A Verdict with n or the first number that is wrong."""
    files = [os.open(path, os.O_RDONLY) for path in paths]
    try:
        return _check(files)
    finally:
        for fd in files:
            os.close(fd)


def _check(files):
    config = Config.unpack(os.pread(files[0], SECTOR, 0))
    if len(files) != config.disks:
        raise ValueError(f"the ledger has {config.disks} disks, not {len(files)}")
    layout = Layout(config, [os.fstat(fd).st_size for fd in files])

    table = []  # by number modulo places: None when empty, False when bad, or the Record
    last = 0
    for index in range(config.places):
        disk, offset = layout.position(index)
        sector = os.pread(files[disk], SECTOR, offset)
        if not sector.strip(b"\0"):
            table.append(None)
            continue
        record = parse_record(config, sector)
        if record is None or record.number % config.places != index:
            table.append(False)
            continue
        table.append(record)
        last = max(last, record.number)

    first = max(1, last - config.places + 1)
    link = config.ledger_id if first == 1 else None
    for number in range(first, last + 1):
        record = table[number % config.places]
        if not record or record.number != number or (link is not None and record.link != link):
            return Verdict(last, number, number % config.disks)
        link = record.checksum
    for number in range(last + 1, config.places + 1):  # first lap only
        if table[number % config.places] is not None:
            return Verdict(last, number, number % config.disks)
    return Verdict(last, checksum=link)


class Writer:
    """Writes on a ledger in raw images as a booted guest would: for tests of the check itself."""

    def __init__(self, paths):
        verdict = check(paths)
        if not verdict.whole:
            raise ValueError(str(verdict))
        self.files = [os.open(path, os.O_RDWR) for path in paths]
        self.config = Config.unpack(os.pread(self.files[0], SECTOR, 0))
        self.layout = Layout(self.config, [os.fstat(fd).st_size for fd in self.files])
        self.last, self.link = verdict.last, verdict.checksum
        self.seed = secrets.randbits(32)

    def write(self, count):
        for _ in range(count):
            self.last += 1
            sector, self.link = make_record(self.config, self.last, self.seed, self.link)
            disk, offset = self.layout.position(self.last)
            os.pwrite(self.files[disk], sector, offset)

    def close(self):
        for fd in self.files:
            os.close(fd)


def main(arguments):
    if len(arguments) < 2 or arguments[0] != "check":
        print(__doc__.strip(), file=sys.stderr)
        return 2
    verdict = check(arguments[1:])
    print(verdict)
    return 0 if verdict.whole else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
