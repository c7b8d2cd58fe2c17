"""Which values of a picture say nothing of its scene, and which are beyond the range in which the others are fitted.

Missing values are NaN or the value that a file declares for them. Outliers are single values far beyond all others and their own
neighbors, as of hot and dead pixels: one makes all else one gray. Bright values are those of few and extended sources (stars)
that would do the same; they are signal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preimage.images.nearest import distances
from preimage.images.ranges import known_ends

Mask = NDArray[np.bool_]

# Values that programs write where nothing was measured, without a tag that says so; of float files as float32.
SENTINELS = (-9999.0, -99999.0, -999.0, -32768.0, -32767.0, 1e20, -1e30, 1e30, 9.969209968386869e36)
_FARTHEST = (float(np.finfo(np.float32).min), float(np.finfo(np.float32).max))

_STRETCHED = 2.5  # times the range of all others that outliers make it, before they are left out of it
_CANDIDATES = 0.02  # of the values, at either end, that may be outliers
_PIXELS = 3  # that an outlier may have: a star has more, for a lens blurs it
_LIT = 0.03  # of an outlier's height: neighbors beyond belong to it
_DEVIATIONS = (3, 8)  # of the neighbors, by which one of them and the outlier itself must be beyond their median
_BY_HAND = 0.5  # times a stated range beyond which a single value is an outlier
_MOST_BEYOND = 0.1  # of the values that may be beyond a stated range; more: it is another picture's
_BRIGHT, _KEPT_SPREADS = 45, 20  # spreads (10 to 90 % of normal values) to the brightest value, and to the cut
_NORMAL = 1.9  # spreads in the distance between the quartiles
_FEW, _DEEP = (
    0.1,
    10,
)  # of the values beyond the cut, and pixels to their edges: more are no stars, but what the picture shows
_WIDEST = 1e30  # times the range of the others: what is beyond could not be told in its units as float32
_SAMPLE, _CHUNK = 2**20, 2**16


@dataclass(frozen=True, eq=False)
class Screened:
    """Masks of pages (b, h, w, c), None where nothing is masked, and the range of all other values.

    `sentinel` is a value that was taken for missing although the file does not declare it; None if there was none.
    """

    ends: tuple[float, float]
    missing: Mask | None = None
    outliers: Mask | None = None
    bright: Mask | None = None
    sentinel: float | None = None


def screened(
    pages: NDArray[Any], *, declared: float | None = None, value_range: tuple[float, float] | None = None
) -> Screened:
    """The screening of pages (b, h, w, c) of real values.

    Example:
        >>> pages = np.random.default_rng(0).integers(200, 900, (1, 32, 32, 1), dtype=np.uint16)
        >>> pages[0, 9, 9] = 65535
        >>> screened(pages).outliers.nonzero()
        (array([0]), array([9]), array([9]), array([0]))

    Args:
        declared: the value that the file declares as missing.
        value_range: the range that the user states; then nothing within it is an outlier or bright. Where more is beyond than a
            tenth, the ends are those of the picture, which do not fit it.

    8-bit and bool values are screened for missing ones alone, unless a range is stated.
    """
    missing, sentinel = _missing(pages, declared)
    known = np.ones(pages.shape, bool) if missing is None else ~missing
    counted = known & ~_constant_pages(pages, known)
    if not counted.any():  # all pages are constant
        counted = known
    ends = _ends(pages, counted)
    if value_range is not None:
        outliers, bright = _beyond(pages, known, value_range)
        if sum(int(mask.sum()) for mask in (outliers, bright) if mask is not None) <= _MOST_BEYOND * int(known.sum()):
            ends = (max(ends[0], value_range[0]), min(ends[1], value_range[1]))
    elif pages.dtype.kind == "b" or pages.dtype == np.uint8 or not np.isfinite(ends[1] - ends[0]):
        return Screened(ends, missing, sentinel=sentinel)
    else:
        outliers = _outliers(pages, counted, ends)
        ends = ends if outliers is None else _ends(pages, counted & ~outliers)
        cut = _cut(pages, counted if outliers is None else counted & ~outliers, ends)
        bright = None if cut == ends else counted & ((pages < cut[0]) | (pages > cut[1]))
        bright = bright if bright is None or outliers is None else bright & ~outliers
        whole = _ends(pages, counted)
        if (whole[1] - whole[0]) / _WIDEST > cut[1] - cut[0]:
            return Screened(whole, missing, sentinel=sentinel)
        ends = cut
    return Screened(ends, missing, _or_none(outliers), _or_none(bright), sentinel)


def _or_none(mask: Mask | None) -> Mask | None:
    return mask if mask is not None and mask.any() else None


def _ends(pages: NDArray[Any], counted: Mask) -> tuple[float, float]:
    return known_ends(pages if counted.all() else pages[counted])


def _constant_pages(pages: NDArray[Any], known: Mask) -> Mask:
    """(b, 1, 1, 1): pages of one value in each channel say nothing of the range of the others."""
    values = pages.view(np.uint8) if pages.dtype == np.bool_ else pages
    low = np.min(values, (1, 2), keepdims=True, where=known, initial=np.max(values, where=known, initial=0))
    high = np.max(values, (1, 2), keepdims=True, where=known, initial=np.min(values, where=known, initial=0))
    return (low >= high).all(3, keepdims=True)


# ---------------------------------------------------------------------- missing values


def _missing(pages: NDArray[Any], declared: float | None) -> tuple[Mask | None, float | None]:
    """Which values are missing, and the sentinel that says so though no tag does. All of one value is no gap."""
    found = np.isnan(pages) if pages.dtype.kind == "f" else np.zeros(pages.shape, bool)
    sentinel = None
    if declared is not None:
        found |= _equal(pages, declared)
    elif pages.dtype.kind in "if" and pages.dtype.itemsize > 1:
        sentinel = _sentinel(pages, ~found)
        found |= np.zeros_like(found) if sentinel is None else _equal(pages, sentinel)
    if found.all():
        return None, None
    return _or_none(found), sentinel


def _equal(pages: NDArray[Any], value: float) -> Mask:
    """Which values are this one, as a file of their dtype holds it; a text has fewer digits of great ones."""
    if pages.dtype.kind != "f":
        return pages == value
    return np.isclose(pages.astype(np.float64), value, rtol=1e-4 if abs(value) > 1e30 else 1e-7, atol=0)


def _sentinel(pages: NDArray[Any], known: Mask) -> float | None:
    """One of the sentinels, if it is the least or the greatest value and as far from the others as they span, or farther."""
    for end in dict.fromkeys(_ends(pages, known)) if known.any() else ():
        named = any(np.isclose(end, each, rtol=1e-6, atol=0) for each in (*SENTINELS, *_FARTHEST))
        rest = known & ~_equal(pages, end) if named else known
        if not named or not rest.any():
            continue
        low, high = _ends(pages, rest)
        if min(abs(end - low), abs(end - high)) >= max(high - low, abs(end) / 2):
            return end
    return None


# ---------------------------------------------------------------------- outliers


def _beyond(pages: NDArray[Any], known: Mask, value_range: tuple[float, float]) -> tuple[Mask | None, Mask | None]:
    """Outliers and bright values of a range that was stated."""
    low, high = value_range
    reach = _BY_HAND * (high - low)
    with np.errstate(invalid="ignore"):
        beyond = known & ((pages < low) | (pages > high))
        far = beyond & ((pages < low - reach) | (pages > high + reach))
    if not beyond.any():
        return None, None
    outliers = np.zeros_like(beyond)
    outliers[far] = _alone(pages, known, np.argwhere(far))
    return outliers, beyond & ~outliers


def _outliers(pages: NDArray[Any], counted: Mask, ends: tuple[float, float]) -> Mask | None:
    """Single values beyond the ends of all others, if these are much nearer to one another without them."""
    low, high = (float(each) for each in np.quantile(_sample(pages, counted), (0.1, 0.9)))
    if ends[1] - ends[0] <= _STRETCHED * (high - low):
        return None
    shares = np.quantile(_sample(pages, counted), (_CANDIDATES, 1 - _CANDIDATES))
    least, most = min(shares[0], low - (high - low)), max(shares[1], high + high - low)
    places = np.argwhere(counted & ((pages < least) | (pages > most)))
    found = np.zeros_like(counted)
    found[tuple(places.T)] = _alone(pages, counted, places)
    rest = _ends(pages, counted & ~found)
    if rest[1] <= rest[0] or ends[1] - ends[0] <= _STRETCHED * (rest[1] - rest[0]):
        return None
    return found & ((pages < rest[0]) | (pages > rest[1]))


def _sample(pages: NDArray[Any], counted: Mask) -> NDArray[np.float64]:
    values = pages[counted]
    return values[:: max(1, len(values) // _SAMPLE)].astype(np.float64)


def _alone(pages: NDArray[Any], known: Mask, places: NDArray[np.intp]) -> Mask:
    """Which of these values are far from all around them but one or two."""
    chunks = [places[start : start + _CHUNK] for start in range(0, len(places), _CHUNK)]
    return np.concatenate([_is_alone(*_around(pages, known, chunk)) for chunk in chunks] or [np.zeros(0, bool)])


def _is_alone(own: NDArray[np.float64], around: NDArray[np.float64]) -> Mask:
    middle, deviation = _middle(around)
    height = own - middle
    lit = np.maximum(_LIT * abs(height), _DEVIATIONS[0] * deviation)
    beyond = ((around - middle[:, None]) * np.sign(height)[:, None] > lit[:, None]).sum(1)
    return (beyond < _PIXELS) & (abs(height) > _DEVIATIONS[1] * deviation)


def _middle(around: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Median of the known neighbors, and what would be the standard deviation of normal ones."""
    middle = np.nanmedian(around, axis=1)
    return middle, 1.4826 * np.nanmedian(abs(around - middle[:, None]), axis=1)


