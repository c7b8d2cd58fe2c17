"""What a user would pick instead, given the same picture.

Noise: non-local means and total variation of scikit-image, CBM3D. Enlarging: Pillow's bicubic. Gaps: biharmonic
equations. Blur: Richardson-Lucy and unsupervised Wiener of scikit-image, total variation of deepinv.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from preimage.errors import MissingExtra
from studies.harness.imaging import center_window, pillow_of, tensor_of

Array = NDArray[np.float64]
# The best mean PSNR on 13 tuning pictures (8 of kodak24, 5 of set12; 256-pixel crops, sigma 25).
NLM_STRENGTH, TV_STRENGTH = 0.6, 0.7
TV_WEIGHTS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.95, 1.1, 1.3, 1.5)  # among which an oracle chooses


def non_local_means(noisy: torch.Tensor, sigma: float | None = None) -> torch.Tensor:
    """Non-local means (Buades et al. 2005) of scikit-image, sigma (0..1) estimated if None: (1, c, h, w) -> the same size."""
    from skimage.restoration import denoise_nl_means

    image, axis = _array(noisy)
    sigma = _estimated_sigma(image, axis) if sigma is None else sigma
    settings = {"patch_size": 5, "patch_distance": 6, "h": NLM_STRENGTH * sigma, "sigma": sigma, "fast_mode": True}
    return _tensor(denoise_nl_means(image, channel_axis=axis, **settings))


def tv_denoising(noisy: torch.Tensor, weight: float | None = None) -> torch.Tensor:
    """Total variation (Chambolle 2004) of scikit-image; weight None: in proportion to the estimated sigma."""
    from skimage.restoration import denoise_tv_chambolle

    image, axis = _array(noisy)
    weight = TV_STRENGTH * _estimated_sigma(image, axis) if weight is None else weight
    return _tensor(denoise_tv_chambolle(image, weight=weight, channel_axis=axis))


def tv_oracle_weight(noisy: torch.Tensor, clean: torch.Tensor, sigma: float) -> torch.Tensor:
    """Total variation of that weight, of TV_WEIGHTS times sigma (0..1), whose result is nearest to the clean picture."""
    made = (tv_denoising(noisy, factor * sigma) for factor in TV_WEIGHTS)
    return min(made, key=lambda image: float((image - clean).square().mean()))


def bm3d_oracle_sigma(noisy: torch.Tensor, sigma: float) -> torch.Tensor:
    """BM3D, or CBM3D for color (Dabov et al. 2007), with the true sigma (0..1); extra `bench`."""
    try:
        import bm3d  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtra.of("bm3d", "bench") from error
    image, axis = _array(noisy)
    return _tensor(np.asarray(bm3d.bm3d(image, sigma) if axis is None else bm3d.bm3d_rgb(image, sigma)))


def bm3d_of_counts(noisy: torch.Tensor, peak: float) -> torch.Tensor:
    """BM3D or CBM3D of Poisson noise, counts of `peak` at white: after Anscombe's transformation sigma is 1, and known.

    Source: the inverse in closed form, Makitalo and Foi, IEEE TIP 2011, equation 10.
    """
    stable = 2 * (peak * noisy + 3 / 8).sqrt()
    whole = 2 * math.sqrt(peak + 3 / 8)
    d = bm3d_oracle_sigma(stable / whole, 1 / whole).double().mul(whole).clamp(min=2 * math.sqrt(3 / 8))
    root = math.sqrt(3 / 2)
    counts = d.square() / 4 + root / (4 * d) - 11 / (8 * d.square()) + 5 * root / (8 * d**3) - 1 / 8
    return (counts / peak).float().clamp(0, 1)


def bicubic_enlarged(small: torch.Tensor, factor: int) -> torch.Tensor:
    """Pillow's bicubic resize of the picture in 8 bits: (1, c, h, w) -> (1, c, factor * h, factor * w)."""
    from PIL import Image

    image = pillow_of(small)
    return tensor_of(image.resize((image.width * factor, image.height * factor), Image.Resampling.BICUBIC))


