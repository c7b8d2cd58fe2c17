"""What a stranger or a damaged file can do: be refused, or be shown as text. The server lives, and its memory is bounded."""

from __future__ import annotations

import socket
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import psutil
import pytest
from studio.served import Page, served

from preimage.studio.settings import Limits


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def header_of(width: int, height: int) -> bytes:
    """A PNG that claims so many pixels."""
    claims = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + claims + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def test_a_header_of_900_million_pixels_is_refused_before_it_is_decoded(page: Page):
    begun = time.monotonic()
    file = page.facts(page.upload(header_of(30_000, 30_000), "bomb.png")["id"])
    assert "pixels" in file["error"]
    assert file["facts"] is None
    assert page.get(f"/api/files/{file['id']}/view").status == 422
    job = page.job("denoise", file["id"], options={"steps": 1})
    assert "pixels" in page.ended(job["id"])["error"]
    assert time.monotonic() - begun < 120


def test_the_limit_on_pixels_is_that_of_the_studio(tmp_path: Path, photo: bytes):
    with served(tmp_path, Limits(pixels=1000)) as (page, _):
        file = page.facts(page.upload(photo)["id"])
        assert "1024 pixels are more than the 1000" in file["error"]


def test_slow_connections_are_closed_and_keep_nobody_out(tmp_path: Path):
    with served(tmp_path, Limits(wait=1.0)) as (page, _):
        before = psutil.Process().memory_info().rss
        slow = []
        for number in range(200):
            connection = socket.create_connection(("127.0.0.1", page.port), 10)
            head = [b"", b"GET / HTTP/1.1\r\nHost: ", b"POST /api/files HTTP/1.1\r\nContent-Length: 5\r\n"][number % 3]
            connection.sendall(head)
            slow.append(connection)
        assert page.get("/api/jobs").status == 200
        assert psutil.Process().memory_info().rss - before < 50e6
        for connection in slow:
            connection.settimeout(10)
            try:
                while connection.recv(4096):
                    pass
            except ConnectionResetError:
                pass
            connection.close()
        assert page.get("/api/jobs").status == 200


def test_a_body_that_comes_slowly_is_given_up(tmp_path: Path):
    with (
        served(tmp_path, Limits(wait=0.5)) as (page, _),
        socket.create_connection(("127.0.0.1", page.port), 10) as connection,
    ):
        own = f"Host: {page.host}\r\nCookie: {page.cookie}\r\nX-Preimage: 1\r\nX-Name: a.png\r\n"
        connection.sendall(f"POST /api/files HTTP/1.1\r\n{own}Content-Length: 1000\r\n\r\nabc".encode())
        connection.settimeout(20)
        assert b" 408 " in connection.recv(4096)
        assert not list((tmp_path / "files").iterdir())


def test_more_connections_than_are_taken_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("preimage.studio.connections.PatientProtocol.most", 20)
    with served(tmp_path, Limits(wait=1.0)) as (page, _):
        crowd = [socket.create_connection(("127.0.0.1", page.port), 10) for _ in range(60)]
        deadline = time.monotonic() + 20
        while True:
            try:
                if page.get("/api/jobs").status == 200:
                    break
            except OSError:
                assert time.monotonic() < deadline
            time.sleep(0.1)
        for connection in crowd:
            connection.close()


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "$(touch pwned).png", "';--.png"]
)
def test_script_in_a_name_is_text(page: Page, photo: bytes, name: str):
    file = page.upload(photo, name)
    answer = page.get(f"/api/files/{file['id']}")
    assert answer.headers["content-type"].startswith("application/json")
    job = page.job("denoise", file["id"], options={"steps": 1})
    answer = page.get(f"/api/jobs/{job['id']}")
    assert answer.headers["content-type"].startswith("application/json")
    raw = page.get(f"/api/files/{file['id']}/raw")
    assert raw.headers["content-type"] == "application/octet-stream"
    assert raw.headers["content-disposition"].startswith("attachment")
    import shlex

    assert file["name"] in shlex.split(answer.json["command"]) or f"./{file['name']}" in shlex.split(
        answer.json["command"]
    )
    page.delete(f"/api/jobs/{job['id']}")


def test_an_upload_of_a_page_is_never_shown_as_one(page: Page):
    file = page.upload(b"<script>alert(1)</script>", "index.html")["id"]
    answer = page.get(f"/api/files/{file}/raw")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert page.get(f"/api/files/{file}/view").status == 422


def damaged(samples: Path, count: int) -> list[tuple[str, bytes]]:
    """Real files of several kinds with bytes changed, cut off or doubled, the same each time."""
    rng = np.random.default_rng(0)
    whole = [
        (each.name, each.read_bytes()) for each in sorted(samples.iterdir()) if each.suffix in (".png", ".jpg", ".tif")
    ]
    found = []
    for number in range(count):
        name, data = whole[number % len(whole)]
        changed = bytearray(data)
        kind = number % 4
        if kind == 0:
            changed = changed[: int(rng.integers(1, len(changed)))]
        elif kind == 1:
            changed += changed[: len(changed) // 2]
        for _ in range(int(rng.integers(1, 30))):
            changed[int(rng.integers(len(changed)))] = int(rng.integers(256))
        found.append((name, bytes(changed)))
    return found


def test_damaged_files_are_refused_or_read_and_the_server_lives(page: Page, folder: Path, sample_files: Path):
    ids = [page.upload(data, name)["id"] for name, data in damaged(sample_files, 100)]
    for file in ids:
        known = page.facts(file)
        assert (known["facts"] is None) != (known["error"] is None)
        answer = page.get(f"/api/files/{file}/view?out=64")
        assert answer.status in (200, 422)
        assert str(folder) not in str(known["error"])
    assert page.get("/api/jobs").status == 200
    outside = {path.name for path in folder.iterdir()}
    assert outside <= {"files", "jobs", "folders", "empty", "paces.json", "token", "lock"}


def test_a_file_that_ends_its_process_ends_nothing_else(page: Page, photo: bytes):
    """A picture whose reading takes the process down is a line; the next one is read by a new process."""
    file = page.facts(page.upload(photo)["id"])
    for child in psutil.Process().children(recursive=True):
        if "preimage.studio.probe" in " ".join(child.cmdline()):
            child.kill()
    answer = page.get(f"/api/files/{file['id']}/view")
    assert answer.status in (200, 422)
    assert page.get(f"/api/files/{file['id']}/view").status == 200


def test_the_process_that_reads_has_a_limit_on_its_memory(tmp_path: Path):
    import tifffile

    with served(tmp_path, memory=300 * 2**20) as (page, _):
        path = tmp_path / "large.tif"
        tifffile.imwrite(path, np.zeros((9000, 9000, 3), np.uint8), compression="zlib", photometric="rgb")
        file = page.facts(page.upload(path.read_bytes(), "large.tif")["id"])
        assert file["error"]
        assert "memory" in file["error"]
        assert page.get("/api/jobs").status == 200
