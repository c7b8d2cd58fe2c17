"""The quantization constraint of JPEG: which coefficients a file allows, and the nearest image that would give the same file.

Source: Zakhor, IEEE Transactions on Circuits and Systems for Video Technology 2 (1992).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from PIL import Image as Pillow
from PIL.Image import Image

from preimage.engine.recipe import Recipe
from preimage.errors import InputError
from preimage.images import Picture, as_picture
from preimage.images.jpeg_coding import JpegCoding
from preimage.operators import JpegCoefficients, compose, rounded
from preimage.operators.compose import Composed
from preimage.problem import Problem
from preimage.stopping import StoppingRule, after, discrepancy

# MEASURED on crops of 256 px: of the mean square of rounding, a twelfth of a step squared; there fits are best.
ROUNDED = 1.0
WITHOUT_TABLE = 300  # steps where no table says when to stop

_ROUNDS = 12
# EXIF orientations by where the first stored row, column is displayed.
FROM_BELOW, FROM_THE_RIGHT = (3, 4, 7, 8), (2, 3, 6, 7)
_PIXELS = 0.5 / 255  # rounding of the decoded pixels to 8 bits


def jpeg_coding(picture: Picture, quality: int | None) -> tuple[JpegCoding | None, str]:
    """The quantization tables if they are known, and a sentence that states them."""
    coding = picture.metadata.quantization
    if quality is not None and (isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100):
        raise InputError(f"jpeg_quality must be a whole number from 1 to 100, got {quality!r}")
    if coding is not None and quality is not None:
        raise InputError(
            f"{picture.name} is a JPEG of quality {coding.quality} by its own table: leave jpeg_quality out",
            code="option",
        )
    channels = picture.tensor.shape[1]
    if coding is None and quality is not None:
        if channels not in (1, 3):
            raise InputError(
                f"a JPEG has 1 or 3 channels, and {picture.name} has {channels}: leave jpeg_quality out", code="shape"
            )
        coding = as_picture(_encoded(quality, channels)).metadata.quantization
    if coding is None and picture.metadata.cmyk:
        return None, "how a JPEG of inks was rounded is not used: only the prior is used"
    if coding is None:
        return None, "no quantization table is known (no JPEG file, and no quality): only the prior is used"
    _counted(picture)
    known = f"{coding.quality} (from its table)" if quality is None else f"{quality}, as specified"
    return coding, f"JPEG of quality {known}, color {'x'.join(map(str, coding.subsampling))} sub-sampled"


def default_rule(problem: Problem, recipe: Recipe) -> StoppingRule:
    """All steps where the recipe says so, as published, and where no table is known; else the discrepancy principle.

    What a file rounded is off by up to half a step either way, evenly: a twelfth of a step squared on the mean. A fit that
    is nearer to the stored coefficients than that fits their rounding. Only those that are not 0 are looked at: what was
    rounded to 0 is mostly much nearer to it.
    """
    view = problem.operator[-1] if isinstance(problem.operator, Composed) else None
    if recipe.stop == "steps":
        return after()
    if not isinstance(view, JpegCoefficients):
        return after(min(recipe.steps, WITHOUT_TABLE))
    distance = partial(rounding, steps=view.steps, whole=view.whole)
    return discrepancy(sigma=12**-0.5, factor=ROUNDED, distance=distance)


def rounding(
    prediction: torch.Tensor, target: torch.Tensor, *, steps: torch.Tensor, whole: torch.Tensor
) -> torch.Tensor:
    """Mean square of how far coefficients (b, n) are from the stored ones that are not 0, in quantization steps: (b,)."""
    steps, whole = steps.to(target.device), whole.to(target.device)
    counted = (whole & (target.abs() > steps / 2)).to(prediction)
    squares = ((prediction - target) / steps).square() * counted
    return squares.sum(1) / counted.sum(1).clamp_min(1)


def jpeg_problem(picture: Picture, coding: JpegCoding | None) -> Problem:
    """Phi, y and the quantization constraint where the tables are known; else the pixels as they are."""
    target = picture.tensor
    if coding is None:
        return Problem(target)
    low, high = _counted(picture)

    def stored(x: torch.Tensor) -> torch.Tensor:
        """As the file counts and arranges it: 0..1 for 0..255, in its own rows and columns."""
        return _stored(picture.orientation)(low + x * (high - low))

    def shown(x: torch.Tensor) -> torch.Tensor:
        return (_upright(picture.orientation)(x) - low) / (high - low)

    height, width = stored(target).shape[-2:]
    view = JpegCoefficients(
        [torch.tensor(table) for table in coding.tables],
        (height, width),
        subsampling=coding.subsampling,
        space=coding.space,
    )
    decoded = view(stored(target))
    coefficients = torch.where(view.whole, rounded(decoded, view.steps), decoded)
    slack = torch.where(view.whole, view.steps / 2 + _PIXELS, torch.inf)

    def nearest(x: torch.Tensor) -> torch.Tensor:
        here = view.to(x.device)
        moved = stored(x)
        for _ in range(_ROUNDS):  # to where both hold: values of 0..1, and coefficients that the file allows
            moved = here.nearest(moved, coefficients.to(x.device), slack.to(x.device)).clamp(0, 1)
        return shown(moved)

    return Problem(coefficients, operator=compose(stored, view), finish=nearest)


def _counted(picture: Picture) -> tuple[float, float]:
    """What 0 and 1 of the tensor are where a JPEG's 0 and 255 are 0 and 1."""
    low, high = picture.units()
    if picture.dtype == np.uint8:
        return low / 255, high / 255
    if (low, high) == (0.0, 1.0):
        return 0.0, 1.0
    raise InputError(
        f"a JPEG holds 8 bits, and {picture.name} holds {picture.dtype} values: leave jpeg_quality out", code="type"
    )


def _encoded(quality: int, channels: int) -> Image:
    """A small JPEG of that quality, for its tables."""
    buffer = io.BytesIO()
    flat = np.full((16, 16, 3) if channels == 3 else (16, 16), 128, np.uint8)
    Pillow.fromarray(flat).save(buffer, "JPEG", quality=quality)
    return Pillow.open(buffer)


def _upright(orientation: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Stored rows and columns (..., h, w) turned the way they are looked at, by the EXIF orientation 1 to 8."""
    flips = [axis for axis, those in ((-2, FROM_BELOW), (-1, FROM_THE_RIGHT)) if orientation in those]
    return lambda x: (x.transpose(-1, -2) if orientation >= 5 else x).flip(flips)


def _stored(orientation: int) -> Callable[[torch.Tensor], torch.Tensor]:
    return _upright({6: 8, 8: 6}.get(orientation, orientation))
