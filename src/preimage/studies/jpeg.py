"""JPEG artifacts: pictures of quality 10 and 20 as a file gives them, and one real file, whose truth nobody has.

[U] shows a figure only (2400 steps, without the quantization table).
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

from preimage.restore.remove_jpeg_artifacts import FAST, remove_jpeg_artifacts
from preimage.studies.crops import center_multiple, pillow_of, tensor_of
from preimage.studies.panels import save_panels, titled
from preimage.studies.peaks import blind_beside_peak, dB, size_of
from preimage.studies.scales import Row, Study, generated_picture
from preimage.studies.tables import FITTED, Target, mean, rows_table, verdict

PICTURES = ("zebra", "ppt3", "comic", "flowers", "monarch")
QUALITIES = {"quality 10": 10, "quality 20": 20}
FILE = "real file"
SNAIL = "dip_paper/denoising/snail.jpg"
MULTIPLE = 16  # the blocks of 4:2:0, so that none reaches over the edge


def run(study: Study) -> Path:
    """Every picture at each quality and the file, those already in the CSV left out; then the section of results.md."""
    names = PICTURES[:1] if study.scale == "smoke" else PICTURES
    for kind, name in [*((kind, name) for kind in QUALITIES for name in names), (FILE, "snail")]:
        if not any((row["jpeg"], row["picture"]) == (kind, name) for row in study.rows()):
            measure(study, kind, name)
    return study.write_section("JPEG artifacts", section(study))


def measure(study: Study, kind: str, name: str) -> None:
    """Add one row; the library is given the JPEG alone, as a Pillow image that knows its quantization table."""
    clean, coded = specimen(study, kind, name)
    given = tensor_of(coded)
    row: Row = {
        "jpeg": kind,
        "picture": name,
        "size": size_of(given),
        "input": float("nan") if clean is None else dB(given, clean),
    }
    recipe = replace(FAST, steps=20, restarts=2) if study.scale == "smoke" else FAST
    result, fitted = blind_beside_peak(
        lambda: remove_jpeg_artifacts(coded, recipe=recipe), None if clean is None else lambda image: dB(image, clean)
    )
    if clean is None or name == PICTURES[0]:
        panels = [(titled("JPEG", row["input"]), given), (titled("ours", fitted["blind"]), result.image)]
        if clean is not None:
            panels.append(("truth", clean))
        save_panels(panels, study.figure(f"{study.name}-{name}-{kind.split()[-1]}.png"))
    study.keep(row | fitted)


def specimen(study: Study, kind: str, name: str) -> tuple[torch.Tensor | None, Image.Image]:
    """A clean picture, where there is one, and the JPEG made of it in memory: Pillow's default, 4:2:0."""
    if kind == FILE:
        if study.scale == "smoke":
            return None, encoded(generated_picture(32), 20)
        return None, Image.open(study.path(SNAIL))
    if study.scale == "smoke":
        clean = generated_picture(32)
    else:
        clean = study.picture(f"restoration/set14/{name}.png")
        clean = center_multiple(clean, 256, MULTIPLE) if study.scale == "small" else clean
    return clean, encoded(clean, QUALITIES[kind])


def encoded(picture: torch.Tensor, quality: int) -> Image.Image:
    """The JPEG of a picture, opened again from memory."""
    buffer = io.BytesIO()
    pillow_of(picture).save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def section(study: Study) -> str:
    """A table for each quality and for the file, and the targets."""
    cut = {
        "smoke": "A generated picture of 32 x 32.",
        "small": f"Central crops of at most 256 x 256 of set14, sides multiples of {MULTIPLE}.",
        "paper": "Pictures of set14, whole.",
    }[study.scale]
    parts = [
        f"{cut} Made JPEG by Pillow (4:2:0) and given as such, so that the quantization table is read; PSNR of RGB. The real "
        f"file is whole at every scale, its truth not known. Fast recipe (one fit), seed 0. "
        f"Figures: `{study.name}-PICTURE-*.png`; rows: `{study.table.name}`."
    ]
    columns = {"picture": "picture", "size": "size", "JPEG": "input"} | FITTED
    for kind in (*QUALITIES, FILE):
        rows = [row for row in study.rows() if row["jpeg"] == kind]
        if rows:
            title = kind[:1].upper() + kind[1:]
            parts.append(f"### {title}\n\n{rows_table(rows, columns, ('input', 'blind', 'peak'))}")
        if rows and kind != FILE and study.scale != "smoke":
            parts.append(verdict(targets(rows)))
    return "\n\n".join(parts)


def targets(rows: list[Row]) -> list[Target]:
    """What was aimed at for one quality, of means."""
    blind = mean(rows, "blind")
    return [
        Target(f"blind above the JPEG, mean of {len(rows)}", blind - mean(rows, "input"), 0.0),
        Target("blind below its peak, mean", mean(rows, "peak") - blind, 0.3, at_most=True),
    ]
