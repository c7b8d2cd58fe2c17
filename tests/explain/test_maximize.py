"""Activation maximization: far above any random picture, for classes, channels and windows of them."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from classifiers.small import Tiny, tiny
from explain.small import BRIEF, PIXELS, THIN

from preimage.classifiers import Classifier
from preimage.engine.checkpoint import load, save
from preimage.errors import InputError
from preimage.explain.explanation import write_images
from preimage.explain.maximize import likeness, maximize

SIZE = (32, 32)


def found(**settings):
    given = {"classifier": tiny(), "size": SIZE, "recipe": THIN, "device": "cpu"} | settings
    return maximize(**given).run()


def random_pictures() -> torch.Tensor:
    return torch.rand(64, 3, *SIZE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("target", [0, "star"])
def test_a_class_is_excited_far_more_than_by_random_pictures(target):
    one, classifier = found(target=target), tiny()
    wanted = classifier.class_index(target)
    logits = classifier(random_pictures())[:, wanted]
    assert one.numbers["excitation"] > logits.max() + 5 * logits.std()
    assert one.numbers["excitation"] == pytest.approx(float(classifier(one.image.clamp(0, 1))[0, wanted]), rel=1e-3)
    assert 0 < one.numbers["confidence"] <= 1
    assert list(one.panels) == [f"class {classifier.classes[wanted]}: {one.numbers['excitation']:.1f}"]


@pytest.mark.parametrize("window", [None, 1, 4])
def test_a_channel_or_a_window_of_it_is_excited(window):
    one, classifier = found(layer="block2", channel=5, window=window), tiny()
    channel = classifier.features(random_pictures(), "block2")[:, 5]
    here = classifier.features(one.image.clamp(0, 1), "block2")[:, 5]
    middle = slice(None) if window is None else slice((8 - window) // 2, (8 + window) // 2)
    reached = float(here[:, middle, middle].mean())
    assert one.numbers["excitation"] == pytest.approx(reached, rel=1e-3)
    assert reached > channel[:, middle, middle].mean((1, 2)).max()
    assert "confidence" not in one.numbers


def test_the_unit_in_the_middle_changes_the_middle_alone():
    images = [
        found(layer="block1", channel=channel, window=1, prior="none", recipe="fast", steps=5).image[0]
        for channel in range(8)
    ]
    rows, columns = torch.nonzero(torch.stack(images).std(0).sum(0), as_tuple=True)
    assert 0 < len(rows) <= 9
    assert 13 <= int(torch.stack([rows, columns]).min()) <= int(torch.stack([rows, columns]).max()) <= 17


def test_pixels_excite_a_channel_that_flat_gray_leaves_at_nothing():
    classifier = tiny()
    gray = classifier.features(torch.full((1, 3, *SIZE), 0.5), "block1")[0]
    silent = [channel for channel in range(8) if float(gray[channel].max()) == 0]
    assert silent
    for channel in silent:
        one = found(layer="block1", channel=channel, prior="tv", recipe="fast", steps=20)
        assert one.numbers["excitation"] > 0.1


@pytest.mark.parametrize("prior", ["tv", "alpha", "none"])
def test_the_rivals_are_pixels(prior):
    one = found(target=0, prior=prior, recipe=PIXELS)
    assert one.recipe.describe()["network"]["kind"] == "Pixels"
    assert one.numbers["excitation"] > tiny()(random_pictures())[:, 0].max()


def test_the_size_is_what_the_classifier_looks_at_unless_it_is_given():
    assert found(target=0, classifier=tiny(size=(20, 24)), size=None, recipe=BRIEF).image.shape == (1, 3, 20, 24)
    assert found(target=0, classifier=tiny(size=(20, 24)), size=(16, 40), recipe=BRIEF).image.shape == (1, 3, 16, 40)


def test_a_classifier_of_gray_pictures_gets_a_gray_one():
    classifier = Classifier(Tiny(channels=1), 3, (0.5,), (0.25,))
    assert found(target=1, classifier=classifier, recipe=BRIEF).image.shape == (1, 1, *SIZE)


def test_it_is_written_as_a_picture_of_8_bits(tmp_path):
    path = found(target=0, recipe=BRIEF).save(tmp_path / "a.png")
    assert path.stat().st_size > 100


def test_resuming_ends_bit_for_bit_as_if_it_had_never_stopped(tmp_path):
    make = partial(maximize, classifier=tiny(), target=1, size=SIZE, recipe=THIN, device="cpu")
    begun, resumed = make(), make()
    for step in begun:
        if step.index == 11:
            break
    save(begun, tmp_path / "a.checkpoint")
    load(resumed, tmp_path / "a.checkpoint")
    assert torch.equal(make().run().image, resumed.run().image)


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({}, "option"),
        ({"target": 0, "layer": "block1", "channel": 0}, "option"),
        ({"target": 0, "layer": "block1"}, "option"),
        ({"target": 0, "channel": 1}, "option"),
        ({"layer": "block1"}, "option"),
        ({"channel": 1}, "option"),
        ({"target": 0, "window": 3}, "option"),
        ({"target": "hexagon"}, "class"),
        ({"target": 7}, "class"),
        ({"layer": "block7", "channel": 0}, "layer"),
        ({"layer": "block1", "channel": 8}, "layer"),
        ({"layer": "block1", "channel": -1}, "layer"),
        ({"layer": "block1", "channel": 1.5}, "layer"),
        ({"layer": "block1", "channel": 0, "window": 1.5}, "layer"),
        ({"layer": "block1", "channel": 0, "window": 17}, "layer"),
        ({"layer": "block1", "channel": 0, "window": 0}, "layer"),
        ({"layer": "head", "channel": 0, "window": 1}, "layer"),
        ({"target": 0, "prior": "smooth"}, "invalid-value"),
        ({"target": 0, "size": (8, 32)}, "size"),
        ({"target": 0, "size": (0, 32)}, "size"),
        ({"target": 0, "size": 32}, "type"),
        ({"target": 0, "size": (32, 32.5)}, "type"),
        ({"target": 0, "size": (32, 32, 3)}, "type"),
        ({"target": 0, "size": (10**6, 10**6)}, "size"),
        ({"target": 0, "classifier": tiny(output="detached")}, "classifier"),
        ({"target": 0, "diversity": float("inf")}, "invalid-value"),
        ({"target": 0, "diversity": float("nan")}, "invalid-value"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(settings, code):
    with pytest.raises(InputError) as error:
        found(**settings)
    assert error.value.code == code
    assert "\n" not in str(error.value)


def test_a_spectrum_excites_a_class_too():
    one = found(target=0, prior="spectrum", recipe=PIXELS)
    assert one.numbers["excitation"] > float(tiny()(random_pictures())[:, 0].max())
    assert 0 <= float(one.image.min()) <= float(one.image.max()) <= 1


@pytest.mark.parametrize("prior", ["deep", "spectrum", "none"])
def test_altered_copies_are_said_and_excite_as_well(prior):
    recipe = THIN if prior == "deep" else PIXELS
    run = maximize(classifier=tiny(), size=SIZE, recipe=recipe, device="cpu", target=0, copies=3, prior=prior)
    assert "3 altered copies a step" in run.remarks[0]
    assert run.run().numbers["excitation"] > float(tiny()(random_pictures())[:, 0].mean())


def test_several_images_differ_and_are_written_beside_the_first(tmp_path):
    once = [found(target=0, count=k, steps=1).image for k in (1, 3)]
    torch.testing.assert_close(*once, atol=1e-4, rtol=0)
    alike, unlike = (found(target=0, count=3, diversity=d) for d in (0.0, 5.0))
    assert len(alike.others) == len(unlike.others) == 2
    assert not torch.allclose(alike.image, alike.others[0].image, atol=1e-3)
    assert len(unlike.numbers["excitations"]) == unlike.numbers["count"] == 3
    spread = [torch.cat([one.image, *(each.image for each in one.others)]) for one in (alike, unlike)]
    gram = [float(likeness(tiny().features(each, "block2")).mean()) for each in spread]
    assert gram[1] < gram[0]
    write_images(alike, tmp_path / "a.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-2.png", "a-3.png", "a.png"]


def test_likeness_is_1_of_equals():
    x = torch.rand(1, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(likeness(x.expand(3, -1, -1, -1)), torch.ones(3))
    assert float(likeness(torch.cat([x, x.flip(1)]))[0]) < 1
    torch.testing.assert_close(likeness(x), torch.zeros(1))


@pytest.mark.parametrize(
    ("settings", "copies"),
    [
        ({"size": (96, 100)}, 4),
        ({"size": (96, 100), "prior": "tv", "recipe": PIXELS}, 4),
        ({"size": (96, 100), "prior": "none", "recipe": PIXELS}, 0),
        ({"size": (96, 100), "copies": 1}, 1),
        ({"size": (95, 100)}, 0),
        ({"size": (96, 100), "recipe": "paper"}, 0),
    ],
)
def test_copies_by_default_are_of_large_images_under_a_prior(settings, copies):
    given = {"classifier": tiny(), "recipe": THIN, "device": "cpu", "target": 0} | settings
    remark = maximize(**given).remarks[0]
    assert (f"{copies} altered copies" in remark) if copies else ("altered" not in remark)
