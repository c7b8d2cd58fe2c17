"""What a user would pick instead, on the same noisy picture: non-local means and total variation of scikit-image, CBM3D."""

from __future__ import annotations

import torch

from preimage.errors import MissingExtra


def non_local_means(noisy: torch.Tensor) -> torch.Tensor:
    """Non-local means (Buades et al. 2005) of scikit-image, sigma estimated: (1, c, h, w) -> (1, c, h, w)."""
    from skimage.restoration import denoise_nl_means

    image = _array(noisy)
    sigma = _estimated_sigma(image)
    # h and patches: best mean of 0.4 to 1.2 on the tuning pictures.
    restored = denoise_nl_means(
        image, patch_size=5, patch_distance=6, h=NLM_STRENGTH * sigma, sigma=sigma, fast_mode=True, channel_axis=-1
    )
    return _tensor(restored)


def tv_denoising(noisy: torch.Tensor) -> torch.Tensor:
    """Total variation (Chambolle 2004) of scikit-image, its weight in proportion to the estimated sigma."""
    from skimage.restoration import denoise_tv_chambolle

    image = _array(noisy)
    return _tensor(denoise_tv_chambolle(image, weight=TV_STRENGTH * _estimated_sigma(image), channel_axis=-1))


def bm3d_told_sigma(noisy: torch.Tensor, sigma: float) -> torch.Tensor:
    """BM3D, or CBM3D for color (Dabov et al. 2007), told the true sigma (0..1); extra `bench`."""
    try:
        import bm3d
    except ImportError as error:
        raise MissingExtra.of("bm3d", "bench") from error
    image = _array(noisy)
    restored = bm3d.bm3d_rgb(image, sigma) if image.shape[-1] == 3 else bm3d.bm3d(image[..., 0], sigma)[..., None]
    return _tensor(restored)


# Chosen as the best mean PSNR on the tuning pictures at sigma 25.
NLM_STRENGTH = 0.8
TV_STRENGTH = 1.0


def _estimated_sigma(image) -> float:  # noqa: ANN001
    from skimage.restoration import estimate_sigma

    return float(estimate_sigma(image, channel_axis=-1, average_sigmas=True))


def _array(tensor: torch.Tensor):  # noqa: ANN202
    return tensor[0].movedim(0, -1).double().numpy()


def _tensor(array) -> torch.Tensor:  # noqa: ANN001
    return torch.as_tensor(array).movedim(-1, 0)[None].float().clamp(0, 1)
