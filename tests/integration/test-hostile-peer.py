#!/usr/bin/python3
"""A peer with a valid certificate that means harm: what it sends is refused, or made harmless."""

import json
import os
import random
import subprocess
import sys
import threading
import uuid as uuids

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402
from peer import Peer  # noqa: E402
from wsman_client import EmbeddedInstance  # noqa: E402

BUILD = sys.argv[1]

DOMAIN = """<domain type='qemu'{attributes}>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>16</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    {os}
  </os>
  {top}
  <devices>
    {emulator}
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/var/lib/libvirt/images/guest.qcow2'/>
      {disk}
      <target dev='vda' bus='virtio'/>
    </disk>
    {devices}
  </devices>
  {end}
</domain>
"""

# What must not be in the definition made from it, for each place in the XML where something harmful may stand: (name, place, XML, words)
HARM = [
    ("qemu-commandline", "end", "<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
     "<qemu:arg value='-sandbox'/><qemu:arg value='off'/></qemu:commandline>", ["commandline", "sandbox"]),
    ("qemu-override", "end", "<qemu:override xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><qemu:device alias='x'>"
     "<qemu:frontend><qemu:property name='y' type='string' value='evil'/></qemu:frontend></qemu:device></qemu:override>", ["override", "evil"]),
    ("emulator", "emulator", "<emulator>/tmp/evil</emulator>", ["evil"]),
    ("loader", "os", "<loader readonly='yes' type='pflash'>/tmp/evil</loader>", ["evil"]),
    ("nvram-template", "os", "<nvram template='/etc/evil'>/etc/evil</nvram>", ["evil"]),
    ("kernel", "os", "<kernel>/boot/evil</kernel><initrd>/boot/evil</initrd><cmdline>evil</cmdline>", ["evil"]),
    ("firmware-config", "top", "<sysinfo type='fwcfg'><entry name='opt/x' file='/etc/evil'/></sysinfo>", ["evil"]),
    ("seclabel", "end", "<seclabel type='none'/>", ["seclabel"]),
    ("static-seclabel", "end", "<seclabel type='static' model='dac' relabel='yes'><label>+0:+0</label></seclabel>", ["seclabel", "+0"]),
    ("disk-seclabel", "disk", "<backingStore type='file'><format type='raw'/><source file='/etc/evil'>"
     "<seclabel model='dac' relabel='no'/></source></backingStore>", ["seclabel", "evil"]),
    ("host-pci-device", "devices", "<hostdev mode='subsystem' type='pci' managed='yes'><source>"
     "<address domain='0' bus='0' slot='1' function='0'/></source></hostdev>", ["hostdev"]),
    ("host-usb-device", "devices", "<hostdev mode='subsystem' type='usb'><source><vendor id='0x1'/><product id='0x2'/></source></hostdev>", ["hostdev"]),
    ("host-folder", "devices", "<filesystem type='mount' accessmode='passthrough'><source dir='/'/><target dir='evil'/></filesystem>",
     ["filesystem", "evil"]),
    ("interface-script", "devices", "<interface type='ethernet'><script path='/tmp/evil'/><target dev='evil'/></interface>", ["evil", "script"]),
    ("host-interface", "devices", "<interface type='direct'><source dev='eth0' mode='passthrough'/></interface>", ["eth0", "passthrough"]),
    ("vhost-user", "devices", "<interface type='vhostuser'><source type='unix' path='/tmp/evil' mode='client'/></interface>", ["evil"]),
    ("shared-memory", "top", "<memoryBacking><source type='file'/><access mode='shared'/></memoryBacking>", ["memorybacking", "shared"]),
    ("shmem", "devices", "<shmem name='evil'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>", ["shmem", "evil"]),
    ("foreign-disk", "devices", "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/etc/evil'/>"
     "<target dev='vdb' bus='virtio'/></disk>", ["evil", "vdb"]),
    ("block-disk", "devices", "<disk type='block' device='disk'><source dev='/dev/sda'/><target dev='vdc' bus='virtio'/></disk>", ["/dev/sda"]),
    ("network-disk", "devices", "<disk type='network' device='disk'><source protocol='nbd' name='evil'><host name='evil' port='1'/></source>"
     "<target dev='vdd' bus='virtio'/></disk>", ["evil"]),
    ("cdrom-file", "devices", "<disk type='file' device='cdrom'><source file='/etc/evil'/><target dev='sda' bus='sata'/><readonly/></disk>",
     ["evil"]),
    ("floppy-folder", "devices", "<disk type='dir' device='floppy'><source dir='/etc/evil'/><target dev='fda'/><readonly/></disk>", ["evil"]),
    ("listening-screen", "devices", "<graphics type='vnc' port='5999' listen='0.0.0.0' passwd='evil'/>", ["0.0.0.0", "evil"]),
    ("screen-socket", "devices", "<graphics type='vnc' socket='/tmp/evil'/>", ["evil"]),
    ("serial-file", "devices", "<serial type='file'><source path='/etc/cron.d/evil'/><target port='0'/></serial>", ["evil"]),
    ("serial-listener", "devices", "<serial type='tcp'><source mode='bind' host='0.0.0.0' service='7777'/><target port='0'/></serial>",
     ["0.0.0.0", "7777"]),
    ("serial-device", "devices", "<serial type='dev'><source path='/dev/mem'/><target port='0'/></serial>", ["/dev/mem"]),
    ("serial-log", "devices", "<serial type='pty'><log file='/etc/evil' append='on'/><target port='0'/></serial>", ["evil"]),
    ("channel-socket", "devices", "<channel type='unix'><source mode='bind' path='/tmp/evil'/><target type='virtio' name='x.y.z'/></channel>",
     ["evil"]),
    ("random-device", "devices", "<rng model='virtio'><backend model='random'>/dev/mem</backend></rng>", ["/dev/mem"]),
    ("tpm-passthrough", "devices", "<tpm model='tpm-tis'><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>", ["tpm0", "passthrough"]),
    ("smartcard", "devices", "<smartcard mode='host-certificates'><certificate>evil</certificate><certificate>evil</certificate>"
     "<certificate>evil</certificate><database>/etc/evil</database></smartcard>", ["evil"]),
    ("redirected-device", "devices", "<redirdev bus='usb' type='tcp'><source mode='connect' host='evil' service='4000'/></redirdev>", ["evil"]),
    ("metadata", "top", "<metadata><x:evil xmlns:x='urn:evil'/></metadata>", ["evil"]),
    ("resource-partition", "top", "<resource><partition>/evil</partition></resource>", ["evil"]),
    ("id-map", "top", "<idmap><uid start='0' target='0' count='1'/><gid start='0' target='0' count='1'/></idmap>", ["idmap"]),
]


