"""A file is written whole or not at all, nothing is overwritten unasked, and what cannot work is known beforehand."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from preimage.errors import InputError
from preimage.images import Picture, as_picture, check_place, read, write_bytes_atomically, write_float_tiff

ANY_SUFFIX = [".png", ".jpg", ".webp", ".bmp", ".tif"]


@pytest.fixture
def picture() -> Picture:
    return as_picture(np.random.default_rng(5).integers(0, 256, (20, 24, 3), dtype=np.uint8))


def fail_with(number: int) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("suffix", ANY_SUFFIX)
@pytest.mark.parametrize("step", ["fsync", "link", "replace"])
def test_a_full_disk_leaves_nothing(
    tmp_path: Path, picture: Picture, suffix: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a{suffix}"
    if step == "replace":
        path.write_bytes(b"precious")
    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail_with(errno.ENOSPC))
        if step == "link":
            patch.setattr(os, "replace", fail_with(errno.ENOSPC))
        with pytest.raises(InputError, match=rf"a\{suffix} cannot be written, the disk is full: free some space"):
            picture.write(picture.tensor, path, overwrite=step == "replace")
    if step == "replace":
        assert path.read_bytes() == b"precious"
        path.unlink()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_disk_that_really_is_full(
    tmp_path: Path, picture: Picture, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_open = Path.open

    def open_full(path: Path, mode: str) -> Any:
        path.touch()
        return real_open(Path("/dev/full"), "wb")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_full)
        with pytest.raises(InputError, match="the disk is full"):
            picture.write(picture.tensor, tmp_path / f"a{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [RuntimeError("bug"), KeyboardInterrupt()])
def test_any_failure_while_writing_leaves_nothing(tmp_path: Path, failure: BaseException) -> None:
    def writer(file: BinaryIO) -> None:
        file.write(b"half of")
        raise failure

    (tmp_path / "a").write_bytes(b"precious")
    for name in ("a", "b"):
        with pytest.raises(type(failure)):
            write_bytes_atomically(tmp_path / name, writer, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"precious"


@pytest.mark.parametrize("suffix", ANY_SUFFIX)
def test_nothing_is_overwritten_unasked(tmp_path: Path, picture: Picture, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"precious")
    for act in (lambda: picture.check_destination(path), lambda: picture.write(picture.tensor, path)):
        with pytest.raises(InputError, match="exists already: choose another name, or overwrite it"):
            act()
    assert path.read_bytes() == b"precious"
    picture.check_destination(path, overwrite=True)
    assert path.read_bytes() == b"precious"
    assert picture.write(picture.tensor, path, overwrite=True) == path
    assert read(path).tensor.shape == (1, 3, 20, 24)


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    def writer(file: BinaryIO) -> None:
        file.write(b"mine")
        (tmp_path / "a").write_bytes(b"theirs")

    with pytest.raises(InputError, match="exists already"):
        write_bytes_atomically(tmp_path / "a", writer)
    assert (tmp_path / "a").read_bytes() == b"theirs"
    assert len(list(tmp_path.iterdir())) == 1


def test_disks_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", fail_with(errno.EPERM))
    write_bytes_atomically(tmp_path / "a", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_input_is_never_the_output(tmp_path: Path, picture: Picture) -> None:
    source = read(picture.write(picture.tensor, tmp_path / "a.png"))
    before = (tmp_path / "a.png").read_bytes()
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    for path in (tmp_path / "a.png", tmp_path / ".." / tmp_path.name / "a.png", tmp_path / "link.png"):
        for act in (source.check_destination, lambda p, **o: source.write(source.tensor, p, **o)):
            with pytest.raises(InputError, match="is the input itself, which is never overwritten"):
                act(path, overwrite=True)
    assert (tmp_path / "a.png").read_bytes() == before


def test_permissions_follow_the_umask_and_stay_when_overwriting(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_bytes_atomically(tmp_path / "a", b"1")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    (tmp_path / "a").chmod(0o600)
    write_bytes_atomically(tmp_path / "a", b"2", overwrite=True)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_a_link_keeps_pointing_to_what_it_names(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    write_bytes_atomically(tmp_path / "link", b"new", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["missing/a.png", "away.png", "file/a.png", "folder", "null.png", "a" * 300 + ".png"])
def test_places_that_cannot_be_written_to(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "null.png").symlink_to(os.devnull)
    (tmp_path / "away.png").symlink_to(tmp_path / "gone" / "a.png")
    expected = {
        "missing/a.png": "the folder .*missing does not exist: create it first",
        "away.png": "the folder .*gone does not exist: create it first",
        "file/a.png": "is a file, not a folder|cannot be written",
        "folder": "is a folder: give the name of a file in it",
        "null.png": "is a device or a pipe: give the name of a file",
    }.get(name, "the name is too long: choose a shorter one")
    with pytest.raises(InputError, match=expected):
        check_place(tmp_path / name)
    with pytest.raises(InputError, match=expected):
        write_bytes_atomically(tmp_path / name, b"", overwrite=True)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_folder_that_is_not_writable(
    tmp_path: Path, picture: Picture, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "touch", fail_with(number))
    with pytest.raises(InputError, match=r"a\.png cannot be written, .*: choose another folder"):
        picture.check_destination(tmp_path / "a.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write to any folder")
def test_folder_without_permission(tmp_path: Path, picture: Picture) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="no permission to write there: choose another folder"):
        picture.check_destination(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a", "a.gif", "a.pgm", "a.npy", ".png"])
def test_unknown_extensions(tmp_path: Path, picture: Picture, name: str) -> None:
    with pytest.raises(InputError, match=r"names no format that is written: use \.png, \.jpg"):
        picture.check_destination(tmp_path / name)


def specimen(dtype: str, channels: int, pages: int, alpha: bool, folder: Path) -> Picture:
    stored = channels + alpha
    shape = (pages, 20, 24) if stored == 1 else (pages, 20, 24, stored)
    with tifffile.TiffWriter(folder / "source.tif") as tif:
        for page in np.ones(shape, dtype):
            tif.write(
                page,
                metadata=None,
                photometric="rgb" if channels == 3 else "minisblack",
                planarconfig="contig" if stored > 1 else None,
                extrasamples=[2] if alpha else None,
            )
    return read(folder / "source.tif", page="all")


@pytest.mark.parametrize(
    ("specification", "suffix", "expected"),
    [
        (("uint16", 1, 1, False), ".jpg", r"JPEG cannot hold uint16 values: use \.png, \.tif or \.tiff"),
        (("uint16", 3, 1, False), ".webp", r"WebP cannot hold uint16 values: use \.png, \.tif or \.tiff"),
        (("float32", 1, 1, False), ".png", r"PNG cannot hold float32 values: use \.tif or \.tiff"),
        (("uint8", 4, 1, False), ".png", r"PNG cannot hold 4 channels: use \.tif or \.tiff"),
        (("uint8", 2, 1, False), ".jpg", r"JPEG cannot hold 2 channels: use \.tif or \.tiff"),
        (("uint8", 1, 3, False), ".png", r"PNG cannot hold 3 pages: use \.tif or \.tiff"),
        (("uint8", 3, 1, True), ".jpg", r"JPEG cannot hold transparency: use \.png, \.webp, \.tif or \.tiff"),
        (("uint8", 3, 1, True), ".bmp", r"BMP cannot hold transparency: use \.png, \.webp, \.tif or \.tiff"),
        (("float32", 7, 2, False), ".jpg", r"cannot hold float32 values and 7 channels and 2 pages: use \.tif"),
        (("int16", 1, 1, False), ".png", r"PNG cannot hold int16 values: use \.tif or \.tiff"),
    ],
)
def test_formats_that_cannot_hold_the_picture(
    tmp_path: Path, specification: tuple[str, int, int, bool], suffix: str, expected: str
) -> None:
    picture = specimen(*specification, tmp_path)
    for act in (picture.check_destination, lambda path: picture.write(picture.tensor, path)):
        with pytest.raises(InputError, match=expected):
            act(tmp_path / f"out{suffix}")
    picture.check_destination(tmp_path / "out.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["source.tif"]


def test_a_result_larger_than_webp_allows(tmp_path: Path) -> None:
    picture = as_picture(np.zeros((16, 16), np.uint8))
    with pytest.raises(InputError, match="WebP cannot hold a side of 16400 pixels"):
        picture.write(torch.zeros(1, 1, 16, 16400), tmp_path / "a.webp")


def test_checking_leaves_no_trace(tmp_path: Path, picture: Picture) -> None:
    picture.check_destination(tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_profile_too_long_for_the_format(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((20, 24), np.uint8)).save(tmp_path / "a.png", exif=b"Exif\0\0" + bytes(70_000))
    source = read(tmp_path / "a.png")
    for act in (source.check_destination, lambda path: source.write(source.tensor, path)):
        with pytest.raises(InputError, match=r"a\.jpg cannot be encoded as JPEG \(.*\): use \.png or \.tif"):
            act(tmp_path / "a.jpg")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("shape", [(20, 24), (1, 20, 24), (3, 20, 24), (1, 1, 20, 24), (2, 3, 20, 24)])
def test_maps_of_float(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    path = write_float_tiff(values, tmp_path / "a.tif")
    found = tifffile.imread(path)
    assert found.dtype == np.float32
    four = values.reshape(*[1] * (4 - len(shape)), *shape)
    np.testing.assert_array_equal(found.squeeze(), four.permute(0, 2, 3, 1).numpy().squeeze())
    first = path.read_bytes()
    assert write_float_tiff(values, path, overwrite=True).read_bytes() == first


def test_maps_of_float_from_arrays_and_bad_ones(tmp_path: Path) -> None:
    array = np.arange(20 * 24 * 3.0).reshape(20, 24, 3)
    np.testing.assert_array_equal(tifffile.imread(write_float_tiff(array, tmp_path / "a.tif")), array)
    for wrong, name, expected in (
        (array, "a.png", "is written as TIFF"),
        (array, "a.tif", "exists already"),
        (array[0, 0], "b.tif", "expected a map"),
        (array * np.nan, "b.tif", "1440 values are NaN"),
    ):
        with pytest.raises(InputError, match=expected):
            write_float_tiff(wrong, tmp_path / name)
