"""Phi of inpainting: y = m x, m being the mask of valid pixels."""

from __future__ import annotations

import torch
from torch import nn

from preimage.errors import InputError


class Mask(nn.Module):
    """x -> x * mask, (b, c, h, w) -> (b, c, h, w).

    Example:
        >>> valid = torch.rand(1, 1, 32, 32) < 0.5
        >>> Mask(valid)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 3, 32, 32])

    Args:
        mask: (b or 1, c or 1, h, w), bool (True: valid) or float (a weight, 0 to 1). b = 1 applies to all
            members; a mask for each member requires an x with all members.

    Raises InputError for a mask that is not 4-dimensional, of integers or not finite; when called, sizes that do not fit.
    """

    mask: torch.Tensor

    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        if mask.ndim != 4:
            found = f"got shape {tuple(mask.shape)}: add axes of size 1"
            raise InputError(f"mask must be (b or 1, c or 1, h, w), {found}", code="mask")
        if mask.dtype != torch.bool and not mask.is_floating_point():
            raise InputError(f"mask must be bool or float, got {mask.dtype}: give mask > 0", code="mask")
        if not bool(torch.isfinite(mask).all()):
            raise InputError("mask must be finite, got NaN or infinity: use 0 for invalid pixels", code="mask")
        self.register_buffer("mask", mask.detach().clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fits = x.ndim == 4 and x.shape[2:] == self.mask.shape[2:]
        if not fits or any(m not in (1, n) for m, n in zip(self.mask.shape[:2], x.shape[:2], strict=True)):
            raise InputError(
                f"the mask of {tuple(self.mask.shape)} does not fit the picture of {tuple(x.shape)}: "
                f"h and w must be the same, b and c the same or 1",
                code="mask",
            )
        return x * self.mask.to(x.dtype)
