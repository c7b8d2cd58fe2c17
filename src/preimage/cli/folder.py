"""A command over a folder or a list: what is to be done is found, done by worker processes, and shown as one table."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from preimage.cli.execute import Command
from preimage.cli.folder_files import ANOTHER_TABLE, Lines, check_files
from preimage.cli.folder_shown import UNDONE, WORDS, Shown
from preimage.cli.interrupt import Interrupt
from preimage.cli.streams import say
from preimage.errors import InputError
from preimage.folders.jobs import Asked
from preimage.folders.listing import Entry, Listing, listing_of
from preimage.folders.options import FolderOptions
from preimage.folders.processes import ProcessRun
from preimage.folders.results import check_table, write_table
from preimage.folders.run import FolderRun, Turn, looked_at
from preimage.folders.work import Ended
from preimage.folders.workers import Workers, out_folder
from preimage.images import check_place
from preimage.jobs.job import restores
from preimage.jobs.projection import in_words

SHOWN_EVERY = 0.5  # seconds between two looks at how it goes
LOOKED_EVERY, AT_MOST_EVERY = 0.5, 5.0  # seconds between two looks at what has appeared: a large folder takes its time
SERVICE = "workers of one GPU take turns while its multi-process service is off: nvidia-cuda-mps-control -d turns it on"
AT_REST = 3.0  # seconds without a change, after which a file that appeared is taken for whole


def is_folder_run(command: Command, asked: FolderOptions) -> bool:
    """Whether a command is one over many pictures."""
    several = command.several and command.task.inputs == "image"
    return asked.is_any() or several or any(each.is_dir() for each in command.inputs)


def execute_folder(command: Command, asked: FolderOptions) -> int:
    """Run a command over a folder or list; 0 if all is done, 2 if something is not, 130, 143 or 129 after a signal."""
    out = command.outputs.get("output")
    if out is None:
        folder = next((each for each in command.inputs if each.is_dir()), None)
        names = ", ".join(map(str, command.inputs[:2])) or "a list"
        what = f"{folder} is a folder" if folder is not None else f"{command.task.name} of several images ({names})"
        raise InputError(f"{what}: give -o FOLDER for the results", code="option")
    if command.options.get("warm_start"):
        raise InputError("--warm-start goes from file to file: name the files, without a folder", code="option")
    if command.run.preview:
        raise InputError("--preview is of one image: leave it out", code="option")
    if asked.watch and asked.listed is not None:
        raise InputError("--watch is of folders, and --from names a list: leave one of them out", code="option")
    shares, gpus = asked.shares(), asked.gpu_numbers()
    crew = _crew(asked, gpus, command.run.threads)
    listing = listing_of(
        command.inputs,
        recursive=asked.recursive,
        listed=asked.listed,
        apart_from=out,
        target_column=asked.target_column,
        may_be_empty=asked.watch,
    )
    table = asked.table if asked.table is not None or restores(command.task) else out / "results.csv"
    check_files(command, asked, listing.entries, table)
    listing = listing if shares is None else listing.shard(*shares)
    if crew.advice and not command.quiet:
        say(crew.advice)
    further = {name: path for name, path in command.outputs.items() if name != "output"}
    if asked.dry_run:
        return _dry_run(
            Asked(command.task, command.options, out, further, command.run, asked.target_column),
            listing,
            asked,
            crew.count,
        )
    made = {name: out_folder(path, f"--{name}") for name, path in further.items()}
    every = Asked(command.task, command.options, out_folder(out), made, command.run, asked.target_column)
    if asked.table is not None:
        check_place(asked.table, overwrite=True)
    shown = Shown(command.quiet, skipped=listing.skipped)
    report = None if command.run.report is None else Lines(command.run.report, shown.tell)

    def refuse(entry: Entry, error: InputError) -> None:
        shown.refuse(entry.name, str(error))
        ended = every.refused(entry, error)
        if report is not None:
            report.add_refused(entry.source, command.task.name, ended)

    with Interrupt(quiet=True) as interrupt:
        alone = not (asked.watch and any(each.is_dir() for each in command.inputs))
        turns = every.turns(listing.entries, refuse, raises_alone=alone)
        known = {entry.source for entry in listing.entries}
        code = _run(turns, crew, asked, command, interrupt, shown, report)
        while asked.watch and not interrupt.number:
            appeared = _appeared(command, asked, shares, out, known, interrupt)
            known |= {entry.source for entry in appeared.entries}
            turns = [turn for entry in appeared.entries for turn in _turns_of(entry, every, refuse)]
            code = max(code, _run(turns, crew, asked, command, interrupt, shown, report))
    _sum_up(shown, command)
    if table is not None:
        _write_table(command, out, table)
    if interrupt.number:
        return interrupt.exit_code
    return code or (2 if shown.refused or (report is not None and report.lost) else 0)


def _turns_of(entry: Entry, every: Asked, refuse: Callable[[Entry, InputError], None]) -> list[Turn]:
    """The turn of a picture that appeared; none if it cannot be begun, which is told and ends nothing."""
    try:
        return every.turns([entry], refuse)
    except InputError as error:
        refuse(entry, error)
        return []


@dataclass(frozen=True)
class _Crew:
    """Who works on the pictures: a run of given pictures, how many are worked on at once, and what would make it faster."""

    run: Callable[..., FolderRun]
    count: int
    advice: str = ""


def _crew(asked: FolderOptions, gpus: tuple[str, ...], threads: int | None) -> _Crew:
    """Processes of this machine, or a cluster.

    Raises:
        InputError: options of the one with the other, no such cluster.
    """
    if asked.ray is None:
        if asked.gpu_share is not None:
            raise InputError("--gpu-share is of a cluster: give --ray ADDRESS, or --gpus here", code="option")
        workers = Workers.chosen(asked.workers, gpus, threads)
        return _Crew(
            partial(ProcessRun, workers=workers), workers.count, SERVICE if workers.wait_for_each_other() else ""
        )
    if asked.workers is not None or gpus:
        raise InputError("--ray chooses the machines: leave --workers and --gpus out", code="option")
    from preimage.folders.cluster import RayRun
    from preimage.ray_cluster import Slots, connected

    ray = connected(asked.ray)
    slots = Slots.of(ray.cluster_resources(), threads, asked.gpu_share)
    return _Crew(partial(RayRun, ray=ray, slots=slots), slots.count)


def _run(
    turns: Sequence[Turn],
    crew: _Crew,
    asked: FolderOptions,
    command: Command,
    interrupt: Interrupt,
    shown: Shown,
    report: Lines | None,
) -> int:
    if not turns:
        return 0

    def hears(turn: Turn, ended: Ended) -> None:
        shown.hear(turn, ended)
        if report is not None and ended.became in ("done", "failed"):
            report.add(turn, ended)

    run = crew.run(turns, retry_failed=asked.retry_failed, allow_code=True, hears=hears)
    told = False
    with run, shown.during(run):
        while not run.ended:
            run.wait(SHOWN_EVERY)
            shown.show(run)
            if interrupt.number and not told:
                told = True
                say("preimage: ending: what is at hand is saved, the same command goes on")
                run.stop()
    left = run.total - sum(run.counts.values())
    shown.counts["left"] += left
    if run.broken is not None:
        what = "no further image" if run.counts else "no image"
        raise InputError(f"{what} can be worked on: {run.broken}", code="device")
    return 2 if any(run.counts[each] for each in UNDONE) or (left and not interrupt.number) else 0


def _appeared(
    command: Command,
    asked: FolderOptions,
    shares: tuple[int, int] | None,
    out: Path,
    known: set[Path],
    interrupt: Interrupt,
) -> Listing:
    """Wait for pictures that were not there before and are whole, by their size and time at rest; none after a signal."""
    seen: dict[Path, tuple[tuple[int, int], float]] = {}
    took = 0.0
    while not interrupt.number:
        time.sleep(min(AT_MOST_EVERY, max(LOOKED_EVERY, 4 * took)))
        begun = time.monotonic()
        try:
            found = listing_of(command.inputs, recursive=asked.recursive, apart_from=out, may_be_empty=True)
        except InputError:
            continue
        found = found if shares is None else found.shard(*shares)
        now, ready = time.monotonic(), []
        took = now - begun
        for entry in found.entries:
            if entry.source in known:
                continue
            try:
                stat = entry.source.stat()
            except OSError:
                continue
            state = (stat.st_size, stat.st_mtime_ns)
            before = seen.get(entry.source)
            if before is None or before[0] != state:
                seen[entry.source] = (state, now)
            elif now - before[1] >= AT_REST:
                ready.append(entry)
        if ready:
            return Listing(tuple(ready))
    return Listing(())


def _dry_run(every: Asked, listing: Listing, asked: FolderOptions, workers: int) -> int:
    """What would be done; how long it takes and with how much memory is known by four steps of the first picture."""
    shown = Shown(quiet=False)
    turns = every.turns(listing.entries, lambda entry, error: shown.refuse(entry.name, str(error)), raises_alone=True)
    counts, to_do = looked_at(
        turns, lambda turn, error: shown.refuse(turn.name, str(error)), retry_failed=asked.retry_failed
    )
    say(f"{len(listing.entries)} images: {len(to_do)} to do", stream="stdout")
    for became, words in WORDS.items():
        if counts[became]:
            say(f"  {counts[became]} {words}", stream="stdout")
    if shown.refused:
        say(f"  {shown.refused} that cannot be begun", stream="stdout")
    if listing.skipped:
        say(f"  {listing.skipped} skipped (no images by their names)", stream="stdout")
    if to_do:
        from preimage.folders.foreseen import foreseen

        first = foreseen(to_do)
        if first is not None:
            seconds = in_words(first.seconds * len(to_do) / workers)
            memory = f"{first.memory * workers / 2**30:.1f} GB"
            by = "1 worker" if workers == 1 else f"{workers} workers"
            say(
                f"by four steps of {first.name}: at most {seconds} with {by} if all are of its size, {memory} of memory",
                stream="stdout",
            )
    return 2 if shown.refused else 0


def _sum_up(shown: Shown, command: Command) -> None:
    counts = shown.counts
    if command.json:
        print(json.dumps({"counts": dict(counts), "refused": shown.refused}), flush=True)
    if command.quiet:
        return
    told = [f"{counts[became]} {words}" for became, words in WORDS.items() if counts[became]]
    told += [f"{shown.refused} refused"] if shown.refused else []
    told += [f"{shown.skipped} skipped (no images by their names)"] if shown.skipped else []
    told_to = "stderr" if command.json else "stdout"
    say(f"{', '.join(told) or 'nothing to do'} -> {command.outputs['output']}", stream=told_to)


def _write_table(command: Command, out: Path, table: Path) -> None:
    if not command.run.overwrite:
        check_table(table, ANOTHER_TABLE)  # once more: hours have passed
    write_table(out, command.task.name, table)
    if not command.quiet:
        say(f"  table: {table}", stream="stderr" if command.json else "stdout")
