"""Two hosts on one machine: each a folder with its own libvirt (an embedded one), disks, certificates and virt-replicad.

    with Site(build) as site:
        primary, replica = site.host("p"), site.host("r")
        guest = primary.add_guest()
        ...

The daemon is real, and so are QEMU and libvirt. Libvirt is embedded in the daemon, and then belongs to one process at a time, so that
while the daemon runs everything is asked of the daemon; or it is a libvirtd of the host's own (libvirtd=True), as in production.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "interop"))

import guest as guests  # noqa: E402
import tap  # noqa: E402
from wsman_client import EmbeddedInstance, Epr, Fault, JobFailed, WsmanClient, parse_cim_xml  # noqa: E402

JOB_STARTED = 4096
# Values of ReplicationState, ReplicationMode, EnabledState and RequestedState: those of Hyper-V Replica
DISABLED, READY, WAITING_INITIAL, REPLICATING, PREPARED, RECOVERED, COMMITTED, SUSPENDED, CRITICAL, \
    WAITING_RESYNC, RESYNCHRONIZING, RESYNC_SUSPENDED = range(12)
WAITING_RESYNC, RESYNCHRONIZING = 9, 10
MODE_NONE, MODE_PRIMARY, MODE_REPLICA = range(3)
POWER_ON, POWER_OFF = 2, 3
HOST_STARTS_SEC = 30
SANITIZERS_SAY = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", ": runtime error: ")

# A slow machine, or one with sanitizers in every program, gets more time
PATIENCE = float(os.environ.get("VR_TEST_PATIENCE", "1"))

CONFIG = """[host]
name={name}
uri={uri}
serial-log={folder}/serial

[paths]
state={folder}/state
run={folder}/run
scratch={folder}/scratch
scratch-max={scratch_max}

[replication]
address=127.0.0.1
port=0
ca={certificates}/ca.pem
certificate={certificates}/{name}.pem
key={certificates}/{name}-key.pem
workers=2

[log]
level=debug

[api]
socket={folder}/run/api.sock
"""
HTTPS = """address=127.0.0.1
https-port=0
certificate={certificates}/{name}.pem
key={certificates}/{name}-key.pem
password-file={folder}/passwd
"""


class Timeout(AssertionError):
    pass


def wait_for(claim, what, timeout=30, pause=0.05):
    """Until @claim() is true (its value is given back); it is asked often, since most of what is waited for is a file or a process.
    A claim that is in the way of what it waits for gets a longer @pause."""
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        value = claim()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Timeout(f"{what}: not within {timeout * PATIENCE:.0f} s")
        time.sleep(pause)


def listens(path):
    """Does somebody listen on this unix socket?"""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def private(path, flags):
    return os.open(path, flags, 0o600)


def hash_password(password):
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    return library.crypt(password.encode(), b"$6$rounds=1000$ledger").decode()


def processes(*words):
    """{pid: arguments} of the processes with all of @words somewhere in their command lines."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/cmdline", "rb") as file:
                text = file.read().decode("utf-8", "replace")
            if text and all(word in text for word in words):
                found[int(name)] = text.split("\0")
    return found


