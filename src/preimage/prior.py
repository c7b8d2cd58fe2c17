"""Prior: x = g_theta(z + jitter), for b members, each with its own weights, code and streams of random numbers.

Members are computed one after another, or stacked into one call where that is faster; which of the two is chosen by a fixed
table and changes nothing but time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from preimage.codes import Code, Jitter, Masked, Mesh, Noise
from preimage.errors import InputError
from preimage.networks.layers import takes_members
from preimage.rng import seeded

NetworkFactory = Callable[[], nn.Module]
# Parameters of a network and pixels up to which one call for all members is faster on a CPU.
STACKED = ((1_500_000, 32 * 32), (100_000, 64 * 64))


class Prior:
    """b members x_i = g_i(z_i + jitter), each cropped to the picture's size.

    Example:
        >>> prior = Prior(lambda: SkipNet(32, 3, down=[64] * 4, up=[64] * 4, skip=[4] * 4), Noise(32), (50, 71), members=2)
        >>> prior.images([0, 1]).shape
        torch.Size([2, 3, 50, 71])

    Args:
        network: makes a fresh network at each call; it may say `stride`, of which number height and width must be
            multiples, and `scale`, how many times larger than its code its picture is (both 1 if it does not say).
        code: a Noise or a Mesh, drawn at the next multiple of the stride; an image (1, c, h, w), padded by reflection; or a
            Masked, whose picture comes with `show`.
        size: height and width of the picture.
        members, seed: how many, and the one seed of all randomness.
        jitter: standard deviation of the Gaussian noise added to the code at each step; `pool` as in Jitter.
        stacks: whether members are computed in one stacked call; None: by the table of what is faster.
        streams: of each member the stream of random numbers that is its own; those of one stream begin with the same weights
            and code and have the same jitter. None: 0, 1, 2, ...
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
        stacks: bool | None = None,
        streams: Sequence[int] | None = None,
    ) -> None:
        own = list(range(members) if streams is None else streams)
        self.device = torch.device(device)
        self.dtype = dtype
        self.size = size
        self.networks = nn.ModuleList(self._fresh(network, seed, stream) for stream in own)
        self.natively = takes_members(self.networks[0])  # else torch.func must see to it
        self.stacks = self._stacking_pays() if stacks is None else stacks
        self.stacked: dict[str, torch.Tensor] = {}  # all members' weights by name, (members, ...), once they are shared
        self.called: list[int] = []  # the members that were computed last, whose gradients those of the stack are
        # Stacked convolutions are grouped ones, whose 1x1 weight gradients PyTorch 2.15 gets wrong on one CPU thread in
        # channels_last; alone, channels_last is right and a third faster.
        # On CUDA cuDNN has no engine for some few channels of float32 in channels_last.
        plain = self.stacks or (self.device.type == "cuda" and dtype == torch.float32)
        self.memory = torch.contiguous_format if plain else torch.channels_last
        self.networks.to(self.device, memory_format=self.memory)  # pyright: ignore[reportCallIssue]
        said = (getattr(self.networks[0], name, 1) for name in ("stride", "scale"))
        stride, self.scale = (
            value if isinstance(value, int) else 1 for value in said
        )  # a convolution's stride is a pair
        self.padded = tuple(-(-side // stride) * stride for side in size)
        self.draws = isinstance(code, Noise | Mesh)
        self.masked = code if isinstance(code, Masked) else None
        self.codes = [self._laid_out(self._code(code, i, seed, own[i])) for i in range(members)]
        self.beside: list[int] = []  # the members whose codes were last laid beside one another
        self.codes_beside = self.codes[0]
        self.known: list[torch.Tensor] = []  # where a masked code may show its picture
        self.hidden: list[torch.Tensor] = []  # what the latest input of each member did not show of what is known
        self.jitter = Jitter(jitter, pool, seed, self.codes, own)

    @staticmethod
    def _fresh(network: NetworkFactory, seed: int, member: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.random.set_rng_state(seeded(seed, "weights", member).get_state())
            return network()

    def _code(self, code: Code | torch.Tensor, member: int, seed: int, stream: int) -> torch.Tensor:
        """The code of one member, (1, c, h, w): drawn, cut out of the images given, or empty until it is shown."""
        height, width = self.padded
        if isinstance(code, Masked):
            return torch.zeros(1, 1, height, width)
        if isinstance(code, torch.Tensor):
            return reflected(code[member * len(code) // len(self)][None], height, width)
        return code.draw(height // self.scale, width // self.scale, seeded(seed, "code", stream))

    def _laid_out(self, x: torch.Tensor) -> torch.Tensor:
        """In the precision of the first convolution, which would have to convert it at every step, and in its order."""
        return x.to(self.device, self.dtype, memory_format=self.memory)

    def _stacking_pays(self) -> bool:
        """The fixed table (measured on 2 cores): on a CPU only small pictures under thin networks gain from stacking."""
        if len(self.networks) == 1 or any(True for _ in self.networks[0].buffers()):
            return False
        if not self.natively and self.dtype != torch.float32:  # autocast does not reach into torch.vmap
            return False
        if self.device.type != "cpu":
            return True
        parameters = sum(p.numel() for p in self.networks[0].parameters())
        return any(parameters <= most and self.size[0] * self.size[1] <= area for most, area in STACKED)

    def __len__(self) -> int:
        return len(self.networks)

    def show(self, picture: torch.Tensor, weight: torch.Tensor | None = None) -> None:
        """Give a masked code what it masks: (1 or b, c, h, w), never shown where its weight is 0. No other code asks for it.

        Raises:
            InputError: something that is not a picture of the prior's size.
        """
        if self.masked is None:
            return
        if picture.ndim != 4 or tuple(picture.shape[-2:]) != self.size:
            height, width = self.size
            raise InputError(
                f"a masked code shows what was given, which must be a picture of {width} x {height} pixels, got "
                f"{tuple(picture.shape)}: take a recipe with another code"
            )
        known = torch.ones_like(picture) if weight is None else (weight > 0).to(picture)
        picture, known = torch.broadcast_tensors(torch.where(known > 0, picture, 0), known)
        height, width = self.padded
        each = [i if len(picture) > 1 else 0 for i in range(len(self))]
        self.codes, self.known = (
            [self._laid_out(reflected(given[i : i + 1], height, width)) for i in each] for given in (picture, known)
        )
        self.hidden = [torch.zeros_like(self._cropped(known)) for known in self.known]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(1, channels, h, w) of what a network is given."""
        _, channels, *sides = self.codes[0].shape
        return (1, channels if self.masked is None else 2 * channels, *sides)

    def input(self, member: int) -> torch.Tensor:
        """What the network of a member is given next: its code jittered anew, or masked anew."""
        if self.masked is None:
            return self.jitter.added_to(self.codes[member], member)
        known = self.known[member]
        drawn = self.masked.drawn(self.codes[member], known, self.jitter.generators[member])
        self.hidden[member] = self._cropped(known - drawn[:, known.shape[1] :])
        return drawn

    def inputs(self, members: Sequence[int]) -> list[torch.Tensor]:
        """What the networks of some members are given next, (1, channels, h, w) each; drawn together where they are stacked."""
        if self.masked is not None or not self.stacks or len(members) == 1:
            return [self.input(i) for i in members]
        if list(members) != self.beside:
            self.beside = list(members)
            self.codes_beside = torch.cat([self.codes[i] for i in members])
        return list(self.jitter.added_to_all(self.codes_beside, members).split(1))

    def asked(self, members: Sequence[int]) -> torch.Tensor | None:
        """(len(members), c, h, w), 1 where the latest inputs hid a known value: there alone the outputs are judged.

        None: everywhere, as with any code but a masked one.
        """
        return None if self.masked is None else torch.cat([self.hidden[i] for i in members]).float()

    def image(self, member: int) -> torch.Tensor:
        """One output of one member, (1, c, h, w), from its next input."""
        return self.images([member])

    def images(self, members: Sequence[int]) -> torch.Tensor:
        """One output of each of some members, (len(members), c, h, w), from their next inputs."""
        return self.outputs(members, self.inputs(members))

    def outputs(self, members: Sequence[int], inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """The outputs of some members from inputs (1, channels, h, w); in one stacked call where the table says so."""
        if not self.stacks or len(members) == 1:
            with self._precision():
                each = [self.networks[i](given) for i, given in zip(members, inputs, strict=True)]
                return self._cropped(torch.cat(each).float())
        weights, base = self._weights_of(members), self.networks[0]
        with self._precision():
            if self.natively:
                return self._cropped(torch.func.functional_call(base, weights, (torch.cat(list(inputs)),)).float())

            def one(own: dict[str, torch.Tensor], code: torch.Tensor) -> torch.Tensor:
                return torch.func.functional_call(base, own, (code,))

            return self._cropped(torch.vmap(one)(weights, torch.stack(list(inputs))).squeeze(1).float())

    def _weights_of(self, members: Sequence[int]) -> dict[str, torch.Tensor]:
        """The weights of some members by name, (len(members), ...), whose gradients reach the members' own weights."""
        if not self.stacked:
            self._share()
        self.called = list(members)
        if self.called == list(range(len(self))):
            return self.stacked
        return {name: torch.stack([weights[i] for i in self.called]) for name, weights in self.stacked.items()}

    def _share(self) -> None:
        """Let the members' weights be rows of one tensor each, so that nothing is copied together at every step."""
        each = [dict(network.named_parameters()) for network in self.networks]
        for name in each[0]:
            own = [parameters[name] for parameters in each]
            weights = torch.stack([parameter.detach() for parameter in own])
            for parameter, row in zip(own, weights, strict=True):
                parameter.data = row
            self.stacked[name] = weights.requires_grad_()
            weights.register_post_accumulate_grad_hook(partial(self._hand_out, own))

    def _hand_out(self, own: Sequence[nn.Parameter], weights: torch.Tensor) -> None:
        """Each called member gets its row of the gradient of all."""
        assert weights.grad is not None
        rows = weights.grad.unbind(0)
        for i in self.called:
            row, parameter = rows[i], own[i]
            parameter.grad = row if parameter.grad is None else parameter.grad + row
        weights.grad = None

    def _precision(self) -> torch.autocast:
        enabled = self.dtype == torch.bfloat16
        # Weights converted within a CUDA graph must not be taken from outside it.
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=enabled, cache_enabled=self.device.type != "cuda"
        )

    def _cropped(self, x: torch.Tensor) -> torch.Tensor:
        height, width = self.size
        return x[..., :height, :width]

    def state_dict(self) -> dict[str, Any]:
        return {
            "networks": [network.state_dict() for network in self.networks],
            "codes": list(self.codes),
            "jitter": [generator.get_state() for generator in self.jitter.generators],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.start_from([{"network": n, "code": c} for n, c in zip(state["networks"], state["codes"], strict=True)])
        for code, saved in zip(self.codes, state["codes"], strict=True):
            code.copy_(saved)
        self.beside = []
        for generator, saved in zip(self.jitter.generators, state["jitter"], strict=True):
            generator.set_state(saved)

    def weights(self) -> list[dict[str, Any]]:
        """What another fit can start from: of each member the weights and the code (copies)."""
        return [
            {"network": {k: v.detach().clone() for k, v in network.state_dict().items()}, "code": code}
            for network, code in zip(self.networks, self.codes, strict=True)
        ]

    def start_from(self, weights: Sequence[dict[str, Any]]) -> None:
        """Take over weights, and drawn codes where they have this size; fewer members than here are used in turn.

        Raises:
            InputError: weights of another network.
        """
        self.beside = []
        for i, network in enumerate(self.networks):
            given = weights[i % len(weights)]
            take_over(network, given["network"], "network")
            if self.draws and given["code"].shape == self.codes[i].shape:  # an image is what this very fit was given
                self.codes[i].copy_(given["code"])


def take_over(module: nn.Module, given: dict[str, torch.Tensor], name: str) -> None:
    """Load what a module of another fit has learned; InputError in one line where the two are not alike."""
    own, came = ({key: tuple(value.shape) for key, value in d.items()} for d in (module.state_dict(), given))
    for key in own | came:
        if own.get(key) != came.get(key):
            raise InputError(
                f"initial holds the weights of another {name}: {key} is {came.get(key, 'not there')}, expected "
                f"{own.get(key, 'none')}: take a result of the same task and recipe, with as many channels"
            )
    module.load_state_dict(given)


def reflected(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """An image (1, c, h, w) padded at the bottom and on the right by reflection, in several folds where it is small."""
    while image.shape[-2] < height or image.shape[-1] < width:
        below = min(height - image.shape[-2], image.shape[-2] - 1)
        beside = min(width - image.shape[-1], image.shape[-1] - 1)
        image = functional.pad(image, (0, beside, 0, below), mode="reflect")
    return image
