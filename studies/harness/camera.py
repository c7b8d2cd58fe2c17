"""Noise as cameras, films and scanners make it of a clean picture, with the picture that the same path makes without noise.

A camera's: linear light, a mosaic RGGB of photons and read noise, white balance, demosaicing, tone curve, JPEG of 4:2:0.
"""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from studies.harness.imaging import block_means, eight_bit, pillow_of, tensor_of

Pair = tuple[torch.Tensor, torch.Tensor]
_GAINS = (2.0, 1.0, 1.6)  # of red, green, blue under daylight
_FULL_WELL, _ISO = 15_000.0, 100  # photons at white at that ISO; a sensor of some 4 micrometers a pixel
_READ = 3.0  # electrons of read noise
_WHITE = 65_535 - 1_024  # of 16 bits, above a black level that keeps negative noise
_BLACK = 1_024


@dataclass(frozen=True)
class Camera:
    """What a camera does with light.

    Example:
        >>> noisy, clean = Camera(iso=1600)(torch.full((1, 3, 128, 128), 0.5), seed=0)
        >>> noisy.shape
        torch.Size([1, 3, 64, 64])

    Args:
        iso: above 0; photons at white are inversely proportional to it.
        quality: of the JPEG, 1 to 100; None: none is made, and the result is 8 bits all the same.
        edges: whether edges lead the interpolation of the mosaic (OpenCV's "edge aware"), or all neighbors (bilinear).
    """

    iso: float = 1600
    quality: int | None = 90
    edges: bool = True

    def __call__(self, picture: torch.Tensor, seed: int) -> Pair:
        """(noisy, clean), each (1, 3, h // 2, w // 2) in 0 to 1: reduced by 2, so that a mosaic loses hardly anything.

        picture: (1, 3, h, w) in 0 to 1, sharp, sRGB.

        Source of the noise: Foi, Trimeche, Katkovnik, Egiazarian, "Practical Poissonian-Gaussian noise modeling and fitting for
        single-image raw-data", IEEE Transactions on Image Processing 17 (2008).
        """
        light = block_means(linear(picture), 2)[0].double().movedim(0, -1).numpy()
        raw = _mosaic(light / _GAINS)
        photons, draw = _FULL_WELL * _ISO / self.iso, np.random.default_rng(seed)
        noisy = (draw.poisson(raw * photons) + draw.normal(0, _READ, raw.shape)) / photons
        return self.developed(noisy), self.developed(raw)

    def developed(self, raw: NDArray[np.float64]) -> torch.Tensor:
        """The picture of a mosaic (h, w) of linear light, (1, 3, h, w)."""
        import cv2

        h, w = raw.shape
        balanced = raw * _mosaic(np.broadcast_to(np.array(_GAINS), (h, w, 3)))
        counts = (_BLACK + _WHITE * balanced).clip(0, 65_535).round().astype(np.uint16)
        padded = np.pad(counts, 4, mode="reflect")  # an even number of pixels keeps the pattern
        # OpenCV names the pattern by the second row and column.
        kind = cv2.COLOR_BayerBG2RGB_EA if self.edges else cv2.COLOR_BayerBG2RGB
        rgb: Any = cv2.cvtColor(padded, kind)[4:-4, 4:-4]
        values = torch.from_numpy((rgb.astype(np.float32) - _BLACK) / _WHITE).movedim(-1, 0)[None]
        picture = eight_bit(toned(values.clamp(0, 1)))
        return picture if self.quality is None else compressed(picture, self.quality)


def linear(picture: torch.Tensor) -> torch.Tensor:
    """Light of sRGB values (IEC 61966-2-1)."""
    return torch.where(picture <= 0.04045, picture / 12.92, ((picture + 0.055) / 1.055) ** 2.4)


def toned(light: torch.Tensor) -> torch.Tensor:
    """The inverse of `linear`."""
    return torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clamp_min(0.0031308) ** (1 / 2.4) - 0.055)


def compressed(picture: torch.Tensor, quality: int) -> torch.Tensor:
    """A picture as JPEG of this quality with color sub-sampled 4:2:0, and read again."""
    buffer = io.BytesIO()
    pillow_of(picture).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return tensor_of(Image.open(buffer))


def film_grain(picture: torch.Tensor, sigma: float, seed: int, size: float = 1.0) -> Pair:
    """(noisy, clean): grain of a film in luma alone, strongest at middle brightness, 8 bits.

    Args:
        picture: (1, c, h, w) in 0 to 1.
        sigma: deviation at brightness 0.5, in 0 to 1.
        size: deviation in pixels of the Gaussian that makes neighbors alike.

    Source: variance m (1 - m) of grains that are there or not: Newson, Delon, Galerne, "A stochastic film grain model for
    resolution-independent rendering", Computer Graphics Forum 36 (2017).
    """
    grain = _blurred(_normal((1, 1, *picture.shape[-2:]), seed), size)
    luma = picture.mean(1, keepdim=True)
    strength = 2 * (luma * (1 - luma)).clamp_min(0).sqrt()
    return eight_bit(picture + sigma * strength * grain / grain.std()), eight_bit(picture)


def scan(picture: torch.Tensor, sigma: float, seed: int, blur: float = 0.7) -> Pair:
    """(noisy, clean): white noise of a scanner's sensor, blurred with the picture by its optics or its resampling, 8 bits.

    sigma: deviation after the blur, in 0 to 1; blur: deviation of the Gaussian in pixels.
    """
    noise = _blurred(_normal(tuple(picture.shape), seed), blur)
    soft = _blurred(picture, blur)
    return eight_bit(soft + sigma * noise / noise.std()), eight_bit(soft)


def _mosaic(values: NDArray[Any]) -> NDArray[np.float64]:
    """RGGB: of each pixel the value of its own color, (h, w, 3) -> (h, w)."""
    mosaic = values[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = values[::2, ::2, 0], values[1::2, 1::2, 2]
    return mosaic


def _normal(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _blurred(picture: torch.Tensor, deviation: float) -> torch.Tensor:
    reach = max(1, round(3 * deviation))
    taps = torch.exp(-(torch.arange(-reach, reach + 1.0) ** 2) / (2 * deviation**2))
    taps, channels = (taps / taps.sum()).to(picture), picture.shape[1]
    padded = functional.pad(picture, (reach,) * 4, mode="reflect")
    down = functional.conv2d(padded, taps.view(1, 1, -1, 1).expand(channels, -1, -1, -1), groups=channels)
    return functional.conv2d(down, taps.view(1, 1, 1, -1).expand(channels, -1, -1, -1), groups=channels)
