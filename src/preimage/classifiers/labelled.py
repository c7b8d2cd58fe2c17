"""Labelled pictures: a folder per class, a CSV, or an npz; in memory, in one size, and split so that no group is on two sides."""

from __future__ import annotations

import csv
import zipfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from preimage.engine.devices import free_memory
from preimage.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif")
TEST_SHARE = VALIDATION_SHARE = 0.15
LARGEST_SHORT_SIDE = 120  # to which larger pictures are reduced unless a size is said
TRAIN, TEST = "train", "test"
LABELS = "class_index"  # the column that says the class, unless another is named
_TABLES = (".csv", ".tsv")
_TESTS = ("test", "val", "valid", "validation")  # folders and values that mean the test part, the first that is there


@dataclass(frozen=True, eq=False)
class Labelled:
    """Pictures of one size with what each is, in memory.

    Args:
        pictures: (n, 3, h, w) uint8.
        labels: (n,) the index of each class.
        groups: of each picture what must not be on two sides (a patient, a lesion); its own name where nothing is said.
        parts: "train" or "test" of each.
        classes: their names.
        name: what was read.
    """

    pictures: torch.Tensor
    labels: torch.Tensor
    groups: tuple[str, ...]
    parts: tuple[str, ...]
    classes: tuple[str, ...]
    name: str

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> tuple[int, int]:
        return self.pictures.shape[-2], self.pictures.shape[-1]

    def part(self, name: str) -> Labelled:
        """The pictures of one part."""
        return self.subset([i for i, part in enumerate(self.parts) if part == name])

    def subset(self, indices: Sequence[int]) -> Labelled:
        """Some of the pictures."""
        rows = torch.tensor(list(indices), dtype=torch.long)
        groups, parts = (tuple(values[i] for i in indices) for values in (self.groups, self.parts))
        return replace(self, pictures=self.pictures[rows], labels=self.labels[rows], groups=groups, parts=parts)

    def split(self, share: float, seed: int) -> tuple[Labelled, Labelled]:
        """(rest, held out): about a share of each class, by whole groups.

        Raises:
            InputError: a class of too few groups to be on both sides.
        """
        held = set(held_out(self.labels.tolist(), self.groups, share, seed, self.classes))
        return self.subset([i for i in range(len(self)) if i not in held]), self.chosen(sorted(held))

    def with_classes_of(self, classes: Sequence[str]) -> Labelled:
        """The same with the classes of a classifier: by their names where these are the same, else one after another.

        Raises:
            InputError: another number of classes.
        """
        if len(classes) != len(self.classes):
            raise InputError(
                f"the classifier has {len(classes)} classes, {self.name} has {len(self.classes)}: they must be the same"
            )
        own, others = ([name.lower() for name in names] for names in (self.classes, classes))
        if sorted(own) != sorted(others):
            return replace(self, classes=tuple(classes))
        place = torch.tensor([others.index(name) for name in own])
        return replace(self, classes=tuple(classes), labels=place[self.labels])


def read_labelled(
    data: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    label_column: str = LABELS,
    split_column: str | None = None,
    group: str | None = None,
    seed: int = 0,
) -> Labelled:
    """Labelled pictures of a folder (one folder per class, below `train/` and `test/` or not), a CSV, or an npz.

    Where no test part is named, a share of each class is taken, by whole groups.

    Example:
        >>> data = read_labelled("lesions/labels.csv", split_column="split", group="lesion_id")
        >>> data.pictures.shape, data.classes[0]
        (torch.Size([3198, 3, 120, 160]), 'akiec')

    Args:
        data: the folder; a CSV with a column `filename` (relative to it); or an npz with x_train, y_train, x_test, y_test
            (n, h, w, 3) and class_names, or with x, y.
        size: the short side, or (height, width), in pixels; None: as they are, the short side 120 at most.
        label_column: of a CSV: the class, a number or a word.
        split_column: of a CSV: a column that holds train and test (or val).
        group: of a CSV: a column of which one value is never on two sides.
        seed: of what is drawn for the test part.

    Raises:
        InputError: nothing there, a column that is missing, a file that is no picture, fewer than two classes, a group on
            two sides of a split, a size below 16.
    """
    path = Path(data)
    if np.min(16 if size is None else size) < 16:
        raise InputError(f"a size must be at least 16 pixels, got {size}")
    if not path.exists():
        raise InputError(f"{path} does not exist: give a folder with one folder per class, a CSV or an npz")
    if path.suffix.lower() not in _TABLES and (split_column, group, label_column) != (None, None, LABELS):
        raise InputError(f"{path} has no columns: label, split and group columns are those of a CSV")
    if path.is_dir():
        found = _folder(path)
    elif path.suffix.lower() == ".npz":
        found = _npz(path)
    elif path.suffix.lower() in _TABLES:
        found = _table(path, label_column, split_column, group)
    else:
        raise InputError(f"{path} is no data set: give a folder with one folder per class, a CSV or an npz")
    pictures, labels, groups, parts, classes = found
    if len(classes) < 2 or len(set(labels)) < 2:
        raise InputError(f"{path} has pictures of {len(set(labels))} class: at least 2 are needed to tell them apart")
    if TEST not in parts:
        drawn = set(held_out(labels, groups, TEST_SHARE, seed, classes))
        parts = [TEST if i in drawn else TRAIN for i in range(len(labels))]
    elif TRAIN not in parts:
        raise InputError(f"{path} has no training part: name it train")
    _check_sides(labels, groups, parts, classes, path)
    stacked = pictures(size)
    if min(stacked.shape[-2:]) < 16:
        raise InputError(
            f"the pictures are {stacked.shape[-1]} x {stacked.shape[-2]}: give a size of 16 pixels or more"
        )
    return Labelled(stacked, torch.tensor(labels), tuple(groups), tuple(parts), tuple(classes), path.name)