def harmful_xml(place, text, name, uuid):
    parts = dict.fromkeys(("attributes", "os", "top", "emulator", "disk", "devices", "end"), "")
    parts[place] = text
    return DOMAIN.format(name=name, uuid=uuid, **parts)


class Scene:
    """A replica server that knows host "good"; host "other" is allowed too, "stranger" is not."""

    def __enter__(self):
        self.site = hosts.Site(BUILD)
        self.site.__enter__()
        self.replica = self.site.host("r")
        for name in ("good", "other", "stranger"):
            subprocess.run([os.path.join(hosts.HERE, "make-certificates"), self.site.certificates, name], check=True)
        self.local = self.replica.add_guest(name="local", sizes=(2**20,), slots=64)
        self.replica.start()
        self.replica.enable_server()
        for name in ("good", "other"):
            storage = os.path.join(self.replica.folder, f"storage-{name}")
            os.mkdir(storage)
            self.replica.allow(name, storage, name)
        return self

    def __exit__(self, *what):
        return self.site.__exit__(*what)

    def peer(self, name):
        return Peer(self.site.certificates, name, self.replica.port())


def accepted(answer):
    return answer[0] == 200


def expect_refused(answer, *codes):
    status, text = answer
    assert 400 <= status < 600, f"status {status}: {text}"
    assert isinstance(text, dict) and text.get("error"), f"no reason is given: {text}"
    if codes:
        assert text["code"] in codes, text


def test_harmful_domain_xml():
    with Scene() as scene:
        peer = scene.peer("good")
        # The plain domain is accepted, or the cases below would prove nothing
        uuid = str(uuids.uuid4())
        answer = peer.offer(uuid, harmful_xml("top", "", "plain", uuid), name="plain")
        assert accepted(answer), answer
        assert scene.replica.has_domain("plain")
        failures = []
        for i, (case, place, text, words) in enumerate(HARM):
            name = f"guest{i}"
            uuid = str(uuids.uuid4())
            answer = peer.offer(uuid, harmful_xml(place, text, name, uuid), name=name)
            if not accepted(answer):
                expect_refused(answer)
                assert not scene.replica.has_domain(name), f"{case}: refused, and yet defined"
                continue
            path = os.path.join(scene.replica.folder, f"libvirt/etc/qemu/{name}.xml")
            with open(path, encoding="utf-8") as file:
                made = file.read().lower()
            left = [word for word in words if word.lower() in made]
            if left:
                failures.append(f"{case}: {left} is in the definition: {made}")
            for image in scene.replica.disk_paths(name):
                assert image.startswith(scene.replica.folder + "/storage-good/"), f"{case}: {image}"
        assert not failures, "\n".join(failures)
        assert scene.replica.process.poll() is None


