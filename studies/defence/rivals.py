"""Rivals of purification with its face: cleanings (b, c, h, w) in 0 to 1 -> (b, c, h', w'), for one table of all defences.

Random resizing and padding is of our own; JPEG, the median and total variance are the adversarial-robustness-toolbox's, whose
pictures have their channels last, and of which JPEG counts to 255.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn import functional

from preimage.defend.attacks import global_generators
from preimage.defend.defence import random_source
from preimage.errors import InputError, MissingExtra
from preimage.rng import generator

EXTRA = "adversarial-robustness-toolbox"


@dataclass(frozen=True)
class RandomResizing:
    """Each picture enlarged to a random size and put at a random place of a larger, gray canvas.

    Example:
        >>> RandomResizing()(torch.rand(2, 3, 224, 224)).shape  # 331/299 of each side
        torch.Size([2, 3, 248, 248])

    The picture that comes out is larger than the given one, as published. For a classifier of one size alone
    RandomResizing(0.9, 1.0) shrinks the pictures on a canvas of their own size instead.

    Args:
        smallest: the smallest size, as a share of the given one.
        canvas: the size of what comes out, and what all sizes stay below.

    Source: Xie, Wang, Zhang, Ren, Yuille, Mitigating Adversarial Effects Through Randomization, ICLR 2018: 299 to 331 pixels,
    padded with zeros in a range of -1 to 1, which is 0.5 here; how it is resized is unpublished, bilinear here.
    """

    smallest: float = 1.0
    canvas: float = 331 / 299
    differentiable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.smallest < self.canvas:
            raise InputError(
                f"sizes must be above 0 and the smallest below the canvas, got smallest {self.smallest} and canvas {self.canvas}"
            )

    def __call__(
        self, images: torch.Tensor, seed: int | None = None, streams: Sequence[int] | None = None
    ) -> torch.Tensor:
        seed, streams = random_source(len(images), seed, streams)
        each = zip(images, streams, strict=True)
        return torch.stack([self._placed(image, generator(seed, "jitter", stream)) for image, stream in each])

    def describe(self) -> dict[str, Any]:
        return {"kind": "RandomResizing", **asdict(self)}

    def _placed(self, image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        scale, down, across = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        factor = self.smallest + scale * (self.canvas - self.smallest)
        whole = [round(side * self.canvas) for side in image.shape[-2:]]
        height, width = (min(int(side * factor), most) for side, most in zip(image.shape[-2:], whole, strict=True))
        resized = functional.interpolate(image[None], size=(height, width), mode="bilinear", align_corners=False)[0]
        top, left = int(down * (whole[0] - height + 1)), int(across * (whole[1] - width + 1))
        margins = (left, whole[1] - width - left, top, whole[0] - height - top)
        return functional.pad(resized, margins, value=0.5)


@dataclass(frozen=True)
class JPEG:
    """JPEG compression: `JPEG(quality=75)(images)`, on 8 bits.

    Source: Das et al. 2017; Guo et al., ICLR 2018, who take quality 75. By the adversarial-robustness-toolbox.
    """

    quality: int = 75

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise InputError(f"quality must be from 1 to 100, got {self.quality}")

    def __call__(
        self, images: torch.Tensor, seed: int | None = None, streams: Sequence[int] | None = None
    ) -> torch.Tensor:
        random_source(len(images), seed, streams)
        compress = _of_the_toolbox("JpegCompression", clip_values=(0, 255), quality=self.quality)
        # The toolbox cuts decimals off: it is given whole numbers.
        return _each(lambda pixels: compress(np.rint(pixels * 255))[0] / 255, images)

    def describe(self) -> dict[str, Any]:
        return {"kind": "JPEG", **asdict(self)}


@dataclass(frozen=True)
class MedianSmoothing:
    """The median of a window around each pixel: `MedianSmoothing(window=3)(images)`.

    Source: Xu, Evans, Qi, Feature Squeezing, NDSS 2018. By the adversarial-robustness-toolbox.
    """

    window: int = 3

    def __post_init__(self) -> None:
        if self.window < 1:
            raise InputError(f"window must be at least 1 pixel, got {self.window}")

    def __call__(
        self, images: torch.Tensor, seed: int | None = None, streams: Sequence[int] | None = None
    ) -> torch.Tensor:
        random_source(len(images), seed, streams)
        smooth = _of_the_toolbox("SpatialSmoothing", window_size=self.window, clip_values=(0.0, 1.0))
        return _each(lambda pixels: smooth(pixels)[0], images)

    def describe(self) -> dict[str, Any]:
        return {"kind": "MedianSmoothing", **asdict(self)}


@dataclass(frozen=True)
class TotalVariance:
    """The picture of least total variation that agrees with a random choice of the pixels: `TotalVariance()(images)`.

    Args:
        share: of the values that it must agree with.
        weight: of the variation.
        steps: of the minimization, at most.

    Source: Guo, Rana, Cisse, van der Maaten, Countering Adversarial Images using Input Transformations, ICLR 2018. By the
    adversarial-robustness-toolbox, and with its settings.
    """

    share: float = 0.3
    weight: float = 0.5
    steps: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or self.weight < 0 or self.steps < 1:
            raise InputError(f"share must be above 0, at most 1, weight at least 0 and steps at least 1, got {self}")

    def __call__(
        self, images: torch.Tensor, seed: int | None = None, streams: Sequence[int] | None = None
    ) -> torch.Tensor:
        seed, streams = random_source(len(images), seed, streams)
        settings = {"prob": self.share, "lamb": self.weight, "max_iter": self.steps, "clip_values": (0.0, 1.0)}
        minimize = _of_the_toolbox("TotalVarMin", **settings)
        cleaned = []
        for image, stream in zip(images, streams, strict=True):
            numpy_seed = np.random.SeedSequence([seed, stream]).generate_state(4)
            with global_generators(seed):
                np.random.seed(numpy_seed)
                cleaned.append(_each(lambda pixels: minimize(pixels)[0], image[None]))
        return torch.cat(cleaned)

    def describe(self) -> dict[str, Any]:
        return {"kind": "TotalVariance", **asdict(self)}


def _of_the_toolbox(name: str, **settings: Any) -> Any:
    try:
        from art.defences import preprocessor
    except ImportError as error:
        raise MissingExtra.of(EXTRA, "defend") from error
    return getattr(preprocessor, name)(**settings)


def _each(change: Any, images: torch.Tensor) -> torch.Tensor:
    """A function of arrays (b, h, w, c) applied to pictures (b, c, h, w)."""
    pixels = np.ascontiguousarray(images.detach().float().cpu().movedim(1, -1).numpy())
    return torch.from_numpy(np.ascontiguousarray(change(pixels))).movedim(-1, 1).to(images).contiguous()