def held_out(
    labels: Sequence[int], groups: Sequence[str], share: float, seed: int, classes: Sequence[str]
) -> list[int]:
    """The indices of about a share of each class, by whole groups, at least one group of each class on either side."""
    members: dict[str, list[int]] = defaultdict(list)
    for i, group in enumerate(groups):
        members[group].append(i)
    of_class: dict[int, list[str]] = defaultdict(list)
    for group, indices in members.items():
        of_class[labels[indices[0]]].append(group)
    random = np.random.default_rng(seed)
    held: list[int] = []
    for label in sorted(of_class):
        names = of_class[label]
        if len(names) < 2:
            raise InputError(
                f"class {classes[label]} has {len(names)} picture (or group of them): 2 are needed, to learn from and to test"
            )
        wanted = share * sum(len(members[name]) for name in names)
        taken = 0
        for k in random.permutation(len(names))[:-1]:
            if taken >= wanted and taken:
                break
            held += members[names[k]]
            taken += len(members[names[k]])
    return held


def _check_sides(labels: list[int], groups: list[str], parts: list[str], classes: list[str], path: Path) -> None:
    """That nothing is learned from what is tested, and something of every class."""
    sides = {part: {group for group, own in zip(groups, parts, strict=True) if own == part} for part in (TRAIN, TEST)}
    both = sorted(sides[TRAIN] & sides[TEST])
    if both:
        raise InputError(
            f"{path}: {both[0]} ({len(both)} of them) is both in the training and the test part: mend the split, or leave its "
            "column out and one is drawn"
        )
    learned = {label for label, part in zip(labels, parts, strict=True) if part == TRAIN}
    for label, name in enumerate(classes):
        if label not in learned:
            raise InputError(f"{path}: class {name} has no picture in the training part: it cannot be learned")


# ---------------------------------------------------------------------- the three kinds

Pictures = Callable[[int | tuple[int, int] | None], torch.Tensor]
Found = tuple[Pictures, list[int], list[str], list[str], list[str]]


def _folder(path: Path) -> Found:
    """A folder per class, perhaps below train/ and test/."""
    test = next((path / name for name in _TESTS if (path / name).is_dir()), None)
    roots = {TRAIN: path} if not (path / TRAIN).is_dir() else {TRAIN: path / TRAIN} | ({TEST: test} if test else {})
    classes = sorted(folder.name for folder in roots[TRAIN].iterdir() if folder.is_dir() and _files(folder))
    files, labels, parts = [], [], []
    for part, root in roots.items():
        for folder in sorted(each for each in root.iterdir() if each.is_dir()):
            inside = _files(folder)
            if inside and folder.name not in classes:
                raise InputError(f"{folder} is no class of {roots[TRAIN]}: there are {', '.join(classes)}")
            files += inside
            labels += [classes.index(folder.name)] * len(inside) if inside else []
            parts += [part] * len(inside)
    if not files:
        raise InputError(f"{path} holds no folder with pictures: it must have one folder per class")
    return _of_files(files), labels, [str(file) for file in files], parts, classes


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)


def _table(path: Path, label_column: str, split_column: str | None, group: str | None) -> Found:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ","))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no table of text: give a CSV in UTF-8") from error
    if not rows:
        raise InputError(f"{path} has no rows: it needs a header and a line a picture")
    for column in ("filename", label_column, split_column, group):
        if column is not None and column not in rows[0]:
            raise InputError(f"{path} has no column {column!r}: it has {', '.join(rows[0])}")
    for number, row in enumerate(rows, 2):
        if not row["filename"] or not row[label_column]:
            raise InputError(f"{path}, line {number}: filename or {label_column} is empty: fill it, or remove the line")
    said = [row[label_column] for row in rows]
    names = sorted(set(said), key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))
    labels = [names.index(each) for each in said]
    parts = [TRAIN] * len(rows) if split_column is None else [_part(row[split_column] or "", path) for row in rows]
    groups = [row[group] or row["filename"] for row in rows] if group else [row["filename"] for row in rows]
    files = [path.parent / row["filename"] for row in rows]
    return _of_files(files), labels, groups, parts, _words_for(names, rows, label_column)


