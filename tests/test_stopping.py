"""Stopping rules: published numbers, synthetic sequences with a known best step, and what every rule promises."""

from __future__ import annotations

import inspect
import io
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from specimens import THIN, fit_of, noisy

from preimage import checkpoint, fit, problem, recipes, stopping
from preimage.errors import InputError
from preimage.problem import Problem
from preimage.restore import denoise, start
from preimage.step import Step
from preimage.stopping import (
    Rule,
    after,
    discrepancy,
    held_out,
    moving_variance,
    plateau,
    risk,
    windowed_variance,
)

TOTAL = 240
LEVEL = 0.01  # sigma^2 of the synthetic problem


def step_of(
    index: int,
    average: torch.Tensor,
    *,
    image: torch.Tensor | None = None,
    loss: torch.Tensor | float = 1.0,
    total: int = TOTAL,
    active: tuple[bool, ...] | None = None,
) -> Step:
    members = len(average)
    losses = torch.as_tensor(loss, dtype=torch.float32).expand(members)
    return Step(
        index, total, 0.0, average if image is None else image, average, {"loss": losses}, active or (True,) * members
    )


def prepared(rule: Rule, problem: Problem, *, members: int = 1, total: int = TOTAL, seed: int = 0) -> Rule:
    rule.prepare(problem, members=members, size=tuple(problem.target.shape[-2:]), total=total, seed=seed)
    return rule


def follow(rule: Rule, steps: list[Step]) -> list[int]:
    """Show a rule steps as a Fit does, members that have stopped no longer active; where each stopped, 0 for never."""
    stopped = [0] * len(steps[0].active)
    for step in steps:
        stops = rule.look(replace(step, active=tuple(not at for at in stopped)))
        stopped = [at or (step.index if stop else 0) for at, stop in zip(stopped, stops, strict=True)]
        if all(stopped):
            break
    return stopped


def synthetic_fit(members: int = 2) -> tuple[Problem, list[Step]]:
    """The picture is learned fast, its noise slowly: the error to the picture is least somewhere in the middle.

    What is held out is not known to the sequence, so held-out rules see no over-fitting in it; their properties have
    tests of their own.
    """
    generator = torch.Generator().manual_seed(5)
    picture = 0.5 + 0.3 * torch.sin(torch.arange(24) / 4).expand(1, 1, 24, 24)
    target = picture + LEVEL**0.5 * torch.randn(1, 1, 24, 24, generator=generator)
    steps = []
    for index in range(1, TOTAL + 1):
        averages = []
        for member in range(members):
            time = index * (1 + member / 2)
            averages.append(picture * (1 - math.exp(-time / 15)) + (target - picture) * (1 - math.exp(-time / 150)))
        average = torch.cat(averages)
        wiggle = 0.02 * torch.randn(average.shape, generator=generator)
        loss = (average - target).square().flatten(1).mean(1)
        steps.append(step_of(index, average, image=average + wiggle, loss=loss))
    return Problem(target, noise_level=LEVEL), steps


RULES: dict[str, Callable[[], Rule]] = {
    "after": lambda: after(100),
    "windowed": lambda: windowed_variance(10, 30),
    "moving": lambda: moving_variance(0.2, 30),
    "held out": lambda: held_out(0.1, 30),
    "risk": lambda: risk(0.1, 30),
    "discrepancy": lambda: discrepancy(),
    "plateau": lambda: plateau(20, share=0.05),
    "either": lambda: windowed_variance(10, 30) | discrepancy(factor=0.5),
    "nested": lambda: held_out(0.1, 30) | plateau(20, share=0.05) | after(150),
}
each_rule = pytest.mark.parametrize("make", RULES.values(), ids=RULES.keys())


# ---------------------------------------------------------------------- windowed and moving variance


@pytest.fixture(scope="module")
def published(golden: Path) -> tuple[torch.Tensor, int, np.ndarray]:
    stored = np.load(golden / "windowed_variance.npz")
    return torch.from_numpy(stored["sequence"]), int(stored["window"]), stored["variance"]


def scores_of(rule: Rule, sequence: torch.Tensor) -> np.ndarray:
    prepared(rule, Problem(sequence[:1]), total=len(sequence))
    return np.array([float(rule.score(step_of(i, x[None]))) for i, x in enumerate(sequence, 1)])


