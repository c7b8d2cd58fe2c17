"""Folder runs: below the root alone, with the records of the command, and their pictures can be looked at."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from studio.served import Page, served

from preimage.classifiers import Classifier, TrainedModel
from preimage.classifiers.model_file import Backbone, write_model
from preimage.jobs.job import Job, RunOptions

BACKBONE = Backbone("timm:test_resnet")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, sample_files: Path) -> Path:
    root = tmp_path_factory.mktemp("root")
    shutil.copytree(sample_files / "clean", root / "scans" / "day 1")
    (root / "scans" / "notes.txt").write_text("no picture")
    (root / "sky").mkdir()
    for name in ("m31.fits.gz", "m31.NEF", "notes.gz"):
        (root / "sky" / name).write_bytes(b"counted by its name alone")
    (root / ".hidden").mkdir()
    outside = root.parent / f"{root.name}-outside"
    shutil.copytree(sample_files / "clean", outside)
    (root / "link").symlink_to(outside)
    return root


@pytest.fixture(scope="module")
def rooted(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[Page]:
    with served(tmp_path_factory.mktemp("studio"), root=root) as (page, _):
        yield page


def test_folders_below_the_root_are_listed(rooted: Page):
    assert rooted.get("/api/folders").json == {"path": "", "folders": ["scans", "sky"], "pictures": 0}
    assert rooted.get("/api/folders?path=scans/day%201").json == {"path": "scans/day 1", "folders": [], "pictures": 3}
    assert rooted.get("/api/folders?path=sky").json["pictures"] == 2


@pytest.mark.parametrize(
    "path",
    ["..", "/etc", "scans/../..", "..%2f..", "scans/%00", "link", "link/x", ".hidden", "none", "C:\\", "scans\\..\\.."],
)
def test_nothing_beside_the_root_can_be_named(rooted: Page, path: str):
    answer = rooted.get(f"/api/folders?path={path.replace(chr(92), '%5C')}")
    assert answer.status in (404, 422)
    named = unquote(path)
    assert rooted.post("/api/folders", {"task": "denoise", "path": named, "out": "out"}).status in (404, 422)
    if named != "none":  # a folder for results is made
        assert rooted.post("/api/folders", {"task": "denoise", "path": "scans/day 1", "out": named}).status == 422
    assert not rooted.get("/api/folders/runs").json


def test_there_are_no_folders_without_a_root(page: Page):
    assert page.get("/api/folders").status == 422
    assert not page.get("/api/start").json["root"]


def test_a_folder_is_restored_and_its_pictures_are_looked_at(rooted: Page, root: Path):
    body = {"path": "scans/day 1", "out": "restored", "task": "denoise", "options": {"steps": 2}}
    answer = rooted.post("/api/folders", body)
    assert answer.status == 201, answer.body
    run = answer.json
    assert run["command"].startswith("preimage denoise 'scans/day 1' --steps 2 -o restored")
    path = f"/api/folders/runs/{run['id']}"
    done = rooted.until(path, lambda found: found["state"] in ("done", "failed", "stopped"))
    assert done["state"] == "done", done
    assert done["counts"]["done"] == 3
    assert {row["name"] for row in done["rows"]} == {"0.png", "1.png", "2.png"}
    assert all(row["seconds"] > 0 for row in done["rows"])
    shown = np.asarray(Image.open(io.BytesIO(rooted.get(f"{path}/view/0.png?what=output").body)))
    written = np.asarray(Image.open(next((root / "restored").glob("0-denoise.png"))))
    np.testing.assert_array_equal(shown, written)
    assert rooted.get(f"{path}/view/0.png?what=input").body[:4] == b"\x89PNG"
    assert rooted.get(f"{path}/view/..%2f..%2fnotes.txt").status == 404
    again = rooted.post(f"{path}/resume").json
    assert again["state"] == "running"
    assert rooted.until(path, lambda found: found["state"] == "done")["counts"]["done"] == 3


def test_a_table_of_something_else_is_not_replaced(tmp_path: Path, sample_files: Path):
    shutil.copytree(sample_files / "clean", tmp_path / "scans")
    write_model(
        tmp_path / "model.pt",
        TrainedModel(Classifier(BACKBONE.build(2), ["a", "b"], size=(32, 32)), None, {}, BACKBONE),
    )
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.csv").write_text("name,grade\na,1\n")
    job = Job("saliency", {"classifier": str(tmp_path / "model.pt")}, None, {}, RunOptions())
    wanted = {"job": job.to_json(), "folder": str(tmp_path / "scans"), "out": str(tmp_path / "out"), "workers": 1}
    (tmp_path / "run.json").write_text(json.dumps(wanted))
    worker = [sys.executable, "-m", "preimage.studio.folder_worker", str(tmp_path)]
    said = subprocess.run(worker, stdin=subprocess.PIPE, capture_output=True, text=True, check=True).stdout
    ended = json.loads(said.splitlines()[-1])
    assert ended["ended"] == "failed"
    assert "results.csv is there" in ended["error"]
    assert (tmp_path / "out" / "results.csv").read_text() == "name,grade\na,1\n"


@pytest.mark.long
def test_a_folder_run_can_be_stopped_and_goes_on(rooted: Page, root: Path):
    body = {"path": "scans/day 1", "out": "slow", "task": "denoise", "options": {"steps": 5000, "stop": "steps"}}
    run = rooted.post("/api/folders", body).json
    path = f"/api/folders/runs/{run['id']}"
    rooted.until(path, lambda found: any(each["step"] for each in found["running"]))
    rooted.post(f"{path}/stop")
    assert rooted.until(path, lambda found: found["state"] != "running")["state"] == "stopped"
    assert list((root / "slow").glob("*.checkpoint"))
    rooted.post(f"{path}/resume")
    rooted.until(path, lambda found: any(each["step"] for each in found["running"]))
    assert rooted.delete(path).status == 200
    assert rooted.get(path).status == 404
