"""Standard streams that never fail: what is said of a fit is not worth its picture.

A descriptor that is closed becomes the null device, so that no file is ever opened in its place. What native libraries write to
descriptor 2 goes nowhere, unless PREIMAGE_DEBUG=1; a crash of theirs is still told.
"""

from __future__ import annotations

import errno
import faulthandler
import io
import logging
import os
import select
import sys
import unicodedata
import warnings
from typing import Any

_DIRECTIONS = (
    "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # of text, which reorder what is seen
)


class Tolerant(io.RawIOBase):
    """A descriptor whose first failure is kept in `failure`; what is written after it is dropped."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.failure: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.descriptor

    def isatty(self) -> bool:
        return os.isatty(self.descriptor)

    def write(self, data: Any, /) -> int:
        while self.failure is None:
            try:
                return os.write(self.descriptor, data)
            except BlockingIOError:
                select.select([], [self.descriptor], [])
            except OSError as error:
                self.failure = error
        return memoryview(data).nbytes


def secure() -> None:
    """Make the streams of this process such ones, and keep third parties from writing between our lines."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    shown = debugging()
    if os.name == "nt":  # its consoles are written by other ways
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
    else:
        sys.stdout, sys.stderr = _stream(1, sys.stdout), _stream(os.dup(2), sys.stderr)
        faulthandler.enable(sys.stderr)
        if not shown:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    if not shown:
        warnings.simplefilter("ignore")
        logging.getLogger().addHandler(logging.NullHandler())


def say(line: str, *, stream: str = "stderr") -> None:
    """Print a line, whatever is in it, to the standard stream of this name."""
    print(printable(line), file=getattr(sys, stream), flush=True)


def _stream(descriptor: int, before: Any) -> io.TextIOWrapper:
    encoding = getattr(before, "encoding", None) or "utf-8"
    raw = io.BufferedWriter(Tolerant(descriptor))
    return io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace", line_buffering=True)


def failed(stream: Any) -> str | None:
    """Why what was written to a secured stream is not all there, if it is not; a reader that has gone away wants no more."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    failure = raw.failure if isinstance(raw, Tolerant) else None
    return None if failure is None or failure.errno == errno.EPIPE else str(failure.strerror)


def debugging() -> bool:
    """Whether PREIMAGE_DEBUG asks for all there is to see."""
    return os.environ.get("PREIMAGE_DEBUG", "0") not in ("", "0")


def printable(text: str) -> str:
    r"""A text on one line, its control characters as escapes: names of files may hold any.

    Example:
        >>> printable("a\x1b[31m\nb")
        'a\\x1b[31m\\nb'
    """
    return "".join(
        repr(each)[1:-1] if unicodedata.category(each) in ("Cc", "Zl", "Zp") or each in _DIRECTIONS else each
        for each in text
    )
