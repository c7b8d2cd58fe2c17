"""z: the input of the network. Noise, a mesh, or the input image itself with values masked; and the jitter added to it.

Every source of randomness of every member has a generator of its own, all from one seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from preimage.errors import InputError
from preimage.rng import generator as stream_of

SHARED = 2**32 - 1  # the "member" of what all members share
PLACES = 64  # a pooled noise tensor is so many rows and columns larger than the code (at most twice as large)


@dataclass(frozen=True)
class Noise:
    """A code of uniform noise, scale * U(0, 1): the published one is Noise(32, 0.1).

    Example:
        >>> Noise(32).draw(16, 24, torch.Generator().manual_seed(0)).shape
        torch.Size([1, 32, 16, 24])
    """

    channels: int = 32
    scale: float = 0.1

    def draw(self, height: int, width: int, generator: torch.Generator) -> torch.Tensor:
        """One code, (1, channels, height, width)."""
        return self.scale * torch.rand(1, self.channels, height, width, generator=generator)


@dataclass(frozen=True)
class Mesh:
    """A code of two channels that hold the horizontal and the vertical position, 0 to 1.

    Example:
        >>> Mesh().draw(16, 24, torch.Generator()).shape
        torch.Size([1, 2, 16, 24])
    """

    channels: int = 2

    def draw(self, height: int, width: int, generator: torch.Generator) -> torch.Tensor:
        """One code, (1, 2, height, width); nothing is random in it."""
        y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
        return torch.stack([x, y])[None]


@dataclass(frozen=True)
class Masked:
    """The input image itself as the code, with values masked at random, anew at every step; the mask is an input, too.

    The network predicts the masked values from the visible ones, and the loss counts the masked values alone. Noise that is
    independent between values cannot be predicted. Entries of weight 0 are never visible.

    Args:
        keep: the fraction of the values that stays visible, between 0 and 1; any other is an InputError.
        filled: whether a masked value is the mean of its visible neighbors (above, below, left, right) instead of 0.

    Source: Batson and Royer, Noise2Self, ICML 2019; Quan et al., Self2Self, CVPR 2020.
    """

    keep: float = 0.7
    filled: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.keep < 1:
            raise InputError(f"the visible fraction of a masked code must be between 0 and 1, got {self.keep}")
        if not isinstance(self.filled, bool):
            raise InputError(f"whether a masked code is filled must be true or false, got {self.filled!r}")

    def draw(self, image: torch.Tensor, valid: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """(1, 2c, h, w): the visible values of an image (1, c, h, w), 0 or filled elsewhere, and the mask of them, in `valid`."""
        # Filled in one memory order, whatever that of the image: masks must not depend on how members are computed.
        draws = torch.empty_like(image, device=generator.device, memory_format=torch.channels_last)
        draws.bernoulli_(self.keep, generator=generator)
        visible = draws.to(image.device) * valid
        seen = image * visible
        if self.filled:
            # Where no neighbor is visible the sum is 0, and stays it.
            seen = torch.where(visible > 0, seen, beside(seen) / beside(visible).clamp(min=1))
        return torch.cat([seen, visible], 1)


def beside(x: torch.Tensor) -> torch.Tensor:
    """The sum of the four neighbors of each value of (b, c, h, w), 0 beyond the edge.

    Added one by one, so that the bits do not depend on the memory order.
    """
    padded = functional.pad(x, (1, 1, 1, 1))
    columns = padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]
    return padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] + columns


Code = Noise | Mesh | Masked


def channels_of(code: Code | torch.Tensor, image_channels: int) -> int:
    """How many channels the network's input has.

    Example:
        >>> channels_of(Noise(32), 3), channels_of(Masked(), 3)
        (32, 6)
    """
    if isinstance(code, torch.Tensor):
        return code.shape[1]
    return 2 * image_channels if isinstance(code, Masked) else code.channels


class Jitter:
    """Gaussian noise added to the codes at every step, each member with a stream of its own.

    It is drawn anew at each step, as published, which takes a quarter of the time of a fast step. With a `pool`, it is
    a crop of one of so many slightly larger noise tensors, shared by all members, at a random place and with a random sign.
    """

    def __init__(
        self, deviation: float, pool: int | None, seed: int, code: torch.Tensor, streams: Sequence[int]
    ) -> None:
        self.deviation = deviation
        # Apple's generator cannot be seeded apart; and the choice among a pool must never wait for the device.
        place = "cpu" if pool is not None or code.device.type == "mps" else code.device
        self.generators: list[torch.Generator] = [stream_of(seed, "jitter", stream, place) for stream in streams]
        # Whether all that it draws is drawn on the device of the code, so that a recorded step can draw it.
        self.on_device: bool = pool is None and code.device.type != "mps"
        self.pool: list[torch.Tensor] = []
        if pool is not None and deviation:
            shared = stream_of(seed, "jitter", SHARED)
            _, channels, *sides = code.shape
            height, width = (side + min(side, PLACES) for side in sides)
            for _ in range(pool):
                noise = torch.empty(1, channels, height, width).normal_(0, deviation, generator=shared)
                self.pool.append(noise.to(code.device, code.dtype))

    def to_memory_format(self, memory_format: torch.memory_format) -> None:
        """The pool in the memory order of the codes."""
        self.pool = [noise.contiguous(memory_format=memory_format) for noise in self.pool]

    def added_to(self, code: torch.Tensor, member: int) -> torch.Tensor:
        """A code (1, c, h, w) with noise of a member's stream."""
        if not self.deviation:
            return code
        if self.pool:
            return self._pooled(code, member)
        # The noise is drawn in one memory order, whatever that of the code, so that it does not depend on how members are
        # computed: in that in which PyTorch's generator for CPUs is eight times faster.
        _, channels, height, width = code.shape
        noise = torch.empty(1, height, width, channels, device=self.generators[member].device)
        noise.normal_(0, self.deviation, generator=self.generators[member])
        noisy = torch.empty_like(code)  # in the order of the code, which is what convolutions want
        return torch.add(code, noise.movedim(-1, 1).to(code.device), out=noisy)

    def _pooled(self, code: torch.Tensor, member: int) -> torch.Tensor:
        height, width = code.shape[-2:]
        counts = [len(self.pool), 2, min(height, PLACES) + 1, min(width, PLACES) + 1]
        draws = torch.rand(4, generator=self.generators[member]).tolist()
        chosen, sign, top, left = (int(draw * count) for draw, count in zip(draws, counts, strict=True))
        window = self.pool[chosen][..., top : top + height, left : left + width]
        return torch.add(code, window, alpha=1 - 2 * sign)


def reflected(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """An image (1, c, h, w) padded at the bottom and on the right by reflection, in several folds where it is small."""
    while image.shape[-2] < height or image.shape[-1] < width:
        bottom = min(height - image.shape[-2], image.shape[-2] - 1)
        right = min(width - image.shape[-1], image.shape[-1] - 1)
        image = functional.pad(image, (0, right, 0, bottom), mode="reflect")
    return image
