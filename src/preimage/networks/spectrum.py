"""No network: the Fourier coefficients of an image in decorrelated colors are fitted, so that all of them are learned alike.

Source: Olah, Mordvintsev, Schubert, Feature Visualization, Distill 2017: gradient descent in a basis whose components vary alike
in photographs finds smooth images without any regularizer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

# Colors of photographs in three uncorrelated ones (Olah et al., after the statistics of ImageNet), the longest row 1.
_COLORS = ((0.26, 0.09, 0.02), (0.27, 0.0, -0.05), (0.27, -0.09, 0.03))
NEAREST = 1 / 512  # to black and white, which have no coefficients
CONTRAST = 5.9 / math.sqrt(6)  # of coefficients of unit variance, as that of photographs


def amplitudes(size: tuple[int, int]) -> torch.Tensor:
    """(h, w / 2 + 1): 1 / frequency, the spectrum of photographs; of root mean square 1."""
    height, width = size
    frequency = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None, :])
    found = 1 / frequency.clamp_min(1 / max(size))
    return found / found.square().mean().sqrt()


def image_of(coefficients: torch.Tensor, amplitude: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Images (b, 1 or 3, h, w) in 0 to 1 of coefficients (b, 1 or 3, h, w / 2 + 1, 2) that vary alike.

    Example:
        >>> random = torch.randn(2, 3, 16, 13, 2)
        >>> image_of(random, amplitudes((16, 24)), (16, 24)).shape
        torch.Size([2, 3, 16, 24])
    """
    values = torch.fft.irfft2(torch.view_as_complex(coefficients) * amplitude, s=size, norm="ortho")
    if values.shape[1] == 3:
        colors = torch.tensor(_COLORS, device=values.device)
        values = torch.einsum("oc,bchw->bohw", colors / colors.norm(dim=1).max(), values)
    return (CONTRAST * values).sigmoid()


def coefficients_of(images: torch.Tensor) -> torch.Tensor:
    """The inverse of `image_of` for images (b, 1 or 3, h, w) in 0 to 1: (b, 1 or 3, h, w / 2 + 1, 2); black and white nearly.

    Example:
        >>> x = torch.rand(1, 3, 16, 24)
        >>> found = image_of(coefficients_of(x), amplitudes((16, 24)), (16, 24))
        >>> bool((found - x).abs().max() < 0.003)
        True
    """
    values = images.clamp(NEAREST, 1 - NEAREST).logit() / CONTRAST
    if values.shape[1] == 3:
        colors = torch.tensor(_COLORS, device=values.device)
        inverse = torch.linalg.inv((colors / colors.norm(dim=1).max()).cpu().double()).to(values)
        values = torch.einsum("oc,bchw->bohw", inverse, values)
    size = images.shape[-2:]
    return torch.view_as_real(torch.fft.rfft2(values, norm="ortho") / amplitudes((size[0], size[1])).to(values))


class Spectrum(nn.Module):
    """An image (1, out_channels, h, w) that starts at gray and is fitted frequency by frequency; the code is ignored.

    Example:
        >>> Spectrum(3, size=(32, 48))(torch.empty(1, 1, 32, 48)).shape
        torch.Size([1, 3, 32, 48])

    Args:
        size: height and width in pixels.
    """

    @dataclass(frozen=True)
    class Config:
        """A spectrum as a value."""

        def __call__(self, in_channels: int, out_channels: int, height: int, width: int) -> Spectrum:
            return Spectrum(out_channels, size=(height, width))

    stride = 1
    scale = 1

    def __init__(self, out_channels: int, *, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.coefficients: nn.Parameter = nn.Parameter(torch.zeros(2, out_channels, size[0], size[1] // 2 + 1))
        self.register_buffer("amplitude", amplitudes(size), persistent=False)

    def forward(self, code: torch.Tensor) -> torch.Tensor:
        assert isinstance(self.amplitude, torch.Tensor)
        return image_of(self.coefficients.movedim(0, -1)[None].contiguous(), self.amplitude, self.size)
