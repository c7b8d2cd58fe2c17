"""How a classifier is trained: the settings, and the optimizers that they stand for."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import nn

from preimage.errors import InputError
from preimage.optimizers import KernelMuon, Optimizer, kernels_and_others
from preimage.rng import checked_seed

KERNELS = 20  # MEASURED on the lesions: Muon's validation after 11 epochs (96 px) is AdamW's after 25 (120 px)
STEPS = 2600  # of the optimizer, where no number of epochs is said
FEWEST, MOST = 20, 200  # epochs, at least and at most, that these may come to


@dataclass(frozen=True)
class Settings:
    """How a training goes.

    Args:
        backbone: `resnet18` and the like of torchvision, `timm:NAME`, or `thin_resnet18`.
        epochs: how long; None: 2600 steps, 20 epochs at least and 200 at most.
        batch: pictures a step.
        rate, decay: of AdamW; kernels of convolutions are moved by Muon, at KERNELS times the rate. It rises, then falls to 0
            as a cosine.
        crop: share of each side that an augmented picture keeps.
        mix: of mixup: each batch is blended with itself in another order, in a share drawn from Beta(mix, mix), and its loss
            with it (Zhang et al., ICLR 2018); 0: not.
        upright: whether up and down differ in the pictures; if not (lesions, cells) they are turned by any angle.
        layers: those that the loss estimator looks at; none named: the last of each block.
        seed: of weights, order and augmentation.
    """

    backbone: str = "resnet18"
    epochs: int | None = None
    batch: int = 64
    rate: float = 1e-3
    decay: float = 0.05
    crop: float = 0.9
    mix: float = 0.2
    upright: bool = True
    layers: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        checked_seed(self.seed)
        for name, least in (("epochs", 1), ("batch", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} must be at least {least}, got {value}")
        if not 0 <= self.mix <= 1:
            raise InputError(f"mix must be from 0 to 1, got {self.mix}")
        if not self.rate > 0 or not 0 < self.crop <= 1:
            raise InputError(f"rate must be above 0 and crop from 0 to 1, got {self.rate} and {self.crop}")

    def of(self, pictures: int) -> Settings:
        """With the number of epochs that so many pictures take."""
        if self.epochs is not None:
            return self
        return replace(self, epochs=min(MOST, max(FEWEST, round(STEPS / math.ceil(pictures / self.batch)))))


def optimizers(parameters: Iterable[nn.Parameter], settings: Settings) -> list[tuple[Optimizer, float]]:
    """Each with the rate that it has at its highest."""
    kernels, others = kernels_and_others(parameters)
    rate, decay = settings.rate, settings.decay
    found: list[tuple[Optimizer, float]] = []
    if kernels:
        found.append((KernelMuon(kernels, KERNELS * rate, decay), KERNELS * rate))
    if others:
        found.append((torch.optim.AdamW(others, lr=rate, weight_decay=decay, fused=True), rate))
    return found
