"""A command is drawn from its TaskSpec: a task that is registered has all its options and files, with no line of its own."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, get_args

import pytest

from preimage.cli.command import command_of, usage_of
from preimage.jobs.job import run_options_of
from preimage.registry import TASKS, task_named
from preimage.tasks import Output, SeededOptions, TaskSpec, described, option

if TYPE_CHECKING:
    from preimage.tasks import ImageLike


@dataclass(frozen=True, kw_only=True)
class FillOptions(SeededOptions):
    mask: ImageLike = option(help="Mask, white where the image is valid.", kind="image")
    kernel_width: float = option(1.5, help="Width of the kernel in pixels, above 0.", minimum=0, exclusive=True)
    gap: Literal["hole", "text"] = option("hole", help="Kind of gap.")
    guide: ImageLike | None = option(None, help="Image that guides.", kind="image")
    shift: tuple[int, int] = option((0, 0), help="ROWS COLUMNS of a shift.")
    side: int | Literal["auto"] = option("auto", help="Side in pixels, or auto.")
    smooth: bool | None = option(None, help="Smooth the edges (default: by the mask).")
    rule: Callable[[], int] | Literal["fast", "slow"] | Literal["auto"] = option("auto", help="Rule, or auto.")
    chosen_by: Callable[[int], int] | None = option(None, help="Function that chooses.", kind="python")


@dataclass
class Filling:
    """A Run of two steps."""

    options: FillOptions
    size: tuple[int, int] = (20, 24)
    task: str = "fill-in"
    remarks: tuple[str, ...] = ("two steps will do",)
    fingerprint: dict[str, Any] = field(default_factory=dict)
    finished: bool = True

    def __iter__(self):
        return iter([SimpleNamespace(index=n, total=2, status="filling") for n in (1, 2)])

    def result(self) -> FillOptions:
        return self.options


def write(result: FillOptions, path: Path, *, overwrite: bool = False) -> None:
    assert not overwrite
    path.write_text(f"{result.shift} {result.smooth}")


FILL_IN = TaskSpec(
    "fill-in",
    "Fill in what a mask hides.",
    "preimage fill-in photo.png --mask mask.png",
    FillOptions,
    lambda image, options: Filling(options),
    inputs="image",
    outputs=(Output("output", "Text to write.", (".txt",), write, default="{stem}-{task}.txt"),),
    report=lambda result: {"kernel_width": result.kernel_width},
    summary_lines=lambda result: [f"a kernel of {result.kernel_width}"],
)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "fill-in", "module_of_fill_in:task")
    monkeypatch.setitem(sys.modules, "module_of_fill_in", SimpleNamespace(task=FILL_IN))  # pyright: ignore


def test_types_on_the_command_line():
    parameters = inspect.signature(command_of(FILL_IN)).parameters
    types = {name: get_args(parameter.annotation)[0] for name, parameter in parameters.items()}
    assert types["mask"] is Path
    assert types["guide"] == Path | None
    assert types["kernel_width"] is float
    assert types["gap"] == Literal["hole", "text"]
    assert types["shift"] == tuple[int, int]
    assert types["side"] == int | Literal["auto"]
    assert types["device"] is str
    assert types["rule"] == Literal["fast", "slow", "auto"]
    assert "chosen_by" not in types
    assert parameters["mask"].default is inspect.Parameter.empty
    assert "--mask" in usage_of(FILL_IN)


@pytest.mark.usefixtures("registered")
def test_a_new_task_is_one_line(here, run):
    options = ("--mask", "clean.png", "--kernel-width", "2", "--shift", "1", "-2", "--side", "7", "--seed", "3")
    ran = run("fill-in", "noisy.png", *options, "--json")
    assert ran.code == 0, ran.err
    assert Path("noisy-fill-in.txt").read_text() == "(1, -2) None"
    assert '"kernel_width": 2.0' in ran.out
    assert "two steps will do" in ran.err
    assert run("fill-in", "noisy.png", *options).failed_in_one_line("noisy-fill-in.txt", code="exists")
    assert run("fill-in", "noisy.png").failed_in_one_line("--mask", code="option")
    for wrong, code in (("--side=2.5", "option"), ("--gap=crack", "option"), ("--kernel-width=0", "invalid-value")):
        ran = run("fill-in", "noisy.png", "--mask", "clean.png", wrong, "-o", "b.txt")
        assert ran.failed_in_one_line(wrong.split("=")[1], code=code), ran
    assert run("fill-in", "noisy.png", "clean.png", *options).failed_in_one_line("clean.png", code="option")
    assert not Path("b.txt").exists()
    for flag, value in (("--smooth", True), ("--no-smooth", False)):
        assert run("fill-in", "noisy.png", *options, flag, "-o", f"{value}.txt").code == 0
        assert Path(f"{value}.txt").read_text() == f"(1, -2) {value}"


@pytest.mark.parametrize("name", TASKS)
def test_every_registered_task_becomes_a_command(name: str, run):
    ran = run(name, "--help")
    assert ran.code == 0
    task = task_named(name)
    assert " ".join(task.example.split()) in " ".join(ran.out.split())
    assert "None" not in ran.out
    for option_name, stated in described(task.options).items():
        flags = stated.flags or (f"--{option_name.replace('_', '-')}",)
        shown = stated.kind != "python" or option_name in run_options_of(task)
        assert (flags[0] in ran.out) is shown, option_name
    for output in task.outputs:
        assert f"--{output.name}" in ran.out
