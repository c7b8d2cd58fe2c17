"""Super-resolution: Phi = down-sampling, y = the small image; x is `factor` times as high and as wide."""

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


@dataclass(frozen=True, kw_only=True)
class SuperResolveOptions(FitOptions):
    """Options of super-resolution."""

    factor: int = option(4, help="Times that the result is higher and wider, 2 to 16.", minimum=2, maximum=16)
    kernel: str | Path | torch.Tensor | NDArray[Any] = option(
        "lanczos2",
        help="Down-sampling kernel: lanczos2, bicubic, box, gaussian:SIGMA (pixels of the result), a FILE of numbers, or "
        "estimate, which fits the kernel with the image.",
        kind="file",
        metavar="KERNEL",
    )
    tv: float = option(
        0.0, help="Weight lambda of a total variation regularizer (a mean over values of the result).", minimum=0
    )


@cache
def recipes() -> Mapping[str, Recipe]:
    """The recipes: fast, balanced (2 fits), best (4), and paper (as published)."""
    from preimage.engine.recipe import Recipe
    from preimage.recipes import qualities
    from preimage.restore.recipes import fitted_from_noise

    # MEASURED on kodim05: bilinear up-sampling ends 0.7 dB above nearest and, once there, stays: no rule is needed.
    fast = fitted_from_noise(jitter=0.03, rate=0.04, steps=600, stop="steps")
    # Ulyanov et al. 2018, supplementary material.
    paper = Recipe(jitter=0.03, averaging=0.0, precision="float32", steps=2000, stop="steps")
    return {**qualities(fast), "paper": paper}


def adapted(name: str, recipe: Recipe, factor: int) -> Recipe:
    """The published settings have more steps and jitter for a factor of 8."""
    from dataclasses import replace

    return replace(recipe, jitter=0.05, steps=4000) if name == "paper" and factor >= 8 else recipe


def plan(picture: Picture, options: SuperResolveOptions, choice: RecipeChoice) -> Plan:
    """State the down-sampling."""
    from preimage.operators import Downsample, check_kernel, without_background
    from preimage.problem import Problem
    from preimage.regularizers import total_variation
    from preimage.series.alpha import colors_and_alpha
    from preimage.series.plan import Plan

    factor, tv = options.factor, options.tv
    if isinstance(factor, bool) or not isinstance(factor, int):
        raise InputError(f"factor must be a whole number from 2 to 16, got {factor!r}")
    height, width = (side * factor for side in picture.tensor.shape[-2:])
    weights, fitted = down_kernel(options.kernel, factor)
    weights, removed = without_background(weights, odd=factor % 2 == 1)
    check_kernel(weights, (height, width), odd=False)

    has_alpha, channels = picture.transparent() is not None, picture.tensor.shape[1]

    def problem(part: Picture, learned: torch.Tensor | None = None) -> Problem:
        return Problem(
            colors_and_alpha(part) if has_alpha else part.tensor,
            operator=Downsample(weights if learned is None else learned, factor, trainable=fitted and learned is None),
            regularizers=((tv, total_variation),) if tv else (),
            finish=(lambda x: x[:, :channels]) if has_alpha else None,
        )

    kernel = str(options.kernel) if isinstance(options.kernel, str | Path) else "as specified"
    return Plan(
        problem,
        choice.adapted(lambda name, base: adapted(name, base, factor)),
        channels=channels + 1 if has_alpha else None,
        has_alpha=has_alpha,
        scale=factor,
        shares_kernel=fitted,
        fingerprint={"kernel": weights.tolist(), "fitted": fitted},
        remarks=(f"{factor} times as large: {width} x {height} pixels, kernel {kernel}", *removed),
    )


def down_kernel(kernel: str | Path | torch.Tensor | NDArray[Any], factor: int) -> tuple[torch.Tensor, bool]:
    """The (k, k) weights of a down-sampling by `factor`, and whether they are to be fitted."""
    from preimage.operators import bicubic, box, gaussian, lanczos2, read_kernel

    name = str(kernel) if isinstance(kernel, str | Path) else ""
    named = {"lanczos2": lanczos2, "bicubic": bicubic, "box": box}
    if name in named:
        return named[name](factor), False
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
        raise InputError(
            f"kernel {whole!r}: sigma must be a number above 0 and below 100, as in gaussian:1.6", code="kernel"
        )
    return value


super_resolve: Final = TaskSpec(
    "super-resolve",
    "Enlarge an image.",
    "preimage super-resolve small.png --factor 4 -o large.png",
    SuperResolveOptions,
    restoration("super-resolve", plan, recipes),
    recipes=recipes,
    outputs=IMAGE_OUTPUTS,
)
