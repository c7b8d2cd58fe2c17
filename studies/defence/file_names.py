"""Names of classes and images as names of files: one part of a path each, whatever they hold."""

from __future__ import annotations

import re
from collections.abc import Sequence

_RESERVED = {"con", "prn", "aux", "nul", *(f"{name}{k}" for name in ("com", "lpt") for k in range(10))}


def file_names(names: Sequence[str]) -> list[str]:
    """A file name for each of some different names, without separators, dots in front or control characters.

    Names that are file names already stay as they are; two that would become one (or differ in case alone) get a number.

    Example:
        >>> file_names(["cat", "../../dog", "a/b", "a:b"])
        ['cat', '_.._dog', 'a_b', 'a_b (2)']
    """
    found: list[str] = []
    taken: set[str] = set()
    for name in names:
        plain = re.sub(r'[\x00-\x1f\x7f/\\:*?"<>|]+', "_", name).strip(". ")[:100].rstrip(". ") or "_"
        plain = f"_{plain}" if plain.split(".")[0].lower() in _RESERVED else plain
        own, number = plain, 2
        while own.lower() in taken:
            own, number = f"{plain} ({number})", number + 1
        taken.add(own.lower())
        found.append(own)
    return found
