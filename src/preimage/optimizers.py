"""How a member's weights move: Adam as published, or Muon on the kernels of convolutions and Adam on the rest.

Muon (Jordan et al. 2024) follows the momentum of the gradient with all its singular values set to one, by Newton-Schulz
iteration: every direction of a kernel learns at the same pace, and a fit needs four to ten times fewer steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import nn

# Below this many input or output channels a kernel has too few directions to be worth orthogonalizing.
SMALLEST_MATRIX = 8


class Optimizer(Protocol):
    """What a fit asks of an optimizer: one step from the gradients, a rate that can be lowered, a state to save."""

    param_groups: list[dict[str, Any]]

    def step(self) -> Any: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


OptimizerFactory = Callable[[Iterable[nn.Parameter], float], list[Optimizer]]


def adam(parameters: Iterable[nn.Parameter], rate: float) -> list[Optimizer]:
    """Adam (Kingma and Ba 2015) with PyTorch's betas, fused into one kernel: `adam(net.parameters(), 0.01)`."""
    return [torch.optim.Adam(list(parameters), lr=rate, fused=True)]


def muon(parameters: Iterable[nn.Parameter], rate: float) -> list[Optimizer]:
    """Muon for the kernels of convolutions, each as the matrix out x (in * kh * kw); Adam for everything else.

    Momentum 0.9, five Newton-Schulz steps, update scaled by sqrt(max(1, out / fan_in)), no Nesterov, no weight decay.
    """
    kernels: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for p in parameters:
        (kernels if p.ndim == 4 and min(p.shape[:2]) >= SMALLEST_MATRIX else others).append(p)
    optimizers: list[Optimizer] = [KernelMuon(kernels, rate)] if kernels else []
    return optimizers + adam(others, rate) if others else optimizers


class KernelMuon:
    """torch.optim.Muon, which takes matrices only, on 2-D views that share memory with the kernels.

    Newton-Schulz commutes with a permutation of columns, so a view in the kernel's own memory order serves.
    """

    def __init__(self, kernels: list[nn.Parameter], rate: float) -> None:
        self.kernels = kernels
        self.matrices = [nn.Parameter(as_matrix(kernel.detach(), like=kernel)) for kernel in kernels]
        self.inner = torch.optim.Muon(
            self.matrices, lr=rate, momentum=0.9, nesterov=False, weight_decay=0.0, ns_steps=5, adjust_lr_fn="original"
        )
        self.param_groups = self.inner.param_groups

    def step(self) -> None:
        for kernel, matrix in zip(self.kernels, self.matrices, strict=True):
            matrix.grad = None if kernel.grad is None else as_matrix(kernel.grad, like=kernel)
        self.inner.step()

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.inner.load_state_dict(state_dict)
        self.param_groups = self.inner.param_groups


def as_matrix(tensor: torch.Tensor, *, like: torch.Tensor) -> torch.Tensor:
    """(out, in, kh, kw) -> (out, in * kh * kw), its columns in the memory order of `like`, a view where it can be."""
    if like.is_contiguous():
        return tensor.reshape(tensor.shape[0], -1)
    return tensor.permute(0, 2, 3, 1).reshape(tensor.shape[0], -1)
