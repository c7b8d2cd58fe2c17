"""The command purify: one of the tasks, from file to file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

BRIEF = ("--recipe", "tiny.json", "--device", "cpu")


def test_a_file_becomes_a_file(here, run):
    ran = run("purify", "noisy.png", *BRIEF, "--report", "report.json", "--figure", "figure.png")
    assert ran.code == 0, ran.err
    given, found = (np.asarray(Image.open(name)) for name in ("noisy.png", "noisy-purify.png"))
    assert found.shape == given.shape
    assert (found != given).any()
    assert Path("figure.png").is_file()
    report = json.loads(Path("report.json").read_text())
    assert (report["task"], report["steps"]) == ("purify", 12)
    assert "noisy.png -> noisy-purify.png" in ran.out


def test_steps_that_are_said_do_not_go_by_the_size(here, run):
    Image.fromarray(np.arange(64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)).save("large.png")
    Path("sized.json").write_text(
        json.dumps({"format": 2, "network": json.loads(Path("tiny.json").read_text())["network"]})
    )
    # By name the recipe has more steps for a larger image, also with changes; a file of all settings is used as it is.
    asked = ("purify", "large.png", "--device", "cpu", "--json", "--quiet", "--overwrite")
    found = json.loads(run(*asked, "--recipe", "sized.json").out)
    assert found["steps"] == 50
    Path("whole.json").write_text(json.dumps(found["recipe"] | {"steps": 7}))
    assert json.loads(run(*asked, "--recipe", "whole.json").out)["steps"] == 7
    for name in ("sized.json", "whole.json", "fast"):
        assert json.loads(run(*asked, "--recipe", name, "--steps", "3").out)["steps"] == 3


def test_several_files_and_steps(here, run):
    Path("out").mkdir()
    ran = run("purify", "noisy.png", "clean.png", *BRIEF, "--steps", "4", "-o", "out", "--json", "--quiet")
    assert ran.code == 0, ran.err
    assert [report["steps"] for report in json.loads(ran.out)] == [4, 4]
    assert sorted(path.name for path in Path("out").iterdir()) == ["clean-purify.png", "noisy-purify.png"]


def test_bad_input_is_one_line(here, run):
    assert run("purify", "nowhere.png").failed_in_one_line("nowhere.png", code="not-found")
    assert run("purify", "noisy.png", "--steps", "0").failed_in_one_line("steps", "0", code="invalid-value")
    assert run("purify", "noisy.png", "--recipe", "slow").failed_in_one_line("slow", code="invalid-value")
