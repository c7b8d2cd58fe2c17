"""How `denoise` treats a camera's noise: how large a fit is, how many steps it takes, and what comes back of it."""

from __future__ import annotations

import pytest
import torch

from preimage import denoise, recipe
from preimage.images import as_picture
from preimage.networks import SkipNet
from preimage.noise.returned import Returned
from preimage.restore.camera_noise import FULL, camera_problem, for_camera, shrinking
from preimage.restore.denoise import DenoiseOptions, recipes

THIN = {"network": SkipNet.Config(down=(8, 8), up=(8, 8), skip=(4, 4)), "steps": 3}
CPU = DenoiseOptions(device="cpu")


def image(height: int, width: int) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def halved(monkeypatch):
    """Images of any size are taken as too large for a fit of their own size."""
    monkeypatch.setattr("preimage.restore.camera_noise.FULL", 0)


@pytest.mark.parametrize(("size", "by"), [((512, 512), 1), ((256, 1024), 1), ((512, 513), 2), ((3000, 4000), 2)])
def test_above_a_quarter_of_a_megapixel_the_fit_is_of_half_the_size(size, by):
    assert shrinking(size) == by
    assert FULL == 512 * 512


@pytest.mark.parametrize(
    ("size", "steps"), [((256, 256), 200), ((512, 512), 283), ((1024, 1024), 339), ((3000, 4000), 240)]
)
def test_steps_grow_with_what_is_fitted_at_a_time(size, steps):
    assert for_camera(recipes()["fast"], size, CPU).steps == steps


@pytest.mark.parametrize("name", ["fast", "best"])
def test_as_many_fits_as_the_recipe_has(name):
    made = recipes()[name]
    assert for_camera(made, (256, 256), CPU).restarts == made.restarts


def test_a_specified_tile_decides_the_steps_of_its_fit():
    assert for_camera(recipes()["fast"], (3000, 4000), DenoiseOptions(device="cpu", tile=1024)).steps == 339


@pytest.mark.parametrize("size", [(40, 64), (41, 63)])
def test_a_halved_fit_returns_an_image_of_the_size_that_was_given(halved, size):
    given = image(*size)
    run = denoise(given, noise="camera", recipe=recipe("fast", **THIN), device="cpu")
    assert run.current.size == (-(-size[0] // 2), -(-size[1] // 2))
    result = run.run()
    assert result.image.shape == given.shape
    assert bool(result.image.isfinite().all())
    assert any("half its width and height" in remark for remark in result.remarks)
    assert "nearly as it was given" not in result.reason


def test_tiles_of_a_halved_fit_meet(halved):
    given = image(60, 100)
    result = denoise(given, noise="camera", recipe=recipe("fast", **THIN), device="cpu", tile=48).run()
    assert result.image.shape == given.shape


def test_the_mean_of_a_square_is_of_its_valid_values():
    picture = as_picture(image(32, 32), missing=True)
    tensor = picture.tensor.clone()
    tensor[..., 0, 0] = float("nan")
    tensor[..., 4:6, 4:6] = float("nan")
    missing = as_picture(tensor, missing=True)
    problem = camera_problem(missing, Returned(missing.tensor), 2)
    assert torch.allclose(problem.target[..., 0, 0], picture.tensor[..., :2, :2].flatten(2)[..., 1:].mean(2), atol=1e-6)
    assert problem.weight is not None
    assert problem.weight[..., 2, 2].max() == 0, "nothing is known of it"
    assert problem.weight[..., 0, 0].min() == 1


def test_missing_values_stay_as_they_were_in_a_halved_fit(halved):
    given = image(40, 64)
    given[..., 10:14, 20:30] = float("nan")
    result = denoise(given, noise="camera", recipe=recipe("fast", **THIN), device="cpu").run()
    assert bool(result.image.isfinite().all())
    assert any("missing" in remark for remark in result.remarks)
