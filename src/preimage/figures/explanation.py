"""The figure of an explanation: its panels in a row, and its curves below."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from preimage.figures.restoration import Curve, displayed, save_figure
from preimage.images import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 5


class Explained(Protocol):
    """What the figure and the page show of an explanation."""

    @property
    def task(self) -> str: ...
    @property
    def picture(self) -> Picture | None: ...
    @property
    def panels(self) -> Mapping[str, torch.Tensor]: ...
    @property
    def curves(self) -> Mapping[str, Mapping[str, Curve]]: ...
    @property
    def numbers(self) -> dict[str, Any]: ...
    @property
    def limits(self) -> tuple[str, ...]: ...
    @property
    def history(self) -> Any: ...
    @property
    def kept_step(self) -> Sequence[int]: ...
    @property
    def reason(self) -> str: ...
    @property
    def remarks(self) -> tuple[str, ...]: ...
    @property
    def recipe(self) -> Any: ...
    @property
    def steps(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def seed(self) -> int: ...
    @property
    def device(self) -> str: ...
    @property
    def precision(self) -> str: ...


class Strengths(Protocol):
    """What a strip shows of a counterfactual: its change at several strengths, and the probability of the target for each."""

    @property
    def classes(self) -> Sequence[str]: ...
    @property
    def target(self) -> int: ...
    @property
    def along_strengths(self) -> Sequence[float]: ...
    def strengths(self) -> list[tuple[float, torch.Tensor]]: ...


def explanation_figure(explanation: Explained) -> Figure:
    """Panels above, the loss and every group of curves below.

    Example:
        >>> save_figure(explanation_figure(counterfactual("a.png", classifier="model.pt").run()), "figure.png")  # doctest: +SKIP
    """
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(explanation.panels))
    rows = math.ceil(len(explanation.panels) / columns)
    figure = Figure(figsize=(max(6.0, 3.0 * columns), 2.7 * rows + 2.4), dpi=150, layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(2.7 * rows, 2.4))
    places = parts[0].subplots(rows, columns, squeeze=False).flatten()
    for axes in places:
        axes.set_axis_off()
    for axes, (title, picture) in zip(places, explanation.panels.items(), strict=False):
        if picture.shape[0] == 1 and "heat" in title:
            axes.imshow(picture[0].numpy(), cmap="inferno", vmin=0, vmax=1)
        else:
            axes.imshow(displayed(picture), vmin=0, vmax=1)
        axes.set_title(title, fontsize=9, parse_math=False)
    _curves(parts[1], explanation)
    return figure


def strip_figure(explanation: Strengths) -> Figure:
    """A counterfactual from none of its change to all of it, with the probability of the target above each image."""
    from matplotlib.figure import Figure

    strip = explanation.strengths()
    figure = Figure(figsize=(2.6 * len(strip), 2.9), dpi=150, layout="constrained")
    for axes, (share, picture), probability in zip(
        figure.subplots(1, len(strip)), strip, explanation.along_strengths, strict=True
    ):
        axes.imshow(displayed(picture[0]), vmin=0, vmax=1)
        title = f"{share:.0%}: {explanation.classes[explanation.target]} {probability:.2f}"
        axes.set_title(title, fontsize=9, parse_math=False)
        axes.set_axis_off()
    return figure


def curves_figure(explanation: Explained) -> Figure:
    """The loss and the curves, without panels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 2.8), dpi=120, layout="constrained")
    _curves(figure.subfigures(1, 1), explanation)
    return figure


def save_explanation_figure(explanation: Explained, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write the figure of an explanation as PNG."""
    return save_figure(explanation_figure(explanation), path, overwrite=overwrite)


def save_strip_figure(explanation: Strengths, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write the strip of a counterfactual as PNG."""
    return save_figure(strip_figure(explanation), path, overwrite=overwrite)


def _curves(place: Any, explanation: Explained) -> None:
    every = place.subplots(1, 1 + len(explanation.curves), squeeze=False)[0]
    history = explanation.history
    for name in history.names:
        values = history[name][:, 0]
        every[0].plot(range(1, len(values) + 1), values.numpy(), linewidth=0.8, label=name)
    every[0].set_title("loss by its terms", fontsize=9)
    if all(bool((history[name][:, 0] > 0).all()) for name in history.names):
        every[0].set_yscale("log")
    for axes, (title, lines) in zip(every[1:], explanation.curves.items(), strict=True):
        for name, curve in lines.items():
            axes.plot([step for step, _ in curve], [value for _, value in curve], linewidth=1.0, label=_label(name))
        axes.set_title(title, fontsize=9)
        for step in explanation.kept_step[:1]:
            axes.axvline(step, color="0.4", linestyle=":", linewidth=0.8)
    for axes in every:
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(which="both", labelsize=7)
        for text in axes.legend(fontsize=7).get_texts():
            text.set_parse_math(False)
    place.suptitle(f"{explanation.task}: {explanation.reason[:120]}", fontsize=8, parse_math=False)


def _label(name: str) -> str:
    """A name for a legend, from which matplotlib leaves out those that begin with an underscore."""
    return f" {name}" if name.startswith("_") else name
