"""virt-replica without a service: what is wrong with a command line is said before anybody is asked, and nobody there is status 3.

    test-command-line.py VIRT-REPLICA
"""

import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import tap  # noqa: E402

PROGRAM = sys.argv[1]
NOBODY = "unix:///nonexistent/api.sock"
OK, REFUSED, USAGE, UNREACHABLE = range(4)


def run(*words, **environment):
    clean = {key: value for key, value in os.environ.items() if not key.startswith("VIRT_REPLICA_")}
    return subprocess.run([PROGRAM, *words], env={**clean, "LC_ALL": "C.UTF-8", **environment}, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60, start_new_session=True)


def expect(result, status, error=None):
    assert result.returncode == status, f"status {result.returncode}, not {status}: {result.stdout}{result.stderr}"
    assert (status == OK) == (result.stderr == ""), result.stderr
    if error is not None:
        assert error in result.stderr, result.stderr
        assert result.stdout == "", result.stdout


def commands():
    return re.findall(r"^  ([a-z][a-z-]+) +[A-Z]", run("--help").stdout, re.MULTILINE)


def test_every_command_has_help():
    assert len(commands()) >= 19, commands()
    for command in commands():
        for words in ([command, "--help"], ["--help", command], [command, "-h"]):
            result = run(*words)
            expect(result, OK)
            assert result.stdout.startswith(f"Usage: virt-replica [-c URI] {command}"), result.stdout


def test_version_asks_nobody():
    result = run("--version")
    expect(result, OK)
    assert re.fullmatch(r"virt-replica \d+\.\d+\.\d+\n", result.stdout), result.stdout


def test_wrong_command_lines_are_status_2():
    for words, error in (
            ([], "No command given"), (["bogus"], "no command 'bogus'"), (["list", "extra"], "usage: virt-replica list"),
            (["failover"], "usage: virt-replica failover VM"), (["failover", "a", "b"], "usage"), (["list", "--bogus"], "--bogus"),
            (["enable", "vm"], "--to HOST is missing"), (["enable", "vm", "--to", "h", "--port", "0"], "--port"),
            (["enable", "vm", "--to", "h", "--interval", "often"], "--interval"),
            (["enable", "vm", "--to", "h", "--history", "25"], "--history"),
            (["enable", "vm", "--to", "h", "--journal", "4x"], "--journal"),
            (["failover", "vm", "--point", "p", "--at", "10:00"], "give one of them"),
            (["planned-failover", "vm"], "--replica URI is missing"),
            (["failover", "vm", "--start", "--detach"], "--detach does not wait"),
            (["failover-network", "vm", "--ip", "10.0.0.5"], "such as 10.0.0.5/24"),
            (["failover-network", "vm", "--gateway", "10.0.0.1"], "together with --ip or --dhcp"),
            (["failover-network", "vm", "--clear", "--dhcp"], "--clear takes all"),
            (["server", "--enable", "--disable"], "exclude each other"), (["jobs", "--wait"], "id of a job"),
            (["authorize", "h"], "--storage"), (["authorize", "h", "--storage", "relative"], "absolute"),
            (["-c", "http://h", "list"], "not a connection"), (["list", "-c"], "argument"),
            (["-c", "wsman+https://user:secret@h", "list"], "VIRT_REPLICA_PASSWORD")):
        expect(run(*words), USAGE, error)


def test_bytes_that_are_no_text_are_status_2():
    expect(run("status", b"\xff\xfe"), USAGE, "UTF-8")


def test_no_password_and_no_terminal_is_status_2():
    expect(run("-c", "wsman+https://user@127.0.0.1:1", "list"), USAGE, "VIRT_REPLICA_PASSWORD")


def test_no_service_is_status_3():
    everywhere = {"failover": ["vm"], "enable": ["vm", "--to", "h"], "authorize": ["h", "--storage", "/d"], "unauthorize": ["h"],
                  "planned-failover": ["vm", "--replica", NOBODY], "modify": ["vm", "--history", "1"],
                  "import-initial": ["vm", "/d"]}
    for command in commands():
        words = everywhere.get(command, ["vm"] if "VM" in run(command, "--help").stdout.splitlines()[0] else [])
        expect(run("-c", NOBODY, command, *words), UNREACHABLE, "/nonexistent/api.sock")
    expect(run("list", VIRT_REPLICA_CONNECT=NOBODY), UNREACHABLE, "is virt-replicad running")
    expect(run("-c", "wsman+https://user@127.0.0.1:1", "list", VIRT_REPLICA_PASSWORD="x"), UNREACHABLE)


tap.run()
