"""What the prior adds: one small picture enlarged four times with no prior, with total variation, and with a network.

All three fulfil the same equation, down-sampling(x) = y; they differ in R alone (Ulyanov et al. 2018, figure 4 and section 3.2).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from preimage.engine.optimizers import adam
from preimage.engine.recipe import Recipe
from preimage.engine.run import Run
from preimage.metrics import psnr
from preimage.networks import Pixels
from preimage.operators import Downsample, lanczos2
from preimage.restore.super_resolve import FAST, super_resolve
from preimage.studies.peaks import scores_of
from preimage.studies.scales import Study, generated_picture, markdown_table

FACTOR = 4
# The picture itself is the parameter; the weight of TV, a sum over pixels, is that of the study `super_resolution`.
ALONE = Recipe(network=Pixels.Config(), jitter=0.0, optimizer=adam, rate=0.01, averaging=0.0, steps=1000, stop="steps")
TV_WEIGHT = 1e-7
LABELS = {"none": "no prior", "tv": "total variation", "deep": "deep image prior"}


def run(study: Study) -> Path:
    """The three fits that are not there yet, the figure, then the section."""
    clean = specimen(study)
    small = (Downsample(lanczos2(FACTOR), FACTOR)(clean) * 255).round().clamp(0, 255) / 255
    images: dict[str, torch.Tensor] = {}
    for name in LABELS:
        if any(row["prior"] == name for row in study.rows()):
            continue
        fit = fits(name, small, smoke=study.scale == "smoke")
        lookahead = 1.5 if name == "deep" else 1.0
        curve = scores_of(fit, lambda image: float(psnr(image.clamp(0, 1), clean)), lookahead=lookahead)
        result = fit.result()
        images[name] = result.image.clamp(0, 1)
        seen = Downsample(lanczos2(FACTOR), FACTOR)(result.image)
        study.keep(
            {
                "prior": name,
                "psnr": float(psnr(images[name], clean)),
                "peak": max(curve),
                "error_of_small": float((seen - small).square().mean()),
                "steps": result.steps,
                "seconds": result.seconds,
                "size": "x".join(map(str, clean.shape[-2:])),
            }
        )
    if len(images) == len(LABELS):
        save_comparison(study, clean, small, images)
    return study.write_section("What the prior adds", section(study))


def specimen(study: Study) -> torch.Tensor:
    """The crop of the zebra that the authors show."""
    return generated_picture(64) if study.scale == "smoke" else study.picture("dip_paper/sr/zebra_crop.png")


def fits(name: str, small: torch.Tensor, *, smoke: bool) -> Run:
    """The same task with one prior or another."""
    recipe = FAST if name == "deep" else ALONE
    if smoke:
        recipe = replace(recipe, steps=10)
    return super_resolve(small, factor=FACTOR, tv=TV_WEIGHT if name == "tv" else 0.0, recipe=recipe)


def save_comparison(study: Study, clean: torch.Tensor, small: torch.Tensor, images: dict[str, torch.Tensor]) -> None:
    """Small, the three, and the truth, beside one another."""
    from matplotlib.figure import Figure

    rows = {row["prior"]: row for row in study.rows()}
    shown: list[tuple[str, torch.Tensor]] = [("given, enlarged", functional.interpolate(small, scale_factor=4.0))]
    shown += [(f"{LABELS[name]}, {rows[name]['psnr']:.2f} dB", image) for name, image in images.items()]
    shown.append(("truth", clean))
    figure = Figure(figsize=(4 * len(shown), 3.2), layout="constrained")
    axes: Any = figure.subplots(1, len(shown))
    for axis, (title, image) in zip(axes, shown, strict=True):
        axis.imshow(image[0].movedim(0, -1).numpy())
        axis.set_title(title)
        axis.set_axis_off()
    figure.savefig(study.figure(f"{study.name}-{study.scale}.png"), dpi=100)


def section(study: Study) -> str:
    """Three rows: the same equation, fulfilled as well, with very different pictures."""
    header = ["prior", "PSNR, dB", "its peak", "mean square error of the small picture", "steps", "seconds"]
    lines = [
        [
            LABELS[row["prior"]],
            float(row["psnr"]),
            float(row["peak"]),
            f"{float(row['error_of_small']):.1e}",
            row["steps"],
            f"{float(row['seconds']):.0f}",
        ]
        for row in study.rows()
    ]
    picture = "A generated picture" if study.scale == "smoke" else "dip_paper/sr/zebra_crop"
    return (
        f"{picture}, made small {FACTOR} times with Lanczos2 and enlarged again, blind, seed 0. No prior and TV "
        f"(weight {TV_WEIGHT:g}): the pixels themselves, Adam.\n\n{markdown_table(header, lines)}"
    )
