"""Inversion: what a layer keeps comes back; sheets of several layers; the rivals of the deep prior."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from classifiers.small import tiny
from explain.small import BRIEF, PIXELS, THIN, picture
from PIL import Image

from preimage.engine.checkpoint import load, save
from preimage.engine.recipe import Recipe
from preimage.errors import InputError
from preimage.explain.inputs import one_picture
from preimage.explain.invert import invert
from preimage.explain.maximize import maximize
from preimage.explain.options import summary_lines
from preimage.explain.run import Layers, blocks_of
from preimage.images import read

LAYERS = ["block1", "block2", "head"]
SHORT = replace(THIN, steps=10)


def found(**settings):
    given = {"classifier": tiny(), "layers": "block1", "recipe": THIN, "device": "cpu"} | settings
    return invert(picture(), **given).run()


def test_a_shallow_layer_gives_the_picture_back():
    one = found(recipe=replace(THIN, steps=100))
    assert one.numbers["feature_error"] < 0.02
    assert one.numbers["psnr"] > 17
    assert one.image.shape == (1, 3, 32, 32)
    assert list(one.panels) == ["input", "block1, deep prior"]


def test_the_feature_error_is_that_of_the_picture_returned():
    one, classifier = found(), tiny()
    seen, wanted = (classifier.features(x, "block1") for x in (one.image.clamp(0, 1), picture()[None]))
    error = (seen - wanted).square().mean() / wanted.square().mean()
    assert one.numbers["feature_error"] == pytest.approx(float(error), rel=1e-3)


def test_a_deep_layer_keeps_less_than_a_shallow_one():
    shallow, deep = (found(layers=layer, recipe=replace(THIN, steps=50)) for layer in ("block1", "head"))
    assert shallow.numbers["psnr"] > deep.numbers["psnr"] + 3


@pytest.mark.parametrize(("prior", "terms"), [("tv", 2), ("alpha", 3), ("none", 1)])
def test_the_rivals_are_pixels(prior, terms):
    one, deep = found(prior=prior, recipe=PIXELS), found(recipe=replace(THIN, steps=5))
    assert one.recipe.describe()["network"]["kind"] == "Pixels"
    assert one.numbers["prior"] == prior
    assert len(one.history.names) == terms
    assert one.numbers["feature_error"] < 0.1
    assert not torch.allclose(one.image, deep.image, atol=0.01)


def test_total_variation_smooths():
    rough, smooth = (found(prior=prior, layers="block2", recipe=PIXELS).image for prior in ("none", "tv"))
    assert smooth.diff(dim=-1).square().mean() < rough.diff(dim=-1).square().mean()


def test_equal_seeds_give_equal_pictures():
    one, again, other = found(), found(), found(seed=1)
    assert torch.equal(one.image, again.image)
    assert not torch.equal(one.image, other.image)


def test_layers_from_shallow_to_deep():
    assert blocks_of(tiny(), picture()[None]) == LAYERS


# ---------------------------------------------------------------------- sheets


def sheet(layers=LAYERS, **settings) -> Layers:
    return invert(picture(), layers=layers, **{"classifier": tiny(), "recipe": SHORT, "device": "cpu"} | settings)


def test_a_sheet_has_a_panel_for_each_layer_and_the_pictures_of_each_alone():
    whole = sheet().run()
    assert list(whole.panels) == ["input", *(f"{layer}, deep prior" for layer in LAYERS)]
    assert [each["layer"] for each in whole.numbers["layers"]] == LAYERS
    for layer in LAYERS:
        assert torch.equal(whole.panels[f"{layer}, deep prior"], found(layers=layer, recipe=SHORT).image[0].clamp(0, 1))
    assert torch.equal(whole.image, found(layers="head", recipe=SHORT).image)
    lines = summary_lines(whole)
    assert [line.split()[0] for line in lines] == LAYERS
    assert all("feature error" in line for line in lines)


@pytest.mark.parametrize("stop", [4, 10, 25])
def test_a_sheet_resumes_bit_for_bit(tmp_path, stop):
    whole, begun, resumed = sheet(), sheet(), sheet()
    for number, _ in enumerate(begun, 1):
        if number == stop:
            break
    save(begun, tmp_path / "a.checkpoint")
    load(resumed, tmp_path / "a.checkpoint")
    assert sum(1 for _ in resumed) == 3 * SHORT.steps - stop
    first, second = whole.run(), resumed.result()
    for name, panel in first.panels.items():
        assert torch.equal(panel, second.panels[name]), name
    assert torch.equal(first.image, second.image)


def test_a_sheet_begun_shows_what_there_is():
    begun = sheet()
    with pytest.raises(InputError, match="before the first step"):
        begun.result()
    for number, _ in enumerate(begun, 1):
        if number == SHORT.steps + 3:
            break
    assert list(begun.result().panels) == ["input", "block1, deep prior", "block2, deep prior"]
    assert not begun.finished


def test_a_sheet_of_other_layers_does_not_take_the_checkpoint(tmp_path):
    begun = sheet()
    next(iter(begun))
    save(begun, tmp_path / "a.checkpoint")
    with pytest.raises(InputError, match="was made with layer"):
        load(sheet(["block1", "head"]), tmp_path / "a.checkpoint")


# ---------------------------------------------------------------------- pictures of every kind


def test_gray_stays_gray():
    one = invert(picture()[:1], classifier=tiny(), layers="block1", recipe=THIN, device="cpu").run()
    assert one.image.shape == (1, 1, 32, 32)


@pytest.mark.parametrize(("white", "said"), [(4095, True), (16000, True), (65535, False)])
def test_16_bits_of_which_few_are_used_are_said_to_be_dark(white, said):
    values = np.linspace(0, white, 32 * 32 * 3).reshape(32, 32, 3).astype(np.uint16)
    assert any("--range" in remark for remark in one_picture(values).remarks) == said
    assert not any("--range" in remark for remark in one_picture(values, (0, white)).remarks)


@pytest.mark.parametrize("make", [partial(invert, layers="block1"), partial(invert, layers=["block1", "block2"])])
def test_16_bit_is_written_back_as_it_came(make, tmp_path):
    values = (picture().permute(1, 2, 0).numpy() * 65535).astype(np.uint16)
    one = make(values, classifier=tiny(), recipe=THIN, device="cpu").run()
    assert one.to_array().dtype == np.uint16
    one.save(tmp_path / "a.png")
    assert read(tmp_path / "a.png").dtype == np.uint16


def test_a_picture_much_larger_is_inverted_at_the_size_that_is_looked_at(tmp_path):
    one = invert(picture(160, 200), classifier=tiny(size=(32, 32)), layers="block1", recipe=BRIEF, device="cpu").run()
    assert one.image.shape == one.given.shape == (1, 3, 28, 36)
    one.save(tmp_path / "a.png")


def test_alpha_of_a_larger_picture_goes_along(tmp_path):
    image = Image.fromarray(np.full((160, 160, 4), 200, np.uint8))
    one = invert(image, classifier=tiny(size=(32, 32)), layers="block1", recipe=BRIEF, device="cpu").run()
    assert read(one.save(tmp_path / "a.png")).tensor.shape[-2:] == one.image.shape[-2:]


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"layers": "block9"}, "layer"),
        ({"layers": "unused"}, "layer"),
        ({"layers": ""}, "layer"),
        ({"layers": 3}, "layer"),
        ({"prior": "smooth"}, "invalid-value"),
        ({"classifier": tiny(output="detached")}, "classifier"),
        ({"seed": -1}, "invalid-value"),
        ({"recipe": Recipe(steps=1), "device": "abacus"}, "device"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(settings, code):
    with pytest.raises(InputError) as error:
        found(**settings)
    assert error.value.code == code
    assert "\n" not in str(error.value)


def test_an_empty_sheet_is_none():
    with pytest.raises(InputError) as error:
        sheet([])
    assert error.value.code == "layer"


def test_a_maximization_is_no_checkpoint_of_an_inversion(tmp_path):
    begun = maximize(classifier=tiny(), target=0, size=(32, 32), recipe=BRIEF, device="cpu")
    next(iter(begun))
    save(begun, tmp_path / "a.checkpoint")
    with pytest.raises(InputError, match="was made with"):
        load(invert(picture(), classifier=tiny(), layers="block1", recipe=BRIEF), tmp_path / "a.checkpoint")
