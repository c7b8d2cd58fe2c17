"""Image quality against a ground truth: for reports and studies, never for a fit."""

from __future__ import annotations

import torch

from preimage.errors import InputError


def psnr(image: torch.Tensor, reference: torch.Tensor, data_range: float = 1.0) -> torch.Tensor:
    """Peak signal-to-noise ratio of each image in dB, 10 log10(data_range^2 / mean squared error).

    Example:
        >>> psnr(torch.full((1, 3, 16, 16), 0.6), torch.full((1, 3, 16, 16), 0.5))
        tensor([20.0000])

    Args:
        image, reference: (b, c, h, w), of one shape; the result is (b,), infinite for equal images.
        data_range: largest possible value minus the smallest, in units of the image.

    Raises:
        InputError: shapes that differ or are not (b, c, h, w) ("shape").
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio

    _check(image, reference)
    values = peak_signal_noise_ratio(
        image.float(), reference.to(image.device).float(), data_range=data_range, reduction="none", dim=(1, 2, 3)
    )
    return values.reshape(-1)


def ssim(image: torch.Tensor, reference: torch.Tensor, data_range: float = 1.0) -> torch.Tensor:
    """Structural similarity of each image, at most 1, with a Gaussian window of sigma 1.5 and 11 pixels a side.

    Example:
        >>> ssim(torch.ones(1, 1, 16, 16), torch.ones(1, 1, 16, 16))
        tensor([1.])

    Args:
        image, reference: (b, c, h, w), of one shape, 11 pixels a side or more; the result is (b,).
        data_range: largest possible value minus the smallest, in units of the image.

    Raises:
        InputError: shapes that differ or are not (b, c, h, w) ("shape"), or a side below 11 pixels ("size").

    Source: Wang, Bovik, Sheikh, Simoncelli, Image Quality Assessment: From Error Visibility to Structural Similarity, 2004.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    _check(image, reference)
    if min(image.shape[-2:]) < 11:
        size = f"{image.shape[-1]} x {image.shape[-2]}"
        raise InputError(f"ssim needs at least 11 pixels a side, got {size}: use larger images", code="size")
    values = structural_similarity_index_measure(
        image.float(),
        reference.to(image.device).float(),
        data_range=data_range,
        reduction="none",
        kernel_size=11,
        sigma=1.5,
    )
    assert isinstance(values, torch.Tensor)
    return values.reshape(-1)


def _check(image: torch.Tensor, reference: torch.Tensor) -> None:
    if image.ndim != 4 or image.shape != reference.shape:
        raise InputError(
            f"image and reference must be (b, c, h, w) of one shape, got {tuple(image.shape)} and {tuple(reference.shape)}",
            code="shape",
        )
