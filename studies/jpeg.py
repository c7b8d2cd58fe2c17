"""JPEG of quality 10 and 20: what this library brings back, and one real file, whose truth nobody has, as a figure."""

import torch
from PIL import Image

from preimage.restore.remove_jpeg_artifacts import remove_jpeg_artifacts
from studies.harness import Measured, Run, Study, figures, fits, imaging, tables

PICTURES = ("zebra", "ppt3", "comic", "flowers", "monarch")
QUALITIES = {"quality 10": 10, "quality 20": 20}
FILE, SNAIL = "real file", "dip_paper/denoising/snail.jpg"
MULTIPLE = 16  # the blocks of 4:2:0, so that none reaches over the edge
COLUMNS = tables.PICTURE | {"JPEG": "input:.2f"} | tables.FITTED


def measure(run: Run, kind: str, name: str):
    clean, coded = specimen(run, kind, name)
    given, recipe = imaging.tensor_of(coded), fits.named(run.smoke, remove_jpeg_artifacts, 20)
    row, panels, _ = fits.beside_rivals(
        lambda: remove_jpeg_artifacts(coded, recipe=recipe),
        None if clean is None else lambda image: imaging.dB(image, clean),
        {"input": given},
    )
    if clean is None or name == PICTURES[0]:
        figures.save_panels([*panels, *([] if clean is None else [("truth", clean)])], run.figure(name, kind))
    return {"size": imaging.size_of(given)} | row


def specimen(run: Run, kind: str, name: str) -> tuple[torch.Tensor | None, Image.Image]:
    if kind == FILE:
        return None, imaging.jpeg_of(run.picture("", 32), 20) if run.smoke else Image.open(run.path(SNAIL))
    clean = run.picture(f"restoration/set14/{name}.png", 32)
    clean = imaging.center_crop(clean, 256, MULTIPLE) if run.scale == "small" else clean
    return clean, imaging.jpeg_of(clean, QUALITIES[kind])


def aims(kind: str, rows):
    return [] if kind == FILE else tables.above(rows, {"the JPEG, mean of {}": "input"})


def values(run: Run):
    titles = {kind: kind.capitalize() for kind in (*QUALITIES, FILE)}
    return {"tables": tables.restorations(run.rows(), "jpeg", titles, COLUMNS, None if run.smoke else aims)}


def cases(run: Run):
    pictures = PICTURES[:1] if run.smoke else PICTURES
    return [*((kind, name) for kind in QUALITIES for name in pictures), (FILE, "snail")]


STUDY = Study(Measured(("jpeg", "picture"), cases, measure), values)
