"""Several numbers of steps of one fit: each is the purification that ends there, and the fit is made once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from defend.small import BRIEF, pictures, trained

from preimage.defend.defence import DefendedClassifier, Purification
from preimage.defend.evaluate import settings_of
from preimage.errors import InputError
from studies.defence import several_steps
from studies.defence.several_steps import SeveralSteps, early_outputs, kept_outputs

IMAGES, _ = pictures(5, seed=2)
RECIPE = replace(BRIEF, averaging=0.0)
STEPS = (2, 4, 6)


@pytest.fixture
def fits(monkeypatch):
    """How many fits were made, as a list that grows."""
    made = []

    def counted(*args, **kwargs):
        made.append(args)
        return early_outputs(*args, **kwargs)

    monkeypatch.setattr(several_steps, "early_outputs", counted)
    return made


@pytest.mark.long
@pytest.mark.parametrize("recipe", [RECIPE, BRIEF], ids=["last output", "average"])
@pytest.mark.parametrize("batch", [2, 64])
def test_each_is_the_purification_that_ends_there(recipe, batch):
    several = SeveralSteps(recipe, STEPS, batch)
    for steps in STEPS:
        alone = Purification(recipe, steps, batch)
        assert torch.equal(several.after(steps)(IMAGES, 3, range(5)), alone(IMAGES, 3, range(5)))
        assert torch.equal(several.after(steps)(IMAGES, 3), alone(IMAGES, 3))
        assert settings_of(several.after(steps)) == settings_of(alone)


def test_one_fit_answers_for_all_steps(fits):
    several = SeveralSteps(RECIPE, STEPS)
    found = [several.after(steps)(IMAGES, 3, range(5)) for steps in STEPS]
    assert len(fits) == 1
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize(
    "other", [(IMAGES + 1e-6, 3, range(5)), (IMAGES, 4, range(5)), (IMAGES, 3, range(1, 6)), (IMAGES[:4], 3, range(4))]
)
def test_what_is_asked_about_anew_is_fitted_anew(fits, other):
    several = SeveralSteps(RECIPE, STEPS)
    several.after(2)(IMAGES, 3, range(5))
    found = several.after(2)(*other)
    assert len(fits) == 2
    assert torch.equal(found, Purification(RECIPE, 2)(*other))


def test_pictures_that_were_changed_in_place_are_not_taken_for_the_former_ones(fits):
    several, given = SeveralSteps(RECIPE, STEPS), IMAGES.clone()
    several.after(2)(given, 3)
    given += 0.1
    several.after(2)(given.clamp_(0, 1), 3)
    assert len(fits) == 2


def test_without_a_seed_every_call_is_another(fits):
    cleaning = SeveralSteps(RECIPE, STEPS).after(4)
    assert not torch.equal(cleaning(IMAGES), cleaning(IMAGES))
    assert fits == []
    defended = DefendedClassifier(trained(), defence=cleaning, seed=1)
    assert defended(IMAGES).shape == (5, 3)


def test_early_outputs_come_in_the_order_that_is_asked_for():
    late, early = early_outputs(IMAGES, (5, 2), recipe=RECIPE)
    assert torch.equal(early, early_outputs(IMAGES, (2,), recipe=RECIPE)[0])
    assert torch.equal(late, early_outputs(IMAGES, (5,), recipe=RECIPE)[0])
    with torch.inference_mode():
        assert torch.equal(early_outputs(IMAGES, (2,), recipe=RECIPE)[0], early)


def test_bad_input_is_one_line():
    for steps in ((), (0, 5)):
        with pytest.raises(InputError, match="at must hold numbers of steps"):
            early_outputs(IMAGES, steps)
    with pytest.raises(ValueError, match="tuple"):
        SeveralSteps(RECIPE, STEPS).after(3)


def test_a_kept_fit_answers_for_every_process_and_step_that_it_reached(fits, tmp_path):
    each = [SeveralSteps(RECIPE, STEPS).outputs(IMAGES[k : k + 1], 3, [k]) for k in range(2)]
    expected = [torch.cat(both) for both in zip(*each, strict=True)]
    fits.clear()
    for _ in range(2):
        found = SeveralSteps(RECIPE, STEPS, folder=tmp_path).outputs(IMAGES[:2], 3, [0, 1])
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
        assert len(fits) == 2, "one of each image, and none the second time"
    one = {"recipe": RECIPE, "seed": 3, "stream": 0}
    assert torch.equal(kept_outputs(tmp_path, IMAGES[:1], [4], **one)[0], found[1][:1])
    assert len(fits) == 2
    kept_outputs(tmp_path, IMAGES[:1], [8], **one)
    kept_outputs(tmp_path, IMAGES[:1], [2, 8], **one)
    assert len(fits) == 3, "a longer fit once, beside what was kept"
    kept_outputs(tmp_path, IMAGES[:1], [4], **(one | {"stream": 1}))
    kept_outputs(tmp_path, IMAGES[:1], [4], **(one | {"seed": 4}))
    assert len(fits) == 5
