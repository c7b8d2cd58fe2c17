"""Adversarial training: its step and its attack as published, chosen by its robustness, resumed as if it had never stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from defend.small import CLASSES, pictures

from preimage.classifiers import Classifier, load_model
from preimage.classifiers.labelled import TEST, TRAIN, Labelled
from preimage.classifiers.model_file import write_model
from preimage.classifiers.train import Training
from preimage.defend.adversarial import SETTINGS, AdversarialTraining, n_fgsm, perturbed, robust_accuracy
from preimage.defend.attacks import attack
from preimage.errors import InputError

BRIEF = replace(SETTINGS, backbone="timm:test_resnet", epochs=2, batch=16)


def enlarged(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = pictures(count, seed)
    return images.repeat_interleave(2, 2).repeat_interleave(2, 3), labels


@pytest.fixture(scope="module")
def data() -> Labelled:
    """60 pictures of 32 x 32 of three kinds of stripes, 15 of them to test."""
    images, labels = enlarged(60)
    parts = tuple(TEST if i % 4 == 0 else TRAIN for i in range(60))
    eight_bit = (images * 255).round().byte()
    return Labelled(eight_bit, labels, tuple(map(str, range(60))), parts, CLASSES, "stripes")


@pytest.fixture(scope="module")
def run(data) -> AdversarialTraining:
    training = AdversarialTraining(data, BRIEF, eps=2, device="cpu")
    training.run()
    return training


class Linear(torch.nn.Module):
    """Logits (-m, m) of the mean m of a picture, less a half."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor([-1.0, 1.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.slope * (x.mean((1, 2, 3)) - 0.5)[:, None]


def linear() -> Classifier:
    return Classifier(Linear(), 2, (0.0,) * 3, (1.0,) * 3)


def test_the_attack_ends_at_the_bound_where_the_loss_rises_all_the_way():
    """Of a linear classifier all pictures within eps of the border fall, and no other."""
    images = torch.full((40, 3, 16, 16), 0.5) + torch.linspace(0.001, 0.05, 40).reshape(-1, 1, 1, 1)
    labels = torch.ones(40, dtype=torch.long)
    for eps in (2, 8):
        standing = float((images[:, 0, 0, 0] - 0.5 > eps / 255).float().mean())
        assert robust_accuracy(linear(), images, labels, eps) == pytest.approx(standing, abs=0.03)
    assert robust_accuracy(linear(), images, labels, 0) == 1


def test_the_attack_is_as_strong_as_the_toolbox_s(run):
    images, labels = enlarged(60, seed=5)
    classifier = run.result().classifier
    attacked = attack("pgd", classifier, images, labels, 4, steps=10)
    theirs = float((classifier(attacked).argmax(1) == labels).float().mean())
    assert robust_accuracy(classifier, images, labels, 4) == pytest.approx(theirs, abs=0.1)


def test_the_attack_leaves_the_classifier_as_it_was():
    classifier = linear()
    classifier.model.requires_grad_(True)
    classifier.model.train()
    robust_accuracy(classifier, torch.rand(2, 3, 16, 16), torch.tensor([0, 1]), 8)
    assert classifier.model.training
    assert all(p.requires_grad and p.grad is None for p in classifier.model.parameters())


def test_the_step_is_that_of_n_fgsm():
    """Noise of 2 eps and one step of eps, not clipped to eps: beyond eps, within 3 eps, and within 0 to 1."""
    x, labels = torch.full((4, 3, 16, 16), 0.5), torch.tensor([0, 1, 1, 0])
    moved = (n_fgsm(linear(), x, [(1.0, labels)], 8) - x).abs() * 255
    assert 16 < float(moved.max()) <= 24 + 1e-3
    assert float(n_fgsm(linear(), torch.zeros_like(x), [(1.0, labels)], 8).min()) == 0
    noise = perturbed(x, 16, torch.Generator().manual_seed(0)) - x
    assert float(noise.abs().max()) <= 16 / 255 + 1e-6
    assert float(noise.std()) == pytest.approx(2 * 16 / 255 / 12**0.5, rel=0.05)


def test_the_most_robust_epoch_is_kept_and_the_file_has_its_accuracy(run, tmp_path):
    robust = [row["robust"] for row in run.history]
    assert run.best["epoch"] == 1 + max(range(len(robust)), key=lambda k: (robust[k], k))
    assert run.best["scores"]["criterion"] == max(robust)
    path = write_model(Path(tmp_path / "robust.pt"), run.result())
    found = load_model(path)
    assert found.about["adversarial"]["attack"] == "PGD-10"
    assert found.about["adversarial"]["eps"] == 2
    test = run.data.part(TEST)
    again = robust_accuracy(found.classifier, test.pictures.float() / 255, test.labels, 2)
    assert found.about["adversarial"]["test"] == pytest.approx(again, abs=0.07)
    assert found.estimator is not None


def test_resumed_it_ends_as_if_it_had_never_stopped(data, run):
    first, second = (AdversarialTraining(data, BRIEF, eps=2, device="cpu") for _ in range(2))
    next(iter(first))
    second.load_state_dict(first.state_dict())
    again, whole = second.run(), run.result()
    for name, value in whole.classifier.state_dict().items():
        assert torch.equal(again.classifier.state_dict()[name], value), name
    assert second.history[-1]["robust"] == run.history[-1]["robust"]


def test_the_fingerprint_has_eps(data):
    fingerprints = [
        training.fingerprint
        for training in (
            AdversarialTraining(data, BRIEF, eps=2, device="cpu"),
            AdversarialTraining(data, BRIEF, eps=4, device="cpu"),
            Training(data, BRIEF, device="cpu"),
        )
    ]
    assert len({str(each) for each in fingerprints}) == 3


@pytest.mark.parametrize("eps", [0, -1, 300])
def test_eps_out_of_range_is_one_line(data, eps):
    with pytest.raises(InputError) as caught:
        AdversarialTraining(data, BRIEF, eps=eps, device="cpu")
    assert caught.value.code in ("invalid-value", "range")
    assert "\n" not in str(caught.value)
