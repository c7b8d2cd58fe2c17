"""Phi of several parts, Phi(x) = Phi_n(... Phi_2(Phi_1(x))), of which some may be deepinv's.

Calling a deepinv Physics gives y = noise(A(x)), a new draw every time; the distance E is computed with A(x), without noise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn

from preimage.errors import InputError

Operator = Callable[[torch.Tensor], torch.Tensor]


def noiseless(operator: Operator) -> Operator:
    """The A of a deepinv Physics, and any other operator as it is.

    Example:
        >>> from deepinv.physics import Denoising, GaussianNoise
        >>> physics = Denoising(GaussianNoise(0.1))
        >>> x = torch.rand(1, 3, 16, 16)
        >>> torch.equal(physics(x), x), torch.equal(noiseless(physics)(x), x)
        (False, True)

    Args:
        operator: any callable on (b, c, h, w). A Physics is known by its method `A` and its attribute `noise_model`;
            deepinv itself is not needed.

    Source: deepinv, deepinv.physics.Physics.forward: sensor(noise(A(x))).
    """
    physics = cast("Any", operator)
    return physics.A if hasattr(physics, "noise_model") and callable(getattr(physics, "A", None)) else operator


class Composed(nn.Sequential):
    """Operators applied in order, the first first; made by `compose`."""


class Part(nn.Module):
    """A function or a Physics as an nn.Module, without noise."""

    def __init__(self, operator: Operator) -> None:
        super().__init__()
        self.operator = operator

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return noiseless(self.operator)(x)


def compose(*operators: Operator) -> Composed:
    """One operator of several, the first applied first.

    Example:
        >>> camera = compose(Blur(gaussian(1.0)), Downsample(box(2), 2), lambda x: x.mean(1, keepdim=True))
        >>> camera(torch.rand(1, 3, 38, 46)).shape
        torch.Size([1, 1, 16, 20])

    Args:
        operators: at least one. Modules among them are registered: they move along with `.to(device)`, and their
            trainable parameters are fitted. A deepinv Physics takes part without its noise.

    Raises InputError for no operator, or something that cannot be called.
    """
    if not operators:
        raise InputError("compose needs at least one operator, got none: omit it if there is none", code="operator")
    for operator in operators:
        if not callable(operator):
            found = type(operator).__name__
            raise InputError(
                f"an operator must be callable on (b, c, h, w), got {found}: give a function", code="operator"
            )
    modules = (o if isinstance(o, nn.Module) and noiseless(o) is o else Part(o) for o in operators)
    return Composed(*modules)
