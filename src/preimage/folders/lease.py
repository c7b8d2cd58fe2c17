"""A lease: one process at a time works on a picture, on whatever machine; what a dead one left is taken over.

Each owner creates a file with the next number, which the file system lets one alone do. It holds the lease while its own file is
there and none has a higher number. A heartbeat renews the file's time; a lease whose time has not moved for `STALE` seconds, or
whose process is gone from this machine, may be taken over. An owner that was frozen meanwhile (SIGSTOP, a network that was
away) finds a higher number, and writes nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sys
import threading
import time
from functools import partial
from pathlib import Path
from types import TracebackType

from preimage.in_use import patiently

BEAT, STALE = 5.0, 60.0  # seconds


class Lease:
    """The lease of one picture, for as long as it is entered; `held` says whether it still is.

    Example:
        >>> Path("out/.preimage").mkdir(parents=True)
        >>> lease = Lease.take(Path("out/.preimage/photo.png"))
        >>> lease is not None and lease.held
        True
        >>> Lease.take(Path("out/.preimage/photo.png")) is None  # another one
        True
        >>> lease.release()

    Args:
        name: what it is of.
        number: of its file.
        token: by which it is known as one's own.
        beat: seconds between two heartbeats.
    """

    def __init__(self, name: Path, number: int, token: str, beat: float) -> None:
        self._name = name
        self._number = number
        self._token = token
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, args=(beat,), daemon=True)
        self._heart.start()

    @classmethod
    def take(cls, name: Path, *, beat: float = BEAT, stale: float = STALE) -> Lease | None:
        """The lease of what is known by this name, beside which its files are; None if another has it.

        Args:
            name: in a folder that exists.
            beat: seconds between two heartbeats.
            stale: seconds without one, after which a lease is taken over.

        Raises:
            OSError: a full disk, a folder that cannot be written to.
        """
        last = _last(name)
        if last and not _is_stale(_file(name, last), stale):
            return None
        path, token = _file(name, last + 1), secrets.token_hex(8)
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return None  # another one was faster
        except PermissionError:
            if sys.platform == "win32" and _now(path.parent, default=None) is not None:
                return None  # a file that was given back is on its way out
            raise
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"owner": token, "host": _machine(), "pid": os.getpid()}, file)
        except OSError:  # a full disk
            path.unlink(missing_ok=True)
            raise
        lease = cls(name, last + 1, token, beat)
        if lease.held:
            return lease
        lease.release()  # what was seen had changed before the file was there
        return None

    @property
    def held(self) -> bool:
        """Whether it is still one's own: nobody has taken it over."""
        return self._is_own() and not _file(self._name, self._number + 1).exists()

    def _is_own(self) -> bool:
        return _content(_file(self._name, self._number)).get("owner") == self._token

    def release(self) -> None:
        """Give it back; what another one has taken over stays."""
        self._ended.set()
        if self._is_own():
            for number in range(self._number, 0, -1):
                with contextlib.suppress(PermissionError):  # on Windows, of one who reads it too long: it becomes stale
                    patiently(partial(_file(self._name, number).unlink, missing_ok=True))

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _beat(self, every: float) -> None:
        while not self._ended.wait(every):
            with contextlib.suppress(OSError):
                os.utime(_file(self._name, self._number))


def clear(name: Path) -> None:
    """Remove the lease of an owner that died after its work was done, if there is one."""
    if _last(name):
        lease = Lease.take(name)
        if lease is not None:
            lease.release()


def is_held(name: Path, stale: float = STALE) -> bool:
    """Whether somebody is at work on what is known by this name."""
    last = _last(name)
    return bool(last) and not _is_stale(_file(name, last), stale)


def _file(name: Path, number: int) -> Path:
    return name.with_name(f"{name.name}.lease.{number}")


def _last(name: Path) -> int:
    """The highest number of a lease that is there; 0 if there is none. Those below are there as well, until it is given back."""
    number = 0
    while _file(name, number + 1).exists():
        number += 1
    return number


def _machine() -> str:
    """This machine, or this container of it, in which alone a process number means something."""
    try:
        return f"{socket.gethostname()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _content(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_stale(path: Path, seconds: float) -> bool:
    """Whether the owner is gone: from this machine, or its heart has not beaten for so long by the clock of the file system."""
    content = _content(path)
    pid = content.get("pid")
    if content.get("host") == _machine() and isinstance(pid, int) and not _is_running(pid):
        return True
    try:
        beaten = path.stat().st_mtime
    except FileNotFoundError:
        return True
    now = _now(path.parent, default=time.time())
    return now is not None and now - beaten > seconds


def _is_running(pid: int) -> bool:
    if sys.platform == "win32":  # a signal of 0 would end it
        import psutil

        return psutil.pid_exists(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _now(folder: Path, *, default: float | None) -> float | None:
    """The time by the clock of the file system, which may be another machine's; `default` where nothing can be written."""
    probe = folder / f".clock-{secrets.token_hex(6)}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return default
    finally:
        with contextlib.suppress(OSError):
            patiently(partial(probe.unlink, missing_ok=True))
