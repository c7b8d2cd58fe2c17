"""The pixel priors that the deep prior is compared with: total variation, and that with the alpha norm."""

from __future__ import annotations

from functools import partial

from preimage.explain.options import ImagePrior
from preimage.problem import Regularizer
from preimage.regularizers import alpha_norm, total_variation

# Mahendran and Vedaldi, IJCV 2016: R is 1 if values lie B from the mean and differ by V from their neighbors, in 0..1 here;
# the data term counts C times as much.
B, V, C = 80 / 255, 80 / 255 / 6.5, 100.0


def pixel_regularizers(
    prior: ImagePrior, size: tuple[int, int], channels: int
) -> tuple[tuple[float, Regularizer], ...]:
    """R of a prior for images of this (height, width), relative to the data term; none for deep and none.

    Example:
        >>> [regularizer.func.__name__ for _, regularizer in pixel_regularizers("alpha", (32, 32), 3)]
        ['total_variation', 'alpha_norm']
    """
    count = size[0] * size[1] * channels * C
    smooth: tuple[tuple[float, Regularizer], ...] = (
        (1 / (V**2 * count), partial(total_variation, beta=2.0, reduction="sum")),
    )
    if prior == "tv":
        return smooth
    return (*smooth, (1 / (B**6 * count), partial(alpha_norm, alpha=6.0, reduction="sum"))) if prior == "alpha" else ()
