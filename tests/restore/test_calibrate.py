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

from preimage.engine.checkpoint import load, save
from preimage.engine.recipe import Recipe
from preimage.errors import InputError
from preimage.networks import SkipNet
from preimage.recipes import read_recipe, read_recipe_file, recipe
from preimage.restore.calibrate import calibrate
from preimage.restore.calibration import Calibration, HeldOut, in_words
from preimage.restore.degradations import Source
from preimage.restore.inpaint import fast_recipes
from preimage.restore.search import Search, neighbors
from preimage.restore.super_resolve import recipes as super_resolve_recipes

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
    search = calibrate(pictures(5), degradation="gaussian:250", recipe=SHORT, device="cpu")
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
    found = [calibrate(folder, degradation="gaussian:25", **options, seed=seed).run() for seed in (3, 3, 4)]
    assert found[0].table == found[1].table
    assert found[0].curves == found[1].curves
    assert found[0].held_out == found[1].held_out
    assert found[0].recipe == found[1].recipe
    assert found[0].curves != found[2].curves


def test_an_interrupted_search_goes_on_to_the_same_end():
    search = calibrate(pictures(), degradation="gaussian:25", recipe=BRIEF, device="cpu")
    with pytest.raises(InputError):
        search.result()
    seen = list(islice(search, 6))
    assert [trial.number for trial in seen] == [1] * 4 + [2] * 2
    assert [trial.step.index for trial in seen] == [1, 2, 3, 4, 1, 2]
    later = list(search)
    assert [trial.number for trial in later[:2]] == [2] * 2
    assert sorted({trial.number for trial in later}) == list(range(2, 13))
    assert search.finished
    assert not list(search)
    assert (
        search.result().table
        == calibrate(pictures(), degradation="gaussian:25", recipe=BRIEF, device="cpu").run().table
    )


def test_trials_are_counted_on_from_fit_to_fit():
    trials = list(calibrate(pictures(), degradation="gaussian:25", recipe=BRIEF, device="cpu"))
    assert [trial.index for trial in trials] == list(range(1, 12 * 4 + 1))
    assert {(trial.total, trial.fits) for trial in trials} == {(12 * 4, 12)}
    assert all(trial.what in trial.status for trial in trials)


@pytest.mark.parametrize("more", [1, 5])
def test_a_recipe_that_has_more_steps_for_one_image_is_counted(more, monkeypatch):
    search = calibrate(pictures(), degradation="gaussian:25", recipe=BRIEF, device="cpu")
    started = search._start
    longer = replace(BRIEF, steps=BRIEF.steps + more, stop="steps")
    monkeypatch.setattr(search, "_start", lambda recipe, each: started(longer if recipe is BRIEF else recipe, each))
    trials = list(search)
    assert all(trial.index <= trial.total for trial in trials)
    assert [trial.index for trial in trials] == sorted({trial.index for trial in trials})
    assert trials[-1].index == trials[-1].total


def test_a_checkpoint_goes_on_after_the_fits_that_were_done(tmp_path):
    def made(**changes) -> Search:
        return calibrate(pictures(), degradation="gaussian:25", **({"recipe": BRIEF, "device": "cpu"} | changes))

    expected = made().run()
    broken, again = made(), made()
    list(islice(broken, 10))
    save(broken, tmp_path / "search.ckpt")
    load(again, tmp_path / "search.ckpt")
    assert next(again).number == 3
    found = again.run()
    assert (found.table, found.curves, found.held_out) == (expected.table, expected.curves, expected.held_out)
    for changes in ({"seed": 1}, {"recipe": replace(BRIEF, rate=0.5)}, {"side": 20}):
        with pytest.raises(InputError) as caught:
            load(made(**changes), tmp_path / "search.ckpt")
        assert caught.value.code == "checkpoint"


