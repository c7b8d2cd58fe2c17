"""What is trained on is what the files hold: any depth, one value range, stored in the model file; nothing guessed in silence."""

from __future__ import annotations

import csv
import io
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from classifiers.small import tiny
from PIL import Image

from preimage.classifiers import Classifier, TrainedModel, load_model
from preimage.classifiers.labelled import Labelled, read_labelled
from preimage.classifiers.load import values_of_model
from preimage.classifiers.model_file import Backbone, write_model
from preimage.classifiers.settings import Settings
from preimage.classifiers.train import Training
from preimage.errors import InputError
from preimage.explain.inputs import one_picture
from preimage.images.ranges import EIGHT_BITS, ValueRange
from preimage.images.stacks import Reading

RAMP = np.linspace(0, 1, 24 * 32).reshape(24, 32)


def folder(root: Path, make, suffix: str = ".tif", each: int = 3) -> Path:
    """Two classes of pictures, make(class, number) -> an array or a function that writes."""
    for label in range(2):
        (root / str(label)).mkdir(parents=True)
        for i in range(each):
            pixels, path = make(label, i), root / str(label) / f"{i}{suffix}"
            if suffix == ".tif":
                tifffile.imwrite(path, pixels, photometric="minisblack" if pixels.ndim == 2 else "rgb")
            else:
                Image.fromarray(pixels).save(path)
    return root


def refused(data: Path, *words: str, code: str | None = None, **options) -> None:
    with pytest.raises(InputError) as caught:
        read_labelled(data, **options)
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert "\n" not in text
    if code is not None:
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("scale", "dtype", "values"),
    [
        (65535, np.uint16, ValueRange(0, 65535, "uint16")),
        (4000, np.uint16, ValueRange(0, 4095, "uint16")),
        (1, np.float32, ValueRange(0, 1, "float32")),
        (1, np.float64, ValueRange(0, 1, "float64")),
        (250.5, np.float32, ValueRange(0, 250.5, "float32")),
        (3000, np.int16, ValueRange(0, 4095, "int16")),
        (255, np.uint8, EIGHT_BITS),
    ],
)
@pytest.mark.parametrize("color", [False, True])
def test_every_depth_is_read_in_its_own_range(tmp_path, scale, dtype, values, color):
    pixels = (RAMP * scale).astype(dtype)
    data = read_labelled(folder(tmp_path, lambda *_: np.stack([pixels] * 3, -1) if color else pixels))
    assert data.values == values
    expected = (pixels.astype(float) / values.high * 255)[None]
    assert abs(data.pictures.float().numpy() - expected).max() <= 0.51


def test_16_bit_png_and_resizing(tmp_path):
    data = read_labelled(folder(tmp_path, lambda *_: (RAMP * 60_000).astype(np.uint16), ".png"), size=16)
    assert data.pictures.shape[-2:] == (16, 20)
    assert data.values.high == 65535
    assert int(data.pictures.max()) < 240
    assert len(data.pictures.unique()) > 100


def test_signed_values_go_from_end_to_end_of_all(tmp_path):
    data = read_labelled(folder(tmp_path, lambda label, i: (RAMP * 2000 - 1000 * (label + 1)).astype(np.int16)))
    assert data.values == ValueRange(-2000, 1000, "int16")
    assert float(data.pictures[data.labels == 1].float().mean()) < float(data.pictures[data.labels == 0].float().mean())


def test_mixed_depths_are_refused_and_named(tmp_path):
    kinds = (np.uint8, np.uint16)
    root = folder(tmp_path, lambda label, _: (RAMP * 255).astype(kinds[label]))
    refused(root, "0.tif holds uint8 values", "uint16", code="type")


def test_values_that_are_no_numbers_are_refused(tmp_path):
    spoiled = RAMP.astype(np.float32)
    spoiled[3, 4] = np.nan
    refused(folder(tmp_path, lambda *_: spoiled), ".tif: 1 values are NaN", code="range")


