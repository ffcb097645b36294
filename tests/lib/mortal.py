"""Daemons that die at a durable step of their own (tests/integration/die-at-step.c)."""

import os


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
        if self.host.process.poll() is None:
            return False
        self.host.process = None
        return True
