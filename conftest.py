"""What all tests and the examples of docstrings share.

Equal bytes, equal rows and equal steps are promised on the CPU alone. So every test and every example is about the CPU, on any
machine: while it runs PyTorch sees no accelerator, and "auto" is the CPU. A test marked `gpu` is about CUDA instead: it sees what
is there, and is skipped where nothing is. A process that a test starts is told its device on its command line.

Examples have: public names, a fixed seed, and a folder of small sample files to work in.

photo.png  photo.jpg  flash.png     32 x 32, color, 8 bits         noisy.png  photo.png with Gaussian noise of sigma 25
noisy.tif                           32 x 32, grey, 16 bits         cells.tif  3 pages of 32 x 32, grey, 8 bits
transparent.png                     32 x 32, a quarter transparent mask.png   32 x 32, white where the image is known
kernel.npy  kernel.png              5 x 5, Gaussian                clean/     3 color images
"""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator
from functools import partial, update_wrapper
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

# Names that examples use without importing them: the public ones of the package and of these modules.
MODULES = ("operators", "images", "networks", "distances", "regularizers")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """No accelerator, from before the first fixture to after the last one, but for tests marked `gpu`."""
    with pytest.MonkeyPatch.context() as patch:
        if item.get_closest_marker("gpu") is None:
            for place in (torch.cuda, torch.backends.mps):
                patch.setattr(place, "is_available", update_wrapper(lambda: False, place.is_available))
        return (yield)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """The one place that skips tests marked `gpu`."""
    if item.get_closest_marker("gpu") is not None and not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.fixture(autouse=True)
def example(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever an example of a docstring needs; nothing for any other test."""
    if not isinstance(request.node, pytest.DoctestItem):
        yield
        return
    folder = request.getfixturevalue("tmp_path")
    shutil.copytree(request.getfixturevalue("sample_files"), folder, dirs_exist_ok=True)
    request.getfixturevalue("monkeypatch").chdir(folder)
    names = request.node.dtest.globs  # type: ignore[union-attr]
    source = "".join(each.source for each in request.node.dtest.examples)  # type: ignore[union-attr]
    names.update({name: value for name, value in public_names(source).items() if name not in names})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


def public_names(source: str) -> dict[str, Any]:
    """torch, np, nn, Path, and of the public names those that the source mentions: each is imported where it is used."""
    names: dict[str, Any] = {"torch": torch, "np": np, "nn": torch.nn, "partial": partial, "Path": Path}
    for module in [*(import_module(f"preimage.{name}") for name in MODULES), import_module("preimage")]:
        names |= {name: getattr(module, name) for name in module.__all__ if name in source}
    return names


@pytest.fixture(scope="session")
def sample_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of sample files, written once."""
    import tifffile
    from PIL import Image

    folder = tmp_path_factory.mktemp("samples")
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:32, :32] / 31
    waves = np.stack([np.sin(6 * rows + shift) * np.cos(5 * columns - shift) for shift in (0.0, 0.7, 1.4)], 2)
    photo = np.rint(127.5 + 100 * waves).astype(np.uint8)
    noisy = np.clip(photo + rng.normal(0, 25, photo.shape), 0, 255).astype(np.uint8)
    Image.fromarray(photo).save(folder / "photo.png")
    Image.fromarray(photo).save(folder / "photo.jpg", quality=75, subsampling=2)
    Image.fromarray(photo[::-1].copy()).save(folder / "flash.png")
    Image.fromarray(noisy).save(folder / "noisy.png")
    alpha = np.full((32, 32, 1), 255, np.uint8)
    alpha[:16, :16] = 0
    Image.fromarray(np.concatenate([photo, alpha], 2)).save(folder / "transparent.png")
    mask = np.full((32, 32), 255, np.uint8)
    mask[12:20, 12:20] = 0
    Image.fromarray(mask).save(folder / "mask.png")
    tifffile.imwrite(folder / "noisy.tif", noisy[..., 0].astype(np.uint16) * 200 + 1000)
    tifffile.imwrite(folder / "cells.tif", noisy.transpose(2, 0, 1), photometric="minisblack")
    bell = np.exp(-((np.arange(5) - 2.0) ** 2) / 2)
    np.save(folder / "kernel.npy", np.outer(bell, bell) / bell.sum() ** 2)
    Image.fromarray(np.rint(255 * np.outer(bell, bell)).astype(np.uint8)).save(folder / "kernel.png")
    (folder / "clean").mkdir()
    for i in range(3):
        Image.fromarray(np.roll(photo, 8 * i, axis=i % 2)).save(folder / "clean" / f"{i}.png")
    return folder
