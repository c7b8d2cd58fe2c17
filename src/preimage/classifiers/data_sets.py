"""The three forms of a data set: a folder per class, a CSV, an npz; read up to the images themselves."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from preimage.classifiers.image_stack import Size, stacked_array, stacked_files
from preimage.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif")
TABLES = (".csv", ".tsv")
TRAIN, TEST = "train", "test"
LABELS = "class_index"  # the column of the class, unless another is named
_TESTS = ("test", "val", "valid", "validation")  # folders and values of the test part, the first that exists


@dataclass(frozen=True, eq=False)
class DataSet:
    """What a data set says of its images.

    Args:
        stack: of a size: all images, (n, 3, h, w) uint8.
        labels: the index of each image's class.
        groups: of each image what must not be on two sides of a split.
        parts: "train" or "test" of each.
        classes: their names.
    """

    stack: Callable[[Size], torch.Tensor]
    labels: list[int]
    groups: list[str]
    parts: list[str]
    classes: list[str]


def read_folder(path: Path) -> DataSet:
    """A folder per class, perhaps below train/ and test/.

    Example:
        >>> import shutil
        >>> for name in ("cat", "dog"):
        ...     Path("animals", name).mkdir(parents=True)
        ...     _ = shutil.copy("photo.png", Path("animals", name))
        >>> read_folder(Path("animals")).classes
        ['cat', 'dog']

    Raises:
        InputError: no images, or a class that is in the test part alone.
    """
    test = next((path / name for name in _TESTS if (path / name).is_dir()), None)
    roots = {TRAIN: path} if not (path / TRAIN).is_dir() else {TRAIN: path / TRAIN} | ({TEST: test} if test else {})
    classes = sorted(folder.name for folder in roots[TRAIN].iterdir() if folder.is_dir() and _images_in(folder))
    files: list[Path] = []
    labels: list[int] = []
    parts: list[str] = []
    for part, root in roots.items():
        for folder in sorted(each for each in root.iterdir() if each.is_dir()):
            inside = _images_in(folder)
            if not inside:
                continue
            if folder.name not in classes:
                raise InputError(
                    f"{folder} is no class of {roots[TRAIN]}: its classes are {', '.join(classes)}", code="class"
                )
            files += inside
            labels += [classes.index(folder.name)] * len(inside)
            parts += [part] * len(inside)
    if not files:
        raise InputError(f"{path} has no folder with images: give one with one folder per class", code="not-found")
    return DataSet(partial(stacked_files, files), labels, [str(file) for file in files], parts, classes)


def _images_in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)


def read_table(
    path: Path, label_column: str = LABELS, split_column: str | None = None, group: str | None = None
) -> DataSet:
    """A CSV or TSV with a column `filename`, relative to it.

    Example:
        >>> rows = ("filename,class_index,animal", "1.png,0,cat", "2.png,1,dog", "3.png,1,dog")
        >>> _ = Path("labels.csv").write_text(chr(10).join(rows))
        >>> read_table(Path("labels.csv")).classes
        ['cat', 'dog']

    Args:
        path: the file, in UTF-8.
        label_column: the class, a number or a word. Words of another column that match the numbers one to one are their names.
        split_column: a column of train and test.
        group: a column of which one value is never on two sides of a split.

    Raises:
        InputError: no text, no rows, a missing column or value.
    """
    rows = _rows(path)
    for column in ("filename", label_column, split_column, group):
        if column is not None and column not in rows[0]:
            raise InputError(f"{path} has no column {column!r}: its columns are {', '.join(rows[0])}", code="not-found")
    for number, row in enumerate(rows, 2):
        if not row["filename"] or not row[label_column]:
            raise InputError(
                f"{path}, line {number}: filename or {label_column} is empty: fill it, or remove the line",
                code="unreadable",
            )
    values = [row[label_column] for row in rows]
    names = sorted(set(values), key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))
    labels = [names.index(each) for each in values]
    parts = [TRAIN] * len(rows) if split_column is None else [_part(row[split_column] or "", path) for row in rows]
    groups = [row[group] or row["filename"] for row in rows] if group else [row["filename"] for row in rows]
    files = [path.parent / row["filename"] for row in rows]
    return DataSet(partial(stacked_files, files), labels, groups, parts, _class_names(names, rows, label_column))


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

    Raises:
        InputError: no npz of plain arrays, other arrays, or other shapes or types.
    """
    arrays = _arrays(path)
    parts = [(TRAIN, "x_train", "y_train"), (TEST, "x_test", "y_test")] if "x_train" in arrays else [(TRAIN, "x", "y")]
    parts = [part for part in parts if part[1] in arrays and part[2] in arrays]
    if not parts:
        raise InputError(
            f"{path} has arrays {', '.join(arrays)}: give x_train, y_train, x_test, y_test, or x, y", code="unreadable"
        )
    x = np.concatenate([arrays[images] for _, images, _ in parts])
    y = np.concatenate([arrays[labels] for _, _, labels in parts]).astype(int).ravel()
    if x.dtype != np.uint8 or x.ndim not in (3, 4) or len(x) != len(y):
        raise InputError(
            f"{path}: images must be (n, h, w, 3) uint8, one label each, got {x.shape} {x.dtype} and {len(y)} labels: convert "
            "them",
            code="type" if x.dtype != np.uint8 else "shape",
        )
    x = np.repeat(x[..., None], 3, -1) if x.ndim == 3 else x
    names = [str(name) for name in arrays.get("class_names", range(int(y.max()) + 1))]
    if y.min() < 0 or y.max() >= len(names):
        raise InputError(
            f"{path}: labels must be 0 to {len(names) - 1}, got {y.min()} to {y.max()}: correct them or class_names",
            code="class",
        )
    side = [part for part, _, labels in parts for _ in range(len(arrays[labels]))]
    return DataSet(partial(stacked_array, x), y.tolist(), [str(i) for i in range(len(y))], side, names)


def _arrays(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    except (ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is not an npz of plain arrays: np.savez(FILE, x_train=..., y_train=...) makes one",
            code="unreadable",
        ) from error
