"""Zero-Shot Noise2Noise as a baseline: the other network that is trained on one noisy picture alone.

The noisy picture is cut into two of half the size, each of other pixels of its 2 x 2 squares; a network of 22 thousand
parameters that tells the noise of the one is judged by the other. Settings as published, except that the step count is the
authors' for color pictures.

Source: Mansour and Heckel, Zero-Shot Noise2Noise: Efficient Image Denoising without any Data, CVPR 2023.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional

WIDTH, STEPS, RATE = 48, 2000, 0.001
HALVE_EVERY = 1000


def network(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, WIDTH, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(WIDTH, channels, 1),
    )


def halves(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(1, c, h, w) -> twice (1, c, h / 2, w / 2): the means of either diagonal of each square of 2 x 2."""
    channels = image.shape[1]
    falling = image.new_tensor([[0.5, 0.0], [0.0, 0.5]]).expand(channels, 1, 2, 2)
    rising = falling.flip(-1)
    first, second = (functional.conv2d(image, kernel, stride=2, groups=channels) for kernel in (rising, falling))
    return first, second


def zero_shot_noise2noise(noisy: torch.Tensor, seed: int = 0) -> Iterator[tuple[float, torch.Tensor]]:
    """(seconds so far, the denoised picture) after each step; the last is the method's result."""
    torch.manual_seed(seed)
    net = network(noisy.shape[1])
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, HALVE_EVERY, gamma=0.5)
    first, second = halves(noisy)
    seconds = 0.0
    for _ in range(STEPS):
        begin = time.perf_counter()
        optimizer.zero_grad()
        of_first, of_second = first - net(first), second - net(second)
        denoised = noisy - net(noisy)
        of_whole_first, of_whole_second = halves(denoised)
        mse = functional.mse_loss
        residual = (mse(of_first, second) + mse(of_second, first)) / 2
        consistency = (mse(of_first, of_whole_first) + mse(of_second, of_whole_second)) / 2
        (residual + consistency).backward()
        optimizer.step()
        schedule.step()
        seconds += time.perf_counter() - begin
        yield seconds, denoised.detach().clamp(0, 1)
