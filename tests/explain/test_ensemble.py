"""A counterfactual of an ensemble: the class is sought in all of its classifiers, whatever the order of their classes."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from classifiers.small import Tiny, tiny
from explain.small import BRIEF, THIN, picture

from preimage.classifiers import Classifier
from preimage.errors import InputError
from preimage.explain.counterfactual import counterfactual
from preimage.jobs.job import FORMAT, Job
from preimage.jobs.reading import refuse_code

SETTINGS = {"recipe": THIN, "device": "cpu", "layer": "block1", "uncertainty": "none", "copies": 0, "target": 1}
NAMES = [tiny().classes[i] for i in (2, 0, 1)]


def other(classes=NAMES, **options) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return Classifier(Tiny(), classes, mean=(0.5,) * 3, std=(0.25,) * 3, size=(32, 32), **options)


def written(options: dict[str, Any]) -> str:
    return json.dumps({"format": FORMAT, "task": "counterfactual", "input": "a.png", "options": options})


@pytest.mark.parametrize("copies", [0, 2])
def test_the_target_rises_in_all_of_them(copies):
    options = {**SETTINGS, "classifier": tiny(), "class_weight": 10.0, "copies": copies}
    alone = counterfactual(picture(), **options).run()
    both = counterfactual(picture(), further_classifiers=[other()], **options).run()
    index = other().class_index(tiny().classes[1])
    before, by_one, by_both = (
        float(other().probabilities(each)[0, index]) for each in (alone.reconstruction, alone.changed, both.changed)
    )
    assert by_both > max(before, by_one)
    assert both.confidence > float(both.probabilities["reconstruction"][1])
    assert len(both.numbers["further_confidences"]) == 1
    if not copies:
        assert both.numbers["further_confidences"][0] == pytest.approx(by_both, abs=1e-5)
    assert "further_confidences" not in alone.numbers


def test_its_confidence_is_the_mean():
    run = counterfactual(picture(), classifier=tiny(), further_classifiers=[other(), tiny()], **SETTINGS)
    x = torch.stack([picture(), 1 - picture()])
    order = [other().class_index(name) for name in tiny().classes]
    first, second = tiny().probabilities(x), other().probabilities(x)[:, order]
    wanted = torch.stack([(2 * first[0] + second[0]) / 3, first[1]])
    torch.testing.assert_close(run.rule.probabilities(x), wanted)


@pytest.mark.parametrize(
    ("further", "words"),
    [
        ([other(["mass", "nodule", "none"])], "has no class"),
        ("model.pt", r"a list of classifiers, got str"),
        ([3], "must be a Classifier"),
        ([other(output="labels")], "exclude one another"),
    ],
)
def test_what_is_no_ensemble_is_one_line_before_the_first_step(further, words):
    with pytest.raises(InputError, match=words):
        counterfactual(picture(), classifier=tiny(), further_classifiers=further, **SETTINGS | {"recipe": BRIEF})


def test_a_job_names_them_and_may_not_import_a_module():
    options = {"classifier": "one.pt", "further_classifiers": ["two.pt", "three.pt"]}
    job = Job.from_json(written(options))
    assert job.options["further_classifiers"] == ("two.pt", "three.pt")
    refuse_code(job)
    options["further_classifiers"][1] = "own.module:classifier"
    with pytest.raises(InputError, match="would import a module"):
        refuse_code(Job.from_json(written(options)))
