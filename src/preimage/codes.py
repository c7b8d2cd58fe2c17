"""z: what a network is given. Noise, a mesh, or the given picture itself with values hidden; and the jitter added to it.

Every source of randomness of every member has a generator of its own, all from one seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from preimage.errors import InputError
from preimage.rng import seeded

SHARED = 2**32 - 1  # the "member" of what all members share
PLACES = 64  # a pooled noise tensor is so many rows and columns larger than the code (at most twice as large)


@dataclass(frozen=True)
class Noise:
    """A code of uniform noise, scale * U(0, 1): the published one is Noise(32, 0.1)."""

    channels: int = 32
    scale: float = 0.1

    def draw(self, height: int, width: int, generator: torch.Generator) -> torch.Tensor:
        return self.scale * torch.rand(1, self.channels, height, width, generator=generator)


@dataclass(frozen=True)
class Mesh:
    """A code of two channels that hold the horizontal and the vertical position, 0 to 1."""

    channels: int = 2

    def draw(self, height: int, width: int, generator: torch.Generator) -> torch.Tensor:
        y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
        return torch.stack([x, y])[None]


@dataclass(frozen=True)
class Masked:
    """The given picture itself as the code, new values of it hidden at random at every step, beside the mask of the others.

    The network must tell the hidden values from those that are shown, and is judged by the hidden ones alone (Prior.hidden):
    what it cannot know of them is noise that is independent from value to value. It never sees what has no weight.

    Source: Batson and Royer, Noise2Self, ICML 2019; Quan et al., Self2Self, CVPR 2020.

    Args:
        keep: the share of the values that is shown.
    """

    keep: float = 0.7

    def __post_init__(self) -> None:
        if not 0 < self.keep < 1:
            raise InputError(f"the share of values that a masked code keeps must be between 0 and 1, got {self.keep}")

    def drawn(self, picture: torch.Tensor, known: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """(1, 2c, h, w): what is shown of a picture (1, c, h, w) of which `known` (1, c, h, w) may be, and where that is."""
        # Filled in one memory order, whatever that of the picture: masks must not depend on how members are computed.
        draws = torch.empty_like(picture, device=generator.device, memory_format=torch.channels_last)
        draws.bernoulli_(self.keep, generator=generator)
        shown = draws.to(picture.device) * known
        return torch.cat([picture * shown, shown], 1)


Code = Noise | Mesh | Masked


def channels_of(code: Code | torch.Tensor, picture_channels: int) -> int:
    """How many channels the network's input has."""
    if isinstance(code, torch.Tensor):
        return code.shape[1]
    return 2 * picture_channels if isinstance(code, Masked) else code.channels


class Jitter:
    """Gaussian noise added to the codes at every step, each member with a stream of its own.

    Drawn afresh at each step, as published; or, since that costs a quarter of a fast step, cut out of one of a `pool` of
    noise tensors, a little larger, that all members share: at a random place and with a random sign.
    """

    def __init__(
        self, deviation: float, pool: int | None, seed: int, like: list[torch.Tensor], streams: Sequence[int]
    ) -> None:
        self.deviation = deviation
        device = like[0].device
        # Apple's generator cannot be seeded apart; and the choice among a pool must never wait for the device.
        place = "cpu" if pool is not None or device.type == "mps" else device
        self.generators = [seeded(seed, "jitter", stream, place) for stream in streams]
        self.pool: list[torch.Tensor] = []
        if pool is not None and deviation:
            generator = seeded(seed, "jitter", SHARED)
            _, channels, *sides = like[0].shape
            height, width = (side + min(side, PLACES) for side in sides)
            memory = torch.channels_last if like[0].is_contiguous(memory_format=torch.channels_last) else None
            for _ in range(pool):
                noise = torch.empty(1, channels, height, width).normal_(0, deviation, generator=generator)
                noise = noise.to(device, like[0].dtype)
                self.pool.append(noise if memory is None else noise.contiguous(memory_format=memory))

    def added_to(self, code: torch.Tensor, member: int) -> torch.Tensor:
        """A code (1, c, h, w) with noise of a member's stream."""
        if not self.deviation:
            return code
        if self.pool:
            return self._pooled(code, member)
        noisy = torch.empty_like(code)  # in the order of the code, which is what convolutions want
        return torch.add(code, self._fresh(code, [member]).to(code.device), out=noisy)

    def added_to_all(self, codes: torch.Tensor, members: Sequence[int]) -> torch.Tensor:
        """Codes (b, c, h, w), each with noise of its member's stream: what `added_to` gives of each alone."""
        if not self.deviation:
            return codes
        if self.pool:
            return torch.cat([self._pooled(code, i) for code, i in zip(codes.split(1), members, strict=True)])
        return codes + self._fresh(codes, members).to(codes.device)

    def _fresh(self, codes: torch.Tensor, members: Sequence[int]) -> torch.Tensor:
        # Filled in one memory order, whatever that of the codes: the noise must not depend on how members are computed. It is
        # that in which PyTorch's generator for CPUs is eight times faster.
        _, channels, height, width = codes.shape
        noise = torch.empty(len(members), height, width, channels, device=self.generators[0].device)
        for row, i in zip(noise.unbind(0), members, strict=True):
            row.normal_(0, self.deviation, generator=self.generators[i])
        return noise.movedim(-1, 1)

    def _pooled(self, code: torch.Tensor, member: int) -> torch.Tensor:
        height, width = code.shape[-2:]
        places = [len(self.pool), 2, min(height, PLACES) + 1, min(width, PLACES) + 1]
        draws = torch.rand(4, generator=self.generators[member]).tolist()
        pick, sign, top, left = (int(draw * count) for draw, count in zip(draws, places, strict=True))
        window = self.pool[pick][..., top : top + height, left : left + width]
        return torch.add(code, window, alpha=1 - 2 * sign)