def test_xml_bombs_and_garbage():
    with Scene() as scene:
        peer = scene.peer("good")
        plain = harmful_xml("top", "", "bomb", str(uuids.uuid4()))
        entities = "".join(f"<!ENTITY e{i} '" + f"&e{i - 1};" * 10 + "'>" for i in range(1, 10))
        for i, text in enumerate((f"<!DOCTYPE d [<!ENTITY e0 'x'>{entities}]>" + plain.replace("<vcpu>1", "<description>&e9;</description><vcpu>1"),
                     "<!DOCTYPE d [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>" + plain.replace("bomb", "&e;"),
                     "<a>" * 100000, "x", "<domain/>", plain[:-20], "\x01" + plain,
                     plain.replace("</devices>", "<sound/>" * 50000 + "</devices>"))):
            answer = peer.offer(str(uuids.uuid4()), text, name=f"bomb{i}")
            if accepted(answer):
                made = open(os.path.join(scene.replica.folder, f"libvirt/etc/qemu/bomb{i}.xml"), "rb").read()
                assert len(made) < 10000 and b"root:" not in made and b"xxxx" not in made, made
            else:
                expect_refused(answer)
                assert not scene.replica.has_domain(f"bomb{i}")
        assert accepted(peer.hello())


def test_only_authorized_hosts():
    with Scene() as scene:
        assert accepted(scene.peer("good").hello())
        expect_refused(scene.peer("stranger").hello(), "denied")
        uuid = str(uuids.uuid4())
        expect_refused(scene.peer("stranger").offer(uuid, harmful_xml("top", "", "x", uuid)), "denied")
        try:
            answer = scene.peer(None).hello()  # no certificate at all
        except OSError:
            pass
        else:
            raise AssertionError(f"answered a peer without a certificate: {answer}")


def test_relationships_of_another_host():
    with Scene() as scene:
        good, other = scene.peer("good"), scene.peer("other")
        uuid = str(uuids.uuid4())
        xml = harmful_xml("top", "", "mine", uuid)
        assert accepted(good.offer(uuid, xml, name="mine"))
        expect_refused(other.position(uuid), "denied")
        expect_refused(other.remove(uuid), "denied")
        expect_refused(other.offer(uuid, xml, name="mine"), "denied")
        expect_refused(other.offer(uuid, xml, name="mine", method="PUT"), "denied")
        expect_refused(other.send_log(uuid, b"x" * 4096), "denied")
        assert accepted(good.position(uuid))


def test_a_local_vm_is_not_taken_over():
    with Scene() as scene:
        peer = scene.peer("good")
        before = open(os.path.join(scene.replica.folder, "libvirt/etc/qemu/local.xml"), "rb").read()
        expect_refused(peer.offer(scene.local.uuid, harmful_xml("top", "", "other-name", scene.local.uuid), name="other-name"))
        uuid = str(uuids.uuid4())
        expect_refused(peer.offer(uuid, harmful_xml("top", "", "local", uuid), name="local"))
        expect_refused(peer.remove(scene.local.uuid))
        assert open(os.path.join(scene.replica.folder, "libvirt/etc/qemu/local.xml"), "rb").read() == before
        assert os.path.exists(scene.local.disks[0])


