"""A tiny recipe, tiny pictures, and the command line called in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli.tiny import TINY, pictures
from PIL import Image

from preimage.cli import main


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    def failed_in_one_line(self, *words: str) -> bool:
        """Exit code 2, and one line on stderr that begins with the program's name and holds these words."""
        lines = [line for line in self.err.splitlines() if line.startswith("preimage: ")]
        return self.code == 2 and len(lines) == 1 and "Traceback" not in self.err and all(w in lines[0] for w in words)


Call = Callable[..., Ran]


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
    """A folder with noisy.png, clean.png and tiny.json, in which the command is called."""
    monkeypatch.chdir(tmp_path)
    clean, noisy = pictures()
    Image.fromarray(clean).save("clean.png")
    Image.fromarray(noisy).save("noisy.png")
    Path("tiny.json").write_text(json.dumps(TINY))
    return tmp_path
