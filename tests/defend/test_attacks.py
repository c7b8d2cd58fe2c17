"""Attacks: within eps, within 0 to 1, and each of them works."""

from __future__ import annotations

import builtins
import sys

import numpy as np
import pytest
import torch
from defend.small import Broken, Detached, Small, accuracy, pictures, trained
from torch import nn

from preimage.defend.attacks import ATTACKS, attack, bounded, kurakin_steps
from preimage.errors import InputError, MissingExtra

QUICK = {"autoattack": 2}  # steps, of those that would take long


def attacked(name: str, count: int = 24, eps: float = 12.0, seed: int = 0, **options) -> tuple[torch.Tensor, ...]:
    images, labels = pictures(count, seed=1)
    found = attack(name, trained(), images, labels, eps, steps=QUICK.get(name), seed=seed, **options)
    return found, images, labels


def test_the_classifier_knows_its_classes():
    assert accuracy(trained(), *pictures(60, seed=1)) >= 0.9


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_stays_within_its_bounds_and_works(name):
    found, images, labels = attacked(name)
    assert found.dtype == images.dtype
    assert float((found.double() - images.double()).abs().max()) <= 12 / 255
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    before, after = accuracy(trained(), images, labels), accuracy(trained(), found, labels)
    assert after <= before - 0.3


def test_llci_goes_to_the_least_likely_class():
    found, images, _ = attacked("llci", eps=30)
    with torch.no_grad():
        least = trained()(images).argmin(1)
        nearer = trained().probabilities(found)[range(24), least] - trained().probabilities(images)[range(24), least]
    assert bool((nearer > 0).all())


def test_fgsm_is_its_formula():
    found, images, labels = attacked("fgsm", eps=2)
    asked = images.clone().requires_grad_()
    nn.functional.cross_entropy(trained()(asked), labels, reduction="sum").backward()
    assert asked.grad is not None
    expected = (images + 2 / 255 * asked.grad.sign()).clamp(0, 1)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_a_seed_repeats_a_random_start_and_leaves_other_random_numbers_alone():
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    first, again, other = (attacked("pgd", count=6, seed=seed)[0] for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (np.random.get_state()[1] == before[0]).all()
    assert torch.equal(torch.get_rng_state(), before[1])


def test_batches_agree_with_one_pass():
    whole, parts = (attacked("bi", count=7, batch=batch)[0] for batch in (64, 3))
    torch.testing.assert_close(whole, parts)


def test_a_model_is_left_as_it_was():
    model = Small().train()
    model.head.weight.grad = torch.ones_like(model.head.weight)
    model.first.weight.requires_grad_(False)
    images, labels = pictures(4)
    attack("fgsm", model, images, labels, 4)
    assert model.training
    assert model.head.training
    assert bool((model.head.weight.grad == 1).all())
    assert model.second.weight.grad is None
    assert [p.requires_grad for p in model.first.parameters()] == [False, True]


def test_two_classes_and_pictures_that_are_no_square():
    class Two(Small):
        def forward(self, x):
            return super().forward(x)[:, :2]

    images = torch.rand(3, 3, 16, 40, generator=torch.Generator().manual_seed(0))
    found = attack("autoattack", Two(), images, torch.tensor([0, 1, 0]), 8, steps=1)
    assert float((found - images).abs().max()) <= 8 / 255


def test_kurakins_rule():
    assert [kurakin_steps(eps) for eps in (0.5, 1, 2, 5, 10, 16, 25, 100)] == [1, 2, 3, 7, 13, 20, 29, 104]


def test_eps_of_nothing_changes_nothing():
    images, labels = pictures(3)
    for name in ATTACKS:
        assert torch.equal(attack(name, trained(), images, labels, 0), images)


def test_bounds_hold_exactly():
    generator = torch.Generator().manual_seed(0)
    images, moves = torch.rand(2, 3, 50, 50, generator=generator), torch.randn(2, 3, 50, 50, generator=generator)
    for eps in (0.3, 1, 7, 255):
        found = bounded(images + moves, images, eps)
        assert float((found.double() - images.double()).abs().max()) <= eps / 255
        assert 0 <= float(found.min()) <= float(found.max()) <= 1
    near = images + moves.sign() * 0.5 / 255
    assert torch.equal(bounded(near.clamp(0, 1), images, 1), near.clamp(0, 1))


IMAGES, LABELS = pictures(3)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": "fgms"}, "invalid-value"),
        ({"eps": -1}, "invalid-value"),
        ({"eps": float("nan")}, "invalid-value"),
        ({"eps": 256}, "invalid-value"),
        ({"eps": "8"}, "invalid-value"),
        ({"steps": 0}, "invalid-value"),
        ({"seed": -1}, "invalid-value"),
        ({"batch": 0}, "invalid-value"),
        ({"images": IMAGES[0]}, "shape"),
        ({"images": IMAGES[:, :2]}, "shape"),
        ({"images": (255 * IMAGES).byte()}, "type"),
        ({"images": 2 * IMAGES}, "range"),
        ({"images": IMAGES * torch.nan}, "range"),
        ({"images": IMAGES.numpy()}, "type"),
        ({"labels": LABELS[:2]}, "shape"),
        ({"labels": LABELS.float()}, "shape"),
        ({"labels": LABELS + 1}, "class"),
        ({"labels": LABELS - 1}, "class"),
        ({"model": Detached()}, "classifier"),
        ({"model": Broken()}, "classifier"),
        ({"model": "lesions.pt"}, "type"),
        ({"model": nn.Flatten(0)}, "classifier"),
    ],
)
def test_bad_input_is_one_line(changes, code):
    given = {"name": "fgsm", "model": trained(), "images": IMAGES, "labels": LABELS, "eps": 4} | changes
    with pytest.raises(InputError) as raised:
        attack(**given)
    assert (raised.value.code, "\n" in str(raised.value)) == (code, False)


@pytest.mark.parametrize("imported_before", [False, True])
def test_without_the_toolbox_the_extra_is_named(monkeypatch, imported_before):
    module = "art.estimators.classification"
    if imported_before:
        monkeypatch.setitem(sys.modules, module, sys)
    else:
        monkeypatch.delitem(sys.modules, module, raising=False)
    find = builtins.__import__

    def missing(name, *rest, **options):
        if name.startswith("art"):
            raise ImportError(name)
        return find(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtra, match=r"pip install 'preimage\[defend\]'"):
        attack("fgsm", trained(), *pictures(2), 4)
