"""Large pictures in tiles: the memory that they need, whether the seams can be seen, and what handing weights on gains.

python -m benchmarks.tiles memory --tiles 2    # 6000 x 4000 pixels, the first 2 tiles, 10 steps each
python -m benchmarks.tiles seams               # kodim01 in tiles that stop at different steps
python -m benchmarks.tiles large               # four pictures of 2 megapixels, tiles handed on and of their own (hours)
python -m benchmarks.tiles large --size 4000 3000 --ways handed-on --pictures 1
python -m benchmarks.tiles large --size 4000 3000 --ways camera --pictures 1      # the photographs of CC side by side, blind
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from preimage.images import read
from preimage.jobs.projection import FIRST, Projection
from preimage.jobs.report import peak_memory
from preimage.metrics import psnr
from preimage.observe import observe
from preimage.recipes import recipe
from preimage.restore.denoise import denoise, recipes
from preimage.series.tiles import Tiles
from studies.harness.imaging import center_crop, eight_bit, with_gaussian_noise
from studies.harness.rows import append_rows
from studies.harness.study import Run

TABLE, LARGE = Path("docs/results/tiles-seams.csv"), Path("docs/results/tiles-large.csv")
WAYS = ("handed-on", "own")
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
    write_row(TABLE, row)


def write_row(table: Path, row: dict[str, Any]) -> None:
    """Add a row to a table, as soon as it is known."""
    append_rows(table, [row])
    print(row, flush=True)


def mosaic(number: int, width: int, height: int, pattern: str = "restoration/kodak24/*.png") -> torch.Tensor:
    """A large color picture, (1, 3, height, width): smaller ones of one size side by side, begun elsewhere for each number."""
    folder, _, names = pattern.rpartition("/")
    files = sorted(Run("tiles", "small").path(folder).glob(names))
    if not files:
        raise SystemExit(f"there is no {pattern}: set PREIMAGE_DATA")
    side = read(files[0]).tensor.shape[-1]
    rows, columns = -(-height // side), -(-width // side)
    first = number * len(files) // 4
    chosen = [read(files[(first + k) % len(files)]).tensor for k in range(rows * columns)]
    flipped = [one.flip(-1) if k // len(files) % 2 else one for k, one in enumerate(chosen)]  # where one comes again
    lines = [torch.cat(flipped[r * columns : (r + 1) * columns], -1) for r in range(rows)]
    return torch.cat(lines, -2)[..., :height, :width]


def large(numbers: range, size: tuple[int, int], ways: Sequence[str], side: int) -> None:
    """A row for each picture and way: PSNR of the whole and of the worst tile, steps and seconds."""
    known = list(csv.DictReader(LARGE.open(encoding="utf-8"))) if LARGE.exists() else []
    for number in numbers:
        for way in ways:
            named = {"picture": f"mosaic {number + 1}", "size": f"{size[0]} x {size[1]}", "way": way, "side": str(side)}
            if any(named.items() <= row.items() for row in known):
                continue
            photographed = way == "camera"
            clean = mosaic(number, *size, "real_noise/cc/*_mean.png" if photographed else "restoration/kodak24/*.png")
            if photographed:
                noisy = mosaic(number, *size, "real_noise/cc/*_real.png")
            else:
                noisy = eight_bit(with_gaussian_noise(clean, 25 / 255))
            # A recipe by value is used as it is, in every tile.
            given = recipes()["fast"] if way == "own" else recipe("fast")
            known_noise: dict[str, Any] = {} if photographed else {"noise": "gaussian", "sigma": 25 / 255}
            run = denoise(noisy, tile=side, recipe=given, **known_noise)
            assert isinstance(run, Tiles)
            projection = Projection()
            for step in observe(run, projection):
                if step.index == FIRST or step.index % 100 == 0:
                    print(f"step {step.index}, {step.status}, {step.seconds:.0f} s", flush=True)
            result = run.result()
            found, each = result.image.clamp(0, 1), []
            for place in run.places:
                _, rows, columns = run._region(place)
                each.append(float(psnr(found[..., rows, columns], clean[..., rows, columns])))
            write_row(
                LARGE,
                named
                | {
                    "overlap": run.overlap,
                    "tiles": len(run.places),
                    "noisy": f"{float(psnr(noisy, clean)):.3f}",
                    "psnr": f"{float(psnr(found, clean)):.3f}",
                    "psnr_of_tiles": " ".join(f"{value:.2f}" for value in each),
                    "steps": result.steps,
                    "kept_steps": " ".join(map(str, result.kept_step)),
                    "seconds": f"{result.seconds:.0f}",
                    "projected": f"{projection.seconds_left or 0:.0f}",
                    "threads": result.threads,
                    "minutes_of_12_megapixels": f"{result.seconds / 60 * 12e6 / (size[0] * size[1]):.1f}",
                },
            )


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
    parser.add_argument("what", choices=["memory", "seams", "large"])
    parser.add_argument("--tiles", type=int, help="only the first so many, memory")
    parser.add_argument(
        "--tile", type=int, help="side; by default what auto takes for memory, 256 for seams, 512 for large"
    )
    parser.add_argument("--size", type=int, nargs=2, help="width and height, memory (6000 4000) and large (2000 1000)")
    parser.add_argument("--pictures", type=int, default=4, help="how many, large")
    parser.add_argument("--ways", nargs="+", choices=(*WAYS, "camera"), default=WAYS, help="large")
    parser.add_argument("--steps", type=int, default=MOST_STEPS, help="at most, seams")
    parser.add_argument("--crop", type=int, help="side of the middle that is taken, seams")
    given = parser.parse_args()
    if given.what == "memory":
        width, height = given.size or (6000, 4000)
        memory(width, height, given.tile, given.tiles)
    elif given.what == "large":
        width, height = given.size or (2000, 1000)
        large(range(given.pictures), (width, height), given.ways, given.tile or 512)
    else:
        seams(given.steps, given.tile or 256, given.crop)


if __name__ == "__main__":
    main()
