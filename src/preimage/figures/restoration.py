"""The figure of a restoration, drawn without a display; equal results give equal bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from preimage.errors import InputError
from preimage.images import Picture, write_bytes_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = Sequence[tuple[int, float]]

_MAGENTA_GREEN = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])


class Restored(Protocol):
    """What the figure shows of a Result."""

    @property
    def image(self) -> torch.Tensor: ...
    @property
    def picture(self) -> Picture | None: ...
    @property
    def history(self) -> Any: ...
    @property
    def kept_step(self) -> list[int]: ...
    @property
    def task(self) -> str: ...
    @property
    def reason(self) -> str: ...


def restoration_figure(
    result: Restored,
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
        image: (b, c, h, w), shown as "after" instead of the result (a blend with the input, say).
        reference: the ground truth, (b, c, h, w).
        scores, psnrs: (step, value) of the stopping rule's score and of the PSNR in dB.

    Of several pages the first is shown.
    """
    from matplotlib.figure import Figure

    after = (result.image if image is None else image)[0].cpu()
    before = None if result.picture is None else result.picture.tensor[0]
    limits = (0.0, 1.0) if result.picture is None else display_range(result.picture)
    shown = [("before", before), ("after", after), ("reference", None if reference is None else reference[0].cpu())]
    panels = [(title, displayed(picture, limits)) for title, picture in shown if picture is not None]
    if before is not None and before.shape == after.shape:
        panels.insert(2, ("difference", _difference(after - before)))
    figure = Figure(figsize=(3.2 * len(panels), 6.0), dpi=150, layout="constrained")
    rows: Any = figure.subfigures(2, 1, height_ratios=(3, 2))
    pictures, curves = rows
    places = pictures.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, picture) in zip(places, panels, strict=True):
        axes.imshow(picture, vmin=0, vmax=1, interpolation="nearest" if max(picture.shape) < 256 else "antialiased")
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
    _curves(curves, result, scores, psnrs)
    return figure


def save_figure(figure: Figure, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a figure as PNG, whole or not at all, without time or version in it.

    Raises:
        InputError: a name that does not end in .png, or a file that exists.
    """
    if Path(path).suffix.lower() != ".png":
        raise InputError(f"{path}: a figure is written as PNG: name it .png", code="format")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return write_bytes_atomically(path, buffer.getvalue(), overwrite=overwrite)


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


def _curves(place: Any, result: Restored, scores: Curve, psnrs: Curve) -> None:
    curves = [(name, curve) for name, curve in (("stop curve", scores), ("PSNR, dB", psnrs)) if len(curve)]
    every = place.subplots(1, 1 + len(curves), squeeze=False)[0]
    loss = result.history["loss"]
    every[0].plot(range(1, len(loss) + 1), loss.numpy(), linewidth=0.8)
    _finish(every[0], "loss", result.kept_step)
    if bool((loss[loss.isfinite()] > 0).all()) and len(loss):
        every[0].set_yscale("log")
    for axes, (name, curve) in zip(every[1:], curves, strict=True):
        axes.plot([step for step, _ in curve], [value for _, value in curve], linewidth=0.9)
        _finish(axes, name, result.kept_step)
    place.suptitle(f"{result.task}: {_shortened(result.reason)}", fontsize=8)


def _finish(axes: Axes, name: str, kept: list[int]) -> None:
    for step in kept:
        axes.axvline(step, color="0.4", linestyle=":", linewidth=0.8)
    axes.set_title(f"{name} (dotted: kept)", fontsize=9)
    axes.set_xlabel("step", fontsize=8)
    axes.tick_params(which="both", labelsize=7)


def _shortened(text: str, most: int = 110) -> str:
    # A dollar sign would begin a formula.
    text = text.replace("$", "")
    return text if len(text) <= most else f"{text[: most - 3]}..."