def _around(
    pages: NDArray[Any], known: Mask, places: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The values at places (n, 4), and of each the 24 nearest of its page and channel, NaN where there is none."""
    page, row, column, channel = places.T[..., None]
    down, along = (each.ravel() for each in np.mgrid[-2:3, -2:3])
    rows, columns = row + np.delete(down, 12), column + np.delete(along, 12)
    inside = (rows >= 0) & (rows < pages.shape[1]) & (columns >= 0) & (columns < pages.shape[2])
    at = page, rows.clip(0, pages.shape[1] - 1), columns.clip(0, pages.shape[2] - 1), channel
    around = np.where(inside & known[at], pages[at].astype(np.float64), np.nan)
    none = np.isnan(around).all(1)
    around[none] = pages[tuple(places[none].T)].astype(np.float64)[
        :, None
    ]  # nothing is known there: like its neighbors
    return pages[tuple(places.T)].astype(np.float64), around


def neighbors_median(pages: NDArray[Any], known: Mask, places: NDArray[np.intp]) -> NDArray[np.float64]:
    """Of each place (n, 4) the median of the 24 nearest known values of its page and channel."""
    return _middle(_around(pages, known, places)[1])[0]


# ---------------------------------------------------------------------- bright sources


def _cut(pages: NDArray[Any], counted: Mask, ends: tuple[float, float]) -> tuple[float, float]:
    """The ends, or nearer ones where a few values far beyond all others would make these one gray."""
    lower, middle, upper = (float(each) for each in np.quantile(_sample(pages, counted), (0.25, 0.5, 0.75)))
    spread = _NORMAL * (upper - lower)
    if not spread or max(middle - ends[0], ends[1] - middle) <= _BRIGHT * spread:
        return ends
    reach, far = _KEPT_SPREADS * spread, _BRIGHT * spread
    low = ends[0] if middle - ends[0] <= far else middle - reach
    high = ends[1] if ends[1] - middle <= far else middle + reach
    beyond = counted & ((pages < low) | (pages > high))
    few = int(beyond.sum()) <= _FEW * int(counted.sum()) and _depth(beyond) <= _DEEP
    return (low, high) if few else ends


def _depth(mask: Mask) -> float:
    """The most pixels from a masked value to one that is not, of its page and channel."""
    planes = np.moveaxis(mask, 3, 1).reshape(-1, *mask.shape[1:3])
    return max(float(distances(np.pad(plane, 1)).max()) for plane in planes)
