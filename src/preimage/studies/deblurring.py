"""Deblurring: a Gaussian and a motion blur with a little noise; this library blind beside three that know the same kernel.

The given picture is a window of the scene, made by "valid" convolution, so that light from beyond its edge is in it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch

from preimage.engine.result import Result
from preimage.errors import MissingExtra
from preimage.operators import Blur
from preimage.restore.deblur import FAST, blur_kernel, deblur
from preimage.studies.crops import center_multiple, center_window
from preimage.studies.panels import kernel_picture, save_panels, titled
from preimage.studies.peaks import blind_beside_peak, dB, size_of
from preimage.studies.rivals import richardson_lucy, tv_deconvolution, unsupervised_wiener
from preimage.studies.scales import Row, Study, generated_picture, with_gaussian_noise
from preimage.studies.tables import FITTED, Target, mean, rows_table, verdict

GAUSSIAN, MOTION = "gaussian:1.6", "motion:15,30"
UNKNOWN = "unknown"
PICTURES = ("set12/01", "set12/03", "set12/06", "set12/09")
BLIND_PICTURE, BLIND_BLUR = "set12/03", GAUSSIAN  # whose kernel is fitted as well
KERNEL_SIZE = 15
SIGMA = 0.01
SEED = 1234
TITLES = {
    GAUSSIAN: "Gaussian blur, sigma 1.6 px",
    MOTION: "Motion blur, 15 px at 30 degrees",
    UNKNOWN: "Kernel unknown (Gaussian blur, sigma 1.6 px)",
}

# The best means of set12/04, 05 and 07, chosen by `python -m preimage.studies.rival_settings deblur`.
RL_ITERATIONS = {GAUSSIAN: 80, MOTION: 35}
TV_WEIGHT = {GAUSSIAN: 5e-4, MOTION: 5e-4}


def run(study: Study) -> Path:
    """Every picture under each blur, those already in the CSV left out; one with its kernel unknown; then the section."""
    cases = [(blur, name) for blur in (GAUSSIAN, MOTION) for name in PICTURES]
    if study.scale == "smoke":
        cases = [(GAUSSIAN, PICTURES[0]), (MOTION, PICTURES[0])]
    for blur, name in [*cases, (UNKNOWN, BLIND_PICTURE)]:
        if not any((row["blur"], row["picture"]) == (blur, name) for row in study.rows()):
            measure(study, blur, name)
    return study.write_section("Deblurring", section(study))


def measure(study: Study, blur: str, name: str) -> None:
    """Add one row: the rivals, then this library. dB are those of the part that no rival's guess of the border reaches."""
    smoke, unknown = study.scale == "smoke", blur == UNKNOWN
    kernel, _ = blur_kernel(BLIND_BLUR if unknown else blur, KERNEL_SIZE)
    truth, given = seen(specimen(study, name), kernel)

    def score(image: torch.Tensor) -> float:
        return dB(inner(image, kernel), inner(truth, kernel))

    row: Row = {"blur": blur, "picture": name, "size": size_of(given), "blurred": score(given)}
    row |= dict.fromkeys(("rl", "wiener", "tv"), float("nan"))
    if not unknown:
        row["rl"] = score(richardson_lucy(given, kernel, RL_ITERATIONS[blur]))
        row["wiener"] = score(unsupervised_wiener(given, kernel))
        row["tv"] = float("nan") if smoke else score_of_tv(given, kernel, TV_WEIGHT[blur], score)
    recipe = replace(FAST, steps=20) if smoke else FAST
    result, fitted = blind_beside_peak(
        lambda: deblur(given, kernel="unknown" if unknown else blur, kernel_size=KERNEL_SIZE, recipe=recipe), score
    )
    if unknown:
        draw(study, result, given, truth, kernel, (row["blurred"], fitted["blind"]))
    study.keep(row | fitted | {"whole": dB(result.image, truth)})


def specimen(study: Study, name: str) -> torch.Tensor:
    """The scene: central crops of 256 x 256 at most, or a generated picture."""
    if study.scale == "smoke":
        return generated_picture(56, channels=1)
    picture = study.picture(f"restoration/{name}.png")
    return center_multiple(picture, 256, 1) if study.scale == "small" else picture


