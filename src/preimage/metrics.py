"""Image quality against a ground truth: for reports and studies, never for a fit.

Images and references are (b, c, h, w) of one shape, results (b,); `data_range` is the largest possible value minus the smallest.
"""

from __future__ import annotations

from typing import Any

import torch

from preimage.errors import InputError
from preimage.extras import extra


def psnr(image: torch.Tensor, reference: torch.Tensor, data_range: float = 1.0) -> torch.Tensor:
    """Peak signal-to-noise ratio of each image in dB, 10 log10(data_range^2 / mean squared error); infinite for equal images.

    Example:
        >>> psnr(torch.full((1, 3, 16, 16), 0.6), torch.full((1, 3, 16, 16), 0.5))
        tensor([20.0000])

    Raises:
        InputError: shapes that differ or are not (b, c, h, w) ("shape").
    """
    first, second = _checked(image, reference)
    error = (first - second).square().flatten(1).mean(1)
    return 10 * (data_range**2 / error).log10()


def ssim(image: torch.Tensor, reference: torch.Tensor, data_range: float = 1.0) -> torch.Tensor:
    """Structural similarity of each image, at most 1, with a Gaussian window of sigma 1.5 and 11 pixels a side.

    Example:
        >>> ssim(torch.ones(1, 1, 16, 16), torch.ones(1, 1, 16, 16))
        tensor([1.])

    Raises:
        InputError: shapes that differ or are not (b, c, h, w) ("shape"), or a side below 11 pixels ("size").
        MissingExtra: torchmetrics is not installed.

    Source: Wang, Bovik, Sheikh, Simoncelli, Image Quality Assessment: From Error Visibility to Structural Similarity, 2004.
    """
    with extra("metrics"):
        from torchmetrics.functional.image import structural_similarity_index_measure

    pair = _checked(image, reference)
    if min(image.shape[-2:]) < 11:
        size = f"{image.shape[-1]} x {image.shape[-2]}"
        raise InputError(f"ssim needs at least 11 pixels a side, got {size}: use larger images", code="size")
    values: Any = structural_similarity_index_measure(
        *pair, data_range=data_range, reduction="none", kernel_size=11, sigma=1.5
    )
    return values.reshape(-1)


def _checked(image: torch.Tensor, reference: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if image.ndim != 4 or image.shape != reference.shape:
        shapes = f"{tuple(image.shape)} and {tuple(reference.shape)}"
        raise InputError(f"image and reference must be (b, c, h, w) of one shape, got {shapes}", code="shape")
    return image.float(), reference.to(image.device).float()
