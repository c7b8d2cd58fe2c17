"""Gaussian and motion blur with a little noise: this library blind beside Richardson-Lucy, Wiener and total variation."""

from typing import Any

import torch

from preimage.operators import Blur
from preimage.restore.deblur import blur_kernel, deblur
from studies.harness import Measured, Run, Study, figures, fits, imaging, rivals, tables

GAUSSIAN, MOTION, UNKNOWN = "gaussian:1.6", "motion:15,30", "unknown"
PICTURES = ("set12/01", "set12/03", "set12/06", "set12/09")
KERNEL_SIZE, SIGMA, SEED = 15, 0.01, 1234
TITLES = {GAUSSIAN: "Gaussian blur, sigma 1.6 px", MOTION: "Motion blur, 15 px at 30 degrees"}
TITLES |= {UNKNOWN: "Kernel unknown (Gaussian blur, sigma 1.6 px)"}
# The best means of set12/04, 05 and 07, chosen by `python -m benchmarks.rival_settings deblur`.
RL_ITERATIONS, TV_WEIGHT = {GAUSSIAN: 80, MOTION: 35}, {GAUSSIAN: 5e-4, MOTION: 5e-4}
COLUMNS = tables.PICTURE | {"input": "blurred:.2f", "RL": "rl:.2f", "Wiener": "wiener:.2f", "TV": "tv:.2f"}
COLUMNS |= tables.FITTED | {"whole": "whole:.2f"}


def measure(run: Run, blur: str, name: str):
    unknown = blur == UNKNOWN
    kernel, _ = blur_kernel(GAUSSIAN if unknown else blur, KERNEL_SIZE)
    scene = run.picture(f"restoration/{name}.png", 56, 1)
    truth, given = blurred(imaging.center_crop(scene, 256) if run.scale == "small" else scene, kernel)
    beside: dict[str, Any] = {"blurred": given}
    if not unknown:
        beside["rl"] = rivals.richardson_lucy(given, kernel, RL_ITERATIONS[blur])
        beside["wiener"] = rivals.unsupervised_wiener(given, kernel)
    if not unknown and not run.smoke:
        beside["tv"] = lambda: rivals.tv_deconvolution(given, kernel, TV_WEIGHT[blur])
    recipe = fits.named(run.smoke, deblur, 20)
    row, panels, result = fits.beside_rivals(
        lambda: deblur(given, kernel=UNKNOWN if unknown else blur, kernel_size=KERNEL_SIZE, recipe=recipe),
        lambda image: imaging.dB(inner(image, kernel), inner(truth, kernel)),
        beside,
    )
    if unknown:
        kernels = {"true kernel": kernel, "fitted kernel": result.operators[0].kernel.cpu()}
        shown = [(title, figures.kernel_picture(each, KERNEL_SIZE)) for title, each in kernels.items()]
        figures.save_panels([*panels, ("truth", truth), *shown], run.figure("unknown"))
    blank = dict.fromkeys(("rl", "wiener", "tv"), fits.NAN)
    return {"size": imaging.size_of(given)} | blank | row | {"whole": imaging.dB(result.image, truth)}


def blurred(scene: torch.Tensor, kernel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The window of the scene that a camera saw, and its blurred and noisy picture, (b, c, h - kh + 1, w - kw + 1) both."""
    given = Blur(kernel, boundary="valid")(scene)
    return imaging.center_window(scene, *given.shape[-2:]), imaging.with_gaussian_noise(given, SIGMA, SEED)


def inner(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    height, width = (side - n // 2 * 2 for side, n in zip(image.shape[-2:], kernel.shape, strict=True))
    return imaging.center_window(image, height, width)


def aims(blur: str, rows):
    names = {"Richardson-Lucy, mean of {}": "rl", "unsupervised Wiener, mean of {}": "wiener", "TV, mean of {}": "tv"}
    return [] if blur == UNKNOWN else tables.above(rows, names)


def values(run: Run):
    return {"tables": tables.restorations(run.rows(), "blur", TITLES, COLUMNS, None if run.smoke else aims)}


def cases(run: Run):
    pictures = PICTURES[:1] if run.smoke else PICTURES
    return [*((blur, name) for blur in (GAUSSIAN, MOTION) for name in pictures), (UNKNOWN, PICTURES[1])]


STUDY = Study(Measured(("blur", "picture"), cases, measure), values)
