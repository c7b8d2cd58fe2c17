"""Restore the pictures of one command, one after another; one that fails does not stop the others."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from preimage.cli.choices import choose_recipe, choose_rule, choose_tile, recipe_name
from preimage.cli.companions import companions, files_read
from preimage.cli.failures import closed_pipe_is_no_failure, report_failure
from preimage.cli.film import write_film
from preimage.cli.interrupt import Interrupt
from preimage.cli.options import Options
from preimage.cli.places import Places, check_apart, check_folders, places_of
from preimage.cli.preview import check_preview, middle_of, middle_of_reference, previewed, projected
from preimage.cli.progress import Progress
from preimage.cli.report import (
    Report,
    as_json,
    earlier_reports,
    make_report,
    print_summary,
    read_reference,
    write_reports,
)
from preimage.cli.watched import Watched, size_in_words
from preimage.engine import checkpoint
from preimage.engine.recipe import Recipe
from preimage.engine.result import Result
from preimage.engine.run import Run
from preimage.errors import InputError
from preimage.figures.restoration import restoration_figure, save_figure
from preimage.images import Picture, check_place, read, write_float_tiff
from preimage.series.frames import Frames
from preimage.series.layout import check_beside


@dataclass(frozen=True)
class Job:
    """One command: the task's name, function and module, and all options."""

    task: str
    function: Callable[..., Run]
    module: ModuleType
    options: Options
    own: dict[str, Any] = field(default_factory=dict)
    pictures: frozenset[str] = frozenset()  # which of its own options name a picture
    fills_missing: bool = False


@dataclass
class Passed:
    """What --warm-start hands from one input to the next: weights, whose they are, and the checkpoint that still has them.

    `last`: who hands nothing on; None: nobody does.
    """

    last: Places | None = None
    weights: Sequence[dict[str, Any]] | None = None
    source: Path | None = None
    checkpoint: Path | None = None


def restore_all(job: Job, inputs: Sequence[Path]) -> int:
    """Restore every input; the exit code: 0, 2 if one could not be, 130 or 143 if a signal ended it."""
    options = job.options
    several = len(inputs) > 1
    recipe = _checked_recipe(job)
    if several:
        check_folders(options)
    plans, code = _plans(job, inputs)
    passed = Passed(plans[-1] if plans and several and options.warm_start else None)
    reports: list[Report] = []
    if options.report is not None:
        going_on = options.resume and (several or any(places.checkpoint.exists() for places in plans))
        check_place(options.report, overwrite=options.overwrite or going_on)
        if several and options.resume:
            again = {str(places.output) for places in plans}
            reports = [each for each in earlier_reports(options.report) if each.get("output") not in again]
    with Interrupt(quiet=options.quiet) as interrupt, threads_of(options.threads):
        for places in plans:
            try:
                report = _restore(job, recipe, places, interrupt, passed)
                if report is not None:
                    reports.append(report)
                    if options.report is not None:
                        write_reports(reports, options.report, several=several)
            except Exception as error:
                code = report_failure(error, places.input)
            if interrupt.number:
                code = interrupt.exit_code
                break
    if options.json and (reports or several):
        with closed_pipe_is_no_failure():
            print(as_json(reports, several=several))
    return code


def _plans(job: Job, inputs: Sequence[Path]) -> tuple[list[Places], int]:
    """Where everything goes; what cannot be read or written is said now, hours before the last fit."""
    plans: list[Places] = []
    shapes: dict[Path, tuple[int, ...]] = {}
    code = 0
    for path in inputs:
        try:
            places = places_of(path, job.task, job.options)
            if job.options.preview and places.output != job.options.output:
                places = previewed(places)
            check_apart(places, plans, inputs, files_read(job.own, path), job.options.report)
            places.check(job.options)
            shapes[path] = tuple(_read(places, job)[0].tensor.shape)
            plans.append(places)
        except Exception as error:
            code = report_failure(error, path)
    if job.options.warm_start:
        _check_one_size(shapes)
    return plans, code


