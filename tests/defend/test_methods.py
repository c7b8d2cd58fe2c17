"""saliency by MIG-SG and by captum's methods: sizes, what is found, and what each cannot do."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from classifiers.small import tiny
from defend.networks import Patch, pictures, with_modes
from torch import nn

from preimage.classifiers import Classifier
from preimage.defend.attribution import SIGNED, merged, saliency_map
from preimage.defend.saliency import Method, SaliencyOptions
from preimage.errors import InputError

METHODS = get_args(Method)
FEW = {"n_steps": 3, "n_samples": 2}


def quick(method, classifier=None, image=None, **settings):
    image = pictures(1) if image is None else image
    return saliency_map(image, SaliencyOptions(classifier or tiny(), method=method, device="cpu", **FEW, **settings))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_map_as_large_as_the_picture(method):
    found = quick(method, target="star")
    assert found.map.shape == (1, 1, 32, 32)
    assert found.attribution.shape == found.seen.shape == (1, 3, 32, 32)
    assert bool((found.map >= 0).all())
    assert (found.target, found.target_class, found.method) == (2, "star", method)
    assert found.confidence == pytest.approx(float(tiny().probabilities(pictures(1))[0, 2]))
    assert torch.equal(found.map, merged(found.attribution, method))
    assert torch.equal(quick(method, target="star").map, found.map)


@pytest.mark.parametrize(
    "method", ["mig-sg", "integrated-gradients", "input-x-gradient", "gradient", "smoothgrad", "occlusion"]
)
def test_what_the_classifier_looks_at_is_found(method):
    classifier = Classifier(Patch(), ["dark", "bright"], mean=(0.0,) * 3, std=(1.0,) * 3)
    found = quick(method, classifier, 0.5 + 0.5 * pictures(1))
    assert found.prediction == found.target_class == "bright"
    inside = found.map[..., :16, :16].sum() / found.map.sum()
    assert float(inside) > (0.8 if method == "occlusion" else 0.999)


def test_gradcam_finds_the_brighter_half():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.AvgPool2d(4)

        def forward(self, x):
            bright = self.layer(x).mean((1, 2, 3))
            return torch.stack([-bright, bright], 1)

    image = torch.zeros(1, 3, 32, 32)
    image[..., :16] = 1
    found = quick("gradcam", Classifier(Half(), 2, mean=(0.0,) * 3, std=(1.0,) * 3), image)
    assert found.settings == {"layer": "layer"}
    assert float(found.map[..., :16].sum() / found.map.sum()) > 0.9


def test_what_speaks_against_the_class_is_left_out_where_signs_are_known():
    attribution = torch.tensor([-2.0, 1.0]).reshape(1, 1, 1, 2).expand(1, 3, 1, 2)
    for method in METHODS:
        assert merged(attribution, method).flatten().tolist() == ([0, 1] if method in SIGNED else [2, 1])


def test_the_global_generator_is_left_alone():
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    for method in ("mig-sg", "smoothgrad"):
        quick(method)
    assert torch.equal(torch.rand(2), wanted)


def test_a_larger_picture_is_seen_as_the_classifier_sees_it_and_mapped_back():
    classifier = tiny(size=(16, 16))
    large = quick("mig-sg", classifier, pictures(1, 48))
    assert large.map.shape == (1, 1, 48, 48)
    assert large.seen.shape == (1, 3, 16, 16)
    assert large.merged.shape == (1, 1, 16, 16)
    assert large.confidence == pytest.approx(float(classifier.probabilities(pictures(1, 48)).max()), abs=1e-5)
    torch.testing.assert_close(classifier(large.seen), classifier(pictures(1, 48)))
    small_one = quick("mig-sg", tiny(size=(64, 64)))
    assert small_one.attribution.shape == (1, 3, 32, 32)


def test_gray_pictures_arrays_and_baselines():
    gray = (pictures(1)[0, 0] * 255).to(torch.uint8).numpy()
    maps = [
        quick("mig-sg", image=gray, baseline=b).map for b in ("black", 0, "gray", 0.5, "mean", "blur", "white", 1.0)
    ]
    assert maps[0].shape == (1, 1, 32, 32)
    assert torch.equal(maps[0], maps[1])
    assert torch.equal(maps[2], maps[3])
    assert torch.equal(maps[6], maps[7])
    assert not any(torch.equal(maps[0], other) for other in (maps[2], maps[4], maps[5], maps[6]))
    tensor = quick("mig-sg", image=gray, baseline=torch.zeros(1, 1, 1))
    assert torch.equal(tensor.map, maps[0])
    assert tensor.settings["baseline"] == "a tensor"
    unsaid = quick("mig-sg", image=gray)
    assert torch.equal(unsaid.map, maps[5])
    assert unsaid.settings == {"n_steps": 3, "n_samples": 2, "sigma": 0.15, "seed": 0, "baseline": "blur"}


class Tokens(nn.Module):
    """A classifier that works on tokens: patches, mixed in one linear layer, no ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.rows = nn.Conv2d(3, 4, 8, 8), nn.Flatten(2)
        self.mix, self.head = nn.Linear(16, 16), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.mix(self.rows(self.patches(x))).mean(2))


