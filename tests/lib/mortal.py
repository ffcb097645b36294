"""Hosts whose daemon dies at a step of its own, by the library of die-at-step.c."""

import contextlib
import os
import subprocess


class Mortal:
    """Makes a host's daemon die at a step of its own."""

    def __init__(self, host, build):
        self.host = host
        self.file = os.path.join(host.folder, "die-at")
        environment = dict(host.environment(), VR_DIE_FILE=self.file,
                           LD_PRELOAD=os.path.join(os.path.abspath(build), "tests/integration/libdie-at-step.so"))
        environment["ASAN_OPTIONS"] = environment.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        host.environment = lambda: environment

    def arm(self, step):
        with open(self.file + ".new", "w", encoding="ascii") as file:
            file.write(str(step))
        os.rename(self.file + ".new", self.file)

    def has_died(self):
        os.unlink(self.file)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.host.process.wait(0.3)  # it may have read the file just before
        if self.host.process.poll() is None:
            return False
        self.host.process = None
        return True

    def dies(self, step, act):
        """Does the daemon die at the step while @act() runs? It runs again then."""
        self.arm(step)
        failure = None
        try:
            act()
        except Exception as error:  # pylint: disable=broad-except
            failure = error
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.host.process.wait(5)
        died = self.has_died()
        if died:
            self.host.start()
        elif failure is not None:
            raise failure
        return died
