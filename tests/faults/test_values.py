"""Faults of what is handed out: results that hold a live fit, pages, hashes of a classifier, Runs that are no iterators."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from classifiers.small import Tiny, tiny
from defend.small import BRIEF
from faults.parts import EXPLAINING, INVERTING, THIN, fit_of, normalized, picture, problem, with_estimator

from preimage import Classifier, InputError, counterfactual, deblur, denoise, invert, purify
from preimage.engine import checkpoint

# ---------------------------------------------------------------------- 13: results and the live fit

ALIAS = "fault 13: a result holds parts of the live fit"


def half_done(**settings: Any) -> Any:
    fit = denoise(picture(sigma=25), recipe=THIN, device="cpu", tile=None, **settings)
    steps = iter(fit)
    for _ in range(5):
        next(steps)
    return fit, steps


def ended(fit: Any, steps: Iterator[Any]) -> torch.Tensor:
    for _ in steps:
        pass
    return fit.result().image


def spoil(value: Any) -> None:
    """Overwrite every tensor in containers."""
    if isinstance(value, torch.Tensor):
        value.zero_()
    elif isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            spoil(each)


def test_weights_of_a_result_are_copies():
    fit, steps = half_done()
    spoil(fit.result().weights)
    assert torch.equal(ended(fit, steps), ended(*half_done()))


def test_weights_of_a_result_do_not_change_as_the_fit_goes_on():
    fit, steps = half_done()
    result = fit.result()
    before = copy.deepcopy(result.weights)
    ended(fit, steps)
    for own, wanted in zip(result.weights, before, strict=True):
        assert torch.equal(own["code"], wanted["code"])
        assert all(torch.equal(own["network"][name], value) for name, value in wanted["network"].items())


def test_the_picture_of_a_result_is_a_copy():
    fit, steps = half_done()
    spoil(fit.result().image)
    assert torch.equal(ended(fit, steps), ended(*half_done()))


def test_the_history_of_a_result_does_not_grow_as_the_fit_goes_on():
    fit, steps = half_done()
    result = fit.result()
    ended(fit, steps)
    assert len(result.history) == 5


def test_a_fit_does_not_hang_on_what_its_caller_does_with_the_picture():
    given = picture(sigma=25)
    wanted = denoise(given.clone(), recipe=THIN, device="cpu").run().image
    fit = denoise(given, recipe=THIN, device="cpu")
    given.zero_()
    assert torch.equal(fit.run().image, wanted)


@pytest.mark.gpu
def test_weights_of_a_result_are_on_the_processor():
    result = denoise(picture(), recipe=replace(THIN, steps=2), device="cuda").run()
    places = {str(value.device) for each in result.weights for value in (each["code"], *each["network"].values())}
    assert places == {"cpu"}


# ---------------------------------------------------------------------- 13: pages


@pytest.mark.parametrize("name", ["task", "reason"])
def test_a_notebook_shows_words_as_words(name):
    result = replace(
        fit_of(problem(picture()), replace(THIN, steps=1)).run(), **{name: "<script>alert(1)</script> & co"}
    )
    page = result._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "&amp; co" in page


# ---------------------------------------------------------------------- 13: by what a checkpoint knows a classifier


def middle_of(tensor: torch.Tensor) -> None:
    tensor.data.view(-1)[tensor.numel() // 2] += 0.25


CHANGES: dict[str, Callable[[Any], None]] = {
    "a weight in the middle": lambda model: middle_of(model.classifier.model.block1[0].weight),
    "the last weight": lambda model: model.classifier.model.block2[0].weight.data.view(-1)[-1:].add_(0.25),
    "a buffer": lambda model: model.classifier.model.block1[1].running_mean.add_(0.25),
    "the mean": lambda model: model.classifier.mean.add_(0.25),
    "the size": lambda model: setattr(model.classifier, "size", (20, 20)),
    "a weight of the estimator": lambda model: middle_of(model.estimator.branches[1].weight),
    "a quantile of the estimator": lambda model: model.estimator.quantiles.add_(0.25),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_checkpoint_of_another_classifier_is_refused(tmp_path, change):
    model = replace(with_estimator(), classifier=normalized())

    def run() -> Any:
        return counterfactual(picture(), classifier=model, target=1, recipe=EXPLAINING, device="cpu")

    begun = run()
    next(iter(begun))
    checkpoint.save(begun, tmp_path / "a")
    checkpoint.load(run(), tmp_path / "a")
    change(model)
    with pytest.raises(InputError):
        checkpoint.load(run(), tmp_path / "a")


def test_a_checkpoint_of_another_first_weight_is_refused(tmp_path):
    classifier = Classifier(Tiny(), 3)
    run = partial(invert, picture(), classifier=classifier, layers="block1", recipe=INVERTING, device="cpu")
    checkpoint.save(run(), tmp_path / "a")
    classifier.model.block1[0].weight.data.view(-1)[0] += 0.25
    with pytest.raises(InputError):
        checkpoint.load(run(), tmp_path / "a")


# ---------------------------------------------------------------------- 13: a Run is an iterator

RUNS: dict[str, Callable[[], Any]] = {
    "fit": lambda: fit_of(problem(picture())),
    "denoise": lambda: denoise(picture(), recipe=THIN, device="cpu"),
    "deblur": lambda: deblur(picture(), kernel="gaussian:1", recipe=THIN, device="cpu"),
    "purify": lambda: purify(picture(), recipe=BRIEF, steps=5, device="cpu"),
    "tiles": lambda: denoise(picture(40), recipe=THIN, tile=(24, 8), device="cpu"),
    "pages in turn": lambda: denoise(
        torch.stack([picture(), picture(seed=1)]), recipe=THIN, device="cpu", warm_start=True
    ),
    "invert": lambda: invert(picture(), classifier=tiny(), layers="block1", recipe=INVERTING, device="cpu"),
    "layers in turn": lambda: invert(
        picture(), layers=["block1", "head"], classifier=tiny(), recipe=INVERTING, device="cpu"
    ),
    "counterfactual": lambda: counterfactual(picture(), classifier=tiny(), recipe=EXPLAINING, device="cpu"),
}


@pytest.mark.parametrize("made", RUNS.values(), ids=RUNS)
def test_a_run_is_an_iterator(made):
    run = made()
    assert iter(run) is run
    assert [next(run).index, next(run).index] == [1, 2]
    for step in run:
        assert step.index == 3
        break
    assert next(run).index == 4
