"""How sure a mean is: bootstrap intervals over pictures, paired where two ways were measured on the same ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean, and the ends between which it lies in 95 % of the resampled data; NaN ends where there is too little of it."""

    mean: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        if math.isnan(self.low):
            return "-" if math.isnan(self.mean) else f"{self.mean:+.3g}"
        return f"{self.mean:+.3g} ({self.low:+.3g} to {self.high:+.3g})"

    def verdict(self, least: float = 0.0) -> str:
        """Whether it is shown that the mean is above `least`.

        Example:
            >>> Interval(0.2, 0.1, 0.3, 40).verdict(0.5), Interval(0.2, -0.1, 0.5, 40).verdict()
            ('no', 'not shown')
        """
        if math.isnan(self.low):
            return "not measured"
        return "yes" if self.low > least else "no" if self.high <= least else "not shown"

    def at_most(self, most: float = 0.0) -> str:
        """Whether it is shown that the mean is not above `most`.

        Example:
            >>> Interval(0.2, 0.1, 0.3, 40).at_most(0.5), Interval(0.2, 0.1, 0.3, 40).at_most(0.05)
            ('yes', 'no')
        """
        above = self.verdict(most)
        return {"yes": "no", "no": "yes"}.get(above, above)


def interval_of(values: Sequence[float] | np.ndarray) -> Interval:
    """Of the mean of some numbers, those that are none left out; bias-corrected and accelerated (Efron 1987).

    Example:
        >>> interval_of([1.0, 2.0, 3.0]).mean
        2.0
    """
    from scipy.stats import bootstrap

    known = np.array([value for value in values if not math.isnan(value)], float)
    if len(known) < 2 or np.ptp(known) == 0:
        end = float("nan") if len(known) < 2 else float(known[0])
        return Interval(float(known.mean()) if len(known) else float("nan"), end, end, len(known))
    random = np.random.default_rng(0)
    # A few pictures, of which all but one agree, have no acceleration: the plain quantiles then.
    method = "BCa" if len(known) >= 10 and len(set(known)) > 2 else "percentile"
    found = bootstrap((known,), np.mean, n_resamples=RESAMPLES, confidence_level=LEVEL, method=method, rng=random)
    ends = found.confidence_interval
    return Interval(float(known.mean()), float(ends.low), float(ends.high), len(known))


def paired(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Of first - second, number by number."""
    return interval_of([a - b for a, b in zip(first, second, strict=True)])


def band_of(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of curves (pictures, steps) the mean, (steps,), and the ends of its interval at each step, by resampled pictures."""
    count = len(curves)
    shares = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES) / count
    low, high = np.quantile(shares @ curves, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return curves.mean(0), low, high


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Spearman's, of two numbers of each picture."""
    from scipy.stats import rankdata

    def ranked(values: Sequence[float], order: np.ndarray) -> np.ndarray:
        ranks = rankdata(np.asarray(values, float)[order], axis=-1)
        centered = ranks - ranks.mean(-1, keepdims=True)
        return centered / np.maximum(np.linalg.norm(centered, axis=-1, keepdims=True), 1e-12)

    count = len(first)
    orders = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
    value = float((ranked(first, np.arange(count)) * ranked(second, np.arange(count))).sum())
    return Interval(value, *_ends((ranked(first, orders) * ranked(second, orders)).sum(-1)), count)


def wins(strange: Sequence[float], usual: Sequence[float]) -> np.ndarray:
    """(strange, usual): 1 where the strange picture has the larger score, 1/2 where both are alike; the mean is the AUROC."""
    a, b = np.asarray(strange, float)[:, None], np.asarray(usual, float)[None, :]
    return (a > b) + 0.5 * (a == b)


def auroc_gain(first: np.ndarray, second: np.ndarray, *, same_pictures: bool) -> Interval:
    """Of the AUROC of one score less that of another, of the `wins` of both.

    same_pictures: whether the strange ones are the usual ones, changed: then they are resampled together.
    """
    random = np.random.default_rng(0)
    rows, columns = first.shape
    usual = random.multinomial(columns, np.full(columns, 1 / columns), RESAMPLES) / columns
    strange = usual if same_pictures else random.multinomial(rows, np.full(rows, 1 / rows), RESAMPLES) / rows
    gains = ((strange @ (first - second)) * usual).sum(1)
    return Interval(float((first - second).mean()), *_ends(gains), columns)


def _ends(resampled: np.ndarray) -> tuple[float, float]:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)
