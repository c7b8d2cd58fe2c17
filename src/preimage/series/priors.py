"""Other priors than the recipe's network, by name: what each of them changes in a recipe."""

from __future__ import annotations

from typing import Any

from preimage.codes import Noise
from preimage.networks import DeepDecoder, Pixels
from preimage.optimizers import adam

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
