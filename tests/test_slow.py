"""What `make test` leaves to `make test-long` is there, and is found by the time it takes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.slow import SLOW, slow_in, slow_tests, without_parameters

ROOT = Path(__file__).parents[1]
REPORT = """<testsuites><testsuite>
<testcase file="tests/a.py" name="test_one" time="0.7" /><testcase file="tests/a.py" name="test_two" time="0.2" />
<testcase file="tests/a.py" name="test_both[1]" time="0.9" /><testcase file="tests/a.py" name="test_both[2]" time="0.5" />
<testcase file="tests/a.py" name="test_few[1]" time="1.0" /><testcase file="tests/a.py" name="test_few[2]" time="0.1" />
</testsuite></testsuites>
"""


def test_a_test_is_slow_by_the_mean_over_its_parameters(tmp_path):
    (tmp_path / "tests.xml").write_text(REPORT)
    assert slow_in(tmp_path / "tests.xml", 0.6) == ["tests/a.py::test_both", "tests/a.py::test_one"]


def test_what_is_named_is_there_and_in_order():
    named = SLOW.read_text(encoding="utf-8").splitlines()
    assert named == sorted(set(named))
    assert slow_tests() == set(named)
    for file in {each.split("::")[0] for each in named if each.startswith("tests/")}:
        there = {
            each.name for each in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(each, ast.FunctionDef)
        }
        assert {each.split("::")[-1] for each in named if each.startswith(f"{file}::")} <= there, file


def test_it_is_marked(request: pytest.FixtureRequest):
    for item in request.session.items:
        assert (item.get_closest_marker("slow") is not None) == (without_parameters(item.nodeid) in slow_tests())
