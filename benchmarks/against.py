"""This working tree beside another commit, in one run: `import preimage`, seconds of a step, and blind results.

python -m benchmarks.against COMMIT                       # imports and steps at 256 and 512 px
python -m benchmarks.against COMMIT --pictures FILE ...   # and sigma 25 denoised by the default, each picture by both
python -m benchmarks.against COMMIT --only-pictures --steps 60 --pictures FILE ...      # so many steps of it: equal bits?
python -m benchmarks.against COMMIT --only-pictures --tasks --pictures FILE             # every other task on its middle

Each measurement is a process of its own, and the two take turns. Rows are kept as they come in docs/results/against.csv.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from studies.harness.rows import append_rows

ROOT = Path(__file__).parents[1]
ROWS = ROOT / "docs" / "results" / "against.csv"
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

# A case of each study that is not of denoising, by the default of its task: `clean` is the middle of a picture, 128 x 128.
TASKS = {
    "super_resolve": "p.super_resolve(F.avg_pool2d(clean, 4), factor=4)",
    "inpaint": "p.inpaint(clean, mask=half, mask_white='missing')",
    "deblur": "p.deblur(blurred, kernel='gaussian:2')",
    "remove_jpeg_artifacts": "p.remove_jpeg_artifacts(as_jpeg)",
    "flash_no_flash": "p.flash_no_flash(noisy, flash=clean)",
    "invert": "p.invert(clean, **{by: classifier, layer: 'layer2'})",
    "maximize": "p.maximize(target=3, size=(96, 96), **{by: classifier})",
    "counterfactual": "p.counterfactual(clean, target=3, **{by: classifier})",
    "purify": "p.purify(noisy)",
    "saliency": "p.saliency(clean, **{by: classifier})",
}
CASE = """
import hashlib, io, json, sys
import torch, torchvision
import torch.nn.functional as F
from PIL import Image
import preimage as p
from preimage.images import read
whole = read(sys.argv[1]).tensor
top, left = ((side - 128) // 2 for side in whole.shape[-2:])
clean = whole[..., top : top + 128, left : left + 128].contiguous()
draws = torch.Generator().manual_seed(0)
noisy = ((clean + torch.randn(clean.shape, generator=draws) * 25 / 255).clamp(0, 1) * 255).round() / 255
half = (torch.rand(1, 1, 128, 128, generator=draws) < 0.5).float()
axis = torch.arange(-6.0, 7).square()
bell = torch.exp(-(axis[:, None] + axis) / 8)
kernel = (bell / bell.sum()).expand(3, 1, 13, 13)
blurred = F.conv2d(F.pad(clean, (6, 6, 6, 6), mode="replicate"), kernel, groups=3)
file = io.BytesIO()
Image.fromarray((clean[0].permute(1, 2, 0) * 255).round().byte().numpy()).save(file, "JPEG", quality=10)
open(sys.argv[3] + ".jpg", "wb").write(file.getvalue())
as_jpeg = sys.argv[3] + ".jpg"
torch.manual_seed(0)
classifier = torchvision.models.resnet18(weights=None, num_classes=5).eval()
by, layer = ("classifier", "layers") if hasattr(p, "Classifier") else ("predictor", "layer")
classifier = getattr(p, by.capitalize())(classifier, classes=[str(i) for i in range(5)], size=96)
started = eval(sys.argv[2])
result = started.run() if hasattr(started, "run") else started
image = next(found for name in ("image", "map", "maps", "values") if (found := getattr(result, name, None)) is not None)
image = torch.as_tensor(image)
psnr = float(-10 * (image - clean).square().mean().log10()) if image.shape == clean.shape else float("nan")
bits = hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest()[:16]
print(json.dumps({"psnr": psnr, "kept": getattr(result, "kept_step", [0])[0], "bits": bits}))
"""


def called(root: Path, *arguments: str) -> str:
    """What a process of one of the two trees prints last."""
    environment = os.environ | {"PYTHONPATH": str(root / "src")}
    command = [sys.executable, *arguments]
    ran = subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True, encoding="utf-8")
    return ran.stdout.splitlines()[-1]


def by_turns(before: Path, *arguments: str) -> tuple[list[str], list[str]]:
    """The same of both trees, in turn."""
    pairs = [(called(before, *arguments), called(ROOT, *arguments)) for _ in range(TURNS)]
    return [old for old, _ in pairs], [new for _, new in pairs]


def keep(row: dict[str, Any]) -> None:
    """Append a row, and print it."""
    append_rows(ROWS, [row])
    print(row, flush=True)


def compare_tasks(before: Path, picture: str) -> None:
    """Every other task on the middle of a picture, by its default."""
    for name, call in TASKS.items():
        arguments = ("-c", CASE, str(Path(picture).resolve()), call, str(before.parent / name))
        old, new = (json.loads(called(root, *arguments)) for root in (before, ROOT))
        row = {"what": "blind default", "name": name, "before": f"{old['psnr']:.3f}", "after": f"{new['psnr']:.3f}"}
        same = "the same bits" if old["bits"] == new["bits"] else "other bits"
        keep(row | {"ratio": "", "note": f"kept steps {old['kept']} and {new['kept']}, {same}"})


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
        "--tasks", action="store_true", help="a case of every other task on the middle of the first picture"
    )
    parser.add_argument(
        "--steps", type=int, default=0, help="steps of each picture (default: as many as the rule takes)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "before"
        subprocess.run(["git", "worktree", "add", "--detach", str(tree), options.commit], cwd=ROOT, check=True)
        try:
            if options.tasks:
                compare_tasks(tree, options.pictures[0])
            else:
                compare(tree, options.pictures, timed=not options.only_pictures, steps=options.steps)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
