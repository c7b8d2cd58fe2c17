"""`make bench`: step, memory, step profile, time to quality and blindness of the recipes beside the published setting.

`make bench` takes less than 20 minutes; `python -m benchmarks --scale full` measures all cases, and the studies of blindness
and quality, anew (hours).

Each measurement is a process of its own; the recipes are measured in turn, RUNS times, so that a drifting machine touches
all alike. Ratios are of medians.
"""

from __future__ import annotations

import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import speed
from benchmarks.against import ROOT, called
from benchmarks.published import cases as published_cases
from benchmarks.published import curves
from benchmarks.speed import PLAIN_STEPS, whole_cases
from benchmarks.step import WARM_UP, plain_steps

RUNS = 3
SIDES = (256, 512)
NAMES = ("plain", "paper", "fast")


def measured(name: str, side: int) -> dict[str, Any]:
    steps = "12" if side <= 256 else "8"
    return json.loads(called(ROOT, "-m", "benchmarks.step", name, str(side), steps))


def import_seconds(module: str) -> float:
    """Seconds to import a module in a fresh interpreter, the least of three."""
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    return min(float(called(ROOT, "-c", code)) for _ in range(3))


def steps_and_memory(console: Console) -> None:
    """A table for each side: seconds and peak memory of a step."""
    for side in SIDES:
        runs = {name: [] for name in NAMES}
        for _ in range(RUNS):
            for name in NAMES:
                runs[name].append(measured(name, side))
        table = Table(
            "setting", "s per step", "of plain", "least, greatest", "peak memory, GB", "of plain",
            title=f"{side} x {side} pixels",
        )  # fmt: skip
        plain = statistics.median(run["seconds"] for run in runs["plain"])
        most = max(run["peak_bytes"] for run in runs["plain"])
        for name in NAMES:
            seconds = sorted(run["seconds"] for run in runs[name])
            middle = statistics.median(seconds)
            peak = max(run["peak_bytes"] for run in runs[name])
            spread = f"{seconds[0]:.3f} to {seconds[-1]:.3f}"
            share = f"{middle / plain:.2f}"
            table.add_row(name, f"{middle:.3f}", share, spread, f"{peak / 1e9:.2f}", f"{peak / most:.2f}")
        console.print(table)


def time_to_quality(console: Console, cases: int) -> None:
    """Ratios T / seconds of some cases whose published curve is known, RUNS times each: least, median, greatest."""
    known = list(whole_cases())[:cases]
    table = Table(
        "case", "blind, dB", "published best, dB", "seconds", "T / seconds", "reached", title="Time to quality, fast"
    )
    for name in known:
        case = published_cases()[name]()
        plain = statistics.median(plain_steps(*case.size, PLAIN_STEPS)[WARM_UP:])
        rows = [speed.measured(name, case, "fast", curves()[name], plain) for _ in range(RUNS)]
        ratios = sorted(row["ratio"] for row in rows)
        table.add_row(
            name, f"{rows[0]['blind']:.2f}", f"{rows[0]['published_peak']:.2f}", f"{rows[0]['seconds']:.0f}",
            f"{ratios[0]:.0f}, {ratios[len(ratios) // 2]:.0f}, {ratios[-1]:.0f}", "yes" if rows[0]["reached"] else "no",
        )  # fmt: skip
    console.print(table if known else "No published curve is known: python -m benchmarks.published makes them (hours).")


def blindness(console: Console) -> None:
    """What the study says of the default rules, from its committed rows."""
    path = Path("docs/results/blindness-small.csv")
    rows = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["rule"].startswith("default")]
    table = Table("damage", "fits", "mean below the peak, dB", "worst", title=f"Blind (rows of {path})")
    for damage in dict.fromkeys(row["damage"] for row in rows):
        below = [float(row["below"]) for row in rows if row["damage"] == damage]
        table.add_row(damage, str(len(below)), f"{statistics.fmean(below):.2f}", f"{max(below):.2f}")
    console.print(table)


def main() -> None:
    full = "--scale" in sys.argv and sys.argv[-1] == "full"
    console = Console()
    steps_and_memory(console)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.profile"], check=True, capture_output=True, text=True, encoding="utf-8"
    )
    console.print(done.stdout, highlight=False, soft_wrap=True)
    time_to_quality(console, 100 if full else 2)
    if full:
        from studies import study

        study("blindness")
        study("quality")
    blindness(console)
    torch, ours = import_seconds("torch"), import_seconds("torch, preimage")
    console.print(f"import torch {torch:.2f} s; with preimage {ours:.2f} s")


if __name__ == "__main__":
    main()
