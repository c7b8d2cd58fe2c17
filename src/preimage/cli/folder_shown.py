"""What is seen of a run over many pictures: one live table on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from preimage.cli.failures import about
from preimage.cli.streams import say
from preimage.folders.run import FolderRun, Turn
from preimage.folders.work import Ended
from preimage.jobs.projection import in_words

PLAIN_EVERY = 10.0  # seconds between two lines
MOST_SHOWN = 20  # lines of the table
WORDS = {
    "done": "done",
    "was done": "done before",
    "failed": "failed",
    "had failed": "failed before (--retry-failed tries again)",
    "in the way": "not replaced (a file of the result's name is there: --overwrite)",
    "interrupted": "interrupted",
    "left": "not begun",
}
UNDONE = ("failed", "had failed", "in the way")


@dataclass
class Shown:
    """What is seen: on a terminal one live table, elsewhere a line now and then; each failure in a line that stays."""

    quiet: bool
    counts: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    skipped: int = 0

    def __post_init__(self) -> None:
        self._live: Any = None
        self._told = time.monotonic()

    def during(self, run: FolderRun) -> AbstractContextManager[Any]:
        """A context in which the table is live."""
        if self.quiet or not sys.stderr.isatty():
            return nullcontext()
        from rich.console import Console
        from rich.live import Live

        self._live = Live(_table(run), console=Console(stderr=True), refresh_per_second=4, transient=True)
        return self._live

    def show(self, run: FolderRun) -> None:
        if self.quiet:
            return
        if self._live is not None and self._live.is_started:
            self._live.update(_table(run))
        elif time.monotonic() - self._told > PLAIN_EVERY:
            self._told = time.monotonic()
            say(f"preimage: {_line(run)}")

    def hear(self, turn: Turn, ended: Ended) -> None:
        self.counts[ended.became] += 1
        if ended.became in UNDONE and ended.error is not None:
            self.tell(f"preimage: {about(turn.job.input, ended.error)}")

    def refuse(self, name: str, reason: str) -> None:
        self.refused += 1
        self.tell(f"preimage: {about(name, reason)}")

    def tell(self, text: str) -> None:
        """A line that stays."""
        if self._live is not None and self._live.is_started:
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            say(text)


def _pace(run: FolderRun) -> tuple[float, str]:
    """Pictures a minute, and the time that is left, in words."""
    done, seconds = run.counts["done"] + run.counts["failed"], time.monotonic() - run.begun
    open_ = run.total - sum(run.counts.values())
    a_minute = 60 * done / max(seconds, 1e-6)
    return a_minute, "unknown" if not done else in_words(open_ * seconds / done)


def _line(run: FolderRun) -> str:
    a_minute, left = _pace(run)
    ended = sum(run.counts.values())
    failed = sum(run.counts[each] for each in UNDONE)
    return f"{ended} of {run.total}, {failed} not done, {a_minute:.1f} a minute, {left} left"


def _table(run: FolderRun) -> Any:
    """One line of all, and one for each picture that is worked on."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_row(_line(run))
    doings = list(run.doing.values())
    for doing in doings[:MOST_SHOWN]:
        left = doing.seconds_left
        at_most = "" if left is None else f"at most {in_words(left)}"
        step = f"step {doing.step} of {doing.of}" if doing.of else "begins"
        table.add_row(f"  {doing.name}", step, at_most)
    if len(doings) > MOST_SHOWN:
        table.add_row(f"  and {len(doings) - MOST_SHOWN} others")
    return table
