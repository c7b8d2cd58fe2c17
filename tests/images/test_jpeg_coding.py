"""Quantization tables, sub-sampling and quality of JPEG files, against the standard and against decoded pixels."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from preimage.images import JpegCoding, as_picture, read

PIXELS = cv2.GaussianBlur(np.random.default_rng(8).integers(0, 256, (48, 64, 3), dtype=np.uint8), (0, 0), 2)
# The first rows of tables K.1 and K.2 of ITU-T T.81, and the first columns of it.
LUMINANCE_ROW, LUMINANCE_COLUMN = (16, 11, 10, 16, 24, 40, 51, 61), (16, 12, 14, 14, 18, 24, 49, 72)
CHROMINANCE_ROW = (17, 18, 24, 47, 99, 99, 99, 99)


def encoded(pixels: NDArray[Any] = PIXELS, form: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def opened(**options: Any) -> Any:
    return Image.open(io.BytesIO(encoded(**options)))


def coding_of_bytes(data: bytes, folder: Path) -> JpegCoding | None:
    (folder / "a.jpg").write_bytes(data)
    return read(folder / "a.jpg").metadata.quantization


def coding(folder: Path, **options: Any) -> JpegCoding:
    found = coding_of_bytes(encoded(**options), folder)
    assert found is not None
    return found


def test_quality_50_has_the_tables_of_the_standard(tmp_path: Path) -> None:
    found = coding(tmp_path, quality=50)
    assert found.components == 3
    assert torch.tensor(found.tables).shape == (3, 8, 8)
    assert found.tables[0][0] == LUMINANCE_ROW
    assert tuple(row[0] for row in found.tables[0]) == LUMINANCE_COLUMN
    assert found.tables[1][0] == found.tables[2][0] == CHROMINANCE_ROW
    assert found == coding(tmp_path, quality=50)
    assert hash(found) == hash(coding(tmp_path, quality=50))


@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
def test_decoded_coefficients_are_multiples_of_the_tables(tmp_path: Path, direction: str) -> None:
    """Also tells rows from columns: steps of one direction are five times those of the other."""
    frequency = np.arange(8)
    steps = np.add.outer(8 * frequency, 40 * frequency) if direction == "horizontal" else None
    table = (steps if steps is not None else np.add.outer(40 * frequency, 8 * frequency)) + 30
    smooth = cv2.GaussianBlur(np.random.default_rng(9).normal(128, 200, (64, 64)), (0, 0), 1.5).clip(90, 170)
    data = encoded(smooth.astype(np.uint8), qtables=[table.ravel().tolist()])
    found = coding_of_bytes(data, tmp_path)
    assert found is not None
    assert found.tables == (tuple(map(tuple, table.tolist())),)
    pixels = read(tmp_path / "a.jpg").tensor[0, 0].double() * 255 - 128
    assert pixels.abs().max() < 127  # nothing was clipped
    basis = torch.cos(torch.outer(torch.arange(8.0), 2 * torch.arange(8.0) + 1) * torch.pi / 16).double() / 2
    basis[0] /= 2**0.5
    blocks = pixels.reshape(8, 8, 8, 8).transpose(1, 2)
    multiples = basis @ blocks @ basis.T / torch.tensor(found.tables[0])
    assert (multiples - multiples.round()).abs().max() < 0.1
    assert (multiples[..., 1:, :].round() != 0).any()
    assert (multiples[..., :, 1:].round() != 0).any()


@pytest.mark.parametrize("channels", [1, 3])
def test_quality_of_every_file_of_libjpeg(channels: int) -> None:
    pixels = PIXELS[:16, :16, 0] if channels == 1 else PIXELS[:16, :16]
    for quality in range(1, 101):
        found = as_picture(opened(pixels=pixels, quality=quality)).metadata.quantization
        assert found is not None
        assert (found.quality, found.components) == (quality, channels)


def test_quality_of_other_tables_is_the_nearest(tmp_path: Path) -> None:
    at_70 = [entry for row in coding(tmp_path, quality=70).tables[0] for entry in row]
    at_70[3] += 1
    assert coding(tmp_path, qtables=[at_70]).quality == 70
    assert coding(tmp_path, qtables=[[1] * 64]).quality == 100
    assert JpegCoding((((300,) * 8,) * 8,), (1, 1), "grey").quality == 1  # 16 bits, beyond what quality 1 asks for


@pytest.mark.parametrize(("subsampling", "expected"), [("4:4:4", (1, 1)), ("4:2:2", (1, 2)), ("4:2:0", (2, 2))])
@pytest.mark.parametrize("progressive", [False, True])
def test_subsampling(tmp_path: Path, subsampling: str, expected: tuple[int, int], progressive: bool) -> None:
    found = coding(tmp_path, subsampling=subsampling, progressive=progressive, quality=83)
    assert (found.subsampling, found.space, found.quality) == (expected, "YCbCr", 83)


@pytest.mark.parametrize(("factors", "expected"), [(0x411111, (1, 4)), (0x121111, (2, 1)), (0x221111, (2, 2))])
def test_subsampling_that_pillow_has_no_name_for(tmp_path: Path, factors: int, expected: tuple[int, int]) -> None:
    data = cv2.imencode(".jpg", PIXELS, [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factors])[1].tobytes()
    found = coding_of_bytes(data, tmp_path)
    assert found is not None
    assert found.subsampling == expected


def test_subsampling_is_the_ratio_and_may_have_no_name() -> None:
    image = opened()
    for factors, expected in (
        (((2, 2), (2, 2), (2, 2)), (1, 1)),
        (((2, 4), (1, 2), (1, 2)), (2, 2)),
        (((2, 2), (2, 1), (1, 1)), None),
        (((1, 1), (2, 1), (2, 1)), None),
        (((3, 1), (2, 1), (2, 1)), None),
    ):
        image.layer = [(i + 1, width, height, min(i, 1)) for i, (width, height) in enumerate(factors)]
        found = as_picture(image).metadata.quantization
        assert (None if found is None else found.subsampling) == expected


def test_grey_and_rgb_files(tmp_path: Path) -> None:
    grey = coding(tmp_path, pixels=PIXELS[..., 0], quality=60)
    assert (grey.components, grey.space, grey.subsampling, grey.quality) == (1, "grey", (1, 1), 60)
    rgb = coding(tmp_path, keep_rgb=True, quality=60)
    assert (rgb.components, rgb.space, rgb.subsampling, rgb.quality) == (3, "RGB", (1, 1), 60)
    assert rgb.tables[0] == rgb.tables[1] == rgb.tables[2]


def test_the_entry_of_jfif_wins_over_all_others(tmp_path: Path) -> None:
    entry = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
    data = encoded(quality=90, keep_rgb=True)
    found = coding_of_bytes(data[:2] + entry + data[2:], tmp_path)
    assert found is not None
    assert found.space == "YCbCr"
    taken_for_rgb = np.asarray(Image.frombytes("YCbCr", (64, 48), PIXELS.tobytes()).convert("RGB")).astype(int)
    picture = read(tmp_path / "a.jpg")
    assert np.abs(picture.to_array(picture.tensor) - taken_for_rgb).mean() < 4  # so does libjpeg


@pytest.mark.parametrize("kept", [b"\xff\xee", b""])
def test_color_space_as_libjpeg_guesses_it(tmp_path: Path, kept: bytes) -> None:
    """Of files without a JFIF entry: by Adobe's if there is one, else by the numbers of the components."""
    for options, space in (({"keep_rgb": True}, "RGB"), ({}, "YCbCr")):
        data = encoded(quality=90, **options)
        length = int.from_bytes(data[4:6]) + 2
        assert data[2:4] in (b"\xff\xe0", b"\xff\xee")
        bare = data if data[2:4] == kept else data[:2] + data[2 + length :]
        found = coding_of_bytes(bare, tmp_path)
        assert found is not None
        assert found.space == space
        difference = read(tmp_path / "a.jpg").to_array(read(tmp_path / "a.jpg").tensor).astype(int) - PIXELS
        assert np.abs(difference).mean() < 4  # and it was decoded so


