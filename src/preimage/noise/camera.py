"""Noise of a camera: its variance at each brightness, and its spectrum, in luma and chroma apart.

A camera's noise is no longer independent from pixel to pixel: the raw samples were interpolated, the chroma smoothed, the whole
compressed; and its variance depends on the brightness. From one image it is hardly told from texture. It is measured where it
shows: on what a fit has left, in blocks in which the fit is smooth. What a fit from noise has left after some hundred steps is
nearly all noise, except in fine texture, whose blocks are not smooth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from preimage.noise.blocks import SIDE, block_means, from_planes, to_blocks, to_planes, usable_blocks

_GROUPS, _OF_GROUP = 8, 96  # groups of brightness, and the blocks that one has at least
_FLATTEST = 0.2  # the share of the blocks of a group in which the noise is measured
_FEWEST = 32  # blocks that are measured in a group
_MANY = 2**17  # pixels of an image of which every second block is enough
_MEDIAN = 0.4549  # of the square of a standard normal value
# The power at the highest frequencies over that at the middle ones, in luma: up to 0.09 for the noise of a camera, whose raw
# samples were interpolated; 0.16 and more for texture, or what else is no camera's. Of the tuned sets of the study camera_noise.
_HIGH, _MIDDLE = (18, 24), (6, 10)  # sums of row and column of a coefficient
_CAMERAS, _OTHERS = 0.10, 0.14
# The fitted share of the energy of these frequencies less that to which the residual has fallen: up to -0.18 for a camera's
# noise, -0.14 and more for texture that is soft, as that of an enlarged picture. Of the same sets, and of enlarged pictures.
_FINE = (12, 18)
_NOISES, _TEXTURES = -0.22, -0.13
# What a median block of the residual has in common in luma and chroma, see `_shared`: up to 2.7 for noise, strong noise that is
# taken up fast included, 3.2 and more for texture that is. Of the same sets, and of the synthetic camera of `noise_estimates`.
_COLORED = (8, 16)
_NOISES_SHARE, _TEXTURES_SHARE = 2.8, 3.2
_GRAY = 0.01  # the energy of the chroma of a residual, in that of its luma, below which the image is gray


@dataclass(frozen=True, eq=False)
class CameraNoise:
    """Noise by brightness and spatial frequency, in luma and chroma (`to_planes`; other images have a plane a channel).

    Example:
        >>> noise = CameraNoise.white(0.1, planes=3)
        >>> round(float(noise.sample(torch.full((1, 3, 64, 64), 0.5), torch.Generator().manual_seed(0)).std()), 2)
        0.1

    Args:
        brightness: (g,), ascending, 0 to 1.
        variance: (g, p), of each plane at that brightness.
        spectrum: (p, 16, 16), the power of the cosine coefficients of a block, of which the mean without the first is 1.
    """

    brightness: Tensor
    variance: Tensor
    spectrum: Tensor

    @classmethod
    def white(cls, sigma: float, *, planes: int) -> CameraNoise:
        """Noise of one deviation, independent from value to value."""
        return cls(torch.tensor([0.5]), torch.full((1, planes), sigma**2), torch.ones(planes, SIDE, SIDE))

    def variance_at(self, brightness: Tensor) -> Tensor:
        """The variance of each plane, (..., p), between the measured ones by interpolation."""
        if len(self.brightness) == 1:
            return self.variance[0].expand(*brightness.shape, -1)
        right = torch.searchsorted(self.brightness, brightness.contiguous()).clamp(1, len(self.brightness) - 1)
        low, high = self.brightness[right - 1], self.brightness[right]
        along = ((brightness - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
        return torch.lerp(self.variance[right - 1], self.variance[right], along[..., None])

    def sigmas(self, image: Tensor) -> tuple[float, float]:
        """The deviation of luma and of chroma, each a root mean square over all values of an image, (1, c, h, w)."""
        planes = self.variance_at(image.mean(1)).mean((0, 1, 2)) / self.variance.shape[1]
        if image.shape[1] != 3:
            return math.sqrt(float(planes.sum())), 0.0
        return math.sqrt(float(planes[0])), math.sqrt(float(planes[1:].sum()))

    def sigma(self, image: Tensor) -> float:
        """The deviation of all values of an image."""
        return math.hypot(*self.sigmas(image))

    @property
    def certainty(self) -> float:
        """How sure it is that this is the noise of a camera rather than texture, from 0 to 1, by its spectrum."""
        high, middle = (float(self.spectrum[0].cpu()[_between(*band)].mean()) for band in (_HIGH, _MIDDLE))
        return _falling(high / max(middle, 1e-12), _CAMERAS, _OTHERS)

    def scaled(self, factor: float) -> CameraNoise:
        """The same noise of so many times the deviation."""
        return replace(self, variance=self.variance * factor**2)

    def power(self, brightness: Tensor) -> Tensor:
        """The expected square of each coefficient of blocks of these mean brightnesses, (n,) -> (p, n, 16, 16)."""
        return self.variance_at(brightness).T[..., None, None] * self.spectrum[:, None]

    def sample(self, clean: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Noise for a clean image, (b, c, h, w) in 0 to 1, of the same shape; neither clipped nor rounded."""
        white = torch.randn(clean.shape, generator=generator, device=clean.device)
        h, w = clean.shape[-2:]
        # Frequency k of a block's cosines is k / 32 of a cycle in each pixel.
        rows, columns = torch.fft.fftfreq(h).abs() * 2 * SIDE, torch.fft.fftfreq(w).abs() * 2 * SIDE
        grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], -1) / (SIDE - 1) * 2 - 1
        power = F.grid_sample(
            self.spectrum[None], grid[None].to(self.spectrum), align_corners=True, padding_mode="border"
        )
        colored = torch.fft.ifft2(torch.fft.fft2(white) * (power / power.mean((2, 3), keepdim=True)).sqrt()).real
        return from_planes(colored * self.variance_at(clean.mean(1)).movedim(-1, 1).sqrt())


