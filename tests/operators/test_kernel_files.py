"""Kernels from arrays, tables and pictures: equal up to their sum, whatever they come in."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from preimage.errors import InputError
from preimage.operators import read_kernel

VALUES = np.array([[0, 10, 0], [20, 100, 40], [0, 30, 5]], np.float64)
EXPECTED = torch.from_numpy(VALUES / VALUES.sum()).float()


def as_npy(path: Path) -> Path:
    np.save(path / "k.npy", VALUES)
    return path / "k.npy"


def as_text(path: Path) -> Path:
    np.savetxt(path / "k.txt", VALUES, header="a kernel")
    return path / "k.txt"


def as_csv(path: Path) -> Path:
    (path / "k.csv").write_text("\ufeff0, 10, 0\n20;100;40\n\n0\t30 5  # the last row\n", encoding="utf-8")
    return path / "k.csv"


def as_png(path: Path) -> Path:
    Image.fromarray(VALUES.astype(np.uint8)).save(path / "k.png")
    return path / "k.png"


def as_png16(path: Path) -> Path:
    Image.fromarray((VALUES * 300).astype(np.uint16)).save(path / "k.png")
    return path / "k.png"


def as_color_png(path: Path) -> Path:
    channels = np.stack([VALUES, VALUES * 2, VALUES * 0], 2).astype(np.uint8)
    Image.fromarray(channels).save(path / "k.png")
    return path / "k.png"


def with_alpha(path: Path) -> Path:
    grey = Image.fromarray(VALUES.astype(np.uint8))
    Image.merge("LA", (grey, Image.new("L", grey.size, 77))).save(path / "k.png")
    return path / "k.png"


def as_float_tiff(path: Path) -> Path:
    Image.fromarray((VALUES / 1000).astype(np.float32)).save(path / "k.tif")
    return path / "k.tif"


@pytest.mark.parametrize("kind", [as_npy, as_text, as_csv, as_png, as_png16, as_color_png, with_alpha, as_float_tiff])
def test_files(tmp_path: Path, kind) -> None:
    path = kind(tmp_path)
    kernel = read_kernel(path)
    assert kernel.dtype == torch.float32
    torch.testing.assert_close(kernel, EXPECTED, rtol=0, atol=1e-6)
    torch.testing.assert_close(read_kernel(str(path)), kernel)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_pictures_of_sixteen_pixels_and_more_are_proportional_too(tmp_path: Path, dtype: str) -> None:
    """Also where the least value of the file is not 0, which `images.read` makes 0."""
    values = np.random.default_rng(0).integers(50, 250, (17, 19)).astype(dtype)
    path = tmp_path / ("k.tif" if dtype == "float32" else "k.png")
    Image.fromarray(values).save(path)
    expected = torch.from_numpy(values / values.sum(dtype=np.float64)).float()
    torch.testing.assert_close(read_kernel(path), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "source",
    [
        VALUES,
        VALUES.astype(np.int32),
        np.asfortranarray(VALUES),
        VALUES[::-1, ::-1][::-1, ::-1],
        torch.from_numpy(VALUES),
        torch.from_numpy(VALUES).to(torch.bfloat16),
        torch.from_numpy(VALUES).float().requires_grad_(),
    ],
)
def test_arrays_and_tensors(source) -> None:
    kernel = read_kernel(source)
    torch.testing.assert_close(kernel, EXPECTED, rtol=0, atol=1e-6)
    assert not kernel.requires_grad


def test_the_array_is_not_shared() -> None:
    array = EXPECTED.numpy().copy()
    kernel = read_kernel(array)
    array[:] = 0
    assert float(kernel.sum()) == pytest.approx(1)


def test_negative_lobes_are_kept() -> None:
    assert float(read_kernel(np.array([[-1.0, 4.0, -1.0]])).min()) == pytest.approx(-0.5)


@pytest.mark.parametrize(
    ("source", "named"),
    [
        (VALUES[None], "(1, 3, 3)"),
        (np.zeros((0, 3)), "(0, 3)"),
        (VALUES * 1j, "complex128"),
        (np.array([["a", "b"]]), "<U1"),
        (np.array([[1, np.nan, np.inf]]), "2 values"),
        (np.zeros((3, 3)), "sums to 0"),
        (-VALUES, "-205"),
        (np.array([[0.1, 0.2, -0.3]]), "sum"),
    ],
)
def test_values_that_are_refused(source, named: str) -> None:
    with pytest.raises(InputError, match=re.escape(named)) as raised:
        read_kernel(source)
    assert raised.value.code == "kernel"
    assert "\n" not in str(raised.value)


def test_other_things_are_refused() -> None:
    with pytest.raises(InputError, match="got int") as raised:
        read_kernel(3)  # type: ignore[arg-type]
    assert raised.value.code == "type"


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("none.npy", None, "not-found"),
        ("none.txt", None, "not-found"),
        ("none.png", None, "not-found"),
        ("k.npy", b"", "unreadable"),
        ("k.npy", b"no such thing", "unreadable"),
        ("k.txt", b"# only a remark\n", "unreadable"),
        ("k.csv", b"1,2\n3\n", "unreadable"),
        ("k.csv", b"x,y\n1,2\n", "unreadable"),
        ("k.txt", b"\xff\xfe\x00", "unreadable"),
        ("k.txt", b"nan 1\n", "kernel"),
        ("k.txt", b"0 0\n", "kernel"),
        ("k.png", b"no picture", "unreadable"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, name: str, content: bytes | None, code: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        read_kernel(path)
    assert raised.value.code == code
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "k.npy").mkdir()
    for folder in (tmp_path, tmp_path / "k.npy"):
        with pytest.raises(InputError, match=re.escape(str(folder))) as raised:
            read_kernel(folder)
        assert raised.value.code == "unreadable"


def test_of_several_pages_none_is_taken_for_the_kernel(tmp_path: Path) -> None:
    page = Image.fromarray(VALUES.astype(np.uint8))
    page.save(tmp_path / "k.tif", save_all=True, append_images=[page])
    with pytest.raises(InputError, match=r"k\.tif has 2 pages") as raised:
        read_kernel(tmp_path / "k.tif")
    assert raised.value.code == "option"


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "k.npy", np.array([[object()]]), allow_pickle=True)
    with pytest.raises(InputError, match=r"k\.npy") as raised:
        read_kernel(tmp_path / "k.npy")
    assert raised.value.code == "unreadable"
