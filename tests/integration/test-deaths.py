#!/usr/bin/python3
"""kill -9 of the daemon at durable steps in the middle of its methods. After a start the method is done, or not begun, or asked for again:
the bytes are those that it promises, and nobody is stuck. The guest is off all the time."""

import contextlib
import glob
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import tap  # noqa: E402
from images import MIB, assert_same, differ, flat, replica_disks, scribble, wait_received  # noqa: E402
from mortal import Mortal  # noqa: E402

BUILD = sys.argv[1]
INVALID_PARAMETER, IN_USE, INVALID_STATE, UNAVAILABLE = 32773, 32774, 32775, 32777
PLANNED = 3
RESUME, PREPARE, SUSPEND = 3, 4, 7
SIZES = (16 * MIB, 16 * MIB)
# The durable steps at which a daemon dies, in each method.
STEPS = [int(word) for word in os.environ.get("VR_TEST_DEATHS", "1 3 8 14").split()]
NOT_NOW = (IN_USE, INVALID_STATE)
TEST_NAME = "ledger - Test"


@contextlib.contextmanager
def mortal_pair(guests=1):
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        made = [primary.add_guest(SIZES, name="ledger" if n == 0 else f"ledger{n}", memory=128) for n in range(guests)]
        mortals = {host: Mortal(host, BUILD) for host in (primary, replica)}
        for host, other in ((primary, "r"), (replica, "p")):
            host.start()
            host.enable_server(other)
        yield primary, replica, made, mortals


def replicate(primary, replica, uuid):
    primary.create_relationship(uuid, replica)
    primary.start_replication(uuid)
    primary.wait_state(uuid, hosts.REPLICATING)


def ask_until(host, uuid, states, ask):
    """What a death has undone is asked for again; what goes on by itself is waited for."""
    wanted = states if isinstance(states, tuple) else (states,)

    def reached():
        if host.state(uuid) in wanted:
            return True
        with contextlib.suppress(hosts.JobFailed):
            ask(NOT_NOW + (0, hosts.JOB_STARTED))
        return host.state(uuid) in wanted
    hosts.wait_for(reached, f"state {states} of {uuid}")


def count(name, died, steps=None):
    tried = steps or STEPS
    print(f"# {name}: died at {[step for step, did in zip(tried, died, strict=True) if did]} of {tried}", flush=True)
    assert any(died), f"{name}: it never died"


def assert_contents(paths, flats):
    for path, copy in zip(paths, flats, strict=True):
        again = flat(path, os.path.dirname(copy))
        with open(again, "rb") as one, open(copy, "rb") as other:
            assert one.read() == other.read(), f"'{path}' is not what it should be"
        os.unlink(again)


def test_failover_and_revert():
    random.seed(4242)
    with mortal_pair() as (primary, replica, (guest,), mortals):
        uuid, mortal = guest.uuid, mortals[replica]
        replicate(primary, replica, uuid)
        scribble(primary.disk_paths())
        wait_received(primary, replica, uuid)
        old = replica.points(uuid)[-1]
        then = [flat(path, replica.folder) for path in primary.disk_paths()]
        scribble(primary.disk_paths())
        wait_received(primary, replica, uuid)
        failed_over, reverted = [], []
        for step in STEPS:
            failed_over.append(mortal.dies(step, lambda: replica.failover(uuid, old)))
            ask_until(replica, uuid, hosts.RECOVERED, lambda want: replica.failover(uuid, old, want=want))
            assert_contents(replica.disk_paths(), then)
            scribble(replica.disk_paths())  # the guest was there

            reverted.append(mortal.dies(step, lambda: replica.revert(uuid)))
            ask_until(replica, uuid, hosts.REPLICATING, lambda want: replica.revert(uuid, want=want))
            assert_same(replica.disk_paths(), primary.disk_paths())
            scribble(primary.disk_paths())
            wait_received(primary, replica, uuid)
        count("InitiateFailover", failed_over)
        count("RevertFailover", reverted)


def find_test(host):
    """UUID of the test VM, or None."""
    found = [vm for vm in host.api.enumerate("Msvm_ComputerSystem") if vm["ElementName"] == TEST_NAME]
    return found[0]["Name"].lower() if found and host.has_domain(TEST_NAME) else None


def ask_for_test(host, uuid, point):
    def made():
        with contextlib.suppress(hosts.JobFailed):
            return find_test(host) or host.test(uuid, point, want=NOT_NOW + (hosts.JOB_STARTED,))
        return None
    return hosts.wait_for(made, "the test VM")


