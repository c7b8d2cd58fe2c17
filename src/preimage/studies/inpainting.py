"""Inpainting: half of the pixels, text, a hole, an object and 98 % missing; this library blind beside biharmonic equations.

[U] reports, for 50 % missing on 11 grey pictures: 33.48 dB, convolutional sparse coding 31.19. Kate and the library are
whole under their masks, so there is a truth; the vase is the very thing that its mask removes, so there is none.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from preimage.restore.inpaint import FAST, inpaint
from preimage.restore.missing import kind_of_missing
from preimage.studies.crops import center_multiple, reduced, reduced_mask
from preimage.studies.panels import save_panels, titled
from preimage.studies.peaks import blind_beside_peak, dB, size_of
from preimage.studies.published import COLUMN, HALF_MISSING, beside
from preimage.studies.rivals import biharmonic
from preimage.studies.scales import Row, Study, generated_picture
from preimage.studies.tables import FITTED, Target, mean, rows_table, verdict

HALF, SPARSE = "50 %", "98 %"
CASES = {
    HALF: ("barbara", "boats", "house", "cameraman"),
    "text": ("kate",),
    "hole": ("library",),
    "region": ("vase",),
    SPARSE: ("kate",),
}
NO_TRUTH = ("vase",)
SHARE = {HALF: 0.5, SPARSE: 0.98}
SEED = 1234
LARGEST_SHORT_SIDE = 300
TITLES = {
    HALF: "50 % of the pixels missing",
    "text": "Text over kate (dB inside the letters)",
    "hole": "Holes in library (dB inside the holes)",
    "region": "The vase removed (no truth)",
    SPARSE: "98 % of the pixels missing",
}


def run(study: Study) -> Path:
    """Every case, those already in the CSV left out; then the section of results.md."""
    for missing, names in CASES.items():
        for name in names[:1] if study.scale == "smoke" else names:
            if not any((row["missing"], row["picture"]) == (missing, name) for row in study.rows()):
                measure(study, missing, name)
    return study.write_section("Inpainting", section(study))


def measure(study: Study, missing: str, name: str) -> None:
    """Add one row and, but for the first case, a figure: biharmonic, then this library, neither seeing the missing pixels."""
    whole, known = specimen(study, missing, name)
    given = torch.where(known, whole, torch.zeros(()))
    truth = name not in NO_TRUTH
    inside = missing not in SHARE

    def score(image: torch.Tensor) -> float:
        return hole_psnr(image, whole, known) if inside else dB(image, whole)

    rival = biharmonic(given, known)
    row: Row = {
        "missing": missing,
        "picture": name,
        "size": size_of(whole),
        "percent": 100 * float((~known).float().mean()),
        "settings": kind_of_missing(~known),
        "biharmonic": score(rival) if truth else float("nan"),
    }
    recipe = replace(FAST, steps=20) if study.scale == "smoke" else FAST
    result, fitted = blind_beside_peak(
        lambda: inpaint(given, mask=known.float(), mask_white="known", recipe=recipe), score if truth else None
    )
    if missing != HALF:
        panels = [
            ("given", given),
            (titled("biharmonic", row["biharmonic"]), rival),
            (titled("ours", fitted["blind"]), result.image),
            ("truth" if truth else "before the mask", whole),
        ]
        save_panels(panels, study.figure(f"{study.name}-{name}-{missing.removesuffix(' %')}.png"))
    study.keep(row | fitted)


def specimen(study: Study, missing: str, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A whole picture, and (1, 1, h, w) True where a pixel is known."""
    if study.scale == "smoke":
        whole = generated_picture(32, channels=1 if missing == HALF else 3)
        return whole, random_mask(whole, SHARE[missing]) if missing in SHARE else drawn_mask(whole, missing)
    if missing == HALF:
        whole = study.picture(f"restoration/set11/{name}.png")
        whole = center_multiple(whole, 256, 1) if study.scale == "small" else whole
    else:
        whole = study.picture(f"dip_paper/inpainting/{name}.png")
    factor = 2 if study.scale == "small" and min(whole.shape[-2:]) > LARGEST_SHORT_SIDE else 1
    if missing in SHARE:
        whole = reduced(whole, factor)
        return whole, random_mask(whole, SHARE[missing])
    known = study.picture(f"dip_paper/inpainting/{name}_mask.png")[:, :1] > 0.5  # 255 is known
    return reduced(whole, factor), reduced_mask(known, factor)


