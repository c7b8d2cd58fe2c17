"""MIG-SG against eq. 1 by hand, its closed form and its limit, and all that must not change the result."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from captum.attr import Attribution, IntegratedGradients
from captum.metrics import sensitivity_max
from classifiers.small import tiny
from defend.networks import Detached, Rising, bent, linear, pictures, with_modes
from torch import nn

from preimage import MIGSG
from preimage.errors import InputError

FEW = {"n_steps": 3, "n_samples": 2}


def small(count: int = 2) -> torch.Tensor:
    return pictures(count, 8).double()


def by_hand(model: nn.Module, x, x0, target, m, samples, sigma, seed=0) -> torch.Tensor:
    """Eq. 1 for one input (c, h, w), term by term as it is printed."""
    noise = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(x)
    for k in range(m + 1):
        for _ in range(samples):
            drawn = sigma * torch.randn(x.shape, generator=noise).to(x) if sigma else 0
            point = (x0 + k / m * (x - x0) + drawn).requires_grad_()
            model(point[None])[0, target].backward()
            assert point.grad is not None
            total += point.grad.abs()
    model.zero_grad()
    return ((x - x0) / (m * samples) * total).abs()


# ---------------------------------------------------------------------- eq. 1


@pytest.mark.parametrize(("m", "samples", "sigma"), [(1, 1, 0.0), (1, 3, 0.2), (5, 2, 0.3), (4, 1, 0.0)])
def test_it_is_equation_1_term_by_term(m, samples, sigma):
    model, x, x0 = bent(), small(), 0.3 * small(4)[2:]
    found = MIGSG(model).attribute(x, x0, [2, 0], m, samples, sigma, internal_batch_size=3, seed=7)
    for each, target in enumerate([2, 0]):
        wanted = by_hand(model, x[each], x0[each], target, m, samples, sigma, seed=7)
        torch.testing.assert_close(found[each], wanted)
    assert found.shape == x.shape
    assert bool((found >= 0).all())
    assert not found.requires_grad


@pytest.mark.parametrize("m", [1, 2, 50])
def test_of_a_linear_model_it_is_known(m):
    model, x, x0 = linear(), small(), small(4)[2:]
    weight = model[1].weight.detach()[[3, 1]].reshape(x.shape)
    found = MIGSG(model).attribute(x, x0, [3, 1], n_steps=m, stdevs=0)
    torch.testing.assert_close(found, (m + 1) / m * ((x - x0) * weight).abs())


def test_of_a_linear_model_noise_changes_nothing():
    model, x = linear(), small()
    without = MIGSG(model).attribute(x, target=1, n_steps=4, stdevs=0)
    torch.testing.assert_close(MIGSG(model).attribute(x, target=1, n_steps=4, n_samples=3, stdevs=0.5), without)


def test_times_m_over_m_plus_1_it_approaches_integrated_gradients_where_the_gradient_has_one_sign():
    model, x = Rising(), small()
    exact = IntegratedGradients(model).attribute(x, target=1, n_steps=64).abs()
    errors = []
    for m in (8, 16, 64):
        near = m / (m + 1) * MIGSG(model).attribute(x, target=1, n_steps=m, stdevs=0)
        errors.append(float((near - exact).abs().max() / exact.max()))
    assert errors[0] > 1.8 * errors[1] > 1.8**3 * errors[2]
    assert errors[2] < 0.01


def test_the_inner_size_keeps_what_integrated_gradients_cancels():
    class Wave(nn.Module):
        def forward(self, x):
            return torch.sin(2 * math.pi * x).sum((1, 2, 3))

    x = torch.ones(1, 1, 8, 8).double()
    assert float(IntegratedGradients(Wave()).attribute(x, n_steps=64).abs().max()) < 1e-6
    found = 64 / 65 * MIGSG(Wave()).attribute(x, n_steps=64, stdevs=0)
    assert found.flatten().tolist() == pytest.approx([4] * 64, rel=0.03)  # the mean of |2 pi cos| is 4


def test_more_samples_come_nearer_the_expectation():
    model, x = bent(), small(1)
    settings = {"target": 0, "n_steps": 2, "stdevs": 1.0}
    wanted = MIGSG(model).attribute(x, **settings, n_samples=400, seed=9)
    few, many = (MIGSG(model).attribute(x, **settings, n_samples=n, seed=1) - wanted for n in (2, 100))
    assert float(many.norm()) < 0.5 * float(few.norm())


# ---------------------------------------------------------------------- what changes nothing


def test_a_batch_gives_what_singles_give_wherever_they_stand():
    classifier, x = tiny(), pictures(3)
    batch = MIGSG(classifier).attribute(x, target=["star", 0, "round"], **FEW)
    turned = MIGSG(classifier).attribute(x.flip(0), target=["round", 0, "star"], **FEW)
    for each, target in enumerate(["star", 0, "round"]):
        alone = MIGSG(classifier).attribute(x[each : each + 1], target=target, **FEW)
        torch.testing.assert_close(batch[each : each + 1], alone)
    torch.testing.assert_close(turned.flip(0), batch)


def test_seeds_belong_to_inputs():
    classifier, x = tiny(), pictures(1).expand(3, -1, -1, -1)
    same = MIGSG(classifier).attribute(x, target=1, seed=4, **FEW)
    torch.testing.assert_close(same[0], same[2])
    other = MIGSG(classifier).attribute(x, target=1, seed=[4, 5, 4], **FEW)
    torch.testing.assert_close(other[[0, 2]], same[[0, 2]])
    assert not torch.allclose(other[1], same[1], rtol=0.01)


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_how_many_go_through_at_once_changes_nothing(size):
    classifier, x = tiny(), pictures()
    wanted = MIGSG(classifier).attribute(x, target=1, **FEW)
    torch.testing.assert_close(MIGSG(classifier).attribute(x, target=1, **FEW, internal_batch_size=size), wanted)


def test_no_pass_is_larger_than_was_asked():
    seen = []
    model = linear()
    model.register_forward_hook(lambda module, given, output: seen.append(len(given[0])))
    MIGSG(model).attribute(small(3), target=0, n_steps=4, n_samples=2, internal_batch_size=7)
    assert max(seen) == 7
    assert sum(seen) == 3 * 5 * 2


def test_baselines_of_every_form_are_one():
    model, x = bent(), small()
    wanted = MIGSG(model).attribute(x, 0.25, 0, **FEW)
    for form in (
        torch.tensor(0.25),
        torch.full((3, 1, 1), 0.25),
        torch.full((3, 8, 8), 0.25),
        torch.full_like(x, 0.25),
    ):
        torch.testing.assert_close(MIGSG(model).attribute(x, form, 0, **FEW), wanted)
    assert not torch.allclose(MIGSG(model).attribute(x, 0, 0, **FEW), wanted)


def test_what_equals_the_baseline_has_no_saliency():
    x, x0 = small(1), 0.5 * small(1)
    x0[..., :4] = x[..., :4]
    found = MIGSG(linear()).attribute(x, x0, 2, stdevs=0, n_steps=2)
    assert bool((found[..., :4] == 0).all())
    assert bool((found[..., 4:] > 0).all())


def test_targets_of_every_form_are_one():
    classifier, x = tiny(), pictures()
    wanted = MIGSG(classifier).attribute(x, target=2, **FEW)
    for form in ("star", "STAR", [2, 2], ["star", 2], torch.tensor(2), torch.tensor([2, 2]), np.int64(2), (2, "2")):
        torch.testing.assert_close(MIGSG(classifier).attribute(x, target=form, **FEW), wanted)


def test_a_model_is_left_as_it_was():
    model, x = with_modes(), pictures()
    model[1].train(False)  # a mixture of modes
    modes = [module.training for module in model.modules()]
    state = copy.deepcopy(model.state_dict())
    first = MIGSG(model).attribute(x, target=0, **FEW)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not x.requires_grad
    torch.testing.assert_close(MIGSG(model.eval()).attribute(x, target=0, **FEW), first)  # no dropout was in it


def test_modes_come_back_after_an_error_too():
    model = with_modes().train()
    with pytest.raises(InputError):
        MIGSG(model).attribute(pictures(), target=99, **FEW)
    assert all(module.training for module in model.modules())


def test_it_works_where_gradients_are_off():
    model, x = bent(), small()
    wanted = MIGSG(model).attribute(x, target=0, **FEW)
    with torch.no_grad():
        torch.testing.assert_close(MIGSG(model).attribute(x, target=0, **FEW), wanted)


# ---------------------------------------------------------------------- among captum's


def test_it_is_a_captum_attribution_and_its_metrics_take_it():
    method = MIGSG(linear())
    assert isinstance(method, Attribution)
    assert method.multiplies_by_inputs
    assert not method.has_convergence_delta()
    x = small(1)
    (alone,) = method.attribute((x,), (0,), 1, **FEW)
    torch.testing.assert_close(alone, method.attribute(x, 0, 1, **FEW))
    torch.manual_seed(0)
    sensitivity = sensitivity_max(method.attribute, x, n_perturb_samples=2, target=1, baselines=0, **FEW)
    assert 0 < float(sensitivity) < 1


def test_a_model_with_one_output_needs_no_target():
    class Mean(nn.Module):
        def forward(self, x):
            return x.mean((1, 2, 3))

    found = MIGSG(Mean()).attribute(pictures(1), n_steps=2, stdevs=0)
    torch.testing.assert_close(found, 1.5 * pictures(1) / (3 * 32 * 32))


BAD = [
    ({"inputs": pictures()[0]}, ["(b, c, h, w)", "(3, 32, 32)"]),
    ({"inputs": pictures().numpy()}, ["tensor", "ndarray"]),
    ({"inputs": (pictures(), pictures())}, ["tensor", "tuple"]),
    ({"inputs": (pictures() * 255).to(torch.uint8)}, ["floats", "uint8"]),
    ({"inputs": pictures() * math.nan}, ["not finite"]),
    ({"target": 3}, ["no class 3", "0 to 2"]),
    ({"target": -1}, ["no class -1", "0 to 2"]),
    ({"target": "hexagon"}, ["no class 'hexagon'"]),
    ({"target": "sqare"}, ["did you mean square"]),
    ({"target": [0, 1, 2]}, ["2 images and 3 targets"]),
    ({"target": torch.tensor([0.5, 1])}, ["whole number", "float32"]),
    ({"target": None}, ["3 classes", "give target"]),
    ({"n_steps": 0}, ["n_steps", "at least 1", "got 0"]),
    ({"n_steps": 2.5}, ["n_steps", "whole number", "2.5"]),
    ({"n_samples": 0}, ["n_samples", "at least 1", "got 0"]),
    ({"stdevs": -0.1}, ["stdevs", "at least 0", "-0.1"]),
    ({"stdevs": math.inf}, ["stdevs", "inf"]),
    ({"internal_batch_size": 0}, ["internal_batch_size", "got 0"]),
    ({"seed": -1}, ["seed", "got -1"]),
    ({"seed": 2.5}, ["seed", "whole number", "2.5"]),
    ({"seed": [1, 2, 3]}, ["2 inputs and 3 seeds"]),
    ({"baselines": "black"}, ["baselines", "'black'"]),
    ({"baselines": torch.zeros(5, 3, 32, 32)}, ["baselines", "(5, 3, 32, 32)", "(2, 3, 32, 32)"]),
    ({"baselines": math.nan}, ["baselines", "nan"]),
]


@pytest.mark.parametrize(("wrong", "words"), BAD, ids=[f"{i}-{next(iter(wrong))}" for i, (wrong, _) in enumerate(BAD)])
def test_bad_input_is_one_line(wrong, words):
    with pytest.raises(InputError) as error:
        MIGSG(tiny()).attribute(**{"inputs": pictures(), "target": 0, **FEW, **wrong})
    text = str(error.value)
    assert "\n" not in text
    assert all(word in text for word in words), text


def test_bad_models_are_one_line():
    x = pictures(2)
    for model, target, words in (
        (Detached(), 0, "gives no gradient"),
        (nn.Identity(), 0, "(2, 3, 32, 32) for 2 images"),
        (with_modes(), 5, "no class 5: its 3 classes are 0 to 2"),
        (with_modes(), "star", "no names for its classes"),
        (with_modes(), True, "number of a class"),
        (with_modes(), 1.5, "number of a class"),
    ):
        with pytest.raises(InputError) as error:
            MIGSG(model).attribute(x, target=target, internal_batch_size=2, **FEW)
        assert words in str(error.value)
    with pytest.raises(InputError, match="got function"):
        MIGSG(lambda x: x)  # pyright: ignore[reportArgumentType]
