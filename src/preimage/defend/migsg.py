"""MIG-SG: saliency by integrated gradients and SmoothGrad combined into one mean of absolute gradients.

    S_i = | (x_i - x0_i) / (m N)  sum_{k=0..m} sum_{n=1..N} | dF_t/dx_i ( x0 + k/m (x - x0) + N(0, sigma^2 I) ) | |

Eq. 1 of Kattamis, Adel, Weller (2019). The sum over k has m + 1 terms and is divided by m, as published: on a linear model,
F_t(x) = w x, it is exactly (m + 1)/m |(x - x0) w| where sigma is 0. It is a captum Attribution, with captum's one verb.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import torch
from torch import nn

from preimage.defend.checks import Target, checked_images, checked_model, noise_level, target_numbers, whole_number
from preimage.defend.users_model import at_rest, device_of, images_per_pass, in_range_of, target_gradient
from preimage.errors import InputError
from preimage.extras import extra
from preimage.rng import checked_seed

with extra("classifiers"):
    from captum.attr import Attribution

STEPS, SAMPLES, SIGMA = 50, 4, 0.15

Images = TypeVar("Images", torch.Tensor, tuple[torch.Tensor, ...])


class MIGSG(Attribution):
    """Saliency maps by eq. 1: a captum Attribution that needs nothing but the gradient of a logit.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))
        >>> MIGSG(model).attribute(torch.rand(2, 3, 8, 8), target=[3, 1], n_steps=5).shape
        torch.Size([2, 3, 8, 8])

    Args:
        model: a Classifier, or any nn.Module that returns logits (b, classes) of images in the range it takes itself.

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
        inputs: Images,
        baselines: float | torch.Tensor | tuple[float | torch.Tensor, ...] = 0,
        target: Target = None,
        n_steps: int = STEPS,
        n_samples: int = SAMPLES,
        stdevs: float = SIGMA,
        internal_batch_size: int | None = None,
        seed: int | Sequence[int] = 0,
    ) -> Images:
        """Eq. 1 for each input and each of its values, at least 0; channels are not merged.

        The paper publishes no m, N, sigma or baseline. Chosen here: m = 50 as captum's integrated gradients; sigma = 0.15,
        within the 10 to 20 % of the range of values that SmoothGrad found best, for images in 0 to 1; N = 4, so that m + 1
        points make 204 gradients; baseline 0, as captum's methods. (`preimage.saliency` takes the blurred image instead.)

        Args:
            inputs: x, images (b, c, h, w); also as the only entry of a tuple, as captum passes them, and so is the result.
            baselines: x0, a number for all values, or a tensor that broadcasts to the inputs' shape. Where the input equals it
                there is no saliency.
            target: t, for all inputs or one for each: a number, a name too if the model is a Classifier; None: the model has one
                output.
            n_steps: m, the steps from the baseline to the input, at least 1.
            n_samples: N, noisy copies at each of the m + 1 points, at least 1.
            stdevs: sigma of the noise, in units of the inputs; 0: none, and n_samples changes nothing. Where the model takes
                images in 0 to 1 alone, as a DefendedClassifier, noisy ones are clipped to that.
            internal_batch_size: images in one pass, which bounds the memory and changes nothing else; None: a million pixels.
            seed: random seed of the noise, for all inputs or one for each. Each input draws its noise from a stream of its own,
                the same at any place in any batch and on any device.

        Raises:
            InputError: a shape, class, count or sigma that cannot be used, or a model without gradient.
        """
        given = inputs[0] if isinstance(inputs, tuple) and len(inputs) == 1 else inputs
        checked = checked_images(given, "inputs", unit=False).detach()
        x = checked.to(device_of(self.model, checked.device))
        x0, targets = baseline_like(baselines, x), target_numbers(self.model, target, len(x))
        m, samples = whole_number(n_steps, "n_steps"), whole_number(n_samples, "n_samples")
        sigma, size = noise_level(stdevs, "stdevs"), images_per_pass(x.shape, internal_batch_size)
        samples = samples if sigma else 1  # without noise all are one
        terms = (m + 1) * samples  # of each input
        # A stream for each input, and a draw for each term, so that the size of a pass changes nothing.
        generators = [torch.Generator().manual_seed(own) for own in _seeds(seed, len(x))]
        noises = (torch.randn(x.shape[1:], generator=own) for own in generators for _ in range(terms))
        sums = torch.zeros_like(x)
        with at_rest(self.model):
            for start in range(0, len(x) * terms, size):
                rows = range(start, min(start + size, len(x) * terms))
                owners = [row // terms for row in rows]
                along = x.new_tensor([row % terms // samples / m for row in rows]).reshape(-1, 1, 1, 1)
                points = x0[owners] + along * (x[owners] - x0[owners])
                if sigma:
                    points += sigma * torch.stack([next(noises) for _ in rows]).to(points)
                points = in_range_of(self.model, points)
                sizes = target_gradient(self.model, points, targets and [targets[owner] for owner in owners]).abs()
                for owner in range(owners[0], owners[-1] + 1):
                    first, last = owners.index(owner), len(owners) - owners[::-1].index(owner)
                    sums[owner] += sizes[first:last].sum(0)
        saliency = ((x - x0) * (sums / (m * samples))).abs().to(checked.device)
        return cast(Images, (saliency,) if isinstance(inputs, tuple) else saliency)


def baseline_like(given: Any, x: torch.Tensor) -> torch.Tensor:
    """A finite number, or a tensor that broadcasts to the shape of x, (b, c, h, w), in that shape."""
    given = given[0] if isinstance(given, tuple) and len(given) == 1 else given
    if isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given):
        return torch.full_like(x, given)
    if isinstance(given, torch.Tensor) and given.ndim in (0, 3, 4) and bool(given.isfinite().all()):
        try:
            return given.detach().to(x).broadcast_to(x.shape)
        except RuntimeError:  # another shape
            pass
    what = f"shape {tuple(given.shape)}" if isinstance(given, torch.Tensor) else repr(given)
    message = (
        f"baselines must be a finite number, or a tensor that broadcasts to the inputs' {tuple(x.shape)}, got {what}"
    )
    raise InputError(message, code="shape")


def _seeds(given: int | Sequence[int], count: int) -> list[int]:
    seeds = list(given) if isinstance(given, Sequence) else [given] * count
    if len(seeds) != count:
        message = f"there are {count} inputs and {len(seeds)} seeds: give one for all, or one for each"
        raise InputError(message, code="shape")
    return [checked_seed(seed) for seed in seeds]