def is_gone(pid):
    """True when @pid ended, also as a zombie that nobody has waited for yet."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def kill(pid, number=signal.SIGKILL, timeout=20):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
    wait_for(lambda: is_gone(pid), f"end of process {pid}", timeout)


def show_threads(pid):
    """Where a process is stuck, if gdb is there to tell."""
    if shutil.which("gdb") is None:
        return
    done = subprocess.run(["gdb", "-p", str(pid), "-batch", "-ex", "thread apply all backtrace 16"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, errors="replace", check=False, timeout=60)
    for line in done.stdout.splitlines():
        if line.startswith(("#", "Thread")):
            print(f"# {line}", flush=True)


class Capabilities:
    """What libvirt found out of QEMU, kept from one host for the next: asking takes each new libvirt two seconds.
    Libvirt itself checks whether what it finds in its cache is still true."""

    kept = {}

    @classmethod
    def give(cls, cache):
        """To a host whose libvirt keeps its files in the folder @cache; when that one already has them, from there.
        None: neither."""
        if cache is None:
            return
        folder = os.path.join(cache, "qemu/capabilities")
        if cls.kept and not os.path.exists(folder):
            os.makedirs(folder, mode=0o700)
            for name, data in cls.kept.items():
                with open(os.path.join(folder, name), "wb", opener=private) as file:
                    file.write(data)
        elif not cls.kept and os.path.exists(folder):
            for name in os.listdir(folder):
                if name.endswith(".xml"):
                    with open(os.path.join(folder, name), "rb") as file:
                        cls.kept[name] = file.read()


class Site:
    """A private folder with hosts in it. Leaving it ends what was started in it, and fails when a daemon crashed on the way."""

    def __init__(self, build, keep=bool(os.environ.get("VR_TEST_KEEP"))):
        tap.requires("virsh", "qemu-system-x86_64", "qemu-img", "qemu-storage-daemon", "certtool")
        self.build = os.path.abspath(build)
        self.keep = keep
        self.hosts = {}
        self.folder = tempfile.mkdtemp(prefix="vr-")
        self.certificates = os.path.join(self.folder, "certs")
        self.ledger_program = os.path.join(self.build, "tests/guests/ledger.bin")

    def host(self, name, **options):
        """A new host whose daemon is not running yet."""
        subprocess.run([os.path.join(HERE, "make-certificates"), self.certificates, name], check=True)
        self.hosts[name] = Host(self, name, **options)
        return self.hosts[name]

    def __enter__(self):
        return self

    def __exit__(self, kind, value, _):
        complaints = []
        for host in self.hosts.values():
            try:
                host.close()
            except AssertionError as error:
                complaints.append(f"host {host.name}: {error}")
        for pid in processes(self.folder):
            with contextlib.suppress(Timeout, PermissionError):
                kill(pid)
        if kind is not None or complaints:
            for host in self.hosts.values():
                host.show_log()
        if self.keep:
            print(f"# kept: {self.folder}", flush=True)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
        if complaints and kind is None:
            raise AssertionError("; ".join(complaints))


class Host:
    """One host of a Site."""

    def __init__(self, site, name, scratch_max="256M", users=(), libvirtd=False):
        """@users: (name, role, password) of those who may use the API over HTTPS; without any it is off."""
        self.site = site
        self.name = name
        self.folder = os.path.join(site.folder, name)
        for sub in ("", "libvirt", "disks", "state", "run", "scratch", "serial", "storage"):
            os.makedirs(os.path.join(self.folder, sub), mode=0o700, exist_ok=True)
        self.libvirtd = self.cache = None
        if libvirtd:
            self.start_libvirtd()
        else:
            self.uri = f"qemu:///embed?root={self.folder}/libvirt"
            self.domain_folder = os.path.join(self.folder, "libvirt/etc/qemu")
            self.cache = os.path.join(self.folder, "libvirt/cache")
        self.socket = os.path.join(self.folder, "run/api.sock")
        self.storage = os.path.join(self.folder, "storage")
        self.config = os.path.join(self.folder, "virt-replicad.conf")
        self.log = os.path.join(self.folder, "log")
        self.program = os.path.join(site.build, "src/daemon/virt-replicad")
        self.process = None
        self.run_as = []  # first words of each command of this host
        self.guests = []
        if users:
            with open(os.path.join(self.folder, "passwd"), "w", opener=private, encoding="utf-8") as file:
                for user, role, password in users:
                    file.write(f"{user}:{role}:{hash_password(password)}\n")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write((CONFIG + HTTPS if users else CONFIG).format(
                name=name, uri=self.uri, folder=self.folder, certificates=site.certificates, scratch_max=scratch_max))

    def revive_libvirtd(self):
        """As a service manager does: libvirt 9.0 at times dies itself when QEMU is killed within a backup job."""
        if self.libvirtd is not None and self.libvirtd.poll() is not None:
            print(f"# libvirtd of {self.name} ended with {self.libvirtd.returncode} and is started again", flush=True)
            self.start_libvirtd()

    def start_libvirtd(self):
        """A session libvirtd with all its files in our folder."""
        tap.requires("libvirtd")
        places = {f"XDG_{what}": os.path.join(self.folder, "libvirt", what[:1].lower())
                  for what in ("RUNTIME_DIR", "CONFIG_HOME", "CACHE_HOME", "DATA_HOME")}
        for place in places.values():
            os.makedirs(place, mode=0o700, exist_ok=True)
        os.makedirs(os.path.join(places["XDG_CONFIG_HOME"], "libvirt"), exist_ok=True)
        with open(os.path.join(places["XDG_CONFIG_HOME"], "libvirt/qemu.conf"), "w", encoding="ascii") as file:
            file.write('stdio_handler = "file"\n')  # or it starts a virtlogd, which stays for two minutes
        path = os.path.join(places["XDG_RUNTIME_DIR"], "libvirt/libvirt-sock")
        self.uri = f"qemu:///session?socket={path}"
        self.domain_folder = os.path.join(places["XDG_CONFIG_HOME"], "libvirt/qemu")
        self.cache = os.path.join(places["XDG_CACHE_HOME"], "libvirt")
        Capabilities.give(self.cache)
        environment = dict(os.environ, PATH=os.environ.get("PATH", "") + ":/usr/sbin:/sbin", **places)
        with open(os.path.join(self.folder, "libvirtd.log"), "ab") as log:
            self.libvirtd = subprocess.Popen(["libvirtd"], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(lambda: listens(path), f"libvirtd of {self.name}", HOST_STARTS_SEC)

    # ---- the daemon ----

    def configure(self, group, **values):
        """Adds a group to the configuration file. Before the daemon starts."""
        with open(self.config, "a", encoding="utf-8") as file:
            file.write(f"\n[{group}]\n" + "".join(f"{name.replace('_', '-')}={value}\n" for name, value in values.items()))

    def start(self):
        """Starts virt-replicad and waits until its API answers."""
        assert self.process is None
        Capabilities.give(self.cache)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*self.run_as, self.program, "--config", self.config],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment())
        wait_for(self._answers, f"API of {self.name}", HOST_STARTS_SEC)

    @staticmethod
    def environment():
        """Sanitizers with less memory than they take by themselves: each program that the daemon starts begins with a copy of its tables."""
        return dict(os.environ, LSAN_OPTIONS=f"suppressions={HERE}/lsan.supp:print_suppressions=0",
                    ASAN_OPTIONS=f"suppressions={HERE}/asan.supp:quarantine_size_mb=16:malloc_context_size=5")

    def _answers(self):
        assert self.process.poll() is None, f"virt-replicad of {self.name} ended at start with {self.process.returncode}"
        return listens(self.socket)

    def stop(self):
        """A clean stop: SIGTERM. Fails when the daemon does not end well."""
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        try:
            code = process.wait(60 * PATIENCE)
        except subprocess.TimeoutExpired:
            show_threads(process.pid)
            process.kill()
            process.wait()
            raise AssertionError(f"virt-replicad of {self.name} did not stop on SIGTERM") from None
        assert code == 0 or self.leak_check_broke(), f"virt-replicad of {self.name} ended with {code}"

    def leak_check_broke(self):
        """The search for leaks at the end of a program stumbles at times over threads of libraries. That says nothing of the program."""
        broke = any("LeakSanitizer has encountered a fatal error" in line for line in self.log_lines()[-5:])
        if broke:
            print(f"# LeakSanitizer gave up on {self.name}: no word about leaks there", flush=True)
        return broke

    def kill(self):
        """The daemon dies without a word."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()

    def release(self):
        """What systemd runs after the daemon ended in any way: our jobs on guests are ended."""
        assert self.process is None
        with open(self.log, "ab") as log:
            done = subprocess.run([*self.run_as, self.program, "--config", self.config, "--release"],
                                  stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False, timeout=60 * PATIENCE, env=self.environment())
        assert done.returncode == 0 or self.leak_check_broke(), f"virt-replicad --release of {self.name} ended with {done.returncode}"

    def restart(self):
        self.stop()
        self.start()

    def close(self):
        """Ends everything of this host. Fails when the daemon had crashed or a sanitizer complained."""
        crashed = self.process is not None and self.process.poll() is not None
        try:
            assert not crashed, f"virt-replicad had ended with {crashed and self.process.returncode}"
            self.stop()
        finally:
            if self.libvirtd is not None:
                self.libvirtd.kill()
                self.libvirtd.wait()
            for pid in processes(self.folder):
                with contextlib.suppress(Timeout, PermissionError):
                    kill(pid)
        self.check_sanitizers()

    def check_sanitizers(self):
        lines = self.log_lines()
        for number, line in enumerate(lines):
            if any(word in line for word in SANITIZERS_SAY):
                print("\n".join("# " + more for more in lines[number:number + 40]), flush=True)
                raise AssertionError(line)

    def log_lines(self):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []

    def show_log(self, last=60):
        print(f"# ---- log of {self.name}, last lines", flush=True)
        for line in self.log_lines()[-last:]:
            print(f"# {line}")

    # ---- guests ----

    def virsh(self, *arguments):
        """Not while the daemon runs with an embedded libvirt, which belongs to one process at a time."""
        assert self.process is None or self.libvirtd is not None, "the daemon has this libvirt open"
        Capabilities.give(self.cache)
        done = subprocess.run([*self.run_as, "virsh", "-q", "-c", self.uri, *arguments], capture_output=True, text=True,
                              check=False)
        assert done.returncode == 0, f"virsh {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def add_guest(self, sizes=(64 * 2**20, 64 * 2**20), name="ledger", **options):
        """A ledger guest, defined but off. Before the daemon starts."""
        made = guests.make_guest(self.site.ledger_program, os.path.join(self.folder, "disks"), sizes, name, **options)
        self.virsh("define", made.xml)
        self.guests.append(made)
        return made

    def domain_xml(self, name="ledger"):
        """The persistent definition, as this host's libvirt keeps it in a file."""
        return ET.parse(os.path.join(self.domain_folder, f"{name}.xml"))

    def has_domain(self, name="ledger"):
        return os.path.exists(os.path.join(self.domain_folder, f"{name}.xml"))

    def disk_paths(self, name="ledger"):
        """Image of each disk, vda first, as the definition says now."""
        found = {}
        for disk in self.domain_xml(name).iterfind("devices/disk[@device='disk']"):
            found[disk.find("target").get("dev")] = disk.find("source").get("file")
        return [found[target] for target in sorted(found)]

    def serial(self, name="ledger"):
        port = self.domain_xml(name).find("devices/serial")
        assert port is not None and port.get("type") == "file", f"{name} on {self.name} has no serial port that goes to a file"
        return SerialLog(port.find("source").get("path"))

    def qemu(self, uuid):
        """Pid of the guest's QEMU, or None."""
        for pid, arguments in processes(self.folder, uuid).items():
            if "-uuid" in arguments and arguments[arguments.index("-uuid") + 1] == uuid and not is_gone(pid):
                return pid
        return None

    def kill_qemu(self, uuid):
        pid = self.qemu(uuid)
        assert pid is not None, f"no QEMU of {uuid} runs on {self.name}"
        kill(pid)

    def check_disks(self, name="ledger"):
        """The ledger in the images that the domain would start from now: a Verdict."""
        return guests.check_images(self.disk_paths(name))

    # ---- its API ----

    @property
    def api(self):
        return WsmanClient(f"unix:{self.socket}")

    def api_as(self, user, password):
        """The API over HTTPS."""
        return WsmanClient(f"https://127.0.0.1:{self.port('api')}", user=user, password=password,
                           ca_file=os.path.join(self.site.certificates, "ca.pem"))

    def port(self, listener="replication"):
        """Where its replica server listens, or its API over HTTPS ("api")."""
        def look():
            try:
                with open(os.path.join(self.folder, "run/ports"), encoding="ascii") as file:
                    ports = dict(line.strip().split("=", 1) for line in file if "=" in line)
            except FileNotFoundError:
                return None
            return int(ports.get(listener, 0))
        return wait_for(look, f"port '{listener}' of {self.name}")

    def vm(self, uuid):
        """Its Msvm_ComputerSystem; None when this host does not know it."""
        found = self.api.wql(f"SELECT * FROM Msvm_ComputerSystem WHERE Name = '{uuid.upper()}'")
        return found[0] if found else None

    def vm_epr(self, uuid):
        return Epr("Msvm_ComputerSystem", {"CreationClassName": "Msvm_ComputerSystem", "Name": uuid.upper()})

    def relationship(self, uuid, index=0):
        """@index 1: that of a replica with a third host."""
        for found in self.api.enumerate("Msvm_ReplicationRelationship"):
            if found["InstanceID"].upper() == f"MICROSOFT:{uuid.upper()}\\HVR\\{index}":
                return found
        return None

    @staticmethod
    def embedded_relationship(uuid, index):
        return EmbeddedInstance("Msvm_ReplicationRelationship", {"InstanceID": f"Microsoft:{uuid.upper()}\\HVR\\{index}"})

    def state(self, uuid, index=0):
        found = self.relationship(uuid, index)
        return found.number("ReplicationState") if found else DISABLED

    def wait_state(self, uuid, state, timeout=60, index=0):
        """Until the relationship is in @state, or one of them."""
        wanted = state if isinstance(state, (tuple, list)) else (state,)
        wait_for(lambda: self.state(uuid, index) in wanted,
                 f"state {state} of {uuid} on {self.name} (now {self.state(uuid, index)})", timeout)

    def health_issues(self, uuid, index=0):
        """What GetReplicationStatisticsEx finds wrong: a text."""
        found = self.call("GetReplicationStatisticsEx", 0, ComputerSystem=self.vm_epr(uuid),
                          ReplicationRelationship=self.embedded_relationship(uuid, index)).out.get("ReplicationHealthIssues") or []
        return "; ".join(parse_cim_xml(issue)[1]["Message"] for issue in (found if isinstance(found, list) else [found]))

    def call(self, method, want=(0, JOB_STARTED), timeout=60, **parameters):
        """A method of the replication service; waits for its job. The InvokeResult."""
        api = self.api
        result = api.invoke(api.enumerate("Msvm_ReplicationService")[0], method, parameters)
        wanted = want if isinstance(want, (tuple, list)) else (want,)
        assert result.return_value in wanted, f"{method} on {self.name}: {result.return_value}, {result.message}"
        if result.return_value == JOB_STARTED:
            api.wait_job(result, timeout * PATIENCE)
        return result

    def enable_server(self, *allowed):
        """Becomes a replica server that takes replicas from hosts named @allowed."""
        settings = self.api.enumerate("Msvm_ReplicationServiceSettingData")[0]
        self.call("ModifyServiceSettings", SettingData=EmbeddedInstance("Msvm_ReplicationServiceSettingData", {
            "InstanceID": settings["InstanceID"], "RecoveryServerEnabled": True, "AllowedAuthenticationType": 2}))
        for host in allowed:
            self.allow(host)

    def allow(self, host, storage=None, trust_group="test"):
        self.call("AddAuthorizationEntry", AuthorizationEntry=EmbeddedInstance("Msvm_ReplicationAuthorizationSettingData", {
            "AllowedPrimaryHostSystem": host, "TrustGroup": trust_group, "ReplicaStorageLocation": storage or self.storage}))

    def create_relationship(self, uuid, replica, additional="interval=1;journal=1h", want=(0, JOB_STARTED), **more):
        settings = {"RecoveryConnectionPoint": "localhost", "RecoveryServerPortNumber": replica.port(), "AuthenticationType": 2,
                    "CompressionEnabled": True, "ReplicationInterval": 30, "RecoveryHistory": 4,
                    "AdditionalSettings": additional}
        settings.update(more)
        return self.call("CreateReplicationRelationship", want, ComputerSystem=self.vm_epr(uuid),
                         ReplicationSettingData=EmbeddedInstance("Msvm_ReplicationSettingData", settings))

    def start_replication(self, uuid, want=(0, JOB_STARTED)):
        return self.call("StartReplication", want, ComputerSystem=self.vm_epr(uuid), InitialReplicationType=1,
                         InitialReplicationExportLocation=None, StartTime=None)

    def points(self, uuid):
        """Recovery points as Msvm_VirtualSystemSettingData, oldest first."""
        found = self.api.associators(self.vm_epr(uuid), "Msvm_SnapshotOfVirtualSystem", "Msvm_VirtualSystemSettingData")
        points = [point for point in found if point["VirtualSystemType"].startswith("Microsoft:Hyper-V:Snapshot:Replica:")]
        return sorted(points, key=lambda point: point["CreationTime"])

    def point_epr(self, point):
        return Epr("Msvm_VirtualSystemSettingData", {"InstanceID": point["InstanceID"]})

    def failover(self, uuid, point=None, want=JOB_STARTED, timeout=60):
        return self.call("InitiateFailover", want, timeout, ComputerSystem=self.vm_epr(uuid),
                         SnapshotSettingData=self.point_epr(point) if point is not None else None)

    def revert(self, uuid, want=(0, JOB_STARTED)):
        return self.call("RevertFailover", want, ComputerSystem=self.vm_epr(uuid))

    def reverse(self, uuid, replica, additional="interval=1;journal=1h", want=JOB_STARTED, timeout=120, **more):
        """Makes this host the primary and @replica its replica server."""
        settings = {"RecoveryConnectionPoint": "localhost", "RecoveryServerPortNumber": replica.port(), "AuthenticationType": 2,
                    "CompressionEnabled": True, "ReplicationInterval": 30, "RecoveryHistory": 4, "AdditionalSettings": additional}
        settings.update(more)
        return self.call("ReverseReplicationRelationship", want, timeout, ComputerSystem=self.vm_epr(uuid),
                         ReplicationSettingData=EmbeddedInstance("Msvm_ReplicationSettingData", settings))

    def commit(self, uuid, want=JOB_STARTED, timeout=120):
        return self.call("CommitFailover", want, timeout, ComputerSystem=self.vm_epr(uuid))

    def test(self, uuid, point=None, want=JOB_STARTED, timeout=60):
        """TestReplicaSystem: the UUID of the test VM, or None when it was refused."""
        result = self.call("TestReplicaSystem", want, timeout, ComputerSystem=self.vm_epr(uuid),
                           SnapshotSettingData=self.point_epr(point) if point is not None else None)
        made = result.out.get("ResultingSystem")
        return made.keys["Name"].lower() if made is not None else None

    def end_test(self, test_uuid, want=JOB_STARTED, timeout=60):
        """DestroySystem of a test VM, which must be off."""
        api = self.api
        service = api.enumerate("Msvm_VirtualSystemManagementService")[0]
        result = api.invoke(service, "DestroySystem", {"AffectedSystem": self.vm_epr(test_uuid)})
        assert result.return_value == want, f"DestroySystem: {result.return_value}, {result.message}"
        if result.return_value == JOB_STARTED:
            api.wait_job(result, timeout * PATIENCE)
        return result

    def power(self, uuid, requested, want=(0, JOB_STARTED)):
        """RequestStateChange: POWER_ON or POWER_OFF."""
        api = self.api
        result = api.invoke(self.vm_epr(uuid), "RequestStateChange", {"RequestedState": requested})
        wanted = want if isinstance(want, (tuple, list)) else (want,)
        assert result.return_value in wanted, f"RequestStateChange({requested}): {result.return_value}, {result.message}"
        if result.return_value == JOB_STARTED:
            api.wait_job(result, 60 * PATIENCE)
        return result

    def change_state(self, uuid, requested, want=(0, JOB_STARTED), index=0):
        """RequestReplicationStateChangeEx: 3 resumes, 7 suspends."""
        api = self.api
        parameters = {"RequestedState": requested}
        if index > 0:
            parameters["ReplicationRelationship"] = self.embedded_relationship(uuid, index)
        result = api.invoke(self.vm_epr(uuid), "RequestReplicationStateChangeEx", parameters)
        wanted = want if isinstance(want, (tuple, list)) else (want,)
        assert result.return_value in wanted, f"RequestReplicationStateChangeEx({requested}): {result.return_value}, {result.message}"
        if result.return_value == JOB_STARTED:
            api.wait_job(result, 60 * PATIENCE)
        return result

    def replicated(self, uuid, index=0):
        """LastReplicationTime as text of one form, so that it compares; None when never."""
        found = self.relationship(uuid, index)
        return found.properties.get("LastReplicationTime") if found else None

    def wait_replication(self, uuid, count=1, timeout=60):
        """Until @count more replications were received."""
        for _ in range(count):
            before = self.replicated(uuid)
            wait_for(lambda: self.replicated(uuid) not in (None, before), f"a replication of {uuid} to {self.name}", timeout)


