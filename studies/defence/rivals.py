"""Rivals of purification with its face: cleanings (b, c, h, w) in 0 to 1 -> (b, c, h', w'), for one table of all defences.

Random resizing and padding is of our own; JPEG, the median and total variance are the adversarial-robustness-toolbox's, whose
pictures have their channels last, and of which JPEG counts to 255.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn import functional

from preimage.defend.attacks import global_generators
from preimage.defend.defence import random_source
from preimage.errors import InputError, MissingExtra
from preimage.rng import generator


@dataclass(frozen=True)
class Rival:
    """A defence that takes each picture for itself; its settings are its fields."""

    def __call__(
        self, images: torch.Tensor, seed: int | None = None, streams: Sequence[int] | None = None
    ) -> torch.Tensor:
        seed, streams = random_source(len(images), seed, streams)
        return torch.stack([self.cleaned(*each) for each in zip(images, [seed] * len(images), streams, strict=True)])

    def cleaned(self, image: torch.Tensor, seed: int, stream: int) -> torch.Tensor:
        """(c, h, w) -> (c, h', w')."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        return {"kind": type(self).__name__, **asdict(self)}


@dataclass(frozen=True)
class RandomResizing(Rival):
    """Each picture enlarged to a random size and put at a random place of a larger, gray canvas.

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
            raise InputError(f"sizes must be above 0 and the smallest below the canvas, got {self}")

    def cleaned(self, image: torch.Tensor, seed: int, stream: int) -> torch.Tensor:
        draws = torch.rand(3, generator=generator(seed, "jitter", stream), dtype=torch.float64)
        scale, down, across = draws.tolist()
        factor = self.smallest + scale * (self.canvas - self.smallest)
        whole = [round(side * self.canvas) for side in image.shape[-2:]]
        height, width = (min(int(side * factor), most) for side, most in zip(image.shape[-2:], whole, strict=True))
        resized = functional.interpolate(image[None], size=(height, width), mode="bilinear", align_corners=False)[0]
        top, left = int(down * (whole[0] - height + 1)), int(across * (whole[1] - width + 1))
        margins = (left, whole[1] - width - left, top, whole[0] - height - top)
        return functional.pad(resized, margins, value=0.5)


@dataclass(frozen=True)
class OfTheToolbox(Rival):
    """A defence of the adversarial-robustness-toolbox, whose global random numbers are those of the seed and stream."""

    def cleaning(self, toolbox: Any) -> Callable[[np.ndarray], np.ndarray]:
        """A function of arrays (1, h, w, c) in 0 to 1."""
        raise NotImplementedError

    def cleaned(self, image: torch.Tensor, seed: int, stream: int) -> torch.Tensor:
        try:
            from art.defences import preprocessor
        except ImportError as error:
            raise MissingExtra.of("adversarial-robustness-toolbox", "defend") from error
        pixels = np.ascontiguousarray(image.detach().float().cpu().movedim(0, -1).numpy())[None]
        with global_generators(seed):
            np.random.seed(np.random.SeedSequence([seed, stream]).generate_state(4))
            found = self.cleaning(preprocessor)(pixels)[0]
        return torch.from_numpy(np.ascontiguousarray(found)).movedim(-1, 0).to(image).contiguous()


@dataclass(frozen=True)
class JPEG(OfTheToolbox):
    """JPEG compression on 8 bits; Das et al. 2017; Guo et al., ICLR 2018, who take quality 75."""

    quality: int = 75

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise InputError(f"quality must be from 1 to 100, got {self.quality}")

    def cleaning(self, toolbox: Any) -> Callable[[np.ndarray], np.ndarray]:
        compress = toolbox.JpegCompression(clip_values=(0, 255), quality=self.quality)
        # The toolbox cuts decimals off: it is given whole numbers.
        return lambda pixels: compress(np.rint(pixels * 255))[0] / 255


@dataclass(frozen=True)
class MedianSmoothing(OfTheToolbox):
    """The median of a window around each pixel; Xu, Evans, Qi, Feature Squeezing, NDSS 2018."""

    window: int = 3

    def cleaning(self, toolbox: Any) -> Callable[[np.ndarray], np.ndarray]:
        smooth = toolbox.SpatialSmoothing(window_size=self.window, clip_values=(0.0, 1.0))
        return lambda pixels: smooth(pixels)[0]


@dataclass(frozen=True)
class TotalVariance(OfTheToolbox):
    """The picture of least total variation that agrees with a random choice of the pixels.

    Args:
        share: of the values that it must agree with.
        weight: of the variation.
        steps: of the minimization, at most.

    Source: Guo, Rana, Cisse, van der Maaten, Countering Adversarial Images using Input Transformations, ICLR 2018.
    """

    share: float = 0.3
    weight: float = 0.5
    steps: int = 10

    def cleaning(self, toolbox: Any) -> Callable[[np.ndarray], np.ndarray]:
        settings = {"prob": self.share, "lamb": self.weight, "max_iter": self.steps}
        minimize = toolbox.TotalVarMin(**settings, clip_values=(0.0, 1.0))
        return lambda pixels: minimize(pixels)[0]
