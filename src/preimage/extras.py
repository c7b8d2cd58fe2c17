"""Packages beyond the few that every installation has: which extra of `pip install 'preimage[EXTRA]'` installs which.

Whatever needs one of them imports it within `extra(NAME)`: if it is absent that is one line with the command that installs it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib.util import find_spec
from typing import NamedTuple

from preimage.errors import MissingExtra


class Extra(NamedTuple):
    """An extra: what it is for, and its packages, {name of the import: name at PyPI}."""

    purpose: str
    packages: dict[str, str]


EXTRAS = {
    "figures": Extra("figures and HTML pages", {"matplotlib": "matplotlib"}),
    "metrics": Extra("SSIM against a reference", {"torchmetrics": "torchmetrics"}),
    "classifiers": Extra(
        "training and explaining classifiers, saliency",
        {"torchvision": "torchvision", "torchmetrics": "torchmetrics", "captum": "captum"},
    ),
    "explain": Extra(
        "classifiers of timm and transformers, signs of lesions",
        {"timm": "timm", "transformers": "transformers", "safetensors": "safetensors"}
        | {"skimage": "scikit-image", "scipy": "scipy"},
    ),
    "defend": Extra("attacks, and rivals of the defense", {"art": "adversarial-robustness-toolbox"}),
    "physics": Extra("operators of deepinv", {"deepinv": "deepinv"}),
    "fits": Extra("FITS files", {"astropy": "astropy"}),
    "heif": Extra("HEIC files", {"pillow_heif": "pillow-heif"}),
    "raw": Extra("DNG and other raw files of cameras", {"rawpy": "rawpy"}),
    "ray": Extra("clusters", {"ray": "ray"}),
    "studio": Extra("the local web page", {"starlette": "starlette", "uvicorn": "uvicorn"}),
}
"""By name; those for studies, benchmarks, tests and documentation are in pyproject.toml alone."""


@contextlib.contextmanager
def extra(name: str, *, subject: str = "", way_out: str = "") -> Iterator[None]:
    """Within it packages of an extra are imported; one that is absent is a MissingExtra.

    Example:
        >>> with extra("figures", subject="figure.png is a figure"):
        ...     import matplotlib_that_is_not_there
        Traceback (most recent call last):
        ...
        preimage.errors.MissingExtra: figure.png is a figure, and matplotlib_that_is_not_there is not installed: pip install ...

    Args:
        name: the extra.
        subject: what needs the package, first in the message; none: the package alone.
        way_out: what else can be done, last in the message.

    Raises:
        MissingExtra: a package that is not installed, or that cannot be imported.
    """
    try:
        yield
    except ImportError as error:
        raise _missing(error, name, subject, way_out) from error


def require(name: str, *packages: str, subject: str = "") -> None:
    """Raise MissingExtra unless these packages of an extra are installed (none named: all of it); nothing is imported.

    Called before a long computation whose end would need them.

    Example:
        >>> require("figures", "matplotlib")
    """
    for package in packages or EXTRAS[name].packages:
        if not is_installed(package):
            raise _missing(ModuleNotFoundError(name=package), name, subject, "")


def is_installed(package: str) -> bool:
    """Whether a package could be imported, by its name in an import statement.

    Example:
        >>> is_installed("numpy"), is_installed("no_such_package")
        (True, False)
    """
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def missing_of(name: str) -> list[str]:
    """The packages of an extra that are not installed, by their names at PyPI."""
    return [title for package, title in EXTRAS[name].packages.items() if not is_installed(package)]


def _missing(error: ImportError, name: str, subject: str, way_out: str) -> MissingExtra:
    package = (error.name or "").partition(".")[0]
    title = EXTRAS[name].packages.get(package, package) or " or ".join(EXTRAS[name].packages.values())
    absent = isinstance(error, ModuleNotFoundError) or not is_installed(package)
    reason = "is not installed" if absent else f"cannot be imported ({' '.join(str(error).split())})"
    said = f"{subject}, and {title} {reason}" if subject else f"{title} {reason}"
    command = f"pip install {'' if absent else '--force-reinstall '}'preimage[{name}]'"
    return MissingExtra(f"{said}: {command}{way_out and f', {way_out}'}")
