"""The figure of an explanation: its panels in a row, and its curves below."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preimage.extras import extra
from preimage.figures.restoration import displayed, figure_of_panels, label_curves, save_figure, show_panel
from preimage.images.film import write_film

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 5
FIRST_MS = 1200  # of the picture, before the film goes on


def explanation_figure(explanation: Any) -> Figure:
    """Panels of an Explanation above, the loss and every group of curves below.

    Example:
        >>> save_figure(explanation_figure(counterfactual("a.png", classifier="model.pt").run()), "figure.png")  # doctest: +SKIP
    """
    columns = min(_COLUMNS, len(explanation.panels))
    rows = math.ceil(len(explanation.panels) / columns)
    size, ratios = (max(6.0, 3.0 * columns), 2.7 * rows + 2.4), (2.7 * rows, 2.4)
    figure, places, lower = figure_of_panels(size, ratios, rows, columns)
    for axes, (title, panel) in zip(places, explanation.panels.items(), strict=False):
        show_panel(axes, panel[0].numpy() if is_heat_map(title, panel) else displayed(panel), title)
    _curves(lower, explanation)
    return figure


def is_heat_map(title: str, panel: Any) -> bool:
    """Whether a panel (c, h, w) is shown in the colors of heat instead of gray."""
    return panel.shape[0] == 1 and "heat" in title


def strip_figure(counterfactual: Any) -> Figure:
    """A Counterfactual from none of its change to all of it, with the probability of the target above each image."""
    with extra("figures"):
        from matplotlib.figure import Figure

    strip, name = counterfactual.strengths()[::5], counterfactual.classes[counterfactual.target]
    figure = Figure(figsize=(2.6 * len(strip), 2.9), dpi=150, layout="constrained")
    places = figure.subplots(1, len(strip))
    for axes, (share, image), probability in zip(places, strip, counterfactual.along_strengths[::5], strict=True):
        show_panel(axes, displayed(image[0]), f"{share:.0%}: {name} {probability:.2f}")
    return figure


def save_change_film(counterfactual: Any, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write the film from the picture to the counterfactual, GIF or WebP: ever more of the change, and its effect."""
    import numpy as np

    with extra("figures"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    name = counterfactual.classes[counterfactual.target]
    figure = Figure(figsize=(3.6, 3.9), dpi=120, layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.subplots()
    stages = zip(counterfactual.strengths(), counterfactual.along_strengths, strict=True)
    titled = [(image, f"{share:.0%}: {name} {probability:.2f}") for (share, image), probability in stages]
    before = float(counterfactual.probabilities["given"][counterfactual.target])
    frames = []
    for image, title in [(counterfactual.given, f"picture: {name} {before:.2f}"), *titled]:
        axes.clear()
        show_panel(axes, displayed(image[0]), title)
        canvas.draw()
        frames.append(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    return write_film(frames, Path(path), first_ms=FIRST_MS, overwrite=overwrite)


def curves_figure(explanation: Any) -> Figure:
    """The loss and the curves of an Explanation, without panels."""
    with extra("figures"):
        from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 2.8), dpi=120, layout="constrained")
    _curves(figure.subfigures(1, 1), explanation)
    return figure


def save_explanation_figure(explanation: Any, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write the figure of an explanation as PNG."""
    return save_figure(explanation_figure(explanation), path, overwrite=overwrite)


def save_strip_figure(counterfactual: Any, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write the strip of a counterfactual as PNG."""
    return save_figure(strip_figure(counterfactual), path, overwrite=overwrite)


def _curves(place: Any, explanation: Any) -> None:
    first, *others = place.subplots(1, 1 + len(explanation.curves), squeeze=False)[0]
    losses = {name: explanation.history[name][:, 0] for name in explanation.history.names}
    for name, values in losses.items():
        first.plot(range(1, len(values) + 1), values.numpy(), linewidth=0.8, label=name)
    if all(bool((values > 0).all()) for values in losses.values()):
        first.set_yscale("log")
    label_curves(first, "loss by its terms", legend=True)
    for axes, (title, lines) in zip(others, explanation.curves.items(), strict=True):
        for name, curve in lines.items():
            label = f" {name}" if name.startswith("_") else name  # else matplotlib leaves it out of the legend
            axes.plot([step for step, _ in curve], [value for _, value in curve], linewidth=1.0, label=label)
        label_curves(axes, title, kept=explanation.kept_step[:1], legend=True)
    place.suptitle(f"{explanation.task}: {explanation.reason[:120]}", fontsize=8, parse_math=False)