def test_a_local_vm_only_by_consent():
    """Its administrator says that it may become a replica, and to whom."""
    with Scene() as scene:
        good, other, stranger, uuid = scene.peer("good"), scene.peer("other"), scene.peer("stranger"), scene.local.uuid
        xml = harmful_xml("devices", HARM[0][2], "local", uuid)

        def offer(peer, **changes):
            return peer.offer(uuid, xml, name="local", **changes)

        def untouched():
            return scene.replica.disk_paths("local") == scene.local.disks and scene.replica.state(uuid) == hosts.WAITING_INITIAL

        scene.replica.change_state(uuid, 2)
        expect_refused(offer(stranger), "denied")
        expect_refused(offer(good, disks=[{"id": "vda", "size_bytes": 2**21}]))
        expect_refused(offer(good, disks=[{"id": "vda", "size_bytes": 2**20}, {"id": "vdb", "size_bytes": 2**20}]))
        expect_refused(offer(good, disks=[{"id": "vdb", "size_bytes": 2**20}]))
        expect_refused(good.offer(uuid, "<domain/>", name="local"))
        expect_refused(good.offer(uuid, harmful_xml(*HARM[10][1:3], "local", uuid), name="local"))  # a device of the host
        for peer in good, other:  # nothing else can be asked of it
            expect_refused(peer.position(uuid), "denied")
            expect_refused(peer.remove(uuid), "denied")
            expect_refused(peer.send_log(uuid, b"x" * 4096, kind=2), "denied")
            expect_refused(offer(peer, method="PUT"), "denied")
            expect_refused(peer.request("GET", f"/virt-replica/v1/relationships/{uuid}/hashes/vda?offset=0&length=65536"), "denied")
            expect_refused(peer.request("GET", f"/virt-replica/v1/relationships/{uuid}/changes/vda?offset=0&length=65536"), "denied")
        assert untouched()
        scene.replica.call("SetAuthorizationEntry", ComputerSystem=scene.replica.vm_epr(uuid), AuthorizationEntry=EmbeddedInstance(
            "Msvm_ReplicationAuthorizationSettingData", {"AllowedPrimaryHostSystem": "good"}))
        expect_refused(offer(other), "denied")
        expect_refused(good.position(uuid), "denied")
        expect_refused(good.send_log(uuid, b"x" * 4096, kind=2), "denied")
        assert untouched()
        lineage = str(uuids.uuid4())
        answer = offer(good, lineage=lineage)
        assert accepted(answer) and answer[1]["seeded"], answer
        assert scene.replica.disk_paths("local") != scene.local.disks
        expect_refused(offer(other, lineage=lineage), "denied")
        expect_refused(other.remove(uuid), "denied")
        with open(os.path.join(scene.replica.folder, "libvirt/etc/qemu/local.xml"), encoding="utf-8") as file:
            assert "sandbox" not in file.read()
        assert accepted(good.remove(uuid))
        assert scene.replica.disk_paths("local") == scene.local.disks and os.path.exists(scene.local.disks[0])
        assert not os.listdir(os.path.join(scene.replica.folder, "storage-good"))


def test_path_tricks():
    with Scene() as scene:
        peer = scene.peer("good")
        outside = sorted(os.listdir(scene.replica.folder))
        for name in ("../evil", "a/b", "/etc/evil", "..", ".", "evil\n", "x" * 300, ""):
            uuid = str(uuids.uuid4())
            answer = peer.offer(uuid, harmful_xml("top", "", "x", uuid), name=name)
            if not accepted(answer):
                expect_refused(answer)
        for disk in ("../vda", "..", "a/b", "/etc/evil", "", ".hidden", "v a", "v\n", "x" * 300):
            uuid = str(uuids.uuid4())
            expect_refused(peer.offer(uuid, harmful_xml("top", "", "tricky", uuid), name="tricky",
                                      disks=[{"id": disk, "size_bytes": 2**20}]))
            assert not scene.replica.has_domain("tricky")
        uuid = str(uuids.uuid4())
        expect_refused(peer.offer(uuid, harmful_xml("top", "", "tricky", uuid), name="tricky",
                                  disks=[{"id": f"vd{i}", "size_bytes": 2**20} for i in range(65)]))
        assert not scene.replica.has_domain("tricky")
        for path in ("..", "relationships/..", "relationships/../hello", "relationships/%2e%2e", "relationships/x/logs/1",
                     f"relationships/{uuids.uuid4()}/../hello", "relationships/" + str(uuids.uuid4()).upper()):
            expect_refused(peer.request("GET", "/virt-replica/v1/" + path))
        assert sorted(os.listdir(scene.replica.folder)) == outside
        assert not os.path.exists("/etc/evil")


