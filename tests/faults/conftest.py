"""A folder with a picture and a thin recipe, and the command line called in this process."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.conftest import Call, Ran
from cli.tiny import TINY, pictures
from PIL import Image

from preimage.cli import main


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Call:
    """run("denoise", path, ...) -> Ran."""

    def call(*tokens: object) -> Ran:
        capsys.readouterr()
        code = main([str(token) for token in tokens])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with noisy.png, other.png and tiny.json."""
    monkeypatch.chdir(tmp_path)
    clean, noisy = pictures()
    Image.fromarray(noisy).save("noisy.png")
    Image.fromarray(clean).save("other.png")
    Path("tiny.json").write_text(json.dumps(TINY))
    return tmp_path


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads take turns as often as they can, so that what they share is seen."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)
