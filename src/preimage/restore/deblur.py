"""Deblurring: Phi = convolution with a blur kernel, y = the blurred image, which may be noisy as well.

A camera's image is a window: what lies just outside was blurred into its edge. So x is larger than y by the kernel's reach,
Phi keeps only what needs no pixel from further out, and the margin is cut off the result. Nothing rings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from preimage.errors import InputError
from preimage.series.restoration import IMAGE_OUTPUTS, restoration
from preimage.tasks import FitOptions, TaskSpec, option

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from preimage.engine.recipe import Recipe
    from preimage.images import Picture
    from preimage.problem import Problem
    from preimage.recipes import RecipeChoice
    from preimage.series.plan import Plan

# A blurred frequency is learned as much slower as it is weak. MEASURED on set12 04 and 05, noise of 0.01: with the error divided
# by the blur, down to where noise takes over, the same quality came in a third of the steps. 200 sigma^2 is that place.
OVER_VARIANCE, LEAST = 200.0, 0.003
# MEASURED on set12 05, Gaussian of 1.6 px at 256 px: an unknown kernel shrinks as long as it is fitted, at the rate 0.01 past
# the true one (26.0 dB after 390 steps); at 0.003 it has 2.06 px by then (26.4 dB), and the image 27.3 dB after 520 steps.
TV_UNKNOWN = 0.003


@dataclass(frozen=True, kw_only=True)
class DeblurOptions(FitOptions):
    """Options of deblurring."""

    kernel: str | Path | torch.Tensor | NDArray[Any] = option(
        help="Blur kernel: gaussian:SIGMA (pixels), motion:LENGTH,ANGLE (pixels, degrees counter-clockwise from the horizontal), "
        "a FILE of numbers of odd height and width, or unknown, which fits the kernel with the image.",
        kind="file",
        metavar="KERNEL",
    )
    kernel_size: int = option(15, help="Height and width in pixels of an unknown kernel, odd, at least 3.", minimum=3)
    sigma: float | None = option(
        None,
        help="Standard deviation of the noise in units of the input, 0 to 255 for 8 bits (default: estimated).",
        minimum=0,
        exclusive=True,
    )
    tv: float | None = option(
        None,
        help="Weight lambda of a total variation regularizer, a mean over values (default: 0; 0.003 if the kernel is unknown).",
        minimum=0,
    )


@cache
def recipes() -> Mapping[str, Recipe]:
    """The recipes: fast, balanced (2 fits), best (4), and paper."""
    from preimage.engine.recipe import Recipe
    from preimage.recipes import qualities
    from preimage.restore.recipes import fitted_from_noise

    fast = fitted_from_noise(rate=0.04, operator_rate=0.003, steps=520, stop="steps")
    # The paper does not deblur: these are its settings for super-resolution, the nearest of its tasks.
    paper = Recipe(jitter=0.03, precision="float32", steps=2000, stop="steps")
    return {**qualities(fast), "paper": paper}


def plan(picture: Picture, options: DeblurOptions, choice: RecipeChoice) -> Plan:
    """State the blur, with a margin that is cut off the result, and estimate the noise."""
    from preimage.noise.estimation import estimate_noise
    from preimage.operators import Blur, check_kernel, without_background
    from preimage.problem import Problem
    from preimage.regularizers import total_variation
    from preimage.series.plan import Plan
    from preimage.stopping import holds_out

    target = picture.tensor
    weights, fitted = blur_kernel(options.kernel, options.kernel_size)
    weights, removed = without_background(weights)
    check_kernel(weights, (target.shape[-2], target.shape[-1]), odd=True)
    rows, columns = Blur(weights, boundary="valid").margin
    low, high = picture.units()
    sigma = None if options.sigma is None else options.sigma / (high - low)
    found = estimate_noise(target, kind="gaussian", sigma=sigma)
    height, width = target.shape[-2:]
    # x has a margin: in units of the measured values, as it was tuned.
    default = TV_UNKNOWN * (height + 2 * rows) * (width + 2 * columns) / (height * width) if fitted else 0.0
    tv = default if options.tv is None else options.tv

    def problem(part: Picture, learned: torch.Tensor | None = None) -> Problem:
        unknown = fitted and learned is None
        kernel = weights if learned is None else learned
        height, width = part.tensor.shape[-2:]
        plain = Problem(
            part.tensor,
            operator=Blur(kernel, boundary="valid", trainable=unknown),
            regularizers=((tv, total_variation),) if tv else (),
            noise_level=float(found.variance(part.tensor).mean()),
            finish=lambda x: x[..., rows : rows + height, columns : columns + width],
        )
        # Held-out pixels validate only a loss that does not mix pixels; and an unknown blur has no response yet.
        return plain if unknown or holds_out(options.stop) else _sharpened(plain, kernel, found.sigma)

    by_name = isinstance(options.kernel, str | Path)
    stated = "fitted with the image" if fitted else f"{options.kernel}" if by_name else "as specified"
    return Plan(
        problem,
        choice.adapted(),
        margin=(rows, columns),
        shares_kernel=fitted,
        fingerprint={"kernel": weights.tolist(), "fitted": fitted},
        remarks=(
            f"blur kernel of {weights.shape[1]} x {weights.shape[0]} pixels, {stated}",
            *removed,
            found.explanation,
        ),
    )


def _sharpened(problem: Problem, kernel: torch.Tensor, sigma: float) -> Problem:
    """The squared error with every frequency divided by sqrt(|K|^2 + e), so that all are learned at one pace."""
    from dataclasses import replace
    from functools import partial

    import torch

    from preimage.distances import filtered

    level = problem.noise_level or 0.0
    response = sharpening(kernel, (problem.target.shape[-2], problem.target.shape[-1]), sigma)
    gain = float(torch.fft.irfft2(response, s=problem.target.shape[-2:]).square().sum())  # of white noise
    return replace(problem, distance=partial(filtered, response=response), noise_level=level * gain)


def sharpening(kernel: torch.Tensor, size: tuple[int, int], sigma: float) -> torch.Tensor:
    """sqrt((1 + e) / (|K|^2 + e)) with e of the order of the noise over the signal, (h, w // 2 + 1)."""
    import torch

    floor = min(max(OVER_VARIANCE * sigma**2, LEAST), 1.0)
    padded = torch.zeros(size)
    padded[: kernel.shape[0], : kernel.shape[1]] = kernel
    return ((1 + floor) / (torch.fft.rfft2(padded).abs().square() + floor)).sqrt()


def blur_kernel(kernel: str | Path | torch.Tensor | NDArray[Any], size: int) -> tuple[torch.Tensor, bool]:
    """The (kh, kw) weights of a blur, and whether they are to be fitted."""
    from preimage.operators import gaussian, motion, read_kernel

    name = str(kernel) if isinstance(kernel, str | Path) else ""
    if name == "unknown":
        if isinstance(size, bool) or not isinstance(size, int) or size < 3 or size % 2 == 0:
            raise InputError(f"kernel_size must be an odd whole number, at least 3, got {size!r}", code="kernel")
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
        raise InputError(
            f"kernel {name!r}: specify gaussian:SIGMA (gaussian:1.6) or motion:LENGTH,ANGLE (motion:15,30)",
            code="kernel",
        )
    return values


deblur: Final = TaskSpec(
    "deblur",
    "Undo a blur and remove noise.",
    "preimage deblur photo.png --kernel gaussian:1.6 -o sharp.png",
    DeblurOptions,
    restoration("deblur", plan, recipes),
    recipes=recipes,
    outputs=IMAGE_OUTPUTS,
)
