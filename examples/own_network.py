"""Your own network: anything from a code (1, c_in, h, w) to an image (1, c_out, h, w).

python examples/own_network.py [out]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from skimage import data
from torch import nn

from preimage import denoise, recipe


def dilated(c_in: int, c_out: int, height: int, width: int) -> nn.Module:
    """Convolutions ever farther apart, at the full size."""
    layers: list[nn.Module] = []
    for before, dilation in ((c_in, 1), (32, 2), (32, 4), (32, 8), (32, 1)):
        layers += [nn.Conv2d(before, 32, 3, padding=dilation, dilation=dilation), nn.BatchNorm2d(32), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers, nn.Conv2d(32, c_out, 1), nn.Sigmoid())


def main(out: str = "out", *, side: int = 192, steps: int | None = None) -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    clean = data.chelsea()[30 : 30 + side, 130 : 130 + side]
    noisy = (clean + np.random.default_rng(0).normal(0, 25, clean.shape)).clip(0, 255).astype(np.uint8)

    result = denoise(noisy, recipe=recipe("fast", network=dilated), steps=steps).run()
    result.save(folder / "by_dilations.png", overwrite=True)
    print(result.reason)


if __name__ == "__main__":
    main(*sys.argv[1:2])