def test_windowed_variance_is_the_published_one(published):
    sequence, window, expected = published
    scores = scores_of(windowed_variance(window, values=None), sequence)
    assert np.isnan(scores[: window - 1]).all()
    np.testing.assert_allclose(scores[window - 1 :], expected, rtol=1e-5)


def test_a_subset_of_the_values_says_nearly_the_same(published):
    sequence, window, _ = published
    wide = sequence.repeat(1, 1, 8, 8) + 0.02 * torch.randn(260, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    full = scores_of(windowed_variance(window, values=None), wide)[window - 1 :]
    subset = scores_of(windowed_variance(window, values=2048), wide)[window - 1 :]
    np.testing.assert_allclose(subset, full, rtol=0.06)
    assert not np.array_equal(subset, full)


def test_windowed_variance_of_any_window_and_of_each_member(published):
    sequence, _, _ = published
    pair = torch.stack([sequence[:60], sequence[60:120]], 1)  # (steps, members, ...)
    rule = prepared(windowed_variance(7, values=None), Problem(sequence[:1]), members=2)
    for i, images in enumerate(pair, 1):
        score = rule.score(step_of(i, images))
        if i >= 7:
            expected = pair[i - 7 : i].double().var(0, correction=0).flatten(1).mean(1)
            torch.testing.assert_close(score, expected, rtol=1e-5, atol=0)


def test_moving_variance_is_algorithm_2_of_wang_et_al(published):
    """EMA <- (1 - a) EMA + a x;  EMV <- (1 - a) EMV + a (1 - a) |x - EMA_old|^2, per value."""
    sequence, _, _ = published
    alpha = 0.1
    scores = scores_of(moving_variance(alpha, values=None), sequence)
    mean, variance, expected = sequence[0].double().numpy(), 0.0, [math.nan]
    for x in sequence[1:].double().numpy():
        variance = (1 - alpha) * variance + alpha * (1 - alpha) * ((x - mean) ** 2).mean()
        mean = (1 - alpha) * mean + alpha * x
        expected.append(variance)
    known = ~np.isnan(scores)
    assert known[31:].all()
    np.testing.assert_allclose(scores[known], np.array(expected)[known], rtol=1e-9)


def early_flat_phase() -> list[Step]:
    """Hardly moving while the loss is high; then learning; rest, a little restless; then on towards the noise."""
    generator = torch.Generator().manual_seed(1)
    steps, place = [], torch.zeros(1, 1, 16, 16)
    for index in range(1, TOTAL + 1):
        phase = 0 if index <= 40 else 1 if index <= 100 else 2 if index <= 150 else 3
        place = place + (0.0, 0.02, 0.0, 0.01)[phase]
        wiggle = (0.001, 0.005, 0.005, 0.005)[phase] * torch.randn(place.shape, generator=generator)
        loss = (1.0, 1.0 - 0.8 * (index - 40) / 60, 0.2, 0.2 - 0.04 * (index - 150) / 90)[phase]
        steps.append(step_of(index, place + wiggle, loss=loss))
    return steps


VARIANCES = {
    "windowed": lambda guard: windowed_variance(10, 60, guard=guard),
    "moving": lambda guard: moving_variance(0.2, 60, guard=guard),
}


@pytest.mark.parametrize("make", VARIANCES.values(), ids=VARIANCES.keys())
def test_the_guard_passes_a_minimum_before_anything_was_learned(make):
    steps = early_flat_phase()
    guarded, unguarded = (prepared(make(guard), Problem(torch.zeros(1, 1, 16, 16))) for guard in (0.7, 0.0))
    ends = follow(guarded, steps), follow(unguarded, steps)
    assert unguarded.kept_step[0] <= 41
    assert ends[1] == [unguarded.kept_step[0] + 60]
    assert 105 < guarded.kept_step[0] <= 152
    assert ends[0] == [guarded.kept_step[0] + 60]
    assert guarded.best is not None
    assert torch.equal(guarded.best, steps[guarded.kept_step[0] - 1].average)


# ---------------------------------------------------------------------- held-out pixels


def test_held_out_pixels_are_left_out_of_the_data_term():
    target = noisy()
    rule = held_out(0.2)
    given = rule.prepare(Problem(target), members=1, size=(32, 32), total=30, seed=0)
    changed = replace(given, target=torch.where(rule.mask > 0, 1 - target, target))
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(given.data_term(x), changed.data_term(x))
    seen = replace(given, target=torch.where(rule.mask > 0, target, 1 - target))
    assert not torch.allclose(given.data_term(x), seen.data_term(x))


def test_no_gradient_comes_from_held_out_pixels():
    rule = held_out(0.2)
    given = rule.prepare(Problem(noisy()), members=1, size=(32, 32), total=30, seed=0)
    x = torch.rand(1, 3, 32, 32, requires_grad=True)
    given.data_term(x).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad == 0, rule.mask.expand_as(x) > 0)


