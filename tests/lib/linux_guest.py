"""A Linux guest with a real qemu-guest-agent, a file system of its own and a program that writes to it without end.

/data on its second disk is ext4. The program there keeps a rule: the files first and second are equal, except in the midst of a
change, which the agent's hook waits for. The guest tells what it does on its serial port, LINUX WROTE 17, and a shell listens on
the second one. See tests/guests/linux-init."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from dataclasses import dataclass

import guest as guests
import hosts
import tap

DATA_BYTES = 64 << 20
FIO_DATA_BYTES = 192 << 20  # fio has many libraries

DOMAIN = """<domain type='qemu'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>192</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
  </os>
  <features>
    <acpi/>
  </features>
  <cpu mode='maximum'/>
  <devices>
    <emulator>{emulator}</emulator>
{disks}{interfaces}    <serial type='file'>
      <source path='{serial}' append='on'/>
      <target port='0'/>
    </serial>
    <serial type='unix'>
      <source mode='bind' path='{control}'/>
      <target port='1'/>
    </serial>
{channel}    <memballoon model='none'/>
  </devices>
</domain>
"""

CHANNEL = """    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
"""

INTERFACE = """    <interface type='user'>
      <mac address='{mac}'/>
      <model type='virtio'/>
    </interface>
"""


@dataclass
class LinuxGuest:
    uuid: str
    name: str
    control: str  # path of the socket of its second serial port

    def run(self, command):
        """What @command says, run by a shell in the guest that is no part of its agent."""
        said = b""
        with socket.socket(socket.AF_UNIX) as port:
            port.settimeout(60 * hosts.PATIENCE)
            port.connect(self.control)
            port.sendall(command.encode() + b"\necho END-OF-COMMAND\n")
            while b"END-OF-COMMAND\n" not in said:
                data = port.recv(4096)
                assert data, f"{self.name} hung up"
                said += data
        return said.decode().partition("END-OF-COMMAND")[0].strip()

    def agent_listens(self):
        return "vport" in self.run("ls -l /proc/$(pidof qemu-ga)/fd")


class LinuxLog(hosts.SerialLog):
    """What the guest said."""

    def lines(self):
        return [line[len("LINUX "):] for line in self.all_lines() if line.startswith("LINUX ")]

    def all_lines(self):
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                data = file.read()
        except FileNotFoundError:
            return []
        self.offset += len(data)
        *whole, self.rest = (self.rest + data.decode("ascii", "replace")).split("\n")
        return [line.strip() for line in whole]

    def wait(self, word, timeout=60):
        """The next line that starts with @word."""
        return hosts.wait_for(lambda: next((line for line in self.lines() if line.startswith(word)), None),
                              f"LINUX {word} in {os.path.basename(self.path)}", timeout)

    def wait_writes(self, count=3, timeout=60):
        """Until the program in the guest has changed its files @count more times."""
        self.skip()
        for _ in range(count):
            self.wait("WROTE", timeout)


def boot_image(build):
    """The boot disk that make-linux-guest has made."""
    folder = os.path.join(build, "tests/guests/linux")
    with contextlib.suppress(FileNotFoundError), open(os.path.join(folder, "why-not"), encoding="utf-8") as file:
        raise tap.Skip(file.read().strip())
    image = os.path.join(folder, "boot.img")
    if not os.path.exists(image):
        raise tap.Skip(f"the Linux guest was not made: tests/guests/make-linux-guest {folder}")
    return image


def fio_folder(build):
    """The program fio with its libraries, which make-linux-guest has unpacked."""
    boot_image(build)
    folder = os.path.join(build, "tests/guests/linux/fio")
    if not os.path.exists(folder):
        raise tap.Skip("the package fio could not be downloaded")
    return folder


def make_data_disk(path, fio=None):
    """With @fio, a folder, that program is in /fio and runs when the guest has started: see tests/guests/linux-fio."""
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), prefix=".raw-") as raw, \
            tempfile.TemporaryDirectory(dir=os.path.dirname(path)) as content:
        raw.truncate(FIO_DATA_BYTES if fio else DATA_BYTES)
        if fio:
            shutil.copytree(fio, os.path.join(content, "fio"))
        subprocess.run(["mkfs.ext4", "-q", "-F", "-d", content, raw.name], check=True, env=tools())
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw.name, path], check=True)


def tools():
    return dict(os.environ, PATH=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def add(host, name="linux", agent=True, macs=(), fio=None):
    """A Linux guest on @host, defined but off. Before the daemon starts."""
    tap.requires("mkfs.ext4", "e2fsck", "dumpe2fs", "debugfs")
    image = boot_image(host.site.build)
    made = LinuxGuest(str(uuid.uuid4()), name, os.path.join(host.folder, f"{name}.sock"))
    boot, data = (os.path.join(host.folder, "disks", f"{name}-{target}.qcow2") for target in ("vda", "vdb"))
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", image, boot], check=True)
    make_data_disk(data, fio)
    disks = "".join(guests.DISK.format(format="qcow2", path=path, target=target, bus="virtio", cache="default", order=order)
                    for order, (path, target) in enumerate(((boot, "vda"), (data, "vdb")), 1))
    xml = os.path.join(host.folder, "disks", f"{name}.xml")
    with open(xml, "w", encoding="utf-8") as file:
        file.write(DOMAIN.format(name=name, uuid=made.uuid, emulator=guests.EMULATOR, disks=disks, control=made.control,
                                 interfaces="".join(INTERFACE.format(mac=mac) for mac in macs), channel=CHANNEL if agent else "",
                                 serial=os.path.join(host.folder, "disks", f"{name}.serial")))
    host.virsh("define", xml)
    return made


def log_of(host, name="linux"):
    return LinuxLog(host.serial(name).path)


@dataclass
class FileSystem:
    """What is found on a disk with ext4."""
    clean: bool   # nothing has to be recovered from the journal, and e2fsck finds nothing
    first: str
    second: str
    said: str


def look_at(path):
    """The file system on the qcow2 disk at @path, looked at in a copy."""
    with tempfile.TemporaryDirectory(prefix="vr-") as folder:
        raw = os.path.join(folder, "raw")
        subprocess.run(["qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", path, raw], check=True)

        def run(*command):
            return subprocess.run([*command], capture_output=True, text=True, check=False, env=tools())

        head = run("dumpe2fs", "-h", raw)
        assert head.returncode == 0, head.stderr
        features = next(line for line in head.stdout.splitlines() if line.startswith("Filesystem features:")).split()
        check = run("e2fsck", "-f", "-n", raw)
        first, second = (run("debugfs", "-R", f"cat /{name}", raw).stdout.strip() for name in ("first", "second"))
        return FileSystem("needs_recovery" not in features and check.returncode == 0, first, second,
                          f"{' '.join(features[2:])}; {check.stdout}")


@contextlib.contextmanager
def replicating_pair(build, additional="interval=1;journal=1h;consistent=5s", libvirtd=False, agent=True,
                     macs=(), name="linux", fio=None, **settings):
    """(primary, replica, guest): a running Linux guest that replicates, its first copy complete and one cycle received."""
    with hosts.Site(build) as site:
        primary, replica = site.host("p", libvirtd=libvirtd), site.host("r", libvirtd=libvirtd)
        guest = add(primary, name, agent=agent, macs=macs, fio=fio)
        primary.start()
        replica.start()
        replica.enable_server(primary.name)
        primary.power(guest.uuid, hosts.POWER_ON)
        log_of(primary, name).wait("WROTE", 120)
        if agent:
            # libvirt 9.0 overlooks an agent that appears while a backup job runs
            hosts.wait_for(guest.agent_listens, "the guest's agent")
        primary.create_relationship(guest.uuid, replica, additional, **settings)
        primary.start_replication(guest.uuid)
        primary.wait_state(guest.uuid, hosts.REPLICATING, 120)
        replica.wait_state(guest.uuid, hosts.REPLICATING)
        replica.wait_replication(guest.uuid)
        yield primary, replica, guest
