"""Overwriting, several inputs, and files that would meet."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from preimage.images import reading
from preimage.images.raster import read_raster

EXTRAS = {"--report": "r.json", "--figure": "f.png", "--film": "f.gif", "--uncertainty": "u.tif", "-o": "o.png"}


@pytest.mark.parametrize(("option", "name"), EXTRAS.items())
def test_nothing_is_overwritten_unasked(here, run, option, name):
    Path(name).write_text("mine")
    tokens = ("denoise", "noisy.png", "--recipe", "tiny.json", "--restarts", "2", option, name)
    ran = run(*tokens)
    assert ran.failed_in_one_line(name, "--overwrite", code="exists")
    assert "step" not in ran.err  # found out before the fit
    assert Path(name).read_text() == "mine"
    assert run(*tokens, "--overwrite").code == 0
    assert Path(name).read_bytes() != b"mine"


def test_the_input_is_never_overwritten(here, run):
    before = Path("noisy.png").read_bytes()
    ran = run("denoise", "noisy.png", "--recipe", "tiny.json", "-o", "noisy.png", "--overwrite")
    assert ran.failed_in_one_line("noisy.png", code="option")
    assert run("denoise", "noisy.png", "--figure", "noisy.png", "--overwrite").failed_in_one_line(code="option")
    assert run("denoise", "noisy.png", "--report", "noisy.png", "--overwrite").failed_in_one_line("noisy.png")
    assert Path("noisy.png").read_bytes() == before


def test_two_outputs_of_one_name(here, run):
    ran = run("denoise", "noisy.png", "--recipe", "tiny.json", "-o", "o.png", "--figure", "o.png")
    assert ran.failed_in_one_line("--figure", "--output", code="option")
    ran = run(
        "denoise", "noisy.png", "--recipe", "tiny.json", "--reference", "clean.png", "-o", "clean.png", "--overwrite"
    )
    assert ran.failed_in_one_line("clean.png", "--reference", code="option")


@pytest.mark.parametrize("names", [("noisy.png",), ("noisy.png", "clean.png", "second.png")])
def test_each_input_is_decoded_once(here, run, monkeypatch, names):
    shutil.copy("noisy.png", "second.png")
    decoded: list[str] = []

    def counted(path: Path, *args: Any, **options: Any) -> Any:
        decoded.append(str(path))
        return read_raster(path, *args, **options)

    monkeypatch.setattr(reading, "read_raster", counted)
    ran = run("denoise", *names, "--recipe", "tiny.json", "--steps", "2", "--json")
    assert ran.code == 0, ran.err
    assert sorted(name for name in decoded if name in names) == sorted(names)


def test_several_inputs_of_which_one_is_bad(here, run):
    shutil.copy("noisy.png", "second.png")
    Path("text.png").write_text("not a picture")
    ran = run("denoise", "noisy.png", "text.png", "second.png", "--recipe", "tiny.json", "--report", "r.json")
    assert ran.failed_in_one_line("text.png")
    assert Path("noisy-denoise.png").read_bytes() == Path("second-denoise.png").read_bytes()
    reports = {report["input"]: report for report in json.loads(Path("r.json").read_text())}
    assert reports.keys() == {"noisy.png", "text.png", "second.png"}
    assert (reports["text.png"]["code"], reports["text.png"]["output"]) == ("unreadable", None)
    assert "text.png" in reports["text.png"]["error"]
    assert not any("error" in reports[name] for name in ("noisy.png", "second.png"))
    assert not Path("text-denoise.png").exists()


def test_several_inputs_into_folders(here, run):
    for folder in ("a", "out", "truth"):
        Path(folder).mkdir()
    shutil.copy("noisy.png", "a/other.png")
    for name in ("noisy.png", "other.png"):
        shutil.copy("clean.png", f"truth/{name}")
    ran = run("denoise", "noisy.png", "a/other.png", "--recipe", "tiny.json", "--restarts", "2", "-o", "out",
              "--figure", "out", "--film", "out", "--uncertainty", "out", "--reference", "truth", "--json")  # fmt: skip
    assert ran.code == 0, ran.err
    kinds = ("-denoise.png", "-denoise-figure.png", "-denoise-uncertainty.tif", "-denoise.gif")
    expected = {name + kind for name in ("noisy", "other") for kind in kinds}
    assert {path.name for path in Path("out").iterdir()} == expected
    assert all("psnr" in report for report in json.loads(ran.out))


@pytest.mark.parametrize("option", ["--output", "--figure", "--film", "--uncertainty", "--reference"])
def test_several_inputs_need_a_folder_that_is_there(here, run, option):
    ran = run("denoise", "noisy.png", "clean.png", "--recipe", "tiny.json", "--restarts", "2", option, "nowhere/")
    assert ran.failed_in_one_line(option, "nowhere", code="option")


def test_equal_names_from_two_folders_do_not_meet(here, run):
    for folder in ("a", "b"):
        Path(folder).mkdir()
        shutil.copy("noisy.png", f"{folder}/x.png")
    ran = run("denoise", "a/x.png", "b/x.png", "--recipe", "tiny.json", "--report", "r.json", "--overwrite")
    assert ran.failed_in_one_line("x-denoise.png", "b/x.png", "a/x.png", code="option")
    assert [report["input"] for report in json.loads(Path("r.json").read_text())] == ["a/x.png", "b/x.png"]


def test_autosave_leaves_nothing_behind_and_changes_nothing(here, run):
    assert run("denoise", "noisy.png", "--recipe", "tiny.json", "-o", "a.png").code == 0
    assert run("denoise", "noisy.png", "--recipe", "tiny.json", "-o", "b.png", "--autosave", "2").code == 0
    assert run("denoise", "noisy.png", "--recipe", "tiny.json", "-o", "c.png", "--resume").code == 0  # none: afresh
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes() == Path("c.png").read_bytes()
    assert not list(here.glob("*.checkpoint"))


def test_resume_refuses_what_is_no_checkpoint_of_this_fit(here, run):
    Path("a.png.checkpoint").write_text("nonsense")
    tokens = ("denoise", "noisy.png", "--recipe", "tiny.json", "-o", "a.png")
    assert run(*tokens, "--resume").failed_in_one_line("a.png.checkpoint", code="checkpoint")
    ran = run(*tokens, "--autosave", "5")
    assert ran.failed_in_one_line("a.png.checkpoint", "--resume", "--overwrite", code="exists")
    assert Path("a.png.checkpoint").read_text() == "nonsense"
    assert not Path("a.png").exists()
    assert run(*tokens, "--autosave", "5", "--overwrite").code == 0  # started anew
    assert not Path("a.png.checkpoint").exists()


def test_a_resumed_command_keeps_the_reports_of_what_was_done(here, run):
    shutil.copy("noisy.png", "second.png")
    tokens = ("denoise", "noisy.png", "second.png", "--recipe", "tiny.json", "--report", "r.json")
    assert run(*tokens).code == 0
    Path("second-denoise.png").unlink()
    first, second = json.loads(Path("r.json").read_text())
    ran = run(*tokens, "--resume")
    assert ran.code == 0
    assert "noisy-denoise.png is there" in ran.out
    kept, again = json.loads(Path("r.json").read_text())
    assert kept == first
    assert again["output"] == second["output"] == "second-denoise.png"


@pytest.mark.parametrize("last", [True, False])
def test_inputs_that_fail_are_in_the_report(here, run, last):
    """One is not there, one is empty, one a text; and, done again, what was wrong is forgotten."""
    Path("empty.png").touch()
    Path("text.png").write_text("not a picture")
    bad = ["none.png", "empty.png", "text.png"]
    tokens = ("--recipe", "tiny.json", "--steps", "2", "--report", "r.json")
    assert run("denoise", *bad, *tokens).code == 2  # of nothing but failures
    found = json.loads(Path("r.json").read_text())
    assert [(each["input"], each["code"]) for each in found] == list(
        zip(bad, ["not-found", "unreadable", "unreadable"], strict=True)
    )
    shutil.copy("clean.png", "text.png")
    names = [*bad, "noisy.png"] if last else ["noisy.png", *bad]
    ran = run("denoise", *names, *tokens, "--resume", "--json")
    assert ran.code == 2
    found = json.loads(Path("r.json").read_text())
    assert found == json.loads(ran.out)
    assert sorted(each["input"] for each in found) == sorted(names)
    assert {each["input"] for each in found if "error" in each} == {"none.png", "empty.png"}
    assert all(
        each["error"].count(each["input"]) == 1 and each["task"] == "denoise" for each in found if "error" in each
    )
