"""Synthetic pictures, the same on every machine: a frozen random stream, every value rounded to a 65535th."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float32]

SIGMA = 25 / 255
CHANNELS = {"grey": 1, "color": 3}
NOISES = ("white", "correlated", "impulse")
MISSING = ("text", "region", "hole", "scattered", "sparse")


def rounded(picture: NDArray[np.float64]) -> Array:
    """Values in 0..1 as float32, each a 65535th: what differs in the last bit from machine to machine is gone."""
    return (np.round(picture.clip(0, 1) * 65535) / 65535).astype(np.float32)


def random_of(*words: int) -> np.random.RandomState:
    """A stream that NumPy promises never to change."""
    return np.random.RandomState(list(words))


def clean(side: int, channels: int) -> NDArray[np.float64]:
    """(c, h, w) in 0..1: a slope, a disc and stripes, another mixture in each channel."""
    y, x = np.mgrid[0:side, 0:side] / side
    disc = (np.hypot(x - 0.35, y - 0.4) < 0.22).astype(float)
    stripes = 0.5 + 0.5 * np.sin(40 * (x + 0.6 * y)) * (x + y > 1.1)
    planes = [0.25 + 0.3 * x + 0.25 * disc, 0.3 + 0.25 * y + 0.2 * stripes, 0.65 - 0.3 * disc + 0.15 * stripes * x]
    return np.stack(planes if channels == 3 else [sum(planes) / 3])


def picture(side: int, channels: int, noise: str = "white", seed: int = 0) -> Array:
    """(1, c, h, w) in 0..1 with white or correlated noise of SIGMA, or a fifth of its values black or white."""
    x, random = clean(side, channels), random_of(side, channels, seed)
    if noise == "white":
        x = x + SIGMA * random.standard_normal(x.shape)
    elif noise == "correlated":
        smooth = blurred(random.standard_normal((channels, side + 8, side + 8)), 1.2)[:, 4:-4, 4:-4]
        x = x + SIGMA * smooth / smooth.std()
    elif noise == "impulse":
        draws = random.random_sample(x.shape)
        x = np.where(draws < 0.1, 0.0, np.where(draws > 0.9, 1.0, x))
    elif noise != "none":
        raise ValueError(noise)
    return rounded(x)[None]


def blurred(x: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """(c, h, w) convolved with a Gaussian, as large as before, the border repeated."""
    reach = int(np.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    for axis in (1, 2):
        padded = np.pad(x, [(0, 0)] + [(reach, reach) if each == axis else (0, 0) for each in (1, 2)], mode="edge")
        moved = [w * np.take(padded, range(k, k + x.shape[axis]), axis) for k, w in enumerate(weights)]
        x = np.sum(moved, axis=0)
    return x


def blurred_picture(side: int, channels: int, noise: str) -> Array:
    """A picture out of focus, (1, c, h, w)."""
    return rounded(blurred(picture(side, channels, noise)[0].astype(float), 1.6))[None]


def as_jpeg(x: Array, quality: int = 20) -> Image.Image:
    """A JPEG file of (1, c, h, w), opened."""
    levels = np.round(x[0] * 255).astype(np.uint8).transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(levels if levels.shape[2] == 3 else levels[..., 0]).save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def mask(side: int, kind: str) -> Array:
    """(1, 1, h, w), 1 where a value is missing."""
    y, x = np.mgrid[0:side, 0:side]
    centered = np.maximum(abs(x - side // 2), abs(y - side // 2))
    draws = random_of(side, 7).random_sample((side, side))
    missing = {
        "text": (x + 2 * y) % 16 < 3,
        "region": centered < side // 5,
        "hole": centered < side // 2 - 4,
        "scattered": draws < 0.5,
        "sparse": draws < 0.95,
    }
    return missing[kind].astype(np.float32)[None, None]
