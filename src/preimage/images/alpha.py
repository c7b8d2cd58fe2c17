"""Color under transparency: what no one sees must not be fitted, and becomes the color of what is visible beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from preimage.images.nearest import nearest_outside
from preimage.images.picture import Picture
from preimage.images.ranges import quantize

HIDDEN = 0.02  # of opaque: below, a pixel's color is not seen
_ROUNDS = 16


def unit_alpha(picture: Picture) -> torch.Tensor | None:
    """(b, 1, h, w) float32, 0 transparent to 1 opaque; None for a picture that is opaque everywhere."""
    if picture.alpha is None or picture.transparent() is None:
        return None
    return torch.from_numpy((picture.alpha / picture.opaque_alpha()).astype(np.float32))[:, None]


def with_alpha(picture: Picture, unit: torch.Tensor) -> Picture:
    """A picture with another alpha, in the dtype of its own; unit: (b, 1, h, w), 0 transparent to 1 opaque, of any size."""
    if picture.alpha is None:
        return picture
    values = unit[:, 0].detach().cpu().double().clamp(0, 1).numpy() * float(picture.opaque_alpha())
    return replace(picture, alpha=quantize(values, picture.alpha.dtype))


def without_hidden_color(picture: Picture) -> Picture:
    """The picture with the visible color mirrored into its transparent pixels; itself if there are none, or nothing else.

    Example:
        >>> from PIL import Image
        >>> pixels = np.full((16, 16, 4), 200, np.uint8)
        >>> pixels[:8] = 0
        >>> without_hidden_color(as_picture(Image.fromarray(pixels))).tensor.min()
        tensor(0.7843)

    Mirrored, a noisy picture has as much noise there as elsewhere.
    """
    alpha = unit_alpha(picture)
    if alpha is None:
        return picture
    hidden = (alpha <= HIDDEN)[:, 0].numpy()
    if not hidden.any():
        return picture
    tensor = picture.tensor.clone()
    for page, unseen in zip(tensor, np.broadcast_to(hidden, (len(tensor), *hidden.shape[1:])), strict=True):
        if not unseen.all():
            rows, columns = _sources(unseen)
            page.copy_(page[:, torch.from_numpy(rows), torch.from_numpy(columns)])
    return replace(picture, tensor=tensor)


def _sources(hidden: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(h, w) rows and columns of the visible pixel that each pixel takes its color from: itself, or one across the border."""
    own = np.indices(hidden.shape)
    last = np.array(hidden.shape)[:, None, None] - 1
    source, left = own.copy(), hidden
    for _ in range(_ROUNDS):
        border = nearest_outside(left)
        mirrored = 2 * border - own
        across = np.clip(mirrored, 0, last)
        # What lies too deep to be mirrored takes the mirror image of what was filled, in a later round.
        filled = left & (across == mirrored).all(0) & ~left[across[0], across[1]]
        source[:, filled] = source[:, across[0][filled], across[1][filled]]
        if not filled.any() or not (left := left & ~filled).any():
            break
    if left.any():
        border = nearest_outside(left)
        source[:, left] = source[:, border[0][left], border[1][left]]
    return source[0], source[1]