def test_a_phone_picture_of_several_views(tmp_path: Path) -> None:
    views = [Image.fromarray(PIXELS), Image.fromarray(PIXELS[..., ::-1].copy())]
    views[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=views[1:], quality=62)
    found = read(tmp_path / "a.jpg").metadata.quantization
    assert found is not None
    assert found.quality == 62
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.format == "MPO"
        image.seek(1)
        second = as_picture(image).metadata.quantization
    assert second is not None
    assert second.quality == 62


@pytest.mark.parametrize("orientation", [1, 6])
def test_tables_lie_as_stored(tmp_path: Path, orientation: int) -> None:
    table = list(range(1, 65))
    tags = Image.Exif()
    tags[274] = orientation
    (tmp_path / "a.jpg").write_bytes(encoded(qtables=[table], exif=tags))
    picture = read(tmp_path / "a.jpg")
    assert picture.orientation == orientation
    assert picture.metadata.quantization is not None
    assert picture.metadata.quantization.tables[0][0] == tuple(range(1, 9))
    assert picture.tensor.shape[2:] == ((48, 64) if orientation == 1 else (64, 48))


@pytest.mark.parametrize("loaded", [False, True])
def test_a_pillow_image_from_a_jpeg(tmp_path: Path, loaded: bool) -> None:
    image = opened(quality=40)
    if loaded:
        image.load()
    assert as_picture(image).metadata.quantization == coding(tmp_path, quality=40)


def test_pixels_that_are_no_longer_those_of_the_file() -> None:
    image = opened()
    small, scaled = opened(), opened()
    small.thumbnail((32, 32))
    scaled.draft("RGB", (32, 24))
    copies = [image.copy(), image.convert("L"), image.rotate(90), pickle.loads(pickle.dumps(image)), small, scaled]
    for other in copies:
        assert as_picture(other).metadata.quantization is None


def test_a_table_that_is_not_there_yet() -> None:
    image = opened()
    del image.quantization[1]
    assert as_picture(image).metadata.quantization is None


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".gif", ".tif"])
def test_other_formats_have_none(tmp_path: Path, suffix: str) -> None:
    options = {"compression": "jpeg"} if suffix == ".tif" else {}
    Image.fromarray(PIXELS).save(tmp_path / f"a{suffix}", **options)
    assert read(tmp_path / f"a{suffix}").metadata.quantization is None
    assert as_picture(PIXELS).metadata.quantization is None


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tif"])
def test_writing_is_as_from_any_other_source(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(quality=20))
    picture = read(tmp_path / "a.jpg")
    pixels = as_picture(picture.to_array(picture.tensor))
    found = read(picture.write(picture.tensor, tmp_path / f"copy{suffix}"))
    expected = read(pixels.write(pixels.tensor, tmp_path / f"expected{suffix}"))
    assert found.path is not None
    assert expected.path is not None
    assert found.path.read_bytes() == expected.path.read_bytes()
    if suffix == ".jpg":
        assert found.metadata.quantization is not None
        assert (found.metadata.quantization.quality, found.metadata.quantization.subsampling) == (95, (1, 1))
    else:
        assert found.metadata.quantization is None
