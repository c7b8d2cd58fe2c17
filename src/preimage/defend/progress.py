"""Progress of a Run whose steps are no iterations of a fit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a Run is: `index` of `total`, and what was done, in a few words."""

    index: int
    total: int
    status: str = ""
