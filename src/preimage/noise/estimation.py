"""Blind noise estimation: which of four kinds of noise one picture carries, and how strong it is, without ground truth.

Blocks whose low frequencies are nearly empty show the noise alone in their high frequencies (Ponomarenko et al. 2007).
Grouped by brightness m they give a curve, variance against mean, to which each model is fitted as it looks after
clipping to 0..1 (Foi 2009): gaussian v = level^2, poisson v = level * m, speckle v = (level * m)^2. Impulses are told
apart before: a replaced value contradicts its neighbors, and does so alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from preimage.errors import InputError
from preimage.noise.correlation import estimate_correlation, rough_length
from preimage.noise.impulses import STEP, Impulses, checked, random_valued, salt_and_pepper, windows_of

Kind = Literal["gaussian", "poisson", "speckle", "impulse"]

_MODELS: tuple[Kind, ...] = ("gaussian", "poisson", "speckle")
_MARGIN = 0.02  # by how much another model must fit better before gaussian is given up
_BAD_MISFIT = 0.12  # a model that misses more explains no noise, only texture
_HARDLY = 2 / 255  # noise this weak cannot be told from faint texture: its kind is not asked
_BLOCK, _LOW = 8, 8  # DCT coefficients with i + j up to _LOW tell texture, those above measure the noise
_MOST_BLOCKS = 60_000  # more blocks add time and hardly any accuracy
_FLATTEST = 0.06  # the share of the blocks of one brightness that is taken as flat
_FLAT_RATIO = 0.7  # low over high frequency power in flat blocks of pure noise; below 1, for the lowest were selected
_SATURATED = 0.75  # blocks with more of their values at 0 or 1 say nothing of the noise
CLIPPED_SHARE = 0.001  # of the values at 0 or 1: so many are no single glints
_QUIET = 0.6  # high frequencies with less than this share of a stated sigma belong to noise that neighbors share


@dataclass(frozen=True)
class Noise:
    """The noise of one picture: its kind and strength, for choosing a distance and for knowing when to stop.

    Example:
        >>> Noise("gaussian", 0.1, 0.1, "").variance(torch.tensor([0.2, 0.8]))
        tensor([0.0100, 0.0100])

    `level` is in 0..1 units of the picture. gaussian: standard deviation; poisson: the gain g of variance = g * signal;
    speckle: the relative standard deviation of x * (1 + level * n); impulse: the share of values that were replaced.
    `sigma`: root mean square deviation of the noise over this picture, in 0..1, before clipping (gaussian: = level).
    `explanation`: one plain sentence: what was decided, and from which numbers.
    `length`: of gaussian noise that neighboring pixels share, the pixels to where its autocorrelation falls to 0.1; 0 for
    noise that is independent from pixel to pixel.
    """

    kind: Kind
    level: float
    sigma: float
    explanation: str
    length: float = 0.0

    def variance(self, signal: Tensor) -> Tensor:
        """Expected squared deviation at a clean signal in 0..1, same shape; impulses: half salt, half pepper."""
        return _variance(self.kind, signal.new_full((), self.level), signal)

    def clipped_mean(self, signal: Tensor) -> Tensor:
        """Expected value of a clean signal after noise is added and the sum is clipped to 0..1: darker near white,
        brighter near black, as it is elsewhere; the sensor's Phi (Foi, Clipped noisy images, Signal Processing 89, 2009)."""
        return _clipped(signal, self.variance(signal).clamp_min(1e-12).sqrt())[0]

    def clipped_variance(self, signal: Tensor) -> Tensor:
        """The same after the noisy value was clipped to 0..1, around the clipped value's own mean."""
        return _clipped(signal, self.variance(signal).clamp_min(1e-12).sqrt())[1]


