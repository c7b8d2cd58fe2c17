"""Problem: what was given, and how a picture is held against it: E(Phi(x), y) + sum_i lambda_i R_i(x)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from preimage.distances import squared
from preimage.errors import InputError
from preimage.operators import noiseless

Operator = Callable[[torch.Tensor], torch.Tensor]
Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Regularizer = Callable[[torch.Tensor], torch.Tensor]


def identity(x: torch.Tensor) -> torch.Tensor:
    """The operator of denoising: a picture is seen as it is."""
    return x


@dataclass(frozen=True, eq=False)
class Problem:
    """min over x of E(Phi(x), y) + sum_i lambda_i R_i(x), for b members at once.

    Example:
        >>> problem = Problem(target=torch.rand(1, 3, 32, 32), regularizers=((1e-7, total_variation),))
        >>> problem.terms(torch.rand(2, 3, 32, 32))  # the target serves both members
        {'squared': tensor([0.1666, 0.1680]), 'total_variation': tensor([0.0002, 0.0002])}

    Args:
        target: y, (b, ...) or (1, ...) for one that serves every member.
        operator: Phi, any callable on (b, c, h, w); of a deepinv Physics the part without noise. If it is an nn.Module with
            trainable parameters these are fitted, by each member for itself.
        distance: E, one value per entry of the target (averaged), or (b,).
        regularizers: pairs (lambda, R); lambda is one number, or a tensor (b,) with one for each member.
        weight: of each entry of the target, at least 0 (0: left out), broadcast to it; None: all alike.
        noise_level: the data term that the clean picture would have (sigma^2 for Gaussian noise and squared error), known
            or estimated, for rules that ask; None where nothing is known.
        finish: what is handed out of x, (b, c, h, w) -> (b, c, h', w'): a margin cut off, known pixels put back; None: x.
    """

    target: torch.Tensor
    operator: Operator = identity
    distance: Distance = squared
    regularizers: tuple[tuple[float | torch.Tensor, Regularizer], ...] = ()
    weight: torch.Tensor | None = None
    noise_level: float | None = None
    finish: Callable[[torch.Tensor], torch.Tensor] | None = None

    def see(self, x: torch.Tensor) -> torch.Tensor:
        """Phi(x), without the noise that a Physics would add."""
        return noiseless(self.operator)(x)

    def terms(self, x: torch.Tensor, asked: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """The loss of each member, part by part: (b, c, h, w) -> {name: (b,)}; their sum is what is minimized.

        `asked`: 0 where an entry of the target does not count this time (Prior.asked); None: all count.
        """
        seen = self.see(x)
        if seen.ndim < 1 or len(seen) != len(x):
            raise InputError(
                f"the operator returned {tuple(seen.shape)} for {tuple(x.shape)}: it must have an entry for each of the pictures"
            )
        if asked is not None and self.weight is not None:
            asked = asked * self.weight
        values = {name_of(self.distance): self.data_term(seen, asked)}
        for strength, regularizer in self.regularizers:
            values[name_of(regularizer)] = strength * regularizer(x)
        return values

    def data_term(self, prediction: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
        """E of each member, (b,), from Phi(x); `weight` instead of the problem's own."""
        weight = self.weight if weight is None else weight
        shape = tuple(self.target.shape[1:])
        # A target that is one number each (the index of a class) says nothing of what it is held against.
        if shape and tuple(prediction.shape[1:]) != shape:
            raise InputError(
                f"the operator returned {tuple(prediction.shape[1:])} where the target is {shape}: they must have the same shape"
            )
        entries = self.distance(prediction, self.target)
        if entries.ndim == 1:
            return entries
        if weight is None:
            return entries.flatten(1).mean(1)
        weight = weight.expand_as(entries)
        return (entries * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1e-12)

    def members(self, indices: list[int]) -> Problem:
        """The problem of some members, in that order; what serves all members stays as it is."""
        # Slices rather than a list of indices, which would have to go to the device.
        chosen = self._each(
            lambda value: (
                value
                if len(value) == 1 or indices == list(range(len(value)))
                else torch.cat([value[i : i + 1] for i in indices])
            )
        )
        own = self.operator
        if isinstance(own, PerMember):
            chosen = replace(chosen, operator=PerMember([own.operators[i] for i in indices]))
        return chosen

    def for_members(self, members: int) -> Problem:
        """The same problem for `members` members: what there is of each picture is repeated for its restarts, and an
        operator that is fitted becomes one for each."""
        repeated = self._each(
            lambda value: value if value.shape[0] in (1, members) else value.repeat_interleave(members // len(value), 0)
        )
        if isinstance(self.operator, nn.Module) and self.trainable():
            repeated = replace(repeated, operator=PerMember([copy.deepcopy(self.operator) for _ in range(members)]))
        return repeated

    def term_names(self) -> list[str]:
        """The names of the terms, data term first."""
        return list(
            dict.fromkeys([name_of(self.distance), *(name_of(regularizer) for _, regularizer in self.regularizers)])
        )

    def to(self, device: torch.device) -> Problem:
        """The same problem on another device; an operator that is a module goes along."""
        operator = self.operator.to(device) if isinstance(self.operator, nn.Module) else self.operator
        return replace(self._each(lambda value: value.to(device)), operator=operator)

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Problem:
        weight = None if self.weight is None else change(self.weight)
        regularizers = tuple((change(s) if isinstance(s, torch.Tensor) else s, each) for s, each in self.regularizers)
        return replace(self, target=change(self.target), weight=weight, regularizers=regularizers)

    def trainable(self) -> bool:
        """Whether the operator has parameters of its own to be fitted (an unknown blur kernel, say)."""
        return isinstance(self.operator, nn.Module) and any(p.requires_grad for p in self.operator.parameters())


class PerMember(nn.Module):
    """An operator that is fitted: one for each member, (b, c, h, w) -> (b, ...)."""

    def __init__(self, operators: Sequence[nn.Module]) -> None:
        super().__init__()
        self.operators = nn.ModuleList(operators)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([operator(each[None]) for operator, each in zip(self.operators, x, strict=True)])


def name_of(function: Callable[..., object]) -> str:
    """The name a term is shown under: that of the function, also inside functools.partial, or of the object's class."""
    function = getattr(function, "func", function)
    return getattr(function, "__name__", type(function).__name__)
