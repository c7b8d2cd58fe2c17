"""Figures: every kind of picture can be shown, and equal results give equal bytes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from specimens import THIN

from preimage.errors import InputError
from preimage.figures.restoration import (
    display_range,
    displayed,
    figure_of_panels,
    png_of,
    restoration_figure,
    save_figure,
    show_panel,
)
from preimage.images import as_picture
from preimage.restore.denoise import denoise


def picture(channels: int, dtype: type = np.uint8, side: int = 20) -> np.ndarray:
    values = np.random.default_rng(0).random((side, 24, channels)) * 200
    return values.astype(dtype)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_any_number_of_channels_is_shown_in_color(channels):
    image = torch.rand(channels, 10, 12)
    shown = displayed(image)
    assert shown.shape == (10, 12, 3)
    assert 0 <= shown.min() <= shown.max() <= 1
    if channels == 3:
        assert np.allclose(shown, image.movedim(0, -1).numpy())


def test_one_hot_pixel_does_not_darken_a_16_bit_picture():
    values = picture(1, np.uint16, side=100)
    values[3, 3] = 65535
    assert display_range(as_picture(values))[1] < 0.1
    assert display_range(as_picture(picture(1))) == (0.0, 1.0)


@pytest.mark.long
@pytest.mark.parametrize(("channels", "dtype"), [(3, np.uint8), (2, np.uint16), (1, np.float32), (5, np.uint8)])
def test_equal_results_give_equal_bytes(channels, dtype, tmp_path: Path):
    for name in ("a.png", "b.png"):
        result = denoise(picture(channels, dtype), recipe=THIN, restarts=2).run()
        curve = [(step, 1 / step) for step in range(1, 9)]
        figure = restoration_figure(result, scores=curve, psnrs=curve, reference=result.image)
        save_figure(figure, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_result_plots_itself():
    result = denoise(picture(3), recipe=THIN, restarts=1).run()
    titles = [axes.get_title() for axes in result.plot().get_axes()]
    assert titles[:3] == ["before", "after", "difference"]


def test_only_png(tmp_path: Path):
    result = denoise(picture(1), recipe=THIN, restarts=1).run()
    with pytest.raises(InputError, match="PNG"):
        save_figure(result.plot(), tmp_path / "a.pdf")


@pytest.mark.parametrize("size", [(13.2, 5.4), (9.6, 6.0), (13.2, 4.2)])
def test_titles_are_whole_also_above_images_of_other_proportions(size):
    """The layout is settled when a figure is written: written again it is the same, and no title touches its edge."""
    figure, places, lower = figure_of_panels(size, (2.3, 3), 1, 6)
    for k, axes in enumerate(places):
        show_panel(
            axes, np.zeros((224, 224, 3) if k else (256, 341, 3)), f"step {k}: tabby 0.25", fontsize=8, sharp=True
        )
    lower.subplots(1, 1).plot([1, 2])
    lower.suptitle("disagreement 0.2", fontsize=9)
    written = png_of(figure)
    assert png_of(figure) == written
    with Image.open(io.BytesIO(written)) as image:
        edge = np.asarray(image.convert("L"))[:2]
    assert edge.min() == 255
