"""Denoise a dark photograph by a second one of the same scene, taken with flash.

python examples/flash_no_flash.py [out]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from skimage import data

from preimage import flash_no_flash


def main(out: str = "out", *, side: int = 192, steps: int | None = None) -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    bright = data.coffee()[60 : 60 + side, 150 : 150 + side]
    noise = np.random.default_rng(0).normal(0, 20, bright.shape)
    dark = (0.4 * bright + noise).clip(0, 255).astype(np.uint8)

    result = flash_no_flash(dark, flash=bright, steps=steps).run()
    result.save(folder / "with_the_light_of_the_first.png", overwrite=True)
    print(result.reason)


if __name__ == "__main__":
    main(*sys.argv[1:2])