class SerialLog:
    """What a ledger guest said. Reads on from where it was."""

    def __init__(self, path):
        self.path = path
        self.offset = 0
        self.rest = ""

    def skip(self):
        """Forgets everything said until now."""
        with contextlib.suppress(FileNotFoundError):
            self.offset = os.path.getsize(self.path)
        self.rest = ""
        return self

    def lines(self):
        """Whole new lines of the ledger."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                data = file.read()
        except FileNotFoundError:
            return []
        self.offset += len(data)
        *whole, self.rest = (self.rest + data.decode("ascii", "replace")).split("\n")
        return [line.strip() for line in whole if line.startswith("LEDGER")]

    def wait(self, word, timeout=30):
        """The next line LEDGER @word; fails on any line that reports damage."""
        found = []

        def look():
            for line in self.lines():
                assert not line.startswith(("LEDGER ERROR", "LEDGER DISKS")), line
                found.append(line)
            return next((line for line in found if line.startswith("LEDGER " + word)), None)

        return wait_for(look, f"LEDGER {word} in {os.path.basename(self.path)}", timeout)

    def verdict(self, timeout=30):
        """What the guest says of its disks when it starts: the last number; fails on a hole."""
        line = wait_for(lambda: next((text for text in self.lines() if text.startswith(("LEDGER LAST", "LEDGER HOLE"))), None),
                        "verdict of the ledger guest", timeout)
        assert line.startswith("LEDGER LAST "), line
        return int(line.split()[2])

    def reached(self):
        """The highest number known to be written; 0 when none."""
        try:
            with open(self.path, "rb") as file:
                lines = file.read().decode("ascii", "replace").split("\n")[:-1]
        except FileNotFoundError:
            return 0
        for line in lines:
            assert not line.startswith(("LEDGER ERROR", "LEDGER DISKS", "LEDGER HOLE")), line
        return max((int(line.split()[2]) for line in lines if line.startswith(("LEDGER AT", "LEDGER LAST"))), default=0)

    def wait_number(self, number, timeout=60):
        """Until the guest has written @number."""
        return wait_for(lambda: (reached := self.reached()) >= number and reached, f"number {number} of the ledger", timeout)


@contextlib.contextmanager
def replicating_pair(build, interval="interval=1;journal=1h", scratch_max="256M", start_timeout=120, libvirtd=False, settings=None,
                     **guest_options):
    """(primary, replica, guest): a running ledger guest that replicates, its first copy complete and one cycle received."""
    with Site(build) as site:
        primary = site.host("p", scratch_max=scratch_max, libvirtd=libvirtd)
        replica = site.host("r", libvirtd=libvirtd)
        guest = primary.add_guest(**guest_options)
        primary.start()
        replica.start()
        replica.enable_server(primary.name)
        primary.power(guest.uuid, POWER_ON)
        primary.serial().wait_number(1)
        primary.create_relationship(guest.uuid, replica, interval, **(settings or {}))
        primary.start_replication(guest.uuid)
        primary.wait_state(guest.uuid, REPLICATING, start_timeout)
        replica.wait_state(guest.uuid, REPLICATING)
        replica.wait_replication(guest.uuid)
        yield primary, replica, guest


__all__ = ["Fault", "Host", "JobFailed", "SerialLog", "Site", "Timeout", "kill", "processes", "replicating_pair", "wait_for"]
