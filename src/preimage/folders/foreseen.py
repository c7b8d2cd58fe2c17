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
                steps = list(islice(running, FIRST))
                again = Running(job, allow_code=True)  # as of all further pictures: what it needs is loaded
        except InputError:
            continue
        if not steps:
            continue
        begun, last = steps[0], steps[-1]
        pace = (last.seconds - begun.seconds) / max(1, last.index - begun.index)
        total = getattr(running.run, "usual_steps", None) or last.total
        return Foreseen(turn.name, again.setup + pace * total, peak_memory("cpu"))
    return None
