"""Tiles: each a fit of its own, blended; they agree with the whole, and can be resumed from within any of them."""

from __future__ import annotations

import io
import random
import time
import weakref
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import pytest
import torch
from specimens import THIN, clean, fit_of, noisy

from preimage.engine.checkpoint import load, save
from preimage.errors import InputError
from preimage.images import as_picture
from preimage.networks import Pixels
from preimage.restore.denoise import denoise
from preimage.restore.inpaint import inpaint
from preimage.series.layout import tile_seed
from preimage.series.tiles import Tiles
from preimage.stopping import ScoreTracker, StoppingRule, after, held_out

SHORT = replace(THIN, steps=6)
PIXELS = replace(
    THIN, network=Pixels.Config(), jitter=0.0, jitter_pool=None, steps=150, rate=0.1, averaging=0.0, stop="steps"
)
known_noise = partial(denoise, noise="gaussian", sigma=0.1, recipe=SHORT, device="cpu", tile=None)


def alone(part, *, page: int, seed: int, **options):
    """The fit of one tile."""
    del page
    return known_noise(part, seed=seed, **{"stop": after()} | options)


def tiles_of(image: torch.Tensor | None = None, **options) -> Tiles:
    make = options.pop("make", alone)
    return Tiles(make, noisy(48) if image is None else image, **{"side": 32, "overlap": 8} | options)


@dataclass(frozen=True, kw_only=True, eq=False)
class Given(StoppingRule):
    """Keeps what was given, so that a tile's result is known."""

    picture: torch.Tensor

    name = "given"

    def score(self, step):
        return step.loss

    def start(self, problem, *, members, total, seed=0, streams=None):
        return problem, GivenTracker(self, members=len(members), total=total)


class GivenTracker(ScoreTracker):
    rule: Given

    def decide(self, step, numbers):
        super().decide(step, numbers)
        self.best, self.kept_step = self.rule.picture, [step.index]
        return [True] * len(step.active)


def given_back(part, *, page, seed):
    del page
    return fit_of(part.tensor, SHORT, rule=Given(picture=part.tensor), seed=seed)


# ---------------------------------------------------------------------- tiles agree with the whole


@pytest.mark.parametrize(("height", "width", "overlap"), [(48, 48, 15), (33, 70, 3), (16, 65, 0), (80, 31, 8)])
def test_tiles_that_give_back_what_they_got_are_the_picture_bit_for_bit(height, width, overlap):
    image = noisy(80)[..., :height, :width]
    result = tiles_of(image, make=given_back, overlap=overlap).run()
    assert torch.equal(result.image, image)


def test_without_a_network_tiles_are_the_whole():
    whole = known_noise(noisy(48), recipe=PIXELS, stop=after()).run().image
    result = tiles_of(make=partial(alone, recipe=PIXELS)).run()
    assert torch.allclose(result.image, whole, atol=1e-3)
    assert torch.allclose(result.image, noisy(48), atol=1e-3)


def test_a_penalty_is_as_strong_in_a_tile_as_in_the_whole():
    """E is a mean over the valid pixels and a regularizer one over all: the weight that is meant is that of the whole."""
    run = denoise(noisy(48), sigma=0.1, tv=0.02, recipe=SHORT, device="cpu", tile=(32, 8))
    assert isinstance(run, Tiles)
    assert run.current.problem.regularizers[0][0] == pytest.approx(0.02)
    mask = torch.zeros(1, 1, 48, 48)
    mask[..., :8, :8] = mask[..., 40:, :] = 1
    run = inpaint(noisy(48), mask=mask, mask_white="missing", tv=0.02, recipe=SHORT, device="cpu", tile=(32, 8))
    assert isinstance(run, Tiles)
    whole, tile = (48 * 40 - 64) / 48**2, (32**2 - 64) / 32**2  # valid
    assert run.current.problem.regularizers[0][0] == pytest.approx(0.02 * whole / tile)


