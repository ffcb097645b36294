"""The story of the manual, on two real hosts: everything is done and seen by virt-replica, and the guest has the last word.

    test-hosts.py BUILD
"""

import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import hosts  # noqa: E402
import tap  # noqa: E402

BUILD = os.path.abspath(sys.argv[1])
PROGRAM = os.path.join(BUILD, "src/cli/virt-replica")
OK, REFUSED, UNREACHABLE = 0, 1, 3


def run(host, *words):
    return subprocess.run([PROGRAM, "-c", f"unix://{host.socket}", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=120 * hosts.PATIENCE, env={**os.environ, "LC_ALL": "C.UTF-8"})


def good(host, *words):
    result = run(host, *words)
    assert result.returncode == OK, f"{words}: {result}"
    return result.stdout


def bad(host, error, *words):
    result = run(host, *words)
    assert result.returncode == REFUSED and result.stdout == "" and re.search(error, result.stderr), f"{words}: {result}"


def status(host, vm="ledger"):
    return json.loads(good(host, "status", vm, "--json"))


def points(host):
    return json.loads(good(host, "points", "ledger", "--json"))


def pair(site):
    """Two hosts with running daemons; the guest runs on the first."""
    primary, replica = site.host("p"), site.host("r")
    guest = primary.add_guest()
    primary.start()
    replica.start()
    assert "started" in good(primary, "start", "ledger")
    primary.serial().wait_number(1)
    return primary, replica, guest


def set_up(primary, replica):
    """As in the manual; the copy is complete afterwards."""
    assert "enabled" in good(replica, "server", "--enable")
    assert json.loads(good(replica, "server", "--json"))["enabled"] is True
    good(replica, "authorize", primary.name, "--storage", replica.storage)
    good(primary, "enable", "ledger", "--to", "localhost", "--port", str(replica.port()), "--interval", "1", "--journal", "1h",
         "--history", "4")
    assert status(primary)["state"] == "ready"
    assert "complete" in good(primary, "start-initial", "ledger")
    assert status(primary)["state"] == "replicating"
    replica.wait_state(status(primary)["uuid"], hosts.REPLICATING)


def expect_failed_job(primary, replica):
    """Nobody has authorized this host yet: the job fails, and its cause is told."""
    good(replica, "server", "--enable")
    result = run(primary, "enable", "ledger", "--to", "localhost", "--port", str(replica.port()), "--interval", "1")
    assert result.returncode == REFUSED and result.stdout == "", result
    assert re.search(r"^error: Enabling replication of 'ledger'.*authoriz", result.stderr, re.M), result.stderr
    failed = [job for job in json.loads(good(primary, "jobs", "--json")) if job["type"] == "enable"]
    assert [job["state"] for job in failed] == ["failed"] and failed[0]["error"], failed
    assert status(primary)["mode"] == "none"


def suspend_and_resume(primary, replica, guest):
    bad(primary, "refused with code 32775", "resume", "ledger")
    assert "suspended" in good(primary, "suspend", "ledger")
    assert status(primary)["state"] == "suspended"
    assert "resumed" in good(primary, "resume", "ledger")
    replica.wait_replication(guest.uuid, 1)


def look_at_both(primary, replica, guest):
    shown = status(primary)
    assert (shown["mode"], shown["interval_sec"], shown["replica_server"]) == ("primary", 1, "localhost"), shown
    replica.wait_replication(guest.uuid, 3)
    shown = status(replica)
    assert (shown["mode"], shown["power"], shown["uuid"]) == ("replica", "off", guest.uuid), shown
    assert 0 <= shown["lag_sec"] < 60 * hosts.PATIENCE and shown["recovery_points"] >= 3, shown
    bad(replica, "refused with code 32775", "start", "ledger")
    bad(replica, "refused with code 32775", "revert", "ledger")
    bad(primary, "refused with code 32775", "failover", "ledger")


def try_it_out(replica, guest):
    older = points(replica)[1]
    bad(replica, "no test failover of VM 'ledger'", "test-end", "ledger")
    output = good(replica, "test", "ledger", "--point", older["id"], "--start")
    assert "'ledger - Test' is made of" in output and older["id"] in output and "'ledger - Test' is started" in output, output
    replica.serial("ledger - Test").verdict()
    shown = {vm["name"]: vm["mode"] for vm in json.loads(good(replica, "list", "--json"))}
    assert shown == {"ledger": "replica", "ledger - Test": "test replica"}, shown
    bad(replica, "refused with code 32775", "test", "ledger")
    replica.wait_replication(guest.uuid, 1)
    assert "removed" in good(replica, "test-end", "ledger")
    assert [vm["name"] for vm in json.loads(good(replica, "list", "--json"))] == ["ledger"]
    bad(replica, "no test failover of VM 'ledger'", "test-end", "ledger")


def lose_the_primary(primary, replica, guest):
    """The number that is safe by then."""
    written = primary.serial().reached()
    replica.wait_replication(guest.uuid, 2)
    primary.kill()
    primary.kill_qemu(guest.uuid)
    result = run(primary, "list")
    assert result.returncode == UNREACHABLE and "is virt-replicad running" in result.stderr, result
    return written


def fail_over(replica, written):
    """The number that the guest finds."""
    output = good(replica, "failover", "ledger", "--start")
    assert "failed over to its latest state" in output and "'ledger' is started" in output, output
    latest = replica.serial().verdict()
    assert latest >= written, f"{written} was acknowledged, the copy ends at {latest}"
    shown = status(replica)
    assert (shown["state"], shown["power"]) == ("failed over", "running"), shown
    bad(replica, "refused with code 32775", "failover", "ledger")
    bad(replica, "refused with code 32775", "revert", "ledger")
    return latest


def go_back_to_an_older_point(replica, latest):
    assert "is off" in good(replica, "stop", "ledger", "--force")
    assert "reverted" in good(replica, "revert", "ledger")
    older = points(replica)[1]
    log = replica.serial().skip()
    output = good(replica, "failover", "ledger", "--point", older["id"], "--start")
    assert older["id"] in output, output
    assert log.verdict() < latest


def remove(host):
    power = status(host)["power"]
    assert "removed" in good(host, "remove", "ledger")
    shown = status(host)
    assert (shown["mode"], shown["state"], shown["power"]) == ("none", "not replicated", power), shown


def test_set_up_replicate_fail_over_revert_go_back_and_remove():
    with hosts.Site(BUILD) as site:
        primary, replica, guest = pair(site)
        expect_failed_job(primary, replica)
        set_up(primary, replica)
        suspend_and_resume(primary, replica, guest)
        look_at_both(primary, replica, guest)
        try_it_out(replica, guest)
        latest = fail_over(replica, lose_the_primary(primary, replica, guest))
        go_back_to_an_older_point(replica, latest)
        good(replica, "stop", "ledger", "--force")
        good(replica, "revert", "ledger")
        remove(replica)


def move(here, there, guest, *options):
    """A planned failover by one command; the guest finds all that was written."""
    good(here, "stop", "ledger", "--force")  # the ledger guest does not know how to shut down
    last = here.check_disks().last
    words = ["planned-failover", "ledger", "--replica", f"unix://{there.socket}", "--to", "localhost", "--port", str(here.port())]
    log = there.serial().skip()
    output = good(here, *words, "--dry-run")
    assert "Would do step 5" in output and "Nothing was done" in output, output
    assert status(here)["state"] == status(there)["state"] == "replicating"
    output = good(here, *words, *options)
    assert "is complete" in output, output
    assert log.verdict() == last


def enable(primary, replica):
    good(primary, "enable", "ledger", "--to", "localhost", "--port", str(replica.port()), "--interval", "1")


def test_first_copies_by_a_folder_and_by_a_seed():
    with hosts.Site(BUILD) as site:
        primary, replica = site.host("p"), site.host("r")
        uuid = primary.add_guest(sizes=(16 * 2**20, 16 * 2**20)).uuid
        primary.start()
        replica.start()
        good(replica, "server", "--enable")
        good(replica, "authorize", primary.name, "--storage", replica.storage)
        enable(primary, replica)
        bad(primary, "as-replica", "start-initial", "ledger", "--seeded")
        assert run(primary, "start-initial", "ledger", "--seeded", "--export", site.folder).returncode == 2
        said = good(primary, "start-initial", "ledger", "--export", site.folder)  # of a VM that is off
        folder = re.search(r"is in '(/.*?)'", said).group(1)
        assert "import-initial" in said and os.path.dirname(folder) == site.folder, said
        good(primary, "start", "ledger")
        primary.serial().wait_number(20)
        bad(replica, "full path", "import-initial", "ledger", os.path.basename(folder))
        assert "imported" in good(replica, "import-initial", "ledger", folder)
        replica.wait_replication(uuid, 2)
        assert status(primary)["state"] == status(replica)["state"] == "replicating"

        # The same VM as a seed, once its replication was removed
        good(replica, "remove", "ledger")
        good(primary, "remove", "ledger")
        assert "awaited" in good(replica, "as-replica", "ledger")
        assert status(replica)["mode"] == "replica"
        bad(replica, "virt-replica remove", "start", "ledger")
        good(replica, "remove", "ledger")
        assert status(replica)["mode"] == "none"
        good(replica, "as-replica", "ledger")
        enable(primary, replica)
        assert "nothing was written into them" in good(replica, "remove", "ledger")
        good(primary, "remove", "ledger")
        good(replica, "as-replica", "ledger")
        enable(primary, replica)
        assert "complete" in good(primary, "start-initial", "ledger", "--seeded")
        written = primary.serial().reached()
        replica.wait_replication(uuid, 2)
        good(replica, "failover", "ledger")
        verdict = replica.check_disks()
        assert verdict.whole and verdict.last >= written


def test_planned_failover_and_back():
    with hosts.Site(BUILD) as site:
        primary, replica, guest = pair(site)
        set_up(primary, replica)
        bad(primary, "no VM|not found|unknown|There is", "planned-failover", "nobody", "--replica", f"unix://{replica.socket}")
        good(primary, "server", "--enable")
        good(primary, "authorize", replica.name, "--storage", primary.storage)
        move(primary, replica, guest)
        assert (status(replica)["mode"], status(primary)["mode"]) == ("primary", "replica")
        replica.wait_state(guest.uuid, hosts.REPLICATING)
        primary.wait_replication(guest.uuid, 2)
        # a step that cannot be done: it is said which, and what to do
        good(replica, "stop", "ledger", "--force")
        good(primary, "suspend", "ledger")
        bad(replica, "is not a replica that replicates", "planned-failover", "ledger", "--replica", f"unix://{primary.socket}")
        good(primary, "resume", "ledger")
        good(replica, "server", "--disable")
        result = run(replica, "planned-failover", "ledger", "--replica", f"unix://{primary.socket}", "--to", "localhost", "--port", "1")
        assert result.returncode == REFUSED and "Step 5" in result.stderr and "virt-replica reverse" in result.stderr, result
        assert status(primary)["power"] == "running" and status(primary)["state"] == "failed over"


tap.run()
