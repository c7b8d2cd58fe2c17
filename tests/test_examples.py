"""The scripts in examples/ run from beginning to end, on small pictures and few steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples import small_pictures, vision_transformer

pytestmark = pytest.mark.long


def test_a_vision_transformer_is_explained(tmp_path: Path, capsys):
    drawn = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(drawn).save(tmp_path / "drawn.png")
    vision_transformer.explain(str(tmp_path / "drawn.png"), "timm:vit_tiny_patch16_224@none", tmp_path, steps=2)
    assert {path.name for path in tmp_path.iterdir()} >= {"saliency.png", "blocks.1.png", "counterfactual.png"}
    said = capsys.readouterr().out
    assert "blocks.5: feature error" in said
    assert "Psi blocks." in said


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
