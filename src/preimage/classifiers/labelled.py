"""Labeled images of one size, in memory, split so that no group (a patient, a lesion) is on two sides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from preimage.classifiers.augmentation import sent
from preimage.classifiers.class_matching import indices_of
from preimage.classifiers.data_sets import TEST, TRAIN, VALIDATION, DataSet, Size, read_folder, read_npz
from preimage.classifiers.tables import LABELS, TABLES, read_table
from preimage.engine.devices import free_memory
from preimage.errors import InputError
from preimage.images.ranges import EIGHT_BITS, ValueRange
from preimage.images.stacks import Reading
from preimage.rng import is_whole

TEST_SHARE = VALIDATION_SHARE = 0.15
SMALLEST_SIDE = 16


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images of one size with their classes, in memory.

    Example:
        >>> images, labels = torch.zeros(4, 3, 16, 20, dtype=torch.uint8), torch.tensor([0, 1, 0, 1])
        >>> parts = ("train", "train", "test", "test")
        >>> data = Labelled(images, labels, ("a", "b", "c", "d"), parts, ("cat", "dog"), "animals")
        >>> len(data.part("test")), data.size
        (2, (16, 20))

    Args:
        pictures: (n, 3, h, w) uint8.
        labels: (n,) the index of each class.
        groups: of each image what must not be in two parts (a patient, a lesion); its own name if nothing is specified.
        parts: "train", "validation" or "test" of each.
        classes, name: the names of the classes, and that of the data set.
        values: the file values that are 0 and 255 in pictures.
        remarks: what is to be said of how the files were read.
    """

    pictures: torch.Tensor
    labels: torch.Tensor
    groups: tuple[str, ...]
    parts: tuple[str, ...]
    classes: tuple[str, ...]
    name: str
    values: ValueRange = EIGHT_BITS
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pictures.shape[-2], self.pictures.shape[-1]

    def part(self, name: str) -> Labelled:
        """The images of one part, "train", "validation" or "test"; there may be none of the second."""
        return self.subset([i for i, part in enumerate(self.parts) if part == name])

    def subset(self, indices: Sequence[int]) -> Labelled:
        """The images of some indices, in their order."""
        rows = torch.tensor(list(indices), dtype=torch.long)
        groups, parts = (tuple(values[i] for i in indices) for values in (self.groups, self.parts))
        return replace(self, pictures=self.pictures[rows], labels=self.labels[rows], groups=groups, parts=parts)

    def thinned(self, count: int) -> Labelled:
        """Every n-th image, so that about `count` of many are left: fewer than twice as many."""
        return self.subset(range(0, len(self), max(1, len(self) // count)))

    def split(self, share: float, seed: int) -> tuple[Labelled, Labelled]:
        """(rest, held out): the latter about a share, 0 to 1, of each class, by whole groups, of which each class has two."""
        held = set(_held_out(self.labels.tolist(), self.groups, share, seed, self.classes))
        return self.subset([i for i in range(len(self)) if i not in held]), self.subset(sorted(held))

    def learned_and_validation(self, seed: int) -> tuple[Labelled, Labelled]:
        """What is learned from, and what chooses: the validation part, or a share of the training part if none is named."""
        learned, validation = self.part(TRAIN), self.part(VALIDATION)
        return (learned, validation) if len(validation) else learned.split(VALIDATION_SHARE, seed)

    def with_classes_of(self, classes: Sequence[str]) -> Labelled:
        """The same with the classes of a classifier, of which it may have a few: by name, synset id or index.

        Raises:
            InputError: a class that is none of them.
        """
        place = torch.tensor(indices_of(self.classes, classes, self.name))
        return replace(self, classes=tuple(classes), labels=place[self.labels])

    def renamed(self, classes: tuple[str, ...] | int | None) -> Labelled:
        """The same with other names of its classes, in their order; InputError unless these are as many."""
        count = len(classes) if isinstance(classes, tuple) else classes
        if count not in (None, len(self.classes)):
            counts = f"{self.name} has {len(self.classes)} classes, not {count}"
            raise InputError(f"{counts}: name them in the order of {', '.join(self.classes[:4])}", code="class")
        return replace(self, classes=classes) if isinstance(classes, tuple) else self

    def batch(self, indices: Any, device: torch.device) -> torch.Tensor:
        """The images of some indices, (b, 3, h, w) float32 in 0 to 1 on a device, channels last."""
        chosen = self.pictures[sent(torch.as_tensor(indices), self.pictures.device)]
        return (chosen.to(device).float() / 255).contiguous(memory_format=torch.channels_last)

    def batches(self, device: torch.device, size: int = 128) -> Iterator[torch.Tensor]:
        """All images in their order, as `batch` returns them, so many at a time."""
        return (self.batch(indices, device) for indices in torch.arange(len(self)).split(size))

    def near(self, device: torch.device) -> Labelled:
        """The same with its images on a GPU, if they take no more than a quarter of the free memory there."""
        free = free_memory(device) if device.type == "cuda" else None
        fits = free is not None and self.pictures.nbytes <= free / 4
        return replace(self, pictures=self.pictures.to(device)) if fits else self


def read_labelled(
    data: str | Path,
    *,
    size: Size = None,
    label_column: str = LABELS,
    split_column: str | None = None,
    group: str | None = None,
    seed: int = 0,
    reading: Reading = Reading(),  # noqa: B008 (a frozen value)
    data_root: str | Path | None = None,
) -> Labelled:
    """Read labeled images of a folder (one folder per class, below `train/`, `val/` and `test/` or not), a CSV, or an npz.

    If no test part is named, a share of each class of the training part is drawn, by whole groups. A validation part (val) is
    neither learned from nor reported: by it an epoch is chosen, and the scale of the estimated loss.

    Example:
        >>> np.savez("data.npz", x=np.zeros((20, 24, 32, 3), np.uint8), y=np.arange(20) % 2, class_names=["cat", "dog"])
        >>> data = read_labelled("data.npz")
        >>> data.pictures.shape, data.classes, len(data.part("test"))
        (torch.Size([20, 3, 24, 32]), ('cat', 'dog'), 4)

    Args:
        data: the folder; a CSV with a column `filename` (relative to it), or HAM10000's image_id and dx, or ISIC's image and a
            column per class; or an npz with x_train, y_train, x_val, y_val, x_test, y_test (n, h, w, 3) and class_names, with
            MedMNIST's names, or with x, y.
        size: the short side, or (height, width), in pixels, at least 16; None: as they are, the short side 120 at most.
        label_column: of a CSV: the class, a number or a word; if class_index is not there, dx, label, class and the like.
        split_column: of a CSV: a column that holds train, validation (val) and test.
        group: of a CSV: a column with the group that no split may divide.
        seed: random seed of the test part that is drawn.
        reading: value range, and whether files that are cut off are read as far as they go.
        data_root: of a CSV: the folder that its images must be below; None: its own.

    Raises:
        InputError: nothing there, a missing column, a file that is no image, fewer than two classes, a group on two sides of
            a split, a size below 16.
    """
    path = Path(data)
    _check_size(size)
    found = _read(path, label_column, split_column, group, None if data_root is None else Path(data_root))
    if len(found.classes) < 2 or len(set(found.labels)) < 2:
        raise InputError(f"{path} has images of {len(set(found.labels))} class: give images of 2 or more", code="class")
    if TRAIN not in found.parts:
        raise InputError(f"{path} has no training part: name it train", code="not-found")
    if TEST not in found.parts:
        trained = [i for i, part in enumerate(found.parts) if part == TRAIN]
        labels, groups = [found.labels[i] for i in trained], [found.groups[i] for i in trained]
        drawn = {trained[k] for k in _held_out(labels, groups, TEST_SHARE, seed, found.classes)}
        found = replace(found, parts=[TEST if i in drawn else part for i, part in enumerate(found.parts)])
    _check_parts(found, path)
    stack, labels = found.stack(size, reading), torch.tensor(found.labels)
    height, width = stack.pictures.shape[-2:]
    if min(height, width) < SMALLEST_SIDE:
        way = f"give a size of {SMALLEST_SIDE} pixels or more"
        raise InputError(f"{path} has images of {width} x {height}: {way}", code="size")
    own = tuple(found.groups), tuple(found.parts), tuple(found.classes), path.name
    return Labelled(stack.pictures, labels, *own, stack.values, (*found.remarks, *stack.remarks))


def _check_size(size: Any) -> None:
    if size is None:
        return
    sides: tuple[Any, ...] = size if isinstance(size, tuple) and len(size) == 2 else (size,)
    if not all(is_whole(side) and side >= SMALLEST_SIDE for side in sides):
        raise InputError(f"size must be whole pixels, at least {SMALLEST_SIDE}, got {size}", code="size")


def _read(
    path: Path, label_column: str, split_column: str | None, group: str | None, data_root: Path | None
) -> DataSet:
    ways = "give a folder with one folder per class, a CSV or an npz"
    if not path.exists():
        raise InputError(f"{path} does not exist: {ways}", code="not-found")
    suffix = path.suffix.lower()
    if suffix in TABLES and not path.is_dir():
        return read_table(path, label_column, split_column, group, data_root)
    if (split_column, group, label_column, data_root) != (None, None, LABELS, None):
        raise InputError(f"{path} is no CSV: leave its columns and the data root out", code="option")
    if path.is_dir():
        return read_folder(path)
    if suffix == ".npz":
        return read_npz(path)
    raise InputError(f"{path} is not a data set: {ways}", code="unreadable")


def _held_out(
    labels: Sequence[int], groups: Sequence[str], share: float, seed: int, classes: Sequence[str]
) -> list[int]:
    """The indices of about a share of each class, by whole groups, at least one group of each class on either side."""
    members: dict[str, list[int]] = defaultdict(list)
    for i, group in enumerate(groups):
        members[group].append(i)
    of_class: dict[int, list[list[int]]] = defaultdict(list)
    for indices in members.values():
        of_class[labels[indices[0]]].append(indices)
    random = np.random.default_rng(seed)
    held: list[int] = []
    for label, own in sorted(of_class.items()):
        if len(own) < 2:
            found = f"class {classes[label]} has {len(own)} image (or group of images)"
            raise InputError(f"{found}: give 2 or more, to train and to test on", code="class")
        wanted, before = share * sum(map(len, own)), len(held)
        for k in random.permutation(len(own))[:-1]:
            held += own[k]
            if len(held) - before >= wanted:
                break
    return held


def _check_parts(found: DataSet, path: Path) -> None:
    """Raise InputError if a group is in two parts, or a class has no image in the training part."""
    rows = list(zip(found.parts, found.groups, found.labels, strict=True))
    of_part = {name: {group for part, group, _ in rows if part == name} for name in (TRAIN, VALIDATION, TEST)}
    for one, other in ((TRAIN, TEST), (TRAIN, VALIDATION), (VALIDATION, TEST)):
        if both := sorted(of_part[one] & of_part[other]):
            name = {TRAIN: "training"}.get(one, one)
            way = "correct the split, or leave its column out and one is drawn"
            raise InputError(f"{path}: {both[0]} ({len(both)} such) is both in the {name} and the {other} part: {way}")
    trained = {label for part, _, label in rows if part == TRAIN}
    for label, name in enumerate(found.classes):
        if label not in trained:
            raise InputError(f"{path}: class {name} has no image in the training part: add some", code="class")
