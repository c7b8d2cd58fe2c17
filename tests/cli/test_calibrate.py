"""preimage calibrate: the file it writes is what the task then takes; whatever is wrong is one line before any fit."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from cli.tiny import pictures
from PIL import Image

from preimage.cli.progress import Progress
from preimage.engine.step import Step
from preimage.restore.calibration import Calibration


@pytest.fixture
def clean(here: Path) -> Path:
    """A folder of three pictures, 24 x 20, and a file that is none."""
    folder = here / "clean"
    folder.mkdir()
    picture = pictures()[0]
    for i, name in enumerate("abc"):
        Image.fromarray(np.roll(picture, 6 * i, axis=1)).save(folder / f"{name}.png")
    (folder / "notes.txt").write_text("hello")
    return folder


COMMON = ("calibrate", "clean", "--degradation", "gaussian:25", "--recipe", "tiny.json", "--steps", "3")
BRIEF = (*COMMON, "--limit", "2")


def test_help_shows_an_example(run):
    ran = run("calibrate", "--help")
    assert ran.code == 0
    assert "preimage calibrate clean/ --degradation gaussian:25" in ran.out.split("Example")[1]
    assert "calibrate" in run("--help").out


def test_the_recipe_file_is_taken_by_the_task(clean, run):
    ran = run(*COMMON, "-o", "recipe.json", "--report", "report.json")
    assert ran.code == 0, ran.err
    report = json.loads(Path("report.json").read_text())
    steps = report["steps"]
    assert "recipe.json" in ran.out
    assert "fit 1 of 12" in ran.err
    ran = run("denoise", "noisy.png", "--recipe", "recipe.json", "--report", "of-task.json")
    assert ran.code == 0, ran.err
    done = json.loads(Path("of-task.json").read_text())
    assert done["recipe"] == report["recipe"] == json.loads(Path("recipe.json").read_text())
    assert (done["steps"], done["kept_step"], done["recipe"]["stop"]) == (steps, steps, "steps")


def test_the_report_has_every_fit(clean, run):
    assert run(*COMMON, "--report", "report.json", "--quiet").code == 0
    report = json.loads(Path("report.json").read_text())
    assert (report["degradation"], report["task"], report["seed"]) == ("gaussian:25", "denoise", 0)
    assert len(report["tuning"]) == 5 * 2
    assert len(report["held_out"]) == 1
    names = {row["picture"] for row in report["tuning"]}
    assert names | {row["picture"] for row in report["held_out"]} == {"a.png", "b.png", "c.png"}
    assert names.isdisjoint(row["picture"] for row in report["held_out"])
    assert [len(curve) for curve in report["curves"]] == [3] * 5
    chosen = next(row["candidate"] for row in report["tuning"] if row["settings"] == report["settings"])
    assert report["curves"][chosen][report["steps"] - 1] == max(map(max, report["curves"]))


@pytest.mark.long
@pytest.mark.parametrize(
    ("degradation", "task", "flags"),
    [
        ("jpeg:30", "remove-jpeg-artifacts", []),
        ("missing:0.5", "inpaint", ["--mask", "mask.png", "--mask-white", "missing"]),
        ("blur:0.3", "deblur", ["--kernel", "gaussian:0.3"]),
    ],
)
def test_other_tasks_do_what_their_file_says(clean, run, degradation, task, flags):
    mask = np.random.default_rng(0).random((20, 24)) < 0.5
    Image.fromarray(mask.astype(np.uint8) * 255).save("mask.png")
    # The task's own recipe where it would take it for one of several; it is wide, so one step.
    recipe, steps = ("fast", 1) if task == "inpaint" else ("tiny.json", 2)
    options = ("--degradation", degradation, "--recipe", recipe, "--steps", steps, "--limit", "2")
    ran = run("calibrate", "clean", *options)
    assert ran.code == 0, ran.err
    assert task in ran.out
    ran = run(task, "noisy.png", *flags, "--recipe", "recipe.json", "-o", "out.png", "--report", "report.json")
    assert ran.code == 0, ran.err
    report = json.loads(Path("report.json").read_text())
    assert report["recipe"] == json.loads(Path("recipe.json").read_text())
    assert report["steps"] == report["recipe"]["steps"] <= steps


def test_super_resolution_end_to_end(here, run):
    Path("clean").mkdir()
    for i in range(2):
        Image.fromarray(np.roll(pictures(40, 48)[0], 6 * i, axis=1)).save(f"clean/{i}.png")
    ran = run(
        "calibrate", "clean", "--degradation", "downsample:2", "--recipe", "tiny.json", "--steps", "2", "--side", 36
    )
    assert ran.code == 0, ran.err
    ran = run("super-resolve", "noisy.png", "--factor", "2", "--recipe", "recipe.json", "--report", "report.json")
    assert ran.code == 0, ran.err
    assert json.loads(Path("report.json").read_text())["recipe"]["stop"] == "steps"


def test_equal_commands_write_equal_files(clean, run):
    for name in ("a", "b"):
        assert run(*BRIEF, "--seed", "5", "-o", f"{name}.json", "--quiet", "--threads", "1").code == 0
    assert Path("a.json").read_bytes() == Path("b.json").read_bytes()


def test_quiet_says_nothing(clean, run):
    ran = run(*BRIEF, "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert Path("recipe.json").exists()


def test_a_choice_that_is_worse_is_written_and_said(clean, run, monkeypatch):
    monkeypatch.setattr(Calibration, "default", property(lambda self: 99.0))
    ran = run(*BRIEF)
    assert ran.code == 0
    assert "warning" in ran.out
    assert Path("recipe.json").exists()


def test_an_existing_file_is_replaced_only_if_asked(clean, run):
    for name in ("recipe.json", "report.json"):
        Path(name).write_text("mine")
        options = (*BRIEF, "--report", "report.json")
        assert run(*options).failed_in_one_line(name, code="exists")
        assert Path(name).read_text() == "mine"
        assert run(*options, "--overwrite", "--quiet").code == 0
        assert json.loads(Path(name).read_text())
        Path(name).unlink()


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_recipe_and_a_checkpoint_to_go_on_from(clean, run, monkeypatch, number):
    seen: list[int] = []

    def ask_to_end(progress: Progress, step: Step) -> None:
        seen.append(step.index)
        if len(seen) == 5:
            os.kill(os.getpid(), number)

    before = sorted(Path().iterdir())
    with monkeypatch.context() as patched:
        patched.setattr(Progress, "show", ask_to_end)
        ran = run(*COMMON, "--report", "report.json")
    assert ran.code == 128 + number
    assert seen == [1, 2, 3, 4, 5]
    assert sorted(Path().iterdir()) == sorted([*before, Path("recipe.json.checkpoint")])
    assert run(*COMMON).failed_in_one_line("recipe.json.checkpoint", code="exists")
    assert run(*COMMON, "--resume", "--quiet").code == 0
    assert not Path("recipe.json.checkpoint").exists()
    assert run(*COMMON, "-o", "whole.json", "--quiet").code == 0
    assert Path("recipe.json").read_bytes() == Path("whole.json").read_bytes()


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["nowhere"], ["nowhere"]),
        (["noisy.png"], ["noisy.png"]),
        (["empty"], ["empty", "0"]),
        (["one"], ["one", "1"]),
        (["broken"], ["b.png"]),
        (["small"], ["b.png", "8 x 20"]),
        (["clean", "--degradation", "fog:3"], ["fog:3"]),
        (["clean", "--degradation", "gaussian:0"], ["gaussian:0"]),
        (["clean", "--degradation", "downsample:4"], ["24 x 20"]),
        (["clean", "--side", "8"], ["side", "16"]),
        (["clean", "--side", "8.5"], ["--side"]),
        (["clean", "--limit", "1"], ["limit"]),
        (["clean", "--steps", "0"], ["steps"]),
        (["clean", "--seed", "-1"], ["seed"]),
        (["clean", "--threads", "0"], ["threads", "0"]),
        (["clean", "--device", "abacus"], ["abacus"]),
        (["clean", "--recipe", "nowhere.json"], ["nowhere.json"]),
        (["clean", "--recipe", "slow"], ["slow"]),
        (["clean", "-o", "recipe.txt"], ["--output", ".json"]),
        (["clean", "-o", "nowhere/recipe.json"], ["nowhere"]),
        (["clean", "-o", "same.json", "--report", "same.json"], ["--report", "--output"]),
        (["clean", "--report", "nowhere/report.json"], ["nowhere"]),
    ],
    ids=" ".join,
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(clean, run, tokens, words, monkeypatch):
    whole = (clean / "a.png").read_bytes()
    files = {"one": [whole], "empty": [], "broken": [whole, whole[:100]]}
    for name, contents in files.items():
        Path(name).mkdir()
        for letter, content in zip("ab", contents, strict=False):
            Path(name, f"{letter}.png").write_bytes(content)
    Path("small").mkdir()
    Path("small/a.png").write_bytes(whole)
    Image.fromarray(np.zeros((20, 8), np.uint8)).save("small/b.png")
    monkeypatch.setattr(Progress, "show", lambda progress, step: pytest.fail("a fit was begun"))
    before = sorted(Path().rglob("*"))
    recipe = [] if "--recipe" in tokens else ["--recipe", "tiny.json"]
    degradation = [] if "--degradation" in tokens else ["--degradation", "gaussian:25"]
    ran = run("calibrate", *tokens, *recipe, *degradation)
    assert ran.failed_in_one_line(*words), ran
    assert sorted(Path().rglob("*")) == before


def test_a_wrong_command_line_is_one_line(run):
    assert run("calibrate").failed_in_one_line("INPUT")
    assert run("calibrate", "clean").failed_in_one_line("--degradation")
