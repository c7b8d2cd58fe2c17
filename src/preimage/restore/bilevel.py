"""Pages in black and white: specks are spots far smaller than strokes; a dithered picture is made of spots, and has no noise.

Dithering puts unlike pixels side by side: more neighbors differ than if each were drawn by itself, 2 m (1 - m) of them for a
share m of white. In text fewer differ, and in random specks as many.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from preimage.engine.checkpoint import fingerprint
from preimage.images import Picture
from preimage.problem import Problem
from preimage.recipes import RecipeChoice
from preimage.restore.denoise import from_noise
from preimage.series.plan import Plan

STEPS = 150  # of a fit: specks are small
WINDOW = 9  # pixels a side in which the share of white is taken
BLOCK = 17  # in which neighbors are compared
# MEASURED on photographs dithered by Floyd-Steinberg and by a Bayer matrix: 1.3 to 1.8; pages with up to 30 % of specks: to 1.1.
UNLIKE = 1.2
TONES = 0.05  # of neighbors that would differ by chance, at least: all else is nearly one color
DITHERED = 0.5  # of all that is not one color
APART = 2  # pixels between a speck and what is larger
SMALLEST, SHARE = 2, 0.5  # pixels of a speck, at most: or this share of the square of a stroke's width
MOST_ASKED = 4096  # spots whose neighbors are looked for
REGULAR, FEWEST = 1.35, 30  # nearest distances of spots over those by chance (Clark and Evans 1954), and spots to tell


def is_bilevel(picture: Picture) -> bool:
    """Whether a picture has one channel, and black and white in it alone."""
    if picture.tensor.shape[1] != 1 or picture.dtype not in (np.uint8, np.bool_) or picture.alpha is not None:
        return False
    black, white = picture.tensor == 0, picture.tensor == 1
    return bool((black | white).all()) and bool(black.any()) and bool(white.any())


def plan_bilevel(picture: Picture, choice: RecipeChoice) -> Plan:
    """Specks are fitted from what is around them, and made black or white; all other pixels stay."""
    specks, said = specks_of(picture.tensor)
    recipe = choice.adapted(
        lambda name, base: base if name == "paper" else replace(from_noise(base), steps=STEPS, restarts=1)
    )
    if not bool(specks.any()):
        recipe = replace(recipe, steps=1, restarts=1)  # its result is the page, whatever is fitted

    def problem(part: Picture) -> Problem:
        given = part.tensor
        own = torch.zeros_like(given, dtype=torch.bool) if part.missing is None else part.missing

        def finish(x: torch.Tensor) -> torch.Tensor:
            return torch.where(own.to(x.device), (x > 0.5).to(x.dtype), given.to(x.device))

        return Problem(given, weight=1 - own.float(), noise_level=0.0, finish=finish)

    return Plan(problem, recipe, missing=specks, remarks=(said,), fingerprint={"specks": fingerprint(specks)})


def specks_of(image: torch.Tensor) -> tuple[torch.Tensor, str]:
    """(1, 1, h, w) True where a page in black and white has a speck, and what is to be said of it; none if it is dithered."""
    white = image[0, 0].numpy() > 0.5
    none = torch.zeros_like(image, dtype=torch.bool)
    dithered = _dithered(white)
    varied = max(float(_varied(white).mean()), 1e-9)
    if float((dithered & _varied(white)).mean()) > DITHERED * varied:
        return none, "this picture is dithered, its dots are shades and no noise: it is returned as it is"
    most = most_of_speck(white)
    found = (_small(white, most) | _small(~white, most)) & ~dithered
    if _is_screen(found):
        return none, "this picture is a halftone, its dots are shades and no noise: it is returned as it is"
    if not found.any():
        return (
            none,
            f"no specks of up to {most} pixels were found in this page in black and white: it is returned as it is",
        )
    said = f"{_count(found)} specks of up to {most} pixels were found in this page in black and white; all other pixels stay"
    kept = "; the dithered part stays as it is" if dithered.any() else ""
    return torch.from_numpy(found)[None, None], said + kept


def most_of_speck(white: NDArray[np.bool_]) -> int:
    """Pixels of a speck, at most: half of the dot that a pen as wide as the strokes makes."""
    ink = white if white.mean() < 0.5 else ~white
    ink = ink & ~_small(ink, SMALLEST)
    edges = (ink[1:] != ink[:-1]).sum() + (ink[:, 1:] != ink[:, :-1]).sum()
    # Of a stroke the edges on both sides are counted, 4 / pi times as many as they are long on average.
    width = 2 * ink.sum() / max(1.0, math.pi / 4 * float(edges))
    return max(SMALLEST, min(int(SHARE * width**2), 64))


def _small(marks: NDArray[np.bool_], most: int) -> NDArray[np.bool_]:
    """Spots, connected over corners as well, of so many pixels at most, apart from what is larger: parts of letters are not."""
    import cv2

    parts: Any = cv2.connectedComponents(marks.astype(np.uint8), connectivity=8)[1]
    small = np.bincount(parts.ravel()) <= most
    small[0] = False
    large = (marks & ~small[parts]).astype(np.uint8)
    near = cv2.dilate(large, np.ones((2 * APART + 1,) * 2, np.uint8)) > 0
    small[parts[near]] = False
    return small[parts]


def _mean_around(values: NDArray[Any], side: int) -> NDArray[np.float64]:
    """The mean of the square around each pixel, mirrored at the border."""
    import cv2

    return np.asarray(cv2.blur(values.astype(np.float64), (side, side), borderType=cv2.BORDER_REFLECT), np.float64)


def _by_chance(white: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The share of neighbors that would differ, by the share of white around."""
    share = _mean_around(white, WINDOW)
    return 2 * share * (1 - share) * WINDOW**2 / (WINDOW**2 - 1)


