"""Optimizers of a member's weights: Adam as published, or Muon on the kernels of convolutions and Adam on the rest.

Muon (Jordan et al. 2024) follows the momentum of the gradient with all its singular values set to one, by Newton-Schulz
iteration: every direction of a kernel learns at the same pace, and a fit needs four to ten times fewer steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, cast

import torch
from torch import nn

# Below this many input or output channels a kernel has too few directions to be worth orthogonalizing.
SMALLEST_MATRIX = 8
MOMENTUM = 0.9
NEWTON_SCHULZ_STEPS = 5


class Optimizer(Protocol):
    """What a fit needs of an optimizer: one step from the gradients, a learning rate that can be lowered, a state to save."""

    param_groups: list[dict[str, Any]]

    def step(self) -> Any:
        """Move the weights by their gradients."""

    def state_dict(self) -> dict[str, Any]:
        """The rate and what is remembered of the gradients."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""


OptimizerFactory = Callable[[Iterable[nn.Parameter], float], list[Optimizer]]


def adam(parameters: Iterable[nn.Parameter], rate: float) -> list[Optimizer]:
    """Adam (Kingma and Ba 2015) with PyTorch's betas, fused into one kernel: `adam(net.parameters(), 0.01)`."""
    parameters = list(parameters)
    on_cuda = any(p.device.type == "cuda" for p in parameters)
    return [torch.optim.Adam(parameters, lr=rate, fused=True, capturable=on_cuda)]


def muon(parameters: Iterable[nn.Parameter], rate: float) -> list[Optimizer]:
    """Muon for the kernels of convolutions, each as the matrix out x (in * kh * kw); Adam for everything else.

    Momentum 0.9, five Newton-Schulz steps, update scaled by sqrt(max(1, out / fan_in)), no Nesterov, no weight decay.
    """
    kernels, others = kernels_and_others(parameters)
    optimizers: list[Optimizer] = [KernelMuon(kernels, rate)] if kernels else []
    return optimizers + adam(others, rate) if others else optimizers


def kernels_and_others(parameters: Iterable[nn.Parameter]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """What Muon moves, the kernels of convolutions, and what it does not."""

    def is_kernel(p: nn.Parameter) -> bool:
        return p.ndim == 4 and min(p.shape[:2]) >= SMALLEST_MATRIX

    parameters = list(parameters)
    return [p for p in parameters if is_kernel(p)], [p for p in parameters if not is_kernel(p)]


class KernelMuon:
    """torch.optim.Muon's step for kernels, those of one shape computed together: a network has 15 of 3 shapes.

    Newton-Schulz commutes with a permutation of columns, so a view in the kernel's own memory order serves. The iteration
    is computed in bfloat16, as in torch.optim.Muon, whose result this is but for rounding. `decay`: of the weights, decoupled,
    in units of the rate.
    """

    def __init__(self, kernels: list[nn.Parameter], rate: float, decay: float = 0.0) -> None:
        self.kernels = kernels
        self.decay = decay
        self.param_groups: list[dict[str, Any]] = [{"params": kernels, "lr": rate}]
        shapes: dict[torch.Size, list[int]] = {}
        for i, kernel in enumerate(kernels):
            shapes.setdefault(as_matrix(kernel, like=kernel).shape, []).append(i)
        self.alike: list[list[int]] = list(shapes.values())
        self.momenta: list[Any] = [torch.zeros(0)] * len(self.alike)

    def step(self) -> None:
        """Move the kernels by their gradients."""
        step_kernels([self])

    @torch.no_grad()
    def momentum_of(self, number: int, some: list[int], kernels: list[nn.Parameter]) -> torch.Tensor:
        """The momentum of some kernels of one shape after their gradients, (n, rows, columns)."""
        gradients = torch.stack([as_matrix(k.grad, like=k) for k in kernels if k.grad is not None])
        count = len(self.alike[number])
        if not len(self.momenta[number]):
            self.momenta[number] = gradients.new_zeros(count, *gradients.shape[1:])
        held = self.momenta[number]
        if len(some) == count:
            return held.lerp_(gradients, 1 - MOMENTUM)
        held[some] = held[some].lerp(gradients, 1 - MOMENTUM)
        return held[some]

    def state_dict(self) -> dict[str, Any]:
        """The rate and the momenta."""
        return {"rate": self.param_groups[0]["lr"], "momenta": self.momenta}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.param_groups[0]["lr"] = state_dict["rate"]
        place = self.kernels[0].device
        self.momenta = [momentum.to(place, copy=True) for momentum in state_dict["momenta"]]


@torch.no_grad()
def step_kernels(muons: Sequence[KernelMuon]) -> None:
    """The steps of several KernelMuons of the same shapes, rate and decay, all kernels of one shape computed together."""
    first = muons[0]
    rate = first.param_groups[0]["lr"]
    for number, indices in enumerate(first.alike):
        kernels: list[nn.Parameter] = []
        momenta: list[torch.Tensor] = []
        for muon in muons:
            some = [j for j, i in enumerate(indices) if muon.kernels[i].grad is not None]
            if some:  # a kernel without a gradient stays as it is
                own = [muon.kernels[indices[j]] for j in some]
                kernels += own
                momenta.append(muon.momentum_of(number, some, own))
        if not kernels:
            continue
        momentum = torch.cat(momenta) if len(momenta) > 1 else momenta[0]
        rows, columns = momentum.shape[1:]
        for kernel, update in zip([k.detach() for k in kernels], orthogonalized(momentum), strict=True):
            if first.decay:
                kernel.mul_(1 - rate * first.decay)
            as_matrix(kernel, like=kernel).add_(update, alpha=-rate * max(1, rows / columns) ** 0.5)


def orthogonalized(matrices: torch.Tensor) -> torch.Tensor:
    """The singular values of each matrix set to about 1, by Newton-Schulz: (n, rows, columns) -> the same, float32.

    Five steps of X <- a X + (b A + c A A) X, A = X X^T, with Keller Jordan's coefficients, which reach 0.7 to 1.2.
    """
    rows, columns = matrices.shape[1:]
    x = matrices.to(torch.bfloat16)
    x = x.mT if rows > columns else x
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True, dtype=torch.float32).clamp_min(1e-7).to(x.dtype)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return (x.mT if rows > columns else x).float()