def _check_one_size(shapes: dict[Path, tuple[int, ...]]) -> None:
    for path, shape in shapes.items():
        first, expected = next(iter(shapes.items()))
        if shape[1:] != expected[1:]:
            one, other = (size_in_words((1, *size[1:])) for size in (expected, shape))
            raise InputError(
                f"--warm-start needs inputs of one size, and {first} is {one}, {path} {other}: "
                "restore them apart, or without it"
            )


def _input(places: Places, job: Job) -> Picture:
    return read(places.input, page=job.options.page, value_range=job.options.value_range, missing=job.fills_missing)


def _read(places: Places, job: Job) -> tuple[Picture, torch.Tensor | None]:
    """The input and the reference, known to be of one kind, and that a result can be written as is asked."""
    options = job.options
    picture = _input(places, job)
    picture.check_destination(places.output, overwrite=places.may_replace(options))
    reference = None if places.reference is None else read_reference(places.reference, picture, options.page)
    return picture, reference


def _restore(job: Job, recipe: Recipe, places: Places, interrupt: Interrupt, passed: Passed) -> Report | None:
    """One picture, from reading to the last file; None if it was interrupted before there was anything to write."""
    options = job.options
    _, reference = _read(places, job)
    # The first optimizer of a process imports PyTorch's compiler, which is no time spent on the picture.
    torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    begin = time.perf_counter()
    picture = whole = _input(places, job)
    if options.preview:
        picture = middle_of(whole)
        reference = None if reference is None else middle_of_reference(reference, whole)
    run = _run(job, recipe, picture, places, passed, whole=whole)
    setup = time.perf_counter() - begin
    picture.check_destination(places.output, overwrite=places.may_replace(options), size=run.size)
    film_every = None if places.film is None else options.every or 10
    watched = Watched(run, picture, reference=reference, strength=options.strength, film_every=film_every)
    saving = options.autosave is not None or options.resume
    resuming = options.resume and places.checkpoint.exists()
    if resuming:
        checkpoint.load(watched, places.checkpoint)
    if passed.last is not None:
        _take_over(passed, watched, places, resuming=resuming)
    _say_remarks(run, options)
    complete = _iterate(watched, options, places, interrupt)
    if not watched.begun:
        print(f"preimage: {places.input}: ended before the first step, nothing was written", file=sys.stderr)
        return None
    handing_on = complete and passed.last not in (None, places)
    if saving and (handing_on or not complete):
        checkpoint.save(watched, places.checkpoint)
    result = watched.result()
    _write(result, watched, places, replace=places.may_replace(options))
    report = make_report(result, watched, places, recipe=recipe_name(options), seconds=setup + result.seconds)
    if handing_on:
        passed.weights, passed.source = result.weights, places.input
        passed.checkpoint = places.checkpoint if saving else None
    elif complete and saving:
        places.checkpoint.unlink(missing_ok=True)
    if not options.quiet:
        with closed_pipe_is_no_failure():
            print_summary(report, places.written(), sys.stderr if options.json else sys.stdout)
            if options.preview:
                print(projected(setup + result.seconds, whole), file=sys.stderr if options.json else sys.stdout)
    return report


def _run(job: Job, recipe: Recipe, picture: Picture, places: Places, passed: Passed, *, whole: Picture) -> Run:
    """The fit of one picture; of its pages in turn, or from the weights of the input before, if so asked."""
    options = job.options
    page = options.page or 1 if options.preview else options.page  # of a part, what lies beside must be read to be cut
    own = companions(job.own, job.pictures, places.input, page)
    beside = {name: own.pop(name) for name in job.pictures if isinstance(own.get(name), Picture)}
    if options.preview:
        check_beside(whole, beside)
        beside = {name: middle_of(given) for name, given in beside.items()}

    tile = _tile(options, places)

    def make(page: Picture, *, initial: Sequence[dict[str, Any]] | None, **pictures: Picture) -> Any:
        return job.function(
            page,
            **own,
            **pictures,
            recipe=recipe,
            stop=choose_rule(options),
            restarts=options.restarts,
            initial=initial,
            seed=options.seed,
            device=options.device,
            tile=tile,
        )

    if options.warm_start and len(picture.tensor) > 1:
        run: Run = Frames(make, picture, beside=beside, initial=passed.weights)
    else:
        run = make(picture, initial=passed.weights, **beside)
    if passed.last is not None:
        run.fingerprint = {**run.fingerprint, "begun_from": "the last input"}
    return run


