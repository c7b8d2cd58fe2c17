"""The three forms of a data set: a folder per class, a CSV, an npz; and their images as one tensor of one size."""

from __future__ import annotations

import csv
import io
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from preimage.errors import InputError
from preimage.images.files import open_file, read_text
from preimage.images.formats import SUFFIXES
from preimage.images.memory import check_free
from preimage.images.ranges import EIGHT_BITS, ValueRange
from preimage.images.stacks import Reading, Stack, check_stack, resized, side_of, stacked_files

TABLES = (".csv", ".tsv")
TRAIN, TEST = "train", "test"
LABELS = "class_index"  # the column of the class, unless another is named
_TESTS = ("test", "val", "valid", "validation")  # folders and values of the test part, the first that exists
LARGEST_SHORT_SIDE = 120  # to which larger images are reduced unless a size is specified
_MOST_TABLE = 2**30  # bytes
_ARRAYS = ("x_train", "y_train", "x_test", "y_test", "x", "y", "class_names")
_SAMPLES = 64  # files whose sizes decide the size of all

Size = int | tuple[int, int] | None
"""The short side, or (height, width), in pixels; None: as they are, the short side 120 at most."""


@dataclass(frozen=True, eq=False)
class DataSet:
    """What a data set says of its images; `stack` reads them. The rest is as in Labelled."""

    stack: Callable[[Size, Reading], Stack]
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
    path: Path,
    label_column: str = LABELS,
    split_column: str | None = None,
    group: str | None = None,
    data_root: Path | None = None,
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
    files = [_below(path, row["filename"], data_root, number) for number, row in enumerate(rows, 2)]
    return DataSet(partial(_stacked_files, files), labels, groups, parts, _class_names(names, rows, label_column))


def _below(table: Path, name: str, root: Path | None, line: int) -> Path:
    """The file of a row, which must be below the table's folder, or below the root that allows others."""
    file, allowed = table.parent / name, table.parent if root is None else root
    # A link in the folder is its owner's; behind one, ".." leads elsewhere than it seems.
    placed = os.path.realpath if ".." in Path(name).parts else os.path.abspath
    if not Path(placed(file)).is_relative_to(placed(allowed)):
        outside = f"{table}, line {line}: {name} is outside of the folder {allowed}"
        raise InputError(f"{outside}: allow one that holds all images by --data-root FOLDER", code="option")
    return file


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        text = io.StringIO(read_text(path, most=_MOST_TABLE), newline="")
        rows = list(csv.DictReader(text, delimiter="\t" if path.suffix.lower() == ".tsv" else ","))
    except csv.Error as error:
        raise InputError(f"{path} is not a table of text: give a CSV in UTF-8", code="unreadable") from error
    if any(None in row for row in rows):
        number = next(number for number, row in enumerate(rows, 2) if None in row)
        raise InputError(f"{path}, line {number}: more columns than the header has: correct it", code="unreadable")
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
    x = np.concatenate([images for _, images, _ in parts]) if len(parts) > 1 else parts[0][1]
    y = np.concatenate([_labels(labels, path) for _, _, labels in parts])
    if x.dtype != np.uint8 or x.ndim not in (3, 4) or len(x) != len(y) or x.shape[3:] not in ((), (1,), (3,)):
        raise InputError(
            f"{path}: images must be (n, h, w, 3) uint8, got {x.shape} {x.dtype} and {len(y)} labels: convert them",
            code="type" if x.dtype != np.uint8 else "shape",
        )
    x = x[..., None] if x.ndim == 3 else x
    most = len(arrays["class_names"]) if "class_names" in arrays else len(y)  # each class has an image
    if not len(y) or y.min() < 0 or y.max() >= most:
        limits = f"labels must be 0 to {most - 1}, got {y.min()} to {y.max()}" if len(y) else "there are no labels"
        raise InputError(f"{path}: {limits}: correct them or class_names", code="class")
    classes = [str(name) for name in arrays.get("class_names", range(int(y.max()) + 1))]
    sides = [part for part, _, labels in parts for _ in range(labels.size)]
    return DataSet(partial(_stacked_array, x), y.tolist(), [str(i) for i in range(len(y))], sides, classes)


def _labels(labels: NDArray[Any], path: Path) -> NDArray[np.int64]:
    if labels.dtype.kind not in "iu" or (labels.size and int(labels.max()) >= 2**62):
        given = f"got {labels.dtype}: number the classes from 0"
        raise InputError(f"{path}: labels must be whole numbers, {given}, and name them in class_names", code="type")
    return labels.astype(np.int64).ravel()


def _arrays(path: Path) -> dict[str, Any]:
    """The arrays that a data set consists of; their sizes are known, and held against the free memory, before they are read."""
    try:
        with open_file(path) as file, zipfile.ZipFile(file) as archive:
            known = [f"{name}.npy" for name in _ARRAYS]
            chosen = [each for each in archive.infolist() if each.filename in known]
            # Read once, joined from two parts, and resized into a stack.
            check_free(3 * sum(each.file_size for each in chosen), str(path), "give a part of it")
            return {each.filename.removesuffix(".npy"): _array(archive, each) for each in chosen} or {
                each.filename.removesuffix(".npy"): None for each in archive.infolist()[:20]
            }
    except InputError:
        raise
    except (
        ValueError,
        TypeError,
        AttributeError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        RuntimeError,
    ) as error:
        raise InputError(f"{path} is no npz of plain arrays: make one by np.savez", code="unreadable") from error
    except (NotImplementedError, SyntaxError, RecursionError, KeyError, OverflowError, MemoryError) as error:
        raise InputError(f"{path} is no npz of plain arrays: make one by np.savez", code="unreadable") from error


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    """An array whose header claims no more than the archive holds for it."""
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        if dtype.hasobject or min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize > entry.file_size:
            raise ValueError(f"{entry.filename} claims {shape} {dtype}")
    with archive.open(entry) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


# ---------------------------------------------------------------------- images


def _stacked_files(files: Sequence[Path], size: Size, reading: Reading) -> Stack:
    sides = (
        [] if isinstance(size, tuple) else [side_of(file, reading) for file in files[:: max(1, len(files) // _SAMPLES)]]
    )
    return stacked_files(files, _common_size(size, sides), reading)


def _stacked_array(images: NDArray[np.uint8], size: Size, reading: Reading) -> Stack:
    """Of images (n, h, w, 1 or 3)."""
    common = _common_size(size, [(images.shape[1], images.shape[2])])
    check_stack(len(images), common)
    values = (
        EIGHT_BITS
        if reading.value_range is None
        else ValueRange(float(reading.value_range[0]), float(reading.value_range[1]), "uint8")
    )
    whole = torch.empty(len(images), 3, *common, dtype=torch.uint8)
    for place, image in zip(whole, images, strict=True):
        place.copy_(torch.from_numpy(resized(image, common, values)).movedim(-1, 0))
    return Stack(whole, values)


def _common_size(size: Size, sides: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """(height, width): the median, scaled to the short side; multiples of 4 if it is scaled."""
    if isinstance(size, tuple):
        return size
    height, width = (int(np.median([pair[k] for pair in sides])) for k in (0, 1))
    if size is None and min(height, width) <= LARGEST_SHORT_SIDE:
        return height, width
    factor = (size or LARGEST_SHORT_SIDE) / min(height, width)
    return 4 * round(height * factor / 4), 4 * round(width * factor / 4)
