"""Which outputs of a fit are kept of a camera's noise, and of which size: gains in dB on the tuned photographs.

python -m benchmarks.camera_noise cc             # one fit of each picture at its own size, 320 steps
python -m benchmarks.camera_noise polyu --half   # at half its width and height, 240 steps

For each pair of steps: the late average; the blend of it; the early one where it is settled and the late one elsewhere; what is
returned of that.
Rows are kept as they come in docs/results/camera_noise-steps.csv.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from preimage.engine.fit import Fit
from preimage.images import as_picture
from preimage.noise.blend import blend, early_where_settled
from preimage.noise.camera import estimate_camera_noise
from preimage.noise.returned import Returned
from preimage.restore.camera_noise import camera_problem
from preimage.restore.denoise import from_noise, recipes
from preimage.restore.recipes import NEAREST
from preimage.stopping.residual import SETTLED
from studies.camera_noise import pair, tuned
from studies.harness.imaging import dB
from studies.harness.study import Run

TABLE = Path("docs/results/camera_noise-steps.csv")
COLUMNS: tuple[str, ...] = (
    "set",
    "picture",
    "size",
    "early",
    "late",
    "noisy",
    "fit",
    "blend",
    "settled",
    "returned",
    "deviation",
    "measured",
)
PAIRS = ((100, 140), (140, 200), (160, 240), (200, 280), (220, 320))


def averages(given: Tensor, half: bool) -> dict[int, Tensor]:
    """The averages of one fit after every twentieth step."""
    shrink = 2 if half else 1
    problem = camera_problem(as_picture(given), Returned(given), shrink)
    steps = PAIRS[2 if half else -1][1]
    recipe = replace(from_noise(recipes()["fast"]), restarts=1, network=NEAREST, steps=steps, stop="steps")
    height, width = problem.target.shape[-2:]
    fit = Fit(problem, recipe.prior(given.shape[1], (height, width)), recipe=recipe)
    return {step.index: step.average.clone() for step in fit if step.index % 20 == 0}


def gains(given: Tensor, clean: Tensor, half: bool) -> Iterator[dict[str, Any]]:
    """A row for each pair of steps."""
    found, target = averages(given, half), given
    if half:
        target = F.interpolate(given, scale_factor=0.5, mode="area")
    noisy = dB(given, clean)

    def gain(image: Tensor) -> float:
        whole = F.interpolate(image, size=given.shape[-2:], mode="bicubic") if image.shape != given.shape else image
        return dB(whole.clamp(0, 1), clean) - noisy

    for first, last in PAIRS:
        if last not in found:
            continue
        early, late = found[first], found[last]
        noise = estimate_camera_noise(target, early)
        kept = late if noise is None else early_where_settled(target, early, late, noise, settled=SETTLED)
        left = estimate_camera_noise(target, late)
        row = {"early": first, "late": last, "noisy": noisy, "fit": gain(late)}
        row["blend"] = gain(late if left is None else blend(target, late, left))
        row |= {"settled": gain(kept), "returned": gain(Returned(given, sigma=None)(kept))}
        whole = F.interpolate(kept, size=given.shape[-2:], mode="bicubic") if half else kept
        measured = estimate_camera_noise(given, whole)
        row["measured"] = 0.0 if measured is None else 255 * measured.sigma(given)
        yield row | {"deviation": 255 * float((given - clean).square().mean().sqrt())}


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.camera_noise", description=__doc__)
    parser.add_argument("set", choices=["cc", "polyu"])
    parser.add_argument("--half", action="store_true", help="fit at half the width and height")
    options = parser.parse_args()
    run = Run("camera_noise", "small", None, None)
    begun = TABLE.exists()
    with TABLE.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if not begun:
            writer.writeheader()
        for name in tuned(run)[options.set]:
            given, clean = pair(run, f"{options.set}-tuned", name)
            for row in gains(given, clean, options.half):
                shown: dict[str, Any] = {
                    key: f"{value:.2f}" if isinstance(value, float) else value for key, value in row.items()
                }
                shown |= {"set": options.set, "picture": name, "size": "half" if options.half else "whole"}
                writer.writerow(shown)
                file.flush()
                print(shown, flush=True)


if __name__ == "__main__":
    main()
