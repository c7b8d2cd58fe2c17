"""MIG-SG: where a classifier looks, by integrated gradients and SmoothGrad in one mean of gradients without their signs.

    S_i = | (x_i - x0_i) / (m N)  sum_{k=0..m} sum_{n=1..N} | dF_t/dx_i ( x0 + k/m (x - x0) + N(0, sigma^2 I) ) | |

Eq. 1 of Kattamis, Adel, Weller (2019). The sum over k has m + 1 terms and is divided by m, as published: on a linear model,
F_t(x) = w x, it is exactly (m + 1)/m |(x - x0) w| where sigma is 0. It is a captum Attribution, with captum's one verb.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, cast

import torch
from captum.attr import Attribution
from torch import nn

from preimage.defend.checks import device_of, evaluating
from preimage.defend.logits import (
    Target,
    checked_model,
    checked_pictures,
    checked_seed,
    noise_level,
    pictures_a_pass,
    slope_of,
    target_numbers,
    whole_number,
)
from preimage.errors import InputError

STEPS, SAMPLES, SIGMA = 50, 4, 0.15

Pictures = TypeVar("Pictures", torch.Tensor, tuple[torch.Tensor, ...])


class MIGSG(Attribution):
    """Where a classifier looks for a class: a captum Attribution that needs nothing but the gradient of a logit.

    Example:
        >>> classifier = load_classifier("lesions.pt")
        >>> MIGSG(classifier).attribute(torch.rand(2, 3, 120, 120), target="mel").shape     # doctest: +SKIP
        torch.Size([2, 3, 120, 120])

    Args:
        model: a Classifier, or any nn.Module that returns logits (b, classes), of pictures as it takes them itself.

    Raises:
        InputError: something that is no nn.Module.

    Source: Kattamis, Adel, Weller, Exploring Properties of the Deep Image Prior, 2019, eq. 1.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(checked_model(model))
        self.model = model

    @property
    def multiplies_by_inputs(self) -> bool:
        return True

    def attribute(  # pyright: ignore[reportIncompatibleVariableOverride] (captum declares a Callable)
        self,
        inputs: Pictures,
        baselines: float | torch.Tensor | tuple[float | torch.Tensor, ...] = 0,
        target: Target = None,
        n_steps: int = STEPS,
        n_samples: int = SAMPLES,
        stdevs: float = SIGMA,
        internal_batch_size: int | None = None,
        seed: int | Sequence[int] = 0,
    ) -> Pictures:
        """Eq. 1 for each input and each of its values, at least 0; channels are not merged.

        Example:
            >>> MIGSG(model).attribute(x, baselines=0.5, target=[3, 7], n_steps=20, stdevs=0.1)     # doctest: +SKIP

        Of the paper's m, N, sigma and baseline none is published. Those here are chosen: m = 50 as captum's integrated
        gradients; sigma = 0.15, within the 10 to 20 % of the range of values that SmoothGrad found best, for pictures in 0 to
        1 (a bare model may take others); N = 4, so that with m + 1 points there are 204 gradients; 0 as the baseline, as
        captum's methods. (For one picture `preimage.saliency` takes its blur instead.)

        Args:
            inputs: x, pictures (b, c, h, w); also as captum hands them on, the only entry of a tuple, and so is the result.
            baselines: x0, a number for all values, or a tensor that stretches to the inputs' shape: (c, 1, 1), one picture
                (c, h, w), or one for each input, (b, c, h, w). What equals it has no saliency: with 0 what is black.
            target: t, for all inputs or one for each: a number, a name too if the model is a Classifier; None: the model has one
                output.
            n_steps: m, the steps from the baseline to the input, at least 1.
            n_samples: N, noisy copies at each of the m + 1 points, at least 1.
            stdevs: sigma of the noise, in units of the inputs; 0: none, and n_samples changes nothing.
            internal_batch_size: pictures in one pass, which bounds the memory and nothing else; None: a million pixels.
            seed: of the noise, for all inputs or one for each. Each input draws its noise from a stream of its own, so that it
                gets the same wherever in whatever batch it stands, and on whatever device.

        Raises:
            InputError: another shape, a class that is not there, a count or sigma that cannot be, a model without gradient.
        """
        x = checked_pictures(inputs[0] if isinstance(inputs, tuple) and len(inputs) == 1 else inputs)
        targets = target_numbers(self.model, target, len(x))
        m, samples = whole_number(n_steps, "n_steps"), whole_number(n_samples, "n_samples")
        sigma = noise_level(stdevs, "stdevs")
        size = None if internal_batch_size is None else whole_number(internal_batch_size, "internal_batch_size")
        seeds = _seeds(seed, len(x))
        there = x.to(device_of(self.model, x.device))
        x0 = _baseline(baselines, there)
        with evaluating(self.model):
            # Without noise all samples are one.
            found = self._mean_size(there, x0, targets, m, samples if sigma else 1, sigma, size, seeds)
        saliency = ((there - x0) * found).abs().to(inputs[0].device if isinstance(inputs, tuple) else inputs.device)
        return cast(Pictures, (saliency,) if isinstance(inputs, tuple) else saliency)

    def _mean_size(
        self,
        x: torch.Tensor,
        x0: torch.Tensor,
        targets: list[int] | None,
        m: int,
        samples: int,
        sigma: float,
        size: int | None,
        seeds: list[int],
    ) -> torch.Tensor:
        """1 / (m N) times the double sum, (b, c, h, w): the terms of all inputs in one row, so many of them a pass."""
        terms = (m + 1) * samples
        total = len(x) * terms
        size = pictures_a_pass(x.shape, size)
        noises = _noises(seeds, terms, x.shape[1:])
        sums = torch.zeros_like(x)
        for start in range(0, total, size):
            rows = range(start, min(start + size, total))
            owners = [row // terms for row in rows]
            along = x.new_tensor([row % terms // samples / m for row in rows]).reshape(-1, 1, 1, 1)
            points = x0[owners] + along * (x[owners] - x0[owners])
            if sigma:
                points += sigma * torch.stack([next(noises) for _ in rows]).to(points)
            sizes = slope_of(self.model, points, targets and [targets[owner] for owner in owners]).abs()
            for owner in range(owners[0], owners[-1] + 1):
                first, last = owners.index(owner), len(owners) - owners[::-1].index(owner)
                sums[owner] += sizes[first:last].sum(0)
        return sums / (m * samples)


def _noises(seeds: list[int], terms: int, shape: torch.Size) -> Iterator[torch.Tensor]:
    """For each input in turn a stream of its own; each term is one draw, or the pass it is in would change its numbers."""
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(terms):
            yield torch.randn(shape, generator=generator)


def _baseline(given: Any, x: torch.Tensor) -> torch.Tensor:
    given = given[0] if isinstance(given, tuple) and len(given) == 1 else given
    if isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given):
        return torch.full_like(x, given)
    if isinstance(given, torch.Tensor) and given.ndim in (0, 3, 4) and bool(given.isfinite().all()):
        try:
            return given.detach().to(x).broadcast_to(x.shape)
        except RuntimeError:  # another shape
            pass
    what = f"shape {tuple(given.shape)}" if isinstance(given, torch.Tensor) else repr(given)
    raise InputError(
        f"baselines must be a finite number, or a tensor that stretches to the inputs' {tuple(x.shape)}, got {what}: give 0 for "
        "black, or a picture (c, h, w)"
    )


def _seeds(given: int | Sequence[int], count: int) -> list[int]:
    seeds = list(given) if isinstance(given, Sequence) else [given] * count
    if len(seeds) != count:
        raise InputError(f"there are {count} inputs and {len(seeds)} seeds: give one for all, or one for each")
    return [checked_seed(seed) for seed in seeds]
