"""Figures of studies: pictures side by side, each under its title."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from preimage.figures.restoration import displayed, save_figure

LARGEST_ROW = 5


def save_panels(panels: Sequence[tuple[str, torch.Tensor]], path: Path) -> Path:
    """Write (title, picture (b, c, h, w) in 0..1) as one PNG, at most five in a row; small ones are enlarged as they are."""
    from matplotlib.figure import Figure

    columns = min(len(panels), LARGEST_ROW)
    lines = -(-len(panels) // columns)
    height, width = panels[-1][1].shape[-2:]
    figure = Figure(figsize=(3.4 * columns, (3.4 * height / width + 0.4) * lines), dpi=150, layout="constrained")
    places = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes in places:
        axes.set_axis_off()
    for axes, (title, picture) in zip(places, panels, strict=False):
        axes.imshow(displayed(picture[0]), vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(title, fontsize=10)
    return save_figure(figure, path, overwrite=True)


def titled(name: str, decibels: float) -> str:
    """ "ours, 27.13 dB", or the name alone where there is no truth."""
    return name if decibels != decibels else f"{name}, {decibels:.2f} dB"


def kernel_picture(kernel: torch.Tensor, side: int) -> torch.Tensor:
    """(kh, kw) -> (1, 1, side, side), in the middle of black, its largest value white."""
    picture = kernel.new_zeros(side, side)
    kh, kw = kernel.shape
    top, left = (side - kh) // 2, (side - kw) // 2
    picture[top : top + kh, left : left + kw] = kernel.detach() / kernel.detach().max()
    return picture[None, None]
