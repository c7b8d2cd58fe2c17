"""The quantization of a JPEG: each coefficient of each 8 x 8 block is rounded to a multiple of a table entry.

    stored = round(DCT(block) / table)

The tables are in the file; most encoders make them by libjpeg's rule, scaling those of ITU-T T.81, Annex K.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

Table = tuple[tuple[int, ...], ...]

_LUMINANCE = np.array(  # ITU-T T.81, table K.1
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
_RGB_NAMES = (82, 71, 66)  # libjpeg's component numbers of RGB, the letters themselves


@dataclass(frozen=True)
class JpegCoding:
    """How the pixels of a JPEG file were rounded.

    Example:
        >>> coding = read("photo.jpg").metadata.quantization
        >>> coding.quality, coding.subsampling, coding.space
        (75, (2, 2), 'YCbCr')
        >>> torch.tensor(coding.tables).shape
        torch.Size([3, 8, 8])

    tables: of each component, in the order of space, the 8 x 8 steps; tables[i][v][u] is that of vertical frequency v
    and horizontal frequency u, for the orthonormal DCT of samples 0 to 255.
    subsampling: rows and columns of pixels to one sample of Cb and Cr: (2, 2) is 4:2:0, (1, 2) 4:2:2, (1, 1) 4:4:4.
    space: what the components are; YCbCr is that of JFIF (BT.601, full range).

    Blocks and samples are counted from the top left corner of the picture as it is stored: before `Picture.orientation`
    was applied, so tables, sub-sampling and blocks lie sideways in an upright tensor of orientation 5 to 8.
    """

    tables: tuple[Table, ...]
    subsampling: tuple[int, int]
    space: Literal["grey", "YCbCr", "RGB"]

    @property
    def components(self) -> int:
        """1 or 3."""
        return len(self.tables)

    @property
    def quality(self) -> int:
        """The quality, 1 to 100, at which libjpeg's first table is nearest to this one; exact for its own files."""
        table = np.minimum(np.array(self.tables[0]), 255)
        return min(range(1, 101), key=lambda quality: int(np.abs(_luminance_at(quality) - table).sum()))


def jpeg_coding_of(image: Image.Image) -> JpegCoding | None:
    """The coding of a Pillow image that was opened from a JPEG or MPO file, of the view it stands at.

    None for any other image, a draft of reduced size, a table that stands behind the first scan, and a layout of
    samples that no (rows, columns) of color describes, such as Cb of another size than Cr.
    """
    from PIL.JpegImagePlugin import JpegImageFile

    # A color draft gives another mode and one of another size no blocks; `thumbnail` makes a draft first.
    if not isinstance(image, JpegImageFile) or getattr(image, "decoderconfig", ()):
        return None
    layer, entries = getattr(image, "layer", ()), getattr(image, "quantization", {})  # lost by a pickled image
    if len(layer) not in (1, 3):
        return None
    numbers, widths, heights, places = zip(*layer, strict=True)  # Pillow's comment has the factors swapped
    if any(place not in entries for place in places):
        return None
    subsampling = (1, 1) if len(numbers) == 1 else _subsampling(heights, widths)
    if subsampling is None:
        return None
    tables = np.array([entries[place] for place in places]).reshape(-1, 8, 8).tolist()  # Pillow has them row by row
    rows = tuple(tuple(tuple(row) for row in table) for table in tables)
    return JpegCoding(rows, subsampling, _space(numbers, image.info))


def _luminance_at(quality: int) -> NDArray[Any]:
    """libjpeg's jpeg_quality_scaling and jpeg_add_quant_table, baseline."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((_LUMINANCE * percent + 50) // 100, 1, 255)


def _subsampling(heights: tuple[int, ...], widths: tuple[int, ...]) -> tuple[int, int] | None:
    found = []
    for first, second, third in (heights, widths):
        if second != third or second < 1 or first % second:
            return None
        found.append(first // second)
    return found[0], found[1]


def _space(numbers: tuple[int, ...], info: dict[Any, Any]) -> Literal["grey", "YCbCr", "RGB"]:
    """As libjpeg guesses it (default_decompress_parms in jdapimin.c)."""
    if len(numbers) == 1:
        return "grey"
    if "jfif" in info:
        return "YCbCr"
    if "adobe_transform" in info:
        return "RGB" if info["adobe_transform"] == 0 else "YCbCr"
    return "RGB" if numbers == _RGB_NAMES else "YCbCr"
