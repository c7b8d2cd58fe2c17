"""Orientation, profiles, EXIF, text and resolution: applied or kept, and carried to other formats."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo, putchunk

from preimage.images import as_picture, read

PIXELS = np.random.default_rng(1).integers(0, 256, (20, 28, 3), dtype=np.uint8)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf/></x:xmpmeta>'


def profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[274] = orientation
    tags[271] = "A camera"
    return tags.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_orientation_is_applied_and_undone(tmp_path: Path, orientation: int, suffix: str) -> None:
    smooth = cv2.GaussianBlur(PIXELS, (0, 0), 4)
    path = tmp_path / f"a{suffix}"
    Image.fromarray(smooth).save(path, exif=exif(orientation), lossless=True)
    picture = read(path)
    with Image.open(path) as image:
        stored, seen = np.asarray(image), np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(picture.to_array(picture.tensor), seen)
    copy = picture.write(picture.tensor, tmp_path / f"copy{suffix}")
    with Image.open(copy) as image:
        assert np.abs(np.asarray(image).astype(int) - stored).max() <= (8 if suffix == ".jpg" else 0)
        assert image.getexif()[274] == orientation
        assert image.getexif()[271] == "A camera"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_orientation_of_tiff(tmp_path: Path, orientation: int, compression: str | None) -> None:
    path = tmp_path / "a.tif"
    tags = Image.Exif()
    tags[274] = orientation
    Image.fromarray(PIXELS).save(path, compression=compression, exif=tags)
    with Image.open(path) as image:
        seen = np.asarray(ImageOps.exif_transpose(image))
    picture = read(path)
    np.testing.assert_array_equal(picture.to_array(picture.tensor), seen)
    picture.write(picture.tensor, tmp_path / "copy.tif")
    with tifffile.TiffFile(tmp_path / "copy.tif") as tif:
        np.testing.assert_array_equal(tif.asarray(), PIXELS)
        assert tif.pages[0].aspage().tags.valueof(274, 1) == orientation
    upright = read(picture.write(picture.tensor, tmp_path / "copy.png"))  # PNG has no such tag without EXIF
    np.testing.assert_array_equal(upright.to_array(upright.tensor), seen)


def test_alpha_is_turned_with_the_picture(tmp_path: Path) -> None:
    rgba = np.dstack([PIXELS, PIXELS[..., 0]])
    Image.fromarray(rgba).save(tmp_path / "a.png", exif=exif(6))
    picture = read(tmp_path / "a.png")
    seen = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    np.testing.assert_array_equal(picture.to_array(picture.tensor), seen)
    with Image.open(picture.write(picture.tensor, tmp_path / "copy.png")) as image:
        np.testing.assert_array_equal(np.asarray(image), rgba)


@pytest.mark.parametrize("sixteen", [False, True])
def test_png_keeps_profile_exif_text_resolution_and_gamma(tmp_path: Path, sixteen: bool) -> None:
    info = PngInfo()
    info.add_text("Title", "A title")
    info.add_text("Author", "A", zip=True)
    info.add_itxt("Comment", "Grüße", lang="de", tkey="Kommentar")
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    info.add(b"gAMA", struct.pack(">I", 45455))
    options: dict[str, Any] = {"pnginfo": info, "exif": exif(1), "icc_profile": profile(), "dpi": (300, 150)}
    source = tmp_path / "a.png"
    if sixteen:
        grey = PIXELS[..., 0].astype(np.uint16) * 257
        Image.fromarray(grey).save(source, **options)
    else:
        Image.fromarray(PIXELS).save(source, **options)
    picture = read(source)
    copy = picture.write(picture.tensor, tmp_path / "copy.png")
    with Image.open(source) as before, Image.open(copy) as after:
        before.load()
        after.load()
        assert after.info == before.info
        assert after.mode == before.mode
        assert after.text == before.text  # type: ignore[attr-defined]
        assert list(after.text) == ["Title", "Author", "Comment", "XML:com.adobe.xmp"]  # type: ignore[attr-defined]


def test_rgb_png_of_16_bits_keeps_metadata_and_all_bits(tmp_path: Path) -> None:
    pixels = PIXELS.astype(np.uint16) * 255 + 3
    chunks = io.BytesIO()
    putchunk(chunks, b"tEXt", b"Title\0IDAT and IEND")
    putchunk(chunks, b"pHYs", struct.pack(">IIB", 4000, 4000, 1))
    data = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
    (tmp_path / "a.png").write_bytes(data[:33] + chunks.getvalue() + data[33:])
    picture = read(tmp_path / "a.png")
    copy = picture.write(picture.tensor, tmp_path / "copy.png")
    np.testing.assert_array_equal(cv2.imread(str(copy), cv2.IMREAD_UNCHANGED), pixels[..., ::-1])
    with Image.open(copy) as image:
        image.load()
        assert image.text == {"Title": "IDAT and IEND"}  # type: ignore[attr-defined]
        assert image.info["dpi"] == pytest.approx((101.6, 101.6))


def test_jpeg_keeps_profile_exif_xmp_comment_and_resolution(tmp_path: Path) -> None:
    options: dict[str, Any] = {"exif": exif(3), "icc_profile": profile(), "dpi": (300, 300), "comment": b"hello"}
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", xmp=XMP, **options)
    picture = read(tmp_path / "a.jpg")
    with Image.open(picture.write(picture.tensor, tmp_path / "copy.jpg")) as image:
        assert image.info["exif"] == options["exif"]
        assert image.info["icc_profile"] == options["icc_profile"]
        assert image.info["xmp"] == XMP
        assert image.info["dpi"] == (300, 300)
        assert image.info["comment"] == b"hello"


@pytest.mark.parametrize("source", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("target", [".png", ".jpg", ".webp", ".tif", ".bmp"])
def test_what_another_format_holds_is_carried_over(tmp_path: Path, source: str, target: str) -> None:
    options: dict[str, Any] = {"icc_profile": profile(), "lossless": True, "exif": exif(6)}
    if source in (".png", ".jpg", ".tif"):
        options["dpi"] = (300, 300)
    if source in (".jpg", ".webp"):
        options["xmp"] = XMP
    Image.fromarray(PIXELS).save(tmp_path / f"a{source}", **options)
    picture = read(tmp_path / f"a{source}")
    copy = picture.write(picture.tensor, tmp_path / f"copy{target}")
    again = read(copy)
    difference = (again.tensor - picture.tensor).abs().max()
    assert difference == 0 or target == ".jpg"
    if target != ".bmp":
        assert again.metadata.icc == options["icc_profile"]
        assert again.metadata.xmp == options.get("xmp")
    if target != ".webp" and "dpi" in options:
        assert again.metadata.dpi == pytest.approx((300, 300), abs=0.1)
    if source != ".tif" and target in (".png", ".jpg", ".webp"):
        # Programs follow the orientation in one format and not in another: the pixels are upright there.
        assert again.orientation == (6 if source == target else 1)
        assert again.metadata.exif == (exif(6) if source == target else exif(1))
        with Image.open(copy) as image:
            assert image.size == (
                (again.tensor.shape[3], again.tensor.shape[2]) if source != target else PIXELS.shape[1::-1]
            )


def test_grey_in_webp_drops_the_profile_for_grey(tmp_path: Path) -> None:
    grey_profile = bytearray(profile())
    grey_profile[16:20] = b"GRAY"
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "a.png", icc_profile=bytes(grey_profile))
    picture = read(tmp_path / "a.png")
    again = read(picture.write(picture.tensor, tmp_path / "a.webp"))
    assert again.metadata.icc is None
    assert torch.equal(again.tensor, picture.tensor.expand(1, 3, -1, -1))


def test_nothing_is_added_to_a_bare_picture(tmp_path: Path) -> None:
    picture = as_picture(PIXELS)
    for suffix in (".png", ".webp", ".jpg", ".bmp"):
        with Image.open(picture.write(picture.tensor, tmp_path / f"a{suffix}")) as image:
            image.load()
            added = set(image.info) - {"jfif", "jfif_version", "jfif_unit", "jfif_density", "loop", "background"}
            assert added <= {"timestamp", "duration", "compression", "dpi"}
            assert "exif" not in image.info
    with tifffile.TiffFile(picture.write(picture.tensor, tmp_path / "a.tif")) as tif:
        names = {tag.name for tag in tif.pages[0].aspage().tags}
        assert not names & {"Software", "DateTime", "ImageDescription"}


def test_damaged_exif_is_carried_and_ignored(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=b"Exif\x00\x00MM\x00*\x00\x00\xff\xff")
    picture = read(tmp_path / "a.png")
    again = read(picture.write(picture.tensor, tmp_path / "copy.png"))
    assert torch.equal(again.tensor, picture.tensor)
    assert again.metadata.exif == picture.metadata.exif


def test_an_enlarged_result_has_more_dots_per_inch(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", dpi=(100, 100), exif=exif(6))
    picture = read(tmp_path / "a.jpg")
    large = torch.zeros(1, 3, picture.tensor.shape[2] * 2, picture.tensor.shape[3] * 2)
    assert read(picture.write(large, tmp_path / "large.jpg")).metadata.dpi == (200, 200)


def test_a_resolution_that_jpeg_cannot_count_is_left_out(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, resolution=(1e5, 1e5), resolutionunit="CENTIMETER", photometric="rgb")
    picture = read(tmp_path / "a.tif")
    assert read(picture.write(picture.tensor, tmp_path / "a.jpg")).metadata.dpi in (None, (1, 1))
    assert read(picture.write(picture.tensor, tmp_path / "a.png")).metadata.dpi == pytest.approx((254000, 254000))
    back = read(tmp_path / "a.png")
    assert read(back.write(back.tensor, tmp_path / "b.tif")).metadata.dpi == pytest.approx((254000, 254000))


@pytest.mark.parametrize("color", ["grey", "rgb"])
def test_transparent_color_of_a_16_bit_png(tmp_path: Path, color: str) -> None:
    pixels = PIXELS.astype(np.uint16) * 200 + 1
    stored = pixels[..., 0] if color == "grey" else pixels[..., ::-1]
    value = struct.pack(">H", pixels[4, 5, 0]) if color == "grey" else struct.pack(">3H", *pixels[4, 5])
    chunk = io.BytesIO()
    putchunk(chunk, b"tRNS", value)
    data = cv2.imencode(".png", np.ascontiguousarray(stored))[1].tobytes()
    (tmp_path / "a.png").write_bytes(data[:33] + chunk.getvalue() + data[33:])
    picture = read(tmp_path / "a.png")
    assert picture.alpha is not None
    expected = pixels[..., 0] == pixels[4, 5, 0] if color == "grey" else (pixels == pixels[4, 5]).all(2)
    np.testing.assert_array_equal(picture.alpha[0] == 0, expected)
    assert set(np.unique(picture.alpha)) == {0, 65535}
    assert picture.tensor.shape[1] == (1 if color == "grey" else 3)
    with Image.open(picture.write(picture.tensor, tmp_path / "copy.png")) as image:
        assert image.mode == "RGBA"  # no encoder here writes 16-bit grey with alpha: three equal channels
    again = read(tmp_path / "copy.png")
    np.testing.assert_array_equal(again.to_array(again.tensor)[..., 0], pixels[..., 0])


def test_the_first_view_of_a_phone_picture(tmp_path: Path) -> None:
    smooth = cv2.GaussianBlur(PIXELS, (0, 0), 4)
    first, second = Image.fromarray(smooth), Image.fromarray(255 - smooth)
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    picture = read(tmp_path / "a.jpg")
    assert picture.format == "JPEG"
    assert np.abs(picture.to_array(picture.tensor).astype(int) - smooth).mean() < 10
    picture.write(picture.tensor, tmp_path / "copy.jpg")


def test_importing_the_room_imports_no_reader() -> None:
    code = "import sys, preimage.images; print({'PIL', 'cv2', 'tifffile', 'imageio', 'skimage'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
