"""A network carried from one image to another, as the same function of its input.

A norm by the statistics of the current image, y = w (x - m) / s + b, is another function in every image, so that weights which
were fitted to one image say little of the next: its brightness and contrast must be learned anew. As a scale and a shift,
y = S x + T with S = w / s and T = b - w m / s, it is one function for all, and in another image, of mean m' and deviation s',
it is the norm with the weight w' = S s' and the bias b' = T + S m'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from preimage.networks.layers import EPSILON, Norm


@torch.no_grad()
def without_statistics(network: nn.Module, apply: Callable[[], object]) -> dict[str, torch.Tensor]:
    """The weights of a network, copies on the CPU, with the scale and shift of each norm in place of its weight and bias.

    Args:
        network: as it was fitted; stays as it is.
        apply: applies it to the input that it was fitted to.
    """
    found: dict[str, torch.Tensor] = {name: value.to("cpu", copy=True) for name, value in network.state_dict().items()}
    names = {module: name and f"{name}." for name, module in network.named_modules()}

    def note(norm: Norm, x: torch.Tensor, first: int) -> None:
        mean, deviation = _statistics(x)
        here = slice(first, first + x.shape[1])
        for weight, bias in _learned(norm):
            scale = weight[here] / deviation
            found[f"{names[norm]}weight"][here] = scale.cpu()
            found[f"{names[norm]}bias"][here] = (bias[here] - scale * mean).cpu()

    with _seen(network, note):
        apply()
    return found


@torch.no_grad()
def with_statistics(network: nn.Module, apply: Callable[[], object]) -> None:
    """The inverse, in place, for another input: `apply` applies the network to that, norm after norm as it has become.

    Example:
        >>> from preimage.networks import SkipNet
        >>> network = SkipNet(3, 3, down=[8] * 2, up=[8] * 2, skip=[4] * 2)
        >>> dark, bright = torch.rand(1, 3, 32, 32), 1 + 2 * torch.rand(1, 3, 32, 32)
        >>> network.load_state_dict(without_statistics(network, lambda: network(dark)))
        <All keys matched successfully>
        >>> with_statistics(network, lambda: network(bright))  # the same function of bright that it was of dark
    """

    def take(norm: Norm, x: torch.Tensor, first: int) -> None:
        mean, deviation = _statistics(x)
        here = slice(first, first + x.shape[1])
        for weight, bias in _learned(norm):
            bias[here] += weight[here] * mean
            weight[here] *= deviation

    with _seen(network, take):
        apply()


def _statistics(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of each channel, as the norm takes them."""
    x = x.float()
    return x.mean((0, 2, 3)), (x.var((0, 2, 3), unbiased=False) + EPSILON).sqrt()


def _learned(norm: Norm) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Weight and bias, if it has any."""
    return [] if norm.weight is None or norm.bias is None else [(norm.weight.data, norm.bias.data)]


@contextmanager
def _seen(network: nn.Module, note: Callable[[Norm, torch.Tensor, int], None]) -> Iterator[None]:
    norms = [module for module in network.modules() if isinstance(module, Norm)]
    try:
        for norm in norms:
            norm.seen = note
        yield
    finally:
        for norm in norms:
            norm.seen = None
