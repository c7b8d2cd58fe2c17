"""The networks of the fast recipes of the restoration tasks."""

from __future__ import annotations

from typing import Any

from preimage.networks import SkipNet

_WIDTHS: dict[str, Any] = {"down": (32, 64, 64, 64, 64), "up": (32, 64, 64, 64, 64), "padding": "zeros"}
NEAREST, BILINEAR = SkipNet.Config(**_WIDTHS, upsample="nearest"), SkipNet.Config(**_WIDTHS, upsample="bilinear")
BILINEAR_WITHOUT_SKIP = SkipNet.Config(**_WIDTHS, skip=(0,) * 5)
