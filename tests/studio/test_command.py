"""`preimage studio`: its address, its exit codes, and how soon it is ready."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from preimage.cli import main
from preimage.studio.command import address_of
from preimage.studio.settings import Settings, usual_folder


def test_a_port_that_is_taken_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["studio", "--no-browser", "--port", str(port), "--folder", str(tmp_path)]) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert f"port {port}" in said
    assert "--port" in said


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--host", "0.0.0.0"], "--password"),
        (["--root", "/nowhere"], "--root"),
        (["--workers", "0"], "--workers"),
        (["--folder", "/dev/null/x"], "--folder"),
        (["--port", "99999999"], "--port"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str], word: str
):
    more = [] if "--folder" in options else ["--folder", str(tmp_path)]
    assert main(["studio", "--no-browser", *options, *more]) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert word in said


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("preimage.extras.find_spec", lambda name: None)
    assert main(["studio", "--folder", str(tmp_path)]) == 2
    assert "starlette is not installed: pip install 'preimage[studio]'" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_address_and_a_signal_ends_it_in_order(tmp_path: Path, number: signal.Signals):
    command = [sys.executable, "-m", "preimage", "studio", "--no-browser", "--port", "0", "--folder", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert address.startswith("http://127.0.0.1:")
    assert "?token=" in address
    port = int(address.split(":")[2].split("/")[0])
    time.sleep(0.2)
    with socket.create_connection(("127.0.0.1", port), 10):
        process.send_signal(number)
    assert process.wait(30) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stdout.close()
    process.stderr.close()


def test_addresses(tmp_path: Path):
    assert address_of(Settings(tmp_path, "key", port=1)) == "http://127.0.0.1:1/?token=key"
    assert address_of(Settings(tmp_path, "key", host="::1", port=1)) == "http://[::1]:1/?token=key"
    assert address_of(Settings(tmp_path, "key", host="0.0.0.0", port=1, password="p")) == "http://localhost:1/"


def test_its_files_are_where_a_users_state_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert usual_folder() == tmp_path / "preimage-studio"
