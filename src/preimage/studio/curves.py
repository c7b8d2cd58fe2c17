"""The curves of a job, from the file that its process writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CURVE = "curve.jsonl"
_MOST_BYTES = 2**26


def curves_of(folder: Path, most: int = 1500) -> dict[str, list[list[float]]]:
    """Loss, score of the stopping rule and probability of the target by step, thinned to so many points each.

    Of a step that was done twice, after a restart, the later one counts.
    """
    points: dict[int, list[Any]] = {}
    try:
        with (folder / CURVE).open(encoding="utf-8") as file:
            read = 0
            for line in file:
                read += len(line)
                if read > _MOST_BYTES or not line.endswith("\n"):
                    break
                point = json.loads(line)
                points[int(point[0])] = point
    except (OSError, ValueError, TypeError, IndexError):
        pass
    ordered = [points[step] for step in sorted(points)]
    return {
        name: _thinned(
            [[point[0], point[place]] for point in ordered if len(point) > place and point[place] is not None], most
        )
        for place, name in enumerate(("loss", "score", "probability"), 1)
    }


def _thinned(points: list[list[float]], most: int) -> list[list[float]]:
    """Some of the points, the last among them."""
    if len(points) <= most:
        return points
    every = -(-len(points) // most)
    return [*points[:-1:every], points[-1]]
