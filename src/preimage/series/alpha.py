"""Transparency that is enlarged with the colors: alpha is one more channel of x, and is taken off its result."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch.nn import functional

from preimage.engine.fit import Fit
from preimage.engine.result import Result
from preimage.images import Picture
from preimage.images.alpha import unit_alpha, with_alpha, without_hidden_color


def seen(picture: Picture, *, fills_missing: bool) -> tuple[Picture, tuple[str, ...]]:
    """The picture as it is to be fitted, and what is to be said of it: as it is for a task that fills in what is transparent."""
    found = picture if fills_missing else without_hidden_color(picture)
    said = "transparent pixels have colors that no one sees: the visible ones beside them were fitted in their place"
    return found, () if found is picture else (said,)


def colors_and_alpha(part: Picture) -> torch.Tensor:
    """(b, c + 1, h, w): the colors and alpha, 0 transparent to 1 opaque."""
    alpha = unit_alpha(part)
    alpha = torch.ones_like(part.tensor[:, :1]) if alpha is None else alpha
    return torch.cat([part.tensor, alpha.expand(len(part.tensor), -1, -1, -1)], 1)


class AlphaFit(Fit):
    """A Fit whose x has alpha as its last channel; its problem's `finish` takes it off, and the result's picture has it."""

    def result(self) -> Result:
        """As of any Fit, with the alpha that was fitted."""
        whole = copy.copy(self)
        finish = self.problem.finish or (lambda x: x)
        whole.problem = replace(self.problem, finish=None)
        found = Fit.result(whole)
        channels = found.image.shape[1] - 1
        return replace(
            found,
            image=finish(found.image),
            uncertainty=None if found.uncertainty is None else found.uncertainty[:, :channels],
            picture=None if self.picture is None else _bounded(self.picture, found.image[:, channels:]),
        )


def _bounded(picture: Picture, alpha: torch.Tensor) -> Picture:
    """The picture with an alpha that was fitted, kept between the least and the greatest around: what is opaque stays so."""
    given = unit_alpha(picture)
    if given is None:
        return with_alpha(picture, torch.ones_like(alpha))
    least, greatest = -functional.max_pool2d(-given, 3, 1, 1), functional.max_pool2d(given, 3, 1, 1)
    low, high = (functional.interpolate(each, size=alpha.shape[-2:]) for each in (least, greatest))
    return with_alpha(picture, torch.minimum(torch.maximum(alpha.cpu(), low), high))
