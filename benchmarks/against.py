"""This working tree beside another commit, in one run: `import preimage`, seconds of a step, and blind results.

python -m benchmarks.against COMMIT                       # imports and steps at 256 and 512 px
python -m benchmarks.against COMMIT --pictures FILE ...   # and sigma 25 denoised by the default, each picture by both
python -m benchmarks.against COMMIT --only-pictures --steps 60 --pictures FILE ...      # so many steps of it: equal bits?

Each measurement is a process of its own, and the two take turns. Rows are kept as they come in docs/results/against.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ROWS = ROOT / "docs" / "results" / "against.csv"
COLUMNS: tuple[str, ...] = ("what", "name", "before", "after", "ratio", "note")
TURNS = 5
IMPORT = "import time; begin = time.perf_counter(); import preimage; print(time.perf_counter() - begin)"
BLIND = """
import hashlib, json, sys
import torch
from preimage import denoise
from preimage.images import read
clean = read(sys.argv[1]).tensor[..., :256, :256]
noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)) * 25 / 255
noisy = ((clean + noise).clamp(0, 1) * 255).round() / 255
run = denoise(noisy, device="cpu")
for step in run:
    if step.index == int(sys.argv[2]):
        break
result = run.result()
psnr = float(-10 * (result.image - clean).square().mean().log10())
bits = hashlib.sha256(result.image.contiguous().numpy().tobytes()).hexdigest()[:16]
print(json.dumps({"psnr": psnr, "kept": result.kept_step[0], "steps": result.steps, "bits": bits}))
"""


def called(root: Path, *arguments: str) -> str:
    """What a process of one of the two trees prints last."""
    environment = os.environ | {"PYTHONPATH": str(root / "src")}
    command = [sys.executable, *arguments]
    ran = subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True, text=True)
    return ran.stdout.splitlines()[-1]


def by_turns(before: Path, *arguments: str) -> tuple[list[str], list[str]]:
    """The same of both trees, in turn."""
    pairs = [(called(before, *arguments), called(ROOT, *arguments)) for _ in range(TURNS)]
    return [old for old, _ in pairs], [new for _, new in pairs]


def keep(row: dict[str, Any]) -> None:
    """Append a row, and print it."""
    begun = ROWS.exists()
    with ROWS.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if not begun:
            writer.writeheader()
        writer.writerow(row)
    print(row, flush=True)


def compare(before: Path, pictures: list[str], *, timed: bool = True, steps: int = 0) -> None:
    """All rows."""
    seconds = {"import preimage": ("-c", IMPORT)} if timed else {}
    sides = (256, 512) if timed else ()
    seconds |= {f"step, {side} px": ("-m", "benchmarks.step", "fast", str(side), "15") for side in sides}
    for name, arguments in seconds.items():
        both = by_turns(before, *arguments)
        old, new = (min(json.loads(t)["least"] if t.startswith("{") else float(t) for t in each) for each in both)
        row = {"what": "seconds", "name": name, "before": f"{old:.4f}", "after": f"{new:.4f}"}
        keep(row | {"ratio": f"{new / old:.3f}", "note": f"least of {TURNS}, by turns"})
    for path in pictures:
        arguments = ("-c", BLIND, str(Path(path).resolve()), str(steps))
        old, new = (json.loads(called(root, *arguments)) for root in (before, ROOT))
        row = {
            "what": f"PSNR after {steps} steps" if steps else "blind PSNR",
            "name": Path(path).name,
            "before": f"{old['psnr']:.3f}",
            "after": f"{new['psnr']:.3f}",
        }
        same = "the same bits" if old["bits"] == new["bits"] else "other bits"
        keep(row | {"ratio": "", "note": f"kept steps {old['kept']} and {new['kept']}, {same}"})


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against", description=__doc__)
    parser.add_argument("commit")
    parser.add_argument("--pictures", nargs="*", default=[], metavar="FILE")
    parser.add_argument("--only-pictures", action="store_true")
    parser.add_argument(
        "--steps", type=int, default=0, help="steps of each picture (default: as many as the rule takes)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "before"
        subprocess.run(["git", "worktree", "add", "--detach", str(tree), options.commit], cwd=ROOT, check=True)
        try:
            compare(tree, options.pictures, timed=not options.only_pictures, steps=options.steps)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
