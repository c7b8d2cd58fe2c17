"""A preview: the middle of an image alone, in seconds, and how long the whole will take."""

from __future__ import annotations

import torch

from preimage.errors import InputError
from preimage.images import Picture
from preimage.jobs.job import Job
from preimage.series.layout import Region, cut, cut_out

SIDE = 256
GRID = 16  # the blocks of a JPEG of 4:2:0 stay whole


def check_preview(job: Job) -> None:
    """Raise InputError for an option that makes no sense with a preview."""
    if not job.run.preview:
        return
    others = {
        "--warm-start": job.options.get("warm_start", False),
        "--tile": isinstance(job.options.get("tile"), int),
        "--autosave": job.run.autosave is not None,
        "--resume": job.run.resume,
    }
    for name, given in others.items():
        if given:
            raise InputError(f"--preview is of {SIDE} pixels alone, got {name}: leave one of them out", code="option")


def middle(height: int, width: int) -> Region:
    """Page, rows and columns of the middle of the first page."""
    spans = []
    for length in (height, width):
        start = max(0, (length - SIDE) // 2) // GRID * GRID
        spans.append(slice(start, min(start + SIDE, length)))
    return slice(0, 1), spans[0], spans[1]


def middle_of(picture: Picture) -> Picture:
    """The middle as a picture of its own."""
    return cut_out(picture, middle(*picture.tensor.shape[-2:]))


def middle_of_reference(reference: torch.Tensor, picture: Picture) -> torch.Tensor:
    """The same place in a reference, which may be a whole number of times as large."""
    page, rows, columns = middle(*picture.tensor.shape[-2:])
    scale = max(1, reference.shape[-2] // picture.tensor.shape[-2])
    rows, columns = (slice(scale * place.start, scale * place.stop) for place in (rows, columns))
    return cut(reference, (page, rows, columns))


def projected(seconds: float, shape: tuple[int, ...]) -> str:
    """How long the whole (b, c, h, w) takes if the preview took so many seconds: time grows with the pixels."""
    pages, _, height, width = shape
    _, rows, columns = middle(height, width)
    share = (rows.stop - rows.start) * (columns.stop - columns.start) / (pages * height * width)
    whole = seconds / share
    words = f"{whole:.0f} s" if whole < 120 else f"{whole / 60:.0f} minutes"
    return f"the middle {columns.stop - columns.start} x {rows.stop - rows.start} pixels; the whole will take about {words}"
