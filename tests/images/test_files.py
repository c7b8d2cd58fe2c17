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
from preimage.images.files import check_file, in_folder, open_file, read_bytes, read_text

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
    assert str(path).replace("\0", r"\x00") in str(caught.value)
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


def folder_of(tmp_path: Path, *names: str) -> Path:
    folder = tmp_path / "beside"
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("names", "source", "found"),
    [
        (["a.png", "b.png"], "photos/a.jpg", "a.png"),
        (["a.png", "a.jpg"], "photos/a.jpg", "a.jpg"),  # an equal name comes first
        (["a.TIF", "ab.png", "a"], "a.png", "a.TIF"),
        (["a.1.png", "a.2.png", "a.png"], "a.2.jpeg", "a.2.png"),  # all but the extension is the stem
        (["a.png", "a.txt", "a.xmp"], "a.jpg", "a.png"),  # no images are no companions
        (["._a.png", "a.webp"], "a.bmp", "a.webp"),
    ],
)
def test_a_folder_stands_for_the_file_of_the_input_s_name_or_stem(tmp_path, names, source, found):
    folder = folder_of(tmp_path, *names)
    assert in_folder(folder, source) == folder / found
    assert in_folder(folder / names[0], source) == folder / names[0]  # a file serves every input
    assert in_folder(folder, None) == folder


@pytest.mark.parametrize(
    ("names", "code", "words"),
    [
        (["a.png", "a.tif"], "option", ["a.png and a.tif", "leave one"]),
        ([], "not-found", ["a.jpg", "a with another extension"]),
        (["b.png", "a_mask.png", "a.txt"], "not-found", ["a.jpg", "a with another extension"]),
    ],
)
def test_none_or_several_of_one_stem_are_one_line(tmp_path, names, code, words):
    with pytest.raises(InputError) as caught:
        in_folder(folder_of(tmp_path, *names), "photos/a.jpg")
    assert caught.value.code == code
    assert all(word in str(caught.value) for word in (*words, "photos/a.jpg"))