def estimate_camera_noise(image: Tensor, fitted: Tensor, *, whole: bool = False) -> CameraNoise | None:
    """The noise of an image from what a fit has left of it; None where too little of the image is usable.

    Args:
        image, fitted: (1, c, h, w) in 0 to 1: the noisy image, and an output of a fit.
        whole: the noise of the image, with what the fit has taken up of it; False: the noise of the residual. Of a coefficient
            n of the noise a fit leaves r = (1 - a) n. Where there is little else, in smooth parts, (E n r)^2 / E r^2 is E n^2.

    Source: flat blocks by brightness as in Ponomarenko et al., IGARSS 2007, and a spectrum for each as in Colom, Lebrun, Buades
    and Morel, "A non-parametric approach for the estimation of intensity-frequency dependent noise", ICIP 2014; both of them
    measure the image itself, this the residual of a fit.
    """
    groups = _smooth_blocks(image, fitted, stride := _stride(image))
    if not groups:
        return None
    left = to_blocks(to_planes(image - fitted)[0], stride)
    if whole:
        given = to_blocks(to_planes(image)[0], stride)
        powers = [_taken_up_too(given[:, group.smooth], left[:, group.smooth]) for group in groups]
    else:
        powers = [left[:, group.smooth].square().median(1).values / _MEDIAN for group in groups]
    power = torch.stack(powers)  # (g, p, 16, 16)
    points = torch.tensor([group.brightness for group in groups]).to(power)
    share = torch.tensor([group.share for group in groups]).to(power)
    spectrum = (power * share[:, None, None, None]).sum(0)
    level = spectrum.flatten(1)[:, 1:].mean(1).clamp_min(1e-12)
    variance = power.flatten(2)[..., 1:].mean(2)
    return CameraNoise(points, variance, spectrum / level[:, None, None])


def _taken_up_too(given: Tensor, left: Tensor) -> Tensor:
    """(p, n, 16, 16) of the image and of the residual -> (p, 16, 16): at most the energy of the image."""
    energy, both = left.square().mean(1).clamp_min(1e-12), (given * left).mean(1)
    return (both.square() / energy).minimum(given.square().mean(1))


