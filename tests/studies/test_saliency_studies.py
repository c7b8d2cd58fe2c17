"""What the studies of saliency are made of: pictures told right, likeness of maps, claims as differences, tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from preimage.defend.purification import PAPER
from studies import saliency_methods, saliency_over_steps
from studies.harness import StudyError, classifiers
from studies.harness.classifiers import correctly_classified, untrained
from studies.harness.imaging import generated_picture
from studies.harness.rows import Row
from studies.harness.stats import Interval
from studies.harness.study import Run
from studies.harness.tables import held
from studies.saliency_methods import Subject, map_of, place_of
from studies.saliency_over_steps import common, detail, likeness, outputs

# ---------------------------------------------------------------------- pictures


def test_pictures_of_paper_are_seen_as_torchvision_shows_them(tmp_path, monkeypatch):
    (tmp_path / "imagenet_sample").mkdir()
    values = np.zeros((300, 600), np.uint8)
    values[:, 300:] = 255
    Image.fromarray(values).save(tmp_path / "imagenet_sample" / "gray.png")
    Image.fromarray(np.full((100, 120, 3), (255, 0, 0), np.uint8)).save(tmp_path / "imagenet_sample" / "red.png")
    (tmp_path / classifiers.IMAGENET).write_text("filename,class_index\ngray.png,7\nred.png,512\n")
    study = Run("a", "paper", tmp_path, tmp_path / "out")
    images, labels = classifiers.imagenet(study)
    assert images.shape == (2, 3, 224, 224)
    assert labels.tolist() == [7, 512]
    assert images[0, :, :, :100].max() < 0.01
    assert images[0, :, :, -100:].min() > 0.99
    assert torch.allclose(images[1].mean((1, 2)), torch.tensor([1.0, 0.0, 0.0]), atol=1e-5)
    monkeypatch.delenv("PREIMAGE_WEIGHTS", raising=False)
    with pytest.raises(StudyError, match="name the file of resnet18's weights in PREIMAGE_WEIGHTS"):
        classifiers.subject(study, "tiny_imagenet10", 2)
    (tmp_path / classifiers.IMAGENET).unlink()
    with pytest.raises(StudyError, match="does not exist: study a at scale paper takes its ImageNet pictures"):
        classifiers.subject(study, "tiny_imagenet10", 2)


def test_no_picture_is_chosen_that_is_misclassified():
    classifier = untrained(None, "cifar10").classifier
    images = torch.cat([generated_picture(32).roll(k, 3) for k in range(6)])
    said = classifier(images).argmax(1)
    wrong = (said + torch.tensor([0, 1, 0, 1, 0, 1])) % len(classifier.classes)
    assert set(correctly_classified(images, wrong, classifier, 9).numbers) == {0, 2, 4}
    with pytest.raises(StudyError, match="right about none of 6 pictures"):
        correctly_classified(images, (said + 1) % 10, classifier, 9)


# ---------------------------------------------------------------------- likeness


def test_maps_are_alike_by_the_order_of_their_pixels():
    own, other = (torch.rand(1, 1, 20, 30, generator=torch.Generator().manual_seed(seed)) for seed in range(2))
    found = likeness(own.square(), own, [other])
    assert found["rank"] == pytest.approx(1)
    assert found["common"] == 1
    assert abs(found["rank_of_others"]) < 0.2
    assert found["common_of_others"] == common(own, other) == common(other, own) < 0.3
    assert common(own, -own) == 0


def test_a_blurred_picture_has_less_detail():
    x = generated_picture(64)
    soft = torch.nn.functional.avg_pool2d(x, 5, 1, 2, count_include_pad=False)
    assert detail(x, x) == 1
    assert detail(soft, x) < 0.5
    assert float(saliency_over_steps.factor(torch.full((1, 3, 32, 32), 0.4)).max()) < 1e-5


def test_outputs_do_not_depend_on_which_of_them_are_asked_for():
    recipe = saliency_over_steps.recipe_of(Run("a", "smoke"), 3)
    given = generated_picture(32)
    every = {step: picture for step, picture, _ in outputs(given, recipe, [0, 2, 4], seed=3)}
    alone = {step: picture for step, picture, _ in outputs(given, recipe, [4], seed=3)}
    assert list(every) == [0, 2, 4]
    assert list(alone) == [4]
    assert torch.equal(every[0], given)
    assert torch.equal(every[4], alone[4])
    assert not torch.equal(every[2], every[4])


@pytest.mark.parametrize("scale", ["small", "paper"])
def test_three_levels_are_the_recipe_that_users_have(scale):
    found = saliency_over_steps.recipe_of(Run("a", scale), 3)
    same = {"precision", "steps"}
    assert {k: v for k, v in found.describe().items() if k not in same} == {
        k: v for k, v in PAPER.describe().items() if k not in same
    }
    assert found.steps == 4000
    assert scale == "small" or found.precision == "float32"


# ---------------------------------------------------------------------- claims


def rows(confidences: dict[int, float], ranks: dict[int, float], pictures: int = 12) -> list[dict[str, object]]:
    """Rows of pictures that differ a little, each step with its confidence and rank."""
    random = np.random.default_rng(0)
    return [
        Row(
            {
                "picture": k,
                "step": step,
                "confidence": confidences[step] + random.normal(0, 0.01),
                "rank": ranks[step] + random.normal(0, 0.01),
                "rank_of_others": 0.3,
                "rank_of_factor": 0.4 + random.normal(0, 0.01),
                "detail": 0.2 + random.normal(0, 0.01),
            }
        )
        for k in range(pictures)
        for step in confidences
    ]


STEPS = (200, 300, 400, 500, 750, 1000, 2000, 4000)


def claims(some) -> str:
    return held("claim", saliency_over_steps.claims(some))


def verdicts(table: str) -> list[str]:
    return [line.split("|")[3].strip() for line in table.splitlines()[2:]]


def test_claims_hold_where_they_are_true_and_not_where_they_are_not():
    sure = dict.fromkeys(STEPS, 0.8) | {2000: 0.3, 4000: 0.1}
    likened = dict.fromkeys(STEPS, 0.7) | {2000: 0.5, 4000: 0.4}
    assert verdicts(claims(rows(sure, likened))) == ["yes"] * 7
    doubted = dict.fromkeys(STEPS, 0.2)
    rising = dict(zip(STEPS, (0.2, 0.2, 0.2, 0.6, 0.7, 0.8, 0.9, 0.9), strict=True))
    found = verdicts(claims(rows(doubted, rising)))
    assert found[:4] == ["no"] * 4
    assert found[4] == "yes"
    assert found[5] == "no"
    assert verdicts(claims(rows({2: 0.1}, {2: 0.1}))) == ["not measured"] * 7


def test_a_difference_is_of_the_pictures_that_have_all_its_steps():
    some = rows(dict.fromkeys(STEPS, 0.8), dict.fromkeys(STEPS, 0.7))
    short = [row for row in some if row["picture"] != 3 or row["step"] != 4000]
    assert saliency_over_steps.difference(some, "rank", (300, 400), (2000, 4000)).count == 12
    assert saliency_over_steps.difference(short, "rank", (300, 400), (2000, 4000)).count == 11
    assert saliency_over_steps.difference(short, "rank", (300, 400)).count == 12
    assert saliency_over_steps.lost_more(some, short).count == 11


def test_what_is_at_most_is_the_other_side_of_what_is_above():
    assert [Interval(0.2, *ends, 40).at_most(0.1) for ends in ((0.15, 0.3), (0.0, 0.3), (0.0, 0.1))] == [
        "no",
        "not shown",
        "yes",
    ]
    assert Interval(0.2, math.nan, math.nan, 1).at_most(0.1) == "not measured"


# ---------------------------------------------------------------------- methods


def test_saliency_in_its_place_counts_sizes_and_not_squares():
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[:8, :8] = True
    other = mask.roll((8, 8), (0, 1))
    subjects = [Subject(torch.zeros(1, 3, 16, 16), k, 0, each) for k, each in enumerate((mask, other))]
    found = torch.ones(1, 1, 16, 16)
    found[..., mask] = 3.0  # of 64 pixels: half of the sum of all
    assert place_of(found, subjects[0], dict(enumerate(subjects))) == pytest.approx(
        {"inside": 2.0, "inside_of_others": 2 / 3}
    )
    assert place_of(found, Subject(torch.zeros(1, 3, 16, 16), 2, 0), {})["inside"] == ""


def test_controls_know_no_classifier():
    subject = Subject(generated_picture(32), 0, 1)
    classifiers = [untrained(None, name).classifier for name in ("cifar10", "cifar10-second")]
    for name in saliency_methods.CONTROLS:
        found = [map_of(subject, name, classifier) for classifier in classifiers]
        assert torch.equal(*found)
        assert found[0].shape == (1, 1, 32, 32)
    assert not torch.equal(*(map_of(subject, "gradient", classifier) for classifier in classifiers))


def test_each_setting_differs_from_the_defaults_in_one_thing():
    assert all(len(options) == 1 for options in saliency_methods.SETTINGS.values())


def test_a_better_deletion_is_a_lower_one():
    random = np.random.default_rng(0)
    ways = {
        name: [
            {"picture": k, "insertion": value + random.normal(0, 0.01), "deletion": value + random.normal(0, 0.01)}
            for k in range(12)
        ]
        for name, value in (("mig-sg", 0.3), ("gradient", 0.6))
    }
    assert saliency_methods.better(ways["mig-sg"], ways["gradient"], "deletion").endswith(": yes")
    assert saliency_methods.better(ways["mig-sg"], ways["gradient"], "insertion").endswith(": no")
