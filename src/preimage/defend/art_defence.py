"""DIPDefence: purification as a preprocessing defence of the adversarial-robustness-toolbox. Imported where it is used."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from preimage.defend.defence import BATCH, Purification, passed_through, random_source
from preimage.defend.purify import FAST
from preimage.engine.recipe import Recipe
from preimage.errors import InputError, MissingExtra

try:
    from art.defences.preprocessor.preprocessor import PreprocessorPyTorch
except ImportError as error:
    raise MissingExtra.of("adversarial-robustness-toolbox", "defend") from error


_ROUNDING = 1e-3  # of the range: as far as the toolbox's own pictures are outside, in half precision even


class DIPDefence(PreprocessorPyTorch):
    """Each picture is purified before the classifier of the toolbox sees it, at prediction and never at training.

    Example:
        >>> defended = PyTorchClassifier(model, loss, (3, 32, 32), 10, clip_values=(0, 1), preprocessing_defences=DIPDefence())
        >>> defended.predict(images).shape
        (16, 10)

    Its gradient is the identity (BPDA), so that the toolbox's attacks on the defended classifier know of the defence.

    Args:
        recipe, steps: of the purification, as in `purify`.
        seed: None: fresh random numbers for each picture at every call; a seed: each picture always gives the same.
        batch: pictures that are purified side by side.
        clip_values: the values that are black and white in the toolbox's pictures, (b, channels, h, w); pictures of whole
            numbers come back rounded to such.
        device_type: "gpu" (where there is one) or "cpu", as everywhere in the toolbox.

    Raises:
        InputError: pictures or settings that cannot be.
    """

    params = ["recipe", "steps", "seed", "batch", "clip_values"]  # noqa: RUF012 (as in the toolbox)

    def __init__(
        self,
        recipe: Recipe = FAST,
        steps: int | None = None,
        seed: int | None = None,
        batch: int = BATCH,
        clip_values: tuple[float, float] = (0.0, 1.0),
        device_type: str = "gpu",
    ) -> None:
        super().__init__(device_type=device_type, is_fitted=True, apply_fit=False, apply_predict=True)
        self.recipe, self.steps, self.seed, self.batch, self.clip_values = recipe, steps, seed, batch, clip_values
        self._check_params()

    def forward(self, x: torch.Tensor, y: Any = None) -> tuple[torch.Tensor, Any]:
        """(b, c, h, w) within the clip values -> the same purified, with the gradient of the identity; y as it is."""
        low, high = self.clip_values
        cleaned = low + (high - low) * Purification(self.recipe, self.steps, self.batch)(self._unit(x), self.seed)
        if not x.is_floating_point():
            cleaned = cleaned.round()  # to the nearest whole number, which a conversion alone does not
        return passed_through(x, cleaned.to(x.dtype)), y

    def _unit(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures from 0 to 1, of some that are known to be within the clip values but for rounding."""
        low, high = self.clip_values
        if x.ndim != 4 or not len(x):
            raise InputError(f"pictures must be (b, channels, h, w), got {tuple(x.shape)}")
        unit = (x.detach().float() - low) / (high - low)
        least, most = (float(end) for end in unit.aminmax())
        if not (least >= -_ROUNDING and most <= 1 + _ROUNDING):  # NaN is neither
            found = " to ".join(f"{low + end * (high - low):g}" for end in (least, most))
            raise InputError(
                f"pictures must be within clip_values, {low:g} to {high:g}, got {found}: give DIPDefence and the toolbox's "
                "classifier the clip_values of the pictures, (0, 255) of bytes"
            )
        return unit.clamp(0, 1)

    def estimate_gradient(self, x: np.ndarray, grad: np.ndarray) -> np.ndarray:
        """BPDA: the gradient as it came; nothing is purified for it."""
        del x
        return grad

    def _check_params(self) -> None:
        Purification(self.recipe, self.steps, self.batch)
        random_source(1, self.seed)
        low, high = self.clip_values
        if not low < high:
            raise InputError(f"clip_values must be (black, white), the first below the second, got {self.clip_values}")
