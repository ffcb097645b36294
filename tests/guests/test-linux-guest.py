#!/usr/bin/python3
"""The Linux test guest boots from its disk, writes, and answers to what is typed into its second serial port."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
import linux_guest  # noqa: E402
import tap  # noqa: E402

BUILD = sys.argv[1]


def test_it_boots_writes_and_answers():
    with hosts.Site(BUILD) as site:
        host = site.host("p")
        guest = linux_guest.add(host)
        host.start()
        host.power(guest.uuid, hosts.POWER_ON)
        log = linux_guest.log_of(host)
        assert log.wait("MOUNTED", 120) == "MOUNTED first= second="
        log.wait("WROTE")
        hosts.wait_for(lambda: guest.run("pidof qemu-ga").isdigit(), "its agent")
        host.power(guest.uuid, hosts.POWER_OFF)
        found = linux_guest.look_at(host.disk_paths("linux")[1])
        assert not found.clean, f"powered off in the midst of writing, and no trace of it: {found}"


if __name__ == "__main__":
    tap.run()
