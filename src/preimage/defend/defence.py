"""Defenses: an image is purified before it is classified, and the gradient passes as if it had not been.

Purification has no useful gradient of its own, so the backward pass is the identity (BPDA: Athalye, Carlini, Wagner 2018), the
attack on such defenses that is known to work best.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from preimage.defend.checks import checked_images, checked_model, whole_number
from preimage.defend.purification import adapted, as_given, fitting, purifying
from preimage.defend.users_model import device_of, logits_of, probabilities_of
from preimage.errors import InputError
from preimage.recipes import RecipeLike
from preimage.rng import LARGEST_SEED, checked_seed

BATCH = 64  # images that are purified side by side
_ROUNDING = 1e-4


class Defence(Protocol):
    """A preprocessing defense: a function from images to images, with settings as plain data.

    `seed` None: drawn from the operating system, so that nobody can know it, and each image has random numbers of its own.
    A seed: each image is processed as if it were alone, with the random numbers of that seed, or of one `stream` of it each.
    With an attribute `differentiable` that is True, its own gradient is used instead of the identity.
    """

    def __call__(
        self, images: torch.Tensor, seed: int | None = None, streams: Sequence[int] | None = None
    ) -> torch.Tensor: ...

    def describe(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Purification:
    """The early output of the prior as a defense: (b, c, h, w) in 0 to 1 -> the same, each image a fit of its own.

    Example:
        >>> Purification(steps=2)(torch.rand(4, 3, 32, 32)).shape
        torch.Size([4, 3, 32, 32])

    Args:
        recipe: fast, balanced, best, paper, or a Recipe (as in `purify`); restarts are not averaged here (see `samples`).
        steps: number of steps, at least 1; None: the recipe's.
        batch: images that are fitted side by side.

    Raises:
        InputError: an unknown recipe, steps or batch below 1.
    """

    recipe: RecipeLike = "fast"
    steps: int | None = None
    batch: int = BATCH

    def __post_init__(self) -> None:
        whole_number(self.batch, "batch")
        if self.steps is not None:
            whole_number(self.steps, "steps")
        as_given(self.recipe)

    def __call__(
        self, images: torch.Tensor, seed: int | None = None, streams: Sequence[int] | None = None
    ) -> torch.Tensor:
        seed, streams = random_source(len(images), seed, streams)
        recipe = adapted(self.recipe, images.shape[-2:], self.steps)
        with fitting(images.device):
            found = [
                purifying(part, recipe, seed, streams[first : first + self.batch]).run().image
                for first, part in zip(range(0, len(images), self.batch), images.split(self.batch), strict=True)
            ]
        return torch.cat(found).to(images)

    def describe(self) -> dict[str, Any]:
        """The recipe as plain data, without the batch size, which changes nothing."""
        return {"kind": "Purification", "recipe": as_given(self.recipe, self.steps).describe()}


class DefendedClassifier(nn.Module):
    """A classifier of purified images: (b, 3, h, w) in 0 to 1 -> logits (b, classes).

    Attacks and evaluations take it like any module (foolbox, torchattacks, the adversarial-robustness-toolbox). Its gradient is
    that of the classifier at the purified image.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 10))
        >>> DefendedClassifier(model, steps=2)(torch.rand(4, 3, 16, 16)).shape
        torch.Size([4, 10])

    Args:
        model: a Classifier, or any module from images in 0 to 1 to logits.
        recipe, steps: of the purification, as in `purify`.
        seed: None: fresh random numbers from the operating system for each image at every call, so that an attacker cannot know
            them; a seed: the same image gives the same logits, in any batch.
        samples: purifications of each image, whose logits are averaged.
        batch: images that are purified side by side.
        defence: replaces the purification; recipe and steps then have no effect.

    Raises:
        InputError: not a classifier, samples, steps, batch or a seed out of range.
    """

    takes_unit_range = True  # noise that is added to its images is clipped

    def __init__(
        self,
        model: nn.Module,
        *,
        recipe: RecipeLike = "fast",
        steps: int | None = None,
        seed: int | None = None,
        samples: int = 1,
        batch: int = BATCH,
        defence: Defence | None = None,
    ) -> None:
        super().__init__()
        random_source(1, seed)
        self.model: nn.Module = checked_model(model)
        self.seed = seed
        self.samples: int = whole_number(samples, "samples")
        self.defence: Purification | Defence = Purification(recipe, steps, batch) if defence is None else defence

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(b, 3, h, w) in 0 to 1 -> logits (b, classes), differentiable by BPDA."""
        return self.logits(images, self.seed)

    def logits(
        self, images: torch.Tensor, seed: int | None = None, streams: Sequence[int] | None = None
    ) -> torch.Tensor:
        """The logits (b, classes) with another seed, and of each image the stream of that seed."""
        repeated = images.repeat_interleave(self.samples, 0)
        own_gradient = getattr(self.defence, "differentiable", False)
        purified = self._defended(repeated if own_gradient else repeated.detach(), seed, streams)
        if not own_gradient:
            purified = straight_through(repeated, purified)
        return logits_of(self.model, purified).unflatten(0, (-1, self.samples)).mean(1)

    @property
    def averaged_samples(self) -> int:
        """How many rows of a layer's output belong to each image."""
        return self.samples

    def probabilities_of(self, logits: torch.Tensor) -> torch.Tensor:
        """The class probabilities of logits (b, classes), as of the model."""
        return probabilities_of(self.model, logits)

    @property
    def independent(self) -> bool:
        """Whether the classes are labels that do not exclude one another."""
        return bool(getattr(self.model, "independent", False))

    def purified(self, images: torch.Tensor) -> torch.Tensor:
        """The images that are classified: (b, 3, h, w) in 0 to 1; (b * samples, 3, h, w), side by side, of several samples."""
        return self._defended(images.detach().repeat_interleave(self.samples, 0), self.seed, None)

    def _defended(self, repeated: torch.Tensor, seed: int | None, streams: Sequence[int] | None) -> torch.Tensor:
        """(b * samples, 3, h, w) purified on the classifier's device, each sample with random numbers of its own."""
        repeated = checked_images(rounded_into_range(repeated))
        if seed is not None:
            own = [0] * (len(repeated) // self.samples) if streams is None else streams
            streams = [stream * self.samples + sample for stream in own for sample in range(self.samples)]
        return self.defence(repeated.to(device_of(self.model)), seed, streams)


def rounded_into_range(images: torch.Tensor) -> torch.Tensor:
    """Images that leave 0 to 1 by rounding alone (after a blur, on a path between two) clipped to it; others as they are."""
    if not images.is_floating_point() or not images.numel():
        return images
    low, high = (float(end) for end in images.detach().aminmax())
    beyond = low < 0 or high > 1
    return images.clamp(0, 1) if beyond and low > -_ROUNDING and high < 1 + _ROUNDING else images


class _StraightThrough(torch.autograd.Function):
    """Forward the purified images, backward the gradient of the identity."""

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, purified: torch.Tensor) -> torch.Tensor:
        ctx.place = images.device
        return purified.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0].to(ctx.place), None


def straight_through(images: torch.Tensor, purified: torch.Tensor) -> torch.Tensor:
    """The purified images, with the gradient of the given ones (BPDA); InputError if a gradient is needed and sizes differ."""
    if images.requires_grad and torch.is_grad_enabled() and images.shape != purified.shape:
        raise InputError(
            f"this defense makes {tuple(purified.shape)} of {tuple(images.shape)}, so that the identity is no gradient of it: "
            "it needs one of its own, and differentiable = True",
            code="shape",
        )
    passed: Any = _StraightThrough.apply(images, purified)
    return passed


def random_source(count: int, seed: int | None = None, streams: Sequence[int] | None = None) -> tuple[int, list[int]]:
    """The seed and each image's stream of it: of None a fresh seed, of a seed without streams the first stream for all.

    Example:
        >>> random_source(2, seed=7)
        (7, [0, 0])

    Raises:
        InputError: a seed out of range, or another number of streams than of images.
    """
    if seed is None:
        return secrets.randbelow(LARGEST_SEED + 1), list(range(count))
    seed = checked_seed(seed)
    own = [0] * count if streams is None else list(streams)
    if len(own) != count:
        raise InputError(f"streams must be one for each of {count} images, got {len(own)}", code="shape")
    return seed, own
