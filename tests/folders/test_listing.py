"""What is to be done: pictures of folders, files and lists, each once, with its structure, and shared out by name."""

from __future__ import annotations

import io
import os
import sys
from codecs import BOM_UTF8
from pathlib import Path

import pytest

from preimage.errors import InputError
from preimage.folders.listing import Entry, Listing, listing_of, share_of


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    for name in (
        "b.tif",
        "a.PNG",
        "notes.txt",
        "README",
        ".hidden.png",
        "sky.fits.gz",
        "page/1.jpg",
        "page/deep/2.webp",
        "roll/3.NEF",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def names(listing: Listing) -> list[str]:
    return [entry.name for entry in listing.entries]


def test_of_a_folder_those_with_the_name_of_an_image_format(scans):
    found = listing_of([scans])
    assert names(found) == ["a.PNG", "b.tif", "sky.fits.gz"]
    assert found.skipped == 2


def test_folders_within_keep_their_structure(scans):
    found = listing_of([scans], recursive=True)
    assert names(found) == ["a.PNG", "b.tif", "page/1.jpg", "page/deep/2.webp", "roll/3.NEF", "sky.fits.gz"]
    assert [entry.folder for entry in found.entries[2:4]] == [Path("page"), Path("page/deep")]


def test_a_file_is_taken_whatever_its_name_and_once(scans):
    found = listing_of([scans / "README", scans / "README", scans / "b.tif", scans])
    assert names(found) == ["README", "a.PNG", "b.tif", "sky.fits.gz"]


@pytest.mark.parametrize(("name", "text"), [("l.txt", "a.PNG\n\npage/1.jpg\n"), ("l.lst", "a.PNG\0page/1.jpg\0")])
def test_a_list_names_paths_from_its_own_folder(scans, name, text):
    (scans / name).write_text(text)
    assert names(listing_of([], listed=str(scans / name))) == ["a.PNG", "page/1.jpg"]


def test_standard_input_is_a_list(scans, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{scans / 'a.PNG'}\n{scans / 'page' / '1.jpg'}\n"))
    assert names(listing_of([], listed="-")) == ["1.jpg", "a.PNG"]


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
@pytest.mark.parametrize("begin", [b"", BOM_UTF8])
def test_names_of_a_list_are_those_of_files_whatever_their_bytes(scans, monkeypatch, begin):
    name = os.fsdecode(b"caf\xe9.png")
    (scans / name).write_bytes(b"")
    listed = begin + os.fsencode(scans / name) + b"\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(listed), encoding="utf-8"))
    (scans / "l.txt").write_bytes(listed)
    for given in ("-", str(scans / "l.txt")):
        (entry,) = listing_of([], listed=given).entries
        assert (entry.source, entry.name) == (scans / name, name)


def test_of_a_picture_with_several_targets_each_is_an_entry(scans):
    rows = "a.PNG,mel\nb.tif,nv\na.PNG,nv\na.PNG,bcc / 2\na.PNG,bcc / 2\na.PNG,bcc - 2\n"
    (scans / "labels.csv").write_text(f"filename,target\n{rows}")
    found = listing_of([], listed=str(scans / "labels.csv"), target_column="target").entries
    assert [(entry.stem, entry.values["target"]) for entry in found][2:] == [
        ("a-mel", "mel"),
        ("a-nv", "nv"),
        ("b", "nv"),
    ]
    assert [entry.values["target"] for entry in found[:2]] == ["bcc - 2", "bcc / 2"]  # which one name would be of
    assert len({entry.stem for entry in found}) == len({entry.name for entry in found}) == 5
    assert all(entry.name == f"{entry.stem}.PNG" for entry in found if entry.source.name == "a.PNG")
    assert len(listing_of([], listed=str(scans / "labels.csv")).entries) == 2


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-be"])
def test_a_list_in_utf_16_is_refused_and_not_taken_letter_by_letter(scans, monkeypatch, coding):
    text = "\ufeffa.PNG\r\nb.tif\r\n" if coding == "utf-16-be" else "a.PNG\r\nb.tif\r\n"
    (scans / "l.txt").write_bytes(text.encode(coding))
    with pytest.raises(InputError, match="no text in UTF-8") as raised:
        listing_of([], listed=str(scans / "l.txt"))
    assert raised.value.code == "unreadable"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode(coding))))
    with pytest.raises(InputError, match="the list on standard input is no text"):
        listing_of([], listed="-")


