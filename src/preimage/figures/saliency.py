"""Saliency maps made visible: a map laid over the image, and a figure of several maps with their curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch

from preimage.figures.restoration import displayed, largest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLORS = "inferno"
_DIMMED = 0.6  # the image under the colors, so that they are brighter than anything in it
_STRONGEST = 0.9  # share of the color where the map is largest, so that even there the image is visible


class SaliencyPanel(Protocol):
    """What the figure shows of a saliency map: `map` is (1, 1, h, w), at least 0; `confidence` the target's probability."""

    @property
    def map(self) -> torch.Tensor: ...
    @property
    def method(self) -> str: ...
    @property
    def target_class(self) -> str: ...
    @property
    def confidence(self) -> float: ...


class FaithfulnessCurve(Protocol):
    """The target's probability (b, n) over the shares of inserted or deleted pixels (n,), and its area (b,)."""

    @property
    def shares(self) -> torch.Tensor: ...
    @property
    def probabilities(self) -> torch.Tensor: ...
    @property
    def area(self) -> torch.Tensor: ...


def overlay(
    picture: torch.Tensor, saliency_map: torch.Tensor, limits: tuple[float, float] = (0.0, 1.0)
) -> torch.Tensor:
    """The map in colors over the image in dim gray, (3, h, w) in 0 to 1; where the map is 0 only the image is visible.

    Example:
        >>> overlay(torch.rand(3, 32, 32), torch.rand(1, 32, 32)).shape
        torch.Size([3, 32, 32])

    Args:
        picture: (c, h, w).
        saliency_map: (1, h, w), at least 0; the value that 99.5 % are below is the brightest.
        limits: the image's values that are shown black and white.
    """
    import matplotlib

    heat = (saliency_map / largest(saliency_map)).clamp(0, 1).cpu()
    colors = torch.from_numpy(matplotlib.colormaps[_COLORS](heat[0].numpy())[..., :3]).float().movedim(-1, 0)
    gray = torch.from_numpy(displayed(picture, limits)).movedim(-1, 0).mean(0, keepdim=True)
    return torch.lerp(_DIMMED * gray.expand_as(colors), colors, _STRONGEST * heat)


def saliency_figure(
    picture: torch.Tensor,
    found: Sequence[SaliencyPanel],
    insertions: Sequence[FaithfulnessCurve],
    deletions: Sequence[FaithfulnessCurve],
    limits: tuple[float, float] = (0.0, 1.0),
) -> Figure:
    """The image and a panel for each map, above the insertion and deletion curves.

    Example:
        >>> save_figure(saliency_figure(picture, [found], [insertion_curve], [deletion_curve]), "figure.png")     # doctest: +SKIP

    `picture` is (c, h, w); all maps are of one target.
    """
    from matplotlib.figure import Figure

    columns = min(4, 1 + len(found))
    rows = -(-(1 + len(found)) // columns)
    width = max(7.0, 2.6 * columns)
    panel = min(1.5, picture.shape[-2] / picture.shape[-1]) * width / columns + 0.3  # with its title
    curves = 2.6 + 0.15 * ((len(found) + 1) // 2)  # with their legend of two columns
    figure = Figure(figsize=(width, panel * rows + curves), dpi=150, layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(panel * rows, curves))
    places = parts[0].subplots(rows, columns, squeeze=False).flatten()
    for axes in places:
        axes.set_axis_off()
    first = found[0]
    panels = [(f"{first.target_class}: {first.confidence:.2f}", torch.from_numpy(displayed(picture, limits)))]
    panels += [(each.method, overlay(picture, each.map[0], limits).movedim(0, -1)) for each in found]
    for axes, (title, shown) in zip(places, panels, strict=False):
        axes.imshow(shown.numpy(), vmin=0, vmax=1, interpolation="nearest" if max(shown.shape) < 256 else "antialiased")
        axes.set_title(title, fontsize=9, parse_math=False)
    judged = (("insertion", "inserted", insertions), ("deletion", "deleted", deletions))
    for axes, (name, done, of_all) in zip(parts[1].subplots(1, 2), judged, strict=True):
        for each, curve in zip(found, of_all, strict=True):
            label = f"{each.method}: {float(curve.area[0]):.3f}"
            axes.plot(curve.shares.numpy(), curve.probabilities[0].numpy(), linewidth=1.0, label=label)
        axes.set_title(f"{name}: probability of {first.target_class}", fontsize=9, parse_math=False)
        axes.set_xlabel(f"share of pixels {done}, most salient first", fontsize=8)
        axes.set_ylim(0, 1.05 * max(float(curve.probabilities[0].max()) for curve in of_all))
        axes.tick_params(labelsize=7)
        axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2, frameon=False)
    return figure
