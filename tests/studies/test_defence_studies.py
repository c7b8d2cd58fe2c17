"""What the studies of the defence are made of: pictures, curves, networks, and what the rows say."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
import torch
from PIL import Image

from preimage.classifiers import Classifier
from preimage.defend.purification import PAPER
from preimage.defend.threat import NONE, Threat
from preimage.defend.threat import UNATTACKED as CLEAN
from preimage.errors import InputError
from preimage.networks.layers import Block
from preimage.studies import adversary_curves, architecture_sensitivity, attacked, cifar, defence_text
from preimage.studies.architecture_sensitivity import Cleaned, Exactly, cleans, variants, verdict
from preimage.studies.defence_plan import PLANS, UNAWARE
from preimage.studies.defence_text import PUBLISHED, Detection, Measured
from preimage.studies.scales import Study

# ---------------------------------------------------------------------- pictures


class Told(torch.nn.Module):
    """A classifier whose answer is how bright the picture is, in ten classes."""

    def forward(self, x):
        place = torch.arange(10) / 10 + 0.05
        return -((x.mean((1, 2, 3))[:, None] - place) ** 2) * 100


def test_pictures_of_a_table_keep_the_numbers_of_their_classes(tmp_path):
    rows = ["filename,class_index"]
    (tmp_path / "imagenet_sample").mkdir()
    for k, shade in enumerate((35, 90, 90, 190, 240)):
        Image.fromarray(np.full((40 + 10 * k, 60, 3), shade, np.uint8)).save(tmp_path / "imagenet_sample" / f"{k}.png")
        rows.append(f"{k}.png,{9 if k == 2 else int(shade / 25.5)}")
    (tmp_path / attacked.IMAGENET).write_text("\n".join(rows))
    classifier = Classifier(Told(), 10, (0.0,) * 3, (1.0,) * 3)
    study = Study("a", "paper", tmp_path, tmp_path / "out")
    found = attacked.imagenet_told_right(study, classifier, 10)
    assert sorted(found.numbers) == [0, 1, 3, 4], "the third is told wrong"
    assert dict(zip(found.numbers, found.labels.tolist(), strict=True)) == {0: 1, 1: 3, 3: 7, 4: 9}
    assert found.images.shape == (4, 3, 224, 224)
    assert attacked.imagenet_told_right(study, classifier, 2).numbers == found.numbers[:2]
    (tmp_path / attacked.IMAGENET).write_text("filename,class_index\n0.png,7\n")
    with pytest.raises(InputError, match="none of 1 pictures right"):
        attacked.imagenet_told_right(study, classifier, 2)


def test_a_picture_has_the_same_curve_beside_any_others(tmp_path):
    study = Study("a", "smoke", None, tmp_path)
    classifier, pictures = attacked.subject(study, 5)
    confidence, right = attacked.told_early(classifier, pictures.images, pictures.labels, attacked.TINY, (2, 4))
    assert confidence.shape == right.shape == (2, 5)
    fewer, _ = attacked.told_early(classifier, pictures.images[:3], pictures.labels[:3], attacked.TINY, (4,))
    assert torch.allclose(fewer[0], confidence[1, :3], atol=1e-4)
    chances = classifier.probabilities(pictures.images)
    assert torch.allclose(attacked.told(classifier, pictures.images, pictures.labels)[0], chances.amax(1), atol=1e-6)


# ---------------------------------------------------------------------- curves


def test_friedmans_test_sees_a_shift_and_no_chance_where_all_are_alike():
    random = np.random.default_rng(0)
    same = random.normal(size=(3, 20))
    assert adversary_curves.friedman([same[0], same[1] + 3, same[2] + 6]) < 1e-6
    assert adversary_curves.friedman(same) > 0.01
    assert adversary_curves.friedman([[50.0] * 4] * 3) == 1
    assert math.isnan(adversary_curves.friedman([[50.0]] * 3))


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


def rows_of_variant(name: str, right: dict[str, str], given: int = 0) -> list[dict]:
    return [
        {"variant": name, "attack": c.attack, "eps": c.eps, "picture": k, "given_right": given}
        | {"right": right[c.attack], "confidence": right[c.attack].replace("1", "0.9").replace("0 ", "0.1 ")}
        for c in architecture_sensitivity.CONDITIONS
        for k in range(4)
    ]


def test_a_network_fails_that_gains_less_than_half():
    good = {"none": "1 1 1", "fgsm": "0 1 0", "bi": "0 1 1"}
    base = Cleaned(rows_of_variant("base", good), "base")
    assert base.best == 1
    assert base.gain.tolist() == [100.0] * 4
    blind = Cleaned(rows_of_variant("blind", {"none": "1 1 1", "fgsm": "0 0 0", "bi": "0 0 0"}), "blind")
    assert cleans(blind, base).mean == -50
    assert (verdict(blind, base), verdict(base, base)) == ("no", "yes")
    assert verdict(base, blind) == verdict(blind, blind) == "not shown", (
        "a base network that cleans nothing is no measure"
    )


# ---------------------------------------------------------------------- the table


def table_rows(defence: str, threat: Threat, right: list[int], **changes: str) -> list[dict[str, str]]:
    known = ("yes" if threat.knows_seed else "no") if threat.name == "bpda-eot" else ""
    samples = str(threat.samples) if threat.name == "bpda-eot" else ""
    steps = "" if threat.steps is None else str(threat.steps)
    own = {"classifier": "c", "seed": "0", "averaged": "1", "defence": defence, "settings": f"of {defence}"}
    own |= {"attack": threat.name, "eps": f"{threat.eps:g}", "steps": steps, "samples": samples, "knows_seed": known}
    return [own | {"number": str(k), "correct": str(value), "seconds": "2"} | changes for k, value in enumerate(right)]


def test_of_the_rows_those_of_this_classifier_and_these_settings_count():
    fgsm, bi = Threat("fgsm", 10), Threat("bi", 10)
    rows = table_rows("fast", fgsm, [1, 1, 0]) + table_rows("fast", bi, [1, 0, 0])
    rows += table_rows("fast", fgsm, [0, 0, 0], classifier="other") + table_rows(
        "fast", fgsm, [0, 0, 0], settings="old"
    )
    rows += table_rows(NONE, fgsm, [0, 0, 0]) + table_rows(NONE, bi, [0, 1, 0])
    measured = Measured(rows, "c", {"fast": "of fast", NONE: f"of {NONE}"}, 3)
    assert measured.right("fast", [fgsm, bi], 3) == [100, 50, 0]
    assert measured.gain("fast", NONE, [fgsm, bi], 3).mean == pytest.approx(100 / 3)
    assert measured.right("fast", [fgsm, CLEAN], 3) == [], "there is no row of clean pictures"
    assert math.isnan(measured.gain("fast", "median", [fgsm], 3).mean)
    assert measured.of("fast", Threat("fgsm", 5)) == {}


def test_what_an_attacker_knows_tells_rows_apart():
    plan = PLANS["small"]
    rows = table_rows("fast", plan.bpda, [1, 1]) + table_rows("fast", plan.bpda_knowing, [0, 0])
    measured = Measured(rows, "c", {"fast": "of fast"}, 2)
    assert measured.accuracy("fast", [plan.bpda], 2).mean == 100
    assert measured.accuracy("fast", [plan.bpda_knowing], 2).mean == 0


def test_all_of_several_claims_are_as_sure_as_the_worst():
    assert defence_text._all(["yes", "yes"]) == "yes"
    assert defence_text._all(["yes", "not shown"]) == "not shown"
    assert defence_text._all(["no", "not measured", "yes"]) == "no"


def test_published_averages_are_those_of_the_rows_that_they_name():
    columns = list(zip(*(PUBLISHED[threat] for threat in UNAWARE), strict=True))
    means = [sum(column) / len(column) for column in columns]
    assert [round(mean, 1) for k, mean in enumerate(means) if k != 1] == [5.8, 62.4, 68.9, 70.6]
    assert round(sum(columns[1][:3]) / 3, 1) == 57.3


def test_detection_is_the_share_of_pairs_that_are_told_apart():
    def scores(name: str, eps: float, values: list[float]) -> list[dict]:
        return [{"attack": name, "eps": eps, "picture": k, "score": value} for k, value in enumerate(values)]

    clean = scores(NONE, 0, [0.1, 0.2, 0.3, 0.4])
    found = Detection(clean + scores("fgsm", 10, [0.9, 0.8, 0.7, 0.6]) + scores("bi", 10, [0.1, 0.2])).auroc
    assert found(Threat("fgsm", 10)).mean == found(Threat("fgsm", 10)).low == 1
    assert (found(Threat("bi", 10)).mean, found(Threat("bi", 10)).count) == (0.5, 2)
    assert math.isnan(found(Threat("fgsm", 2)).mean)


def test_adaptive_attacks_are_made_where_they_can_be_paid_for():
    plan = PLANS["small"]
    assert set(plan.against(plan.prior)) == set(plan.defences(few=True))
    assert "16 channels, 750 steps" in plan.against(plan.bpda_knowing)
    assert not any("channels" in name for name in plan.against(plan.bpda))
    assert set(plan.purifications(few=True)) < set(plan.defences(few=True))
    assert set(plan.defences(few=True)) - set(plan.defences(few=False)) == {
        f"128 channels, {steps} steps" for steps in (500, 750, 1000)
    }


def test_pictures_by_which_steps_are_chosen_are_told_right(tmp_path):
    random = np.random.default_rng(0)
    held = {"x_train": random.integers(0, 256, (200, 32, 32, 3), dtype=np.uint8), "y_train": np.arange(200) % 10}
    held |= {"x_test": held["x_train"][:20], "y_test": held["y_train"][:20]}
    (tmp_path / "cifar10").mkdir()
    np.savez(tmp_path / cifar.FILE, **held)
    data = cifar.labelled(Study("a", "small", tmp_path, tmp_path / "out")).part("train")
    classifier = cifar.untrained(0)
    found = cifar.right_in_turn(data.pictures.float() / 255, data.labels, classifier, 3)
    assert torch.equal(classifier(found.images).argmax(1), found.labels)


def test_scores_of_other_settings_are_not_taken_for_these(tmp_path):
    from preimage.studies.defence_table import asked_scores, detect

    study, plan = Study("a", "smoke", None, tmp_path), PLANS["smoke"]
    classifier, pictures = attacked.subject(study, 2)
    detect(study, plan, classifier, pictures)
    fast, longer = plan.inspected
    each = [asked_scores(study, recipe, classifier) for recipe in (fast, longer)]
    with study.table.open(newline="") as file:
        assert sum(map(len, each)) == len(list(csv.DictReader(file))) == 2 * 2 * 8
    assert asked_scores(study, fast, cifar.second_classifier(study)) == []
