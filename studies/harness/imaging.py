"""What studies cut out of a picture or make of it: windows, reductions, noise, 8 bits; generated ones; and PSNR."""

import io

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from preimage.metrics import psnr


def center_window(picture: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The central height x width pixels: (b, c, h, w) -> (b, c, height, width)."""
    top, left = (picture.shape[-2] - height) // 2, (picture.shape[-1] - width) // 2
    return picture[..., top : top + height, left : left + width]


def center_crop(picture: torch.Tensor, side: int, multiple: int = 1) -> torch.Tensor:
    """The central window of at most `side` pixels a side, whose sides are multiples of `multiple`."""
    height, width = (min(n, side) // multiple * multiple for n in picture.shape[-2:])
    return center_window(picture, height, width)


def block_means(picture: torch.Tensor, factor: int) -> torch.Tensor:
    """Each block of factor x factor pixels averaged, of the central window that consists of whole blocks."""
    if factor == 1:
        return picture
    height, width = (side // factor * factor for side in picture.shape[-2:])
    return functional.avg_pool2d(center_window(picture, height, width), factor)


def resized(picture: torch.Tensor, height: int, width: int, mode: str = "bilinear") -> torch.Tensor:
    """(b, c, h, w) -> (b, c, height, width), interpolated and clipped to 0..1."""
    size = {"size": (height, width), "mode": mode, "align_corners": False}
    return functional.interpolate(picture, **size, antialias=mode == "bilinear").clamp(0, 1)


def with_gaussian_noise(clean: torch.Tensor, sigma: float, seed: int = 1234) -> torch.Tensor:
    """clean + sigma * N(0, 1), clipped to 0..1, by PyTorch's generator on the CPU."""
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    return (clean + sigma * noise).clamp(0, 1)


def eight_bit(picture: torch.Tensor) -> torch.Tensor:
    return (picture.clamp(0, 1) * 255).round() / 255


def pillow_of(picture: torch.Tensor) -> Image.Image:
    """The first picture of (b, c, h, w) in 8 bits, grey or RGB."""
    values = (picture[0].clamp(0, 1) * 255).round().byte().movedim(0, -1).contiguous().numpy()
    return Image.fromarray(values if values.shape[-1] == 3 else np.ascontiguousarray(values[..., 0]))


def tensor_of(image: Image.Image) -> torch.Tensor:
    """The inverse of `pillow_of`: (1, c, h, w) in 0..1."""
    values = torch.from_numpy(np.array(image, np.float32)) / 255
    return values[None, None] if values.ndim == 2 else values.movedim(-1, 0)[None]


def jpeg_of(picture: torch.Tensor, quality: int) -> Image.Image:
    """The JPEG of a picture, opened again from memory: Pillow's default, 4:2:0."""
    buffer = io.BytesIO()
    pillow_of(picture).save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def generated_picture(side: int = 32, channels: int = 3) -> torch.Tensor:
    """Smooth shades, an edge and a disc: what smoke runs use where no picture is at hand."""
    y, x = np.mgrid[0:side, 0:side] / side
    planes = [0.3 + 0.4 * x, 0.7 - 0.4 * y, 0.5 + 0.3 * (x > 0.5)]
    disc = (x - 0.4) ** 2 + (y - 0.6) ** 2 < 0.05
    image = np.stack([np.where(disc, 0.9 - 0.2 * i, planes[i % 3]) for i in range(channels)])
    return torch.tensor(image, dtype=torch.float32)[None]


def shaded_disc(number: int, side: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """A dark disc on a light shade, (1, 3, side, side), and its mask; each number has another place, size and color."""
    draw = np.random.default_rng(number)
    y, x = np.mgrid[:side, :side] / side
    (top, left), radius = draw.uniform(0.35, 0.65, 2), draw.uniform(0.15, 0.3)
    mask = (y - top) ** 2 + (x - left) ** 2 < radius**2
    skin, color = draw.uniform(0.6, 0.9, 3), draw.uniform(0.1, 0.5, 3)
    picture = np.where(mask[..., None], color, skin + 0.1 * x[..., None])
    return torch.from_numpy(picture).float().permute(2, 0, 1)[None].clamp(0, 1), torch.from_numpy(mask)


def dB(image: torch.Tensor, clean: torch.Tensor, where: torch.Tensor | None = None) -> float:  # noqa: N802
    """PSNR of one picture, clipped to its range; where: bool, of these values alone (a mask of pixels counts all channels)."""
    if where is None:
        return float(psnr(image.clamp(0, 1), clean))
    squares = (image.clamp(0, 1) - clean).square()
    return float(-10 * squares[where.expand_as(squares)].mean().log10())


def size_of(picture: torch.Tensor) -> str:
    return " x ".join(map(str, picture.shape[1:]))
