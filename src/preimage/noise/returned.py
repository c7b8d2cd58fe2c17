"""Returned: what a user gets of an image and a fit of it, with noise put back as it was asked for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from preimage.noise.blend import blend
from preimage.noise.blocks import from_planes, to_planes
from preimage.noise.camera import CameraNoise, estimate_camera_noise

# MEASURED on the tuned sets of the study camera_noise: in blocks of which more than noise is left, less is taken for noise than
# where nothing else is; the deviation of each over that measured in smooth blocks of the residual.
_PART, _WHOLE = 0.75, 0.85


@dataclass(frozen=True, eq=False)
class Returned:
    """A `Problem.finish` for denoising: the blend of image and fit by the noise, and strengths for luma and chroma apart.

    A fit that is smaller than the image is enlarged to its size first.

    Example:
        >>> image = torch.rand(1, 3, 64, 64)
        >>> untouched = Returned(image, noise=CameraNoise.white(0.1, planes=3), luma=0.0, chroma=0.0)
        >>> bool(torch.allclose(untouched(torch.zeros_like(image)), image, atol=1e-5))
        True

    Args:
        image: what was given, (1, c, h, w), 0 to 1.
        noise: known noise; None: measured in the residual of what is given to be finished.
        sigma: the deviation of the noise if it is known, 0 to 1; None: as measured, as far as it is certain to be noise.
        blended: whether what the fit has not reached is put back; False: the fit itself is what the noise was removed from.
        missing: True where the image is not valid, (1, 1 or c, h, w).
        luma, chroma: the share of the noise that is removed, 0 to 1.
        grain: the share of the removed luma noise that is put back, 0 to 1.
    """

    image: Tensor
    noise: CameraNoise | None = None
    sigma: float | None = None
    blended: bool = True
    missing: Tensor | None = None
    luma: float = 1.0
    chroma: float = 1.0
    grain: float = 0.0

    @property
    def changes(self) -> bool:
        """Whether any noise is kept."""
        return (self.luma, self.chroma, self.grain) != (1, 1, 0)

    def __call__(self, fitted: Tensor) -> Tensor:
        return torch.cat([self._one(each[None].float()) for each in fitted]).to(fitted)

    def _one(self, fitted: Tensor) -> Tensor:
        image = self.image.to(fitted)
        if fitted.shape[-2:] != image.shape[-2:]:
            fitted = F.interpolate(fitted, size=(image.shape[-2], image.shape[-1]), mode="bicubic", align_corners=False)
        if self.missing is not None:
            image = torch.where(self.missing.to(fitted.device), fitted, image)
        restored = self._restored(image, fitted) if self.blended else fitted
        if not self.changes:
            return restored
        removed = to_planes(image - restored)
        kept = torch.full_like(removed, 1 - self.luma * (1 - self.grain))
        if removed.shape[1] == 3:
            kept[:, 1:] = 1 - self.chroma
        return restored + from_planes(removed * kept)

    def _restored(self, image: Tensor, fitted: Tensor) -> Tensor:
        noise = self.noise or estimate_camera_noise(image, fitted)
        if noise is None:
            return image if self.sigma is None else fitted
        if self.noise is not None and self.sigma is None:
            return blend(image, fitted, noise)
        if self.sigma is not None:
            return blend(image, fitted, noise.scaled(self.sigma / max(noise.sigma(image), 1e-6)))
        return blend(image, fitted, noise.scaled(_PART * noise.certainty**0.5), settled=_WHOLE / _PART)
