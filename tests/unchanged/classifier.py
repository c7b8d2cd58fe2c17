"""The classifier of the explaining tasks, four classes of gratings, and the estimator of its loss: plain PyTorch, plain arrays.

`python -m tests.unchanged.classifier` is how its weights were made; they are committed, for a training differs from machine to
machine.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

WEIGHTS = Path(__file__).with_name("classifier.npz")
CLASSES = ("level", "upright", "rising", "falling")
LAYERS = {"layer1": 12, "layer2": 24}
UNITS = 16


class Gratings(nn.Module):
    """(b, 3, h, w) -> logits (b, 4): two blocks of convolutions, each of which halves height and width."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1), nn.ReLU(), nn.Conv2d(12, 12, 3, 1, 1), nn.ReLU())
        self.layer2 = nn.Sequential(nn.Conv2d(12, 24, 3, 2, 1), nn.ReLU(), nn.Conv2d(24, 24, 3, 1, 1), nn.ReLU())
        self.fc = nn.Linear(24, len(CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.layer2(self.layer1(x)).mean((2, 3)))


def weights(part: str) -> dict[str, torch.Tensor]:
    """The arrays of a part ("classifier", "estimator") by name."""
    with np.load(WEIGHTS) as held:
        return {name.partition("/")[2]: torch.from_numpy(held[name]) for name in held if name.startswith(f"{part}/")}


def gratings(count: int, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy gratings (n, 3, 32, 32) of random frequency, phase and color, and their classes."""
    labels = torch.randint(len(CLASSES), (count,), generator=random)
    directions = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.7, -0.7], [0.7, 0.7]])[labels]
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    draws = torch.rand(count, 5, generator=random)
    along = directions[:, 0, None, None] * x + directions[:, 1, None, None] * y
    waves = torch.sin((0.5 + draws[:, 0, None, None]) * along + 6.28 * draws[:, 1, None, None])
    pictures = 0.5 + 0.4 * waves[:, None] * draws[:, 2:, None, None]
    return (pictures + 0.15 * torch.randn(pictures.shape, generator=random)).clamp(0, 1), labels


def main() -> None:
    """Train both, and write their weights."""
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(0)
    model = Gratings()
    branches = nn.ModuleList(nn.Linear(channels, UNITS) for channels in LAYERS.values())
    head = nn.Linear(UNITS * len(LAYERS), 1)
    optimizer = torch.optim.Adam([*model.parameters(), *branches.parameters(), *head.parameters()], 2e-3)

    def estimates_of(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first = model.layer1(x)
        second = model.layer2(first)
        seen = [branch(each.mean((2, 3))).relu() for branch, each in zip(branches, (first, second), strict=True)]
        return model.fc(second.mean((2, 3))), head(torch.cat(seen, 1)).squeeze(1)

    for _ in range(800):
        x, labels = gratings(64, random)
        logits, estimates = estimates_of((x - 0.5) / 0.25)
        losses = functional.cross_entropy(logits, labels, reduction="none")
        ordered = losses[:, None] > losses[None, :]
        hinge = (1 - (estimates[:, None] - estimates[None, :])).clamp_min(0)
        optimizer.zero_grad()
        (losses.mean() + 0.1 * (hinge * ordered).sum() / ordered.sum()).backward()
        optimizer.step()
    with torch.no_grad():
        x, labels = gratings(500, random)
        logits, estimates = estimates_of((x - 0.5) / 0.25)
    print("accuracy", float((logits.argmax(1) == labels).float().mean()))
    parts = {"classifier": model, "estimator/branches": branches, "estimator/head": head}
    held = {f"{part}/{name}": v for part, module in parts.items() for name, v in module.state_dict().items()}
    held = {name.replace("branches/", "branches.").replace("head/", "head."): value for name, value in held.items()}
    held["estimator/quantiles"] = torch.quantile(estimates, torch.linspace(0, 1, 101))
    held["estimator/spread"] = estimates.std()
    np.savez_compressed(WEIGHTS, **{name: value.numpy() for name, value in held.items()})


if __name__ == "__main__":
    main()
