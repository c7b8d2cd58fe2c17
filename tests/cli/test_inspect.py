"""The command inspect: a score, a verdict where there is a threshold, and one clear line for what cannot be."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import tifffile
from cli.tiny import pictures
from PIL import Image

from preimage.cli.progress import Progress
from preimage.engine.step import Step
from preimage.images.sealed import with_digest

OWN = ("--classifier", "classifiers.small:own_classifier")
BRIEF = ("--recipe", "tiny.json", "--device", "cpu", "--seed", "3")
INSPECT = ("inspect", "noisy.png", *OWN, *BRIEF)


@pytest.fixture
def cleans(here: Path) -> Path:
    """A folder of four clean pictures, of two sizes, one of them a folder below."""
    folder = here / "cleans"
    (folder / "more").mkdir(parents=True)
    clean, noisy = pictures()
    Image.fromarray(clean).save(folder / "a.png")
    Image.fromarray(noisy).save(folder / "b.png")
    Image.fromarray(clean[:16, :18]).save(folder / "c.png")
    Image.fromarray(clean[..., 0]).save(folder / "more" / "d.png")
    (folder / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture
def calibrated(cleans: Path, run) -> Path:
    ran = run("inspect", "--calibrate", "cleans", *OWN, *BRIEF, "-o", "t.json", "--report", "calibrated.json")
    assert ran.code == 0, ran.err
    assert "t.json" in ran.out
    return cleans.parent / "t.json"


def test_a_score_without_a_verdict(here, run):
    ran = run(*INSPECT, "--report", "report.json", "--figure", "figure.png", "--every", "3")
    assert ran.code == 0, ran.err
    assert "noisy.png" in ran.out
    assert np.asarray(Image.open("figure.png")).std() > 5
    report = json.loads(Path("report.json").read_text())
    assert (report["task"], report["input"], report["seed"]) == ("inspect", "noisy.png", 3)
    assert 0 <= report["score"] <= 1
    assert report["threshold"] is report["verdict"] is None
    assert [look["step"] for look in report["curve"]] == [3, 6, 9, 12]
    assert report["class"] in ("round", "square", "star")
    assert all(0 <= look["of_given_class"] <= look["confidence"] <= 1 for look in report["curve"])


def test_a_verdict_at_the_threshold(calibrated, run):
    held = json.loads(calibrated.read_text())
    assert held["value"] == max(held["scores"])
    assert len(held["scores"]) == json.loads(Path("calibrated.json").read_text())["images"] == 4
    ran = run(*INSPECT, "--thresholds", "t.json", "--json", "--figure", "figure.png")
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    assert report["threshold"] == held["value"]
    assert report["verdict"] == ("suspicious" if report["score"] > held["value"] else "nothing strange")
    assert report["classifier_fingerprint"] == held["classifier"]
    calibrated.write_text(json.dumps(with_digest(held | {"value": -1.0})))
    ran = run(*INSPECT, "--thresholds", "t.json")
    assert "suspicious" in ran.out
    calibrated.write_text(json.dumps(with_digest(held | {"value": 1.0})))
    assert "suspicious" not in run(*INSPECT, "--thresholds", "t.json").out


def test_a_threshold_of_something_else_is_refused(calibrated, run):
    asked = ("--thresholds", "t.json")
    other = ("--classifier", "classifiers.small:of_other_classes")
    assert run("inspect", "noisy.png", *other, *BRIEF, *asked).failed_in_one_line("--calibrate", code="classifier")
    for changed in ("--steps", "--every"):
        assert run(*INSPECT, *asked, changed, "5").failed_in_one_line("5"), changed


def test_several_pictures_one_of_which_cannot_be_read(here, run):
    Path("bad.png").write_text("no picture")
    Path("out").mkdir()
    ran = run("inspect", "noisy.png", "bad.png", "clean.png", *OWN, *BRIEF, "--json", "--quiet", "--figure", "out")
    assert ran.failed_in_one_line("bad.png")
    assert [report["input"] for report in json.loads(ran.out)] == ["noisy.png", "bad.png", "clean.png"]
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "clean-inspect-figure.png",
        "noisy-inspect-figure.png",
    ]


def test_a_seed_repeats_and_none_is_drawn_afresh(here, run):
    first, again = (json.loads(run(*INSPECT, "--json", "--quiet").out) for _ in range(2))
    assert first["score"] == again["score"]
    fresh = [json.loads(run(*INSPECT[:-2], "--json", "--quiet").out) for _ in range(2)]
    assert fresh[0]["seed"] != fresh[1]["seed"]


@pytest.mark.usefixtures("more")
def test_a_page_of_a_stack(run):
    assert run("inspect", "stack.tif", *OWN, *BRIEF).failed_in_one_line("stack.tif", "--page", code="shape")
    assert run("inspect", "stack.tif", *OWN, *BRIEF, "--page", "2", "--report", "page.json").code == 0
    Image.fromarray(tifffile.imread("stack.tif")[1]).save("second.png")
    assert run("inspect", "second.png", *OWN, *BRIEF, "--report", "second.json").code == 0
    scores = [json.loads(Path(name).read_text())["score"] for name in ("page.json", "second.json")]
    assert scores[0] == scores[1]


def test_the_range_and_the_page_are_those_of_the_files_that_are_calibrated_on(here, run):
    folder = here / "twelve"
    folder.mkdir()
    clean, noisy = (picture.astype(np.uint16) * 16 for picture in pictures())
    for number in range(3):
        tifffile.imwrite(folder / f"{number}.tif", noisy // (number + 1), photometric="rgb")
    asked = ("inspect", "--calibrate", "twelve", *OWN, *BRIEF)
    assert run(*asked, "-o", "dark.json").code == 0
    assert run(*asked, "--range", "0", "4095", "-o", "light.json").code == 0
    dark, light = (json.loads(Path(name).read_text())["scores"] for name in ("dark.json", "light.json"))
    assert dark != light
    stack = np.stack([clean[..., 0], noisy[..., 0]])
    tifffile.imwrite(folder / "3.tif", stack, photometric="minisblack", metadata=None)
    assert run(*asked, "-o", "none.json").failed_in_one_line("3.tif", "--page", code="shape")
    assert run(*asked, "--page", "2", "-o", "second.json").code == 0
    assert json.loads(Path("second.json").read_text())["scores"][:3] == dark


def test_a_picture_larger_than_the_classifier_looks_at(here, run):
    clean, _ = pictures(60, 90)
    Image.fromarray(clean).save("large.png")
    assert run("inspect", "large.png", *OWN, *BRIEF, "--steps", "2").code == 0


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["nowhere.png"], ["nowhere.png"]),
        ([], ["--calibrate"]),
        (["noisy.png", "--classifier", "missing.pt"], ["missing.pt"]),
        (["noisy.png", "--steps", "0"], ["steps", "0"]),
        (["noisy.png", "--every", "0"], ["every", "0"]),
        (["noisy.png", "--every", "99"], ["12", "99"]),
        (["noisy.png", "--threads", "0"], ["threads", "0"]),
        (["noisy.png", "--seed", "-1"], ["seed", "-1"]),
        (["noisy.png", "--device", "abacus"], ["abacus"]),
        (["noisy.png", "--recipe", "slow"], ["slow"]),
        (["noisy.png", "--thresholds", "nowhere.json"], ["nowhere.json", "--calibrate"]),
        (["noisy.png", "--thresholds", "tiny.json"], ["tiny.json", "--calibrate"]),
        (["noisy.png", "--figure", "figure.jpg"], ["figure.jpg", ".png"]),
        (["noisy.png", "--report", "report.txt"], ["report.txt", ".json"]),
        (["noisy.png", "--report", "tiny.json"], ["tiny.json"]),
        (["noisy.png", "--figure", "noisy.png", "--overwrite"], ["noisy.png", "--figure"]),
        (["noisy.png", "-o", "out.json"], ["--output"]),
        (["noisy.png", "clean.png", "--figure", "figure.png"], ["--figure", "folder"]),
        (["--calibrate", "nowhere"], ["--calibrate", "nowhere"]),
        (["--calibrate", "empty"], ["--calibrate", "empty"]),
        (["--calibrate", "broken"], ["broken/bad.png"]),
        (["--calibrate", "small"], ["small/tiny.png", "16"]),
        (["noisy.png", "--calibrate", "broken"], ["noisy.png", "--calibrate"]),
        (["--calibrate", "broken", "--thresholds", "tiny.json"], ["--thresholds"]),
        (["--calibrate", "broken", "-o", "out.txt"], ["out.txt", ".json"]),
        (["--calibrate", "broken", "-o", "tiny.json"], ["tiny.json"]),
    ],
)
def test_bad_input_is_one_line(tokens, words, here, run):
    for folder in ("empty", "broken", "small"):
        Path(folder).mkdir()
    Path("broken/bad.png").write_text("no picture")
    Image.fromarray(pictures(8, 8)[0]).save("small/tiny.png")
    before = sorted(here.rglob("*"))
    usual = dict(zip((*OWN, *BRIEF)[::2], (*OWN, *BRIEF)[1::2], strict=True))
    options = [word for name, value in usual.items() if name not in tokens for word in (name, value)]
    ran = run("inspect", *options, *tokens)
    assert ran.failed_in_one_line(*words), ran.err
    assert sorted(here.rglob("*")) == before


def test_help_shows_an_example(run):
    ran = run("inspect", "--help")
    assert ran.code == 0
    assert "preimage inspect --calibrate clean/" in ran.out


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")
@pytest.mark.parametrize("at", [1, 7])
def test_an_inspection_that_is_interrupted_has_no_score(here, run, monkeypatch, at):
    def ask_to_end(progress: Progress, step: Step) -> None:
        if step.index == at:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Progress, "show", ask_to_end)
    before = sorted(here.iterdir())
    ran = run(*INSPECT, "--report", "report.json", "--json")
    assert (ran.code, ran.out, ran.errors) == (130, "", ())
    assert sorted(here.iterdir()) == before
