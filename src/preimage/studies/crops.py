"""What studies cut out of a picture or make of it before a task sees it: windows, reductions, 8 bits."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch.nn import functional


def center_window(picture: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The central height x width pixels: (b, c, h, w) -> (b, c, height, width)."""
    top, left = (picture.shape[-2] - height) // 2, (picture.shape[-1] - width) // 2
    return picture[..., top : top + height, left : left + width]


def center_multiple(picture: torch.Tensor, side: int, multiple: int) -> torch.Tensor:
    """The central window of at most `side` pixels a side, whose sides are multiples of `multiple`.

    Example:
        >>> center_multiple(torch.zeros(1, 3, 361, 250), 256, 32).shape
        torch.Size([1, 3, 256, 224])
    """
    height, width = (min(n, side) // multiple * multiple for n in picture.shape[-2:])
    return center_window(picture, height, width)


def reduced(picture: torch.Tensor, factor: int) -> torch.Tensor:
    """Each block of factor x factor pixels averaged, of the central window that consists of whole blocks."""
    height, width = (side // factor * factor for side in picture.shape[-2:])
    return functional.avg_pool2d(center_window(picture, height, width), factor) if factor > 1 else picture


def reduced_mask(known: torch.Tensor, factor: int) -> torch.Tensor:
    """A bool mask for `reduced`: a block is known if all of its pixels are."""
    return reduced(known.float(), factor) == 1


def eight_bit(picture: torch.Tensor) -> torch.Tensor:
    """Clipped to 0..1 and rounded to 8 bits, as a file would hold it."""
    return (picture.clamp(0, 1) * 255).round() / 255


def pillow_of(picture: torch.Tensor) -> Image.Image:
    """The first picture of (b, c, h, w) in 8 bits, grey or RGB."""
    values = (picture[0].clamp(0, 1) * 255).round().byte().movedim(0, -1).numpy()
    return Image.fromarray(np.ascontiguousarray(values if values.shape[-1] == 3 else values[..., 0]))


def tensor_of(image: Image.Image) -> torch.Tensor:
    """The inverse of `pillow_of`: (1, c, h, w) in 0..1."""
    values = torch.from_numpy(np.array(image, np.float32)) / 255
    return values[None, None] if values.ndim == 2 else values.movedim(-1, 0)[None]
