"""Find the recipe that restores your kind of images best, and use it.

python examples/calibrate.py [out]
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image
from skimage import data

from preimage import calibrate, denoise, recipe


def main(out: str = "out", *, side: int = 96, steps: int | None = 200) -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    clean = folder / "clean"
    clean.mkdir(exist_ok=True)
    for name, photo in (("cat", data.chelsea()), ("cup", data.coffee()), ("rocket", data.rocket())):
        Image.fromarray(photo[60 : 60 + side, 150 : 150 + side]).save(clean / f"{name}.png")

    settings = recipe("fast", steps=steps) if steps else "fast"
    found = calibrate(clean, degradation="gaussian:25", recipe=settings, side=side).run()
    print(*found.summary_lines(), sep="\n")
    mine = found.save(folder / "mine.json", overwrite=True)
    denoise(clean / "cat.png", recipe=str(mine)).run().save(folder / "cat.png", overwrite=True)


if __name__ == "__main__":
    main(*sys.argv[1:2])