def test_candidates_and_steps_are_as_given():
    own = [replace(BRIEF, jitter=0.0), replace(BRIEF, network=SkipNet.Config((4,), (4,), (0,)), steps=7)]
    search = calibrate(pictures(2), degradation="gaussian:25", recipe=BRIEF, candidates=own, device="cpu")
    assert search.candidates == tuple(replace(each, stop="steps") for each in own)
    calibration = search.run()
    assert [len(curve) for curve in calibration.curves] == [4, 7]
    assert [sorted(row.settings) for row in calibration.table] == [["jitter"], ["network"]]
    shorter = calibrate(pictures(2), degradation="gaussian:25", recipe=BRIEF, candidates=own, steps=2, device="cpu")
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
    assert worse.remarks[0].startswith("warning:")
    assert "1.50 dB worse" in worse.remarks[0]
    assert worse.remarks[0] in worse.summary_lines()
    assert worse.save(tmp_path / "recipe.json").exists()
    better = replace(calibration, held_out=(replace(calibration.held_out[0], chosen=22.0, default=21.5),))
    assert not any("warning" in said for said in better.remarks)


def test_the_last_step_tried_is_said_to_be_the_last():
    calibration = calibrate(pictures(2), degradation="gaussian:25", recipe=replace(BRIEF, steps=1), device="cpu").run()
    assert calibration.recipe.steps == 1
    assert any("last that was tried" in said for said in calibration.remarks)


def test_a_fit_that_diverges_is_no_choice(found):
    search = calibrate(pictures(2), degradation="gaussian:25", recipe=BRIEF, device="cpu")
    search.run()
    search.curves |= {(1, 0): [99.0, -math.inf, 99.0, 1.0], (2, 0): [-math.inf] * 4}
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
    options = {"recipe": BRIEF, "candidates": [BRIEF], "device": "cpu"}
    calibration = calibrate(pictures(2), degradation=degradation, **options).run()
    path = calibration.save(tmp_path / "recipe.json")
    settings = json.loads(path.read_text())
    spec = calibration.degradation.spec
    assert spec.recipes is not None
    assert {calibration.recipe} == {read_recipe(settings, base) for base in spec.recipes().values()}
    assert read_recipe_file(path, spec.recipes()) == calibration.recipe
    assert (settings["stop"], settings["format"]) == ("steps", 2)
    assert all(math.isfinite(row.psnr) for row in calibration.table)
    with pytest.raises(InputError) as caught:
        calibration.save(path)
    assert caught.value.code == "exists"
    assert calibration.save(path, overwrite=True) == path


def taken(search: Search, recipe: Recipe, path: Path) -> Recipe:
    """What the task makes of a recipe after it was written to a file and read again."""
    path.write_text(json.dumps(recipe.describe()))
    run = search.degradation.start(search.tuning[0], str(path), device="cpu")
    assert run.current.rule.name == "steps"
    return run.current.recipe


def test_a_named_recipe_is_adapted_to_the_images_and_what_is_chosen_is_a_value(tmp_path):
    """inpaint has other settings for scattered gaps than for text: they are what is varied, and no second time adapted."""
    scattered = fast_recipes()["scattered"]
    for given in ("fast", recipe("fast")):
        search = calibrate(pictures(2), degradation="missing:0.5", recipe=given, steps=2, device="cpu")
        assert search.base == scattered
        assert [in_words(each) for each in settings_of(search)[:3]] == ["as it is", "rate 0.01", "rate 0.04"]
        for candidate in search.candidates:
            assert taken(search, candidate, tmp_path / "recipe.json") == candidate
            assert (candidate.steps, candidate.stop) == (2, "steps")
    changed = calibrate(pictures(2), degradation="missing:0.5", recipe=recipe("fast", rate=0.5, steps=7), device="cpu")
    assert changed.base == replace(scattered, rate=0.5, steps=7)


def settings_of(search: Search) -> list[dict]:
    """What each candidate changes."""
    search.curves = {(k, i): [0.0] * search.candidates[k].steps for k in range(5) for i in range(len(search.tuning))}
    search.compared = {i: HeldOut(each.name, 0.0, 0.0, 1, 0.0, 0.0) for i, each in enumerate(search.held_out)}
    rows = {row.candidate: row.settings for row in search.result().table}
    return [rows[k] for k in sorted(rows)]


@pytest.mark.parametrize("degradation", ["missing:0.5", "missing:0.95", "downsample:8"])
def test_no_setting_of_a_value_is_lost_on_the_way(degradation, tmp_path):
    base = super_resolve_recipes()["paper"] if degradation == "downsample:8" else fast_recipes()["text"]
    side = 128 if degradation == "downsample:8" else 32
    for steps in (2, base.steps):
        for rate in (base.rate, 0.03):
            own = replace(base, steps=steps, rate=rate, stop="steps")
            search = calibrate(pictures(2, side), degradation=degradation, recipe=own, candidates=[own], device="cpu")
            assert search.base == search.candidates[0] == own
            assert taken(search, own, tmp_path / "recipe.json") == own


