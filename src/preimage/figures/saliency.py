"""Saliency maps made visible: a map laid over the image, and a figure of several maps with their curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from preimage.extras import extra
from preimage.figures.restoration import displayed, figure_of_panels, label_curves, largest, show_panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DIMMED = 0.6  # the image under the colors, so that they are brighter than anything in it
_STRONGEST = 0.9  # share of the color where the map is largest, so that even there the image is visible


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
    with extra("figures"):
        import matplotlib

    heat = (saliency_map / largest(saliency_map)).clamp(0, 1).cpu()
    colors = torch.from_numpy(matplotlib.colormaps["inferno"](heat[0].numpy())[..., :3]).float().movedim(-1, 0)
    gray = torch.from_numpy(displayed(picture, limits)).movedim(-1, 0).mean(0, keepdim=True)
    return torch.lerp(_DIMMED * gray.expand_as(colors), colors, _STRONGEST * heat)


def saliency_figure(
    picture: torch.Tensor,
    found: Sequence[Any],
    insertions: Sequence[Any],
    deletions: Sequence[Any],
    limits: tuple[float, float] = (0.0, 1.0),
) -> Figure:
    """The image and a panel for each map, above the insertion and deletion curves.

    Example:
        >>> save_figure(saliency_figure(picture, [found], [insertion_curve], [deletion_curve]), "figure.png")     # doctest: +SKIP

    Args:
        picture: (c, h, w).
        found: SaliencyMaps, all of one target; insertions, deletions: the FaithfulnessCurves of each.
    """
    columns = min(4, 1 + len(found))
    rows = -(-(1 + len(found)) // columns)
    width = max(7.0, 2.6 * columns)
    panel = min(1.5, picture.shape[-2] / picture.shape[-1]) * width / columns + 0.3  # with its title
    curves = 2.6 + 0.15 * ((len(found) + 1) // 2)  # with their legend of two columns
    size, ratios = (width, panel * rows + curves), (panel * rows, curves)
    figure, places, lower = figure_of_panels(size, ratios, rows, columns)
    target = found[0].target_class
    panels = [(f"{target}: {found[0].confidence:.2f}", displayed(picture, limits))]
    panels += [(each.method, overlay(picture, each.map[0], limits).movedim(0, -1).numpy()) for each in found]
    for axes, (title, shown) in zip(places, panels, strict=False):
        show_panel(axes, shown, title, sharp=True)
    judged = (("insertion", "inserted", insertions), ("deletion", "deleted", deletions))
    for axes, (name, done, of_all) in zip(lower.subplots(1, 2), judged, strict=True):
        for each, curve in zip(found, of_all, strict=True):
            label = f"{each.method}: {float(curve.area[0]):.3f}"
            axes.plot(curve.shares.numpy(), curve.probabilities[0].numpy(), linewidth=1.0, label=label)
        label_curves(axes, f"{name}: probability of {target}", x=f"share of pixels {done}, most salient first")
        axes.set_ylim(0, 1.05 * max(float(curve.probabilities[0].max()) for curve in of_all))
        axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2, frameon=False)
    return figure
