"""Fit: members, determinism, averaging, divergence, trainable operators, and what comes out."""

from __future__ import annotations

import copy
import io
from dataclasses import replace

import pytest
import torch
from specimens import THIN, THIN_ADAM, THIN_MASKED, StopApart, clean, fit_of, noisy

from preimage.codes import Noise
from preimage.distances import absolute
from preimage.engine.fit import Fit
from preimage.engine.members import Members
from preimage.engine.recipe import Recipe
from preimage.errors import InputError
from preimage.metrics import psnr
from preimage.networks import SkipNet
from preimage.prior import Prior
from preimage.problem import Problem, join
from preimage.stopping import after, held_out, risk


def images_of(fit: Fit) -> list[torch.Tensor]:
    return [step.image for step in fit]


@pytest.mark.parametrize("recipe", [THIN, THIN_ADAM, THIN_MASKED], ids=["muon", "adam", "masked"])
def test_it_learns_the_picture_before_the_noise(recipe):
    target = noisy(64)
    result = fit_of(target, replace(recipe, steps=150)).run()
    assert float(psnr(result.image, clean(64))) > float(psnr(target, clean(64))) + 3


def test_equal_seeds_equal_bits_and_other_seeds_other_pictures():
    first, second, other = (fit_of(noisy(), seed=seed).run().image for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.allclose(first, other, atol=1e-3)


@pytest.mark.parametrize("stacks", [True, False])
def test_a_member_does_not_depend_on_its_neighbors(stacks):
    """From equal weights each step agrees; rounding grows over a fit, so that the fourth agrees in its loss only."""
    target = torch.cat([noisy(), clean(), noisy(sigma=0.3)])

    def first_steps(members: int) -> tuple[torch.Tensor, torch.Tensor]:
        size = (32, 32)
        network = SkipNet.Config(down=(16,) * 3, up=(16,) * 3, skip=(4,) * 3)
        prior = Prior(lambda: network(8, 3, *size), Noise(8), size, members=members, jitter=1 / 30)
        fit = Fit(Problem(target[:members]), prior, recipe=THIN_ADAM)
        fit.members = Members(prior, stacks and members > 1)
        steps = [step for step, _ in zip(fit, range(4), strict=False)]
        return steps[0].image[0], torch.stack([step.loss[0] for step in steps])

    (image, losses), (image_of_three, losses_of_three) = first_steps(1), first_steps(3)
    assert torch.allclose(image, image_of_three, atol=1e-5)
    assert torch.allclose(losses, losses_of_three, rtol=0.01)


def test_stopped_members_leave_the_computation():
    fit = fit_of(noisy(), rule=StopApart(5, 30), restarts=3)
    steps = list(fit)
    assert fit.stopped == [5, 30, 30]
    loss = fit.history["loss"]
    assert bool(torch.isfinite(loss[:5]).all())
    assert bool(loss[5:, 0].isnan().all())
    assert bool(torch.isfinite(loss[:, 1:]).all())
    assert steps[10].active == (False, True, True)


def test_a_fit_is_an_iterator():
    fit = fit_of(noisy(), rule=after(3))
    assert iter(fit) is fit
    assert [next(fit).index, next(fit).index, *(step.index for step in fit)] == [1, 2, 3]
    assert fit.finished
    assert next(fit, None) is None
    assert (fit.current, fit.number) == (fit, 0)


@pytest.mark.parametrize("recipe", [THIN, THIN_ADAM, THIN_MASKED], ids=["muon", "adam", "masked"])
def test_a_copy_that_goes_on_is_the_fit_that_goes_on_and_changes_nothing(recipe):
    plain, watched = (fit_of(noisy(), recipe, rule=after(10), restarts=2) for _ in range(2))
    straight = list(fit_of(noisy(), recipe, rule=after(15), restarts=2))
    expected = plain.run()
    for _ in watched:
        pass
    longer = watched.extended(after(15), steps=15)
    steps = list(longer)
    assert [step.index for step in steps] == [11, 12, 13, 14, 15]
    assert all(torch.equal(ours.average, theirs.average) for ours, theirs in zip(steps, straight[10:], strict=True))
    result = watched.result()
    assert torch.equal(result.image, expected.image)
    assert (result.steps, result.kept_step, len(result.history)) == (10, [10, 10], 10)
    for ours, theirs in zip(result.weights, expected.weights, strict=True):
        assert all(torch.equal(value, theirs["network"][name]) for name, value in ours["network"].items())


def test_a_copy_can_go_on_beyond_the_maximum_number_of_steps_with_all_members():
    fit = fit_of(noisy(), rule=StopApart(5, 30), restarts=2)
    fit.run()
    steps = list(fit.extended(after(40), steps=40))
    assert [step.index for step in steps] == list(range(31, 41))
    assert all(step.active == (True, True) for step in steps)
    assert len(list(fit.extended(after(40)))) == 1  # the recipe's number of steps is the maximum otherwise


def test_a_copy_made_in_the_middle_leaves_the_fit_as_it_is():
    plain, watched = (fit_of(noisy(), rule=held_out(), restarts=2) for _ in range(2))
    for step in watched:
        if step.index % 10 == 5:
            watched.extended(after(step.index + 3)).run()
            watched.result()
    assert torch.equal(plain.run().image, watched.result().image)


def test_restarts_are_those_of_the_recipe_and_divide_the_members():
    recipe = replace(THIN, restarts=2, steps=2)
    assert fit_of(torch.cat([noisy(), clean()]), recipe).run().image.shape[0] == 2
    with pytest.raises(InputError) as caught:
        Fit(Problem(noisy()), recipe.prior(3, (32, 32), members=3, device="cpu"), recipe=recipe)
    assert caught.value.code == "invalid-value"


def test_unlike_images_are_fitted_as_each_alone():
    """Each by its own noise, weights and distance; the first has the same random numbers in both."""
    weight = (torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)) < 0.7).float()
    problems = [
        Problem(noisy(), weight=weight, noise_level=0.01),
        Problem(clean(), distance=absolute, weight=1 - weight, noise_level=0.02),
    ]
    recipe = replace(THIN, steps=3, restarts=1)

    def losses(problem: Problem, members: int) -> torch.Tensor:
        prior = recipe.prior(3, (32, 32), members=members, device="cpu")
        return Fit(problem, prior, recipe=recipe, rule=risk()).run().history["loss"][:, 0]

    assert torch.allclose(losses(join(problems), 2), losses(problems[0], 1), rtol=1e-3)


