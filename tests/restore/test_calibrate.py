"""calibrate: what is chosen is what was measured to be best, on pictures that the verdict is not about."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from specimens import THIN, clean

from preimage.engine.recipe import Recipe
from preimage.errors import InputError
from preimage.networks import SkipNet
from preimage.recipes import read_recipe
from preimage.restore import inpaint, super_resolve
from preimage.restore.calibrate import Search, calibrate, in_words, neighbors, spelled_out
from preimage.restore.calibration import Calibration
from preimage.restore.degradations import Source

THINNER = replace(THIN, network=SkipNet.Config((8,) * 2, (8,) * 2, (2,) * 2, upsample="nearest", padding="zeros"))
BRIEF = replace(THINNER, steps=4)
SHORT = replace(THINNER, steps=25, rate=0.05)  # with this much noise the best comes before the last step


def pictures(count: int = 3, side: int = 32) -> list[Source]:
    """As many different ones."""
    return [(clean(side).roll(5 * i, -1) * (1 - 0.1 * i)) for i in range(count)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures, and two files that are none."""
    for i, picture in enumerate(pictures(5)):
        assert isinstance(picture, torch.Tensor)
        pixels = (picture[0].movedim(0, -1) * 255).round().byte().numpy()
        Image.fromarray(pixels).save(tmp_path / f"{'abcde'[i]}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / ".hidden.png").write_text("not a picture either")
    return tmp_path


@pytest.fixture(scope="module")
def found() -> tuple[Search, Calibration]:
    search = Search(pictures(5), "gaussian:250", recipe=SHORT, device="cpu")
    return search, search.run()


# ---------------------------------------------------------------------- the choice


def test_the_chosen_step_is_the_best_of_the_mean_curve(found):
    search, calibration = found
    assert len(calibration.curves) == len(search.candidates) == 5
    assert all(len(curve) == 25 for curve in calibration.curves)
    best = max(max(curve) for curve in calibration.curves)
    curve = calibration.curves[calibration.candidate]
    assert curve[calibration.recipe.steps - 1] == best
    assert curve.index(best) + 1 == calibration.recipe.steps
    assert 1 < calibration.recipe.steps < 25
    assert not calibration.remarks or calibration.gain < 0
    own = search.candidates[calibration.candidate]
    assert calibration.recipe == replace(own, steps=calibration.recipe.steps)
    assert calibration.recipe.stop == "steps"


def test_the_table_is_what_the_curves_are_means_of(found):
    search, calibration = found
    assert len(calibration.table) == 5 * 3
    assert [row.candidate for row in calibration.table] == [k for k in range(5) for _ in range(3)]
    for k, curve in enumerate(calibration.curves):
        rows = [row for row in calibration.table if row.candidate == k]
        assert {row.step for row in rows} == {curve.index(max(curve)) + 1}
        assert np.mean([row.psnr for row in rows]) == pytest.approx(max(curve))
        assert all(row.best_psnr >= row.psnr for row in rows)
        assert {row.picture for row in rows} == {specimen.name for specimen in search.tuning}
    settings = [next(row.settings for row in calibration.table if row.candidate == k) for k in range(5)]
    assert settings == [{}, {"rate": 0.025}, {"rate": 0.1}, {"averaging": 0.95}, {"averaging": 0.98}]


def test_a_fit_with_the_chosen_recipe_is_the_fit_that_was_measured(found):
    search, calibration = found
    for specimen in search.tuning:
        result = search.degradation.start(specimen, calibration.recipe, device="cpu").run()
        row = next(r for r in calibration.table if (r.candidate, r.picture) == (calibration.candidate, specimen.name))
        assert specimen.psnr(result.image) == row.psnr
        assert result.steps == calibration.recipe.steps


def test_held_out_pictures_have_no_part_in_the_choice(found):
    search, calibration = found
    tuned, held_out = ({s.name for s in part} for part in (search.tuning, search.held_out))
    assert len(tuned) == 3
    assert len(held_out) == 2
    assert not tuned & held_out
    assert {row.picture for row in calibration.held_out} == held_out
    for row, specimen in zip(calibration.held_out, search.held_out, strict=True):
        result = search.degradation.start(specimen, SHORT, device="cpu").run()
        assert (row.default, row.default_steps) == (specimen.psnr(result.image), result.steps)
    assert calibration.gain == pytest.approx(np.mean([row.chosen - row.default for row in calibration.held_out]))


def test_equal_seeds_give_equal_calibrations_and_others_do_not(folder):
    options = {"recipe": BRIEF, "candidates": neighbors(BRIEF)[:2], "limit": 3, "device": "cpu"}
    found = [calibrate(folder, "gaussian:25", **options, seed=seed) for seed in (3, 3, 4)]
    assert found[0].table == found[1].table
    assert found[0].curves == found[1].curves
    assert found[0].held_out == found[1].held_out
    assert found[0].recipe == found[1].recipe
    assert found[0].curves != found[2].curves


def test_an_interrupted_search_goes_on_to_the_same_end():
    search = Search(pictures(), "gaussian:25", recipe=BRIEF, device="cpu")
    with pytest.raises(InputError, match="not complete"):
        search.result()
    seen = [trial.number for trial, _ in islice(search, 6)]
    assert seen == [1] * 4 + [2] * 2
    seen = [trial.number for trial, _ in search]
    assert seen[:4] == [2] * 4
    assert sorted(set(seen)) == list(range(2, 13))
    assert search.finished
    assert not list(search)
    assert search.result().table == calibrate(pictures(), "gaussian:25", recipe=BRIEF, device="cpu").table


def test_candidates_and_steps_are_as_given():
    own = [replace(BRIEF, jitter=0.0), replace(BRIEF, network=SkipNet.Config((4,), (4,), (0,)), steps=7)]
    search = Search(pictures(2), "gaussian:25", recipe=BRIEF, candidates=own, device="cpu")
    assert search.candidates == tuple(replace(each, stop="steps") for each in own)
    calibration = search.run()
    assert [len(curve) for curve in calibration.curves] == [4, 7]
    assert [sorted(row.settings) for row in calibration.table] == [["jitter"], ["network"]]
    shorter = Search(pictures(2), "gaussian:25", recipe=BRIEF, candidates=own, steps=2, device="cpu")
    assert [each.steps for each in shorter.candidates] == [2, 2]


def test_neighbors_differ_in_one_setting():
    assert len(neighbors(THIN)) == len(set(neighbors(THIN))) == 5
    assert len(neighbors(Recipe())) == 6
    assert neighbors(THIN)[0] == THIN
    assert in_words({}) == "as it is"


def test_a_choice_worse_than_the_default_is_said_so_and_still_written(found, tmp_path):
    _, calibration = found
    worse = replace(calibration, held_out=(replace(calibration.held_out[0], chosen=20.0, default=21.5),))
    assert worse.gain == -1.5
    assert worse.remarks[0].startswith("warning: on the held-out pictures the choice is 1.50 dB worse")
    assert worse.save(tmp_path / "recipe.json").exists()
    better = replace(calibration, held_out=(replace(calibration.held_out[0], chosen=22.0, default=21.5),))
    assert not any("warning" in said for said in better.remarks)


def test_the_last_step_tried_is_said_to_be_the_last():
    calibration = calibrate(pictures(2), "gaussian:25", recipe=replace(BRIEF, steps=1), device="cpu")
    assert calibration.recipe.steps == 1
    assert any("last that was tried" in said for said in calibration.remarks)


def test_a_fit_that_diverges_is_no_choice(found):
    search = Search(pictures(2), "gaussian:25", recipe=BRIEF, device="cpu")
    for _ in search:
        pass
    search._curves[1, 0] = [99.0, -math.inf, 99.0, 1.0]
    search._curves[2, 0] = [-math.inf] * 4
    calibration = search.result()
    assert (calibration.candidate, calibration.recipe.steps) == (1, 1)
    report = json.dumps(calibration.report(), allow_nan=False)
    assert json.loads(report)["curves"][2] == [None] * 4
    assert search.tuning[0].psnr(torch.full((1, 3, 32, 32), math.nan)) == -math.inf


# ---------------------------------------------------------------------- the file


@pytest.mark.parametrize(
    "degradation",
    [
        "gaussian:25",
        "poisson:30",
        "speckle:0.2",
        "impulse:0.3",
        "jpeg:20",
        "downsample:2",
        "missing:0.5",
        "blur:1.6",
        "blur:5,30",
    ],
)
def test_every_degradation_runs_and_its_file_is_the_recipe(degradation, tmp_path):
    calibration = calibrate(pictures(2), degradation, recipe=BRIEF, candidates=[BRIEF], device="cpu")
    path = calibration.save(tmp_path / "recipe.json")
    settings = json.loads(path.read_text())
    for base in (calibration.degradation.module.FAST, calibration.degradation.module.PAPER):
        assert read_recipe(settings, base) == calibration.recipe
    assert settings["stop"] == "steps"
    assert all(math.isfinite(row.psnr) for row in calibration.table)
    with pytest.raises(InputError, match="exists already"):
        calibration.save(path)
    assert calibration.save(path, overwrite=True) == path


def taken(search: Search, recipe: Recipe) -> Recipe:
    """What the task makes of a recipe after it was written to a file and read again."""
    again = read_recipe(json.loads(json.dumps(recipe.describe())), search.degradation.module.FAST)
    fit = search.degradation.start(search.tuning[0], again, device="cpu")
    assert fit.rule.name == "steps"
    return fit.recipe


def test_a_task_that_suits_its_default_to_the_picture_keeps_what_was_chosen(monkeypatch):
    """inpaint takes a recipe with its default's network for that default, and what it does not change to be free."""
    scattered = replace(BRIEF, rate=0.01, steps=9, stop="auto")
    monkeypatch.setattr(inpaint, "FAST", replace(BRIEF, stop="steps"))
    monkeypatch.setattr(inpaint, "FASTS", {**inpaint.FASTS, "scattered": scattered})
    search = Search(pictures(2), "missing:0.5", device="cpu")
    assert search.base == scattered
    assert [in_words(search._settings(k)) for k in range(3)] == ["as it is", "rate 0.005", "rate 0.02"]
    for candidate in search.candidates:
        assert taken(search, candidate) == candidate
        assert (candidate.steps, candidate.stop) == (9, "steps")
    of_default = search._kept(replace(inpaint.FAST, steps=4))  # as many as the default has
    assert (taken(search, of_default).steps, of_default.rate) == (4, BRIEF.rate)
    assert of_default.network != BRIEF.network
    recipe = search.run().recipe
    assert taken(search, recipe) == recipe


@pytest.mark.parametrize(
    ("degradation", "base"),
    [("missing:0.5", inpaint.FAST), ("missing:0.95", inpaint.FAST), ("downsample:8", super_resolve.PAPER)],
)
def test_no_setting_of_a_default_is_lost_on_the_way(degradation, base):
    side = 128 if degradation == "downsample:8" else 32
    search = Search(pictures(2, side), degradation, recipe=base, candidates=[base], device="cpu")
    for steps in (2, base.steps):
        for rate in (base.rate, 0.03):
            chosen = search._kept(replace(base, steps=steps, rate=rate, stop="steps"))
            assert taken(search, chosen) == chosen
            assert (chosen.steps, chosen.rate, chosen.jitter) == (steps, rate, base.jitter)


def test_a_network_in_other_words_is_the_same_network():
    network = SkipNet.Config((8, 12), (9, 13), (1, 0), down_kernel=5)
    made = [each(4, 3, 16, 20) for each in (network, spelled_out(network))]
    assert network != spelled_out(network) == spelled_out(spelled_out(network))
    assert [p.shape for p in made[0].parameters()] == [p.shape for p in made[1].parameters()]
    assert repr(made[0]) == repr(made[1])


def test_a_recipe_of_functions_is_not_written(tmp_path):
    def own(in_channels: int, out_channels: int, height: int, width: int) -> SkipNet:
        return SkipNet(in_channels, out_channels, down=[8], up=[8], skip=[0])

    recipe = replace(BRIEF, network=own)
    calibration = calibrate(pictures(2), "gaussian:25", recipe=recipe, candidates=[recipe], device="cpu")
    with pytest.raises(InputError, match="keep it in Python"):
        calibration.save(tmp_path / "recipe.json")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"degradation": "fog:3"}, "no degradation 'fog:3'"),
        ({"held_out": 0.0}, "held_out must be a share above 0 and below 1, got 0.0"),
        ({"held_out": 1}, "held_out must be"),
        ({"side": 15}, "side must be at least 16 pixels, got 15"),
        ({"limit": 1}, "limit must be at least 2 pictures"),
        ({"seed": -1}, "seed must be from 0"),
        ({"steps": 0}, "steps must be a whole number, at least 1, got 0"),
        ({"candidates": []}, "at least one recipe"),
        ({"device": "abacus"}, "abacus"),
        ({"degradation": "downsample:4"}, "picture .: 32 x 32 pixels are too few .* take a larger side"),
        ({"degradation": "blur:20,0"}, "picture .: a blur that reaches 10 pixels leaves too little"),
        ({"pictures": [clean(32)]}, "pictures are 1: two are the least"),
        ({"pictures": []}, "pictures are 0"),
        ({"pictures": [clean(32), clean(32)]}, "picture . and picture . are the same in their central 192 pixels"),
        ({"pictures": [clean(32), torch.rand(2, 3, 32, 32)]}, "picture 2: 2 pages in one"),
        ({"pictures": [clean(32), np.zeros((8, 32))]}, "picture 2: the array is 32 x 8 pixels"),
        ({"pictures": [clean(32), "nowhere.png"]}, "nowhere.png does not exist"),
        ({"pictures": "nowhere"}, "nowhere does not exist: give one of clean pictures"),
        ({"pictures": [clean(32, 2), clean(32, 2) / 2], "degradation": "jpeg:20"}, "1 or 3 channels, got 2"),
    ],
)
def test_what_cannot_be_is_one_line_before_any_fit(changes, said, monkeypatch):
    monkeypatch.setattr(Search, "__iter__", lambda search: pytest.fail("a fit was begun"))
    options = {"pictures": pictures(), "degradation": "gaussian:25", "recipe": BRIEF, "device": "cpu"} | changes
    with pytest.raises(InputError, match=said) as caught:
        calibrate(**options)
    assert "\n" not in str(caught.value)


def test_a_folder_with_what_cannot_be_read_names_it(folder):
    (folder / "broken.png").write_bytes(b"hello")
    with pytest.raises(InputError, match=r"broken\.png"):
        Search(folder, "gaussian:25", recipe=BRIEF)
    with pytest.raises(InputError, match="is no folder"):
        Search(folder / "a.png", "gaussian:25", recipe=BRIEF)
    empty = folder / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="empty has 0: two are the least"):
        Search(empty, "gaussian:25", recipe=BRIEF)


@pytest.mark.parametrize(("count", "share", "held_out"), [(2, 1 / 3, 1), (3, 1 / 3, 1), (5, 0.9, 4), (5, 0.01, 1)])
def test_at_least_one_picture_on_either_side(count, share, held_out):
    search = Search(pictures(count), "gaussian:25", recipe=BRIEF, held_out=share, device="cpu")
    assert (len(search.held_out), len(search.tuning)) == (held_out, count - held_out)
