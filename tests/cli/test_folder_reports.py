"""The table and the report of a command over a folder: no other file is replaced or lengthened, and a full disk is said."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli.tiny import UNMEASURED
from PIL import Image

STEPS = ("--sigma", "25", "--steps", "2", "--stop", "steps", "--threads", "1")
MINE = "name,grade\na,1\n"


def draw(path: Path | str, seed: int = 0) -> None:
    values = np.random.default_rng(seed).normal(128, 40, (32, 32)).clip(0, 255).astype(np.uint8)
    Image.fromarray(values).save(path, "PNG")


@pytest.fixture
def scans(here) -> Path:
    """Two pictures."""
    Path("scans").mkdir()
    for k, name in enumerate("ab"):
        draw(f"scans/{name}.png", k)
    return Path("scans")


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["scans", "--table", "scans/a.png"], ["scans/a.png", ".csv"]),
        (["scans", "--table", "mine.csv"], ["mine.csv", "input,state,output,error", "--overwrite"]),
        (["--from", "list.csv", "--table", "list.csv", "--overwrite"], ["list.csv", "the list of --from"]),
        (["--from", "list.csv", "--table", "scans/../list.csv"], ["list.csv", "the list of --from"]),
        (["--from", "list.csv", "--table", "link.csv", "--overwrite"], ["link.csv", "the list of --from"]),
        (["odd.csv", "--workers", "1", "--table", "odd.csv", "--overwrite"], ["odd.csv", "an input"]),
        (["scans", "--report", "mine.jsonl"], ["mine.jsonl", "no report"]),
        (["scans", "--report", "mine.jsonl", "--overwrite"], ["mine.jsonl", "no report"]),
        (["scans", "--report", "tiny.json", "--recipe", "tiny.json"], ["tiny.json", "--recipe"]),
        (["scans", "--report", "one.json"], ["one.json", "no report"]),
        (["scans", "--table", "nowhere/t.csv"], ["nowhere"]),
    ],
)
def test_a_file_of_something_else_is_neither_replaced_nor_lengthened(scans, run, tokens, words):
    Path("mine.csv").write_text(MINE)
    Path("list.csv").write_text("input,state,output,error\nscans/a.png,,,\n")
    Path("link.csv").symlink_to("list.csv")
    draw("odd.csv")
    Path("mine.jsonl").write_text('{"mine": 1}\n')
    Path("one.json").write_text(json.dumps({"input": "a", "output": "b", "task": "denoise"}, indent=2))
    before = {path: path.read_bytes() for path in Path().rglob("*.*") if path.is_file()}
    ran = run("denoise", *tokens, "-o", "out", *STEPS)
    assert ran.failed_in_one_line(*words), ran
    assert {path: path.read_bytes() for path in Path().rglob("*.*") if path.is_file()} == before


def test_the_table_that_is_made_without_being_asked_replaces_no_other(scans, run):
    Path("out").mkdir()
    Path("out/results.csv").write_text(MINE)
    asked = ("inspect", "scans", "-o", "out", "--classifier", "timm:test_resnet")
    assert run(*asked).failed_in_one_line("out/results.csv", "--table"), "a user's own"
    assert Path("out/results.csv").read_text() == MINE


def test_the_own_table_and_report_are_written_again_and_another_is_with_overwrite(scans, run):
    asked = ("denoise", "scans", "-o", "out", "--table", "t.csv", "--report", "r.jsonl", *STEPS)
    Path("t.csv").write_text("")  # as mktemp makes it
    assert run(*asked).code == 0
    draw("scans/c.png", 3)
    ran = run(*asked)
    assert ran.code == 0
    assert "1 done, 2 done before" in ran.out
    assert [json.loads(line)["input"] for line in Path("r.jsonl").read_text().splitlines()] == [
        f"scans/{name}.png" for name in "abc"
    ]
    with Path("t.csv").open(newline="") as file:
        assert [row["input"] for row in csv.DictReader(file)] == [f"scans/{name}.png" for name in "abc"]
    Path("t.csv").write_text(MINE)
    assert run(*asked).failed_in_one_line("t.csv")
    assert run(*asked, "--overwrite").code == 0
    assert Path("t.csv").read_text().startswith("input,state,output,error,")


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes, and ulimit")
def test_a_name_that_is_no_text_stands_in_the_table_as_it_is(scans, run):
    draw(os.fsdecode(b"scans/\xff\xe9.png"))
    ran = run("denoise", "scans", "-o", "out", "--table", "t.csv", *STEPS)
    assert ran.code == 0, ran
    assert "3 done -> out" in ran.out
    assert b"scans/\xff\xe9.png,done," in Path("t.csv").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes, and ulimit")
def test_a_report_that_has_no_room_is_said_once_and_every_picture_done(scans, run):
    begin = json.dumps(
        {"input": "x", "state": "done", "error": None, "task": "denoise", "output": "y", "k": "z" * 65000}
    )
    Path("r.jsonl").write_text(f"{begin}\n")
    line = f'ulimit -f 64; "$0" -m preimage denoise scans -o out --report r.jsonl --workers 2 {" ".join(STEPS)}'
    ran = subprocess.run(["bash", "-c", line, sys.executable], capture_output=True, text=True, env=UNMEASURED)
    assert ran.returncode == 2, ran
    assert "2 done" in ran.stdout
    assert ran.stderr.count("no line can be added to r.jsonl") == 1
    assert "Traceback" not in ran.stderr
    assert Path("r.jsonl").read_text() == f"{begin}\n"  # nothing of a line


def test_what_cannot_be_begun_is_in_the_report_the_table_and_the_status(scans, run):
    Path("list.txt").write_text("scans/a.png\nscans/late.png\n")
    options = ("--from", "list.txt", "-o", "out", "--report", "all.jsonl", "--table", "all.csv", *STEPS)
    ran = run("denoise", *options)
    assert ran.code == 2
    assert ran.err.count("late.png") == 1
    lines = {line["input"]: line for line in map(json.loads, Path("all.jsonl").read_text().splitlines())}
    assert {name: line["state"] for name, line in lines.items()} == {"scans/a.png": "done", "scans/late.png": "failed"}
    assert "does not exist" in lines["scans/late.png"]["error"]
    rows = {row["input"]: row for row in csv.DictReader(Path("all.csv").read_text().splitlines())}
    assert rows["scans/late.png"]["state"] == "failed"
    told = run("status", "out")
    assert told.code == 2
    assert "1 done" in told.out
    assert "scans/late.png does not exist" in told.out
    draw("scans/late.png")
    assert run("denoise", *options).code == 0
    assert run("status", "out").code == 0


def test_a_dry_run_says_what_cannot_be_begun(scans, run):
    options = ("scans/a.png", "scans/b.png", "--workers", "1", "-o", "out", *STEPS)
    assert run("denoise", *options).code == 0
    Path("scans/b.png").unlink()
    ran = run("denoise", *options, "--dry-run")
    assert ran.code == 2
    assert "scans/b.png does not exist" in ran.err
    for line in ("2 images: 0 to do", "1 done before", "1 that cannot be begun"):
        assert line in ran.out


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["scans", "-o", "tidy.png"], ["tidy.png must be a folder", "leave .png out"]),
        (["scans/a.png", "--table", "t.csv"], ["-o FOLDER"]),
    ],
)
def test_the_place_of_many_results_is_a_folder(scans, run, tokens, words):
    before = set(Path().iterdir())
    assert run("denoise", *tokens, *STEPS).failed_in_one_line(*words)
    assert set(Path().iterdir()) == before
