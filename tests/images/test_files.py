"""One function opens what a user names: pipes, sockets, devices and folders are one line, and nothing waits."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from preimage.errors import InputError
from preimage.images import read
from preimage.images.files import check_file, open_file, read_bytes, read_text

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX"),
]


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "a.png")
    return folder / "a.png"


def bound_socket(folder: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(folder)  # the name of a socket is short
        try:
            made.bind("a.png")
        finally:
            os.chdir(here)
    return folder / "a.png"


def link(folder: Path) -> Path:
    (folder / "link.png").symlink_to("/dev/zero")
    return folder / "link.png"


def loop(folder: Path) -> Path:
    (folder / "loop.png").symlink_to("loop.png")
    return folder / "loop.png"


READERS: list[Callable[[Path], Any]] = [open_file, check_file, read_bytes, read_text, read]


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (pipe, "is a pipe"),
        (bound_socket, "is a socket"),
        (lambda _: Path("/dev/zero"), "is a device"),
        (lambda _: Path("/dev/tty"), "is a device"),
        (link, "is a device"),
        (lambda folder: folder, "is a folder"),
        (lambda folder: folder / "none.png", "does not exist"),
        (lambda folder: folder / ("a" * 300), "the name is too long"),
        (lambda _: Path("a\0b"), "cannot be read"),
        (loop, "cannot be read"),
    ],
)
def test_what_is_no_file_is_refused_without_waiting(tmp_path, reader, make, words):
    path = make(tmp_path)
    with pytest.raises(InputError) as caught:
        reader(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.code in ("unreadable", "not-found")


def test_a_text_has_a_bound_and_a_coding(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf{}")
    assert read_text(path) == "{}"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"the recipe .*a.json is no text in UTF-8"):
        read_text(path, "the recipe")
    with path.open("wb") as file:
        file.truncate(2**40)  # a sparse file of a terabyte
    with pytest.raises(InputError, match="has 1099511627776 bytes") as caught:
        read_text(path)
    assert caught.value.code == "size"
    with pytest.raises(InputError) as caught:
        read_bytes(path)
    assert caught.value.code == "memory"
