"""virt-replica against the real WS-Management service, with VMs in memory: what it prints, its JSON, and its exit status.

    test-service.py VIRT-REPLICA SERVER
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))

import tap  # noqa: E402

PROGRAM, SERVER = sys.argv[1:3]
OK, REFUSED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130
WEB, DB, IDLE = (f"{c * 8}-{k * 4}-4{c * 3}-8{c * 3}-{c * 12}" for c, k in (("1", "a"), ("2", "b"), ("3", "c")))
POINTS = [f"44444444-dddd-4444-8444-00000000000{i}" for i in (1, 2, 3)]


class Service:
    def __init__(self, folder, *certificate):
        self.process = subprocess.Popen([SERVER, folder, *certificate], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.at = {}
        for line in self.process.stdout:
            if line.strip() == "ready":
                break
            name, value = line.split()
            self.at[name] = value
        self.socket = "unix://" + self.at["unix"]

    def run(self, *words, uri=None, **environment):
        clean = {key: value for key, value in os.environ.items() if not key.startswith("VIRT_REPLICA_")}
        return subprocess.run([PROGRAM, "-c", uri or self.socket, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=60, start_new_session=True, env={**clean, "LC_ALL": "C.UTF-8", "TZ": "UTC", **environment})

    def good(self, *words, **more):
        result = self.run(*words, **more)
        assert (result.returncode, result.stderr) == (OK, ""), f"{words}: {result}"
        return result.stdout

    def json(self, *words, **more):
        return json.loads(self.good(*words, "--json", **more))

    def bad(self, status, error, *words, **more):
        result = self.run(*words, **more)
        assert result.returncode == status and result.stdout == "" and re.search(error, result.stderr), f"{words}: {result}"

    def detached(self, *words):
        """The id of the job that a command starts."""
        return re.search(r"job ([0-9A-F-]{36}) runs", self.good(*words, "--detach")).group(1)


@contextlib.contextmanager
def service(certificates=False):
    with tempfile.TemporaryDirectory() as folder:
        files = []
        if certificates:
            tap.requires("certtool")
            subprocess.run([os.path.join(HERE, "..", "lib", "make-certificates"), folder, "server"], check=True)
            files = [f"{folder}/server.pem", f"{folder}/server-key.pem"]
        started = Service(folder, *files)
        started.folder = folder
        try:
            yield started
        finally:
            started.process.communicate("")
            assert started.process.returncode == 0, started.process.returncode


def test_list_and_status_show_the_vms():
    with service() as s:
        lines = s.good("list").splitlines()
        assert lines[0].split() == ["Name", "Power", "Mode", "State", "Health", "Lag"], lines
        assert [line.split()[0] for line in lines[2:]] == ["db", "idle", "web"], lines
        assert lines[3].split()[1:] == ["off", "-", "not", "replicated", "-", "-"], lines
        for name in ("web", WEB, WEB.upper()):
            text = s.good("status", name)
            assert re.search(r"^Name: +web$", text, re.M) and re.search(rf"^UUID: +{WEB}$", text, re.M), text
            assert re.search(r"^State: +replicating$", text, re.M) and re.search(r"^Power: +running$", text, re.M), text
        s.bad(REFUSED, "no VM with the name or UUID 'WEB'", "status", "WEB")
        s.bad(REFUSED, "'it's \\\\ none'", "status", "it's \\ none")
        s.bad(REFUSED, "no VM", "status", "TESTHOST")


def test_json_has_names_numbers_and_null():
    with service() as s:
        by_name = {vm["name"]: vm for vm in s.json("list")}
        assert sorted(by_name) == ["db", "idle", "web"]
        web = by_name["web"]
        assert (web["uuid"], web["mode"], web["mode_number"], web["state_number"], web["health"]) == (WEB, "primary", 1, 3, "ok"), web
        assert web["last_replication"] == "2024-05-01T10:20:30Z" and web["lag_sec"] > 0, web
        assert by_name["idle"]["lag_sec"] is None and by_name["idle"]["mode"] == "none"
        db = s.json("status", "db")
        assert (db["recovery_points"], db["interval_sec"], db["compression"], db["last_apply"]) == (3, 300, True, None), db
        assert s.json("version")["service"] == "1.2.3"
        assert s.json("entries") == [] and s.json("jobs") == [] and s.json("points", "idle") == []


def test_statistics_and_issues_are_shown():
    with service() as s:
        shown = s.json("statistics", "web")
        assert (shown["cycles"], shown["missed"], shown["failed"], shown["network_failed"]) == (12, 3, 2, 1), shown
        assert (shown["bytes"], shown["pending_bytes"], shown["latency_sec"]) == (5000000000, 77, 3), shown
        assert (shown["start"], shown["end"]) == ("2024-05-01T10:20:30Z", "2024-05-01T11:20:30Z"), shown
        assert shown["last_test_failover"] is None and shown["health"] == "warning" and shown["health_number"] == 2
        issue = "3 of 15 cycles & more were missed; wait."
        assert shown["health_issues"] == [issue] and s.json("status", "web")["health_issues"] == [issue]
        text = s.good("statistics", "web", "--reset")
        assert re.search(r"^Missed: +3$", text, re.M) and f" {issue}\n" in text, text
        assert f" {issue}\n" in s.good("status", "web")
        assert "health_issues" in s.json("status", "idle") and "Issue" not in s.good("status", "idle")
        s.bad(REFUSED, "no statistics of 'idle'.*does not replicate", "statistics", "idle")


def test_addresses_after_a_failover_are_shown_and_set():
    with service() as server:
        lines = server.good("failover-network", "web").splitlines()
        assert lines[0].split()[:3] == ["No", "Adapter", "Addresses"], lines
        assert lines[2].split() == ["1", "52:54:00:00:00:0a", "-", "-", "-", "-"], lines
        assert lines[3].split() == ["2", "52:54:00:00:00:0b", "10.0.0.5/24", "-", "-", "isolated"], lines
        second = server.json("failover-network", "web")[1]
        assert second == {"mac": "52:54:00:00:00:0b", "dhcp": False, "addresses": ["10.0.0.5/24"], "gateways": [], "dns": [],
                          "test_network": "isolated"}, second
        assert re.search("After a failover: +52:54:00:00:00:0b: 10.0.0.5/24\n", server.good("status", "web"))
        assert server.json("status", "web")["failover_network"][1]["addresses"] == ["10.0.0.5/24"]
        for words in (["--adapter", "2", "--ip", "10.0.0.6/24,fd00::6/64", "--gateway", "10.0.0.1", "--dns", "10.0.0.2"],
                      ["--adapter", "52:54:00:00:00:0A", "--dhcp"], ["--adapter", "1", "--clear"],
                      ["--adapter", "1", "--test-network", "bridge/br9"], ["--adapter", "2", "--dhcp", "--test-network", "none"]):
            assert "is set" in server.good("failover-network", "web", *words)
        assert "Adapter 52:54:00:00:00:0a" in server.good("failover-network", "idle", "--dhcp")
        server.bad(USAGE, "2 network adapters", "failover-network", "web", "--dhcp")
        server.bad(REFUSED, "no network adapter '3'", "failover-network", "web", "--adapter", "3", "--dhcp")


def test_points_are_listed_oldest_first():
    with service() as s:
        points = s.json("points", "db")
        assert [p["id"].lower() for p in points] == POINTS, points
        assert [p["kind"] for p in points] == ["standard", "application-consistent", "standard"]
        assert points[0]["taken"] == "2024-05-01T11:20:30Z"
        lines = s.good("points", "db").splitlines()
        assert lines[0].startswith("Point") and [line.split()[0].lower() for line in lines[2:]] == POINTS, lines


def test_a_point_is_chosen_by_id_its_beginning_or_time():
    with service() as s:
        s.detached("failover", "db", "--point", POINTS[1])
        s.detached("failover", "db", "--at", "2024-05-01 12:30")
        s.detached("failover", "db")
        s.bad(REFUSED, "no recovery point 'nothing'", "failover", "db", "--point", "nothing")
        s.bad(REFUSED, "More than one", "failover", "db", "--point", POINTS[0][:20])
        s.bad(REFUSED, "oldest there is: 2024-05-01 11:20:30", "failover", "db", "--at", "2024-05-01")
        s.bad(REFUSED, "no recovery point", "failover", "web", "--point", POINTS[0])


def test_detached_work_is_a_job_that_can_be_looked_at():
    with service() as s:
        job = s.detached("enable", "idle", "--to", "hostb", "--interval", "5", "--journal", "4h", "--disks", "vda")
        found = s.json("jobs")
        assert [(j["id"], j["type"], j["state"], j["percent"]) for j in found] == [(job, "enable", "running", 0)], found
        shown = s.good("jobs", job)
        assert re.search(rf"^Job: +{job}$", shown, re.M) and re.search(r"^State: +running$", shown, re.M), shown
        assert s.json("jobs", job)["state_number"] == 4
        for words in (["start-initial", "web"], ["suspend", "web"], ["resume", "web"], ["remove", "web"], ["revert", "db"],
                      ["start", "idle"], ["stop", "web"], ["stop", "web", "--force"], ["shutdown", "web"]):
            s.detached(*words)
        assert len(s.json("jobs")) == 10
        s.bad(REFUSED, ".", "jobs", "00000000-0000-4000-8000-000000000000")


def test_ctrl_c_ends_the_waiting_and_says_that_the_job_goes_on():
    with service() as s:
        waiting = subprocess.Popen([PROGRAM, "-c", s.socket, "failover", "db"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert waiting.stderr.readline() == "Failover of 'db': 0 %\n"
        waiting.send_signal(signal.SIGINT)
        output, error = waiting.communicate(timeout=60)
        assert (waiting.returncode, output) == (INTERRUPTED, ""), (waiting.returncode, output)
        job = s.json("jobs")[0]
        assert job["state"] == "running" and f"Job {job['id']} (Failover of 'db') goes on" in error, error


def test_a_service_that_goes_away_is_not_taken_for_success():
    with service() as s:
        waiting = subprocess.Popen([PROGRAM, "-c", s.socket, "revert", "db"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert waiting.stderr.readline() == "Reverting the failover of 'db': 0 %\n"
        s.process.stdin.close()
        s.process.wait(60)
        s.process.stdin = None
        output, error = waiting.communicate(timeout=60)
        assert (waiting.returncode, output) == (UNREACHABLE, ""), (waiting.returncode, output)
        assert "its end was not seen" in error, error


def test_entries_and_the_server():
    with service() as s:
        s.good("authorize", "*.example.org", "--storage", "/srv/replicas", "--trust-group", "A")
        assert s.json("entries") == [{"primary_host": "*.example.org", "trust_group": "A", "storage": "/srv/replicas", "limits": None}]
        assert re.search(r"^\*\.example\.org +A +- +/srv/replicas$", s.good("entries"), re.M)
        s.good("authorize", "*.example.org", "--change", "--max-vms", "3", "--max-size", "2T")
        assert s.json("entries")[0]["limits"] == "vms=3;size=2T"
        s.good("authorize", "*.EXAMPLE.org", "--change", "--max-staging", "50G", "--max-vms", "none")
        assert s.json("entries")[0]["limits"] == "size=2T;staging=50G"
        assert s.json("entries")[0]["storage"] == "/srv/replicas"
        assert s.good("-q", "unauthorize", "*.example.org") == ""
        assert s.json("entries") == []
        assert s.json("server")["enabled"] is False
        assert re.search(r"^Replica server: +disabled$", s.good("server"), re.M)


def test_https_with_user_and_password():
    with service(certificates=True) as s:
        def remote(user, name="localhost"):
            return {"uri": f"wsman+https://{user}@{name}:{s.at['https']}"}
        ca = ("--ca", f"{s.folder}/ca.pem")
        assert len(s.json("list", *ca, VIRT_REPLICA_PASSWORD="secret", **remote("admin"))) == 3
        s.bad(REFUSED, "does not accept this user", "list", *ca, VIRT_REPLICA_PASSWORD="wrong", **remote("admin"))
        s.bad(UNREACHABLE, ".", "list", VIRT_REPLICA_PASSWORD="secret", **remote("admin"))
        # A reader may look, and no more
        assert len(s.json("list", *ca, VIRT_REPLICA_PASSWORD="secret", **remote("reader"))) == 3
        s.bad(REFUSED, "refused with code 32769", "failover", "db", "--detach", *ca, VIRT_REPLICA_PASSWORD="secret", **remote("reader"))


tap.run()
