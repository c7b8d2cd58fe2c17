"""Files and arrays <-> tensors: the only room that knows file formats, value ranges and bit depths.

    x = (value - low) / (high - low)          value = low + x * (high - low)

`read` and `as_picture` give a `Picture`: x as a tensor, and what is needed to write a result back in kind.
"""

from __future__ import annotations

from preimage.images.atomic import check_place, remove_orphans, write_bytes_atomically
from preimage.images.jpeg_coding import JpegCoding
from preimage.images.picture import Picture
from preimage.images.reading import as_picture, read
from preimage.images.tiff_writing import write_float_tiff

__all__ = [
    "JpegCoding",
    "Picture",
    "as_picture",
    "check_place",
    "read",
    "remove_orphans",
    "write_bytes_atomically",
    "write_float_tiff",
]
