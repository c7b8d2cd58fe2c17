"""A command over a folder or a list: done once, begun again, shared out; what is wrong is one line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from preimage.classifiers import Classifier, TrainedModel
from preimage.classifiers.model_file import Backbone, write_model

STEPS = ("--sigma", "25", "--steps", "2", "--stop", "steps", "--threads", "1")


@pytest.fixture
def scans(here) -> Path:
    """Three pictures, one of them in a folder, one that is broken, and a text."""
    folder = Path("scans")
    (folder / "page").mkdir(parents=True)
    for k, name in enumerate(("a.png", "b.jpg", "page/c.png")):
        values = np.random.default_rng(k).normal(128, 40, (32, 32, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(values).save(folder / name)
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("notes")
    return folder


@pytest.fixture
def classifier(here) -> str:
    """A file of an untrained classifier of three classes."""
    model = Classifier(Backbone("timm:test_resnet").build(3), ["round", "square", "star"], size=(32, 32))
    write_model(here / "model.pt", TrainedModel(model, None, {}, Backbone("timm:test_resnet")))
    return "model.pt"


def left(folder: str) -> set[str]:
    """What lies in an output folder, but for records."""
    paths = (path.relative_to(folder) for path in Path(folder).rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if path.parts[0] != ".preimage"}


def test_a_folder_is_done_and_done_again_nothing_is(scans, run):
    ran = run("denoise", str(scans), "-o", "out", "--recursive", "--workers", "2", "--report", "all.jsonl", *STEPS)
    assert ran.code == 2  # one is broken
    assert "3 done, 1 failed, 1 skipped (no images by their names) -> out" in ran.out
    assert ran.err.count("broken.png") == 1
    assert left("out") == {"a-denoise.png", "b-denoise.jpg", "page/c-denoise.png", "broken.png.failed.json"}
    lines = [json.loads(line) for line in Path("all.jsonl").read_text().splitlines()]
    assert sorted((line["input"], line["state"]) for line in lines) == [
        ("scans/a.png", "done"),
        ("scans/b.jpg", "done"),
        ("scans/broken.png", "failed"),
        ("scans/page/c.png", "done"),
    ]
    assert {line["steps"] for line in lines if line["state"] == "done"} == {2}
    before = {name: (Path("out") / name).stat().st_mtime_ns for name in left("out")}
    again = run("denoise", str(scans), "-o", "out", "--recursive", *STEPS)
    assert again.code == 2
    assert "3 done before, 1 failed before" in again.out
    assert {name: (Path("out") / name).stat().st_mtime_ns for name in left("out")} == before
    (scans / "broken.png").unlink()
    assert run("denoise", str(scans), "-o", "out", "--recursive", *STEPS).code == 0


def test_a_dry_run_does_nothing_and_says_what_it_would(scans, run):
    ran = run("denoise", str(scans), "-o", "out", "--dry-run", *STEPS)
    assert ran.code == 0
    assert "3 images: 3 to do" in ran.out
    assert "by four steps of a.png" in ran.out
    assert "GB of memory" in ran.out
    assert not Path("out").exists()


@pytest.mark.long
def test_two_shares_do_all_and_nothing_twice(scans, run):
    for k in (1, 2):
        run("denoise", str(scans), "-o", "out", "--recursive", "--shard", f"{k}/2", *STEPS)
    assert left("out") == {"a-denoise.png", "b-denoise.jpg", "page/c-denoise.png", "broken.png.failed.json"}
    assert "3 done before, 1 failed before" in run("denoise", str(scans), "-o", "out", "--recursive", *STEPS).out


@pytest.mark.long
def test_a_list_by_standard_input_and_what_is_in_the_way(scans, run, monkeypatch):
    Path("list.txt").write_text("scans/a.png\nscans/page/c.png\n")
    Path("out/scans").mkdir(parents=True)
    Path("out/scans/a-denoise.png").write_bytes(b"mine")
    ran = run("denoise", "--from", "list.txt", "-o", "out", *STEPS)
    assert ran.code == 2
    assert "1 done, 1 not replaced" in ran.out
    assert Path("out/scans/a-denoise.png").read_bytes() == b"mine"
    assert run("denoise", "--from", "list.txt", "-o", "out", "--overwrite", *STEPS).code == 0
    assert Path("out/scans/a-denoise.png").read_bytes() != b"mine"


@pytest.mark.parametrize("flags", [("--from", "-"), ("--from=-",), ("--recursive", "--from", "-", "--dry-run")])
def test_a_list_comes_from_standard_input(scans, run, monkeypatch, flags):
    monkeypatch.setattr("sys.stdin", io.StringIO("scans/a.png\0./scans/page/c.png\0"))
    ran = run("denoise", *flags, "-o", "out", *STEPS)
    assert ran.code == 0, ran
    done = {"scans/a-denoise.png", "scans/page/c-denoise.png"}
    assert left("out") == (set() if "--dry-run" in flags else done)


def test_a_table_has_the_targets_and_a_table_comes_of_them(scans, run, classifier):
    Path("labels.csv").write_text("filename,wanted\nscans/a.png,1\nscans/page/c.png,2\n")
    asked = ("--from", "labels.csv", "--target-column", "wanted", "--classifier", classifier, "-o", "out")
    ran = run("saliency", *asked, "--method", "gradient")
    assert ran.code == 0, ran
    with Path("out/results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["input"] for row in rows] == ["scans/a.png", "scans/page/c.png"]
    assert {row["state"] for row in rows} == {"done"}
    assert len({row["target"] for row in rows}) == 2
    wrong = run("saliency", *asked[:2], "--target-column", "no", *asked[4:])
    assert wrong.failed_in_one_line("no column 'no'", "wanted")


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["nowhere", "-o", "out", "--workers", "2"], ["nowhere", "does not exist"]),
        (["empty", "-o", "out"], ["empty has no image"]),
        (["scans"], ["scans is a folder", "-o FOLDER"]),
        (["scans", "-o", "scans/out"], ["lies in the input folder"]),
        (["scans", "-o", "out", "--shard", "3/2"], ["--shard", "3/2"]),
        (["scans", "-o", "out", "--shard", "x"], ["--shard", "'x'"]),
        (["scans", "-o", "out", "--shard", "²/3"], ["--shard", "'²/3'"]),
        (["scans", "-o", "out", "--workers", "0"], ["workers"]),
        (["scans", "-o", "out", "--gpus", "a"], ["--gpus", "'a'"]),
        (["scans", "-o", "out", "--gpus", "²"], ["--gpus", "'²'"]),
        (["scans", "-o", "out", "--figure", "scans/a.png"], ["--figure scans/a.png must be a folder"]),
        (["--from", "list.txt", "-o", "out", "--watch"], ["--watch", "--from"]),
        (["nowhere", "-o", "out", "--watch"], ["nowhere", "does not exist"]),
        (["scans", "-o", "scans/a.png/x"], ["scans/a.png/x"]),
        (["scans", "-o", "scans/notes.txt"], ["notes.txt"]),
        (["scans", "-o", "out", "--preview"], ["--preview"]),
        (["scans", "-o", "out", "--warm-start"], ["--warm-start"]),
        (["scans", "-o", "out", "--report", "r.txt"], ["r.txt", ".jsonl"]),
        (["--from", "no.txt", "-o", "out"], ["no.txt", "does not exist"]),
        (["scans", "-o", "out", "--target-column", "x"], ["denoise has no target"]),
    ],
)
def test_what_cannot_be_asked_for_is_one_line(scans, run, tokens, words):
    Path("empty").mkdir()
    ran = run("denoise", *tokens, *STEPS)
    assert ran.failed_in_one_line(*words), ran
    assert not Path("out/.preimage").exists()


def test_workers_that_take_turns_on_a_gpu_are_said_to(scans, run, monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path / "none"))
    asked = ("denoise", str(scans), "-o", "out", "--gpus", "0,0", "--dry-run")
    assert "nvidia-cuda-mps-control -d" in run(*asked).err
    assert "mps" not in run(*asked, "--quiet").err


def test_status_says_how_it_stands_from_the_files_alone(scans, run):
    assert run("status", "scans").failed_in_one_line("scans is no output folder")
    run("denoise", str(scans), "-o", "out", *STEPS)
    ran = run("status", "out")
    assert ran.code == 2
    assert "2 done" in ran.out
    assert "1 failed" in ran.out
    assert ran.out.count("broken.png") == 1
    found = json.loads(run("status", "out", "--json").out)
    assert found["counts"] == {"done": 2, "failed": 1}
    (scans / "broken.png").unlink()
    Path("out/.preimage/broken.png.denoise.json").unlink()
    assert run("status", "out").code == 0
