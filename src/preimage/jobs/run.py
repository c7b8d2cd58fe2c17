"""Execution of a job: the input is read once, the run starts, its Steps are passed on, and the outputs are written.

for step in (running := Running(job)): ...      # a progress bar and stopping early are bodies of this loop
outcome = running.finish()
running.settle()                                # or, in one go: run_job(job)
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import torch

from preimage.engine import checkpoint
from preimage.errors import InputError
from preimage.images import Picture
from preimage.images.files import in_folder
from preimage.jobs.job import Job, Outcome, restores
from preimage.jobs.places import Places, checked, places_of
from preimage.jobs.projection import Projection
from preimage.jobs.reading import middle_of, middle_of_reference, options_of, projected, read_input, refuse_code
from preimage.jobs.report import (
    Watched,
    hashes_of,
    make_report,
    read_reference,
    report_lines,
    report_of_done,
    reports_in,
    write_report,
)
from preimage.observe import observe
from preimage.series.parts import together
from preimage.tasks import TaskSpec


def run_job(job: Job, *, allow_code: bool = False) -> Outcome:
    """Run a job to its end. The same job writes the same bytes (on the CPU, with as many threads).

    A job that has been done before, by the hashes in its report, is done: nothing is computed again.

    Example:
        >>> run_job(Job("denoise", {"steps": 3}, "photo.png", {"output": "clean.png"})).state
        'done'

    Args:
        job: what is to be done.
        allow_code: whether a classifier "module:function" is imported; a job from elsewhere must never choose that.

    Raises:
        InputError: any part of the job that cannot be used; nothing is written then.
    """
    places = places_of(job)
    if (report := report_of_done(job, places, reports_in(job.run.report))) is not None:
        return Outcome("done", report, dict(places.written))
    with threads_of(job.run.threads):
        running = Running(job, allow_code=allow_code)
        for _ in running:
            pass
        outcome = running.finish()
        running.settle()
        return outcome


class Running:
    """A job that is being run: an iterator of Steps.

    Args:
        job: what is to be done.
        allow_code: as in run_job.
        picture: the input, if `read_input` has read it before.
        initial: weights that the fit begins from (of the input before, say).
        begun_from: where these weights come from, in words, for the report and the checkpoint.

    Raises:
        InputError: an input, option, or place that cannot be used, a checkpoint of another job.
    """

    def __init__(
        self,
        job: Job,
        *,
        allow_code: bool = False,
        picture: Picture | None = None,
        initial: Any = None,
        begun_from: str | None = None,
    ) -> None:
        begin = time.perf_counter()
        self.job = job
        self.spec: TaskSpec[..., Any] = job.spec
        if not allow_code:
            refuse_code(job)
        self.places: Places = checked(job)
        whole = read_input(job, self.places) if picture is None else picture
        self.picture: Picture | None = middle_of(whole) if whole is not None and job.run.preview else whole
        self.whole_shape: tuple[int, ...] | None = None if whole is None else tuple(whole.tensor.shape)
        options = options_of(job, self.places, whole, initial)
        self.run: Any = self.spec.start(self.picture if self.spec.inputs != "data" else job.input, options)
        if begun_from is not None:
            self.run.fingerprint = {**self.run.fingerprint, "begun_from": "the last input"}
        self.watched: Watched | None = self._watched(whole)
        self.projection: Projection = Projection()
        self.observers: dict[str, Any] = {} if self.watched is None else self.watched.observers
        resumes = self.places.resumes
        self.resumed: bool = resumes is not None
        if resumes is not None:
            checkpoint.load(self.run, resumes, self.observers)
        pictures = [each for each in (whole, *vars(options).values()) if isinstance(each, Picture)]
        read = [remark for each in pictures for remark in each.remarks]
        self.remarks: tuple[str, ...] = tuple(dict.fromkeys([*read, *self.run.remarks]))
        if begun_from is not None:
            self.remarks += (f"resumed from {resumes}" if self.resumed else f"begun from {begun_from}",)
        self.setup: float = time.perf_counter() - begin
        # A checkpoint may have been saved before the first step; there is no result of that.
        self.begun = self.resumed and getattr(self.run, "index", 1) > 0
        self._may_save = True
        self._complete = False
        self.is_alone: bool = initial is None
        self.warnings: list[str] = []  # what went wrong beside the fit, and did not end it

    def _watched(self, whole: Picture | None) -> Watched | None:
        """The observers of a restoration."""
        if self.picture is None or not restores(self.spec):
            return None
        run, reference = self.job.run, None
        output, written = self.places.output, self.places.written
        if output is not None:
            shown = as_written(self.run, self.picture)
            shown.check_destination(output, overwrite=self.places.may_replace, size=self.run.size)
        if run.reference is not None:
            reference = read_reference(in_folder(run.reference, self.job.input), whole or self.picture, run.page)
            if run.preview and whole is not None:
                reference = middle_of_reference(reference, whole)
        if "uncertainty" in written and self.run.current.recipe.restarts < 2:
            raise InputError("--uncertainty is the deviation between fits: give --restarts 2 or more", code="option")
        film = (run.every or 10) if "film" in written else None
        return Watched(self.picture, reference, strength=run.strength, film_every=film)

    def __iter__(self) -> Iterator[Any]:
        path, every = self.places.checkpoint, self.job.run.autosave
        # Sizes are compared before any observer computes with them.
        looking_on = [] if self.watched is None else [self.watched, self.projection, *self.observers.values()]
        for step in self._going_on(observe(self.run, *looking_on)):
            # A training is saved after each epoch, and never within one; any other run whenever it was specified.
            completes_epoch = getattr(step, "completes_epoch", None)
            self._may_save = completes_epoch is not False
            if path is not None and (completes_epoch or (every is not None and step.index % every == 0)):
                self.save()
            self.begun = True
            yield step

    def _going_on(self, steps: Iterator[Any]) -> Iterator[Any]:
        """The steps. A resumed run that cannot take its first one was edited, in a way that loading does not see."""
        if self.resumed:
            try:
                first = next(steps, None)
            except (RuntimeError, TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
                if isinstance(error, InputError) or "memory" in str(error):
                    raise
                wrong = f"{self.places.resumes} holds no state of this job: remove it, or start anew without resuming"
                raise InputError(wrong, code="checkpoint") from error
            if first is None:
                return
            yield first
        yield from steps

    def save(self) -> bool:
        """Save a checkpoint. One that cannot be written is a warning, said once, and tried again at its next turn."""
        if self.places.checkpoint is None:
            return False
        try:
            checkpoint.save(self.run, self.places.checkpoint, self.observers)
        except (InputError, MemoryError) as error:
            warning = f"no checkpoint could be saved, the fit goes on: {str(error) or 'the memory is used up'}"
            if warning not in self.warnings:
                self.warnings.append(warning)
            return False
        return True

    @property
    def finished(self) -> bool:
        """Whether the result stands."""
        return bool(getattr(self.run, "finished", True))

    def finish(self, *, hashed: bool = False) -> Outcome:
        """Write the best so far, a checkpoint if the result does not stand yet, and the report.

        The checkpoint of a result that stands is there until `settle`, so that nothing is lost before all is written.
        `hashed`: the report tells by hashes what it is of, although it is not written here.
        """
        if not self.begun:
            return Outcome("interrupted")
        run, complete, is_data = self.job.run, self.finished, self.spec.inputs == "data"
        if is_data and not complete:
            self._save_rest()
            return Outcome("interrupted")
        try:
            self.result: Any = self.run.result()
        except InputError:
            if complete:
                raise
            self._save_rest()
            return Outcome("interrupted")  # an inspection, say: half of it is no result
        # An unfinished picture is never there without its checkpoint, by which it is known to be unfinished.
        first = not complete and self.saves and not self.resumable
        if first:
            self._save_rest()
        self._write_or_keep(self.result)
        if not complete and not first:
            self._save_rest()
        report = make_report(self, self.result)
        lines = report_lines(self, self.result, report)
        if run.preview and self.whole_shape is not None:
            lines += (projected(report["seconds"], self.whole_shape),)
        hashes = hashes_of(self.job, self.places) if hashed or run.report is not None else None
        if complete and self.is_alone and hashes is not None:
            report["sha256"] = hashes
        if run.report is not None:
            write_report(report, run.report, overwrite=self.places.may_replace)
        self._complete = complete
        return Outcome("done" if complete else "interrupted", report, dict(self.places.written), lines)

    @property
    def saves(self) -> bool:
        """Whether what is not complete is saved."""
        run = self.job.run
        return self.places.checkpoint is not None and (
            self.spec.inputs == "data" or run.autosave is not None or run.resume
        )

    @property
    def resumable(self) -> bool:
        """Whether there is a checkpoint."""
        return self.places.checkpoint is not None and self.places.checkpoint.exists()

    def _write_or_keep(self, result: Any) -> None:
        """Write the outputs; a disk without room for them may have had it without a checkpoint, or have it for one."""
        path = self.places.checkpoint
        try:
            self._write(result)
        except InputError as error:
            if error.code == "unwritable" and path is not None and not self.finished and self.saves and self.resumable:
                path.unlink()
                try:
                    self._write(result)
                finally:
                    self._save_rest()
            elif self.saves and self.save():
                raise InputError(f"{error} (the fit is kept: go on with --resume)", code=error.code) from error
            else:
                raise

    def _save_rest(self) -> None:
        if self.saves and self._may_save:
            self.save()

    def settle(self) -> None:
        """Remove the checkpoint, if the result stands: everything is written."""
        path = self.places.checkpoint
        if self._complete and path is not None and (self.saves or self.job.run.overwrite):
            path.unlink(missing_ok=True)

    def _write(self, result: Any) -> None:
        replace = self.places.may_replace
        for output in self.spec.outputs:
            path, write = self.places.written.get(output.name), output.write
            if path is None:
                continue
            if self.watched is not None:
                self.watched.write(output.name, result, path, overwrite=replace)
                continue
            if isinstance(write, str):
                module, _, name = write.partition(":")
                write = getattr(import_module(module), name)
            write(result, path, overwrite=replace)


def as_written(run: Any, picture: Picture) -> Picture:
    """The input with the channels, alpha and metadata of the result; of a series of pages the one at hand shows them."""
    whole = getattr(run, "written", None)
    if isinstance(whole, Picture):  # of tiles
        return whole
    part = getattr(run.current, "picture", None) or picture
    return part if len(part.tensor) == len(picture.tensor) else together(picture, [part] * len(picture.tensor))


@contextlib.contextmanager
def threads_of(count: int | None) -> Iterator[None]:
    """So many processor threads within; None: as they are."""
    before = torch.get_num_threads()
    try:
        if count is not None:
            torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)
