"""A tiny recipe, tiny pictures, and the command line called in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
from cli.tiny import TINY, pictures
from PIL import Image

from preimage.cli import failures, main


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str
    errors: tuple[str, ...] = ()  # the code of each InputError that was reported, the name of any other error

    def failed_in_one_line(self, *words: str, code: str = "") -> bool:
        """Exit code 2, and one line on stderr that begins with the program's name and holds these words."""
        lines = [line for line in self.err.splitlines() if line.startswith("preimage: ")]
        one = len(lines) == 1 and "Traceback" not in self.err and (not code or self.errors == (code,))
        return self.code == 2 and one and all(word in lines[0] for word in words)


Call = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """run("denoise", path, ...) -> Ran."""
    explain = failures.explain

    def call(*tokens: object) -> Ran:
        errors: list[str] = []

        def noted(error: Exception, command: str = "") -> str:
            errors.append(getattr(error, "code", type(error).__name__))
            return explain(error, command)

        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(failures, "explain", noted)
            code = main([str(token) for token in tokens])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err, tuple(errors))

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


@pytest.fixture
def more(here: Path) -> Path:
    """More files beside noisy.png, clean.png and tiny.json."""
    clean, noisy = pictures()
    mask = np.zeros((20, 24), np.uint8)
    mask[3:7, 5:15] = 255
    Image.fromarray(mask).save("mask.png")
    Image.fromarray(mask[::-1].copy()).save("other-mask.png")
    Image.fromarray(np.zeros_like(mask)).save("empty.png")
    Image.fromarray(np.full_like(mask, 255)).save("full.png")
    Image.fromarray(np.kron(clean, np.ones((2, 2, 1), np.uint8))).save("large.png")
    Image.fromarray(clean).save("photo.jpg", quality=40)
    Image.fromarray(np.dstack([clean, 255 - mask])).save("hole.png")
    Image.fromarray(np.zeros((20, 24), np.uint16)).save("deep.png")
    stack = np.stack([noisy[..., 0], clean[..., 0]])
    tifffile.imwrite("stack.tif", stack, photometric="minisblack", metadata=None)
    tifffile.imwrite("flashes.tif", stack[::-1].copy(), photometric="minisblack", metadata=None)
    tifffile.imwrite("masks.tif", np.stack([mask, mask[::-1]]), photometric="minisblack", metadata=None)
    values = clean[..., 0] / np.float32(7)
    values[mask > 0] = np.nan
    tifffile.imwrite("nan.tif", values)
    np.save("even.npy", np.ones((4, 4)))
    np.save("odd.npy", np.ones((3, 3)))
    np.save("large.npy", np.ones((63, 63)))
    for folder in ("out", "masks"):
        Path(folder).mkdir()
    Image.fromarray(mask).save("masks/noisy.png")
    Image.fromarray(mask[::-1].copy()).save("masks/clean.png")
    return here