def test_terms_of_one_name_all_count():
    target = noisy()
    twice = Problem(target, regularizers=((0.5, lambda x: x.flatten(1).mean(1)), (0.5, lambda x: x.flatten(1).mean(1))))
    once = Problem(target, regularizers=((1.0, lambda x: x.flatten(1).mean(1)),))
    recipe = replace(THIN, steps=3)
    results = [Fit(p, recipe.prior(3, (32, 32), device="cpu"), recipe=recipe).run() for p in (twice, once)]
    assert torch.allclose(results[0].history["loss"], results[1].history["loss"], rtol=1e-4)
    assert results[0].history.names == ["squared", "<lambda>", "<lambda>_2"]


def test_one_rule_serves_fits_that_go_on_by_turns():
    rule = held_out(0.1, patience=5)
    alone = [fit_of(image, rule=held_out(0.1, patience=5)).run() for image in (noisy(), clean())]
    together = [fit_of(image, rule=rule) for image in (noisy(), clean())]
    while any(not fit.finished for fit in together):
        for fit in together:
            next(fit, None)
    for fit, expected in zip(together, alone, strict=True):
        assert torch.equal(fit.result().image, expected.image)
        assert fit.result().kept_step == expected.kept_step


def test_a_step_is_never_changed_after_it_was_handed_out():
    fit = fit_of(noisy(), restarts=2)
    kept = [(step, copy.deepcopy(step)) for step in fit]
    for step, then in kept:
        assert torch.equal(step.image, then.image)
        assert torch.equal(step.average, then.average)
        assert all(torch.equal(step.terms[name], then.terms[name]) for name in step.terms)


