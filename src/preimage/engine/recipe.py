"""Recipe: everything about a fit that is not the problem: network, code, jitter, optimizer, rate, steps, averaging.

A recipe is plain data. Its network is one of the small descriptions below, or any function of (in_channels, out_channels,
height, width) that returns a fresh nn.Module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import partial
from numbers import Integral
from typing import Any, Literal, get_args

import torch
from torch import nn

from preimage.codes import Code, Masked, Mesh, Noise, channels_of
from preimage.engine.devices import choose_device, choose_precision
from preimage.engine.optimizers import OptimizerFactory, adam, muon
from preimage.errors import InputError
from preimage.networks import DeepDecoder, Pixels, ResNet, SkipNet, UNet
from preimage.prior import Prior
from preimage.problem import name_of

Precision = Literal["auto", "float32", "bfloat16"]
Stop = Literal["auto", "steps"]
FORMAT = 2  # of recipes as JSON


def is_whole(value: Any) -> bool:
    """A whole number by its type, of Python or NumPy; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def _counts(value: Any) -> bool:
    return is_whole(value) and int(value) >= 1


@dataclass(frozen=True)
class Recipe:
    """The settings of a fit; `dataclasses.replace(FAST, steps=100)` makes another.

    Args:
        network: description of g, called with (in_channels, out_channels, height, width).
        code: Noise(channels, scale), Mesh(), or Masked(keep): the given picture itself, values of it hidden at random.
        jitter: standard deviation of the noise added to the code at every step.
        jitter_pool: None: drawn afresh at each step; n: from a pool of n, shifted and signed at random (faster).
        optimizer, rate: how weights move.
        operator_rate: rate of Adam for what an operator learns (an unknown blur kernel).
        steps: the most that are done.
        averaging: factor of the exponential average of the outputs; 0 returns the output itself.
        debiased: whether the average is divided by the weight it has gathered (published: it starts at the first output).
        precision: "auto", "float32" or "bfloat16".
        restarts: members per picture, averaged.
        stop: "auto": the task chooses a rule; "steps": all steps are done.
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
        prior.show(torch.zeros(1, channels, *size))  # until the fit shows what was given
        return prior

    def share_of_latest(self, count: int) -> float:
        """What the latest of so many outputs counts in their exponential average: 1 for the first."""
        gathered = 1 - self.averaging**count if self.debiased else 1.0
        return 1.0 if count == 1 else (1 - self.averaging) / gathered

    def describe(self) -> dict[str, Any]:
        """The recipe as plain data for reports and checkpoints: functions by name, descriptions as dictionaries."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {"kind": _kind(type(value))} | {k: _plain(v) for k, v in asdict(value).items()}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return name_of(value) if callable(value) else value


def _kind(config: type) -> str:
    """The name of what a value configures: SkipNet of SkipNet.Config, Noise of Noise."""
    return config.__qualname__.partition(".")[0]


def read_recipe(settings: dict[str, Any], base: Recipe) -> Recipe:
    """A recipe from plain data, what it does not name taken from `base`: the inverse of `describe`.

    Example:
        >>> read_recipe({"steps": 200, "network": {"kind": "SkipNet", "down": [32] * 5}}, FAST).steps
        200

    Raises:
        InputError: an unknown setting or kind, or a value out of range.
    """
    kinds: dict[str, dict[str, Any]] = {
        "network": {
            _kind(kind): kind
            for kind in (SkipNet.Config, UNet.Config, ResNet.Config, DeepDecoder.Config, Pixels.Config)
        },
        "code": {kind.__name__: kind for kind in (Noise, Mesh, Masked)},
    }
    optimizers = {"adam": adam, "muon": muon}
    known = {field.name for field in fields(Recipe)}
    values = {field.name: getattr(base, field.name) for field in fields(Recipe)}
    for name, value in settings.items():
        if name not in known:
            raise InputError(f"a recipe has no setting {name!r}: it has {', '.join(sorted(known))}")
        try:
            if name in kinds:
                options = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items() if k != "kind"}
                values[name] = kinds[name][value["kind"]](**options)
            else:
                values[name] = optimizers[value] if name == "optimizer" else value
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"recipe setting {name!r} cannot be {value!r}: {error}") from error
    try:
        recipe = Recipe(**values)
    except TypeError as error:
        raise InputError(f"a recipe value has the wrong type: {error}") from error
    _try(recipe)
    return recipe


def _try(recipe: Recipe) -> None:
    """Build the code and the network once, small or without memory, so that what cannot be is said before any work."""
    side = 2**8
    try:
        if not isinstance(recipe.code, Masked):
            if recipe.code.channels < 1:
                raise InputError(f"a code must have at least 1 channel, got {recipe.code.channels}")
            recipe.code.draw(1, 1, torch.Generator())
        with torch.device("meta"):
            recipe.network(channels_of(recipe.code, 3), 3, side, side)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"no network can be built from this recipe: {' '.join(str(error).split())}") from error
