"""Worker processes over many pictures: each done once, whoever dies; what is stopped goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from preimage.errors import InputError
from preimage.folders.lease import _machine as machine
from preimage.folders.listing import Entry
from preimage.folders.processes import ProcessRun
from preimage.folders.records import Place
from preimage.folders.run import FolderRun, Turn, looked_at
from preimage.folders.work import Ended
from preimage.folders.workers import Workers, out_folder
from preimage.jobs.job import Job, RunOptions


def turns(folder: Path, out: Path, count: int, steps: int = 3) -> list[Turn]:
    """Jobs of drawn pictures."""
    found = []
    for k in range(count):
        path = folder / f"{k}.png"
        if not path.exists():
            values = np.random.default_rng(k).normal(128, 40, (32, 32)).clip(0, 255).astype(np.uint8)
            Image.fromarray(values).save(path)
        options = {"sigma": 25.0, "steps": steps, "stop": "steps"}
        job = Job("denoise", options, str(path), {"output": str(out / f"{k}-denoise.png")}, RunOptions(threads=1))
        found.append(Turn(Place.of(out, Entry(path, Path(), str(k)), "denoise"), job))
    return found


def finished(run: FolderRun, seconds: float = 120, meanwhile=lambda: None) -> FolderRun:
    deadline = time.monotonic() + seconds
    with run:
        while not run.ended and time.monotonic() < deadline:
            run.wait(0.1)
            meanwhile()
        assert run.ended
    return run


def refuse_none(turn: Turn, error: InputError) -> None:
    raise AssertionError(f"{turn.name}: {error}")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return out_folder(tmp_path / "out" / "of" / "it")


def test_every_picture_is_done_once_and_a_broken_one_stops_no_other(tmp_path, out):
    asked = turns(tmp_path, out, 5)
    (tmp_path / "2.png").write_bytes(b"broken")
    heard: list[str] = []
    run = ProcessRun(asked, Workers(2), hears=lambda turn, ended: heard.append(f"{turn.name} {ended.became}"))
    counts, to_do = looked_at(asked, refuse_none)
    assert (counts, to_do) == ({}, asked)
    finished(run)
    assert run.counts == {"done": 4, "failed": 1}
    assert sorted(heard) == ["0.png done", "1.png done", "2.png failed", "3.png done", "4.png done"]
    again = finished(ProcessRun(asked, Workers(2)))
    assert again.counts == {"was done": 4, "had failed": 1}
    assert not again._processes  # for what is done none is started


@pytest.mark.long
def test_a_worker_that_is_killed_takes_its_picture_along_three_times_at_most(tmp_path, out):
    asked = turns(tmp_path, out, 3, steps=400)
    run = ProcessRun(asked, Workers(1))

    def kill() -> None:
        for number, doing in list(run.doing.items()):
            process = run._processes.get(number)
            if doing.name == "1.png" and doing.step > 0 and process is not None:
                process.send_signal(signal.SIGKILL)
                process.wait()

    finished(run, 300, kill)
    assert run.counts == {"done": 2, "failed": 1}
    record = asked[1].place.read()
    assert record is not None
    assert record.code == "killed"
    assert asked[1].place.aside.exists()
    assert finished(ProcessRun(asked, Workers(1), retry_failed=True), 300).counts == {"done": 1, "was done": 2}
    assert not asked[1].place.aside.exists()


@pytest.mark.long
def test_what_is_stopped_goes_on_from_where_it_was(tmp_path, out):
    asked = turns(tmp_path, out, 3, steps=300)
    run = ProcessRun(asked, Workers(1))
    finished(run, 120, lambda: run.stop() if any(doing.step > 5 for doing in run.doing.values()) else None)
    assert run.counts["interrupted"] == 1
    kept = list(out.glob("*.checkpoint"))
    assert len(kept) == 1
    assert not list(out.glob("*.png"))
    whole = tmp_path / "whole"
    whole.mkdir()
    assert finished(ProcessRun(asked, Workers(2)), 300).counts == {"done": 3}
    assert finished(ProcessRun(turns(tmp_path, whole, 3, steps=300), Workers(1)), 300).counts == {"done": 3}
    for k in range(3):
        assert (out / f"{k}-denoise.png").read_bytes() == (whole / f"{k}-denoise.png").read_bytes()
    assert not list(out.glob("*.checkpoint"))


def test_processes_that_end_as_they_begin_are_said_to(tmp_path, out, monkeypatch):
    (tmp_path / "torch.py").write_text("raise SystemExit(7)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run = finished(ProcessRun(turns(tmp_path, out, 4), Workers(2)))
    assert run.broken == "worker processes end as they begin (exit code 7), see above"
    assert not run.counts
    assert not list(out.rglob("*.json"))


class Faulty(FolderRun):
    """One attendant that cannot go on, and one that waits for what is left."""

    def _attendants(self):
        return [self._fails, self._waits]

    def _fails(self) -> None:
        raise OSError(28, "No space left on device", "x")

    def _waits(self) -> None:
        while self._taken(waits=True) is not None:
            pass

    def _tell_to_stop(self) -> None: ...

    def _end_by_force(self) -> None: ...


@pytest.mark.parametrize("count", [1, 2, 5])
def test_an_attendant_that_cannot_go_on_ends_the_run_and_is_heard_of(tmp_path, out, count):
    run = finished(Faulty(turns(tmp_path, out, count)), 20)
    assert run.broken == "x: No space left on device: check the place and try again"
    assert not run.counts


@pytest.mark.parametrize("error", [ValueError("no number"), InputError("no room", code="unwritable"), KeyError("k")])
def test_what_a_listener_raises_ends_the_run_in_one_line(tmp_path, out, error):
    def hears(turn, ended) -> None:
        raise error

    class Ends(Faulty):
        def _fails(self) -> None:
            self._end(self._waiting[0][1], Ended("done"))

    run = finished(Ends(turns(tmp_path, out, 3), hears=hears), 20)
    assert run.broken is not None
    assert str(error) in run.broken


def test_the_lease_of_one_that_died_after_its_work_is_removed(tmp_path, out):
    asked = turns(tmp_path, out, 1)
    finished(ProcessRun(asked, Workers(1)))
    dead = subprocess.Popen(["true"])
    dead.wait()
    lease = asked[0].place.stem.with_name(f"{asked[0].place.stem.name}.lease.1")
    lease.write_text(json.dumps({"owner": "x", "host": machine(), "pid": dead.pid}))
    assert finished(ProcessRun(asked, Workers(1))).counts == {"was done": 1}
    assert not lease.exists()


@pytest.mark.parametrize("asked", [0, -1, "many", 1.5])
def test_a_number_of_workers_that_is_none_is_refused(asked):
    with pytest.raises(InputError, match="--workers must be auto"):
        Workers.chosen(asked)


def test_workers_share_the_cores_and_the_gpus(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert Workers.chosen(None) == Workers(1, None)
    assert Workers.chosen("auto") == Workers(4, 2)
    assert Workers.chosen(3) == Workers(3, 2)
    assert Workers.chosen(2, threads=1) == Workers(2, 1)
    assert Workers.chosen(None, ("0", "1")) == Workers(2, 4, ("0", "1"))


def test_workers_of_one_gpu_wait_for_each_other_unless_its_service_runs(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    assert Workers(4, 1, ("0", "1")).wait_for_each_other()
    assert not Workers(2, 1, ("0", "1")).wait_for_each_other()
    assert not Workers(4).wait_for_each_other()
    (tmp_path / "control").touch()
    assert not Workers(4, 1, ("0", "0")).wait_for_each_other()


def test_a_file_is_no_output_folder(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="is a file"):
        out_folder(tmp_path / "file")
    with pytest.raises(InputError, match="cannot be made"):
        out_folder(tmp_path / "file" / "below")


def test_one_whose_file_is_away_is_told_and_the_others_are_counted(tmp_path, out):
    asked = turns(tmp_path, out, 3)
    finished(ProcessRun(asked[:2], Workers(1)))
    (tmp_path / "1.png").unlink()
    told: list[str] = []
    counts, to_do = looked_at(asked, lambda turn, error: told.append(f"{turn.name}: {error.code}"))
    assert (counts, to_do, told) == ({"was done": 1}, asked[2:], ["1.png: not-found"])
