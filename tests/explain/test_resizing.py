"""Images that are no squares, explained by classifiers that crop them, put them in a letterbox or squeeze them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from classifiers.small import Tiny
from explain.small import BRIEF, picture

from preimage.classifiers import Classifier
from preimage.classifiers.resizing import Resizing
from preimage.errors import InputError
from preimage.explain.counterfactual import counterfactual
from preimage.explain.inputs import given_by
from preimage.explain.invert import invert
from preimage.explain.maximize import maximize
from preimage.explain.options import Stated
from preimage.explain.recover import recover

SIZES = ((48, 80), (90, 40), (64, 64))
OPTIONS = {"recipe": BRIEF, "device": "cpu", "layer": "block1"}


def cropping(**settings) -> Classifier:
    return Classifier(Tiny(), 3, size=32, **{"resizing": Resizing("crop", 40), **settings})


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resizing", ["preset", "letterbox", "squeeze"])
def test_the_change_is_at_its_place_in_the_whole_image(resizing, size):
    x = picture(*size)
    found = counterfactual(x, classifier=cropping(), resizing=resizing, **OPTIONS).run()
    assert found.image.shape == (1, 3, *size)
    if resizing != "squeeze":
        assert found.changed.shape == (1, 3, 32, 32)
        frame = given_by(x, cropping(), "cpu", Stated(resizing=resizing)).frame
        outside = frame.back(torch.ones(1, 1, 32, 32))[0, 0] == 0
        assert torch.allclose(found.image[0][:, outside], x[:, outside], atol=1e-6)
        assert bool(outside.any()) == (resizing == "preset")
        assert found.numbers["resizing"] == ("crop" if resizing == "preset" else "letterbox")
        assert found.numbers["seen_share"] == pytest.approx(frame.share, abs=1e-4)
    inside = (found.image[0] - x).abs().sum(0)
    assert float(inside[size[0] // 2, size[1] // 2]) > 0


@pytest.mark.parametrize(
    ("resizing", "words"),
    [
        ("preset", "sees the middle 32 x 32 of 66 x 40, 39 % of the image"),
        ("letterbox", "sees the whole image"),
        ("squeeze", "40 x 24 as 32 x 32"),
    ],
)
def test_what_is_seen_is_said(resizing, words):
    for task in (recover, counterfactual):
        found = task(picture(24, 40), classifier=cropping(), resizing=resizing, **OPTIONS).run()
        assert any(words.replace("39 %", "39%") in remark for remark in found.remarks), found.remarks
    inverted = invert(
        picture(24, 40), classifier=cropping(), layers="block1", resizing=resizing, recipe=BRIEF, device="cpu"
    ).run()
    assert inverted.numbers["resizing"] == ("crop" if resizing == "preset" else resizing)


def test_nothing_is_said_of_an_image_of_the_input_s_proportions():
    for size, given in (((64, 64), Classifier(Tiny(), 3, size=32)), ((64, 80), Classifier(Tiny(), 3))):
        assert not any("resizing" in remark for remark in given_by(picture(*size), given, "cpu").remarks)
    assert given_by(picture(48, 96), Classifier(Tiny(), 3, size=32), "cpu").report() == {"resizing": "squeeze"}


def mask(rows: slice, columns: slice) -> np.ndarray:
    found = np.zeros((48, 96), np.uint8)
    found[rows, columns] = 255
    return found


def test_of_a_mask_that_the_crop_cuts_it_is_said_how_much():
    cut = mask(slice(16, 32), slice(0, 48))
    for name, words in (("region", "of the region"), ("lesion_mask", "of the lesion mask")):
        found = counterfactual(picture(48, 96), classifier=cropping(), **{name: cut}, **OPTIONS).run()
        (remark,) = [each for each in found.remarks if words in each]
        assert 30 < int(remark.split("%")[0].split()[-1]) < 50
    whole = counterfactual(
        picture(48, 96), classifier=cropping(), region=mask(slice(16, 32), slice(40, 56)), **OPTIONS
    ).run()
    assert not any("of the region" in each for each in whole.remarks)


@pytest.mark.parametrize(
    "place", [(slice(0, 48), slice(0, 12)), (slice(10, 20), slice(84, 96)), (slice(0, 3), slice(0, 96))]
)
@pytest.mark.parametrize("name", ["region", "lesion_mask"])
def test_a_mask_outside_of_the_crop_is_refused_and_seen_in_a_letterbox(name, place):
    options = {"classifier": cropping(), name: mask(*place), **OPTIONS}
    with pytest.raises(InputError, match="letterbox") as error:
        counterfactual(picture(48, 96), **options)
    assert error.value.code == "mask"
    if place[0] != slice(0, 3):
        assert counterfactual(picture(48, 96), resizing="letterbox", **options).run().image.shape == (1, 3, 48, 96)


def test_a_region_is_where_it_was_painted():
    region = mask(slice(16, 32), slice(40, 56))
    x = picture(48, 96)
    changed = counterfactual(x, classifier=cropping(), region=region, **OPTIONS).run().image[0] - x
    outside = torch.nn.functional.max_pool2d(torch.from_numpy(region)[None].float(), 9, 1, 4)[0] == 0
    assert float(changed.abs().sum(0)[outside].max()) < 0.02
    assert float(changed.abs().sum(0)[20:28, 44:52].min()) > 0


@pytest.mark.parametrize("resizing", ["pad", 3, None])
def test_another_resizing_is_one_line(resizing):
    with pytest.raises(InputError, match="resizing"):
        given_by(picture(), cropping(), "cpu", Stated(resizing=resizing))


def test_of_an_image_that_is_made_nothing_is_cropped():
    found = maximize(classifier=cropping(), target=1, recipe=BRIEF, device="cpu").run()
    squeezing = maximize(classifier=cropping(resizing="squeeze"), target=1, recipe=BRIEF, device="cpu").run()
    assert found.image.shape == (1, 3, 32, 32)
    assert torch.equal(found.image, squeezing.image)


def test_a_second_classifier_judges_what_the_first_one_sees():
    numbers = [
        counterfactual(picture(48, 80), classifier=cropping(), second_classifier=cropping(resizing=other), **OPTIONS)
        .run()
        .numbers
        for other in ("squeeze", Resizing("crop", 64))
    ]
    assert (
        numbers[0]["transfer_after"]
        == numbers[1]["transfer_after"]
        == pytest.approx(numbers[0]["confidence"], abs=1e-5)
    )
