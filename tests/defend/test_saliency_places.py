"""Where saliency maps lie: at the place of the crop in the image, and on the object wherever a layer has its channels."""

from __future__ import annotations

import captum.attr
import pytest
import torch
from torch import nn

from preimage.classifiers import Classifier, load_classifier
from preimage.classifiers.resizing import Resizing, for_input
from preimage.defend.attribution import saliency_map
from preimage.defend.inspect import inspect
from preimage.defend.saliency import SaliencyOptions, saliency
from preimage.errors import InputError


class Channels(nn.Module):
    """Class 1 is the mean of what is bright; the features before it have their channels last, or first."""

    def __init__(self, last: bool, channels: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            weight = torch.rand(channels, 3) + 0.5
        self.stem = nn.Conv2d(3, channels, 2, 2, bias=False)
        self.mix: nn.Module = nn.Linear(channels, channels) if last else nn.Conv2d(channels, channels, 1)
        self.out = nn.Linear(channels, 2)
        self.last = last
        with torch.no_grad():
            self.stem.weight.copy_(weight[..., None, None] / 4)
            self.mix.weight.copy_(torch.eye(channels).reshape(self.mix.weight.shape))
            self.mix.bias.fill_(0)
            self.out.weight.copy_(torch.stack([-torch.ones(channels), torch.ones(channels)]))

    def forward(self, x):
        x = self.stem(x)
        if self.last:
            return self.out(self.mix(x.permute(0, 2, 3, 1)).mean((1, 2)))
        return self.out(self.mix(x).mean((2, 3)))


def classifier(last: bool, channels: int = 8, **settings) -> Classifier:
    return Classifier(Channels(last, channels), 2, (0,) * 3, (1,) * 3, **settings)


def bright(height: int, width: int, rows: slice, columns: slice) -> torch.Tensor:
    x = torch.zeros(1, 3, height, width)
    x[..., rows, columns] = 1
    return x


def share(found: torch.Tensor, rows: slice, columns: slice) -> float:
    return float(found[..., rows, columns].sum() / found.sum())


OBJECTS = [
    ((32, 32), slice(4, 12), slice(16, 28)),
    ((32, 48), slice(20, 30), slice(2, 12)),
    ((40, 24), slice(0, 10), slice(0, 10)),
]


@pytest.mark.parametrize(("size", "rows", "columns"), OBJECTS)
@pytest.mark.parametrize("channels", [4, 8, 16, 24])
def test_gradcam_is_on_the_object_with_channels_last(channels, size, rows, columns):
    x = bright(*size, rows, columns)
    maps = [
        saliency_map(x, SaliencyOptions(classifier(last, channels), 1, "gradcam", layer="mix"))
        for last in (True, False)
    ]
    assert (
        share(
            maps[0].map,
            slice(max(0, rows.start - 2), rows.stop + 2),
            slice(max(0, columns.start - 2), columns.stop + 2),
        )
        > 0.95
    )
    assert torch.allclose(maps[0].map, maps[1].map, atol=1e-5)
    assert saliency_map(x, SaliencyOptions(classifier(True, channels), 1, "gradcam")).settings["layer"] == "mix"


@pytest.mark.parametrize("name", ["timm:test_resnet@none", "torchvision:squeezenet1_1@none"])
def test_gradcam_is_captum_s_with_channels_first(name):
    model, x = load_classifier(name), torch.rand(1, 3, 64, 64)
    found = saliency_map(x, SaliencyOptions(model, 3, "gradcam", resizing="squeeze"))
    layer = model.model.get_submodule(found.settings["layer"])
    own = captum.attr.LayerGradCam(for_input(model), layer).attribute(
        x.requires_grad_(), target=3, relu_attributions=True
    )
    own = captum.attr.LayerAttribution.interpolate(own.detach(), (64, 64), "bilinear")
    assert torch.allclose(found.attribution[:, :1], own, atol=1e-6 + 1e-5 * float(own.abs().max()))


def test_gradcam_of_swin_is_no_longer_refused_or_off_its_grid():
    for name in ("torchvision:swin_t@none", "timm:mambaout_femto@none"):
        found = saliency_map(torch.rand(1, 3, 224, 224), SaliencyOptions(load_classifier(name), 3, "gradcam"))
        assert found.map.shape == (1, 1, 224, 224)
        assert found.attribution.shape == (1, 3, 224, 224)


@pytest.mark.parametrize("layer", ["blocks.3", "blocks.5"])
def test_gradcam_of_tokens_is_one_line(layer):
    model = load_classifier("timm:test_vit@none")
    for options in ({}, {"layer": layer}):
        with pytest.raises(InputError) as error:
            saliency_map(torch.rand(1, 3, 160, 160), SaliencyOptions(model, 3, "gradcam", **options))
        assert error.value.code == "layer"


# ---------------------------------------------------------------------- crops and letterboxes

CROP = Resizing("crop", 40)
PLACES = [
    ((60, 120), slice(24, 36), slice(50, 62)),
    ((100, 50), slice(40, 52), slice(18, 30)),
    ((80, 80), slice(20, 32), slice(44, 60)),
]


@pytest.mark.parametrize(("size", "rows", "columns"), PLACES)
@pytest.mark.parametrize("resizing", [CROP, "letterbox", "squeeze"], ids=["crop", "letterbox", "squeeze"])
@pytest.mark.parametrize("method", ["input-x-gradient", "gradcam", "occlusion"])
def test_the_map_is_on_the_object_in_the_image(method, resizing, size, rows, columns):
    model = classifier(False, size=32, resizing=resizing)
    options = SaliencyOptions(model, 1, method, baseline="black")
    found = saliency_map(bright(*size, rows, columns), options)
    around = [slice(max(0, each.start - 9), each.stop + 9) for each in (rows, columns)]
    assert found.map.shape == (1, 1, *size)
    assert share(found.map, *around) > 0.9


@pytest.mark.parametrize("size", [(60, 120), (120, 60), (80, 81)])
def test_outside_of_the_crop_the_map_is_zero_and_the_report_says_so(size):
    model = classifier(False, size=32, resizing=CROP)
    run = saliency(torch.rand(1, 3, *size), model, method="gradient", device="cpu")
    found = run.run()
    frame = CROP.frame(size, (32, 32))
    outside = frame.back(torch.ones(1, 1, 32, 32)) == 0
    assert bool(outside.any())
    assert float(found.map[outside].abs().max()) == 0
    assert found.report()["seen_share"] == pytest.approx(frame.share, abs=1e-4)
    assert "letterbox" in run.remarks[0]
    whole = saliency(torch.rand(1, 3, *size), model, method="gradient", resizing="letterbox", device="cpu")
    assert whole.remarks == ("resizing letterbox: the classifier sees the whole image",)
    assert float(whole.run().map.amin((0, 1)).max()) > 0


def test_inspection_fits_what_the_classifier_sees():
    x = torch.rand(1, 3, 40, 64)
    for resizing, word in ((CROP, "middle"), ("letterbox", "whole")):
        run = inspect(
            x, classifier=classifier(False, size=32, resizing=resizing), steps=2, every=1, seed=0, device="cpu"
        )
        assert run.size == (32, 32)
        assert word in run.remarks[0]
        assert run.run().inspection.given.shape == (2,)
