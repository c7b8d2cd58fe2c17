"""A reconstruction that the classifier calls otherwise than the picture: brought back, and said."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from explain.small import THIN, picture
from torch import nn
from torch.nn import functional

from preimage.classifiers import Classifier
from preimage.explain.class_term import keeps_class, loss_of_change
from preimage.explain.counterfactual import counterfactual

NOISE, LIMIT, STEEP = 0.2, 0.25, 40.0


class Roughness(nn.Module):
    """Rough or smooth, by the mean difference of neighbors: what the features of `pool` do not keep."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        light = 0 * self.pool(x).mean((1, 2, 3))
        rough = x.diff(dim=-1).abs().mean((1, 2, 3)) + x.diff(dim=-2).abs().mean((1, 2, 3)) + light
        return STEEP * torch.stack([rough - LIMIT, LIMIT - rough], 1)


def rough_picture() -> torch.Tensor:
    noise = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0))
    return (0.2 + 0.6 * picture() + NOISE * noise).clamp(0, 1)


def found(*, output: str = "logits", **options):
    classifier = Classifier(Roughness(), ["rough", "smooth"], output=output)
    options = {"recipe": replace(THIN, steps=90), "copies": 0, "uncertainty": "none"} | options
    return counterfactual(rough_picture(), classifier=classifier, device="cpu", layer="pool", **options).run()


@pytest.mark.parametrize("output", ["logits", "labels"])
def test_it_is_brought_back(output):
    options = {"target": 1} if output == "labels" else {}
    kept = found(output=output, **options)
    assert int(kept.probabilities["reconstruction"].argmax()) == 0
    assert kept.numbers["reconstruction_keeps_class"]
    assert kept.numbers["own_class_weight_factor"] >= 1
    assert not any("reconstruction" in limit for limit in kept.limits)


def test_without_a_class_weight_it_is_lost_and_that_is_said_first():
    lost = found(class_weight=0.0)
    assert not lost.numbers["reconstruction_keeps_class"]
    assert lost.numbers["reconstruction"] == "smooth"
    assert lost.limits[0].startswith("The classifier calls the reconstruction smooth")
    assert "the picture rough" in lost.limits[0]


@pytest.mark.parametrize("independent", [False, True])
def test_the_term_is_zero_at_the_answer_on_the_picture_and_above_elsewhere(independent):
    classifier = Classifier(Roughness(), ["rough", "smooth"], output="labels" if independent else "logits")
    logits = torch.tensor([[0.3, -0.8]])
    given = (logits.sigmoid() if independent else logits.softmax(1))[0]
    loss = loss_of_change(classifier, given)
    assert float(loss(logits)) == pytest.approx(0, abs=1e-6)
    assert float(loss(logits + torch.tensor([[0.5, 0.0]]))) > 1e-3


def test_the_class_of_several_and_all_labels_of_independent_ones_are_to_be_kept():
    given, found = torch.tensor([0.6, 0.4]), torch.tensor([0.9, 0.8])
    exclusive, labels = (Classifier(Roughness(), 2, output=output) for output in ("logits", "labels"))
    assert keeps_class(exclusive, given, found)
    assert not keeps_class(labels, given, found)
    assert keeps_class(labels, given, functional.pad(found[:1], (0, 1), value=0.3))
