"""Distances and shares of image changes: how much changed, at which place and in which frequencies.

All images are (b, c, h, w) in 0 to 1; all results (b,) unless stated.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from preimage.engine.devices import wide
from preimage.errors import InputError
from preimage.extras import extra

BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang, Simoncelli, Bovik 2003
WINDOW = 11  # pixels a side, of the Gaussian window of SSIM


def l1(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference, 0 to 1.

    Example:
        >>> l1(torch.zeros(1, 3, 16, 16), torch.full((1, 3, 16, 16), 0.5))
        tensor([0.5000])
    """
    check_alike(a, b)
    return (a - b).abs().flatten(1).mean(1)


def l2(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Root mean square difference, 0 to 1."""
    check_alike(a, b)
    return (a - b).square().flatten(1).mean(1).sqrt()


def ms_ssim(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Structural similarity over several scales, 1 for equal images, 0 at least.

    Five scales from 176 pixels on, four from 99, three from 44, two from 22, then one; their exponents are the published ones,
    made to sum to 1. Values of images with different numbers of scales are not to be compared.

    Raises:
        InputError: shapes that differ, or a side below 11 pixels.
    Source: Wang, Simoncelli, Bovik, Multiscale structural similarity for image quality assessment, Asilomar 2003.
    """
    with extra("classifiers"):
        from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    check_alike(a, b)
    side = min(a.shape[-2:])
    if side < WINDOW:
        raise InputError(f"MS-SSIM needs {WINDOW} pixels a side, got {side}: take a larger image")
    # As many scales as leave one window at the coarsest, and as torchmetrics takes.
    betas = BETAS[: sum(side >= WINDOW * max(2**k, k**2) for k in range(len(BETAS)))]
    return multiscale_structural_similarity_index_measure(
        a.float(), b.float(), reduction="none", data_range=1.0, betas=tuple(beta / sum(betas) for beta in betas)
    ).reshape(-1)


def inside_share(change: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Fraction of the squared change inside a mask, divided by the mask's fraction of the area; 1 is chance, NaN: no change.

    Example:
        >>> mask = torch.zeros(16, 16, dtype=torch.bool)
        >>> mask[:8, :8] = True
        >>> inside_share(mask.expand(1, 3, 16, 16).float(), mask)
        tensor([4.])

    Args:
        change: (b, c, h, w), of any sign.
        mask: bool (h, w), or (b, 1, h, w): one for each.

    Raises:
        InputError: a mask of another size or type, or one that is empty or full.
    """
    mask = _checked_mask(mask, change)
    energy = change.square().sum(1, keepdim=True)
    share = ratio((energy * mask).flatten(1).sum(1), energy.flatten(1).sum(1))
    return share / mask.float().flatten(1).mean(1)


def inside_share_of_others(change: torch.Tensor, masks: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
    """The mean `inside_share` of the same change under the masks of other images, each bool (h, w): (n, h, w) or a list.

    Lesions are central, so that any central change scores above 1; only what exceeds this number is about the image itself.
    """
    if len(masks) == 0:
        raise InputError("the change is compared under the masks of other images, got none: give one at least")
    return torch.stack([inside_share(change, mask) for mask in masks]).mean(0)


def high_frequency_share(change: torch.Tensor, cutoff: float = 0.25) -> torch.Tensor:
    """The share of the change's spectral energy above a radial frequency, its mean removed; 0 to 1, 0 where nothing varies.

    cutoff: in cycles per pixel, 0 to 0.5; a quarter is half of the Nyquist frequency. White noise has 1 - pi/16 = 0.80 above it.
    """
    if not 0 <= cutoff <= 0.5:
        raise InputError(f"the cutoff must be from 0 to 0.5 cycles per pixel, got {cutoff}: 0.25 is usual")
    change = wide(change)
    varying = change - change.mean((2, 3), keepdim=True)
    energy = torch.fft.fft2(varying).abs().square().sum(1)
    vertical, horizontal = (torch.fft.fftfreq(side, device=change.device) for side in change.shape[-2:])
    above = torch.hypot(vertical[:, None], horizontal[None, :]) > cutoff
    share = ratio((energy * above).flatten(1).sum(1), energy.flatten(1).sum(1))
    # Of a uniform change the rounding of its mean is left, which has a spectrum as well.
    varies = varying.square().flatten(1).sum(1) > 1e-12 * change.square().flatten(1).sum(1)
    return torch.where(varies, share, torch.zeros_like(share)).float()


def heat_map(change: torch.Tensor) -> torch.Tensor:
    """Where it changed, whatever the sign: the mean over channels of |change|, (b, c, h, w) -> (b, 1, h, w)."""
    return change.abs().mean(1, keepdim=True)


def check_alike(a: torch.Tensor, b: torch.Tensor) -> None:
    if a.ndim != 4 or a.shape != b.shape:
        shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise InputError(f"the images are {shapes}: they must be (b, c, h, w), of one shape")


def _checked_mask(mask: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    b, _, h, w = change.shape
    if mask.dtype != torch.bool:
        raise InputError(f"the mask must be bool, got {mask.dtype}: mask > 0.5 makes one of grey values")
    if tuple(mask.shape) not in ((h, w), (b, 1, h, w)):
        raise InputError(f"the mask is {tuple(mask.shape)}: it must be {(h, w)} or {(b, 1, h, w)}, as the change is")
    mask = mask.to(change.device).expand(b, 1, h, w)
    areas = mask.float().flatten(1).mean(1)
    if bool((areas == 0).any()) or bool((areas == 1).any()):
        shares = ", ".join(f"{area:g}" for area in areas.tolist())
        raise InputError(f"the mask covers {shares} of the image: give none instead of an empty or a full one")
    return mask


def ratio(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """part / whole, NaN where the whole is nothing."""
    return torch.where(whole > 0, part / whole, torch.full_like(part, float("nan")))
