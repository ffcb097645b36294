#!/usr/bin/python3
"""summary.py STATUS LOG...: what came of runs of `meson test`, from the exit status of make and their JSON logs.

Names what did not pass and ends with the line "N passed, N failed"; exits with 1 when anything failed, or nothing ran.
"""

import json
import sys
from collections import Counter

PASSED = {"OK", "EXPECTEDFAIL"}


def count(path, results):
    try:
        with open(path, encoding="utf-8") as log:
            for line in log:
                test = json.loads(line)
                results[test["result"]] += 1
                if test["result"] not in PASSED:
                    print(f"{test['result']}: {test['name']} ({path})")
    except FileNotFoundError:
        print(f"{path}: it ended before these tests")


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
