#!/usr/bin/python3
"""summary.py LOG STATUS: what came of a `meson test` run, from its JSON log and the exit status of make.

Names what did not pass and ends with the line "N passed, N failed"; exits with 1 when anything failed, or nothing ran.
"""

import json
import sys
from collections import Counter

PASSED = {"OK", "EXPECTEDFAIL"}


def main(path, status):
    results = Counter()
    try:
        with open(path, encoding="utf-8") as log:
            for line in log:
                test = json.loads(line)
                results[test["result"]] += 1
                if test["result"] not in PASSED:
                    print(f"{test['result']}: {test['name']}")
    except FileNotFoundError:
        print("it ended before the tests")
    passed = sum(results[name] for name in PASSED)
    failed = sum(results.values()) - passed - results["SKIP"]
    if failed == 0 and (status != 0 or passed == 0):
        failed = 1  # the build
    print(f"{passed} passed, {failed} failed, {results['SKIP']} skipped", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
