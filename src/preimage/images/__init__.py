"""Files and arrays <-> tensors: the only room that knows file formats, value ranges and bit depths.

    x = (value - low) / (high - low)          value = low + x * (high - low)

`read` and `as_picture` give a `Picture`: x as a tensor, and what is needed to write a result back in kind.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
_MODULES = {
    "atomic": ("check_place", "remove_orphans", "write_bytes_atomically"),
    "jpeg_coding": ("JpegCoding",),
    "picture": ("Picture",),
    "reading": ("as_picture", "read"),
    "tiff_writing": ("write_float_tiff",),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    """Imported when first used: what asks for the names of formats alone (`formats`) need not import torch."""
    if name not in _PLACES:
        raise AttributeError(f"module 'preimage.images' has no attribute {name!r}")
    value = getattr(import_module(f"preimage.images.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
