"""How an image of any size becomes the input of a classifier, differentiably, and where in the image that input is.

crop       resized until the short side has so many pixels, then the middle is cut out: what lies outside is not classified
letterbox  resized until all of it fits, the rest filled with the mean of the normalization
squeeze    resized to height and width of the input, whatever the proportions
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch.nn import functional

from preimage.classifiers.filters import Filter, resampled
from preimage.errors import InputError

if TYPE_CHECKING:
    from preimage.classifiers.classifier import Classifier

Mode = Literal["squeeze", "crop", "letterbox"]
Choice = Literal["preset", "crop", "letterbox", "squeeze"]
Keep = Literal["short", "long", "none"]
Rounding = Literal["nearest", "down"]
Size = tuple[int, int]


@dataclass(frozen=True)
class Resizing:
    """How images become the input of a classifier.

    Example:
        >>> frame = Resizing("crop", 256).frame((333, 500), (224, 224))
        >>> frame.resized, (frame.top, frame.left), round(frame.share, 2)
        ((256, 384), (16, 80), 0.51)

    Args:
        mode: crop, letterbox or squeeze.
        before: of a crop: the short side in pixels to which the image is resized before, or (height, width); None: that of the
            input. Where the image is then smaller than the input, black is around it.
        keep: what (height, width) means for an image of other proportions: "short": it covers both; "long": it fits within both,
            and the mean is around it; "none": it is squeezed to them.
        filter: of the reduction: bilinear, bicubic, lanczos, box, hamming or nearest, as Pillow does it.
        rounding: where a margin is odd: nearest (to the even number of two, as torchvision), or down (as transformers).

    Raises:
        InputError: an unknown mode, or a side that is no whole number of at least 1.
    """

    mode: Mode = "squeeze"
    before: int | Size | None = None
    filter: Filter = "bilinear"
    rounding: Rounding = "nearest"
    keep: Keep = "short"

    def __post_init__(self) -> None:
        for name, kinds in (("mode", Mode), ("filter", Filter), ("rounding", Rounding), ("keep", Keep)):
            if getattr(self, name) not in get_args(kinds):
                raise InputError(f"resizing: {name} must be {', '.join(get_args(kinds))}, got {getattr(self, name)!r}")
        sides: tuple[Any, ...] = (
            self.before if isinstance(self.before, tuple) else (1 if self.before is None else self.before,)
        )
        if len(sides) > 2 or not all(
            isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides
        ):
            raise InputError(
                f"resizing: before must be whole pixels, at least 1, or None, got {self.before!r}: give 256"
            )

    def frame(self, picture: Size, size: Size) -> Frame:
        """Where an image of (height, width) and an input of that size lie on each other."""
        resized = self._resized(picture, size)
        top, left = (_half(had - wanted, self.rounding) for had, wanted in zip(resized, size, strict=True))
        filled = self.mode == "letterbox" or self.keep == "long"
        return Frame(self.mode, picture, resized, top, left, size, self.filter, filled)

    def _resized(self, picture: Size, size: Size) -> Size:
        if self.mode == "squeeze":
            return size
        box, keep = (size, "long") if self.mode == "letterbox" else (self.before or size, self.keep)
        if isinstance(box, int):
            return _short_side(picture, box)
        if keep == "none":
            return box
        if keep == "short" and box[0] == box[1]:
            return _short_side(picture, box[0])
        ratios = [had / wanted for had, wanted in zip(picture, box, strict=True)]
        ratio = max(ratios) if keep == "long" else min(ratios)
        height, width = (max(1, round(side / ratio)) for side in picture)
        return height, width


@dataclass(frozen=True)
class Frame:
    """The input of a classifier on an image: what of the image it holds, and at which place.

    Args:
        mode: of the Resizing.
        picture, resized: (height, width) of the image, and of the image as it is resized.
        top, left: the input's upper left corner in the resized image; below 0 there is a margin around it.
        size: (height, width) of the input.
        filled: whether margins have the mean of the normalization; False: they are black.
    """

    mode: Mode
    picture: Size
    resized: Size
    top: int
    left: int
    size: Size
    filter: Filter = "bilinear"
    filled: bool = False

    def __call__(self, x: torch.Tensor, mean: torch.Tensor | None = None) -> torch.Tensor:
        """The input (b, c, *size) of images (b, c, h, w) in 0 to 1; mean: of the normalization, (1, c, 1, 1)."""
        x = resampled(x, self.resized, self.filter)
        if not self.filled or mean is None or self.inside == (0, self.size[0], 0, self.size[1]):
            return self._moved(x)
        mean = mean.mean(1, keepdim=True).expand(1, x.shape[1], 1, 1) if mean.shape[1] != x.shape[1] else mean
        return self._moved(x - mean) + mean

    def of_mask(self, mask: torch.Tensor) -> torch.Tensor:
        """The part of a mask (b, c, h, w) in 0 to 1 that the input holds, (b, c, *size); 0 where there is no image."""
        return self._moved(functional.interpolate(mask, self.resized, mode="area"))

    def back(self, x: torch.Tensor, mode: Literal["bilinear", "bicubic"] = "bilinear") -> torch.Tensor:
        """(b, c, *size) of the input at its place in the image, (b, c, h, w); 0 where the classifier sees nothing."""
        (height, width), (rows, columns) = self.resized, self.size
        margins = (self.left, width - columns - self.left, self.top, height - rows - self.top)
        whole = functional.pad(x, margins)
        if self.resized == self.picture:
            return whole
        smaller = self.picture[0] * self.picture[1] < height * width
        found = functional.interpolate(whole, self.picture, mode=mode, align_corners=False, antialias=smaller)
        seen = functional.pad(torch.ones_like(x[:1, :1]), margins)  # a kernel reaches further
        return found * functional.interpolate(seen, self.picture, mode="nearest-exact")

    def _moved(self, x: torch.Tensor) -> torch.Tensor:
        (height, width), (rows, columns) = self.resized, self.size
        margins = (-self.left, columns - width + self.left, -self.top, rows - height + self.top)
        return functional.pad(x, margins) if any(margins) else x

    @property
    def inside(self) -> tuple[int, int, int, int]:
        """First and last row (excluded), first and last column of the input that the image covers."""
        (height, width), (rows, columns) = self.resized, self.size
        return max(0, -self.top), min(rows, height - self.top), max(0, -self.left), min(columns, width - self.left)

    @property
    def share(self) -> float:
        """The share of the image that the input holds, 0 to 1."""
        top, bottom, left, right = self.inside
        return (bottom - top) * (right - left) / (self.resized[0] * self.resized[1])

    def report(self) -> dict[str, Any]:
        """Mode and share as plain data."""
        return {"resizing": self.mode, "seen_share": round(self.share, 4)}

    def remark(self) -> str:
        """What of the image is classified, in words."""
        (height, width), (rows, columns) = self.resized, self.size
        if self.mode == "squeeze":
            return f"resizing squeeze: the classifier sees {self.picture[1]} x {self.picture[0]} as {columns} x {rows}"
        if self.share == 1:
            return f"resizing {self.mode}: the classifier sees the whole image"
        return (
            f"resizing {self.mode}: the classifier sees the middle {columns} x {rows} of {width} x {height}, "
            f"{self.share:.0%} of the image; what lies outside is not explained (resizing letterbox shows it all)"
        )


def as_resizing(given: Any) -> Resizing:
    """A Resizing, or that of a mode; anything else is an InputError."""
    if isinstance(given, Resizing):
        return given
    if given in get_args(Mode):
        return Resizing(given)
    raise InputError(f"resizing must be {', '.join(get_args(Mode))}, or a Resizing, got {given!r}")


def with_resizing(classifier: Classifier, choice: Choice) -> Classifier:
    """The classifier with another resizing, which shares its weights; itself for "preset", or if it is its own.

    Raises:
        InputError: an unknown choice, or a classifier that takes images of any size as they are.
    """
    if choice not in get_args(Choice):
        raise InputError(f"resizing must be {', '.join(get_args(Choice))}, got {choice!r}")
    if choice in ("preset", classifier.resizing.mode):
        return classifier
    if classifier.size is None:
        way = "leave resizing out, or give the Classifier a size"
        raise InputError(
            f"resizing {choice}: the classifier takes images of any size as they are: {way}", code="option"
        )
    return classifier.resized_by(Resizing(choice, filter=classifier.resizing.filter))


def frame_of(classifier: Classifier, picture: Size) -> Frame | None:
    """Where an image of (height, width) and the classifier's input lie on each other; None if it takes any size as it is."""
    return None if classifier.size is None else classifier.resizing.frame(picture, classifier.size)


def explained_frame(classifier: Classifier, picture: Size) -> Frame | None:
    """The same where the image is explained as the classifier's input; None where it is squeezed, and explained as it is."""
    frame = frame_of(classifier, picture)
    return None if frame is None or frame.mode == "squeeze" else frame


def for_input(classifier: Classifier) -> Classifier:
    """The classifier for images that are its input already, which shares its weights."""
    return classifier.resized_by(replace(classifier.resizing, mode="squeeze", before=None))


def _half(margin: int, rounding: Rounding) -> int:
    """The margin before an image, below 0 for one around it: there the libraries all round away from the corner."""
    if margin < 0:
        return -((-margin) // 2) if rounding == "nearest" else -((1 - margin) // 2)
    return round(margin / 2) if rounding == "nearest" else margin // 2


def _short_side(picture: Size, short: int) -> Size:
    """The long side is cut, not rounded, by all three libraries."""
    height, width = picture
    return (short, int(short * width / height)) if height <= width else (int(short * height / width), short)
