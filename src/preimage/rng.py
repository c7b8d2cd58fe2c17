"""Randomness: explicit generators only, one for each source of each member, all from one seed.

Nothing here, and nothing that uses it, reads or sets PyTorch's global generators: what one thread draws, no other one sees.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from preimage.errors import InputError

SOURCES = ("weights", "code", "jitter", "hold-out", "stand-in")
LARGEST_SEED = 2**31 - 1


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number by its type, Python's or NumPy's; True and False are none.

    Example:
        >>> is_whole(3), is_whole(3.0), is_whole(True)
        (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def checked_seed(seed: Any) -> int:
    """A random seed as Python's int: the one check that the whole library has for it.

    Example:
        >>> checked_seed(7)
        7

    Raises:
        InputError: not a whole number from 0 to 2147483647.
    """
    if not is_whole(seed) or not 0 <= int(seed) <= LARGEST_SEED:
        raise InputError(f"seed must be a whole number from 0 to {LARGEST_SEED}, got {seed!r}", code="invalid-value")
    return int(seed)


def generator(
    seed: int, source: str, member: int, device: torch.device | str = "cpu", *, stream: int = 0
) -> torch.Generator:
    """The generator of one source of randomness of one member: streams that never meet, from one seed.

    Example:
        >>> torch.rand(2, generator=generator(0, "code", 1)).shape
        torch.Size([2])

    Args:
        seed: as `checked_seed` returns it.
        source: one of SOURCES.
        member: its number, 0 for the first.
        stream: tells apart several users of one source (two stopping rules that both hold out pixels).
    """
    words = [seed, SOURCES.index(source), member, *([stream] if stream else [])]
    high, low = np.random.SeedSequence(words).generate_state(2)
    return torch.Generator(device).manual_seed(int(high) << 31 | int(low) >> 1)


class drawing_from(TorchDispatchMode):  # noqa: N801 (reads as the context manager that it is)
    """A context in which PyTorch's random operations that name no generator draw from this one, in this thread alone.

    The values are those of a global generator in the same state, which stays as it is: modules can be built from a seed in
    many threads at once. On another device than the generator's, operations draw from one of that device with its seed.

    Example:
        >>> with drawing_from(torch.Generator().manual_seed(0)):
        ...     layer = torch.nn.Linear(4, 4)
        >>> with drawing_from(torch.Generator().manual_seed(0)):
        ...     assert torch.equal(layer.weight, torch.nn.Linear(4, 4).weight)
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generators: dict[torch.device, torch.Generator] = {generator.device: generator}
        self.seed: int = generator.initial_seed()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if torch.Tag.nondeterministic_seeded not in func.tags or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        kwargs.pop("generator", None)  # a None that was passed by name
        place = next((value.device for value in args if isinstance(value, torch.Tensor)), kwargs.get("device"))
        generator = self._of(torch.device("cpu" if place is None else place))
        if func is torch.ops.aten.native_dropout.default:
            return _dropout(*args, **kwargs, generator=generator)
        seeded = _with_generator(func)
        return func(*args, **kwargs) if seeded is None else seeded(*args, **kwargs, generator=generator)

    def _of(self, device: torch.device) -> torch.Generator | None:
        if device.type == "meta":  # nothing is drawn
            return None
        if device not in self.generators:
            self.generators[device] = torch.Generator(device).manual_seed(self.seed)
        return self.generators[device]


def _with_generator(func: Any) -> Any:
    """The overload of a random operation that takes a generator; None for one that has none (attention, which draws nothing
    where it is built without dropout)."""
    if any(argument.name == "generator" for argument in func._schema.arguments):
        return func
    name = "generator" if func._overloadname == "default" else f"{func._overloadname}_generator"
    return getattr(func.overloadpacket, name) if name in func.overloadpacket.overloads() else None


def _dropout(
    x: torch.Tensor, p: float, train: bool | None = True, *, generator: torch.Generator | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """PyTorch's native_dropout, which takes no generator."""
    mask = torch.ones_like(x, dtype=torch.bool)
    if not train:
        return x.clone(), mask
    mask.bernoulli_(1 - p, generator=generator)
    return x * mask * (0.0 if p == 1 else 1 / (1 - p)), mask