def biharmonic(given: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Biharmonic inpainting (Damelin, Hoang 2018) of scikit-image; known is (1, 1, h, w) bool, and kept exactly."""
    from skimage.restoration import inpaint_biharmonic

    image, axis = _array(given)
    return torch.where(known, given, _tensor(inpaint_biharmonic(image, ~known[0, 0].numpy(), channel_axis=axis)))


def richardson_lucy(blurred: torch.Tensor, kernel: torch.Tensor, iterations: int) -> torch.Tensor:
    """Richardson-Lucy (1972) of scikit-image: (1, c, h, w) -> the same size, by a kernel (kh, kw).

    It takes what lies beyond the edge for black, and is given the picture with its mirror image around it.
    """
    from skimage.restoration import richardson_lucy as deconvolve

    pad = 2 * max(kernel.shape)
    psf = kernel.double().numpy()

    def of_plane(plane: Array) -> Array:
        return deconvolve(np.pad(plane, pad, mode="symmetric"), psf, num_iter=iterations)[pad:-pad, pad:-pad]

    return _planes(blurred, of_plane)


def unsupervised_wiener(blurred: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Unsupervised Wiener (Orieux, Giovannelli, Rodet 2010) of scikit-image: (1, c, h, w) -> the same size.

    It takes the picture for periodic, and is given one whose edges go over into the opposite ones.
    """
    from skimage.restoration import unsupervised_wiener as deconvolve

    psf = kernel.double().numpy()
    return _planes(blurred, lambda plane: deconvolve(tapered(plane, psf), psf, rng=0)[0])


def tv_deconvolution(blurred: torch.Tensor, kernel: torch.Tensor, weight: float) -> torch.Tensor:
    """arg min 1/2 || k * x - y ||^2 + weight TV(x) by deepinv, 100 steps of FISTA: (1, c, h, w) -> the same size.

    Its convolution is "valid", as ours: x is larger than y and nothing is taken for known beyond the edge; extra `physics`.
    """
    try:
        import deepinv  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtra.of("deepinv", "physics") from error
    prior = deepinv.optim.TVPrior(n_it_max=20, def_crit=1e-5)
    prior.TVModel.tau = 1.0  # its default of 0.01 is slow to converge for weights as small as these
    model = deepinv.optim.optim_builder(
        iteration="FISTA",
        prior=prior,
        data_fidelity=deepinv.optim.L2(),
        max_iter=100,
        early_stop=True,
        params_algo={"stepsize": 1.0, "lambda": weight, "a": 3},  # a kernel of sum 1 has norm 1
    )
    with torch.no_grad():
        x = model(blurred, deepinv.physics.Blur(filter=kernel[None, None], padding="valid"))
    return center_window(x, blurred.shape[-2], blurred.shape[-1]).clamp(0, 1)


def tapered(plane: Array, psf: Array) -> Array:
    """Near its edges blended into its periodic blur, so that opposite edges meet (MATLAB's edgetaper): (h, w) -> (h, w)."""
    from scipy.ndimage import convolve

    weights = []
    for axis, length in ((1, plane.shape[0]), (0, plane.shape[1])):
        spectrum = np.fft.fft(psf.sum(axis), length - 1)
        correlation = np.fft.ifft(np.abs(spectrum) ** 2).real
        weights.append(1 - np.append(correlation, correlation[0]) / correlation.max())
    inner = np.outer(*weights)
    return inner * plane + (1 - inner) * np.asarray(convolve(plane, psf, mode="wrap"))


def _planes(tensor: torch.Tensor, change: Callable[[Array], Array]) -> torch.Tensor:
    """A filter of (h, w) arrays on each channel, clipped to 0..1."""
    changed = [torch.as_tensor(change(plane.double().numpy())).float() for plane in tensor[0]]
    return torch.stack(changed)[None].clamp(0, 1)


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
