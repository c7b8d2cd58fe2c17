"""Members: how b members are computed, one after another or stacked into one call; it changes nothing but time.

Stacked networks are called with all weights at once, (members, ...): natively where their layers take members, else by
torch.func. Only small images gain from that, on a CPU under thin networks: larger ones are computed one after another there, and
beside each other on a GPU (cuda_graphs.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from preimage.networks.fused import plain_norms
from preimage.networks.layers import takes_members
from preimage.prior import Prior

# Parameters of a network and pixels up to which one call for all members is faster on a CPU (measured on 2 cores).
STACKED = ((1_500_000, 32 * 32), (100_000, 64 * 64))
# Pixels up to which it is on a GPU. At 256 x 256 two members took 19.8 ms a step in one call and 5.1 ms each (H200).
STACKED_ON_GPU = 64 * 64


class Members:
    """The members of a prior, computed in groups.

    Example:
        >>> from preimage.engine.recipe import Recipe
        >>> prior = Recipe().prior(3, (32, 32), members=3, device="cpu")
        >>> members = Members(prior, stacked=False)
        >>> members.groups([0, 2])
        [[0], [2]]

    Args:
        prior: whose weights and codes are laid out in the memory order that is best for it.
        stacked: whether members are computed in one call; None: by the table of what is faster.
    """

    def __init__(self, prior: Prior, stacked: bool | None = None) -> None:
        self.prior = prior
        self.stacked: bool = stacking_pays(prior) if stacked is None else stacked
        self._natively = takes_members(prior.networks[0])
        self.weights: dict[str, torch.Tensor] = {}  # of all members by name, (members, ...), once they are shared
        self.called: list[int] = []  # the members that were computed last, whose gradients those of the stack are
        # Stacked convolutions are grouped ones, whose 1x1 weight gradients PyTorch gets wrong on one CPU thread in channels_last;
        # alone, channels_last is right and a third faster. On CUDA cuDNN has no engine for some few float32 channels in it.
        plain = self.stacked or (prior.device.type == "cuda" and prior.dtype == torch.float32)
        prior.to_memory_format(torch.contiguous_format if plain else torch.channels_last)

    def groups(self, members: Sequence[int]) -> list[list[int]]:
        """The members that are computed together, group by group."""
        return [list(members)] if self.stacked and members else [[i] for i in members]

    def outputs(self, members: Sequence[int], codes: Sequence[torch.Tensor]) -> torch.Tensor:
        """The outputs (b, c, h, w) of some members from their inputs (1, channels, h, w), with gradients to their weights."""
        if not self.stacked or len(members) == 1:
            return self.prior.outputs(members, codes)
        weights, network = self._weights_of(members), self.prior.networks[0]
        with self.prior.precision():
            if self._natively:
                x = torch.func.functional_call(network, weights, (torch.cat(list(codes)),))
            else:

                def one(own: dict[str, torch.Tensor], code: torch.Tensor) -> torch.Tensor:
                    return torch.func.functional_call(network, own, (code,))

                with plain_norms():
                    x = torch.vmap(one)(weights, torch.stack(list(codes))).squeeze(1)
            return self.prior.cropped(x.float())

    def _weights_of(self, members: Sequence[int]) -> dict[str, torch.Tensor]:
        """The weights of some members by name, (len(members), ...), whose gradients reach the members' own weights."""
        if not self.weights:
            self._share()
        self.called = list(members)
        if self.called == list(range(len(self.prior))):
            return self.weights
        return {name: torch.stack([weights[i] for i in self.called]) for name, weights in self.weights.items()}

    def _share(self) -> None:
        """Make the members' weights rows of one tensor each, so that nothing is copied together at every step."""
        each = [dict(network.named_parameters()) for network in self.prior.networks]
        for name in each[0]:
            own = [parameters[name] for parameters in each]
            weights = torch.stack([parameter.detach() for parameter in own])
            for parameter, row in zip(own, weights, strict=True):
                parameter.data = row
            self.weights[name] = weights
            if own[0].requires_grad:
                weights.requires_grad_().register_post_accumulate_grad_hook(partial(self._hand_out, own))

    def _hand_out(self, own: Sequence[nn.Parameter], weights: torch.Tensor) -> None:
        """Each called member gets its row of the gradient of all."""
        assert weights.grad is not None
        rows = weights.grad.unbind(0)
        for i in self.called:
            row, parameter = rows[i], own[i]
            parameter.grad = row if parameter.grad is None else parameter.grad + row
        weights.grad = None


def stacking_pays(prior: Prior) -> bool:
    """Whether one call for all members is faster, by the fixed table."""
    network = prior.networks[0]
    if len(prior) == 1 or any(True for _ in network.buffers()):
        return False
    if not takes_members(network) and prior.dtype != torch.float32:  # autocast does not reach into torch.vmap
        return False
    pixels = prior.size[0] * prior.size[1]
    if prior.device.type == "cuda":
        return pixels <= STACKED_ON_GPU
    if prior.device.type != "cpu":
        return True
    parameters = sum(p.numel() for p in network.parameters())
    return any(parameters <= most and pixels <= area for most, area in STACKED)
