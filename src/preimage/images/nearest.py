"""Distances to the nearest pixel outside of a mask, and that pixel, both exact.

d(p)^2 = min over q of |p - q|^2,    q(p) = the pixel at which it is reached

The pixel is found in the columns first, then in the rows by the lower envelope of the parabolas of their pixels, of all rows at
once (Felzenszwalb and Huttenlocher, Distance Transforms of Sampled Functions, 2012); OpenCV has but an approximation of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def distances(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Of each pixel (h, w) of a mask the distance in pixels to the nearest outside of it; 0 outside.

    Example:
        >>> distances(np.pad(np.ones((3, 3), bool), 1))[2]
        array([0., 1., 2., 1., 0.], dtype=float32)
    """
    import cv2

    return np.asarray(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)


def nearest_outside(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """(2, h, w): row and column of the pixel outside of a mask that is nearest to each pixel; outside it is the pixel itself.

    Of several at one distance any may be it. The mask must leave a pixel out.

    Example:
        >>> nearest_outside(np.array([[False, True, True]]))[1]
        array([[0, 0, 0]])
    """
    found = np.indices(mask.shape)
    rows = np.flatnonzero(mask.any(1))
    if not len(rows):
        return found
    columns = np.flatnonzero(mask.any(0))
    # Beside the masked columns every pixel is its own nearest: none further away is nearer to a masked one.
    first, end = max(0, columns[0] - 1), min(mask.shape[1], columns[-1] + 2)
    near = _nearest_in_column(mask[:, first:end])[rows]
    chosen = _lowest(np.where(near < 0, np.inf, (near - rows[:, None]) ** 2.0))
    inside = mask[rows, first:end]
    found[1, rows, first:end] = chosen + first
    found[0, rows, first:end] = np.where(inside, np.take_along_axis(near, chosen, 1), rows[:, None])
    return found


def _nearest_in_column(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """(h, w): the row of the nearest pixel outside of the mask in the same column, -1 where there is none."""
    height = len(mask)
    own = np.arange(height)[:, None]
    above = np.maximum.accumulate(np.where(mask, -1, own), axis=0)
    below = np.minimum.accumulate(np.where(mask, height, own)[::-1], axis=0)[::-1]
    is_above = (above >= 0) & ((below == height) | (own - above <= below - own))
    return np.where(is_above, above, np.where(below == height, -1, below))


def _lowest(heights: NDArray[np.float64]) -> NDArray[np.intp]:
    """(n, w): at each x the x' of the least heights[x'] + (x - x')^2 of its row, of which each has a finite one."""
    count, width = heights.shape
    places = np.zeros(
        (count, width), np.intp
    )  # of the parabolas of the envelope, and where each begins to be the lowest
    begins = np.full((count, width + 1), np.inf)
    last = np.full(count, -1)
    for x in range(width):
        height = heights[:, x]
        every = np.flatnonzero(np.isfinite(height))
        begin = np.full(count, -np.inf)
        left = every[last[every] >= 0]
        while len(left):
            other = places[left, last[left]]
            begin[left] = (height[left] + x**2 - heights[left, other] - other**2) / (2.0 * (x - other))
            left = left[begin[left] <= begins[left, last[left]]]
            last[left] -= 1
            left = left[last[left] >= 0]
        begin[last < 0] = -np.inf
        last[every] += 1
        places[every, last[every]] = x
        begins[every, last[every]] = begin[every]
        begins[every, last[every] + 1] = np.inf
    chosen, at = np.empty((count, width), np.intp), np.zeros(count, np.intp)
    row = np.arange(count)
    for x in range(width):
        left = row
        while len(left := left[begins[left, at[left] + 1] < x]):
            at[left] += 1
        chosen[:, x] = places[row, at]
    return chosen
