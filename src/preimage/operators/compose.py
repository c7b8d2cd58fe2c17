"""Phi of several parts, one after another: Phi(x) = Phi_n(... Phi_2(Phi_1(x)))."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from preimage.errors import InputError
from preimage.operators.physics import noiseless

Operator = Callable[[torch.Tensor], torch.Tensor]


class Composed(nn.Sequential):
    """Operators applied in order, the first first; made by `compose`.

    Example:
        >>> len(compose(Blur(gaussian(1.0)), Mask(torch.ones(1, 1, 26, 26))))
        2
    """


class Part(nn.Module):
    """A function or a Physics as an nn.Module: x -> Phi(x), without noise."""

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

    Raises:
        InputError: no operator, or something that cannot be called.
    """
    if not operators:
        raise InputError(
            "compose needs at least one operator, got none: omit the operator if there is none", code="operator"
        )
    for operator in operators:
        if not callable(operator):
            raise InputError(
                f"an operator must be callable on (b, c, h, w), got {type(operator).__name__}: give a function",
                code="operator",
            )
    return Composed(*map(_as_module, operators))


def _as_module(operator: Operator) -> nn.Module:
    return operator if isinstance(operator, nn.Module) and noiseless(operator) is operator else Part(operator)
