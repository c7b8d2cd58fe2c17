"""Accuracy of a classifier behind a defense under an attack, from the rows of an evaluation, with Wilson's interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from preimage.defend.table import Row

# The columns that accuracies are grouped by.
GROUPED = ("defence", "settings", "averaged", "attack", "eps", "steps", "samples", "knows_seed")
_Z = 1.959963984540054  # 95 % of a normal distribution lie within so many standard deviations


@dataclass(frozen=True)
class Accuracy:
    """Correct of count images behind a defense under an attack, and Wilson's 95 % interval.

    Example:
        >>> print(Accuracy("none", "pgd", 8, False, "", "", correct=81, count=100))
        none, pgd 8: 81.0% (72.2% to 87.5%), 81 of 100
    """

    defence: str
    attack: str
    eps: float
    knows_seed: bool
    steps: str
    samples: str
    correct: int
    count: int

    @property
    def share(self) -> float:
        """Accuracy, 0 to 1; NaN of no image."""
        return self.correct / self.count if self.count else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of `share`."""
        return wilson(self.correct, self.count)

    def __str__(self) -> str:
        low, high = self.interval
        known = ", seed known" if self.knows_seed else ""
        attack = f"{self.attack} {self.eps:g}{known}"
        return f"{self.defence}, {attack}: {self.share:.1%} ({low:.1%} to {high:.1%}), {self.correct} of {self.count}"


def wilson(correct: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a proportion (Wilson 1927), within 0 to 1, and not empty at 0 and 1.

    Example:
        >>> [round(end, 3) for end in wilson(9, 10)]
        [0.596, 0.982]
    """
    if not count:
        return 0.0, 1.0
    share, square = correct / count, _Z**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    reach = _Z / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def accuracies(rows: Sequence[Row]) -> list[Accuracy]:
    """The accuracy of each defense under each attack, of rows of a table, in the order in which they first come."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in GROUPED), []).append(row)
    return [
        Accuracy(
            defence=group[0]["defence"],
            attack=group[0]["attack"],
            eps=float(group[0]["eps"]),
            knows_seed=group[0]["knows_seed"] == "yes",
            steps=group[0]["steps"],
            samples=group[0]["samples"],
            correct=sum(row["correct"] == "1" for row in group),
            count=len(group),
        )
        for group in groups.values()
    ]
