#!/usr/bin/python3
"""UEFI variables and the state of a TPM belong to a point as the disks do: an older point starts with what it had."""

import contextlib
import datetime
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402

BUILD = sys.argv[1]
DESCRIPTORS = "/usr/share/qemu/firmware"
TEMPLATE = "/usr/share/OVMF/OVMF_VARS_4M.fd"
STATE_FILE = "tpm2-00.permall"


def requires_uefi():
    if not os.path.exists(TEMPLATE) or not any(name.endswith(".json") for name in os.listdir(DESCRIPTORS)):
        raise tap.Skip("OVMF (package ovmf) is not installed")


def read(path):
    with open(path, "rb") as file:
        return file.read()


def mark(path, text):
    """Writes at the very end of a variable store, in the spare block, as a firmware that moves its variables would."""
    with open(path, "r+b") as file:
        file.seek(-16, os.SEEK_END)
        file.write(text.ljust(16, b"."))


def has_open(pid, path):
    with contextlib.suppress(OSError):
        return any(os.readlink(f"/proc/{pid}/fd/{fd}") == path for fd in os.listdir(f"/proc/{pid}/fd"))
    return False


def point_from_now_on(replica, uuid):
    """The first recovery point whose moment is yet to come."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return hosts.wait_for(lambda: next((point for point in replica.points(uuid) if point["CreationTime"] > now), None),
                          f"a recovery point after {now}")


def variables_of(host):
    return host.domain_xml().find("os/nvram").text


def tpm_folder(host, uuid):
    return os.path.join(host.folder, "libvirt/lib/swtpm", uuid, "tpm2")


@contextlib.contextmanager
def uefi_pair():
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        store = os.path.join(primary.folder, "disks/variables.fd")
        guest = primary.add_guest(memory=128, variables=store)
        primary.start()
        replica.start()
        replica.enable_server(primary.name)
        primary.power(guest.uuid, hosts.POWER_ON)
        hosts.wait_for(lambda: os.path.exists(store) and read(store) != read(TEMPLATE), "the firmware's own first variables", 120)
        primary.create_relationship(guest.uuid, replica)
        primary.start_replication(guest.uuid)
        replica.wait_state(guest.uuid, hosts.REPLICATING, 120)
        replica.wait_replication(guest.uuid)
        yield primary, replica, guest, store


def test_variables_are_those_of_the_point():
    requires_uefi()
    with uefi_pair() as (primary, replica, guest, store):
        uuid = guest.uuid
        mark(store, b"old")
        older = point_from_now_on(replica, uuid)
        mark(store, b"new")
        point_from_now_on(replica, uuid)
        primary.stop()

        replica.failover(uuid, older)
        content = read(variables_of(replica))
        assert len(content) == os.path.getsize(store) and content.endswith(b"old.............")
        assert content != read(TEMPLATE)[:-16] + content[-16:], "these are the variables of a new machine"
        replica.revert(uuid)

        replica.failover(uuid)
        path = variables_of(replica)
        assert read(path).endswith(b"new............."), "the latest point has the older variables"
        replica.power(uuid, hosts.POWER_ON)
        hosts.wait_for(lambda: has_open(replica.qemu(uuid), path), "QEMU on the variables of the point")
        mark(path, b"failed over")
        replica.power(uuid, hosts.POWER_OFF)
        replica.revert(uuid)
        assert variables_of(replica) != path and read(variables_of(replica)).endswith(b"new.............")
        replica.failover(uuid)
        assert read(variables_of(replica)).endswith(b"new............."), "the revert kept what the failed-over VM had written"


def make_tpm(folder, name):
    """The state file of a new TPM."""
    place = os.path.join(folder, name)
    os.mkdir(place)
    subprocess.run(["swtpm_setup", "--tpm2", "--tpmstate", place], check=True, stdout=subprocess.DEVNULL)
    return os.path.join(place, STATE_FILE)


def test_tpm_state_is_that_of_the_point():
    tap.requires("swtpm", "swtpm_setup")
    with hosts.replicating_pair(BUILD, tpm=True) as (primary, replica, guest):
        uuid = guest.uuid
        live = os.path.join(tpm_folder(primary, uuid), STATE_FILE)
        there = os.path.join(tpm_folder(replica, uuid), STATE_FILE)
        old, new = (make_tpm(primary.folder, name) for name in ("old", "new"))
        wanted = read(old), read(new)
        assert wanted[0] != wanted[1]
        os.replace(old, live)
        older = point_from_now_on(replica, uuid)
        os.replace(new, live)
        point_from_now_on(replica, uuid)
        primary.stop()
        assert not os.path.exists(there), "a replica that is not failed over has no TPM of its own"

        replica.failover(uuid, older)
        assert read(there) == wanted[0]
        assert os.stat(there).st_mode & 0o777 == 0o600
        replica.power(uuid, hosts.POWER_ON)
        replica.serial().verdict()
        assert hosts.processes("swtpm", tpm_folder(replica, uuid)), "no swtpm runs on the state of the point"
        setup = os.path.join(replica.folder, "libvirt/log/swtpm/ledger-swtpm.log")
        assert not os.path.exists(setup) or b"manufacturing" not in read(setup), "libvirt made a new TPM"
        replica.power(uuid, hosts.POWER_OFF)
        replica.revert(uuid)
        assert not os.path.exists(there), "the revert left the TPM of the failed-over VM"

        replica.failover(uuid)
        assert read(there) == wanted[1]


if __name__ == "__main__":
    tap.run()
