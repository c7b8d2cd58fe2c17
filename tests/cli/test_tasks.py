"""A task's options come from its Python function."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch
from preimage.cli.options import Options
from preimage.cli.tasks import TASKS, Task, command_line_type, described_arguments, own_parameters

from preimage.cli import tasks
from preimage.cli.app import build


def fill_in(
    image: torch.Tensor | str | Any,
    mask: torch.Tensor | str | Path | Any,
    *,
    kernel_width: float = 1.5,
    kind: Literal["hole", "text"] = "hole",
    guide: torch.Tensor | str | None = None,
    shift: tuple[int, int] = (0, 0),
    recipe: object = None,
    stop: object = None,
    restarts: int | None = None,
    initial: object = None,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Fill in what a mask hides.

    Args:
        image: a picture.
        mask: white where the picture
            is known.
        kernel_width, shift: numbers.
        kind: of hole.

    Raises:
        InputError: never.
    """


def test_own_options_are_the_arguments_that_are_not_shared():
    names = [parameter.name for parameter in own_parameters(fill_in)]
    assert names == ["mask", "kernel_width", "kind", "guide", "shift"]


def test_help_comes_from_the_docstring():
    found = described_arguments(fill_in)
    assert found["mask"] == "White where the picture is known."
    assert found["shift"] == found["kernel_width"] == "Numbers."
    assert "InputError" not in found


def test_types_on_the_command_line():
    assert command_line_type(torch.Tensor | str | None, "guide") == Path | None
    assert command_line_type(Any, "mask") is Path
    assert command_line_type(float | None, "sigma") == float | None
    with pytest.raises(TypeError, match="'operator'"):
        command_line_type(dict[str, int], "operator")


def test_a_new_task_is_one_line(monkeypatch: pytest.MonkeyPatch):
    task = Task("fill-in", "some_module", "Fill in.", "preimage fill-in photo.png --mask mask.png")
    seen: dict[str, Any] = {}

    def restore_all(job: Any, inputs: tuple[Path, ...]) -> int:
        seen.update(job=job, inputs=inputs)
        return 7

    monkeypatch.setattr(tasks, "TASKS", (task,))
    monkeypatch.setattr("preimage.cli.app.TASKS", (task,))
    monkeypatch.setitem(sys.modules, "some_module", SimpleNamespace(fill_in=fill_in))
    monkeypatch.setattr("preimage.cli.batch.restore_all", restore_all)
    tokens = [
        "fill-in",
        "a.png",
        "b.png",
        "--mask",
        "m.png",
        "--kernel-width",
        "2",
        "--shift",
        "1",
        "-2",
        "--seed",
        "3",
    ]
    assert build()(tokens, exit_on_error=False, result_action="return_value") == 7
    assert seen["inputs"] == (Path("a.png"), Path("b.png"))
    assert seen["job"].own == {"mask": Path("m.png"), "kernel_width": 2.0, "shift": (1, -2)}
    assert seen["job"].options == Options(seed=3)
    assert seen["job"].task == "fill-in"


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_registered_task_becomes_a_command(task: Task, capsys: pytest.CaptureFixture[str]):
    build()([task.name, "--help"], exit_on_error=False, result_action="return_value")
    shown = capsys.readouterr().out
    assert task.example in shown
    assert "--output" in shown
    for parameter in own_parameters(getattr(import_module(task.module), task.name.replace("-", "_"))):
        assert f"--{parameter.name.replace('_', '-')}" in shown