def estimate_noise(image: Tensor, *, kind: Kind | Literal["auto"] = "auto", sigma: float | None = None) -> Noise:
    """Estimate the kind and level of the noise from the image alone; gaussian if no kind fits clearly better.

    Example:
        >>> noise = estimate_noise((0.5 + 0.1 * torch.randn(1, 3, 64, 64)).clamp(0, 1))
        >>> noise.kind, round(noise.level, 1)
        ('gaussian', 0.1)

    image: (1, c, h, w), values in 0..1, c in 1..16, h and w at least 16. kind: "auto" (the model that best describes
    variance against brightness, black taken as 0; gaussian with a `length` where neighboring pixels share the noise), or
    a known one. sigma: a known standard deviation of gaussian noise, in 0..1, correlated or not.
    Raises InputError for another shape or range, an unknown kind, a sigma out of range or beside a kind that has none.
    Source: Ponomarenko et al., "An automatic approach to lossy compression of AVIRIS images", IGARSS 2007 (the flat
    blocks); Foi, "Clipped noisy images", Signal Processing 89 (2009) (mean and variance after clipping).
    """
    if kind not in ("auto", *get_args(Kind)):
        raise InputError(f"kind must be auto, gaussian, poisson, speckle or impulse, got {kind!r}")
    picture = checked(image)
    if sigma is not None:
        if kind not in ("auto", "gaussian") or not 0 < sigma <= 1:
            raise InputError(f"sigma must be in 0..1 (8-bit: divide by 255) and gaussian, got {sigma}, kind={kind!r}")
        return _stated(picture, sigma)
    if kind in ("auto", "impulse"):
        sample = windows_of(picture)
        salt = salt_and_pepper(sample)
        found = salt if salt.convincing else random_valued(sample)
        if kind == "impulse" or found.convincing:
            return _replacing(sample, found if found.convincing else salt)
    shared = estimate_correlation(picture) if kind in ("auto", "gaussian") else None
    if shared is not None:
        by = "from how flat parts vary with the distance of two pixels"
        return Noise(
            "gaussian", shared.sigma, shared.sigma, _correlated(shared.sigma, shared.length, by), shared.length
        )
    curve = _curve(picture)
    if curve is None:
        return Noise("gaussian" if kind == "auto" else kind, 0.0, 0.0, "Nothing in this picture varies as noise does.")
    return _varying(picture, curve, kind)


def _variance(kind: Kind, level: Tensor, signal: Tensor) -> Tensor:
    if kind == "impulse":
        return level * (signal.square() + (1 - signal).square()) / 2
    scale = torch.ones_like(signal) if kind == "gaussian" else signal.clamp(min=0)
    return level * scale if kind == "poisson" else (level * scale).square()


def _rms(image: Tensor, kind: Kind, level: float) -> float:
    """The noisy picture's moments stand for the clean one's: the mean stays, and speckle multiplies the square."""
    if kind == "poisson":
        return math.sqrt(level * float(image.mean()))
    return level if kind == "gaussian" else level * math.sqrt(float(image.square().mean()) / (1 + level**2))


def _correlated(sigma: float, length: float, by: str) -> str:
    return f"{_gaussian(sigma)}, correlated over about {length:.0f} pixels, {by}."


def _gaussian(sigma: float) -> str:
    return f"Gaussian noise of standard deviation {sigma:.4f} ({255 * sigma:.1f} of 255)"


def _stated(image: Tensor, sigma: float) -> Noise:
    curve = _curve(image)
    quiet = curve is None or _fit(curve, "gaussian")[1] < _QUIET * sigma
    length = rough_length(image) if quiet else 0.0
    if not length:
        return Noise("gaussian", sigma, sigma, f"Gaussian noise of standard deviation {sigma:.4f}, as stated.")
    by = "for its high frequencies hold less than the stated deviation"
    return Noise("gaussian", sigma, sigma, _correlated(sigma, length, by), length)


def _varying(image: Tensor, curve: Tensor, kind: Kind | Literal["auto"]) -> Noise:
    fits: dict[Kind, tuple[float, float]] = {each: _fit(curve, each) for each in _MODELS}
    if kind == "auto":
        kind = min(_MODELS, key=lambda each: fits[each])
        vague = fits[kind][0] > _BAD_MISFIT or _rms(image, kind, fits[kind][1]) < _HARDLY
        kind = "gaussian" if vague or fits[kind][0] > fits["gaussian"][0] - _MARGIN else kind
    misfit, level = fits[kind]
    what = _gaussian(level)
    if kind != "gaussian":
        counts = f"Poisson noise of gain {level:.5f} (about {1 / level:.0f} counts at full white)"
        what = counts if kind == "poisson" else f"Speckle of {100 * level:.1f} % of the brightness"
    misfits = ", ".join(f"{each} {fits[each][0]:.2f}" for each in _MODELS)
    uncertainty = "; rough, for little of the picture is flat" if misfit > _BAD_MISFIT else ""
    sentence = f"{what}, from how much flat parts vary at each brightness (misfits: {misfits}){uncertainty}."
    return Noise(kind, level, _rms(image, kind, level), sentence)


def _dct_basis() -> Tensor:
    k = torch.arange(_BLOCK, dtype=torch.float64)
    rows = torch.cos(math.pi * (2 * k + 1) * k[:, None] / (2 * _BLOCK)) * math.sqrt(2 / _BLOCK)
    rows[0] /= math.sqrt(2)
    return torch.einsum("ia,jb->ijab", rows, rows).reshape(_BLOCK**2, 1, _BLOCK, _BLOCK).float()


