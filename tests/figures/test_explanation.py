"""Figures of explanations: every panel and curve, whatever they are called."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from classifiers.small import Tiny, tiny
from explain.small import BRIEF, THIN, estimated, picture
from matplotlib.figure import Figure
from PIL import Image, ImageSequence

from preimage.classifiers import Classifier
from preimage.errors import InputError
from preimage.explain.counterfactual import counterfactual
from preimage.explain.invert import invert
from preimage.explain.maximize import maximize
from preimage.explain.recover import recover
from preimage.figures.explanation import curves_figure, explanation_figure, save_change_film, strip_figure
from preimage.figures.panels import heat_map, magnified
from preimage.figures.restoration import save_figure
from preimage.recipes import recipe

SETTINGS = {"classifier": tiny(), "recipe": BRIEF, "device": "cpu"}


def drawn(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def test_a_counterfactual_has_panels_and_curves():
    one = counterfactual(picture(), **SETTINGS, count=2).run()
    figure = explanation_figure(one)
    assert len(one.panels) == 6
    assert titles(figure) == [*one.panels, "loss by its terms", "probability"]
    assert len(drawn(one.plot())) > 10_000


def test_a_strip_goes_from_none_of_the_change_to_all_of_it():
    one = counterfactual(picture(), **SETTINGS).run()
    told = titles(strip_figure(one))
    assert [title.split(":")[0] for title in told] == ["0%", "25%", "50%", "75%", "100%"]
    assert told[-1].endswith(f"{one.confidence:.2f}")
    strip = one.strengths()
    assert torch.equal(strip[0][1], one.reconstruction)
    assert torch.allclose(strip[-1][1], one.changed)


@pytest.mark.long
@pytest.mark.parametrize("ending", [".gif", ".webp"])
@pytest.mark.parametrize("options", [{}, {"count": 2}])
def test_a_film_goes_from_the_picture_to_the_counterfactual(tmp_path, ending, options):
    one = counterfactual(picture(), **SETTINGS | {"recipe": THIN}, class_weight=3.0, **options).run()
    path = save_change_film(one, tmp_path / f"why{ending}")
    with Image.open(path) as film:
        shown = [np.asarray(frame.convert("RGB"), dtype=float) for frame in ImageSequence.Iterator(film)]
    assert 12 <= len(shown) <= 22  # equal ones may be joined
    steps = [np.abs(frame - shown[1])[80:].mean() for frame in shown[1:]]
    assert steps[-1] > 2 * steps[len(steps) // 3] > 0
    assert len(one.along_strengths) == 21
    with pytest.raises(InputError, match="exists"):
        save_change_film(one, path)


@pytest.mark.parametrize(
    "run",
    [
        lambda: recover(picture(), **SETTINGS | {"classifier": estimated()}),
        lambda: recover(picture()[:1], **SETTINGS),
        lambda: invert(
            picture(16, 90), layers="block1", prior="none", **SETTINGS | {"recipe": recipe("fast", steps=3)}
        ),
        lambda: invert(picture(), layers=["block1", "block2", "head"], **SETTINGS),
        lambda: maximize(target=0, size=(32, 32), **SETTINGS),
        lambda: invert(torch.full((3, 32, 32), 0.5), layers="block1", **SETTINGS),
    ],
)
def test_every_task_has_a_figure(run):
    one = run().run()
    assert len(drawn(explanation_figure(one))) > 5_000
    assert titles(explanation_figure(one))[: len(one.panels)] == list(one.panels)
    assert len(drawn(curves_figure(one))) > 2_000


def test_names_that_mean_something_to_matplotlib_are_taken_as_they_are():
    classifier = Classifier(Tiny(2), ["_a", r"$\frac$"], (0.5,) * 3, (0.25,) * 3)
    one = counterfactual(picture(), **SETTINGS | {"classifier": classifier}).run()
    assert len(drawn(explanation_figure(one))) > 10_000
    assert len(drawn(strip_figure(one))) > 10_000
    legend = explanation_figure(one).axes[-1].get_legend()
    assert legend is not None
    assert [text.get_text().strip() for text in legend.get_texts()] == list(one.curves["probability"])


def test_equal_explanations_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        save_figure(explanation_figure(invert(picture(), layers="block1", **SETTINGS).run()), tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_no_number_in_a_loss_is_no_trouble():
    one = invert(picture(), layers="block1", **SETTINGS | {"recipe": replace(THIN, steps=4)}).run()
    one.history._tables[1].fill_(float("nan"))
    assert len(drawn(explanation_figure(one))) > 5_000


def test_changes_for_the_eye():
    change = torch.zeros(1, 3, 32, 32)
    assert torch.equal(magnified(change), torch.full_like(change, 0.5))
    assert float(heat_map(change).max()) == 0
    change[..., 4:20, 4:20] = 0.01
    change[..., 20:28, 20:28] = -0.01
    assert {round(float(v), 3) for v in magnified(change).unique()} == {0.0, 0.5, 1.0}
    assert heat_map(change).shape == (1, 1, 32, 32)
    assert torch.equal(heat_map(change)[0, 0] > 0.5, change[0].abs().sum(0) > 0)
