"""Whatever is wrong: one line, exit code 2, no traceback, nothing written."""

from __future__ import annotations

import errno
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from cli.tiny import ENVIRONMENT, pictures
from PIL import Image

from preimage.cli.streams import printable
from preimage.engine.fit import Fit
from preimage.errors import InputError
from preimage.jobs.failures import explain


def bomb() -> bytes:
    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b""))
    body = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def bad_files() -> dict[str, bytes]:
    whole = Path("noisy.png").read_bytes()
    frames = [Image.fromarray(np.full((20, 20), 99 * i, np.uint8)) for i in range(2)]
    frames[0].save("a.gif", save_all=True, append_images=frames[1:])
    spoilt = np.ones((20, 20), np.float32)
    spoilt[3, 3] = np.inf
    tifffile.imwrite("n.tif", spoilt)
    Image.fromarray(np.zeros((8, 40), np.uint8)).save("s.png")
    found = {"moving.gif": "a.gif", "infinite.tif": "n.tif", "small.png": "s.png"}
    made = {name: Path(source).read_bytes() for name, source in found.items()}
    for source in found.values():
        Path(source).unlink()
    return {"truncated.png": whole[:200], "text.png": b"hello", "empty.png": b"", "bomb.png": bomb(), **made}


def test_bad_pictures(here, run):
    files = bad_files()
    for name, content in files.items():
        Path(name).write_bytes(content)
    Path("folder.png").mkdir()
    before = sorted(here.iterdir())
    for name in [*files, "folder.png", "nowhere.png"]:
        ran = run("denoise", name, "--recipe", "tiny.json", "--report", "report.json")
        assert ran.failed_in_one_line(name), (name, ran)
        assert sorted(here.iterdir()) == before, name


@pytest.mark.parametrize(
    ("tokens", "words", "code"),
    [
        (["-o", "nowhere/out.png"], ["nowhere/out.png"], "unwritable"),
        (["-o", "out.xyz"], ["out.xyz"], "format"),
        (["-o", "out"], ["out"], "format"),
        (["--figure", "f.jpg"], ["--figure", "f.jpg", ".png"], "format"),
        (["--film", "f.mp4"], ["--film", "f.mp4", ".gif"], "format"),
        (["--uncertainty", "u.png", "--restarts", "2"], ["--uncertainty", "u.png", ".tif"], "format"),
        (["--report", "nowhere/r.json"], ["nowhere/r.json"], "unwritable"),
        (["--report", "report.txt"], ["report.txt", ".json"], "format"),
        (["--reference", "nowhere.png"], ["nowhere.png"], "not-found"),
        (["--reference", "grey.png"], ["24 x 20 pixels, 1 channels", "24 x 20 pixels, 3 channels"], "size"),
        (["--reference", "deep.png"], ["deep.png", "uint16", "uint8"], "type"),
        (["--recipe", "nowhere.json"], ["nowhere.json"], "not-found"),
        (["--recipe", "noisy.json"], ["noisy.json", "JSON"], "unreadable"),
        (["--recipe", "list.json"], ["list.json"], "unreadable"),
        (["--recipe", "odd.json"], ["odd.json", "colour"], "option"),
        (["--recipe", "old.json"], ["old.json", "2"], "format"),
        (["--recipe", "slow"], ["slow", "fast, balanced, best, paper"], "invalid-value"),
        (["--recipe", "paper", "--prior", "pixels"], ["pixels", "paper"], "option"),
        (["--recipe", "paper", "--quality", "best"], ["--quality"], "option"),
        (["--quality", "best", "--prior", "pixels"], ["pixels", "best"], "option"),
        (["--quality", "good"], ["good"], "invalid-value"),
        (["--steps", "0"], ["steps", "0"], "invalid-value"),
        (["--steps", "3.5"], ["--steps", "3.5"], "option"),
        (["--restarts", "0"], ["restarts", "0"], "invalid-value"),
        (["--threads", "0"], ["threads", "0"], "invalid-value"),
        (["--autosave", "0"], ["autosave", "0"], "invalid-value"),
        (["--every", "0", "--film", "f.gif"], ["every", "0"], "invalid-value"),
        (["--strength", "1.5"], ["strength", "1.5"], "invalid-value"),
        (["--strength", "nan"], ["strength", "nan"], "invalid-value"),
        (["--seed", "-1"], ["seed", "-1"], "invalid-value"),
        (["--seed", "2147483648"], ["seed", "2147483648"], "invalid-value"),
        (["--page", "2"], ["page", "2"], "invalid-value"),
        (["--page", "0"], ["page", "0"], "invalid-value"),
        (["--range", "9", "3"], ["9", "3"], "range"),
        (["--sigma", "-3"], ["sigma", "-3"], "invalid-value"),
        (["--tv", "-1"], ["tv", "-1"], "invalid-value"),
        (["--device", "abacus"], ["abacus"], "device"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and value[0].startswith("-") else "",
)
def test_bad_options(here, run, tokens, words, code):
    Image.fromarray(pictures()[0][..., 0]).save("grey.png")
    Image.fromarray(np.zeros((20, 24), np.uint16)).save("deep.png")
    Path("noisy.json").write_text("{steps: 3")
    Path("list.json").write_text("[1]")
    Path("odd.json").write_text(json.dumps({"format": 2, "colour": 3}))
    Path("old.json").write_text(json.dumps({"steps": 3}))
    before = sorted(here.iterdir())
    recipe = [] if {"--recipe", "--quality"} & set(tokens) else ["--recipe", "tiny.json"]
    ran = run("denoise", "noisy.png", *recipe, *tokens)
    assert ran.failed_in_one_line(*words, code=code), ran
    assert sorted(here.iterdir()) == before


def test_a_full_disk_keeps_what_was_there(here, run, monkeypatch):
    Path("out.png").write_text("mine")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    ran = run("denoise", "noisy.png", "--recipe", "tiny.json", "-o", "out.png", "--overwrite")
    assert ran.failed_in_one_line("out.png", code="unwritable")
    assert Path("out.png").read_text() == "mine"
    assert not list(here.glob(".preimage*"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (InputError("one\n  two"), r"one\n  two"),
        (MemoryError(), "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "--recipe"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "--recipe"),
        (OSError(errno.EIO, "Input/output error", "x.png"), "x.png: Input/output error"),
        (KeyError("lost"), "unexpected KeyError: 'lost'"),
    ],
)
def test_every_failure_is_one_line(error, words):
    shown = printable(explain(error))
    assert words in shown
    assert "\n" not in shown


def test_an_unexpected_failure_of_one_picture(here, run, monkeypatch):
    def broken(fit: Fit) -> None:
        raise RuntimeError("a defect\nof two lines")

    monkeypatch.setattr(Fit, "__next__", broken)
    ran = run("denoise", "noisy.png", "clean.png", "--recipe", "tiny.json", "--quiet")
    assert ran.code == 2
    assert len(ran.err.splitlines()) == 2
    assert "noisy.png" in ran.err
    assert "RuntimeError: a defect of two lines" in ran.err
    assert not list(here.glob("*-denoise.png"))
    monkeypatch.setenv("PREIMAGE_DEBUG", "1")
    assert "Traceback" in run("denoise", "noisy.png", "--recipe", "tiny.json").err


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell")
def test_a_reader_that_goes_away_is_no_failure(here):
    options = "--recipe tiny.json --steps 2 --json --device cpu"
    command = f"{sys.executable} -m preimage denoise noisy.png {options} | true; exit ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", command], env=ENVIRONMENT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "Broken" not in ran.stderr
