"""Atomic writes: into a temporary file in the same folder, flushed to the disk, then renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from preimage.errors import InputError
from preimage.in_use import flush, lock, patiently, refused_name

_NO_PERMISSION = "no permission to write there: choose another folder"
_TOO_LONG = "the name is too long: choose a shorter one"
_LONGEST_PATH = 259  # characters, on Windows
_ORPHANED = 60.0  # seconds, on Windows: a writer closes a file for a moment before it has its name
_WAYS_OUT = {
    errno.ENOSPC: "the disk is full: free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up: free some space or choose another folder",
    errno.EACCES: _NO_PERMISSION,
    errno.EPERM: _NO_PERMISSION,
    errno.EROFS: "that disk can only be read: choose another folder",
    errno.ENAMETOOLONG: _TOO_LONG,
    errno.EFBIG: "the file is larger than that disk or the set limit allows: choose another folder",
}


def write_bytes_atomically(
    path: str | Path, data: bytes | Callable[[BinaryIO], object], *, overwrite: bool = False
) -> Path:
    """Write a file so that no failure, at any moment, leaves half of it or harms the one that was there.

    Example:
        >>> write_bytes_atomically("report.html", b"<p>37.2 dB</p>").name
        'report.html'

    data is the content, or a function that writes it to the open binary file it is given. Raises InputError as
    `check_place` does, and where the disk is full.
    """
    path = Path(path)
    check_place(path, overwrite=overwrite)
    target = Path(os.path.realpath(path))  # a link keeps pointing to the file it names
    with _clear_errors(path):
        remove_orphans(target)
        partial, file = _new_partial(target)
        try:
            with file:
                if isinstance(data, bytes):
                    file.write(data)
                else:
                    data(file)
                flush(file)
                if sys.platform != "win32":  # locked until it has its name
                    _rename(partial, target, overwrite=overwrite)
            if sys.platform == "win32":  # an open file keeps its name there
                _rename(partial, target, overwrite=overwrite)
        finally:
            with contextlib.suppress(PermissionError):  # on Windows, of one who reads it: it is an orphan later
                partial.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not every system can open a folder; the file itself is safe already
            descriptor = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    return path


def check_place(path: str | Path, *, overwrite: bool = False) -> None:
    """Check before a long computation that a file can be written at path.

    Example:
        >>> check_place("no_such_folder/out.png")
        Traceback (most recent call last):
        ...
        preimage.errors.InputError: no_such_folder/out.png: the folder no_such_folder does not exist: create it first

    Raises InputError where the folder is missing or cannot be written to, path is a folder or a device, or the file
    exists and overwrite is False.
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    folder = target.parent
    if (refused := refused_name(path)) is not None:
        raise InputError(f"{path}: Windows has no file {refused!r}: choose another name", code="unwritable")
    with _clear_errors(path):
        if target.is_dir():
            raise InputError(f"{path} is a folder: give the name of a file in it", code="unwritable")
        if target.is_symlink():
            raise InputError(f"{path} is a link that leads to itself: remove it", code="unwritable")
        if not folder.exists():
            named = folder if path.is_symlink() else path.parent
            raise InputError(f"{path}: the folder {named} does not exist: create it first", code="unwritable")
        if not folder.is_dir():
            raise InputError(f"{path}: {path.parent} is a file, not a folder: choose another folder", code="unwritable")
        if target.exists() and not target.is_file():
            raise InputError(f"{path} is a device or a pipe: give the name of a file", code="unwritable")
        if target.exists() and not overwrite:
            raise FileExistsError
        # Permission bits do not tell the whole truth (read-only disks, network folders, root): try it.
        probe = _partial_name(target)
        try:
            probe.touch(exist_ok=False)
        finally:
            probe.unlink(missing_ok=True)


def remove_orphans(target: Path) -> None:
    """Remove what a writer of this file left beside it that was killed; what is being written stays.

    Example:
        >>> remove_orphans(Path("report.html"))
    """
    for orphan in target.parent.glob(f"{_prefix(target)}*.partial"):
        with contextlib.suppress(OSError):  # its writer is at work, or removed it
            if sys.platform == "win32":  # an open file cannot be removed there
                if time.time() - orphan.stat().st_mtime > _ORPHANED:
                    orphan.unlink()
            else:
                with orphan.open("rb") as file:
                    lock(file, wait=False)
                    orphan.unlink()


def _partial_name(target: Path) -> Path:
    """A short name of its own, so that a long file name leaves room and two writers do not meet."""
    return target.with_name(f"{_prefix(target)}{secrets.token_hex(6)}.partial")


def _prefix(target: Path) -> str:
    return f".preimage-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]}-"


def _new_partial(target: Path) -> tuple[Path, BinaryIO]:
    """A new file beside the target, open and locked: what is not locked, nobody is writing any more."""
    while True:
        partial = _partial_name(target)
        file = partial.open("x+b")  # what a writer refers to is read again
        with contextlib.suppress(OSError):  # some network folders know no locks
            if sys.platform != "win32":
                lock(file, wait=False)
        if sys.platform == "win32" or partial.exists():  # else it was taken for an orphan before it was locked
            return partial, file
        file.close()


def _rename(partial: Path, target: Path, *, overwrite: bool) -> None:
    if sys.platform == "win32":  # there a rename fails if the file exists
        patiently(lambda: partial.replace(target) if overwrite else partial.rename(target))
        return
    if overwrite and target.exists():
        shutil.copymode(target, partial)
    if not overwrite:
        try:
            os.link(partial, target)  # unlike a rename, fails if someone else made the file meanwhile
            return
        except OSError:
            if target.exists():
                raise FileExistsError from None
    partial.replace(target)  # also on a disk without hard links


@contextlib.contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        advice = "choose another name, or overwrite it (--overwrite, overwrite=True)"
        raise InputError(f"{path} exists already: {advice}", code="exists") from error
    except OSError as error:
        way_out = _WAYS_OUT.get(error.errno or 0, f"{error.strerror or error}: choose another folder")
        if sys.platform == "win32":
            if isinstance(error, PermissionError):
                way_out = (
                    "another program has it open, or no permission to write there: close it, or choose another folder"
                )
            elif (
                len(os.path.realpath(path.parent)) + 1 + max(len(path.name), len(_partial_name(path).name))
                > _LONGEST_PATH
            ):
                way_out = _TOO_LONG
        raise InputError(f"{path} cannot be written, {way_out}", code="unwritable") from error