def test_smoothgrad_leaves_the_random_numbers_of_graphics_cards_alone(monkeypatch):
    classifier = tiny()
    monkeypatch.setattr("torch.cuda.manual_seed_all", lambda seed: pytest.fail("begun anew"))
    quick("smoothgrad", classifier)


def test_a_classifier_by_its_word_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    quick("gradient", "timm:test_resnet@none")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "mig"}, "no method 'mig': give one of mig-sg, gradient"),
        ({"target": "hexagon"}, "no class 'hexagon'"),
        ({"baseline": "pink"}, "blur, mean, black, gray, white, or a number from 0"),
        ({"baseline": 2}, "got 2"),
        ({"baseline": torch.zeros(1, 3, 5, 5)}, "(1, 3, 5, 5)"),
        ({"sigma": -1}, "sigma must be at least 0, got -1"),
        ({"n_steps": 0}, "n_steps must be at least 1, got 0"),
        ({"n_steps": 2.5}, "n_steps must be a whole number"),
        ({"n_samples": 0}, "n_samples"),
        ({"seed": -1}, "seed must be a whole number from 0"),
        ({"device": "abacus"}, "abacus"),
        ({"method": "gradcam", "layer": "blok1"}, "no layer 'blok1'"),
        ({"method": "gradcam", "layer": "head"}, "(b, h, w, c), and 'head' gives (1, 3)"),
        *[({"method": m, "layer": "block1"}, f"got 'block1' for {m}: leave") for m in METHODS if m != "gradcam"],
        *[({"classifier": tiny(output="nan"), "method": m}, "logits are not finite") for m in METHODS],
        ({"image": pictures(2)}, "2 pages"),
        ({"image": torch.rand(1, 5, 32, 32)}, "5 channels"),
        ({"classifier": with_modes()}, "wrap it: Classifier"),
        *[({"classifier": tiny(output="detached"), "method": m}, "no gradient") for m in METHODS if m != "occlusion"],
        ({"classifier": Classifier(Tokens(), 3), "method": "gradcam"}, "works on tokens"),
        ({"classifier": Classifier(Tokens(), 3), "method": "guided-backprop"}, "nn.ReLU"),
        ({"classifier": Classifier(Patch(), 2), "method": "gradcam"}, "this classifier has none"),
    ],
)
def test_what_saliency_cannot_do_is_one_line(settings, words):
    image = settings.get("image", pictures(1))
    own = {name: value for name, value in settings.items() if name != "image"}
    with pytest.raises(InputError) as error:
        saliency_map(image, SaliencyOptions(**{"classifier": tiny(), "device": "cpu", **FEW, **own}))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_guided_backprop_stops_what_lowers_the_class_and_leaves_no_hooks():
    classifier = Classifier(with_modes(), 3)
    plain, guided = quick("gradient", classifier), quick("guided-backprop", classifier)
    assert not torch.equal(plain.map, guided.map)
    assert torch.equal(quick("gradient", classifier).map, plain.map)
