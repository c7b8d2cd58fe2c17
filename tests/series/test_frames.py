"""Frames: page after page, each from the weights of the last; and what `initial=` takes from one fit to the next."""

from __future__ import annotations

import gc
import io
import random
import time
import weakref
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from specimens import THIN, THIN_ADAM, clean, fit_of, noisy

from preimage.engine.checkpoint import load, save
from preimage.engine.fit import Fit
from preimage.errors import InputError
from preimage.images import as_picture
from preimage.networks import SkipNet
from preimage.restore.deblur import deblur
from preimage.restore.denoise import denoise
from preimage.restore.inpaint import inpaint
from preimage.restore.super_resolve import super_resolve
from preimage.series.frames import Frames
from preimage.series.layout import pages_of
from preimage.stopping import after, held_out
from studies.harness.imaging import with_gaussian_noise

SHORT = replace(THIN, steps=8)
known_noise = partial(denoise, noise="gaussian", sigma=0.1, recipe=SHORT, device="cpu")


def frames(count: int = 3, side: int = 32) -> torch.Tensor:
    """One scene that grows darker, each frame with noise of its own."""
    return torch.cat([with_gaussian_noise(clean(side) * (1 - 0.2 * k), 0.1, seed=k) for k in range(count)])


def in_turn(make, pages: torch.Tensor, *, initial=None) -> Frames:
    """Pages whose fits are made by `make(page, initial=...)`, each from the last."""
    picture = as_picture(pages, missing=True)
    given = pages_of(picture)

    def made(number: int, initial) -> Fit:
        return make(given[number], initial=initial)

    unknown = [{}] * len(given), [()] * len(given)
    return Frames(made, picture, fingerprints=unknown[0], remarks=unknown[1], warm=True, initial=initial)


def by_hand(pages: torch.Tensor, **options) -> list[Fit]:
    """What a chain stands for."""
    fits: list[Fit] = []
    for page in pages:
        fits.append(known_noise(page[None], initial=fits[-1].result() if fits else None, **options))
        fits[-1].run()
    return fits


# ---------------------------------------------------------------------- a chain is its fits


@pytest.mark.parametrize("restarts", [1, 2])
def test_a_chain_is_fits_by_hand_each_from_the_last(restarts):
    result = known_noise(frames(), warm_start=True, restarts=restarts).run()
    fits = by_hand(frames(), restarts=restarts)
    each = [fit.result() for fit in fits]
    assert torch.equal(result.image, torch.cat([one.image for one in each]))
    assert result.kept_step == [step for one in each for step in one.kept_step]
    assert result.steps == sum(one.steps for one in each)
    assert result.seconds > 0
    losses = result.history["loss"][:, restarts : 2 * restarts]
    assert torch.equal(losses[: each[1].steps].nan_to_num(-1), each[1].history["loss"].nan_to_num(-1))
    for name, value in each[-1].weights[-1]["network"].items():
        assert torch.equal(result.weights[-1]["network"][name], value)
    if restarts == 1:
        assert result.uncertainty is None
    else:
        assert result.uncertainty is not None
        assert torch.equal(result.uncertainty[1:2], each[1].uncertainty)  # pyright: ignore[reportArgumentType]


def test_an_equal_page_is_known_already():
    still = replace(THIN_ADAM, steps=40, jitter=0.0)
    result = known_noise(torch.cat([noisy(), noisy()]), warm_start=True, recipe=still, stop=after()).run()
    first, second = result.history["loss"].T
    assert float(second[0]) < float(first[-1])
    assert float(second[0]) < 0.2 * float(first[0])


def test_the_same_scene_under_other_noise_takes_fewer_steps():
    make = partial(known_noise, recipe=replace(THIN, steps=200), stop=held_out())
    pages = torch.cat([with_gaussian_noise(clean(), 0.1, seed=k) for k in range(2)])
    cold = make(pages[1:]).run()
    assert make(pages, warm_start=True).run().kept_step[1] < 0.5 * cold.kept_step[0]


def test_pages_keep_their_order_and_begin_where_they_are_told():
    first = known_noise(noisy(16)).run()
    pages = torch.cat([torch.full((1, 3, 16, 16), level) for level in (0.9, 0.1, 0.5)])
    begun = next(iter(known_noise(pages, warm_start=True, initial=first)))
    assert float(begun.loss) == float(next(iter(known_noise(pages[:1], initial=first))).loss)
    levels = (
        known_noise(pages, warm_start=True, recipe=replace(SHORT, steps=60), stop=after()).run().image.mean((1, 2, 3))
    )
    assert torch.allclose(levels, torch.tensor([0.9, 0.1, 0.5]), atol=0.1)


