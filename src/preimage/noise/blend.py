"""What is returned of a noisy image and a fit of it: what the fit left is noise only as far as its energy is the noise's."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from preimage.noise.blocks import SIDE, block_means, from_blocks, from_planes, to_blocks, to_planes
from preimage.noise.camera import CameraNoise

_STRIDE = SIDE // 2
_AROUND = 3  # blocks, and frequencies, over which the energy of a coefficient is averaged


def blend(image: Tensor, fitted: Tensor, noise: CameraNoise, *, settled: float = 0.0) -> Tensor:
    """The image without its noise, and with all that a fit of it has not reached: (1, c, h, w), in 0 to 1, or slightly beyond.

    Every coefficient of the residual, image - fitted, whose energy is E where the noise's is N, holds max(E - N, 0) of the image,
    and that share of it is put back: a Wiener filter of the residual. So nothing is lost by a fit that stops early, and what
    is returned is never further from the image than the noise is, where that is known.

    Example:
        >>> image = torch.rand(1, 3, 64, 64)
        >>> bool(torch.allclose(blend(image, torch.zeros_like(image), CameraNoise.white(1e-6, planes=3)), image, atol=1e-4))
        True

    Args:
        image, fitted: (1, c, h, w) in 0 to 1.
        noise: of the residual.
        settled: deviation, in that of the noise, up to which a block of the residual is all noise, whatever one of its
            coefficients is. 0: each coefficient by itself.
    """
    frame = _Frame(fitted, noise)
    residual = frame.blocks(image - fitted)
    signal = (frame.around(residual.square()) - frame.expected).clamp_min(0)
    kept = residual * (signal / (signal + frame.expected).clamp_min(1e-12))
    return fitted + frame.image(kept * frame.unsettled(residual, settled) if settled else kept)


def early_where_settled(image: Tensor, early: Tensor, late: Tensor, noise: CameraNoise, *, settled: float) -> Tensor:
    """Of two outputs of one fit the early where it has left nothing but noise, the late where more is left: (1, c, h, w).

    The longer a fit goes on, the more it has of fine details, and of the noise. A block in which the residual of the early output
    is all noise can win no detail: of late - early it gets the share of that residual's energy that is above the noise's.

    Example:
        >>> image, early, late = torch.rand(3, 1, 3, 64, 64).unbind()
        >>> noise = CameraNoise.white(1.0, planes=3)
        >>> bool(torch.equal(early_where_settled(image, early, late, noise, settled=1.0), early))
        True

    Args:
        image, early, late: (1, c, h, w) in 0 to 1.
        noise: of the residual of the early output.
        settled: deviation, in that of the noise, up to which a block of that residual is all noise.
    """
    frame = _Frame(early, noise)
    share = frame.unsettled(frame.blocks(image - early), settled)
    return early + frame.image(frame.blocks(late - early) * share)


class _Frame:
    """Images of one size as overlapping blocks of coefficients, and the energy that noise has in them."""

    def __init__(self, fitted: Tensor, noise: CameraNoise) -> None:
        self.inner: tuple[int, ...] = tuple(fitted.shape[-2:])
        h, w = self.inner
        self.margins = (_STRIDE, _STRIDE + -w % _STRIDE, _STRIDE, _STRIDE + -h % _STRIDE)
        self.size = (h + sum(self.margins[2:]), w + sum(self.margins[:2]))
        brightness = block_means(self._padded(fitted.mean(1, keepdim=True))[0, 0], _STRIDE)
        self.expected: Tensor = noise.power(brightness).to(fitted)

    def _padded(self, planes: Tensor) -> Tensor:
        return F.pad(planes, self.margins, mode="reflect")

    def blocks(self, image: Tensor) -> Tensor:
        """(1, c, h, w) -> (p, n, 16, 16)."""
        return to_blocks(self._padded(to_planes(image))[0], _STRIDE)

    def image(self, blocks: Tensor) -> Tensor:
        """The inverse of `blocks`."""
        h, w = self.inner
        whole = from_blocks(blocks, self.size, _STRIDE)
        return from_planes(whole[None, :, _STRIDE : _STRIDE + h, _STRIDE : _STRIDE + w])

    def around(self, energy: Tensor) -> Tensor:
        """The mean of neighboring blocks and of neighboring frequencies, (p, n, 16, 16)."""
        planes, blocks = energy.shape[:2]
        rows = (self.size[0] - SIDE) // _STRIDE + 1
        spatial = energy.flatten(2).transpose(1, 2).reshape(-1, 1, rows, blocks // rows)
        spatial = F.avg_pool2d(spatial, _AROUND, 1, _AROUND // 2, count_include_pad=False)
        spectra = spatial.reshape(planes, -1, blocks).transpose(1, 2).reshape(-1, 1, SIDE, SIDE)
        return F.avg_pool2d(spectra, _AROUND, 1, _AROUND // 2, count_include_pad=False).view_as(energy)

    def unsettled(self, residual: Tensor, settled: float) -> Tensor:
        """The share of the energy of whole blocks, all planes together, above that of so many times the noise: (n, 1, 1)."""
        energy, expected = (each.sum((0, 2, 3))[:, None, None] for each in (residual.square(), self.expected))
        return (energy - settled**2 * expected).clamp_min(0) / energy.clamp_min(1e-12)
