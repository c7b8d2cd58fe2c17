"""Your own operator: an image from a quarter of its values, means of neighbors.

python examples/own_operator.py [out]
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import torch
from skimage import data

from preimage import Fit, Problem
from preimage.restore.super_resolve import recipes


def main(out: str = "out", *, side: int = 64, steps: int = 300) -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    photo = data.chelsea()[30 : 30 + side, 130 : 130 + side]
    image = torch.from_numpy(photo.copy()).movedim(-1, 0)[None] / 255

    def blinds(x: torch.Tensor) -> torch.Tensor:
        """Means of eight neighbors along the rows, and along the columns: two eighths of the values."""
        across = torch.nn.functional.avg_pool2d(x, (1, 8))
        down = torch.nn.functional.avg_pool2d(x, (8, 1))
        return torch.cat([across.flatten(1), down.flatten(1)], 1)

    settings = replace(recipes()["fast"], steps=steps)  # of a task with exact measurements
    problem = Problem(blinds(image), operator=blinds)
    fit = Fit(problem, settings.prior(3, (side, side)), recipe=settings)
    result = fit.run()
    result.save(folder / "from_blinds.png", overwrite=True)
    error = float((result.image - image).square().mean())
    print(f"{problem.target.numel()} values -> {result.image.numel()}, {-10 * math.log10(error):.2f} dB")


if __name__ == "__main__":
    main(*sys.argv[1:2])
