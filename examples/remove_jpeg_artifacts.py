"""Remove the blocks and the ringing of JPEG; the result would be compressed to the same file.

python examples/remove_jpeg_artifacts.py [out]
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image
from skimage import data

from preimage import remove_jpeg_artifacts


def main(out: str = "out", *, side: int = 192, steps: int | None = None) -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    photo = folder / "photo.jpg"
    Image.fromarray(data.astronaut()[20 : 20 + side, 130 : 130 + side]).save(photo, quality=10)

    result = remove_jpeg_artifacts(photo, steps=steps).run()
    result.save(folder / "without_artifacts.png", overwrite=True)
    print(result.reason)


if __name__ == "__main__":
    main(*sys.argv[1:2])
