"""purify, saliency and inspect as task values: quick to import, started by options, their Runs, results and files."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from classifiers.small import tiny
from defend.networks import pictures
from defend.small import BRIEF
from PIL import Image

from preimage import inspect, purify, saliency
from preimage.defend.attribution import saliency_map
from preimage.defend.inspection import Inspecting, Threshold
from preimage.defend.saliency import SaliencyOptions
from preimage.defend.saliency_run import write_array, write_figure, write_overlay
from preimage.errors import InputError
from preimage.tasks import described

FEW = {"n_steps": 3, "n_samples": 2, "device": "cpu"}
SPECS = [purify, saliency, inspect]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three unattacked images of two sizes, one in a subfolder."""
    (tmp_path / "more").mkdir()
    for name, side in (("a.png", 20), ("b.png", 20), ("more/c.png", 24)):
        values = (255 * pictures(1, side)[0].movedim(0, -1)).byte().numpy()
        Image.fromarray(values).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def small_inspect(image=None, **options):
    return inspect(image, **{"classifier": tiny(), "recipe": BRIEF, "every": 1, "seed": 3, "device": "cpu"} | options)


def test_importing_a_task_imports_no_torch():
    code = "import sys, preimage.defend.{0} as m; m.{0}.summary; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    for spec in SPECS:
        assert subprocess.run([sys.executable, "-c", code.format(spec.name)], check=False).returncode == 0, spec.name


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_every_option_is_described_once(spec):
    own = described(spec.options)
    assert own.keys() == {field.name for field in fields(spec.options)}
    assert all(each.help.endswith(".") and "\n" not in each.help for each in own.values())
    assert spec.example.startswith(f"preimage {spec.name} ")


def test_purify_is_a_task_of_options():
    found = purify(pictures(2, 16), recipe=BRIEF, steps=2, seed=4, device="cpu").run()
    assert (tuple(found.image.shape), found.steps, found.task) == ((2, 3, 16, 16), 2, "purify")
    for wrong in ({"seed": -1}, {"steps": 0}, {"recipe": "slow"}):
        with pytest.raises(InputError):
            purify(pictures(1, 16), **wrong)


# ---------------------------------------------------------------------- saliency


def test_one_result_holds_the_maps_of_all_methods():
    run = saliency(pictures(1), tiny(), "star", ("gradient", "mig-sg"), seed=2, **FEW)
    steps = list(run)
    assert [(step.index, step.total, step.status) for step in steps] == [(1, 2, "gradient"), (2, 2, "mig-sg")]
    result = run.result()
    for method in ("gradient", "mig-sg"):
        alone = saliency_map(pictures(1), SaliencyOptions(tiny(), "star", method, seed=2, **FEW))
        assert torch.equal(result[method].found.map, alone.map)
    assert torch.equal(result.map, result["gradient"].found.map)
    with pytest.raises(InputError):
        _ = result["occlusion"]


def test_its_report_is_json_and_its_summary_names_each_method():
    result = saliency(pictures(1), classifier=tiny(), method="gradcam, gradient, gradcam", **FEW).run()
    report = json.loads(json.dumps(result.report(), allow_nan=False))
    assert [each["method"] for each in report["methods"]] == ["gradcam", "gradient"]
    assert saliency.report is not None
    assert saliency.report(result) == result.report()
    assert [sum(line.startswith(name) for line in result.summary_lines()) for name in ("gradcam", "gradient")] == [1, 1]


def test_a_saved_state_continues_where_it_was():
    first, second = (saliency(pictures(1), tiny(), 1, "gradient,mig-sg", **FEW) for _ in range(2))
    next(first)
    second.load_state_dict(first.state_dict())
    assert first.fingerprint == second.fingerprint
    assert [step.status for step in second] == ["mig-sg"]
    assert second.finished
    assert torch.equal(second.result()["gradient"].found.map, first.result()["gradient"].found.map)


