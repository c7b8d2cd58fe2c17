"""What fails beside a fit does not cost its picture; what is finished is not asked for twice."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from cli.tiny import UNMEASURED

from preimage.engine import checkpoint
from preimage.errors import InputError
from preimage.images import atomic
from preimage.jobs import run as jobs

OPTIONS = ("--recipe", "tiny.json", "--stop", "steps", "--device", "cpu")


@pytest.fixture
def unwritable(monkeypatch) -> list[int]:
    """No checkpoint can be saved; how often that was tried."""
    tried: list[int] = []

    def save(run, path, observers=None) -> None:
        tried.append(run.index)
        raise InputError(f"{path} cannot be written, the disk is full: free some space", code="unwritable")

    monkeypatch.setattr(checkpoint, "save", save)
    return tried


def test_a_checkpoint_that_cannot_be_written_is_one_warning_and_tried_again(here, run, unwritable):
    ran = run("denoise", "noisy.png", *OPTIONS, "-o", "out.png", "--autosave", "3", "--report", "report.json")
    assert ran.code == 0
    assert Path("out.png").exists()
    assert unwritable == [3, 6, 9, 12]
    assert ran.err.count("preimage: warning: no checkpoint could be saved") == 1
    assert len(json.loads(Path("report.json").read_text())["warnings"]) == 1


def test_interrupted_without_a_checkpoint_the_picture_is_written(here, run, unwritable, monkeypatch):
    def signalled(progress, step) -> None:
        if step.index == 4:
            os.kill(os.getpid(), 2)

    monkeypatch.setattr("preimage.cli.progress.Progress.show", signalled)
    ran = run("denoise", "noisy.png", *OPTIONS, "-o", "out.png", "--autosave", "3")
    assert ran.code == 130
    assert Path("out.png").exists()


def test_an_output_that_came_to_be_meanwhile_costs_no_checkpoint(here, run, monkeypatch):
    def signalled(progress, step) -> None:
        if step.index == 4:
            Path("out.png").write_bytes(b"another's")
            os.kill(os.getpid(), 2)

    monkeypatch.setattr("preimage.cli.progress.Progress.show", signalled)
    ran = run("denoise", "noisy.png", *OPTIONS, "-o", "out.png", "--autosave", "2")
    assert ran.errors == ("exists",)
    assert Path("out.png").read_bytes() == b"another's"
    assert Path("out.png.checkpoint").exists()


def test_under_a_limit_of_file_sizes_the_picture_is_there(here):
    tokens = ["denoise", "noisy.png", *OPTIONS, "-o", "out.png", "--autosave", "2"]
    ran = subprocess.run(
        [sys.executable, "-m", "preimage", *tokens],
        env=UNMEASURED,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)),
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("warning") == 1
    assert Path("out.png").exists()
    assert not [path for path in here.iterdir() if path.name.startswith(".preimage")]


def test_picture_figure_and_report_are_there_before_the_checkpoint_goes(here, run, monkeypatch):
    settle, seen = jobs.Running.settle, list[bool]()

    def settled(running) -> None:
        seen.extend(map(os.path.exists, ("out.png", "figure.png", "report.json", "out.png.checkpoint")))
        settle(running)

    monkeypatch.setattr(jobs.Running, "settle", settled)
    files = ("-o", "out.png", "--figure", "figure.png", "--report", "report.json")
    assert run("denoise", "noisy.png", *OPTIONS, *files, "--autosave", "3").code == 0
    assert seen == [True] * 4
    assert not Path("out.png.checkpoint").exists()


@pytest.mark.parametrize("report", [(), ("--report", "report.json")])
def test_a_batch_that_is_finished_is_finished(here, run, report):
    Path("out").mkdir()
    command = ("denoise", "noisy.png", "clean.png", *OPTIONS, "-o", "out", *report)
    assert run(*command).code == 0
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    Path("out/clean-denoise.png").unlink()
    again = run(*command, "--resume")
    assert again.code == 0, again.err
    assert "out/noisy-denoise.png is there" in again.out
    assert {path: path.read_bytes() for path in here.rglob("*.png")}.items() <= before.items()
    if report:
        assert {each["input"] for each in json.loads(Path("report.json").read_text())} == {"noisy.png", "clean.png"}


def test_what_another_job_left_is_not_taken_for_finished(here, run):
    command = ("denoise", "noisy.png", *OPTIONS, "-o", "out.png", "--report", "report.json")
    assert run(*command).code == 0
    assert run(*command, "--resume").code == 0
    ran = run(*command, "--seed", "5", "--resume")
    assert ran.failed_in_one_line("out.png", "--overwrite", code="exists")


def test_the_report_cannot_replace_the_recipe(here, run):
    before = Path("tiny.json").read_bytes()
    ran = run("denoise", "noisy.png", *OPTIONS, "-o", "out.png", "--report", "tiny.json", "--overwrite")
    assert ran.failed_in_one_line("tiny.json", code="option")
    assert Path("tiny.json").read_bytes() == before


def test_a_link_that_leads_to_itself_is_found_before_the_fit(here, run):
    Path("loop.png").symlink_to("loop.png")
    ran = run("denoise", "noisy.png", *OPTIONS, "-o", "loop.png", "--overwrite")
    assert ran.failed_in_one_line("loop.png", code="unwritable")


@pytest.mark.parametrize("target", ["out.png.checkpoint", "unmounted/disk"])
def test_a_checkpoint_that_is_a_link_to_nothing_is_not_passed_over(here, run, target):
    Path("out.png.checkpoint").symlink_to(target)
    ran = run("denoise", "noisy.png", *OPTIONS, "-o", "out.png", "--resume")
    assert ran.failed_in_one_line("out.png.checkpoint", "mount or remove it", code="checkpoint")
    assert not Path("out.png").exists()


def test_what_a_killed_writer_left_goes_when_the_file_is_written_next(tmp_path):
    target = tmp_path / "out.png"
    orphan, other = atomic._partial_name(target), atomic._partial_name(tmp_path / "other.png")
    orphan.write_bytes(b"half")
    other.write_bytes(b"half")
    at_work, file = atomic._new_partial(target)
    with file:
        atomic.write_bytes_atomically(target, b"whole")
        assert sorted(tmp_path.iterdir()) == sorted([target, other, at_work])


def test_control_characters_of_a_name_are_shown_as_escapes(here, run):
    name = "a\x1b[31m\nb.png"
    ran = run("denoise", name, *OPTIONS, "-o", "out.png")
    assert ran.failed_in_one_line(r"a\x1b[31m\nb.png")


def test_a_recipe_nested_too_deep_is_no_defect(here, run):
    Path("deep.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    assert run("denoise", "noisy.png", "--recipe", "deep.json", "-o", "out.png").failed_in_one_line(
        "deep.json", code="unreadable"
    )
