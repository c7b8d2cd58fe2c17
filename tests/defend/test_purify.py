"""Purification: the published settings, pictures as members of one batch, and that a pattern goes before the picture does."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from classifiers.small import tiny
from defend.small import BRIEF
from specimens import clean

from preimage.defend.defence import Purification
from preimage.defend.inspection import Inspecting
from preimage.defend.purification import FAST, PAPER, STEPS, adapted
from preimage.defend.purify import purify, recipes
from preimage.errors import InputError
from preimage.metrics import psnr
from preimage.networks import SkipNet
from preimage.optimizers import muon
from preimage.recipes import recipe
from preimage.stopping import after

THIN = replace(FAST, network=SkipNet.Config((16,) * 3, (16,) * 3, (4,) * 3, upsample="nearest", padding="zeros"))


@pytest.mark.parametrize(("width", "count"), [(128, 1_286_463), (16, 26_575)])
def test_the_published_parameter_counts(width, count):
    network = replace(PAPER.network, down=(width,) * 3, up=(width,) * 3)(32, 3, 32, 32)
    assert network.levels == 3
    assert sum(p.numel() for p in network.parameters()) == count


def test_the_published_settings():
    settings = PAPER.describe()
    assert settings["code"] == {"kind": "Noise", "channels": 32, "scale": 0.1}
    assert (settings["optimizer"], settings["rate"], settings["jitter"]) == ("adam", 0.01, 1 / 30)
    assert (settings["steps"], settings["averaging"], settings["stop"]) == (750, 0.0, "steps")


def test_the_fast_recipe_is_short_and_of_three_levels_at_every_size():
    assert (FAST.steps, FAST.optimizer) == (STEPS, muon)
    assert [FAST.network(32, 3, side, side).levels for side in (16, 32, 224)] == [2, 3, 3]
    assert [recipe.restarts for recipe in recipes().values()] == [1, 2, 4, 1]


def test_pictures_are_members_of_one_fit_and_each_agrees_with_itself_alone():
    pictures = torch.cat([clean(16), clean(16).flip(-1), clean(16).flip(-2)])
    run = purify(pictures, recipe=BRIEF, device="cpu")
    assert len(run.prior) == 3
    result = run.run()
    assert (tuple(result.image.shape), result.task, result.steps) == ((3, 3, 16, 16), "purify", BRIEF.steps)
    alone = purify(pictures[0], recipe=BRIEF, device="cpu").run()
    torch.testing.assert_close(result.image[:1], alone.image, atol=1e-3, rtol=0)


def test_steps_and_rule_that_are_asked_for():
    assert purify(clean(16), recipe=BRIEF, steps=5, device="cpu").run().steps == 5
    assert purify(clean(16), recipe=BRIEF, steps=5, stop=after(2), device="cpu").run().steps == 2
    assert len(purify(clean(16), recipe=BRIEF, restarts=2, device="cpu").prior) == 2


@pytest.mark.parametrize(
    ("size", "steps"),
    [((16, 16), 25), ((32, 32), 25), ((64, 64), 50), ((120, 160), 108), ((224, 224), 125), ((2000, 3000), 125)],
)
def test_a_recipe_by_name_has_more_steps_for_larger_images_and_a_value_never(size, steps):
    for name in ("fast", "balanced", "best"):
        assert adapted(name, size).steps == steps
        assert adapted(name, size, 25).steps == 25
    assert adapted("paper", size).steps == 750
    for value in (FAST, PAPER, replace(FAST, rate=0.1)):
        assert replace(adapted(value, size), stop=value.stop) == value
    without = size[0] >= 192
    assert [adapted("fast", size, given).jitter for given in (None, 25)] == [0 if without else FAST.jitter] * 2
    assert adapted(recipe("fast", jitter=0.01), size).jitter == 0.01
    assert [adapted(name, size).restarts for name in ("fast", "balanced", "best", "paper")] == [1, 2, 4, 1]


def test_every_way_of_purifying_adapts_the_recipe_alike():
    image = clean(40)  # 31 steps, not 25
    found = purify(image, device="cpu").run()
    assert found.steps == adapted("fast", (40, 40)).steps == 31
    assert torch.equal(Purification()(image, 0, [0]), found.image)
    assert not torch.equal(Purification(steps=4)(image, 0, [0]), found.image)
    looked = Inspecting(image, tiny(), every=31, device=torch.device("cpu")).run()[0]
    assert looked.steps == (31,)
    assert purify(image, recipe=BRIEF, device="cpu").run().steps == BRIEF.steps


def test_the_paper_recipe_returns_its_last_output():
    run = purify(clean(16), recipe=replace(PAPER, network=BRIEF.network), steps=3, device="cpu")
    last = list(run)[-1]
    assert torch.equal(run.result().image, last.image)


def test_a_pattern_goes_before_the_picture_does():
    picture = clean(32)
    generator = torch.Generator().manual_seed(0)
    pattern = torch.randint(2, picture.shape, generator=generator) * 2 - 1
    spoiled = (picture + 16 / 255 * pattern).clamp(0, 1)
    found = purify(spoiled, recipe=THIN, steps=60, device="cpu").run().image
    assert float(psnr(found, picture)) > float(psnr(spoiled, picture)) + 2


def test_one_seed_one_picture():
    first, again, other = (purify(clean(16), recipe=BRIEF, seed=seed, device="cpu").run().image for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("image", "options", "words"),
    [
        (torch.rand(1, 3, 12, 32), {}, "16"),
        (2 * torch.rand(1, 3, 32, 32) + 1, {}, "0 to 1"),
        (torch.rand(1, 3, 16, 16), {"steps": 0}, "steps must be at least 1, got 0"),
        (torch.rand(1, 3, 16, 16), {"restarts": 0}, "restarts must be from 1 to 10000, got 0"),
        (torch.rand(1, 3, 16, 16), {"seed": -1}, "seed must be"),
        (torch.rand(1, 3, 16, 16), {"device": "abacus"}, "abacus"),
        ("nowhere.png", {}, "nowhere.png does not exist"),
    ],
)
def test_bad_input_is_one_line(image, options, words):
    with pytest.raises(InputError, match=words) as raised:
        purify(image, **options)
    assert "\n" not in str(raised.value)
