"""Is there a trough in the mean of some curves, or a peak? Told so that a mean's noise, which always has both, shows neither.

The mean curve of one half of the pictures says at which steps to look, the other half how deep it is there, and the other way
round. A trough is shown where both its sides are: the fall into it, and the rise out of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preimage.studies.intervals import Interval, interval_of

Curves = NDArray[np.float64]
SEED = 0  # of the halves


@dataclass(frozen=True)
class Extremum:
    """A trough or a peak of the mean curve.

    Args:
        place: its number on the curve of all pictures.
        before, after: of how much the curve is higher (for a peak lower) before and after it, on the half that did not choose.
    """

    place: int
    before: Interval
    after: Interval

    def verdict(self) -> str:
        """Whether it is shown: yes where both sides are above 0, no where one of them is at most 0."""
        sides = {self.before.verdict(), self.after.verdict()}
        return next((word for word in ("not measured", "no", "not shown") if word in sides), "yes")


def trough(curves: Curves) -> Extremum:
    """The deepest trough of the mean of curves (pictures, steps).

    Example:
        >>> trough(np.tile([0.5, 0.1, 0.5], (4, 1))).verdict()
        'yes'
    """
    return Extremum(_deepest(curves.mean(0))[1], *_sides(curves))


def peak(curves: Curves) -> Extremum:
    """The highest peak of the mean of curves (pictures, steps)."""
    return trough(-curves)


def largest_fall(curves: Curves) -> Interval:
    """The largest fall of the mean curve from one step to a later one, chosen on one half and measured on the other."""

    def fall(chosen: Curves, measured: Curves) -> Curves:
        mean = chosen.mean(0)
        end = int((np.maximum.accumulate(mean) - mean).argmax())
        begin = int(mean[: end + 1].argmax())
        return measured[:, begin] - measured[:, end]

    first, second = _halves(curves)
    if not len(first):
        return interval_of([])
    return interval_of(np.concatenate([fall(first, second), fall(second, first)]))


def _sides(curves: Curves) -> tuple[Interval, Interval]:
    first, second = _halves(curves)
    if not len(first):
        return interval_of([]), interval_of([])
    found = []
    for chosen, measured in ((first, second), (second, first)):
        before, at, after = _deepest(chosen.mean(0))
        found.append(np.stack([measured[:, before] - measured[:, at], measured[:, after] - measured[:, at]]))
    before, after = np.concatenate(found, 1)
    return interval_of(before), interval_of(after)


def _deepest(curve: Curves) -> tuple[int, int, int]:
    """(before, at, after): the place that lies deepest below both the highest before it and the highest after it, and these."""
    left, right = np.maximum.accumulate(curve), np.maximum.accumulate(curve[::-1])[::-1]
    at = int((np.minimum(left, right) - curve).argmax())
    return int(curve[: at + 1].argmax()), at, at + int(curve[at:].argmax())


def _halves(curves: Curves) -> tuple[Curves, Curves]:
    """By a fixed seed, for the classes of neighboring pictures take turns; an empty one where there is a single picture."""
    order = np.random.default_rng(SEED).permutation(len(curves))
    middle = len(curves) // 2
    return curves[order[:middle]], curves[order[middle:]]
