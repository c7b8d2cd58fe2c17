"""The blocks of a classifier: ends of stages, and never padding, dropout, norms, biases of positions or what sees no image."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from preimage.classifiers import Classifier, load_classifier
from preimage.classifiers.blocks import block_layers, is_block, stages


class Block(nn.Module):
    """An inverted bottleneck with padding of its own, a norm and dropout."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(inputs, 2 * inputs, 1)
        self.static_padding = nn.ZeroPad2d((0, 1, 0, 1))
        self.depthwise = nn.Conv2d(2 * inputs, 2 * inputs, 3 if stride == 1 else 2, stride, stride % 2)
        self.project = nn.Conv2d(2 * inputs, outputs, 1)
        self.norm = nn.BatchNorm2d(outputs)
        self.drop = nn.Dropout(0.1)
        self.stride = stride

    def forward(self, x):
        x = self.expand(x)
        self.static_padding(x)
        return self.drop(self.norm(self.project(self.depthwise(x))))


class Padded(nn.Module):
    """Blocks of MobileNet's kind, then a norm, padding and dropout at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._stem = nn.Conv2d(3, 8, 3, 2, 1)
        self._blocks = nn.ModuleList(
            [Block(8, 8, 1), Block(8, 12, 2), Block(12, 12, 1), Block(12, 16, 2), Block(16, 16, 1)]
        )
        self._norm, self._pad, self._drop = nn.BatchNorm2d(16), nn.ReflectionPad2d(0), nn.Dropout()
        self._head = nn.Linear(16, 3)

    def forward(self, x):
        x = self._stem(x)
        for block in self._blocks:
            x = block(x)
        return self._head(self._drop(self._pad(self._norm(x))).mean((2, 3)))


class Attention(nn.Module):
    """A block on tokens or on a grid with channels last, with a bias of positions and dropout after its matrices."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.bias_table = nn.Parameter(torch.rand(1, side, side, channels))
        self.position_bias = nn.Linear(channels, channels)
        self.mix, self.first, self.second = (nn.Linear(channels, channels) for _ in range(3))
        self.norm, self.attn_drop = nn.LayerNorm(channels), nn.Dropout()

    def forward(self, x):
        bias = self.position_bias(self.bias_table).flatten(1, 2).mean(1, keepdim=True)
        x = x + self.attn_drop(self.mix(self.norm(x))) + bias.reshape(1, *(1,) * (x.ndim - 2), -1)
        return x + self.attn_drop(self.second(torch.relu(self.first(x))))


class Windows(nn.Module):
    """Stages on grids with channels last, as those of Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, 4)
        self.layers = nn.ModuleList([nn.Sequential(*(Attention(8, side) for _ in range(2))) for side in (8, 4)])
        self.merge = nn.AvgPool2d(2)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x):
        x = self.layers[0](self.embed(x).permute(0, 2, 3, 1))
        x = self.layers[1](self.merge(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return self.head(self.norm(x).mean((1, 2)))


class Isotropic(nn.Module):
    """Eight blocks of one resolution, as those of ViT."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 16, 4, 4)
        self.blocks = nn.Sequential(*(Attention(16, 8) for _ in range(8)))
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.norm(self.blocks(self.embed(x).flatten(2).mT)).mean(1))


EXPECTED = {
    Padded: ["_blocks.0", "_blocks.2", "_blocks.4"],
    Windows: ["layers.0", "layers.1"],
    Isotropic: ["blocks.0", "blocks.1", "blocks.3", "blocks.5", "blocks.7"],
}


@pytest.mark.parametrize("network", EXPECTED)
def test_stages_end_with_blocks(network):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        classifier = Classifier(network(), 3, size=32)
    x = torch.rand(1, 3, 32, 32)
    assert stages(classifier, x) == EXPECTED[network]
    assert block_layers(classifier, x) == EXPECTED[network][-4:]


@pytest.mark.parametrize(
    "module",
    [
        nn.ZeroPad2d(1), nn.ReflectionPad2d(1), nn.Dropout(), nn.Dropout2d(), nn.Identity(), nn.LayerNorm(4), nn.BatchNorm2d(4),
        nn.GroupNorm(2, 4), nn.Flatten(),
    ],
    ids=lambda module: type(module).__name__,
)  # fmt: skip
def test_what_is_no_block(module):
    assert not is_block(module)


@pytest.mark.parametrize("name", ["NormFreeBlock", "ConvNormActivation", "PaddedConv"])
def test_a_block_may_be_called_so(name):
    kind = type(name, (nn.Sequential,), {})
    assert is_block(kind(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)))


@pytest.mark.parametrize(
    "name",
    [
        "timm:efficientnet_lite0",
        "timm:swin_tiny_patch4_window7_224",
        "torchvision:maxvit_t",
        "timm:coat_lite_tiny",
        "timm:regnetx_002",
    ],
)
def test_blocks_of_libraries_are_blocks(name):
    classifier = load_classifier(f"{name}@none")
    modules = dict(classifier.model.named_modules())
    found = block_layers(classifier, torch.rand(1, 3, *classifier.size))
    assert len(found) == 4
    for layer in found[:3]:  # the last may be the end of the network
        assert sum(parameter.ndim > 1 for parameter in modules[layer].parameters()) >= 3, layer


def swin(folder):
    from transformers import SwinConfig, SwinForImageClassification

    config = SwinConfig(
        image_size=64, patch_size=4, embed_dim=8, depths=[1, 1, 1], num_heads=[1, 2, 2], window_size=4, num_labels=3
    )
    return SwinForImageClassification(config)


def convnext(folder):
    from transformers import ConvNextConfig, ConvNextForImageClassification

    config = ConvNextConfig(image_size=64, hidden_sizes=[8, 12, 16], depths=[1, 1, 1], num_stages=3, num_labels=3)
    return ConvNextForImageClassification(config)


def dinov2(folder):
    from transformers import Dinov2Config, Dinov2ForImageClassification

    config = Dinov2Config(
        image_size=64, patch_size=8, hidden_size=16, num_hidden_layers=4, num_attention_heads=2, num_labels=3
    )
    return Dinov2ForImageClassification(config)


@pytest.mark.parametrize(
    ("make", "words"),
    [(swin, ["layers.0", "layers.1"]), (convnext, ["stages.0", "stages.1"]), (dinov2, ["layer.0", "layer.1"])],
)
def test_blocks_of_transformers(make, words, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        classifier = Classifier(make(tmp_path), 3, size=64)
    found = stages(classifier, torch.rand(1, 3, 64, 64))
    for word in words:
        assert any(word in layer for layer in found), found
    assert not any("dropout" in layer or "norm" in layer for layer in found), found
