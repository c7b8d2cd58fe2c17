"""Enlarge an image four times: find a large one that equals it when it is made small again.

python examples/super_resolve.py [out]
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image
from skimage import data

from preimage import super_resolve


def main(out: str = "out", *, side: int = 192, steps: int | None = None) -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    photo = Image.fromarray(data.chelsea()[30 : 30 + side, 130 : 130 + side])
    small = photo.resize((side // 4, side // 4), Image.Resampling.LANCZOS)

    result = super_resolve(small, factor=4, steps=steps).run()
    result.save(folder / "enlarged.png", overwrite=True)
    print(small.size, "->", result.image.shape[:1:-1])


if __name__ == "__main__":
    main(*sys.argv[1:2])
