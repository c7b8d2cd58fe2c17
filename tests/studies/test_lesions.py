"""What the studies of explanations are made of: lesions and their classifiers, damages, intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import mannwhitneyu, spearmanr

from preimage.explain.abcd import Signs
from studies import counterfactuals
from studies.harness import classifiers, lesions
from studies.harness.lesions import Lesion, held_out, in_turn
from studies.harness.stats import Interval, auroc_gain, interval_of, paired, rank_correlation, wins
from studies.harness.study import Run
from studies.harness.tables import difference
from studies.loss_estimator import other_pictures
from studies.ood_recovery import EQUAL, blurred, cropped, masked_psnr, rectangle

# ---------------------------------------------------------------------- lesions


def lesion(name: str, diagnosis: str = "nv", patient: str = "", share: float = 0.25) -> Lesion:
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[: round(20 * share)] = True
    return Lesion(name, diagnosis, patient or name, torch.zeros(1, 3, 20, 20), mask)


def test_classes_take_turns_and_no_lesion_comes_twice():
    some = [lesion(f"nv{k}", "nv", f"patient {k // 2}") for k in range(20)] + [
        lesion("mel0", "mel"),
        lesion("df0", "df"),
    ]
    found = in_turn(some, 8)
    assert [each.name for each in found] == [each.name for each in in_turn(some, 8)]
    assert [each.diagnosis for each in found] == ["df", "mel", *["nv"] * 6]
    assert len({each.patient for each in in_turn(some, 100)}) == len(in_turn(some, 100)) == 12


def test_place_is_judged_where_the_mask_allows_and_the_classifier_is_right():
    classifier = classifiers.untrained(None, "lesions").classifier
    told = lesions.prediction(classifier, torch.zeros(1, 3, 20, 20))
    some = [lesion("right", told), lesion("wrong", "nv" if told != "nv" else "mel"), lesion("all", told, share=0.9)]
    assert [each.name for each in in_turn(some, 9, correct=classifier)] == ["right"]
    assert len(in_turn(some, 9)) == 3


def test_smoke_discs_are_where_their_masks_are():
    for each in held_out(Run("a", "smoke")):
        inside = each.picture[..., each.mask].mean()
        outside = each.picture[..., ~each.mask].mean()
        assert inside < outside
        assert 0.05 < each.area < 0.6


@pytest.fixture
def folder(tmp_path):
    """Twelve pictures of 200 x 150, as the real ones are, in two classes; each mask is the bright half of its picture."""
    (tmp_path / "lesions" / "images").mkdir(parents=True)
    rows, masks, names = ["filename,class_index,dx,split,lesion_id"], [], []
    for k in range(12):
        part, dx = ("test" if k % 6 > 3 else "train"), ("mel", "nv")[k % 2]
        values = np.random.default_rng(k).integers(20, 60, (150, 200, 3), np.uint8)
        bright = np.zeros((150, 200), bool)
        bright[: 50 + 5 * k] = True
        values[bright] += 100
        values[bright, k % 3] += 90
        Image.fromarray(values).save(tmp_path / "lesions" / "images" / f"p{k}.png")
        rows.append(f"images/p{k}.png,{k % 2},{dx},{part},lesion {k}")
        names.append(f"p{k}")
        masks.append(np.packbits(bright, axis=-1))
    (tmp_path / "lesions" / "labels.csv").write_text("\n".join(rows))
    # In another order than the table: they are found by name.
    np.savez(tmp_path / "lesions" / "lesion_masks.npz", image_id=names[::-1], masks_packed=np.stack(masks[::-1]))
    return tmp_path


def test_held_out_lesions_come_with_their_own_names_and_masks(folder):
    found = lesions.held_out(Run("a", "small", folder, folder / "out"))
    assert [each.name for each in found] == ["p4", "p5", "p10", "p11"]
    for each in found:
        assert each.picture.shape == (1, 3, 120, 160)
        assert each.diagnosis == ("mel", "nv")[int(each.name[1:]) % 2]
        assert each.mask.shape == (120, 160)
        assert each.picture[..., each.mask].min() > each.picture[..., ~each.mask].max() - 0.3
        assert each.area == pytest.approx((50 + 5 * int(each.name[1:])) / 150, abs=0.01)


@pytest.mark.long
def test_a_missing_classifier_is_trained_as_the_command_does_and_kept(folder, capfd, monkeypatch):
    few = "--turned --epochs 2 --batch 4 --backbone thin_resnet10 --device cpu"
    monkeypatch.setitem(classifiers.OPTIONS, "lesions", few)
    study = Run("a", "small", folder, folder / "out")
    model = classifiers.trained(study, "lesions")
    assert "is not there: trained now" in capfd.readouterr().err
    assert [path.name for path in (folder / "out" / "models").iterdir()] == ["lesions.pt"]
    monkeypatch.setitem(classifiers.OPTIONS, "lesions", "--turned --epochs 50")
    again = classifiers.trained(study, "lesions")
    assert capfd.readouterr().err == ""
    picture = torch.rand(1, 3, 120, 160, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.classifier(picture), again.classifier(picture))
    assert "trained on 6 pictures" in classifiers.described(study, "lesions")


# ---------------------------------------------------------------------- damages


def test_the_rectangle_has_half_of_the_area():
    x = torch.ones(1, 3, 120, 160)
    masks = [rectangle(x, seed) for seed in range(20)]
    assert all(float(mask.float().mean()) == pytest.approx(0.5, abs=0.01) for mask in masks)
    assert len({mask.numpy().tobytes() for mask in masks}) == 20
    assert torch.equal(cropped(x, masks[0])[0, 0].bool(), masks[0])


def test_a_blur_keeps_size_and_flat_shades():
    assert torch.allclose(blurred(torch.full((1, 3, 40, 50), 0.3)), torch.full((1, 3, 40, 50), 0.3), atol=1e-5)
    edge = torch.zeros(1, 1, 40, 50)
    edge[..., 25:] = 1
    assert blurred(edge)[0, 0, 20, 28] == pytest.approx(0.5 * (1 + math.erf(3.5 / 3 / 2**0.5)), abs=0.02)


def test_psnr_counts_the_mask_alone():
    x, where = torch.zeros(1, 3, 16, 16), torch.zeros(16, 16, dtype=torch.bool)
    where[:4] = True
    y = x.clone()
    y[..., 10, 10] = 1
    assert masked_psnr(x, y, where) == EQUAL
    assert masked_psnr(x + 0.1, x, where) == pytest.approx(20, abs=1e-4)


# ---------------------------------------------------------------------- intervals


def test_an_interval_covers_as_often_as_it_says():
    random = np.random.default_rng(1)
    found = [interval_of(random.normal(0.3, 1, 40)) for _ in range(60)]
    assert 0.85 <= np.mean([each.low <= 0.3 <= each.high for each in found]) <= 1
    assert all(each.low < each.mean < each.high for each in found)


def test_what_cannot_be_known_is_not_said():
    assert interval_of([]).verdict() == interval_of([1.0]).verdict() == "not measured"
    assert str(interval_of([math.nan])) == "-"
    assert interval_of([0.5, 0.5, 0.5]) == Interval(0.5, 0.5, 0.5, 3)
    assert interval_of([1.0, math.nan, 3.0]).count == 2
    assert paired([2.0, 3.0], [1.0, 2.0]).mean == 1
    assert [Interval(0.2, *ends, 40).verdict(0.1) for ends in ((0.15, 0.3), (0.0, 0.3), (0.0, 0.1))] == [
        "yes",
        "not shown",
        "no",
    ]


def test_auroc_and_rank_correlation_are_the_usual_ones():
    random = np.random.default_rng(2)
    far, near = random.normal(25, 9, 50).round().tolist(), random.normal(20, 9, 40).round().tolist()  # with ties
    assert wins(far, near).mean() == pytest.approx(mannwhitneyu(far, near).statistic / (50 * 40), abs=1e-6)
    gain = auroc_gain(wins(far, near), wins(near[:50] + far[:10], near), same_pictures=False)
    assert gain.low < gain.mean < gain.high
    found = rank_correlation(far[:40], near)
    assert found.mean == pytest.approx(spearmanr(far[:40], near)[0])
    assert found.low < found.mean < found.high
    assert rank_correlation(near, [2 * value for value in near]).low == pytest.approx(1)


# ---------------------------------------------------------------------- tables


def test_every_class_is_asked_for_another_and_other_pictures_have_the_shape():
    assert set(counterfactuals.TARGETS) == set(classifiers.LESION_CLASSES)
    assert all(
        target in classifiers.LESION_CLASSES and target != own for own, target in counterfactuals.TARGETS.items()
    )
    assert {x.shape for x in other_pictures(Run("a", "smoke")).values()} == {(1, 3, 32, 32)}


def test_differences_are_of_the_lesions_that_both_have():
    methods = {"m": [{"picture": "a", "l1": 3.0}, {"picture": "b", "l1": 9.0}], "plain": [{"picture": "a", "l1": 1.0}]}
    found = difference(methods["m"], methods["plain"], "l1")
    assert (found.mean, found.count) == (2.0, 1)
    row = {"inside_share": 2.0, "inside_share_of_others": 1.6, "transfer_before": 0.1, "transfer_after": 0.4}
    assert counterfactuals.derived(row) == pytest.approx({"own_place": 1.25, "transfer_gain": 0.3})
    assert "asymmetry" in Signs.__dataclass_fields__