def test_a_tile_is_the_fit_of_that_part_alone():
    run = tiles_of()
    result = run.run()
    corner = known_noise(noisy(48)[..., 16:, 16:], stop=after(), seed=tile_seed(0, 3)).run().image
    assert torch.equal(result.image[..., 32:, 32:], corner[..., 16:, 16:])  # where no other tile is


def test_a_tile_does_not_depend_on_its_neighbours():
    other = noisy(48).clone()
    other[..., :, 32:] = 1 - other[..., :, 32:]
    a, b = (tiles_of(image).run().image for image in (noisy(48), other))
    assert torch.equal(a[..., :, :16], b[..., :, :16])
    assert not torch.equal(a[..., :, 32:], b[..., :, 32:])


def test_equal_parts_have_errors_of_their_own():
    flat = 0.5 + 1e-4 * noisy(32).repeat(1, 1, 1, 2)
    result = tiles_of(flat, overlap=0).run()
    assert not torch.equal(result.image[..., :32], result.image[..., 32:])
    again = tiles_of(flat, overlap=0).run()
    assert torch.equal(result.image, again.image)
    other = tiles_of(flat, overlap=0, seed=1).run()
    assert not torch.equal(result.image, other.image)


# ---------------------------------------------------------------------- steps and stops


def test_tiles_stop_by_themselves():
    def make(part, *, page, seed):
        return alone(part, page=page, seed=seed, stop=after(2 + int(4 * float(part.tensor.mean() > 0.5))))

    image = torch.cat([0.1 + 1e-4 * noisy(32), 0.9 + 1e-4 * noisy(32)], -1)
    run = tiles_of(image, make=make, overlap=0)
    steps = list(run)
    result = run.result()
    assert result.kept_step == [2, 6]
    assert result.steps == len(steps) == 8
    assert result.reason.startswith("2 tiles, kept steps 2 to 6, half of them by 2; the first: ")
    assert run.described()["kept_steps"] == [[2], [6]]
    assert bool(torch.isnan(result.history["loss"][2:, 0]).all())


def test_steps_are_counted_on_and_show_the_whole_picture():
    run = tiles_of()
    steps, seen = [], []
    for step in run:
        steps.append((step.index, step.total, step.seconds, step.status, step.picture))
        seen.append(torch.equal(run.part(step.picture)[..., :8, :8], step.mean[..., :8, :8]))
    result = run.result()
    assert [each[0] for each in steps] == list(range(1, 25))
    assert {each[1] for each in steps} == {24}
    assert all(a[2] < b[2] for a, b in pairwise(steps))
    assert steps[7][3].startswith("tile 2 of 4")
    shown = steps[7][4]
    assert all(seen[:6])  # the first tile's corner is its own
    assert torch.equal(shown[..., :16, :16], result.image[..., :16, :16])
    assert torch.equal(shown[..., 40:, :], noisy(48)[..., 40:, :])
    assert torch.equal(steps[-1][4], result.image)
    assert run.finished


def test_one_fit_stands_at_a_time():
    made = []

    def make(part, *, page, seed):
        assert not [fit for fit in made if fit().index]
        fit = alone(part, page=page, seed=seed)
        made.append(weakref.ref(fit, made.remove))
        return fit

    assert len(list(tiles_of(make=make))) == 24


def test_before_the_end_other_tiles_are_as_given():
    run = tiles_of()
    with pytest.raises(InputError):
        run.result()
    for step in run:
        if step.index == 8:
            break
    result = run.result()
    assert torch.equal(result.image[..., 32:, :], noisy(48)[..., 32:, :])
    assert not torch.equal(result.image[..., :32, 32:], noisy(48)[..., :32, 32:])
    assert result.reason.startswith("ended on tile 2 of 4: interrupted at step 2; kept")
    assert result.reason.endswith("the tiles after it are as given")
    assert not run.finished


def of_two_fits() -> Tiles:
    return tiles_of(make=partial(alone, restarts=2, stop=held_out()))


@pytest.fixture(scope="module")
def straight() -> Tiles:
    """Tiles that have never stopped."""
    whole = of_two_fits()
    whole.run()
    return whole


