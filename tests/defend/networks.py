"""Small networks whose attributions are known or cheap; nothing of them is random but what a seed fixes."""

from __future__ import annotations

import torch
from torch import nn


def pictures(count: int = 2, side: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def seeded(make, seed: int = 0) -> nn.Module:
    """What a function makes, its weights drawn from a seed of their own."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def linear(classes: int = 4, side: int = 8) -> nn.Sequential:
    """F = W x in double precision: its gradient is W everywhere."""
    return seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, classes)).double())


def bent(side: int = 8) -> nn.Sequential:
    """A smooth network in double precision whose gradient changes along any path."""
    return seeded(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, 16), nn.Tanh(), nn.Linear(16, 3)).double()
    )


class Rising(nn.Module):
    """Two logits whose gradients are positive wherever x is, and change along the path: sum of w x^2, and of w x^3."""

    def __init__(self, side: int = 8) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.rand(3, side, side, generator=generator, dtype=torch.float64))

    def forward(self, x):
        return torch.stack([(self.weight * x**power).sum((1, 2, 3)) for power in (2, 3)], 1)


def with_modes() -> nn.Sequential:
    """Batch norm and dropout, which do other things in training, and a ReLU in place."""
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3, 2, 1),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(24, 3),
        )
    )


class Detached(nn.Module):
    """Logits without a gradient."""

    def forward(self, x):
        return x.detach().mean((2, 3))


class Patch(nn.Module):
    """Two logits: 0, and how bright the upper left quarter is; nothing else of the picture counts."""

    def forward(self, x):
        h, w = (side // 2 for side in x.shape[-2:])
        bright = 12 * (x[:, :, :h, :w].mean((1, 2, 3)) - 0.3)
        return torch.stack([torch.zeros_like(bright), bright], 1)
