"""Noise that is correlated between pixels: what is said of it, and what each rule keeps of one fit beside the fit's peak.

python -m benchmarks.correlated detect    # crops, and whole clean pictures: docs/results/correlated_detection.csv
python -m benchmarks.correlated fit       # hours on one core; curves go to out/correlated/, those that are there stay
python -m benchmarks.correlated table     # docs/results/correlated.csv from the curves, and their means

A fit is of the fast recipe with one restart on a central crop of SIDE pixels, and ends when its peak is past. "pixels" and
"blocks" leave 3 % of single pixels and 5 % of squares of 5 x 5 out of E; "whitened" leaves nothing out and has the error
filtered as `denoise` does where it finds correlated noise. Rules know the estimated sigma, never the true one.
"""

from __future__ import annotations

import csv
import io
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from preimage.distances import squared
from preimage.engine.fit import Fit
from preimage.noise.correlation import estimate_correlation
from preimage.noise.estimation import estimate_noise
from preimage.noise.likelihood import whitened
from preimage.problem import Problem
from preimage.restore.denoise import recipes
from preimage.stopping import After, HeldOut, WindowedVariance
from preimage.stopping.held_out import HeldOutTracker
from studies.harness.imaging import center_crop, dB
from studies.harness.study import Run

TABLE = Path("docs/results/correlated.csv")
DETECTION = Path("docs/results/correlated_detection.csv")
CURVES = Path("out/correlated")
SIDE, SEED = 128, 1234
PICTURES = [f"kodak24/kodim{n}.png" for n in ("05", "07", "13", "14", "20", "24")] + ["set12/05.png", "set12/11.png"]
SIGMA = 25 / 255
CLEAN = [f"kodak24/kodim{n:02d}.png" for n in (5, 6, 7, 9, 10, 11, 13, 14, 16, 17, 18, 20, 22, 24)]
CLEAN += [f"set12/{n}.png" for n in ("04", "05", "07", "11", "12")]
FACTORS = (0.6, 0.7, 0.8, 0.9, 1.0)
WAYS = ("pixels", "blocks", "whitened")


def white(clean: Tensor, sigma: float) -> Tensor:
    return sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(SEED))


def eight_bit(noisy: Tensor) -> Tensor:
    return (noisy.clamp(0, 1) * 255).round() / 255


def smoothed(width: float, sigma: float = SIGMA) -> Callable[[Tensor], Tensor]:
    """White noise through a Gaussian filter of deviation `width` pixels, rescaled to `sigma`."""

    def make(clean: Tensor) -> Tensor:
        x = torch.arange(-8, 9)
        kernel = torch.exp(-x.square() / (2 * width**2))
        kernel = torch.outer(kernel, kernel)
        kernel = (kernel / kernel.square().sum().sqrt())[None, None]
        noise = white(functional.pad(clean, (8, 8, 8, 8), mode="reflect"), sigma)
        noise = functional.conv2d(noise.transpose(0, 1), kernel).transpose(0, 1)
        return eight_bit(clean + noise)

    return make


def demosaiced(sigma: float = SIGMA) -> Callable[[Tensor], Tensor]:
    """A noisy Bayer mosaic (RGGB), bilinearly interpolated: (1, 3, h, w)."""

    def make(clean: Tensor) -> Tensor:
        h, w = clean.shape[-2:]
        rows, columns = torch.arange(h)[:, None] % 2, torch.arange(w) % 2
        masks = torch.stack([(rows == 0) & (columns == 0), rows != columns, (rows == 1) & (columns == 1)])[
            :, None
        ].float()
        sampled = (clean + white(clean, sigma)).clamp(0, 1).transpose(0, 1) * masks
        tent = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])[None, None]
        filled = functional.conv2d(sampled, tent, padding=1) / functional.conv2d(masks, tent, padding=1)
        return eight_bit(torch.where(masks > 0, sampled, filled).transpose(0, 1))

    return make


def as_jpeg(quality: int, sigma: float = SIGMA) -> Callable[[Tensor], Tensor]:
    """White noise, saved as JPEG with the encoder's own subsampling of color (4:2:0)."""

    def make(clean: Tensor) -> Tensor:
        array = (eight_bit(clean + white(clean, sigma))[0].permute(1, 2, 0) * 255).round().byte().numpy()
        file = io.BytesIO()
        Image.fromarray(array.squeeze(-1) if array.shape[2] == 1 else array).save(file, "jpeg", quality=quality)
        decoded = np.atleast_3d(np.asarray(Image.open(file)))
        return torch.from_numpy(decoded.copy()).permute(2, 0, 1)[None].float() / 255

    return make


