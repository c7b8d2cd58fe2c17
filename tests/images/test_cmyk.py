"""Pictures of inks: read as the light that is left, written as the inks they were, with their profile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image

from preimage.cli import main
from preimage.errors import InputError
from preimage.images import as_picture, read
from preimage.jobs.job import Job
from preimage.jobs.run import run_job

INKS = cv2.GaussianBlur(np.random.default_rng(2).integers(0, 256, (32, 40, 4), dtype=np.uint8), (0, 0), 3)
PROFILE = b"a profile of a press".ljust(200)
ADOBE = b"\xff\xee\x00\x0eAdobe"


def inks(pixels: NDArray[np.uint8] = INKS) -> Image.Image:
    return Image.frombuffer("CMYK", pixels.shape[1::-1], np.ascontiguousarray(pixels))


def without_marker(path: Path) -> Path:
    data = path.read_bytes()
    at = data.index(ADOBE)
    path.write_bytes(data[:at] + data[at + 16 :])
    return path


def made(folder: Path) -> dict[str, Path]:
    """Every storage of four inks, each of the same picture."""
    options: dict[str, Any] = {"icc_profile": PROFILE, "dpi": (300, 300)}
    inks().save(folder / "adobe.jpg", quality=98, subsampling=0, **options)
    inks(255 - INKS).save(folder / "plain.jpg", quality=98, subsampling=0, **options)
    without_marker(folder / "plain.jpg")
    for name, stored in {
        "raw": {},
        "lzw": {"compression": "tiff_lzw"},
        "jpeg": {"compression": "jpeg", "quality": 98},
    }.items():
        inks().save(folder / f"{name}.tif", **stored, **options)
    tags: dict[str, Any] = {
        "photometric": "separated",
        "iccprofile": PROFILE,
        "resolution": (300, 300),
        "resolutionunit": 2,
    }
    tifffile.imwrite(folder / "planes.tif", INKS.transpose(2, 0, 1).copy(), planarconfig="separate", **tags)
    return {path.name: path for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("name", ["adobe.jpg", "plain.jpg", "raw.tif", "lzw.tif", "jpeg.tif", "planes.tif"])
def test_every_storage_is_read_and_written_alike(tmp_path: Path, name: str) -> None:
    path = made(tmp_path)[name]
    most = 6 if "j" in name else 0
    picture = read(path)
    assert picture.tensor.shape == (1, 4, 32, 40)
    light = picture.tensor[0].movedim(0, -1).numpy() * 255
    assert np.abs(light - (255 - INKS.astype(float))).max() <= most + 1e-3  # white paper is 1
    assert np.abs(picture.to_array(picture.tensor).astype(int) - INKS).max() <= most
    copy = picture.write(picture.tensor, tmp_path / f"copy{path.suffix}")
    with Image.open(path) as before, Image.open(copy) as after:
        assert after.mode == "CMYK"
        assert np.abs(np.asarray(after).astype(int) - np.asarray(before)).max() <= most  # as any other reader has it
        assert after.info["icc_profile"] == PROFILE
        assert after.info["dpi"] == pytest.approx((300, 300))
    assert (ADOBE in copy.read_bytes()) == (ADOBE in path.read_bytes())


def test_inks_of_a_big_file_of_another_byte_order(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, INKS, bigtiff=True, byteorder=">", photometric="separated", iccprofile=PROFILE)
    picture = read(path)
    with tifffile.TiffFile(picture.write(picture.tensor, tmp_path / "copy.tif")) as tif:
        np.testing.assert_array_equal(tif.asarray(), INKS)
        assert (tif.byteorder, tif.is_bigtiff, tif.pages.first.iccprofile) == (">", True, PROFILE)


def test_inks_of_16_bits_and_transparency(tmp_path: Path) -> None:
    deep = INKS.astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "a.tif", deep, photometric="separated", compression="zlib", iccprofile=PROFILE)
    clear = np.dstack([INKS, INKS[..., 0]])
    tifffile.imwrite(tmp_path / "b.tif", clear, photometric="separated", extrasamples=["unassalpha"])
    for name, pixels in {"a": deep, "b": clear}.items():
        picture = read(tmp_path / f"{name}.tif")
        assert (picture.alpha is not None) == (name == "b")
        np.testing.assert_array_equal(picture.to_array(picture.tensor), pixels)
        copy = picture.write(picture.tensor, tmp_path / f"{name}-copy.tif")
        np.testing.assert_array_equal(tifffile.imread(copy), pixels)
    np.testing.assert_array_equal(read(tmp_path / "b.tif").alpha[0], INKS[..., 0])  # type: ignore[index]


def test_transparency_of_what_is_white_at_zero_is_not_inverted(tmp_path: Path) -> None:
    pixels = INKS[..., :2]
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite", extrasamples=["unassalpha"], planarconfig=1)
    picture = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.alpha[0], pixels[..., 1])  # type: ignore[index]
    copy = picture.write(picture.tensor, tmp_path / "copy.tif")
    np.testing.assert_array_equal(tifffile.imread(copy), pixels)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp"])
@pytest.mark.parametrize("name", ["adobe.jpg", "raw.tif", "plain.jpg"])
def test_a_format_without_inks_is_refused_before_the_fit(tmp_path: Path, name: str, suffix: str) -> None:
    picture = read(made(tmp_path)[name])
    with pytest.raises(InputError, match=r"cannot hold CMYK colors: use \.jpg, \.jpeg, \.tif or \.tiff") as caught:
        picture.check_destination(tmp_path / f"out{suffix}")
    assert caught.value.code == "format"


def test_four_channels_of_a_measurement_are_no_inks(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", INKS, photometric="minisblack", planarconfig="contig")
    picture = read(tmp_path / "a.tif")
    assert picture.metadata.cmyk == ""
    with pytest.raises(InputError, match="JPEG cannot hold 4 channels"):
        picture.check_destination(tmp_path / "out.jpg")


def test_inks_that_are_not_cmyk(tmp_path: Path) -> None:
    with_names = [(332, 3, 1, 2, True)]
    tifffile.imwrite(tmp_path / "a.tif", INKS, photometric="separated", extratags=with_names)
    with pytest.raises(InputError, match="neither grey nor RGB: convert it to RGB first"):
        read(tmp_path / "a.tif")


def test_an_image_in_memory() -> None:
    picture = as_picture(inks())
    np.testing.assert_array_equal(picture.to_array(picture.tensor), INKS)
    expected = inks().convert("RGB")
    shown = picture.shown(picture.tensor[0]).movedim(0, -1).numpy() * 255
    assert np.abs(shown - np.asarray(expected)).max() < 2


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("denoise", {}),
        ("super-resolve", {"factor": 2}),
        ("remove-jpeg-artifacts", {}),
        ("deblur", {"kernel": "gaussian:1"}),
    ],
)
def test_tasks_keep_inks_and_profile(tmp_path: Path, task: str, options: dict[str, Any]) -> None:
    path = made(tmp_path)["adobe.jpg"]
    given = {"steps": 2, "recipe": "fast", **options}
    outcome = run_job(
        Job(task, given, str(path), {"output": str(tmp_path / "out.jpg"), "figure": str(tmp_path / "f.png")})
    )
    assert outcome.state == "done"
    with Image.open(tmp_path / "out.jpg") as image:
        assert image.mode == "CMYK"
        assert image.info["icc_profile"] == PROFILE
    again = read(tmp_path / "out.jpg")
    assert torch.isfinite(again.tensor).all()


def test_a_classifier_takes_no_inks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = made(tmp_path)["adobe.jpg"]
    code = main(["saliency", str(path), "--classifier", "torchvision:resnet18", "-o", str(tmp_path / "out.png")])
    assert code == 2
    assert "has 4 channels: a classifier takes 1 or 3, gray or color: convert it first" in capsys.readouterr().err
