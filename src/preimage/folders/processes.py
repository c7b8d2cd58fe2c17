"""Worker processes of this machine, each with its share of the cores or its GPU.

One that dies, of memory or a defect, takes its picture with it and nothing else: another one is started, and the picture comes
again, three times at most.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import IO, Any

from preimage.folders.records import MOST_ATTEMPTS
from preimage.folders.run import WAITED, Doing, FolderRun, Turn
from preimage.folders.work import Ended, set_aside
from preimage.folders.worker import turn_line
from preimage.folders.workers import Workers


class ProcessRun(FolderRun):
    """A run by worker processes.

    Args:
        turns: each picture once.
        workers: the processes.
        options: as `FolderRun`.
    """

    def __init__(self, turns: Sequence[Turn], workers: Workers, **options: Any) -> None:
        super().__init__(turns, **options)
        self._workers = workers
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self._deaths: Counter[str] = Counter()  # by the picture that was worked on
        self._stillborn = 0  # processes, one after another, that ended before they could be given a picture

    def _attendants(self) -> Sequence[Callable[[], object]]:
        count = min(self._workers.count, max(1, self.total))
        return [partial(self._attend_process, number) for number in range(count)]

    def _tell_to_stop(self) -> None:
        for process in list(self._processes.values()):
            _end_input(process)

    def _end_by_force(self) -> None:
        for process in list(self._processes.values()):
            process.kill()

    def _attend_process(self, number: int) -> None:
        """One worker's turns, with as many processes as it takes."""
        process = None
        try:
            while (turn := self._next()) is not None:
                if process is None or process.poll() is not None:
                    _close(process)
                    process = self._started(number)
                    if not self._is_ready(process, turn):
                        continue
                self._give(number, process, turn)
        finally:
            self._processes.pop(number, None)
            _close(process)

    def _started(self, number: int) -> subprocess.Popen[str]:
        gpus = self._workers.gpus
        environment = dict(os.environ) | ({"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {})
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [sys.executable, "-m", "preimage.folders.worker"],
            stdin=pipe,
            stdout=pipe,
            encoding="utf-8",
            env=environment,
        )
        with self._lock:
            self._processes[number] = process
            stops = self._stops
        if stops:
            _end_input(process)
        return process

    def _is_ready(self, process: subprocess.Popen[str], turn: Turn) -> bool:
        """Wait until a process can be given a picture; one that ends before, again and again, says that none will do better."""
        assert process.stdout is not None
        if process.stdout.readline():
            self._stillborn = 0
            return True
        process.wait()
        self._stillborn += 1
        if self._stillborn >= MOST_ATTEMPTS and not self._stops:
            self.broken: str | None = f"worker processes end as they begin ({_words(process.returncode)}), see above"
            self.stop()
        self._again(turn, 0.0)
        return False

    def _give(self, number: int, process: subprocess.Popen[str], turn: Turn) -> None:
        """Send a picture, and hear what becomes of it, or that the process has died."""
        assert process.stdin is not None
        assert process.stdout is not None
        doing = self.doing[number] = Doing(turn.name)
        job = turn.with_threads(self._workers.threads).job
        line = turn_line(turn.place, job, retry_failed=self._retry, allow_code=self._allow)
        with contextlib.suppress(OSError, ValueError):  # it is dead already, or was told to end
            process.stdin.write(line)
            process.stdin.flush()
        said = _answer(process.stdout, doing)
        self.doing.pop(number, None)
        if said is None:
            process.wait()
            self._died(turn, process.returncode)
        else:
            self._heard(turn, Ended(said["became"], said["error"]))

    def _died(self, turn: Turn, code: int | None) -> None:
        """A process ended in the midst of a picture: it comes again, unless that has happened too often."""
        if self._stops:
            self._end(turn, Ended("interrupted"))
            return
        record = turn.place.read()
        came_further = record is not None and record.state == "started" and not record.attempts
        self._deaths[turn.name] = 1 if came_further else self._deaths[turn.name] + 1
        deaths = max(self._deaths[turn.name], 0 if record is None else record.attempts)
        if deaths < MOST_ATTEMPTS:
            self._again(turn, 0.0)
            return
        reason = f"its process ended {deaths} times while it was worked on ({_words(code)}): take a smaller picture"
        ended = set_aside(turn.place, turn.job, reason)
        if ended is None:
            self._again(turn, WAITED)
        else:
            self._end(turn, ended)


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


def _answer(answers: IO[str], doing: Doing) -> dict[str, Any] | None:
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