def _tile(options: Options, places: Places) -> Any:
    """Tiles as the options say; where these leave it to the memory that is free, as the checkpoint has them."""
    tile = choose_tile(options)
    if tile != "auto" or not (options.resume and places.checkpoint.exists()):
        return tile
    begun = checkpoint.read(places.checkpoint)["fingerprint"]
    return (begun["tile"], begun["overlap"]) if "tile" in begun else None


def _take_over(passed: Passed, watched: Watched, places: Places, *, resuming: bool) -> None:
    """Say what the fit begins from; and save that, before the checkpoint of the input that it is from goes."""
    source = "random weights" if passed.source is None else f"the weights of {passed.source}"
    run = watched.run_inside
    run.remarks = (*run.remarks, f"gone on from {places.checkpoint}" if resuming else f"begun from {source}")
    if passed.checkpoint is not None:
        if not resuming:
            checkpoint.save(watched, places.checkpoint)
        passed.checkpoint.unlink(missing_ok=True)
        passed.checkpoint = None


def _say_remarks(run: Run, options: Options) -> None:
    """What the task decided by itself, before the hours that it decides over."""
    if not options.quiet:
        with closed_pipe_is_no_failure():
            for line in run.remarks:
                print(line, file=sys.stderr if options.json else sys.stdout, flush=True)


def _iterate(watched: Watched, options: Options, places: Places, interrupt: Interrupt) -> bool:
    """To the end, or to where a signal ended it; whether the result stands."""
    steps: Iterator[Any] = iter(watched)
    if options.autosave is not None:
        steps = checkpoint.autosave(watched, places.checkpoint, options.autosave)
    with Progress(places.input.name, quiet=options.quiet) as progress:
        while not interrupt.number:
            step = next(steps, None)
            if step is None:
                return True
            progress.show(step)
    return watched.finished


def _write(result: Result, watched: Watched, places: Places, *, replace: bool) -> None:
    picture = result.picture or watched.picture  # the task may have changed what it is written with: alpha, say
    image = watched.returned(result.image)
    picture.write(image, places.output, overwrite=replace)
    if places.uncertainty is not None and result.uncertainty is not None:
        low, high = picture.units()
        write_float_tiff(result.uncertainty * (high - low), places.uncertainty, overwrite=replace)
    if places.film is not None:
        write_film(watched.film(image), places.film, overwrite=replace)
    if places.figure is not None:
        figure = restoration_figure(
            result, image=image, reference=watched.reference, scores=watched.scores, psnrs=watched.psnrs
        )
        save_figure(figure, places.figure, overwrite=replace)


def _checked_recipe(job: Job) -> Recipe:
    """The recipe; and every option that is wrong whatever the picture is."""
    options = job.options
    recipe = choose_recipe(options, job.module)
    choose_rule(options)
    choose_tile(options)
    check_preview(options)
    for name in ("threads", "autosave", "every", "restarts"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} must be at least 1, got {value}")
    if not 0 <= options.strength <= 1:
        raise InputError(f"--strength must be from 0 (the input) to 1 (the result), got {options.strength}")
    if options.every is not None and options.film is None:
        raise InputError("--every is of the film: give --film FILE.gif too, or leave it out")
    if options.uncertainty is not None and (options.restarts or recipe.restarts) < 2:
        raise InputError("--uncertainty is the deviation between fits: give --restarts 2 or more")
    return recipe


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
