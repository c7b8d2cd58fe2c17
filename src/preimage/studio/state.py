"""Small files of the studio: JSON that is there whole or not at all, and names of users that are shown and never become paths."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
import unicodedata
from pathlib import Path
from typing import Any

_ID = re.compile(r"[0-9a-f]{12}")
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,8}")
_PACKED = (".gz", ".fz")
_LONGEST = 200  # characters of a name
_ORDERING = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def new_id() -> str:
    """A new id.

    Example:
        >>> is_id(new_id()), is_id("../../etc"), is_id("0123456789AB")
        (True, False, False)
    """
    return secrets.token_hex(6)


def is_id(text: str) -> bool:
    """Whether a text is an id."""
    return _ID.fullmatch(text) is not None


def write_json(path: Path, value: Any) -> None:
    """Write a value so that a process that is killed leaves the old file or the new one."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(value), encoding="utf-8")
    partial.replace(path)


def read_json(path: Path) -> Any:
    """The value of a file; None if there is none, or no JSON in it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def shown_name(given: str) -> str:
    r"""The name of an uploaded file as it is shown: without folders and control characters.

    Example:
        >>> shown_name("../../etc/passwd"), shown_name("C:\\scans\\a\x00b.tif"), shown_name("<b>.png")
        ('passwd', 'ab.tif', '<b>.png')
    """
    last = re.split(r"[/\\]", given)[-1]
    plain = "".join(
        each for each in last if unicodedata.category(each) not in ("Cc", "Cs", "Zl", "Zp") and each not in _ORDERING
    ).strip()
    if len(plain) > _LONGEST:
        ending = ending_of(plain)
        plain = plain[: _LONGEST - len(ending)] + ending
    return plain if plain.strip(".") else "file"


def ending_of(name: str) -> str:
    """The file name extension: letters and digits alone, of a packed file two.

    Example:
        >>> ending_of("a.b.TIF"), ending_of("sky.fits.gz"), ending_of("x.../y"), ending_of("none")
        ('.tif', '.fits.gz', '', '')
    """
    stem, dot, last = name.rpartition(".")
    if not dot or not _ENDING.fullmatch(f".{last}"):
        return ""
    ending = f".{last.lower()}"
    return ending_of(stem) + ending if ending in _PACKED else ending


def remove(folder: Path) -> None:
    """Remove a folder of ours with all that is in it."""
    with contextlib.suppress(OSError):
        shutil.rmtree(folder)


def bytes_in(folder: Path) -> int:
    """The bytes of all files of a folder."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total
