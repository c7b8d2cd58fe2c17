"""Where the channels of each layer's features are: first, last, in tokens; also where shapes alone do not tell."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from preimage.classifiers import Classifier, load_classifier
from preimage.classifiers.blocks import block_layers
from preimage.classifiers.layout import layout_of, spatial_outputs
from preimage.classifiers.loss_estimator import untrained_estimator
from preimage.errors import InputError

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


# ---------------------------------------------------------------------- convolutions without padding

OBLONG = ((48, 96), (96, 48), (40, 64))


class Functional(nn.Module):
    """A convolution without padding of a kind of its own, of which nothing is known but what it returns."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, last: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel) / kernel / inputs**0.5)
        self.stride, self.last = stride, last

    def forward(self, x):
        x = torch.relu(nn.functional.conv2d(x, self.weight, stride=self.stride))
        return x.permute(0, 2, 3, 1) if self.last else x


class Block(nn.Module):
    """A convolution without padding and what follows it, with functions between the modules."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride)
        self.norm, self.drop = nn.BatchNorm2d(outputs), nn.Dropout()

    def forward(self, x):
        return torch.relu(self.drop(torch.relu(self.norm(self.convolution(x)))))


class Mixture(nn.Module):
    """Convolutions without padding, then a stage with channels last on their grid, then a convolution again."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(Block(3, channels, 7, 2), Block(channels, channels, 7))
        self.mix = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, channels), nn.GELU())
        self.after = nn.Conv2d(channels, channels, 3)
        self.head = nn.Linear(channels, 3)

    def forward(self, x):
        x = self.mix(self.stem(x).permute(0, 2, 3, 1))
        return self.head(self.after(x.permute(0, 3, 1, 2)).mean((2, 3)))


def made(network, *arguments):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return network(*arguments)


def picture(size: tuple[int, int]) -> torch.Tensor:
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))


def disc(size: tuple[int, int]) -> torch.Tensor:
    """A red square in the upper left quarter of a dark image."""
    x = torch.full((1, 3, *size), 0.2)
    x[:, 0, size[0] // 8 : size[0] // 3, size[1] // 8 : size[1] // 3] = 1
    return x


def left(size: tuple[int, int], *kernels: tuple[int, int]) -> tuple[int, int]:
    """The grid after convolutions without padding: kernels with their strides."""
    height, width = size
    for kernel, stride in kernels:
        height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
    return height, width


@pytest.mark.parametrize("size", OBLONG)
@pytest.mark.parametrize("channels", [4, 8, 13, 20, 32])  # 8 x 15 would be in proportion with 48 x 96
@pytest.mark.parametrize("image", [picture, disc])
def test_without_padding_convolutions_and_what_follows_them_have_channels_first(size, channels, image):
    network = nn.Sequential(
        *(nn.Conv2d(3, channels, 7, 2), nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels, 7)),
        *(nn.ReLU(), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3)),
    )
    found = {each.name: each.layout for each in spatial_outputs(Classifier(network, 3, size=size), image(size))}
    grids = [left(size, (7, 2))] * 3 + [left(size, (7, 2), (7, 1))] * 3
    for name, grid in zip("012345", grids, strict=True):
        assert (found[name].axes, found[name].size, found[name].channels) == ("channels-first", grid, channels)


@pytest.mark.parametrize("size", OBLONG)
@pytest.mark.parametrize("channels", [8, 13, 20])
def test_a_block_has_the_channels_of_the_last_features_within_it(size, channels):
    network = nn.Sequential(
        nn.Sequential(Block(3, channels, 7, 2), Block(channels, channels, 7)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3)),
    )
    layout = layout_of(Classifier(network, 3, size=size), disc(size), "0")
    assert layout is not None
    assert (layout.axes, layout.size) == ("channels-first", left(size, (7, 2), (7, 1)))


@pytest.mark.parametrize("size", OBLONG)
@pytest.mark.parametrize("channels", [4, 8, 13, 20, 32])
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
def test_where_no_module_tells_it_the_channels_are_measured(size, channels, last):
    network = made(lambda: nn.Sequential(Functional(3, 8, 7, 2), Functional(8, channels, 7, 1, last)))
    network = nn.Sequential(network, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(3))
    network(picture(size))
    for image in (picture(size), disc(size)):
        found = layout_of(Classifier(network, 3, size=size), image, "0.1")
        assert found is not None
        assert (found.axes, found.channels) == ("channels-last" if last else "channels-first", channels)
        assert found.size == left(size, (7, 2), (7, 1))


@pytest.mark.parametrize("size", [(32, 100), (100, 32)])
def test_no_layer_of_a_lenet_is_left_out(size):
    height, width = left(size, (5, 1), (2, 2), (5, 1), (2, 2))
    network = nn.Sequential(
        *(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(16 * height * width, 10)),
    )
    classifier = Classifier(network, 10, size=size)
    found = {each.name: each.layout for each in spatial_outputs(classifier, picture(size))}
    assert list(found) == list("012345")
    assert {each.axes for each in found.values()} == {"channels-first"}
    assert found["5"].size == (height, width)
    assert block_layers(classifier, picture(size))[-1] == "5"


@pytest.mark.parametrize("size", OBLONG)
@pytest.mark.parametrize("channels", [8, 13, 15, 24])
def test_a_mixed_network_has_them_last_where_they_are(size, channels):
    classifier = Classifier(made(Mixture, channels), 3, size=size)
    grid = left(size, (7, 2), (7, 1))
    found = {each.name: each.layout for each in spatial_outputs(classifier, picture(size))}
    for name in ("stem", "stem.1", "stem.1.norm"):
        assert (found[name].axes, found[name].size) == ("channels-first", grid)
    for name in ("mix", "mix.0", "mix.1", "mix.2"):
        assert (found[name].axes, found[name].size, found[name].channels) == ("channels-last", grid, channels)
    assert (found["after"].axes, found["after"].size) == ("channels-first", left(grid, (3, 1)))


@pytest.mark.parametrize("size", OBLONG)
def test_convolutions_of_patches_and_attention_have_no_places(size):
    class Patches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.of_patches = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 1)
            self.of_row, self.of_attention, self.head = nn.Conv2d(8, 8, 1), nn.Conv2d(1, 4, 1), nn.Linear(8, 3)

        def forward(self, x):
            x = self.stem(x)
            row = x.flatten(2)
            self.of_patches(nn.functional.unfold(x, 2, stride=2).unflatten(1, (8, 4)))
            self.of_row(row[..., None])
            self.of_attention((row.transpose(1, 2) @ row).softmax(2)[:, None])
            return self.head(x.mean((2, 3)))

    assert [each.name for each in spatial_outputs(Classifier(made(Patches), 3, size=size), picture(size))] == ["stem"]


def test_where_no_layer_has_places_the_message_names_the_way_out():
    classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3)), 3, size=32)
    with pytest.raises(InputError, match=r"no layer with places was found .*--layer or --layers NAME: there are 0, 1"):
        block_layers(classifier, picture((32, 32)))
