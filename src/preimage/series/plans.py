"""Plan: what a task decides on one image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from preimage.engine.recipe import Recipe
from preimage.images import Picture
from preimage.problem import Problem
from preimage.series.given import AsGiven
from preimage.stopping import After, StoppingRule, after


@dataclass(frozen=True, eq=False)
class WarmStart:
    """How a tile is fitted that begins from the weights of the tile before it: a part of the way is done.

    Args:
        recipe: of such a tile; its network is the plan's.
        rule: the rule for its problem.
        usual_steps: as in Plan.
    """

    recipe: Recipe
    rule: Callable[[Problem], StoppingRule]
    usual_steps: int | None = None


@dataclass(frozen=True, eq=False)
class Plan:
    """What a task decides on one image, (1, c, h, w).

    Args:
        problem: states what is sought, `problem(part)` for the image or a tile of it; with `shares_kernel` also
            `problem(part, kernel)`, with the kernel that was fitted in the first tile.
        recipe: adapted to the image.
        rule: the rule for a problem.
        warm: how tiles after the first are fitted, from the weights of the tile before; None: each begins anew.
        usual_steps: steps after which the rule ends most fits; None: not known, all steps of the recipe are expected.
        channels: of x; None: those of the image.
        shrink: x is so many times smaller than the image, rounded up, and `finish` of the problem enlarges it.
        scale, margin: x is so many times as large as the image, and then larger by (rows, columns) on every side.
        code: an image to start from instead of the recipe's code, (1, c, h, w).
        missing: (1, 1 or c, h, w), True where a value is not valid; a part has it as `part.missing`.
        offsets: what is taken off the image before it is fitted, (1, c, h or 1, w or 1); parts are cut out of what is left.
        picture: the image as its result is written, if not as it is.
        shares_kernel: whether the kernel of the operator is fitted, and tiles share it.
        has_alpha: whether the last of the channels is alpha, which `problem` has taken in and its `finish` takes off (AlphaFit).
        grid, from_end: where tiles may begin, as in Tiles.
        fingerprint: plain data by which a checkpoint knows what was decided, beside the options.
        remarks: what was decided, in plain sentences.
    """

    problem: Callable[..., Problem]
    recipe: Recipe
    rule: Callable[[Problem], StoppingRule] = lambda _: after()
    warm: WarmStart | None = None
    usual_steps: int | None = None
    channels: int | None = None
    shrink: int = 1
    scale: int = 1
    margin: tuple[int, int] = (0, 0)
    code: torch.Tensor | None = None
    missing: torch.Tensor | None = None
    offsets: torch.Tensor | None = None
    picture: Picture | None = None
    shares_kernel: bool = False
    has_alpha: bool = False
    grid: int = 1
    from_end: tuple[bool, bool] = (False, False)
    fingerprint: dict[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def size_of_x(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of x for a part of this height and width."""
        rows, columns = (self.scale * -(-side // self.shrink) for side in (height, width))
        return rows + 2 * self.margin[0], columns + 2 * self.margin[1]

    def as_given(self) -> Plan:
        """That for an image of which nothing can be restored: a fit of one step, of which nothing is returned."""
        return replace(self, recipe=replace(self.recipe, steps=1), rule=lambda _: AsGiven())

    def steps_expected(self, rule: StoppingRule) -> int | None:
        """How many steps a fit with this rule takes, as a rule; None if that is not known."""
        usual = rule.steps or self.recipe.steps if isinstance(rule, After) else self.usual_steps
        return None if usual is None else min(usual, self.recipe.steps)

    def warmed(self) -> Plan:
        """That for a tile which begins from the weights of the tile before."""
        if self.warm is None:
            return self
        return replace(self, recipe=self.warm.recipe, rule=self.warm.rule, usual_steps=self.warm.usual_steps)