def ask_for_its_end(host, test):
    def gone():
        if find_test(host) is not None:
            with contextlib.suppress(AssertionError, hosts.JobFailed):
                host.end_test(test)
        return find_test(host) is None
    hosts.wait_for(gone, "the end of the test VM")


def test_a_test_failover():
    random.seed(31)
    with mortal_pair() as (primary, replica, (guest,), mortals):
        uuid, mortal = guest.uuid, mortals[replica]
        replicate(primary, replica, uuid)
        scribble(primary.disk_paths())
        wait_received(primary, replica, uuid)
        old = replica.points(uuid)[-1]
        then = [flat(path, replica.folder) for path in primary.disk_paths()]
        made, ended = [], []
        for step in STEPS:
            scribble(primary.disk_paths())
            wait_received(primary, replica, uuid)
            made.append(mortal.dies(step, lambda: replica.test(uuid, old)))
            test = ask_for_test(replica, uuid, old)
            assert_contents(replica.disk_paths(TEST_NAME), then)
            assert replica.state(uuid) == hosts.REPLICATING
            scribble(primary.disk_paths())  # goes on meanwhile

            ended.append(mortal.dies(step, lambda t=test: replica.end_test(t)))
            ask_for_its_end(replica, test)
            wait_received(primary, replica, uuid)
            assert_same(replica.disk_paths(), primary.disk_paths())
        count("TestReplicaSystem", made)
        count("DestroySystem", ended)


def test_commit_and_reverse():
    random.seed(99)
    with mortal_pair() as (primary, replica, (guest,), mortals):
        uuid, here, there = guest.uuid, primary, replica
        replicate(primary, replica, uuid)
        committed = []
        for step in STEPS:
            scribble(here.disk_paths())
            hosts.wait_for(lambda h=here, t=there: h.replicated(uuid) and t.state(uuid) == hosts.REPLICATING, "replication")
            here.change_state(uuid, PREPARE)
            there.failover(uuid)
            scribble(there.disk_paths())
            wrote = [flat(path, there.folder) for path in there.disk_paths()]
            committed.append(mortals[there].dies(step, lambda t=there: t.commit(uuid)))
            ask_until(there, uuid, hosts.COMMITTED, lambda want, t=there: t.commit(uuid, want=want))
            hosts.wait_for(lambda t=there: not any("/failover/" in path for path in t.disk_paths()), "the commit to be complete")
            assert_contents(there.disk_paths(), wrote)
            there.reverse(uuid, here)
            there.wait_state(uuid, hosts.REPLICATING)
            here, there = there, here
        count("CommitFailover", committed)


def test_prepare_and_cancel():
    random.seed(7)
    with mortal_pair() as (primary, replica, (guest,), mortals):
        uuid, mortal = guest.uuid, mortals[primary]
        replicate(primary, replica, uuid)
        prepared, cancelled, suspended = [], [], []
        for step in STEPS:
            scribble(primary.disk_paths())
            prepared.append(mortal.dies(step, lambda: primary.change_state(uuid, PREPARE)))
            ask_until(primary, uuid, hosts.PREPARED, lambda want: primary.change_state(uuid, PREPARE, want=want))
            wait_received(primary, replica, uuid)
            primary.power(uuid, hosts.POWER_ON, want=INVALID_STATE)

            cancelled.append(mortal.dies(step, lambda: primary.change_state(uuid, RESUME)))
            ask_until(primary, uuid, hosts.REPLICATING, lambda want: primary.change_state(uuid, RESUME, want=want))

            scribble(primary.disk_paths())  # nothing holds them any more
            suspended.append(mortal.dies(step, lambda: primary.change_state(uuid, SUSPEND)))
            ask_until(primary, uuid, (hosts.SUSPENDED, hosts.RESYNC_SUSPENDED), lambda want: primary.change_state(uuid, SUSPEND, want=want))
            primary.change_state(uuid, RESUME)
            wait_received(primary, replica, uuid)
        count("RequestReplicationStateChangeEx(4)", prepared)
        print(f"# cancelled: {cancelled}, suspended: {suspended}")


