"""Super-resolution: Phi = down-sampling, y = the small picture; x is `factor` times as high and as wide."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from PIL.Image import Image

from preimage.codes import Noise
from preimage.engine.optimizers import muon
from preimage.engine.recipe import Recipe
from preimage.engine.run import Run
from preimage.errors import InputError
from preimage.images import Picture, as_picture
from preimage.networks import SkipNet
from preimage.operators import Downsample, bicubic, box, check_kernel, gaussian, lanczos2, read_kernel
from preimage.problem import Problem
from preimage.recipes import qualities
from preimage.regularizers import total_variation
from preimage.restore.start import Initial, Tile, start, variant
from preimage.stopping import After, StoppingRule

# Ulyanov et al. 2018, supplementary material; `paper` takes the steps and the jitter of factor 8 from 8 on.
PAPER = Recipe(jitter=0.03, averaging=0.0, precision="float32", steps=2000, stop="steps")
PAPER_X8 = replace(PAPER, jitter=0.05, steps=4000)

# MEASURED on kodim05: bilinear up-sampling ends 0.7 dB above nearest and, once there, stays: no rule is needed.
FAST = Recipe(
    network=SkipNet.Config(down=(32, 64, 64, 64, 64), up=(32, 64, 64, 64, 64), padding="zeros"),
    code=Noise(32),
    jitter=0.03,
    jitter_pool=4,
    optimizer=muon,
    rate=0.04,
    steps=600,
    averaging=0.95,
    stop="steps",
)
QUALITIES = qualities(FAST)

_NAMED = {"lanczos2": lanczos2, "bicubic": bicubic, "box": box}


def super_resolve(
    image: torch.Tensor | NDArray[Any] | Image | str | Path | Picture,
    *,
    factor: int = 4,
    kernel: str | Path | torch.Tensor | NDArray[Any] = "lanczos2",
    tv: float = 0.0,
    recipe: Recipe = FAST,
    stop: StoppingRule | None = None,
    restarts: int | None = None,
    initial: Initial = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    tile: Tile = "auto",
) -> Run:
    """Enlarge a picture so that, made small again, it is the given one.

    Example:
        >>> result = super_resolve("small.png", factor=4).run()
        >>> result.save("large.png")

    Args:
        image: a tensor (c, h, w) or (b, c, h, w) in 0..1, a numpy array, a PIL image, or a path.
        factor: how many times higher and wider the result is: 2 to 16.
        kernel: how the picture was made small: lanczos2, bicubic, box, gaussian:SIGMA (in pixels of the result), a FILE or an
            array of numbers, or estimate, which fits the kernel with the picture.
        tv: weight of a total variation regularizer, a sum over pixels of the result; 0 for none.
        recipe: FAST, or PAPER for the published settings.
        stop: a stopping rule; None does the recipe's steps.
        restarts: fits that are averaged; None takes the recipe's.
        initial: a Result, or the weights of one, to start from.
        seed: of all randomness.
        device: "auto", "cpu", "cuda", "mps".
        tile: side of the tiles that a large picture is cut into, or (side, overlap), in pixels; "auto": only if memory asks for
            it; None: never. Each tile is a fit with a stop of its own, and they are blended.

    Raises:
        InputError: a picture, factor, kernel or device that cannot be used.

    Source: Ulyanov, Vedaldi, Lempitsky, Deep Image Prior, CVPR 2018, section 3.2.
    """
    if isinstance(factor, bool) or not isinstance(factor, int) or not 2 <= factor <= 16:
        raise InputError(f"factor must be a whole number from 2 to 16, got {factor!r}")
    picture = as_picture(image)
    height, width = (side * factor for side in picture.tensor.shape[-2:])
    weights, fitted = down_kernel(kernel, factor)
    check_kernel(weights, (height, width), odd=False)
    if factor >= 8:
        recipe = variant(recipe, PAPER, PAPER_X8)

    def problem(part: Picture, found: torch.Tensor | None = None) -> Problem:
        return Problem(
            part.tensor,
            operator=Downsample(weights if found is None else found, factor, trainable=fitted and found is None),
            regularizers=((tv, total_variation),) if tv else (),
        )

    return start(
        "super-resolve",
        problem,
        picture,
        recipe,
        rule=lambda _: stop or After(),
        scale=factor,
        fitted=fitted,
        restarts=restarts,
        initial=initial,
        seed=seed,
        device=device,
        tile=tile,
        options={"factor": factor, "kernel": weights.tolist(), "fitted": fitted, "tv": tv},
        remarks=(f"{factor} times as large: {width} x {height} pixels, kernel {_name(kernel)}",),
    )


def down_kernel(kernel: str | Path | torch.Tensor | NDArray[Any], factor: int) -> tuple[torch.Tensor, bool]:
    """The (k, k) weights of a down-sampling by `factor`, and whether they are to be fitted."""
    name = str(kernel) if isinstance(kernel, str | Path) else ""
    if name in _NAMED:
        return _NAMED[name](factor), False
    if name == "estimate":  # from about what a camera does
        return gaussian(0.4 * factor, _same_parity(4 * factor - 1, factor)), True
    if name.startswith("gaussian:"):
        sigma = _number(name.removeprefix("gaussian:"), name)
        return gaussian(sigma, _same_parity(max(factor, 2 * round(3 * sigma) + 1), factor)), False
    return read_kernel(kernel), False


def _same_parity(size: int, factor: int) -> int:
    """Kernel and factor are both even or both odd, so that every pixel lies at the center of what it was made from."""
    return size + (size - factor) % 2


def _number(text: str, whole: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 100:
        raise InputError(f"kernel {whole!r}: sigma must be a number above 0 and below 100, as in gaussian:1.6")
    return value


def _name(kernel: object) -> str:
    return str(kernel) if isinstance(kernel, str | Path) else "as given"
