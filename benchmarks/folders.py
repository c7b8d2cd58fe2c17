"""Folders: images a minute by one process, two workers, and Ray with two slots, on the same crops of real photographs.

    python -m benchmarks.folders             # 40 crops of 128 pixels: about ten minutes on 2 cores; needs the extra ray

Each way is the command that a user types, begun anew in an empty folder, timed from its start to its end. The ways take turns,
RUNS times, and ratios are of medians. What Ray adds is told from two workers, which do the same work with as many processes.
Rows are appended to docs/results/folders.csv. --sizing computes the images in a day of docs/scale.md from other rows.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from preimage.images import read
from studies.harness.imaging import pillow_of, with_gaussian_noise
from studies.harness.rows import append_rows, read_rows
from studies.harness.study import Run
from studies.harness.tables import markdown
from tests.robustness.crowd import PORT, cluster

TABLE = Path("docs/results/folders.csv")
RUNS = 3
COUNT, SIDE, SIGMA = 40, 128, 25.0
TIMES, LARGE = Path("docs/results/time_to_quality.csv"), Path("docs/results/tiles-large.csv")
AT_256 = ("denoise/F16", "denoise/House", "denoise/Peppers", "denoise/Baboon", "denoise/Lena")
H200 = {256: 1.2, 512: 1.7}  # seconds of a fit, before the rewriting for GPUs: docs/scale.md
DAY = 86400
WAYS: Mapping[str, tuple[str, ...]] = {
    "one process": (),
    "--workers 2": ("--workers", "2"),
    "Ray, two slots": ("--ray", f"127.0.0.1:{PORT}"),
}


def crops(folder: Path, count: int, side: int) -> None:
    """Write middles of photographs of kodak24, and of other parts where they are not enough, with noise."""
    photographs = sorted(Run("folders", "small").path("restoration/kodak24").glob("*.png"))
    for number in range(count):
        whole = read(photographs[number % len(photographs)]).tensor
        height, width = whole.shape[-2:]
        shift = side // 2 * (number // len(photographs))
        top, left = (height - side) // 2 - shift, (width - side) // 2 - shift
        noisy = with_gaussian_noise(whole[..., top : top + side, left : left + side], SIGMA / 255, seed=number)
        pillow_of(noisy).save(folder / f"{number:02d}.png")


def seconds_of(way: str, folder: Path, out: Path, environment: Mapping[str, str]) -> float:
    """Of the command over the folder, from its start to its end."""
    command = [sys.executable, "-m", "preimage", "denoise", str(folder), "-o", str(out), "--threads", "1", "--quiet"]
    begun = time.perf_counter()
    subprocess.run([*command, *WAYS[way]], check=True, env=dict(environment))
    return time.perf_counter() - begun


def sizing() -> str:
    """Images in a day, computed: a day over the seconds of one image, times machines; nothing of it was run for a day."""
    small = statistics.median(each["seconds"] for each in read_rows(TIMES, quality="fast") if each["case"] in AT_256)
    large = [each["seconds"] for each in read_rows(LARGE, size="4000 x 3000", way="handed-on")]
    seconds = {
        "256 x 256": (small, H200[256]),
        "512 x 512": (4 * small, H200[512]),  # by its pixels
        "4000 x 3000": (statistics.median(large), None),
    }
    lines = []
    for size, (on_cores, on_gpu) in seconds.items():
        cells = [f"{DAY / each * nodes:,.0f}" for each, nodes in ((on_cores, 1), (on_cores, 100))]
        cells += [f"{DAY / on_gpu * nodes:,.0f}" if on_gpu else "not measured" for nodes in (1, 100)]
        lines.append([size, f"{on_cores:.0f} s", *cells])
    return markdown(
        ["denoise, fast", "one image, 2 cores", "2 cores", "100 such nodes", "one H200", "100 of them"], lines
    )


def main() -> None:
    """Measure, print, and keep the rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.folders", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS), help="some of them alone")
    parser.add_argument("--sizing", action="store_true", help="print the table of images in a day; measure nothing")
    asked = parser.parse_args()
    if asked.sizing:
        print(sizing())
        return
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    found: dict[str, list[float]] = {way: [] for way in asked.ways}
    with tempfile.TemporaryDirectory(prefix="preimage-folders-") as place, cluster("ray", environment):
        folder = Path(place) / "in"
        folder.mkdir()
        crops(folder, asked.count, asked.side)
        for number in range(asked.runs):
            for way in asked.ways:
                seconds = seconds_of(way, folder, Path(place) / f"{way}-{number}", environment)
                found[way].append(seconds)
                row = {"way": way, "count": asked.count, "side": asked.side, "run": number, "seconds": seconds}
                append_rows(TABLE, [row | {"a_minute": 60 * asked.count / seconds, "torch": torch.__version__}])
    middle = {way: statistics.median(each) for way, each in found.items()}
    alone, workers, ray = WAYS
    for way, seconds in middle.items():
        against = f", {middle[alone] / seconds:.2f} times one process" if alone in middle else ""
        print(f"{way}: {60 * asked.count / seconds:.1f} images a minute{against}")
    if {workers, ray} <= middle.keys():
        print(f"Ray over two workers: {100 * (middle[ray] / middle[workers] - 1):+.1f} %")
    print(f"rows: {len(read_rows(TABLE))} in {TABLE}")


if __name__ == "__main__":
    main()