def random_mask(picture: torch.Tensor, missing: float) -> torch.Tensor:
    """(1, 1, h, w), each pixel known with probability 1 - missing."""
    draws = torch.rand(1, 1, *picture.shape[-2:], generator=torch.Generator().manual_seed(SEED))
    return draws >= missing


def drawn_mask(picture: torch.Tensor, missing: str) -> torch.Tensor:
    """What stands for the stored masks in a smoke run: thin strokes, or a block in the middle."""
    height, width = picture.shape[-2:]
    known = torch.ones(1, 1, height, width, dtype=torch.bool)
    if missing == "text":
        known[..., height // 4 :: height // 4, width // 8 : -width // 8] = False
    else:
        size = 3 if missing == "hole" else 4
        known[..., height // size : -height // size, width // size : -width // size] = False
    return known


def hole_psnr(image: torch.Tensor, whole: torch.Tensor, known: torch.Tensor) -> float:
    """PSNR in dB over the values that are missing, all channels of them."""
    squares = (image.clamp(0, 1) - whole).square()
    return float(-10 * squares[(~known).expand_as(whole)].mean().log10())


def section(study: Study) -> str:
    """A table for each case, and the targets."""
    cut = {
        "smoke": "A generated picture of 32 x 32.",
        "small": (
            "set11 pictures whole (256 x 256); kate, library and vase, whose short side is above "
            f"{LARGEST_SHORT_SIDE}, reduced by 2 (each block of 2 x 2 averaged, and missing if any of it is)."
        ),
        "paper": "Pictures whole.",
    }[study.scale]
    parts = [
        f"{cut} Known pixels are exact in all results, and missing ones are 0 in what is given. Random masks by torch "
        f"seed {SEED}, one for all restarts. Biharmonic: scikit-image. kate and library are whole under their masks, which "
        "gives a truth (though nobody could tell which books were there); the vase is what its mask removes: there the "
        "figure is the result. Fast recipe, kind of gap not told, seed 0. [U], 50 % missing on 11 pictures: 33.48 dB, "
        f"convolutional sparse coding 31.19. Figures: `{study.name}-PICTURE-CASE.png`; rows: `{study.table.name}`."
    ]
    columns = {"picture": "picture", "size": "size", "missing, %": "percent", "settings": "settings"}
    columns |= {"biharmonic": "biharmonic"} | FITTED
    rows = study.rows()
    for missing, title in TITLES.items():
        chosen = [row | {"percent": f"{float(row['percent']):.1f}"} for row in rows if row["missing"] == missing]
        also = {COLUMN: COLUMN} if missing == HALF else {}
        chosen = [beside(row, HALF_MISSING) for row in chosen]
        if chosen:
            table = rows_table(chosen, columns | also, ("biharmonic", "blind", "peak", COLUMN))
            parts.append(f"### {title}\n\n{table}")
    if study.scale != "smoke":
        parts.append(verdict(targets(rows)))
    return "\n\n".join(parts)


def targets(rows: list[Row]) -> list[Target]:
    """What was aimed at, for each case that has a truth; 98 % missing had no aim."""
    aims = []
    for missing in (HALF, "text", "hole", "region"):
        chosen = [row for row in rows if row["missing"] == missing and row["picture"] not in NO_TRUTH]
        gain = mean(chosen, "blind") - mean(chosen, "biharmonic")
        if chosen:
            aims.append(
                Target(f"{missing}: blind above biharmonic, mean of {len(chosen)}", gain, 2.0 * (missing == HALF))
            )
        if missing == HALF:
            below = mean(chosen, "peak") - mean(chosen, "blind")
            aims.append(Target(f"{missing}: blind below its peak, mean", below, 0.3, at_most=True))
    return aims
