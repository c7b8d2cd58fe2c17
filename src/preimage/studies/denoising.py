"""Nine pictures, four kinds of noise: this library blind beside non-local means, total variation and CBM3D.

[U] reports, on nine color pictures at sigma 25: 29.22 dB after 1800 steps, 30.43 with averaging, 31.00 as the mean of two
runs, CBM3D 31.42, non-local means 30.26 (512 px and more; here central crops).
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch

from preimage.errors import MissingExtra
from preimage.metrics import psnr
from preimage.restore.denoise import FAST, denoise
from preimage.studies.peaks import scores_of
from preimage.studies.rivals import bm3d_told_sigma, non_local_means, tv_denoising
from preimage.studies.scales import Row, Study, center_crop, generated_picture, markdown_table, with_gaussian_noise

PICTURES = ("Baboon", "F16", "House", "Lena", "Peppers", "kodim01", "kodim02", "kodim03", "kodim12")
KINDS = ("sigma 25", "gaussian_2", "speckle_3", "impulse_3")
SIDE = {"smoke": 32, "small": 256, "paper": 512}
SEED = 1234
TARGETS = """Targets at sigma 25: blind mean at least 0.5 dB above NLM, within 0.8 dB of CBM3D, within 0.3 dB of the peak, none
worse than 0.8 dB below its peak."""


def run(study: Study) -> Path:
    """Every picture under every kind of noise, those already in the CSV left out; then the section of results.md."""
    for kind in KINDS:
        for name in PICTURES[:1] if study.scale == "smoke" else PICTURES:
            measure(study, kind, name)
    return study.write_section("Denoising", section(study))


def measure(study: Study, kind: str, name: str) -> None:
    """Add one row, unless it is there (from an earlier run, or from one beside this)."""
    if any((row["noise"], row["picture"]) == (kind, name) for row in study.rows()):
        return
    clean, noisy = specimen(study, kind, name)
    study.keep({"noise": kind, "picture": name, **measured(clean, noisy, smoke=study.scale == "smoke")})


def specimen(study: Study, kind: str, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A clean picture and its noisy version, central crops."""
    side = SIDE[study.scale]
    if study.scale == "smoke":
        clean = generated_picture(side)
        return clean, like(kind, clean)
    clean = center_crop(study.picture(f"early_stopping/clean/{name}.png"), side)
    if kind == "sigma 25":
        return clean, with_gaussian_noise(clean, 25 / 255, SEED)
    return clean, center_crop(study.picture(f"early_stopping/{kind}/{name}.png"), side)


def like(kind: str, clean: torch.Tensor) -> torch.Tensor:
    """Noise like that of the stored files: Gaussian of 0.12, speckle of 0.35, half of the values black or white."""
    generator = torch.Generator().manual_seed(SEED)
    if kind == "speckle_3":
        return (clean * (1 + 0.35 * torch.randn(clean.shape, generator=generator))).clamp(0, 1)
    if kind == "impulse_3":
        draw = torch.rand(clean.shape, generator=generator)
        return torch.where(draw < 0.25, torch.zeros(()), torch.where(draw < 0.5, torch.ones(()), clean))
    return with_gaussian_noise(clean, 25 / 255 if kind == "sigma 25" else 0.12, SEED)


def measured(clean: torch.Tensor, noisy: torch.Tensor, *, smoke: bool = False) -> Row:
    """One row: the rivals, then this library, which sees the clean picture only after it has answered."""
    sigma = float((noisy - clean).square().mean().sqrt())
    row: Row = {
        "noisy": dB(noisy, clean),
        "nlm": dB(non_local_means(noisy), clean),
        "tv": dB(tv_denoising(noisy), clean),
    }
    try:
        row["bm3d"] = float("nan") if smoke else dB(bm3d_told_sigma(noisy, sigma), clean)
    except MissingExtra:
        row["bm3d"] = float("nan")
    begin = time.perf_counter()
    fit = denoise(noisy, recipe=replace(FAST, steps=40, restarts=2) if smoke else FAST)
    preparing = time.perf_counter() - begin
    curve = scores_of(fit, lambda image: dB(image, clean), lookahead=1.5)
    result = fit.result()
    peak = max(curve)
    return row | {
        "blind": dB(result.image, clean),
        "peak": peak,
        "peak_step": curve.index(peak) + 1,
        "kept_steps": " ".join(map(str, result.kept_step)),
        "steps": result.steps,
        "seconds": preparing + result.seconds,
        "decided": result.remarks[0].split(" of ")[0].split(":")[0] if result.remarks else "",
        "rule": fit.current.rule.name,
        "threads": result.threads,
    }


def dB(image: torch.Tensor, clean: torch.Tensor) -> float:  # noqa: N802
    """PSNR of one picture, clipped to its range."""
    return float(psnr(image.clamp(0, 1), clean))


def section(study: Study) -> str:
    """Tables by kind of noise, and the targets."""
    rows = study.rows()
    columns = ("noisy", "nlm", "tv", "bm3d", "blind", "peak")
    header = ["picture", "noisy", "NLM", "TV", "BM3D told sigma", "**blind**", "peak", "kept steps", "seconds"]
    side = SIDE[study.scale]
    source = (
        f"A generated picture of {side} x {side}."
        if study.scale == "smoke"
        else (
            f"Central crops of {side} x {side} of early_stopping; sigma 25 by torch seed {SEED}, other kinds as stored."
        )
    )
    parts = [
        f"{source} NLM and TV (scikit-image) estimate sigma; BM3D is told the true deviation. Fast recipe "
        f"(one fit), seed 0, kind and strength of the noise not told. Rows: `{study.table.name}`."
    ]
    for kind in KINDS:
        chosen = [row for row in rows if row["noise"] == kind]
        if not chosen:
            continue
        lines = [
            [r["picture"], *(float(r[c]) for c in columns), r["kept_steps"], f"{float(r['seconds']):.0f}"]
            for r in chosen
        ]
        means = [statistics.fmean(float(r[c]) for r in chosen) for c in columns]
        seconds = statistics.fmean(float(r["seconds"]) for r in chosen)
        lines.append([f"**mean of {len(chosen)}**", *means, "", f"{seconds:.0f}"])
        parts.append(f"### {kind}\n\n{markdown_table(header, lines)}")
        if kind == "sigma 25" and study.scale != "smoke":
            parts.append(verdict(chosen))
    return "\n\n".join(parts)


def verdict(rows: list[Row]) -> str:
    """The targets beside what was reached."""
    mean = {c: statistics.fmean(float(r[c]) for r in rows) for c in ("nlm", "bm3d", "blind", "peak")}
    worst = max(rows, key=lambda r: float(r["peak"]) - float(r["blind"]))
    loss = float(worst["peak"]) - float(worst["blind"])
    checks = [
        ("above NLM by 0.5 dB", mean["blind"] - mean["nlm"], mean["blind"] - mean["nlm"] >= 0.5),
        ("below CBM3D by at most 0.8 dB", mean["bm3d"] - mean["blind"], mean["bm3d"] - mean["blind"] <= 0.8),
        ("below the peak by at most 0.3 dB, mean", mean["peak"] - mean["blind"], mean["peak"] - mean["blind"] <= 0.3),
        (f"below its peak by at most 0.8 dB, worst ({worst['picture']})", loss, loss <= 0.8),
    ]
    table = markdown_table(["target", "measured, dB", "met"], [[a, b, "yes" if c else "no"] for a, b, c in checks])
    return f"{TARGETS}\n\n{table}"
