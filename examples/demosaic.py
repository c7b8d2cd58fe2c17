"""Make a color image of a camera's mosaic, in which each pixel has one color.

python examples/demosaic.py [out]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from skimage import data

from preimage import demosaic


def main(out: str = "out", *, side: int = 192, steps: int | None = None) -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    photo = data.chelsea()[30 : 30 + side, 130 : 130 + side]
    mosaic = np.empty((side, side), np.uint8)
    for color, row, column in ((0, 0, 0), (1, 0, 1), (1, 1, 0), (2, 1, 1)):  # RGGB
        mosaic[row::2, column::2] = photo[row::2, column::2, color]

    result = demosaic(mosaic, pattern="RGGB", steps=steps).run()
    result.save(folder / "color.png", overwrite=True)
    print(mosaic.shape, "->", tuple(result.image.shape))


if __name__ == "__main__":
    main(*sys.argv[1:2])
