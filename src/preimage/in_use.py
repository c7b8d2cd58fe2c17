"""What differs between systems for files: one that is open stays on Windows, which has fewer names; locks and flushing.

A file that any process has open can be neither removed nor replaced on Windows. Windows and macOS do not tell capitals apart.
"""

from __future__ import annotations

import os
import re
import sys
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

PATIENCE = 2.0  # seconds: a virus scanner, an indexer or a reader holds a file no longer
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])[ ]*(\..*)?", re.IGNORECASE)
_LOCKED_BYTE = 2**31 - 2  # one that no file has: on Windows a lock keeps others from reading what is locked


def patiently(change: Callable[[], object], *, seconds: float = PATIENCE) -> None:
    """Make a change to a file; on Windows again and again while another process has the file open.

    Example:
        >>> patiently(Path("noisy.png").unlink)

    Raises:
        OSError: as the change does; on Windows a PermissionError only after so many seconds.
    """
    until = time.monotonic() + (seconds if sys.platform == "win32" else 0.0)
    while True:
        try:
            change()
            return
        except PermissionError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.05)


def lock(file: IO[Any], *, wait: bool) -> None:
    """Lock a file that is open for writing, until it is closed.

    Example:
        >>> with open("table.csv", "ab") as file:
        ...     lock(file, wait=True)

    Raises:
        OSError: another process holds it, and `wait` is False; or a disk without locks.
    """
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        return
    import msvcrt

    descriptor = file.fileno()
    here = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
    try:
        while True:
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                return
            except OSError:
                if not wait:
                    raise
                time.sleep(0.05)
    finally:
        os.lseek(descriptor, here, os.SEEK_SET)


def flush(file: IO[Any]) -> None:
    """Write what a file holds to the disk itself; on macOS fsync alone leaves it in the disk's own memory.

    Example:
        >>> with open("table.csv", "ab") as file:
        ...     flush(file)
    """
    file.flush()
    if sys.platform == "darwin":
        import fcntl

        try:
            fcntl.fcntl(file, fcntl.F_FULLFSYNC)
            return
        except OSError:  # a network folder
            pass
    os.fsync(file.fileno())


def refused_name(path: str | os.PathLike[str]) -> str | None:
    r"""The part of a path that Windows cannot have as the name of a file or folder; None elsewhere, and where all are possible.

    Example:
        >>> refused_name("scans/aux.png")  # "aux.png" on Windows
    """
    if sys.platform != "win32":
        return None
    path = Path(path)
    for part in path.parts:
        if part in (path.anchor, ".", ".."):
            continue
        if _RESERVED.fullmatch(part) or part[-1] in ". " or any(each in '<>:"|?*' or ord(each) < 32 for each in part):
            return part
    return None


def name_key(name: str) -> str:
    """A name or path as a disk knows it: Windows and macOS take names that differ in capitals or accents' coding for one.

    Example:
        >>> name_key("page")
        'page'
    """
    return unicodedata.normalize("NFC", name).casefold() if sys.platform in ("win32", "darwin") else name