def test_the_average_is_debiased_or_as_published():
    debiased = fit_of(noisy(), replace(THIN, averaging=0.9, steps=3))
    images = images_of(debiased)
    weights = torch.tensor([0.81, 0.9, 1.0])
    expected = sum(w * x for w, x in zip(weights / weights.sum(), images, strict=True))
    assert torch.allclose(debiased.result().image, expected, atol=1e-6)
    published = fit_of(noisy(), replace(THIN, averaging=0.9, steps=3, debiased=False))
    images = images_of(published)
    assert torch.allclose(published.result().image, 0.81 * images[0] + 0.09 * images[1] + 0.1 * images[2], atol=1e-6)
    last = fit_of(noisy(), replace(THIN, averaging=0, steps=3))
    assert torch.equal(images_of(last)[-1], last.result().image)


def test_restarts_are_averaged_and_their_spread_is_the_uncertainty():
    result = fit_of(torch.cat([noisy(), clean()]), restarts=3).run()
    assert result.image.shape == (2, 3, 32, 32)
    assert result.uncertainty is not None
    assert result.uncertainty.shape == (2, 3, 32, 32)
    assert float(result.uncertainty.min()) > 0
    assert fit_of(noisy()).run().uncertainty is None


@pytest.mark.parametrize("restarts", [1, 2])
def test_resuming_is_bit_identical(restarts):
    straight = fit_of(noisy(), rule=held_out(), restarts=restarts)
    expected = straight.run()
    first = fit_of(noisy(), rule=held_out(), restarts=restarts)
    for step in first:
        if step.index == 13:
            break
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second = fit_of(noisy(), rule=held_out(), restarts=restarts)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    resumed = second.run()
    assert torch.equal(resumed.image, expected.image)
    assert torch.equal(resumed.history["loss"].nan_to_num(), expected.history["loss"].nan_to_num())
    assert resumed.reason == expected.reason


def finished_fit(restarts: int, finish) -> Fit:
    prior = THIN.prior(3, (32, 32), members=restarts, device="cpu")
    problem = Problem(noisy(), finish=finish)
    return Fit(problem, prior, recipe=replace(THIN, steps=6), restarts=restarts)


def cut(x: torch.Tensor) -> torch.Tensor:
    return x[..., 2:-2, 3:-5]


def bent(x: torch.Tensor) -> torch.Tensor:
    """Not linear: the mean of what it makes is not what it makes of the mean."""
    return x.clamp(0.4, 0.6)


def restored(x: torch.Tensor) -> torch.Tensor:
    """Known pixels are put back."""
    return torch.where(torch.arange(32) < 20, noisy(), x)


@pytest.mark.parametrize("restarts", [1, 2, 3])
@pytest.mark.parametrize("finish", [cut, bent, restored])
def test_what_is_handed_out_is_finished(finish, restarts):
    fit = finished_fit(restarts, finish)
    steps = list(fit)
    for step in steps:
        assert torch.equal(step.picture, finish(step.mean))
        assert step.image.shape == (restarts, 3, 32, 32)
    result = fit.result()
    assert torch.equal(result.image, steps[-1].picture)
    assert torch.allclose(result.image, finish(torch.cat(fit.outputs.averages).mean(0, keepdim=True)), atol=1e-6)
    if restarts > 1:
        assert result.uncertainty is not None
        assert result.uncertainty.shape == result.image.shape
        spread = torch.stack([finish(each) for each in fit.outputs.averages]).std(0)
        assert torch.allclose(result.uncertainty, spread, atol=1e-6)


def test_what_was_put_back_is_certain_and_exact():
    result = finished_fit(3, restored).run()
    assert torch.equal(result.image[..., :20], noisy()[..., :20])
    assert result.uncertainty is not None
    assert float(result.uncertainty[..., :20].max()) == 0
    assert float(result.uncertainty[..., 20:].min()) > 0


def test_the_fit_itself_knows_nothing_of_the_finish():
    plain = fit_of(noisy(), replace(THIN, steps=6)).run()
    assert torch.equal(finished_fit(1, cut).run().image, cut(plain.image))


def test_a_result_can_start_another_fit():
    first = fit_of(noisy(), replace(THIN, steps=60)).run()
    fresh, warm = fit_of(noisy()), fit_of(noisy(), initial=first)
    assert float(next(iter(warm)).loss) < 0.5 * float(next(iter(fresh)).loss)


def test_bfloat16_keeps_losses_and_pictures_in_float32():
    fit = fit_of(noisy(), replace(THIN, precision="bfloat16", steps=3))
    step = next(iter(fit))
    assert step.image.dtype == step.loss.dtype == torch.float32
    assert fit.result().precision == "bfloat16"


