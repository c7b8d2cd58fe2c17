"""How near a picture is to the true one: for reports and studies, never for a fit."""

from __future__ import annotations

import torch

from preimage.errors import InputError


def psnr(image: torch.Tensor, reference: torch.Tensor, data_range: float = 1.0) -> torch.Tensor:
    """Peak signal-to-noise ratio in dB of each picture, 10 log10(data_range^2 / mean squared error).

    Example:
        >>> psnr(torch.full((1, 3, 16, 16), 0.6), torch.full((1, 3, 16, 16), 0.5))
        tensor([20.])

    image and reference are (b, c, h, w), of one shape; the result is (b,), infinite for equal pictures.
    Raises InputError where the shapes differ.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio

    _check(image, reference)
    values = peak_signal_noise_ratio(
        image.float(), reference.to(image.device).float(), data_range=data_range, reduction="none", dim=(1, 2, 3)
    )
    return values.reshape(-1)


def ssim(image: torch.Tensor, reference: torch.Tensor, data_range: float = 1.0) -> torch.Tensor:
    """Structural similarity of each picture (Wang et al. 2004: Gaussian window of deviation 1.5, 11 pixels wide).

    Example:
        >>> ssim(torch.ones(1, 1, 16, 16), torch.ones(1, 1, 16, 16))
        tensor([1.])

    image and reference are (b, c, h, w), of one shape, 11 pixels a side or more; the result is (b,).
    Raises InputError where the shapes differ or a side is too short.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    _check(image, reference)
    if min(image.shape[-2:]) < 11:
        raise InputError(f"ssim needs 11 pixels a side, got {image.shape[-1]} x {image.shape[-2]}")
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
            f"the picture is {tuple(image.shape)} and the reference {tuple(reference.shape)}: "
            "both must be (b, c, h, w), alike"
        )
