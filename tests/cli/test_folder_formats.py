"""A folder of two hundred files of ten formats, some broken: each named once, the rest done; strange names are no failure."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

SIDE, OF_EACH, BROKEN_OF_EACH = 24, 18, 2
STEPS = ("--steps", "2", "--stop", "steps", "--threads", "1")


def eight(seed: int, channels: int = 3) -> np.ndarray:
    values = np.random.default_rng(seed).normal(128, 40, (SIDE, SIDE, channels)).clip(0, 255).astype(np.uint8)
    return values if channels > 1 else values[..., 0]


def pillow(path: Path, seed: int) -> None:
    Image.fromarray(eight(seed)).save(path)


def deep_png(path: Path, seed: int) -> None:
    Image.fromarray(eight(seed, 1).astype(np.uint16) * 257).save(path)


def alpha_png(path: Path, seed: int) -> None:
    Image.fromarray(eight(seed, 4)).save(path)


def deep_tiff(path: Path, seed: int) -> None:
    tifffile.imwrite(path, eight(seed).astype(np.uint16) * 257, photometric="rgb")


def float_tiff(path: Path, seed: int) -> None:
    tifffile.imwrite(path, eight(seed, 1).astype(np.float32) / 255)


def palette_gif(path: Path, seed: int) -> None:
    Image.fromarray(eight(seed)).quantize(64).save(path)


def fits(path: Path, seed: int) -> None:
    from astropy.io import fits as astropy_fits

    astropy_fits.PrimaryHDU(eight(seed, 1).astype(np.float32)).writeto(path)


FORMATS: dict[str, tuple[str, Callable[[Path, int], None]]] = {
    "png": (".png", pillow),
    "png, 16 bits": (".png", deep_png),
    "png, alpha": (".png", alpha_png),
    "jpeg": (".jpg", pillow),
    "webp": (".webp", pillow),
    "bmp": (".bmp", pillow),
    "gif": (".gif", palette_gif),
    "tiff, 16 bits": (".tif", deep_tiff),
    "tiff, float": (".tiff", float_tiff),
    "fits": (".fits", fits),
}


@pytest.fixture
def archive(here) -> Path:
    """Twenty files of each format, two of them cut off after a few bytes, and three that are no pictures by their names."""
    folder = Path("archive")
    folder.mkdir()
    for kind, (name, (suffix, write)) in enumerate(FORMATS.items()):
        for number in range(OF_EACH + BROKEN_OF_EACH):
            stem = f"{name.replace(', ', '-').replace(' ', '-')}-{number:02d}"
            path = folder / f"{stem}{suffix}"
            write(path, 100 * kind + number)
            if number >= OF_EACH:
                path.write_bytes(path.read_bytes()[: 40 if number % 2 else 0])
                path.rename(folder / f"broken-{path.name}")
    for name in ("notes.txt", "Thumbs.db", "page"):
        (folder / name).write_text("no picture")
    return folder


@pytest.mark.long
def test_two_hundred_files_of_ten_formats_some_broken(archive, run):
    broken = sorted(path for path in archive.glob("broken-*"))
    ran = run("denoise", str(archive), "-o", "out", "--workers", "2", "--report", "all.jsonl", *STEPS)
    assert ran.code == 2
    failed = {path.name: json.loads(path.read_text())["error"] for path in Path("out").glob("*.failed.json")}
    assert not {name: error for name, error in failed.items() if not name.startswith("broken")}
    assert f"{OF_EACH * len(FORMATS)} done, {len(broken)} failed, 3 skipped (no images by their names)" in ran.out
    for path in broken:
        assert ran.err.count(path.name) == 1, path
    assert "Traceback" not in ran.err
    lines = [json.loads(line) for line in Path("all.jsonl").read_text().splitlines()]
    assert len({line["input"] for line in lines}) == len(lines) == 200
    done = [path for path in Path("out").iterdir() if path.is_file() and not path.name.endswith(".failed.json")]
    assert len(done) == OF_EACH * len(FORMATS)
    for path in broken:
        path.unlink()
    again = run("denoise", str(archive), "-o", "out", "--workers", "2", *STEPS)
    assert again.code == 0
    assert "3 skipped" in again.out
