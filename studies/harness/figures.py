"""Figures of studies: pictures side by side, sheets of kept pictures, curves."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from preimage.figures.restoration import coded_figure, displayed, save_figure
from preimage.images import as_picture, read, write_bytes_atomically

LARGEST_ROW = 5


def save_panels(
    panels: Sequence[tuple[str, torch.Tensor]], path: Path, *, columns: int = LARGEST_ROW, width: float = 3.4
) -> Path:
    """Write (title, picture (b, c, h, w) in 0..1) as one PNG or JPEG; small ones are enlarged as they are.

    Args:
        columns: pictures in a row, at most.
        width: of one, in inches of 150 pixels.
    """
    columns = min(len(panels), columns)
    lines = -(-len(panels) // columns)
    tallest = max(picture.shape[-2] / picture.shape[-1] for _, picture in panels)
    figure = _figure(width * columns, (width * tallest + 0.12 * width) * lines)
    places = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes in places:
        axes.set_axis_off()
    for axes, (title, picture) in zip(places, panels, strict=False):
        axes.imshow(displayed(picture[0]), vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(title, fontsize=min(10, 5 * width))
    return _written(figure, path)


def with_dB(name: str, decibels: float) -> str:  # noqa: N802
    """ "ours, 27.13 dB", or the name alone where there is no truth."""
    return name if decibels != decibels else f"{name}, {decibels:.2f} dB"


def kernel_picture(kernel: torch.Tensor, side: int) -> torch.Tensor:
    """(kh, kw) -> (1, 1, side, side), in the middle of black, its largest value white."""
    picture = kernel.new_zeros(side, side)
    top, left = ((side - n) // 2 for n in kernel.shape)
    picture[top : top + kernel.shape[0], left : left + kernel.shape[1]] = kernel.detach() / kernel.detach().max()
    return picture[None, None]


def keep_picture(picture: torch.Tensor, path: Path) -> Path:
    """Write a picture (1, c, h, w) in 0 to 1 as a PNG of 8 bits."""
    return as_picture(picture.clamp(0, 1)).write(picture.clamp(0, 1), path, overwrite=True)


def kept(path: Path) -> torch.Tensor:
    """A picture that `keep_picture` wrote, (1, c, h, w)."""
    return read(path).tensor


def save_sheet(rows: Sequence[str], columns: Sequence[str], files: Sequence[Sequence[Path]], path: Path) -> Path | None:
    """Write the pictures that are there, each row's name at its left and each column's above; None where none is there.

    Args:
        files: of each row that of each column, kept by `keep_picture`, so that a study that goes on shows all.
    """
    shown = [kept(file)[0] if file.exists() else None for line in files for file in line]
    sizes = [picture.shape[-2:] for picture in shown if picture is not None]
    if not sizes:
        return None
    figure = _figure(1.9 * len(columns) + 0.5, (1.9 * sizes[0][0] / sizes[0][1] + 0.2) * len(rows) + 0.3)
    places = figure.subplots(len(rows), len(columns), squeeze=False)
    for axes, picture in zip(places.flat, shown, strict=True):
        axes.set(xticks=[], yticks=[], frame_on=False)
        if picture is not None:
            axes.imshow(displayed(picture), vmin=0, vmax=1)
    for axes, row in zip(places[:, 0], rows, strict=True):
        axes.set_ylabel(row, fontsize=9)
    for axes, column in zip(places[0], columns, strict=True):
        axes.set_title(column, fontsize=9)
    return save_figure(figure, path, overwrite=True)


def save_curves(
    panels: Mapping[str, Iterable[tuple[Any, ...]]], path: Path, ylabel: str, band: bool = False, **axes_options: Any
) -> Path:
    """Write curves against steps: a panel for each title, of (label, steps, values), dashed where a label begins with "-".

    Args:
        band: whether values are (mean, low, high).
    """
    figure = _figure(4 * len(panels), 3.4)
    places = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, lines) in zip(places, panels.items(), strict=True):
        for label, steps, values in lines:
            mean, low, high = values if band else (values, None, None)
            style = "--" if label.startswith("-") else "-"
            (line,) = axes.plot(steps, np.asarray(mean), style, linewidth=0.9, label=label.lstrip("-"))
            if low is not None and high is not None:
                axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
        axes.set(title=title, xlabel="step", **axes_options)
        axes.legend(fontsize=7)
    places[0].set_ylabel(ylabel)
    return save_figure(figure, path, overwrite=True)


def _written(figure: Any, path: Path) -> Path:
    """As PNG, or as JPEG by a name that ends so: a tenth of the bytes, for sheets that are committed."""
    if path.suffix != ".jpg":
        return save_figure(figure, path, overwrite=True)
    return write_bytes_atomically(path, coded_figure(figure, "jpg", pil_kwargs={"quality": 88}), overwrite=True)


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=150, layout="constrained")
