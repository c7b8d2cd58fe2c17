"""Enlarging by 4 and 8: this library blind beside bicubic and total variation on the same problem (Ulyanov et al. 2018)."""

from dataclasses import replace

import torch

from preimage.engine.recipe import Recipe
from preimage.networks import Pixels
from preimage.operators import Downsample, lanczos2
from preimage.restore.super_resolve import super_resolve
from studies.harness import Measured, Run, Study, by_scale, figures, fits, imaging, published, rivals, tables

SET5 = ("baby", "bird", "butterfly", "head", "woman")
FACTORS = {4: ("zebra_GT", *SET5, "zebra", "ppt3", "comic", "flowers", "monarch"), 8: SET5}
SIDE, MULTIPLE = by_scale(128, 256, 100_000), 32
FIGURE = (4, "zebra_GT")
# Total variation on free pixels: the best mean of set14/pepper, coastguard and foreman (256-pixel crops), chosen by
# `python -m benchmarks.rival_settings enlarge`. It sums over pixels, so the weight falls as pictures grow.
TV_WEIGHT, TV_PIXELS = {4: 1e-7, 8: 2e-7}, 256 * 256
PIXELS = Recipe(network=Pixels.Config(), jitter=0.0, averaging=0.0, steps=500, precision="float32", stop="steps")
STEPS = by_scale(20, PIXELS.steps, PIXELS.steps)
LUMA = (65.481 / 255, 128.553 / 255, 24.966 / 255)
COLUMNS = tables.PICTURE | {"bicubic": "bicubic:.2f", "TV": "tv:.2f"} | tables.FITTED | published.PUBLISHED


def measure(run: Run, factor: int, name: str):
    clean = specimen(run, factor, name)
    small = imaging.eight_bit(Downsample(lanczos2(factor), factor)(clean))
    recipe = fits.named(run.smoke, super_resolve, 20)
    row, panels, _ = fits.beside_rivals(
        lambda: super_resolve(small, factor=factor, recipe=recipe),
        lambda image: luma_psnr(image, clean, factor),
        {"bicubic": rivals.bicubic_enlarged(small, factor), "tv": tv_enlarged(small, factor, steps=STEPS[run.scale])},
    )
    if (factor, name) == FIGURE:
        figures.save_panels([("input", small), *panels, ("truth", clean)], run.figure(name))
    return {"size": imaging.size_of(clean)} | row


def specimen(run: Run, factor: int, name: str) -> torch.Tensor:
    """A clean picture whose sides are multiples of 32: its center, or the whole but for the rest of that division."""
    folder = "dip_paper/sr" if name == FIGURE[1] else "restoration/set5" if name in SET5 else "restoration/set14"
    return imaging.center_crop(run.picture(f"{folder}/{name}.png", 16 * factor), SIDE[run.scale], MULTIPLE)


def tv_enlarged(small: torch.Tensor, factor: int, *, weight: float | None = None, steps: int = 500) -> torch.Tensor:
    """arg min || Phi(x) - y ||^2 + weight TV(x) over pixels, by Adam: total variation instead of the network."""
    channels, height, width = small.shape[1], *(factor * side for side in small.shape[-2:])
    weight = (TV_WEIGHT[factor] if weight is None else weight) * TV_PIXELS / (height * width)
    tv = fits.mean_variation(weight, channels, height, width)
    return super_resolve(small, factor=factor, recipe=replace(PIXELS, steps=steps), tv=tv).run().image


def luma(image: torch.Tensor) -> torch.Tensor:
    """Y of BT.601, 16 to 235 of 255, as super-resolution is measured: (b, 3, h, w) in 0..1 -> (b, h, w) in 0..1."""
    return 16 / 255 + torch.einsum("c,bchw->bhw", torch.tensor(LUMA), image.clamp(0, 1))


def luma_psnr(image: torch.Tensor, clean: torch.Tensor, border: int) -> float:
    """PSNR in dB of Y, for a peak of 255, a border of so many pixels left out, as [U] does."""
    difference = (luma(image) - luma(clean))[:, border:-border, border:-border]
    return float(-10 * difference.square().mean().log10())


def aims(factor: int, rows):
    return tables.above(rows, {"bicubic, mean of {}": "bicubic", "TV, mean": "tv"}, least=0.8 if factor == 4 else 0.0)


def values(run: Run):
    rows = [published.beside(row, f"enlarged {row['factor']}") for row in run.rows()]
    titles = {factor: f"x{factor}" for factor in FACTORS}
    return {"tables": tables.restorations(rows, "factor", titles, COLUMNS, None if run.smoke else aims)}


def cases(run: Run):
    return [(factor, name) for factor, names in FACTORS.items() for name in (names[:1] if run.smoke else names)]


STUDY = Study(Measured(("factor", "picture"), cases, measure), values)
