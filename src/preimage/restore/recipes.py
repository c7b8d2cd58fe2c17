"""What the recipes of the restoration tasks share: the fast network, and more fits for a better mean."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from preimage.engine.recipe import Recipe
from preimage.networks import SkipNet

_WIDTHS: dict[str, Any] = {"down": (32, 64, 64, 64, 64), "up": (32, 64, 64, 64, 64), "padding": "zeros"}
NEAREST, BILINEAR = SkipNet.Config(**_WIDTHS, upsample="nearest"), SkipNet.Config(**_WIDTHS, upsample="bilinear")
BILINEAR_WITHOUT_SKIP = SkipNet.Config(**_WIDTHS, skip=(0,) * 5)


def qualities(fast: Recipe, *, balanced: int = 2, best: int = 4, **changes: Any) -> dict[str, Recipe]:
    """The recipes fast, balanced and best: one fit (mostly), and more fits, whose mean is closer; time grows with them.

    `changes`: what is different in the best one besides.

    Example:
        >>> {name: each.restarts for name, each in qualities(Recipe()).items()}
        {'fast': 1, 'balanced': 2, 'best': 4}
    """
    return {
        "fast": fast,
        "balanced": replace(fast, restarts=max(fast.restarts, balanced)),
        "best": replace(fast, restarts=max(fast.restarts, best), **changes),
    }
