"""ABCD: asymmetry, border, colors and diameter of the lesion of a dermatoscopic picture, by plain thresholding.

They say in a dermatologist's words what a counterfactual changed: measured before and after by one rule, they are to be
compared with one another; neither the region nor the signs replace a trained segmentation or a diagnosis. On 250 pictures
of HAM10000 the thresholded region and the published mask have a median overlap (intersection over union) of 0.7.

Source: Stolz et al., ABCD rule of dermatoscopy, Eur. J. Dermatol. 4, 1994; formulas of Kasmi and Mokrani, Classification of
malignant melanoma and benign skin lesions: implementation of automatic ABCD rule, IET Image Processing 10(6), 2016.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from preimage.errors import InputError
from preimage.extras import extra

# Kasmi and Mokrani 2016, sRGB in 0 to 255, as they are quoted in public code.
COLORS = {
    "white": (197, 188, 217),
    "red": (118, 21, 17),
    "light brown": (163, 82, 16),
    "dark brown": (135, 44, 5),
    "blue-gray": (113, 108, 139),
    "black": (41, 31, 30),
}
COLOR_SHARE = 0.05  # of the region, from which on a color counts
SMOOTHING = 0.02  # Gaussian before the threshold, of the short side
AREAS = (0.005, 0.95)  # least and largest share of the picture that is taken for a region
CONTRAST = 0.02  # of the smoothed blue channel, below which a picture is taken for plain skin


@dataclass(frozen=True)
class Signs:
    """What `abcd` measured; all numbers are NaN where no region was found (`found` is False).

    asymmetry: 0 (equal to its mirror images) to below 1. border: 1 for a disc, more for the irregular. colors: how many of the
    six dermoscopic ones, 0 to 6. color_spread: in CIELAB units, 0 for one color. diameter: as a share of the picture's
    diagonal. area: as a share of the picture.
    """

    asymmetry: float
    border: float
    colors: float
    color_spread: float
    diameter: float
    area: float

    @property
    def found(self) -> bool:
        return not math.isnan(self.area)


def abcd(image: torch.Tensor, mask: torch.Tensor | None = None) -> Signs:
    """The signs of one picture, of the region that `lesion_region` finds or of a known one.

    Example:
        >>> abcd(torch.full((3, 64, 64), 0.8)).found
        False

    Args:
        image: (3, h, w) or (1, 3, h, w), sRGB in 0 to 1.
        mask: bool (h, w), the region if it is known.

    Raises:
        InputError: more than one picture, not three channels, or a mask of another size.
    """
    colors = _array(image)
    if mask is None:
        region = lesion_region(image)
    elif mask.shape == colors.shape[:2]:
        region = mask.detach().cpu().numpy().astype(bool)
    else:
        raise InputError(f"the mask is {tuple(mask.shape)}: it must be (h, w) of the picture, {colors.shape[:2]}")
    if region is None or not region.any():
        return Signs(*[math.nan] * len(fields(Signs)))
    shape, inside = (asymmetry(region), border_irregularity(region)), colors[region]
    of_colors = (float(len(color_names(inside))), color_spread(inside))
    return Signs(*shape, *of_colors, diameter(region), float(region.mean()))


def lesion_region(image: torch.Tensor) -> np.ndarray | None:
    """The dark region in the middle, bool (h, w), or None: Otsu's threshold of the smoothed blue channel.

    Skin is bright in blue where melanin and blood are dark. Only the ellipse inscribed in the picture is looked at, for the
    corners of dermatoscopic pictures are often black. Of the connected parts the one of the largest centrally weighted area
    is kept, holes filled.
    """
    with extra("explain"):
        from scipy.ndimage import binary_fill_holes
        from skimage.filters import gaussian, threshold_otsu
        from skimage.measure import label

    height, width = image.shape[-2:]
    blue = gaussian(_array(image)[..., 2], SMOOTHING * min(height, width))
    y, x = np.mgrid[:height, :width]
    radius = ((2 * y + 1) / height - 1) ** 2 + ((2 * x + 1) / width - 1) ** 2
    inside = radius < 1
    if np.ptp(blue[inside]) < CONTRAST:
        return None
    parts: Any = label(inside & (blue <= threshold_otsu(blue[inside])))
    weights = np.bincount(parts.ravel(), np.exp(-2 * radius).ravel())
    weights[0] = 0
    region = np.asarray(binary_fill_holes(parts == weights.argmax()))
    return region if AREAS[0] <= region.mean() <= AREAS[1] else None


def asymmetry(region: np.ndarray) -> float:
    """The share of a region (h, w) that its mirror image leaves uncovered, mean over its two principal axes; 0 to 1."""
    with extra("explain"):
        from scipy.ndimage import map_coordinates

    places = np.argwhere(region).astype(float)
    offsets = places - places.mean(0)
    _, axes = np.linalg.eigh(offsets.T @ offsets)
    mirrored = [places - 2 * (offsets @ axis)[:, None] * axis for axis in axes.T]
    covered = [map_coordinates(region.astype(float), each.T, order=1, mode="constant").mean() for each in mirrored]
    return float(np.mean([1 - share for share in covered]))


def border_irregularity(region: np.ndarray) -> float:
    """perimeter^2 / (4 pi area) of a region (h, w): 1 for a disc, more for the irregular (the inverse of the roundness).

    The perimeter is Crofton's, in four directions, which errs least on a grid of pixels: discs get 0.99 to 1.04.
    """
    with extra("explain"):
        from skimage.measure import perimeter_crofton

    framed = np.pad(region, 1)
    return float(perimeter_crofton(framed, directions=4) ** 2 / (4 * math.pi * framed.sum()))


def color_names(colors: np.ndarray) -> list[str]:
    """Which of the six dermoscopic colors cover more than 5 % of some pixels (n, 3): each is the nearest one in CIELAB."""
    with extra("explain"):
        from skimage.color import rgb2lab

    known = rgb2lab(np.array(list(COLORS.values())) / 255)
    nearest = np.linalg.norm(rgb2lab(colors)[:, None] - known, axis=2).argmin(1)
    shares = np.bincount(nearest, minlength=len(COLORS)) / len(colors)
    return [name for name, share in zip(COLORS, shares, strict=True) if share > COLOR_SHARE]


def color_spread(colors: np.ndarray) -> float:
    """The root of the summed variances of L, a and b of some pixels (n, 3): a variety of colors without steps."""
    with extra("explain"):
        from skimage.color import rgb2lab

    return float(np.sqrt(rgb2lab(colors).var(0).sum()))


def diameter(region: np.ndarray) -> float:
    """Feret's diameter of a region (h, w) over the picture's diagonal: a picture rarely says how large a pixel is."""
    with extra("explain"):
        from skimage.measure import regionprops

    return float(regionprops(region.astype(np.uint8))[0].feret_diameter_max / math.hypot(*region.shape))


def _array(image: torch.Tensor) -> np.ndarray:
    if image.ndim == 4 and len(image) == 1:
        image = image[0]
    if image.ndim != 3 or len(image) != 3:
        shape = tuple(image.shape)
        raise InputError(f"the ABCD signs are of one color picture, (3, h, w) or (1, 3, h, w), got {shape}: take one")
    return image.detach().float().clamp(0, 1).cpu().permute(1, 2, 0).double().numpy()
