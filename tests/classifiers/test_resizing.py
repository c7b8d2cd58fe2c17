"""How images become a classifier's input: as torchvision's and timm's own presets do it, and where in the image that input is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from classifiers.small import Tiny, refused
from PIL import Image
from torch import nn

from preimage.classifiers import Classifier, TrainedModel, load_classifier, read_model
from preimage.classifiers.fingerprint import model_fingerprint
from preimage.classifiers.model_file import Backbone, write_model
from preimage.classifiers.resizing import Resizing, for_input, with_resizing

SIZES = ((250, 375), (331, 224), (100, 90), (301, 301), (224, 500))  # height, width
ROUNDING = 3.1 / 255  # of 8 bits, after each of Pillow's passes, and of its weights


def photo(height: int, width: int) -> np.ndarray:
    """(h, w, 3) of 8 bits: waves, and a corner that tells orientation and place."""
    rows, columns = np.meshgrid(np.linspace(0, 9, height), np.linspace(0, 7, width), indexing="ij")
    image = np.stack([0.5 + 0.45 * np.sin(rows + k * columns) for k in (0.3, 0.9, 1.7)], 2)
    image[: height // 5, : width // 4] = (1, 0.2, 0)
    return np.round(255 * image).astype(np.uint8)


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def same_as(classifier: Classifier, preset, sizes=SIZES) -> None:
    for size in sizes:
        image = photo(*size)
        own, found = preset(Image.fromarray(image)), classifier.prepared(tensor(image))[0]
        assert found.shape == own.shape
        assert float(((found - own) * classifier.std[0]).abs().max()) < ROUNDING, size


@pytest.mark.parametrize(
    "name", ["resnet18", "efficientnet_b0", "vit_b_32", "inception_v3", "swin_v2_t", "convnext_tiny"]
)
@pytest.mark.filterwarnings("ignore:The default weight initialization")
def test_torchvision_s_own_preset(name):
    from torchvision.models import get_model_weights

    same_as(load_classifier(f"torchvision:{name}@none"), get_model_weights(name).DEFAULT.transforms())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"crop_pct": 1.0},
        {"crop_pct": 0.9, "interpolation": "bilinear"},
        {"crop_mode": "squash"},
        {"crop_mode": "border"},
        {"crop_mode": "border", "crop_pct": 0.8},
        {"input_size": (3, 96, 160)},
        {"input_size": (3, 160, 96), "crop_mode": "border", "interpolation": "lanczos"},
    ],
    ids=str,
)
def test_timm_s_own_transform(changes):
    from timm.data import create_transform

    from preimage.classifiers.libraries import _resizing_of_timm

    settings = {
        "input_size": (3, 160, 160), "crop_pct": 0.875, "crop_mode": "center", "interpolation": "bicubic",
        "mean": (0.5, 0.4, 0.3), "std": (0.5, 0.25, 0.2),
    } | changes  # fmt: skip
    classifier = Classifier(
        nn.Flatten(),
        2,
        settings["mean"],
        settings["std"],
        settings["input_size"][1:],
        resizing=_resizing_of_timm(settings),
    )
    same_as(classifier, create_transform(**settings))


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_efficientnet"])
def test_timm_s_classifiers(name):
    import timm

    settings = timm.data.resolve_data_config({}, model=timm.create_model(name))
    same_as(load_classifier(f"timm:{name}@none"), timm.data.create_transform(**settings))


def test_a_classifier_of_one_s_own_squeezes_as_ever():
    x = tensor(photo(40, 70))
    classifier = Classifier(Tiny(), 3, (0,) * 3, (1,) * 3, 32)
    assert classifier.prepared(x).shape == (1, 3, 32, 32)
    whole = nn.functional.interpolate(x, size=(32, 32), mode="bilinear", align_corners=False, antialias=True)
    assert torch.equal(classifier.prepared(x), whole)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["crop", "letterbox"])
def test_what_comes_back_is_at_its_place(mode, size):
    frame = Resizing(mode, 72 if mode == "crop" else None).frame(size, (64, 64))
    x = tensor(photo(*size))
    back = frame.back(frame(x))
    seen = frame.back(torch.ones(1, 1, 64, 64)) > 0.999
    assert back.shape == x.shape
    assert float((back - x).abs().mul(seen).sum() / seen.sum() / 3) < 0.06  # but for what the small size lost
    share = float((frame.back(torch.ones(1, 1, 64, 64)) > 0.5).float().mean())
    assert share == pytest.approx(frame.share, abs=0.03)
    assert (frame.share == 1) == (mode == "letterbox")


def test_a_letterbox_has_the_mean_around_the_whole_image():
    classifier = Classifier(Tiny(), 3, (0.5, 0.4, 0.3), (0.2,) * 3, 32, resizing="letterbox")
    found = classifier.prepared(torch.ones(1, 3, 20, 40))
    for rows in (slice(0, 8), slice(24, 32)):
        assert torch.equal(found[..., rows, :], torch.zeros(1, 3, 8, 32))
    assert float(found[..., 8:24, :].min()) > 2
    gray = Classifier(nn.Flatten(), 2, (0.5,), (0.2,), 32, resizing="letterbox").prepared(torch.ones(1, 3, 20, 40))
    assert torch.equal(gray[..., :8, :], torch.zeros(1, 1, 8, 32))


@pytest.mark.parametrize("resizing", ["squeeze", "crop", "letterbox", Resizing("crop", 40, "bicubic")], ids=str)
def test_each_is_differentiable_and_images_do_not_mix(resizing):
    classifier = Classifier(Tiny(), 3, size=32, resizing=resizing)
    x = torch.rand(2, 3, 50, 70, requires_grad=True)
    logits = classifier(x)
    assert torch.allclose(logits[:1], classifier(x[:1]), atol=1e-5)
    slope = torch.autograd.grad(logits[0].sum(), x)[0]
    assert float(slope[0].abs().sum()) > 0
    assert float(slope[1].abs().sum()) == 0
    if classifier.resizing.mode == "crop":
        assert float(slope[0, :, :, 0].abs().sum()) == 0  # outside of the crop


def test_another_resizing_shares_the_weights():
    classifier = Classifier(Tiny(), 3, size=32, resizing=Resizing("crop", 40, "bicubic"))
    other = with_resizing(classifier, "letterbox")
    assert (other.resizing.mode, other.resizing.filter, classifier.resizing.mode) == ("letterbox", "bicubic", "crop")
    assert other.model is classifier.model
    assert with_resizing(classifier, "crop") is with_resizing(classifier, "preset") is classifier
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(for_input(classifier).prepared(x), (x - classifier.mean) / classifier.std)


def test_it_is_written_read_and_told_apart(tmp_path):
    origin = Backbone("thin_resnet10")
    model = origin.build(2)
    kinds = [Resizing(), Resizing("crop", (72, 72), "bicubic", "down", "none"), Resizing("letterbox")]
    made = [
        Classifier(model, 2, size=64, resizing=kind, channel_order=order) for kind in kinds for order in ("rgb", "bgr")
    ]
    assert len({model_fingerprint(each) for each in made}) == len(made)
    for number, each in enumerate(made):
        found = read_model(write_model(tmp_path / f"{number}.pt", TrainedModel(each, origin=origin))).classifier
        assert (found.resizing, found.channel_order) == (each.resizing, each.channel_order)


@pytest.mark.parametrize("resizing", [{"mode": "stretch"}, {"mode": "crop", "before": -3}, {"mod": 1}, "crop"], ids=str)
def test_a_file_with_a_resizing_that_cannot_be(resizing, tmp_path):
    from preimage.classifiers.load import preparation_of

    refused("unreadable", preparation_of, {"resizing": resizing}, tmp_path / "m.pt")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Resizing("stretch"),
        lambda: Resizing("crop", 0),
        lambda: Resizing("crop", 2.5),
        lambda: Resizing("crop", True),
        lambda: Resizing("crop", filter="cubic"),
        lambda: Classifier(Tiny(), 3, size=32, resizing="pad"),
        lambda: Classifier(Tiny(), 3, size=32, channel_order="gbr"),
        lambda: with_resizing(Classifier(Tiny(), 3, size=32), "pad"),
    ],
)
def test_what_cannot_be_is_one_line(make):
    refused("invalid-value", make)


def test_a_classifier_of_any_size_has_no_resizing():
    refused("option", with_resizing, Classifier(Tiny(), 3), "crop")
