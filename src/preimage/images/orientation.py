"""The eight EXIF orientations: how the stored rows and columns are turned to stand upright, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Pages = NDArray[Any]
"""(b, h, w) or (b, h, w, c): pages, rows, columns, channels."""

_INVERSE = {6: 8, 8: 6}


def upright(pages: Pages, orientation: int) -> Pages:
    """Turn stored pages the way they are to be looked at.

    Example:
        >>> upright(np.zeros((1, 20, 30, 3)), 6).shape
        (1, 30, 20, 3)

    pages is (b, h, w) or (b, h, w, c); orientation is the EXIF value, 1 to 8 (EXIF 2.32, tag 0x0112).
    """
    if orientation >= 5:
        pages = np.swapaxes(pages, 1, 2)
    if orientation in (3, 4, 7, 8):
        pages = pages[:, ::-1]
    if orientation in (2, 3, 6, 7):
        pages = pages[:, :, ::-1]
    return np.ascontiguousarray(pages)


def as_stored(pages: Pages, orientation: int) -> Pages:
    """Undo `upright`: the rows and columns as the file has them.

    Example:
        >>> as_stored(upright(np.zeros((1, 20, 30)), 8), 8).shape
        (1, 20, 30)
    """
    return upright(pages, _INVERSE.get(orientation, orientation))
