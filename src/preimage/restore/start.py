"""What every restoration task does once its Problem is stated: build the prior of the recipe, and hand out the Run.

A picture that does not fit into memory is cut into tiles: what a task decided on the whole picture holds for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, Literal

import torch

from preimage.engine.checkpoint import fingerprint
from preimage.engine.devices import choose_device, free_memory
from preimage.engine.fit import Fit
from preimage.engine.memory import expected_bytes
from preimage.engine.recipe import Recipe
from preimage.engine.result import Result
from preimage.engine.run import Run
from preimage.errors import InputError
from preimage.images import Picture
from preimage.problem import Problem
from preimage.rng import checked_seed
from preimage.series.layout import SMALLEST_SIDE, checked
from preimage.series.tiles import Tiles
from preimage.stopping import StoppingRule

Initial = Result | Sequence[dict[str, Any]] | None
Tile = int | tuple[int, int] | Literal["auto"] | None

SIDES = (1024, 768, 512, 384, 256)  # of a tile's result, from which auto takes the largest that fits


def start(
    task: str,
    problem: Callable[..., Problem],
    picture: Picture,
    recipe: Recipe,
    *,
    rule: Callable[[Problem], StoppingRule],
    scale: int = 1,
    margin: tuple[int, int] = (0, 0),
    restarts: int | None = None,
    initial: Initial = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    options: dict[str, Any] | None = None,
    remarks: tuple[str, ...] = (),
    code: torch.Tensor | None = None,
    missing: torch.Tensor | None = None,
    fitted: bool = False,
    tile: Tile = None,
    grid: int = 1,
    from_end: tuple[bool, bool] = (False, False),
) -> Run:
    """The Run of a task: a fit of `restarts` members for each page of the picture, or the tiles of it.

    Args:
        problem: states what is sought, `problem(part)` of the picture or of a tile of it; with `fitted` also
            `problem(part, kernel)`, with the kernel that was fitted in the first tile.
        rule: the rule for a problem.
        scale, margin: x is so many times as large as the picture, and then larger by (rows, columns) on every side.
        code: an image to start from instead of the recipe's noise, (b, c, h, w).
        missing: (b or 1, 1 or c, h, w), True where a value is not known; a part has it as `part.missing`.
        tile: side of the tiles, or (side, overlap), in pixels of the picture; "auto": none unless memory asks for them.
        grid, from_end: where tiles may begin, as in Tiles.
    """
    restarts = recipe.restarts if restarts is None else restarts
    if restarts < 1:
        raise InputError(f"restarts must be at least 1, got {restarts}")
    seed = checked_seed(seed)
    whole = picture if missing is None else replace(picture, missing=missing.expand_as(picture.tensor))

    def fit(part: Picture, *, seed: int, code: Any = code, taught: torch.Tensor | None = None) -> Fit:
        pages, channels, height, width = part.tensor.shape
        size = (scale * height + 2 * margin[0], scale * width + 2 * margin[1])
        image = code.tensor if isinstance(code, Picture) else code
        stated = problem(part) if taught is None else problem(part, taught)
        if part is not whole:  # a regularizer is a sum over pixels, E a mean over those that are known
            ratio = _known(whole) / _known(part)
            stated = replace(
                stated, regularizers=tuple((strength * ratio, each) for strength, each in stated.regularizers)
            )
        own = rule(stated)
        return Fit(
            stated,
            recipe.prior(channels, size, members=pages * restarts, seed=seed, device=device, code=image),
            recipe=recipe,
            rule=own,
            restarts=restarts,
            seed=seed,
            initial=initial,
            picture=picture if part is whole else part,
            task=task,
            fingerprint={
                **(options or {}),
                "recipe": recipe.describe(),
                "rule": own.name,
                "restarts": restarts,
                "seed": seed,
                "input": fingerprint(part.tensor),
            },
            remarks=remarks,
        )

    def needed(height: int, width: int) -> int | None:
        size = (scale * height + 2 * margin[0], scale * width + 2 * margin[1])
        members = restarts * (len(picture.tensor) if (height, width) == picture.tensor.shape[-2:] else 1)
        return expected_bytes(
            recipe, picture.tensor.shape[1], size, members=members, device=device, code=code is not None
        )

    side, overlap, said = _tiling(picture, tile, needed, scale=scale, device=device)
    if side is None or max(picture.tensor.shape[-2:]) <= side:
        return fit(whole, seed=seed)
    return Tiles(
        fit,
        whole,
        side=side,
        overlap=_reaching(side, max(margin)) if overlap is None else overlap,
        grid=grid,
        from_end=from_end,
        seed=seed,
        beside={} if code is None else {"code": replace(picture, tensor=code, alpha=None, missing=None)},
        teach=_mean_kernel if fitted else None,
        remarks=said,
    )


# ---------------------------------------------------------------------- tiles


def _tiling(
    picture: Picture, tile: Tile, needed: Callable[[int, int], int | None], *, scale: int, device: str | torch.device
) -> tuple[int | None, int | None, tuple[str, ...]]:
    """Side and overlap of the tiles, None for the picture as a whole, and what is to be said of it."""
    if tile is None:
        return None, None, ()
    if tile != "auto":
        side, overlap = tile if isinstance(tile, tuple | list) and len(tile) == 2 else (tile, None)
        return checked(side, overlap)[0], overlap, ()
    height, width = picture.tensor.shape[-2:]
    sides = [max(SMALLEST_SIDE, side // scale) for side in SIDES]
    if max(height, width) <= sides[-1]:
        return None, None, ()
    free = free_memory(choose_device(device))
    whole = needed(height, width)
    if free is None or whole is None or whole <= free:
        return None, None, ()
    # Beside the fit: the mean so far and its weights, a copy of them, and the spread over the restarts.
    canvas = 0 if choose_device(device).type != "cpu" else 5 * picture.tensor.numel() * scale**2 * 4
    side = next((side for side in sides if (needed(side, side) or 0) + canvas <= free), sides[-1])
    said = (
        f"cut into tiles of {side} pixels, for the picture as a whole needs about {whole / 1e9:.1f} GB of memory "
        f"and {free / 1e9:.1f} GB is free"
    )
    return side, None, (said,)


def _reaching(side: int, margin: int) -> int:
    """The overlap of tiles if none is said: an eighth of the side, and far enough that a blur's edge is left out."""
    return min(max(side // 8, 8, 4 * margin), (side - 1) // 2)


def _known(picture: Picture) -> float:
    """How many values of a page are known."""
    values = picture.tensor[0].numel()
    return values if picture.missing is None else values * (1 - float(picture.missing.float().mean()))


def _mean_kernel(result: Result) -> torch.Tensor:
    """What the restarts of one tile found the kernel to be."""
    kernels: list[Any] = [operator.kernel for operator in result.operators]  # pyright: ignore[reportAttributeAccessIssue]
    return torch.stack(kernels).detach().mean(0).cpu()


# ---------------------------------------------------------------------- recipes


def variant(recipe: Recipe, base: Recipe, other: Recipe) -> Recipe:
    """`other`, with what `recipe` changes in `base`, if it has the base's network; else the recipe as it is.

    So that a user's --steps or --rate hold whichever of a task's settings the picture asks for.
    """
    if recipe.network != base.network:
        return recipe
    settings = [field.name for field in fields(Recipe)]
    changed = {name: getattr(recipe, name) for name in settings if getattr(recipe, name) != getattr(base, name)}
    return replace(other, **changed)
