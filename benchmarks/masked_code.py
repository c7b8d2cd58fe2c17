"""Changes of the masked code of `denoise`: blind PSNR, and the peak of the same fit, of one fit from each.

python -m benchmarks.masked_code                                    # all, hours on one core
python -m benchmarks.masked_code zero filled -- kodak24/kodim05:50  # some, at sigma 50 (without a number: 25)

"zero", "filled": a masked value is 0, or the mean of its visible neighbors above, below, left and right. "filled from 8": of all
eight, those at the corners at half the weight. "turned": 0, and at every step the network sees the picture in another of the
eight orientations, each once in eight steps, and its output is turned back; so E is that of a turned target, and the average of
the outputs is one over all eight. "bilinear": with the network of the recipe best.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from preimage.codes import Masked
from preimage.engine.recipe import Recipe
from preimage.restore.denoise import KEPT_OF_GREY, denoise, recipes
from studies.harness.fits import blind_beside_peak
from studies.harness.imaging import center_crop, dB, with_gaussian_noise
from studies.harness.study import Run

PICTURES = ("kodak24/kodim05", "kodak24/kodim07", "kodak24/kodim20", "set12/05", "set12/07")
SIDE, SEED = 256, 1234
SQUARE = torch.tensor([[1.0, 2, 1], [2, 0, 2], [1, 2, 1]])


class FromEight(Masked):
    """A masked code whose masked values are the weighted mean of their eight neighbors; 0 where none is visible."""

    def draw(self, image: Tensor, valid: Tensor, generator: torch.Generator) -> Tensor:
        seen, visible = super().draw(image, valid, generator).chunk(2, 1)
        weights = SQUARE.to(image).expand(image.shape[1], 1, 3, 3)
        total, count = (functional.conv2d(x, weights, padding=1, groups=x.shape[1]) for x in (seen, visible))
        return torch.cat([torch.where(visible > 0, seen, total / count.clamp(min=1)), visible], 1)


def oriented(x: Tensor, turn: int) -> Tensor:
    """One of the eight orientations of a square (b, c, n, n): mirrored if turn is odd, then transposed, then rotated."""
    x = x.flip(-1) if turn & 1 else x
    return torch.rot90(x, turn >> 1, (-2, -1))


def back(x: Tensor, turn: int) -> Tensor:
    """The inverse of `oriented`."""
    x = torch.rot90(x, -(turn >> 1), (-2, -1))
    return x.flip(-1) if turn & 1 else x


class Turning(nn.Module):
    """A network that sees its code in one of the eight orientations, each once in eight calls, in random order."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.stride = network, network.stride
        self.draw, self.turns = random.Random(SEED), list[int]()

    def forward(self, code: Tensor) -> Tensor:
        self.turns = self.turns or self.draw.sample(range(8), 8)
        turn = self.turns.pop()
        return back(self.network(oriented(code, turn).contiguous()), turn).contiguous()


@dataclass(frozen=True)
class Turned:
    """The config of a Turning network."""

    config: Callable[[int, int, int, int], nn.Module]

    def __call__(self, in_channels: int, out_channels: int, height: int, width: int) -> Turning:
        return Turning(self.config(in_channels, out_channels, height, width))


def ways(channels: int) -> dict[str, Recipe]:
    """Recipes, to be used as they are."""
    named = recipes()
    keep = KEPT_OF_GREY if channels == 1 else 0.85
    zero, filled = (replace(named["fast"], code=Masked(keep, filled)) for filled in (False, True))
    bilinear = {"network": named["best"].network}
    return {
        "zero": zero,
        "filled": filled,
        "filled from 8": replace(zero, code=FromEight(keep)),
        "turned": replace(zero, network=Turned(zero.network)),
        "bilinear zero": replace(zero, **bilinear),
        "bilinear filled": replace(filled, **bilinear),
    }


def said(name: str, way: str) -> str:
    """A line of what one way makes of one picture, SCENE or SCENE:SIGMA."""
    scene, _, sigma = name.partition(":")
    clean = center_crop(Run("masked_code", "small").picture(f"restoration/{scene}.png"), SIDE)
    noisy = with_gaussian_noise(clean, float(sigma or 25) / 255, SEED)
    _, row = blind_beside_peak(lambda: denoise(noisy, recipe=ways(clean.shape[1])[way]), lambda image: dB(image, clean))
    return (
        f"{name} {way}: blind {row['blind']:.2f} dB, kept {row['kept_steps']} of {row['steps']} steps, "
        f"peak {row['peak']:.2f} at {row['peak_step']}, {row['seconds']:.0f} s"
    )


def main() -> None:
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    for name in words[split + 1 :] or PICTURES:
        for way in words[:split] or ways(3):
            print(said(name, way), flush=True)


if __name__ == "__main__":
    main()
