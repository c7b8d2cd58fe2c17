"""Stripes of a sensor: an offset that all values of a row share, or all of a column, as of its amplifiers.

    y(i, j) = x(i, j) + o(i) + n(i, j)

Where y changes from row to row by the same amount in all parts of the width, it is o that changed: edges are in some parts
alone. And offsets are independent from row to row, which no optics shows: what changes at one row changes back at the next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from preimage.errors import InputError
from preimage.noise.blocks import is_cut_off

Direction = Literal["rows", "columns"]

_STEP = 1 / 255
_FAINT = 0.7 / 255  # deviation of offsets below which a sensor's are not visible; cameras of the set CC have up to 0.4
_LEAST = 0.2 / 255  # of those that can be told from the image, by which it is worth changing
# A low quantile of the correlations of each part with the others, at least, MEASURED on 225 photographs
_PART, _AGREEING, _CHANCE = 0.25, 0.12, 2.5
_ADDED = 0.2  # of the noise of changes that does not go when they are added up: their means are robust ones
_CERTAIN = 3.5  # standard errors of the variance of offsets that it has at least
_PARTS, _PART_WIDTH = (4, 8), 40  # of the width, and the pixels of one
_MOST = 1024  # columns that are taken of a wide image: more are hardly more exact
_CLIP, _JUMP = (
    1.5,
    3.0,
)  # deviations (by the median) at which changes are cut off, for parts to agree; beyond which one is an edge
_TUKEY, _ROUNDS = 4.685, 3


@dataclass(frozen=True, eq=False)
class Stripes:
    """The offsets of rows or columns.

    Example:
        >>> Stripes("rows", torch.zeros(1, 3, 64, 1), 0.0).offsets.shape
        torch.Size([1, 3, 64, 1])

    Args:
        direction: what has an offset each.
        offsets: (1, c, h, 1) of rows, (1, c, 1, w) of columns, in units of the image; their mean is about 0.
        sigma: their deviation.
    """

    direction: Direction
    offsets: Tensor
    sigma: float


def find_stripes(image: Tensor) -> tuple[Stripes, ...]:
    """The stripes that are significantly there: of rows, of columns, of both, or none.

    Example:
        >>> clean, draw = torch.full((1, 1, 96, 96), 0.5), torch.Generator().manual_seed(0)
        >>> noisy = clean + 0.02 * torch.randn(1, 1, 96, 1, generator=draw) + 0.02 * torch.randn(clean.shape, generator=draw)
        >>> [found.direction for found in find_stripes(noisy)], find_stripes(clean)
        (['rows'], ())

    image: (1, c, h, w), 0 to 1. Raises InputError for another shape.
    """
    found: list[Stripes] = []
    for direction in ("rows", "columns"):
        changes = _changes(_upright(_checked(image), direction))
        if changes is None or not _agree(changes):
            continue
        stripes = estimate_stripes(image, direction)
        if stripes.sigma >= _LEAST:
            found.append(stripes)
            image = remove_stripes(image, stripes.offsets)
    return tuple(found)


def estimate_stripes(image: Tensor, direction: Direction) -> Stripes:
    """The offset of each row or column in each channel, as far as it is one; 0 where nothing says so.

    Example:
        >>> draw = torch.Generator().manual_seed(0)
        >>> offsets = 0.03 * torch.randn(1, 1, 64, 1, generator=draw)
        >>> noisy = 0.5 + offsets + 0.02 * torch.randn(1, 1, 64, 64, generator=draw)
        >>> round(float((estimate_stripes(noisy, "rows").offsets - offsets).std()), 3)
        0.008

    The change from one row to the next is the robust mean of the differences of the parts of the width. Its sum is the offset and
    the brightness of the row, which are told apart as white noise and a random walk with jumps, the edges of the image.

    image: (1, c, h, w), 0 to 1. Raises InputError for another shape.

    Source: offsets by neighboring lines as in Tendero, Landeau, Gilles, "Non-uniformity correction of infrared images by midway
    equalization", Image Processing On Line 2 (2012); that true structure is not in all of a line as in Muench, Trtik, Marone,
    Stampanoni, "Stripe and ring artifact removal with combined wavelet-Fourier filtering", Optics Express 17 (2009); the
    separation is a local level model (Harvey, "Forecasting, Structural Time Series Models and the Kalman Filter", 1989).
    """
    upright = _upright(_checked(image), direction)
    changes = _changes(upright)
    offsets = torch.zeros(upright.shape[:2]) if changes is None else torch.stack([_offsets(each) for each in changes])
    offsets = offsets.to(image)[None, :, :, None]
    sigma = float(offsets.square().mean().sqrt())
    return Stripes(direction, offsets if direction == "rows" else offsets.mT, sigma)


def remove_stripes(image: Tensor, offsets: Tensor) -> Tensor:
    """The image without its stripes, within the range that it has; black and white, where offsets are cut off, stay.

    Example:
        >>> remove_stripes(torch.tensor([[[[0.5, 1.0], [0.4, 1.0]]]]), torch.tensor([[[[0.1], [0.0]]]]))
        tensor([[[[0.4000, 1.0000],
                  [0.4000, 1.0000]]]])

    image: (b, c, h, w), 0 to 1; offsets: what it can be broadcast with.
    """
    return torch.where(is_cut_off(image), image, (image - offsets.to(image)).clamp(0, 1))


def _checked(image: Tensor) -> Tensor:
    if image.ndim != 4 or len(image) != 1 or min(image.shape[2:]) < 16:
        raise InputError(
            f"image must be (1, c, h, w), with h and w at least 16, got {tuple(image.shape)}", code="shape"
        )
    return image.detach().float().cpu()


def _upright(image: Tensor, direction: Direction) -> Tensor:
    """(c, h, w), so that the offsets are of rows."""
    return image[0] if direction == "rows" else image[0].mT


def _changes(image: Tensor) -> Tensor | None:
    """(c, parts, h - 1): from each row to the next in each part of the width, without values that are cut off; None: too few."""
    stride = 2 * (image.shape[2] // (2 * _MOST)) + 1
    image = image[:, :, ::stride]
    width = image.shape[2]
    parts = min(max(width // _PART_WIDTH, _PARTS[0]), _PARTS[1])
    changes = image.masked_fill(is_cut_off(image), torch.nan).diff(dim=1)[..., : width // parts * parts]
    changes = _robust_mean(changes.unflatten(2, (parts, -1)))
    return None if bool(changes.isnan().float().mean() > 0.5) else changes.nan_to_num(0).mT


def _robust_mean(values: Tensor, scale: Tensor | None = None) -> Tensor:
    """Tukey's biweight over the last axis, NaN left out; a plain median of values of 8 bits would be a whole number."""
    center = values.nanmedian(-1, keepdim=True).values
    spread = (values - center).abs().nanmedian(-1, keepdim=True).values / 0.6745 if scale is None else scale
    valid, spread = ~values.isnan(), spread.clamp_min(_STEP / 2 if scale is None else 1e-6)
    filled = torch.where(valid, values, center)
    for _ in range(_ROUNDS):
        weight = (1 - ((filled - center) / (_TUKEY * spread)).clamp(-1, 1).square()).square() * valid
        weight = weight if scale is None else weight / spread.square()
        center = (weight * filled).sum(-1, keepdim=True) / weight.sum(-1, keepdim=True).clamp_min(1e-12)
    return center[..., 0]


