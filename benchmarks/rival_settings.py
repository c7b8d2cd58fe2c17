"""How the rivals' settings were chosen: the best mean on pictures that no study reports.

python -m benchmarks.rival_settings deblur
python -m benchmarks.rival_settings enlarge
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence

import torch

from preimage.operators import Downsample, lanczos2
from preimage.restore.deblur import blur_kernel
from studies import deblurring, super_resolution
from studies.harness.imaging import center_crop, dB, eight_bit
from studies.harness.rivals import richardson_lucy, tv_deconvolution
from studies.harness.study import Run

BLURRED = ("04", "05", "07")
ENLARGED = ("pepper", "coastguard", "foreman")
ITERATIONS = (20, 30, 35, 40, 60, 80, 100, 120)
TV_DEBLURRING = (3e-4, 5e-4, 7e-4, 1e-3)
TV_ENLARGING = (5e-8, 1e-7, 2e-7, 4e-7)


def deblur(run: Run) -> None:
    """Richardson-Lucy's iterations and deepinv's weight, for each blur."""
    scenes = [run.picture(f"restoration/set12/{name}.png") for name in BLURRED]
    for blur in (deblurring.GAUSSIAN, deblurring.MOTION):
        of_blur(blur, scenes)


def of_blur(blur: str, scenes: list[torch.Tensor]) -> None:
    """Both rivals on the same scenes under one blur, measured as in the study."""
    kernel, _ = blur_kernel(blur, deblurring.KERNEL_SIZE)
    pairs = [deblurring.blurred(scene, kernel) for scene in scenes]

    def rl(iterations: float) -> list[float]:
        return [score(richardson_lucy(given, kernel, int(iterations)), truth) for truth, given in pairs]

    def tv(weight: float) -> list[float]:
        return [score(tv_deconvolution(given, kernel, weight), truth) for truth, given in pairs]

    def score(image: torch.Tensor, truth: torch.Tensor) -> float:
        return dB(deblurring.inner(image, kernel), deblurring.inner(truth, kernel))

    report(f"Richardson-Lucy, {blur}", rl, ITERATIONS)
    report(f"TV, {blur}", tv, TV_DEBLURRING)


def enlarge(run: Run) -> None:
    """The weight of total variation, for each factor."""
    pictures = [run.picture(f"restoration/set14/{name}.png") for name in ENLARGED]
    crops = [center_crop(picture, 256, super_resolution.MULTIPLE) for picture in pictures]
    for factor in super_resolution.FACTORS:
        of_factor(factor, crops)


def of_factor(factor: int, crops: list[torch.Tensor]) -> None:
    """Total variation on the same pictures made small by one factor, measured as in the study."""
    small = [eight_bit(Downsample(lanczos2(factor), factor)(crop)) for crop in crops]

    def tv(weight: float) -> list[float]:
        results = [super_resolution.tv_enlarged(each, factor, weight=weight) for each in small]
        return [super_resolution.luma_psnr(*pair, factor) for pair in zip(results, crops, strict=True)]

    report(f"TV, x{factor}", tv, TV_ENLARGING)


def report(name: str, measure: Callable[[float], Sequence[float]], options: Sequence[float]) -> None:
    """Print dB of each picture and their mean, for each option."""
    for option in options:
        values = measure(option)
        each = " ".join(f"{value:.2f}" for value in values)
        print(f"{name}: {option:g}: {each}, mean {statistics.fmean(values):.3f}", flush=True)


if __name__ == "__main__":
    {"deblur": deblur, "enlarge": enlarge}[sys.argv[1]](Run("rival_settings", "small"))
