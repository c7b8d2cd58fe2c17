"""HEIC and AVIF: depth, orientation and metadata are kept; what is damaged, forged or no file is one line in our own words."""

from __future__ import annotations

import io
import os
import re
import struct
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from preimage.cli import main
from preimage.errors import InputError, MissingExtra
from preimage.images import as_picture, read
from preimage.images.heif import depth_of_avif, kind_of

pillow_heif = pytest.importorskip("pillow_heif")

PIXELS = cv2.GaussianBlur(np.random.default_rng(2).integers(0, 256, (32, 40, 3), dtype=np.uint8), (0, 0), 3)
PIXELS = ((PIXELS.astype(int) - PIXELS.min()) * 255 // (int(PIXELS.max()) - int(PIXELS.min()))).astype(np.uint8)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf/></x:xmpmeta>'
PROFILE = b"a profile".ljust(200)


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[274], tags[271] = orientation, "A telephone"
    tags.get_ifd(34665)[33434] = 1 / 125
    return tags.tobytes()


def heic(pixels: NDArray[Any] = PIXELS, bits: int = 8, **options: Any) -> bytes:
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[pixels.reshape(*pixels.shape[:2], -1).shape[2]]
    if bits > 8:
        mode, options = f"{mode};{bits}", {"bit_depth": bits, **options}
    buffer = io.BytesIO()
    pillow_heif.encode(mode, pixels.shape[1::-1], pixels.tobytes(), buffer, quality=-1, chroma=444, **options)
    return buffer.getvalue()


def deep(bits: int) -> NDArray[np.uint16]:
    return (PIXELS.astype(np.uint32) * (2**bits - 1) // 255).astype(np.uint16)


def avif(pixels: NDArray[Any] = PIXELS, depth: int = 8, **options: Any) -> bytes:
    if depth > 8:
        settings = [cv2.IMWRITE_AVIF_QUALITY, 100, cv2.IMWRITE_AVIF_DEPTH, depth]
        return cv2.imencode(".avif", pixels[..., ::-1], settings)[1].tobytes()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "AVIF", quality=100, subsampling="4:4:4", **options)
    return buffer.getvalue()


def whole() -> dict[str, bytes]:
    return {
        "a.heic": heic(),
        "grey.heic": heic(PIXELS[..., 0].copy()),
        "deep.heic": heic(deep(10), 10),
        "a.avif": avif(),
    }


def refusal(path: Path, code: str = "unreadable") -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    assert ": " in text
    assert not re.search("libheif|libde265|ftyp|box|Error|decoder|codec|plugin", text, re.IGNORECASE)
    assert caught.value.code == code
    return text


@pytest.mark.parametrize("name", ["a.heic", "a.avif", "grey.heic"])
def test_eight_bits(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(whole()[name])
    picture = read(tmp_path / name)
    expected = PIXELS[..., 0] if "grey" in name else PIXELS
    assert np.abs(picture.to_array(picture.tensor).astype(int) - expected).max() <= 3
    again = read(picture.write(picture.tensor, tmp_path / f"copy{Path(name).suffix}"))
    assert again.tensor.shape == picture.tensor.shape
    assert float((again.tensor - picture.tensor).abs().max()) <= 3.1 / 255
    assert read(picture.write(picture.tensor, tmp_path / "copy.png")).tensor.equal(picture.tensor)


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("channels", [1, 3])
def test_depth_of_heic_is_kept_in_16_bits(tmp_path: Path, bits: int, channels: int) -> None:
    values = deep(bits) if channels == 3 else deep(bits)[..., 0].copy()
    (tmp_path / "a.heic").write_bytes(heic(values, bits))
    picture = read(tmp_path / "a.heic")
    assert picture.dtype == np.uint16
    found = picture.to_array(picture.tensor)
    assert np.abs(found / 65535 * (2**bits - 1) - values).max() < 2.01
    copy = picture.write(picture.tensor, tmp_path / "copy.heic")
    assert pillow_heif.open_heif(copy, convert_hdr_to_8bit=False).info["bit_depth"] == bits
    np.testing.assert_allclose(read(copy).tensor, picture.tensor, atol=2.01 / (2**bits - 1))
    sixteen = read(picture.write(picture.tensor, tmp_path / "copy.png"))
    np.testing.assert_array_equal(sixteen.to_array(sixteen.tensor), found)
    with pytest.raises(InputError, match="HEIC cannot hold uint16 values"):
        sixteen.check_destination(tmp_path / "lossy.heic")  # 16 bits are more than it holds


@pytest.mark.parametrize("bits", [10, 12])
def test_depth_of_avif_is_kept_in_16_bits(tmp_path: Path, bits: int) -> None:
    (tmp_path / "a.avif").write_bytes(avif(deep(bits), bits, quality=100))
    picture = read(tmp_path / "a.avif")
    assert (picture.dtype, picture.metadata.bits) == (np.uint16, bits)
    values = picture.to_array(picture.tensor) / 65535 * (2**bits - 1)
    np.testing.assert_allclose(values, np.rint(values), atol=0.04)
    assert np.abs(values / (2**bits - 1) * 255 - PIXELS).mean() < 5
    with pytest.raises(InputError, match=r"AVIF cannot hold uint16 values: use \.png"):
        picture.check_destination(tmp_path / "out.avif")


@pytest.mark.parametrize("kind", [".heic", ".avif"])
def test_transparency(tmp_path: Path, kind: str) -> None:
    clear = np.dstack([PIXELS, np.where(PIXELS[..., 0] > 99, 255, 0).astype(np.uint8)])
    (tmp_path / f"a{kind}").write_bytes(heic(clear) if kind == ".heic" else avif(clear))
    picture = read(tmp_path / f"a{kind}")
    assert picture.tensor.shape[1] == 3
    assert picture.alpha is not None
    assert np.abs(picture.alpha[0].astype(int) - clear[..., 3]).max() <= 3
    assert read(picture.write(picture.tensor, tmp_path / f"copy{kind}")).alpha is not None


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", [".heic", ".avif"])
@pytest.mark.parametrize("target", [".heic", ".avif", ".jpg", ".tif"])
def test_orientation_is_applied_once(tmp_path: Path, kind: str, target: str, orientation: int) -> None:
    options = {"exif": exif(orientation)}
    (tmp_path / f"a{kind}").write_bytes(heic(**options) if kind == ".heic" else avif(**options))
    with Image.open(io.BytesIO(jpeg(orientation))) as image:
        seen = np.asarray(ImageOps.exif_transpose(image)).astype(int)
    first = read(tmp_path / f"a{kind}")
    for picture in (first, read(first.write(first.tensor, tmp_path / f"copy{target}"))):
        assert np.abs(picture.to_array(picture.tensor) - seen).max() <= 12
        assert picture.metadata.exif is not None
        assert b"A telephone" in picture.metadata.exif


def jpeg(orientation: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "JPEG", quality=98, subsampling=0, exif=exif(orientation))
    return buffer.getvalue()


@pytest.mark.parametrize("source", [".heic", ".avif", ".jpg"])
@pytest.mark.parametrize("target", [".heic", ".avif", ".png", ".tif", ".webp"])
def test_profile_exif_and_xmp_go_along(tmp_path: Path, source: str, target: str) -> None:
    options: Any = {"exif": exif(1), "icc_profile": PROFILE, "xmp": XMP}
    if source == ".jpg":
        Image.fromarray(PIXELS).save(tmp_path / "a.jpg", **options)
    else:
        (tmp_path / f"a{source}").write_bytes(heic(**options) if source == ".heic" else avif(**options))
    picture = read(tmp_path / f"a{source}")
    again = read(picture.write(picture.tensor, tmp_path / f"copy{target}"))
    assert again.metadata.icc == PROFILE
    assert again.metadata.xmp == XMP
    tags = Image.Exif()
    tags.load(again.metadata.exif or b"")
    assert tags[271].rstrip("\0") == "A telephone"
    assert float(tags.get_ifd(34665)[33434]) == pytest.approx(1 / 125)


def test_colors_beyond_srgb_are_named(tmp_path: Path) -> None:
    wide = {"color_primaries": 9, "transfer_characteristics": 16, "matrix_coefficients": 9, "full_range_flag": 1}
    (tmp_path / "a.heic").write_bytes(heic(deep(10), 10, **wide))
    picture = read(tmp_path / "a.heic")
    data = picture.write(picture.tensor, tmp_path / "copy.png").read_bytes()
    at = data.index(b"cICP")
    assert data[at + 4 : at + 8] == bytes([9, 16, 0, 1])
    found = pillow_heif.open_heif(picture.write(picture.tensor, tmp_path / "copy.heic")).info["nclx_profile"]
    assert (found["color_primaries"], found["transfer_characteristics"]) == (9, 16)


def test_of_several_pictures_the_main_one_is_read_and_said(tmp_path: Path) -> None:
    file = pillow_heif.HeifFile()
    for pixels in (PIXELS, 255 - PIXELS, PIXELS[::-1].copy()):
        file.add_frombytes("RGB", (40, 32), pixels.tobytes())
    file.save(tmp_path / "a.heic", quality=-1, chroma=444, primary_index=1)
    picture = read(tmp_path / "a.heic")
    assert np.abs(picture.to_array(picture.tensor).astype(int) - (255 - PIXELS)).max() <= 3
    assert any("holds 3 pictures, of which the main one is read" in remark for remark in picture.remarks)


@pytest.mark.parametrize("name", ["a.heic", "grey.heic", "deep.heic", "a.avif"])
def test_truncated(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    data, path = whole()[name], tmp_path / name
    for part in (0.02, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        path.write_bytes(data[: int(len(data) * part)])
        refusal(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a.heic", "a.avif"])
@pytest.mark.parametrize("side", [20_001, 2**31 - 1])
def test_a_forged_size_is_refused_before_it_takes_memory(tmp_path: Path, name: str, side: int) -> None:
    data = bytearray(whole()[name])
    at = data.index(b"ispe")
    struct.pack_into(">II", data, at + 8, side, side)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError) as caught:
        read(tmp_path / name)
    assert caught.value.code in ("size", "unreadable")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.heic", "a.avif"])
def test_flipped_bytes_are_a_picture_or_a_line(tmp_path: Path, name: str) -> None:
    data, path = whole()[name], tmp_path / name
    outcomes = {"read": 0, "refused": 0}
    for seed in range(60):
        changed, chosen = bytearray(data), np.random.default_rng(seed)
        for at in chosen.integers(0, len(data) if seed % 2 else 400, 3):
            changed[at] ^= int(chosen.integers(1, 256))
        path.write_bytes(changed)
        try:
            outcomes["read"] += bool(torch.isfinite(read(path).tensor).all())
        except InputError as error:
            outcomes["refused"] += "\n" not in str(error)
    assert sum(outcomes.values()) == 60
    assert min(outcomes.values()) > 0


def test_small_pages_and_pipes(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(heic(PIXELS[:15].copy()))
    assert "16 x 16 is the least" in refusal(tmp_path / "a.heic", "size")
    (tmp_path / "b.heic").write_bytes(heic())
    with pytest.raises(InputError, match="has 1 page, got page 2"):
        read(tmp_path / "b.heic", page=2)
    assert read(tmp_path / "b.heic", page="all").tensor.shape == (1, 3, 32, 40)
    os.mkfifo(tmp_path / "pipe.heic")
    assert "is a pipe, not a file" in refusal(tmp_path / "pipe.heic")
    (tmp_path / "film.heic").write_bytes(struct.pack(">I4s4sI4s", 20, b"ftyp", b"msf1", 0, b"hevc"))
    refusal(tmp_path / "film.heic")
    (tmp_path / "video.avif").write_bytes(struct.pack(">I4s4sI4s", 20, b"ftyp", b"isom", 0, b"mp42") + bytes(500))
    refusal(tmp_path / "video.avif")


def test_an_animation(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.roll(PIXELS, i, 0)) for i in range(3)]
    frames[0].save(tmp_path / "a.avif", save_all=True, append_images=frames[1:])
    assert "is an animation of 3 frames: save the frame" in refusal(tmp_path / "a.avif")


def test_without_the_extra_one_line_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.heic"
    path.write_bytes(heic())
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(
        MissingExtra, match=r"is a HEIC picture, and pillow-heif is not installed: pip install 'preimage\[heif\]'"
    ):
        read(path)
    assert main(["denoise", str(path), "--steps", "2"]) == 2
    error = capsys.readouterr().err
    assert "pip install 'preimage[heif]'" in error
    assert "Traceback" not in error
    with pytest.raises(MissingExtra, match=r"out\.heic is to be a HEIC picture, and pillow-heif is not installed"):
        as_picture(PIXELS).check_destination(tmp_path / "out.heic")


def test_kinds_of_boxes() -> None:
    def head(major: bytes, *others: bytes) -> bytes:
        return struct.pack(">I4s4sI", 16 + 4 * len(others), b"ftyp", major, 0) + b"".join(others)

    assert [kind_of(head(major)) for major in (b"heic", b"avif", b"crx ", b"isom")] == ["HEIC", "AVIF", "CR3", ""]
    assert kind_of(head(b"mif1", b"miaf", b"heic")) == "HEIC"
    assert kind_of(head(b"mif1", b"avif", b"miaf")) == "AVIF"
    assert (kind_of(b""), kind_of(b"\x89PNG")) == ("", "")
    assert [depth_of_avif(each) for each in (b"", b"av1C", avif(), avif(deep(12), 12))] == [8, 8, 8, 12]


def test_a_task_keeps_the_format(tmp_path: Path) -> None:
    path = tmp_path / "photo.heic"
    path.write_bytes(heic(deep(10), 10, icc_profile=PROFILE))
    out = tmp_path / "out.heic"
    assert main(["denoise", str(path), "--steps", "2", "--sigma", "500", "-o", str(out)]) == 0
    found = read(out)
    assert (found.dtype, found.metadata.bits, found.metadata.icc) == (np.uint16, 10, PROFILE)
