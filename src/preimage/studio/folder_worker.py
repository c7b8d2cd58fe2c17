"""The process of one folder run: `python -m preimage.studio.folder_worker RUNFOLDER`, where RUNFOLDER has run.json.

It does what the command over that folder does (`preimage TASK FOLDER -o OUT`), and says in lines of JSON how it goes. When its
input ends it stops: what is at hand is saved, and the next process goes on.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

from preimage.errors import InputError
from preimage.folders.jobs import Asked
from preimage.folders.listing import Entry, listing_of
from preimage.folders.processes import ProcessRun
from preimage.folders.results import check_table, write_table
from preimage.folders.run import Turn
from preimage.folders.work import Ended
from preimage.folders.workers import Workers, out_folder
from preimage.jobs.failures import explain
from preimage.jobs.job import Job, restores

_TOLD_EVERY = 0.5
_UNDONE = ("failed", "had failed", "in the way", "interrupted", "lost")


class Told:
    """Lines for the server."""

    def __init__(self) -> None:
        self.refused: int = 0  # pictures that have no turn
        self._file = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def refuse(self, name: str, error: str) -> None:
        """Say of a picture why it has no turn."""
        self.refused += 1
        self.say({"row": {"name": name, "state": "failed", "error": error, "seconds": None}})

    def say(self, what: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(what) + "\n")
            self._file.flush()
        except (OSError, ValueError):  # whoever started it may be gone
            pass


def turns_of(wanted: dict[str, Any], told: Told) -> tuple[list[Turn], Job]:
    """The turn of each picture; of one that cannot be begun it is said why."""
    model = Job.from_json(wanted["job"])
    out = Path(wanted["out"])
    listing = listing_of([Path(wanted["folder"])], recursive=bool(wanted.get("recursive")), apart_from=out)
    every = Asked(model.spec, model.options, out_folder(out), {}, model.run)

    def refuse(entry: Entry, error: InputError) -> None:
        every.refused(entry, error)
        told.refuse(entry.name, str(error))

    return every.turns(listing.entries, refuse), model


def work(folder: Path, told: Told, stops: threading.Event) -> str:
    """Do what is left; the state of the run."""
    wanted = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    turns, model = turns_of(wanted, told)
    table = Path(wanted["out"], "results.csv")
    if not restores(model.spec):
        check_table(table, "move it, or choose another output folder")
    told.say({"total": len(turns)})
    begun: dict[str, float] = {}

    def hears(turn: Turn, ended: Ended) -> None:
        record = turn.place.read() if ended.record is None else ended.record
        seconds = None if record is None else record.report.get("seconds")
        state = {"was done": "done", "had failed": "failed"}.get(ended.became, ended.became)
        told.say({"row": {"name": turn.name, "state": state, "error": ended.error, "seconds": seconds}})

    workers = Workers(int(wanted["workers"]), model.run.threads)
    run = ProcessRun(turns, workers, retry_failed=bool(wanted.get("retry_failed")), hears=hears)
    with run:
        while not run.ended:
            run.wait(_TOLD_EVERY)
            doing = [{"name": each.name, "step": each.step, "of": each.of} for each in list(run.doing.values())]
            for each in doing:
                begun.setdefault(each["name"], time.monotonic())
            told.say({"counts": dict(run.counts), "running": doing})
            if stops.is_set():
                run.stop()
    told.say({"counts": dict(run.counts), "running": []})
    if run.broken is not None:
        raise InputError(f"no image can be worked on: {run.broken}", code="device")
    if not restores(model.spec):
        write_table(Path(wanted["out"]), model.task, table)
    if sum(run.counts.values()) < run.total or run.counts["interrupted"]:
        return "stopped"
    return "failed" if told.refused or any(run.counts[each] for each in _UNDONE) else "done"


def main() -> int:
    """Do the run."""
    told, stops = Told(), threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: stops.set())
    warnings.simplefilter("ignore")

    def listen() -> None:
        for line in sys.stdin:
            if line.strip() == "stop":
                break
        stops.set()

    threading.Thread(target=listen, daemon=True).start()
    try:
        told.say({"ended": work(Path(sys.argv[1]), told, stops)})
    except Exception as error:
        told.say({"ended": "failed", "error": explain(error)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
