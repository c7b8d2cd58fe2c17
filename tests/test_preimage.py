"""The public face: every name is there, and importing it costs nothing."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import preimage
from preimage.registry import TASKS

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(preimage.__file__).parents[1])}
HEAVY = [
    "torch", "numpy", "torchmetrics", "torchvision", "skimage", "scipy", "matplotlib", "rich", "cyclopts", "PIL",
    "tifffile", "cv2", "psutil", "bm3d", "captum",
]  # fmt: skip
# What making and running a fit of a tensor has no need of.
UNNEEDED = [
    "torchmetrics",
    "torchvision",
    "skimage",
    "scipy",
    "matplotlib",
    "rich",
    "cyclopts",
    "cv2",
    "bm3d",
    "captum",
]


def loaded_after(program: str) -> list[str]:
    """The heavy packages that a fresh interpreter has loaded after a program."""
    report = f"import sys; print(*(name for name in {HEAVY} if name in sys.modules))"
    command = [sys.executable, "-c", f"{program}\n{report}"]
    finished = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.split()


@pytest.mark.parametrize("name", preimage.__all__)
def test_every_public_name_is_there(name):
    assert getattr(preimage, name) is not None
    assert name in dir(preimage)


@pytest.mark.parametrize("name", sorted(preimage._PLACES))
def test_a_public_name_is_the_one_of_its_room_and_documented(name):
    thing = getattr(preimage, name)
    assert thing is getattr(importlib.import_module(f"preimage.{preimage._PLACES[name]}"), name)
    assert (thing.__doc__ or "").strip()


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(preimage.__file__).with_name("__init__.pyi").read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    typed = {f"{alias.asname}": f"{node.module}:{alias.name}" for node in imports for alias in node.names}
    tasks = {name.replace("-", "_"): where for name, where in TASKS.items()}
    others = {name: f"preimage.{where}:{name}" for name, where in preimage._PLACES.items()}
    assert typed == {**tasks, **others, "__version__": "preimage.version:__version__"}


def test_an_unknown_name_is_said():
    with pytest.raises(AttributeError, match="module 'preimage' has no attribute 'denoize'"):
        preimage.denoize  # noqa: B018


def test_import_preimage_imports_nothing_heavy_not_even_torch():
    assert loaded_after("import preimage; preimage.__version__; preimage.InputError; dir(preimage)") == []


def test_a_fit_needs_only_what_it_uses():
    program = """
import torch
from dataclasses import replace
from preimage import Fit, Problem, Recipe
from preimage.networks import SkipNet
recipe = Recipe(network=SkipNet.Config((4, 4), (4, 4), (2, 2)), steps=2)
Fit(Problem(torch.rand(1, 3, 16, 16)), recipe.prior(3, (16, 16), device="cpu"), recipe=recipe).run()
"""
    assert set(loaded_after(program)) & set(UNNEEDED) == set()


def test_version_and_type_information_are_there():
    assert all(part.isdigit() for part in preimage.__version__.split(".")[:2])
    assert (Path(preimage.__file__).parent / "py.typed").is_file()
