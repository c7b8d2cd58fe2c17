"""Uploads become files under ids, within limits; what they are is said, and any part of them is shown."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from studio.served import Page, served

from preimage.studio.settings import Limits


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_what_a_picture_is_is_said(page: Page, sample_files: Path):
    file = page.facts(page.upload((sample_files / "noisy.tif").read_bytes(), "noisy.tif")["id"])
    facts = file["facts"]
    assert (facts["width"], facts["height"], facts["channels"], facts["pages"]) == (32, 32, 1, 1)
    assert (facts["dtype"], facts["bits"], facts["format"]) == ("uint16", 16, "TIFF")
    assert facts["range"][0] >= 1000
    assert facts["noise"]["sigma"] > 2
    assert facts["suggested"]["task"] in ("denoise", "super-resolve")
    assert facts["suggested"]["why"]


def test_a_stack_shows_each_of_its_pages(page: Page, sample_files: Path):
    import tifffile

    file = page.facts(page.upload((sample_files / "cells.tif").read_bytes(), "cells.tif")["id"])
    assert file["facts"]["pages"] == 3
    wanted = tifffile.imread(sample_files / "cells.tif")
    for number in (1, 2, 3):
        shown = pixels(page.get(f"/api/files/{file['id']}/view?page={number}&out=32").body)
        np.testing.assert_array_equal(shown, wanted[number - 1])
    assert page.get(f"/api/files/{file['id']}/view?page=4").status == 422


def test_a_view_is_the_region_in_its_own_pixels_or_scaled_down(page: Page):
    rng = np.random.default_rng(1)
    array = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    file = page.upload(png(array))["id"]
    view = f"/api/files/{file}/view"
    np.testing.assert_array_equal(pixels(page.get(f"{view}?x=5&y=7&w=20&h=10").body), array[7:17, 5:25])
    assert pixels(page.get(f"{view}?out=16").body).shape == (12, 16, 3)
    assert pixels(page.get(f"{view}?x=60&y=40&w=100&h=100&out=4000").body).shape == (
        8,
        4,
        3,
    )  # never more than there are
    thumbnail = pixels(page.get(f"/api/files/{file}/thumbnail").body)
    assert max(thumbnail.shape) <= 128
    for wrong in ("x=-1", "w=0", "out=0", "out=100000", "x=a", "low=nan", "low=1e999"):
        assert page.get(f"{view}?{wrong}").status == 422


def test_a_contrast_window_is_in_the_values_of_the_file(page: Page):
    import tifffile

    values = np.linspace(-3, 5, 32 * 32, dtype=np.float32).reshape(32, 32)
    data = io.BytesIO()
    tifffile.imwrite(data, values)
    file = page.upload(data.getvalue(), "float.tif")["id"]
    shown = pixels(page.get(f"/api/files/{file}/view?low=0&high=1").body)
    np.testing.assert_array_equal(shown, np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8))
    assert page.facts(file)["facts"]["float"]


def test_transparency_and_orientation_are_shown(page: Page, sample_files: Path):
    file = page.upload((sample_files / "transparent.png").read_bytes(), "transparent.png")["id"]
    shown = pixels(page.get(f"/api/files/{file}/view").body)
    assert shown.shape[2] == 4
    assert shown[0, 0, 3] == 0
    assert shown[31, 31, 3] == 255
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (40, 20)).save(turned, "JPEG", exif=exif)
    facts = page.facts(page.upload(turned.getvalue(), "turned.jpg")["id"])["facts"]
    assert (facts["width"], facts["height"]) == (20, 40)


def test_the_bytes_come_back_as_they_were(page: Page, photo: bytes):
    file = page.upload(photo, "a b.png")["id"]
    answer = page.get(f"/api/files/{file}/raw")
    assert answer.body == photo
    assert answer.headers["content-disposition"].startswith("attachment")
    assert page.delete(f"/api/files/{file}").status == 200
    assert page.get(f"/api/files/{file}").status == 404


def test_a_mask_has_the_size_of_its_picture_and_becomes_black_and_white(page: Page, photo: bytes):
    file = page.upload(photo)["id"]
    painted = np.zeros((32, 32, 4), np.uint8)
    painted[4:8, 4:8] = (255, 0, 0, 255)
    answer = page.post(f"/api/masks?of={file}", png(painted))
    assert answer.status == 201
    assert (answer.json["kind"], answer.json["of"]) == ("mask", file)
    plain = pixels(page.get(f"/api/files/{answer.json['id']}/raw").body)
    assert set(np.unique(plain)) == {0, 255}
    np.testing.assert_array_equal(plain == 255, painted[..., 3] == 255)
    before = len(page.get("/api/files").json)
    answer = page.post(f"/api/masks?of={file}", png(painted[:16]))
    assert answer.status == 422
    assert "32 x 32" in answer.error
    assert page.post(f"/api/masks?of={file}", b"no picture").status == 422
    assert len(page.get("/api/files").json) == before


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../../etc/passwd", "passwd"),
        ("/etc/cron.d/x.png", "x.png"),
        ("C:\\windows\\x.png", "x.png"),
        ("a\0b.png", "ab.png"),
        ("<script>alert(1)</script>.png", "script>.png"),
        ("..", "file"),
        ("-rf.png", "-rf.png"),
        ("x" * 5000 + ".png", "x" * 196 + ".png"),
        ("\u202egnp.exe", "gnp.exe"),
        ("a\r\nSet-Cookie: x.png", "aSet-Cookie: x.png"),
    ],
)
def test_a_name_is_shown_and_is_no_path(page: Page, folder: Path, photo: bytes, name: str, shown: str):
    file = page.upload(photo, name)
    assert file["name"] == shown
    kept = list((folder / "files" / file["id"]).iterdir())
    assert {path.name.partition(".")[0] for path in kept} == {"original", "file"}
    answer = page.get(f"/api/files/{file['id']}/raw")
    assert answer.body == photo
    assert "set-cookie" not in answer.headers


def endless(size: int, sent: list[int]) -> Iterator[bytes]:
    """Chunks of a body whose length is not announced."""
    part = b"\0" * 2**16
    for _ in range(size // len(part)):
        sent[0] += len(part)
        yield part


def test_uploads_have_limits(tmp_path: Path, photo: bytes):
    with served(tmp_path, Limits(bytes=10**6, quota=2 * 10**6)) as (page, _):
        answer = page.send("POST", "/api/files", None, {"Content-Length": str(2**31), "X-Name": "big.tif"})
        assert answer.status == 413  # before a byte of it was sent
        sent = [0]
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=60)
        headers = {"Host": page.host, "Cookie": page.cookie or "", "X-Preimage": "1", "X-Name": "big.tif"}
        try:
            connection.request("POST", "/api/files", endless(2**31, sent), headers, encode_chunked=True)
            assert connection.getresponse().status == 413
        except (BrokenPipeError, ConnectionResetError):
            pass  # it was closed while we sent
        connection.close()
        assert sent[0] < 10**8
        deadline = time.monotonic() + 10
        while list((tmp_path / "files").iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not list((tmp_path / "files").iterdir())
        for _ in range(2):
            page.upload(b"\0" * 900_000, "filler.npy")
        answer = page.send("POST", "/api/files", b"\0" * 900_000, {"X-Name": "more.npy"})
        assert answer.status == 413
        assert "delete" in answer.error
        assert page.send("POST", "/api/files", b"", {"X-Name": "empty.png"}).status == 422


def test_old_files_are_removed(tmp_path: Path, photo: bytes):
    with served(tmp_path, Limits(age=0.2)) as (page, app):
        file = page.upload(photo)["id"]
        page.facts(file)
    time.sleep(0.3)
    with served(tmp_path, Limits(age=0.2)) as (page, app):
        assert page.until("/api/files", lambda found: not found, 10) == []
        assert not app.studio.files.all


def test_files_stay_after_a_restart(tmp_path: Path, photo: bytes):
    with served(tmp_path) as (page, _):
        before = page.facts(page.upload(photo)["id"])
    with served(tmp_path) as (page, _):
        after = page.get(f"/api/files/{before['id']}").json
        assert {**after, "used": 0, "facts": {**after["facts"], "seconds": 0}} == {
            **before,
            "used": 0,
            "facts": {**before["facts"], "seconds": 0},
        }
