"""Names that many pictures share, that are too long, or that are none: each picture has its own, and stops no other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from preimage.errors import InputError
from preimage.folders import listing
from preimage.folders.jobs import Asked
from preimage.folders.lease import Lease
from preimage.folders.listing import Entry, Listing, listing_of
from preimage.folders.records import Place, Record
from preimage.folders.results import records_in, standings_in
from preimage.folders.work import look, work_on
from preimage.jobs.job import RunOptions
from preimage.registry import task_named

OPTIONS = {"sigma": 25.0, "steps": 2, "stop": "steps"}


def draw(path: Path, seed: int = 0) -> Path:
    values = np.random.default_rng(seed).normal(128, 40, (32, 32, 3)).clip(0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, format="png")
    return path


def asked(out: Path, task: str = "denoise", options: Mapping[str, Any] = OPTIONS) -> Asked:
    out.mkdir(exist_ok=True)
    return Asked(task_named(task), options, out, {}, RunOptions(threads=1))


def turns(asked: Asked, found: Listing, *, alone: bool = False) -> tuple[list[str], list[tuple[str, str]]]:
    """The names of those that have a turn, and those that are refused with the reason."""
    refused: list[tuple[str, str]] = []
    given = asked.turns(found.entries, lambda entry, why: refused.append((entry.name, str(why))), raises_alone=alone)
    return [turn.name for turn in given], refused


@pytest.mark.parametrize(
    "names",
    [
        ("a/IMG_1.png", "b/IMG_1.png"),
        ("a/IMG_1.png", "b/IMG_1.png", "c/IMG_1.png", "c/IMG_1.jpg"),
        ("a/x.png", "a/x.PNG"),
        ("a/x.png", "a/x.PNG", "b/x.png"),
        ("a/sky.fits.gz", "a/sky.fit.gz", "b/sky.fits.gz"),
    ],
)
def test_pictures_of_one_name_have_each_a_name_and_a_result_of_their_own(tmp_path, names):
    paths = [draw(tmp_path / name) for name in names]
    found = listing_of(paths)
    for each in ("name", "stem"):
        own = {getattr(entry, each) for entry in found.entries}
        assert len(own) == len(names)
        assert own == {getattr(entry, each) for entry in listing_of(paths[::-1]).entries}
    given = asked(tmp_path / "out").turns(found.entries, lambda *_: None)
    assert len({turn.place.stem for turn in given}) == len({turn.job.outputs["output"] for turn in given}) == len(names)


def test_names_stay_as_they_are_where_nothing_collides(tmp_path):
    paths = [draw(tmp_path / name) for name in ("a/page.png", "a/page.jpg", "b/other.png", "b/Page1.png")]
    found = listing_of(paths)
    assert [entry.name for entry in found.entries] == ["Page1.png", "other.png", "page.jpg", "page.png"]
    assert [entry.stem for entry in found.entries[:2]] == ["Page1", "other"]


def test_of_thousands_of_one_name_two_with_the_same_digits_are_told_apart(tmp_path, monkeypatch):
    class Alike:
        def __init__(self, data: bytes) -> None:
            self.data = data

        def hexdigest(self) -> str:
            return "000000" + self.data.hex()[-30:]

    paths = [draw(tmp_path / name / "scan.png") for name in ("a", "b", "c")]
    paths += [draw(tmp_path / "d" / "scan-png-000000.png")]
    monkeypatch.setattr(listing, "sha256", Alike)
    found = listing_of(paths)
    assert len({entry.name for entry in found.entries}) == len({entry.stem for entry in found.entries}) == 4


def test_those_of_one_name_are_in_one_share_wherever_their_folders_lie(tmp_path):
    for root in ("here", "there"):
        found = listing_of([draw(tmp_path / root / name / "IMG_1.png") for name in "abc"])
        assert sorted(len(found.shard(k, 4).entries) for k in range(1, 5)) == [0, 0, 0, 3]


def test_two_of_one_name_are_done_and_done_again_neither_is(tmp_path):
    paths = [draw(tmp_path / name / "IMG_1.png", seed) for seed, name in enumerate("ab")]
    for became in ("done", "was done"):
        given = asked(tmp_path / "out").turns(listing_of(paths).entries, lambda *_: None)
        assert [work_on(turn.place, turn.job).became for turn in given] == [became] * 2
    assert len(list(records_in(tmp_path / "out"))) == 2


@pytest.mark.parametrize("bytes_of_it", [248, 250, 254])
def test_a_name_that_becomes_too_long_stops_no_other(tmp_path, bytes_of_it):
    paths = [draw(tmp_path / name) for name in ("a.png", f"{'n' * (bytes_of_it - 4)}.png", "z.png")]
    done, refused = turns(asked(tmp_path / "out"), listing_of(paths))
    assert done == ["a.png", "z.png"]
    ((name, why),) = refused
    assert name == paths[1].name
    assert "File name too long" in why
    assert "shorter name" in why
    with pytest.raises(InputError, match="File name too long"):
        turns(asked(tmp_path / "out"), listing_of(paths[1:2]), alone=True)


@pytest.mark.parametrize("letter", ["n", "\u00e9", "\u5199"])
def test_a_long_name_that_its_result_can_have_is_done_and_known(tmp_path, letter):
    stem = letter * (240 // len(letter.encode()))
    picture = draw(tmp_path / f"{stem[:-4]}.png")
    (turn,) = asked(tmp_path / "out").turns(listing_of([picture]).entries, lambda *_: None)
    assert work_on(turn.place, turn.job).became == "done"
    assert work_on(turn.place, turn.job).became == "was done"
    ((place, record),) = records_in(tmp_path / "out")
    assert record.input == str(picture)
    assert place.file == turn.place.file  # by which others find it again


def test_a_picture_is_told_by_its_file_where_a_hash_stands_for_it(tmp_path):
    name = f"{'n' * 240}.png"
    place = Place(tmp_path, f"deep/{name}", "denoise")
    place.write(Record("denoise", f"/scans/{name}", "", "failed", error="no"))
    assert standings_in(tmp_path).failed == [(f"deep/{name}", "no")]


@pytest.mark.parametrize("name", ["photo.png", "scans/page1.tif", "n" * 200 + ".png"])
def test_records_of_names_that_files_can_have_bear_them(tmp_path, name):
    place = Place(tmp_path, name, "denoise")
    assert place.file == tmp_path / ".preimage" / f"{name}.denoise.json"
    assert place.aside == tmp_path / f"{name}.failed.json"


@pytest.mark.parametrize("length", [226, 240, 255])
def test_a_long_name_can_be_leased_and_set_aside_in_its_folder(tmp_path, length):
    place = Place(tmp_path, f"deep/{'n' * length}", "counterfactual")
    place.stem.parent.mkdir(parents=True)
    lease = Lease.take(place.stem)
    assert lease is not None
    lease.release()
    place.write(Record("counterfactual", "n", "", "failed", error="no"))
    assert place.aside.is_file()
    assert place.aside.parent == tmp_path / "deep"
    assert place.stem != Place(tmp_path, f"deep/{'m' * length}", "counterfactual").stem


@pytest.mark.parametrize("which", ["a", "b", "c"])
def test_two_masks_for_one_picture_stop_no_other(tmp_path, which):
    paths = [draw(tmp_path / "in" / f"{name}.jpg") for name in "abc"]
    for name in "abc":
        draw(tmp_path / "masks" / f"{name}.png")
    draw(tmp_path / "masks" / f"{which}.tif")
    options = {"mask": str(tmp_path / "masks"), "steps": 2}
    done, refused = turns(asked(tmp_path / "out", "inpaint", options), listing_of(paths))
    assert done == [f"{name}.jpg" for name in "abc" if name != which]
    assert [name for name, _ in refused] == [f"{which}.jpg"]
    assert f"{which}.png and {which}.tif: leave one of them there" in refused[0][1]


def test_a_folder_that_may_not_be_entered_stops_no_other(tmp_path, monkeypatch):
    found = listing_of([draw(tmp_path / "in" / name).parent for name in ("a.png", "shut/b.png")][:1], recursive=True)
    is_dir = Path.is_dir

    def refuses(path: Path) -> bool:
        if "out" in path.parts and path.parent.name == "shut":
            raise PermissionError(13, "Permission denied", str(path))
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", refuses)
    done, refused = turns(asked(tmp_path / "out"), found)
    assert done == ["a.png"]
    assert [name for name, _ in refused] == ["shut/b.png"]
    assert "b-denoise.png cannot be used (Permission denied)" in refused[0][1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("filename,target\na\0.png,mel\n", "holds a zero byte"),
        ("filename,target\na.png,m\0el\n", "holds a zero byte"),
        (f"filename,target\na.png,{'m' * 140_000}\n", "field larger than field limit"),
        (f'filename,target\na.png,"mel\n{"b.png,nv" * 20_000}\n', "field larger than field limit"),
    ],
)
def test_a_table_that_is_none_is_one_line(tmp_path, content, words):
    table = tmp_path / "labels.csv"
    table.write_text(content)
    with pytest.raises(InputError, match=words) as caught:
        listing_of([], listed=str(table))
    assert str(table) in str(caught.value)
    assert caught.value.code == "format"


@pytest.mark.parametrize("target", ["3", "mel", "\u00b2"])
def test_a_target_stays_text_for_a_class_may_be_called_by_a_number(tmp_path, target):
    every = Asked(task_named("counterfactual"), {}, tmp_path, {}, RunOptions(), "target")
    assert every._target(Entry(tmp_path / "a.png", Path(), "a", {"target": target})) == target


@pytest.mark.parametrize("first", ["output", "uncertainty"])
def test_the_file_in_the_way_is_named_and_not_a_result_beside_it(tmp_path, monkeypatch, first):
    (turn,) = asked(tmp_path / "out").turns(listing_of([draw(tmp_path / "a.png")]).entries, lambda *_: None)
    work_on(turn.place, turn.job)
    written = {"output": Path(turn.job.outputs["output"]), "uncertainty": tmp_path / "out" / "mine.tif"}
    written["uncertainty"].touch()
    order = dict(sorted(written.items(), key=lambda pair: pair[0] != first))
    monkeypatch.setattr("preimage.folders.work.places_of", lambda job: SimpleNamespace(written=order))
    monkeypatch.setattr("preimage.folders.work.job_hash", lambda *_: "another")
    ended = look(turn.place, turn.job)
    assert ended is not None
    assert ended.became == "in the way"
    assert str(ended.error).startswith(str(written["uncertainty"]))


def test_one_that_cannot_be_begun_has_a_record_which_ends_when_it_can(tmp_path):
    every = asked(tmp_path / "out")
    (entry,) = listing_of([tmp_path / "late.png"]).entries
    ended = every.refused(entry, InputError("late.png does not exist", code="not-found"))
    assert (ended.became, ended.error) == ("failed", "late.png does not exist")
    ((place, record),) = records_in(tmp_path / "out")
    assert (record.state, record.input, record.error) == ("failed", str(entry.source), "late.png does not exist")
    assert place.aside.is_file()
    draw(entry.source)
    turn = every.turn(entry)
    assert work_on(turn.place, turn.job).became == "done"
    assert not place.aside.exists()
    every.refused(entry, InputError("late.png does not exist", code="not-found"))
    assert next(records_in(tmp_path / "out"))[1].state == "done"  # its result is there
    assert every.refused(Entry(Path("n" * 250), Path("n" * 300), "n"), InputError("no")).became == "failed"


def test_what_is_said_of_a_task_beside_the_results_is_not_taken_away_by_another(tmp_path):
    for task in ("denoise", "deblur"):
        Place(tmp_path, "a.png", task).write(Record(task, "a.png", "", "failed", error="no"))
    Place(tmp_path, "a.png", "denoise").write(Record("denoise", "a.png", "", "done"))
    assert (tmp_path / "a.png.failed.json").is_file()
    Place(tmp_path, "a.png", "deblur").write(Record("deblur", "a.png", "", "done"))
    assert not (tmp_path / "a.png.failed.json").exists()


@pytest.mark.parametrize("state", ["started", "writing", "interrupted"])
def test_one_whose_file_is_away_keeps_its_checkpoint(tmp_path, state):
    every = asked(tmp_path / "out")
    (entry,) = listing_of([draw(tmp_path / "a.png")]).entries
    turn = every.turn(entry)
    turn.place.write(Record("denoise", str(entry.source), "known by this", state, 1))
    entry.source.unlink()
    every.refused(entry, InputError("a.png does not exist", code="not-found"))
    assert work_on(turn.place, turn.job).became == "failed"
    record = turn.place.read()
    assert record is not None
    assert (record.state, record.job) == (state, "known by this")
