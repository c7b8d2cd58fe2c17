"""What the studies of the defence are made of: pictures, curves, networks, and what the rows say."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from preimage.classifiers import Classifier
from preimage.defend.purification import PAPER
from preimage.defend.threat import NONE, UNATTACKED, Threat
from preimage.networks.layers import Block
from studies import architecture_sensitivity, defence_table
from studies.architecture_sensitivity import Exactly, Purified, reached, variants, verdict
from studies.defence_table import PLANS, PUBLISHED, UNAWARE, Accuracies, detected
from studies.harness import StudyError, attacked, classifiers
from studies.harness.rows import Row
from studies.harness.stats import friedman, worst
from studies.harness.study import Run

# ---------------------------------------------------------------------- pictures


class Told(torch.nn.Module):
    """A classifier whose answer is how bright the picture is, in ten classes."""

    def forward(self, x):
        place = torch.arange(10) / 10 + 0.05
        return -((x.mean((1, 2, 3))[:, None] - place) ** 2) * 100


def test_pictures_of_a_table_keep_the_numbers_of_their_classes(tmp_path, monkeypatch):
    rows = ["filename,class_index"]
    (tmp_path / "imagenet_sample").mkdir()
    for k, shade in enumerate((35, 90, 90, 190, 240)):
        Image.fromarray(np.full((40 + 10 * k, 60, 3), shade, np.uint8)).save(tmp_path / "imagenet_sample" / f"{k}.png")
        rows.append(f"{k}.png,{9 if k == 2 else int(shade / 25.5)}")
    (tmp_path / classifiers.IMAGENET).write_text("\n".join(rows))
    classifier = Classifier(Told(), 10, (0.0,) * 3, (1.0,) * 3)
    monkeypatch.setattr(classifiers, "own_resnet18", lambda run: classifier)
    study = Run("a", "paper", tmp_path, tmp_path / "out")
    found = classifiers.subject(study, "cifar10", 10)[1]
    assert sorted(found.numbers) == [0, 1, 3, 4], "the third is misclassified"
    assert dict(zip(found.numbers, found.labels.tolist(), strict=True)) == {0: 1, 1: 3, 3: 7, 4: 9}
    assert found.images.shape == (4, 3, 224, 224)
    assert classifiers.subject(study, "cifar10", 2)[1].numbers == found.numbers[:2]
    (tmp_path / classifiers.IMAGENET).write_text("filename,class_index\n0.png,7\n")
    with pytest.raises(StudyError, match="right about none of 1 pictures"):
        classifiers.subject(study, "cifar10", 2)


def test_a_picture_has_the_same_curve_beside_any_others(tmp_path):
    study = Run("a", "smoke", None, tmp_path)
    classifier, pictures = classifiers.subject(study, "cifar10", 5)
    confidence, right = attacked.classified_early(classifier, pictures.images, pictures.labels, attacked.TINY, (2, 4))
    assert confidence.shape == right.shape == (2, 5)
    fewer, _ = attacked.classified_early(classifier, pictures.images[:3], pictures.labels[:3], attacked.TINY, (4,))
    assert torch.allclose(fewer[0], confidence[1, :3], atol=1e-4)
    chances = classifier.probabilities(pictures.images)
    assert torch.allclose(
        attacked.classified(classifier, pictures.images, pictures.labels)[0], chances.amax(1), atol=1e-6
    )


# ---------------------------------------------------------------------- curves


def test_friedmans_test_sees_a_shift_and_no_chance_where_all_are_alike():
    random = np.random.default_rng(0)
    same = random.normal(size=(3, 20))
    assert friedman([same[0], same[1] + 3, same[2] + 6]) < 1e-6
    assert friedman(same) > 0.01
    assert friedman([[50.0] * 4] * 3) == 1
    assert math.isnan(friedman([[50.0]] * 3))


# ---------------------------------------------------------------------- architectures


def test_each_variant_differs_from_the_base_in_one_thing():
    networks = {name: recipe.network for name, recipe in variants(16).items()}
    base = networks["base"]
    assert isinstance(base, Exactly)
    for name, network in networks.items():
        assert isinstance(network, Exactly)
        differing = [key for key in vars(base) if getattr(network, key) != getattr(base, key)]
        assert len(differing) == (0 if name == "base" or name.startswith("input") else 1), name
        built = network(4, 3, 32, 32)
        assert built(torch.rand(1, 4, 32, 32)).shape == (1, 3, 32, 32)
        assert built.levels == network.levels


def test_the_base_network_is_the_published_one():
    published = PAPER.network(32, 3, 32, 32)
    own = variants(128)["base"].network(32, 3, 32, 32)
    assert {k: v.shape for k, v in own.state_dict().items()} == {k: v.shape for k, v in published.state_dict().items()}
    own.load_state_dict(published.state_dict())
    code = torch.rand(1, 32, 32, 32)
    assert torch.equal(own(code), published(code))


def test_activations_are_what_they_are_called():
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = {"ReLU": torch.relu, "ELU": torch.nn.functional.elu, "Swish": torch.nn.functional.silu}
    for name, function in expected.items():
        network = variants(4)[f"activation {name}"].network(4, 3, 16, 16)
        blocks = [module for module in network.modules() if isinstance(module, Block)]
        assert blocks
        for block in blocks:
            if block.norm.weight is not None and len(block.norm.weight) == 4:
                assert torch.allclose(block.activated(x.clone()), function(block.norm(x)))


def rows_of_variant(name: str, right: dict[str, str], given: int = 0) -> list[Row]:
    return [
        Row(
            {"variant": name, "attack": c.attack, "eps": c.eps, "picture": k, "given_right": given}
            | {"right": right[c.attack], "confidence": right[c.attack].replace("1", "0.9").replace("0 ", "0.1 ")}
        )
        for c in architecture_sensitivity.CONDITIONS
        for k in range(4)
    ]


def test_a_network_fails_that_gains_less_than_half():
    good = {"none": "1 1 1", "fgsm": "0 1 0", "bi": "0 1 1"}
    base = Purified(rows_of_variant("base", good))
    assert base.best == 1
    assert base.gain().tolist() == [100.0] * 4
    blind = Purified(rows_of_variant("blind", {"none": "1 1 1", "fgsm": "0 0 0", "bi": "0 0 0"}))
    assert reached(blind, base).mean == -50
    assert (verdict(blind, base), verdict(base, base)) == ("no", "yes")
    assert verdict(base, blind) == verdict(blind, blind) == "not shown", (
        "a base network that cleans nothing is no measure"
    )


# ---------------------------------------------------------------------- the table


def table_rows(defence: str, threat: Threat, right: list[int], **changes: str) -> list[Row]:
    known = ("yes" if threat.knows_seed else "no") if threat.name == "bpda-eot" else ""
    samples = str(threat.samples) if threat.name == "bpda-eot" else ""
    steps = "" if threat.steps is None else str(threat.steps)
    own = {"classifier": "c", "seed": 0, "averaged": 1, "defence": defence, "settings": f"of {defence}"}
    own |= {"attack": threat.name, "eps": threat.eps, "steps": steps, "samples": samples, "knows_seed": known}
    return [Row(own | {"number": k, "correct": value, "seconds": 2} | changes) for k, value in enumerate(right)]


def test_of_the_rows_those_of_this_classifier_and_these_settings_count():
    fgsm, bi = Threat("fgsm", 10), Threat("bi", 10)
    rows = table_rows("fast", fgsm, [1, 1, 0]) + table_rows("fast", bi, [1, 0, 0])
    rows += table_rows("fast", fgsm, [0, 0, 0], classifier="other") + table_rows(
        "fast", fgsm, [0, 0, 0], settings="old"
    )
    rows += table_rows(NONE, fgsm, [0, 0, 0]) + table_rows(NONE, bi, [0, 1, 0])
    measured = Accuracies(rows, {"fast": "of fast"})
    assert measured.right("fast", [fgsm, bi], 3) == [100, 50, 0]
    assert measured.gain("fast", NONE, [fgsm, bi], 3).mean == pytest.approx(100 / 3)
    assert measured.right("fast", [fgsm, UNATTACKED], 3) == [], "there is no row of clean pictures"
    assert math.isnan(measured.gain("fast", "median", [fgsm], 3).mean)
    assert measured.right("fast", [Threat("fgsm", 5)], 3) == []


def test_what_an_attacker_knows_tells_rows_apart():
    plan = PLANS["small"]
    rows = table_rows("fast", plan.adaptive[1], [1, 1]) + table_rows("fast", plan.adaptive[2], [0, 0])
    measured = Accuracies(rows)
    assert measured.accuracy("fast", [plan.adaptive[1]], 2).mean == 100
    assert measured.accuracy("fast", [plan.adaptive[2]], 2).mean == 0


def test_all_of_several_claims_are_as_sure_as_the_worst():
    assert worst(["yes", "yes"]) == "yes"
    assert worst(["yes", "not shown"]) == "not shown"
    assert worst(["no", "not measured", "yes"]) == "no"


def test_published_averages_are_those_of_the_rows_that_they_name():
    columns = list(zip(*(PUBLISHED[threat] for threat in UNAWARE), strict=True))
    means = [sum(column) / len(column) for column in columns]
    assert [round(mean, 1) for k, mean in enumerate(means) if k != 1] == [5.8, 62.4, 68.9, 70.6]
    assert round(sum(columns[1][:3]) / 3, 1) == 57.3


def test_detection_is_the_share_of_pairs_that_are_told_apart():
    def scores(name: str, eps: float, values: list[float]) -> list[Row]:
        return [Row({"attack": name, "eps": eps, "picture": k, "score": value}) for k, value in enumerate(values)]

    clean = scores(NONE, 0, [0.1, 0.2, 0.3, 0.4])
    rows = clean + scores("fgsm", 10, [0.9, 0.8, 0.7, 0.6]) + scores("bi", 10, [0.1, 0.2])
    auroc, share = detected(rows, Threat("fgsm", 10))
    assert auroc.mean == auroc.low == share == 1
    auroc, share = detected(rows, Threat("bi", 10))
    assert (auroc.mean, auroc.count, share) == (0.5, 2, 0)
    assert all(
        math.isnan(value) for value in (detected(rows, Threat("fgsm", 2))[0].mean, detected(rows, Threat("fgsm", 2))[1])
    )


def test_adaptive_attacks_are_made_where_they_can_be_paid_for():
    plan = PLANS["small"]
    assert set(plan.against(plan.adaptive[0])) == set(plan.defences(few=True))
    assert "16 channels, 750 steps" in plan.against(plan.adaptive[2])
    assert not any("channels" in name for name in plan.against(plan.adaptive[1]))
    assert set(plan.purifications(few=True)) < set(plan.defences(few=True))
    assert set(plan.defences(few=True)) - set(plan.defences(few=False)) == {
        f"128 channels, {steps} steps" for steps in (500, 750, 1000)
    }
    large = replace(PLANS["imagenet"], on_few={"128 channels": PLANS["imagenet"].fast})  # as where there is no GPU
    assert set(large.against(large.adaptive[0])) == set(large.cheap()) < set(large.defences(few=True))


def test_pictures_by_which_steps_are_chosen_are_classified_correctly(tmp_path):
    random = np.random.default_rng(0)
    held = {"x_train": random.integers(0, 256, (200, 32, 32, 3), dtype=np.uint8), "y_train": np.arange(200) % 10}
    held |= {"x_test": held["x_train"][:20], "y_test": held["y_train"][:20]}
    (tmp_path / "cifar10").mkdir()
    np.savez(tmp_path / classifiers.DATA["cifar10"][0], **held)
    data = classifiers.labelled(Run("a", "small", tmp_path, tmp_path / "out"), "cifar10").part("train")
    classifier = classifiers.untrained(None, "cifar10").classifier
    found = classifiers.correctly_classified(data.pictures.float() / 255, data.labels, classifier, 3)
    assert torch.equal(classifier(found.images).argmax(1), found.labels)


@pytest.mark.long
def test_scores_are_known_by_their_classifier_and_settings(tmp_path):
    study = Run("defence_table", "smoke", None, tmp_path)
    table = defence_table.STUDY.measured[1]
    table.complete(study)
    rows = study.rows("-scores")
    assert len(rows) == 2 * (6 * 3 + 2 * 2), (
        "two recipes; clean and unaware attacks of three pictures, adaptive ones of two"
    )
    assert {row["steps"] for row in rows} == {recipe.steps for recipe in PLANS["smoke"].inspected}
    assert len({row["settings"] for row in rows}) == 2
    table.complete(study)
    assert study.rows("-scores") == rows
