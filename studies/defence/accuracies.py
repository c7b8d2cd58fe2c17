"""Accuracies behind defences: those that were published (Kattamis et al. 2019, tables 1 and 2), and what rows say of ours."""

import itertools
import math
import statistics
from collections.abc import Sequence

from preimage.defend.threat import NONE, UNATTACKED, Threat
from studies.harness import chosen, stats
from studies.harness.classifiers import SEED

# Top-1 in % after no defence, random resizing and padding, 500, 750 and 1000 steps; NaN where nothing is printed.
PUBLISHED_COLUMNS = ("none", "random resizing and padding", "500 steps", "750 steps", "1000 steps")
PUBLISHED: dict[Threat, tuple[float, ...]] = {
    UNATTACKED: (math.nan, math.nan, 67.5, 75.3, 79.6),
    Threat("fgsm", 2): (21.7, 65.1, 66.2, 73.1, 75.1),
    Threat("fgsm", 5): (3.5, 54.5, 61.2, 69.0, 70.1),
    Threat("fgsm", 10): (2.6, 52.4, 58.4, 62.9, 59.9),
    Threat("bi", 10): (0.2, math.nan, 61.8, 66.2, 69.2),
    Threat("llci", 10): (1.1, math.nan, 64.2, 73.5, 78.5),
}


class Accuracies:
    """What the rows of `evaluate_defence` say of the latest classifier and of the latest settings of each defence.

    Args:
        settings: of defences of which others than the latest are meant.
        seed: of the defences; others are other draws of those that are random.
    """

    def __init__(self, rows, settings=None, seed: int = SEED) -> None:
        latest = {row["defence"]: str(row["settings"]) for row in rows} | (settings or {})
        self.found: dict[tuple[str, ...], dict[int, int]] = {}
        for row in chosen(rows, classifier=rows[-1]["classifier"], averaged=1, seed=seed):
            if latest[row["defence"]] == str(row["settings"]):
                key = row["defence"], row["attack"], f"{row['eps']:g}", row["knows_seed"]
                self.found.setdefault(key, {})[row["number"]] = row["correct"]
        self.count = max((len(found) for found in self.found.values()), default=0)

    def right(self, defence: str, threats: Sequence[Threat], count: int) -> list[float]:
        """Of each of the first pictures the points (0 to 100) that a defence scores, over attacks; none where one is missing."""
        rows = [self._of(defence, threat) for threat in threats]
        if any(k not in some for some in rows for k in range(count)):
            return []
        return [100 * statistics.fmean(some[k] for some in rows) for k in range(count)]

    def reach(self, defence: str, threats: Sequence[Threat]) -> int:
        """How many pictures, the first ones, are measured behind a defence under all of these attacks."""
        rows = [self._of(defence, threat) for threat in threats]
        return next(k for k in itertools.count() if any(k not in some for some in rows))

    def _of(self, defence: str, threat: Threat) -> dict[int, int]:
        known = ("yes" if threat.knows_seed else "no") if threat.per_defence else ""
        return self.found.get((defence, threat.name, f"{threat.eps:g}", known), {})

    def accuracy(self, defence: str, threats: Sequence[Threat], count: int) -> stats.Interval:
        return stats.interval_of(self.right(defence, threats, count))

    def gain(self, defence: str, over: str, threats: Sequence[Threat], count: int) -> stats.Interval:
        """In points, picture by picture, the mean over attacks."""
        first, second = (self.right(name, threats, count) for name in (defence, over))
        return stats.paired(first, second) if len(first) == len(second) else stats.interval_of([])


def titled(threat: Threat) -> str:
    name = {"prior": "prior", "bpda-eot": "BPDA+EOT"}.get(threat.name, threat.name.upper())
    return "as they are" if threat.name == NONE else f"{name} {threat.eps:g}{' seed known' * threat.knows_seed}"


def points(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1f}"
