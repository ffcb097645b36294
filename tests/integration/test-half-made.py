#!/usr/bin/python3
"""kill -9 of the replica server at each durable step of making a replica and of dropping one, and of cleaning up after that.

After a start there is a whole replica or nothing of it, the VM can be offered again, and what is not the daemon's stays."""

import glob
import http.client
import os
import sys
import uuid as uuids

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402
from mortal import Mortal  # noqa: E402
from peer import Peer  # noqa: E402

BUILD = sys.argv[1]
STEPS_MAX = 200
DOMAIN = """<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>16</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
<source file='/x.qcow2'/><target dev='vda' bus='virtio'/></disk></devices></domain>"""


class Scene:
    """A replica server that can be made to die at a step of its own, and a peer that it knows."""

    def __enter__(self):
        self.site = hosts.Site(BUILD)
        self.site.__enter__()
        self.site.host("p")
        self.replica = self.site.host("r", libvirtd=True)
        self.mortal = Mortal(self.replica, BUILD)
        self.replica.start()
        self.replica.enable_server("p")
        self.uuid = str(uuids.uuid4())
        self.lineage = str(uuids.uuid4())
        self.name = "half"
        return self

    def __exit__(self, *what):
        return self.site.__exit__(*what)

    def peer(self):
        return Peer(self.site.certificates, "p", self.replica.port())

    def offer(self):
        return self.peer().offer(self.uuid, DOMAIN.format(name=self.name, uuid=self.uuid), name=self.name, lineage=self.lineage)

    def dies(self, step, act):
        """Does the daemon die when @act() is done with it and @step durable steps are allowed?"""
        self.mortal.arm(step)
        try:
            status, text = act()
            assert status == 200, text
        except (OSError, http.client.HTTPException):
            self.replica.process.wait(20)
        return self.mortal.has_died()

    def start(self, step):
        """Starts the daemon, which dies once at @step while it cleans up, if there are so many."""
        self.mortal.arm(step)
        try:
            self.replica.start()
        except AssertionError:
            assert self.replica.process.poll() is not None
        if self.mortal.has_died():
            self.replica.start()

    def traces(self):
        """All that there is of replicas, by name."""
        found = glob.glob(self.replica.storage + "/*") + glob.glob(self.replica.storage + "/.[!.]*")
        if self.replica.has_domain(self.name):
            found.append("domain " + self.name)
        return found

    def is_whole_or_gone(self):
        """True when whole."""
        status, text = self.peer().position(self.uuid)
        if status != 200:
            assert not self.traces(), self.traces()
            return False
        assert len(self.traces()) == 2, self.traces()
        assert os.path.exists(os.path.join(self.replica.storage, self.uuid, "disks/vda.qcow2"))
        return True


def test_a_death_while_a_replica_is_made():
    with Scene() as scene:
        for step in range(1, STEPS_MAX):
            if not scene.dies(step, scene.offer):
                break
            scene.start(1 + step % 11)
            if scene.is_whole_or_gone():
                assert scene.peer().remove(scene.uuid)[0] == 200
                assert not scene.is_whole_or_gone()
        else:
            raise AssertionError("it died at every step")
        print(f"# {step} steps")
        assert step > 10, "too few steps to be true"
        assert scene.is_whole_or_gone()


def test_a_death_while_a_replica_is_dropped():
    with Scene() as scene:
        for step in range(1, STEPS_MAX):
            status, text = scene.offer()
            assert status == 200, text
            if not scene.dies(step, lambda: scene.peer().remove(scene.uuid)):
                break
            scene.start(1 + step % 11)
            scene.is_whole_or_gone()
        else:
            raise AssertionError("it died at every step")
        print(f"# {step} steps")
        assert step > 10, "too few steps to be true"
        assert not scene.is_whole_or_gone()


def test_what_is_not_ours_stays():
    """Between the death and the next start somebody puts things of their own where the replica was to be."""
    with Scene() as scene:
        scene.replica.virsh("list")  # libvirt is there without the daemon
        folder = os.path.join(scene.replica.storage, scene.uuid)
        for step in range(1, STEPS_MAX):
            assert scene.dies(step, scene.offer), "it died at no step with its note written and no folder there"
            if not scene.traces():
                os.mkdir(folder)
                with open(os.path.join(folder, "precious"), "w", encoding="ascii") as file:
                    file.write("mine")
            image = os.path.join(scene.replica.folder, "disks/mine.qcow2")
            xml = DOMAIN.format(name="mine", uuid=scene.uuid).replace("/x.qcow2", image)
            theirs = not scene.replica.has_domain(scene.name)
            if theirs:
                path = os.path.join(scene.replica.folder, "mine.xml")
                with open(path, "w", encoding="utf-8") as file:
                    file.write(xml)
                scene.replica.virsh("define", path)
            precious = os.path.exists(os.path.join(folder, "precious"))
            scene.replica.start()
            if precious:
                assert os.path.exists(os.path.join(folder, "precious")), "a folder of somebody else was removed"
            if theirs:
                assert scene.replica.has_domain("mine"), "a VM of somebody else was undefined"
                assert scene.offer()[0] != 200
                scene.replica.virsh("undefine", "mine")
            if not theirs:
                break
            if precious:
                status, text = scene.offer()
                assert status != 200 and "earlier replica" in text["error"], text
                os.unlink(os.path.join(folder, "precious"))
                os.rmdir(folder)
            assert not scene.traces(), scene.traces()


if __name__ == "__main__":
    tap.run()
