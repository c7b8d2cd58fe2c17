"""Whether a saliency map is true of the classifier: what happens to the class as its most salient pixels come or go.

Insertion: a blurred picture gets its pixels back, the most salient first; a true map makes the probability of the class rise
early, and the area under the curve is near 1. Deletion: the picture loses them; a true map makes it fall early, and the area is
near 0. Petsiuk, Das, Saenko, RISE, BMVC 2018, section 3.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from preimage.defend.checks import device_of, evaluating
from preimage.defend.logits import (
    Target,
    checked_model,
    checked_pictures,
    pictures_a_pass,
    probability_of,
    target_numbers,
    whole_number,
)
from preimage.errors import InputError
from preimage.operators.blur import Blur
from preimage.operators.kernels import gaussian

Emptied = Literal["black", "blur"]

STEPS = 50
BLUR = 1 / 16  # standard deviation over the short side: colors and masses are left


@dataclass(frozen=True, eq=False)
class Curve:
    """The target's probability over the share of pixels that were inserted or deleted, for each of b pictures.

    shares (steps + 1,), from 0 to 1; probabilities (b, steps + 1).
    """

    shares: torch.Tensor
    probabilities: torch.Tensor

    @property
    def area(self) -> torch.Tensor:
        """The area under the curve by the trapezoid rule, (b,), 0 to 1: the score."""
        return torch.trapezoid(self.probabilities, self.shares, dim=1)


def insertion(
    model: nn.Module,
    pictures: torch.Tensor,
    maps: torch.Tensor,
    target: Target,
    *,
    steps: int = STEPS,
    blur: float = BLUR,
    internal_batch_size: int | None = None,
) -> Curve:
    """The probability of a class as the most salient pixels are put into the blurred picture: the higher, the truer the map.

    Example:
        >>> insertion(classifier, x, saliency_map, "mel").area            # doctest: +SKIP
        tensor([0.7412])

    Args:
        model: a Classifier, or an nn.Module that returns logits (b, classes).
        pictures: (b, c, h, w), as the model takes them.
        maps: (b, 1, h, w), or (b, h, w): how salient each pixel is. Pixels of one value come in the order of the picture's rows,
            from the top left.
        target: the class of all pictures or one for each, by number, for a Classifier by name too.
        steps: of equally many pixels, up to rounding, at least 1 and at most h w.
        blur: standard deviation of the Gaussian over the picture's short side, above 0. A sixteenth is chosen here; RISE blurs
            less, by 5 of 224 pixels.
        internal_batch_size: pictures in one pass; None: a million pixels.

    Raises:
        InputError: maps of another size than the pictures or with values that are not finite, a class that is not there, steps
            or a blur that cannot be.

    Source: Petsiuk, Das, Saenko, RISE: Randomized Input Sampling for Explanation of Black-box Models, BMVC 2018.
    """
    return _curve(model, pictures, maps, target, steps, internal_batch_size, start=("blur", blur))


def deletion(
    model: nn.Module,
    pictures: torch.Tensor,
    maps: torch.Tensor,
    target: Target,
    *,
    to: Emptied = "black",
    steps: int = STEPS,
    blur: float = BLUR,
    internal_batch_size: int | None = None,
) -> Curve:
    """The probability of a class as the most salient pixels are taken away: the lower, the truer the map.

    Example:
        >>> deletion(classifier, x, saliency_map, "mel", to="blur").area  # doctest: +SKIP
        tensor([0.1033])

    Args:
        to: what stands where pixels are gone: "black", 0, or "blur", the blurred picture that `insertion` begins with. Black
            holes are unlike any picture the model has learned from; a blur is less strange and hides less.
        model, pictures, maps, target, steps, blur, internal_batch_size: as for `insertion`.

    Raises:
        InputError: as `insertion`, or another word for `to`.

    Source: as `insertion`.
    """
    if to not in get_args(Emptied):
        raise InputError(f"pixels are deleted to {' or '.join(get_args(Emptied))}, got {to!r}")
    return _curve(model, pictures, maps, target, steps, internal_batch_size, end=(to, blur))


def blurred(pictures: torch.Tensor, blur: float = BLUR) -> torch.Tensor:
    """Pictures (b, c, h, w) without what is smaller than a share of their short side."""
    if not 0 < blur <= 1:
        raise InputError(
            f"blur must be a share of the short side, above 0 and at most 1, got {blur}: {BLUR} is the default"
        )
    side = min(pictures.shape[-2:])
    sigma = blur * side
    # Reflection needs a kernel that reaches no further than the picture.
    kernel = gaussian(sigma, size=2 * max(1, min(round(3 * sigma), (side - 1) // 2)) + 1)
    return Blur(kernel.to(pictures), boundary="reflect")(pictures)


def ranks_of(maps: torch.Tensor) -> torch.Tensor:
    """Of each pixel its place in the order, 0 for the most salient, (b, 1, h, w); equal ones in the order of the rows."""
    flat = maps.detach().cpu().flatten(1)
    order = flat.sort(dim=1, descending=True, stable=True).indices
    ranks = torch.empty_like(order).scatter_(1, order, torch.arange(flat.shape[1]).expand_as(order))
    return ranks.reshape(len(maps), 1, *maps.shape[-2:])


def _curve(
    model: nn.Module,
    pictures: torch.Tensor,
    maps: torch.Tensor,
    target: Target,
    steps: int,
    size: int | None,
    *,
    start: tuple[Emptied, float] | None = None,
    end: tuple[Emptied, float] | None = None,
) -> Curve:
    """From an emptied start to the pictures, or from the pictures to an emptied end."""
    checked_model(model)
    x = checked_pictures(pictures, "pictures")
    maps = _checked_maps(maps, x)
    targets = target_numbers(model, target, len(x))
    pixels = x.shape[-2] * x.shape[-1]
    if whole_number(steps, "steps") > pixels:
        raise InputError(f"steps must be at most the {pixels} pixels of a picture, got {steps}: give {pixels} or fewer")
    size = None if size is None else whole_number(size, "internal_batch_size")
    x = x.to(device_of(model, x.device))
    before, after = (_emptied(x, *each) if each else x for each in (start, end))
    counts = [round(pixels * step / steps) for step in range(steps + 1)]
    ranks = ranks_of(maps).to(x.device)
    probabilities = []
    with evaluating(model), torch.no_grad():
        for owners, so_many in _passes(len(x), counts, pictures_a_pass(x.shape, size)):
            changed = ranks[owners] < torch.tensor(so_many, device=x.device).reshape(-1, 1, 1, 1)
            shown = torch.where(changed, after[owners], before[owners])
            probabilities.append(probability_of(model, shown, targets and [targets[owner] for owner in owners]))
    found = torch.cat(probabilities).cpu() if probabilities else torch.zeros(0)
    return Curve(torch.tensor(counts, dtype=torch.float32) / pixels, found.float().reshape(len(x), steps + 1))


def _passes(pictures: int, counts: list[int], size: int) -> Iterator[tuple[list[int], list[int]]]:
    """The pictures of each pass, and how many pixels of each are changed."""
    every = [(owner, count) for owner in range(pictures) for count in counts]
    for first in range(0, len(every), size):
        owners, so_many = zip(*every[first : first + size], strict=True)
        yield list(owners), list(so_many)


def _emptied(x: torch.Tensor, to: Emptied, blur: float) -> torch.Tensor:
    return torch.zeros_like(x) if to == "black" else blurred(x, blur)


def _checked_maps(maps: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    if isinstance(maps, torch.Tensor) and maps.ndim == 3:
        maps = maps[:, None]
    wanted = (len(x), 1, *x.shape[-2:])
    if not isinstance(maps, torch.Tensor) or tuple(maps.shape) != wanted:
        found = tuple(maps.shape) if isinstance(maps, torch.Tensor) else type(maps).__name__
        raise InputError(
            f"the saliency maps are {found} and the pictures {tuple(x.shape)}: they must be {wanted}, channels merged"
        )
    if not bool(maps.isfinite().all()):
        raise InputError("the saliency maps have values that are not finite: no order can be made of them")
    return maps
