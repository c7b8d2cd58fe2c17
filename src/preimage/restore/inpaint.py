"""Inpainting: y = the valid pixels, and E counts nothing else; the prior fills in what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from preimage.errors import InputError
from preimage.series.restoration import IMAGE_OUTPUTS, restoration
from preimage.tasks import FitOptions, TaskSpec, option

if TYPE_CHECKING:
    from preimage.engine.recipe import Recipe
    from preimage.images import Picture
    from preimage.problem import Problem
    from preimage.recipes import RecipeChoice
    from preimage.series.plan import Plan
    from preimage.stopping import StoppingRule
    from preimage.tasks import ImageLike

Gap = Literal["text", "region", "hole", "scattered", "sparse"]


@dataclass(frozen=True, kw_only=True)
class InpaintOptions(FitOptions):
    """Options of inpainting."""

    mask: ImageLike | None = option(
        None,
        help="Black and white image of the input's height and width, a copy of the input in which what is missing is painted "
        "over, or a folder with one of the input's name (default: transparent pixels, NaNs and declared missing values).",
        kind="image",
        metavar="FILE",
    )
    mask_white: Literal["valid", "missing"] | None = option(
        None,
        help="Meaning of white pixels of a black and white mask: valid or missing (no default: both conventions are in use).",
    )
    gap: Literal["auto", "text", "region", "hole", "scattered", "sparse"] = option(
        "auto",
        help="Kind of gap, which chooses the settings: text (thin strokes), region, hole (large), scattered (single pixels, "
        "about half of them), sparse (nearly all pixels); auto: decided from the mask.",
    )
    fit_valid: bool = option(
        False, help="Return valid pixels from the fit as well, for noisy images (default: exactly as in the input)."
    )
    tv: float = option(0.0, help="Weight lambda of a total variation regularizer (a mean over values).", minimum=0)


@cache
def fast_recipes() -> Mapping[Gap, Recipe]:
    """The fast recipe of each kind of gap."""
    from preimage.codes import Masked
    from preimage.restore.recipes import BILINEAR_WITHOUT_SKIP, fitted_from_noise

    # MEASURED on set12 04 and kodak24: with bilinear up-sampling a fit to exact values goes on getting better, 3 dB beyond
    # nearest for half of the pixels, so that all steps are done; wide gaps vary from fit to fit: the mean of three is closer.
    wide = fitted_from_noise(network=BILINEAR_WITHOUT_SKIP, rate=0.02, steps=150, restarts=3, stop="steps")
    # MEASURED on set12 04 and 05: valid pixels as a masked code reach 33.4 and 32.7 dB in 400 steps (noise as the code, 04: in
    # 1100), and are done after 800.
    masked: dict[str, Any] = {"code": Masked(0.7), "jitter": 0.0, "jitter_pool": None}
    return {
        "text": fitted_from_noise(rate=0.04, steps=400, stop="steps"),
        "region": wide,
        "hole": wide,
        "scattered": fitted_from_noise(**masked, rate=0.02, steps=800, stop="steps"),
        "sparse": fitted_from_noise(rate=0.02, steps=200, stop="steps"),
    }


@cache
def paper_recipes() -> Mapping[Gap, Recipe]:
    """The published recipe of each kind of gap: the last output, without an average.

    Source: Ulyanov, Vedaldi, Lempitsky, Deep Image Prior, CVPR 2018, supplementary material.
    """
    from preimage.codes import Mesh, Noise
    from preimage.engine.recipe import Recipe
    from preimage.networks import SkipNet

    common: dict[str, Any] = {"jitter": 0.03, "averaging": 0.0, "precision": "float32", "stop": "steps"}
    widths = (16, 32, 64, 128, 128)
    hole = SkipNet.Config(
        down=(*widths, 128), up=(*widths, 128), skip=(0,) * 6, down_kernel=5, upsample="nearest", pointwise=False
    )
    sparse = SkipNet.Config(down=widths, up=widths, skip=(0,) * 5, downsample="average")
    text, region = (SkipNet.Config(skip=(skip,) * 5, upsample="nearest") for skip in (128, 0))
    return {
        "text": Recipe(**common | {"network": text, "steps": 6000}),
        "region": Recipe(**common | {"network": region, "code": Mesh(), "steps": 5000}),
        "hole": Recipe(**common | {"network": hole, "code": Noise(1), "jitter": 0.0, "steps": 3000}),
        "scattered": Recipe(**common | {"rate": 0.001, "steps": 11000}),
        "sparse": Recipe(**common | {"network": sparse, "jitter": 0.0, "steps": 1000}),
    }


@cache
def recipes() -> Mapping[str, Recipe]:
    """The recipes, as they are for thin strokes: fast, balanced (3 fits), best (6), and paper (as published)."""
    from preimage.recipes import qualities

    return {**qualities(fast_recipes()["text"], balanced=3, best=6), "paper": paper_recipes()["text"]}


def adapted(name: str, recipe: Recipe, gap: Gap) -> Recipe:
    """A named recipe for a kind of gap; better ones have no fewer fits than they have for thin strokes."""
    from dataclasses import replace

    if name == "paper":
        return paper_recipes()[gap]
    fast = fast_recipes()[gap]
    return fast if name == "fast" else replace(fast, restarts=recipe.restarts)


def plan(picture: Picture, options: InpaintOptions, choice: RecipeChoice) -> Plan:
    """Find what is missing, and choose the settings by what kind of gap it makes."""
    from preimage.engine.checkpoint import fingerprint
    from preimage.problem import Problem
    from preimage.regularizers import total_variation
    from preimage.restore.missing import describe, kind_of_gap, missing_of
    from preimage.restore.painted import shape_of
    from preimage.series.plan import Plan

    mask, white, said = shape_of(options.mask, picture, options.mask_white)
    missing, picture = missing_of(picture, mask, white)
    if options.gap not in ("auto", *get_args(Gap)):
        raise InputError(f"gap must be auto, {', '.join(get_args(Gap))}, got {options.gap!r}", code="option")
    gap: Gap = kind_of_gap(missing) if options.gap == "auto" else options.gap
    recipe = choice.adapted(lambda name, base: adapted(name, base, gap))

    def problem(part: Picture) -> Problem:
        import torch

        measured = part.tensor
        valid = torch.ones_like(measured, dtype=torch.bool) if part.missing is None else ~part.missing

        def finish(x: torch.Tensor) -> torch.Tensor:
            return torch.where(valid.to(x.device), measured.to(x.device), x)

        return Problem(
            measured,
            weight=valid.float(),
            regularizers=((options.tv, total_variation),) if options.tv else (),
            noise_level=0.0,
            finish=None if options.fit_valid else finish,
        )

    def rule(problem: Problem) -> StoppingRule:
        from preimage.stopping import after, risk

        del problem
        return after() if recipe.stop == "steps" else risk(min_delta=0.03)

    return Plan(
        problem,
        recipe,
        rule=rule,
        missing=missing,
        picture=picture,
        fingerprint={"missing": fingerprint(missing)},
        remarks=(*said, *describe(missing, gap)),
    )


inpaint: Final = TaskSpec(
    "inpaint",
    "Fill in missing pixels.",
    "preimage inpaint photo.png --mask holes.png --mask-white missing",
    InpaintOptions,
    restoration("inpaint", plan, recipes, fills_missing=True),
    recipes=recipes,
    outputs=IMAGE_OUTPUTS,
    fills_missing=True,
)
