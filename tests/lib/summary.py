#!/usr/bin/python3
"""summary.py STATUS LOG...: what came of runs of `meson test`, from the exit status of make and their JSON logs.

Names what did not pass and ends with the line "N passed, N failed"; exits with 1 when anything failed, or nothing ran.
"""

import json
import os
import sys
from collections import Counter

PASSED = {"OK", "EXPECTEDFAIL"}


def read(path):
    """Name -> result of each test of a JSON log."""
    with open(path, encoding="utf-8") as log:
        tests = [json.loads(line) for line in log]
    return {test["name"].rsplit(" / ", 1)[-1]: test["result"] for test in tests}


def count(path, results):
    try:
        tests = read(path)
    except FileNotFoundError:
        print(f"{path}: it ended before these tests")
        return
    again = os.path.join(os.path.dirname(path), "again.json")
    if os.path.exists(again):
        for name, result in read(again).items():
            print(f"{name} failed, and ran once more alone: {result} ({path})")
            tests[name] = result
    for name, result in tests.items():
        results[result] += 1
        if result not in PASSED:
            print(f"{result}: {name} ({path})")


def main(status, paths):
    results = Counter()
    for path in paths:
        count(path, results)
    passed = sum(results[name] for name in PASSED)
    failed = sum(results.values()) - passed - results["SKIP"]
    if failed == 0 and (status != 0 or passed == 0):
        failed = 1  # the build
    print(f"{passed} passed, {failed} failed, {results['SKIP']} skipped", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
