"""Several defences out of one fit: the same recipe ended after different numbers of steps, as a table of them asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from preimage.defend.defence import BATCH, Defence, Purification
from preimage.defend.purification import FAST, fitting, purifying
from preimage.engine.recipe import Recipe
from preimage.errors import InputError


class SeveralSteps:
    """Purifications of one recipe that differ in the number of steps alone, which share a fit of the most steps.

    Each does what `Purification(recipe, steps)` does and describes itself alike, so that their rows of a table are the same. The
    outputs of the latest pictures, seed and streams are kept: who asks about these again, with another number of steps, has
    the answer at once. Where no seed is said there is nothing to share.

    Example:
        >>> fits = SeveralSteps(PAPER, (500, 750, 1000))
        >>> defences = {f"{steps} steps": fits.after(steps) for steps in fits.steps}

    Args:
        recipe: as of a Purification.
        steps: the numbers of steps.
        batch: pictures that are fitted side by side.

    Raises:
        InputError: no number of steps, or one below 1, or a batch below 1.
    """

    def __init__(self, recipe: Recipe, steps: Sequence[int], batch: int = BATCH) -> None:
        if not steps or min(steps) < 1 or batch < 1:
            raise InputError(f"steps and batch must be at least 1, got steps {list(steps)} and batch {batch}")
        self.recipe, self.steps, self.batch = recipe, tuple(steps), batch
        self._asked: tuple[torch.Tensor, int, list[int]] | None = None
        self._outputs: list[torch.Tensor] = []

    def after(self, steps: int) -> Defence:
        """The purification that ends after so many steps.

        Raises:
            InputError: a number that is none of `steps`.
        """
        if steps not in self.steps:
            raise InputError(f"these fits are looked at after {', '.join(map(str, self.steps))} steps, got {steps}")
        return _EndedAfter(self, steps)

    def outputs(self, images: torch.Tensor, seed: int, streams: Sequence[int]) -> list[torch.Tensor]:
        """What is handed out after each of the numbers of steps."""
        if not self._is_known(images, seed, list(streams)):
            each = [
                early_outputs(images[k : k + self.batch], self.steps, recipe=self.recipe, seed=seed, streams=own)
                for k in range(0, len(images), self.batch)
                for own in [list(streams)[k : k + self.batch]]
            ]
            self._outputs = [torch.cat(parts) for parts in zip(*each, strict=True)]
            self._asked = images.detach().clone(), seed, list(streams)
        return self._outputs

    def _is_known(self, images: torch.Tensor, seed: int, streams: list[int]) -> bool:
        if self._asked is None or self._asked[1:] != (seed, streams):
            return False
        kept = self._asked[0]
        return kept.dtype == images.dtype and kept.device == images.device and torch.equal(kept, images)


@dataclass(frozen=True, eq=False)
class _EndedAfter:
    """One of the purifications of a SeveralSteps."""

    fits: SeveralSteps
    steps: int

    def __call__(
        self, images: torch.Tensor, seed: int | None = None, streams: Sequence[int] | None = None
    ) -> torch.Tensor:
        if seed is None:
            return self._alone(images)
        own = [0] * len(images) if streams is None else streams
        return self.fits.outputs(images, seed, own)[self.fits.steps.index(self.steps)]

    def describe(self) -> dict[str, Any]:
        return self._alone.describe()

    @property
    def _alone(self) -> Purification:
        return Purification(self.fits.recipe, self.steps, self.fits.batch)


def early_outputs(
    images: torch.Tensor,
    at: Sequence[int],
    *,
    recipe: Recipe = FAST,
    seed: int = 0,
    streams: Sequence[int] | None = None,
) -> list[torch.Tensor]:
    """What one fit of each image would return after several numbers of steps.

    Example:
        >>> [early.shape for early in early_outputs(torch.rand(8, 3, 32, 32), (1, 2))]
        [torch.Size([8, 3, 32, 32]), torch.Size([8, 3, 32, 32])]

    Args:
        images: (b, c, h, w) in 0 to 1, fitted side by side on their device, each with weights, code and jitter of its own.
        at: numbers of steps, each at least 1, in any order; the fit has the largest of them, whatever the recipe says.
        recipe: all but the number of steps.
        seed, streams: random seed, and of each image the stream of it; None: 0, 1, 2, ...

    Raises:
        InputError: no number of steps, or one below 1.
    """
    if not at or min(at) < 1:
        raise InputError(f"at must hold numbers of steps, each at least 1, got {list(at)}")
    recipe = replace(recipe, steps=max(at))
    found: dict[int, torch.Tensor] = {}
    with fitting(images.device):
        fit = purifying(images, recipe, seed, streams)
        found |= {step.index: step.picture for step in fit if step.index in at and step.index < recipe.steps}
        last = fit.result().image
    return [found.get(steps, last).to(images) for steps in at]
