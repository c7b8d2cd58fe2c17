"""A Job is plain data: it goes through JSON and back, and what is no job is refused before anything is imported or run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preimage import InputError
from preimage.jobs.job import Job, RunOptions

JOBS = {
    "bare": Job("denoise", input="photo.png"),
    "options": Job(
        "denoise",
        {"sigma": 25.0, "recipe": "thin.json", "steps": 3, "stop": "steps", "tile": 32},
        "photo.png",
        {"output": "clean.png", "film": "film.gif"},
        RunOptions(
            overwrite=True,
            report=Path("report.json"),
            page=2,
            value_range=(0.0, 255.0),
            reference=Path("truth.png"),
            every=5,
            strength=0.5,
            threads=1,
            autosave=10,
            resume=True,
        ),
        "0" * 64,
    ),
    "images": Job("inpaint", {"mask": "mask.png", "mask_white": "missing"}, "photo.png", {"output": "whole.png"}),
    "no input": Job("maximize", {"classifier": "torchvision:resnet18", "target": 3, "size": (32, 32)}),
    "data": Job("calibrate", {"degradation": "gaussian:25"}, "clean", {"output": "recipe.json"}),
}


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_a_job_goes_through_json_and_back(job: Job):
    text = job.to_json()
    assert Job.from_json(text) == job
    assert Job.from_json(text).to_json() == text
    assert json.loads(text)["format"] == 2


def test_numbers_of_numpy_and_paths_are_plain_data():
    job = Job("inpaint", {"mask": Path("mask.png"), "steps": np.int64(3)}, "photo.png")
    assert Job.from_json(job.to_json()).options == {"mask": "mask.png", "steps": 3}


def test_what_is_no_plain_data_is_refused():
    with pytest.raises(InputError) as error:
        Job("denoise", {"stop": object()}, "photo.png").to_json()
    assert error.value.code == "type"


def changed(**settings: Any) -> str:
    return json.dumps({**json.loads(JOBS["bare"].to_json()), **settings})


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("no job", "unreadable"),
        ("[1]", "format"),
        ("{}", "format"),
        (changed(format=1), "format"),
        (changed(format=None), "format"),
        (changed(task="denoize"), "option"),
        (changed(color=1), "option"),
        (changed(options={"color": 1}), "option"),
        (changed(run={"color": 1}), "option"),
        (changed(run={"threads": 0}), "invalid-value"),
        (json.dumps({"format": 2}), "option"),
        (changed(task=["denoise"]), "type"),
        (changed(options=[1]), "type"),
        (changed(run="all"), "type"),
        (changed(input=3), "type"),
        (changed(outputs={"output": 3}), "type"),
        (changed(outputs={"movie": "a.gif"}), "option"),
        (changed(input_sha256=3), "type"),
        (changed(options={"steps": "many"}), "type"),
        (changed(options={"steps": 2.5}), "type"),
        (changed(options={"steps": True}), "type"),
        (changed(options={"steps": [3]}), "type"),
        (changed(options={"warm_start": 1}), "type"),
        (changed(options={"noise": "pink"}), "type"),
        (changed(options={"recipe": {"steps": 3}}), "type"),
        (changed(options={"tile": [32]}), "type"),
        (changed(options={"seed": None}), "type"),
        (changed(options={"initial": "weights.pt"}), "option"),
        (changed(run={"page": "some"}), "type"),
        (changed(run={"report": 3}), "type"),
        (changed(run={"value_range": [0, 1, 2]}), "type"),
        ("[" * 100_000, "unreadable"),
    ],
)
def test_what_is_no_job_is_refused(text: str, code: str):
    with pytest.raises(InputError) as error:
        Job.from_json(text)
    assert error.value.code == code
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"tile": [32, 48]}, (32, 48)),
        ({"tile": 32}, 32),
        ({"tile": "none"}, "none"),
        ({"tile": None}, None),
        ({"sigma": 25}, 25),
        ({"stop": "held-out"}, "held-out"),
        ({"recipe": "thin.json"}, "thin.json"),
    ],
)
def test_values_have_the_types_of_their_options(options: dict[str, Any], expected: Any):
    ((name, value),) = Job.from_json(changed(options=options)).options.items()
    assert (value, type(value)) == (expected, type(expected)), name
