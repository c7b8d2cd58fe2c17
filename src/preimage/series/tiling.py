"""Which tiles an image is cut into, or none: what was specified, or the largest that fit into the memory that is free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from preimage.engine.devices import choose_device, free_memory
from preimage.engine.memory import expected_bytes
from preimage.engine.result import Result
from preimage.images import Picture
from preimage.series.layout import SMALLEST_SIDE
from preimage.series.options import explicit_tiles
from preimage.series.plans import Plan
from preimage.tasks import FitOptions

SIDES = (1024, 768, 512, 384, 256)  # of a tile's result, from which auto takes the largest that fits
# Tiles that hand on their weights need not be large: on a CPU a step of 512 pixels takes the least time for each pixel, and the
# first tile, which takes most steps, is the smaller part. Above so many pixels they take a third of the time of the whole.
HANDED_ON, LARGE = 512, 4_000_000


def is_large(size: tuple[int, int], options: FitOptions) -> bool:
    """Whether an image of this height and width is fitted faster in tiles than as a whole, where a task can hand on or shrink."""
    return choose_device(options.device).type == "cpu" and size[0] * size[1] > LARGE


def tile_side(size: tuple[int, int], options: FitOptions) -> int:
    """The side of what is fitted at a time of a large image; its longer side where memory does not demand tiles."""
    if isinstance(options.tile, int):
        return options.tile
    return HANDED_ON if options.tile == "auto" and is_large(size, options) else max(size)


def tiling(
    plan: Plan, picture: Picture, options: FitOptions, *, warm: bool = False
) -> tuple[int | None, int | None, tuple[str, ...]]:
    """Side and overlap of the tiles, None for the image as a whole, and what is to be said of it.

    `warm`: whether tiles begin from the weights of the tile before.
    """
    if options.tile != "auto" or options.tile_overlap is not None or options.warm_start:
        return *explicit_tiles(options), ()
    (pages, _, height, width), scale = picture.tensor.shape, plan.scale
    sides = [max(SMALLEST_SIDE, side // scale) for side in SIDES]
    if max(height, width) <= sides[-1]:
        return None, None, ()
    device = choose_device(options.device)
    free, whole = free_memory(device), _needed(plan, picture, options, (height, width), pages)
    small = warm or plan.shrink > 1
    faster = small and is_large((height, width), options)
    sides = [side for side in sides if side <= HANDED_ON] if small and device.type == "cpu" else sides
    if free is None or whole is None or (whole <= free and not faster):
        return None, None, ()
    # Beside the fit: the mean so far and its weights, a copy of them, and the spread over the restarts.
    canvas = 0 if device.type != "cpu" else 5 * picture.tensor.numel() * scale**2 * 4
    fits = (side for side in sides if (_needed(plan, picture, options, (side, side)) or 0) + canvas <= free)
    side = next(fits, sides[-1])
    because = f"for the image as a whole needs about {whole / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB is free"
    if whole <= free:
        because = "for the image as a whole takes more steps"
        if warm:
            because = "each begun from the one before, for the image as a whole takes three times as long"
    return side, None, (f"cut into tiles of {side} pixels, {because}",)


def hands_on(plans: Sequence[Plan], options: FitOptions, *, named: bool) -> bool:
    """Whether each tile begins from the weights of the one before it. A recipe by value, and a rule or weights that were
    specified, are used as they are in every tile."""
    as_specified = not named or options.stop is not None or options.initial is not None
    return not as_specified and all(
        plan.warm is not None and plan.recipe.stop != "steps" and not plan.shares_kernel for plan in plans
    )


def _needed(plan: Plan, picture: Picture, options: FitOptions, size: tuple[int, int], pages: int = 1) -> int | None:
    """Bytes that a fit of so many pages of this height and width takes."""
    return expected_bytes(
        plan.recipe,
        plan.channels or picture.tensor.shape[1],
        plan.size_of_x(*size),
        members=plan.recipe.restarts * pages,
        device=options.device,
        code=plan.code is not None,
    )


def mean_kernel(result: Result) -> torch.Tensor:
    """The kernel that the restarts of one tile agreed on, which the others share."""
    kernels: list[Any] = [operator.kernel for operator in result.operators]  # pyright: ignore[reportAttributeAccessIssue]
    return torch.stack(kernels).detach().mean(0).cpu()
