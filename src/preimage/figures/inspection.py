"""The figure of an inspection: the input, some of its early outputs, and the class probabilities over the steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from preimage.figures.restoration import displayed, figure_of_panels, label_curves, show_panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN, _NAMED = 5, 4  # early outputs, and classes
_LONGEST_NAME = 16


def inspection_figure(
    picture: torch.Tensor, inspection: Any, classes: Sequence[str], *, threshold: float | None = None, title: str = ""
) -> Figure:
    """The image (c, h, w), early outputs under their class and its probability, and the probabilities as curves.

    Example:
        >>> save_figure(inspection_figure(image, inspection, classifier.classes), "figure.png")    # doctest: +SKIP

    inspection is an Inspection.
    """
    count = min(_SHOWN, len(inspection.steps))
    chosen = [round(k * (len(inspection.steps) - 1) / max(1, count - 1)) for k in range(count)]
    panels = [(picture, "input", inspection.given)]
    panels += [(inspection.outputs[k], f"step {inspection.steps[k]}", inspection.early[k]) for k in chosen]
    figure, places, lower = figure_of_panels((2.2 * (count + 1), 5.4), (2.3, 3), 1, count + 1)
    for axes, (image, name, probabilities) in zip(places, panels, strict=True):
        heading = f"{name}: {_top_class(probabilities, classes)}"
        show_panel(axes, displayed(image), heading, fontsize=8, sharp=True)
    _curves(lower.subplots(1, 1), inspection, classes)
    against = "no threshold" if threshold is None else f"threshold {threshold:.3f}"
    lower.suptitle(f"{title} disagreement {inspection.score:.3f}, {against}".strip(), fontsize=9, parse_math=False)
    return figure


def _curves(axes: Any, inspection: Any, classes: Sequence[str]) -> None:
    """The most probable classes of the input and its outputs, each as a line, the value of the input as a dot after it."""
    weight = torch.maximum(inspection.given, inspection.mean)
    after = inspection.steps[-1] * 1.04
    for index in weight.topk(min(_NAMED, len(weight))).indices.tolist():
        steps, values = zip(*inspection.curve(index), strict=True)
        (line,) = axes.plot(steps, values, linewidth=1.2, label=f" {classes[index]}")
        axes.plot([after], [float(inspection.given[index])], "o", color=line.get_color(), markersize=5)
    axes.axvspan(inspection.counted, inspection.steps[-1], color="0.93", zorder=0)
    label_curves(axes, "", legend=True, x="step (gray: steps that count for the score; dots: the input)")
    axes.set_ylabel("probability", fontsize=8)
    axes.set_ylim(-0.03, 1.03)


def _top_class(probabilities: torch.Tensor, classes: Sequence[str]) -> str:
    index = int(probabilities.argmax())
    name = classes[index] if len(classes[index]) <= _LONGEST_NAME else f"{classes[index][: _LONGEST_NAME - 1]}…"
    return f"{name} {float(probabilities[index]):.2f}"
