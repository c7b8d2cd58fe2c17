"""A command over a folder as a process of its own: Ctrl-C and SIGTERM, pictures that appear, memory that does not grow."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from cli.tiny import ENVIRONMENT
from PIL import Image

pytestmark = [pytest.mark.long, pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")]


def draw(path: Path, seed: int, side: int = 32) -> None:
    """A picture that is there as a whole or not at all."""
    values = np.random.default_rng(seed).normal(128, 40, (side, side)).clip(0, 255).astype(np.uint8)
    Image.fromarray(values).save(path.with_suffix(".part"), "PNG")
    path.with_suffix(".part").rename(path)


def started(*tokens: object) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "preimage",
        "denoise",
        *map(str, tokens),
        "--sigma",
        "25",
        "--stop",
        "steps",
        "--threads",
        "1",
    ]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command,
        stdout=pipe,
        stderr=pipe,
        text=True,
        env=ENVIRONMENT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for(condition: Callable[[], object], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_what_is_at_hand_and_the_same_command_goes_on(tmp_path, number):
    (tmp_path / "in").mkdir()
    for k in range(4):
        draw(tmp_path / "in" / f"{k}.png", k)
    asked = (tmp_path / "in", "-o", tmp_path / "out", "--workers", "2", "--steps", "400")
    process = started(*asked)
    wait_for(lambda: len(list((tmp_path / "out").glob(".preimage/*.lease.1"))) == 2)
    time.sleep(4)  # some steps
    begin = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - begin < 10
    assert process.returncode == 128 + number, err
    assert "interrupted" in out
    assert not list((tmp_path / "out").glob(".preimage/*.lease.*"))
    assert not psutil.Process().children(recursive=True)
    finished = set((tmp_path / "out").glob("*.png"))
    process = started(*asked)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert f"{4 - len(finished)} done" in out
    assert len(list((tmp_path / "out").glob("*.png"))) == 4
    assert not list((tmp_path / "out").glob("*.checkpoint"))


def test_pictures_that_appear_are_restored_once_they_are_whole(tmp_path):
    (tmp_path / "in").mkdir()
    draw(tmp_path / "in" / "0.png", 0)
    process = started(tmp_path / "in", "-o", tmp_path / "out", "--watch", "--steps", "2")
    wait_for((tmp_path / "out" / "0-denoise.png").exists)
    draw(tmp_path / "whole.png", 1)
    content = (tmp_path / "whole.png").read_bytes()
    with (tmp_path / "in" / "1.png").open("wb") as file:  # as a slow copy does
        for start in range(0, len(content), len(content) // 5):
            file.write(content[start : start + len(content) // 5])
            file.flush()
            time.sleep(0.8)
    wait_for((tmp_path / "out" / "1-denoise.png").exists)
    (tmp_path / "whole.png").rename(tmp_path / "in" / "0.jpg")  # of the first one's name, which is not done anew for it
    wait_for(lambda: list((tmp_path / "out").glob("0-jpg-*-denoise.jpg")))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "3 done" in out
    assert len([path for path in (tmp_path / "out").iterdir() if path.is_file()]) == 3
    assert "failed" not in out


def test_a_folder_that_is_empty_at_first_and_what_cannot_be_begun_end_no_watch(tmp_path):
    for name in ("in", "truth"):
        (tmp_path / name).mkdir()
    process = started(
        tmp_path / "in", "-o", tmp_path / "out", "--watch", "--steps", "2", "--reference", tmp_path / "truth"
    )
    time.sleep(3)
    for k in range(3):  # none has a reference but the last
        if k == 2:
            Image.fromarray(np.eye(32, dtype=np.uint8) * 255).save(tmp_path / "truth" / "2.png")
        draw(tmp_path / "in" / f"{k}.png", k)
        time.sleep(6)
    wait_for((tmp_path / "out" / "2-denoise.png").exists)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "1 done, 2 refused" in out
    assert [err.count(f"no image for {tmp_path / 'in' / name}") for name in ("0.png", "1.png")] == [1, 1]


def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path):
    """Resident memory of the worker, over 300 pictures: of the last third within 5 % of the first."""
    (tmp_path / "in").mkdir()
    for k in range(300):
        draw(tmp_path / "in" / f"{k:03}.png", k)
    process = started(tmp_path / "in", "-o", tmp_path / "out", "--steps", "1")
    held: list[tuple[int, int]] = []
    while process.poll() is None:
        done = len(list((tmp_path / "out").glob("*.png")))
        for child in psutil.Process(process.pid).children():
            try:
                held.append((done, child.memory_info().rss))
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.2)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "300 done" in out
    first = [rss for done, rss in held if 30 <= done < 100]
    last = [rss for done, rss in held if done >= 200]
    assert np.mean(last) < 1.05 * np.mean(first), (np.mean(first), np.mean(last))
