"""How many steps the published settings need: PSNR against steps, per picture, resumable; these are hours.

python -m benchmarks.published                    # all cases, those that are whole already left out
python -m benchmarks.published denoise/F16        # one case

Fits are in bf16 (where the processor has it), whose steps stand for float32's by the factor measured on F16. Rows go to
docs/results/published_curves.csv as they come, a checkpoint of the case in hand to out/. A case ends once the averaged
output is PAST dB below its best, or its best is as old as SLACK times the step it came at, or its recipe's steps are done.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from preimage.engine.checkpoint import load, save
from preimage.engine.fit import Fit
from preimage.engine.run import Run
from preimage.operators import Downsample, lanczos2
from preimage.recipes import Quality
from preimage.restore import denoise as denoising
from preimage.restore import inpaint as inpainting
from preimage.restore import super_resolve as enlarging
from preimage.stopping import After
from studies import denoising as noise_study
from studies import inpainting as gap_study
from studies import super_resolution as size_study
from studies.harness import study
from studies.harness.imaging import center_crop, dB, eight_bit, with_gaussian_noise

TABLE = Path("docs/results/published_curves.csv")
EVERY = 10
SAVE_EVERY = 100
PAST, SLACK = 0.1, 1.35
# MEASURED on F16 at 256 px: steps to the peak minus 0.1 dB, in float32 over in bf16.
BF16_STEPS = 1310 / 1400

# Of the published settings, by the first part of a case's name.
STEPS = {
    "denoise": denoising.recipes()["paper"].steps,
    "denoise_512": denoising.recipes()["paper"].steps,
    "super_resolve_x4": enlarging.recipes()["paper"].steps,
    "inpaint_50": inpainting.paper_recipes()["scattered"].steps,
}

Score = Callable[[torch.Tensor], float]


@dataclass(frozen=True)
class Case:
    """One damaged picture: the published fit of it, this library's, and how a picture is held against the truth."""

    published: Callable[[], Any]  # a Fit, for none of these pictures is cut into tiles
    ours: Callable[[Quality], Run]
    score: Score
    size: tuple[int, int]


def cases() -> dict[str, Callable[[], Case]]:
    """Name -> the case, the most wanted first."""
    wanted: dict[str, Callable[[], Case]] = {}
    for name in noise_study.PICTURES:
        wanted[f"denoise/{name}"] = partial(denoised, name, 256)
    for name in size_study.SET5:
        wanted[f"super_resolve_x4/{name}"] = partial(enlarged, name)
    for name in ("house", "barbara"):
        wanted[f"inpaint_50/{name}"] = partial(filled, name)
    wanted["denoise_512/F16"] = partial(denoised, "F16", 512)
    return wanted


def denoised(name: str, side: int) -> Case:
    clean = center_crop(study.Run("published", "small").picture(f"early_stopping/clean/{name}.png"), side)
    noisy = with_gaussian_noise(clean, 25 / 255, noise_study.SEED)
    recipe = replace(denoising.recipes()["paper"], precision="bfloat16")
    return Case(
        lambda: denoising.denoise(noisy, noise="gaussian", sigma=25 / 255, recipe=recipe, stop=After()),
        lambda quality: denoising.denoise(noisy, recipe=quality),
        lambda image: dB(image, clean),
        (side, side),
    )


def enlarged(name: str) -> Case:
    clean = size_study.specimen(study.Run("published", "small"), 4, name)
    small = eight_bit(Downsample(lanczos2(4), 4)(clean))
    recipe = replace(enlarging.recipes()["paper"], precision="bfloat16", averaging=0.99, debiased=False)
    return Case(
        lambda: enlarging.super_resolve(small, factor=4, recipe=recipe, stop=After()),
        lambda quality: enlarging.super_resolve(small, factor=4, recipe=quality),
        lambda image: size_study.luma_psnr(image, clean, 4),
        (clean.shape[-2], clean.shape[-1]),
    )


def filled(name: str) -> Case:
    whole, known = gap_study.specimen(study.Run("published", "small"), gap_study.HALF, name)
    given = torch.where(known, whole, torch.zeros(()))
    recipe = replace(inpainting.paper_recipes()["scattered"], precision="bfloat16", averaging=0.99, debiased=False)

    def ours(quality: Quality) -> Run:
        return inpainting.inpaint(given, mask=known.float(), mask_white="valid", recipe=quality)

    return Case(
        lambda: inpainting.inpaint(
            given, mask=known.float(), mask_white="valid", gap="scattered", recipe=recipe, stop=After()
        ),
        ours,
        lambda image: dB(image, whole),
        (whole.shape[-2], whole.shape[-1]),
    )


def curves() -> dict[str, dict[int, float]]:
    """case -> step -> dB of the averaged output, of all rows known so far."""
    if not TABLE.exists():
        return {}
    known: dict[str, dict[int, float]] = {}
    with TABLE.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            known.setdefault(row["case"], {})[int(row["step"])] = float(row["average"])
    return known


def is_whole(curve: dict[int, float], steps: int) -> bool:
    """Whether the peak is behind: no more steps would tell more."""
    if not curve:
        return False
    last, peak_step = max(curve), max(curve, key=lambda step: curve[step])
    past = curve[last] < curve[peak_step] - PAST and last > 1.1 * peak_step
    return past or last >= SLACK * peak_step + 100 or last >= steps


def steps_to_peak(curve: dict[int, float], below: float = 0.1) -> tuple[int, float]:
    """(step, dB): the first step whose averaged output is within `below` dB of the oracle peak, in bf16 steps."""
    wanted = max(curve.values()) - below
    return next(step for step in sorted(curve) if curve[step] >= wanted), wanted


def measure(name: str, make: Callable[[], Case]) -> None:
    """Go on with one case until it is whole."""
    case = make()
    fit = case.published()
    if is_whole(curves().get(name, {}), fit.recipe.steps):
        return
    checkpoint = Path("out") / f"published-{name.replace('/', '-')}.checkpoint"
    checkpoint.parent.mkdir(exist_ok=True)
    if checkpoint.exists():
        load(fit, checkpoint)
    curve = curves().get(name, {})
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    new = not TABLE.exists()
    with TABLE.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(["case", "step", "average", "output", "seconds"])
        for step in fit:
            if step.index % EVERY == 0 and step.index not in curve:
                average, output = case.score(step.picture), case.score(finished(fit, step.image))
                curve[step.index] = average
                writer.writerow([name, step.index, f"{average:.4f}", f"{output:.4f}", f"{step.seconds:.1f}"])
                file.flush()
                os.fsync(file.fileno())
            if step.index % SAVE_EVERY == 0:
                save(fit, checkpoint)
                print(f"{name}: step {step.index}, {curve[step.index]:.2f} dB", file=sys.stderr, flush=True)
            if is_whole(curve, fit.recipe.steps):
                break
    checkpoint.unlink(missing_ok=True)


def finished(fit: Fit, image: torch.Tensor) -> torch.Tensor:
    """An output as it would be handed out."""
    return image if fit.problem.finish is None else fit.problem.finish(image)


def main() -> None:
    wanted = cases()
    for name in sys.argv[1:] or wanted:
        measure(name, wanted[name])


if __name__ == "__main__":
    main()
