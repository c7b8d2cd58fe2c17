"""The one way in which a file of a user is opened, whatever it holds: a regular file, nothing that waits or never ends."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from preimage.errors import InputError
from preimage.images.formats import SUFFIXES
from preimage.memory import check_free

MOST_TEXT = 64 * 2**20
"""Bytes of a recipe, a table or another text beyond which a file is taken for something else."""

_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_file(path: str | Path, what: str = "the file") -> BinaryIO:
    """A regular file, open for reading; a pipe, a socket or a device is refused without being opened.

    Example:
        >>> with open_file("photo.png") as file:
        ...     file.read(4)
        b'\\x89PNG'

    what names its role in messages: "the recipe". Raises InputError ("not-found" or "unreadable") for a file that does not
    exist, is a folder or no file at all, or cannot be read.
    """
    shown = str(path) if what == "the file" else f"{what} {path}"
    try:
        check_regular(Path(path).stat(), shown)  # before it is opened, which may already have an effect on a device
        # Another one may have taken its place meanwhile: a pipe without a writer must not make us wait.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            check_regular(os.fstat(descriptor), shown)
            return os.fdopen(descriptor, "rb")
        except BaseException:
            os.close(descriptor)
            raise
    except (OSError, ValueError) as error:
        raise _refusal(error, shown) from error


def check_regular(found: os.stat_result, shown: str) -> None:
    """Raise InputError unless what was found is a regular file."""
    if stat.S_ISDIR(found.st_mode):
        raise InputError(f"{shown} is a folder: give the name of a file in it", code="unreadable")
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(found.st_mode)), "a device")
        raise InputError(f"{shown} is {kind}, not a file: give the name of a file", code="unreadable")


def check_file(path: str | Path, what: str = "the file") -> int:
    """Its size in bytes; raises InputError as `open_file`, for what another library is to open."""
    with open_file(path, what) as file:
        return os.fstat(file.fileno()).st_size


def read_bytes(path: str | Path, what: str = "the file", *, most: int | None = None) -> bytes:
    """The contents of a file. Raises InputError as `open_file`, and for more bytes than `most`, or than memory is free."""
    with open_file(path, what) as file:
        size = os.fstat(file.fileno()).st_size
        shown = str(path) if what == "the file" else f"{what} {path}"
        if most is not None and size > most:
            raise InputError(f"{shown} has {size} bytes, and {most} is the most: check the file", code="size")
        check_free(size, shown, "check the file")
        try:
            return file.read()
        except OSError as error:
            raise _refusal(error, shown) from error


def read_text(path: str | Path, what: str = "the file", *, most: int = MOST_TEXT) -> str:
    """A text in UTF-8, with a byte order mark or without. Raises InputError as `read_bytes`, and for what is no UTF-8."""
    try:
        return read_bytes(path, what, most=most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        shown = str(path) if what == "the file" else f"{what} {path}"
        raise InputError(f"{shown} is no text in UTF-8 ({error.reason}): check the file", code="unreadable") from error


def _refusal(error: Exception, shown: str) -> InputError:
    if isinstance(error, InputError):
        return error
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return InputError(f"{shown} does not exist: check the name", code="not-found")
    if isinstance(error, PermissionError):
        way_out = "change its permissions or copy it"
        return InputError(f"{shown} cannot be read, permission denied: {way_out}", code="unreadable")
    too_long = getattr(error, "errno", 0) == errno.ENAMETOOLONG
    reason = "the name is too long" if too_long else getattr(error, "strerror", None) or str(error)
    return InputError(f"{shown} cannot be read ({reason}): check the name", code="unreadable")


class SeveralCompanions(InputError):
    """A folder has several images of the name of one picture: wrong for that picture alone."""


def in_folder(path: Path, source: str | Path | None) -> Path:
    """The file that belongs to an input: path itself, or, of a folder, the file of the input's name, else of its stem.

    Example:
        >>> in_folder(Path("mask.png"), "photos/shot1.jpg").name
        'mask.png'

    Raises InputError ("not-found") for a folder without such a file, or with several that differ in their extension.
    """
    if source is None or not path.is_dir():
        return path
    name, stem = Path(source).name, Path(source).stem
    if (path / name).exists():
        return path / name
    alike = sorted(each for each in path.iterdir() if each.stem == stem and each.suffix.lower() in SUFFIXES)
    if not alike:
        raise InputError(
            f"{path} has no image for {source}, neither {name} nor {stem} with another extension: name it so",
            code="not-found",
        )
    if len(alike) > 1:
        raise SeveralCompanions(
            f"{path} has several images for {source}, {' and '.join(each.name for each in alike)}: leave one of them there",
            code="option",
        )
    return alike[0]
