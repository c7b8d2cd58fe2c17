"""A worker process: `python -m preimage.folders.worker`. It takes turns as lines of JSON, and says what becomes of them.

A line in: {"job": ..., "out": ..., "name": ..., "retry_failed": ..., "allow_code": ...}. Lines out: {"ready": true} once,
{"step": ..., "of": ...} now and then, and {"became": ..., "error": ...} at the end of each. When its standard input ends, or
at SIGTERM, it saves a checkpoint and leaves: nobody listens any more.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from preimage.folders.records import Place
from preimage.folders.work import Ended, work_on
from preimage.jobs.job import Job

TOLD_EVERY = 0.2  # seconds between two lines of one turn


def turn_line(place: Place, job: Job, *, retry_failed: bool, allow_code: bool) -> str:
    """What a worker is sent for one picture."""
    sent = {"job": job.to_json(), "out": str(place.out), "name": place.name}
    return json.dumps(sent | {"retry_failed": retry_failed, "allow_code": allow_code}) + "\n"


def take_turn(
    line: str, *, stops: Callable[[], bool], shows: Callable[[Any, Any], object] = lambda running, step: None
) -> Ended:
    """Do what `turn_line` says; stops, shows: as `work_on`."""
    turn = json.loads(line)
    job = Job.from_json(turn["job"])
    place = Place(Path(turn["out"]), turn["name"], job.task)
    ways = {name: bool(turn[name]) for name in ("retry_failed", "allow_code")}
    return work_on(place, job, stops=stops, shows=shows, **ways)


class _Worker:
    """Reads turns in a thread of its own, so that the end of the input is known in the midst of one."""

    def __init__(self, answers: TextIO) -> None:
        self.ends: threading.Event = threading.Event()
        self._answers = answers
        self._told = 0.0
        self._turns: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in sys.stdin:
            self._turns.put(line)
        self.ends.set()
        self._turns.put(None)

    def turns(self) -> Iterator[str]:
        while not self.ends.is_set():
            try:
                line = self._turns.get(timeout=0.2)
            except queue.Empty:
                continue
            if line is None:
                return
            yield line

    def take(self, line: str) -> None:
        ended = take_turn(line, stops=self.ends.is_set, shows=self._show)
        self.say({"became": ended.became, "error": ended.error})

    def _show(self, running: Any, step: Any) -> None:
        now = time.monotonic()
        if now - self._told > TOLD_EVERY:
            self._told = now
            self.say({"step": step.index, "of": max(step.total, step.index)})

    def say(self, what: dict[str, Any]) -> None:
        with contextlib.suppress(OSError, ValueError):  # whoever started it may be gone
            self._answers.write(json.dumps(what) + "\n")
            self._answers.flush()


def main() -> int:
    """Take turns until there are no more."""
    # What libraries print must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = _Worker(answers)
    for name in (
        "SIGINT",
        "SIGBREAK",
    ):  # Ctrl-C and, on Windows, Ctrl-Break are for whoever started it, who ends the input
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: worker.ends.set())
    import_module("preimage.engine.fit")  # what cannot be imported ends it before it has an image
    worker.say({"ready": True})
    for line in worker.turns():
        worker.take(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
