"""`--preview`: the middle of a picture alone, in seconds, and how long the whole will take."""

from __future__ import annotations

from dataclasses import replace

import torch

from preimage.cli.options import Options
from preimage.cli.places import Places
from preimage.errors import InputError
from preimage.images import Picture
from preimage.series.layout import Region, cut, cut_out

SIDE = 256
GRID = 16  # the blocks of a JPEG of 4:2:0 stay whole


def check_preview(options: Options) -> None:
    """What makes no sense beside it.

    Raises:
        InputError: naming the other option.
    """
    others = {
        "--warm-start": options.warm_start,
        "--tile": isinstance(options.tile, int),
        "--autosave": options.autosave is not None,
        "--resume": options.resume,
    }
    for name, given in others.items():
        if options.preview and given:
            raise InputError(f"--preview is of {SIDE} pixels alone, got {name} beside it: leave one of them out")


def previewed(places: Places) -> Places:
    """The files of a preview: NAME-task-preview.EXT unless a file was named."""
    output = places.output
    return replace(places, output=output.with_name(f"{output.stem}-preview{output.suffix}"))


def middle(picture: Picture) -> Region:
    """Page, rows and columns of the middle of the first page."""
    spans = []
    for length in picture.tensor.shape[-2:]:
        start = max(0, (length - SIDE) // 2) // GRID * GRID
        spans.append(slice(start, min(start + SIDE, length)))
    return slice(0, 1), spans[0], spans[1]


def middle_of(picture: Picture) -> Picture:
    """The middle as a picture of its own."""
    return cut_out(picture, middle(picture))


def middle_of_reference(reference: torch.Tensor, picture: Picture) -> torch.Tensor:
    """The same place in a reference, which may be a whole number of times as large."""
    page, rows, columns = middle(picture)
    scale = max(1, reference.shape[-2] // picture.tensor.shape[-2])
    rows, columns = (slice(scale * place.start, scale * place.stop) for place in (rows, columns))
    return cut(reference, (page, rows, columns))


def projected(seconds: float, picture: Picture) -> str:
    """How long the whole takes if the preview took so many seconds: time grows with the pixels."""
    pages, _, height, width = picture.tensor.shape
    _, rows, columns = middle(picture)
    share = (rows.stop - rows.start) * (columns.stop - columns.start) / (pages * height * width)
    whole = seconds / share
    words = f"{whole:.0f} s" if whole < 120 else f"{whole / 60:.0f} minutes"
    return f"the middle {columns.stop - columns.start} x {rows.stop - rows.start} pixels; the whole will take about {words}"
