"""The numbers by which explanations are judged: known answers on small pictures."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from classifiers.small import tiny
from torch import nn

from preimage.classifiers import Classifier, LossEstimator
from preimage.errors import InputError
from preimage.explain.quality import estimated_loss, feature_distance, judge, randomized, sanity, stability, transfer
from preimage.explain.similarity import (
    heat_map,
    high_frequency_share,
    inside_share,
    inside_share_of_others,
    l1,
    l2,
    ms_ssim,
)


def picture(side: int = 32, seed: int = 0, count: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def quarter(side: int = 32) -> torch.Tensor:
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[: side // 2, : side // 2] = True
    return mask


class Redness(nn.Module):
    """Two logits: 0, and 4 (mean of red - 0.5)."""

    def __init__(self, sign: float = 1.0) -> None:
        super().__init__()
        self.sign = sign

    def forward(self, x):
        red = 4 * self.sign * (x[:, 0].mean((1, 2)) - 0.5)
        return torch.stack([torch.zeros_like(red), red], 1)


def redness(sign: float = 1.0) -> Classifier:
    return Classifier(Redness(sign), ["pale", "red"], mean=(0.0,) * 3, std=(1.0,) * 3)


def normalizing() -> Classifier:
    """A deeper one with batch norms whose channels differ much, as trained ones do."""
    layers: list[nn.Module] = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for i in range(6):
            convolution, norm = nn.Conv2d(3 if i == 0 else 16, 16, 3, padding=1), nn.BatchNorm2d(16)
            convolution.weight.data *= torch.randn(16, 1, 1, 1).exp()
            layers += [convolution, norm, nn.ReLU()]
        model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3))
    with torch.no_grad():
        model.train()
        for _ in range(60):
            model(picture(count=8))
    return Classifier(model, 3, mean=(0.0,) * 3, std=(1.0,) * 3)


def test_distances_by_hand():
    a, b = torch.zeros(2, 3, 16, 16), torch.zeros(2, 3, 16, 16)
    b[1, :, :8] = 0.5
    assert l1(a, b).tolist() == pytest.approx([0, 0.25])
    assert l2(a, b).tolist() == pytest.approx([0, math.sqrt(0.125)])


@pytest.mark.parametrize("side", [16, 32, 64, 150, 160, 161, 176])
def test_ms_ssim_works_at_every_size(side):
    a, noise = picture(side, count=2), picture(side, seed=1, count=2) - 0.5
    assert ms_ssim(a, a).tolist() == pytest.approx([1, 1], abs=1e-4)
    slightly, strongly = ms_ssim(a + 0.1 * noise, a), ms_ssim(a + noise, a)
    assert (strongly < slightly).all()
    assert (slightly < 1).all()


def test_ms_ssim_of_a_tiny_picture_is_an_error():
    with pytest.raises(InputError, match="11 pixels a side, got 10"):
        ms_ssim(picture(10), picture(10))


@pytest.mark.parametrize("measure", [l1, l2, ms_ssim, sanity])
def test_pictures_of_different_shapes_are_an_error(measure):
    with pytest.raises(InputError, match="of one shape"):
        measure(picture(32), picture(48))


def test_inside_share_is_the_inverse_area_of_a_mask_that_holds_the_change():
    change = quarter().expand(2, 3, 32, 32) * picture(count=2)
    assert inside_share(change, quarter()).tolist() == pytest.approx([4, 4])
    assert inside_share(change, ~quarter()).tolist() == [0, 0]


def test_inside_share_of_a_uniform_change_is_chance_of_either_sign():
    assert inside_share(torch.full((1, 3, 32, 32), -0.2), quarter()).tolist() == pytest.approx([1])


def test_inside_share_takes_a_mask_for_each_picture():
    change = quarter().expand(2, 1, 32, 32).float()
    masks = torch.stack([quarter(), ~quarter()])[:, None]
    assert inside_share(change, masks).tolist() == pytest.approx([4, 0])


def test_inside_share_of_no_change_is_not_a_number():
    assert inside_share(torch.zeros(1, 3, 32, 32), quarter()).isnan().all()


def test_a_central_change_scores_under_the_masks_of_others_too():
    change = quarter().expand(1, 3, 32, 32).float()
    assert inside_share_of_others(change, [quarter(), ~quarter()]).tolist() == pytest.approx([2])
    assert inside_share_of_others(change, torch.stack([quarter()] * 3)).tolist() == pytest.approx([4])


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (torch.zeros(32, 32, dtype=torch.bool), "an empty or a full one"),
        (torch.ones(32, 32, dtype=torch.bool), "an empty or a full one"),
        (torch.ones(16, 32, dtype=torch.bool), "the mask is .16, 32."),
        (torch.ones(32, 32), "must be bool"),
    ],
)
def test_errors_of_masks(mask, words):
    with pytest.raises(InputError, match=words) as error:
        inside_share(picture(), mask)
    assert "\n" not in str(error.value)


def test_no_masks_of_others_are_an_error():
    with pytest.raises(InputError, match="got none"):
        inside_share_of_others(picture(), [])


def waves(period: int) -> torch.Tensor:
    return torch.cos(2 * math.pi * torch.arange(32) / period).expand(1, 3, 32, 32)


def test_a_checkerboard_is_all_high_frequency_and_slow_waves_are_none():
    checkerboard = (torch.arange(32)[:, None] + torch.arange(32)) % 2
    assert high_frequency_share(checkerboard.expand(1, 3, 32, 32).float()).tolist() == pytest.approx([1])
    assert high_frequency_share(waves(16)).tolist() == pytest.approx([0], abs=1e-6)
    assert high_frequency_share(waves(16) + waves(2) / math.sqrt(2)).tolist() == pytest.approx([0.5])
    assert high_frequency_share(waves(16), cutoff=0.03).tolist() == pytest.approx([1])


def test_high_frequency_share_of_noise_is_the_area_outside_the_circle():
    noise = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert float(high_frequency_share(noise)) == pytest.approx(1 - math.pi / 16, abs=0.02)


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_a_uniform_change_has_no_high_frequencies(value):
    assert high_frequency_share(torch.full((1, 3, 32, 32), value)).tolist() == [0]


def test_a_cutoff_beyond_nyquist_is_an_error():
    with pytest.raises(InputError, match=r"got 0\.7"):
        high_frequency_share(picture(), cutoff=0.7)


def test_heat_map_has_no_sign():
    change = picture() - 0.5
    assert torch.equal(heat_map(change), heat_map(-change))
    assert heat_map(change).shape == (1, 1, 32, 32)


def test_feature_distance_is_relative_and_of_the_last_layer_with_places():
    second, (a, b) = tiny(), (picture(count=2), picture(seed=1, count=2))
    by_hand = [second.features(x, "block2").flatten(1) for x in (a, b)]
    wanted = (by_hand[0] - by_hand[1]).square().sum(1) / by_hand[1].square().sum(1)
    assert torch.allclose(feature_distance(second, a, b), wanted)
    assert feature_distance(second, a, a).tolist() == [0, 0]
    assert not torch.allclose(feature_distance(second, a, b, "block1"), wanted)


def test_feature_distance_of_a_classifier_without_places_is_of_the_last_but_one():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 8), nn.ReLU(), nn.Linear(8, 2))
    second, (a, b) = Classifier(model, 2), (picture(16), picture(16, seed=1))
    assert torch.equal(feature_distance(second, a, b), feature_distance(second, a, b, "2"))


def test_transfer_by_hand():
    before = torch.full((2, 3, 16, 16), 0.25)
    after = before.clone()
    after[0, 0] = 0.75
    found = transfer(redness(), before, after, "red")
    low, high = 1 / (1 + math.e), math.e / (1 + math.e)
    assert found.before.tolist() == pytest.approx([low, low])
    assert found.after.tolist() == pytest.approx([high, low])
    assert found.reached.tolist() == [True, False]


def test_transfer_to_an_unknown_class_is_an_error():
    with pytest.raises(InputError, match="no class 'blue'"):
        transfer(redness(), picture(), picture(), "blue")


def settled(classifier: Classifier) -> LossEstimator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        estimator = LossEstimator({"block1": 8, "block2": 12}, units=8)
    pictures = picture(count=16)
    estimator.settle(estimator(classifier.logits_and_features(pictures, estimator.layers)[1]))
    return estimator


def test_estimated_losses_are_counted_from_the_median():
    classifier = tiny()
    losses = estimated_loss(classifier, settled(classifier), picture(count=16))
    assert losses.shape == (16,)
    assert float(losses.median()) == pytest.approx(0, abs=0.3)
    assert float(losses.std()) == pytest.approx(1, abs=1e-3)


def test_stability_of_equal_opposite_and_unrelated_changes():
    change = picture() - 0.5
    same, opposite = stability(torch.cat([change] * 3)), stability(torch.cat([change, -change]))
    assert (same.change, same.heat_map) == pytest.approx((1, 1))
    assert (opposite.change, opposite.heat_map) == pytest.approx((-1, 1))
    unrelated = stability(picture(count=4) - 0.5)
    assert unrelated.change == pytest.approx(0, abs=0.05)
    assert unrelated.heat_map == pytest.approx(0, abs=0.05)


def test_stability_of_one_seed_is_an_error():
    with pytest.raises(InputError, match="two seeds or more"):
        stability(picture())


@pytest.mark.parametrize("make_classifier", [tiny, normalizing])
def test_randomized_changes_the_logits_and_keeps_their_scale(make_classifier):
    classifier, pictures = make_classifier(), picture(count=8)
    state = copy.deepcopy(classifier.state_dict())
    logits = classifier(pictures)
    other = randomized(classifier, pictures, seed=1)
    theirs = other(pictures)
    assert all(torch.equal(value, state[name]) for name, value in classifier.state_dict().items())
    assert not torch.allclose(theirs, logits, atol=0.01)
    assert 0.1 < float(theirs.square().mean() / logits.square().mean()) < 10
    assert not any(module.training for module in other.model.modules())
    for (name, old), new in zip(classifier.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(old.flatten().sort().values, new.flatten().sort().values), name
    assert torch.equal(other.mean, classifier.mean)


def test_randomized_follows_its_seed():
    classifier, x = tiny(), picture()
    assert torch.equal(randomized(classifier, x, seed=3)(x), randomized(classifier, x, seed=3)(x))
    assert not torch.equal(randomized(classifier, x, seed=3)(x), randomized(classifier, x, seed=4)(x))


def smooth(seed: int) -> torch.Tensor:
    return nn.functional.interpolate(picture(6, seed) - 0.5, size=32, mode="bicubic")


def test_sanity_is_high_for_equal_maps_and_low_for_unrelated_ones():
    change = smooth(0)
    same = sanity(change, -2 * change)
    assert same.rank_correlation.tolist() == pytest.approx([1])
    assert same.similarity.tolist() == pytest.approx([1], abs=1e-4)
    other = sanity(change, smooth(1))
    assert float(other.rank_correlation) < 0.4
    assert float(other.similarity) < 0.5


def test_ranks_of_many_ties_do_not_overflow():
    change = torch.zeros(1, 1, 300, 300)
    change[..., :20, :20] = 1
    assert sanity(change, change).rank_correlation.tolist() == pytest.approx([1])


def test_sanity_of_no_change_is_not_a_number():
    assert sanity(smooth(0), torch.zeros(1, 3, 32, 32)).rank_correlation.isnan().all()


def test_judge_tells_what_it_is_given():
    before = torch.full((1, 3, 32, 32), 0.4)
    after = before.clone()
    after[:, 0] = 0.9
    found = judge(before, after, classifier=redness(), target="red")[0]
    assert found["valid"] is True
    assert found["l1"] == pytest.approx(0.5 / 3)
    assert found["confidence_after"] == pytest.approx(1 / (1 + math.exp(-1.6)))
    assert not {"inside_share", "feature_distance", "transfer_reached", "loss_after", "asymmetry_before"} & found.keys()
    assert {"l2", "ms_ssim", "high_frequency_share", "confidence_before"} <= found.keys()


def test_judge_tells_all():
    classifier, before = tiny(), picture(count=2)
    after = before.clone()
    after[:, :, :16, :16] = 0.1
    found = judge(
        before,
        after,
        classifier=classifier,
        target="star",
        estimator=settled(classifier),
        mask=quarter(),
        other_masks=[~quarter()],
        second=tiny(),
        signs=True,
    )
    assert len(found) == 2
    table = found[1]
    assert table["inside_share"] == pytest.approx(4)
    assert table["inside_share_of_others"] == 0
    assert table["transfer_after"] == pytest.approx(table["confidence_after"])
    assert table["loss_before"] != table["loss_after"]
    assert {"asymmetry_before", "border_after", "colors_after", "diameter_before"} <= set(table)


def test_the_change_is_counted_from_the_reconstruction():
    before, mask = picture(), quarter()
    reconstruction = before.clone()
    reconstruction[..., 16:, :] = 0.5
    after = torch.where(mask, torch.tensor(0.9), reconstruction)
    settings = {"classifier": tiny(), "target": 0, "mask": mask}
    (direct,) = judge(before, after, **settings)
    (relative,) = judge(before, after, reconstruction=reconstruction, **settings)
    assert relative["inside_share"] == pytest.approx(4)
    assert direct["inside_share"] < 3.5
    assert relative["l1"] == direct["l1"]


def test_judge_of_pictures_that_differ_in_shape_is_an_error():
    with pytest.raises(InputError, match="of one shape"):
        judge(picture(32), picture(48), classifier=tiny(), target=0)
