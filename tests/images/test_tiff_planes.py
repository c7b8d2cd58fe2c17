"""Stacks of few planes, which tifffile stores by default as the planes of one color: their axes say what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray

from preimage.images import read

KINDS: dict[str, dict[str, Any]] = {"shaped": {}, "ome": {"ome": True}, "imagej": {"imagej": True}}
AXES = ["CYX", "ZYX", "TYX"]


def planes(count: int, dtype: str = "uint16") -> NDArray[Any]:
    return np.random.default_rng(count).integers(1, 200, (count, 20, 24)).astype(dtype)


def written(path: Path, data: NDArray[Any], axes: str, **options: Any) -> Path:
    if len(data) in (3, 4) and not {"ome", "imagej"} & set(options):  # what is the default, and will be no more
        options |= {"photometric": "rgb", "planarconfig": "separate"}
        options |= {"extrasamples": ("unassalpha",)} if len(data) == 4 else {}
    tifffile.imwrite(path, data, metadata={"axes": axes}, **options)
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_planes_are_what_their_axes_say(tmp_path: Path, kind: str, axes: str, count: int) -> None:
    data = planes(count)
    path = written(tmp_path / "a.tif", data, axes, **KINDS[kind])
    picture = read(path, page="all")
    assert picture.alpha is None
    assert picture.tensor.shape == ((1, count, 20, 24) if axes == "CYX" else (count, 1, 20, 24))
    copy = picture.write(picture.tensor, tmp_path / "copy.tif")
    with tifffile.TiffFile(path) as before, tifffile.TiffFile(copy) as after:
        assert after.series[0].axes == before.series[0].axes == axes
        np.testing.assert_array_equal(after.asarray(), data)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("axes", ["ZYX", "TYX"])
@pytest.mark.parametrize("count", [3, 4])
def test_one_of_such_planes_alone(tmp_path: Path, count: int, axes: str, compression: str | None, dtype: str) -> None:
    data = planes(count, dtype)
    path = written(tmp_path / "a.tif", data, axes, compression=compression)
    for number in range(1, count + 1):
        picture = read(path, page=number)
        assert picture.tensor.shape == (1, 1, 20, 24)
        copy = picture.write(picture.tensor, tmp_path / "copy.tif", overwrite=True)
        with tifffile.TiffFile(copy) as tif:
            assert int(tif.pages[0].aspage().photometric) == 1  # gray
            np.testing.assert_allclose(tif.asarray(), data[number - 1], atol=1e-4)


def test_four_channels_that_are_enlarged(tmp_path: Path) -> None:
    picture = read(written(tmp_path / "a.tif", planes(4), "CYX"))
    large = picture.write(torch.nn.functional.interpolate(picture.tensor, scale_factor=2.0), tmp_path / "large.tif")
    with tifffile.TiffFile(large) as tif:
        assert (tif.series[0].axes, tif.series[0].shape) == ("CYX", (4, 40, 48))


@pytest.mark.parametrize("extra", [1, 2])
@pytest.mark.parametrize("arranged", ["contig", "separate"])
def test_alpha_is_what_the_file_names_so(tmp_path: Path, arranged: str, extra: int) -> None:
    data = planes(4, "uint8")
    shape = data if arranged == "separate" else np.moveaxis(data, 0, 2)
    options: dict[str, Any] = {"photometric": "rgb", "planarconfig": arranged, "extrasamples": (extra,)}
    tifffile.imwrite(tmp_path / "a.tif", shape, metadata=None, **options)
    picture = read(tmp_path / "a.tif")
    assert picture.tensor.shape == (1, 3, 20, 24)
    np.testing.assert_array_equal(picture.alpha, data[3:])


@pytest.mark.parametrize("arranged", ["contig", "separate"])
def test_a_further_sample_without_a_name_is_a_channel(tmp_path: Path, arranged: str) -> None:
    data = planes(4, "uint8")
    shape = data if arranged == "separate" else np.moveaxis(data, 0, 2)
    options: dict[str, Any] = {"photometric": "rgb", "planarconfig": arranged, "extrasamples": (0,)}
    tifffile.imwrite(tmp_path / "a.tif", shape, metadata=None, **options)
    picture = read(tmp_path / "a.tif")
    assert picture.alpha is None
    assert picture.tensor.shape == (1, 4, 20, 24)
