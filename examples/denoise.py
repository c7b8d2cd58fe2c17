"""Remove noise from a photograph, of a kind and strength that is estimated from the image.

python examples/denoise.py [out]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from skimage import data

from preimage import denoise


def main(out: str = "out", *, side: int = 192, steps: int | None = None) -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    clean = data.chelsea()[30 : 30 + side, 130 : 130 + side]
    noise = np.random.default_rng(0).normal(0, 25, clean.shape)
    noisy = (clean + noise).clip(0, 255).astype(np.uint8)

    result = denoise(noisy, steps=steps).run()
    result.save(folder / "denoised.png", overwrite=True)
    print(*result.remarks, result.reason, sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:2])
