"""The scripts in examples/ run from beginning to end, on small pictures and few steps."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from examples import jupyter_progress, napari_widget, small_pictures, vision_transformer
from preimage import denoise
from preimage.registry import TASKS

EXAMPLES = Path(__file__).parents[1] / "examples"
FEW, SMALL = {"steps": 2}, {"pictures": 40, "epochs": 1}
RESTORING: dict[str, dict[str, Any]] = {
    "denoise": {"side": 48, **FEW},
    "remove_jpeg_artifacts": {"side": 48, **FEW},
    "super_resolve": {"side": 96, **FEW},
    "inpaint": {"side": 48, **FEW},
    "deblur": {"side": 48, **FEW},
    "flash_no_flash": {"side": 48, **FEW},
    "demosaic": {"side": 48, **FEW},
    "calibrate": {"side": 32, **FEW},
    "batch": {"side": 32, **FEW},
    "own_operator": {"side": 32, **FEW},
    "own_rule": {"side": 48, **FEW},
    "own_network": {"side": 48, **FEW},
    "deepinv_physics": {"side": 64, **FEW},
    "scikit_image": {"side": 48, **FEW},
}
EXPLAINING: dict[str, dict[str, Any]] = {
    "invert": {**SMALL, **FEW},
    "maximize": {**SMALL, **FEW},
    "recover": {**SMALL, **FEW},
    "saliency": {**SMALL, **FEW},
    "inspect_images": {**SMALL, "count": 3, **FEW},
    "purify": {**SMALL, **FEW},
    "own_classifier": {**SMALL, **FEW},
    "train": SMALL,
}
LONG = {"calibrate", "train"}
# Run by functions of theirs below, or drawn from.
OTHERS = {
    "counterfactual",
    "jupyter_progress",
    "napari_widget",
    "shapes",
    "small_pictures",
    "tiny",
    "vision_transformer",
}


def marked(names: Iterable[str]) -> list[Any]:
    """Those of a quarter of a minute only where long tests are asked for."""
    return [pytest.param(name, marks=[pytest.mark.long] if name in LONG else []) for name in names]


def test_every_script_is_run_and_every_task_has_one():
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == {*RESTORING, *EXPLAINING, *OTHERS}
    assert {name.replace("-", "_") for name in TASKS} - names == {
        "inspect"
    }  # a script of that name would hide Python's own


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts find one another, as where they are started by their path."""
    monkeypatch.syspath_prepend(EXAMPLES)
    for name in ("shapes", "counterfactual"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def run(name: str, *given: str, **settings: Any) -> None:
    with torch.random.fork_rng(devices=[]):
        runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](*given, **settings)


@pytest.mark.parametrize("name", marked(RESTORING))
def test_a_restoring_script_writes_and_says_something(name: str, tmp_path: Path, capsys, beside: None):
    folder = () if name == "scikit_image" else (str(tmp_path / "out"),)
    run(name, *folder, **RESTORING[name])
    assert capsys.readouterr().out.strip()
    assert not folder or [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", marked(EXPLAINING))
def test_a_script_about_a_classifier_writes_and_says_something(name: str, tmp_path: Path, capsys, beside: None):
    run(name, str(tmp_path / "out"), **EXPLAINING[name])
    assert capsys.readouterr().out.strip()
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_the_published_method_in_plain_pytorch(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tiny.py", "--size", "64", "64", "--steps", "2"])
    run("tiny")
    assert re.search(r"step 2: \d+\.\d+ dB \(noisy \d+\.\d+\)", capsys.readouterr().out)


@pytest.mark.long
def test_a_counterfactual_of_drawn_pictures(tmp_path: Path, capsys, beside: None):
    run("counterfactual", str(tmp_path / "why.png"), pictures=40, epochs=1, steps=2)
    assert (tmp_path / "why.png").exists()
    assert capsys.readouterr().out.count(" -> ") == 4


def test_napari_is_shown_every_tenth_step_and_the_result():
    layer = SimpleNamespace(data=None, name="")
    seen: list[tuple[str, Any]] = []

    class Viewer:
        def add_image(self, image: np.ndarray, name: str) -> Any:
            layer.data, layer.name = image, name
            return layer

    noisy = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    for step in napari_widget.watched(Viewer(), noisy, every=2, sigma=25, steps=5):
        seen.append((layer.name, layer.data))
        assert layer.data.dtype == np.uint8
        assert step.index == len(seen)
    assert [name for name, _ in seen] == ["restored", *["restored, step 2"] * 2, *["restored, step 4"] * 2]
    assert not np.array_equal(seen[1][1], seen[3][1])
    assert layer.name.startswith("restored: ")
    np.testing.assert_array_equal(layer.data, denoise(noisy, sigma=25, steps=5).run().to_array())


def test_a_notebook_shows_the_steps_in_one_place_and_the_result_last(monkeypatch: pytest.MonkeyPatch):
    updates: list[Any] = []
    module = ModuleType("IPython.display")
    module.HTML = lambda text: text  # type: ignore[attr-defined]
    module.display = lambda what, display_id: SimpleNamespace(update=updates.append)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    gray = np.random.default_rng(0).integers(0, 255, (32, 32), dtype=np.uint8)
    result = jupyter_progress.shown(denoise(gray, sigma=25, steps=4), every=2)
    assert updates[-1] is result
    assert result._repr_html_().startswith("<img src=")
    assert ['value="2"' in updates[0], 'value="4"' in updates[1], len(updates)] == [True, True, 3]


@pytest.mark.long
def test_a_vision_transformer_is_explained(tmp_path: Path, capsys):
    drawn = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(drawn).save(tmp_path / "drawn.png")
    vision_transformer.explain(str(tmp_path / "drawn.png"), "timm:vit_tiny_patch16_224@none", tmp_path, steps=2)
    assert {path.name for path in tmp_path.iterdir()} >= {"saliency.png", "blocks.1.png", "counterfactual.png"}
    said = capsys.readouterr().out
    assert "blocks.5: feature error" in said
    assert "Psi blocks." in said


@pytest.mark.long
def test_small_pictures_are_learned_and_explained(tmp_path: Path, capsys):
    draws, labels = np.random.default_rng(0), np.arange(40) % 2
    pictures = draws.integers(0, 100, (40, 32, 32, 3), dtype=np.uint8) + (100 * labels[:, None, None, None]).astype(
        np.uint8
    )
    held_out = {"x_test": pictures[:10], "y_test": labels[:10]}
    np.savez(tmp_path / "data.npz", x_train=pictures, y_train=labels, **held_out)
    small_pictures.explain(str(tmp_path / "data.npz"), tmp_path, epochs=2, steps=3)
    assert {path.name for path in tmp_path.iterdir()} >= {"counterfactual.png", "maximized.png"}
    assert "held out: balanced accuracy" in capsys.readouterr().out