def seen(scene: torch.Tensor, kernel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The window of the scene that a camera saw, and its blurred and noisy picture, (b, c, h - kh + 1, w - kw + 1) both."""
    blurred = Blur(kernel, boundary="valid")(scene)
    truth = center_window(scene, blurred.shape[-2], blurred.shape[-1])
    return truth, with_gaussian_noise(blurred, SIGMA, SEED)


def inner(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """What lies further from the border than the kernel reaches."""
    height, width = (side - n // 2 * 2 for side, n in zip(image.shape[-2:], kernel.shape, strict=True))
    return center_window(image, height, width)


def score_of_tv(
    given: torch.Tensor, kernel: torch.Tensor, weight: float, score: Callable[[torch.Tensor], float]
) -> float:
    """dB of deepinv's total variation; NaN where deepinv is not installed."""
    try:
        return score(tv_deconvolution(given, kernel, weight))
    except MissingExtra as error:
        print(f"deblurring: {error}; the column TV stays empty", file=sys.stderr)
        return float("nan")


def draw(
    study: Study,
    result: Result,
    given: torch.Tensor,
    truth: torch.Tensor,
    kernel: torch.Tensor,
    decibels: tuple[float, float],
) -> None:
    """Given, ours and the truth; the true kernel and the fitted one."""
    fitted = cast("Blur", result.operators[0]).kernel
    panels = [
        (titled("given", decibels[0]), given),
        (titled("ours, kernel unknown", decibels[1]), result.image),
        ("truth", truth),
        ("true kernel", kernel_picture(kernel, KERNEL_SIZE)),
        ("fitted kernel", kernel_picture(fitted, KERNEL_SIZE)),
    ]
    save_panels(panels, study.figure(f"{study.name}-unknown.png"))


def section(study: Study) -> str:
    """A table for each blur, and the targets."""
    cut = {
        "smoke": "A generated picture of 56 x 56.",
        "small": "Central crops of 256 x 256 of set12, grey.",
        "paper": "set12, whole, grey.",
    }[study.scale]
    parts = [
        f"{cut} Blurred by valid convolution, which leaves the sizes below, plus noise of sigma {SIGMA} (torch seed {SEED}). "
        "PSNR of what lies further from the border than the kernel reaches, since rivals know no boundary; *whole* is "
        "ours of all that was given. Kernel told, noise not; fast recipe, seed 0. Richardson-Lucy "
        f"({RL_ITERATIONS[GAUSSIAN]} and {RL_ITERATIONS[MOTION]} iterations, the picture mirrored beyond its edge) and "
        "unsupervised Wiener (edges tapered): scikit-image; TV: deepinv, FISTA and valid convolution, weight "
        f"{TV_WEIGHT[GAUSSIAN]:g} and {TV_WEIGHT[MOTION]:g}; settings chosen on set12/04, 05 and 07. "
        f"Figure: `{study.name}-unknown.png`; rows: `{study.table.name}`."
    ]
    columns = {"picture": "picture", "size": "size", "given": "blurred", "RL": "rl", "Wiener": "wiener", "TV": "tv"}
    columns |= FITTED | {"whole": "whole"}
    decibels = ("blurred", "rl", "wiener", "tv", "blind", "peak", "whole")
    for blur, title in TITLES.items():
        rows = [row for row in study.rows() if row["blur"] == blur]
        if rows:
            parts.append(f"### {title}\n\n{rows_table(rows, columns, decibels)}")
        if rows and blur != UNKNOWN and study.scale != "smoke":
            parts.append(verdict(targets(rows)))
    return "\n\n".join(parts)


def targets(rows: list[Row]) -> list[Target]:
    """What was aimed at under one blur, of means."""
    blind = mean(rows, "blind")
    rivals = {"Richardson-Lucy": "rl", "unsupervised Wiener": "wiener", "TV": "tv"}
    aims = [
        Target(f"blind above {name}, mean of {len(rows)}", blind - mean(rows, key), 0.0) for name, key in rivals.items()
    ]
    return [*aims, Target("blind below its peak, mean", mean(rows, "peak") - blind, 0.3, at_most=True)]
