"""Jobs of the page: the bytes of `run_job`, orders, views of results, and a queue that outlives the server."""

from __future__ import annotations

import http.client
import io
import json
import shlex
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from studio.served import Page, served

from preimage.cli import main
from preimage.jobs.job import Job, RunOptions
from preimage.jobs.run import run_job

LONG = {"steps": 100_000, "stop": "steps"}


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.fixture(scope="module")
def done(page: Page, sample_files: Path) -> dict:
    file = page.upload((sample_files / "noisy.tif").read_bytes(), "my scan.tif")
    job = page.job("denoise", file["id"], options={"steps": 12, "restarts": 2, "stop": "held-out"}, seed=3)
    return page.ended(job["id"])


def test_a_job_writes_the_bytes_of_run_job(page: Page, done: dict, sample_files: Path, tmp_path: Path):
    assert (done["state"], done["error"]) == ("done", None)
    output = tmp_path / "expected.tif"
    options = {"steps": 12, "restarts": 2, "stop": "held-out", "seed": 3}
    run_job(Job("denoise", options, str(sample_files / "noisy.tif"), {"output": str(output)}, RunOptions(threads=1)))
    answer = page.get(f"/api/jobs/{done['id']}/download/output")
    assert answer.body == output.read_bytes()
    assert 'filename="my scan-denoise.tif"' in answer.headers["content-disposition"]


