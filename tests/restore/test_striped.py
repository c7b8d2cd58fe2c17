"""Denoising takes the offsets of rows or columns off before it looks at the noise, of the whole image, and says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from specimens import THIN, clean

from preimage import denoise
from preimage.errors import InputError
from preimage.images import as_picture
from preimage.noise.stripes import find_stripes
from preimage.series.tiles import Tiles

SHORT: Any = replace(THIN, steps=3, stop="steps")
common: dict[str, Any] = {"recipe": SHORT, "device": "cpu"}


def striped(side: int = 96, deviation: float = 8.0, pages: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    image = 0.2 + 0.6 * clean(side).expand(pages, -1, -1, -1)
    offsets = deviation / 255 * torch.randn(pages, 1, side, 1, generator=generator)
    return (image + offsets + 5 / 255 * torch.randn(image.shape, generator=generator)).clamp(0, 1)


def remarks(run: Any) -> str:
    return "\n".join(run.remarks)


def test_what_is_fitted_has_no_stripes_and_what_was_given_has():
    image = striped()
    fit: Any = denoise(image, **common)
    assert [each.direction for each in find_stripes(image)] == ["rows"]
    assert find_stripes(fit.problem.target) == ()
    assert torch.equal(fit.picture.tensor, image), "what a strength below 1 is blended with"
    assert "stripes of a sensor along rows were removed: offsets of deviation 0.0286 in units of the input" in remarks(
        fit
    )


def test_the_deviation_is_in_units_of_the_input():
    pixels = (striped()[0].movedim(0, -1).numpy() * 255).round().astype(np.uint8)
    said = remarks(denoise(pixels, **common))
    assert float(said.split("offsets of deviation ")[1].split(" in units")[0]) == pytest.approx(8, rel=0.3)


def test_the_noise_is_measured_without_them():
    image = striped(deviation=12)
    with_them, without = (denoise(image, stripes=choice, **common) for choice in ("off", "auto"))
    assert without.problem.noise_level < with_them.problem.noise_level  # type: ignore[operator]


@pytest.mark.parametrize("choice", ["off", "columns"])
def test_a_choice_is_followed(choice):
    image = striped()
    fit: Any = denoise(image, stripes=choice, **common)
    assert len(find_stripes(fit.problem.target)) == 1, "rows are left"
    assert ("along columns" in remarks(fit)) == (choice == "columns")


def test_rows_are_removed_where_they_are_too_faint_to_be_found():
    image = striped(deviation=0.4)
    assert find_stripes(image) == ()
    fit: Any = denoise(image, stripes="rows", **common)
    assert not torch.equal(fit.problem.target, image)
    assert "stripes of a sensor along rows were removed" in remarks(fit)


def test_without_any_nothing_is_said_or_changed():
    image = striped(deviation=0)
    fits: list[Any] = [denoise(image, stripes=choice, **common) for choice in ("off", "auto")]
    assert fits[0].remarks == fits[1].remarks
    assert torch.equal(fits[1].problem.target, image)
    assert torch.equal(*(fit.run().image for fit in fits))


def test_a_constant_image_has_none_to_remove():
    assert "no stripes along rows were found" not in remarks(denoise(striped(), stripes="rows", **common))
    half = torch.full((1, 1, 32, 32), 0.5)
    half[..., 16:] = 0.6
    assert "no stripes along rows were found" in remarks(denoise(half, stripes="rows", **common))


def test_the_offsets_are_those_of_the_whole_image_in_every_tile():
    image = striped(128)
    whole: Any = denoise(image, **common)
    tiles: Any = denoise(image, tile=64, **common)
    assert isinstance(tiles, Tiles)
    assert torch.equal(tiles.picture.tensor, whole.problem.target)
    assert torch.equal(tiles.current.problem.target, whole.problem.target[..., :64, :64])
    assert tiles.run().image.shape == image.shape


def test_each_page_has_its_own():
    image = striped(pages=2)
    run: Any = denoise(image, **common)
    each: list[Any] = [denoise(page[None], **common) for page in image]
    assert torch.equal(run.problem.target, torch.cat([fit.problem.target for fit in each]))


def test_a_value_that_is_missing_stays_and_the_result_has_no_stripes():
    image = striped()[0].movedim(0, -1).numpy().copy()
    image[20:24, 30:40] = np.nan
    result = denoise(image, **common).run()
    written = as_picture(image, missing=True)
    assert written.missing is not None
    assert result.picture is not None
    back = result.picture.to_array(result.image)
    assert np.isnan(back[20:24, 30:40]).all()
    assert np.isfinite(back[30:]).all()
    assert find_stripes(result.image) == ()


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_a_strength_is_between_what_was_given_and_the_result(strength):
    result = denoise(striped(), **common).run()
    assert torch.equal(result.blended(strength), result.image if strength else striped())


def test_an_unknown_choice_is_refused():
    with pytest.raises(InputError, match="stripes must be off, rows, columns or auto, got 'diagonal'") as raised:
        denoise(striped(), stripes="diagonal", **common)  # type: ignore[arg-type]
    assert raised.value.code == "option"
