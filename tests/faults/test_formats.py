"""Faults of formats and of seeds: what is written carries a number, other numbers are refused, seeds are checked in one way."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from classifiers.small import tiny
from defend.small import BRIEF, pictures, trained
from faults.parts import EXPLAINING, INVERTING, THIN, THIN_PURIFICATION, fit_of, picture, problem

from preimage import (
    MIGSG,
    DefendedClassifier,
    DIPDefence,
    InputError,
    counterfactual,
    deblur,
    denoise,
    evaluate_defence,
    invert,
    load_model,
    maximize,
    purify,
    recover,
)
from preimage.classifiers import Classifier, TrainedModel
from preimage.classifiers.model_file import Backbone, write_model
from preimage.classifiers.settings import Settings
from preimage.defend.attacks import attack
from preimage.defend.attribution import saliency_map
from preimage.defend.inspection import Inspecting, Threshold
from preimage.defend.saliency import SaliencyOptions
from preimage.defend.threat import Threat
from preimage.engine import checkpoint
from preimage.restore.calibrate import calibrate

# ---------------------------------------------------------------------- 14: numbers of formats

FORMAT, NUMBER = "format", "version"  # the entries that say what a file is, and by which rules it was written


def saved_checkpoint(path: Path) -> None:
    checkpoint.save(denoise(picture(), recipe=THIN, device="cpu"), path)


def saved_model(path: Path) -> None:
    model = Backbone("thin_resnet10").build(3)
    write_model(path, TrainedModel(Classifier(model, 3), origin=Backbone("thin_resnet10")))


def saved_threshold(path: Path) -> None:
    Threshold.of([0.1, 0.2], trained(), BRIEF).save(path)


def read_checkpoint(path: Path) -> None:
    checkpoint.load(denoise(picture(), recipe=THIN, device="cpu"), path)


KINDS: dict[str, tuple[str, Callable[[Path], None], Callable[[Path], Any]]] = {
    "checkpoint": ("photo.checkpoint", saved_checkpoint, read_checkpoint),
    "model": ("model.pt", saved_model, load_model),
    "thresholds": ("thresholds.json", saved_threshold, Threshold.read),
}


def changed(path: Path, change: Callable[[dict], dict]) -> None:
    """A file with other entries."""
    if path.suffix == ".json":
        path.write_text(json.dumps(change(json.loads(path.read_text()))))
    else:
        torch.save(change(torch.load(path, weights_only=True)), path)


def cases() -> list[Any]:
    def number(held: dict) -> str:
        return FORMAT if isinstance(held.get(FORMAT), int) else NUMBER

    changes = {
        "of an older number": lambda held: held | {number(held): held[number(held)] - 1},
        "of a later number": lambda held: held | {number(held): held[number(held)] + 1},
        "of no number": lambda held: {name: value for name, value in held.items() if name != number(held)},
        "of a word for a number": lambda held: held | {number(held): "new"},
    }
    return [
        pytest.param(
            *kind,
            change,
            id=f"{name} {how}",
        )
        for name, kind in KINDS.items()
        for how, change in changes.items()
    ]


@pytest.mark.parametrize(("name", "save", "read", "change"), cases())
def test_a_file_of_another_format_is_refused_in_one_line(tmp_path, name, save, read, change):
    path = tmp_path / name
    save(path)
    changed(path, change)
    with pytest.raises(InputError) as error:
        read(path)
    assert "\n" not in str(error.value)
    assert name in str(error.value)


@pytest.mark.parametrize(("name", "save", "read"), KINDS.values(), ids=KINDS)
def test_a_file_as_it_was_written_is_read(tmp_path, name, save, read):
    save(tmp_path / name)
    read(tmp_path / name)


def test_a_checkpoint_carries_a_number(tmp_path):
    saved_checkpoint(tmp_path / "a")
    assert torch.load(tmp_path / "a", weights_only=True)[FORMAT] == 2


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory) -> dict:
    """What a calibration hands on."""
    path = tmp_path_factory.mktemp("calibrated") / "recipe.json"
    clean = [picture(24, seed=seed) for seed in range(2)]
    settings = {"recipe": replace(THIN, steps=3), "steps": 3, "side": 24, "candidates": [THIN], "device": "cpu"}
    calibrate(clean, degradation="gaussian:25", **settings).run().save(path)
    return json.loads(path.read_text())


def test_a_file_with_a_recipe_carries_a_number(recipe_file):
    assert recipe_file[FORMAT] == 2


def test_a_file_with_a_recipe_is_used_as_it_was_written(here, recipe_file):
    Path("recipe.json").write_text(json.dumps(recipe_file))
    run = denoise(picture(), recipe="recipe.json", device="cpu", tile=None)
    assert run.current.recipe.describe() == recipe_file


@pytest.mark.parametrize("number", [0, 99, "new", None])
def test_a_file_with_a_recipe_of_another_format_is_refused_for_its_number(here, recipe_file, number):
    Path("recipe.json").write_text(json.dumps(recipe_file | {FORMAT: number}))
    with pytest.raises(InputError) as error:
        denoise(picture(), recipe="recipe.json", device="cpu", tile=None)
    assert error.value.code == "format"
    assert "\n" not in str(error.value)
    assert "recipe.json" in str(error.value)


# ---------------------------------------------------------------------- 14: the user's CUDA generators

CUDA = "fault 14: torch.manual_seed reseeds the user's CUDA generators, which are not put back"


@pytest.fixture
def seeded_cards(monkeypatch) -> list[Any]:
    """The seeds that graphics cards are given, whether there are any or not."""
    seeds: list[Any] = []
    for name in ("manual_seed", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, seeds.append)
    return seeds


def data():
    from preimage.classifiers.labelled import Labelled

    x = torch.randint(256, (12, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte()
    parts = tuple("test" if i % 4 == 0 else "train" for i in range(12))
    return Labelled(x, torch.arange(12) // 2 % 2, tuple(map(str, range(12))), parts, ("one", "two"), "data")


def test_a_training_leaves_the_generators_of_graphics_cards_alone(seeded_cards):
    from preimage.classifiers.train import Training

    Training(data(), Settings("thin_resnet10", epochs=1, layers=("layer1",)), device="cpu").run()
    assert seeded_cards == []


def test_nothing_else_seeds_a_graphics_card(seeded_cards):
    images, labels = pictures(2)
    denoise(picture(), recipe=replace(THIN, steps=2), device="cpu").run()
    attack("pgd", MODEL, images, labels, 8, steps=1)
    saliency_map(picture(), SaliencyOptions(MODEL, method="smoothgrad", n_samples=2, device="cpu"))
    assert seeded_cards == []


# ---------------------------------------------------------------------- 13: seeds are checked in one way

IMAGES, LABELS = pictures(2)
MODEL = trained()
CPU = {"device": "cpu"}
PLACES: dict[str, Callable[[Any], Any]] = {
    "denoise": lambda seed: denoise(picture(), recipe=THIN, seed=seed, **CPU),
    "deblur": lambda seed: deblur(picture(), kernel="gaussian:1", recipe=THIN, seed=seed, **CPU),
    "denoise in tiles": lambda seed: denoise(picture(40), recipe=THIN, seed=seed, tile=(24, 8), **CPU),
    "purify": lambda seed: purify(picture(16), recipe=THIN_PURIFICATION, seed=seed, **CPU),
    "invert": lambda seed: invert(picture(), classifier=tiny(), layers="block1", recipe=INVERTING, seed=seed, **CPU),
    "maximize": lambda seed: maximize(classifier=tiny(), target=0, size=(16, 16), recipe=INVERTING, seed=seed, **CPU),
    "recover": lambda seed: recover(picture(), classifier=tiny(), recipe=EXPLAINING, seed=seed, **CPU),
    "counterfactual": lambda seed: counterfactual(picture(), classifier=tiny(), recipe=EXPLAINING, seed=seed, **CPU),
    "prior": lambda seed: THIN.prior(3, (16, 16), seed=seed, **CPU),
    "fit": lambda seed: fit_of(problem(picture()), seed=seed),
    "saliency": lambda seed: saliency_map(picture(), SaliencyOptions(tiny(), method="gradient", seed=seed, **CPU)),
    "MIGSG": lambda seed: MIGSG(MODEL).attribute(IMAGES, target=0, n_steps=1, n_samples=1, seed=seed),
    "training": lambda seed: Settings("thin_resnet10", seed=seed),
    "DefendedClassifier": lambda seed: DefendedClassifier(MODEL, recipe=BRIEF, seed=seed),
    "DIPDefence": lambda seed: DIPDefence(recipe=BRIEF, seed=seed),
    "inspection": lambda seed: Inspecting(IMAGES, MODEL, recipe=BRIEF, seed=seed),
    "attack": lambda seed: attack("pgd", MODEL, IMAGES, LABELS, 8, steps=1, seed=seed),
    "calibration": lambda seed: calibrate(
        [picture(), picture(seed=1)], degradation="gaussian:25", recipe=THIN, seed=seed, **CPU
    ),
    "evaluation": lambda seed: evaluate_defence(
        MODEL, IMAGES, LABELS, [Threat("fgsm", 8)], {"none": None}, table="rows.csv", seed=seed
    ),
}
NO_SEEDS = {"-1": -1, "2**31": 2**31, "1.5": 1.5, "True": True}


def refusal(place: str, seed: Any) -> str:
    with pytest.raises(InputError) as error:
        PLACES[place](seed)
    return str(error.value)


@pytest.mark.parametrize(
    ("place", "seed"),
    [
        pytest.param(
            place,
            NO_SEEDS[value],
            id=f"{place} {value}",
        )
        for place in PLACES
        for value in NO_SEEDS
    ],
)
def test_what_is_no_seed_is_one_error_everywhere(here, place, seed):
    assert refusal(place, seed) == refusal("saliency", seed)
    assert repr(seed) in refusal(place, seed)


@pytest.mark.parametrize(
    ("place", "seed"),
    [
        pytest.param(
            place,
            seed,
            id=f"{place} {seed!r}",
        )
        for place in PLACES
        for seed in (0, np.int64(7))
        if place not in ("evaluation", "calibration")
    ],
)
def test_whole_numbers_are_seeds_everywhere(here, place, seed):
    PLACES[place](seed)


@pytest.mark.parametrize("seed", ["-1", "2147483648"])
@pytest.mark.parametrize(
    "command",
    [
        ("denoise", "noisy.png", "--recipe", "tiny.json"),
        ("invert", "noisy.png", "--classifier", "classifiers.small:own_classifier", "--recipe", "tiny.json"),
        ("saliency", "noisy.png", "--classifier", "classifiers.small:own_classifier"),
        ("inspect", "noisy.png", "--classifier", "classifiers.small:own_classifier", "--recipe", "tiny.json"),
    ],
    ids=lambda command: command[0],
)
def test_what_is_no_seed_is_one_line_of_a_command(here, run, command, seed):
    ran = run(*command, f"--seed={seed}", "--device", "cpu")
    assert ran.failed_in_one_line("seed", seed), ran
