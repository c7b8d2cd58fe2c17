"""Denoising: Phi = identity, y = the noisy image; the kind of noise chooses the loss, its weights and the stopping rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal

from preimage.series.restoration import IMAGE_OUTPUTS, restoration
from preimage.tasks import FitOptions, TaskSpec, option

if TYPE_CHECKING:
    from preimage.engine.recipe import Recipe
    from preimage.images import Picture
    from preimage.noise.estimation import Noise
    from preimage.problem import Problem
    from preimage.recipes import RecipeChoice
    from preimage.series.plans import Plan, WarmStart
    from preimage.stopping import StoppingRule

# One channel says nothing of a masked value but by its neighbors: more must be predicted at a time.
KEPT_OF_GREY = 0.4
# Noise correlated between pixels: a fit is best at this share of the noise's error, MEASURED in benchmarks/correlated.py.
CORRELATED = 0.8
# Steps without a lesser variance after which a fit from a masked code ends, and values by which that variance is estimated.
PATIENCE, VALUES = 30, 2**15
# Steps after which such a fit has usually ended, and those of a tile that begins from the weights of the one before. MEASURED
# on three pictures of kodak24 in tiles of 256 (benchmarks/LOG.md).
USUAL_STEPS, WARM_STEPS = 220, 50
FAINT = 2 / 255  # noise of a lower deviation cannot be distinguished from texture


@dataclass(frozen=True, kw_only=True)
class DenoiseOptions(FitOptions):
    """Options of denoising."""

    noise: Literal["auto", "gaussian", "poisson", "speckle", "impulse", "camera"] = option(
        "auto", help="Kind of noise; auto: estimated from the image; camera: correlated between pixels."
    )
    sigma: float | None = option(
        None,
        help="Standard deviation of Gaussian noise in units of the input, 0 to 255 for 8 bits (default: estimated).",
        minimum=0,
        exclusive=True,
    )
    stripes: Literal["off", "rows", "columns", "auto"] = option(
        "auto", help="Offsets of rows or columns of a sensor to remove; auto: where they are found."
    )
    luma: float = option(1.0, help="Share of the luma noise that is removed, 0 to 1.", minimum=0, maximum=1)
    chroma: float = option(1.0, help="Share of the chroma noise that is removed, 0 to 1.", minimum=0, maximum=1)
    grain: float = option(
        0.0, help="Share of the removed luma noise that is put back as grain, 0 to 1.", minimum=0, maximum=1
    )
    tv: float = option(
        0.0,
        help="Weight lambda of a total variation regularizer (a mean over values); 0.02 is light, 0.2 strong.",
        minimum=0,
    )


@cache
def recipes() -> Mapping[str, Recipe]:
    """The recipes: fast (one fit), balanced (3), best (8, bilinear up-sampling), and paper (as published)."""
    from preimage.codes import Masked
    from preimage.engine.recipe import Recipe
    from preimage.optimizers import muon
    from preimage.recipes import qualities
    from preimage.restore.recipes import BILINEAR, NEAREST

    # MEASURED on set12 and kodak24 (benchmarks/LOG.md): with the noisy image itself as a masked code a fit is 0.5 to 2 dB
    # better than from noise, and over-fits slowly; with masked values filled in from their neighbors it is 0.1 to 0.5 dB
    # better still; Muon needs ten times fewer steps than Adam.
    fast = Recipe(
        network=NEAREST,
        code=Masked(0.85, filled=True),
        jitter=0.0,
        optimizer=muon,
        rate=0.03,
        steps=600,
        averaging=0.95,
        restarts=1,
    )
    # Ulyanov et al. 2018, supplementary material: sigma 25.
    paper = Recipe(debiased=False, precision="float32", stop="steps")
    return {**qualities(fast, balanced=3, best=8, network=BILINEAR), "paper": paper}


def from_noise(recipe: Recipe) -> Recipe:
    """The recipe with noise as its code, for what a masked code would predict from visible values: correlated noise."""
    from dataclasses import replace

    from preimage.codes import Noise

    changes: dict[str, Any] = {"code": Noise(32), "jitter": 1 / 30, "jitter_pool": 4, "rate": 0.02}
    return replace(recipe, **changes, restarts=max(recipe.restarts, 3))


def adapted(name: str, recipe: Recipe, noise: Noise, channels: int) -> Recipe:
    """A named recipe as it serves this noise in images of so many channels; the published settings stay as they are."""
    from dataclasses import replace

    from preimage.codes import Masked
    from preimage.restore.recipes import NEAREST

    if name == "paper":
        return recipe
    if noise.kind == "impulse":
        # Visible values carry no noise, nothing is over-fitted for long, and all steps are done. MEASURED on kodak24 07, half
        # of the values impulses, 500 steps: 36.4 dB; a masked code, nearest or bilinear: 33.0, 35.0; noise, bilinear: 31.0.
        return replace(from_noise(recipe), network=NEAREST, restarts=recipe.restarts, steps=800, stop="steps")
    if noise.length:
        return from_noise(recipe)
    return replace(recipe, code=Masked(KEPT_OF_GREY, filled=True)) if channels == 1 else recipe


def plan(picture: Picture, options: DenoiseOptions, choice: RecipeChoice) -> Plan:
    """Estimate the noise, and decide the recipe, the loss and the rule by it."""
    from dataclasses import replace

    from preimage.codes import Masked
    from preimage.noise.estimation import estimate_noise, is_clipped
    from preimage.noise.impulses import impulse_mask
    from preimage.noise.likelihood import noise_problem
    from preimage.regularizers import total_variation
    from preimage.restore.bilevel import is_bilevel, plan_bilevel
    from preimage.restore.camera_noise import (
        camera_problem,
        for_camera,
        is_cameras,
        returned_of_white,
        shrinking,
        strengths,
    )
    from preimage.restore.striped import without_stripes
    from preimage.series.plan import Plan
    from preimage.stopping import holds_out, residual_noise

    if options.noise == "auto" and options.sigma is None and is_bilevel(picture):
        return plan_bilevel(picture, choice)
    picture, offsets, striped = without_stripes(picture, options.stripes)
    low, high = picture.units()
    relative = None if options.sigma is None else options.sigma / (high - low)
    found = estimate_noise(picture.tensor, kind="auto" if options.noise == "camera" else options.noise, sigma=relative)
    can_be = choice.base.stop != "steps" and options.prior == "skip" and not holds_out(options.stop)
    camera = can_be and (options.noise == "camera" or (options.noise == "auto" and is_cameras(picture, found)))

    size = (picture.tensor.shape[-2], picture.tensor.shape[-1])
    shrink = shrinking(size) if camera else 1

    def of(name: str, base: Recipe) -> Recipe:
        if camera:
            return for_camera(base, size, options)
        return adapted(name, base, found, picture.tensor.shape[1])

    recipe = choice.adapted(of)
    # The published settings fit the measurement as it is; held-out pixels validate only a loss that does not mix pixels.
    fitted_as_is = recipe.stop == "steps"
    clipped = not fitted_as_is and is_clipped(picture.tensor)
    whiten = bool(found.length) and not fitted_as_is and not holds_out(options.stop)
    returned = strengths(picture.tensor, options, relative)

    def problem(part: Picture) -> Problem:
        if camera:
            stated = camera_problem(part, returned, shrink)
        else:
            stated = noise_problem(part.tensor, found, impulses=part.missing, clipped=clipped, whiten=whiten)
            if not fitted_as_is:
                stated = replace(stated, finish=returned_of_white(part, found, returned))
        return replace(stated, regularizers=((options.tv, total_variation),)) if options.tv else stated

    return Plan(
        problem,
        recipe,
        rule=lambda problem: (
            residual_noise(tells_texture=shrink == 1) if camera else default_rule(problem, recipe, found)
        ),
        missing=impulse_mask(picture.tensor) if found.kind == "impulse" else None,
        warm=warm_start(recipe) if not camera else None,
        usual_steps=USUAL_STEPS if not camera and isinstance(recipe.code, Masked) else None,
        offsets=offsets,
        shrink=shrink,
        remarks=(
            *striped,
            *(
                _said_of_camera(relative, shrink)
                if camera
                else _said_of(found, low, high, specified=options.sigma is not None)
            ),
        ),
    )


def warm_start(recipe: Recipe) -> WarmStart | None:
    """How a tile is fitted from the weights of the one before: with a masked code, which needs no code of the tile's own, all of
    a few steps. From noise None."""
    from dataclasses import replace

    from preimage.codes import Masked
    from preimage.series.plans import WarmStart
    from preimage.stopping import after

    if not isinstance(recipe.code, Masked):
        return None
    # The first outputs are further off than the later ones: they are forgotten twice as fast.
    averaging = min(recipe.averaging, 0.9)
    return WarmStart(replace(recipe, steps=min(recipe.steps, WARM_STEPS), averaging=averaging), lambda _: after())


def default_rule(problem: Problem, recipe: Recipe, noise: Noise | None = None) -> StoppingRule:
    """The rule that serves a recipe and a noise.

    All steps where the recipe says so, as published; with a masked code where the outputs vary least; from noise where the
    estimated risk is least, or by held-out pixels where no noise was found; for correlated noise, which neighbors would
    betray, by the discrepancy principle, its error taken before any filter.
    """
    from preimage.codes import Masked
    from preimage.distances import squared
    from preimage.stopping import after, discrepancy, held_out, moving_variance, risk

    if recipe.stop == "steps":
        return after()
    if noise is not None and noise.length:
        return discrepancy(sigma=noise.sigma, factor=CORRELATED, distance=squared)
    # MEASURED in the study blindness: under a masked code the outputs vary least where they are best.
    if isinstance(recipe.code, Masked):
        return moving_variance(patience=PATIENCE, values=VALUES)
    if problem.noise_level:
        return risk()
    # Where visible values carry no noise (impulses) a fit gets better ever more slowly: it ends when 3 % is not worth it.
    return held_out() if problem.weight is None else risk(min_delta=0.03)


def _said_of(found: Noise, low: float, high: float, *, specified: bool) -> tuple[str, ...]:
    in_units = f"sigma is {found.sigma * (high - low):.4g} in units of the input, {found.sigma:.4f} in 0..1"
    return (found.explanation, in_units, *_advice(found, specified))


_HALVED = (
    "fitted at half its width and height, for it has more than 512 x 512 pixels; soft texture may be taken for noise: luma or "
    "strength below 1 keeps a part of it",
)


def _said_of_camera(sigma: float | None, shrink: int) -> tuple[str, ...]:
    level = "" if sigma is None else f" of standard deviation {sigma:.4f} ({255 * sigma:.1f} of 255), as stated"
    return (
        f"Noise of a camera{level}: no noise was found that is independent from pixel to pixel. It is measured in what a fit "
        "leaves, by brightness and in luma and chroma apart; what is left beyond it is put back.",
        *(_HALVED if shrink > 1 else ()),
    )


def _advice(found: Noise, specified: bool) -> tuple[str, ...]:
    """Noise that a camera or JPEG has smoothed over neighbors looks like the image's own texture."""
    if found.length:
        return (
            "the noise is correlated between neighboring pixels, so that held-out pixels cannot show when it is being fitted: "
            "the loss is whitened, and the fit stops by the discrepancy principle",
        )
    if specified or found.sigma >= FAINT:
        return ()
    return (
        "hardly any noise was found: if there is some, it is correlated between pixels; specify its deviation with sigma",
    )


denoise: Final = TaskSpec(
    "denoise",
    "Remove noise.",
    "preimage denoise photo.png -o clean.png",
    DenoiseOptions,
    restoration("denoise", plan, recipes),
    recipes=recipes,
    outputs=IMAGE_OUTPUTS,
)
