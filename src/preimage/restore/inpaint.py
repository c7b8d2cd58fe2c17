"""Inpainting: y = the known pixels, and E counts nothing else; the prior fills in what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from numpy.typing import NDArray
from PIL.Image import Image

from preimage.codes import Masked, Mesh, Noise
from preimage.engine.checkpoint import fingerprint
from preimage.engine.optimizers import muon
from preimage.engine.recipe import Recipe
from preimage.engine.run import Run
from preimage.errors import InputError
from preimage.images import Picture, as_picture
from preimage.networks import SkipNet
from preimage.problem import Problem
from preimage.recipes import qualities
from preimage.regularizers import total_variation
from preimage.restore.missing import describe, kind_of_missing, missing_of
from preimage.restore.start import Initial, Tile, start, variant
from preimage.stopping import After, StoppingRule, risk

Kind = Literal["text", "region", "hole", "scattered", "sparse"]

# Ulyanov et al. 2018, supplementary material: the last output, without an average.
_PUBLISHED = {"jitter": 0.03, "averaging": 0.0, "precision": "float32", "stop": "steps"}
_NO_SKIP = (0,) * 6
PAPERS: Mapping[Kind, Recipe] = {
    "text": Recipe(**_PUBLISHED | {"network": SkipNet.Config(skip=(128,) * 5, upsample="nearest"), "steps": 6000}),
    "region": Recipe(
        **_PUBLISHED | {"network": SkipNet.Config(skip=(0,) * 5, upsample="nearest"), "code": Mesh(), "steps": 5000}
    ),
    "hole": Recipe(
        **_PUBLISHED
        | {
            "network": SkipNet.Config(
                down=(16, 32, 64, 128, 128, 128),
                up=(16, 32, 64, 128, 128, 128),
                skip=_NO_SKIP,
                down_kernel=5,
                upsample="nearest",
                pointwise=False,
            ),
            "code": Noise(1),
            "jitter": 0.0,
            "steps": 3000,
        }
    ),
    "scattered": Recipe(**_PUBLISHED | {"rate": 0.001, "steps": 11000}),
    "sparse": Recipe(
        **_PUBLISHED
        | {
            "network": SkipNet.Config(
                down=(16, 32, 64, 128, 128), up=(16, 32, 64, 128, 128), skip=(0,) * 5, downsample="average"
            ),
            "jitter": 0.0,
            "steps": 1000,
        }
    ),
}
PAPER = PAPERS["text"]

# MEASURED on set12 04 and kodak24: with bilinear up-sampling a fit to exact values goes on getting better, 3 dB beyond nearest
# for half of the pixels, so that all steps are done; wide gaps vary from fit to fit, and the mean of three is closer.
_WIDTHS = {"down": (32, 64, 64, 64, 64), "up": (32, 64, 64, 64, 64), "padding": "zeros"}
_FAST = {
    "network": SkipNet.Config(**_WIDTHS),
    "code": Noise(32),
    "jitter_pool": 4,
    "optimizer": muon,
    "averaging": 0.95,
    "stop": "steps",
}
_WIDE = _FAST | {"network": SkipNet.Config(**_WIDTHS, skip=(0,) * 5), "rate": 0.02, "steps": 150, "restarts": 3}
FASTS: Mapping[Kind, Recipe] = {
    "text": Recipe(**_FAST | {"rate": 0.04, "steps": 400}),
    "region": Recipe(**_WIDE),
    "hole": Recipe(**_WIDE),
    # MEASURED on set12 04 and 05: what is known as a masked code reaches 33.4 and 32.7 dB in 400 steps (noise as the code, 04: in
    # 1100), and is done after 800.
    "scattered": Recipe(
        **_FAST | {"code": Masked(0.7), "jitter": 0.0, "jitter_pool": None, "rate": 0.02, "steps": 800}
    ),
    "sparse": Recipe(**_FAST | {"rate": 0.02, "steps": 200}),
}
FAST = FASTS["text"]
QUALITIES = qualities(FAST, balanced=3, best=6)


def inpaint(
    image: torch.Tensor | NDArray[Any] | Image | str | Path | Picture,
    *,
    mask: torch.Tensor | NDArray[Any] | Image | str | Path | Picture | None = None,
    mask_white: Literal["known", "missing"] | None = None,
    kind: Literal["auto", "text", "region", "hole", "scattered", "sparse"] = "auto",
    fit_known: bool = False,
    tv: float = 0.0,
    recipe: Recipe = FAST,
    stop: StoppingRule | None = None,
    restarts: int | None = None,
    initial: Initial = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    tile: Tile = "auto",
) -> Run:
    """Fill in the missing pixels of a picture.

    Example:
        >>> result = inpaint("photo.png", mask="scratches.png", mask_white="missing").run()
        >>> result.save("whole.png")

    Args:
        image: a tensor (c, h, w) or (b, c, h, w) in 0..1, a numpy array, a PIL image, or a path.
        mask: a black and white picture of the same height and width, or a folder with one of the input's name for each input;
            without one, transparent pixels and NaNs of the input are missing.
        mask_white: what is white in the mask: known or missing. There is no default, since both are in use.
        kind: of what is missing, which chooses the settings: text (thin strokes), region, hole (a large one), scattered (single
            pixels, about half of them), sparse (nearly all pixels); auto decides from the mask.
        fit_known: whether known pixels, too, are taken from the fit, for noisy pictures; else they are returned exactly.
        tv: weight of a total variation regularizer, a sum over pixels; 0 for none.
        recipe: FAST, or PAPER for the published settings, those of the kind.
        stop: a stopping rule; None takes the default of the recipe.
        restarts: fits that are averaged; None takes the recipe's.
        initial: a Result, or the weights of one, to start from.
        seed: of all randomness.
        device: "auto", "cpu", "cuda", "mps".
        tile: side of the tiles that a large picture is cut into, or (side, overlap), in pixels; "auto": only if memory asks for
            it; None: never. Each tile is a fit with a stop of its own, and they are blended.

    Raises:
        InputError: no mask, an empty or a full one, or one of another size; a picture or device that cannot be used.

    Source: Ulyanov, Vedaldi, Lempitsky, Deep Image Prior, CVPR 2018, section 3.4.
    """
    picture = as_picture(image, missing=True)
    missing, picture = missing_of(picture, mask, mask_white)
    if kind not in ("auto", *get_args(Kind)):
        raise InputError(f"kind must be auto, {', '.join(get_args(Kind))}, got {kind!r}")
    chosen = kind_of_missing(missing) if kind == "auto" else kind
    recipe = variant(variant(recipe, FAST, FASTS[chosen]), PAPER, PAPERS[chosen])

    def problem(part: Picture) -> Problem:
        given = part.tensor
        known = torch.ones_like(given, dtype=torch.bool) if part.missing is None else ~part.missing
        return Problem(
            given,
            weight=known.float(),
            regularizers=((tv, total_variation),) if tv else (),
            noise_level=0.0,
            finish=None if fit_known else lambda x: torch.where(known.to(x.device), given.to(x.device), x),
        )

    return start(
        "inpaint",
        problem,
        picture,
        recipe,
        rule=lambda _: stop or (After() if recipe.stop == "steps" else risk(min_delta=0.03)),
        restarts=restarts,
        initial=initial,
        seed=seed,
        device=device,
        tile=tile,
        missing=missing,
        options={"missing": fingerprint(missing), "fit_known": fit_known, "tv": tv},
        remarks=(*describe(missing, chosen),),
    )
