"""Runs the test functions of a module and prints TAP: one function, one claim."""

import os
import sys
import time
import traceback


class Skip(Exception):
    """A prerequisite is missing; the text says which."""


def requires(*programs):
    """Skips when one of @programs is not installed."""
    from shutil import which
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    for program in programs:
        if which(program, path=path) is None:
            raise Skip(f"{program} is not installed")


def run(module_name="__main__"):
    """Runs each function called test_* in the order of the source, and exits; with VR_TEST_ONLY=words those whose names have one of the
    words in them."""
    module = sys.modules[module_name]
    words = os.environ.get("VR_TEST_ONLY", "test_").replace("-", "_").split()
    tests = [(name, value) for name, value in vars(module).items()
             if name.startswith("test_") and callable(value) and any(word in name for word in words)]
    print(f"1..{len(tests)}", flush=True)
    failed = 0
    for number, (name, function) in enumerate(tests, 1):
        title = name[len("test_"):].replace("_", "-")
        begun = time.monotonic()
        try:
            function()
            print(f"ok {number} - {title}", flush=True)
        except Skip as reason:
            print(f"ok {number} - {title} # SKIP {reason}", flush=True)
        except Exception:
            failed += 1
            print(f"not ok {number} - {title}", flush=True)
            for line in traceback.format_exc().splitlines():
                print(f"# {line}", flush=True)
        print(f"# {time.monotonic() - begun:.1f} s", flush=True)
    sys.exit(1 if failed else 0)
