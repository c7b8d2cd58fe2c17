"""Where the channels of each layer's features are: first, last, in tokens; also where shapes alone do not tell."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from preimage.classifiers import Classifier, load_classifier
from preimage.classifiers.layout import layout_of, spatial_outputs
from preimage.classifiers.loss_estimator import untrained_estimator

SIZES = ((32, 32), (32, 48), (40, 24))


class Permute(nn.Module):
    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x):
        return x.permute(*self.order)


class Network(nn.Module):
    """A convolution with channels first, the same with channels last, and as tokens with one for the class."""

    def __init__(self, channels: int = 12, stride: int = 2) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.stem = nn.Conv2d(3, channels, 3, stride, 1)
            self.last = nn.Sequential(Permute(0, 2, 3, 1), nn.Linear(channels, channels))
            self.tokens = nn.Linear(channels, channels)
            self.windows = nn.Identity()
            self.bias = nn.Parameter(torch.rand(1, channels, 8, 8))
            self.position = nn.Identity()
            self.head = nn.Linear(channels, 3)

    def forward(self, x):
        first = self.stem(x)
        last = self.last(first)
        self.position(self.bias.expand(len(x), -1, -1, -1))
        self.windows(last.reshape(2 * len(x), -1, last.shape[-1]))
        row = last.flatten(1, 2)
        tokens = self.tokens(torch.cat([row.mean(1, keepdim=True), row], 1))
        return self.head(tokens[:, 0])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [4, 12, 16, 17, 24, 40])  # as many as rows, or columns, or nearly so
def test_channels_are_found_whatever_the_shape(channels, size):
    classifier, x = Classifier(Network(channels), 3), torch.rand(1, 3, *size)
    found = {each.name: each.layout for each in spatial_outputs(classifier, x)}
    grid = (size[0] // 2, size[1] // 2)
    assert (found["stem"].axes, found["stem"].size, found["stem"].channels) == ("channels-first", grid, channels)
    assert (found["last"].axes, found["last"].size, found["last"].channels) == ("channels-last", grid, channels)
    assert (found["tokens"].axes, found["tokens"].size, found["tokens"].channels) == ("tokens", grid, channels)
    assert "windows" not in found  # not one for each image
    assert "position" not in found  # sees no image
    assert layout_of(classifier, x, "head") is None


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_channels_are_found_in_an_image_of_one_color(value):
    classifier, x = Classifier(Network(16), 3), torch.full((1, 3, 32, 32), value)
    found = {each.name: each.layout.axes for each in spatial_outputs(classifier, x)}
    assert (found["stem"], found["last"]) == ("channels-first", "channels-last")


@pytest.mark.parametrize(
    ("name", "layer", "axes", "channels"),
    [
        ("timm:mambaout_femto", "stages.0", "channels-last", 48),
        ("timm:sequencer2d_s", "stages.0", "channels-last", 192),
        ("torchvision:swin_t", "features.1", "channels-last", 96),
        ("timm:swin_tiny_patch4_window7_224", "layers.3", "channels-last", 768),
        ("torchvision:resnet18", "layer4", "channels-first", 512),
    ],
)
def test_classifiers_of_libraries(name, layer, axes, channels):
    classifier = load_classifier(f"{name}@none")
    x = torch.rand(1, 3, *classifier.size)
    found = layout_of(classifier, x, layer)
    assert found is not None
    assert (found.axes, found.channels) == (axes, channels)
    assert found.channels_first(classifier.features(x, layer)).shape == (1, channels, *found.size)


def test_the_loss_estimator_has_the_channels_of_its_layers():
    x = torch.rand(1, 3, 32, 48)
    estimator = untrained_estimator(Classifier(Network(12), 3), x, ["stem", "last", "tokens", "head"], seed=0)
    assert estimator.channels == {"stem": 12, "last": 12, "tokens": 12, "head": 3}
