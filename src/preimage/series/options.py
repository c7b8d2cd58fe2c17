"""What the options of a restoration stand for: another prior than the recipe's network, a rule, and further images."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from preimage.codes import Noise
from preimage.errors import InputError
from preimage.images import Picture, as_picture
from preimage.images.files import in_folder
from preimage.networks import DeepDecoder, Pixels
from preimage.optimizers import adam
from preimage.series.layout import check_companions, checked, pages_of
from preimage.stopping import StoppingRule, by_name, plateau
from preimage.tasks import FitOptions, described

_ALONE: dict[str, Any] = {"optimizer": adam, "rate": 0.01, "jitter": 0.0, "jitter_pool": None, "restarts": 1}
# A deep decoder is too small to fit noise, and pixels start from no randomness: one fit each, until the loss rests.
PRIORS: dict[str, dict[str, Any]] = {
    "skip": {},
    "deep-decoder": {
        **_ALONE,
        "network": DeepDecoder.Config(),
        "code": Noise(DeepDecoder.Config().widths[0]),
        "steps": 2000,
    },
    "pixels": {**_ALONE, "network": Pixels.Config(), "code": Noise(1), "averaging": 0.0, "steps": 500},
}


def recipe_changes(options: FitOptions) -> dict[str, Any]:
    """What the prior and explicit options change in the recipe."""
    if options.prior not in PRIORS:
        raise InputError(f"prior must be {', '.join(PRIORS)}, got {options.prior!r}", code="option")
    if options.prior != "skip" and options.recipe != "fast":
        raise InputError(
            f"prior {options.prior} has settings of its own, got recipe {options.recipe!r}: leave one of them out",
            code="option",
        )
    explicit = {"steps": options.steps, "restarts": options.restarts}
    return PRIORS[options.prior] | {name: value for name, value in explicit.items() if value is not None}


def rule_of(options: FitOptions) -> StoppingRule | None:
    """The rule that was specified; None if the task chooses."""
    stop = options.stop
    if stop in (None, "auto"):
        return plateau() if options.prior != "skip" else None
    if isinstance(stop, str):
        return by_name(stop)
    if not isinstance(stop, StoppingRule):
        raise InputError(f"stop must be a stopping rule or the name of one, got {stop!r}", code="type")
    return stop


def explicit_tiles(options: FitOptions) -> tuple[int | None, int | None]:
    """Side and overlap of the tiles that were specified; None: no tiles, and no overlap of one's own."""
    tile, overlap = options.tile, options.tile_overlap
    if overlap is not None and isinstance(tile, str | None):
        raise InputError(f"tile_overlap needs the side of tiles, got tile {tile!r}: specify tile, too", code="option")
    if options.warm_start and tile not in ("auto", "none", None):
        found = f"got tile {tile!r}: leave one of them out"
        raise InputError(f"warm_start passes on the weights of whole images, {found}", code="option")
    if tile in (None, "none", "auto") or options.warm_start:
        return None, None
    side, own = tile if isinstance(tile, tuple | list) and len(tile) == 2 else (tile, overlap)
    return checked(side, own)[0], own


def own_settings(options: FitOptions) -> dict[str, Any]:
    """A task's own options as plain data, images and kernels left out (a plan's fingerprint has them)."""
    shared = {each.name for each in fields(FitOptions)}
    found = {}
    for name, stated in described(options).items():
        value = getattr(options, name)
        if name not in shared and stated.kind in ("", "classifier"):
            found[name] = value.item() if isinstance(value, np.generic) else value
    return found


def companions(options: FitOptions, picture: Picture) -> dict[str, Picture]:
    """The images among the options (a mask, a flash image), read: a folder stands for the file of the input's name."""
    found: dict[str, Picture] = {}
    for name, stated in described(options).items():
        value = getattr(options, name)
        if stated.kind != "image" or value is None:
            continue
        if isinstance(value, str | Path):
            value = in_folder(Path(value), picture.path)
        found[name] = as_picture(value)
    check_companions(picture, found)
    return found


def of_page(options: FitOptions, number: int) -> FitOptions:
    """The options with the images among them as they belong to one page."""
    images = {name: getattr(options, name) for name, stated in described(options).items() if stated.kind == "image"}
    own = {name: pages_of(image) for name, image in images.items() if image is not None}
    return replace(options, **{name: pages[number % len(pages)] for name, pages in own.items()})
