"""How fast a picture, a noisy one, a shuffled one and noise are fitted (Ulyanov et al. 2018, figure 2)."""

from dataclasses import replace

import torch

from preimage.problem import Problem
from preimage.restore.denoise import recipes
from studies.harness import Measured, Run, Study, by_scale, figures, fits, has_all, imaging, tables

SIDE, STEPS, SEED = by_scale(32, 96, 512), by_scale(40, 400, 2400), 1234
TARGETS: tuple[str, ...] = ("picture", "picture + noise", "shuffled pixels", "noise")


def measure(run: Run, name: str):
    steps = STEPS[run.scale]
    recipe = replace(recipes()["paper"], jitter=0.0, steps=steps, precision="auto")
    fit = fits.fit_of(Problem(target(run, name)), fits.quick(run.smoke, recipe, steps, 16))
    losses = fit.run().history["loss"][:, 0]
    return [{"step": step, "loss": float(losses[step - 1])} for step in looks(run)]


def looks(run: Run) -> list[int]:
    steps = STEPS[run.scale]
    return sorted({1, *range(steps // 40, steps + 1, steps // 40)})


def target(run: Run, name: str) -> torch.Tensor:
    side, generator = SIDE[run.scale], torch.Generator().manual_seed(SEED)
    picture = imaging.center_crop(run.picture("early_stopping/clean/F16.png", side), side)
    shuffled = picture.flatten(2)[..., torch.randperm(side * side, generator=generator)].reshape(picture.shape)
    noisy, noise = imaging.with_gaussian_noise(picture, 25 / 255, SEED), torch.rand(picture.shape, generator=generator)
    return dict(zip(TARGETS, (picture, noisy, shuffled, noise), strict=True))[name]


def losses_of(run: Run) -> dict[str, dict[int, float]]:
    return {name: {r["step"]: r["loss"] for r in own} for name, own in tables.grouped(run.rows(), "target").items()}


def values(run: Run):
    losses = losses_of(run)
    known = sorted(losses[TARGETS[0]])
    shown = [step for step in known if step in {known[0], *known[4::9], known[-1]}]
    lines = [[name, *(f"{own[step]:.5f}" for step in shown)] for name, own in losses.items()]
    return {"table": tables.markdown(["target", *(f"step {step}" for step in shown)], lines)}


def draw(run: Run):
    lines = [(name, list(own), list(own.values())) for name, own in losses_of(run).items()]
    figures.save_curves({"Impedance to noise": lines}, run.figure("losses"), "mean squared error", xscale="log")


STUDY = Study(Measured(("target", "step"), TARGETS, measure, has_all("step", looks)), values, draw)
