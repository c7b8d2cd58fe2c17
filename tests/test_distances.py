"""squared_outside: zero for all values that round to the target; and which distances are of the whole image."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from preimage import distances
from preimage.distances import cross_entropy, huber, is_whole_image, laplacian_pyramid, squared, squared_outside
from preimage.operators import JpegCoefficients, rounded
from preimage.problem import Problem


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_example():
    found = squared_outside(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 2.0]), tolerance=torch.tensor([1.0, 0.5]))
    assert found.tolist() == [0.0, 0.25]


@pytest.mark.parametrize("offset", [-0.2, -0.1, 0.0, 0.05, 0.2])
def test_it_is_zero_up_to_the_slack_and_even(offset):
    target, tolerance = random(1, 50), torch.tensor(0.2)
    assert float(squared_outside(target + offset, target, tolerance=tolerance).max()) < 1e-12
    assert torch.allclose(
        squared_outside(target + 0.5, target, tolerance=tolerance), torch.full((1, 50), 0.09), atol=1e-6
    )
    assert torch.allclose(
        squared_outside(target - 0.5, target, tolerance=tolerance), torch.full((1, 50), 0.09), atol=1e-6
    )


def test_without_slack_it_is_the_square():
    a, b = random(2, 3, 8, 8), random(1, 3, 8, 8, seed=1)
    assert torch.allclose(squared_outside(a, b, tolerance=torch.tensor(0.0)), squared(a, b), atol=1e-7)


def test_it_is_the_squared_distance_to_the_nearest_value_within():
    x, target, tolerance = 4 * random(3, 40) - 2, random(1, 40, seed=1), random(40, seed=2)
    nearest = torch.maximum(torch.minimum(x, target + tolerance), target - tolerance)
    assert torch.allclose(squared_outside(x, target, tolerance=tolerance), (x - nearest).square(), atol=1e-6)


def test_its_gradient_pulls_only_what_is_outside():
    x = torch.tensor([0.0, 0.4, 1.0, -2.0], requires_grad=True)
    squared_outside(x, torch.zeros(4), tolerance=torch.tensor(0.5)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 0.0, 1.0, -3.0]


def test_any_image_that_rounds_to_the_target_has_no_loss():
    view = JpegCoefficients([torch.full((8, 8), 12.0)], (16, 24))
    x = random(2, 1, 16, 24)
    problem = Problem(
        rounded(view(x), view.steps), operator=view, distance=partial(squared_outside, tolerance=view.steps / 2)
    )
    assert float(dict(problem.terms(x))["squared_outside"].max()) < 1e-12
    values = dict(problem.terms(x.flip(-1)))["squared_outside"]
    assert values.shape == (2,)
    assert float(values.min()) > 0


def test_a_distance_of_the_whole_image_is_marked_also_inside_partials():
    marked = {name for name in distances.__all__ if is_whole_image(getattr(distances, name))}
    assert marked == {"cross_entropy", "laplacian_pyramid"}
    assert is_whole_image(partial(partial(laplacian_pyramid, levels=2)))
    assert not is_whole_image(partial(huber, delta=0.2))
    assert not is_whole_image(lambda prediction, target: (prediction - target).abs())


def test_the_mark_says_what_is_returned():
    logits, classes = torch.zeros(2, 5), torch.tensor([0, 4])
    images = random(2, 3, 16, 16)
    assert cross_entropy(logits, classes).shape == laplacian_pyramid(images, images).shape == (2,)
    assert squared(images, images).shape == images.shape
