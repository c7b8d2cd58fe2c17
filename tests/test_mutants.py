"""`make mutants` changes what it says: one place, in a module that still compiles, and a test that should notice does."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import mutants

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")


@pytest.mark.parametrize("file", mutants.TESTS)
def test_each_mutant_is_another_module_that_compiles(file: str) -> None:
    as_it_stands = ast.unparse(ast.parse((mutants.SOURCE / file).read_text(encoding="utf-8")))
    found = mutants.places(file)
    assert len(found) > 4
    for number in range(0, len(found), 5):
        tree = mutants.mutated(file, number)
        compile(tree, file, "exec")
        assert ast.unparse(tree) != as_it_stands
    assert ast.unparse(mutants.mutated(file, len(found))) == as_it_stands


def test_every_file_has_tests() -> None:
    for file in mutants.TESTS:
        assert mutants.existing(file), file


def test_mutants_come_in_an_order_that_the_seed_draws() -> None:
    assert mutants.all_mutants("engine/step", 1) == mutants.all_mutants("engine/step", 1)
    assert mutants.all_mutants("engine/step", 1) != mutants.all_mutants("engine/step", 2)
    assert {file for file, _ in mutants.all_mutants("engine/(step|run)", 0)} == {"engine/step.py", "engine/run.py"}


def test_a_mutant_is_shown_as_what_changed() -> None:
    shown = mutants.shown("engine/step.py", 0).splitlines()
    assert any(line.startswith("+") for line in shown[2:])
    assert any(line.startswith("-") for line in shown[2:])


@pytest.mark.long
def test_what_is_wrong_is_noticed(tmp_path: Path) -> None:
    """In a process of its own, as the package is loaded here already."""
    rows = tmp_path / "rows.csv"
    command = [sys.executable, "-m", "tests.mutants", "--only", "engine/step", "--count", "4", "--rows", str(rows)]
    own = {**os.environ, "PYTHONPATH": "src"}
    ran = subprocess.run(command, cwd=mutants.ROOT, env=own, capture_output=True, encoding="utf-8")
    assert ran.returncode == 0, ran.stderr
    found = rows.read_text(encoding="utf-8").splitlines()
    assert len(found) == 5
    assert sum(",killed," in row for row in found) >= 2
