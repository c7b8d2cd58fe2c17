"""Ctrl-C, SIGTERM, SIGHUP (a closed terminal) and Ctrl-Break (Windows) end a fit between two steps: the best so far is kept."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, NoReturn

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
_ENDING = b"\npreimage: ending after this step, then writing the best so far; once more aborts at once\n"


def end_at_once() -> None:
    """From now on a signal ends the process with one line: before the first step there is nothing to be written."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` has it
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    with contextlib.suppress(Exception):
        os.write(sys.stderr.fileno(), b"preimage: aborted\n")
    os._exit(128 + number)


class Interrupt:
    """While entered, the first signal is noted in `number`; a second one aborts, a third ends the process at once.

    Example:
        >>> with Interrupt() as interrupt:
        ...     for step in denoise("noisy.png", steps=2):
        ...         if interrupt.number: break
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.number: int = 0
        self.quiet = quiet
        self._count = 0
        self._before: dict[int, Any] = {}

    @property
    def exit_code(self) -> int:
        """By the shell's custom: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP, 149 for Ctrl-Break."""
        return 128 + self.number

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` has it
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count > 2:  # a library may have lost the exception of the second
            os._exit(128 + number)
        if self._count > 1:
            raise KeyboardInterrupt
        self.number = number
        if not self.quiet:  # print is not safe here: the signal may have come in the midst of another
            with contextlib.suppress(Exception):
                os.write(sys.stderr.fileno(), _ENDING)
