"""Noise that is correlated between pixels (of a camera, resizing or JPEG): its level and correlation length.

The variogram of a window, g(d) = half the mean squared difference of pixels d apart, is sigma^2 (1 - r(d)) for noise of
autocorrelation r: flat from d = 1 on for white noise; of smoothed noise it rises over the length of the correlation, and
then rests at sigma^2. Texture goes on rising, and differs from window to window. Luma and chroma are judged apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_WINDOW, _STRIDE, _LAGS = 16, 4, 8  # pixels; lags 1 to _LAGS
_REST = 4  # lags above this are taken as beyond the correlation
_FLATTEST = 0.1  # the share of the windows that is taken as flat
_FEWEST = 24  # windows
_AS_FLAT = 1.1  # windows vary no more than this times the flattest's median are measured
_SATURATED = 0.1  # windows with more of their values at 0 or 1 say nothing of the noise
_STEP = 1 / 255
_FAINT = 3 / 255  # fainter noise cannot be told from faint texture
_UNEVEN = 0.5  # deviation of log variance from window to window: 0.05 to 0.4 for noise, mostly more for texture
_RISING = 1.25  # of g at the longest lag over that just beyond the correlation: 1.0 to 1.15 for noise, 2.6 for a ramp
_LAGGING = (
    0.12  # by how much of sigma^2 g may stay below that of smoothed noise: 0.02 to 0.1 for noise, 0.17 up for texture
)
_MOST_LUMA = 16  # times its share of g(1), which flat texture adds to; the luma of a JPEG has hundreds
_WHITE = 0.7  # g(1) over sigma^2: 0.8 to 1 for white noise beside texture, 0.55 and less where it was smoothed

_FLOOR = 1.0  # of the mean power of the noise; 0.3 gains more on smoothed noise and loses on demosaiced


@dataclass(frozen=True)
class Correlation:
    """Noise that neighbors share: `sigma`, its standard deviation in 0..1; `length`, the pixels to where r falls to 0.1."""

    sigma: float
    length: float


def estimate_correlation(image: Tensor) -> Correlation | None:
    """The correlated noise of an image; None if the noise is not correlated, or cannot be distinguished from texture.

    Example:
        >>> from scipy.ndimage import gaussian_filter
        >>> noise = torch.from_numpy(gaussian_filter(torch.randn(1, 3, 128, 128).numpy(), (0, 0, 1, 1)))
        >>> round(estimate_correlation(0.5 + 0.1 * noise / noise.std()).length)
        3

    image: (1, c, h, w), values in 0..1, h and w at least 16; pictures of less than about 64 x 64 are hardly told from texture.
    Source: Matheron, "Principles of geostatistics", Economic Geology 58 (1963) (the variogram); the thresholds are MEASURED
    in benchmarks/correlated.py.
    """
    planes = image[0][:, None]
    luma = planes.mean(0, keepdim=True)
    usable = _usable(planes)
    brightness = _variogram(luma, usable)
    if brightness is None:
        return None
    curve = (
        _noise_alone(brightness)
        if len(planes) == 1
        else _of_color(brightness, _variogram(planes - luma, usable), len(planes))
    )
    if curve is None:
        return None
    total = float(curve[_REST:].mean())
    if math.sqrt(total) < _FAINT or float(curve[0]) > _WHITE * total:
        return None
    return Correlation(math.sqrt(total), _length(curve / total))


def _of_color(luma: Tensor, chroma: Tensor | None, channels: int) -> Tensor | None:
    """g of all values from those of luma and chroma: texture shows in the luma first, so chroma is asked and luma believed
    only where it holds more noise than its share."""
    colors = None if chroma is None else _noise_alone(chroma)
    if colors is None:
        return None
    share = colors / (channels - 1)  # of noise independent from channel to channel, c - 1 of c parts are chroma
    if float(_flattest(luma)) <= _MOST_LUMA * float(share[0]):
        return colors + share
    brightness = _noise_alone(luma)
    return None if brightness is None else colors + brightness


def rough_length(image: Tensor) -> float:
    """The pixels to where the autocorrelation of the flattest parts falls to 0.1, be they noise or not; 0 for none at all."""
    planes = image[0][:, None]
    windows = _variogram(planes.mean(0, keepdim=True), _usable(planes))
    if windows is None:
        return 0.0
    curve = windows[:, windows[0] <= _AS_FLAT * _flattest(windows)].median(1).values
    total = float(curve[_REST:].mean())
    return 0.0 if total < 1e-8 else _length(curve / total)


def whitening(length: float, size: tuple[int, int]) -> tuple[Tensor, float]:
    """A filter that makes this noise whiter, and the fraction of the noise's variance that remains after it.

    Example:
        >>> response, share = whitening(3.0, (64, 48))
        >>> response.shape
        torch.Size([64, 25])

    1 / sqrt(P + e): P is the power of noise smoothed by a Gaussian, of variance 1 in all, for `torch.fft.rfft2` to be
    multiplied with; e keeps what was estimated wrongly, or rounded to 8 bits, from being raised without bound. length in
    pixels, size (h, w).
    """
    h, w = size
    width = length / math.sqrt(4 * math.log(10))  # r(d) = exp(-(d / width)^2 / 4)
    squares = torch.fft.fftfreq(h)[:, None].square() + torch.fft.fftfreq(w).square()
    power = torch.exp(-4 * (math.pi * width) ** 2 * squares)
    power = power / power.mean()
    return (power + _FLOOR).rsqrt()[:, : w // 2 + 1], float((power / (power + _FLOOR)).mean())


def _usable(planes: Tensor) -> Tensor:
    extreme = ((planes < _STEP / 2) | (planes > 1 - _STEP / 2)).float().amax(0, keepdim=True)
    return F.avg_pool2d(extreme, _WINDOW, _STRIDE).flatten() <= _SATURATED


def _variogram(planes: Tensor, usable: Tensor) -> Tensor | None:
    """g of each usable window, (_LAGS, n), the mean over planes and over both directions; None for too few windows."""
    h, w = planes.shape[-2:]
    rows, columns = (h - _WINDOW) // _STRIDE + 1, (w - _WINDOW) // _STRIDE + 1
    curves = []
    for lag in range(1, _LAGS + 1):
        down = (planes[..., lag:, :] - planes[..., :-lag, :]).square().mean(0, keepdim=True)
        along = (planes[..., lag:] - planes[..., :-lag]).square().mean(0, keepdim=True)
        down = F.avg_pool2d(down, (_WINDOW - lag, _WINDOW), _STRIDE)[..., :rows, :columns]
        along = F.avg_pool2d(along, (_WINDOW, _WINDOW - lag), _STRIDE)[..., :rows, :columns]
        curves.append((down + along).flatten() / 4)
    return torch.stack(curves)[:, usable] if int(usable.sum()) >= _FEWEST else None


def _flattest(windows: Tensor) -> Tensor:
    """The median g(1) of the windows that vary least from pixel to pixel."""
    count = max(_FEWEST, int(_FLATTEST * windows.shape[1]))
    return windows[0].topk(min(count, windows.shape[1]), largest=False).values.median()


def _noise_alone(windows: Tensor) -> Tensor | None:
    """The median g of the flat windows, (_LAGS,); None where it is rather texture's."""
    flat = windows[:, windows[0] <= _AS_FLAT * _flattest(windows)]
    if flat.shape[1] < _FEWEST:
        return None
    curve = flat.median(1).values
    total = float(curve[_REST:].mean())
    if total < 1e-8 or float(curve[-1]) > _RISING * float(curve[_REST]):
        return None
    resting = flat[_REST:].mean(0).clamp_min(1e-12).log()
    quartiles = torch.quantile(resting[:: max(1, len(resting) // 10_000)], torch.tensor([0.25, 0.75]))
    if float(quartiles[1] - quartiles[0]) / 1.35 > _UNEVEN:
        return None
    # What noise smoothed by a Gaussian would have: r(d) = r(1)^(d^2).
    nearest = max(0.0, 1 - float(curve[0]) / total)
    smoothed = 1 - nearest ** torch.arange(1, _LAGS + 1).square()
    return None if float((smoothed - curve / total).max()) > _LAGGING else curve


def _length(curve: Tensor) -> float:
    """Where 1 - g first falls to 0.1, between lags by interpolation."""
    above = [1.0, *(1 - curve).tolist()]
    for lag in range(1, len(above)):
        if above[lag] <= 0.1:
            return lag - 1 + (above[lag - 1] - 0.1) / (above[lag - 1] - above[lag])
    return float(_LAGS)
