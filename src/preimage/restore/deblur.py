"""Deblurring: Phi = convolution with a blur kernel, y = the blurred picture, which may be noisy as well.

A camera's picture is a window: what lies just outside was blurred into its edge. So x is larger than y by the kernel's reach,
Phi keeps only what needs no pixel from further out, and the margin is cut off the result. Nothing rings.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from PIL.Image import Image

from preimage.codes import Noise
from preimage.distances import filtered
from preimage.engine.optimizers import muon
from preimage.engine.recipe import Recipe
from preimage.engine.run import Run
from preimage.errors import InputError
from preimage.images import Picture, as_picture
from preimage.networks import SkipNet
from preimage.noise.estimation import estimate_noise
from preimage.operators import Blur, check_kernel, gaussian, motion, read_kernel
from preimage.problem import Problem
from preimage.recipes import qualities
from preimage.regularizers import total_variation
from preimage.restore.start import Initial, Tile, start
from preimage.stopping import After, StoppingRule, holds_out

# The paper does not deblur: these are its settings for super-resolution, the nearest of its tasks.
PAPER = Recipe(jitter=0.03, precision="float32", steps=2000, stop="steps")

FAST = Recipe(
    network=SkipNet.Config(down=(32, 64, 64, 64, 64), up=(32, 64, 64, 64, 64), padding="zeros"),
    code=Noise(32),
    jitter_pool=4,
    optimizer=muon,
    rate=0.04,
    operator_rate=0.003,
    steps=520,
    averaging=0.95,
    stop="steps",
)
QUALITIES = qualities(FAST)

# A blurred frequency is learned as much slower as it is weak. MEASURED on set12 04 and 05, noise of 0.01: with the error divided
# by the blur, down to where noise takes over, the same quality came in a third of the steps. 200 sigma^2 is that place.
_OVER_VARIANCE = 200.0
_LEAST = 0.003
# Over the number of values. MEASURED on set12 05, Gaussian of 1.6 px at 256 px: an unknown kernel shrinks as long as it is
# fitted, at the rate 0.01 past the true one (26.0 dB after 390 steps); at 0.003 it has 2.06 px by then (26.4 dB), and the
# picture 27.3 dB after 520 steps.
_TV_UNKNOWN = 0.003


def deblur(
    image: torch.Tensor | NDArray[Any] | Image | str | Path | Picture,
    *,
    kernel: str | Path | torch.Tensor | NDArray[Any],
    kernel_size: int = 15,
    sigma: float | None = None,
    tv: float | None = None,
    recipe: Recipe = FAST,
    stop: StoppingRule | None = None,
    restarts: int | None = None,
    initial: Initial = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    tile: Tile = "auto",
) -> Run:
    """Undo a blur, and remove the noise beside it.

    Example:
        >>> result = deblur("blurred.png", kernel="gaussian:1.6").run()
        >>> result.save("sharp.png")

    Args:
        image: a tensor (c, h, w) or (b, c, h, w) in 0..1, a numpy array, a PIL image, or a path.
        kernel: gaussian:SIGMA (in pixels), motion:LENGTH,ANGLE (in pixels, and degrees counter-clockwise from the horizontal), a
            FILE or an array of numbers of odd height and width, or unknown, which fits the kernel with the picture.
        kernel_size: height and width in pixels of an unknown kernel, odd.
        sigma: standard deviation of the noise in units of the input (0..255 for an 8-bit picture); estimated if None.
        tv: weight of a total variation regularizer, a sum over pixels; 0 for none. If None, none, but a light one for an
            unknown kernel, without which it would shrink until the picture itself is blurred.
        recipe: FAST, or PAPER.
        stop: a stopping rule; None does the recipe's steps.
        restarts: fits that are averaged; None takes the recipe's.
        initial: a Result, or the weights of one, to start from.
        seed: of all randomness.
        device: "auto", "cpu", "cuda", "mps".
        tile: side of the tiles that a large picture is cut into, or (side, overlap), in pixels; "auto": only if memory asks for
            it; None: never. Each tile is a fit with a stop of its own, and they are blended.

    Raises:
        InputError: a picture, kernel or device that cannot be used.

    Source: equation 1 of Ulyanov, Vedaldi, Lempitsky, CVPR 2018, with a convolution; for an unknown kernel after Ren et al.,
    Neural Blind Deconvolution Using Deep Priors, CVPR 2020.
    """
    picture = as_picture(image)
    target = picture.tensor
    height, width = target.shape[-2:]
    weights, fitted = blur_kernel(kernel, kernel_size)
    check_kernel(weights, (height, width), odd=True)
    below, beside = Blur(weights, boundary="valid").margin
    low, high = picture.units()
    found = estimate_noise(target[:1], kind="gaussian", sigma=None if sigma is None else sigma / (high - low))
    if tv is None:
        tv = _TV_UNKNOWN / target[0].numel() if fitted else 0.0

    def problem(part: Picture, learned: torch.Tensor | None = None) -> Problem:
        given, unknown = part.tensor, fitted and learned is None
        known = weights if learned is None else learned
        h, w = given.shape[-2:]
        plain = Problem(
            given,
            operator=Blur(known, boundary="valid", trainable=unknown),
            regularizers=((tv, total_variation),) if tv else (),
            noise_level=float(found.variance(given).mean()),
            finish=lambda x: x[..., below : below + h, beside : beside + w],
        )
        # Left-out pixels judge only an error that does not mix pixels; and an unknown blur has no response yet.
        return plain if unknown or holds_out(stop) else _sharpened(plain, known, found.sigma)

    stated = "fitted with the picture" if fitted else f"{kernel}" if isinstance(kernel, str | Path) else "as given"
    return start(
        "deblur",
        problem,
        picture,
        recipe,
        rule=lambda _: stop or After(),
        margin=(below, beside),
        fitted=fitted,
        restarts=restarts,
        initial=initial,
        seed=seed,
        device=device,
        tile=tile,
        options={"kernel": weights.tolist(), "fitted": fitted, "sigma": sigma, "tv": tv},
        remarks=(f"blur kernel of {weights.shape[1]} x {weights.shape[0]} pixels, {stated}", found.explanation),
    )


def _sharpened(problem: Problem, kernel: torch.Tensor, sigma: float) -> Problem:
    """E with every frequency of the error divided by sqrt(|K|^2 + e), so that all are learned at one pace."""
    level = problem.noise_level or 0.0
    response = sharpening(kernel, (problem.target.shape[-2], problem.target.shape[-1]), sigma)
    gain = float(torch.fft.irfft2(response, s=problem.target.shape[-2:]).square().sum())  # of white noise
    return replace(problem, distance=partial(filtered, response=response), noise_level=level * gain)


def sharpening(kernel: torch.Tensor, size: tuple[int, int], sigma: float) -> torch.Tensor:
    """sqrt((1 + e) / (|K|^2 + e)) with e of the order of the noise over the signal, (h, w // 2 + 1)."""
    floor = min(max(_OVER_VARIANCE * sigma**2, _LEAST), 1.0)
    padded = torch.zeros(size)
    padded[: kernel.shape[0], : kernel.shape[1]] = kernel
    return ((1 + floor) / (torch.fft.rfft2(padded).abs().square() + floor)).sqrt()


def blur_kernel(kernel: str | Path | torch.Tensor | NDArray[Any], size: int) -> tuple[torch.Tensor, bool]:
    """The (kh, kw) weights of a blur, and whether they are to be fitted."""
    name = str(kernel) if isinstance(kernel, str | Path) else ""
    if name == "unknown":
        if isinstance(size, bool) or not isinstance(size, int) or size < 3 or size % 2 == 0:
            raise InputError(f"kernel_size must be an odd whole number, at least 3, got {size!r}")
        return gaussian(size / 6, size), True
    if name.startswith("gaussian:"):
        return gaussian(_numbers(name, 1)[0]), False
    if name.startswith("motion:"):
        length, angle = _numbers(name, 2)
        return motion(length, angle), False
    return read_kernel(kernel), False


def _numbers(name: str, count: int) -> list[float]:
    try:
        values = [float(each) for each in name.partition(":")[2].split(",")]
    except ValueError:
        values = []
    if len(values) != count:
        raise InputError(f"kernel {name!r}: say gaussian:SIGMA (gaussian:1.6) or motion:LENGTH,ANGLE (motion:15,30)")
    return values
