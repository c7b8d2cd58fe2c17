"""The figure of a restoration, drawn without a display; equal results give equal bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from preimage.errors import InputError
from preimage.extras import extra
from preimage.images import Picture, write_bytes_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = Sequence[tuple[int, float]]

_LARGEST_SHARP = 256  # pixels a side below which pixels are shown as squares
_MAGENTA_GREEN = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])


def restoration_figure(
    result: Any,
    *,
    image: torch.Tensor | None = None,
    reference: torch.Tensor | None = None,
    scores: Curve = (),
    psnrs: Curve = (),
) -> Figure:
    """Before, after, their difference (and the reference), above the loss and the curve of the stopping rule.

    Example:
        >>> save_figure(restoration_figure(denoise("photo.png").run()), "figure.png")    # doctest: +SKIP

    Args:
        result: a Result.
        image: (b, c, h, w), shown as "after" instead of the result (a blend with the input, say).
        reference: the ground truth, (b, c, h, w).
        scores, psnrs: (step, value) of the stopping rule's score and of the PSNR in dB.

    Of several pages the first is shown.
    """
    after = (result.image if image is None else image)[0].cpu()
    before = None if result.picture is None else result.picture.tensor[0]
    limits = (0.0, 1.0) if result.picture is None else display_range(result.picture)
    shown = [("before", before), ("after", after), ("reference", None if reference is None else reference[0].cpu())]
    as_shown = (lambda each: each) if result.picture is None else result.picture.shown
    panels = [(title, displayed(as_shown(picture), limits)) for title, picture in shown if picture is not None]
    if before is not None and before.shape == after.shape:
        panels.insert(2, ("difference", _difference(as_shown(after) - as_shown(before))))
    figure, places, curves = figure_of_panels((3.2 * len(panels), 6.0), (3, 2), 1, len(panels))
    for axes, (title, picture) in zip(places, panels, strict=True):
        show_panel(axes, picture, title, fontsize=10, sharp=True)
    _curves(curves, result, scores, psnrs)
    return figure


def figure_of_panels(
    size: tuple[float, float], ratios: tuple[float, float], rows: int, columns: int
) -> tuple[Figure, NDArray[Any], Any]:
    """A figure of (width, height) inches: axes for panels in its upper part, and the lower part, heights by ratios."""
    with extra("figures"):
        from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=150, layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=ratios)
    upper, lower = parts
    places = upper.subplots(rows, columns, squeeze=False).flatten()
    for axes in places:
        axes.set_axis_off()
    return figure, places, lower


def show_panel(axes: Any, image: Any, title: str, *, fontsize: int = 9, sharp: bool = False) -> None:
    """Show an array (h, w, 3) or (h, w), 0 to 1, under its title; sharp: pixels of a small one as squares."""
    interpolation = ("nearest" if max(image.shape) < _LARGEST_SHARP else "antialiased") if sharp else None
    axes.imshow(image, cmap="inferno", vmin=0, vmax=1, interpolation=interpolation)
    axes.set_title(title, fontsize=fontsize, parse_math=False)
    axes.set_axis_off()


def label_curves(axes: Any, title: str, *, kept: Sequence[int] = (), legend: bool = False, x: str = "step") -> None:
    """Title, name of x and legend of axes with curves, and a dotted line at each kept step."""
    for step in kept:
        axes.axvline(step, color="0.4", linestyle=":", linewidth=0.8)
    axes.set_title(title, fontsize=9, parse_math=False)
    axes.set_xlabel(x, fontsize=8)
    axes.tick_params(which="both", labelsize=7)
    if legend:
        for text in axes.legend(fontsize=7).get_texts():
            text.set_parse_math(False)


def save_figure(figure: Figure, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a figure as PNG, whole or not at all, without time or version in it.

    Raises:
        InputError: a name that does not end in .png, or a file that exists.
    """
    if Path(path).suffix.lower() != ".png":
        raise InputError(f"{path}: a figure is written as PNG: name it .png", code="format")
    return write_bytes_atomically(path, png_of(figure), overwrite=overwrite)


