"""Problem: what was measured, and how an image is compared with it: E(Phi(x), y) + sum_i lambda_i R_i(x)."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from preimage.distances import is_whole_image, squared
from preimage.errors import InputError
from preimage.operators import noiseless

Operator = Callable[[torch.Tensor], torch.Tensor]
Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Regularizer = Callable[[torch.Tensor], torch.Tensor]
Term = tuple[str, torch.Tensor]


def identity(x: torch.Tensor) -> torch.Tensor:
    """The operator of denoising: Phi(x) = x."""
    return x


@dataclass(frozen=True, eq=False)
class Problem:
    """min over x of E(Phi(x), y) + sum_i lambda_i R_i(x), for b members at once.

    Example:
        >>> problem = Problem(target=torch.rand(1, 3, 32, 32), regularizers=((0.02, total_variation),))
        >>> [(name, values.shape) for name, values in problem.terms(torch.rand(2, 3, 32, 32))]  # one target, two members
        [('squared', torch.Size([2])), ('total_variation', torch.Size([2]))]

    Args:
        target: y, (b, ...), or (1, ...) for one that serves every member.
        operator: Phi, any callable on (b, c, h, w); of a deepinv Physics the part without noise. If it is an nn.Module with
            trainable parameters these are fitted, by each member for itself.
        distance: E, one value for each entry of the target (averaged), or one for each image, (b,), without weight or masks.
        regularizers: pairs (lambda, R); lambda is one number, or a tensor (b,) with one for each member.
        weight: of each entry of the target, at least 0 (0: left out), broadcast to it; None: all alike.
        noise_level: the data term that the clean image would have (sigma^2 for Gaussian noise and squared error), known or
            estimated, for rules that need it; one number or a tensor (b,); None where nothing is known.
        finish: what is returned of x, (b, c, h, w) -> (b, c, h', w'): a margin cut off, known pixels put back; None: x.

    Raises:
        InputError: a weight with a distance that has one value for the whole image.
    """

    target: torch.Tensor
    operator: Operator = identity
    distance: Distance = squared
    regularizers: tuple[tuple[float | torch.Tensor, Regularizer], ...] = ()
    weight: torch.Tensor | None = None
    noise_level: float | torch.Tensor | None = None
    finish: Callable[[torch.Tensor], torch.Tensor] | None = None

    def __post_init__(self) -> None:
        if self.weight is not None and any(map(is_whole_image, getattr(self.distance, "functions", [self.distance]))):
            raise _cannot_weigh(self.distance)

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """Phi(x), (b, ...), without the noise that a Physics would add."""
        return noiseless(self.operator)(x)

    def terms(self, x: torch.Tensor, loss_mask: torch.Tensor | None = None) -> list[Term]:
        """The loss of each member, term by term, data term first: (b, c, h, w) -> [(name, (b,))]; their sum is minimized.

        Args:
            x: the images.
            loss_mask: 0 where an entry of the target does not count this time, as `Prior` returns it; None: all count.

        Raises:
            InputError: an operator whose output does not match the target, or a distance that cannot be masked.
        """
        prediction = self.apply(x)
        if prediction.ndim < 1 or len(prediction) != len(x):
            found = f"{tuple(prediction.shape)} for {tuple(x.shape)}"
            raise InputError(f"the operator returned {found}: it must have an entry for each image", code="operator")
        if loss_mask is not None and self.weight is not None:
            loss_mask = loss_mask * self.weight
        values = [self.data_term(prediction, loss_mask)]
        values += [strength * regularizer(x) for strength, regularizer in self.regularizers]
        return list(zip(self.term_names(), values, strict=True))

    def data_term(self, prediction: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
        """E of each member, (b,), from Phi(x); `weight` instead of the problem's own."""
        weight = self.weight if weight is None else weight
        shape = tuple(self.target.shape[1:])
        # A target that is one number each (the index of a class) says nothing of the shape of a prediction.
        if shape and tuple(prediction.shape[1:]) != shape:
            found = f"{tuple(prediction.shape[1:])} where the target is {shape}"
            raise InputError(f"the operator returned {found}: they must have the same shape", code="operator")
        entries = self.distance(prediction, self.target)
        if entries.ndim == 1:
            if weight is not None:
                raise _cannot_weigh(self.distance)
            return entries
        if weight is None:
            return entries.flatten(1).mean(1)
        weight = weight.expand_as(entries)
        return (entries * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1e-12)

    def term_names(self) -> list[str]:
        """The names of the terms, data term first; of terms of one name the second is `name_2`."""
        seen: Counter[str] = Counter()
        names = []
        for name in (name_of(self.distance), *(name_of(regularizer) for _, regularizer in self.regularizers)):
            seen[name] += 1
            names.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
        return names

    def steady_terms(self) -> list[int]:
        """The numbers of the terms that have one value for one image, data term (0) first: all but those that draw at random
        whenever they are computed, which say so by an attribute `is_random`.
        """
        terms = enumerate((each for _, each in self.regularizers), 1)
        return [0, *(i for i, each in terms if not getattr(each, "is_random", False))]

    def members(self, indices: Sequence[int]) -> Problem:
        """The problem of some members, in that order; what serves all members stays as it is."""
        if list(indices) == list(range(self._members())):
            return self
        # Slices rather than a list of indices, which would have to go to the device.
        return self._changed(
            lambda value: value if len(value) == 1 else torch.cat([value[i : i + 1] for i in indices]),
            lambda each: each.chosen(indices) if isinstance(each, PerMember | Each) else each,
        )

    def for_members(self, members: int) -> Problem:
        """For so many members: what is of one image is repeated for its restarts, a fitted operator becomes one for each."""

        def repeated(each: Any) -> Any:
            if isinstance(each, PerMember | Each):
                count = len(each)
                each = each if count == members else each.chosen([i * count // members for i in range(members)])
            if each is self.operator and not isinstance(each, PerMember) and self.trainable():
                return PerMember([copy.deepcopy(each) for _ in range(members)])
            return each

        return self._changed(
            lambda value: value if len(value) in (1, members) else value.repeat_interleave(members // len(value), 0),
            repeated,
        )

    def to(self, device: torch.device) -> Problem:
        """The same problem on another device; of an operator that is a module, and is not there, a copy goes along."""
        return self._changed(
            lambda value: value.to(device), lambda each: _moved(each, device) if isinstance(each, nn.Module) else each
        )

    def trainable(self) -> bool:
        """Whether the operator has parameters of its own to be fitted (an unknown blur kernel, say)."""
        return isinstance(self.operator, nn.Module) and any(p.requires_grad for p in self.operator.parameters())

    def _members(self) -> int:
        """How many members there is something of; 1 where everything serves all."""

        def count(part: Any) -> int:
            several = isinstance(part, PerMember | Each) or (isinstance(part, torch.Tensor) and part.ndim)
            return len(part) if several else 1

        parts = [self.target, self.operator, self.distance, self.weight, self.noise_level]
        return max(map(count, [*parts, *(part for pair in self.regularizers for part in pair)]))

    def _changed(self, change: Callable[[torch.Tensor], torch.Tensor], function: Callable[[Any], Any]) -> Problem:
        """With its tensors (b, ...) and its functions changed."""

        def of(value: Any) -> Any:
            return change(value) if isinstance(value, torch.Tensor) and value.ndim else value

        return replace(
            self,
            target=of(self.target),
            operator=function(self.operator),
            distance=function(self.distance),
            regularizers=tuple((of(strength), function(each)) for strength, each in self.regularizers),
            weight=of(self.weight),
            noise_level=of(self.noise_level),
        )


def join(problems: Sequence[Problem]) -> Problem:
    """The problems of several images as one, in which each image is compared by its own problem alone.

    Example:
        >>> dark, bright = (Problem(torch.full((1, 3, 32, 32), v), noise_level=v / 100) for v in (0.2, 0.8))
        >>> joined = join([dark, bright])
        >>> joined.target.shape, joined.noise_level
        (torch.Size([2, 3, 32, 32]), tensor([0.0020, 0.0080]))

    Args:
        problems: of one image each, all with targets of one shape and as many regularizers.

    Raises:
        InputError: none, targets of unlike shapes, or unlike numbers of regularizers.
    """
    if not problems:
        raise InputError("there is no problem to join: give one at least", code="shape")
    first, shapes = problems[0], {tuple(problem.target.shape) for problem in problems}
    if len(shapes) > 1 or next(iter(shapes))[:1] != (1,) or len({len(each.regularizers) for each in problems}) > 1:
        wanted = "each is of one image, of one shape, with as many regularizers"
        raise InputError(f"problems can be joined if {wanted}, got {sorted(shapes)}: fit them one by one", code="shape")
    if len(problems) == 1:
        return first
    known = {each.noise_level is not None for each in problems}
    if len(known) > 1:
        raise InputError("the noise level of all images must be known or of none: fit them one by one", code="noise")
    weights = [torch.ones_like(e.target) if e.weight is None else e.weight.expand_as(e.target) for e in problems]
    regularizers = [zip(*pairs, strict=True) for pairs in zip(*(each.regularizers for each in problems), strict=True)]
    finished = any(each.finish is not None for each in problems)
    return Problem(
        target=torch.cat([each.target for each in problems]),
        operator=_each([each.operator for each in problems]),
        distance=_each([each.distance for each in problems]),
        regularizers=tuple((_alike(strengths), _each(functions)) for strengths, functions in regularizers),
        weight=torch.cat(weights) if any(each.weight is not None for each in problems) else None,
        noise_level=_alike([each.noise_level for each in problems]) if True in known else None,
        finish=_each([each.finish or identity for each in problems]) if finished else None,
    )


def _alike(values: Sequence[Any]) -> Any:
    """One number for all, or a tensor with one for each."""
    if all(not isinstance(value, torch.Tensor) and value == values[0] for value in values):
        return values[0]
    return torch.cat([torch.as_tensor(value, dtype=torch.float32).reshape(1) for value in values])


def _each(functions: Sequence[Any]) -> Any:
    """One function for all, or each its own."""
    if all(function is functions[0] for function in functions):
        return functions[0]
    fitted = any(isinstance(f, nn.Module) and any(p.requires_grad for p in f.parameters()) for f in functions)
    return PerMember(functions) if fitted else Each(functions)


class Each:
    """A function for each member: f(x, ...)[i] = f_i(x[i], ...)."""

    def __init__(self, functions: Sequence[Callable[..., torch.Tensor]]) -> None:
        self.functions: list[Operator] = [noiseless(function) for function in functions]
        self.__name__: str = name_of(functions[0])

    def __len__(self) -> int:
        return len(self.functions)

    @property
    def is_random(self) -> bool:
        """Whether one of them draws at random whenever it is computed."""
        return any(getattr(each, "is_random", False) for each in self.functions)

    def __call__(self, x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        if len(x) != len(self):
            raise InputError(f"{len(self)} members have a function each, got {len(x)} images", code="shape")

        def of(i: int, value: torch.Tensor) -> torch.Tensor:
            return value[i : i + 1] if len(value) > 1 else value

        return torch.cat([f(*(of(i, value) for value in (x, *others))) for i, f in enumerate(self.functions)])

    def chosen(self, indices: Sequence[int]) -> Callable[..., torch.Tensor]:
        """The functions of some members; of one alone its function itself, so that it is computed as in a fit of its own."""
        some = [self.functions[i] for i in indices]
        return some[0] if len(some) == 1 else Each(some)


class PerMember(nn.Module):
    """An operator that is fitted: one for each member, (b, c, h, w) -> (b, ...)."""

    def __init__(self, operators: Sequence[nn.Module]) -> None:
        super().__init__()
        self.operators: nn.ModuleList = nn.ModuleList(operators)

    def __len__(self) -> int:
        return len(self.operators)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Each image by its own operator."""
        return torch.cat([operator(each[None]) for operator, each in zip(self.operators, x, strict=True)])

    def chosen(self, indices: Sequence[int]) -> PerMember:
        """The operators of some members."""
        return PerMember([self.operators[i] for i in indices])


def _moved(module: nn.Module, device: torch.device) -> nn.Module:
    """The module if it is on the device, else a copy: a user's own stays where it is."""
    here = all(value.device == device for value in [*module.parameters(), *module.buffers()])
    return module if here else copy.deepcopy(module).to(device)


def name_of(function: Callable[..., object]) -> str:
    """The name of a term: that of its function, also inside functools.partial, or of the object's class.

    Example:
        >>> name_of(partial(total_variation, beta=2.0))
        'total_variation'
    """
    function = getattr(function, "func", function)
    return getattr(function, "__name__", type(function).__name__)


def _cannot_weigh(distance: Any) -> InputError:
    return InputError(
        f"the distance {name_of(distance)} has one value for the whole image, so that no weight, mask or held-out pixel can "
        "count in it: use a distance with one value for each entry, no weight, and a stopping rule that holds nothing out",
        code="operator",
    )
