"""The camera, film and scanner of studies: noise as strong, as correlated and as repeatable as theirs is."""

from __future__ import annotations

import pytest
import torch

from studies.harness.camera import Camera, compressed, film_grain, linear, scan, toned
from studies.harness.imaging import eight_bit, generated_picture, jpeg_of, tensor_of


def flat(value: float, side: int = 192) -> torch.Tensor:
    return torch.full((1, 3, side, side), value)


def of_neighbors(noise: torch.Tensor) -> float:
    """The correlation of horizontal neighbors."""
    noise = noise - noise.mean((2, 3), keepdim=True)
    return float((noise[..., 1:] * noise[..., :-1]).mean() / noise.square().mean())


def difference(pair: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return pair[0] - pair[1]


def test_the_tone_curve_and_its_inverse():
    values = torch.linspace(0, 1, 257)
    assert torch.allclose(toned(linear(values)), values, atol=1e-6)
    assert float(linear(torch.tensor(0.5))) == pytest.approx(0.21404, abs=1e-5)


def test_a_picture_is_reduced_by_two_and_comes_back_in_its_colors():
    color = torch.tensor([0.7, 0.4, 0.2]).view(1, 3, 1, 1).expand(1, 3, 60, 90)
    _, clean = Camera(quality=None)(color, 0)
    assert clean.shape == (1, 3, 30, 45)
    assert torch.allclose(clean, eight_bit(color[..., :30, :45]), atol=1.01 / 255)


@pytest.mark.parametrize("edges", [True, False])
def test_of_a_smooth_picture_the_path_leaves_hardly_a_trace(edges):
    y, x = torch.meshgrid(torch.linspace(0.2, 0.8, 128), torch.linspace(0.3, 0.7, 128), indexing="ij")
    picture = torch.stack([y, x, (x + y) / 2])[None]
    _, clean = Camera(quality=None, edges=edges)(picture, 0)
    expected = toned(torch.nn.functional.avg_pool2d(linear(picture), 2))
    assert float((clean - expected).abs().max()) < 2.5 / 255


def test_the_variance_of_linear_light_grows_with_it():
    levels = [0.3, 0.5, 0.7]
    camera = Camera(iso=1600, quality=None)
    found = [float(linear(camera(flat(v), 1)[0])[:, 1].var()) for v in levels]
    assert found[0] < found[1] < found[2]
    light = [float(linear(torch.tensor(v))) for v in levels]
    assert found[2] / found[1] == pytest.approx(light[2] / light[1], rel=0.15), "photons"


def test_four_times_the_iso_is_twice_the_deviation():
    low, high = (float(difference(Camera(iso=iso, quality=None)(flat(0.6), 2)).std()) for iso in (400, 1600))
    assert high / low == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("quality", [None, 98, 90, 80])
def test_neighbors_share_noise(quality):
    assert of_neighbors(difference(Camera(quality=quality)(flat(0.5), 3))) > 0.2


def test_jpeg_smooths_color_over_more_pixels():
    noise = difference(Camera(iso=3200, quality=95)(flat(0.5), 4))
    chroma = noise[:, :1] - noise[:, 2:]
    assert of_neighbors(chroma) > of_neighbors(noise.mean(1, keepdim=True)) + 0.1


def test_jpeg_is_of_4_2_0():
    picture = generated_picture(64)
    assert torch.equal(compressed(picture, 85), tensor_of(jpeg_of(picture, 85)))


MAKERS = {
    "camera": lambda picture, strength, seed: Camera(iso=round(100 * 16 * strength))(picture, seed),
    "grain": lambda picture, strength, seed: film_grain(picture, 0.05 * strength, seed),
    "scan": lambda picture, strength, seed: scan(picture, 0.05 * strength, seed),
}
each = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@each
def test_the_same_seed_is_the_same_noise(make):
    picture = generated_picture(64)
    first, again, other = (make(picture, 1, seed) for seed in (5, 5, 6))
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert torch.equal(first[1], other[1]), "without noise there is nothing to draw"


@each
def test_what_is_returned_is_eight_bit(make):
    for picture in make(generated_picture(64), 1, 0):
        assert torch.equal(picture, eight_bit(picture))
        assert 0 <= float(picture.min()) <= float(picture.max()) <= 1


def test_no_noise_is_no_difference():
    picture = generated_picture(64)
    assert float(difference(film_grain(picture, 0, 0)).abs().max()) == 0
    assert float(difference(scan(picture, 0, 0)).abs().max()) == 0
    assert float(difference(Camera(iso=1e-6)(picture, 0)).abs().max()) == 0
    assert float(difference(Camera(iso=1600)(picture, 0)).abs().max()) > 0


def test_grain_is_in_luma_alone_and_strongest_in_the_middle():
    deviations = {}
    for value in (0.1, 0.5, 0.9):
        noise = difference(film_grain(flat(value), 0.05, 1))
        assert torch.equal(noise[:, 0], noise[:, 1])
        deviations[value] = float(noise.std())
    assert deviations[0.5] == pytest.approx(0.05, rel=0.05)
    assert deviations[0.1] == pytest.approx(0.6 * 0.05, rel=0.1)
    assert deviations[0.9] == pytest.approx(0.6 * 0.05, rel=0.1)
    assert of_neighbors(difference(film_grain(flat(0.5), 0.05, 1))) > 0.5


def test_a_scan_is_as_noisy_as_stated_and_blurred():
    noise = difference(scan(flat(0.5), 0.05, 1))
    assert float(noise.std()) == pytest.approx(0.05, rel=0.05)
    assert 0.2 < of_neighbors(noise) < 0.7
    edge = (torch.arange(64) > 31).float().expand(1, 3, 64, 64)
    _, soft = scan(edge, 0.0, 0)
    assert 0.05 < float(soft[0, 0, 32, 31]) < 0.45
