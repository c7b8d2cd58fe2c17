"""`preimage info`: what this installation would compute with."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path

from preimage.version import __version__

LIBRARIES = ("torch", "numpy", "pillow", "tifffile", "opencv-python-headless")
LIBRARIES += ("scikit-image", "torchmetrics", "captum", "matplotlib")
# The extras of pip install 'preimage[NAME]', and the package by which each is known to be there.
EXTRAS = {
    "bench": "bm3d",
    "defend": "adversarial-robustness-toolbox",
    "explain": "timm",
    "physics": "deepinv",
    "studio": "starlette",
}


def info() -> int:
    """Print device, precision, threads, memory, versions and extras."""
    import psutil
    import torch

    from preimage.engine.devices import SMALLEST_BF16_PIXELS, choose_device, choose_precision, free_memory

    device = choose_device()
    processor = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    precisions = [choose_precision("auto", device, pixels) for pixels in (1, SMALLEST_BF16_PIXELS)]
    small, large = (str(precision).removeprefix("torch.") for precision in precisions)
    side = round(SMALLEST_BF16_PIXELS**0.5)
    free, whole = free_memory(device), f"{psutil.virtual_memory().total / 1e9:.1f} GB in this machine"
    lines = {
        "preimage": f"{__version__} in {Path(__file__).parents[1]}",
        "Python": f"{platform.python_version()} on {platform.platform()}",
        "device": f"{device} ({processor or platform.machine()})",
        "precision": large if small == large else f"{large}; {small} below {side} x {side} pixels",
        "threads": str(torch.get_num_threads()),
        "memory": whole if free is None else f"{free / 1e9:.1f} GB free on {device}, {whole}",
        **{name: _version(name) or "not installed" for name in LIBRARIES},
        **{f"extra {extra}": _extra(extra, package) for extra, package in EXTRAS.items()},
    }
    width = max(map(len, lines))
    for name, value in lines.items():
        print(f"{name:<{width}}  {value}")
    return 0


def _extra(extra: str, package: str) -> str:
    version = _version(package)
    return f"{package} {version}" if version else f"not installed: pip install 'preimage[{extra}]'"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
