"""Inspection: a curve of early outputs, a score of disagreement, a threshold that knows whose it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from defend.small import BRIEF, CLASSES, Broken, Detached, pictures, trained
from torch import nn

from preimage.classifiers import Classifier
from preimage.classifiers.fingerprint import short_fingerprint
from preimage.defend.inspect import InspectOptions, start
from preimage.defend.inspection import Inspecting, Inspection, Threshold, false_alarm_threshold, steps_between
from preimage.defend.purification import FAST, PAPER
from preimage.defend.purify import purify
from preimage.errors import InputError
from preimage.figures.inspection import inspection_figure
from preimage.figures.restoration import save_figure

IMAGES, LABELS = pictures(3, seed=5)
SHORT = replace(BRIEF, steps=6)


def inspecting(**options) -> Inspecting:
    return Inspecting(IMAGES, trained(), **{"recipe": SHORT, "every": 2, "seed": 1} | options)


def predictions(given: list[float], early: list[list[float]], counted: int = 4) -> Inspection:
    steps = tuple(range(2, 2 * len(early) + 1, 2))
    return Inspection(torch.tensor(given), steps, torch.tensor(early), torch.zeros(len(early), 3, 16, 16), counted)


def test_pictures_and_their_early_outputs_are_shown_to_the_classifier():
    found = inspecting().run()
    assert len(found) == 3
    assert found[0].steps == (2, 4, 6)
    assert found[0].outputs.shape == (3, 3, 16, 16)
    given = torch.stack([each.given for each in found])
    torch.testing.assert_close(given, trained().probabilities(IMAGES))
    torch.testing.assert_close(found[1].early, trained().probabilities(found[1].outputs))


def test_the_early_outputs_are_those_of_purify():
    found = inspecting().run()
    alone = purify(IMAGES[2], recipe=SHORT, seed=1, device="cpu").run().image
    torch.testing.assert_close(found[2].outputs[-1:], alone, atol=1e-3, rtol=0)


def test_the_last_step_is_looked_at_in_any_case():
    assert inspecting(every=4).run()[0].steps == (4, 6)
    assert inspecting(every=None).run()[0].steps == (1, 2, 3, 4, 5, 6)
    assert (steps_between(FAST, None), steps_between(PAPER, None)) == (2, 62)


def test_the_score_is_the_total_variation_distance_to_the_mean_of_later_outputs():
    found = predictions([0.5, 0.3, 0.2], [[0, 0, 1.0], [0.1, 0.7, 0.2], [0.3, 0.5, 0.2]])
    torch.testing.assert_close(found.mean, torch.tensor([0.2, 0.6, 0.2]))
    assert found.score == pytest.approx(0.3)
    assert (found.predicted, found.early_predicted) == (0, 1)
    assert found.curve(1) == [(2, 0.0), (4, pytest.approx(0.7)), (6, pytest.approx(0.5))]
    assert predictions([1.0, 0.0], [[1.0, 0.0]] * 2).score == 0
    assert predictions([1.0, 0.0], [[0.0, 1.0]] * 2).score == 1


def test_of_independent_labels_the_one_that_changes_most_is_named():
    given, early = torch.tensor([0.99, 0.3, 0.05]), torch.tensor([[0.99, 0.9, 0.05]])
    found = Inspection(given, (4,), early, torch.zeros(1, 3, 16, 16), 1, independent=True)
    assert (found.predicted, found.early_predicted) == (1, 1)
    assert found.score == pytest.approx(0.6)
    one = Inspection(given, (4,), early, torch.zeros(1, 3, 16, 16), 1)
    assert (one.predicted, one.early_predicted) == (0, 0)


def test_the_classifier_may_see_larger_pictures_than_are_fitted():
    larger = nn.functional.interpolate(IMAGES, scale_factor=2, mode="bilinear")
    found = inspecting(seen=larger).run()
    torch.testing.assert_close(found[0].given[None], trained().probabilities(larger[:1]))
    assert found[0].outputs.shape[-1] == 16


def test_a_classifier_without_gradient_can_be_asked():
    assert 0 <= Inspecting(IMAGES, Detached(), recipe=BRIEF, seed=1).run()[0].score <= 1


def test_a_classifier_whose_answer_is_no_number_is_refused_before_any_fit():
    with pytest.raises(InputError) as error:
        Inspecting(IMAGES, Broken(), recipe=SHORT, seed=1)
    assert error.value.code == "classifier"


def test_a_classifier_that_breaks_on_the_way_is_refused_too():
    class Later(Broken):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return trained()(x) if self.calls == 1 else super().forward(x)

    with pytest.raises(InputError) as error:
        Inspecting(IMAGES, Later(), recipe=SHORT, every=2, seed=1).run()
    assert error.value.code == "classifier"


def test_a_word_is_no_classifier():
    with pytest.raises(InputError, match="got str"):
        Inspecting(IMAGES, "lesions.pt", recipe=SHORT)  # pyright: ignore[reportArgumentType]


def test_there_is_no_result_before_the_end():
    begun = inspecting()
    next(iter(begun))
    with pytest.raises(InputError, match="ends with the last step"):
        begun.result()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"every": 0}, "invalid-value"),
        ({"every": 7}, "invalid-value"),
        ({"every": 2.5}, "invalid-value"),
        ({"steps": 0}, "invalid-value"),
        ({"seed": -1}, "invalid-value"),
        ({"seed": True}, "invalid-value"),
        ({"seen": 2 * IMAGES}, "range"),
        ({"recipe": "slow"}, "invalid-value"),
    ],
)
def test_bad_settings_are_one_line(options, code):
    with pytest.raises(InputError) as raised:
        inspecting(**options)
    assert raised.value.code == code
    assert "\n" not in str(raised.value)


# ---------------------------------------------------------------------- thresholds


@pytest.mark.parametrize("count", [19, 20, 100, 137])
def test_at_most_the_share_of_clean_pictures_is_above_the_threshold(count):
    scores = torch.rand(count, generator=torch.Generator().manual_seed(count)).tolist()
    threshold = false_alarm_threshold(scores)
    assert sum(score > threshold for score in scores) <= 0.05 * count
    assert threshold in scores


def test_a_new_image_exceeds_it_as_rarely_as_guaranteed():
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(4000, 40, generator=generator)
    above = sum(float(row[-1]) > false_alarm_threshold(row[:-1].tolist()) for row in drawn)
    assert 0.03 < above / 4000 < 0.06


def test_few_images_guarantee_nothing():
    assert false_alarm_threshold([0.1, 0.4, 0.2]) == 0.4
    assert [Threshold.of([0.1] * n, trained(), BRIEF).guaranteed for n in (18, 19)] == [False, True]
    with pytest.raises(InputError, match="got none"):
        false_alarm_threshold([])


def test_a_threshold_comes_back_from_its_file(tmp_path):
    threshold = Threshold.of([0.1, 0.3, 0.2], trained(), SHORT, 2)
    threshold.save(tmp_path / "t.json")
    back = Threshold.read(tmp_path / "t.json")
    assert back.checked(trained(), SHORT, 2) == back == threshold
    assert (back.value, back.images) == (0.3, 3)
    assert not back.exceeded_by(0.3)
    assert back.exceeded_by(0.31)


def test_a_threshold_of_something_else_is_refused():
    threshold = Threshold.of([0.1], trained(), SHORT, 2)
    other = Classifier(trained().model, CLASSES, mean=(0.4,) * 3, std=(0.25,) * 3)
    for model, recipe, every, code in (
        (other, SHORT, 2, "classifier"),
        (trained(), replace(SHORT, steps=7), 2, "option"),
        (trained(), replace(SHORT, rate=0.1), 2, "option"),
        (trained(), SHORT, 3, "option"),
    ):
        with pytest.raises(InputError) as raised:
            threshold.checked(model, recipe, every)
        assert raised.value.code == code
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "not-found"),
        ("no json", "unreadable"),
        ('{"steps": 3}', "unreadable"),
        (json.dumps({"kind": "preimage thresholds", "format": 9, "written_by": "9.0"}), "format"),
        (json.dumps({"kind": "preimage thresholds", "written_by": "9.0"}), "format"),
        (json.dumps({"format": "preimage thresholds", "version": 1, "written_by": "0.1", "value": 0.3}), "format"),
        (json.dumps({"kind": "preimage thresholds", "format": 2, "value": "high"}), "unreadable"),
    ],
)
def test_files_that_are_no_thresholds(content, code, tmp_path):
    if content is not None:
        (tmp_path / "t.json").write_text(content)
    with pytest.raises(InputError) as raised:
        Threshold.read(tmp_path / "t.json")
    assert raised.value.code == code
    assert "preimage inspect --calibrate" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_fingerprint_knows_all_that_a_classifier_is():
    def of(**changes) -> str:
        settings = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "size": None, "classes": CLASSES} | changes
        return short_fingerprint(Classifier(trained().model, settings.pop("classes"), **settings))

    assert of() == of() == short_fingerprint(trained())
    assert len({of(), of(size=20), of(mean=(0.4,) * 3), of(classes=("a", "b", "c"))}) == 4
    net, before = trained(), of()
    net.model.transform_input = True  # as GoogLeNet and Inception have it
    try:
        assert short_fingerprint(net) != before
    finally:
        del net.model.transform_input
    model = nn.BatchNorm2d(3)
    before = short_fingerprint(model)
    model.running_mean += 1
    assert short_fingerprint(model) != before


def test_an_image_is_read_with_the_range_and_page_that_are_stated(tmp_path):
    scans = np.random.default_rng(0).integers(0, 4096, (2, 24, 24, 3), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "two.tif", scans, photometric="rgb")
    ways = {"classifier": trained(), "recipe": BRIEF, "device": "cpu"}
    for given in (scans[1], tmp_path / "two.tif"):
        page = None if given is scans[1] else 2
        run = start(given, InspectOptions(value_range=(0, 4095), page=page, **ways))
        assert np.allclose(run.shown.tensor[0].permute(1, 2, 0), scans[1] / 4095, atol=1e-6)
        assert not any("--range" in remark for remark in run.remarks)
    with pytest.raises(InputError, match="2 pages"):
        start(tmp_path / "two.tif", InspectOptions(**ways))


def test_many_remarks_on_the_images_of_a_calibration_are_counted(tmp_path):
    for k in range(6):
        scan = np.random.default_rng(k).integers(0, 4000 + k, (24, 24, 3), dtype=np.uint16)
        tifffile.imwrite(tmp_path / f"{k}.tif", scan if k else 0 * scan, photometric="rgb")
    run = start(None, InspectOptions(calibrate=tmp_path, classifier=trained(), recipe=BRIEF, device="cpu"))
    assert [Path(remark.split(" ")[0]).name for remark in run.remarks] == ["0.tif", "1.tif", "2.tif", "3"]
    assert "end at 0 of" not in run.remarks[0]  # nothing can be said of its white
    assert run.remarks[-1] == "3 more remarks on images like these"


# ---------------------------------------------------------------------- the figure


def test_the_figure_shows_picture_outputs_and_curves(tmp_path):
    found = inspecting().run()[0]
    for name, threshold in (("a.png", 0.2), ("b.png", None)):
        save_figure(inspection_figure(IMAGES[0], found, CLASSES, threshold=threshold, title="a_b$c$"), tmp_path / name)
        assert (tmp_path / name).stat().st_size > 10_000
    figure = inspection_figure(IMAGES[0], found, CLASSES)
    assert [len(part.axes) for part in figure.subfigs] == [4, 1]
    assert figure.subfigs[0].axes[0].get_title().startswith("input: ")
