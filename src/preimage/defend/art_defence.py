"""DIPDefence: purification as a preprocessing defense of the adversarial-robustness-toolbox. Imported where it is used."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from preimage.defend.checks import importing_toolbox
from preimage.defend.defence import BATCH, Purification, random_source, straight_through
from preimage.errors import InputError
from preimage.recipes import RecipeLike

with importing_toolbox("art.defences.preprocessor.preprocessor"):
    from art.defences.preprocessor.preprocessor import PreprocessorPyTorch


_ROUNDING = 1e-3  # of the range: how far the toolbox's own images are outside of it, even in half precision


class DIPDefence(PreprocessorPyTorch):
    """Each image is purified before the classifier of the toolbox predicts, and never at training.

    Example:
        >>> from art.estimators.classification import PyTorchClassifier
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 10))
        >>> defence = DIPDefence(steps=2)
        >>> defended = PyTorchClassifier(
        ...     model, torch.nn.CrossEntropyLoss(), (3, 16, 16), 10, clip_values=(0, 1), preprocessing_defences=defence
        ... )
        >>> defended.predict(np.zeros((4, 3, 16, 16), np.float32)).shape
        (4, 10)

    Its gradient is the identity (BPDA), so that the toolbox's attacks on the defended classifier know of the defense.

    Args:
        recipe, steps: of the purification, as in `purify`.
        seed: None: fresh random numbers for each image at every call; a seed: each image always gives the same.
        batch: images that are purified side by side.
        clip_values: the values that are black and white in the toolbox's images, (b, channels, h, w); images of whole numbers
            are rounded to such.
        device_type: "gpu" (if there is one) or "cpu", as everywhere in the toolbox.

    Raises:
        InputError: images or settings that cannot be used.
    """

    params: list[str] = ["recipe", "steps", "seed", "batch", "clip_values"]  # noqa: RUF012 (as in the toolbox)

    def __init__(
        self,
        recipe: RecipeLike = "fast",
        steps: int | None = None,
        seed: int | None = None,
        batch: int = BATCH,
        clip_values: tuple[float, float] = (0.0, 1.0),
        device_type: str = "gpu",
    ) -> None:
        super().__init__(device_type=device_type, is_fitted=True, apply_fit=False, apply_predict=True)
        self.recipe = recipe
        self.steps = steps
        self.seed = seed
        self.batch = batch
        self.clip_values = clip_values
        self._check_params()

    def forward(self, x: torch.Tensor, y: Any = None) -> tuple[torch.Tensor, Any]:
        """(b, c, h, w) within the clip values -> the same purified, with the gradient of the identity; y as it is."""
        low, high = self.clip_values
        purified = low + (high - low) * Purification(self.recipe, self.steps, self.batch)(self._unit(x), self.seed)
        if not x.is_floating_point():
            purified = purified.round()  # to the nearest whole number, which a conversion alone does not
        return straight_through(x, purified.to(x.dtype)), y

    def _unit(self, x: torch.Tensor) -> torch.Tensor:
        """Images from 0 to 1, of ones that are within the clip values but for rounding."""
        low, high = self.clip_values
        if x.ndim != 4 or not len(x):
            raise InputError(f"images must be (b, channels, h, w), got shape {tuple(x.shape)}", code="shape")
        unit = (x.detach().float() - low) / (high - low)
        least, most = (float(end) for end in unit.aminmax())
        if not (least >= -_ROUNDING and most <= 1 + _ROUNDING):  # NaN is neither
            found = " to ".join(f"{low + end * (high - low):g}" for end in (least, most))
            raise InputError(
                f"images must be within clip_values, {low:g} to {high:g}, got {found}: give DIPDefence and the toolbox's "
                "classifier the clip_values of the images, (0, 255) of bytes",
                code="range",
            )
        return unit.clamp(0, 1)

    def estimate_gradient(self, x: np.ndarray, grad: np.ndarray) -> np.ndarray:
        """BPDA: the gradient as it is; nothing is purified for it."""
        del x
        return grad

    def _check_params(self) -> None:
        Purification(self.recipe, self.steps, self.batch)
        random_source(1, self.seed)
        low, high = self.clip_values
        if not low < high:
            raise InputError(f"clip_values must be (black, white), the first below the second, got {self.clip_values}")
