"""A folder with noisy.png, clean.png and a thin recipe of three steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli.tiny import TINY, pictures
from PIL import Image


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder."""
    monkeypatch.chdir(tmp_path)
    clean, noisy = pictures()
    Image.fromarray(clean).save("clean.png")
    Image.fromarray(noisy).save("noisy.png")
    Path("thin.json").write_text(json.dumps({**TINY, "steps": 3}))
    return tmp_path
