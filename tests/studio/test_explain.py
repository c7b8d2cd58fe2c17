"""Explaining on the page: a classifier's answer, saliency over the picture, a counterfactual with its probabilities."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from studio.served import Page, served

CLASSIFIER = '''
import torch
from preimage import Classifier

def brightness():
    """Two classes by brightness; the name of one is markup."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(4, 2),
    )
    return Classifier(net, ("dark", "<script>alert(1)</script>"), mean=(0.5,) * 3, std=(0.5,) * 3, size=(32, 32))
'''
NAME = "brightness_model:brightness"


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    place = tmp_path_factory.mktemp("models")
    (place / "brightness_model.py").write_text(CLASSIFIER)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        with served(tmp_path_factory.mktemp("studio"), classifiers=(NAME,)) as (page, _):
            yield page


def test_a_classifier_answers(explained: Page, photo: bytes):
    file = explained.upload(photo)["id"]
    answer = explained.post("/api/classify", {"classifier": NAME, "file": file})
    assert answer.status == 200, answer.body
    classes = answer.json["classes"]
    assert {each["name"] for each in classes} == {"dark", "<script>alert(1)</script>"}
    assert sum(each["probability"] for each in classes) == pytest.approx(1, abs=1e-4)
    assert answer.headers["content-type"].startswith("application/json")
    assert explained.get("/api/start").json["code_classifiers"] == [NAME]
    for other in ("os:getcwd", "brightness_model:other", "/etc/passwd"):
        assert explained.post("/api/classify", {"classifier": other, "file": file}).status == 422


def test_saliency_lies_over_the_picture(explained: Page, photo: bytes):
    file = explained.upload(photo)["id"]
    job = explained.job("saliency", file, options={"classifier": NAME, "method": "gradient,occlusion"})
    done = explained.ended(job["id"])
    assert done["state"] == "done", done["error"]
    assert done["has"]["saliency"]
    maps = [explained.get(f"/api/jobs/{job['id']}/view/saliency?method={m}") for m in ("gradient", "occlusion")]
    shown = [np.asarray(Image.open(io.BytesIO(answer.body))) for answer in maps]
    assert all(each.shape == (32, 32, 4) for each in shown)
    assert (shown[0] != shown[1]).any()
    assert f"--classifier {NAME}" in done["command"]


@pytest.mark.long
def test_a_counterfactual_shows_its_probabilities(explained: Page, photo: bytes):
    file = explained.upload(photo)["id"]
    job = explained.job("counterfactual", file, options={"classifier": NAME, "steps": 12, "layer": "0"})
    done = explained.ended(job["id"])
    assert done["state"] == "done", done["error"]
    assert {"output", "figure", "html", "film", "strengths"} <= set(done["outputs"])
    curve = explained.get(f"/api/jobs/{job['id']}/curve").json
    assert [step for step, _ in curve["probability"]] == [5, 10, 12]
    assert all(0 <= value <= 1 for _, value in curve["probability"])
    assert curve["rule"]["threshold"]
    page = explained.get(f"/api/jobs/{job['id']}/download/html")
    assert page.headers["content-type"] == "application/octet-stream"
    assert page.headers["content-disposition"].startswith("attachment")


def test_code_is_imported_only_if_the_studio_was_started_with_it(
    tmp_path: Path, photo: bytes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "brightness_model.py").write_text(CLASSIFIER)
    monkeypatch.setattr("preimage.studio.queue.Jobs._fill", lambda jobs: None)
    with served(tmp_path / "state", classifiers=(NAME,)) as (page, _):
        job = page.job("saliency", page.upload(photo)["id"], options={"classifier": NAME})
    monkeypatch.undo()
    with served(tmp_path / "state") as (page, _):
        found = page.ended(job["id"])
        assert found["state"] == "failed"
        assert "--classifier" in found["error"]


def test_a_model_that_runs_code_is_refused(page: Page, photo: bytes, tmp_path: Path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "pwned",))

    torch.save({"a": Evil()}, tmp_path / "evil.pt")
    model = page.upload((tmp_path / "evil.pt").read_bytes(), "evil.pt")
    assert model["kind"] == "other"
    file = page.upload(photo)["id"]
    answer = page.post("/api/classify", {"classifier": {"file": model["id"]}, "file": file})
    assert answer.status == 422
    assert "evil.pt" in answer.error
    assert not (tmp_path / "pwned").exists()
