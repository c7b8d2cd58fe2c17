"""The commands besides the tasks, and their help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cli.tiny import ENVIRONMENT

from preimage.version import __version__


@pytest.mark.parametrize("command", ["", "denoise", "demo", "doctor"])
def test_help_shows_an_example(command, run):
    ran = run(*([command] if command else []), "--help")
    assert ran.code == 0
    assert f"preimage {command}".strip() in ran.out.split("Example")[1]


def test_version(run):
    assert run("--version").out.strip() == __version__


def test_no_command_shows_the_help(run):
    ran = run()
    assert ran.code == 0
    assert "denoise" in ran.out


@pytest.mark.parametrize(
    ("tokens", "word"),
    [
        (["denoize", "a.png"], "denoize"),
        (["denoise"], "INPUT"),
        (["denoise", "a.png", "--sigmo", "3"], "--sigmo"),
        (["denoise", "a.png", "--sigma", "many"], "--sigma"),
        (["denoise", "a.png", "--noise", "pink"], "--noise"),
        (["denoise", "a.png", "--stop", "soon"], "--stop"),
        (["denoise", "a.png", "--prior", "u-net"], "--prior"),
        (["denoise", "a.png", "--range", "3"], "--range"),
        (["denoise", "a.png", "--steps"], "--steps"),
        (["doctor", "a.png"], "a.png"),
    ],
)
def test_a_wrong_command_line_is_one_line(tokens, word, run):
    assert run(*tokens).failed_in_one_line(word, code="option")


def test_demo_ends_with_paths_and_numbers(here, run):
    ran = run("demo", "--recipe", "tiny.json", "--output", "out/demo.png", "--figure", "out/demo-figure.png")
    assert ran.code == 0, ran.err
    assert Path("out/demo.png").exists()
    assert Path("out/demo-figure.png").exists()
    for word in ("out/demo.png", "out/demo-figure.png", "noisy", "restored"):
        assert word in ran.out
    again = run("demo", "--recipe", "tiny.json", "--output", "out/demo.png", "--figure", "out/demo-figure.png")
    assert again.failed_in_one_line("out/demo.png", code="exists")


def test_module_runs_as_the_command():
    ran = subprocess.run(
        [sys.executable, "-m", "preimage", "--version"], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, __version__)
