"""How file values become what a screen shows: a region, scaled down to what is asked for, within a contrast window, as PNG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preimage.errors import InputError

LARGEST_SIDE = 4096  # pixels of what is sent
_SAMPLE = 1_000_000
_ENDS = (0.001, 0.999)  # quantiles that are black and white of what has more than 8 bits
_MAGENTA_GREEN = np.array([[1, 0, 1], [0, 1, 0]], np.float32)


@dataclass(frozen=True)
class Region:
    """A part of a picture, in its pixels, and the longest side of what is sent of it."""

    x: int = 0
    y: int = 0
    width: int | None = None
    height: int | None = None
    out: int = 1024

    @classmethod
    def of(cls, query: dict[str, Any]) -> Region:
        """Of the numbers of a request.

        Raises:
            InputError: none, or out of range.
        """
        try:
            x, y, out = (int(query.get(name, usual)) for name, usual in (("x", 0), ("y", 0), ("out", 1024)))
            sides = [None if query.get(name) in (None, "") else int(query[name]) for name in ("w", "h")]
        except (TypeError, ValueError) as error:
            raise InputError("x, y, w, h and out are whole numbers", code="type") from error
        if min(x, y) < 0 or any(side is not None and side < 1 for side in sides) or not 1 <= out <= LARGEST_SIDE:
            raise InputError(f"a region lies in the picture, and out is from 1 to {LARGEST_SIDE}")
        return cls(x, y, sides[0], sides[1], out)

    def cut(self, image: NDArray[Any]) -> NDArray[Any]:
        """This part of an image (h, w, ...)."""
        height, width = image.shape[:2]
        x, y = min(self.x, width - 1), min(self.y, height - 1)
        right = width if self.width is None else min(width, x + self.width)
        bottom = height if self.height is None else min(height, y + self.height)
        return image[y:bottom, x:right]


def window_of(pages: NDArray[Any], low: float | None = None, high: float | None = None) -> tuple[float, float]:
    """The values that are black and white: those given, 0 and 255 of 8 bits, else quantiles that no hot pixel moves."""
    if low is None or high is None:
        found = _usual_window(pages)
        low, high = found[0] if low is None else low, found[1] if high is None else high
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError("low and high are finite numbers", code="range")
    return (low, high) if high > low else (low, low + max(1e-6, abs(low) * 1e-6))


def _usual_window(pages: NDArray[Any]) -> tuple[float, float]:
    if pages.dtype == np.uint8:
        return 0.0, 255.0
    if pages.dtype == np.bool_:
        return 0.0, 1.0
    values = pages.reshape(-1)[:: max(1, pages.size // _SAMPLE)].astype(np.float64)
    values = values[np.isfinite(values)]
    low, high = (float(each) for each in np.quantile(values, _ENDS)) if values.size else (0.0, 1.0)
    return (low, high) if high > low else (low, low + 1.0)


def shrunk(image: NDArray[Any], out: int) -> NDArray[Any]:
    """An image (h, w, c) whose longer side is at most `out` pixels, each the mean of those that it stands for."""
    import cv2

    height, width = image.shape[:2]
    longest = max(height, width)
    if longest <= out:
        return image
    size = (max(1, round(width * out / longest)), max(1, round(height * out / longest)))
    known = image if image.dtype in (np.uint8, np.uint16, np.int16, np.float32) else image.astype(np.float32)
    planes = [
        cv2.resize(np.ascontiguousarray(known[..., c]), size, interpolation=cv2.INTER_AREA)
        for c in range(known.shape[2])
    ]
    return np.stack(planes, 2)


def colored(image: NDArray[Any], window: tuple[float, float], *, inks: bool = False) -> NDArray[np.uint8]:
    """File values (h, w, c) as gray (h, w, 1) or color (h, w, 3): two channels are magenta and green, of many the mean."""
    low, high = window
    scaled = (image.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    scaled = np.clip(np.nan_to_num(scaled, nan=0.0), 0, 1)
    if inks and scaled.shape[2] == 4:
        scaled = scaled[..., :3] * scaled[..., 3:]
    elif scaled.shape[2] == 2:
        scaled = np.clip(scaled @ _MAGENTA_GREEN, 0, 1)
    elif scaled.shape[2] not in (1, 3):
        scaled = scaled.mean(2, keepdims=True)
    return np.rint(255 * scaled).astype(np.uint8)


def png(image: NDArray[np.uint8], alpha: NDArray[Any] | None = None) -> bytes:
    """(h, w, 1 or 3) and its opacity (h, w), 0 to 255, as a PNG: quickly, for it stays on this machine."""
    import cv2

    if alpha is not None:
        color = np.repeat(image, 3, 2) if image.shape[2] == 1 else image
        image = np.concatenate([color, alpha[..., None].astype(np.uint8)], 2)
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[image.shape[2]]
    done, data = cv2.imencode(".png", np.ascontiguousarray(image[..., order]), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise InputError("the view could not be made", code="memory")
    return data.tobytes()


def eight_bits(alpha: NDArray[Any]) -> NDArray[np.uint8]:
    """Opacity of any dtype, (h, w), as 0 to 255."""
    full = (
        float(np.iinfo(alpha.dtype).max) if alpha.dtype.kind in "iu" else max(1.0, float(np.nanmax(alpha, initial=1.0)))
    )
    return np.rint(np.clip(np.nan_to_num(alpha.astype(np.float32)) / full, 0, 1) * 255).astype(np.uint8)


def change(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The change (h, w, c) around mid-gray, stretched so that nearly all of it is visible."""
    found = after - before
    found = found if found.shape[2] == 3 else found.mean(2, keepdims=True)
    values = np.abs(found).reshape(-1)
    largest = max(float(np.quantile(values[:: max(1, values.size // _SAMPLE)], 0.995)), 1e-6)
    return np.rint(255 * np.clip(0.5 + found / (2 * largest), 0, 1)).astype(np.uint8)


def overlay(values: NDArray[np.float32], largest: float) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Values from 0 (h, w) as what lies over a picture: color from yellow to red, and opacity that grows with them."""
    share = np.clip(values / max(largest, 1e-12), 0, 1)[..., None]
    color = np.concatenate([np.full_like(share, 255), 230 * (1 - share), np.zeros_like(share)], 2)
    return color.astype(np.uint8), np.rint(230 * share[..., 0] ** 0.5).astype(np.uint8)


def histogram(image: NDArray[np.float32], edges: NDArray[np.float64]) -> list[list[int]]:
    """Counts of each channel of (h, w, c), at most four of them."""
    return [np.histogram(image[..., c], edges)[0].tolist() for c in range(min(4, image.shape[2]))]
