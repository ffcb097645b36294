"""Ledger guests: their disks, their domain XML, and a look at the images of one that is not running."""

import os
import subprocess
import tempfile
import uuid
from dataclasses import dataclass

import ledger

EMULATOR = "/usr/bin/qemu-system-x86_64"

DOMAIN = """<domain type='qemu'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>1</vcpu>
  <os{firmware}>
    <type arch='x86_64' machine='{machine}'>hvm</type>
{os}  </os>
{features}  <devices>
    <emulator>{emulator}</emulator>
{disks}    <serial type='file'>
      <source path='{serial}' append='on'/>
      <target port='0'/>
    </serial>
{devices}    <memballoon model='none'/>
  </devices>
</domain>
"""

DISK = """    <disk type='file' device='disk'>
      <driver name='qemu' type='{format}' cache='{cache}'/>
      <source file='{path}'/>
      <target dev='{target}' bus='{bus}'/>
      <boot order='{order}'/>
    </disk>
"""


EFI = """    <firmware>
      <feature enabled='no' name='secure-boot'/>
    </firmware>
    <nvram>{path}</nvram>
"""

TPM = """    <tpm model='tpm-tis'>
      <backend type='emulator' version='2.0'/>
    </tpm>
"""

NETWORK = """    <interface type='user'>
      <mac address='52:54:00:12:34:56'/>
      <model type='virtio'/>
    </interface>
"""


@dataclass
class Guest:
    uuid: str
    name: str
    xml: str     # path of its domain XML
    disks: list  # paths of its images, vda first
    serial: str  # path of the file its serial port is appended to


def make_disk(path, image_format, size, start=b""):
    """An image of @size bytes that begins with @start and is empty otherwise."""
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), prefix=".raw-") as raw:
        raw.write(start)
        raw.truncate(size)
        raw.flush()
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", image_format, raw.name, path], check=True)


def make_guest(program, folder, sizes, name="ledger", guest_uuid=None, image_format="qcow2", memory=16,
               variables=None, tpm=False, network=False, bus=None, acpi=False, raw=(), **config):
    """Disks and domain XML of a ledger guest in @folder, those at the indexes @raw raw images; @config as for ledger.choose_config.
    The @bus is IDE where there is one: a guest
    takes a tenth of the processor then that it takes with virtio, where the BIOS does much that emulation is slow at. The BIOS never
    flushes; with virtio QEMU sees that and writes through by itself. With @variables, the path of a variable
    store, it has UEFI without Secure Boot and does not run the ledger, which needs a BIOS. Devices can be plugged in with @acpi."""
    guest = Guest(guest_uuid or str(uuid.uuid4()), name, os.path.join(folder, f"{name}.xml"), [],
                  os.path.join(folder, f"{name}.serial"))
    with open(program, "rb") as file:
        start = ledger.boot_program(file.read(), ledger.choose_config(sizes, **config))
    bus = bus or ("virtio" if variables else "ide")
    cache = "writethrough" if bus == "ide" else "default"
    disks = ""
    for i, size in enumerate(sizes):
        target = "vd" + "abcdefgh"[i]
        kind = "raw" if i in raw else image_format
        path = os.path.join(folder, f"{name}-{target}.{kind}")
        make_disk(path, kind, size, start if i == 0 else b"")
        guest.disks.append(path)
        disks += DISK.format(format=kind, path=path, target=target, bus=bus, cache=cache, order=i + 1)
    with open(guest.xml, "w", encoding="utf-8") as file:
        file.write(DOMAIN.format(name=name, uuid=guest.uuid, memory=memory, emulator=EMULATOR, disks=disks,
                                 serial=guest.serial, machine="q35" if variables else "pc",
                                 firmware=" firmware='efi'" if variables else "", devices=(TPM if tpm else "") + (NETWORK if network else ""),
                                 os=EFI.format(path=variables) if variables else "",
                                 features="  <features>\n    <acpi/>\n  </features>\n" if variables or acpi else ""))
    return guest


def fill(path):
    """Writes data that does not compress between the ledger's records, which are the last sectors of their places."""
    with tempfile.NamedTemporaryFile() as piece:
        piece.write(os.urandom(8192))
        piece.flush()
        subprocess.run(["qemu-io", "-f", "qcow2", *(word for place in range(4096) for word in (
            "-c", f"write -q -s {piece.name} {place * 16384 + 4096} {place % 8 * 512 + 4096}")), path], check=True)


def check_images(paths, image_format="qcow2"):
    """ledger.check for images of any format, backing files included. Reads them even if a QEMU has them open: then the result
    means something only when nobody writes."""
    with tempfile.TemporaryDirectory(prefix="vr-") as folder:
        copies = []
        for i, path in enumerate(paths):
            copies.append(os.path.join(folder, f"{i}.raw"))
            kind = "raw" if path.endswith(".raw") else image_format
            subprocess.run(["qemu-img", "convert", "-U", "-f", kind, "-O", "raw", path, copies[-1]], check=True)
        return ledger.check(copies)