def _curve(image: Tensor) -> Tensor | None:
    """(3, n): mean, variance, and weight (how flat they are) of n groups of blocks; None where nothing varies."""
    channels = image[0][:, None]
    stride = max(1, math.ceil(math.sqrt(image.numel() / _MOST_BLOCKS)))
    spectra = F.conv2d(channels, _dct_basis(), stride=stride).flatten(2).transpose(1, 2)
    extreme = ((channels < STEP / 2) | (channels > 1 - STEP / 2)).float()
    saturated = F.avg_pool2d(extreme, _BLOCK, stride).flatten(1) > _SATURATED
    diagonal = (torch.arange(_BLOCK)[:, None] + torch.arange(_BLOCK)).flatten()
    points: list[tuple[float, float, float]] = []
    for blocks in (spectrum[~lost] for spectrum, lost in zip(spectra, saturated, strict=True) if not lost.all()):
        brightness, low = blocks[:, 0] / _BLOCK, blocks[:, (diagonal > 0) & (diagonal <= _LOW)].square().mean(1)
        groups = max(1, min(12, len(blocks) // 300, 96 // len(spectra)))
        for group in brightness.argsort().chunk(groups):
            flat = group[low[group].topk(min(len(group), max(24, int(_FLATTEST * len(group)))), largest=False).indices]
            noise = float(blocks[flat][:, diagonal > _LOW].square().mean(0).median())
            excess = math.log(max(float(low[flat].mean()) / max(noise, 1e-12) / _FLAT_RATIO, 1.0))
            points.append((float(brightness[flat].mean()), noise, math.exp(-((excess / 0.4) ** 2)) + 1e-4))
    return torch.tensor(points, dtype=torch.float64).T if any(noise > 1e-8 for _, noise, _ in points) else None


def is_clipped(image: Tensor) -> bool:
    """Whether more than single values lie at a limit of 0..1, beyond which the noise was cut off."""
    return float(((image <= 0) | (image >= 1)).float().mean()) > CLIPPED_SHARE


def _clipped(mean: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of a normal value after it was clipped to 0..1."""
    s = deviation.clamp(min=1e-6)
    low, high = -mean / s, (1 - mean) / s
    at_low, at_high = (torch.exp(-end.square() / 2) / math.sqrt(2 * math.pi) for end in (low, high))
    above = torch.special.ndtr(-high)
    inside = 1 - torch.special.ndtr(low) - above
    first = mean * inside + s * (at_low - at_high) + above
    tails = 2 * mean * s * (at_low - at_high) + s**2 * (low * at_low - high * at_high)
    return first, ((mean**2 + s**2) * inside + tails + above - first**2).clamp(min=0)


def _fit(curve: Tensor, kind: Kind) -> tuple[float, float]:
    """Misfit and level."""
    low, high = (1e-6, 1.0) if kind == "poisson" else (2e-4, 2.0)
    for count in (96, 48):  # a coarse grid of levels, then a fine one about its best
        levels = torch.logspace(math.log10(low), math.log10(high), count, dtype=torch.float64)
        misfits = _misfits(curve, kind, levels)
        best = int(misfits.argmin())
        low, high = float(levels[max(best - 1, 0)]), float(levels[min(best + 1, count - 1)])
    return float(misfits[best]), float(levels[best])


def _misfits(curve: Tensor, kind: Kind, levels: Tensor) -> Tensor:
    signal = torch.linspace(0.0, 1.25, 161, dtype=torch.float64).repeat(len(levels), 1)  # above 1: overexposed
    mean, variance = _clipped(signal, _variance(kind, levels[:, None], signal).sqrt())
    mean = mean.cummax(1).values
    observed = curve[0].repeat(len(levels), 1)
    right = torch.searchsorted(mean, observed).clamp(1, signal.shape[1] - 1)
    start, stop = mean.gather(1, right - 1), mean.gather(1, right)
    along = ((observed - start) / (stop - start).clamp(min=1e-9)).clamp(0, 1)
    predicted = torch.lerp(variance.gather(1, right - 1), variance.gather(1, right), along)
    floor = (STEP / 7) ** 2  # half the deviation of rounding to 8 bits: keeps the logarithm of nothing finite
    error = ((curve[1] + floor) / (predicted + floor)).log()
    # texture only ever adds: what lies above the model counts less than what lies below it
    return (curve[2] * torch.where(error > 0, 0.4 * error, -0.6 * error)).sum(1) / curve[2].sum()


def _replacing(image: Tensor, found: Impulses) -> Noise:
    x, (pepper, salt, uniform), level = image[~found.mask], found.shares, min(sum(found.shares), 1.0)
    squares = pepper * x.square() + salt * (1 - x).square() + uniform * ((x - 0.5).square() + 1 / 12)
    by = "random values" if uniform else f"black ({100 * pepper:.1f} %) or white ({100 * salt:.1f} %)"
    uncertainty = "" if found.convincing else "; so few or so clustered that they may be the picture's own"
    sentence = (
        f"Impulses: {100 * level:.1f} % of the values were replaced by {by}, far from their neighbors{uncertainty}."
    )
    return Noise("impulse", level, math.sqrt(float(squares.mean())), sentence)
