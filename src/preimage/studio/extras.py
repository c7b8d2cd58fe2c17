"""Which optional packages are there, by the name of the extra that installs them."""

from __future__ import annotations

import importlib.util
from functools import cache

EXTRAS = {"explain": ("timm", "transformers"), "heif": ("pillow_heif",), "raw": ("rawpy",), "fits": ("astropy",)}


@cache
def installed_extras() -> dict[str, bool]:
    """Whether all packages of each extra can be imported; none is."""
    return {extra: all(importlib.util.find_spec(name) is not None for name in names) for extra, names in EXTRAS.items()}