def test_a_recipe_of_functions_is_not_written(tmp_path):
    def own(in_channels: int, out_channels: int, height: int, width: int) -> SkipNet:
        return SkipNet(in_channels, out_channels, down=[8], up=[8], skip=[0])

    recipe = replace(BRIEF, network=own)
    calibration = calibrate(
        pictures(2), degradation="gaussian:25", recipe=recipe, candidates=[recipe], device="cpu"
    ).run()
    with pytest.raises(InputError) as caught:
        calibration.save(tmp_path / "recipe.json")
    assert caught.value.code == "format"
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    ("changes", "code", "named"),
    [
        ({"degradation": "fog:3"}, "option", "'fog:3'"),
        ({"held_out": 0.0}, None, "held_out"),
        ({"held_out": 1}, None, "held_out"),
        ({"side": 15}, None, "side"),
        ({"limit": 1}, None, "limit"),
        ({"seed": -1}, None, "seed"),
        ({"steps": 0}, None, "steps"),
        ({"candidates": []}, "option", "candidates"),
        ({"device": "abacus"}, "device", "abacus"),
        ({"recipe": "slow"}, None, "slow"),
        ({"degradation": "downsample:4"}, "size", "32 x 32"),
        ({"degradation": "blur:20,0"}, "size", "10 pixels"),
        ({"pictures": [clean(32)]}, "size", "1"),
        ({"pictures": []}, "size", "0"),
        ({"pictures": [clean(32), clean(32)]}, "invalid-value", "192 pixels"),
        ({"pictures": [clean(32), torch.rand(2, 3, 32, 32)]}, "shape", "picture 2"),
        ({"pictures": [clean(32), np.zeros((8, 32))]}, "size", "picture 2"),
        ({"pictures": [clean(32), "nowhere.png"]}, "not-found", "nowhere.png"),
        ({"pictures": "nowhere"}, "not-found", "nowhere"),
        ({"pictures": [clean(32, 2), clean(32, 2) / 2], "degradation": "jpeg:20"}, "shape", "got 2"),
    ],
)
def test_what_cannot_be_is_one_line_before_any_fit(changes, code, named):
    options = {"degradation": "gaussian:25", "recipe": BRIEF, "device": "cpu"} | changes
    given = options.pop("pictures", pictures())
    with pytest.raises(InputError) as caught:
        calibrate(given, **options)
    assert code in (None, caught.value.code)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_with_what_cannot_be_read_names_it(folder):
    (folder / "broken.png").write_bytes(b"hello")
    empty = folder / "empty"
    empty.mkdir()
    for place, code, named in (
        (folder, "unreadable", "broken.png"),
        (folder / "a.png", "not-found", "a.png"),
        (empty, "size", "empty"),
    ):
        with pytest.raises(InputError) as caught:
            calibrate(place, degradation="gaussian:25", recipe=BRIEF)
        assert caught.value.code == code
        assert named in str(caught.value)


def test_the_task_has_a_report_and_lines_for_people():
    calibration = calibrate(
        pictures(2), degradation="gaussian:25", recipe=BRIEF, candidates=[BRIEF], device="cpu"
    ).run()
    assert calibrate.report is not None
    assert calibrate.summary_lines is not None
    assert calibrate.report(calibration) == calibration.report()
    lines = calibrate.summary_lines(calibration)
    assert any(line.startswith("as it is (chosen)") for line in lines)
    assert lines[-1] == "use it: preimage denoise INPUT --recipe FILE.json"


@pytest.mark.parametrize(("count", "share", "held_out"), [(2, 1 / 3, 1), (3, 1 / 3, 1), (5, 0.9, 4), (5, 0.01, 1)])
def test_at_least_one_picture_on_either_side(count, share, held_out):
    search = calibrate(pictures(count), degradation="gaussian:25", recipe=BRIEF, held_out=share, device="cpu")
    assert (len(search.held_out), len(search.tuning)) == (held_out, count - held_out)
