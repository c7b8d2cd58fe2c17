"""A counterfactual of drawn pictures whose class has one known cause changes that, and the right way."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import pytest
import torch
from torch import nn
from torch.nn import functional

from examples.shapes import CLASSES, draw_shapes
from preimage.classifiers import Classifier
from preimage.explain.counterfactual import counterfactual
from preimage.explain.recipes import FAST_RECOVERY as FAST
from preimage.explain.similarity import inside_share
from preimage.networks import SkipNet

pytestmark = pytest.mark.long  # three counterfactuals of a hundred steps each
SIDE = 32


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    """A small classifier, trained on the spot."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for before, after, stride in ((3, 16, 1), (16, 16, 2), (16, 32, 2)):
            layers += [nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.ReLU()]
        model = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(32, 2))
        shapes = draw_shapes(1000, SIDE)
        x = (shapes.pictures.float() / 255 - 0.5) / 0.25
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
        for _ in range(5):
            for batch in torch.randperm(len(x)).split(50):
                loss = functional.cross_entropy(model(x[batch]), shapes.labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return Classifier(model, CLASSES, (0.5,) * 3, (0.25,) * 3)


def test_the_classifier_knows_the_cause(classifier):
    held_out = draw_shapes(200, SIDE, seed=1)
    told = classifier(held_out.pictures.float() / 255).argmax(1)
    assert float((told == held_out.labels).float().mean()) > 0.97


def test_the_change_falls_on_the_disc_and_turns_its_color(classifier):
    shapes = draw_shapes(8, SIDE, seed=3)
    recipe = replace(FAST, network=SkipNet.Config((32,) * 3, (32,) * 3, (4,) * 3, padding="zeros"), steps=100)
    on_disc, on_bars = [], []
    for number in range(3):
        given = shapes.pictures[number].float() / 255
        found = counterfactual(given, classifier=classifier, recipe=recipe, device="cpu").run()
        assert found.valid
        disc = shapes.discs[number]
        on_disc.append(float(inside_share(found.difference, disc)))
        on_bars.append(float(inside_share(found.difference, shapes.bars[number])))
        change = found.difference[0][:, disc].mean(1)  # red, green, blue
        bluer = 1 if found.classes[found.target] == "blue disc" else -1
        assert bluer * float(change[2] - change[0]) > 0.02
    assert fmean(on_disc) > 2  # twice what a change anywhere would have there
    assert fmean(on_disc) > 2 * fmean(on_bars)
