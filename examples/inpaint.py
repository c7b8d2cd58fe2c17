"""Fill in missing pixels; all others are returned exactly.

python examples/inpaint.py [out]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from skimage import data

from preimage import inpaint


def main(out: str = "out", *, side: int = 192, steps: int | None = None) -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    photo = data.coffee()[60 : 60 + side, 150 : 150 + side]
    valid = np.full((side, side), 255, np.uint8)
    valid[side // 3 : side // 3 + 6] = 0  # a scratch across
    valid[:, side // 2 : side // 2 + 4] = 0  # and one from top to bottom

    result = inpaint(photo, mask=valid, mask_white="valid", steps=steps).run()
    result.save(folder / "filled.png", overwrite=True)
    same = (result.to_array() == photo)[valid > 0].all()
    print("valid pixels are as they were:", bool(same))


if __name__ == "__main__":
    main(*sys.argv[1:2])
