"""What is seen while a fit runs: a live bar on a terminal, a plain line now and then elsewhere, nothing if quiet."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

_PLAIN_EVERY = 10.0  # seconds between two plain lines
_LIVE_EVERY = 0.1  # reading the loss waits for the device


class Progress:
    """A context in which `show(step)` is called at every step.

    Example:
        >>> with Progress("photo.png") as progress:
        ...     for step in fit:
        ...         progress.show(step)
    """

    def __init__(self, name: str, *, quiet: bool = False) -> None:
        self.name = name
        self.quiet = quiet
        self._bar: Any = None
        self._last = float("-inf")
        self._begin = time.monotonic()
        self._unseen: Any = None

    def __enter__(self) -> Progress:
        if not self.quiet and sys.stderr.isatty():
            self._bar = _bar()
            self._bar.start()
            self._line = self._bar.add_task("", total=None, name=self.name, left="", loss="", state="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            if self._unseen is not None:
                self._draw(self._unseen)
            self._bar.stop()

    def show(self, step: Any) -> None:
        """Say where the fit is, unless that was said just now."""
        now = time.monotonic()
        self._unseen = step
        if getattr(step, "completes_epoch", False):
            self._line_of_epoch(step)
            return
        if self.quiet or now - self._last < (_PLAIN_EVERY if self._bar is None else _LIVE_EVERY):
            return
        self._last = now
        self._draw(step)

    def _line_of_epoch(self, step: Any) -> None:
        """An epoch's numbers stay to be read, beside a bar as well."""
        if self.quiet:
            return
        if self._bar is None:
            print(f"{self.name}: {step.status}", file=sys.stderr)
        else:
            self._bar.console.print(f"{self.name}: {step.status}", markup=False, highlight=False, soft_wrap=True)

    def _draw(self, step: Any) -> None:
        self._unseen = None
        loss = f"loss {float(step.loss.nanmean()):.3g}" if hasattr(step, "loss") else ""
        now = time.monotonic()
        spent = getattr(step, "seconds", None)
        spent = now - self._begin if spent is None else spent
        left = _clock((step.total - step.index) * spent / max(step.index, 1))
        state = step.status
        if self._bar is None:
            ending = f", at most {left} left"
            print(
                " ".join(f"{self.name}: step {step.index} of {step.total}{ending}, {loss} {state}".split()),
                file=sys.stderr,
            )
            return
        total = max(step.total, step.index)
        self._bar.update(self._line, completed=step.index, total=total, left=left, loss=loss, state=state)


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    # Names of files may hold brackets, which are no markup.
    columns = [TextColumn(f"{{task.fields[{name}]}}", markup=False) for name in ("name", "left", "loss", "state")]
    return Bar(
        columns[0],
        BarColumn(24),
        MofNCompleteColumn(),
        *columns[1:],
        console=Console(stderr=True),
        refresh_per_second=5,
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
