"""PSNR against seconds on one machine: the published setting, this library's fast and best, and the rivals; sigma 25.

python -m benchmarks.race                # F16, Baboon, House: all of it, about half an hour on two cores
python -m benchmarks.race F16            # one picture

Rows go to docs/results/psnr_seconds.csv; a method that is in there for a picture is left out. The published setting's
curve is that of docs/results/published_curves.csv, its steps times the median step of examples/tiny.py timed here.
"""

from __future__ import annotations

import csv
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks.published import BF16_STEPS, curves
from benchmarks.speed import PLAIN_STEPS
from benchmarks.step import WARM_UP, plain_steps
from benchmarks.zero_shot import STEPS, zero_shot_noise2noise
from preimage.recipes import Quality
from preimage.restore.denoise import denoise
from studies.denoising import KINDS, SIDE, specimen
from studies.harness.imaging import dB
from studies.harness.rivals import bm3d_oracle_sigma, non_local_means
from studies.harness.study import Run

TABLE = Path("docs/results/psnr_seconds.csv")
HEADER = ("picture", "method", "seconds", "psnr", "step", "threads")
PICTURES = ("F16", "Baboon", "House")

Point = tuple[float, float, int]  # seconds, dB, step


def blind(noisy: torch.Tensor, clean: torch.Tensor, quality: Quality) -> Iterator[Point]:
    """What would be handed out, every few steps; last the result, when the run says it is done."""
    run = denoise(noisy, recipe=quality)
    for step in run:
        if step.index % 5 == 0:
            yield step.seconds, dB(step.picture, clean), step.index
    result = run.result()
    yield result.seconds, dB(result.image, clean), result.steps


def published(name: str) -> Iterator[Point]:
    curve = curves().get(f"denoise/{name}", {})
    if not curve:
        sys.exit(f"no published curve of {name} is known: python -m benchmarks.published denoise/{name} (hours)")
    plain = statistics.median(plain_steps(SIDE["small"], SIDE["small"], PLAIN_STEPS)[WARM_UP:])
    for step, value in sorted(curve.items()):
        yield step * BF16_STEPS * plain, value, round(step * BF16_STEPS)


def zero_shot(noisy: torch.Tensor, clean: torch.Tensor) -> Iterator[Point]:
    for step, (seconds, image) in enumerate(zero_shot_noise2noise(noisy), 1):
        if step % 50 == 0 or step == STEPS:
            yield seconds, dB(image, clean), step


def at_once(make: Callable[[torch.Tensor], torch.Tensor], noisy: torch.Tensor, clean: torch.Tensor) -> Iterator[Point]:
    begin = time.perf_counter()
    image = make(noisy)
    yield time.perf_counter() - begin, dB(image, clean), 1


def race(name: str) -> None:
    """Every method on one picture, one after another with the machine to itself."""
    clean, noisy = specimen(Run("race", "small"), KINDS[0], name)
    sigma = float((noisy - clean).square().mean().sqrt())
    methods: dict[str, Callable[[], Iterator[Point]]] = {
        "published": lambda: published(name),
        "fast": lambda: blind(noisy, clean, "fast"),
        "best": lambda: blind(noisy, clean, "best"),
        "Zero-Shot Noise2Noise": lambda: zero_shot(noisy, clean),
        "NLM": lambda: at_once(non_local_means, noisy, clean),
        "CBM3D, oracle sigma": lambda: at_once(lambda image: bm3d_oracle_sigma(image, sigma), noisy, clean),
    }
    known = set()
    if TABLE.exists():
        with TABLE.open(newline="", encoding="utf-8") as file:
            known = {(row["picture"], row["method"]) for row in csv.DictReader(file)}
    for method, run in methods.items():
        if (name, method) in known:
            continue
        points = list(run())  # written once whole, so that no half of a curve stays
        new = not TABLE.exists()
        with TABLE.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow(HEADER)
            for seconds, psnr, step in points:
                writer.writerow([name, method, f"{seconds:.2f}", f"{psnr:.3f}", step, torch.get_num_threads()])
        print(f"{name}, {method}: {points[-1][1]:.2f} dB after {points[-1][0]:.1f} s", flush=True)


def main() -> None:
    for name in sys.argv[1:] or PICTURES:
        race(name)


if __name__ == "__main__":
    main()
