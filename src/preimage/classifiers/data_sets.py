"""The three forms of a data set: a folder per class, a CSV, an npz; and their images as one tensor of one size."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from preimage.engine.devices import free_memory
from preimage.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif")
TABLES = (".csv", ".tsv")
TRAIN, TEST = "train", "test"
LABELS = "class_index"  # the column of the class, unless another is named
_TESTS = ("test", "val", "valid", "validation")  # folders and values of the test part, the first that exists
LARGEST_SHORT_SIDE = 120  # to which larger images are reduced unless a size is specified
_SAMPLES = 64  # files whose sizes decide the size of all

Size = int | tuple[int, int] | None
"""The short side, or (height, width), in pixels; None: as they are, the short side 120 at most."""


@dataclass(frozen=True, eq=False)
class DataSet:
    """What a data set says of its images; `stack` reads them, (n, 3, h, w) uint8 of a size. The rest is as in Labelled."""

    stack: Callable[[Size], torch.Tensor]
    labels: list[int]
    groups: list[str]
    parts: list[str]
    classes: list[str]


def read_folder(path: Path) -> DataSet:
    """A folder per class, perhaps below train/ and test/."""
    test = next((path / name for name in _TESTS if (path / name).is_dir()), None)
    roots = {TRAIN: path} if not (path / TRAIN).is_dir() else {TRAIN: path / TRAIN} | ({TEST: test} if test else {})
    rows = [
        (file, folder, part)
        for part, root in roots.items()
        for folder in sorted(each for each in root.iterdir() if each.is_dir())
        for file in sorted(each for each in folder.rglob("*") if each.suffix.lower() in SUFFIXES)
    ]
    if not rows:
        raise InputError(f"{path} has no folder with images: give one with one folder per class", code="not-found")
    classes = sorted({folder.name for _, folder, part in rows if part == TRAIN})
    for _, folder, _ in rows:
        if folder.name not in classes:
            known = ", ".join(classes)
            raise InputError(f"{folder} is no class of {roots[TRAIN]}: its classes are {known}", code="class")
    files, folders, parts = (list(column) for column in zip(*rows, strict=True))
    labels = [classes.index(folder.name) for folder in folders]
    return DataSet(partial(_stacked_files, files), labels, [str(file) for file in files], parts, classes)


def read_table(
    path: Path, label_column: str = LABELS, split_column: str | None = None, group: str | None = None
) -> DataSet:
    """A CSV or TSV, in UTF-8, with a column `filename`, relative to it; the other arguments are those of read_labelled.

    Example:
        >>> rows = ("filename,class_index,animal", "1.png,0,cat", "2.png,1,dog", "3.png,1,dog")
        >>> _ = Path("labels.csv").write_text(chr(10).join(rows))
        >>> read_table(Path("labels.csv")).classes
        ['cat', 'dog']
    """
    rows = _rows(path)
    for column in ("filename", label_column, split_column, group):
        if column is not None and column not in rows[0]:
            raise InputError(f"{path} has no column {column!r}: its columns are {', '.join(rows[0])}", code="not-found")
    for number, row in enumerate(rows, 2):
        if not row["filename"] or not row[label_column]:
            empty = f"{path}, line {number}: filename or {label_column} is empty"
            raise InputError(f"{empty}: fill it, or remove the line", code="unreadable")
    values = [row[label_column] for row in rows]
    names = sorted(set(values), key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))
    labels = [names.index(each) for each in values]
    parts = [TRAIN if split_column is None else _part(row[split_column] or "", path) for row in rows]
    groups = [(group and row[group]) or row["filename"] for row in rows]
    files = [path.parent / row["filename"] for row in rows]
    return DataSet(partial(_stacked_files, files), labels, groups, parts, _class_names(names, rows, label_column))


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ","))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a table of text: give a CSV in UTF-8", code="unreadable") from error
    if not rows:
        raise InputError(f"{path} has no rows: give a header and a line per image", code="unreadable")
    return rows


def _part(value: str, path: Path) -> str:
    if value.lower() not in (TRAIN, "training", *_TESTS):
        raise InputError(f"{path}: the part of an image must be train or test, got {value!r}: correct the column")
    return TEST if value.lower() in _TESTS else TRAIN


def _class_names(names: list[str], rows: list[dict[str, str]], label_column: str) -> list[str]:
    """Words of another column that match numbered classes one to one, if there are any; else the numbers."""
    if not all(name.isdecimal() for name in names):
        return names
    for column in rows[0]:
        pairs = {(row[label_column], row[column]) for row in rows}
        words = dict(pairs)
        if column != label_column and len(pairs) == len(names) == len(set(words.values())):
            return [words[name] for name in names]
    return names


def read_npz(path: Path) -> DataSet:
    """Arrays x_train, y_train, x_test, y_test, or x, y: images (n, h, w, 3) or (n, h, w) uint8; and class_names, if known.

    Example:
        >>> np.savez("data.npz", x=np.zeros((4, 16, 16, 3), np.uint8), y=[0, 1, 0, 1])
        >>> read_npz(Path("data.npz")).labels
        [0, 1, 0, 1]
    """
    arrays = _arrays(path)
    names = ((TRAIN, "x_train", "y_train"), (TEST, "x_test", "y_test"))
    names = names if "x_train" in arrays else ((TRAIN, "x", "y"),)
    parts = [(part, arrays[x], arrays[y]) for part, x, y in names if x in arrays and y in arrays]
    if not parts:
        way = "give x_train, y_train, x_test, y_test, or x, y"
        raise InputError(f"{path} has arrays {', '.join(arrays)}: {way}", code="unreadable")
    x = np.concatenate([images for _, images, _ in parts])
    y = np.concatenate([labels for _, _, labels in parts]).astype(int).ravel()
    if x.dtype != np.uint8 or x.ndim not in (3, 4) or len(x) != len(y):
        raise InputError(
            f"{path}: images must be (n, h, w, 3) uint8, got {x.shape} {x.dtype} and {len(y)} labels: convert them",
            code="type" if x.dtype != np.uint8 else "shape",
        )
    x = np.repeat(x[..., None], 3, -1) if x.ndim == 3 else x
    classes = [str(name) for name in arrays.get("class_names", range(int(y.max()) + 1))]
    if y.min() < 0 or y.max() >= len(classes):
        limits = f"labels must be 0 to {len(classes) - 1}, got {y.min()} to {y.max()}"
        raise InputError(f"{path}: {limits}: correct them or class_names", code="class")
    sides = [part for part, _, labels in parts for _ in labels]
    return DataSet(partial(_stacked_array, x), y.tolist(), [str(i) for i in range(len(y))], sides, classes)


def _arrays(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    except (ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is no npz of plain arrays: make one by np.savez", code="unreadable") from error


# ---------------------------------------------------------------------- images


def _stacked_files(files: Sequence[Path], size: Size) -> torch.Tensor:
    sides = [_side(file) for file in files[:: max(1, len(files) // _SAMPLES)]]
    return _stacked(len(files), _common_size(size, sides), lambda i: _opened(files[i]))


def _stacked_array(images: NDArray[np.uint8], size: Size) -> torch.Tensor:
    """Of images (n, h, w, 3)."""
    common = _common_size(size, [(images.shape[1], images.shape[2])])
    if common == images.shape[1:3]:
        return torch.from_numpy(images).movedim(-1, 1).contiguous()
    return _stacked(len(images), common, lambda i: Image.fromarray(images[i]))


def _opened(file: Path) -> Any:
    try:
        return Image.open(file)
    except FileNotFoundError as error:
        raise InputError(f"{file} does not exist: correct or remove its line", code="not-found") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read as an image: replace or remove it", code="unreadable") from error


def _side(file: Path) -> tuple[int, int]:
    with _opened(file) as image:
        return image.height, image.width


def _common_size(size: Size, sides: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """(height, width): the median, scaled to the short side; multiples of 4 if it is scaled."""
    if isinstance(size, tuple):
        return size
    height, width = (int(np.median([pair[k] for pair in sides])) for k in (0, 1))
    if size is None and min(height, width) <= LARGEST_SHORT_SIDE:
        return height, width
    factor = (size or LARGEST_SHORT_SIDE) / min(height, width)
    return 4 * round(height * factor / 4), 4 * round(width * factor / 4)


def _stacked(count: int, size: tuple[int, int], opened: Callable[[int], Any]) -> torch.Tensor:
    height, width = size
    needed, free = count * 3 * height * width, free_memory(torch.device("cpu"))
    if free is not None and needed > free / 2:
        need = f"{count} images of {width} x {height} need {needed / 1e9:.1f} of {free / 1e9:.1f} GB"
        raise InputError(f"{need}: take a smaller --size", code="memory")
    whole = torch.empty(count, 3, height, width, dtype=torch.uint8)

    def fill(i: int) -> None:
        with opened(i) as image:
            try:
                image.draft("RGB", (width, height))
                upright = ImageOps.exif_transpose(image).convert("RGB")
            except OSError as error:
                name = getattr(image, "filename", i)
                raise InputError(f"{name} is damaged: replace or remove it", code="unreadable") from error
        array = np.asarray(upright.resize((width, height), Image.Resampling.BICUBIC))
        whole[i] = torch.from_numpy(array.copy()).movedim(-1, 0)

    with ThreadPoolExecutor() as pool:
        list(pool.map(fill, range(count)))
    return whole
