"""How sure a mean is: bootstrap intervals over pictures, paired where two ways were measured on the same ones; AUROC, extrema."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Curves = NDArray[np.float64]
RESAMPLES, LEVEL = 2000, 0.95


@dataclass(frozen=True)
class Interval:
    """A mean, and the ends between which it lies in 95 % of the resampled data; NaN ends where there is too little of it."""

    mean: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return self.shown("+.3g")

    def __neg__(self) -> "Interval":
        return Interval(-self.mean, -self.high, -self.low, self.count)

    def shown(self, spec: str, ends: str = "") -> str:
        if math.isnan(self.mean):
            return "-"
        low, high = (format(end, ends or spec) for end in (self.low, self.high))
        return format(self.mean, spec) + ("" if math.isnan(self.low) else f" ({low} to {high})")

    def verdict(self, least: float = 0.0) -> str:
        """Whether it is shown that the mean is above `least`."""
        if math.isnan(self.low):
            return "not measured"
        return "yes" if self.low > least else "no" if self.high <= least else "not shown"

    def at_most(self, most: float = 0.0) -> str:
        return opposite(self.verdict(most))


def opposite(verdict: str) -> str:
    return {"yes": "no", "no": "yes"}.get(verdict, verdict)


def worst(verdicts: Sequence[str]) -> str:
    """All of several things are as sure as the worst."""
    return min(verdicts, key=("no", "not measured", "not shown", "yes").index)


def interval_of(values: Sequence[float] | np.ndarray) -> Interval:
    """Of the mean of some numbers, those that are none left out; bias-corrected and accelerated (Efron 1987)."""
    from scipy.stats import bootstrap

    known = np.array([value for value in values if not math.isnan(value)], float)
    if len(known) < 2 or np.ptp(known) == 0:
        end = math.nan if len(known) < 2 else float(known[0])
        return Interval(float(known.mean()) if len(known) else math.nan, end, end, len(known))
    # A few pictures, of which all but one agree, have no acceleration: the plain quantiles then.
    method = "BCa" if len(known) >= 10 and len(set(known)) > 2 else "percentile"
    random = np.random.default_rng(0)
    found = bootstrap((known,), np.mean, n_resamples=RESAMPLES, confidence_level=LEVEL, method=method, rng=random)
    low, high = found.confidence_interval
    return Interval(float(known.mean()), float(low), float(high), len(known))


def paired(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> Interval:
    return interval_of([a - b for a, b in zip(first, second, strict=True)])


def band_of(curves: Curves) -> tuple[Curves, Curves, Curves]:
    """Of curves (pictures, steps) the mean, (steps,), and the ends of its interval at each step, by resampled pictures."""
    return curves.mean(0), *_quantiles(_shares(np.random.default_rng(0), len(curves)) @ curves)


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> Interval:
    from scipy.stats import rankdata

    def ranked(values: Sequence[float], order: np.ndarray) -> np.ndarray:
        ranks = rankdata(np.asarray(values, float)[order], axis=-1)
        centered = ranks - ranks.mean(-1, keepdims=True)
        return centered / np.maximum(np.linalg.norm(centered, axis=-1, keepdims=True), 1e-12)

    def correlation(order: np.ndarray) -> np.ndarray:
        return (ranked(first, order) * ranked(second, order)).sum(-1)

    count = len(first)
    orders = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
    low, high = _quantiles(correlation(orders))
    return Interval(float(correlation(np.arange(count))), float(low), float(high), count)


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
    usual = _shares(random, columns)
    strange = usual if same_pictures else _shares(random, rows)
    low, high = _quantiles(((strange @ (first - second)) * usual).sum(1))
    return Interval(float((first - second).mean()), float(low), float(high), columns)


def friedman(values: Sequence[Sequence[float]]) -> float:
    """The p value of Friedman's test that several numbers of each picture come from one distribution; 1 if all are alike."""
    from scipy.stats import friedmanchisquare

    table = np.asarray(values, float)
    if table.shape[1] < 2:
        return math.nan
    return 1.0 if bool((table == table[:1]).all()) else float(friedmanchisquare(*table).pvalue)


def _shares(random: np.random.Generator, count: int) -> np.ndarray:
    return random.multinomial(count, np.full(count, 1 / count), RESAMPLES) / count


def _quantiles(resampled: np.ndarray) -> np.ndarray:
    return np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)


@dataclass(frozen=True)
class Extremum:
    """A trough or a peak of the mean curve, which by its noise always has both.

    So the mean curve of one half of the pictures chooses the steps, the other half says how deep it is there, and the other way
    round. It is shown where both its sides are.

    Args:
        place: its number on the curve of all pictures.
        before, after: by how much the curve is higher (for a peak lower) before and after it, on the half that did not choose.
    """

    place: int
    before: Interval
    after: Interval

    def verdict(self) -> str:
        return worst([self.before.verdict(), self.after.verdict()])


def trough(curves: Curves) -> Extremum:
    """The deepest trough of the mean of curves (pictures, steps)."""
    sides: list[list[np.ndarray]] = [[], []]
    for choosing, judging in _halves(curves):
        before, at, after = _deepest(choosing.mean(0))
        for side, place in zip(sides, (before, after), strict=True):
            side.append(judging[:, place] - judging[:, at])
    before, after = (interval_of(np.concatenate(side or [np.empty(0)])) for side in sides)
    return Extremum(_deepest(curves.mean(0))[1], before, after)


def peak(curves: Curves) -> Extremum:
    return trough(-curves)


def largest_fall(curves: Curves) -> Interval:
    """The largest fall of the mean curve from one step to a later one, chosen on one half and measured on the other."""
    falls = [np.empty(0)]
    for choosing, judging in _halves(curves):
        mean = choosing.mean(0)
        end = int((np.maximum.accumulate(mean) - mean).argmax())
        falls.append(judging[:, int(mean[: end + 1].argmax())] - judging[:, end])
    return interval_of(np.concatenate(falls))


def _deepest(curve: Curves) -> tuple[int, int, int]:
    """(before, at, after): the place that lies deepest below both the highest before it and the highest after it, and these."""
    left, right = np.maximum.accumulate(curve), np.maximum.accumulate(curve[::-1])[::-1]
    at = int((np.minimum(left, right) - curve).argmax())
    return int(curve[: at + 1].argmax()), at, at + int(curve[at:].argmax())


def _halves(curves: Curves) -> list[tuple[Curves, Curves]]:
    """Both ways round, by a fixed seed, for the classes of neighboring pictures take turns; none of a single picture."""
    order, middle = np.random.default_rng(0).permutation(len(curves)), len(curves) // 2
    first, second = curves[order[:middle]], curves[order[middle:]]
    return [(first, second), (second, first)] if middle else []