def test_steps_are_counted_on_and_show_all_pages():
    chain = known_noise(frames(), warm_start=True, stop=after())
    steps = list(chain)
    result = chain.result()
    assert [step.index for step in steps] == list(range(1, 25))
    assert {step.total for step in steps} == {24}
    assert all(a.seconds < b.seconds for a, b in pairwise(steps))
    assert steps[9].status.startswith("page 2 of 3")
    shown = steps[9].picture
    assert shown.shape == result.image.shape
    assert torch.equal(shown[0], result.image[0])
    assert torch.equal(shown[2], frames()[2])
    assert not torch.equal(shown[1], result.image[1])
    assert torch.equal(steps[-1].picture, result.image)
    assert result.reason.startswith("3 pages, kept steps 8, 8, 8; ")
    assert (result.reason_code, result.kept_step) == ("steps-done", [8, 8, 8])
    assert chain.finished


def test_one_fit_stands_at_a_time():
    made = []

    def make(page, *, initial):
        gc.collect()
        assert not [fit for fit in made if fit().index]  # none that has run is kept
        fit = known_noise(page, initial=initial)
        made.append(weakref.ref(fit, made.remove))
        return fit

    assert len(list(in_turn(make, frames()))) == 24


def test_a_rule_that_was_given_serves_one_page_after_another():
    given = known_noise(frames(), warm_start=True, stop=held_out()).run()
    fresh = in_turn(lambda page, initial: known_noise(page, initial=initial, stop=held_out()), frames()).run()
    assert torch.equal(given.image, fresh.image)
    assert given.kept_step == fresh.kept_step


# ---------------------------------------------------------------------- reports, and going on later


def chain() -> Frames:
    return known_noise(frames(side=16), warm_start=True, restarts=2, stop=held_out())


@pytest.fixture(scope="module")
def straight() -> Frames:
    """A chain that has never stopped."""
    whole = chain()
    whole.run()
    return whole


@pytest.mark.parametrize("broken_at", [1, 8, 9, 12, "random"])
def test_a_resumed_chain_ends_bit_for_bit_as_if_it_had_never_stopped(tmp_path, straight, broken_at):
    count, expected = straight.index, straight.result()
    broken_at = random.Random(time.time_ns()).randint(1, count) if broken_at == "random" else broken_at
    first = chain()
    for step in first:
        if step.index == broken_at:
            save(first, tmp_path / "a.checkpoint")
            break
    second = chain()
    load(second, tmp_path / "a.checkpoint")
    assert [step.index for step in second] == list(range(broken_at + 1, count + 1))
    result = second.result()
    assert torch.equal(result.image, expected.image), broken_at
    assert torch.equal(result.uncertainty, expected.uncertainty)  # pyright: ignore
    assert torch.equal(result.history["loss"].nan_to_num(-1), expected.history["loss"].nan_to_num(-1))
    assert (result.reason, result.kept_step, result.steps) == (expected.reason, expected.kept_step, expected.steps)


def test_a_fit_goes_on_from_before_its_first_step():
    buffer = io.BytesIO()
    torch.save(known_noise(frames(), warm_start=True, initial=known_noise(noisy()).run()).state_dict(), buffer)
    buffer.seek(0)
    chain = known_noise(frames(), warm_start=True)
    chain.load_state_dict(torch.load(buffer, weights_only=True))
    expected = known_noise(frames(), warm_start=True, initial=known_noise(noisy()).run()).run()
    assert torch.equal(chain.run().image, expected.image)


def test_a_checkpoint_of_pages_apart_is_none_of_pages_in_turn(tmp_path):
    path = tmp_path / "a.checkpoint"
    together, chain = known_noise(frames()), known_noise(frames(), warm_start=True)
    for run, other in ((together, chain), (chain, together)):
        next(iter(run))
        save(run, path)
        with pytest.raises(InputError) as caught:
            load(other, path)
        assert caught.value.code == "checkpoint"
        assert "initial" in str(caught.value)
    save(chain, path)
    with pytest.raises(InputError) as caught:
        load(known_noise(frames().flip(0), warm_start=True), path)
    assert "input" in str(caught.value)


def test_before_the_end_later_pages_are_as_given():
    chain = known_noise(frames(), warm_start=True)
    with pytest.raises(InputError):
        chain.result()
    for step in chain:
        if step.index == 11:
            break
    result = chain.result()
    assert torch.equal(result.image[2], frames()[2])
    assert result.reason.startswith("ended on page 2 of 3: interrupted at step 3; kept")
    assert result.reason.endswith("the pages after it are as given")
    assert not chain.finished


# ---------------------------------------------------------------------- pages that differ


def test_later_pages_are_shown_at_the_size_of_the_result():
    options = {"factor": 2, "recipe": replace(SHORT, steps=2), "device": "cpu", "warm_start": True}
    chain = super_resolve(frames(side=16), **options)
    step = next(iter(chain))
    assert step.picture.shape == chain.result().image.shape == (3, 3, 32, 32)
    assert torch.allclose(step.picture[2].mean(), frames(side=16)[2].mean(), atol=1e-3)
    assert chain.run().image.shape == (3, 3, 32, 32)


