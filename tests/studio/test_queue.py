"""The queue keeps every job and their order, whatever happens to the server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from studio.served import TOKEN, Page, served

from preimage.jobs.job import Job, RunOptions
from preimage.jobs.run import run_job

HERE = Path(__file__).parent


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are done by a process that computes nothing: these tests are about the queue."""
    monkeypatch.setattr("preimage.studio.processes.WORKER", "quick_worker")
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), before] if before else [str(HERE)]))


@pytest.mark.usefixtures("quick")
def test_of_100_jobs_none_is_lost_and_their_order_is_kept(tmp_path: Path, photo: bytes):
    with served(tmp_path) as (page, _):
        file = page.upload(photo)["id"]
        page.facts(file)
        jobs = [page.job("denoise", file, options={"steps": 1}, seed=seed) for seed in range(100)]
        before = psutil.Process().memory_info().rss
        page.until("/api/jobs", lambda found: all(job["state"] == "done" for job in found))
        found = page.get("/api/jobs").json
        assert psutil.Process().memory_info().rss - before < 50e6
    assert [job["id"] for job in found] == [job["id"] for job in jobs]
    assert [job["number"] for job in found] == list(range(1, 101))
    assert (tmp_path / "order").read_text().split() == [job["id"] for job in jobs]
    with served(tmp_path) as (page, _):
        assert [job["id"] for job in page.get("/api/jobs").json] == [job["id"] for job in jobs]


@pytest.mark.usefixtures("quick")
def test_what_waits_when_the_server_ends_is_done_by_the_next(tmp_path: Path, photo: bytes):
    with served(tmp_path) as (page, _):
        file = page.upload(photo)["id"]
        jobs = [page.job("denoise", file, options={"steps": 1}, seed=seed)["id"] for seed in range(8)]
    with served(tmp_path, workers=2) as (page, _):
        page.until("/api/jobs", lambda found: all(job["state"] == "done" for job in found))
        assert [job["id"] for job in page.get("/api/jobs").json] == jobs
    assert set((tmp_path / "order").read_text().split()) == set(jobs)


@pytest.mark.usefixtures("quick")
def test_half_of_a_job_is_none(tmp_path: Path, photo: bytes):
    with served(tmp_path) as (page, _):
        job = page.ended(page.job("denoise", page.upload(photo)["id"])["id"])
    (tmp_path / "jobs" / "0123456789ab").mkdir()
    (tmp_path / "jobs" / "ba9876543210").mkdir()
    (tmp_path / "jobs" / "ba9876543210" / "state.json").write_text('{"id": "ba98')
    with served(tmp_path) as (page, _):
        assert [each["id"] for each in page.get("/api/jobs").json] == [job["id"]]
    assert {path.name for path in (tmp_path / "jobs").iterdir()} == {job["id"]}


def started(folder: Path) -> tuple[subprocess.Popen[str], Page]:
    """`preimage studio` on a free port."""
    command = [sys.executable, "-m", "preimage", "studio", "--no-browser", "--port", "0", "--folder", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    port = int(address.split(":")[2].split("/")[0])
    page = Page(port, address.partition("token=")[2])
    deadline = time.monotonic() + 30
    while True:
        try:
            if page.get("/api/jobs").status == 200:
                return process, page
        except OSError:
            assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.long
def test_a_server_that_is_killed_in_mid_fit_is_followed_by_one_that_goes_on(tmp_path: Path, photo: bytes):
    options = {"steps": 400, "stop": "steps"}
    process, page = started(tmp_path / "state")
    file = page.upload(photo)["id"]
    job = page.job("denoise", file, options=options, threads=1)
    path = f"/api/jobs/{job['id']}"
    page.until(path, lambda found: found["step"] > 10)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    out = tmp_path / "state" / "jobs" / job["id"] / "out"
    deadline = time.monotonic() + 60
    while not list(out.glob("*.checkpoint")):  # its worker saves and leaves
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process, page = started(tmp_path / "state")
    try:
        found = page.until(path, lambda found: found["step"] > 0 and found["state"] != "waiting")
        assert found["step"] > 10
        done = page.ended(job["id"])
        assert done["state"] == "done", done
        (tmp_path / "photo.png").write_bytes(photo)
        output = tmp_path / "expected.png"
        run_job(Job("denoise", options, str(tmp_path / "photo.png"), {"output": str(output)}, RunOptions(threads=1)))
        assert page.get(f"{path}/download/output").body == output.read_bytes()
    finally:
        assert page.post("/api/shutdown").status == 200
        process.communicate(timeout=60)
        assert process.returncode == 0


def test_two_studios_do_not_share_a_folder(tmp_path: Path):
    with served(tmp_path):
        pass
    from preimage.errors import InputError
    from preimage.studio.settings import held

    with held(tmp_path), pytest.raises(InputError, match="another studio"):
        held(tmp_path)


def test_a_token_is_kept_and_its_owner_alone_can_read_it(tmp_path: Path):
    from preimage.studio.settings import kept_token

    token = kept_token(tmp_path)
    assert len(token) >= 43
    assert token != TOKEN
    assert kept_token(tmp_path) == token
    assert (tmp_path / "token").stat().st_mode & 0o077 == 0
    (tmp_path / "token").write_text("short")
    assert kept_token(tmp_path) != "short"


def test_state_files_are_whole_or_not_there(tmp_path: Path):
    from preimage.studio.state import read_json, write_json

    write_json(tmp_path / "a.json", {"a": 1})
    (tmp_path / "a.json.partial").write_text('{"a"')
    assert read_json(tmp_path / "a.json") == {"a": 1}
    (tmp_path / "b.json").write_text("[" * 100_000)
    assert read_json(tmp_path / "b.json") is None
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}