def test_the_command_that_is_shown_writes_the_same_bytes(
    page: Page, done: dict, sample_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my scan.tif").write_bytes((sample_files / "noisy.tif").read_bytes())
    assert done["command"].startswith("preimage denoise 'my scan.tif' ")
    assert main(shlex.split(done["command"])[1:]) == 0
    assert (tmp_path / "my scan-denoise.tif").read_bytes() == page.get(f"/api/jobs/{done['id']}/download/output").body
    assert main([*shlex.split(done["command"])[1:], "--strength", "0.5", "--overwrite"]) == 0
    blend = page.get(f"/api/jobs/{done['id']}/download/output?strength=0.5")
    assert blend.body == (tmp_path / "my scan-denoise.tif").read_bytes()


def test_all_that_a_restoration_writes_can_be_taken(page: Page, done: dict):
    assert set(done["outputs"]) == {"output", "figure", "film", "uncertainty"}
    assert done["has"] == {"uncertainty": True, "film": True, "difference": True, "blend": True, "saliency": False}
    download = f"/api/jobs/{done['id']}/download"
    assert page.get(f"{download}/film").body[:3] == b"GIF"
    assert page.get(f"{download}/figure").body[:4] == b"\x89PNG"
    assert page.get(f"{download}/uncertainty").body[:2] == b"II"
    report = page.get(f"{download}/report").json
    assert (report["task"], report["input"], report["output"]) == ("denoise", "my scan.tif", "my scan-denoise.tif")
    assert report["seed"] == 3
    assert page.get(f"{download}/none").status == 404
    assert "/" not in done["lines"][0].replace(" -> ", "")
    assert done["why"]


def test_views_of_a_result(page: Page, done: dict):
    view = f"/api/jobs/{done['id']}/view"
    before, after = (pixels(page.get(f"{view}/{what}").body).astype(float) for what in ("input", "output"))
    assert before.shape == after.shape == (32, 32)
    half = pixels(page.get(f"{view}/output?strength=0.5").body)
    np.testing.assert_allclose(half, (before + after) / 2, atol=1.5)
    np.testing.assert_allclose(pixels(page.get(f"{view}/output?strength=0").body), before, atol=1)
    change = pixels(page.get(f"{view}/difference").body).astype(float)
    assert np.corrcoef((change - 127.5).ravel(), (after - before).ravel())[0, 1] > 0.95
    assert pixels(page.get(f"{view}/uncertainty?x=4&y=4&w=8&h=8").body).shape == (8, 8, 4)
    assert page.get(f"{view}/saliency").status == 422
    assert page.get(f"{view}/output?strength=2").status == 422
    assert page.get(f"{view}/..%2fstate").status in (404, 422)


def test_a_histogram_counts_every_pixel(page: Page, done: dict):
    found = page.get(f"/api/jobs/{done['id']}/histogram?strength=0.3").json
    assert len(found["bins"]) == len(found["input"][0]) + 1
    assert sum(found["input"][0]) == sum(found["output"][0]) == 32 * 32


def test_curves_have_every_step(page: Page, done: dict):
    found = page.get(f"/api/jobs/{done['id']}/curve").json
    assert [step for step, _ in found["loss"]] == list(range(1, 13))
    assert found["rule"]["name"]
    assert found["rule"]["points"]


def test_a_mask_that_was_painted_is_filled_in(page: Page, photo: bytes):
    file = page.upload(photo)["id"]
    painted = np.zeros((32, 32), np.uint8)
    painted[10:14, 10:14] = 255
    data = io.BytesIO()
    Image.fromarray(painted).save(data, "PNG")
    mask = page.post(f"/api/masks?of={file}", data.getvalue()).json["id"]
    job = page.job("inpaint", file, options={"mask": {"file": mask}, "mask_white": "missing", "steps": 5})
    assert "--mask mask.png --mask-white missing" in job["command"]
    done = page.ended(job["id"])
    assert done["state"] == "done", done["error"]
    before, after = pixels(photo), pixels(page.get(f"/api/jobs/{job['id']}/download/output").body)
    np.testing.assert_array_equal(before[painted == 0], after[painted == 0])
    assert (before[painted == 255] != after[painted == 255]).any()


def test_a_job_can_be_cancelled_and_keeps_the_best(page: Page, photo: bytes):
    job = page.job("denoise", page.upload(photo)["id"], options=LONG)
    path = f"/api/jobs/{job['id']}"
    page.until(path, lambda found: found["step"] > 3)
    assert page.post(f"{path}/cancel").status == 200
    ended = page.ended(job["id"])
    assert ended["state"] == "cancelled"
    assert "output" in ended["outputs"]
    assert "best so far" in ended["why"]
    assert pixels(page.get(f"{path}/view/output").body).shape == (32, 32, 3)


@pytest.mark.long
def test_a_job_pauses_and_goes_on(page: Page, photo: bytes):
    job = page.job("denoise", page.upload(photo)["id"], options=LONG)
    path = f"/api/jobs/{job['id']}"
    page.until(path, lambda found: found["step"] > 3)
    page.post(f"{path}/pause")
    step = page.until(path, lambda found: found["state"] == "paused")["step"]
    other = page.job("denoise", page.upload(photo)["id"], options={"steps": 2})
    assert page.ended(other["id"])["state"] == "done"  # a paused job makes room
    assert page.get(path).json["state"] == "paused"
    page.post(f"{path}/resume")
    found = page.until(path, lambda found: found["state"] == "running" and found["step"] > step)
    assert found["preview"] > 0
    assert page.get(f"{path}/preview/1").body[:4] == b"\x89PNG"
    page.post(f"{path}/finish")
    assert page.ended(job["id"])["state"] == "done"
    steps = [step for step, _ in page.get(f"{path}/curve").json["loss"]]
    assert steps == sorted(set(steps))
    assert page.delete(path).status == 200
    assert page.get(path).status == 404


@pytest.mark.long
def test_a_job_that_goes_on_can_be_ended_while_its_last_process_is_still_leaving(page: Page, photo: bytes):
    job = page.job("denoise", page.upload(photo)["id"], options=LONG)
    path = f"/api/jobs/{job['id']}"
    page.until(path, lambda found: found["step"] > 3)
    page.post(f"{path}/pause")
    page.until(path, lambda found: found["state"] == "paused")
    assert page.post(f"{path}/resume").json["state"] == "running"
    page.post(f"{path}/cancel")
    ended = page.ended(job["id"])
    assert ended["state"] == "cancelled"
    assert "output" in ended["outputs"]


@pytest.mark.long
def test_a_job_at_work_can_be_deleted(page: Page, folder: Path, photo: bytes):
    job = page.job("denoise", page.upload(photo)["id"], options=LONG)
    page.until(f"/api/jobs/{job['id']}", lambda found: found["step"] > 0)
    page.delete(f"/api/jobs/{job['id']}")
    assert not (folder / "jobs" / job["id"]).exists()
    after = page.job("denoise", page.upload(photo)["id"], options={"steps": 1})
    assert page.ended(after["id"])["state"] == "done"


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"task": "none"}, "task"),
        ({"task": "train"}, "task"),
        ({"task": "denoise"}, "picture"),
        ({"task": "denoise", "file": "000000000000"}, "upload"),
        ({"task": "denoise", "file": "../../etc/passwd"}, "upload"),
        ({"task": "denoise", "file": "FILE", "options": {"sigma": -1}}, "sigma"),
        ({"task": "denoise", "file": "FILE", "options": {"sigma": "much"}}, "sigma"),
        ({"task": "denoise", "file": "FILE", "options": {"stop": "never"}}, "stop"),
        ({"task": "denoise", "file": "FILE", "options": {"none": 1}}, "none"),
        ({"task": "denoise", "file": "FILE", "options": {"overwrite": True}}, "overwrite"),
        ({"task": "denoise", "file": "FILE", "options": {"recipe": "/etc/passwd.json"}}, "recipe"),
        ({"task": "denoise", "file": "FILE", "options": {"reference": "/etc/passwd"}}, "reference"),
        ({"task": "denoise", "file": "FILE", "seed": -1}, "seed"),
        ({"task": "denoise", "file": "FILE", "threads": 0}, "threads"),
        ({"task": "deblur", "file": "FILE"}, "--kernel"),
        ({"task": "deblur", "file": "FILE", "options": {"kernel": "../../kernel.npy"}}, "kernel"),
        ({"task": "inpaint", "file": "FILE", "options": {"mask": "/etc/passwd"}}, "mask"),
        ({"task": "saliency", "file": "FILE", "options": {"classifier": "os:getcwd"}}, "classifier"),
        ({"task": "saliency", "file": "FILE", "options": {"classifier": "/etc/passwd"}}, "classifier"),
        ({"task": "saliency", "file": "FILE", "options": {"classifier": "hf:../../x"}}, "classifier"),
        (
            {"task": "saliency", "file": "FILE", "options": {"classifier": "torchvision:resnet18@/etc/passwd"}},
            "classifier",
        ),
        (
            {"task": "saliency", "file": "FILE", "options": {"classifier": {"file": "FILE", "backbone": "os:getcwd"}}},
            "classifier",
        ),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(page: Page, folder: Path, photo: bytes, body: dict, word: str):
    file = page.upload(photo)["id"]
    body = json.loads(json.dumps(body).replace("FILE", file))
    before = {path.name for path in (folder / "jobs").iterdir()}
    answer = page.post("/api/jobs", body)
    assert answer.status in (404, 422)
    assert word in answer.error
    assert str(folder) not in answer.error
    assert {path.name for path in (folder / "jobs").iterdir()} == before