def test_stacks_and_animations_are_refused_and_named(tmp_path):
    root = folder(tmp_path / "a", lambda *_: (RAMP * 255).astype(np.uint8))
    tifffile.imwrite(root / "1" / "1.tif", np.zeros((2, 24, 32), np.uint8), photometric="minisblack")
    refused(root, "1.tif has 2 pages", "save each as a file", code="shape")
    root = folder(tmp_path / "b", lambda *_: (RAMP * 255).astype(np.uint8), ".png")
    frames = [Image.fromarray(np.full((24, 32), 99 * i, np.uint8)) for i in range(2)]
    frames[0].save(root / "1" / "moving.gif", save_all=True, append_images=frames[1:])
    refused(root, "moving.gif is an animation of 2 frames")


def bomb() -> bytes:
    import struct
    import zlib

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks
    )


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 24\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize(
    ("content", "code"), [(bomb(), "size"), (POSTSCRIPT, "unreadable"), (b"8BPS\0\1" + bytes(40), "unreadable")]
)
@pytest.mark.parametrize("place", ["0.png", "2.png"])
def test_what_is_no_picture_is_named(tmp_path, content, code, place):
    root = folder(tmp_path, lambda *_: (RAMP * 255).astype(np.uint8), ".png")
    (root / "1" / place).write_bytes(content)
    refused(root, str(root / "1" / place), code=code)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.npz", "folder"])
def test_pipes_are_refused_everywhere(tmp_path, name):
    if name == "folder":
        root = folder(tmp_path / name, lambda *_: (RAMP * 255).astype(np.uint8), ".png")
        os.mkfifo(root / "1" / "9.png")
    else:
        os.mkfifo(tmp_path / name)
    refused(tmp_path / name, "is a pipe", code="unreadable")


def test_a_picture_that_is_cut_off_is_salvaged_where_that_is_specified(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    root = folder(tmp_path, lambda *_: noise, ".jpg")
    cut = root / "1" / "1.jpg"
    cut.write_bytes(cut.read_bytes()[:1500] + b"\xff\xd9")
    refused(root, "1.jpg is damaged or truncated", "--salvage")
    data = read_labelled(root, reading=Reading(salvage=True))
    assert len(data) == 6
    assert [remark for remark in data.remarks if "1.jpg is cut off" in remark]


def test_a_range_that_is_specified_holds_for_all(tmp_path):
    root = folder(tmp_path, lambda *_: (RAMP * 1000).astype(np.uint16))
    data = read_labelled(root, reading=Reading(value_range=(0, 2000)))
    assert int(data.pictures.max()) == 128
    refused(root, "outside the value range 0 to 500", code="range", reading=Reading(value_range=(0, 500)))


# ---------------------------------------------------------------------- tables


def table(path: Path, names: list[str]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("filename", "class_index"), *((name, i % 2) for i, name in enumerate(names))])
    return path


@pytest.mark.parametrize("way", ["absolute", "../", "a/../../"])
def test_rows_outside_of_the_folder_need_the_data_root(tmp_path, way):
    root = folder(tmp_path / "images", lambda *_: (RAMP * 255).astype(np.uint8), ".png")
    (tmp_path / "lists" / "a").mkdir(parents=True)
    files = sorted(root.rglob("*.png"))
    before = f"{root}/" if way == "absolute" else f"{way}images/"
    path = table(tmp_path / "lists" / "a.csv", [before + str(file.relative_to(root)) for file in files])
    refused(path, "line 2", "--data-root", code="option")
    assert len(read_labelled(path, data_root=tmp_path)) == 6
    refused(path, "--data-root", code="option", data_root=tmp_path / "lists")


def test_a_link_does_not_lead_out_of_the_folder_by_dots(tmp_path):
    root = folder(tmp_path / "images", lambda *_: (RAMP * 255).astype(np.uint8), ".png")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "link").symlink_to(root / "0")
    names = [f"link/../{file.relative_to(root)}" for file in sorted(root.rglob("*.png"))]
    refused(table(tmp_path / "lists" / "a.csv", names), "--data-root", code="option")


def test_dots_within_the_folder_are_fine(tmp_path):
    root = folder(tmp_path, lambda *_: (RAMP * 255).astype(np.uint8), ".png")
    files = sorted(root.rglob("*.png"))
    assert len(read_labelled(table(root / "a.csv", [f"0/../{file.relative_to(root)}" for file in files]))) == 6


# ---------------------------------------------------------------------- npz