def _clipped(values: Tensor, deviations: float = _CLIP) -> Tensor:
    """Values of which those far out, of edges, are no further than others, along the last axis."""
    reach = deviations * values.abs().median(-1, keepdim=True).values / 0.6745
    return torch.minimum(torch.maximum(values, -reach), reach)


def _agree(changes: Tensor) -> bool:
    """Whether in some channel the parts of the width agree on visible offsets."""
    for channel in changes:
        # Twice differenced: the highest frequencies, of which offsets have more than pictures.
        curves = _clipped(channel.diff(dim=1))
        correlations = []
        for part in range(len(curves)):
            others = torch.cat([curves[:part], curves[part + 1 :]]).median(0).values
            norms = curves[part].square().sum() * others.square().sum()
            correlations.append((curves[part] * others).sum() / norms.sqrt().clamp_min(1e-12))
        agreeing = float(torch.quantile(torch.stack(correlations), _PART))
        variance, error = _variance(channel)
        seen = variance >= max(_FAINT**2, _CERTAIN * error)
        if seen and agreeing >= max(_AGREEING, _CHANCE / math.sqrt(curves.shape[1])):
            return True
    return False


def _variance(channel: Tensor) -> tuple[float, float]:
    """That of offsets, and its standard error: what bends at one row in one part bends back at the next in another, by -4 S on
    the mean."""
    curves = _clipped(channel.diff(dim=1))
    parts, rows = curves.shape
    now, then = curves[:, :-1], curves[:, 1:]
    products = ((now * then).sum(0) - now.sum(0) * then.sum(0)) / (4 * parts * (parts - 1))
    return max(0.0, float(products.mean())), float(products.std()) / math.sqrt(rows - 1)


