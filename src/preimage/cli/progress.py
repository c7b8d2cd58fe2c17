"""What is seen while a fit runs: a live bar on a terminal, a plain line now and then elsewhere, nothing if quiet."""

from __future__ import annotations

import sys
import time
from typing import Any

from preimage.cli.streams import printable

_PLAIN_EVERY = 10.0  # seconds between two plain lines
_LIVE_EVERY = 0.1  # reading the loss waits for the device


class Progress:
    """A context in which `show(step)` is called at every step.

    Example:
        >>> with Progress("photo.png") as progress:
        ...     for step in denoise("noisy.png", steps=2):
        ...         progress.show(step)
    """

    def __init__(self, name: str, *, quiet: bool = False) -> None:
        self.name: str = printable(name)
        self.quiet = quiet
        self._bar: Any = None
        self._last = float("-inf")
        self._begin = time.monotonic()
        self._unseen: Any = None
        self._foretold = False

    def __enter__(self) -> Progress:
        if not self.quiet and sys.stderr.isatty():
            self._bar = _bar()
            self._bar.start()
            self._line = self._bar.add_task("", total=None, name=self.name, left="", loss="", state="")
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            if self._unseen is not None:
                self._draw(self._unseen)
            self._bar.stop()

    def foretell(self, projection: Any) -> None:
        """Say once how long it will take, as soon as that is known, if it is long."""
        if self.quiet or self._foretold or projection.seconds_left is None:
            return
        self._foretold = True
        if (line := projection.line(self.name)) is not None:
            self._say(line)

    def _say(self, text: str) -> None:
        """A line that stays to be read, beside a bar as well."""
        if self._bar is None:
            print(text, file=sys.stderr)
        else:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, step: Any) -> None:
        """Say where the fit is, unless that was said just now."""
        if self.quiet:
            return
        now, self._unseen = time.monotonic(), step
        if getattr(step, "completes_epoch", False):  # its numbers stay to be read, beside a bar as well
            self._say(f"{self.name}: {step.status}")
        elif now - self._last >= (_PLAIN_EVERY if self._bar is None else _LIVE_EVERY):
            self._last = now
            self._draw(step)

    def _draw(self, step: Any) -> None:
        self._unseen = None
        loss = f"loss {float(step.loss.nanmean()):.3g}" if hasattr(step, "loss") else ""
        spent = getattr(step, "seconds", None)
        spent = time.monotonic() - self._begin if spent is None else spent
        total = max(step.total, step.index)  # a step counted beyond it was not foreseen
        left = _clock((total - step.index) * spent / max(step.index, 1))
        if self._bar is None:
            text = f"{self.name}: step {step.index} of {total}, at most {left} left, {loss} {step.status}"
            print(" ".join(text.split()), file=sys.stderr)
        else:
            self._bar.update(self._line, completed=step.index, total=total, left=left, loss=loss, state=step.status)


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    # Names of files may hold brackets, which are no markup.
    name, *others = (TextColumn(f"{{task.fields[{n}]}}", markup=False) for n in ("name", "left", "loss", "state"))
    columns = (name, BarColumn(24), MofNCompleteColumn(), *others)
    return Bar(*columns, console=Console(stderr=True), refresh_per_second=5)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