@pytest.mark.parametrize("share", [0.03, 0.2])
def test_the_share_is_held_out_each_member_its_own(share):
    rule = held_out(share)
    rule.prepare(Problem(torch.rand(1, 1, 128, 128)), members=4, size=(128, 128), total=30, seed=0)
    assert rule.mask.shape == (4, 1, 128, 128)
    assert rule.mask.flatten(1).mean(1).tolist() == pytest.approx([share] * 4, rel=0.15)
    both = (rule.mask[0] * rule.mask[1]).mean()
    assert float(both) == pytest.approx(share**2, rel=0.5)
    again, other = held_out(share), held_out(share)
    again.prepare(Problem(torch.rand(1, 1, 128, 128)), members=4, size=(128, 128), total=30, seed=0)
    other.prepare(Problem(torch.rand(1, 1, 128, 128)), members=4, size=(128, 128), total=30, seed=1)
    assert torch.equal(rule.mask, again.mask)
    assert not torch.equal(rule.mask, other.mask)


def test_what_was_not_given_is_neither_fitted_nor_watched():
    weight = (torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    rule = held_out(0.3)
    rule.prepare(Problem(noisy(), weight=weight), members=2, size=(32, 32), total=30, seed=0)
    assert torch.equal(rule.watched + rule.fitted, weight.expand(2, 1, 32, 32))
    assert float((rule.watched * rule.fitted).abs().max()) == 0


def test_it_keeps_the_average_with_the_least_error_on_held_out_pixels():
    target = noisy()
    run = fit_of(target, replace(THIN, steps=90), rule=(rule := held_out(0.1, every=3)))
    mask = rule.mask.expand_as(target) > 0
    seen = {step.index: step.average for step in run}
    errors = {i: float((x - target)[mask].square().mean()) for i, x in seen.items() if i % 3 == 0}
    best = min(errors, key=lambda i: errors[i])
    assert rule.kept_step == [best]
    assert rule.best_score[0] == pytest.approx(errors[best], rel=1e-4)
    assert torch.equal(run.result().image, seen[best])


def test_nothing_to_hold_out_is_said():
    with pytest.raises(InputError, match="take a larger share"):
        prepared(held_out(1e-6), Problem(torch.rand(1, 1, 16, 16)))
    with pytest.raises(InputError, match="only one rule that holds out"):
        prepared(held_out() | risk(), Problem(torch.rand(1, 1, 64, 64), noise_level=LEVEL))
    with pytest.raises(InputError, match=r"target \(b, c, h, w\)"):
        held_out().prepare(Problem(torch.rand(1, 10)), members=1, size=(16, 16), total=10, seed=0)


# ---------------------------------------------------------------------- risk, discrepancy, plateau, after


def smoothed(values: torch.Tensor, width: float) -> torch.Tensor:
    """A Gaussian filter of deviation `width` on a torus: a linear smoother."""
    frequency = torch.fft.fftfreq(values.shape[-1])
    response = torch.exp(-2 * (math.pi * width) ** 2 * (frequency[:, None] ** 2 + frequency**2))
    return torch.fft.ifft2(torch.fft.fft2(values) * response).real


def smoothers(problem: Problem, rule: stopping.Risk, widths: torch.Tensor) -> list[torch.Tensor]:
    """What weaker and weaker smoothers make of the values that a fit is given: normalized convolutions."""
    fitted = rule.fitted
    return [smoothed(problem.target * fitted, float(w)) / smoothed(fitted, float(w)).clamp_min(1e-6) for w in widths]


@pytest.mark.parametrize("given", [1.0, 0.6])
def test_the_estimated_risk_of_linear_smoothers_is_the_true_one(given):
    generator = torch.Generator().manual_seed(2)
    y, x = torch.meshgrid(torch.arange(192), torch.arange(192), indexing="ij")
    picture = (0.5 + 0.15 * torch.sin(x / 5) * torch.cos(y / 7) + 0.15 * ((x // 24 + y // 32) % 2))[None, None]
    target = picture + LEVEL**0.5 * torch.randn(picture.shape, generator=generator)
    weight = None if given == 1 else (torch.rand(picture.shape, generator=generator) < given).float()
    problem = Problem(target, weight=weight, noise_level=LEVEL)
    rule = risk(0.1)
    prepared(rule, problem, members=6)
    assert rule.given == pytest.approx(given, abs=0.01)
    widths = torch.linspace(3, 0.7, 12)
    estimated, true = [], []
    for i, average in enumerate(smoothers(problem, rule, widths), 1):
        estimated.append(float(rule.score(step_of(3 * i, average)).mean()))
        true.append(float((average - picture).square().mean()))
    oracle = int(np.argmin(true))
    assert 0 < oracle < len(widths) - 1
    np.testing.assert_allclose(estimated, true, atol=0.07 * LEVEL)
    assert true[int(np.argmin(estimated))] < 1.1 * true[oracle]


def test_risk_must_know_the_noise():
    with pytest.raises(InputError, match=r"noise_level, or take held_out"):
        prepared(risk(), Problem(torch.rand(1, 1, 32, 32)))


@pytest.mark.parametrize("known", ["told", "estimated"])
@pytest.mark.parametrize("factor", [0.95, 0.5])
def test_discrepancy_stops_where_the_error_is_that_of_the_noise(known, factor):
    told = known == "told"
    problem = Problem(torch.zeros(1, 1, 16, 16), noise_level=0.5 if told else 0.04)
    rule = prepared(discrepancy(0.2 if told else None, factor=factor, every=1), problem)
    steps = [step_of(i, torch.full((1, 1, 16, 16), 2.0 / i)) for i in range(1, TOTAL + 1)]  # E = 4 / i^2
    expected = math.ceil(2 / math.sqrt(factor * 0.04))
    assert follow(rule, steps) == [expected]
    assert rule.kept_step == [expected]
    assert rule.best is not None
    assert float(rule.best.mean()) == pytest.approx(2 / expected)
    assert str(expected) in rule.reason(0)


def test_discrepancy_must_know_sigma_and_says_if_it_was_not_reached():
    with pytest.raises(InputError, match="must know sigma"):
        prepared(discrepancy(), Problem(torch.zeros(1, 1, 16, 16)))
    rule = prepared(discrepancy(0.001), Problem(torch.zeros(1, 1, 16, 16)), total=9)
    assert follow(rule, [step_of(i, torch.ones(1, 1, 16, 16) / i, total=9) for i in range(1, 10)]) == [0]
    assert rule.kept_step == [9]
    assert "stayed above" in rule.reason(0)


def test_plateau_stops_once_the_loss_rests():
    losses = [1.0 / i if i < 60 else 1 / 60 for i in range(1, TOTAL + 1)]
    rule = prepared(plateau(25, share=0.01), Problem(torch.zeros(1, 1, 16, 16)))
    stopped = follow(rule, [step_of(i, torch.zeros(1, 1, 16, 16), loss=v) for i, v in enumerate(losses, 1)])
    assert 60 < rule.kept_step[0] < 120
    assert stopped[0] == rule.kept_step[0] + 25


def test_plateau_goes_on_while_the_loss_falls():
    rule = prepared(plateau(25, share=0.01), Problem(torch.zeros(1, 1, 16, 16)))
    falling = [step_of(i, torch.zeros(1, 1, 16, 16), loss=0.99**i) for i in range(1, TOTAL + 1)]
    assert follow(rule, falling) == [0]


@pytest.mark.parametrize("steps", [1, 17, None])
def test_after_keeps_the_last_of_so_many_steps(steps):
    run = fit_of(noisy(), rule=(rule := after(steps)))
    last = list(run)[-1]
    assert (last.index, rule.kept_step) == (steps or THIN.steps, [steps or THIN.steps])
    assert torch.equal(run.result().image, last.average)


# ---------------------------------------------------------------------- either


@pytest.mark.parametrize("order", ["shorter first", "longer first"])
def test_either_stops_at_the_first_and_keeps_what_that_one_kept(order):
    short, long = after(12), windowed_variance(5, 100)
    rule = short | long if order == "shorter first" else long | short
    run = fit_of(noisy(), rule=rule)
    averages = [step.average for step in run]
    assert len(averages) == 12
    assert torch.equal(run.result().image, averages[11])
    assert run.result().reason == short.reason(0)


def test_either_decides_for_each_member():
    class Low(Rule):
        """Member 0's score is least at step 10, member 1's never rises."""

        name = "low"

        def score(self, step):
            return torch.tensor([abs(step.index - 10), -step.index])

    rule = Low(patience=5) | after(30)
    prepared(rule, Problem(torch.zeros(1, 1, 16, 16)), members=2)
    steps = [step_of(i, torch.full((2, 1, 16, 16), float(i))) for i in range(1, 41)]
    assert follow(rule, steps) == [15, 30]
    assert rule.kept_step == [10, 30]
    assert rule.best is not None
    assert rule.best[:, 0, 0, 0].tolist() == [10, 30]
    assert rule.reason(0).startswith("low")
    assert rule.reason(1) == "30 steps were done as asked; kept the last"


# ---------------------------------------------------------------------- what every rule promises


@each_rule
def test_a_state_goes_on_as_if_nothing_had_been(make):
    problem, steps = synthetic_fit()
    straight = prepared(make(), problem, members=2)
    for step in steps[:50]:
        straight.look(step)
    buffer = io.BytesIO()
    torch.save(straight.state_dict(), buffer)
    buffer.seek(0)
    resumed = prepared(make(), problem, members=2)
    resumed.load_state_dict(torch.load(buffer, weights_only=True))
    for step in steps[50:]:
        assert straight.look(step) == resumed.look(step)
        assert straight.kept_step == resumed.kept_step
        assert straight.best is not None
        assert torch.equal(straight.best, resumed.best)
    assert [straight.reason(i) for i in range(2)] == [resumed.reason(i) for i in range(2)]
    assert straight.state() == resumed.state()


@each_rule
def test_a_stopped_member_keeps_its_best(make):
    problem, steps = synthetic_fit()
    rule = prepared(make(), problem, members=2)
    for step in steps[:80]:
        rule.look(step)
    assert rule.best is not None
    best, kept, reason = rule.best[0].clone(), rule.kept_step[0], rule.reason(0)
    other = rule.kept_step[1]
    for step in steps[80:]:
        wonderful = replace(step, active=(False, True), terms={"loss": torch.tensor([0.0, 0.0])})
        assert rule.look(wonderful)[0] is False
    assert torch.equal(rule.best[0], best)
    assert rule.kept_step[0] == kept
    assert rule.reason(0) == reason
    assert rule.kept_step[1] >= other


@each_rule
def test_what_was_kept_is_that_average_and_no_later_one_and_the_reason_names_it(make):
    problem, steps = synthetic_fit()
    rule = prepared(make(), problem, members=2)
    stopped = follow(rule, steps)
    assert rule.best is not None
    for member, (kept, end) in enumerate(zip(rule.kept_step, stopped, strict=True)):
        assert 1 <= kept <= (end or TOTAL)
        assert torch.equal(rule.best[member], steps[kept - 1].average[member])
        reason = rule.reason(member)
        assert str(kept) in reason
        assert "kept" in reason
        assert "\n" not in reason


class Given(Rule):
    """Scores as they are listed."""

    name = "given"

    def __init__(self, scores: list[float], **options) -> None:
        super().__init__(**options)
        self.scores = scores

    def score(self, step):
        return torch.tensor([self.scores[step.index - 1]], dtype=torch.float64)


@pytest.mark.parametrize("seed", range(5))
def test_a_rule_never_stops_before_its_minimum(seed):
    """A rough valley: as long as no pause in its descent is longer than the patience, the lowest point is kept."""
    generator = np.random.default_rng(seed)
    lowest = int(generator.integers(40, 180))
    scores = np.abs(np.arange(1, TOTAL + 1) - lowest) + generator.uniform(0, 10, TOTAL)
    rule = prepared(Given(scores.tolist(), patience=25), Problem(torch.zeros(1, 1, 16, 16)))
    stopped = follow(rule, [step_of(i, torch.full((1, 1, 16, 16), float(i))) for i in range(1, TOTAL + 1)])
    assert rule.kept_step == [int(scores.argmin()) + 1]
    assert stopped == [rule.kept_step[0] + 25]
    assert rule.best is not None
    assert float(rule.best.mean()) == rule.kept_step[0]


def test_patience_defaults_to_a_share_of_the_steps_and_every_looks_less_often():
    scores = [1.0] + [2.0] * (TOTAL - 1)
    steps = [step_of(i, torch.zeros(1, 1, 16, 16)) for i in range(1, TOTAL + 1)]
    assert follow(prepared(Given(scores), Problem(torch.zeros(1, 1, 16, 16))), steps) == [1 + TOTAL // 3]
    scores = [1.0 if i % 4 else 2.0 for i in range(1, TOTAL + 1)]
    rule = prepared(Given(scores, every=4), Problem(torch.zeros(1, 1, 16, 16)))
    assert follow(rule, steps) == [4 + TOTAL // 3]
    assert rule.best_score == [2.0]


@pytest.mark.parametrize(
    "make", [lambda: windowed_variance(50), lambda: moving_variance(0.01), lambda: held_out(every=9)]
)
def test_until_a_first_score_the_latest_average_is_the_best(make):
    run = fit_of(noisy(), rule=make())
    for step in run:
        assert torch.equal(run.result().image, step.average)
        assert f"step {step.index}" in run.result().reason
        if step.index == 8:
            break


def leaves(rule: Rule) -> list[Rule]:
    return [leaf for part in rule.rules for leaf in leaves(part)] if isinstance(rule, stopping.Either) else [rule]


@each_rule
def test_steps_that_diverged_are_survived(make):
    """A fit goes back by itself; until it does, its spoiled steps must neither be kept nor blind a rule for good."""
    problem, steps = synthetic_fit()
    rule = prepared(make(), problem, members=2)
    spoiled = torch.full_like(steps[0].average, math.nan)
    for step in steps[:100]:
        bad = 40 < step.index <= 55
        rule.look(step_of(step.index, spoiled, loss=math.nan) if bad else step)
        if bad:
            assert rule.best is not None
            assert make is RULES["after"] or not any(40 < kept <= 55 for kept in rule.kept_step)
    for leaf in leaves(rule):
        assert all(math.isfinite(score) for score in leaf.last_score)


def test_prepare_forgets_what_was_seen():
    problem, steps = synthetic_fit()
    rule, fresh = windowed_variance(10, 30), windowed_variance(10, 30)
    follow(prepared(rule, problem, members=2), steps)
    assert follow(prepared(rule, problem, members=2), steps) == follow(prepared(fresh, problem, members=2), steps)
    assert rule.kept_step == fresh.kept_step


def test_your_own_rule_takes_five_lines():
    class Quiet(Rule):
        name = "quiet"

        def score(self, step):
            return step.loss

    run = fit_of(noisy(), replace(THIN, steps=60), rule=(rule := Quiet(patience=60)))
    losses = [float(step.loss) for step in run]
    assert rule.kept_step == [losses.index(min(losses)) + 1]
    assert "quiet" in run.result().reason
    with pytest.raises(TypeError, match=r"Rule must define score"):
        Rule().score(step_of(1, torch.zeros(1, 1, 16, 16)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: after(0), "steps must be at least 1, got 0"),
        (lambda: windowed_variance(1), "window must be at least 2 steps, got 1"),
        (lambda: windowed_variance(10, 0), "patience must be at least 1 step, got 0"),
        (lambda: moving_variance(0.0), "alpha must be between 0 and 1, got 0.0"),
        (lambda: moving_variance(1.0), "alpha must be between 0 and 1, got 1.0"),
        (lambda: held_out(0), "above 0 and at most 0.5, got 0"),
        (lambda: risk(0.6), "above 0 and at most 0.5, got 0.6"),
        (lambda: discrepancy(0), "sigma must be above 0, got 0"),
        (lambda: plateau(-1), "patience must be at least 1 step, got -1"),
    ],
)
def test_arguments_that_cannot_be_are_said(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_the_truth_is_no_argument_anywhere():
    truths = {"clean", "reference", "truth", "ground_truth", "original", "true", "gt"}
    for module in (stopping, fit, problem, recipes, checkpoint, denoise, start):
        for name, member in vars(module).items():
            if inspect.isfunction(member) or inspect.isclass(member):
                functions = [member, *(f for f in vars(member).values() if inspect.isfunction(f))]
                for function in functions if inspect.isclass(member) else [member]:
                    try:
                        arguments = set(inspect.signature(function).parameters)
                    except ValueError:
                        continue
                    assert not arguments & truths, f"{module.__name__}.{name}"
    assert not truths & (set(Step.__dataclass_fields__) | set(Problem.__dataclass_fields__))
