"""What a data set says of its images, in a folder per class or an npz (tables.py: in a CSV); and their one tensor of one size.

Parts have one meaning in all of them. train: is learned from. validation (val, valid, dev): is not learned from, and not
reported; it chooses the best epoch, the scale of the estimated loss and its target quantile. test: is used once, for the report.
"""

from __future__ import annotations

import math
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
from preimage.images.files import open_file
from preimage.images.formats import SUFFIXES
from preimage.images.ranges import EIGHT_BITS, ValueRange
from preimage.images.stacks import Reading, Stack, check_stack, resized, side_of, stacked_files
from preimage.memory import check_free

TRAIN, VALIDATION, TEST = "train", "validation", "test"
_PARTS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
LARGEST_SHORT_SIDE = 120  # to which larger images are reduced unless a size is specified
# Names of images and labels of each part; train_images and the like are MedMNIST's.
_OF_PARTS = (
    (TRAIN, ("x_train", "train_images"), ("y_train", "train_labels")),
    (VALIDATION, ("x_val", "val_images"), ("y_val", "val_labels")),
    (TEST, ("x_test", "test_images"), ("y_test", "test_labels")),
)
_WHOLE = ((TRAIN, ("x", "images"), ("y", "labels")),)
_ARRAYS = ("class_names", *(name for _, *names in (*_OF_PARTS, *_WHOLE) for each in names for name in each))
_SAMPLES = 64  # files whose sizes decide the size of all

Size = int | tuple[int, int] | None
"""The short side, or (height, width), in pixels; None: as they are, the short side 120 at most."""


@dataclass(frozen=True, eq=False)
class DataSet:
    """What a data set says of its images; `stack` reads them. The rest is as in Labelled; remarks: of how it was read."""

    stack: Callable[[Size, Reading], Stack]
    labels: list[int]
    groups: list[str]
    parts: list[str]
    classes: list[str]
    remarks: tuple[str, ...] = ()


def part_of(name: str) -> str | None:
    """The part that a folder or a value of a table names, in whatever case; None: no part.

    Example:
        >>> part_of("val"), part_of("Training"), part_of("cats")
        ('validation', 'train', None)
    """
    return _PARTS.get(name.strip().lower())


def read_folder(path: Path) -> DataSet:
    """A folder per class, perhaps below train/, val/ and test/."""
    folders = sorted(each for each in path.iterdir() if each.is_dir())
    # A part has folders in it; a class may be called train as well.
    roots = [(part, each) for each in folders if (part := part_of(each.name)) and _has_folders(each)]
    if roots and TRAIN not in dict(roots):
        if len(roots) == len(folders):
            raise InputError(f"{path} has no training part: name it train", code="not-found")
        roots = []
    roots = roots or [(TRAIN, path)]
    rows = [
        (file, folder, part)
        for part, root in roots
        for folder in sorted(each for each in root.iterdir() if each.is_dir())
        for file in sorted(each for each in folder.rglob("*") if each.suffix.lower() in SUFFIXES)
    ]
    if not rows:
        raise InputError(f"{path} has no folder with images: give one with one folder per class", code="not-found")
    classes = sorted({folder.name for _, folder, part in rows if part == TRAIN})
    for _, folder, _ in rows:
        if folder.name not in classes:
            known = ", ".join(classes)
            raise InputError(f"{folder} is no class of {dict(roots)[TRAIN]}: its classes are {known}", code="class")
    files, folders, parts = (list(column) for column in zip(*rows, strict=True))
    labels = [classes.index(folder.name) for folder in folders]
    return DataSet(partial(stack_of_files, files), labels, [str(file) for file in files], parts, classes)


def _has_folders(path: Path) -> bool:
    return any(each.is_dir() for each in path.iterdir())


def read_npz(path: Path) -> DataSet:
    """Arrays x_train, y_train, x_val, ..., y_test, or x, y: images (n, h, w, 3) or (n, h, w) uint8; and class_names, if known.

    Or as MedMNIST names them: train_images, train_labels, val_images, ..., test_labels.

    Example:
        >>> np.savez("data.npz", x=np.zeros((4, 16, 16, 3), np.uint8), y=[0, 1, 0, 1])
        >>> read_npz(Path("data.npz")).labels
        [0, 1, 0, 1]
    """
    arrays = _arrays(path)
    parts = [
        (part, arrays[x], arrays[y])
        for part, images, labels in (*_OF_PARTS, *_WHOLE)
        for x, y in zip(images, labels, strict=True)
        if arrays.get(x) is not None and arrays.get(y) is not None
    ]
    if not parts or len({part for part, *_ in parts}) < len(parts):
        way = "give x_train, y_train, x_test, y_test (and x_val, y_val), or train_images, ..., or x, y"
        raise InputError(f"{path} has arrays {', '.join(arrays)}: {way}", code="unreadable")
    if len(kinds := {(images.shape[1:], images.dtype) for _, images, _ in parts}) > 1:
        shown = " and ".join(sorted(f"{shape} {dtype}" for shape, dtype in kinds))
        raise InputError(f"{path} has images of {shown} in its parts: convert them to one kind", code="shape")
    x = np.concatenate([images for _, images, _ in parts]) if len(parts) > 1 else parts[0][1]
    each = [_labels(labels, path) for _, _, labels in parts]
    y = np.concatenate(each)
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
    sides = [part for (part, *_), labels in zip(parts, each, strict=True) for _ in range(len(labels))]
    return DataSet(partial(_stacked_array, x), y.tolist(), [str(i) for i in range(len(y))], sides, classes)


def _labels(labels: NDArray[Any], path: Path) -> NDArray[np.int64]:
    """(n,) class indices, of labels (n,), (n, 1), or one-hot (n, classes)."""
    if labels.ndim == 2 and labels.shape[1] > 1 and labels.dtype.kind in "iufb":
        if not (np.isin(labels, (0, 1)).all() and (labels.sum(1, dtype=np.int64) == 1).all()):
            several = f"labels {labels.shape} are several at once, and each image has one class"
            raise InputError(f"{path}: {several}: give (n,) class indices, or one-hot rows", code="class")
        labels = labels.argmax(1)
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


def stack_of_files(files: Sequence[Path], size: Size, reading: Reading) -> Stack:
    """The images of files, in the size that is specified, or of most of them."""
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