def test_too_large_a_picture_is_one_line_before_the_first_step(monkeypatch):
    monkeypatch.setattr("preimage.engine.memory.free_memory", lambda device: 1_000_000)
    with pytest.raises(InputError, match="tile") as caught:
        fit_of(noisy()).run()
    assert caught.value.code == "memory"


@pytest.mark.parametrize(
    "network", [None, lambda a, b, h, w: torch.nn.Sequential(torch.nn.Conv2d(a, b, 1), torch.nn.Sigmoid())]
)
def test_any_network_serves(network):
    recipe = replace(THIN, network=network or THIN.network, code=Noise(4))
    assert fit_of(noisy(17), recipe).run().image.shape == (1, 3, 17, 17)


def test_no_result_before_the_first_step():
    with pytest.raises(InputError, match="before the first step"):
        fit_of(noisy()).result()


def test_the_published_recipe_is_the_default():
    recipe = Recipe()
    assert isinstance(recipe.network, SkipNet.Config)
    assert (recipe.rate, recipe.steps, recipe.jitter, recipe.averaging) == (0.01, 3000, 1 / 30, 0.99)


def test_memory_that_was_kept_for_the_steps_is_given_back_at_the_end_and_once(monkeypatch):
    kept, given = [], []
    monkeypatch.setattr("preimage.engine.fit.keep_freed_memory", lambda: kept.append(1))
    monkeypatch.setattr("preimage.engine.fit.give_back_memory", lambda: given.append(1))
    fit = fit_of(noisy())
    steps = iter(fit)
    next(steps)
    assert (len(kept), len(given)) == (1, 0)
    for _ in steps:
        pass
    assert (len(kept), len(given)) == (1, 1)
    del fit, steps
    assert (len(kept), len(given)) == (1, 1)


def test_memory_is_looked_at_before_the_first_step_and_not_again(monkeypatch):
    looked: list[int] = []
    monkeypatch.setattr("preimage.engine.fit.check_memory", lambda prior, recipe: looked.append(len(prior)))
    fit = fit_of(noisy())
    assert not looked
    steps = iter(fit)
    for _ in range(3):
        next(steps)
    assert looked == [1]


def test_the_prior_is_told_what_is_restored_and_where_it_is_known(monkeypatch):
    told = []
    monkeypatch.setattr(Prior, "set_image", lambda self, image, weight=None: told.append((image, weight)))
    target, weight = noisy(), torch.ones(1, 1, 32, 32)
    prior = THIN.prior(3, (32, 32), device="cpu")
    told.clear()
    Fit(Problem(target, weight=weight), prior, recipe=THIN)
    ((image, known),) = told
    assert torch.equal(image, target)
    assert torch.equal(known, weight)


def test_what_is_read_now_and_then_is_read_at_the_last_step():
    fit = fit_of(noisy(), replace(THIN, steps=12))
    fit.read_every = 10
    assert len(list(fit)) == 12
    assert fit.result().steps == 12


def test_the_seconds_of_a_step_are_those_of_the_fit():
    fit = fit_of(noisy(), replace(THIN, steps=5))
    seconds = [step.seconds for step in fit]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0
    assert seconds[-1] <= fit.seconds


def test_a_fit_has_as_many_steps_as_its_last_member():
    recipe = replace(THIN, steps=12)
    prior = recipe.prior(3, (32, 32), members=2, device="cpu")
    fit = Fit(Problem(noisy()), prior, recipe=recipe, restarts=2, rule=StopApart(3, 9))
    result = fit.run()
    assert min(fit.stopped) < max(fit.stopped) == result.steps


def test_a_result_is_a_copy_of_what_is_kept():
    fit = fit_of(noisy(), replace(THIN, steps=4))
    before = fit.run().image.clone()
    fit.result().image.add_(1)
    assert torch.equal(fit.result().image, before)


def test_the_first_step_says_nothing_of_a_score_and_later_ones_do():
    rule = held_out()
    statuses = [step.status for step in fit_of(noisy(), replace(THIN, steps=4), rule=rule)]
    assert statuses[:3] == ["", rule.name, rule.name]  # it has not looked yet
    assert float(statuses[3].removeprefix(f"{rule.name} ")) > 0
