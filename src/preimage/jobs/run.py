"""Execution of a job: the input is read once, the run starts, its Steps are passed on, and the outputs are written.

for step in (running := Running(job)): ...      # a progress bar and stopping early are bodies of this loop
outcome = running.finish()                      # or, in one go: run_job(job)
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from preimage.engine import checkpoint
from preimage.errors import InputError
from preimage.images import Picture
from preimage.jobs import writers
from preimage.jobs.job import Job, Outcome, restores
from preimage.jobs.places import Places, in_folder, places_of
from preimage.jobs.preview import check_preview, middle_of, middle_of_reference, projected
from preimage.jobs.reading import options_of, read_input
from preimage.jobs.report import Watched, make_report, read_reference, report_lines, write_report
from preimage.observe import autosave, observe
from preimage.series.parts import together
from preimage.tasks import described

_CODE = re.compile(r"(?!torchvision:|timm:|hf:)[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def run_job(job: Job, *, allow_code: bool = False) -> Outcome:
    """Run a job to its end. The same job writes the same bytes (on the CPU, with as many threads).

    Example:
        >>> run_job(Job("denoise", {"steps": 3}, "photo.png", {"output": "clean.png"})).state
        'done'

    Args:
        job: what is to be done.
        allow_code: whether a classifier "module:function" is imported; a job from elsewhere must never choose that.

    Raises:
        InputError: any part of the job that cannot be used; nothing is written then.
    """
    with threads_of(job.run.threads):
        running = Running(job, allow_code=allow_code)
        for _ in running:
            pass
        return running.finish()


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
        self.job, self.spec = job, job.spec
        _check_code(job, allow_code)
        self.places = checked(job)
        whole = read_input(job, self.places) if picture is None else picture
        self.picture = middle_of(whole) if whole is not None and job.run.preview else whole
        self.whole_shape = None if whole is None else tuple(whole.tensor.shape)
        options = options_of(job, self.places, whole, initial)
        self.run = self.spec.start(self.picture if self.spec.inputs != "data" else job.input, options)
        if begun_from is not None:
            self.run.fingerprint = {**self.run.fingerprint, "begun_from": "the last input"}
        self.watched = self._watched(whole)
        self.resumed = self._resume()
        self.remarks = tuple(self.run.remarks)
        if begun_from is not None:
            self.remarks += (f"resumed from {self.places.checkpoint}" if self.resumed else f"begun from {begun_from}",)
        self.setup = time.perf_counter() - begin
        # A checkpoint may have been saved before the first step; there is no result of that.
        self.begun = self.resumed and getattr(self.run, "index", 1) > 0

    # ------------------------------------------------------------------ before the first step

    def _watched(self, whole: Picture | None) -> Watched | None:
        """The observers of a restoration."""
        if self.picture is None or not restores(self.spec):
            return None
        run, reference = self.job.run, None
        output, replace = self.places.output, self.places.may_replace
        if output is not None:
            as_written(self.run, self.picture).check_destination(output, overwrite=replace, size=self.run.size)
        if run.reference is not None:
            reference = read_reference(in_folder(run.reference, self.job.input), whole or self.picture, run.page)
            if run.preview and whole is not None:
                reference = middle_of_reference(reference, whole)
        if "uncertainty" in self.places.written and self.run.current.recipe.restarts < 2:
            raise InputError("--uncertainty is the deviation between fits: give --restarts 2 or more", code="option")
        film = (run.every or 10) if "film" in self.places.written else None
        return Watched(self.picture, reference, strength=run.strength, film_every=film)

    def _resume(self) -> bool:
        path = self.places.checkpoint
        if path is None or not self.job.run.resume or not path.exists():
            return False
        checkpoint.load(self.run, path, self._observers())
        return True

    def _observers(self) -> dict[str, Any]:
        return {} if self.watched is None else self.watched.observers

    # ------------------------------------------------------------------ the steps

    def __iter__(self) -> Iterator[Any]:
        steps: Any = self.run
        every, path, observers = self.job.run.autosave, self.places.checkpoint, self._observers()
        # Sizes are compared before any observer computes with them.
        looking_on = [] if self.watched is None else [self.watched, *observers.values()]
        if self.spec.inputs == "data":
            steps = self._trained()
        elif every is not None and path is not None:
            observed: Any = _Observed(self.run, looking_on)
            steps = autosave(observed, path, every, observers)
        elif self.watched is not None:
            steps = observe(self.run, *looking_on)
        for step in steps:
            self.begun = True
            yield step

    def _trained(self) -> Iterator[Any]:
        """The steps of a training, saved after each epoch, or of another run over data, saved when it is interrupted."""
        for step in self.run:
            self._may_save = getattr(step, "completes_epoch", None) is not False
            if getattr(step, "completes_epoch", False) and self.places.checkpoint is not None:
                checkpoint.save(self.run, self.places.checkpoint)
            yield step

    _may_save = True

    @property
    def finished(self) -> bool:
        """Whether the result stands."""
        return bool(getattr(self.run, "finished", True))

    # ------------------------------------------------------------------ after the last one

    def finish(self, *, keep_checkpoint: bool = False) -> Outcome:
        """Write the best so far; the checkpoint goes last if the result stands, and is saved if it does not.

        `keep_checkpoint`: it stays although the result stands (what follows begins from it).
        """
        if not self.begun:
            return Outcome("interrupted")
        path, complete = self.places.checkpoint, self.finished
        saves = path is not None and (
            self.job.run.autosave is not None or self.job.run.resume or self.spec.inputs == "data"
        )
        if not complete and self.spec.inputs == "data":
            if self._may_save and path is not None:
                checkpoint.save(self.run, path)
            return Outcome("interrupted")
        if saves and path is not None and (keep_checkpoint or not complete):
            checkpoint.save(self.run, path, self._observers())
        try:
            result = self.result = self.run.result()
        except InputError:
            if complete:
                raise
            return Outcome("interrupted")  # an inspection, say: half of it is no result
        self._write(result)
        report = make_report(self, result)
        lines = report_lines(self, result, report)
        if self.job.run.preview and self.whole_shape is not None:
            lines += (projected(report["seconds"], self.whole_shape),)
        if self.job.run.report is not None:
            write_report(report, self.job.run.report, overwrite=self.places.may_replace)
        if complete and path is not None and not keep_checkpoint and (saves or self.job.run.overwrite):
            path.unlink(missing_ok=True)
        return Outcome("done" if complete else "interrupted", report, dict(self.places.written), lines)

    def _write(self, result: Any) -> None:
        for output in self.spec.outputs:
            path = self.places.written.get(output.name)
            if path is None:
                continue
            if self.watched is not None:
                writers.write(output.name, self, result, path)
                continue
            write = output.write
            if isinstance(write, str):
                module, _, name = write.partition(":")
                write = getattr(import_module(module), name)
            write(result, path, overwrite=self.places.may_replace)


def as_written(run: Any, picture: Picture) -> Picture:
    """The input with the channels, alpha and metadata of the result; of a series of pages the one at hand shows them."""
    whole = getattr(run, "written", None)
    if isinstance(whole, Picture):  # of tiles
        return whole
    part = getattr(run.current, "picture", None) or picture
    return part if len(part.tensor) == len(picture.tensor) else together(picture, [part] * len(picture.tensor))


class _Observed:
    """A run whose steps the observers see as they pass; all else is the run's own."""

    def __init__(self, run: Any, observers: list[Any]) -> None:
        self._run, self._observers = run, observers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)

    def __iter__(self) -> Iterator[Any]:
        return observe(self._run, *self._observers)


def checked(job: Job) -> Places:
    """The places of a job, known to be possible; and what is wrong whatever the input is.

    Raises:
        InputError: naming the option.
    """
    run, written = job.run, job.outputs
    job.check()
    check_preview(job)
    if run.every is not None and "film" not in written:
        raise InputError("--every is of the film: give --film FILE.gif too, or leave it out", code="option")
    places = places_of(job)
    places.check()
    return places


def _check_code(job: Job, allowed: bool) -> None:
    for name, stated in described(job.spec.options).items():
        value = job.options.get(name)
        named = str(value).strip() if isinstance(value, str | Path) else ""
        if stated.kind == "classifier" and _CODE.fullmatch(named) and not allowed:
            raise InputError(
                f"{name} {value} would import a module, which this job may not: give a model file", code="classifier"
            )


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