def _part(value: str, path: Path) -> str:
    if value.lower() not in (TRAIN, "training", *_TESTS):
        raise InputError(f"{path}: {value!r} is no part: train or test is expected")
    return TEST if value.lower() in _TESTS else TRAIN


def _words_for(names: list[str], rows: list[dict[str, str]], label_column: str) -> list[str]:
    """Words of another column that stand one to one with numbered classes, where there is one; else the numbers."""
    if not all(name.isdecimal() for name in names):
        return names
    for column in rows[0]:
        pairs = {(row[label_column], row[column]) for row in rows}
        words = dict(pairs)
        if column != label_column and len(pairs) == len(names) == len(set(words.values())):
            return [words[name] for name in names]
    return names


def _npz(path: Path) -> Found:
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
    except (ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is no npz of plain arrays: np.savez(FILE, x_train=..., y_train=...) makes one"
        ) from error
    parts = [(TRAIN, "x_train", "y_train"), (TEST, "x_test", "y_test")] if "x_train" in arrays else [(TRAIN, "x", "y")]
    parts = [part for part in parts if part[1] in arrays and part[2] in arrays]
    if not parts:
        raise InputError(f"{path} holds {', '.join(arrays)}: it must hold x_train, y_train, x_test, y_test, or x, y")
    x = np.concatenate([arrays[pictures] for _, pictures, _ in parts])
    y = np.concatenate([arrays[labels] for _, _, labels in parts]).astype(int).ravel()
    if x.dtype != np.uint8 or x.ndim not in (3, 4) or len(x) != len(y):
        raise InputError(
            f"{path}: pictures must be (n, h, w, 3) uint8, one label each, got {x.shape} {x.dtype}, {len(y)}"
        )
    x = np.repeat(x[..., None], 3, -1) if x.ndim == 3 else x
    names = [str(name) for name in arrays.get("class_names", range(int(y.max()) + 1))]
    side = [part for part, _, labels in parts for _ in range(len(arrays[labels]))]

    def pictures(size: int | tuple[int, int] | None) -> torch.Tensor:
        height, width = _sized(size, [(x.shape[1], x.shape[2])])
        if (height, width) == x.shape[1:3]:
            return torch.from_numpy(x).movedim(-1, 1).contiguous()
        return _stacked(len(x), (height, width), lambda i: Image.fromarray(x[i]))

    return pictures, y.tolist(), [str(i) for i in range(len(y))], side, names


# ---------------------------------------------------------------------- pictures


def _of_files(files: list[Path]) -> Pictures:
    def pictures(size: int | tuple[int, int] | None) -> torch.Tensor:
        sides = [_side(file) for file in files[:: max(1, len(files) // 64)]]
        return _stacked(len(files), _sized(size, sides), lambda i: _opened(files[i]))

    return pictures


def _opened(file: Path) -> Any:
    try:
        return Image.open(file)
    except (OSError, ValueError) as error:
        reason = "does not exist" if not file.exists() else "is no picture that can be read"
        raise InputError(f"{file} {reason}: mend or remove it") from error


def _side(file: Path) -> tuple[int, int]:
    with _opened(file) as image:
        return image.height, image.width


def _sized(size: int | tuple[int, int] | None, sides: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """(height, width): the middle of those there are, its short side as asked; multiples of 4."""
    if isinstance(size, tuple):
        return size
    height, width = (int(np.median([pair[k] for pair in sides])) for k in (0, 1))
    if size is None and min(height, width) <= LARGEST_SHORT_SIDE:
        return height, width
    factor = (size or LARGEST_SHORT_SIDE) / min(height, width)
    return 4 * round(height * factor / 4), 4 * round(width * factor / 4)


def _stacked(count: int, size: tuple[int, int], opened: Callable[[int], Any]) -> torch.Tensor:
    """(n, 3, h, w) uint8."""
    height, width = size
    needed, free = count * 3 * height * width, free_memory(torch.device("cpu"))
    if free is not None and needed > free / 2:
        raise InputError(
            f"{count} pictures of {width} x {height} need {needed / 1e9:.1f} of {free / 1e9:.1f} GB: take a smaller --size"
        )
    whole = torch.empty(count, 3, height, width, dtype=torch.uint8)

    def fill(i: int) -> None:
        with opened(i) as image:
            try:
                image.draft("RGB", (width, height))
                upright = ImageOps.exif_transpose(image).convert("RGB")
            except OSError as error:
                raise InputError(f"{getattr(image, 'filename', i)} is damaged: mend or remove it") from error
        array = np.asarray(upright.resize((width, height), Image.Resampling.BICUBIC))
        whole[i] = torch.from_numpy(array.copy()).movedim(-1, 0)

    with ThreadPoolExecutor() as pool:
        list(pool.map(fill, range(count)))
    return whole
