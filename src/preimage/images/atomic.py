"""Atomic writes: into a temporary file in the same folder, flushed to the disk, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from preimage.errors import InputError

Writer = Callable[[BinaryIO], object]

_WAYS_OUT = {
    errno.ENOSPC: "the disk is full: free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up: free some space or choose another folder",
    errno.EACCES: "no permission to write there: choose another folder",
    errno.EPERM: "no permission to write there: choose another folder",
    errno.EROFS: "that disk can only be read: choose another folder",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
    errno.EFBIG: "the file is larger than that disk or the set limit allows: choose another folder",
}


def write_bytes_atomically(path: str | Path, data: bytes | Writer, *, overwrite: bool = False) -> Path:
    """Write a file so that no failure, at any moment, leaves half of it or harms the one that was there.

    Example:
        >>> write_bytes_atomically("report.html", b"<p>37.2 dB</p>")
        PosixPath('report.html')

    data is the content, or a function that writes it to the open binary file it is given.
    Raises InputError where the folder is missing or not writable, the disk is full, or the file exists and
    overwrite is False.
    """
    path = Path(path)
    check_place(path, overwrite=overwrite)
    target = Path(os.path.realpath(path))  # a link keeps pointing to the file it names
    # The name is short and of its own, so that a long file name leaves room and two writers do not meet.
    beside = target.parent / f".preimage-{secrets.token_hex(6)}.partial"
    with _clear_errors(path):
        try:
            with beside.open("xb") as file:
                if isinstance(data, bytes):
                    file.write(data)
                else:
                    data(file)
                file.flush()
                os.fsync(file.fileno())
            if overwrite and target.exists():
                shutil.copymode(target, beside)
            _rename(beside, target, overwrite=overwrite)
        finally:
            beside.unlink(missing_ok=True)
        _flush_folder(target.parent)
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
    with _clear_errors(path):
        if target.is_dir():
            raise InputError(f"{path} is a folder: give the name of a file in it", code="unwritable")
        if not folder.exists():
            raise InputError(f"{path}: the folder {path.parent} does not exist: create it first", code="unwritable")
        if not folder.is_dir():
            raise InputError(f"{path}: {path.parent} is a file, not a folder: choose another folder", code="unwritable")
        if target.exists() and not target.is_file():
            raise InputError(f"{path} is a device or a pipe: give the name of a file", code="unwritable")
        if target.exists() and not overwrite:
            raise InputError(
                f"{path} exists already: choose another name, or overwrite it (--overwrite, overwrite=True)",
                code="exists",
            )
        # Permission bits do not tell the whole truth (read-only disks, network folders, root): try it.
        probe = folder / f".preimage-{secrets.token_hex(6)}.partial"
        try:
            probe.touch(exist_ok=False)
        finally:
            probe.unlink(missing_ok=True)


def _rename(beside: Path, target: Path, *, overwrite: bool) -> None:
    if overwrite:
        beside.replace(target)
        return
    try:
        os.link(beside, target)  # unlike a rename, fails if someone else made the file meanwhile
    except FileExistsError:
        raise
    except OSError:  # a disk without hard links
        if target.exists():
            raise FileExistsError(errno.EEXIST, "exists already", str(target)) from None
        beside.replace(target)


def _flush_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every system can open a folder; the file itself is safe already
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise InputError(
            f"{path} exists already: choose another name, or overwrite it (--overwrite)", code="exists"
        ) from error
    except OSError as error:
        way_out = _WAYS_OUT.get(error.errno or 0, f"{error.strerror or error}: choose another folder")
        raise InputError(f"{path} cannot be written, {way_out}", code="unwritable") from error
