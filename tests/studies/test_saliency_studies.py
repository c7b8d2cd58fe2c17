"""What the studies of saliency are made of: pictures told right, likeness of maps, claims as differences, tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from preimage.defend.purification import PAPER
from preimage.errors import InputError
from preimage.studies import cifar, objects, saliency_methods, saliency_over_steps
from preimage.studies import saliency_methods_tables as methods_tables
from preimage.studies import saliency_over_steps_tables as steps_tables
from preimage.studies.intervals import Interval
from preimage.studies.saliency_methods import Subject, map_of, place_of
from preimage.studies.saliency_over_steps import common, detail, likeness, outputs
from preimage.studies.scales import Study, generated_picture

# ---------------------------------------------------------------------- pictures


def test_pictures_of_paper_are_seen_as_torchvision_shows_them(tmp_path, monkeypatch):
    (tmp_path / "imagenet_sample").mkdir()
    values = np.zeros((300, 600), np.uint8)
    values[:, 300:] = 255
    Image.fromarray(values).save(tmp_path / "imagenet_sample" / "gray.png")
    Image.fromarray(np.full((100, 120, 3), (255, 0, 0), np.uint8)).save(tmp_path / "imagenet_sample" / "red.png")
    (tmp_path / objects.SAMPLE).write_text("filename,class_index\ngray.png,7\nred.png,512\n")
    study = Study("a", "paper", tmp_path, tmp_path / "out")
    images, labels = objects.imagenet(study)
    assert images.shape == (2, 3, 224, 224)
    assert labels.tolist() == [7, 512]
    assert images[0, :, :, :100].max() < 0.01
    assert images[0, :, :, -100:].min() > 0.99
    assert torch.allclose(images[1].mean((1, 2)), torch.tensor([1.0, 0.0, 0.0]), atol=1e-5)
    monkeypatch.delenv("PREIMAGE_WEIGHTS", raising=False)
    with pytest.raises(InputError, match="name the file of its weights in PREIMAGE_WEIGHTS"):
        objects.specimens(study, 2)
    (tmp_path / objects.SAMPLE).unlink()
    with pytest.raises(InputError, match="does not exist: study a at scale paper takes its ImageNet pictures"):
        objects.specimens(study, 2)


def test_no_picture_is_chosen_that_is_told_wrong():
    classifier = cifar.untrained(0)
    images = torch.cat([generated_picture(32).roll(k, 3) for k in range(6)])
    said = classifier(images).argmax(1)
    wrong = (said + torch.tensor([0, 1, 0, 1, 0, 1])) % len(classifier.classes)
    assert set(cifar.right_in_turn(images, wrong, classifier, 9).numbers) == {0, 2, 4}
    assert cifar.right_in_turn(images, (said + 1) % 10, classifier, 9).numbers == ()


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
    recipe = saliency_over_steps.recipe_of(Study("a", "smoke"), 3)
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
    found = saliency_over_steps.recipe_of(Study("a", scale), 3)
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
        {
            "picture": k,
            "step": step,
            "confidence": confidences[step] + random.normal(0, 0.01),
            "rank": ranks[step] + random.normal(0, 0.01),
            "rank_of_others": 0.3,
            "rank_of_factor": 0.4 + random.normal(0, 0.01),
            "detail": 0.2 + random.normal(0, 0.01),
        }
        for k in range(pictures)
        for step in confidences
    ]


STEPS = (200, 300, 400, 500, 750, 1000, 2000, 4000)


def verdicts(table: str) -> list[str]:
    return [line.split("|")[3].strip() for line in table.splitlines()[2:]]


def test_claims_hold_where_they_are_true_and_not_where_they_are_not():
    sure = dict.fromkeys(STEPS, 0.8) | {2000: 0.3, 4000: 0.1}
    likened = dict.fromkeys(STEPS, 0.7) | {2000: 0.5, 4000: 0.4}
    assert verdicts(steps_tables.claims(rows(sure, likened))) == ["yes"] * 7
    doubted = dict.fromkeys(STEPS, 0.2)
    rising = dict(zip(STEPS, (0.2, 0.2, 0.2, 0.6, 0.7, 0.8, 0.9, 0.9), strict=True))
    found = verdicts(steps_tables.claims(rows(doubted, rising)))
    assert found[:4] == ["no"] * 4
    assert found[4] == "yes"
    assert found[5] == "no"
    assert verdicts(steps_tables.claims(rows({2: 0.1}, {2: 0.1}))) == ["not measured"] * 7


def test_a_difference_is_of_the_pictures_that_have_all_its_steps():
    some = rows(dict.fromkeys(STEPS, 0.8), dict.fromkeys(STEPS, 0.7))
    short = [row for row in some if row["picture"] != 3 or row["step"] != 4000]
    assert steps_tables.difference(some, "rank", (300, 400), (2000, 4000)).count == 12
    assert steps_tables.difference(short, "rank", (300, 400), (2000, 4000)).count == 11
    assert steps_tables.difference(short, "rank", (300, 400)).count == 12
    assert steps_tables.lost_more(some, short).count == 11


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
    subjects = [Subject(name, torch.zeros(1, 3, 16, 16), 0, each) for name, each in (("a", mask), ("b", other))]
    found = torch.ones(1, 1, 16, 16)
    found[..., mask] = 3.0  # of 64 pixels: half of the sum of all
    assert place_of(found, subjects[0], subjects) == pytest.approx({"inside": 2.0, "inside_of_others": 2 / 3})
    assert place_of(found, Subject("c", torch.zeros(1, 3, 16, 16), 0), subjects)["inside"] == ""


def test_controls_look_at_no_classifier():
    subject = Subject("a", generated_picture(32), 1)
    for name in methods_tables.CONTROLS:
        found = [map_of(subject, name, cifar.untrained(seed), 0) for seed in range(2)]
        assert torch.equal(*found)
        assert found[0].shape == (1, 1, 32, 32)
    assert not torch.equal(*(map_of(subject, "gradient", cifar.untrained(seed), 0) for seed in range(2)))


def test_each_setting_differs_from_the_defaults_in_one_thing():
    assert all(len(options) == 1 for options in saliency_methods.SETTINGS.values())
    assert all(saliency_methods.WAYS[name].few for name in saliency_methods.SETTINGS)


def test_a_better_deletion_is_a_lower_one():
    random = np.random.default_rng(0)
    ways = {
        name: [
            {"picture": k, "insertion": value + random.normal(0, 0.01), "deletion": value + random.normal(0, 0.01)}
            for k in range(12)
        ]
        for name, value in (("mig-sg", 0.3), ("gradient", 0.6))
    }
    assert methods_tables.judged(ways, "mig-sg", "gradient", "deletion").endswith(": yes")
    assert methods_tables.judged(ways, "mig-sg", "gradient", "insertion").endswith(": no")
