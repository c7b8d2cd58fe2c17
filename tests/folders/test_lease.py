"""A lease: one at a time, given back, taken over from the dead, and lost by whoever was frozen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from preimage.folders.lease import Lease

HOLDER = """
import sys, time
from pathlib import Path
from preimage.folders.lease import Lease
lease = Lease.take(Path(sys.argv[1]), beat=0.05)
print("taken", flush=True)
while sys.stdin.readline():
    print(lease.held, flush=True)
"""


@pytest.fixture
def name(tmp_path: Path) -> Path:
    return tmp_path / "photo.png"


@pytest.fixture
def holder(name: Path):
    """Another process that has the lease; a line to it is answered by whether it still has."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(name)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "taken\n"
    yield process
    process.kill()
    process.communicate()


def asked(holder: subprocess.Popen[str]) -> str:
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdin.write("?\n")
    holder.stdin.flush()
    return holder.stdout.readline().strip()


def test_one_has_it_at_a_time_and_it_is_given_back(name):
    with Lease.take(name) as first:  # pyright: ignore[reportOptionalContextManager]
        assert first.held
        assert Lease.take(name) is None
    assert not first.held
    assert list(name.parent.iterdir()) == []
    second = Lease.take(name)
    assert second is not None
    second.release()


def test_of_many_at_once_one_gets_it(name):
    with ThreadPoolExecutor(16) as pool:
        taken = [lease for lease in pool.map(lambda _: Lease.take(name), range(64)) if lease is not None]
    assert len(taken) == 1
    assert taken[0].held
    taken[0].release()


def test_names_that_begin_alike_are_apart(name):
    first = Lease.take(name)
    second = Lease.take(name.with_name("photo.png.lease"))
    assert first is not None
    assert second is not None
    assert first.held
    assert second.held
    first.release()
    assert second.held
    second.release()


def test_that_of_a_killed_process_is_free_at_once(name, holder):
    assert Lease.take(name) is None
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    lease = Lease.take(name)
    assert lease is not None
    assert lease.held
    lease.release()
    assert list(name.parent.iterdir()) == []


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="Windows freezes no process")
def test_who_was_frozen_finds_it_taken_over(name, holder):
    assert asked(holder) == "True"
    holder.send_signal(signal.SIGSTOP)
    deadline, lease = time.monotonic() + 20, None
    while lease is None and time.monotonic() < deadline:
        lease = Lease.take(name, stale=0.3)
        time.sleep(0.05)
    assert lease is not None
    holder.send_signal(signal.SIGCONT)
    assert asked(holder) == "False"
    assert lease.held
    lease.release()
    assert asked(holder) == "False"
    again = Lease.take(name)  # with the number that the frozen one had
    assert again is not None
    assert asked(holder) == "False"
    assert again.held
    again.release()


def test_a_heart_that_beats_keeps_it(name, holder):
    time.sleep(0.5)
    assert Lease.take(name, stale=0.4) is None
    assert asked(holder) == "True"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}', '{"owner": 3}'])
def test_a_file_that_says_nothing_is_stale_by_its_time(name, content):
    file = name.with_name("photo.png.lease.1")
    file.write_text(content)
    assert Lease.take(name) is None
    os.utime(file, (1e9, 1e9))
    lease = Lease.take(name)
    assert lease is not None
    lease.release()
    assert list(name.parent.iterdir()) == []
