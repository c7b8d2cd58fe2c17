"""High impedance to noise (Ulyanov et al. 2018, figure 2): the network fits a picture long before it fits noise.

The published network and optimizer, without jitter, are fitted to a picture, the picture plus noise, the picture with its
pixels shuffled, and uniform noise; the loss tells how fast each is taken in.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from preimage.engine.fit import Fit
from preimage.networks import SkipNet
from preimage.problem import Problem
from preimage.restore.denoise import PAPER
from preimage.studies.scales import Study, center_crop, generated_picture, markdown_table, with_gaussian_noise

SIZES = {"smoke": (32, 40), "small": (96, 400), "paper": (512, 2400)}
SEED = 1234


def run(study: Study) -> Path:
    """One fit for each of the four targets, those already in the CSV left out; then the figure and the section."""
    side, steps = SIZES[study.scale]
    recipe = replace(PAPER, jitter=0.0, steps=steps, precision="auto")
    if study.scale == "smoke":
        recipe = replace(recipe, network=SkipNet.Config(down=(16,) * 3, up=(16,) * 3, skip=(4,) * 3))
    for name, target in targets(study, side).items():
        wanted = sorted({1, *range(steps // 40, steps + 1, steps // 40)})
        known = {row["step"] for row in study.rows() if row["target"] == name}
        if known.issuperset(wanted):
            continue
        prior = recipe.prior(target.shape[1], (target.shape[-2], target.shape[-1]))
        losses = Fit(Problem(target), prior, recipe=recipe, restarts=1).run().history["loss"][:, 0]
        for step in (step for step in wanted if step not in known):
            study.keep({"target": name, "step": step, "loss": float(losses[step - 1])})
    figure = draw(study)
    return study.write_section("Impedance to noise", section(study, side, steps, figure))


def targets(study: Study, side: int) -> dict[str, torch.Tensor]:
    """The picture, and three that are ever less like one."""
    if study.scale == "smoke":
        picture = generated_picture(side)
    else:
        picture = center_crop(study.picture("early_stopping/clean/F16.png"), side)
    generator = torch.Generator().manual_seed(SEED)
    order = torch.randperm(side * side, generator=generator)
    return {
        "picture": picture,
        "picture + noise": with_gaussian_noise(picture, 25 / 255, SEED),
        "shuffled pixels": picture.flatten(2)[..., order].reshape(picture.shape),
        "noise": torch.rand(picture.shape, generator=generator),
    }


def section(study: Study, side: int, steps: int, figure: Path) -> str:
    """The loss at a few steps, and how much of the target's variance is explained there."""
    rows = study.rows()
    names = list(dict.fromkeys(row["target"] for row in rows))
    known = sorted({int(row["step"]) for row in rows})
    shown = [step for step in known if step in {known[0], *known[4::9], known[-1]}]
    loss = {(row["target"], int(row["step"])): float(row["loss"]) for row in rows}
    lines = [[name, *(f"{loss[name, step]:.5f}" for step in shown)] for name in names]
    table = markdown_table(["target", *(f"step {step}" for step in shown)], lines)
    return (
        f"Mean squared error of the published network (skip 5x128/4, Adam 0.01, no jitter) on F16 at {side} px over {steps} "
        f"steps, sigma 25, seed {SEED}. Claim of [U]: the picture is fitted first and noise last.\n\n{table}\n\n"
        f"Figure: `{figure.name}`; rows: `{study.table.name}`."
    )


def draw(study: Study) -> Path:
    """The four loss curves, as in the paper's figure."""
    from matplotlib.figure import Figure

    from preimage.figures.restoration import save_figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    rows = study.rows()
    for name in dict.fromkeys(row["target"] for row in rows):
        chosen = [(int(row["step"]), float(row["loss"])) for row in rows if row["target"] == name]
        axes.plot(*zip(*chosen, strict=True), label=name)
    axes.set(xlabel="step", ylabel="mean squared error", xscale="log", title="Impedance to noise")
    axes.legend()
    path = study.figure(f"{study.name}-{study.scale}.png")
    save_figure(figure, path, overwrite=True)
    return path