def test_a_file_that_is_no_picture_fails_with_its_name(page: Page, folder: Path):
    file = page.facts(page.upload(b"no picture at all", "notes.png")["id"])
    assert file["error"]
    job = page.ended(page.job("denoise", file["id"])["id"])
    assert job["state"] == "failed"
    assert "notes.png" in job["error"]
    assert str(folder) not in json.dumps(job)


def events(page: Page, until: str, seconds: float = 120.0) -> list[tuple[str, dict]]:
    """The events of the stream until one of this name."""
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=seconds)
    connection.request("GET", "/api/events", headers={"Host": page.host, "Cookie": page.cookie or ""})
    response = connection.getresponse()
    assert response.getheader("content-type", "").startswith("text/event-stream")
    found: list[tuple[str, dict]] = []
    name = ""
    while line := response.readline().decode():
        if line.startswith("event: "):
            name = line.removeprefix("event: ").strip()
        elif line.startswith("data: "):
            found.append((name, json.loads(line.removeprefix("data: "))))
            if name == until:
                break
    connection.close()
    return found


def test_the_stream_tells_what_changes_and_that_the_server_ends(tmp_path: Path, photo: bytes):
    import threading

    with served(tmp_path) as (page, _):
        found: list[tuple[str, dict]] = []
        thread = threading.Thread(target=lambda: found.extend(events(page, "bye")))
        thread.start()
        time.sleep(0.3)
        file = page.upload(photo)["id"]
        job = page.job("denoise", file, options={"steps": 3})
        page.ended(job["id"])
        time.sleep(0.5)
        page.delete(f"/api/jobs/{job['id']}")
        time.sleep(0.3)
        page.post("/api/shutdown")
        thread.join(30)
    names = [name for name, _ in found]
    assert names[-1] == "bye"
    assert {"file", "job", "job-gone"} <= set(names)
    states = [data["state"] for name, data in found if name == "job"]
    assert states[-1] == "done"
    assert "running" in states


@pytest.mark.long
def test_a_job_outlives_the_server(tmp_path: Path, photo: bytes):
    with served(tmp_path) as (page, _):
        file = page.upload(photo)["id"]
        job = page.job("denoise", file, options={**LONG, "steps": 3000})
        behind = page.job("denoise", file, options={"steps": 1})
        path = f"/api/jobs/{job['id']}"
        page.until(path, lambda found: found["step"] > 5)
    assert list((tmp_path / "jobs" / job["id"] / "out").glob("*.checkpoint"))
    with served(tmp_path) as (page, _):
        found = page.until(path, lambda found: found["state"] == "running" and found["step"] > 5)
        assert page.get(f"/api/jobs/{behind['id']}").json["state"] == "waiting"
        steps = [step for step, _ in page.get(f"{path}/curve").json["loss"]]
        assert steps[:5] == [1, 2, 3, 4, 5]
        assert found["number"] == 1
        page.post(f"{path}/cancel")
        page.ended(job["id"])
        assert page.ended(behind["id"])["state"] == "done"