def test_files_of_one_map_and_of_several(tmp_path):
    one = saliency(pictures(1), tiny(), method="gradient", **FEW).run()
    two = saliency(pictures(1), tiny(), method="gradient,gradcam", **FEW).run()
    write_overlay(one, tmp_path / "overlay.png")
    assert np.asarray(Image.open(tmp_path / "overlay.png")).shape == (32, 32, 3)
    for name, result in (("figure.png", one), ("several.png", two)):
        write_figure(result, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 10_000
    write_array(two, tmp_path / "maps.npy")
    assert np.load(tmp_path / "maps.npy").shape == (2, 32, 32)
    with pytest.raises(InputError) as raised:
        write_array(two, tmp_path / "maps.npy")
    assert raised.value.code in ("exists", "invalid-value")


@pytest.mark.parametrize("wrong", [{"method": "magic"}, {"method": ""}, {"method": ()}, {"sigma": -1}, {"n_steps": 0}])
def test_bad_options_of_saliency_are_one_line(wrong):
    with pytest.raises(InputError) as raised:
        saliency(pictures(1), tiny(), **wrong)
    assert "\n" not in str(raised.value)


# ---------------------------------------------------------------------- inspect


def test_an_inspection_is_that_of_inspecting():
    result = small_inspect(pictures(1, 20)).run()
    alone = Inspecting(pictures(1, 20), tiny(), recipe=BRIEF, every=1, seed=3).run()[0]
    assert result.inspection.score == alone.score
    assert result.suspicious is None
    report = json.loads(json.dumps(result.report(), allow_nan=False))
    assert (report["score"], report["verdict"], report["seed"]) == (alone.score, None, 3)
    assert [output["step"] for output in report["curve"]] == list(alone.steps)


def test_a_folder_is_calibrated_and_its_threshold_decides(folder):
    run = small_inspect(calibrate=folder)
    steps = list(run)
    assert [step.index for step in steps] == list(range(1, 2 * BRIEF.steps + 1))
    assert steps[-1].total == 2 * BRIEF.steps
    threshold = run.result()
    single = [small_inspect(folder / name).run().inspection.score for name in ("a.png", "b.png", "more/c.png")]
    assert sorted(threshold.scores) == pytest.approx(sorted(single), abs=1e-3)
    assert threshold.value == max(threshold.scores)
    assert not threshold.guaranteed
    threshold.save(folder / "t.json")
    assert Threshold.read(folder / "t.json") == threshold
    found = small_inspect(folder / "a.png", thresholds=folder / "t.json").run()
    assert found.suspicious is (found.inspection.score > threshold.value)
    with pytest.raises(InputError) as raised:
        small_inspect(folder / "a.png", thresholds=folder / "t.json", steps=2)
    assert raised.value.code == "option"


def test_states_of_both_runs_continue(folder):
    whole = small_inspect(pictures(1, 20)).run()
    first, second = small_inspect(pictures(1, 20)), small_inspect(pictures(1, 20))
    next(first)
    second.load_state_dict(first.state_dict())
    assert second.run().inspection.score == whole.inspection.score
    first, second = small_inspect(calibrate=folder), small_inspect(calibrate=folder)
    for _ in range(BRIEF.steps + 1):  # the second group has begun
        next(first)
    second.load_state_dict(first.state_dict())
    assert [step.index for step in second] == list(range(BRIEF.steps + 2, 2 * BRIEF.steps + 1))
    assert second.result() == first.run()


def test_what_cannot_be_inspected(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    for image, options, code in (
        (None, {}, "option"),
        (pictures(1, 20), {"calibrate": folder}, "option"),
        (None, {"calibrate": folder, "thresholds": "t.json"}, "option"),
        (None, {"calibrate": tmp_path / "nowhere"}, "not-found"),
        (None, {"calibrate": tmp_path / "empty"}, "not-found"),
        (pictures(1, 20), {"thresholds": tmp_path / "none.json"}, "not-found"),
        (pictures(1, 20), {"seed": -1}, None),
    ):
        with pytest.raises(InputError) as raised:
            small_inspect(image, **options)
        assert code is None or raised.value.code == code
        assert "\n" not in str(raised.value)
