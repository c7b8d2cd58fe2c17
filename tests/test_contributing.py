"""What CONTRIBUTING.md says is so: its worked example is a task, its test passes, and its commands exist."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli.tiny import TINY
from PIL import Image

import preimage
from preimage import registry
from preimage.cli import main
from preimage.jobs.job import Job
from studies import STUDIES

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
TASK, LINE, TEST = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The page followed to the letter, but for the folder."""
    name = "contributed_example"
    (tmp_path / f"{name}.py").write_text(TASK, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    task, place = re.fullmatch(r'TASKS\["([a-z-]+)"\] = "([\w.:]+)".*\n', LINE).groups()  # type: ignore[union-attr]
    assert place == f"preimage.restore.{task}:{task}"
    monkeypatch.setitem(registry.TASKS, task, f"{name}:{task}")
    monkeypatch.setitem(preimage._TASKS, task, task)
    monkeypatch.delitem(vars(preimage), task, raising=False)
    yield task
    sys.modules.pop(name, None)
    vars(preimage).pop(task, None)


def test_the_example_is_a_task_with_command_job_and_function(
    added: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (35, 40, 4), np.uint8)).save("frame.png")  # an odd height, and alpha
    assert main([added, "--help"]) == 0
    assert "Rows that are valid: even" in capsys.readouterr().out
    Path("tiny.json").write_text(json.dumps(TINY), encoding="utf-8")
    command = registry.task_named(added).example.split()[1:]
    assert main([*command, "--recipe", "tiny.json", "--steps", "2", "--device", "cpu"]) == 0
    with Image.open("whole.png") as image:
        assert image.size == (40, 35)
        assert image.mode == "RGBA"
    job = Job(added, {"field": "odd"}, "frame.png", {"output": "again.png"})
    assert Job.from_json(job.to_json()) == job
    assert main([added, "frame.png", "--field", "both"]) == 2
    task: Any = getattr(preimage, added)
    tiles = task("frame.png", recipe="tiny.json", steps=2, tile=32, tile_overlap=2, device="cpu").run()
    assert tiles.image.shape == (1, 3, 35, 40)


def test_the_example_of_a_test_passes(added: str) -> None:
    names: dict[str, Any] = {}
    exec(compile(TEST, "CONTRIBUTING.md", "exec"), names)
    tests = [each for name, each in names.items() if name.startswith("test_")]
    assert len(tests) == 2
    for each in tests:
        each()


def test_the_example_is_as_short_as_it_says() -> None:
    body = TASK.split("@dataclass")[1]  # the imports are most tasks' own
    assert len([line for line in body.splitlines() if line.strip()]) <= 30


def test_commands_and_files_of_the_page_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    commands = [line.split("#")[0] for line in PAGE.splitlines() if re.match(r" {4}make ", line)]
    assert len(commands) > 8
    for command in commands:
        words = shlex.split(command)
        assert words[1] in targets, command
        assert all(word[5:] in STUDIES for word in words if word.startswith("NAME=")), command
    for link in re.findall(r"\]\(([\w./]+)\)", PAGE):
        assert (ROOT / link).exists(), link
    for room in re.findall(r"`((?:[a-z_]+/)*[a-z_]+(?:/|\.py))`", PAGE.split("## Add a task")[0]):
        assert (ROOT / "src/preimage" / room).exists() or (ROOT / room).exists(), room
    assert importlib.util.find_spec("benchmarks") is not None
