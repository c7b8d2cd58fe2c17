"""Augmentation: images of a batch rotated, scaled, cropped, flipped and changed in color, each by draws of its own, at once.

Each crop is one affine map, sampled bilinearly; beyond its edges an image is mirrored. In mixup a batch is blended with itself in
another order, and its loss with it:

    x = share * x_i + (1 - share) * x_j,     L = share * CE(x, y_i) + (1 - share) * CE(x, y_j),     0.5 <= share <= 1

Source: Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch.nn import functional

from preimage.classifiers.classifier import luma

LEANING = 10.0  # degrees to either side, of images with an upright
SCALE = 0.35  # of the logarithm: sides from 0.7 to 1.42
COLOR, TINT = 0.2, 0.05  # brightness, contrast and saturation; and each channel for itself

Targets = Sequence[tuple[float, torch.Tensor]]
"""Labels (b,) of images, each with the share of its class in the image."""


def augmented(
    images: torch.Tensor, size: tuple[int, int], generator: torch.Generator, *, upright: bool = True
) -> torch.Tensor:
    """Images (b, 3, h, w) in 0 to 1 as they might have been taken as well.

    Example:
        >>> augmented(torch.rand(8, 3, 120, 160), (108, 144), torch.Generator().manual_seed(0)).shape
        torch.Size([8, 3, 108, 144])

    Args:
        size: (height, width) of the crop.
        generator: of all draws; on the CPU, wherever the images are.
        upright: whether up and down differ; if not they are rotated by any angle.
    """
    maps = sent(_maps(len(images), images.shape[-2:], size, generator, upright), images.device).to(images.dtype)
    grid = functional.affine_grid(maps, [len(images), 3, *size], align_corners=False)
    cropped = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return _recolored(cropped, generator)


def shifted(
    images: torch.Tensor, reach: tuple[int, int], generator: torch.Generator, *, upright: bool = True
) -> torch.Tensor:
    """Images moved by whole pixels, up to (down, across), black where nothing is known, and flipped: no value is changed.

    Example:
        >>> shifted(torch.rand(8, 3, 32, 32), (4, 4), torch.Generator().manual_seed(0)).shape
        torch.Size([8, 3, 32, 32])

    The other arguments are those of `augmented`; without an upright, images are flipped both ways.
    """
    (down, across), (height, width) = reach, images.shape[-2:]
    padded = functional.pad(images, (across, across, down, down))
    rows = sent(_places(len(images), height, down, generator, flips=not upright), images.device)
    columns = sent(_places(len(images), width, across, generator, flips=True), images.device)
    each = torch.arange(len(images), device=images.device)[:, None, None]
    return padded.movedim(1, -1)[each, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def _places(count: int, length: int, reach: int, generator: torch.Generator, *, flips: bool) -> torch.Tensor:
    """(count, length): of each image the rows, or columns, of the padded one that stay visible."""
    first = torch.randint(2 * reach + 1, (count, 1), generator=generator)
    flipped = torch.rand(count, 1, generator=generator) < 0.5
    places = torch.arange(length)
    return first + (torch.where(flipped, places.flip(0), places) if flips else places)


def _maps(
    count: int, whole: torch.Size, size: tuple[int, int], generator: torch.Generator, upright: bool
) -> torch.Tensor:
    """(b, 2, 3): from coordinates in the crop to coordinates in the image, both from -1 to 1."""
    (height, width), (rows, columns) = size, whole
    drawn = partial(_drawn, count=count, generator=generator)
    angle = drawn(math.radians(LEANING) if upright else math.pi)
    scale = drawn(SCALE).exp()
    mirrored = drawn(1).sign()
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    across = torch.stack([cosine * width * mirrored, -sine * height, columns * drawn(1 - width / columns)], 1) / columns
    down = torch.stack([sine * width * mirrored, cosine * height, rows * drawn(1 - height / rows)], 1) / rows
    return torch.stack([across, down], 1)


def _recolored(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    def factor(reach: float, channels: int = 1) -> torch.Tensor:
        drawn = 1 + _drawn(reach, len(images) * channels, generator).reshape(-1, channels, 1, 1)
        return sent(drawn, images.device).to(images.dtype)

    gray = (images * luma(images)).sum(1, keepdim=True)
    images = torch.lerp(gray, images, factor(COLOR))
    mean = gray.mean((2, 3), keepdim=True)
    images = torch.lerp(mean, images, factor(COLOR))
    return (images * (factor(COLOR) * factor(TINT, 3))).clamp(0, 1)


def sent(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Values drawn on the CPU, on a device, without waiting for its unfinished work."""
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()
    return values.to(device, non_blocking=device.type == "cuda")


def _drawn(reach: float, count: int, generator: torch.Generator) -> torch.Tensor:
    """Uniform draws from -reach to reach."""
    return (2 * torch.rand(count, generator=generator) - 1) * reach


def mixup(count: int, mix: float, generator: torch.Generator) -> tuple[float, torch.Tensor]:
    """The share, 0.5 to 1, that each of `count` images keeps in a blend, and the order (count,) of those that fill the rest.

    The share is drawn from Beta(mix, mix); 0 blends nothing.
    """
    if not mix:
        return 1.0, torch.arange(count)
    random = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
    share = float(random.beta(mix, mix))
    return max(share, 1 - share), torch.randperm(count, generator=generator)


def loss_of(logits: torch.Tensor, targets: Targets) -> torch.Tensor:
    """The cross-entropy (b,) of logits (b, classes) to each of the targets, weighted by their shares."""
    each = [share * functional.cross_entropy(logits.float(), labels, reduction="none") for share, labels in targets]
    return torch.stack(each).sum(0)
