"""What every registered task declares: help, ranges, and a module that is quick to import."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import MISSING, fields
from typing import Any

import pytest
from cli.tiny import ENVIRONMENT

from preimage import InputError
from preimage.jobs.job import RunOptions
from preimage.registry import TASKS, task_named
from preimage.tasks import Option, described

OPTIONS = [
    pytest.param(options, name, stated, id=f"{task} {name}")
    for task, options in [*((task, task_named(task).options) for task in TASKS), ("run", RunOptions)]
    for name, stated in described(options).items()
]
# Words that a sentence of help does not begin with: it starts with a verb or a noun phrase.
NOT_FIRST = {"If", "When", "Whether", "How", "Of", "For", "In", "With", "Is", "Are", "This", "These", "You", "Your"}


@pytest.mark.parametrize(("options", "name", "stated"), OPTIONS)
def test_help_is_one_sentence(options: Any, name: str, stated: Option):
    text = stated.help
    assert text.endswith(".")
    assert ". " not in text
    assert "\n" not in text
    assert text[0].isupper() or text[0].isdigit()
    assert text.split()[0].strip(",:") not in NOT_FIRST


@pytest.mark.parametrize("task", TASKS)
def test_files_have_help_and_a_place(task: str):
    for output in task_named(task).outputs:
        assert output.help.endswith(".")
        assert "\n" not in output.help
        assert all(suffix.startswith(".") for suffix in output.suffixes)


def outside(stated: Option) -> list[float]:
    found = [float("nan")]
    if stated.minimum is not None:
        found.append(stated.minimum if stated.exclusive else stated.minimum - 1)
    if stated.maximum is not None:
        found.append(stated.maximum + 1)
    return found


def has_range(stated: Any) -> bool:
    return stated.minimum is not None or stated.maximum is not None


RANGES = [each for each in OPTIONS if has_range(each.values[2])]


@pytest.mark.parametrize(("options", "name", "stated"), RANGES)
def test_ranges_are_checked(options: Any, name: str, stated: Option):
    known = {"classifier": "any.pt", "degradation": "gaussian:25", "kernel": "gaussian:1", "flash": "flash.png"}
    required = [f.name for f in fields(options) if f.default is MISSING and f.default_factory is MISSING]
    given = {each: known.get(each, "1") for each in required} | {
        k: v for k, v in known.items() if k in described(options)
    }
    for value in outside(stated):
        with pytest.raises(InputError) as error:
            options(**{**given, name: value})
        assert error.value.code == "invalid-value"
        assert f"{value}" in str(error.value)


# ---------------------------------------------------------------------- no torch

WITHOUT_TORCH = """
import sys
{}
heavy = sorted({{"torch", "numpy", "torchvision", "scipy", "matplotlib"}} & {{name.split(".")[0] for name in sys.modules}})
assert "torch" not in heavy, heavy
"""


def ends_well(code: str) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH.format(code)]
    ran = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("task", TASKS)
def test_importing_a_task_imports_no_torch(task: str):
    ends_well(f"import {TASKS[task].partition(':')[0]}")


def test_help_of_all_commands_imports_no_torch():
    names = [[], *([name] for name in (*TASKS, "demo", "doctor"))]
    ends_well(
        f"""
from preimage.cli import main
for words in {names}:
    assert main([*words, "--help"]) == 0
    assert "torch" not in sys.modules, words
"""
    )


def test_a_job_imports_no_torch():
    ends_well('from preimage.jobs.job import Job; Job.from_json(Job("denoise", {"sigma": 25.0}, "a.png").to_json())')
