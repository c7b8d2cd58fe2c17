"""The pictures of a run as tasks of Ray, on the machines of its cluster: `ray start`, and docs/scale.md.

A task is told paths, and writes its results to the storage that all machines share; nothing but a few words comes back. Ray
starts a task again whose machine or process was lost, as often as it takes; how often a picture may end its process is counted
in its record (work.py). So the one that asked may die as well, and be started again.

Not Ray Data: that is made for rows of seconds which stream from one operation to the next, these are pictures of minutes.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from preimage.folders.run import GRACE, Doing, FolderRun, Turn
from preimage.folders.work import Ended
from preimage.folders.worker import take_turn, turn_line
from preimage.ray_cluster import Slots, check_shared, reason_of

TOLD_EVERY = 2.0  # seconds between two words of a task
LOOKED_EVERY = 1.0  # seconds between two looks at what is done
AHEAD = 2  # tasks for each slot, so that none waits for the next


class Board:
    """An actor on which tasks write what they are at, and read whether they are to stop."""

    def __init__(self) -> None:
        self._stops = False
        self._doing: dict[str, tuple[int, int]] = {}

    def tell(self, name: str, step: int, of: int) -> bool:
        self._doing[name] = step, of
        return self._stops

    def leave(self, name: str) -> None:
        self._doing.pop(name, None)

    def stop(self) -> None:
        self._stops = True

    def doing(self) -> dict[str, tuple[int, int]]:
        return self._doing


class Teller:
    """A task's side of the board; one that is lost keeps no task from its end.

    It waits for no answer by `ray.get`: a task that does gives back its cores meanwhile, and Ray begins another one on them.
    """

    def __init__(self, board: Any, name: str) -> None:
        self._board, self._name = board, name
        self._at = (0, 0)
        self._told = -TOLD_EVERY
        self._answer: Future[bool] | None = None
        self._stops = False

    def shows(self, running: Any, step: Any) -> None:
        self._at = step.index, max(step.total, step.index)

    def stops(self, wait: float = 0.0) -> bool:
        """Whether the run is to stop, as far as is known within so many seconds."""
        now = time.monotonic()
        if not self._stops and self._answer is None and now - self._told >= TOLD_EVERY:
            self._told = now
            self._answer = self._board.tell.remote(self._name, *self._at).future()
        if self._answer is not None:
            try:
                self._stops = self._answer.result(timeout=wait)
            except TimeoutError:
                return self._stops
            except Exception:  # the board is lost
                self._stops = False
            self._answer = None
        return self._stops

    def leave(self) -> None:
        self._board.leave.remote(self._name)


def _task(line: str, name: str, board: Any, here: str, out: str) -> tuple[str, str | None] | None:
    """A picture's turn, on some machine of the cluster; None if the run is to stop, and it was not begun.

    Raises:
        FileNotFoundError: the machine does not know the output folder.
    """
    teller = Teller(board, name)
    if teller.stops(wait=TOLD_EVERY):
        return None
    with contextlib.suppress(OSError):  # of which absolute paths have no need
        os.chdir(here)
    check_shared(out)
    try:
        ended = take_turn(line, stops=teller.stops, shows=teller.shows)
    finally:
        teller.leave()
    return ended.became, ended.error


class RayRun(FolderRun):
    """A run by the tasks of a cluster.

    Args:
        turns: each picture once; paths that all machines know.
        ray: as of `connected`.
        slots: what each takes of it.
        options: as `FolderRun`.
    """

    def __init__(self, turns: Sequence[Turn], ray: Any, slots: Slots, **options: Any) -> None:
        super().__init__(turns, **options)
        self._ray, self._slots = ray, slots
        self._board: Any = ray.remote(num_cpus=0)(Board).remote()
        own = {"num_cpus": slots.threads, "num_gpus": slots.gpus, "max_retries": -1}
        self._task: Any = ray.remote(**own)(_task)

    def _attendants(self) -> Sequence[Callable[[], object]]:
        return [self._drive]

    def _tell_to_stop(self) -> None:
        self._board.stop.remote()

    def _end_by_force(self) -> None:
        """What is in flight ends with the connection to it."""
        with contextlib.suppress(Exception):
            self._ray.kill(self._board)

    def _drive(self) -> None:
        """Keep the cluster busy, and hear what becomes of the pictures."""
        flying: dict[Any, Turn] = {}
        looked = deadline = 0.0
        while True:
            while len(flying) < AHEAD * self._slots.count and (turn := self._next(waits=not flying)) is not None:
                flying[self._sent(turn)] = turn
            if not flying:
                return
            ready, _ = self._ray.wait(list(flying), num_returns=1, timeout=LOOKED_EVERY)
            for reference in ready:
                self._landed(reference, flying.pop(reference))
            now = time.monotonic()
            if self._stops:
                deadline = deadline or now + GRACE
                if now > deadline:
                    return
            if now - looked > LOOKED_EVERY:
                looked = now
                self._look()

    def _sent(self, turn: Turn) -> Any:
        job = turn.with_threads(self._slots.threads).job
        line = turn_line(turn.place, job, retry_failed=self._retry, allow_code=self._allow)
        return self._task.options(name=turn.name).remote(
            line, turn.name, self._board, str(Path.cwd()), str(turn.place.out)
        )

    def _landed(self, reference: Any, turn: Turn) -> None:
        try:
            said = self._ray.get(reference)
        except Exception as error:  # none of a picture's own, these are in what a task says: the cluster cannot do it
            self.broken: str | None = reason_of(error) if self.broken is None else self.broken
            self.stop()
            return
        if said is not None:
            self._heard(turn, Ended(*said))

    def _look(self) -> None:
        """See what the tasks are at."""
        with contextlib.suppress(Exception):  # what is shown is no reason to end
            at = self._ray.get(self._board.doing.remote(), timeout=LOOKED_EVERY)
            for name in set(self.doing) - set(at):
                del self.doing[name]
            for name, (step, of) in at.items():
                doing = self.doing.setdefault(name, Doing(name))
                doing.step, doing.of = step, of
