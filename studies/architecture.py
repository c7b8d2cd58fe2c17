"""Depth, skips, 1x1 filters, U-Net, ResNet, rates, on denoising and a large hole: both papers' claims."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from preimage.codes import Noise
from preimage.networks import ResNet, SkipNet, UNet
from preimage.networks.layers import Block, Head
from preimage.problem import Problem
from preimage.restore.super_resolve import recipes
from studies.harness import Measured, Run, Study, by_scale, figures, fits, imaging, tables

SIDE, STEPS, WIDTH = by_scale(64, 192, 384), by_scale(6, 240, 2000), 64
TASKS = {"denoise": "dip_paper/denoising/F16_GT.png", "hole": "restoration/set14/monarch.png"}


def skip_net(levels: int, skip: int) -> Callable[..., nn.Module]:
    wide: dict[str, Any] = {"down": (WIDTH,) * levels, "up": (WIDTH,) * levels, "skip": (skip,) * levels}
    return lambda c_in, c_out, height, width: SkipNet(c_in, c_out, **wide, padding="zeros")


def pointwise(c_in: int, c_out: int, height: int, width: int) -> nn.Module:
    blocks = [Block(a, b, 1, padding="zeros") for a, b in pairwise([c_in, *(WIDTH,) * 4])]
    return nn.Sequential(*blocks, Head(WIDTH, c_out, "sigmoid"))


VARIANTS: dict[str, dict[str, Any]] = {
    **{f"depth {depth}, skip 4": {"network": skip_net(depth, 4)} for depth in (2, 4, 6)},
    **{f"depth 4, skip {skip}": {"network": skip_net(4, skip)} for skip in (0, 128)},
    **{f"depth {depth}, skip 0": {"network": skip_net(depth, 0)} for depth in (2, 6)},
    "1x1 filters only": {"network": pointwise},
    "U-Net": {"network": UNet.Config()},
    "ResNet": {"network": ResNet.Config(), "rate": 0.005},
    "depth 4, skip 4, rate / 10": {"network": skip_net(4, 4), "rate": 0.002},
    "depth 4, skip 4, rate x 5": {"network": skip_net(4, 4), "rate": 0.1},
}


def measure(run: Run, task: str, variant: str):
    """Peak and last PSNR of the average: what could be had, and what over-fitting leaves of it; of a hole inside it."""
    side, inside = SIDE[run.scale], task == "hole"
    clean = run.picture(TASKS[task], side)
    short = min(clean.shape[-2:])
    clean = imaging.resized(imaging.center_window(clean, short, short), side, side)
    known = torch.ones_like(clean)
    known[..., side // 3 : side * 2 // 3, side // 3 : side * 2 // 3] = 0
    noisy = Problem(imaging.with_gaussian_noise(clean, 25 / 255))
    base = replace(recipes()["fast"], code=Noise(32), rate=0.02, restarts=1, stop="steps", steps=STEPS[run.scale])
    fit = fits.fit_of(Problem(clean * known, weight=known) if inside else noisy, replace(base, **VARIANTS[variant]))
    curve = [imaging.dB(step.picture.cpu(), clean, known == 0 if inside else None) for step in fit]
    if inside:
        figures.keep_picture(torch.where(known == 0, fit.run().image, clean), run.figure(variant))
    return {"peak": max(curve), "peak_step": curve.index(max(curve)) + 1, "last": curve[-1], "steps": len(curve)}


def values(run: Run):
    rows = {(row["task"], row["variant"]): row for row in run.rows()}
    shown = {key: [float(row["peak"]), row["peak_step"], float(row["last"])] for key, row in rows.items()}
    lines = [[name, *(cell for task in TASKS for cell in shown.get((task, name), ["", "", ""]))] for name in VARIANTS]
    header = ["network", "denoising: peak", "at step", "last", "hole: peak", "at step", "last"]
    return {"table": tables.markdown(header, lines)}


def cases(run: Run):
    """Without those of smoke runs that have six halvings of a small picture, which leave one pixel."""
    return [(task, name) for task in TASKS for name in VARIANTS if not (run.smoke and name.startswith("depth 6"))]


STUDY = Study(Measured(("task", "variant"), cases, measure), values)
