"""Large pictures in tiles: the memory that they need, and whether the seams can be seen.

python -m benchmarks.tiles memory --tiles 2    # 6000 x 4000 pixels, the first 2 tiles, 10 steps each
python -m benchmarks.tiles seams               # kodim01 in tiles that stop at different steps
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from preimage.jobs.report import peak_memory
from preimage.metrics import psnr
from preimage.recipes import recipe
from preimage.restore.denoise import denoise, recipes
from preimage.series.tiles import Tiles
from studies.harness.imaging import center_crop, with_gaussian_noise
from studies.harness.study import Run

TABLE = Path("docs/results/tiles-seams.csv")
STEPS, MOST_STEPS = 10, recipes()["fast"].steps


def generated(height: int, width: int, sigma: float = 25.0) -> NDArray[np.uint8]:
    """A smooth color picture with edges and Gaussian noise, (h, w, 3), made in strips: it must not need the most memory."""
    random = np.random.default_rng(0)
    picture = np.empty((height, width, 3), np.uint8)
    columns = np.arange(width)
    for top in range(0, height, 256):
        rows = np.arange(top, min(top + 256, height))[:, None]
        waves = [
            np.sin(rows / 90 + columns / 70),
            np.sign(np.sin(rows / 210) * np.sin(columns / 170)),
            np.cos(rows / 33),
        ]
        clean = 128 + 60 * np.stack([wave + 0 * columns for wave in waves], -1)
        picture[top : top + 256] = (clean + random.normal(0, sigma, clean.shape)).clip(0, 255)
    return picture


def memory(width: int, height: int, side: int | None, most: int | None) -> None:
    """Peak resident memory of this process, and the time that the whole would take."""
    begin = time.perf_counter()
    run = denoise(generated(height, width), recipe=recipe("fast", steps=STEPS), tile=side or "auto", device="cpu")
    print(*run.remarks, sep="\n")
    if not isinstance(run, Tiles):
        raise SystemExit("the picture fits into memory whole: give --tile SIDE")
    preparing = time.perf_counter() - begin
    processor = time.process_time()
    before = peak_memory("cpu")
    wanted = min(most or len(run.order), len(run.order))
    for step in run:
        print(f"step {step.index}, {step.status}, {step.seconds:.0f} s", flush=True)
        if step.index == wanted * STEPS:
            break
    result = run.result()
    a_step = (time.process_time() - processor) / torch.get_num_threads() / (wanted * STEPS)  # as on an idle machine
    print(f"{width} x {height} pixels: {wanted} of {len(run.order)} tiles of {run.side} pixels, {STEPS} steps each")
    print(f"peak resident memory {peak_memory('cpu') / 1e9:.2f} GB, {before / 1e9:.2f} GB before the first step")
    print(
        f"{preparing:.0f} s to decide and {result.seconds:.0f} s of steps, {result.precision}, {result.threads} threads"
    )
    print(f"{a_step:.2f} s of processor time and thread for each step")
    hours = a_step * len(run.order) / 3600
    print(f"projected for all tiles: {100 * hours:.1f} h for every 100 steps, at most {MOST_STEPS * hours:.1f} h")


def seams(steps: int, side: int, crop: int | None) -> None:
    """One row: mean absolute gradient across the seams over that elsewhere, of the result and of the clean picture."""
    study = Run("tiles", "small")
    clean = study.picture("early_stopping/clean/kodim01.png")
    clean = clean if crop is None else center_crop(clean, crop)
    noisy = with_gaussian_noise(clean, 25 / 255, 0)
    run = denoise(noisy, noise="gaussian", sigma=25 / 255, tile=side, restarts=1, recipe=recipe("fast", steps=steps))
    assert isinstance(run, Tiles)
    for step in run:
        if step.index % 20 == 0:
            print(f"step {step.index}, {step.status}, {step.seconds:.0f} s", flush=True)
    result = run.result()
    row = {
        "picture": "kodim01",
        "size": "{3} x {2}".format(*clean.shape),
        "side": run.side,
        "overlap": run.overlap,
        "tiles": len(run.places),
        "kept_steps": " ".join(map(str, result.kept_step)),
        "psnr": f"{float(psnr(result.image.clamp(0, 1), clean)):.2f}",
        "seams": f"{seam_ratio(result.image, run):.4f}",
        "seams_clean": f"{seam_ratio(clean, run):.4f}",
        "seconds": f"{result.seconds:.0f}",
        "threads": result.threads,
    }
    new = not TABLE.exists()
    with TABLE.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)
    print(row)


def seam_ratio(image: torch.Tensor, run: Tiles) -> float:
    """Mean |difference| of neighbors across a seam, over that of all others.

    A seam is where a tile begins or ends, and the middle between these, where both count alike.
    """
    across, elsewhere = [], []
    for axis, dimension in zip(run.axes, (-2, -1), strict=True):
        gradient = image.diff(dim=dimension).abs().movedim(dimension, 0).flatten(1).mean(1)
        found = torch.zeros(len(gradient), dtype=torch.bool)
        for (_, stop), (start, _) in zip(axis.spans, axis.spans[1:], strict=False):
            for place in (start, (start + stop) // 2, stop):
                found[place - 1] = True  # between this pixel and the one before
        across.append(gradient[found])
        elsewhere.append(gradient[~found])
    return float(torch.cat(across).mean() / torch.cat(elsewhere).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["memory", "seams"])
    parser.add_argument("--tiles", type=int, help="only the first so many, memory")
    parser.add_argument("--tile", type=int, help="side; by default what auto takes for memory, 256 for seams")
    parser.add_argument("--size", type=int, nargs=2, default=(6000, 4000), help="width and height, memory")
    parser.add_argument("--steps", type=int, default=MOST_STEPS, help="at most, seams")
    parser.add_argument("--crop", type=int, help="side of the middle that is taken, seams")
    given = parser.parse_args()
    if given.what == "memory":
        width, height = given.size
        memory(width, height, given.tile, given.tiles)
    else:
        seams(given.steps, given.tile or 256, given.crop)


if __name__ == "__main__":
    main()
