"""The figure of an inspection: the input, some of its early outputs, and the class probabilities over the steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch

from preimage.figures.restoration import displayed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN, _NAMED = 5, 4  # early outputs, and classes
_LARGEST_NEAREST = 256  # pixels a side below which pixels are shown as squares


class Inspected(Protocol):
    """What the figure shows of an inspection: class probabilities of the input (classes,) and of early outputs."""

    @property
    def given(self) -> torch.Tensor: ...
    @property
    def mean(self) -> torch.Tensor: ...
    @property
    def steps(self) -> tuple[int, ...]: ...
    @property
    def early(self) -> torch.Tensor: ...
    @property
    def outputs(self) -> torch.Tensor: ...
    @property
    def counted(self) -> int: ...
    @property
    def score(self) -> float: ...
    def curve(self, index: int, /) -> list[tuple[int, float]]: ...


def inspection_figure(
    picture: torch.Tensor,
    inspection: Inspected,
    classes: Sequence[str],
    *,
    threshold: float | None = None,
    title: str = "",
) -> Figure:
    """The image (c, h, w), early outputs under their class and its probability, and the probabilities as curves.

    Example:
        >>> save_figure(inspection_figure(image, inspection, classifier.classes), "figure.png")    # doctest: +SKIP
    """
    from matplotlib.figure import Figure

    count = min(_SHOWN, len(inspection.steps))
    chosen = [round(k * (len(inspection.steps) - 1) / max(1, count - 1)) for k in range(count)]
    figure = Figure(figsize=(2.2 * (count + 1), 5.4), dpi=150, layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(2.3, 3))
    places = parts[0].subplots(1, count + 1)
    _panel(places[0], picture, f"input: {_top_class(inspection.given, classes)}")
    for axes, k in zip(places[1:], chosen, strict=True):
        title_of_step = f"step {inspection.steps[k]}: {_top_class(inspection.early[k], classes)}"
        _panel(axes, inspection.outputs[k], title_of_step)
    _curves(parts[1].subplots(1, 1), inspection, classes)
    against = "no threshold" if threshold is None else f"threshold {threshold:.3f}"
    parts[1].suptitle(f"{title} disagreement {inspection.score:.3f}, {against}".strip(), fontsize=9, parse_math=False)
    return figure


def _panel(axes: Any, picture: torch.Tensor, title: str) -> None:
    small = max(picture.shape[-2:]) < _LARGEST_NEAREST
    axes.imshow(displayed(picture), vmin=0, vmax=1, interpolation="nearest" if small else "antialiased")
    axes.set_title(title, fontsize=8, parse_math=False)
    axes.set_axis_off()


def _curves(axes: Any, inspection: Inspected, classes: Sequence[str]) -> None:
    """The most probable classes of the input and its outputs, each as a line, the value of the input as a dot after it."""
    weight = torch.maximum(inspection.given, inspection.mean)
    after = inspection.steps[-1] * 1.04
    for index in weight.topk(min(_NAMED, len(weight))).indices.tolist():
        steps, values = zip(*inspection.curve(index), strict=True)
        (line,) = axes.plot(steps, values, linewidth=1.2, label=f" {classes[index]}")
        axes.plot([after], [float(inspection.given[index])], "o", color=line.get_color(), markersize=5)
    axes.axvspan(inspection.counted, inspection.steps[-1], color="0.93", zorder=0)
    axes.set_xlabel("step (gray: steps that count for the score; dots: the input)", fontsize=8)
    axes.set_ylabel("probability", fontsize=8)
    axes.set_ylim(-0.03, 1.03)
    axes.tick_params(labelsize=7)
    for text in axes.legend(fontsize=7).get_texts():
        text.set_parse_math(False)


def _top_class(probabilities: torch.Tensor, classes: Sequence[str]) -> str:
    index = int(probabilities.argmax())
    return f"{_short(classes[index])} {float(probabilities[index]):.2f}"


def _short(name: str, most: int = 16) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
