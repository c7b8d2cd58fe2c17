"""Any array in, the same array out: every format, depth, number of channels, alpha and pages that the library writes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
import tifffile
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from properties import examples

from preimage import InputError
from preimage.images import as_picture, read
from preimage.images.formats import EXTENSIONS, check_holds


@dataclass(frozen=True)
class Kind:
    """A file that holds every value of such arrays exactly (or, of floats, to a part of their range)."""

    suffix: str
    dtype: str
    channels: int
    alpha: bool = False

    def __str__(self) -> str:
        return f"{self.suffix[1:]}-{self.dtype}-{self.channels}{'-alpha' if self.alpha else ''}"


KINDS = [
    *(Kind(".png", dtype, channels) for dtype in ("uint8", "uint16") for channels in (1, 3)),
    *(Kind(".png", dtype, channels, alpha=True) for dtype in ("uint8", "uint16") for channels in (2, 4)),
    *(Kind(suffix, "uint8", channels) for suffix, channels in ((".bmp", 1), (".bmp", 3), (".webp", 3))),
    Kind(".webp", "uint8", 4, alpha=True),
    *(Kind(".tif", dtype, channels) for dtype in ("uint8", "int8", "uint16", "int16") for channels in (1, 3, 5)),
    *(Kind(".tif", dtype, channels) for dtype in ("float16", "float32", "float64") for channels in (1, 3)),
    *(Kind(".tif", dtype, channels, alpha=True) for dtype in ("uint8", "uint16") for channels in (2, 4)),
    *(Kind(".fits", dtype, 1) for dtype in ("uint8", "int16", "uint16", "float32")),
]


@st.composite
def any_array(draw: Any, kind: Kind, *, pages: int = 0) -> NDArray[Any]:
    """(h, w) or (h, w, c), with pages (p, h, w), 16 pixels a side or a few more; no NaN, which is a missing value."""
    tail = () if kind.channels == 1 else (kind.channels,)
    shape = (*((pages,) if pages else ()), draw(st.integers(16, 21)), draw(st.integers(16, 21)), *tail)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    unit = {
        "noise": lambda: rng.random(shape),
        "two values": lambda: rng.integers(0, 2, shape).astype(float),
        "constant": lambda: np.full(shape, rng.random()),
        "a ramp": lambda: np.linspace(0, 1, int(np.prod(shape))).reshape(shape),
        "one odd value": lambda: (np.arange(int(np.prod(shape))) == 7).astype(float).reshape(shape),
    }[draw(st.sampled_from(["noise", "two values", "constant", "a ramp", "one odd value"]))]()
    if kind.dtype.startswith("float"):
        span = 10.0 ** draw(st.integers(-2 if kind.dtype == "float16" else -6, 3 if kind.dtype == "float16" else 9))
        return (unit * span - span * draw(st.sampled_from([0.0, 0.5]))).astype(kind.dtype)
    limits = np.iinfo(kind.dtype)
    low, high = sorted(draw(st.tuples(*[st.integers(limits.min, limits.max)] * 2)))
    return np.rint(low + unit * (high - low)).astype(kind.dtype)


def assert_same(found: NDArray[Any], expected: NDArray[Any]) -> None:
    """Equal integers; floats to 2^-22 of their range, for x is float32 in 0 to 1, and to their own precision."""
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if found.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected)
        return
    wide = expected.astype(float)
    tolerance = np.ptp(wide) * 2.0**-22 + np.finfo(expected.dtype).eps * np.abs(wide)
    assert (np.abs(found.astype(float) - wide) <= tolerance).all()


def save(path: Path, kind: Kind, array: NDArray[Any]) -> None:
    """By the libraries, not by our own writer."""
    if kind.suffix == ".tif":
        rgb = kind.channels in (3, 4) and (kind.channels == 3 or kind.alpha)
        extra = [2] if kind.alpha else [0] * (kind.channels - 1 if not rgb else 0) or None
        planes: Any = None if kind.channels == 1 else "contig"
        tifffile.imwrite(
            path,
            array,
            photometric="rgb" if rgb else "minisblack",
            planarconfig=planes,
            extrasamples=extra,
            metadata=None,
        )
    elif kind.suffix == ".fits":
        pytest.importorskip("astropy")
        from astropy.io import fits

        fits.PrimaryHDU(array).writeto(path, overwrite=True)
    elif array.dtype == np.uint16:
        import cv2

        cv2.imwrite(str(path), array if array.ndim == 2 else array[..., [2, 1, 0, 3][: kind.channels]])
    else:
        Image.fromarray(array).save(path, lossless=True, exact=True)


@pytest.mark.parametrize(
    "kind", [each for each in KINDS if (each.dtype, each.channels) != ("uint16", 2) or each.suffix != ".png"], ids=str
)
def test_a_file_comes_back_as_it_was(kind: Kind, tmp_path: Path) -> None:
    @examples(8)
    @given(any_array(kind))
    def holds(array: NDArray[Any]) -> None:
        path = tmp_path / f"a{kind.suffix}"
        save(path, kind, array)
        picture = read(path)
        assert picture.tensor.dtype == torch.float32
        assert bool(((picture.tensor >= 0) & (picture.tensor <= 1)).all())
        assert picture.tensor.shape[1] == kind.channels - kind.alpha
        found = picture.to_array(picture.tensor)
        if picture.alpha is not None and found.shape[-1] != kind.channels:
            found = np.concatenate([found.reshape(*array.shape[:2], -1), picture.alpha[0][..., None]], 2)
        assert_same(found.reshape(array.shape), array)
        copy = picture.write(picture.tensor, tmp_path / f"b{kind.suffix}", overwrite=True)
        again = read(copy)
        assert torch.equal(again.tensor, picture.tensor) or kind.dtype.startswith("float")
        assert again.dtype == picture.dtype
        assert (again.alpha is None) == (picture.alpha is None)
        if again.alpha is not None and picture.alpha is not None:
            np.testing.assert_array_equal(again.alpha, picture.alpha)
        assert_same(again.to_array(again.tensor), picture.to_array(picture.tensor))

    holds()


@pytest.mark.parametrize("kind", [Kind(".tif", dtype, 1) for dtype in ("uint8", "uint16", "float32")], ids=str)
def test_a_stack_comes_back_as_it_was(kind: Kind, tmp_path: Path) -> None:
    @examples(6)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        pages = data.draw(st.integers(2, 4))
        array = data.draw(any_array(kind, pages=pages))
        tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", metadata=None)
        picture = read(tmp_path / "a.tif", page="all")
        assert picture.tensor.shape == (pages, 1, *array.shape[1:])
        assert_same(picture.to_array(picture.tensor).reshape(array.shape), array)
        again = read(picture.write(picture.tensor, tmp_path / "b.tif", overwrite=True), page="all")
        assert_same(again.to_array(again.tensor).reshape(array.shape), array)

    holds()


@examples(60)
@given(st.data())
def test_an_array_comes_back_as_it_was(data: st.DataObject) -> None:
    kind = Kind(
        "",
        data.draw(st.sampled_from(["uint8", "uint16", "int16", "int8", "float16", "float32", "float64"])),
        data.draw(st.integers(1, 6)),
    )
    array = data.draw(any_array(kind))
    before = array.copy()
    picture = as_picture(array)
    assert_same(picture.to_array(picture.tensor), array)
    picture.tensor[:] = 0.5
    np.testing.assert_array_equal(array, before)


def test_what_a_format_cannot_hold_is_refused_before_it_is_written(tmp_path: Path) -> None:
    """Whatever array and whatever extension: a file that holds it, or one line and no file."""
    extras = {"FITS": find_spec("astropy"), "HEIC": find_spec("pillow_heif")}
    writable = sorted(suffix for suffix, form in EXTENSIONS.items() if extras.get(form.name, True))

    @examples(60)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        dtype = data.draw(st.sampled_from(["uint8", "uint16", "int16", "float32", "float64"]))
        array = data.draw(any_array(Kind("", dtype, data.draw(st.integers(1, 5)))))
        suffix = data.draw(st.sampled_from(writable))
        picture = as_picture(array)
        path = tmp_path / f"a{suffix}"
        path.unlink(missing_ok=True)
        others = set(tmp_path.iterdir())
        _, channels, *size = picture.tensor.shape
        try:
            check_holds(path, dtype=picture.dtype, channels=channels, alpha=False, pages=1, side=max(size))
        except InputError:
            with pytest.raises(InputError) as caught:
                picture.write(picture.tensor, path)
            assert caught.value.code == "format"
            assert "\n" not in str(caught.value)
            assert set(tmp_path.iterdir()) == others
        else:
            picture.write(picture.tensor, path)
            if (suffix, channels) == (".avif", 1) and int(PIL.__version__.partition(".")[0]) < 13:
                channels = 3  # that Pillow writes gray as colors
            assert read(path).tensor.shape == (1, channels, *size)

    holds()
