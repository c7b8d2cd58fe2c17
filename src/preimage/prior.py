"""Prior: x = g_theta(z + jitter), for b members, each with its own weights, code and streams of random numbers.

It knows its networks, codes and jitter, and computes one member after another; `engine.members` computes several at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from preimage.codes import Code, Jitter, Masked, Mesh, Noise, reflected
from preimage.errors import InputError
from preimage.modes import in_own_modes
from preimage.networks.carried import with_statistics, without_statistics
from preimage.networks.loading import copied, load_alike
from preimage.rng import checked_seed, drawing_from, generator

NetworkFactory = Callable[[], nn.Module]


class Inputs(NamedTuple):
    """The next inputs of some members, (1, channels, h, w) each, and where their outputs count (None: everywhere)."""

    codes: list[torch.Tensor]
    loss_mask: torch.Tensor | None


class Prior:
    """b members x_i = g_i(z_i + jitter), each cropped to the image's size.

    Example:
        >>> prior = Prior(lambda: SkipNet(8, 3, down=[8] * 2, up=[8] * 2, skip=[4] * 2), Noise(8), (50, 71), members=2)
        >>> x, loss_mask = prior()
        >>> x.shape
        torch.Size([2, 3, 50, 71])

    Args:
        network: returns a new network at each call. It may have `stride` (height and width must be multiples of it) and `scale`
            (its image is so many times larger than its code); both are 1 by default.
        code: a Noise or a Mesh, drawn at the next multiple of the stride; an image (1 or b, c, h, w), padded by reflection; or
            a Masked, whose image is set by `set_image`.
        size: height and width of the image, in pixels.
        members: how many.
        seed: random seed, 0 to 2147483647.
        jitter: standard deviation of the Gaussian noise added to the code at each step; `pool` as in Jitter.
        device, dtype: where the members are computed, and in what precision (float32 or bfloat16).
        streams: the number of each member's random stream; members of one stream have the same initial weights, code and
            jitter. None: 0, 1, 2, ...
    """

    def __init__(
        self,
        network: NetworkFactory,
        code: Code | torch.Tensor,
        size: tuple[int, int],
        *,
        members: int = 1,
        seed: int = 0,
        jitter: float = 0.0,
        pool: int | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        streams: Sequence[int] | None = None,
    ) -> None:
        seed, own = checked_seed(seed), list(range(members) if streams is None else streams)
        self.device: torch.device = torch.device(device)
        self.dtype = dtype
        self.size = size
        self.streams: list[int] = own
        self.memory_format: torch.memory_format = torch.contiguous_format
        self.networks: nn.ModuleList = nn.ModuleList(_fresh(network, seed, stream) for stream in own).to(self.device)
        # A convolution has a stride, too, which is a pair.
        found = (getattr(self.networks[0], name, 1) for name in ("stride", "scale"))
        stride, scale = (value if isinstance(value, int) else 1 for value in found)
        self.scale: int = scale
        self.padded: tuple[int, ...] = tuple(-(-side // stride) * stride for side in size)
        self.draws: bool = isinstance(code, Noise | Mesh)
        self.masked: Masked | None = code if isinstance(code, Masked) else None
        self.codes: list[torch.Tensor] = [self._laid_out(self._code(code, i, seed, own[i])) for i in range(members)]
        self.valid: list[torch.Tensor] = []  # which values of a masked code may be visible
        self.jitter: Jitter = Jitter(jitter, pool, seed, self.codes[0], own)

    def __len__(self) -> int:
        return len(self.networks)

    # ------------------------------------------------------------------ codes

    def _code(self, code: Code | torch.Tensor, member: int, seed: int, stream: int) -> torch.Tensor:
        """The code of one member, (1, c, h, w): drawn, one of the images, or empty until an image is set."""
        height, width = self.padded
        if isinstance(code, Masked):
            return torch.zeros(1, 1, height, width)
        if isinstance(code, torch.Tensor):
            return reflected(code[member * len(code) // len(self)][None], height, width)
        return code.draw(height // self.scale, width // self.scale, generator(seed, "code", stream))

    def _laid_out(self, x: torch.Tensor) -> torch.Tensor:
        """In the precision of the first convolution, which would have to convert it at every step, and in its order."""
        return x.to(self.device, self.dtype, memory_format=self.memory_format)

    def to_memory_format(self, memory_format: torch.memory_format) -> None:
        """Lay out weights, codes and jitter in a memory order; none of their values changes."""
        self.memory_format = memory_format
        self.networks.to(memory_format=memory_format)  # pyright: ignore[reportCallIssue]
        self.codes, self.valid = ([self._laid_out(x) for x in each] for each in (self.codes, self.valid))
        self.jitter.to_memory_format(memory_format)

    def set_image(self, image: torch.Tensor, weight: torch.Tensor | None = None) -> None:
        """Set the image (1 or b, c, h, w) of a masked code; entries of weight 0 are never visible. Other codes have none.

        Raises:
            InputError: not an image of the prior's size.
        """
        if self.masked is None:
            return
        if image.ndim != 4 or tuple(image.shape[-2:]) != self.size:
            height, width = self.size
            raise InputError(
                f"a masked code needs a target that is an image of {width} x {height} pixels, got {tuple(image.shape)}: "
                "use a recipe with another code",
                code="shape",
            )
        valid = torch.ones_like(image) if weight is None else (weight > 0).to(image)
        image, valid = torch.broadcast_tensors(torch.where(valid > 0, image, 0), valid)
        height, width = self.padded
        each = [i if len(image) > 1 else 0 for i in range(len(self))]
        self.codes, self.valid = (
            [self._laid_out(reflected(one[i : i + 1], height, width)) for i in each] for one in (image, valid)
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(1, channels, h, w) of a network's input."""
        _, channels, *sides = self.codes[0].shape
        return (1, channels if self.masked is None else 2 * channels, *sides)

    # ------------------------------------------------------------------ x

    def inputs(self, members: Sequence[int]) -> Inputs:
        """The next inputs of some members: their codes with new jitter, or with other values masked."""
        if self.masked is None:
            return Inputs([self.jitter.added_to(self.codes[i], i) for i in members], None)
        codes, hidden = [], []
        for i in members:
            valid = self.valid[i]
            codes.append(self.masked.draw(self.codes[i], valid, self.jitter.generators[i]))
            hidden.append(self.cropped(valid - codes[-1][:, valid.shape[1] :]))
        return Inputs(codes, torch.cat(hidden).float())

    def __call__(self, members: Sequence[int] | None = None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """One output of each of some members (all if None) from their next inputs, and where it counts.

        Returns:
            x, (b, c, h, w) float32, and the loss mask, (b, c, h, w), 1 at masked entries; None where every entry counts.
        """
        members = range(len(self)) if members is None else members
        codes, loss_mask = self.inputs(members)
        return self.outputs(members, codes), loss_mask

    def outputs(self, members: Sequence[int], codes: Sequence[torch.Tensor]) -> torch.Tensor:
        """The outputs (b, c, h, w) of some members from their inputs (1, channels, h, w), one after another."""
        with self.precision():
            each = [self.networks[i](code) for i, code in zip(members, codes, strict=True)]
            return self.cropped(torch.cat(each).float())

    def precision(self) -> torch.autocast:
        """The context in which networks are computed."""
        # Weights converted within a CUDA graph must not be taken from outside it.
        cached, enabled = self.device.type != "cuda", self.dtype == torch.bfloat16
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled, cache_enabled=cached)

    def cropped(self, x: torch.Tensor) -> torch.Tensor:
        """Without what was padded for the network's stride."""
        height, width = self.size
        return x[..., :height, :width]

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """Weights, codes and where the streams of random numbers are."""
        return {
            "networks": [network.state_dict() for network in self.networks],
            "codes": list(self.codes),
            "jitter": [own.get_state() for own in self.jitter.generators],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.start_from([{"network": n, "code": c} for n, c in zip(state["networks"], state["codes"], strict=True)])
        for code, saved in zip(self.codes, state["codes"], strict=True):
            code.copy_(saved)
        for own, saved in zip(self.jitter.generators, state["jitter"], strict=True):
            own.set_state(saved)

    def weights(self) -> list[dict[str, Any]]:
        """What another fit can start from: of each member the weights and the code, copies on the CPU."""
        return [
            {"network": copied(network.state_dict()), "code": code.detach().to("cpu", copy=True)}
            for network, code in zip(self.networks, self.codes, strict=True)
        ]

    @in_own_modes
    def function(self) -> list[dict[str, Any]]:
        """The same as functions of their input (`networks.carried`), with which a fit of another image begins where this one
        has come to. Draws the next inputs."""
        each = zip(range(len(self)), self.networks, self.codes, strict=True)
        states = [(without_statistics(network, lambda i=i: self([i])), code) for i, network, code in each]
        return [{"network": n, "code": code.detach().to("cpu", copy=True), "carried": True} for n, code in states]

    @in_own_modes
    def start_from(self, weights: Sequence[dict[str, Any]]) -> None:
        """Load weights, and drawn codes where they have this size; fewer members than here are used in turn.

        Raises:
            InputError: weights of another network.
        """
        carried = False
        for i, network in enumerate(self.networks):
            saved = weights[i % len(weights)]
            load_alike(network, saved["network"], "network")
            carried = carried or bool(saved.get("carried"))
            if self.draws and saved["code"].shape == self.codes[i].shape:  # an image is this very fit's own
                self.codes[i].copy_(saved["code"])
        if carried:
            for i, network in enumerate(self.networks):
                with_statistics(network, lambda i=i: self([i]))


def _fresh(network: NetworkFactory, seed: int, member: int) -> nn.Module:
    with drawing_from(generator(seed, "weights", member)):
        return network()