def test_bytes_that_a_system_has_no_name_for_are_refused(scans, monkeypatch):
    def fsdecode(read: bytes) -> str:  # as on Windows
        return read.decode("utf-8", "surrogatepass")

    (scans / "l.txt").write_bytes(b"caf\xe9.png\n")
    monkeypatch.setattr("preimage.folders.listing.os.fsdecode", fsdecode)
    with pytest.raises(InputError, match="no text in UTF-8: save it anew"):
        listing_of([], listed=str(scans / "l.txt"))


def test_a_folder_beside_a_table_has_the_targets_of_the_table(scans):
    (scans / "labels.csv").write_text("filename,target\na.PNG,mel\nb.tif,\nb.tif,none\n")
    found = listing_of([scans], listed=str(scans / "labels.csv"), target_column="target").entries
    assert [
        (entry.source.name, entry.values.get("target")) for entry in found if entry.source.name != "sky.fits.gz"
    ] == [
        ("a.PNG", "mel"),
        ("b.tif", ""),
        ("b.tif", "none"),
    ]
    assert len({entry.name for entry in found}) == len({entry.stem for entry in found}) == 4


def test_a_table_names_them_in_a_column_and_has_more_to_say(scans):
    (scans / "labels.csv").write_text("filename,target\na.PNG,mel\npage/1.jpg,nv\n")
    found = listing_of([], listed=str(scans / "labels.csv"))
    assert [(entry.name, entry.values) for entry in found.entries] == [
        ("a.PNG", {"target": "mel"}),
        ("page/1.jpg", {"target": "nv"}),
    ]


@pytest.mark.parametrize("content", ["", "name,target\na.PNG,mel\n", "\n"])
def test_a_table_without_such_a_column_is_refused(scans, content):
    (scans / "labels.csv").write_text(content)
    with pytest.raises(InputError, match="no column names the images"):
        listing_of([], listed=str(scans / "labels.csv"))


def test_what_leads_out_of_the_output_folder_is_put_into_it(scans):
    (scans / "l.txt").write_text("../scans/a.PNG\n")
    (entry,) = listing_of([], listed=str(scans / "l.txt")).entries
    assert entry.folder == Path()


def test_results_of_two_never_have_one_name(tmp_path):
    paths = [tmp_path / name for name in ("x/page.png", "x/page.jpg", "y/page.png", "y/other.png")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    found = listing_of(paths)
    stems = {str(entry.source.relative_to(tmp_path)): entry.stem for entry in found.entries}
    assert stems["y/other.png"] == "other"
    assert len(set(stems.values())) == 4
    assert {entry.stem for entry in listing_of(paths[::-1]).entries} == set(stems.values())


def test_shares_are_disjoint_complete_and_know_only_names(scans, tmp_path):
    entries = tuple(Entry(tmp_path / f"{k}.png", Path(), str(k)) for k in range(200))
    whole = Listing(entries, 3)
    parts = [whole.shard(k, 4) for k in range(1, 5)]
    assert sorted(name for part in parts for name in names(part)) == sorted(names(whole))
    assert all(30 < len(part.entries) < 70 for part in parts)
    elsewhere = tuple(Entry(Path("/other") / f"{k}.png", Path(), str(k)) for k in range(200))
    assert names(Listing(elsewhere).shard(2, 4)) == names(parts[1])
    assert share_of("a", 1) == 0


@pytest.mark.parametrize(("number", "of"), [(0, 3), (4, 3), (1, 0), (-1, 2)])
def test_a_share_out_of_range_is_refused(number, of):
    with pytest.raises(InputError, match=f"got {number}/{of}"):
        Listing(()).shard(number, of)


def test_what_is_not_there_is_said(scans, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no image"):
        listing_of([tmp_path / "empty"])
    with pytest.raises(InputError, match="does not exist"):
        listing_of([], listed=str(tmp_path / "no.txt"))
    (tmp_path / "nothing.txt").write_text("\n\n")
    with pytest.raises(InputError, match="names nothing"):
        listing_of([], listed=str(tmp_path / "nothing.txt"))


@pytest.mark.parametrize("where", [".", "page", "page/new"])
def test_an_output_folder_within_an_input_folder_is_refused(scans, where):
    with pytest.raises(InputError, match="lies in the input folder"):
        listing_of([scans], apart_from=scans / where)
