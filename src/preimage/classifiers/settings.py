"""Settings of a training, and its optimizers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import nn

from preimage.errors import InputError
from preimage.optimizers import KernelMuon, Optimizer, kernels_and_others
from preimage.rng import checked_seed, is_whole

KERNELS = 20  # MEASURED on the lesions: Muon's validation after 11 epochs (96 px) is AdamW's after 25 (120 px)
STEPS = 2600  # of the optimizer, if no number of epochs is specified
FEWEST, MOST = 20, 200  # epochs, at least and at most, that these may come to


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
        mix: of mixup, 0 to 1: each batch is blended with itself in another order, in a share drawn from Beta(mix, mix), and
            its loss with it (Zhang et al., ICLR 2018); 0: not.
        upright: whether up and down differ in the images; if not (lesions, cells) they are rotated by any angle.
        layers: those whose features the loss estimator takes; none: the last of each block.
        seed: random seed of weights, order and augmentation.

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
    layers: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        checked_seed(self.seed)
        for name, least in (("epochs", 1), ("batch", 2)):
            value = getattr(self, name)
            if value is not None and not (is_whole(value) and value >= least):
                raise InputError(f"{name} must be a whole number, at least {least}, got {value}: give {least} or more")
        if not 0 <= self.mix <= 1:
            raise InputError(f"mix must be from 0 to 1, got {self.mix}: 0 blends nothing")
        if not 0 < self.rate < math.inf:
            raise InputError(f"rate must be above 0 and finite, got {self.rate}: give 0.001, for example")
        if not 0 < self.crop <= 1:
            raise InputError(f"crop must be above 0 and at most 1, got {self.crop}: 1 keeps the whole image")

    def of(self, images: int) -> Settings:
        """With the number of epochs for so many images."""
        if self.epochs is not None:
            return self
        return replace(self, epochs=min(MOST, max(FEWEST, round(STEPS / math.ceil(images / self.batch)))))


def optimizers(parameters: Iterable[nn.Parameter], settings: Settings) -> list[tuple[Optimizer, float]]:
    """Each with its peak learning rate: Muon for kernels, AdamW for all other parameters.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(32, 32, 3), torch.nn.Linear(32, 2))
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
