"""Recipe: everything about a fit that is not the problem: network, code, jitter, optimizer, rate, steps, averaging.

A recipe is plain data. Its network is one of the small descriptions below, or any function of (in_channels, out_channels,
height, width) that returns a fresh nn.Module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import nn

from preimage.codes import Code, Noise, channels_of
from preimage.engine.devices import choose_device, choose_precision, free_memory
from preimage.errors import InputError
from preimage.modes import in_own_modes
from preimage.networks import SkipNet
from preimage.optimizers import OptimizerFactory, adam
from preimage.prior import Prior
from preimage.problem import name_of
from preimage.rng import is_whole

Precision = Literal["auto", "float32", "bfloat16"]
Stop = Literal["auto", "steps"]
FORMAT = 2
MOST_RESTARTS = 10_000


def _counts(value: Any) -> bool:
    return is_whole(value) and int(value) >= 1


@dataclass(frozen=True)
class Recipe:
    """The settings of a fit: a value; `dataclasses.replace(recipe, steps=100)` makes another.

    Example:
        >>> Recipe(steps=100).steps
        100

    Args:
        network: config of g, called with (in_channels, out_channels, height, width).
        code: Noise(channels, scale), Mesh(), or Masked(keep): the input image itself, values of it masked at random.
        jitter: standard deviation of the noise added to the code at every step.
        jitter_pool: None: drawn anew at each step; n: from a pool of n, shifted and signed at random (faster).
        optimizer, rate: optimizer and learning rate of the weights.
        operator_rate: learning rate of Adam for a trainable operator (an unknown blur kernel).
        steps: maximum number of iterations.
        averaging: factor of the exponential average of the outputs; 0 returns the output itself.
        debiased: whether the average is divided by the weight it has gathered (published: it starts at the first output).
        precision: "auto", "float32" or "bfloat16".
        restarts: members per image, averaged.
        stop: "auto": the task chooses a rule; "steps": all steps are done.

    Raises:
        InputError: a value out of its range.
    """

    network: Callable[[int, int, int, int], nn.Module] = SkipNet.Config()
    code: Code = Noise()
    jitter: float = 1 / 30
    jitter_pool: int | None = None
    optimizer: OptimizerFactory = adam
    rate: float = 0.01
    operator_rate: float = 0.01
    steps: int = 3000
    averaging: float = 0.99
    debiased: bool = True
    precision: Precision = "auto"
    restarts: int = 1
    stop: Stop = "auto"

    def __post_init__(self) -> None:
        checks = (
            ("steps", _counts(self.steps), "a whole number, at least 1"),
            ("restarts", _counts(self.restarts), "a whole number, at least 1"),
            ("restarts", not _counts(self.restarts) or self.restarts <= MOST_RESTARTS, f"at most {MOST_RESTARTS}"),
            ("rate", 0 < self.rate < float("inf"), "above 0"),
            ("operator_rate", 0 < self.operator_rate < float("inf"), "above 0"),
            ("averaging", 0 <= self.averaging < 1, "from 0 to below 1"),
            ("jitter", self.jitter >= 0, "at least 0"),
            ("jitter_pool", self.jitter_pool is None or _counts(self.jitter_pool), "a whole number, or none"),
            ("precision", self.precision in get_args(Precision), "auto, float32 or bfloat16"),
            ("stop", self.stop in get_args(Stop), "auto or steps"),
        )
        for name, fine, constraint in checks:
            if not fine:
                raise InputError(f"{name} must be {constraint}, got {getattr(self, name)!r}")

    @in_own_modes
    def prior(
        self,
        channels: int,
        size: tuple[int, int],
        *,
        members: int = 1,
        seed: int = 0,
        device: str | torch.device = "auto",
        code: torch.Tensor | None = None,
        streams: Sequence[int] | None = None,
    ) -> Prior:
        """The prior of this recipe for pictures of so many channels and this (height, width).

        `code`: an image (1, c, h, w) that stands for the recipe's own code. `streams`: as in Prior.

        Raises:
            InputError: a side under 16 pixels, no channel or more than 16, or a device that is not there.
        """
        if min(size) < 16:
            raise InputError(f"a picture must have at least 16 pixels a side, got {size[1]} x {size[0]}")
        if not 1 <= channels <= 16:
            raise InputError(f"a picture must have 1 to 16 channels, got {channels}")
        place = choose_device(device)
        inner = channels_of(self.code if code is None else code, channels)
        self._check_memory(inner, channels, size, members, place)
        prior = Prior(
            partial(self.network, inner, channels, *size),
            self.code if code is None else code,
            size,
            members=members,
            seed=seed,
            jitter=self.jitter,
            pool=self.jitter_pool,
            device=place,
            dtype=choose_precision(self.precision, place, size[0] * size[1]),
            streams=streams,
        )
        prior.set_image(torch.zeros(1, channels, *size))  # until the fit sets the target
        return prior

    def _check_memory(
        self, inner: int, channels: int, size: tuple[int, int], members: int, place: torch.device
    ) -> None:
        """Raise InputError if the weights and codes alone do not fit, before any of them is made."""
        try:
            with torch.device("meta"):
                weights = sum(each.numel() for each in self.network(inner, channels, *size).parameters())
        except (RuntimeError, NotImplementedError, TypeError):
            return  # a network of one's own that the meta device cannot build
        code = inner * size[0] * size[1]
        needed = 4 * (members * (weights + code) + 2 * code * (self.jitter_pool or 0))
        if needed > 2**28 and (free := free_memory(place)) is not None and needed > free:
            what = f"{members} networks of {weights} weights need {needed / 1e9:.1f} GB of memory"
            way = "take fewer restarts, a thinner network or a smaller image"
            raise InputError(f"{what} and {free / 1e9:.1f} GB is free: {way}", code="memory")

    def ema_weight(self, count: int) -> float:
        """The EMA weight of the latest of so many outputs: 1 for the first."""
        gathered = 1 - self.averaging**count if self.debiased else 1.0
        return 1.0 if count == 1 else (1 - self.averaging) / gathered

    def describe(self) -> dict[str, Any]:
        """The recipe as plain data for reports, checkpoints and files: functions by name, configs as dictionaries."""
        return {"format": FORMAT} | {each.name: _plain(getattr(self, each.name)) for each in fields(self)}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {"kind": kind_of(type(value))} | {k: _plain(v) for k, v in asdict(value).items()}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return name_of(value) if callable(value) else value


def kind_of(config: type) -> str:
    """The name of what a value configures: SkipNet of SkipNet.Config, Noise of Noise."""
    return config.__qualname__.partition(".")[0]
