"""Messages are never worth a picture: streams that are closed, full, gone, or cannot encode a name."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli.tiny import ENVIRONMENT, TINY, UNMEASURED
from hypothesis import given
from hypothesis import strategies as st

from preimage.cli.streams import printable

pytestmark = pytest.mark.skipif(os.name == "nt", reason="streams of POSIX systems")

FIT = "denoise noisy.png --recipe tiny.json --stop steps --device cpu -o out.png"


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    text = command.replace("preimage", f'"{sys.executable}" -m preimage')
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {text}"], env=ENVIRONMENT | environment, capture_output=True
    )


@pytest.mark.long
@pytest.mark.parametrize(
    "streams",
    ["2>&-", ">&- 2>&-", ">/dev/full 2>/dev/full", "2>&1 | true"],
)
def test_streams_that_fail_cost_no_picture(here, streams):
    ran = shell(f"preimage {FIT} {streams}")
    assert (ran.returncode, ran.stdout) == (0, ran.stdout), ran
    assert Path("out.png").exists()
    if "2>&-" in streams:  # and nothing of it went to stdout
        assert b"preimage:" not in ran.stdout


def test_what_was_asked_for_on_stdout_and_is_not_there_is_an_error(here):
    ran = shell(f"preimage {FIT} --json >/dev/full")
    assert ran.returncode == 2
    assert ran.stderr.count(b"preimage: standard output cannot be written") == 1
    assert Path("out.png").exists()


def test_an_error_goes_nowhere_where_stderr_is_closed(here):
    ran = shell("preimage denoise absent.png --json 2>&-")
    assert (ran.returncode, ran.stdout) == (2, b"")


@pytest.mark.parametrize("command", ["doctor", "--help"])
def test_who_reads_one_line_and_leaves_made_nothing_fail(here, command):
    ran = shell(f"preimage {command} | head -1")
    assert (ran.returncode, ran.stderr) == (0, b"")


def test_a_name_that_cannot_be_encoded_is_printed_all_the_same(here):
    Path("noisy.png").rename("caf\udce9.png")
    options = "--recipe tiny.json --stop steps --report report.json"
    command = f"preimage denoise $'caf\\xe9.png' {options} -o $'out\\xe9.png'"
    ran = shell(command, PYTHONIOENCODING="ascii:strict")
    assert ran.returncode == 0, ran.stderr
    assert Path("out\udce9.png").exists()
    assert Path("report.json").exists()


@given(st.text())
def test_what_is_printed_is_one_line_without_control_characters(text):
    shown = printable(text)
    assert shown.isprintable() or not any(ord(each) < 32 or 127 <= ord(each) < 160 for each in shown)
    assert len(shown.splitlines()) <= 1


def begun(here: Path) -> subprocess.Popen[bytes]:
    """A fit of a few seconds that has saved a checkpoint."""
    Path("long.json").write_text(json.dumps({**TINY, "steps": 2000}))
    command = [sys.executable, "-m", "preimage", *FIT.replace("tiny", "long").split(), "--autosave", "5"]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until = time.monotonic() + 120
    while not Path("out.png.checkpoint").exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    return process


def test_a_terminal_that_is_closed_costs_no_picture(here):
    process = begun(here)
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    process.stderr.close()
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == 129
    assert Path("out.png").exists()
    assert Path("out.png.checkpoint").exists()


@pytest.mark.parametrize("seconds", [0.15, 0.6, 1.2])
def test_ctrl_c_while_the_program_starts_is_one_line(here, seconds):
    command = [sys.executable, "-m", "preimage", *FIT.replace("tiny.json", "best").split()]
    process = subprocess.Popen(command, env=UNMEASURED, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert [line[:10] for line in err.decode().splitlines() if line] in ([b"preimage: ".decode()], ["preimage: "] * 2)
