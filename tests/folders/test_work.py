"""One picture: done once, begun again where it was left, and what is not ours is never replaced."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from preimage import images
from preimage.folders import records
from preimage.folders.lease import Lease
from preimage.folders.listing import Entry
from preimage.folders.records import MOST_ATTEMPTS, Place, Record, Written, job_hash
from preimage.folders.work import Ended, look, set_aside, work_on
from preimage.images import atomic
from preimage.jobs.job import Job, RunOptions, sha256_of

STEPS = 4


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    draw(path, 0)
    return path


def draw(path: Path, seed: int) -> None:
    values = np.random.default_rng(seed).normal(128, 40, (32, 32, 3)).clip(0, 255).astype(np.uint8)
    Image.fromarray(values).save(path)


def asked(picture: Path, out: Path, **options) -> tuple[Place, Job]:
    """The place and the job of a picture."""
    given = {"sigma": 25.0, "steps": STEPS, "stop": "steps"} | options
    job = Job("denoise", given, str(picture), {"output": str(out / "photo-denoise.png")}, RunOptions(threads=1))
    return Place.of(out, Entry(picture, Path(), picture.stem), "denoise"), job


def result(out: Path) -> bytes:
    return (out / "photo-denoise.png").read_bytes()


def left(out: Path) -> set[str]:
    """All files in the output folder, those of records as well."""
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


def test_it_is_done_once(picture, out):
    place, job = asked(picture, out)
    assert look(place, job) is None
    first = work_on(place, job)
    assert first.became == "done"
    assert first.record is not None
    assert first.record.report["steps"] == STEPS
    before = (out / "photo-denoise.png").stat().st_mtime_ns
    assert work_on(place, job).became == "was done"
    assert (out / "photo-denoise.png").stat().st_mtime_ns == before
    assert left(out) == {"photo-denoise.png", ".preimage/photo.png.denoise.json"}


@pytest.mark.parametrize("change", ["option", "input", "deleted"])
def test_what_was_changed_is_done_anew(picture, out, change):
    place, job = asked(picture, out)
    work_on(place, job)
    before = result(out)
    if change == "option":
        place, job = asked(picture, out, seed=7)
    elif change == "input":
        draw(picture, 1)
    else:
        (out / "photo-denoise.png").unlink()
    assert work_on(place, job).became == "done"
    assert (result(out) == before) == (change == "deleted")
    assert work_on(place, job).became == "was done"


def test_what_is_done_is_known_without_reading_it_again(picture, out, monkeypatch):
    place, job = asked(picture, out)
    work_on(place, job)
    records._content_of.cache_clear()
    read: list[str] = []
    monkeypatch.setattr(records, "sha256_of", lambda path: read.append(path.name) or sha256_of(path))
    assert work_on(place, job).became == "was done"
    assert not read
    os.utime(picture)
    assert work_on(place, job).became == "was done"
    assert read == ["photo.png"]
    draw(picture, 1)
    assert work_on(place, job).became == "done"


class Killed(BaseException):
    """What no handler catches, as a process that is killed."""


def killed_as(monkeypatch, state: str, place, job) -> None:
    """An attempt that is killed as it says that it has started, or that it is done."""
    write = Place.write

    def ends(self, record):
        if record.state == state == "done":
            raise Killed
        write(self, record)
        if record.state == state:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Place, "write", ends)
        with pytest.raises(Killed):
            work_on(place, job)


@pytest.mark.parametrize("states", [["done"], ["done", "started"], ["done", "started", "started"]])
def test_what_a_killed_attempt_left_is_ours_in_every_later_one(picture, out, monkeypatch, states):
    place, job = asked(picture, out)
    for state in states:
        killed_as(monkeypatch, state, place, job)
    assert result(out)
    found = place.read()
    assert found is not None
    assert found.may_have_written
    assert work_on(place, job).became == ("failed" if len(states) == MOST_ATTEMPTS else "done")
    assert work_on(place, job, retry_failed=True).became in ("done", "was done")
    after = place.read()
    assert after is not None
    assert not after.may_have_written


@pytest.mark.parametrize("attempts", [0, MOST_ATTEMPTS])
def test_what_a_killed_writer_left_beside_the_files_is_removed(picture, out, monkeypatch, attempts):
    place, job = asked(picture, out)
    killed_as(monkeypatch, "started", place, job)
    found = place.read()
    assert found is not None
    place.write(replace(found, attempts=attempts))
    for name in ("photo-denoise.png", "photo-denoise.png.checkpoint"):
        atomic._partial_name(out / name).touch()
    assert work_on(place, job).became == ("failed" if attempts else "done")
    assert not list(out.glob(".preimage-*.partial"))


def test_the_result_of_a_former_job_is_ours_where_its_successor_was_killed(picture, out, monkeypatch):
    work_on(*asked(picture, out))
    place, changed = asked(picture, out, sigma=20.0)
    killed_as(monkeypatch, "started", place, changed)
    assert work_on(place, changed).became == "done"


def test_an_output_folder_may_be_moved_or_called_by_another_name(picture, out, monkeypatch):
    place, job = asked(picture, out)
    work_on(place, job)
    monkeypatch.chdir(out.parent)
    assert work_on(*asked(picture, Path("out"))).became == "was done"
    moved = out.rename("moved")
    assert work_on(*asked(picture, moved)).became == "was done"
    assert work_on(*asked(picture, moved, sigma=20.0)).became == "done"


@pytest.mark.parametrize("what", ["lease", "record", "result"])
def test_a_full_disk_is_said_and_done_the_next_time(picture, out, monkeypatch, what):
    place, job = asked(picture, out)
    write, opened = images.atomic.os.fsync, os.open

    def full(*given, **more):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def refuses(number):
        folder = Path(f"/proc/self/fd/{number}").readlink().parent.name
        return full() if (folder == ".preimage") == (what == "record") else write(number)

    with monkeypatch.context() as patch:
        if what == "lease":
            patch.setattr(os, "open", lambda path, *given: full() if "lease" in str(path) else opened(path, *given))
        else:
            patch.setattr(os, "fsync", refuses)
        ended = work_on(place, job)
    assert ended.became == "failed"
    assert "No space left" in str(ended.error) or "full" in str(ended.error)
    assert not (out / "photo-denoise.png").exists()
    assert work_on(place, job).became == "done"
    assert left(out) == {"photo-denoise.png", ".preimage/photo.png.denoise.json"}


def test_threads_and_the_place_of_the_input_are_no_other_job(picture, out, tmp_path):
    place, job = asked(picture, out)
    moved = tmp_path / "elsewhere.png"
    moved.write_bytes(picture.read_bytes())
    assert job_hash(job) == job_hash(replace(job, input=str(moved), run=replace(job.run, threads=2)))
    assert job_hash(job) != job_hash(replace(job, run=replace(job.run, strength=0.5)))
    assert job_hash(job) != job_hash(replace(job, options={**job.options, "sigma": 20.0}))
    del place


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_file_of_somebody_else_is_never_replaced(picture, out, when):
    place, job = asked(picture, out)
    if when == "after":
        work_on(place, job)
    (out / "photo-denoise.png").write_bytes(b"mine")
    ended = work_on(place, job)
    assert ended.became == "in the way"
    assert ended.error is not None
    assert "--overwrite" in ended.error
    assert result(out) == b"mine"
    assert work_on(place, replace(job, run=replace(job.run, overwrite=True))).became == "done"
    assert result(out) != b"mine"


def test_an_interrupted_one_goes_on_and_ends_as_if_it_had_not_been(picture, out, tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    work_on(*asked(picture, whole))
    place, job = asked(picture, out)
    steps: list[int] = []
    ended = work_on(place, job, stops=lambda: len(steps) >= 2, shows=lambda _, step: steps.append(step.index))
    assert ended.became == "interrupted"
    assert not (out / "photo-denoise.png").exists()
    assert (out / "photo-denoise.png.checkpoint").exists()
    later: list[int] = []
    assert work_on(place, job, shows=lambda _, step: later.append(step.index)).became == "done"
    assert later[0] == steps[-1] + 1
    assert result(out) == result(whole)
    assert left(out) == {"photo-denoise.png", ".preimage/photo.png.denoise.json"}


@pytest.mark.parametrize("damage", ["options", "bytes"])
def test_a_checkpoint_that_does_not_serve_is_no_obstacle(picture, out, damage):
    place, job = asked(picture, out)
    steps: list[int] = []
    work_on(place, job, stops=lambda: len(steps) >= 2, shows=lambda _, step: steps.append(step.index))
    if damage == "options":
        place, job = asked(picture, out, seed=3)
    else:
        (out / "photo-denoise.png.checkpoint").write_bytes(b"no checkpoint")
    later: list[int] = []
    assert work_on(place, job, shows=lambda _, step: later.append(step.index)).became == "done"
    assert later[0] == 1
    assert not (out / "photo-denoise.png.checkpoint").exists()


def test_one_that_cannot_be_read_has_failed_and_is_tried_again_when_asked(picture, out):
    place, job = asked(picture, out)
    good = picture.read_bytes()
    picture.write_bytes(b"no picture")
    ended = work_on(place, job)
    assert ended.became == "failed"
    said = json.loads((out / "photo.png.failed.json").read_text())
    assert said["error"] == ended.error
    assert said["input"] == str(picture)
    assert work_on(place, job).became == "had failed"
    assert work_on(place, job, retry_failed=True).became == "failed"
    picture.write_bytes(good)  # another input: done without being asked
    assert work_on(place, job).became == "done"
    assert left(out) == {"photo-denoise.png", ".preimage/photo.png.denoise.json"}


def test_one_that_ends_its_process_is_set_aside_after_three_times(picture, out):
    place, job = asked(picture, out)
    known = job_hash(job)
    place.stem.parent.mkdir(parents=True)
    place.write(Record("denoise", str(picture), known, "started", MOST_ATTEMPTS - 1))
    assert work_on(place, job).became == "done"
    (out / "photo-denoise.png").unlink()
    place.write(Record("denoise", str(picture), known, "started", MOST_ATTEMPTS))
    ended = work_on(place, job)
    assert ended.became == "failed"
    assert ended.record is not None
    assert ended.record.code == "killed"
    assert "3 times" in str(ended.error)


def test_one_that_was_killed_while_it_was_written_is_written_again(picture, out):
    place, job = asked(picture, out)
    work_on(place, job)
    record = place.read()
    assert record is not None
    (out / "photo-denoise.png").write_bytes(b"half of")
    place.write(replace(record, state="writing", written={}, attempts=1))
    assert work_on(place, job).became == "done"
    with Image.open(out / "photo-denoise.png") as written:
        assert written.size == (32, 32)


def test_a_second_process_keeps_its_hands_off(picture, out):
    place, job = asked(picture, out)
    place.stem.parent.mkdir(parents=True)
    with Lease.take(place.stem):  # pyright: ignore[reportOptionalContextManager]
        assert work_on(place, job).became == "busy"
        assert set_aside(place, job, "no") is None
    assert work_on(place, job).became == "done"


def test_who_lost_the_lease_writes_nothing(picture, out):
    place, job = asked(picture, out)
    step_of: list[int] = []

    def taken_over(_, step) -> None:
        step_of.append(step.index)
        if step.index == STEPS:
            place.stem.with_name(f"{place.stem.name}.lease.2").write_text("{}")

    assert work_on(place, job, shows=taken_over).became == "lost"
    assert not (out / "photo-denoise.png").exists()
    record = place.read()
    assert record is not None
    assert record.state == "started"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 1, "state": "done"}', "\x00"])
def test_a_record_that_says_nothing_is_none(picture, out, text):
    place, job = asked(picture, out)
    place.stem.parent.mkdir(parents=True)
    place.file.write_text(text)
    assert place.read() is None
    assert work_on(place, job).became == "done"


def test_records_are_read_as_they_were_written(picture, out):
    place, job = asked(picture, out)
    ended = work_on(place, job)
    assert isinstance(ended, Ended)
    assert place.read() == ended.record


@pytest.mark.parametrize(
    ("task", "named"), [("deblur", "kernel"), ("counterfactual", "recipe"), ("saliency", "classifier")]
)
@pytest.mark.parametrize("before", ["done", "interrupted", "failed", None])
def test_a_file_that_is_away_for_a_moment_undoes_nothing(picture, out, tmp_path, task, named, before):
    path = tmp_path / {"kernel": "kernel.npy", "recipe": "recipe.json", "classifier": "model.pt"}[named]
    path.write_text("{}")
    options = ({} if task == "deblur" else {"classifier": "timm:test_resnet"}) | {named: str(path)}
    job = Job(task, options, str(picture), {"output": str(out / "photo-result.png")}, RunOptions(threads=1))
    place = Place.of(out, Entry(picture, Path(), picture.stem), task)
    if before is not None:
        place.stem.parent.mkdir(parents=True)
        (out / "photo-result.png").write_bytes(b"result")
        reads = records.read_for(job)
        written = {"output": Written.of(out / "photo-result.png", out)}
        place.write(Record(task, str(picture), job_hash(job, reads), before, reads=reads, written=written))
    known = place.read()
    path.rename(tmp_path / "away")
    ended = work_on(place, job)
    assert ended.became == "failed"
    assert "not exist" in str(ended.error)
    assert before not in ("done", "interrupted") or place.read() == known
    (tmp_path / "away").rename(path)
    found = look(place, job)
    assert (None if found is None else found.became) == ("was done" if before == "done" else None)


@pytest.mark.parametrize("change", ["changed", "deleted"])
def test_a_result_that_is_no_longer_as_written_is_no_reason_to_keep_its_record(picture, out, change):
    place, job = asked(picture, out)
    work_on(place, job)
    (out / "photo-denoise.png").write_bytes(b"mine")
    if change == "deleted":
        (out / "photo-denoise.png").unlink()
    ended = set_aside(place, job, "no")
    assert ended is not None
    assert place.read() == ended.record
    assert ended.record is not None
    assert ended.record.state == "failed"
