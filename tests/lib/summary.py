"""Adds up what tests/run collected: JUnit files and stages.tsv. Standard library only."""

import sys
import xml.etree.ElementTree as xml
from pathlib import Path


def junit_cases(path):
    """(suite, name, verdict) of one JUnit file, as CTest and pytest write them."""
    for case in xml.parse(path).getroot().iter("testcase"):
        children = {child.tag for child in case}
        # CTest's "notrun" is a test program that is missing: it was meant to run.
        if children & {"failure", "error"} or case.get("status") in ("fail", "notrun"):
            verdict = "failed"
        elif "skipped" in children or case.get("status") == "disabled":
            verdict = "skipped"
        else:
            verdict = "passed"
        yield path.stem, case.get("name"), verdict


def collect(folder):
    for path in sorted(folder.glob("*.xml")):
        yield from junit_cases(path)
    stages = folder / "stages.tsv"
    if stages.exists():
        for line in stages.read_text().splitlines():
            yield tuple(line.split("\t"))


def main():
    counts = {}
    failures = []
    for suite, name, verdict in collect(Path(sys.argv[1])):
        counts.setdefault(suite, {"passed": 0, "failed": 0, "skipped": 0})[verdict] += 1
        if verdict == "failed":
            failures.append(f"{suite}: {name}")
    print(f"\n{'suite':30} {'passed':>7} {'failed':>7} {'skipped':>7}")
    for suite, count in counts.items():
        print(f"{suite:30} {count['passed']:7} {count['failed']:7} {count['skipped']:7}")
    for failure in failures:
        print(f"FAILED {failure}")
    passed = sum(count["passed"] for count in counts.values())
    print(f"{passed} passed, {len(failures)} failed")
    return 1 if failures or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