def _varied(white: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return _mean_around(_by_chance(white), BLOCK) > TONES


def _dithered(white: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where more neighbors differ than by chance."""
    padded = np.pad(white, ((0, 1), (0, 1)), mode="reflect")
    differ = ((white != padded[1:, :-1]).astype(float) + (white != padded[:-1, 1:])) / 2
    chance = _mean_around(_by_chance(white), BLOCK)
    return (_mean_around(differ, BLOCK) > UNLIKE * chance) & (chance > TONES)


def _centers(spots: NDArray[np.bool_]) -> NDArray[np.float64]:
    import cv2

    centers = cv2.connectedComponentsWithStats(spots.astype(np.uint8), connectivity=8)[3]
    return np.asarray(centers, np.float64)[1:, ::-1]  # (x, y), that of all else first


def _count(spots: NDArray[np.bool_]) -> int:
    return len(_centers(spots))


def _nearest(centers: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(n, count): the distances of the nearest to each center, itself first; of very many to every n-th."""
    places = torch.from_numpy(np.ascontiguousarray(centers))
    asked = places[:: math.ceil(len(places) / MOST_ASKED)]
    exact = "donot_use_mm_for_euclid_dist"
    found = [torch.cdist(part, places, compute_mode=exact).topk(count, largest=False)[0] for part in asked.split(128)]
    return torch.cat(found).numpy()


def _is_screen(spots: NDArray[np.bool_]) -> bool:
    """Whether spots lie as regularly as those of a screen: further apart than by chance."""
    centers = _centers(spots)
    if len(centers) < FEWEST:
        return False
    distances = _nearest(centers, min(9, len(centers)))
    nearest, eighth = distances[:, 1], distances[:, -1]
    # The density around each spot, by the distance of its eighth neighbor: pictures have more dots where they are darker.
    density = (distances.shape[1] - 1) / (math.pi * eighth**2)
    return float(np.median(nearest * 2 * np.sqrt(density))) > REGULAR
