"""Two hosts: one with the system libvirt, whose daemon is root and whose QEMU runs as a user of its own; the other embedded, of an
ordinary user. For use within in-private-host only, since the libvirtd that is started here uses its usual folders."""

import contextlib
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402

ORDINARY = "nobody"
QEMU_USER = "libvirt-qemu"


class SystemHost(hosts.Host):
    """A host of root. virt-replicad makes its folders itself; those above them are the administrator's."""

    def __init__(self, site, name):
        super().__init__(site, name, libvirtd=True)
        for made in ("state", "run", "scratch", "storage"):
            os.rmdir(os.path.join(self.folder, made))
        for folder in (site.folder, self.folder, os.path.join(self.folder, "disks")):
            os.chmod(folder, 0o711)

    def start_libvirtd(self):
        self.uri = "qemu:///system"
        self.domain_folder = "/etc/libvirt/qemu"
        for program, path in (("virtlogd", "/run/libvirt/virtlogd-sock"), ("libvirtd", "/run/libvirt/libvirt-sock")):
            with open(os.path.join(self.folder, program + ".log"), "ab") as log:
                self.libvirtd = subprocess.Popen([program], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            hosts.wait_for(lambda path=path: hosts.listens(path), program, hosts.HOST_STARTS_SEC)

    def close(self):
        """The next host of this kind has the same folders of libvirt, and must find them empty."""
        try:
            self.stop()
            for name in self.virsh("list", "--name").split():
                self.virsh("destroy", name)
            for name in self.virsh("list", "--all", "--name").split():
                self.virsh("undefine", "--nvram", "--checkpoints-metadata", name)
        finally:
            super().close()

    def check(self):
        """virt-replicad --check: (exit code, what it said)."""
        done = subprocess.run([self.program, "--config", self.config, "--check"], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def start_vm(self, name="ledger"):
        """virsh start: what it complained of, None when it started."""
        done = subprocess.run(["virsh", "-q", "-c", self.uri, "start", name], capture_output=True, text=True, check=False)
        return done.stderr if done.returncode != 0 else None


class OrdinaryHost(hosts.Host):
    """A host of an ordinary user, with an embedded libvirt."""

    def __init__(self, site, name):
        super().__init__(site, name)
        self.cache = None  # its files belong to another user
        rights = "-all,+dac_read_search"  # to read the checkout, wherever it is
        self.run_as = ["setpriv", "--reuid", ORDINARY, "--regid", "nogroup", "--clear-groups", "--inh-caps=" + rights,
                       "--ambient-caps=" + rights, "--bounding-set=" + rights, "env", f"HOME={self.folder}",
                       f"TMPDIR={self.folder}", f"XDG_RUNTIME_DIR={self.folder}/run", f"XDG_CACHE_HOME={self.folder}/cache"]
        for folder in (site.folder, site.certificates):
            os.chmod(folder, 0o711)
        self.give(self.folder, *(os.path.join(site.certificates, file) for file in ("ca.pem", f"{name}.pem", f"{name}-key.pem")))

    @staticmethod
    def give(*paths):
        """They, and everything in them, belong to the user."""
        subprocess.run(["chown", "-R", ORDINARY + ":nogroup", *paths], check=True)

    def virsh(self, *arguments):
        self.give(self.folder)  # what add_guest() made
        return super().virsh(*arguments)


@contextlib.contextmanager
def two_hosts(build):
    """(system, ordinary): two hosts whose daemons are not running yet."""
    with hosts.Site(build) as site:
        for kind, name in ((SystemHost, "s"), (OrdinaryHost, "e")):
            subprocess.run([os.path.join(hosts.HERE, "make-certificates"), site.certificates, name], check=True)
            site.hosts[name] = kind(site, name)
        yield site.hosts["s"], site.hosts["e"]


__all__ = ["QEMU_USER", "two_hosts"]