@pytest.mark.parametrize("broken_at", [6, 8, 9, "random"])
def test_resumed_tiles_end_bit_for_bit_as_if_they_had_never_stopped(tmp_path, straight, broken_at):
    count, expected = straight.index, straight.result()
    broken_at = random.Random(time.time_ns()).randint(1, count) if broken_at == "random" else broken_at
    first = of_two_fits()
    for step in first:
        if step.index == broken_at:
            save(first, tmp_path / "a.checkpoint")
            break
    second = of_two_fits()
    load(second, tmp_path / "a.checkpoint")
    assert [step.index for step in second] == list(range(broken_at + 1, count + 1))
    result = second.result()
    assert torch.equal(result.image, expected.image), broken_at
    assert torch.equal(result.uncertainty, expected.uncertainty)  # pyright: ignore
    assert torch.equal(result.history["loss"].nan_to_num(-1), expected.history["loss"].nan_to_num(-1))
    assert (result.reason, result.kept_step, result.steps) == (expected.reason, expected.kept_step, expected.steps)


def test_a_state_is_plain_and_of_this_tiling(tmp_path):
    run = tiles_of()
    for step in run:
        if step.index == 8:
            break
    buffer = io.BytesIO()
    torch.save(run.state_dict(), buffer)
    buffer.seek(0)
    again = tiles_of()
    again.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(again.run().image, tiles_of().run().image)
    save(run, tmp_path / "a.checkpoint")
    for other, named in ((tiles_of(overlap=4), "overlap 8, not 4"), (tiles_of(noisy(48).flip(-1)), "input")):
        with pytest.raises(InputError) as caught:
            load(other, tmp_path / "a.checkpoint")
        assert caught.value.code == "checkpoint"
        assert named in str(caught.value)


# ---------------------------------------------------------------------- pages, restarts, what cannot be


def test_pages_are_cut_apart():
    pages = torch.cat([noisy(48), 1 - noisy(48)])
    run = tiles_of(pages, make=given_back)
    assert len(run.places) == 8
    assert torch.equal(run.run().image, pages)
    beside = torch.rand(2, 1, 48, 48)
    seen = []

    def make(part, *, page, seed, flash):
        seen.append(flash.tensor)
        return given_back(part, page=page, seed=seed)

    assert torch.equal(tiles_of(pages, make=make, beside={"flash": beside}).run().image, pages)
    assert torch.equal(seen[-1], beside[1:, :, 16:, 16:])


def test_restarts_tell_the_uncertainty_of_the_whole():
    result = tiles_of(make=partial(alone, restarts=2)).run()
    assert result.uncertainty is not None
    assert result.uncertainty.shape == result.image.shape
    assert bool((result.uncertainty.mean(1) > 0).all())
    assert result.history["loss"].shape == (6, 8)
    assert tiles_of().run().uncertainty is None


@pytest.mark.parametrize(
    ("options", "code", "named"),
    [
        ({"side": 8}, "invalid-value", "8"),
        ({"overlap": 16}, "invalid-value", "16"),
        ({"beside": {"flash": clean(32)}}, "shape", "flash"),
    ],
)
def test_what_cannot_be_is_told(options, code, named):
    with pytest.raises(InputError) as caught:
        tiles_of(**options)
    assert caught.value.code == code
    assert named in str(caught.value)


def test_only_tiles_with_something_missing_are_fitted():
    image = noisy(48).clone()
    image[..., 40:44, 40:44] = float("nan")
    run = tiles_of(as_picture(image, missing=True), make=given_back)
    assert run.order == [3]
    assert run.not_fitted == 3
    assert len(list(run)) == 1
    image[..., 16:, 16:] = float("nan")
    with pytest.raises(InputError) as caught:
        tiles_of(as_picture(image, missing=True), make=given_back)
    assert caught.value.code == "mask"
    assert all(named in str(caught.value) for named in ("columns 16 to 47", "rows 16 to 47"))
