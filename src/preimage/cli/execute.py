"""A command that was called: its jobs, one after another; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from preimage.cli.failures import report_failure
from preimage.cli.interrupt import Interrupt
from preimage.cli.progress import Progress
from preimage.cli.streams import say
from preimage.errors import InputError
from preimage.images import Picture, check_place
from preimage.jobs.failures import failure_of
from preimage.jobs.job import Job, RunOptions, run_options_of
from preimage.jobs.places import Places, check_apart, check_report, checked
from preimage.jobs.reading import read_input
from preimage.jobs.report import Report, as_json, report_of_done, reports_in, size_of, write_report
from preimage.jobs.run import Running, threads_of
from preimage.tasks import TaskSpec, described

# Of several inputs, what is kept between the check of all and the turn of each; others are read again.
_KEPT_BYTES = 2**28


@dataclass(frozen=True)
class Command:
    """What was typed: a task, its inputs, options and outputs, how the jobs are run, and how they are shown."""

    task: TaskSpec[..., Any]
    inputs: tuple[Path, ...]
    options: Mapping[str, Any]
    outputs: Mapping[str, Path]
    run: RunOptions
    quiet: bool
    json: bool

    @classmethod
    def of(cls, task: TaskSpec[..., Any], inputs: Sequence[Path], given: Mapping[str, Any]) -> Command:
        """The command of the arguments of its function; only what differs from the defaults is kept."""
        declared: Any = task.options
        defaults = {each.name: each.default for each in fields(declared)}
        own = {
            name: given[name]
            for name, each in described(task.options).items()
            if name in given and each.kind != "python"
        }
        options = {name: value for name, value in own.items() if value != defaults[name]}
        written = {each.name: given.get(f"write_{each.name}") for each in task.outputs}
        outputs = {name: path for name, path in written.items() if path is not None}
        run = RunOptions(**{name: given[name] for name in run_options_of(task) if name in given})
        return cls(task, tuple(inputs), options, outputs, run, bool(given.get("quiet")), bool(given.get("json")))

    @property
    def several(self) -> bool:
        """Whether there are several inputs, each a job."""
        return len(self.inputs) > 1

    def job(self, source: Path | None) -> Job:
        """The job of one input."""
        options = {name: str(value) if isinstance(value, Path) else value for name, value in self.options.items()}
        outputs = {name: str(path) for name, path in self.outputs.items()}
        run = replace(self.run, report=None) if self.several else self.run
        return Job(self.task.name, options, None if source is None else str(source), outputs, run)


@dataclass
class _Passed:
    """What --warm-start passes on from one input to the next: weights, whose they are, and the checkpoint that has them."""

    weights: Any = None
    begun_from: str = "random weights"
    checkpoint: Path | None = None


def execute(command: Command) -> int:
    """Run the jobs of a command; the exit code: 0, 2 if one could not be done, 129, 130 or 143 if a signal ended it."""
    if command.several:
        _check_folders(command)
    jobs, pictures, reports, code = _planned(command)
    passed = _Passed() if command.several and command.options.get("warm_start") else None
    with Interrupt(quiet=command.quiet) as interrupt, threads_of(command.run.threads):
        for places in jobs:
            job = places.job
            try:
                picture = pictures.pop(job.input, None)
                _one(command, job, picture, interrupt, passed, reports, last=places is jobs[-1])
            except Exception as error:
                code = report_failure(error, job.input, command=job.task)
                _note_failure(command, error, job.input, reports)
            if interrupt.number:
                code = interrupt.exit_code
                break
    if command.json and (reports or command.several):
        print(as_json(_in_turn(command, reports) if command.several else reports[-1]), flush=True)
    return code


def _planned(command: Command) -> tuple[list[Places], dict[str | None, Picture], list[Report], int]:
    """The places of every job, the inputs that are kept until their turn, the reports of those that are done, and 2 if an
    input cannot be read or an output be written: that is said now, hours before the last fit."""
    found: list[Places] = []
    pictures: dict[str | None, Picture] = {}
    sizes: dict[Path, str] = {}
    code, kept, failed = 0, 0, list[Report]()
    earlier, done = reports_in(command.run.report) if command.run.resume else [], list[Report]()
    for source in command.inputs or (None,):
        try:
            job = command.job(source)
            places = checked(job)
            check_apart(places, found)
            if places.is_there and (report := report_of_done(job, places, earlier)) is not None:
                done += [report] if report else []
                file = places.output
                _check_weights(command, job, file)
                told = f"{file} is there"
                if not report:
                    told += ", and no checkpoint, so that nothing tells whether it is finished"
                _print((f"{told}: left as it is (--overwrite computes it anew)",), command)
                continue
            picture = read_input(job, places) if command.several else None
            if picture is not None and source is not None:
                sizes[source] = size_of((1, *picture.tensor.shape[1:]))
                kept += picture.tensor.nbytes
                if kept <= _KEPT_BYTES:
                    pictures[job.input] = picture
            found.append(places)
        except Exception as error:
            if not command.several:
                raise
            code = report_failure(error, source, command=command.task.name)
            failed.append(failure_of(error, source, command.task.name))
    if command.options.get("warm_start"):
        _check_sizes(sizes)
    if command.several and command.run.report is not None:
        check_report(command.run.report)
        check_place(command.run.report, overwrite=command.run.overwrite or command.run.resume)
    if command.several:  # what an interrupted command of others left stays as well, but for what is done again
        again = {str(places.output) for places in found}
        inputs = {str(source) for source in command.inputs}
        stale = [each for each in earlier if "error" in each and each.get("input") in inputs]
        done = [each for each in earlier if each.get("output") not in again and each not in stale] + failed
        if failed and not found:  # no job will write it
            _write_reports(command, done)
    return found, pictures, done, code


def _note_failure(command: Command, error: Exception, source: str | None, reports: list[Report]) -> None:
    """Of several inputs the report has those that failed as well."""
    if command.several:
        reports.append(failure_of(error, source, command.task.name))
        _write_reports(command, reports)


def _write_reports(command: Command, reports: Sequence[Report]) -> None:
    if command.several and command.run.report is not None:
        write_report(_in_turn(command, reports), command.run.report, overwrite=True)


def _in_turn(command: Command, reports: Sequence[Report]) -> list[Report]:
    """Those of earlier commands, then each in the turn of its input."""
    turns = {str(source): turn for turn, source in enumerate(command.inputs)}
    return sorted(reports, key=lambda report: turns.get(str(report.get("input")), -1))


def _check_weights(command: Command, job: Job, file: Path | None) -> None:
    """Raise InputError if an input begins from the weights of this one, which is finished: they are gone with its checkpoint."""
    following = command.inputs[command.inputs.index(Path(str(job.input))) + 1 :]
    if command.options.get("warm_start") and following:
        next_one = checked(command.job(following[0]))
        if next_one.resumes is None and not next_one.is_there:
            gone = f"the weights that {following[0]} begins from are gone"
            raise InputError(f"{file} exists already, and {gone}: start anew with --overwrite", code="exists")


def _check_sizes(sizes: Mapping[Path, str]) -> None:
    """Weights are handed on between images of one size: raise InputError for the first that differs."""
    for source, size in sizes.items():
        first, own = next(iter(sizes.items()))
        if size != own:
            raise InputError(
                f"--warm-start takes inputs of one size: {first} is {own}, {source} {size}: leave one out", code="size"
            )


def _check_folders(command: Command) -> None:
    """For several inputs, what is written or read for each must be a folder that exists."""
    named = dict(command.outputs)
    if command.run.reference is not None:
        named["reference"] = command.run.reference
    for name, path in named.items():
        if not path.is_dir():
            there = "a file" if path.exists() else "not there: create it first"
            raise InputError(f"--{name} must be a folder for several inputs, and {path} is {there}", code="option")


def _one(
    command: Command,
    job: Job,
    picture: Picture | None,
    interrupt: Interrupt,
    passed: _Passed | None,
    reports: list[Report],
    *,
    last: bool,
) -> None:
    """One job, from reading to the last file; its report is the next, unless there was nothing to write yet."""
    started = {} if passed is None else {"initial": passed.weights, "begun_from": passed.begun_from}
    running = Running(job, allow_code=True, picture=picture, **started)
    kept = running.places.checkpoint
    if passed is not None and passed.checkpoint is not None:
        # The fit that begins from another's weights is saved before the checkpoint that has them goes.
        if running.resumed or running.save():
            passed.checkpoint.unlink(missing_ok=True)
        passed.checkpoint = None
    _print(running.remarks, command)
    name = job.task if job.input is None else Path(job.input).name
    warned = 0
    with Progress(name, quiet=command.quiet) as progress:
        for step in running if not interrupt.number else ():
            progress.foretell(running.projection)
            progress.show(step)
            warned = _warn(running, warned)
            if interrupt.number:
                break
    outcome = running.finish(hashed=command.run.report is not None)
    _warn(running, warned)
    if not outcome.report:
        what = "ended before the first step, nothing was written"
        if running.begun:
            what = "interrupted, nothing was written"
            if running.resumable:
                what = f"interrupted; go on with --resume from {kept}"
        say(f"preimage: {job.input or job.task}: {what}")
        return
    reports.append(outcome.report)
    _write_reports(command, reports)
    if passed is not None and not last and running.finished:
        passed.weights, passed.begun_from = running.result.weights, f"the weights of {job.input}"
        passed.checkpoint = kept if running.saves and running.save() else None
    else:
        running.settle()
    _print(outcome.lines, command)


def _warn(running: Running, already: int) -> int:
    """Say what went wrong since then; how many warnings there are now."""
    for warning in running.warnings[already:]:
        say(f"preimage: warning: {warning}")
    return len(running.warnings)


def _print(lines: Sequence[str], command: Command) -> None:
    if not command.quiet:
        for line in lines:
            say(line, stream="stderr" if command.json else "stdout")