def test_the_answer_to_the_last_changes_is_lost():
    random.seed(11)
    with mortal_pair() as (primary, replica, (guest,), mortals):
        uuid, mortal, died = guest.uuid, mortals[replica], []
        replicate(primary, replica, uuid)
        for step in STEPS[1:2]:  # the answer is waited for, for a while
            scribble(primary.disk_paths())
            mortal.arm(step)
            try:
                primary.change_state(uuid, PREPARE)
                failed = False
            except hosts.JobFailed:
                failed = True
            primary.power(uuid, hosts.POWER_ON, want=INVALID_STATE)  # the replica may start it
            if failed:
                primary.kill()
                primary.start()
                primary.power(uuid, hosts.POWER_ON, want=INVALID_STATE)
                primary.revert(uuid, want=UNAVAILABLE)
            died.append(mortal.has_died())
            if died[-1]:
                replica.start()
            hosts.wait_for(lambda: replica.relationship(uuid).number("LastReplicationType") == PLANNED, "the last changes")
            assert primary.state(uuid) == hosts.PREPARED
            assert_same(replica_disks(replica, uuid), primary.disk_paths())
            primary.change_state(uuid, RESUME)
            scribble(primary.disk_paths())
            wait_received(primary, replica, uuid)
            assert replica.relationship(uuid).number("LastReplicationType") != PLANNED
        assert all(died), died


def remove(host, uuid, want=(0, hosts.JOB_STARTED)):
    return host.call("RemoveReplicationRelationship", want, ComputerSystem=host.vm_epr(uuid))


def is_there(host, uuid):
    return host.state(uuid) not in (None, 0)


def ask_until_gone(host, uuid):
    def gone():
        with contextlib.suppress(hosts.JobFailed):
            if is_there(host, uuid):
                remove(host, uuid, NOT_NOW + (0, hosts.JOB_STARTED))
        return not is_there(host, uuid)
    hosts.wait_for(gone, f"the end of replication of {uuid}")


def check_nothing_left(host, guest):
    """A libvirt that was killed while it wrote the record of a checkpoint reads what it had written at each start, and cannot remove it."""
    half = {os.path.basename(path).removesuffix(".xml.new") for path in
            glob.glob(os.path.join(host.folder, "libvirt/**", guest.name, "*.xml.new"), recursive=True)}
    left = set(host.virsh("checkpoint-list", guest.uuid, "--name").split()) - half
    assert not left, f"VM '{guest.name}': {left}"
    for path in guest.disks:
        info = subprocess.run(["qemu-img", "info", path], check=True, capture_output=True, text=True).stdout
        assert "name: vr-" not in info, info


def test_enable_start_and_remove():
    """A VM for each death."""
    with mortal_pair(len(STEPS)) as (primary, replica, guests, mortals):
        mortal, there = mortals[primary], mortals[replica]
        made, started, removed, removed_there = [], [], [], []
        for step, guest in zip(STEPS, guests, strict=True):
            uuid = guest.uuid
            made.append(mortal.dies(step, lambda u=uuid: primary.create_relationship(u, replica)))
            if not is_there(primary, uuid):
                primary.create_relationship(uuid, replica)
            started.append(mortal.dies(step, lambda u=uuid: primary.start_replication(u)))
            if primary.state(uuid) == hosts.READY:
                primary.start_replication(uuid)
            primary.wait_state(uuid, hosts.REPLICATING)
            hosts.wait_for(lambda g=guest, u=uuid: differ(g.disks, replica_disks(replica, u)) is None, "the copy")

            removed.append(mortal.dies(step, lambda u=uuid: remove(primary, u)))
            ask_until_gone(primary, uuid)
            removed_there.append(there.dies(step, lambda u=uuid: remove(replica, u)))
            ask_until_gone(replica, uuid)
            assert differ(guest.disks, replica_disks(replica, uuid)) is None, "the copy is no longer whole"
        count("CreateReplicationRelationship", made)
        count("RemoveReplicationRelationship", removed)
        print(f"# started: {started}, removed from the replica: {removed_there}")
        primary.stop()
        for guest in guests:
            check_nothing_left(primary, guest)


def entry(name, **more):
    return hosts.EmbeddedInstance("Msvm_ReplicationAuthorizationSettingData", {"AllowedPrimaryHostSystem": name, **more})


def entries(host):
    """Name to trust group."""
    return {found["AllowedPrimaryHostSystem"]: found["TrustGroup"] for found in host.api.enumerate("Msvm_ReplicationAuthorizationSettingData")}


def settings_of(host, uuid):
    return host.api.get(hosts.Epr("Msvm_ReplicationSettingData", {"InstanceID": f"Microsoft:{uuid.upper()}\\HVR\\0"}))


