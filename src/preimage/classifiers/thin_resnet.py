"""ThinResNet: residual networks of a quarter of the usual work, for images of some 32 pixels and machines of two cores."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

WIDTHS = (32, 64, 128, 256)  # of the four stages, half of those of a ResNet-18
BLOCKS = {"thin_resnet10": 1, "thin_resnet18": 2}
"""The number of blocks of each stage, by the name of the architecture."""


class ThinResNet(nn.Module):
    """A ResNet of basic blocks with a 3x3 first convolution of stride 1: (b, 3, h, w) -> logits (b, classes).

    Each of the four stages has so many blocks, and every one but the first halves height and width.

    Source: He, Zhang, Ren, Sun, Deep Residual Learning for Image Recognition, CVPR 2016, with half the channels of its ResNet-18.
    """

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self, blocks: int, classes: int) -> None:
        super().__init__()
        self.stem: nn.Sequential = nn.Sequential(_convolution(3, WIDTHS[0]), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU())
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(_Block(before, width, stride), *(_Block(width, width) for _ in range(1, blocks)))
            for before, width, stride in zip((WIDTHS[0], *WIDTHS), WIDTHS, (1, 2, 2, 2), strict=False)
        )
        self.avgpool: nn.AdaptiveAvgPool2d = nn.AdaptiveAvgPool2d(1)
        self.fc: nn.Linear = nn.Linear(WIDTHS[-1], classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))
        return self.fc(self.avgpool(x).flatten(1))


class _Block(nn.Module):
    def __init__(self, channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.first, self.second = _convolution(channels, width, stride), _convolution(width, width)
        self.first_norm, self.second_norm = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.shortcut = nn.Identity()
        if stride > 1 or channels != width:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(self.second_norm(self.second(inner)) + self.shortcut(x))


def _convolution(channels: int, width: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
