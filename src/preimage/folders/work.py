"""Work on one picture, from its lease to its record. Whoever calls this, and how often, and where: it is done once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from preimage.errors import InputError
from preimage.folders.lease import BEAT, Lease
from preimage.folders.records import MOST_ATTEMPTS, Place, Record, Written, job_hash, read_for, standing
from preimage.images import remove_orphans
from preimage.jobs.failures import failure_of
from preimage.jobs.job import Job
from preimage.jobs.places import places_of

SAVED_EVERY = 30.0  # seconds between two checkpoints
Became = Literal["done", "was done", "failed", "had failed", "in the way", "interrupted", "busy", "lost"]


@dataclass(frozen=True)
class Ended:
    """What became of a picture in this turn.

    Args:
        became: "done"; "was done" before; "failed" now or "had failed"; "in the way" is a file that may not be replaced;
            "interrupted", and goes on from its checkpoint; "busy": another process has it; "lost": another one took it over.
        error: a line, where there is one.
        record: as it stands in its file.
    """

    became: Became
    error: str | None = None
    record: Record | None = None


def look(place: Place, job: Job, *, retry_failed: bool = False) -> Ended | None:
    """What is known of a picture without working on it; None if there is something to do.

    Raises:
        InputError: a file that the job names beside its input cannot be read.
    """
    places, record = places_of(job), place.read()
    known_by = "" if record is None else job_hash(job, read_for(job, record))
    found = standing(place, record, job, places, known_by, retry_failed=retry_failed)
    if found == "done":
        return Ended("was done", record=record)
    if found == "failed" and record is not None:
        return Ended("had failed", record.error, record)
    if found == "in the way":
        there = next(
            path
            for path in places.written.values()
            if path.exists() and (record is None or not record.has_written(path, place.out))
        )
        return Ended("in the way", f"{there} is there, and no result of this command: move it, or --overwrite", record)
    return None


def work_on(
    place: Place,
    job: Job,
    *,
    retry_failed: bool = False,
    allow_code: bool = False,
    stops: Callable[[], bool] = lambda: False,
    shows: Callable[[Any, Any], object] = lambda running, step: None,
) -> Ended:
    """Do a job unless it is done, or another process does it.

    Args:
        place: of its record.
        job: of one picture, with the path of each output.
        retry_failed: whether one that failed is tried again.
        allow_code: as `run_job`.
        stops: asked at every step: whether to save a checkpoint, and to leave.
        shows: is given the Running and each of its steps.
    """
    try:
        place.stem.parent.mkdir(parents=True, exist_ok=True)
        lease = Lease.take(place.stem)
    except OSError as error:  # a full disk, a folder that cannot be written to
        return Ended(
            "failed", f"{place.stem.parent} cannot be written to ({error.strerror}): free some space, or see its rights"
        )
    if lease is None:
        return Ended("busy")
    with lease:
        try:
            known = look(place, job, retry_failed=retry_failed)
            if known is not None:
                return known
            return _Turn(place, job, lease, allow_code=allow_code, stops=stops, shows=shows).take()
        except Exception as error:  # a picture that cannot be done keeps no other from being done
            told = failure_of(error, job.input, job.task)
            return _failed(place, job, lease, str(told["error"]), told["code"])


def set_aside(place: Place, job: Job, reason: str) -> Ended | None:
    """Of a picture that has ended its process too often: say so, and leave it; None if another process works on it."""
    lease = Lease.take(place.stem)
    if lease is None:
        return None
    with lease:
        return _failed(place, job, lease, reason, "killed")


def _failed(place: Place, job: Job, lease: Lease, error: str, code: str | None) -> Ended:
    if not lease.held:
        return Ended("lost")
    _sweep(job)
    known = place.read()
    record = Record(job.task, str(job.input), _hash_or_nothing(job, known), "failed", error=error, code=code)
    return _kept(place, known, record)


def refuse(place: Place, source: str, error: str, code: str | None) -> Ended:
    """Keep in its record why a picture cannot even be begun; it is tried again the next time, whatever that is known by."""
    record = Record(place.task, source, "", "failed", error=error, code=code)
    try:
        place.stem.parent.mkdir(parents=True, exist_ok=True)
        lease = Lease.take(place.stem)
        if lease is None:  # another process is at it
            return Ended("failed", error)
        with lease:
            return _kept(place, place.read(), record)
    except OSError:  # a name that no file can have, a folder that cannot be written to
        return Ended("failed", error)


def _kept(place: Place, known: Record | None, failed: Record) -> Ended:
    """Write the record of a failure, unless what is known stands."""
    if known is not None and _stands(known, failed.job, place):
        return Ended("failed", failed.error, known)
    kept: dict[str, Any] = {} if known is None else {"reads": known.reads, **known.ours}
    try:
        return Ended("failed", failed.error, place.write(replace(failed, **kept)))
    except InputError:  # a full disk: it is said, and done the next time
        return Ended("failed", failed.error)


def _sweep(job: Job) -> None:
    """Remove what former attempts left beside the files of a job, which were killed while they wrote."""
    places = places_of(job)
    for path in filter(None, [*places.written.values(), places.checkpoint]):
        with contextlib.suppress(OSError):
            remove_orphans(path)


def _stands(known: Record, known_by: str, place: Place) -> bool:
    """Whether a failure leaves a record as it is: of results that are there, or of a checkpoint while a file is away."""
    if known.state == "done":
        return known.is_as_written(place.out)
    return known.state in ("started", "writing", "interrupted") and not known_by


def _hash_or_nothing(job: Job, known: Record | None) -> str:
    """What a job is known by; "", which no job is, while a file that it reads is away."""
    try:
        return job_hash(job, read_for(job, known))
    except (InputError, OSError):
        return ""


class _Turn:
    """One turn of a picture."""

    def __init__(
        self,
        place: Place,
        job: Job,
        lease: Lease,
        *,
        allow_code: bool,
        stops: Callable[[], bool],
        shows: Callable[[Any, Any], object],
    ) -> None:
        self.place: Place = place
        self.lease: Lease = lease
        self.allow_code: bool = allow_code
        self.stops: Callable[[], bool] = stops
        self.shows: Callable[[Any, Any], object] = shows
        before = place.read()
        self.reads: dict[str, Written] = read_for(job, before)
        self.known_by: str = job_hash(job, self.reads)
        self.before: Record | None = before if before is not None and before.job == self.known_by else None
        self.job = self._prepared(job, before)

    def _prepared(self, job: Job, before: Record | None) -> Job:
        """With what is known of the files that are there: a checkpoint of this very job is gone on from, ours are replaced."""
        places = places_of(job)
        checkpoint = places.checkpoint
        goes_on = self.before is not None and self.before.state in ("started", "interrupted", "writing")
        if checkpoint is not None and before is not None and not goes_on:
            checkpoint.unlink(missing_ok=True)  # of a job that was changed, or is done anew
        self.ours: Mapping[str, Any] = {} if before is None else before.ours
        replaces = before is not None and (
            before.may_have_written or any(before.has_written(path, self.place.out) for path in places.written.values())
        )
        resumes = goes_on and checkpoint is not None and checkpoint.exists()
        run = replace(job.run, resume=resumes, overwrite=job.run.overwrite or (replaces and not resumes), report=None)
        return replace(job, run=run)

    def take(self) -> Ended:
        from preimage.jobs.run import threads_of

        attempts = (
            self.before.attempts if self.before is not None and self.before.state in ("started", "writing") else 0
        )
        if attempts >= MOST_ATTEMPTS:
            text = f"its process ended {attempts} times while it was worked on (too little memory?): take a smaller picture"
            return _failed(self.place, self.job, self.lease, text, "killed")
        named = self.job.task, str(self.job.input), self.known_by
        started = Record(*named, "started", attempts + 1, reads=self.reads, **self.ours)
        self.place.write(started)
        for folder in {path.parent for path in places_of(self.job).written.values()}:
            folder.mkdir(parents=True, exist_ok=True)
        with threads_of(self.job.run.threads):
            running = self._begun()
            if not self._ran(running, started):
                if not self.lease.held:
                    return Ended("lost")
                running.save()
                self.place.write(replace(started, state="interrupted", attempts=attempts))
                return Ended("interrupted")
            return self._published(running, started)

    def _begun(self) -> Any:
        """The Running: from its checkpoint, or anew where that is damaged."""
        from preimage.jobs.run import Running

        try:
            return Running(self.job, allow_code=self.allow_code)
        except InputError as error:
            checkpoint = places_of(self.job).checkpoint
            if error.code != "checkpoint" or checkpoint is None or not self.job.run.resume:
                raise
            checkpoint.unlink(missing_ok=True)
            anew = replace(self.job, run=replace(self.job.run, resume=False))
            return Running(anew, allow_code=self.allow_code)

    def _ran(self, running: Any, started: Record) -> bool:
        """Whether the run came to its end; it ends before where it is to stop, or is another one's meanwhile."""
        saved = asked = time.monotonic()
        if self.stops():
            return False
        for step in running:
            self.shows(running, step)
            now = time.monotonic()
            if self.stops():
                return bool(running.finished)
            if now - asked > BEAT:
                asked = now
                if not self.lease.held:
                    return False
            if now - saved > SAVED_EVERY:
                saved = now
                running.save()
                if (
                    started.attempts
                ):  # it came further, so that whoever is lost from here on was not lost to what went before
                    started = self.place.write(replace(started, attempts=0))
        return True

    def _published(self, running: Any, started: Record) -> Ended:
        """Write the files, then that they are there."""
        if not self.lease.held:
            return Ended("lost")
        self.place.write(replace(started, state="writing"))
        outcome = running.finish()
        written = {
            name: Written.of(path, self.place.out) for name, path in running.places.written.items() if path.is_file()
        }
        done = replace(started, state="done", attempts=0, written=written, unfinished=False, report=outcome.report)
        record = self.place.write(done)
        running.settle()
        checkpoint = running.places.checkpoint
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)
        _sweep(self.job)
        return Ended("done", record=record)