def _offsets(channel: Tensor) -> Tensor:
    """(h,): the offsets of a channel, of its changes (parts, h - 1)."""
    middle = channel.median(0).values
    scale = (channel - middle).abs().median(1, keepdim=True).values / 0.6745
    change = _robust_mean(channel.T, scale.T.expand_as(channel.T))
    white, walk = _variances(_clipped(change, _JUMP))  # of offsets with the mean noise of a row, and of the image
    noise = 1 / float((1 / scale.clamp_min(1e-6).square()).sum())  # variance of a change, of all parts
    walk += _ADDED * noise
    height = torch.cat([torch.zeros(1), change.cumsum(0)])
    share = min(1.0, max(1 - noise / 2 / white, _variance(channel)[0] / white))
    found = height - _trend(height, white, walk)
    return share * (found - found.mean())


def _variances(change: Tensor) -> tuple[float, float]:
    """Those of white noise and of the steps of a random walk in a curve with these changes, by Whittle's likelihood."""
    taper = torch.hann_window(len(change) + 2, periodic=False, dtype=torch.float64)[1:-1]  # offsets have no power at 0
    taper = taper / taper.square().mean().sqrt()
    power = torch.fft.rfft(taper * change.double()).abs().square()[1:] / len(change)
    response = 2 - 2 * torch.cos(torch.linspace(0, math.pi, len(power) + 1, dtype=torch.float64)[1:])
    spectra = torch.logspace(-4, 1, 41, dtype=torch.float64)[:, None] + response
    whites = (power / spectra).mean(1).clamp_min(1e-12)
    best = int((whites.log() + spectra.log().mean(1)).argmin())
    return float(whites[best]), float(whites[best] * (spectra[best, 0] - response[0]))


def _trend(height: Tensor, white: float, walk: float) -> Tensor:
    """The random walk of this variance a step, with jumps, in a curve with white noise of that variance: argmin over t of
    sum (height - t)^2 / white + sum log(1 + (t' / reach)^2)."""
    import numpy as np

    curve = height.double().numpy()
    weight, trend = np.ones(len(curve) - 1), curve
    for _ in range(8):
        links = weight * white / walk
        diagonal = np.ones(len(curve))
        diagonal[:-1] += links
        diagonal[1:] += links
        trend = np.array(_solved(diagonal.tolist(), (-links).tolist(), curve.tolist()))
        weight = 1 / (1 + np.diff(trend) ** 2 / (_JUMP**2 * walk))
    return torch.from_numpy(trend).to(height)


def _solved(diagonal: list[float], beside: list[float], right: list[float]) -> list[float]:
    """The solution of a symmetric tridiagonal system that is positive definite, by elimination (Thomas)."""
    known = [right[0]]
    for i, link in enumerate(beside):
        share = link / diagonal[i]
        diagonal[i + 1] -= share * link
        known.append(right[i + 1] - share * known[i])
    known[-1] /= diagonal[-1]
    for i in range(len(beside) - 1, -1, -1):
        known[i] = (known[i] - beside[i] * known[i + 1]) / diagonal[i]
    return known
