"""Ctrl-C and kill -9, on real processes: what was done is not lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cli.tiny import ENVIRONMENT, TINY

from preimage.cli.progress import Progress
from preimage.engine.step import Step
from preimage.series import plan

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")


@pytest.fixture
def long(here: Path) -> Path:
    """A recipe of a few seconds."""
    Path("long.json").write_text(json.dumps({**TINY, "steps": 150}))
    return here


def start(*tokens: str) -> subprocess.Popen[str]:
    options = ["--recipe", "long.json", "--stop", "steps", "--device", "cpu", *tokens]
    command = [sys.executable, "-m", "preimage", "denoise", "noisy.png", *options]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_checkpoint(process: subprocess.Popen[str], path: str = "out.png.checkpoint") -> None:
    until = time.monotonic() + 60
    while not Path(path).exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)


def test_ctrl_c_writes_the_best_so_far_and_keeps_the_checkpoint(long, run):
    process = start("-o", "out.png", "--autosave", "10", "--report", "report.json")
    wait_for_checkpoint(process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert Path("out.png").exists()
    assert Path("out.png.checkpoint").exists()
    assert json.loads(Path("report.json").read_text())["reason_code"] == "interrupted"
    # What an interrupted run wrote is replaced by the one that resumes it, and no leave is needed for that.
    options = ("--recipe", "long.json", "--stop", "steps")
    ran = run("denoise", "noisy.png", *options, "-o", "out.png", "--report", "report.json", "--resume")
    assert ran.code == 0, ran.err
    assert not Path("out.png.checkpoint").exists()
    assert run("denoise", "noisy.png", *options, "-o", "whole.png").code == 0
    assert Path("out.png").read_bytes() == Path("whole.png").read_bytes()


@pytest.mark.long
def test_killed_at_random_moments_and_resumed_gives_the_same_bytes(long, run):
    extra = ("--film", "film.gif", "--every", "40", "--figure", "figure.png", "--reference", "clean.png")
    pause = random.Random(time.time_ns())
    kills = 0
    tokens = ("-o", "out.png", "--autosave", "7", *extra, "--resume")
    for _ in range(2):
        process = start(*tokens)
        wait_for_checkpoint(process)
        time.sleep(pause.uniform(0, 0.3))
        process.kill()
        process.communicate()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        kills += 1
    assert kills
    assert not Path("out.png").exists() or Path("out.png.checkpoint").exists()
    last = start(*tokens)
    _, err = last.communicate(timeout=120)
    assert last.returncode == 0, err
    whole = ("-o", "whole.png", "--film", "whole.gif", "--every", "40", "--figure", "whole-figure.png")
    common = ("denoise", "noisy.png", "--recipe", "long.json", "--stop", "steps", "--reference", "clean.png")
    assert run(*common, "--threads", 1, *whole).code == 0
    pairs = (("out.png", "whole.png"), ("film.gif", "whole.gif"), ("figure.png", "whole-figure.png"))
    for resumed, uninterrupted in pairs:
        assert Path(resumed).read_bytes() == Path(uninterrupted).read_bytes(), resumed


@pytest.mark.parametrize("saving", [True, False])
def test_a_request_to_end_between_two_steps(here, run, monkeypatch, saving):
    def ask_to_end(progress: Progress, step: Step) -> None:
        if step.index == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Progress, "show", ask_to_end)
    tokens = ("--autosave", "100") if saving else ()
    ran = run("denoise", "noisy.png", "clean.png", "--recipe", "tiny.json", "--report", "report.json", *tokens)
    assert ran.code == 143
    assert [report["steps"] for report in json.loads(Path("report.json").read_text())] == [5]
    assert Path("noisy-denoise.png").exists()
    assert Path("noisy-denoise.png.checkpoint").exists() is saving
    assert not Path("clean-denoise.png").exists()


def test_a_second_signal_aborts_at_once(here, monkeypatch):
    from preimage.cli.interrupt import Interrupt

    before = signal.getsignal(signal.SIGINT)  # ignored, where the tests run in the background of a shell
    with Interrupt(quiet=True) as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.exit_code == 130
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_before_the_first_step_writes_nothing(here, run, monkeypatch):
    begin = plan.begin

    def slow(*given: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return begin(*given, **options)

    monkeypatch.setattr(plan, "begin", slow)
    before = sorted(here.iterdir())
    ran = run("denoise", "noisy.png", "clean.png", "--recipe", "tiny.json")
    assert ran.code == 130
    assert "noisy.png" in ran.err
    assert sorted(here.iterdir()) == before


def test_a_command_that_is_aborted_at_once_says_so(here, run, monkeypatch):
    def interrupted(*given: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("preimage.defend.saliency_run.SaliencyRun", interrupted)
    ran = run("saliency", "noisy.png", "--classifier", "any")
    assert (ran.code, ran.err) == (130, "preimage: aborted\n")