def npz(path: Path, **arrays) -> Path:
    np.savez_compressed(path, **arrays)
    return path


X = np.zeros((6, 16, 16, 3), np.uint8)


@pytest.mark.parametrize(
    "labels",
    [
        [0, 1, 0, 1, 0, 2**31],
        [0, 1, 0, 1, 0, 2**62],
        [0, 1, 0, 1, 0, 2**64 - 1],
        [0, 1, 0, 1, 0, -1],
        list("ababab"),
        [0.5] * 6,
    ],
)
def test_labels_that_count_no_classes_are_refused(tmp_path, labels):
    refused(npz(tmp_path / "a.npz", x=X, y=np.array(labels)), "labels must be")


def test_an_npz_larger_than_the_memory_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    path = npz(tmp_path / "a.npz", x=np.zeros((100, 64, 64, 3), np.uint8), y=np.arange(100) % 2)
    monkeypatch.setattr("preimage.images.memory.free_memory", lambda: 2_000_000)
    monkeypatch.setattr("numpy.lib.format.read_array", lambda *_, **__: pytest.fail("unpacked"))
    refused(path, "needs about", code="memory")


def header(shape: str, dtype: str = "|u1") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "head", [header("(10**12,)"), header("(1000000000000,)"), header("(" * 500 + ")" * 500), header("(-1,)"), b""]
)
def test_a_forged_header_is_refused(tmp_path, head):
    buffer = io.BytesIO()
    np.save(buffer, np.arange(6) % 2)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", head + bytes(100))
        archive.writestr("y.npy", buffer.getvalue())
    refused(tmp_path / "a.npz", "no npz of plain arrays", code="unreadable")


# ---------------------------------------------------------------------- model files


def test_a_classifier_reads_its_inputs_in_the_range_of_its_training(tmp_path):
    random = np.random.default_rng(0)
    make = lambda label, _: (RAMP * 4000 * random.random(RAMP.shape) ** (1 + label)).astype(np.uint16)  # noqa: E731
    root = folder(tmp_path / "data", make, each=8)
    data = read_labelled(root)
    training = Training(data, Settings(backbone="timm:test_resnet", epochs=1, batch=4, mix=0.0), device="cpu")
    for _ in training.steps():
        pass
    write_model(tmp_path / "m.pt", training.result())
    classifier = load_model(tmp_path / "m.pt").classifier
    assert classifier.values == values_of_model(tmp_path / "m.pt") == ValueRange(0, 4095, "uint16")
    assert values_of_model(f"a.b:c@{tmp_path / 'm.pt'}") == classifier.values
    picture = one_picture(root / "0" / "0.tif", values=classifier.values)
    assert picture.units() == (0, 4095)
    held = tifffile.imread(root / "0" / "0.tif")
    assert torch.allclose(picture.tensor[0, 0], torch.tensor(held / 4095).float())
    assert one_picture((RAMP * 255).astype(np.uint8), values=classifier.values).units() == (0, 255)
    bright = one_picture((RAMP * 60_000).astype(np.uint16), values=classifier.values)
    assert float(bright.tensor.max()) == 1
    assert "clipped" in bright.remarks[0]


@pytest.mark.parametrize("values", [[0, float("nan"), "uint8"], [5, 5, "uint8"], [0, 1], "abc", [0, 1, "words"], 3])
def test_a_forged_range_in_a_model_file_is_refused(tmp_path, values):
    origin = Backbone("thin_resnet10")
    write_model(tmp_path / "m.pt", TrainedModel(Classifier(origin.build(2), 2), origin=origin))
    held = torch.load(tmp_path / "m.pt", weights_only=True)
    torch.save(held | {"values": values}, tmp_path / "m.pt")
    with pytest.raises(InputError):
        load_model(tmp_path / "m.pt")


def test_a_data_set_made_in_python_has_eight_bits():
    data = Labelled(
        torch.zeros(4, 3, 16, 16, dtype=torch.uint8),
        torch.tensor([0, 1, 0, 1]),
        tuple("abcd"),
        ("train",) * 4,
        ("a", "b"),
        "x",
    )
    assert data.values == EIGHT_BITS
    assert replace(data, name="y").remarks == ()
    assert tiny().values is None
