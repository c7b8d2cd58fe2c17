"""Sheets: pictures in rows and columns, of files that are kept one by one, so that a study that goes on shows them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from preimage.figures.restoration import displayed, save_figure
from preimage.images import as_picture, read


def keep_picture(picture: torch.Tensor, path: Path) -> Path:
    """Write a picture (1, c, h, w) in 0 to 1 as a PNG of 8 bits."""
    return as_picture(picture.clamp(0, 1)).write(picture.clamp(0, 1), path, overwrite=True)


def save_sheet(
    rows: Sequence[str], columns: Sequence[str], place: Callable[[str, str], Path], path: Path
) -> Path | None:
    """Write the pictures that are there, each row's name at its left and each column's above; None where none is there.

    Args:
        place: the file of a row and a column.
    """
    from matplotlib.figure import Figure

    held = {(row, column): place(row, column) for row in rows for column in columns}
    shown = {key: read(file).tensor[0] for key, file in held.items() if file.exists()}
    if not shown:
        return None
    height, width = next(iter(shown.values())).shape[-2:]
    side = 1.9
    size = (side * len(columns) + 0.5, (side * height / width + 0.2) * len(rows) + 0.3)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for i, row in enumerate(rows):
        axes[i, 0].set_ylabel(row, fontsize=9)
        for j, column in enumerate(columns):
            axes[i, j].set_xticks([])
            axes[i, j].set_yticks([])
            axes[i, j].set_frame_on(False)
            if i == 0:
                axes[i, j].set_title(column, fontsize=9)
            if (row, column) in shown:
                axes[i, j].imshow(displayed(shown[row, column]), vmin=0, vmax=1)
    return save_figure(figure, path, overwrite=True)
