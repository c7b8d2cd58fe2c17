"""What is seen while a fit runs."""

from __future__ import annotations

import json
import re
import sys

import pytest
import torch

from preimage.cli.progress import Progress
from preimage.engine.step import Step
from preimage.jobs import projection


def step(index: int, **given: object) -> Step:
    image = torch.zeros(1, 1, 16, 16)
    options = {"total": 40, "seconds": 2.0 * index, "status": "held out 0.01", **given}
    return Step(index=index, image=image, average=image, terms={"squared": torch.tensor([0.25])}, **options)  # pyright: ignore


def test_a_terminal_shows_steps_time_left_loss_and_the_rule(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress("photo [1].png") as progress:
        for index in range(1, 31):
            progress.show(step(index))
    shown = capsys.readouterr().err
    # The last step is shown, however soon it came after the one before.
    for words in ("photo [1].png", "30/40", "0:20", "loss 0.25", "held out 0.01"):
        assert words in shown


def test_plain_lines_are_few(capsys: pytest.CaptureFixture[str]):
    with Progress("photo.png") as progress:
        for index in range(1, 31):
            progress.show(step(index))
    assert capsys.readouterr().err == "photo.png: step 1 of 40, at most 1:18 left, loss 0.25 held out 0.01\n"


@pytest.mark.parametrize(("index", "total"), [(41, 40), (660, 600), (1, 0)])
@pytest.mark.parametrize("terminal", [True, False])
def test_no_step_is_counted_beyond_the_total(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, index: int, total: int, terminal: bool
):
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with Progress("photo.png") as progress:
        progress.show(step(index, total=total))
    shown = capsys.readouterr().err
    assert (f"{index}/{index}" if terminal else f"step {index} of {index}, at most 0:00 left") in shown


def test_quiet(capsys: pytest.CaptureFixture[str]):
    with Progress("photo.png", quiet=True) as progress:
        progress.show(step(1))
    assert capsys.readouterr().err == ""


# ---------------------------------------------------------------------- how long it will take

TWELVE = ("denoise", "noisy.png", "--recipe", "tiny.json", "--stop", "steps")
LINE = re.compile(r"noisy\.png: about \d+ s on this machine\n")


@pytest.mark.parametrize("terminal", [True, False])
def test_what_takes_long_is_said_once_after_a_few_steps(here, run, monkeypatch, terminal: bool):
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setattr(projection, "WORTH_SAYING", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    ran = run(*TWELVE)
    assert ran.code == 0, ran.err
    assert len(LINE.findall(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", ran.err))) == 1
    assert "on this machine" not in ran.out


def test_what_is_short_is_not(here, run):
    assert "on this machine" not in run(*TWELVE).err


def test_quiet_and_json_are_kept(here, run, monkeypatch):
    monkeypatch.setattr(projection, "WORTH_SAYING", 0.0)
    ran = run(*TWELVE, "--json")
    assert json.loads(ran.out)["steps"] == 12
    assert len(LINE.findall(ran.err)) == 1
    assert run(*TWELVE, "--quiet", "--overwrite").err == ""