def only_white(sigma: float = SIGMA) -> Callable[[Tensor], Tensor]:
    return lambda clean: eight_bit(clean + white(clean, sigma))


NOISES: dict[str, Callable[[Tensor], Tensor]] = {
    "smoothed 1": smoothed(1.0),
    "demosaiced": demosaiced(),
    "JPEG 80": as_jpeg(80),
    "smoothed 0.6": smoothed(0.6),
    "smoothed 1.5": smoothed(1.5),
    "white": only_white(),
}
SPOILED: dict[str, Callable[[Tensor], Tensor]] = {
    "clean": lambda clean: clean,
    **{f"white {s}": only_white(s / 255) for s in (10, 25, 50)},
    **{f"smoothed {w} of {s}": smoothed(w, s / 255) for w in (0.6, 1.0, 1.5) for s in (10, 25)},
    "demosaiced of 25": demosaiced(),
    "JPEG 80 of 25": as_jpeg(80),
}


def specimen(name: str, side: int = SIDE) -> Tensor:
    return center_crop(Run("correlated", "small").picture(f"restoration/{name}"), side)


def photographs(side: int) -> dict[str, Tensor]:
    """Three of scikit-image's, only as they are."""
    from skimage import data

    arrays = {"chelsea": data.chelsea(), "astronaut": data.astronaut(), "coffee": data.coffee()}
    return {
        name: center_crop(torch.from_numpy(a.copy()).permute(2, 0, 1)[None].float() / 255, side)
        for name, a in arrays.items()
    }


# ---------------------------------------------------------------------- what is said of the noise


def detect() -> None:
    rows: list[dict[str, Any]] = []
    for side in (SIDE, 512):
        clean = {name: specimen(name, side) for name in CLEAN}
        for noise, spoil in SPOILED.items() if side == SIDE else [("clean", SPOILED["clean"])]:
            for name, picture in (clean | photographs(side) if noise == "clean" else clean).items():
                if not (noise.startswith("demosaiced") and picture.shape[1] == 1):
                    rows.append({"side": side, "noise": noise, "picture": name, **said(spoil(picture), picture)})
    write(DETECTION, rows)
    print(
        "| noise | side | called correlated | estimated over true sigma: median | least to greatest |\n|---|---|---|---|---|"
    )
    for noise in SPOILED:
        for side in (SIDE, 512):
            own = [row for row in rows if (row["noise"], row["side"]) == (noise, side)]
            if not own:
                continue
            found = [row for row in own if row["length"] > 0]
            ratios = [row["estimated"] / row["sigma"] for row in found if row["sigma"]]
            spread = f"{statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f}" if ratios else "- | -"
            print(f"| {noise} | {side} | {len(found)} of {len(own)} | {spread} |")


def said(noisy: Tensor, clean: Tensor) -> dict[str, Any]:
    found = estimate_correlation(noisy)
    sigma = 255 * float((noisy - clean).square().mean().sqrt())
    return {"sigma": sigma, "estimated": 255 * found.sigma if found else "", "length": found.length if found else 0}


# ---------------------------------------------------------------------- fits


def fit(noise: str, name: str, way: str) -> None:
    """One fit's curve: at every third step dB, the squared error of all values, and what the rules look at."""
    file = CURVES / f"{noise}-{name}-{way}.csv".replace("/", "_").replace(" ", "_")
    clean = specimen(name)
    if file.exists() or (noise == "demosaiced" and clean.shape[1] == 1):
        return
    noisy = NOISES[noise](clean)
    problem = Problem(noisy)
    size = (clean.shape[-2], clean.shape[-1])
    left_out = HeldOut(0.03) if way == "pixels" else HeldOut(0.05, block=5)
    _, holding_out = left_out.start(problem, members=range(1), total=600, seed=0)
    assert isinstance(holding_out, HeldOutTracker)
    mask = holding_out.mask
    if way == "whitened":
        found = estimate_noise(noisy)
        if not found.length:
            return
        given = whitened(problem, found)
    else:
        given = replace(problem, weight=holding_out.fitted)
    without_rim = -functional.max_pool2d(-functional.pad(mask, (1, 1, 1, 1)), 3, 1)
    watched = {
        "fitted": 1 - mask,
        "left_out": mask,
        "inner": without_rim if way == "blocks" else mask,
    }
    variances: dict[str, Any] = {
        f"variance_{n}": WindowedVariance(n).start(problem, members=range(1), total=600, seed=0)[1] for n in (10, 20)
    }
    recipe = replace(recipes()["fast"], steps=600)
    prior = recipe.prior(noisy.shape[1], size, members=1, seed=0, device="cpu")
    curve: list[dict[str, Any]] = []
    for step in Fit(given, prior, recipe=recipe, rule=After()):
        quiet = {key: float(tracker.score_of(step)) for key, tracker in variances.items()}
        if step.index % 3:
            continue
        entries = squared(step.average, noisy)
        errors = {k: float((entries * m).sum() / m.expand_as(entries).sum()) for k, m in watched.items()}
        error, own = float(entries.mean()), float(given.data_term(step.average))
        curve.append({"step": step.index, "dB": dB(step.average, clean), "error": error, "own": own, **errors, **quiet})
        if curve[-1]["dB"] < max(row["dB"] for row in curve) - 0.5 and step.index > 75:
            break
    write(file, curve)
    print(f"{noise} {name} {way}: peak {max(row['dB'] for row in curve):.2f}, {len(curve)} looks", flush=True)


