"""What is drawn of a saliency map."""

from __future__ import annotations

import pytest
import torch
from classifiers.small import tiny
from defend.networks import pictures

from preimage.defend.attribution import saliency_map
from preimage.defend.faithfulness import deletion, insertion
from preimage.defend.saliency import SaliencyOptions
from preimage.figures.saliency import overlay, saliency_figure


@pytest.mark.parametrize("channels", [1, 3])
def test_an_overlay_is_the_dim_picture_where_nothing_is_salient_and_bright_where_all_is(channels):
    picture = torch.full((channels, 20, 24), 0.5)
    heat = torch.zeros(1, 20, 24)
    heat[:, :10] = 2
    drawn = overlay(picture, heat)
    assert drawn.shape == (3, 20, 24)
    assert bool((drawn >= 0).all() & (drawn <= 1).all())
    assert drawn[:, 10:].unique().tolist() == pytest.approx([0.3])
    assert float(drawn[:2, :10].min()) > 0.9


def test_an_overlay_of_nothing_and_one_of_a_faint_map():
    assert float(overlay(torch.ones(3, 16, 16), torch.zeros(1, 16, 16)).max()) == pytest.approx(0.6)
    faint = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(overlay(torch.ones(3, 16, 16), 1e-3 * faint), overlay(torch.ones(3, 16, 16), faint))


def test_a_figure_has_a_panel_for_each_map_and_both_curves():
    classifier, x = tiny(), pictures(1)
    names = ("gradient", "mig-sg", "gradcam", "input-x-gradient")
    found = [
        saliency_map(x, SaliencyOptions(classifier, "star", name, n_steps=2, n_samples=1, device="cpu"))
        for name in names
    ]
    curves = [
        [measure(classifier, x, each.map, "star", steps=4) for each in found] for measure in (insertion, deletion)
    ]
    figure = saliency_figure(x[0], found, *curves)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles[0].startswith("star: 0.")
    assert titles[1:5] == list(names)
    assert titles[5:] == ["insertion: probability of star", "deletion: probability of star"]
    labels = [text.get_text() for text in figure.axes[-1].get_legend().get_texts()]
    assert labels[0] == f"gradient: {float(curves[1][0].area):.3f}"