def as_matrix(tensor: torch.Tensor, *, like: torch.Tensor) -> torch.Tensor:
    """(out, in, kh, kw) -> (out, in * kh * kw), its columns in the memory order of `like`, a view where it can be."""
    if like.is_contiguous():
        return tensor.reshape(tensor.shape[0], -1)
    return tensor.permute(0, 2, 3, 1).reshape(tensor.shape[0], -1)


class Together:
    """One step of several optimizers, those of one kind and rate computed in one go; each keeps a state of its own.

    Example:
        >>> members = [nn.Parameter(torch.ones(3)) for _ in range(2)]
        >>> Together([optimizer for p in members for optimizer in adam([p], 0.1)]).step()

    Args:
        optimizers: as of the members of one fit, which differ in nothing but their weights.
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self.optimizers: list[Optimizer] = list(optimizers)
        self.joint: dict[tuple[int, ...], torch.optim.Adam] = {}

    def step(self) -> None:
        """Move all weights by their gradients."""
        kinds: dict[tuple[Any, ...], list[Optimizer]] = {}
        for optimizer in self.optimizers:
            kinds.setdefault(_kind(optimizer), []).append(optimizer)
        for alike in kinds.values():
            if isinstance(alike[0], KernelMuon):
                step_kernels(cast("list[KernelMuon]", alike))
            elif len(alike) > 1:
                self._step_adams(cast("list[torch.optim.Adam]", alike))
            else:
                alike[0].step()

    def _step_adams(self, adams: list[torch.optim.Adam]) -> None:
        """By an Adam of all their weights, which is lent their states."""
        if any(len(adam.state) < len(adam.param_groups[0]["params"]) for adam in adams):
            for adam in adams:  # the first step makes the states
                adam.step()
            return
        settings, key = _settings(adams[0]), tuple(map(id, adams))
        if key not in self.joint:
            weights = [p for adam in adams for p in adam.param_groups[0]["params"]]
            self.joint[key] = torch.optim.Adam(weights, **settings)
        joint = self.joint[key]
        joint.param_groups[0].update(settings)
        for adam in adams:
            joint.state.update(adam.state)
        joint.step()


def _kind(optimizer: Optimizer) -> tuple[Any, ...]:
    """Optimizers of equal kinds are stepped in one go; one of a kind of its own is stepped alone."""
    if isinstance(optimizer, KernelMuon):
        return KernelMuon, optimizer.param_groups[0]["lr"], optimizer.decay
    if type(optimizer) is torch.optim.Adam and len(optimizer.param_groups) == 1:
        return torch.optim.Adam, *_settings(optimizer).items()
    return (id(optimizer),)


def _settings(adam: torch.optim.Adam) -> dict[str, Any]:
    """The rate and whatever else an Adam of one group was given besides its weights."""
    return {name: held for name, held in adam.param_groups[0].items() if name != "params"}