# ---------------------------------------------------------------------- what rules would have kept


def table() -> None:
    rows = [
        judged(noise, name, way, file)
        for noise in NOISES
        for name in PICTURES
        for way in WAYS
        if (file := CURVES / f"{noise}-{name}-{way}.csv".replace("/", "_").replace(" ", "_")).exists()
    ]
    names = list(dict.fromkeys(key for row in rows for key in row))
    write(TABLE, [{key: row.get(key, "") for key in names} for row in rows])
    print("| noise | fit | fits | peak over the noisy picture | kept, to the peak of the same fit: mean (worst) |")
    print("|---|---|---|---|---|")
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["noise"], row["fit"]].append(row)
    for (noise, way), own in groups.items():
        gain = statistics.mean(row["peak"] - row["noisy"] for row in own)
        rules = [key for key in own[0] if key not in ABOUT and not any(math.isnan(row[key]) for row in own)]
        kept = [f"{key} {statistics.mean(r[key] for r in own):.2f} ({min(r[key] for r in own):.2f})" for key in rules]
        print(f"| {noise} | {way} | {len(own)} | {gain:.2f} | {', '.join(kept)} |")


ABOUT = ("noise", "picture", "fit", "sigma", "estimated", "length", "noisy", "peak", "peak_step")


def judged(noise: str, name: str, way: str, file: Path) -> dict[str, Any]:
    with file.open(newline="", encoding="utf-8") as opened:
        curve = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(opened)]
    clean = specimen(name)
    noisy = NOISES[noise](clean)
    found = estimate_noise(noisy)
    level = found.sigma**2
    peak = max(curve, key=lambda row: row["dB"])

    def kept(score: Callable[[dict[str, float]], float]) -> float:
        known = [row for row in curve if not math.isnan(score(row))]
        return min(known, key=score)["dB"] - peak["dB"] if known else math.nan

    def risk(row: dict[str, float], left_out: str) -> float:
        return row["fitted"] + 2 * level * (1 - math.sqrt(min(1.0, row["fitted"] / row[left_out])))

    rules = {f"discrepancy {f}": kept(lambda row, f=f: max(0.0, row["error"] - f * level)) for f in FACTORS}
    if way == "whitened":
        # the mean share that is left of the noise's variance, as `denoise` has it
        left = float(whitened(Problem(noisy, noise_level=level), found).noise_level or level)
        rules |= {f"filtered discrepancy {f}": kept(lambda row, f=f: max(0.0, row["own"] - f * left)) for f in FACTORS}
    else:
        rules |= {"held out": kept(lambda row: row["left_out"]), "risk": kept(lambda row: risk(row, "left_out"))}
    if way == "blocks":
        rules |= {"risk of inner": kept(lambda row: risk(row, "inner"))}
    rules |= {f"variance {n}": kept(lambda row, n=n: row[f"variance_{n}"]) for n in (10, 20)}
    told = {"sigma": 255 * float((noisy - clean).square().mean().sqrt()), "estimated": 255 * found.sigma}
    about = {"noise": noise, "picture": name, "fit": way, **told, "length": found.length, "noisy": dB(noisy, clean)}
    return {**about, "peak": peak["dB"], "peak_step": int(peak["step"]), **rules}


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)


def main() -> None:
    wanted = sys.argv[1:2]
    if wanted == ["detect"]:
        detect()
    elif wanted == ["fit"]:
        for way in sys.argv[2:3] or WAYS:
            for noise in sys.argv[3:] or NOISES:
                for name in PICTURES:
                    fit(noise, name, way)
    elif wanted == ["table"]:
        table()
    else:
        raise SystemExit("say detect, fit [WAY [NOISE ...]] or table")


if __name__ == "__main__":
    main()
