"""`make bench`: the step and the memory of the recipes beside the published setting as a plain script, and the import.

Each measurement is a process of its own; the recipes are measured in turn, RUNS times, so that a drifting machine touches
all alike. Ratios are of medians.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from typing import Any

RUNS = 3
SIDES = (256, 512)
NAMES = ("plain", "paper", "fast")


def measured(name: str, side: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.step", name, str(side), "12" if side <= 256 else "8"],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def import_seconds(module: str) -> float:
    """Seconds to import a module in a fresh interpreter, the least of three."""
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    runs = [subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True) for _ in range(3)]
    return min(float(run.stdout) for run in runs)


def main() -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for side in SIDES:
        runs = {name: [] for name in NAMES}
        for _ in range(RUNS):
            for name in NAMES:
                runs[name].append(measured(name, side))
        table = Table(
            "setting", "s per step", "of plain", "least, greatest", "peak memory, GB", title=f"{side} x {side} pixels"
        )
        plain = statistics.median(run["seconds"] for run in runs["plain"])
        for name in NAMES:
            seconds = sorted(run["seconds"] for run in runs[name])
            middle = statistics.median(seconds)
            peak = max(run["peak_bytes"] for run in runs[name]) / 1e9
            spread = f"{seconds[0]:.3f} to {seconds[-1]:.3f}"
            table.add_row(name, f"{middle:.3f}", f"{middle / plain:.2f}", spread, f"{peak:.2f}")
        console.print(table)
    torch, ours = import_seconds("torch"), import_seconds("torch, preimage")
    console.print(f"import torch {torch:.2f} s; with preimage {ours:.2f} s")


if __name__ == "__main__":
    main()
