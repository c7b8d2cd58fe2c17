"""How long pictures take, and how much memory, by some steps of the first one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

from preimage.errors import InputError
from preimage.folders.run import Turn
from preimage.jobs.projection import FIRST


@dataclass(frozen=True)
class Foreseen:
    """What one picture takes: at most so many seconds, and bytes of memory of its process."""

    name: str
    seconds: float
    memory: int


def foreseen(turns: Sequence[Turn]) -> Foreseen | None:
    """By the first picture that can be read; nothing is written. None where none can."""
    from preimage.jobs.report import peak_memory
    from preimage.jobs.run import Running, threads_of

    for turn in turns:
        job = replace(turn.job, outputs={}, run=replace(turn.job.run, overwrite=True, resume=False, autosave=None))
        try:
            with threads_of(job.run.threads):
                running = Running(job, allow_code=True)
                steps = [(step.index, step.seconds, step.total) for step in islice(running, FIRST)]
                if not steps:
                    continue
                (first, begun, total), (last, ended, _) = steps[0], steps[-1]
                total = getattr(running.run, "usual_steps", None) or total
                memory = peak_memory("cpu")
                del running
                setup = Running(job, allow_code=True).setup  # as of all further pictures: what it needs is loaded
        except InputError:
            continue
        pace = (ended - begun) / max(1, last - first)
        return Foreseen(turn.name, setup + pace * total, memory)
    return None
