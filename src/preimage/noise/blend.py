"""What is returned of a noisy image and a fit of it: what the fit left is noise only as far as its energy is the noise's."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from preimage.noise.blocks import SIDE, block_means, from_blocks, from_planes, to_blocks, to_planes
from preimage.noise.camera import CameraNoise

_STRIDE = SIDE // 2
_AROUND = 3  # blocks, and frequencies, over which the energy of a coefficient is averaged


def blend(image: Tensor, fitted: Tensor, noise: CameraNoise) -> Tensor:
    """The image without its noise, and with all that a fit of it has not reached: (1, c, h, w), in 0 to 1, or slightly beyond.

    Every coefficient of the residual, image - fitted, whose energy is E where the noise's is N, holds max(E - N, 0) of the image,
    and that share of it is put back: a Wiener filter of the residual. So nothing is lost by a fit that stops early, and what
    is returned is never further from the image than the noise is, where that is known.

    Example:
        >>> image = torch.rand(1, 3, 64, 64)
        >>> bool(torch.allclose(blend(image, torch.zeros_like(image), CameraNoise.white(1e-6, planes=3)), image, atol=1e-4))
        True
    """
    h, w = image.shape[-2:]
    margins = (_STRIDE, _STRIDE + -w % _STRIDE, _STRIDE, _STRIDE + -h % _STRIDE)
    residual = F.pad(to_planes(image - fitted), margins, mode="reflect")[0]
    brightness = block_means(F.pad(fitted.mean(1, keepdim=True), margins, mode="reflect")[0, 0], _STRIDE)
    size = (residual.shape[-2], residual.shape[-1])
    blocks = to_blocks(residual, _STRIDE)
    expected = noise.power(brightness).to(blocks)
    signal = (_around(blocks.square(), (size[0] - SIDE) // _STRIDE + 1) - expected).clamp_min(0)
    kept = from_blocks(blocks * (signal / (signal + expected).clamp_min(1e-12)), size, _STRIDE)
    return fitted + from_planes(kept[None, :, _STRIDE : _STRIDE + h, _STRIDE : _STRIDE + w])


def _around(energy: Tensor, rows: int) -> Tensor:
    """The mean of neighboring blocks and of neighboring frequencies, (p, n, 16, 16)."""
    planes, blocks = energy.shape[:2]
    spatial = energy.flatten(2).transpose(1, 2).reshape(-1, 1, rows, blocks // rows)
    spatial = F.avg_pool2d(spatial, _AROUND, 1, _AROUND // 2, count_include_pad=False)
    spectra = spatial.reshape(planes, -1, blocks).transpose(1, 2).reshape(-1, 1, SIDE, SIDE)
    return F.avg_pool2d(spectra, _AROUND, 1, _AROUND // 2, count_include_pad=False).view_as(energy)
