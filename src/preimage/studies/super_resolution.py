"""Super-resolution by 4 and 8: this library blind beside bicubic and a total variation prior on the same problem.

[U] reports for Set14 at x4, whole pictures: 27.00 dB, bicubic 26.05, total variation 26.42 (mean of 14, Y channel).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from preimage.engine.recipe import Recipe
from preimage.networks import Pixels
from preimage.operators import Downsample, lanczos2
from preimage.restore.super_resolve import FAST, super_resolve
from preimage.studies.crops import center_multiple, eight_bit
from preimage.studies.panels import save_panels, titled
from preimage.studies.peaks import blind_beside_peak, size_of
from preimage.studies.published import COLUMN, ENLARGED, beside
from preimage.studies.rivals import bicubic_enlarged
from preimage.studies.scales import Row, Study, generated_picture
from preimage.studies.tables import FITTED, Target, mean, rows_table, verdict

SET5 = ("baby", "bird", "butterfly", "head", "woman")
SET14 = ("zebra", "ppt3", "comic", "flowers", "monarch")
PICTURES = {
    "zebra_GT": "dip_paper/sr/zebra_GT.png",
    **{name: f"restoration/set5/{name}.png" for name in SET5},
    **{name: f"restoration/set14/{name}.png" for name in SET14},
}
CASES = {4: tuple(PICTURES), 8: SET5}
SIDE = {"small": 256, "paper": 100_000}
MULTIPLE = 32
FIGURE = (4, "zebra_GT")

# Total variation on free pixels: the best mean of set14/pepper, coastguard and foreman (256-pixel crops), chosen by
# `python -m preimage.studies.rival_settings enlarge`. It sums over pixels, so the weight falls as pictures grow.
TV_WEIGHT = {4: 1e-7, 8: 2e-7}
TV_PIXELS = 256 * 256
PIXELS = Recipe(network=Pixels.Config(), jitter=0.0, averaging=0.0, steps=500, precision="float32", stop="steps")

_LUMA = (65.481 / 255, 128.553 / 255, 24.966 / 255)


def run(study: Study) -> Path:
    """Every picture at each factor, those already in the CSV left out; then the section of results.md."""
    for factor, names in CASES.items():
        for name in names[:1] if study.scale == "smoke" else names:
            if not any((row["factor"], row["picture"]) == (factor, name) for row in study.rows()):
                measure(study, factor, name)
    return study.write_section("Super-resolution", section(study))


def measure(study: Study, factor: int, name: str) -> None:
    """Add one row: the rivals, then this library, which sees the small picture alone."""
    smoke = study.scale == "smoke"
    clean = specimen(study, factor, name)
    small = eight_bit(Downsample(lanczos2(factor), factor)(clean))
    recipe = replace(FAST, steps=20) if smoke else FAST
    bicubic = bicubic_enlarged(small, factor)
    row: Row = {
        "factor": factor,
        "picture": name,
        "size": size_of(clean),
        "bicubic": luma_psnr(bicubic, clean, factor),
        "tv": luma_psnr(tv_enlarged(small, factor, steps=20 if smoke else PIXELS.steps), clean, factor),
    }
    result, fitted = blind_beside_peak(
        lambda: super_resolve(small, factor=factor, recipe=recipe), lambda image: luma_psnr(image, clean, factor)
    )
    if (factor, name) == FIGURE:
        panels = [
            (f"given, {small.shape[-1]} x {small.shape[-2]}", small),
            (titled("bicubic", row["bicubic"]), bicubic),
            (titled("ours", fitted["blind"]), result.image),
            ("truth", clean),
        ]
        save_panels(panels, study.figure(f"{study.name}-{name}.png"))
    study.keep(row | fitted)


def specimen(study: Study, factor: int, name: str) -> torch.Tensor:
    """A clean picture whose sides are multiples of 32: its center, or the whole but for the rest of that division."""
    if study.scale == "smoke":
        return generated_picture(16 * factor)
    return center_multiple(study.picture(PICTURES[name]), SIDE[study.scale], MULTIPLE)


def tv_enlarged(small: torch.Tensor, factor: int, *, weight: float | None = None, steps: int = 500) -> torch.Tensor:
    """arg min || Phi(x) - y ||^2 + weight TV(x) over pixels, by Adam: total variation instead of the network."""
    pixels = small.shape[-2] * small.shape[-1] * factor**2
    weight = TV_WEIGHT[factor] if weight is None else weight
    recipe = replace(PIXELS, steps=steps)
    return super_resolve(small, factor=factor, recipe=recipe, tv=weight * TV_PIXELS / pixels).run().image


def luma(image: torch.Tensor) -> torch.Tensor:
    """Y of BT.601, 16 to 235 of 255, as super-resolution is measured: (b, 3, h, w) in 0..1 -> (b, h, w) in 0..1."""
    return 16 / 255 + torch.einsum("c,bchw->bhw", torch.tensor(_LUMA), image.clamp(0, 1))


def luma_psnr(image: torch.Tensor, clean: torch.Tensor, border: int) -> float:
    """PSNR in dB of Y, for a peak of 255, a border of so many pixels left out, as [U] does."""
    difference = (luma(image) - luma(clean))[:, border:-border, border:-border]
    return float(-10 * difference.square().mean().log10())


def section(study: Study) -> str:
    """A table for each factor, and the targets."""
    smoke = study.scale == "smoke"
    cut = {
        "smoke": "A generated picture.",
        "small": f"Central crops of at most 256 x 256, sides multiples of {MULTIPLE} (zebra_GT and zebra are nearly the same).",
        "paper": f"Whole pictures but for sides cut to multiples of {MULTIPLE}.",
    }[study.scale]
    parts = [
        f"{cut} Made small by Lanczos2 and rounded to 8 bits. PSNR of the Y channel (BT.601, 16 to 235), a border of `factor` "
        f"pixels cut, as [U]. Bicubic: Pillow's. TV: free pixels with total variation, {PIXELS.steps} steps of Adam, its "
        f"weight ({TV_WEIGHT[4]:g} at x4, {TV_WEIGHT[8]:g} at x8, at 256 x 256) chosen on set14/pepper, coastguard and foreman. "
        f"Fast recipe, seed 0. [U], all of Set14 at x4: 27.00 dB, bicubic 26.05, TV 26.42; its column is of whole pictures, "
        f"larger than these crops, and its mean of those that it has. "
        f"Figure: `{study.name}-{FIGURE[1]}.png`; rows: `{study.table.name}`."
    ]
    columns = {"picture": "picture", "size": "size", "bicubic": "bicubic", "TV": "tv"} | FITTED | {COLUMN: COLUMN}
    for factor in CASES:
        rows = [beside(row, ENLARGED[factor]) for row in study.rows() if row["factor"] == factor]
        if rows:
            parts.append(f"### x{factor}\n\n{rows_table(rows, columns, ('bicubic', 'tv', 'blind', 'peak', COLUMN))}")
            parts.append(verdict(targets(rows, factor)) if not smoke else "")
    return "\n\n".join(filter(None, parts))


def targets(rows: list[Row], factor: int) -> list[Target]:
    """What was aimed at, of means."""
    blind, bicubic, tv, peak = (mean(rows, column) for column in ("blind", "bicubic", "tv", "peak"))
    return [
        Target(f"blind above bicubic, mean of {len(rows)}", blind - bicubic, 0.8 if factor == 4 else 0.0),
        Target("blind above TV, mean", blind - tv, 0.0),
        Target("blind below its peak, mean", peak - blind, 0.3, at_most=True),
    ]