def test_logs_of_nonsense():
    with Scene() as scene:
        peer = scene.peer("good")
        uuid = str(uuids.uuid4())
        assert accepted(peer.offer(uuid, harmful_xml("top", "", "victim", uuid), name="victim"))
        before = peer.position(uuid)
        for length in (0, 1, 100, 5000, 3 * 2**20):
            for kind in (1, 2, 3):
                expect_refused(peer.send_log(uuid, random.randbytes(length), kind=kind))
        expect_refused(peer.send_log(uuid, b"", kind=99))
        expect_refused(peer.send_log(uuid, b"", lineage="x"))
        expect_refused(peer.send_log(uuid, b"", X_Log_Age_Usec="-1"))
        expect_refused(peer.send_log(uuid, b"", X_Log_Offset="999999999999"))
        assert peer.position(uuid) == before
        expect_refused(peer.send_log(str(uuids.uuid4()), b"x"))


def change_limits(host, primary, text):
    host.call("ModifyAuthorizationEntry", AuthorizationEntry=EmbeddedInstance("Msvm_ReplicationAuthorizationSettingData", {
        "AllowedPrimaryHostSystem": primary, "AdditionalSettings": text}))


def test_limits_of_an_entry_hold_for_offers():
    with Scene() as scene:
        peer, other = scene.peer("good"), scene.peer("other")

        def offer(size=2**20, by=peer):
            uuid = str(uuids.uuid4())
            answer = by.offer(uuid, harmful_xml("top", "", f"guest-{uuid}", uuid), name=f"guest-{uuid}",
                              disks=[{"id": "vda", "size_bytes": size}])
            if not accepted(answer):
                assert not scene.replica.has_domain(f"guest-{uuid}")
                assert uuid not in os.listdir(os.path.join(scene.replica.folder, f"storage-{by.name}"))
            return uuid, answer

        for wrong in ("vms=0", "vms=x", "size=1X", "disks=1", "vms"):
            result = scene.replica.call("ModifyAuthorizationEntry", want=32773, AuthorizationEntry=EmbeddedInstance(
                "Msvm_ReplicationAuthorizationSettingData", {"AllowedPrimaryHostSystem": "good", "AdditionalSettings": wrong}))
            assert "AdditionalSettings" in result.message, result.message
        change_limits(scene.replica, "GOOD", "vms=2;size=8M")
        first, answer = offer()
        assert accepted(answer), answer
        _, answer = offer(size=8 * 2**20)
        expect_refused(answer, "no-space")
        assert "--max-size" in answer[1]["error"] and "'good'" in answer[1]["error"], answer
        _, answer = offer(size=7 * 2**20)
        assert accepted(answer), answer
        _, answer = offer()
        expect_refused(answer, "no-space")
        assert "--max-vms" in answer[1]["error"], answer
        assert accepted(offer(size=2**40, by=other)[1]), "another entry's limit was taken"
        change_limits(scene.replica, "good", "vms=2;size=1G")
        expect_refused(offer()[1], "no-space")
        assert accepted(peer.remove(first))
        assert accepted(offer()[1])
        change_limits(scene.replica, "good", "")
        assert accepted(offer(size=2**40)[1])


def grow(primary, guest, size):
    """The guest's second disk to @size bytes, while it is off."""
    subprocess.run(["qemu-img", "resize", "-q", "-f", "qcow2", guest.disks[1], str(size)], check=True)


def wait_error(host, uuid, word):
    def look():
        return next((line for line in host.log_lines() if word in line), None)
    return hosts.wait_for(look, f"'{word}' in the log of {host.name}", 60)


def held_back(primary, replica, uuid, word, mend):
    """Replication stops, both hosts say why, and goes on by itself after @mend()."""
    for host in (primary, replica):
        wait_error(host, uuid, word)
    before = replica.replicated(uuid)
    assert primary.state(uuid) in (hosts.REPLICATING, hosts.WAITING_INITIAL, hosts.RESYNCHRONIZING), primary.state(uuid)
    mend()
    hosts.wait_for(lambda: replica.replicated(uuid) not in (None, before), "replication to go on by itself", 60)
    primary.wait_state(uuid, hosts.REPLICATING)
    replica.wait_state(uuid, hosts.REPLICATING)


def test_a_staging_limit_holds_cycles_back_until_it_is_raised():
    with hosts.replicating_pair(BUILD, sizes=(16 * 2**20, 16 * 2**20)) as (primary, replica, guest):
        change_limits(replica, "p", "staging=1K")
        held_back(primary, replica, guest.uuid, "--max-staging", lambda: change_limits(replica, "p", "staging=64M"))
        replica.wait_replication(guest.uuid, 2)
        replica.failover(guest.uuid)
        assert replica.check_disks().whole


