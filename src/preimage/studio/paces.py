"""How fast each task is here, by which it is foreseen how long a picture will take."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from preimage.studio.state import read_json, write_json


class Paces:
    """Of each task the seconds that a pixel took at last, kept in a file.

    Example:
        >>> paces = Paces(Path("paces.json"))
        >>> paces.learn("denoise", {"size": [100, 50], "seconds": 10.0, "pages": 2})
        >>> paces.of, Paces(Path("paces.json")).of
        ({'denoise': 0.001}, {'denoise': 0.001})

    Args:
        path: of the file; none, or one that cannot be used, is as if nothing were known.
    """

    def __init__(self, path: Path) -> None:
        self.path: Path = path
        found = read_json(path)
        known = found.items() if isinstance(found, dict) else ()
        self.of: dict[str, float] = {str(task): float(pace) for task, pace in known if isinstance(pace, int | float)}

    def learn(self, task: str, report: Mapping[str, Any]) -> None:
        """Take the pace from a report: its size (two sides in pixels), its seconds and its pages."""
        size, seconds = report.get("size"), report.get("seconds")
        if not size or not seconds:
            return
        self.of[task] = seconds / (size[0] * size[1] * report.get("pages", 1))
        with contextlib.suppress(OSError):
            write_json(self.path, self.of)
