#!/usr/bin/python3
"""make demo: two hosts on this machine, a guest that can tell what its disks are worth, a disaster, and a failover.

    demo.py BUILD_FOLDER

Nothing of it is staged: two virt-replicads, two (embedded) libvirts, QEMU, HTTPS between them. Needs no rights; everything is
in a private folder, and gone afterwards."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import textwrap
import time
from datetime import datetime, timezone

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import hosts  # noqa: E402
from relay import Relay  # noqa: E402

INTERVAL_SEC = 1
CYCLES = 12       # watched before the disaster
RATE = 16         # records of the guest per timer tick: about 290 a second
COLORS = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def color(code, text):
    return f"\x1b[{code}m{text}\x1b[0m" if COLORS else text


class Story:
    """What the reader sees."""

    def __init__(self):
        self.began = time.monotonic()

    def say(self, text):
        for line in textwrap.wrap(text, 100, initial_indent=f"{time.monotonic() - self.began:6.1f} s  ", subsequent_indent=" " * 10):
            print(line, flush=True)

    def chapter(self, text):
        print(f"\n{color('1', text)}", flush=True)

    def run(self, host, *arguments):
        """A command of virt-replica on a host, shown as a person would type it there."""
        shown = " ".join(arguments)
        print(f"{time.monotonic() - self.began:6.1f} s  {color('36', f'{host.name}$ virt-replica {shown}')}", flush=True)
        done = self.quiet(host, "--quiet", *arguments)
        for line in done.splitlines():
            print(f"          {line}")
        return done

    @staticmethod
    def quiet(host, *arguments):
        program = os.path.join(host.site.build, "src/cli/virt-replica")
        done = subprocess.run([program, "-c", f"unix://{host.socket}", *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise AssertionError(f"virt-replica {' '.join(arguments)} on {host.name}: {done.stderr.strip()}")
        return done.stdout


def size_text(count):
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def points_of(host):
    return json.loads(Story.quiet(host, "points", "ledger", "--json"))


def lag_of(points):
    """Seconds since the newest complete copy was captured."""
    return datetime.now(timezone.utc).timestamp() - points[-1]["taken_usec"] / 1e6


def watch(story, primary, replica, count):
    """Lags seen while @count more points arrive."""
    lags, seen, goal = [], None, None
    while goal is None or len(seen) < goal:
        points = points_of(replica)
        identities = {point["id"] for point in points}
        if goal is None:
            goal = len(points) + count
        if points:
            lags.append(lag_of(points))
        if seen is not None and identities != seen and len(points) % 4 == 0:
            story.say(f"r has {len(points)} recovery points, the newest {lags[-1]:.1f} s old; the guest wrote number "
                      f"{primary.serial().reached()}")
        seen = identities
        time.sleep(0.1)
    return lags


def show_points(points):
    print("          Point                                 Age")
    shown = points if len(points) <= 6 else points[:2] + [None] + points[-3:]
    for point in shown:
        if point is None:
            print("          ...")
        else:
            print(f"          {point['id']}  {datetime.now(timezone.utc).timestamp() - point['taken_usec'] / 1e6:5.1f} s")


def main(build):
    missing = [program for program in ("virsh", "qemu-system-x86_64", "qemu-img", "qemu-storage-daemon", "certtool")
               if shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None]
    if missing:
        print(f"Not installed: {' '.join(missing)}. scripts/install-dependencies installs what is needed.", file=sys.stderr)
        return 1
    story = Story()
    with hosts.Site(build) as site:
        story.chapter("Two hosts on this machine, p and r, and a guest with two disks on p")
        primary, replica = site.host("p"), site.host("r")
        guest = primary.add_guest(per_tick=RATE, bus="virtio")
        primary.start()
        replica.start()
        story.run(primary, "start", "ledger")
        number = primary.serial().wait_number(100)
        story.say(f"The guest writes numbered records in a known order over both disks, each after the one before: {number} so far.")

        story.chapter(f"Replicate it to r, every {INTERVAL_SEC} s")
        story.run(replica, "server", "--enable")
        story.run(replica, "authorize", "p", "--storage", replica.storage)
        relay = Relay(replica.port())  # a cable between the hosts that counts
        story.run(primary, "enable", "ledger", "--to", "localhost", "--port", str(relay.port),
                  "--interval", str(INTERVAL_SEC), "--journal", "1h")
        story.run(primary, "start-initial", "ledger")
        primary.wait_state(guest.uuid, hosts.REPLICATING, 120)
        hosts.wait_for(lambda: points_of(replica), "a recovery point")
        first_bytes = relay.forward_bytes
        story.say(f"The first copy is complete: {size_text(first_bytes)} over the wire. From now on only changes travel.")
        before = len(points_of(replica))
        lags = watch(story, primary, replica, CYCLES)
        cycle_bytes = (relay.forward_bytes - first_bytes) / (len(points_of(replica)) - before)
        story.run(replica, "list")

        story.chapter("Disaster: kill -9 of the guest's QEMU and of the daemon on p")
        lost_at = lag_of(points_of(replica))
        primary.kill()
        primary.kill_qemu(guest.uuid)
        relay.close()
        written = primary.serial().reached()
        story.say(f"p is gone. Its guest had written number {written}, at least.")

        story.chapter("Fail over to the latest point on r")
        began = time.monotonic()
        story.run(replica, "failover", "ledger")
        ready_sec = time.monotonic() - began
        story.run(replica, "start", "ledger")
        latest = replica.serial().verdict()
        takeover_sec = time.monotonic() - began
        story.say(f"The guest checked both disks when it started: the ledger is unbroken up to number {latest}. "
                  f"Lost: {max(0, written - latest)} numbers, or {lost_at:.1f} s.")
        replica.serial().wait_number(latest + 100)
        story.say("It goes on writing.")

        story.chapter("Take it back, and fail over to an older point instead")
        story.run(replica, "stop", "ledger", "--force")
        story.run(replica, "revert", "ledger")
        points = points_of(replica)
        show_points(points)
        older = points[len(points) // 2]
        log = replica.serial().skip()
        story.run(replica, "failover", "ledger", "--point", older["id"], "--start")
        earlier = log.verdict()
        assert earlier < latest, f"the older point has {earlier}, the latest {latest}"
        story.say(f"The guest finds an unbroken ledger up to number {earlier}: the state of then, on both disks.")

        story.chapter("Measured")
        for name, value in (
                ("lag (age of the newest copy)", f"{statistics.median(lags):.1f} s in the middle, {max(lags):.1f} s at most"),
                ("failover, until the VM may start", f"{ready_sec:.1f} s"),
                ("failover, until the guest had checked its disks", f"{takeover_sec:.1f} s"),
                ("sent for the first copy", f"{size_text(first_bytes)} for two disks of 64 MiB"),
                ("sent per replication", size_text(cycle_bytes)),
                ("recovery points", str(len(points)))):
            print(f"  {name:<50} {value}")
        print()
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print(__doc__.strip(), file=sys.stderr)
        sys.exit(2)
    try:
        sys.exit(main(sys.argv[1]))
    except AssertionError as failure:
        print(f"\nThe demonstration failed: {failure}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