def test_a_size_limit_holds_growth_back_until_it_is_raised():
    with hosts.replicating_pair(BUILD, sizes=(16 * 2**20, 16 * 2**20)) as (primary, replica, guest):
        change_limits(replica, "p", "size=32M")
        primary.power(guest.uuid, hosts.POWER_OFF)
        hosts.wait_for(lambda: primary.vm(guest.uuid).number("EnabledState") == hosts.POWER_OFF, "the guest to be off")
        primary.stop()
        grow(primary, guest, 24 * 2**20)
        primary.start()
        primary.power(guest.uuid, hosts.POWER_ON)
        held_back(primary, replica, guest.uuid, "--max-size", lambda: change_limits(replica, "p", "size=40M"))
        assert int(json.loads(subprocess.run(["qemu-img", "info", "-U", "--output=json", replica.disk_paths()[1]], check=True,
                                             capture_output=True).stdout)["virtual-size"]) <= 24 * 2**20


def set_reserve(host, size):
    """Restarts the host's daemon with another storage-reserve."""
    host.stop()
    with open(host.config, encoding="utf-8") as file:
        lines = [line for line in file if not line.startswith("storage-reserve=")]
    lines.insert(lines.index("[replication]\n") + 1, f"storage-reserve={size}\n")
    with open(host.config, "w", encoding="utf-8") as file:
        file.writelines(lines)
    host.start()


def test_a_first_copy_leaves_the_reserve_free():
    """The reserve is above what is free, as if the disk were full."""
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        guest = primary.add_guest(sizes=(16 * 2**20, 16 * 2**20))
        primary.start()
        replica.start()
        replica.enable_server("p")
        set_reserve(replica, "4000000G")
        primary.power(guest.uuid, hosts.POWER_ON)
        primary.create_relationship(guest.uuid, replica)
        starting = threading.Thread(target=primary.start_replication, args=(guest.uuid,))  # its job lasts as long as the copy
        starting.start()
        held_back(primary, replica, guest.uuid, "storage-reserve", lambda: set_reserve(replica, "1M"))
        starting.join()
        replica.wait_replication(guest.uuid)
        refusals = sum("storage-reserve" in line for line in primary.log_lines())
        set_reserve(replica, "4000000G")  # a cycle, too
        hosts.wait_for(lambda: sum("storage-reserve" in line for line in primary.log_lines()) > refusals, "another refusal", 60)
        before = replica.replicated(guest.uuid)
        set_reserve(replica, "1M")
        replica.wait_replication(guest.uuid, 2)
        assert replica.replicated(guest.uuid) != before
        replica.failover(guest.uuid)
        assert replica.check_disks().whole


def test_a_qcow2_header_written_by_the_guest_stays_data():
    """The guest writes a qcow2 header that names a host file as backing file. Whoever probes formats would show it that file."""
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        secret = os.path.join(replica.folder, "secret")
        with open(secret, "wb") as file:
            file.write(b"SECRET" * 20000)
        guest = primary.add_guest(sizes=(64 * 2**20, 64 * 2**20))
        header = os.path.join(site.folder, "header.qcow2")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", header, "1M"], check=True)
        with open(header, "rb") as file:
            start = file.read(4096)
        assert secret.encode() in start
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -s {header} 0 4096", guest.disks[1]], check=True,
                       stdout=subprocess.DEVNULL)
        primary.start()
        replica.start()
        replica.enable_server("p")
        primary.power(guest.uuid, hosts.POWER_ON)
        primary.create_relationship(guest.uuid, replica)
        primary.start_replication(guest.uuid)
        replica.wait_state(guest.uuid, hosts.REPLICATING, 120)
        replica.wait_replication(guest.uuid)
        replica.failover(guest.uuid)
        for disk in replica.domain_xml().iterfind("devices/disk"):
            assert disk.find("driver").get("type") == "qcow2", "a format is not named"
        paths = replica.disk_paths()
        chain = subprocess.run(["qemu-img", "info", "-U", "--backing-chain", "--output=json", paths[1]], check=True,
                               capture_output=True, text=True).stdout
        assert secret not in chain, chain
        copy = os.path.join(site.folder, "copy.raw")
        subprocess.run(["qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", paths[1], copy], check=True)
        with open(copy, "rb") as file:
            assert file.read(4096) == start
        replica.power(guest.uuid, hosts.POWER_ON)
        assert replica.serial().verdict() >= 0


if __name__ == "__main__":
    tap.run()
