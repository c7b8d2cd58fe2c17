"""PSNR against steps of the published denoising setting, float32, on F16 reduced to 256 pixels: is it the paper's?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from preimage.engine.checkpoint import load
from preimage.metrics import psnr
from preimage.networks import SkipNet
from preimage.observe import autosave
from preimage.restore.denoise import PAPER, denoise
from preimage.studies.scales import Study, generated_picture, markdown_table, with_gaussian_noise

# The authors' code run as it is, same noisy picture, average 0.99 (float32; the peak at 1500).
PUBLISHED = {250: 22.38, 500: 26.05, 750: 28.10, 950: 29.47, 1200: 30.29, 1350: 30.49, 1450: 30.54, 1500: 30.55}
EVERY = 50
SEED = 1234


def run(study: Study) -> Path:
    """The curve at every 50th step, resumable; then the section of results.md."""
    smoke = study.scale == "smoke"
    clean = generated_picture(32) if smoke else reduced(study.picture("dip_paper/denoising/F16_GT.png"), 256)
    noisy = with_gaussian_noise(clean, 25 / 255, SEED)
    recipe = replace(PAPER, steps=1600)
    if smoke:
        recipe = replace(PAPER, network=SkipNet.Config(down=(8,) * 2, up=(8,) * 2, skip=(4,) * 2), steps=100)
    fit = denoise(noisy, noise="gaussian", sigma=25 / 255, recipe=recipe)
    checkpoint = study.figure(f"{study.name}-{study.scale}.checkpoint")
    if checkpoint.exists():
        load(fit, checkpoint)
    for step in autosave(fit, checkpoint, every=EVERY):
        known = {row["step"] for row in study.rows()} if step.index % EVERY == 0 else {step.index}
        if step.index not in known:
            row = {"step": step.index, "average": float(psnr(step.average, clean)), "loss": float(step.loss)}
            study.keep(row | {"output": float(psnr(step.image, clean)), "seconds": step.seconds})
    checkpoint.unlink(missing_ok=True)
    return study.write_section("The published setting", section(study))


def section(study: Study) -> str:
    """Ours beside the published curve."""
    curve = {int(row["step"]): float(row["average"]) for row in study.rows()}
    peak = max(curve, key=lambda step: curve[step])
    lines = [
        [step, published, curve[step], curve[step] - published]
        for step, published in PUBLISHED.items()
        if step in curve
    ]
    gap = max((abs(line[3]) for line in lines), default=float("nan"))
    return (
        "`paper` recipe, float32, F16_GT reduced to 256 x 256 (Lanczos), sigma 25 by torch seed 1234; exponential average "
        f"0.99, every {EVERY}th step in `{study.table.name}`.\n\n"
        f"{markdown_table(['step', 'published code, dB', 'this library, dB', 'difference'], lines)}\n\n"
        f"Oracle peak {curve[peak]:.2f} dB at step {peak} (target 30.4 or more; published code 30.55 at 1500); largest "
        f"distance from the published curve {gap:.2f} dB (target 0.5)."
    )


def reduced(picture: torch.Tensor, side: int) -> torch.Tensor:
    """A picture reduced to side x side by Pillow's Lanczos filter, in 8 bits as the published code does."""
    import numpy as np
    from PIL import Image

    eight_bit = (picture[0] * 255).round().byte().movedim(0, -1).numpy()
    small = np.asarray(Image.fromarray(eight_bit).resize((side, side), Image.Resampling.LANCZOS), np.float32) / 255
    return torch.tensor(small).movedim(-1, 0)[None]