def likely_noise(image: Tensor, early: Tensor, late: Tensor) -> float:
    """How likely what is fine in smooth parts of an image is noise rather than texture, 0 to 1, by two outputs of one fit.

    A network takes up what is of an image faster than noise of the same frequencies ("noise impedance", Ulyanov et al., "Deep
    Image Prior", CVPR 2018, section 2). So it is noise if little of the energy there has been fitted, and what is left falls
    slowly. Strong noise is taken up fast as well; but in luma and chroma it is another, while texture has them in common.

    Example:
        >>> texture = 0.05 * torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> likely_noise(0.5 + texture, 0.5 + 0.5 * texture, 0.5 + 0.9 * texture)
        0.0

    Args:
        image, early, late: (1, c, h, w) in 0 to 1.
    """
    groups = _smooth_blocks(image, early, stride := _stride(image))
    if not groups:
        return 1.0
    fine = _between(*_FINE).to(image.device)
    smooth = torch.cat([group.smooth for group in groups])
    given, first, last = (
        to_blocks(to_planes(each)[:1, 0], stride)[0, smooth][:, fine] for each in (image, early, late)
    )
    fitted = float((given * last).sum() / given.square().sum().clamp_min(1e-12))
    before, after = (float((given - each).square().median(0).values.sum()) for each in (first, last))
    slowly = _falling(fitted - after / max(before, 1e-12), _NOISES, _TEXTURES)
    if slowly == 1 or image.shape[1] != 3:
        return slowly
    return max(slowly, _falling(_shared(image, late, stride), _NOISES_SHARE, _TEXTURES_SHARE))


def _falling(value: float, begin: float, end: float) -> float:
    """1 up to `begin`, 0 from `end` on."""
    return min(max((end - value) / (end - begin), 0.0), 1.0)


def _shared(image: Tensor, fitted: Tensor, stride: int) -> float:
    """What luma and the two chroma planes of a median block of the residual have in common.

    The mean squared correlation of each two of them, times the number of coefficients: about 1 if they are independent. Infinite
    where there is hardly any chroma, which then says nothing.
    """
    usable = usable_blocks(image, stride)
    left = to_blocks(to_planes(image - fitted)[0], stride)[:, usable][:, :, _between(*_COLORED).to(image.device)]
    energy = left.square().sum((1, 2))
    if energy[1:].sum() < _GRAY * energy[0]:
        return math.inf
    left = left / left.square().mean(1, keepdim=True).clamp_min(1e-14).sqrt()
    left = left / left.square().sum(2, keepdim=True).clamp_min(1e-14).sqrt()
    pairs = [(left[i] * left[j]).sum(1).square() for i, j in ((0, 1), (0, 2), (1, 2))]
    return float(torch.stack(pairs).mean(0).median()) * left.shape[2]


def _stride(image: Tensor) -> int:
    return SIDE // 4 if image.shape[-2] * image.shape[-1] <= _MANY else SIDE // 2


class _Group(NamedTuple):
    """Blocks of similar brightness: its mean, their share of all blocks, and which of all blocks are the smoothest of them."""

    brightness: float
    share: float
    smooth: Tensor


def _smooth_blocks(image: Tensor, fitted: Tensor, stride: int) -> list[_Group]:
    """The blocks in which a fit is smoothest, by brightness; none if too little of the image is usable."""
    if min(image.shape[-2:]) < SIDE:
        return []
    usable = usable_blocks(image, stride).nonzero()[:, 0]
    if len(usable) < 2 * _FEWEST:
        return []
    luma = fitted.mean(1)[0]
    brightness, slope = block_means(luma, stride)[usable], block_means(_slope(luma), stride)[usable]
    found: list[_Group] = []
    for group in brightness.argsort().chunk(max(1, min(_GROUPS, len(brightness) // _OF_GROUP))):
        count = min(len(group), max(_FEWEST, int(_FLATTEST * len(group))))
        smooth = usable[group[slope[group].topk(count, largest=False).indices]]
        found.append(_Group(float(brightness[group].mean()), len(group) / len(usable), smooth))
    return found


def _between(low: int, end: int) -> Tensor:
    """The coefficients of a block of which the sum of row and column is so much, (16, 16) bool."""
    diagonal = torch.arange(SIDE)[:, None] + torch.arange(SIDE)
    return (diagonal >= low) & (diagonal < end)


def _slope(plane: Tensor) -> Tensor:
    """The squared slope of a plane, (h, w)."""
    down, along = plane.diff(dim=0).square(), plane.diff(dim=1).square()
    return F.pad(down, (0, 0, 0, 1)) + F.pad(along, (0, 1, 0, 0))