def test_what_cannot_be_is_known_before_the_first_step():
    holes = frames()
    holes[0, :, 5:9, 5:9] = float("nan")
    with pytest.raises(InputError) as caught:
        inpaint(holes, recipe=SHORT, device="cpu", warm_start=True)
    assert caught.value.code == "mask"
    assert "page 2" in str(caught.value)


def test_weights_of_another_network_are_told_when_they_are_passed_on():

    def growing(page, *, initial):
        wide = replace(SHORT, network=SkipNet.Config((8,), (8,), (2,)))
        return known_noise(page, initial=initial, recipe=SHORT if initial is None else wide)

    with pytest.raises(InputError) as caught:
        in_turn(growing, frames()).run()
    assert "\n" not in str(caught.value)


def test_pages_of_other_noise_have_terms_and_remarks_of_their_own():
    grains = torch.rand(frames(1).shape, generator=torch.Generator().manual_seed(0))
    salted = torch.where(grains < 0.1, 1.0, torch.where(grains > 0.9, 0.0, clean()))
    pages = torch.cat([noisy(), salted, noisy()])
    result = denoise(pages, recipe=SHORT, device="cpu", stop=after(), warm_start=True).run()
    history = result.history
    assert history.names == ["poisson_nll", "absolute"]
    assert bool(torch.isfinite(history["loss"]).all())
    assert torch.equal(history["loss"][:, 1], history["absolute"][:, 1])
    assert result.remarks[0].startswith("page 1: Poisson")
    assert any(line.startswith("page 2: ") and "mpulse" in line for line in result.remarks)


def test_what_all_pages_say_is_said_once():
    chain = known_noise(frames(), warm_start=True)
    assert chain.remarks == known_noise(frames()).remarks
    assert chain.fingerprint["sigma"] == 0.1
    assert len(set(chain.fingerprint["input"])) == 3


def test_events_name_their_page():
    def make(page, *, initial):
        factors = iter([1, 1, 1, 1, float("nan"), 1, 1, 1])
        fit = fit_of(page.tensor, SHORT, initial=initial)
        fit.descent.problem = replace(fit.problem, operator=lambda x: x * next(factors))
        return fit

    chain = in_turn(make, frames())
    events = [event for step in chain for event in step.events]
    assert [event.partition(": ")[0] for event in events] == [f"page {k}, step 5, fit 1" for k in (1, 2, 3)]
    assert chain.result().history.events == events


def test_pages_carry_their_own_alpha_and_holes():
    rgba = np.full((2, 32, 32), 255, np.uint8)
    rgba[0, 4:8, 4:8] = rgba[1, 8:20, 8:20] = 0
    picture = replace(as_picture(frames(2)), alpha=rgba)
    pages = pages_of(picture)
    assert [int((page.alpha == 0).sum()) for page in pages] == [16, 144]
    assert all(page.units() == picture.units() and page.missing is None for page in pages)
    chain = inpaint(picture, recipe=SHORT, device="cpu", stop=after(), warm_start=True)
    next(iter(chain))
    alpha = chain.result().picture.alpha  # pyright: ignore[reportOptionalMemberAccess]
    assert alpha is not None
    assert int(alpha[0].min()) == 255  # filled
    assert np.array_equal(alpha[1], rgba[1])  # not yet
    assert chain.run().picture.alpha.min() == 255  # pyright: ignore
    whole = inpaint(picture, recipe=SHORT, device="cpu", stop=after()).run().image
    known = torch.from_numpy(rgba == 255)[:, None].expand(-1, 3, -1, -1)
    assert torch.equal(chain.result().image[known], whole[known])


def test_a_picture_beside_has_a_page_for_each_or_one_for_all():
    masks = torch.zeros(2, 1, 32, 32)
    masks[0, :, 4:8], masks[1, :, 20:28] = 1, 1
    make = partial(inpaint, mask_white="missing", recipe=SHORT, device="cpu", stop=after())
    result = make(frames(2), mask=masks, warm_start=True).run()
    first = make(frames()[:1], mask=masks[:1]).run()
    second = make(frames()[1:2], mask=masks[1:], initial=first).run()
    assert torch.equal(result.image, torch.cat([first.image, second.image]))
    shared = make(frames(2), mask=masks[0], warm_start=True).run()
    assert torch.equal(shared.image[0], first.image[0])
    with pytest.raises(InputError) as caught:
        make(frames(3), mask=masks, warm_start=True)
    assert caught.value.code == "shape"


def test_every_page_has_its_fitted_kernel():
    make = partial(deblur, kernel="unknown", kernel_size=5, sigma=0.1, recipe=SHORT, device="cpu", stop=after())
    result = make(frames(2), warm_start=True).run()
    first = make(frames()[:1]).run()
    second = make(frames()[1:2], initial=first).run()
    made = [operator.state_dict()["filter.logits"] for operator in result.operators]
    by_hand = [one.operators[0].state_dict()["filter.logits"] for one in (first, second)]
    assert torch.equal(torch.stack(made), torch.stack(by_hand))
    assert not torch.equal(*made)
