"""Time to quality: how soon the blind result is as good as the published setting's best, which an oracle chose.

python -m benchmarks.speed                     # every case whose published curve is known, fast recipes
python -m benchmarks.speed best denoise/F16    # one quality, one case

T = (steps that the published setting needs to its own oracle peak minus 0.1 dB, its outputs averaged) x (median step of
examples/tiny.py at that size, timed here and now). The blind run counts from the picture in memory to the result. A case
that ends below that PSNR has failed, however fast it was. Rows are appended to docs/results/time_to_quality.csv.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any, get_args

import torch

from benchmarks.published import BF16_STEPS, STEPS, Case, cases, curves, is_whole, steps_to_peak
from benchmarks.step import WARM_UP, plain_steps
from preimage.recipes import Quality
from studies.harness.rows import append_rows

TABLE = Path("docs/results/time_to_quality.csv")
PLAIN_STEPS = 8


def measured(name: str, case: Case, quality: Quality, curve: dict[int, float], plain: float) -> dict[str, Any]:
    """One blind run beside T."""
    steps, wanted = steps_to_peak(curve)
    begin = time.perf_counter()
    result = case.ours(quality).run()
    seconds = time.perf_counter() - begin
    blind = case.score(result.image)
    published = steps * BF16_STEPS * plain
    return {
        "case": name,
        "quality": quality,
        "published_peak": round(max(curve.values()), 3),
        "published_steps": round(steps * BF16_STEPS),
        "plain_step": round(plain, 4),
        "T": round(published, 1),
        "blind": round(blind, 3),
        "seconds": round(seconds, 2),
        "ratio": round(published / seconds, 1),
        "reached": blind >= wanted,
        "steps": result.steps,
        "threads": torch.get_num_threads(),
    }


def whole_cases() -> dict[str, dict[int, float]]:
    """The cases whose published curve has passed its peak, or done all of its steps."""
    return {name: curve for name, curve in curves().items() if is_whole(curve, STEPS[name.split("/")[0]])}


def main() -> None:
    words = sys.argv[1:]
    quality: Quality = next((word for word in get_args(Quality) if word in words), "fast")
    known = whole_cases()
    names = [word for word in words if word not in get_args(Quality)] or list(known)
    plain: dict[tuple[int, int], float] = {}
    ratios: dict[str, list[float]] = {}
    for name in names:
        case = cases()[name]()
        if case.size not in plain:
            plain[case.size] = statistics.median(plain_steps(*case.size, PLAIN_STEPS)[WARM_UP:])
        row = measured(name, case, quality, known[name], plain[case.size])
        append_rows(TABLE, [row])
        print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        ratios.setdefault(name.split("/")[0], []).append(row["ratio"] if row["reached"] else 0.0)
    for task, values in ratios.items():
        reached = sum(value > 0 for value in values)
        print(f"{task}: T/{statistics.median(values):.0f} by {quality} (median; {reached} of {len(values)} reached it)")


if __name__ == "__main__":
    main()
