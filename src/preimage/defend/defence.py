"""Defences: a picture is cleaned before the classifier sees it, and the gradient passes as if nothing had been done to it.

Cleaning has no useful gradient of its own, so the backward pass takes it for the identity (BPDA: Athalye, Carlini, Wagner 2018):
whoever attacks the whole is told the way that is known to work best, instead of none.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import nn

from preimage.defend.checks import checked_pictures, device_of, logits_of
from preimage.defend.logits import checked_model
from preimage.defend.purify import FAST, early_outputs, for_size
from preimage.engine.recipe import Recipe
from preimage.errors import InputError

BATCH = 64  # pictures that are cleaned side by side
LARGEST_SEED = 2**31 - 1


class Cleaning(Protocol):
    """What every defence is: a function from pictures to pictures, with settings that can be written down.

    `seed` None: drawn from the operating system, so that nobody can know it, and each picture has random numbers of its own.
    A seed: each picture is cleaned as if it were alone, with the random numbers of that seed, or of one `stream` of it each.
    One that sets `differentiable` to True is made of PyTorch's functions, and its own gradient is used instead of the identity's.
    """

    def __call__(
        self, images: torch.Tensor, seed: int | None = None, streams: Sequence[int] | None = None
    ) -> torch.Tensor: ...

    def describe(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Purification:
    """The early output of the prior, as a cleaning: (b, c, h, w) in 0 to 1 -> the same, each picture a fit of its own.

    Example:
        >>> Purification()(torch.rand(8, 3, 32, 32)).shape
        torch.Size([8, 3, 32, 32])

    Args:
        recipe: FAST or PAPER of `purify`.
        steps: how many; None takes the recipe's.
        batch: pictures that are fitted side by side.
    """

    recipe: Recipe = FAST
    steps: int | None = None
    batch: int = BATCH

    def __post_init__(self) -> None:
        for name, value in (("steps", self.steps), ("batch", self.batch)):
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, got {value}")

    def __call__(
        self, images: torch.Tensor, seed: int | None = None, streams: Sequence[int] | None = None
    ) -> torch.Tensor:
        seed, streams = random_source(len(images), seed, streams)
        at = [for_size(self.recipe, images.shape[-2:], self.steps).steps]
        parts = zip(images.split(self.batch), _split(streams, self.batch), strict=True)
        return torch.cat(
            [early_outputs(part, at, recipe=self.recipe, seed=seed, streams=own)[0] for part, own in parts]
        )

    def describe(self) -> dict[str, Any]:
        """The recipe as plain data; not how many pictures are fitted at once, which changes nothing."""
        recipe = self.recipe if self.steps is None else replace(self.recipe, steps=self.steps, stop="steps")
        return {"kind": "Purification", "recipe": recipe.describe()}


class DefendedClassifier(nn.Module):
    """A classifier that sees each picture after it was purified: pictures (b, 3, h, w) in 0 to 1 in, logits (b, classes) out.

    Any attack and any evaluation takes it as it is (foolbox, torchattacks, the adversarial-robustness-toolbox). Its gradient is
    that of the classifier at the purified picture.

    Example:
        >>> defended = DefendedClassifier(model)
        >>> defended(torch.rand(4, 3, 32, 32)).shape
        torch.Size([4, 10])

    Args:
        model: a Classifier, or any module from pictures in 0 to 1 to logits.
        recipe, steps: of the purification, as in `purify`.
        seed: None: each picture has fresh random numbers from the operating system at every call, so that an attacker cannot know
            them; a seed: the same picture gives the same logits, whatever stands beside it.
        samples: purifications of each picture, whose logits are averaged.
        batch: pictures that are purified side by side.
        cleaning: what stands in for the purification, a rival of it, say; recipe and steps are then of no use.

    Raises:
        InputError: no classifier, samples, steps, batch or a seed that cannot be.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        recipe: Recipe = FAST,
        steps: int | None = None,
        seed: int | None = None,
        samples: int = 1,
        batch: int = BATCH,
        cleaning: Cleaning | None = None,
    ) -> None:
        super().__init__()
        if samples < 1:
            raise InputError(f"samples must be at least 1, got {samples}")
        random_source(1, seed)
        self.model, self.seed, self.samples = checked_model(model), seed, samples
        self.cleaning = Purification(recipe, steps, batch) if cleaning is None else cleaning

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(b, 3, h, w) in 0 to 1 -> logits (b, classes), differentiable by BPDA."""
        return self.logits(images, self.seed)

    def logits(
        self, images: torch.Tensor, seed: int | None = None, streams: Sequence[int] | None = None
    ) -> torch.Tensor:
        """The logits with a seed of one's own, and of each picture the stream of random numbers of that seed."""
        repeated = images.repeat_interleave(self.samples, 0)
        if getattr(self.cleaning, "differentiable", False):
            seen = self._cleaned(repeated, seed, streams)
        else:
            seen = passed_through(repeated, self._cleaned(repeated.detach(), seed, streams))
        return logits_of(self.model, seen).unflatten(0, (-1, self.samples)).mean(1)

    def purified(self, images: torch.Tensor) -> torch.Tensor:
        """What the classifier sees: (b, 3, h, w) in 0 to 1; (b * samples, 3, h, w), side by side, of several samples."""
        return self._cleaned(images.detach().repeat_interleave(self.samples, 0), self.seed, None)

    def _cleaned(self, repeated: torch.Tensor, seed: int | None, streams: Sequence[int] | None) -> torch.Tensor:
        """(b * samples, 3, h, w) cleaned where the classifier is, each sample with random numbers of its own."""
        checked_pictures(repeated)
        if seed is not None:
            own = [0] * (len(repeated) // self.samples) if streams is None else streams
            streams = [stream * self.samples + sample for stream in own for sample in range(self.samples)]
        return self.cleaning(repeated.to(device_of(self.model)), seed, streams)


class _AsIfUnchanged(torch.autograd.Function):
    """Forward the cleaned pictures, backward the gradient of the given ones: as if cleaning were the identity."""

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, cleaned: torch.Tensor) -> torch.Tensor:
        ctx.place = images.device
        return cleaned.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0].to(ctx.place), None


def passed_through(images: torch.Tensor, cleaned: torch.Tensor) -> torch.Tensor:
    """The cleaned pictures, with a gradient as if they were the given ones (BPDA).

    Raises:
        InputError: pictures of another size where a gradient is asked for.
    """
    if images.requires_grad and torch.is_grad_enabled() and images.shape != cleaned.shape:
        raise InputError(
            f"this cleaning makes {tuple(cleaned.shape)} of {tuple(images.shape)}, and no gradient passes as it is: it must "
            "have one of its own, and say differentiable = True"
        )
    passed = _AsIfUnchanged.apply(images, cleaned)
    assert isinstance(passed, torch.Tensor)
    return passed


def random_source(count: int, seed: int | None = None, streams: Sequence[int] | None = None) -> tuple[int, list[int]]:
    """The seed and each picture's stream of it: of no seed a fresh one, of a seed alone the first stream for every picture.

    Raises:
        InputError: a seed that cannot be, or another number of streams than of pictures.
    """
    if seed is None:
        return secrets.randbelow(LARGEST_SEED + 1), list(range(count))
    if not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"seed must be from 0 to {LARGEST_SEED}, got {seed}")
    own = [0] * count if streams is None else list(streams)
    if len(own) != count:
        raise InputError(f"streams must be one for each of {count} pictures, got {len(own)}")
    return seed, own


def _split(values: list[int], size: int) -> list[list[int]]:
    return [values[first : first + size] for first in range(0, len(values), size)]
