"""Faithfulness of a saliency map: the probability of the class while the most salient pixels are inserted or deleted.

Insertion: a blurred image gets its pixels back, the most salient first; under a faithful map the probability rises early, and
the area under the curve is near 1. Deletion: the image loses them; under a faithful map the probability falls early, and the
area is near 0. Petsiuk, Das, Saenko, RISE, BMVC 2018, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch
from torch import nn

from preimage.defend.checks import Target, checked_images, checked_model, target_numbers, whole_number
from preimage.defend.saliency import Deleted
from preimage.defend.users_model import at_rest, check_logits, device_of, images_per_pass, probability_of
from preimage.errors import InputError
from preimage.operators.blur import gaussian_blurred

STEPS = 50
# Standard deviation over the short side, chosen here: colors and masses are left. RISE blurs less, by 5 of 224 pixels.
BLUR = 1 / 16


@dataclass(frozen=True, eq=False)
class Curve:
    """The target's probability over the share of pixels that were inserted or deleted, for each of b images.

    shares (steps + 1,), from 0 to 1; probabilities (b, steps + 1).
    """

    shares: torch.Tensor
    probabilities: torch.Tensor

    @property
    def area(self) -> torch.Tensor:
        """The area under the curve by the trapezoid rule, (b,), 0 to 1: the score."""
        return torch.trapezoid(self.probabilities, self.shares, dim=1)


def insertion(
    model: nn.Module, images: torch.Tensor, maps: torch.Tensor, target: Target, *, steps: int = STEPS
) -> Curve:
    """The probability of a class as the most salient pixels are inserted into the blurred image; a higher area is better.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
        >>> x, maps = torch.rand(1, 3, 8, 8), torch.rand(1, 1, 8, 8)
        >>> insertion(model, x, maps, target=1, steps=4).probabilities.shape
        torch.Size([1, 5])

    Args:
        model: a Classifier, or an nn.Module that returns logits (b, classes).
        images: (b, c, h, w), in the range the model takes.
        maps: (b, 1, h, w), or (b, h, w): the saliency of each pixel. Equal ones are ranked in the order of the rows.
        target: the class of all images or one for each, by number, for a Classifier by name too.
        steps: number of steps of equally many pixels, up to rounding; 1 to h w.

    Raises:
        InputError: maps of another size than the images or not finite, an unknown class, or steps out of range.
    """
    x = _on_device_of(model, images)
    return _curve(model, blurred(x), x, maps, target, steps)


def deletion(
    model: nn.Module,
    images: torch.Tensor,
    maps: torch.Tensor,
    target: Target,
    *,
    to: Deleted = "black",
    steps: int = STEPS,
) -> Curve:
    """The probability of a class as the most salient pixels are deleted; a lower area is better. Arguments as for `insertion`.

    `to` is the replacement of deleted pixels: "black", 0, or "blur", the blurred image that `insertion` begins with. Black holes
    are far from the training data; a blur is nearer to it and hides less.
    """
    if to not in get_args(Deleted):
        raise InputError(f"pixels are deleted to {' or '.join(get_args(Deleted))}, got {to!r}")
    x = _on_device_of(model, images)
    return _curve(model, x, torch.zeros_like(x) if to == "black" else blurred(x), maps, target, steps)


def blurred(images: torch.Tensor) -> torch.Tensor:
    """Images (b, c, h, w) blurred by a Gaussian, its standard deviation a sixteenth of the short side."""
    return gaussian_blurred(images, BLUR * min(images.shape[-2:]))


def ranks_of(maps: torch.Tensor) -> torch.Tensor:
    """The rank of each pixel, 0 for the most salient, (b, 1, h, w); equal ones in the order of the rows."""
    order = maps.detach().cpu().flatten(1).argsort(dim=1, descending=True, stable=True)
    return order.argsort(dim=1).reshape(len(maps), 1, *maps.shape[-2:])


def _on_device_of(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    x = checked_images(images, "images", unit=False).detach()
    return x.to(device_of(checked_model(model), x.device))


def _curve(
    model: nn.Module, before: torch.Tensor, after: torch.Tensor, maps: torch.Tensor, target: Target, steps: int
) -> Curve:
    """The probabilities on the way from one batch of images (b, c, h, w) to the other, the most salient pixels first."""
    targets = target_numbers(model, target, len(before))
    pixels = before.shape[-2] * before.shape[-1]
    if whole_number(steps, "steps") > pixels:
        raise InputError(f"steps must be at most the {pixels} pixels of an image, got {steps}: give {pixels} or fewer")
    ranks = ranks_of(_checked_maps(maps, before)).to(before.device)
    counts = torch.tensor([round(pixels * step / steps) for step in range(steps + 1)])
    owners = torch.arange(len(before)).repeat_interleave(len(counts))
    size, probabilities = images_per_pass(before.shape), []
    with at_rest(model), torch.no_grad():
        check_logits(model, after)
        for own, count in zip(owners.split(size), counts.repeat(len(before)).split(size), strict=True):
            changed = ranks[own] < count.to(ranks.device).reshape(-1, 1, 1, 1)
            shown = torch.where(changed, after[own], before[own])
            probabilities.append(probability_of(model, shown, targets and [targets[owner] for owner in own.tolist()]))
    return Curve(counts.float() / pixels, torch.cat(probabilities).cpu().float().reshape(len(before), len(counts)))


def _checked_maps(maps: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    if isinstance(maps, torch.Tensor) and maps.ndim == 3:
        maps = maps[:, None]
    wanted = (len(x), 1, *x.shape[-2:])
    found = tuple(maps.shape) if isinstance(maps, torch.Tensor) else type(maps).__name__
    if found != wanted:
        message = f"the saliency maps are {found}: for these images they must be {wanted}, channels merged"
        raise InputError(message, code="shape")
    if not bool(maps.isfinite().all()):
        raise InputError("the saliency maps have values that are not finite: they cannot be ranked", code="range")
    return maps
