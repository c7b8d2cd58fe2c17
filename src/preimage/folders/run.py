"""A run over many pictures: worker processes, who takes which picture next, and what has become of each.

A worker that dies, of memory or a defect, takes its picture with it and nothing else: another one is started, and the picture
comes again, three times at most.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import IO

from preimage.errors import InputError
from preimage.folders.records import MOST_ATTEMPTS, Place
from preimage.folders.work import Became, Ended, look, set_aside
from preimage.folders.worker import turn_line
from preimage.folders.workers import Workers
from preimage.jobs.job import Job

WAITED = 1.0  # seconds until a picture that another process has is looked at again
GRACE = 10.0  # seconds that workers have to save their checkpoints


@dataclass(frozen=True)
class Turn:
    """A picture: its record's place, and its job."""

    place: Place
    job: Job

    @property
    def name(self) -> str:
        return self.place.name


@dataclass
class Doing:
    """What a worker is at."""

    name: str
    step: int = 0
    of: int = 0
    begun: float = field(default_factory=time.monotonic)

    @property
    def seconds_left(self) -> float | None:
        """By the pace so far; at most, for most fits stop by themselves."""
        return None if not self.step else (self.of - self.step) * (time.monotonic() - self.begun) / self.step


class FolderRun:
    """The turns of many pictures; a context, and `wait` until `ended`.

    Args:
        turns: each picture once.
        workers: the processes.
        retry_failed: whether those that failed are tried again.
        allow_code: as `run_job`.
        hears: is told of every picture that ended, by the thread that heard of it, one at a time.
    """

    def __init__(
        self,
        turns: Sequence[Turn],
        workers: Workers,
        *,
        retry_failed: bool = False,
        allow_code: bool = False,
        hears: Callable[[Turn, Ended, float], object] = lambda turn, ended, seconds: None,
    ) -> None:
        self.total: int = len(turns)
        self.counts: Counter[Became] = Counter()
        self.doing: dict[int, Doing] = {}
        self.begun: float = time.monotonic()
        self._retry, self._allow, self._hears = retry_failed, allow_code, hears
        self._workers = workers
        self._waiting: deque[tuple[float, Turn]] = deque((0.0, turn) for turn in turns)
        self._open = len(turns)  # neither ended nor left
        self._lock = threading.Condition()
        self._stops = False
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self._threads = [
            threading.Thread(target=self._attend, args=(number,), daemon=True)
            for number in range(min(workers.count, max(1, len(turns))))
        ]

    def __enter__(self) -> FolderRun:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        deadline = time.monotonic() + GRACE
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for process in list(self._processes.values()):
            process.kill()
        for thread in self._threads:
            thread.join(5.0)

    @property
    def ended(self) -> bool:
        """Whether every picture has ended, or been left."""
        return not any(thread.is_alive() for thread in self._threads)

    def wait(self, seconds: float) -> None:
        """Until something ends, or so long."""
        with self._lock:
            if not self.ended:
                self._lock.wait(seconds)

    def stop(self) -> None:
        """Begin no other picture; those at hand save a checkpoint, and are left."""
        with self._lock:
            self._stops = True
            self._lock.notify_all()
        for process in list(self._processes.values()):
            _end_input(process)

    def _attend(self, number: int) -> None:
        """One worker's turns, with as many processes as it takes."""
        process = None
        try:
            while (turn := self._next()) is not None:
                known = self._known(turn)
                if known is not None:
                    self._end(turn, known, 0.0)
                    continue
                if process is None or process.poll() is not None:
                    _close(process)
                    process = self._started(number)
                self._give(number, process, turn)
        finally:
            self._processes.pop(number, None)
            _close(process)
            with self._lock:
                self._lock.notify_all()

    def _next(self) -> Turn | None:
        """The next picture; None where there is none any more. One that another process has is waited for, after all others."""
        with self._lock:
            while not self._stops and self._open:
                now = time.monotonic()
                for place, (since, turn) in enumerate(self._waiting):
                    if since <= now:
                        del self._waiting[place]
                        return turn
                self._lock.wait(0.1)
            return None

    def _known(self, turn: Turn) -> Ended | None:
        try:
            return look(turn.place, turn.job, retry_failed=self._retry)
        except InputError:
            return None  # the worker says what is wrong, and keeps a record of it

    def _started(self, number: int) -> subprocess.Popen[str]:
        gpus = self._workers.gpus
        environment = dict(os.environ) | ({"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {})
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [sys.executable, "-m", "preimage.folders.worker"], stdin=pipe, stdout=pipe, text=True, env=environment
        )
        with self._lock:
            self._processes[number] = process
            stops = self._stops
        if stops:
            _end_input(process)
        return process

    def _give(self, number: int, process: subprocess.Popen[str], turn: Turn) -> None:
        """Send a picture, and hear what becomes of it, or that the process has died."""
        assert process.stdin is not None
        assert process.stdout is not None
        doing = self.doing[number] = Doing(turn.name)
        line = turn_line(turn.place, self._with_threads(turn.job), retry_failed=self._retry, allow_code=self._allow)
        with contextlib.suppress(OSError, ValueError):  # it is dead already, or was told to end
            process.stdin.write(line)
            process.stdin.flush()
        said = _heard(process.stdout, doing)
        self.doing.pop(number, None)
        if said is None:
            process.wait()
            self._died(turn, process.returncode)
            return
        became: Became = said["became"]  # type: ignore[assignment]
        if became in ("busy", "lost"):
            self._again(turn, WAITED)
            return
        error = said.get("error")
        self._end(turn, Ended(became, None if error is None else str(error)), float(str(said.get("seconds") or 0)))

    def _with_threads(self, job: Job) -> Job:
        if self._workers.threads is None or job.run.threads is not None:
            return job
        return replace(job, run=replace(job.run, threads=self._workers.threads))

    def _died(self, turn: Turn, code: int | None) -> None:
        """A process ended in the midst of a picture: it comes again, unless that has happened too often."""
        if self._stops:
            self._end(turn, Ended("interrupted"), 0.0)
            return
        record = turn.place.read()
        if record is None or record.attempts < MOST_ATTEMPTS:
            self._again(turn, 0.0)
            return
        reason = (
            f"its process ended {record.attempts} times while it was worked on ({_words(code)}): take a smaller picture"
        )
        ended = set_aside(turn.place, turn.job, reason)
        if ended is None:
            self._again(turn, WAITED)
        else:
            self._end(turn, ended, 0.0)

    def _again(self, turn: Turn, after: float) -> None:
        with self._lock:
            self._waiting.append((time.monotonic() + after, turn))
            self._lock.notify_all()

    def _end(self, turn: Turn, ended: Ended, seconds: float) -> None:
        with self._lock:
            self.counts[ended.became] += 1
            self._open -= 1
            self._hears(turn, ended, seconds)
            self._lock.notify_all()


def _end_input(process: subprocess.Popen[str]) -> None:
    """Tell a worker to save and leave."""
    with contextlib.suppress(OSError):  # what it was sent last may not have arrived
        if process.stdin is not None:
            process.stdin.close()


def _close(process: subprocess.Popen[str] | None) -> None:
    """Wait until a worker has left."""
    if process is not None:
        _end_input(process)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _heard(answers: IO[str], doing: Doing) -> dict[str, object] | None:
    """What became of a picture; None if the process died before it said so."""
    for line in answers:
        try:
            said = json.loads(line)
        except ValueError:
            return None  # it died in the midst of a line
        if "became" in said:
            return said
        doing.step, doing.of = said["step"], said["of"]
    return None


def _words(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def looked_at(turns: Sequence[Turn], *, retry_failed: bool = False) -> Counter[str]:
    """How many pictures stand how, without working on any: "to do", and what `look` says."""
    found: Counter[str] = Counter()
    for turn in turns:
        known = look(turn.place, turn.job, retry_failed=retry_failed)
        found["to do" if known is None else known.became] += 1
    return found
