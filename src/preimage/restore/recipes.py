"""What the fast recipes of the restoration tasks share: their networks, and the settings of a fit from noise."""

from __future__ import annotations

from typing import Any

from preimage.codes import Noise
from preimage.engine.recipe import Recipe
from preimage.networks import SkipNet
from preimage.optimizers import muon

_WIDTHS: dict[str, Any] = {"down": (32, 64, 64, 64, 64), "up": (32, 64, 64, 64, 64), "padding": "zeros"}
NEAREST, BILINEAR = SkipNet.Config(**_WIDTHS, upsample="nearest"), SkipNet.Config(**_WIDTHS, upsample="bilinear")
BILINEAR_WITHOUT_SKIP = SkipNet.Config(**_WIDTHS, skip=(0,) * 5)


def fitted_from_noise(**settings: Any) -> Recipe:
    """The settings that fast recipes share whose code is noise; the rate and the number of steps are each task's own.

    Example:
        >>> fitted_from_noise(rate=0.02, steps=700).jitter_pool
        4
    """
    shared = {"network": BILINEAR, "code": Noise(32), "jitter_pool": 4, "optimizer": muon, "averaging": 0.95}
    return Recipe(**shared | settings)
