"""What a user would pick instead, on the same noisy picture: non-local means and total variation of scikit-image, CBM3D."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from preimage.errors import MissingExtra

Array = NDArray[np.float64]

# The best mean PSNR on 13 tuning pictures (8 of kodak24, 5 of set12; 256-pixel crops, sigma 25).
NLM_STRENGTH = 0.6
TV_STRENGTH = 0.7


def non_local_means(noisy: torch.Tensor) -> torch.Tensor:
    """Non-local means (Buades et al. 2005) of scikit-image, sigma estimated: (1, c, h, w) -> (1, c, h, w)."""
    from skimage.restoration import denoise_nl_means

    image, axis = _array(noisy)
    sigma = _estimated_sigma(image, axis)
    settings = {"patch_size": 5, "patch_distance": 6, "h": NLM_STRENGTH * sigma, "sigma": sigma, "fast_mode": True}
    return _tensor(denoise_nl_means(image, channel_axis=axis, **settings))


def tv_denoising(noisy: torch.Tensor) -> torch.Tensor:
    """Total variation (Chambolle 2004) of scikit-image, its weight in proportion to the estimated sigma."""
    from skimage.restoration import denoise_tv_chambolle

    image, axis = _array(noisy)
    return _tensor(denoise_tv_chambolle(image, weight=TV_STRENGTH * _estimated_sigma(image, axis), channel_axis=axis))


def bm3d_told_sigma(noisy: torch.Tensor, sigma: float) -> torch.Tensor:
    """BM3D, or CBM3D for color (Dabov et al. 2007), told the true sigma (0..1); extra `bench`."""
    try:
        import bm3d  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtra.of("bm3d", "bench") from error
    image, axis = _array(noisy)
    return _tensor(np.asarray(bm3d.bm3d(image, sigma) if axis is None else bm3d.bm3d_rgb(image, sigma)))


def _estimated_sigma(image: Array, axis: int | None) -> float:
    from skimage.restoration import estimate_sigma

    return float(np.mean(estimate_sigma(image, channel_axis=axis)))


def _array(tensor: torch.Tensor) -> tuple[Array, int | None]:
    """(h, w, c) and its channel axis; (h, w) and None for grey, which scikit-image's filters take in no other way."""
    if tensor.shape[1] == 1:
        return tensor[0, 0].double().numpy(), None
    return np.ascontiguousarray(tensor[0].movedim(0, -1).double().numpy()), -1


def _tensor(array: Array) -> torch.Tensor:
    tensor = torch.as_tensor(array).float().clamp(0, 1)
    return tensor[None, None] if tensor.ndim == 2 else tensor.movedim(-1, 0)[None]
