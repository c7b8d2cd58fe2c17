"""Tiles that begin from the weights of the tile before: which do, in what order, and what a checkpoint holds of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from specimens import THIN, THIN_MASKED, clean, noisy

from preimage.engine.checkpoint import load, save
from preimage.engine.fit import Fit
from preimage.images import as_picture
from preimage.metrics import psnr
from preimage.recipes import recipe
from preimage.restore.denoise import USUAL_STEPS, WARM_STEPS, denoise
from preimage.series import tiling
from preimage.series.layout import cut, detail
from preimage.series.tiles import Tiles
from preimage.stopping import after, held_out
from studies.harness.imaging import with_gaussian_noise

THIN_NAMED = recipe("fast", network=THIN.network, steps=6)


def tiles_of(image: torch.Tensor | None = None, **options) -> Tiles:
    given: dict[str, Any] = {"noise": "gaussian", "sigma": 0.1, "tile": (32, 8), "recipe": THIN_NAMED} | options
    run = denoise(noisy(48) if image is None else image, device="cpu", **given)
    assert isinstance(run, Tiles)
    return run


def begun_from(run: Tiles) -> list[list[dict] | None]:
    """With which weights each tile was made, in turn."""
    made, make = [], run.make
    run.make = lambda *part, **given: (made.append(given.get("initial")), make(*part, **given))[1]
    run.run()
    return made


def with_a_constant_tile() -> Tiles:
    """The second of three tiles is constant, as one is whose missing values alone have detail."""
    image = noisy(32).repeat(1, 1, 1, 3)
    image[..., 32:64] = 0.5
    run = tiles_of(image, tile=(32, 0))
    assert run.order == [0, 2, 1]
    run.order = [0, 1, 2]
    return run


def network(weights) -> torch.Tensor:
    return torch.cat([value.flatten().float() for value in weights[0]["network"].values()])


# ---------------------------------------------------------------------- what is handed on


def test_tiles_with_the_most_detail_come_first_so_that_none_begins_from_what_knows_only_flat_parts():
    mild = 0.5 + 0.3 * (clean(80) - 0.5)
    mixed = clean(80).clone()
    mixed[..., :24, 24:56] = mild[..., :24, 24:56]
    run = tiles_of(with_gaussian_noise(torch.cat([mild, mixed]), 0.1))
    assert sorted(run.order) == list(range(18))
    for page in (run.order[:9], run.order[9:]):
        details = [detail(cut(run.picture.tensor, run._region(run.places[number]))) for number in page]
        assert details == sorted(details, reverse=True)
    assert max(run.order[:9]) < min(run.order[9:])
    assert tiles_of(noisy(80), recipe=THIN).order == list(range(9))


def test_a_tile_begins_as_the_function_that_the_one_before_ended_as():
    run, ended = tiles_of(), []
    end = run.end
    run.end = lambda result: (end(result), ended.append(run.last["weights"]))[0]
    made = begun_from(run)
    assert len(made) == len(ended) == 3  # the first was made before, the last is followed by none
    for begun, before in zip(made, ended, strict=True):
        assert begun is not None
        assert torch.equal(network(begun), network(before))
        assert all(each["carried"] for each in begun)
    assert not torch.equal(network(ended[0]), network(ended[1]))


def test_a_page_begins_anew():
    run = tiles_of(torch.cat([noisy(48), 1 - noisy(48)]))
    assert [begun is None for begun in begun_from(run)] == [False] * 3 + [True] + [False] * 3


def test_a_constant_tile_passes_on_what_it_was_given():
    run = with_a_constant_tile()
    second, third = begun_from(run)
    assert second is not None
    assert third is not None
    assert torch.equal(network(second), network(third))
    assert run.result().kept_step[1] == 1


def test_every_member_is_handed_on():
    second = begun_from(tiles_of(restarts=2))[0]
    assert second is not None
    assert len(second) == 2
    assert not torch.equal(network(second[:1]), network(second[1:]))


def test_a_tile_begun_so_is_further_after_the_same_steps():
    image = clean(64)
    warm = tiles_of(noisy(64), tile=(48, 16), recipe=recipe("fast", network=THIN.network, steps=25))
    cold = tiles_of(noisy(64), tile=(48, 16), recipe=warm.recipe, stop="steps")
    better, worse = (float(psnr(run.run().image, image)) for run in (warm, cold))
    assert better > worse + 0.5


# ---------------------------------------------------------------------- where it is on


def test_later_tiles_have_fewer_steps_and_no_rule_of_their_own():
    run = tiles_of(recipe=recipe("fast", network=THIN.network))
    assert run.warm_steps == WARM_STEPS
    second = run.make(as_picture(noisy(32)), page=0, seed=1, initial=run.current.theta.weights())
    assert (second.recipe.steps, second.rule.name, second.usual_steps) == (WARM_STEPS, after().name, WARM_STEPS)
    assert run.current.recipe.steps > WARM_STEPS
    assert run.usual_steps == USUAL_STEPS + 3 * WARM_STEPS
    assert next(run).total == run.current.recipe.steps + 3 * WARM_STEPS
    assert run.result().recipe == run.recipe


@pytest.mark.parametrize(
    "options",
    [
        {"recipe": THIN_MASKED},
        {"recipe": "paper"},
        {"stop": "steps"},
        {"stop": held_out()},
        {"prior": "pixels", "recipe": "fast"},
        {"noise": "impulse", "sigma": None},
        {"initial": "weights"},
    ],
    ids=lambda options: " ".join(map(str, options)),
)
def test_what_was_specified_is_used_as_it_is_in_every_tile(options):
    if "initial" in options:
        options = {"initial": tiles_of(recipe=recipe("fast", network=THIN.network, steps=2)).run()}
    if options.get("noise") == "impulse":
        options["recipe"] = recipe("fast", network=THIN.network, steps=2)
    run = tiles_of(noisy(48), **options)
    assert run.warm_steps is None
    assert run.order == sorted(run.order)
    assert next(run).total == len(run.order) * run.current.recipe.steps


# ---------------------------------------------------------------------- what is repeated and resumed


def test_the_same_call_gives_the_same_bytes_and_a_tile_depends_on_those_before():
    a, b = (tiles_of().run().image for _ in range(2))
    assert torch.equal(a, b)
    other = noisy(48).clone()
    first = tiles_of().places[tiles_of().order[0]]
    rows, columns = (slice(44 * at, 44 * at + 4) for at in (first.row, first.column))
    other[..., rows, columns] = 1 - other[..., rows, columns]  # of the first tile alone
    rows, columns = (slice(44 - 44 * at, 48 - 44 * at) for at in (first.row, first.column))
    assert not torch.equal(tiles_of(other).run().image[..., rows, columns], a[..., rows, columns])


@pytest.mark.parametrize("broken_at", [6, 8, 12, 13, 23])
def test_resumed_tiles_end_bit_for_bit_as_if_they_had_never_stopped(tmp_path, straight, broken_at):
    first = tiles_of()
    for step in first:
        if step.index == broken_at:
            save(first, tmp_path / "a.checkpoint")
            break
    second = tiles_of()
    load(second, tmp_path / "a.checkpoint")
    assert torch.equal(second.run().image, straight.image)
    assert second.result().kept_step == straight.kept_step


@pytest.fixture(scope="module")
def straight():
    return tiles_of().run()


def test_constant_tiles_hand_on_across_a_checkpoint(tmp_path):
    """The weights that a constant tile was begun from are not its own, and must be in the checkpoint."""
    straight, first, second = (with_a_constant_tile() for _ in range(3))
    for step in first:
        if step.index == 7:  # of the constant tile
            save(first, tmp_path / "a.checkpoint")
            break
    load(second, tmp_path / "a.checkpoint")
    assert torch.equal(second.run().image, straight.run().image)


# ---------------------------------------------------------------------- which tiles are chosen


def test_a_large_picture_is_cut_into_such_tiles_even_if_the_whole_would_fit(monkeypatch):
    monkeypatch.setattr(tiling, "SIDES", (40, 32, 24))
    monkeypatch.setattr(tiling, "HANDED_ON", 32)
    monkeypatch.setattr(tiling, "LARGE", 48 * 48 - 1)
    monkeypatch.setattr(tiling, "free_memory", lambda device: 10**12)
    run = tiles_of(tile="auto")
    assert (run.side, run.warm_steps) == (32, 6)
    assert "cut into tiles of 32 pixels, each begun from the one before" in run.remarks[-2]
    whole = denoise(noisy(48), noise="gaussian", sigma=0.1, recipe=THIN_MASKED, device="cpu")
    assert isinstance(whole, Fit)  # a recipe by value: tiles would each begin anew
    monkeypatch.setattr(tiling, "LARGE", 48 * 48)
    assert isinstance(denoise(noisy(48), noise="gaussian", sigma=0.1, recipe=THIN_NAMED, device="cpu"), Fit)
    monkeypatch.setattr(tiling, "free_memory", lambda device: 1000)
    assert denoise(noisy(48), noise="gaussian", sigma=0.1, recipe=THIN_MASKED, device="cpu").size == (48, 48)
    assert "of memory" in tiles_of(tile="auto").remarks[-2]
