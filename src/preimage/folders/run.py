"""A run over many pictures: which comes next, and what has become of each. Who works on them is another's business.

Worker processes of this machine do (processes.py), or a cluster (cluster.py).
"""

from __future__ import annotations

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from preimage.errors import InputError
from preimage.folders import lease
from preimage.folders.records import Place
from preimage.folders.work import Became, Ended, look
from preimage.jobs.failures import explain
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

    def with_threads(self, threads: int | None) -> Turn:
        """With so many processor threads, unless its job says how many."""
        if threads is None or self.job.run.threads is not None:
            return self
        return replace(self, job=replace(self.job, run=replace(self.job.run, threads=threads)))


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


class FolderRun(ABC):
    """The turns of many pictures; a context, and `wait` until `ended`.

    Args:
        turns: each picture once.
        retry_failed: whether those that failed are tried again.
        allow_code: as `run_job`.
        hears: is told of every picture that ended, by the thread that heard of it, one at a time.
    """

    def __init__(
        self,
        turns: Sequence[Turn],
        *,
        retry_failed: bool = False,
        allow_code: bool = False,
        hears: Callable[[Turn, Ended], object] = lambda turn, ended: None,
    ) -> None:
        self.total: int = len(turns)
        self.counts: Counter[Became] = Counter()
        self.doing: dict[int | str, Doing] = {}
        self.begun: float = time.monotonic()
        self.broken: str | None = None  # why no further picture can be worked on
        self._retry, self._allow, self._hears = retry_failed, allow_code, hears
        self._waiting: deque[tuple[float, Turn]] = deque((0.0, turn) for turn in turns)
        self._open = len(turns)  # neither ended nor left
        self._lock = threading.Condition()
        self._stops = False
        self._threads: list[threading.Thread] = []

    @abstractmethod
    def _attendants(self) -> Sequence[Callable[[], object]]:
        """What is run in a thread each, until no picture is open or the run is to stop."""

    @abstractmethod
    def _tell_to_stop(self) -> None:
        """Tell whoever is at work on a picture to save a checkpoint, and to leave."""

    @abstractmethod
    def _end_by_force(self) -> None:
        """End whoever has not left when the time for it is over."""

    def __enter__(self) -> FolderRun:
        self._threads = [
            threading.Thread(target=self._attend, args=(each,), daemon=True) for each in self._attendants()
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        deadline = time.monotonic() + GRACE
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._end_by_force()
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
        self._tell_to_stop()

    def _attend(self, attendant: Callable[[], object]) -> None:
        """Run an attendant; what it cannot go on from ends the run, for nobody else would do its pictures."""
        try:
            attendant()
        except Exception as error:
            with self._lock:
                self.broken = explain(error) if self.broken is None else self.broken
            with contextlib.suppress(Exception):
                self.stop()
        finally:
            with self._lock:
                self._lock.notify_all()

    def _next(self, *, waits: bool = True) -> Turn | None:
        """The next picture that is not known to be done; None where there is none any more, or (without `waits`) now.

        One that another process has comes again after all others.
        """
        while (turn := self._taken(waits)) is not None:
            known = self._known(turn)
            if known is None:
                return turn
            self._end(turn, known)
        return None

    def _taken(self, waits: bool) -> Turn | None:
        with self._lock:
            while not self._stops and self._open:
                now = time.monotonic()
                for place, (since, turn) in enumerate(self._waiting):
                    if since <= now:
                        del self._waiting[place]
                        return turn
                if not waits:
                    break
                self._lock.wait(0.1)
            return None

    def _known(self, turn: Turn) -> Ended | None:
        try:
            known = look(turn.place, turn.job, retry_failed=self._retry)
        except InputError:
            return None  # the worker says what is wrong, and keeps a record of it
        if known is not None:
            with contextlib.suppress(OSError):
                lease.clear(turn.place.stem)
        return known

    def _heard(self, turn: Turn, ended: Ended) -> None:
        """What a worker says has become of a picture."""
        if ended.became in ("busy", "lost"):
            self._again(turn, WAITED)
        else:
            self._end(turn, ended)

    def _again(self, turn: Turn, after: float) -> None:
        with self._lock:
            self._waiting.append((time.monotonic() + after, turn))
            self._lock.notify_all()

    def _end(self, turn: Turn, ended: Ended) -> None:
        with self._lock:
            self.counts[ended.became] += 1
            self._open -= 1
            self._hears(turn, ended)
            self._lock.notify_all()


def looked_at(
    turns: Sequence[Turn], refuse: Callable[[Turn, InputError], object], *, retry_failed: bool = False
) -> tuple[Counter[str], list[Turn]]:
    """How many pictures stand how, without working on any, by what `look` says; and those that are to do.

    Args:
        turns: each picture once.
        refuse: is told of one whose files cannot be read, and why.
        retry_failed: whether those that failed are tried again.
    """
    found: Counter[str] = Counter()
    to_do: list[Turn] = []
    for turn in turns:
        try:
            known = look(turn.place, turn.job, retry_failed=retry_failed)
        except InputError as error:
            refuse(turn, error)
            continue
        if known is None:
            to_do.append(turn)
        else:
            found[known.became] += 1
    return found, to_do
