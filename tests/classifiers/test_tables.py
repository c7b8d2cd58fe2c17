"""Data sets as the field publishes them: HAM10000's metadata, ISIC's one-hot tables, MedMNIST's npz; and one meaning of val."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from classifiers.small import refused
from PIL import Image

from preimage.classifiers.data_sets import part_of
from preimage.classifiers.labelled import Labelled, read_labelled
from preimage.classifiers.settings import Settings
from preimage.classifiers.train import Training

BRIEF = Settings(backbone="timm:test_resnet", epochs=2, batch=8, mix=0.0)


def shade(number: int) -> np.ndarray:
    """A picture that tells its number."""
    noise = np.random.default_rng(number).integers(0, 40, (32, 32, 3))
    return (noise + 4 * number).clip(0, 255).astype(np.uint8)


def written(folder: Path, names: list[str], suffix: str = ".png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.fromarray(shade(number)).save(folder / f"{name}{suffix}")


def table(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


NAMES = [f"ISIC_00243{i:02}" for i in range(24)]
DX = ["bkl", "nv", "mel"]


def ham10000(path: Path) -> Path:
    """The official metadata: no extensions, a lesion on several images."""
    rows = [
        {"lesion_id": f"HAM_{i // 2 * 2 + i % 3 // 9}", "image_id": name, "dx": DX[i // 2 % 3], "dx_type": "histo", "age": 80.0,
         "sex": "male", "localization": "scalp", "dataset": "vidir_modern"}
        for i, name in enumerate(NAMES)
    ]  # fmt: skip
    return table(path, rows)


def shown(data: Labelled) -> list[int]:
    """The number that each picture tells."""
    return [round((float(each.float().mean()) - 19.5) / 4) for each in data.pictures]


@pytest.mark.parametrize("places", ["beside", "in two parts", "elsewhere", "with an extension in the table"])
def test_the_official_metadata_of_ham10000(tmp_path, places):
    path = ham10000(tmp_path / "lists" / "HAM10000_metadata.csv")
    root = tmp_path / "images" if places == "elsewhere" else path.parent
    if places == "in two parts":
        written(root / "HAM10000_images_part_1", NAMES[:12])
        for i in range(12, 24):
            (root / "HAM10000_images_part_2").mkdir(exist_ok=True)
            Image.fromarray(shade(i)).save(root / "HAM10000_images_part_2" / f"{NAMES[i]}.png")
    else:
        written(root, NAMES)
    (root / f"{NAMES[0]}_segmentation.png").write_bytes(b"of another name")
    if places.startswith("with"):
        table(path, [row | {"image_id": f"{row['image_id']}.png"} for row in rows_of(path)])
    data = read_labelled(path, group="lesion_id", data_root=tmp_path if places == "elsewhere" else None)
    assert data.classes == ("bkl", "mel", "nv")
    assert shown(data) == list(range(24))
    assert [data.classes[label] for label in data.labels] == [DX[i // 2 % 3] for i in range(24)]
    assert not set(data.part("train").groups) & set(data.part("test").groups)
    assert data.remarks == ("images are named by the column image_id, classes by the column dx",)
    alone = read_labelled(path, data_root=tmp_path if places == "elsewhere" else None)
    assert "--group lesion_id" in alone.remarks[-1]


ISIC = ["MEL", "NV", "BCC"]


def isic(path: Path, more: tuple[str, ...] = (), *, one: str = "1.0", zero: str = "0.0", file: str = "image") -> Path:
    rows: list[dict[str, str]] = []
    for i, name in enumerate(NAMES):
        bits = {each: one if k == i % 3 else zero for k, each in enumerate(ISIC)}
        rows.append({file: name} | bits | dict.fromkeys(more, zero))
    return table(path, rows)


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({}, ""),
        ({"one": "1", "zero": "0"}, ""),
        ({"more": ("UNK",)}, "no image is of UNK"),
        ({"file": "image_name"}, ""),
    ],
)
def test_a_table_with_a_column_for_each_class(tmp_path, options, left):
    path = isic(tmp_path / "GroundTruth.csv", **options)
    written(tmp_path / "Input", NAMES, ".jpg")
    data = read_labelled(path)
    assert data.classes == tuple(ISIC)
    assert data.labels.tolist() == [i % 3 for i in range(24)]
    assert "classes by the columns MEL, NV, BCC" in data.remarks[0]
    assert left in " ".join(data.remarks)
    assert ("left out" in " ".join(data.remarks)) is bool(left)


def test_a_table_with_a_split_and_a_group_beside_its_classes(tmp_path):
    path = isic(tmp_path / "a.csv")
    rows = rows_of(path)
    parts = ["train", "val", "test", "train"]
    rows = [row | {"split": parts[i // 3 % 4], "patient_id": str(i // 3)} for i, row in enumerate(rows)]
    written(tmp_path, NAMES)
    data = read_labelled(table(path, rows), split_column="split", group="patient_id")
    assert [len(data.part(name)) for name in ("train", "validation", "test")] == [12, 6, 6]
    assert data.classes == tuple(ISIC)


def changed(path: Path, before: str, after: str) -> Path:
    path.write_text(path.read_text().replace(before, after, 1))
    return path


@pytest.mark.parametrize(
    ("make", "code", "found"),
    [
        (lambda p: changed(isic(p / "a.csv"), "0.0,1.0", "1.0,1.0"), "class", "line 3: the image is of 2 classes (MEL, NV)"),
        (lambda p: changed(isic(p / "a.csv"), "0.0,1.0", "0.0,0.0"), "class", "line 3: the image is of none of MEL, NV, BCC"),
        (lambda p: changed(isic(p / "a.csv"), "0.0,1.0,0.0", "0.2,0.8,0.5"), "not-found", "'class_index'"),
        (lambda p: changed(isic(p / "a.csv"), NAMES[2], "ISIC_9"), "not-found", "line 4: there is no image ISIC_9 (.jpg, "),
        (lambda p: changed(ham10000(p / "a.csv"), f"{NAMES[2]},", ","), "unreadable", "line 4: image_id is empty"),
        (lambda p: changed(ham10000(p / "a.csv"), ",nv,", ",,"), "unreadable", "line 4: dx is empty"),
        (lambda p: written(p / "more", NAMES[:3]) or ham10000(p / "a.csv"), "option", f"line 2: {NAMES[0]} may be"),
        (lambda p: changed(ham10000(p / "a.csv"), "image_id", "where"), "not-found", "no column 'filename'"),
        (lambda p: changed(ham10000(p / "a.csv"), "dx,", "what,"), "not-found", "no column 'class_index'"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_used_are_one_line(tmp_path, make, code, found):
    written(tmp_path / "images", NAMES)
    assert found in refused(code, read_labelled, make(tmp_path))


def test_two_pictures_of_one_name(tmp_path):
    written(tmp_path, NAMES)
    written(tmp_path / "copies", NAMES[:1], ".jpg")
    path = ham10000(tmp_path / "a.csv")
    (tmp_path / f"{NAMES[0]}.png").rename(tmp_path / "copies" / f"{NAMES[0]}.png")
    assert "may be" in refused("option", read_labelled, path)


# ---------------------------------------------------------------------- npz


def medmnist(path: Path, *, gray: bool = False, parts=("train", "val", "test"), **changes) -> Path:
    """As MedMNIST: images (n, 28, 28) or (n, 28, 28, 3), labels (n, 1), of 18, 6 and 6 images."""
    arrays: dict[str, Any] = {}
    for first, (name, count) in zip((0, 18, 24), (("train", 18), ("val", 6), ("test", 6)), strict=True):
        images = np.stack([shade(first + i)[:28, :28] for i in range(count)])
        arrays[f"{name}_images"] = images[..., 0] if gray else images
        arrays[f"{name}_labels"] = (np.arange(count) % 3).astype(np.uint8)[:, None]
    kept = {name: value for name, value in arrays.items() if name.split("_")[0] in parts}
    np.savez_compressed(path, **(kept | changes))
    return path


@pytest.mark.parametrize("gray", [False, True])
def test_medmnist(tmp_path, gray):
    data = read_labelled(medmnist(tmp_path / "bloodmnist.npz", gray=gray))
    assert [len(data.part(name)) for name in ("train", "validation", "test")] == [18, 6, 6]
    assert (data.size, data.classes) == ((28, 28), ("0", "1", "2"))
    assert data.part("validation").labels.tolist() == [0, 1, 2] * 2
    assert shown(data.part("test")) == list(range(24, 30))


def test_our_own_names_with_a_validation_part_and_one_hot_labels(tmp_path):
    x, y = np.stack([shade(i) for i in range(30)]), np.arange(30) % 3
    hot = np.eye(3, dtype=np.float32)[y]
    arrays: dict[str, Any] = {"x_train": x[:18], "y_train": hot[:18], "x_val": x[18:24], "y_val": hot[18:24]}
    np.savez(tmp_path / "a.npz", **arrays, x_test=x[24:], y_test=hot[24:], class_names=["a", "b", "c"])
    data = read_labelled(tmp_path / "a.npz")
    assert [len(data.part(name)) for name in ("train", "validation", "test")] == [18, 6, 6]
    assert data.labels.tolist() == y.tolist()
    assert data.classes == ("a", "b", "c")


@pytest.mark.parametrize(
    ("changes", "code", "found"),
    [
        ({"train_labels": np.ones((18, 14), np.uint8)}, "class", "labels (18, 14) are several at once"),
        ({"train_labels": np.zeros((18, 1), np.uint8)}, "class", "has no image in the training part"),
        ({"val_images": np.zeros((6, 32, 32, 3), np.uint8)}, "shape", "(28, 28, 3) uint8 and (32, 32, 3) uint8"),
        ({"train_images": np.zeros((18, 28, 28, 28), np.uint8)}, "shape", "(28, 28, 28)"),
        ({"x_train": np.zeros((18, 28, 28, 3), np.uint8), "y_train": np.arange(18) % 3}, "unreadable", "train_images"),
        ({"train_labels": (np.arange(17) % 3)[:, None]}, "shape", "29 labels"),
    ],
)
def test_an_npz_that_cannot_be_used_is_one_line(tmp_path, changes, code, found):
    assert found in refused(code, read_labelled, medmnist(tmp_path / "a.npz", **changes))


# ---------------------------------------------------------------------- one meaning of val


def as_folder(root: Path, names: tuple[str, ...]) -> Path:
    numbers = iter(range(99))
    for part in names:
        for label in "abc":
            (root / part / label).mkdir(parents=True)
            for i in range(6):
                Image.fromarray(shade(next(numbers))).save(root / part / label / f"{i}.png")
    return root


def as_csv(root: Path, names: tuple[str, ...]) -> Path:
    as_folder(root, names)
    files = sorted(root.rglob("*.png"))
    rows = [
        {"filename": str(file.relative_to(root)), "label": file.parent.name, "split": file.parts[-3]} for file in files
    ]
    return table(root / "a.csv", rows)


def as_npz(root: Path, names: tuple[str, ...]) -> Path:
    x, y = np.stack([shade(i) for i in range(18)]), np.arange(18) // 6
    arrays: dict[str, Any] = {f"{what}_{name}": part for name in names for what, part in (("x", x), ("y", y))}
    np.savez(root / "a.npz", **arrays)
    return root / "a.npz"


FORMS = {"folder": as_folder, "csv": as_csv, "npz": as_npz}


def read(form: str, root: Path, *names: str) -> Labelled:
    path = FORMS[form](root, names)
    return read_labelled(path, split_column="split" if form == "csv" else None)


@pytest.mark.parametrize("form", FORMS)
def test_val_is_neither_learned_from_nor_reported(tmp_path, form):
    data = read(form, tmp_path, "train", "val", "test")
    assert [len(data.part(name)) for name in ("train", "validation", "test")] == [18, 18, 18]
    training = Training(data, BRIEF, device="cpu")
    for own, name in ((training.learned, "train"), (training.validation, "validation")):
        assert torch.equal(own.pictures, data.part(name).pictures)
    about = training.run().about
    assert about["pictures"] == {"train": 18, "validation": 18, "test": 18}


@pytest.mark.parametrize("form", FORMS)
def test_with_val_alone_the_test_part_is_drawn_from_the_training_part(tmp_path, form):
    data = read(form, tmp_path, "train", "val")
    parts = {name: data.part(name) for name in ("train", "validation", "test")}
    assert [len(part) for part in parts.values()] == [15, 18, 3]
    assert not set(parts["test"].groups) & (set(parts["train"].groups) | set(parts["validation"].groups))
    assert parts["test"].labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize("form", FORMS)
def test_with_test_alone_the_validation_part_is_a_share_of_the_training_part(tmp_path, form):
    data = read(form, tmp_path, "train", "test")
    learned, validation = data.learned_and_validation(0)
    assert [len(part) for part in (learned, validation, data.part("test"))] == [15, 3, 18]


@pytest.mark.parametrize("form", FORMS)
def test_without_a_training_part_nothing_can_be_learned(tmp_path, form):
    assert "no training part" in refused("not-found", read, form, tmp_path, "val", "test")


def test_what_val_holds_changes_no_weight_but_the_scale_and_the_epoch(tmp_path):
    data = read("npz", tmp_path, "train", "val", "test")
    spoiled = data.pictures.clone()
    spoiled[[i for i, part in enumerate(data.parts) if part == "validation"]] = 255 - data.part("validation").pictures
    other = Labelled(spoiled, data.labels, data.groups, data.parts, data.classes, data.name)
    first, second = (Training(each, BRIEF, device="cpu") for each in (data, other))
    one, two = first.run(), second.run()
    for name, value in first.both.state_dict().items():
        assert torch.equal(second.both.state_dict()[name], value), name
    assert one.about["validation"] != two.about["validation"]
    assert one.estimator is not None
    assert two.estimator is not None
    assert not torch.equal(one.estimator.quantiles, two.estimator.quantiles)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("val", "validation"),
        ("Valid", "validation"),
        ("dev", "validation"),
        ("TEST", "test"),
        (" train ", "train"),
        ("x", None),
    ],
)
def test_the_names_of_parts(name, part):
    assert part_of(name) == part


def test_a_class_may_be_called_train(tmp_path):
    written(tmp_path / "train", ["a", "b", "c"])
    written(tmp_path / "bus", ["a", "b", "c"])
    assert read_labelled(tmp_path).classes == ("bus", "train")


def test_a_group_in_validation_and_another_part_is_refused(tmp_path):
    path = as_csv(tmp_path, ("train", "val"))
    rows = [row | {"who": str(i % 18)} for i, row in enumerate(rows_of(path))]
    table(path, rows)
    message = refused("invalid-value", read_labelled, path, split_column="split", group="who")
    assert "both in the training and the validation part" in message