def change_and_die(mortal, steps, name, call, value, new):
    """Each time the daemon dies @value() is what it was or @new, and after the repeat it is @new. @call(want) asks for it."""
    died = []
    for step in steps:
        before = value()
        died.append(mortal.dies(step, lambda: call((0, hosts.JOB_STARTED))))
        assert value() in (before, new), f"{name}: {value()}"
        with contextlib.suppress(hosts.JobFailed):
            call(NOT_NOW + (INVALID_PARAMETER, 0, hosts.JOB_STARTED))
        hosts.wait_for(lambda: value() == new, f"{name}: {new}")
        yield step
    count(name, died, steps)


def test_settings_and_entries():
    steps = [1, 2, 3]
    with mortal_pair() as (primary, replica, (guest,), mortals):
        uuid = guest.uuid
        replicate(primary, replica, uuid)
        for step in change_and_die(mortals[replica], steps, "AddAuthorizationEntry", lambda want: replica.call(
                "AddAuthorizationEntry", want, AuthorizationEntry=entry("other", TrustGroup="a", ReplicaStorageLocation=replica.storage)),
                lambda: entries(replica).get("other"), "a"):
            if step != steps[-1]:
                replica.call("RemoveAuthorizationEntry", AllowedPrimaryHostSystem="other")
        for step in change_and_die(mortals[replica], steps, "ModifyAuthorizationEntry", lambda want: replica.call(
                "ModifyAuthorizationEntry", want, AuthorizationEntry=entry("other", TrustGroup="b")),
                lambda: entries(replica).get("other"), "b"):
            replica.call("ModifyAuthorizationEntry", AuthorizationEntry=entry("other", TrustGroup="a"))
        for _ in change_and_die(mortals[replica], steps, "RemoveAuthorizationEntry", lambda want: replica.call(
                "RemoveAuthorizationEntry", want, AllowedPrimaryHostSystem="other"), lambda: entries(replica).get("other"), None):
            replica.allow("other")
        replica.allow("q")
        replica.call("RemoveAuthorizationEntry", AllowedPrimaryHostSystem="other")
        for _ in change_and_die(mortals[replica], steps, "SetAuthorizationEntry", lambda want: replica.call(
                "SetAuthorizationEntry", want, ComputerSystem=replica.vm_epr(uuid), AuthorizationEntry=entry("p")),
                lambda: entries(replica).get("q"), "test"):
            pass

        def monitoring():
            return replica.api.enumerate("Msvm_ReplicationServiceSettingData")[0].number("MonitoringInterval")

        def set_monitoring(seconds, want=(0, hosts.JOB_STARTED)):
            found = replica.api.enumerate("Msvm_ReplicationServiceSettingData")[0]
            replica.call("ModifyServiceSettings", want, SettingData=hosts.EmbeddedInstance("Msvm_ReplicationServiceSettingData", {
                "InstanceID": found["InstanceID"], "MonitoringInterval": seconds}))
        for _ in change_and_die(mortals[replica], steps, "ModifyServiceSettings", lambda want: set_monitoring(7200, want), monitoring, 7200):
            set_monitoring(3600)

        def modify(history, want=(0, hosts.JOB_STARTED)):
            primary.call("ModifyReplicationSettings", want, ComputerSystem=primary.vm_epr(uuid), ReplicationSettingData=hosts.EmbeddedInstance(
                "Msvm_ReplicationSettingData", {"InstanceID": f"Microsoft:{uuid.upper()}\\HVR\\0", "RecoveryHistory": history}))
        for _ in change_and_die(mortals[primary], steps, "ModifyReplicationSettings", lambda want: modify(9, want),
                                lambda: settings_of(primary, uuid).number("RecoveryHistory"), 9):
            hosts.wait_for(lambda: settings_of(replica, uuid).number("RecoveryHistory") == 9, "the replica to be told", 60)
            modify(4)

        scribble(primary.disk_paths())
        wait_received(primary, replica, uuid)
        resynced = []
        for step in STEPS:
            primary.change_state(uuid, SUSPEND)
            scribble(primary.disk_paths())
            resynced.append(mortals[primary].dies(step, lambda: primary.call(
                "Resynchronize", ComputerSystem=primary.vm_epr(uuid), StartTime=None)))
            if primary.state(uuid) == hosts.SUSPENDED:
                primary.call("Resynchronize", ComputerSystem=primary.vm_epr(uuid), StartTime=None)
            primary.wait_state(uuid, hosts.REPLICATING)
            wait_received(primary, replica, uuid)
        count("Resynchronize", resynced)


if __name__ == "__main__":
    tap.run()