def png_of(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file, equal for equal figures."""
    return coded_figure(figure, "png", metadata={"Software": None})


def coded_figure(figure: Figure, file_format: str, **options: Any) -> bytes:
    """A figure as the bytes of a file of some format ("png", "jpg"), with options of matplotlib's savefig."""
    figure.draw_without_rendering()  # where images end is known by drawing, and titles above them are placed by that
    buffer = io.BytesIO()
    figure.savefig(buffer, format=file_format, **options)
    return buffer.getvalue()


def display_range(picture: Picture) -> tuple[float, float]:
    """The values shown black and white: 0 and 1 of an 8-bit picture; else the 0.1 % and 99.9 % quantiles, for a single hot pixel
    would stretch the range of a 16-bit or float file until nothing is visible.

    Example:
        >>> from preimage.images import as_picture
        >>> display_range(as_picture(np.zeros((16, 16), np.uint8)))
        (0.0, 1.0)
    """
    if picture.dtype == np.uint8:
        return 0.0, 1.0
    values = picture.tensor.flatten()
    values = values[:: max(1, values.numel() // 1_000_000)]
    low, high = (float(torch.quantile(values, share)) for share in (0.001, 0.999))
    return (low, high) if high > low else (0.0, 1.0)


def displayed(image: torch.Tensor, limits: tuple[float, float] = (0.0, 1.0)) -> NDArray[np.float32]:
    """An image of any number of channels as color: (c, h, w) -> (h, w, 3), 0 to 1.

    One channel is gray, two are magenta and green (distinguishable for the color-blind), three are color; of more the mean is
    shown, for any choice of three would be arbitrary.

    Example:
        >>> displayed(torch.rand(2, 16, 20)).shape
        (16, 20, 3)
    """
    low, high = limits
    scaled = ((image.detach().float().cpu() - low) / (high - low)).clamp(0, 1)
    if scaled.shape[0] == 2:
        scaled = torch.einsum("chw,cd->dhw", scaled, _MAGENTA_GREEN)
    elif scaled.shape[0] != 3:
        scaled = scaled.mean(0, keepdim=True).expand(3, -1, -1)
    return np.ascontiguousarray(scaled.movedim(0, -1).numpy())


def _difference(change: torch.Tensor) -> NDArray[np.float32]:
    """The change around mid-gray, stretched so that nearly all of it is visible."""
    shown = change if change.shape[0] == 3 else change.mean(0, keepdim=True)
    return displayed(0.5 + shown / (2 * largest(change)))


def largest(change: torch.Tensor) -> float:
    """The magnitude that 99.5 % of the values of a change are below, at least 1e-6, by which it is stretched for display."""
    values = change.abs().flatten()
    return max(float(torch.quantile(values[:: max(1, values.numel() // 1_000_000)], 0.995)), 1e-6)


def _curves(place: Any, result: Any, scores: Curve, psnrs: Curve) -> None:
    curves = [(name, curve) for name, curve in (("stop curve", scores), ("PSNR, dB", psnrs)) if len(curve)]
    first, *others = place.subplots(1, 1 + len(curves), squeeze=False)[0]
    loss = result.history["loss"]
    first.plot(range(1, len(loss) + 1), loss.numpy(), linewidth=0.8)
    label_curves(first, "loss (dotted: kept)", kept=result.kept_step)
    if bool((loss[loss.isfinite()] > 0).all()) and len(loss):
        first.set_yscale("log")
    for axes, (name, curve) in zip(others, curves, strict=True):
        axes.plot([step for step, _ in curve], [value for _, value in curve], linewidth=0.9)
        label_curves(axes, f"{name} (dotted: kept)", kept=result.kept_step)
    reason = result.reason.replace("$", "")  # which would begin a formula
    reason = reason if len(reason) <= 110 else f"{reason[:107]}..."
    place.suptitle(f"{result.task}: {reason}", fontsize=8)
