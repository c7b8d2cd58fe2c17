"""How much the architecture matters: depth, skip connections, 1x1 filters, U-Net, ResNet and the rate, on two tasks.

Two papers disagree: Ulyanov et al. (2018) say that many skip connections invite over-fitting and use none for large holes;
Kattamis et al. (2019) find that no skip connection at all, or a very shallow network, fails. Both sides are measured here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from preimage.codes import Noise
from preimage.engine.fit import Fit
from preimage.engine.recipe import Recipe
from preimage.metrics import psnr
from preimage.networks import ResNet, SkipNet, UNet
from preimage.networks.layers import Block, Head
from preimage.problem import Problem
from preimage.restore.super_resolve import FAST
from preimage.studies.crops import pillow_of
from preimage.studies.scales import Study, center_crop, generated_picture, markdown_table, with_gaussian_noise

SIDE = {"smoke": 64, "small": 192, "paper": 384}
STEPS = {"smoke": 6, "small": 240, "paper": 2000}
SIGMA = 25 / 255
WIDTH = 64

BASE = replace(FAST, code=Noise(32), rate=0.02, restarts=1, stop="steps")


def hourglass(levels: int, skip: int) -> Callable[[int, int, int, int], nn.Module]:
    """An hourglass of exactly so many levels: 64 channels each, `skip` in each branch (0: none)."""

    def network(c_in: int, c_out: int, height: int, width: int) -> nn.Module:
        del height, width
        wide = (WIDTH,) * levels
        return SkipNet(c_in, c_out, down=wide, up=wide, skip=(skip,) * levels, padding="zeros")

    return network


def pointwise(c_in: int, c_out: int, height: int, width: int) -> nn.Module:
    """Four layers of 1x1 filters: no pixel knows another."""
    del height, width
    widths = [c_in, *(WIDTH,) * 4]
    blocks = [Block(a, b, 1, padding="zeros") for a, b in pairwise(widths)]
    return nn.Sequential(*blocks, Head(WIDTH, c_out, "sigmoid"))


VARIANTS: dict[str, Recipe] = {
    "depth 2, skip 4": replace(BASE, network=hourglass(2, 4)),
    "depth 4, skip 4": replace(BASE, network=hourglass(4, 4)),
    "depth 6, skip 4": replace(BASE, network=hourglass(6, 4)),
    "depth 4, skip 0": replace(BASE, network=hourglass(4, 0)),
    "depth 4, skip 128": replace(BASE, network=hourglass(4, 128)),
    "depth 2, skip 0": replace(BASE, network=hourglass(2, 0)),
    "depth 6, skip 0": replace(BASE, network=hourglass(6, 0)),
    "1x1 filters only": replace(BASE, network=pointwise),
    "U-Net": replace(BASE, network=UNet.Config()),
    "ResNet": replace(BASE, network=ResNet.Config(), rate=0.005),
    "depth 4, skip 4, rate / 10": replace(BASE, network=hourglass(4, 4), rate=0.002),
    "depth 4, skip 4, rate x 5": replace(BASE, network=hourglass(4, 4), rate=0.1),
}


def run(study: Study) -> Path:
    """Every variant on both tasks, those in the CSV left out; the figure; then the section."""
    for task, make in {"denoise": denoising, "hole": large_hole}.items():
        for name, recipe in VARIANTS.items():
            if study.scale == "smoke" and name.startswith("depth 6"):
                continue  # six halvings of a small picture leave one pixel
            if any((row["task"], row["variant"]) == (task, name) for row in study.rows()):
                continue
            study.keep({"task": task, "variant": name, **make(study, name, replace(recipe, steps=STEPS[study.scale]))})
    return study.write_section("Architecture", section(study))


def denoising(study: Study, name: str, recipe: Recipe) -> dict[str, Any]:
    """Peak and last PSNR of the average: what could be had, and what over-fitting leaves of it."""
    del name
    clean = pictures(study)[0]
    noisy = with_gaussian_noise(clean, SIGMA)
    curve = measured(recipe, Problem(noisy), lambda x: float(psnr(x.clamp(0, 1), clean)))[0]
    return _row(curve)


def large_hole(study: Study, name: str, recipe: Recipe) -> dict[str, Any]:
    """PSNR inside the hole; the filled picture goes to a figure."""
    _, clean, known = pictures(study)
    hole = (1 - known).expand_as(clean).bool()

    def inside(x: torch.Tensor) -> float:
        return float(-10 * (x.clamp(0, 1) - clean)[hole].square().mean().log10())

    curve, image = measured(recipe, Problem(clean * known, weight=known.expand_as(clean)), inside)
    filled = torch.where(hole, image, clean).clamp(0, 1)
    label = name.replace(" ", "-").replace(",", "").replace("/", "by")
    pillow_of(filled).save(study.figure(f"{study.name}-{study.scale}-{label}.png"))
    return _row(curve)


def measured(
    recipe: Recipe, problem: Problem, score: Callable[[torch.Tensor], float]
) -> tuple[list[float], torch.Tensor]:
    """The score of the average at every step, and the last average."""
    prior = recipe.prior(problem.target.shape[1], (problem.target.shape[-2], problem.target.shape[-1]))
    fit = Fit(problem, prior, recipe=recipe, restarts=1)
    curve = [score(step.picture) for step in fit]
    return curve, fit.result().image


def _row(curve: list[float]) -> dict[str, Any]:
    peak = max(curve)
    return {"peak": peak, "peak_step": curve.index(peak) + 1, "last": curve[-1], "steps": len(curve)}


def pictures(study: Study) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """F16's middle for denoising; another picture and a mask (1 known) with one large hole."""
    side = SIDE[study.scale]
    if study.scale == "smoke":
        clean = holed = generated_picture(side)
    else:
        clean = reduced(study.picture("dip_paper/denoising/F16_GT.png"), side)
        holed = reduced(study.picture("restoration/set14/monarch.png"), side)
    known = torch.ones(1, 1, side, side)
    known[..., side // 3 : side * 2 // 3, side // 3 : side * 2 // 3] = 0
    return clean, holed, known


def reduced(picture: torch.Tensor, side: int) -> torch.Tensor:
    """The central square, reduced by averaging until it is `side` pixels wide."""
    square = center_crop(picture, min(picture.shape[-2:]))
    return functional.interpolate(square, size=(side, side), mode="bilinear", antialias=True).clamp(0, 1)


CLAIMS = """[U]: many skips invite over-fitting, none are used for large holes.
[K]: no skip at all, or a very shallow network, fails.
[U]: 1x1 filters over-fit at once; the learning rate is crucial. *Last* below *peak* is over-fitting."""


def section(study: Study) -> str:
    """Both tasks side by side, the contradictory claims above them."""
    rows = {(row["task"], row["variant"]): row for row in study.rows()}
    lines = []
    for name in VARIANTS:
        found = [rows.get((task, name)) for task in ("denoise", "hole")]
        lines.append([name, *(v for row in found for v in _cells(row))])
    header = ["network", "denoising: peak", "at step", "last", "hole: peak", "at step", "last"]
    side = SIDE[study.scale]
    source = (
        "A generated picture"
        if study.scale == "smoke"
        else "F16 (sigma 25) and set14 monarch (the central ninth missing)"
    )
    return (
        f"{source}, {side} x {side}, width {WIDTH}, bilinear up-sampling, Muon at rate 0.02 (ResNet 0.005) for "
        f"{STEPS[study.scale]} steps, one fit each, PSNR in dB of the average, for the hole "
        f"inside it.\n\n{CLAIMS}\n\n{markdown_table(header, lines)}"
    )


def _cells(row: dict[str, Any] | None) -> list[Any]:
    return ["", "", ""] if row is None else [float(row["peak"]), row["peak_step"], float(row["last"])]
