"""The pictures that a task's own options name beside the input, a mask or a flash picture: which one is meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from preimage.errors import InputError
from preimage.images import Picture, read


def companions(own: dict[str, Any], named: frozenset[str], source: Path, page: Any) -> dict[str, Any]:
    """A task's own options, with the pictures among them (those of the names) as they belong to one input.

    A folder stands for the file in it that has the input's name. Of a file of several pages the input's page is taken,
    or all for all; a file of one page goes with every page.
    """
    found = dict(own)
    for name in named & own.keys():
        given = own[name]
        if isinstance(given, Path):
            path = _file_for(source, given)
            found[name] = path if page is None else _page_of(path, page)
    return found


def files_read(own: dict[str, Any], source: Path) -> dict[Path, str]:
    """The files that the task's own options name: path -> option."""
    read_by: dict[Path, str] = {}
    for name, given in own.items():
        if isinstance(given, Path):
            path = _file_for(source, given)
            if path.is_file():
                read_by[path] = f"--{name.replace('_', '-')}"
    return read_by


def _file_for(source: Path, given: Path) -> Path:
    return given / source.name if given.is_dir() else given


def _page_of(path: Path, page: Any) -> Picture:
    try:
        return read(path, page=page)
    except InputError as error:
        try:
            return read(path)  # there is one page only
        except InputError:
            raise error from None
