"""The pictures of a run as tasks of Ray, on the machines of its cluster: `ray start`, and docs/scale.md.

A task is told paths, and writes its results to the storage that all machines share; nothing but a few words comes back. Ray
starts a task again whose machine or process was lost, as often as it takes; how often a picture may end its process is counted
in its record (work.py). So the one that asked may die as well, and be started again.

Not Ray Data: that is made for rows of seconds which stream from one operation to the next, these are pictures of minutes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preimage.errors import InputError
from preimage.extras import require
from preimage.folders.run import GRACE, Doing, FolderRun, Turn
from preimage.folders.work import Ended
from preimage.folders.worker import take_turn, turn_line

TIMEOUT = 10.0  # seconds until an address is said not to answer
TOLD_EVERY = 2.0  # seconds between two words of a task
LOOKED_EVERY = 1.0  # seconds between two looks at what is done
AHEAD = 2  # tasks for each slot, so that none waits for the next


@dataclass(frozen=True)
class Slots:
    """What a picture takes of a cluster, and how many find room at once.

    Args:
        threads: processor threads of each.
        gpus: the part of a GPU of each.
        count: how many find room.
    """

    threads: int
    gpus: float
    count: int

    @classmethod
    def of(cls, resources: dict[str, float], threads: int | None, gpu_share: float | None) -> Slots:
        """Of the resources of a cluster; each picture takes a core and, where there are GPUs, one of these, if nothing is stated.

        Raises:
            InputError: more than the cluster has.
        """
        cores, cards = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
        own, share = threads or 1, gpu_share if gpu_share is not None else min(1.0, cards)
        count = min([cores // own] + ([cards / share] if share else []))
        if count < 1:
            raise InputError(
                f"the cluster has {cores:g} cores and {cards:g} GPUs, an image is to take {own} and {share:g}: "
                "lower --threads or --gpu-share, or add machines",
                code="option",
            )
        return cls(own, share, int(count))


def connected(address: str) -> Any:
    """The module `ray`, connected to a cluster: "auto" is the one that runs on this machine, or that RAY_ADDRESS names.

    Raises:
        InputError: no Ray, no cluster, an address that does not answer within 10 seconds, another version.
    """
    require("ray")
    stated = os.environ.get("RAY_ADDRESS", "auto") if address == "auto" else address
    if stated != "auto":
        _reach(stated)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    try:
        ray.init(
            stated, namespace="preimage", log_to_driver=False, logging_level=logging.CRITICAL, ignore_reinit_error=True
        )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        if address == "auto" and stated == "auto":
            raise InputError("--ray auto: no cluster runs on this machine: ray start --head", code="option") from error
        raise InputError(f"--ray {address}: {_line(error)}", code="option") from error
    return ray


def _reach(address: str) -> None:
    """See that a cluster answers: `ray.init` would wait for minutes, for whatever else listens there as well.

    Raises:
        InputError: an address without a port, or that does not answer.
    """
    host, _, port = address.rpartition("//")[2].partition("?")[0].rpartition(":")
    if not host or not port.isdigit():
        raise InputError(f"--ray must be auto or HOST:PORT, got {address!r}", code="option")
    try:
        socket.create_connection((host.strip("[]"), int(port)), TIMEOUT).close()
        healthy = (
            address.startswith("ray://")
            or not subprocess.run(
                [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address],
                capture_output=True,
                timeout=TIMEOUT,
            ).returncode
        )
        reason = None if healthy else "no cluster of this version of Ray"
    except (TimeoutError, subprocess.TimeoutExpired):
        reason = f"no answer within {TIMEOUT:g} seconds"
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    if reason is not None:
        raise InputError(f"--ray {address}: {reason}: is it the address that ray start --head printed?", code="option")


def _line(error: BaseException) -> str:
    """What it says in its last line: those before are the traceback of another process, if anything."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


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


class _Teller:
    """A task's side of the board; one that is lost keeps no task from its end."""

    def __init__(self, board: Any, name: str) -> None:
        self._board, self._name = board, name
        self._at = (0, 0)
        self._told = 0.0
        self._stops = False

    def shows(self, running: Any, step: Any) -> None:
        self._at = step.index, max(step.total, step.index)

    def stops(self) -> bool:
        import ray
        from ray.exceptions import RayError

        now = time.monotonic()
        if not self._stops and now - self._told > TOLD_EVERY:
            self._told = now
            with contextlib.suppress(RayError):
                self._stops = bool(ray.get(self._board.tell.remote(self._name, *self._at), timeout=TOLD_EVERY))
        return self._stops

    def leave(self) -> None:
        self._board.leave.remote(self._name)


def _task(line: str, name: str, board: Any, here: str, out: str) -> tuple[str, str | None] | None:
    """A picture's turn, on some machine of the cluster; None if the run is to stop, and it was not begun.

    Raises:
        FileNotFoundError: the machine does not know the output folder.
    """
    teller = _Teller(board, name)
    if teller.stops():
        return None
    with contextlib.suppress(OSError):  # of which absolute paths have no need
        os.chdir(here)
    if not Path(out).is_dir():
        raise FileNotFoundError(
            f"{socket.gethostname()} has no folder {out}: give paths of storage that all machines share"
        )
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
            self.broken: str | None = _line(error) if self.broken is None else self.broken
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
