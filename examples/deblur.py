"""Undo a blur whose kernel is known, and the noise that came after it.

python examples/deblur.py [out]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from skimage import data

from preimage import deblur
from preimage.operators import Blur, gaussian


def main(out: str = "out", *, side: int = 192, steps: int | None = None) -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    photo = data.astronaut()[20 : 20 + side, 130 : 130 + side]
    clean = torch.from_numpy(photo.copy()).movedim(-1, 0)[None] / 255
    blurred = Blur(gaussian(1.6), boundary="reflect")(clean)[0].movedim(0, -1).numpy()
    noise = np.random.default_rng(0).normal(0, 2, blurred.shape)
    given = (255 * blurred + noise).clip(0, 255).astype(np.uint8)

    result = deblur(given, kernel="gaussian:1.6", steps=steps).run()
    result.save(folder / "sharp.png", overwrite=True)
    print(*result.remarks, result.reason, sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:2])
