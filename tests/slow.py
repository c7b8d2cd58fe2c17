"""Which tests take long, by a report of pytest: they are left to `make test-long`, so that `make test` is run often.

    make slow-tests                                    # runs all but those marked long, and writes tests/slow.txt
    python -m tests.slow out/tests.xml                 # writes it from a report (pytest --junitxml -o junit_family=xunit1)

A line of tests/slow.txt is a test, whatever its parameters. tests/conftest.py marks them `slow`.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

SLOW = Path(__file__).with_name("slow.txt")
LIMIT = 0.6  # seconds of a test, of one with parameters on the mean


def without_parameters(node: str) -> str:
    """A test's name, whatever its parameters.

    Example:
        >>> without_parameters("tests/a/test_b.py::test_c[1-x]")
        'tests/a/test_b.py::test_c'
    """
    return node.split("[")[0]


def slow_tests() -> frozenset[str]:
    """The tests that tests/slow.txt names."""
    return frozenset(SLOW.read_text(encoding="utf-8").split())


def slow_in(report: str | Path, limit: float = LIMIT) -> list[str]:
    """The tests of a report that take so long."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for case in ElementTree.parse(report).iter("testcase"):
        file = (case.get("file") or "").replace("\\", "/")
        seconds[without_parameters(f"{file}::{case.get('name')}")].append(float(case.get("time") or 0))
    return sorted(test for test, each in seconds.items() if sum(each) / len(each) >= limit)


def main() -> int:
    """Write tests/slow.txt."""
    parser = argparse.ArgumentParser(prog="python -m tests.slow", description="Which tests take long.")
    parser.add_argument("report", type=Path, help="of all tests but those marked long")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds")
    asked = parser.parse_args()
    found = slow_in(asked.report, asked.limit)
    SLOW.write_text("".join(f"{test}\n" for test in found), encoding="utf-8")
    print(f"{len(found)} tests take {asked.limit:g} seconds or more: {SLOW}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
