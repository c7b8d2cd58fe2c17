"""`preimage doctor`: what it finds, and that nothing of it tells who the user is."""

from __future__ import annotations

import getpass
import json
import socket
import tempfile
from pathlib import Path

import pytest

from preimage import doctor
from preimage.extras import EXTRAS
from preimage.version import __version__


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SECONDS", 0.05)
    monkeypatch.setattr(doctor, "tried", lambda device, seconds, tried=doctor.tried: tried(device, 0.05))


@pytest.fixture
def jane(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The home of a user, on a machine with a name, who works below it."""
    home = tmp_path / "Users" / "jane smith"
    home.mkdir(parents=True)
    (home / "scans").mkdir()
    monkeypatch.chdir(home / "scans")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setattr(getpass, "getuser", lambda: "jsmith")
    monkeypatch.setattr(socket, "gethostname", lambda: "ward-7")
    return home


def test_it_prints_what_is_here_and_what_is_missing(run, quick, monkeypatch):
    monkeypatch.setattr(doctor, "missing_of", lambda name: ["rawpy"] if name == "raw" else [])
    ran = run("doctor")
    assert ran.code == 0
    lines = {line.split("  ")[1].strip(): line for line in ran.out.splitlines() if line.startswith("  ")}
    for name in (
        "preimage",
        "Python",
        "torch",
        "numpy",
        "cpu",
        "precision",
        "threads",
        "memory",
        "current folder",
        *EXTRAS,
    ):
        assert name in lines, name
    assert "works" in lines["cpu"]
    assert "pip install 'preimage[raw]'" in lines["raw"]
    assert "pip" not in lines["heif"]


def test_json_has_the_same_parts(run, quick):
    found = json.loads(run("doctor", "--json").out)
    assert list(found) == ["versions", "devices", "computing", "extras", "folders"]
    assert found["versions"]["preimage"] == __version__
    assert found["devices"]["cpu"].startswith("works")


def test_a_device_on_which_a_fit_fails_is_said_without_a_name_of_the_user(run, quick, jane, monkeypatch):
    def refuses(*args, **kwargs):
        raise RuntimeError(f"jsmith@WARD-7: no kernel in {jane}/.cache/x ray.so or {Path.cwd()}/a.png, /opt/lib/b.so:3")

    monkeypatch.setattr(doctor, "_losses", refuses)
    ran = run("doctor")
    assert ran.code == 2
    assert "fails: RuntimeError" in ran.out
    for name in ("jane", "smith", "ward", str(jane), "/opt", "a.png", "scans", tempfile.gettempdir()):
        assert name not in ran.out.lower(), name


def test_no_path_is_in_a_report(quick, jane):
    text = json.dumps(doctor.examine())
    for name in (str(jane), str(Path.cwd()), tempfile.gettempdir(), "jsmith", "ward-7", "site-packages"):
        assert name not in text


def test_a_fit_that_does_not_learn_fails(monkeypatch):
    monkeypatch.setattr(doctor, "_losses", lambda *_: ([1.0, float("nan")], 0.0))
    assert doctor.tried("cpu").startswith("fails: the loss")
    monkeypatch.setattr(doctor, "_losses", lambda *_: ([1.0] * 9, 0.0))
    assert doctor.tried("cpu").startswith("fails: the loss")


def test_a_folder_that_cannot_be_written_is_said(monkeypatch):
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/no such folder")
    assert doctor.folders()["temporary folder"].startswith("not writable")


@pytest.mark.parametrize(
    "text",
    [
        r"cannot open C:\Users\jane\a.png",
        "cannot open /a/b.c",
        r"cannot open \\server\share\a.png",
        "cannot open ~/a.png",
    ],
)
def test_paths_of_any_system_go(text):
    assert doctor.without_names(text) == "cannot open <path>"
