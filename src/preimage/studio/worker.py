"""The process of one job: `python -m preimage.studio.worker`. Its first line in is JSON: {"folder", "memory", "code"}.

The folder has job.json. It runs the job as `run_job` does, and says in lines of JSON how it goes. Further lines in: pause,
resume, cancel, finish. When its input ends, the server is gone: it saves a checkpoint and leaves, and the next process of the job
goes on from there. What became of the job stands in outcome.json before it is said.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np

from preimage.errors import InputError, SalvageWarning
from preimage.in_use import lock
from preimage.jobs.failures import explain
from preimage.jobs.job import Job
from preimage.jobs.places import places_of
from preimage.jobs.run import Running, threads_of
from preimage.studio.limits import limit_memory
from preimage.studio.results import RESULT
from preimage.studio.state import write_json
from preimage.studio.watching import Watching

SAVED_EVERY = 20.0  # seconds between two checkpoints
OUTCOME = "outcome.json"
_MOST_KEPT = 8 * 2**30  # bytes of a result that is kept for blends
_MOST_LOG = 2**20  # bytes
_WAITED_FOR = 60.0  # seconds, until the process before this one has left
Order = Literal["", "pause", "cancel", "finish", "leave"]


class Orders:
    """What the server wants, by the lines of the input."""

    def __init__(self) -> None:
        self.order: Order = ""
        self.changed: threading.Condition = threading.Condition()

    def listen(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()
        for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
            signal.signal(number, lambda *_: self._take("leave"))

    def _listen(self) -> None:
        for line in sys.stdin:
            word: Any = line.strip()
            if word == "resume":
                self._take("")
            elif word in ("pause", "cancel", "finish", "leave"):
                self._take(word)
        self._take("leave")

    def _take(self, order: Order) -> None:
        if self.order in ("leave", "cancel", "finish") and order in ("", "pause"):
            return
        self.order = order
        if threading.current_thread() is not threading.main_thread():
            with self.changed:
                self.changed.notify_all()

    def wait(self) -> None:
        """Until there is another order than to pause."""
        while self.order == "pause":
            with self.changed:
                self.changed.wait(0.2)


class Work:
    """One job, from its checkpoint if there is one."""

    def __init__(self, folder: Path, orders: Orders, answers: TextIO, *, allow_code: bool) -> None:
        self.folder = folder
        self.orders = orders
        self.answers = answers
        self.allow_code = allow_code
        self._saying = threading.Lock()

    def say(self, what: dict[str, Any]) -> None:
        with self._saying, contextlib.suppress(OSError, ValueError):  # whoever started it may be gone
            self.answers.write(json.dumps(what) + "\n")
            self.answers.flush()

    def run(self) -> None:
        job = Job.from_json((self.folder / "job.json").read_text(encoding="utf-8"))
        try:
            with threads_of(job.run.threads):
                outcome = self._run(job)
        except Exception as error:
            code = error.code if isinstance(error, InputError) else type(error).__name__
            outcome = {"state": "failed", "error": explain(error, job.task), "code": code}
        if outcome is not None:
            write_json(self.folder / OUTCOME, outcome)
            self.say({"ended": outcome["state"]})

    def _run(self, job: Job) -> dict[str, Any] | None:
        """What became of the job; None if it is to go on another time."""
        self.say({"phase": "reading"})
        running = self._begun(job)
        self.say(
            {"phase": "fitting", "remarks": list(running.remarks), "resumed": running.resumed, "rule": _rule(running)}
        )
        watching = Watching(running, self.folder, self.say)
        saved = time.monotonic()
        try:
            for step in running:
                watching.note(step)
                if self.orders.order and not running.finished:
                    if self.orders.order == "pause":
                        self._pause(running)
                    if self.orders.order in ("leave", "pause"):
                        running.save()
                        return None
                    if self.orders.order in ("cancel", "finish"):
                        break
                if time.monotonic() - saved > SAVED_EVERY:
                    running.save()
                    saved = time.monotonic()
        finally:
            watching.end()
        return self._ended(running)

    def _begun(self, job: Job) -> Running:
        """The Running: from its checkpoint, or anew where that is damaged."""
        path = places_of(job).checkpoint
        if path is not None and path.exists():
            try:
                return Running(replace(job, run=replace(job.run, resume=True)), allow_code=self.allow_code)
            except InputError as error:
                if error.code not in ("checkpoint", "format"):
                    raise
                path.unlink()
        return Running(replace(job, run=replace(job.run, overwrite=True)), allow_code=self.allow_code)

    def _pause(self, running: Running) -> None:
        """With a checkpoint this process makes room for others; without one it waits."""
        if running.save():
            self.say({"paused": True})
            return
        self.say({"paused": True, "held": True})
        self.orders.wait()

    def _ended(self, running: Running) -> dict[str, Any]:
        self.say({"phase": "writing"})
        outcome = running.finish()
        cancelled = self.orders.order == "cancel" and not running.finished
        state = "cancelled" if cancelled else "done"
        if not outcome.report:
            if state == "done" and self.orders.order != "finish":
                return {"state": "failed", "error": "it ended before the first step", "code": "invalid-value"}
            return {"state": "cancelled", "lines": ["ended before there was a result"]}
        result = running.result
        more = self._written_beside(running, result)
        if running.places.checkpoint is not None:
            running.places.checkpoint.unlink(missing_ok=True)
        report = outcome.report
        return {
            "state": state,
            "report": report,
            "lines": list(outcome.lines),
            "why": report.get("reason") or getattr(result, "reason", None),
            "written": sorted(
                {*outcome.written, *more} - {name for name in outcome.written if not outcome.written[name].exists()}
            ),
            "warnings": running.warnings,
            "same_size": running.watched is not None and result.image.shape == running.watched.picture.tensor.shape,
        }

    def _written_beside(self, running: Running, result: Any) -> list[str]:
        """The result as it is, for blends; and the uncertainty where there are restarts."""
        if running.watched is None:
            return []
        if result.image.numel() * 4 <= _MOST_KEPT:
            np.save(self.folder / RESULT, result.image.numpy(), allow_pickle=False)
        if result.uncertainty is None:
            return []
        running.watched.write("uncertainty", result, self.folder / "out" / "uncertainty.tif", overwrite=True)
        return ["uncertainty"]


def _rule(running: Running) -> dict[str, Any] | None:
    rule = getattr(running.run.current, "rule", None)
    name = getattr(rule, "name", None)
    if name is None:
        return None
    return {"name": str(name), "threshold": getattr(rule, "confidence", None)}


def _alone(folder: Path) -> Any:
    """The lock of the job, once the process before this one has left."""
    file = (folder / "lock").open("a+", encoding="utf-8")
    until = time.monotonic() + _WAITED_FOR
    while True:
        try:
            lock(file, wait=False)
            return file
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def main() -> int:
    """Do the job."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not be taken for an answer
    orders = Orders()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends the input
    warnings.simplefilter("ignore")
    warnings.filterwarnings("ignore", category=SalvageWarning)
    line = sys.stdin.readline()
    if not line:  # it was never needed
        return 0
    given = json.loads(line)
    folder = Path(given["folder"])
    os.chdir(folder)
    _log_to(folder / "log")
    orders.listen()
    limit_memory(int(given["memory"]))
    with _alone(folder):
        if (folder / OUTCOME).exists():  # it has ended in the process before this one
            return 0
        Work(folder, orders, answers, allow_code=bool(given["code"])).run()
    return 0


def _log_to(path: Path) -> None:
    """What libraries print goes to the job's log, of which there is never much."""
    if path.exists() and path.stat().st_size > _MOST_LOG:
        path.unlink()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for each in (1, 2):
        os.dup2(descriptor, each)
    os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
