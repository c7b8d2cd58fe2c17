"""Ctrl-C and SIGTERM end a fit between two steps, so that the best image so far can be written."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any


class Interrupt:
    """While entered, the first signal is noted in `number`; a second one aborts at once.

    Example:
        >>> with Interrupt() as interrupt:
        ...     for step in denoise("noisy.png", steps=2):
        ...         if interrupt.number: break
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.number: int = 0
        self.quiet = quiet
        self._before: dict[int, Any] = {}

    @property
    def exit_code(self) -> int:
        """By the shell's custom: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.number

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            raise KeyboardInterrupt
        self.number = number
        if not self.quiet:  # print is not safe here: the signal may have come in the midst of another
            os.write(2, b"\npreimage: ending after this step, then writing the best so far; once more aborts at once\n")
