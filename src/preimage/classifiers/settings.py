"""Settings of a training, its optimizers, and the moving average of what they train."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from preimage.classifiers.shifts import checked_kinds
from preimage.errors import InputError
from preimage.optimizers import KernelMuon, Optimizer, kernels_and_others
from preimage.rng import checked_seed, is_whole

KERNELS = 20  # MEASURED on the lesions: Muon's validation after 11 epochs (96 px) is AdamW's after 25 (120 px)
STEPS = 2600  # of the optimizer, if no number of epochs is specified
FEWEST, MOST = 20, 200  # epochs, at least and at most, that these may come to
EMA_WEIGHT = 0.998  # of the average; in the first steps less, so that the initial weights are forgotten


@dataclass(frozen=True)
class Settings:
    """Settings of a training.

    Example:
        >>> Settings(batch=64).of(2170).epochs
        76

    Args:
        backbone: `resnet18` and the like of torchvision, `timm:NAME`, or `thin_resnet10` and `thin_resnet18`.
        epochs: passes over the training part, at least 1; None: 2600 steps, but 20 to 200 epochs.
        batch: images per step, at least 2.
        rate, decay: peak learning rate, above 0, and weight decay of AdamW; kernels of convolutions are moved by Muon, at
            KERNELS times the rate. It rises, then falls to 0 as a cosine.
        crop: share of each side that an augmented image keeps, above 0 to 1.
        mix: of mixup, 0 to 1, for Beta(mix, mix); 0: nothing is blended.
        upright: whether up and down differ in the images; if not (lesions, cells) they are rotated by any angle.
        shifts: kinds of shifted pictures (shifts.py) that the loss estimator learns to rank above; none: usual ones alone.
        layers: those whose features the loss estimator takes; none: the last of each block.

    Raises:
        InputError: a value out of its range.
    """

    backbone: str = "resnet18"
    epochs: int | None = None
    batch: int = 64
    rate: float = 1e-3
    decay: float = 0.05
    crop: float = 0.9
    mix: float = 0.2
    upright: bool = True
    shifts: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        checked_seed(self.seed)
        object.__setattr__(self, "shifts", checked_kinds(self.shifts))
        checks = (
            ("epochs", self.epochs is None or _counts(self.epochs, 1), "a whole number, at least 1", "give 1 or more"),
            ("batch", _counts(self.batch, 2), "a whole number, at least 2", "give 2 or more"),
            ("mix", 0 <= self.mix <= 1, "from 0 to 1", "0 blends nothing"),
            ("rate", 0 < self.rate < math.inf, "above 0 and finite", "give 0.001, for example"),
            ("crop", 0 < self.crop <= 1, "above 0 and at most 1", "1 keeps the whole image"),
        )
        for name, fine, constraint, way in checks:
            if not fine:
                raise InputError(f"{name} must be {constraint}, got {getattr(self, name)}: {way}")

    def of(self, images: int) -> Settings:
        """With the number of epochs for so many images."""
        epochs = min(MOST, max(FEWEST, round(STEPS / math.ceil(images / self.batch))))
        return replace(self, epochs=self.epochs or epochs)


def _counts(value: Any, least: int) -> bool:
    return is_whole(value) and value >= least


def optimizers(parameters: Iterable[nn.Parameter], settings: Settings) -> list[tuple[Optimizer, float]]:
    """Each with its peak learning rate: Muon for kernels, AdamW for all other parameters.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(32, 32, 3), nn.Linear(32, 2))
        >>> [(type(optimizer).__name__, rate) for optimizer, rate in optimizers(model.parameters(), Settings())]
        [('KernelMuon', 0.02), ('AdamW', 0.001)]
    """
    kernels, others = kernels_and_others(parameters)
    rate, decay = settings.rate, settings.decay
    found: list[tuple[Optimizer, float]] = []
    if kernels:
        found.append((KernelMuon(kernels, KERNELS * rate, decay), KERNELS * rate))
    if others:
        found.append((torch.optim.AdamW(others, lr=rate, weight_decay=decay, fused=True), rate))
    return found


@torch.no_grad()
def update_average(average: AveragedModel, current: nn.Module) -> None:
    """One step of the exponential moving average of weights and buffers, in place; the first step copies them.

    AveragedModel's own step reads its count from the device, and so waits for it. Here the count stays on the CPU.
    """
    count = int(average.n_averaged)
    weight = max(1 - EMA_WEIGHT, 9 / (10 + count)) if count else 1.0
    pairs = [
        *zip(average.module.parameters(), current.parameters(), strict=True),
        *zip(average.module.buffers(), current.buffers(), strict=True),
    ]
    numbers = [(own, its.detach()) for own, its in pairs if own.is_floating_point()]
    torch._foreach_lerp_([own for own, _ in numbers], [its for _, its in numbers], weight)  # pyright: ignore[reportPrivateImportUsage]
    for own, its in pairs:
        if not own.is_floating_point():  # counts, of batches
            own.copy_(its)
    average.n_averaged += 1
