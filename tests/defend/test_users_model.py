"""Users' models are what they were after each use, and threads get what each gets alone."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import captum.attr
import numpy as np
import pytest
import torch
from classifiers.small import tiny
from defend.networks import pictures, with_modes
from defend.small import Small, trained
from defend.small import pictures as stripes
from torch import nn

from preimage.classifiers import Classifier
from preimage.classifiers.classifier import on_device
from preimage.classifiers.fingerprint import model_fingerprint
from preimage.defend.attacks import attack, global_generators
from preimage.defend.attribution import saliency_map
from preimage.defend.faithfulness import deletion
from preimage.defend.migsg import MIGSG
from preimage.defend.saliency import Method, SaliencyOptions
from preimage.defend.users_model import at_rest


def state_of(model: nn.Module) -> list:
    modes = [(module.training, dict(module._forward_hooks), dict(module._backward_hooks)) for module in model.modules()]
    return [modes, [(p.requires_grad, p.grad, p.device) for p in model.parameters()]]


def unusual() -> nn.Module:
    """A mixture of modes and flags, with a gradient."""
    model = Small().train()
    model.second.eval()
    model.first.weight.requires_grad_(False)
    model.head.weight.grad = torch.ones_like(model.head.weight)
    return model


@pytest.mark.parametrize("error", [None, RuntimeError])
def test_a_borrowed_model_comes_back_as_it_was(error):
    model = unusual()
    before = state_of(model)
    with pytest.raises(error) if error else at_rest(nn.Identity()), at_rest(model):
        assert not any(module.training for module in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())
        if error:
            raise error
    assert state_of(model) == before


def test_the_last_of_several_borrowers_restores_it():
    model = unusual()
    before = state_of(model)
    first, second = at_rest(model), at_rest(nn.Sequential(model))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not model.training
    assert not model.head.weight.requires_grad
    second.__exit__(None, None, None)
    assert state_of(model) == before


def test_a_model_stays_on_its_device_and_a_copy_is_on_another():
    model = unusual()
    assert on_device(model, torch.device("cpu")) is model
    copied = on_device(model, torch.device("meta"))
    assert {value.device.type for value in copied.parameters()} == {"meta"}
    assert {value.device.type for value in model.parameters()} == {"cpu"}


@pytest.mark.parametrize("method", get_args(Method))
def test_every_method_leaves_hooks_modes_and_flags(method):
    classifier = tiny()
    before = state_of(classifier)
    saliency_map(pictures(1), SaliencyOptions(classifier, method=method, n_steps=2, n_samples=2, device="cpu"))
    assert state_of(classifier) == before


def test_a_fingerprint_knows_every_parameter_and_buffer():
    class Held(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(100))
            self.register_buffer("kept", torch.zeros(3))
            self.register_buffer("transient", torch.zeros(3), persistent=False)

    marks = {model_fingerprint(Held())}
    for name in ("weight", "kept", "transient"):
        model = Held()
        with torch.no_grad():
            getattr(model, name)[-1] += 1
        marks.add(model_fingerprint(model))
    assert len(marks) == 4


def test_smoothgrad_is_captum_s_with_a_generator_of_its_own():
    classifier, x = tiny(), pictures(1)
    before = torch.get_rng_state()
    found = saliency_map(x, SaliencyOptions(classifier, 1, "smoothgrad", n_samples=7, sigma=0.2, seed=5, device="cpu"))
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(classifier))
        wanted = tunnel.attribute(x.requires_grad_(), nt_samples=7, stdevs=0.2, target=1, abs=False)
    assert torch.equal(found.attribution, wanted.detach())


def test_global_generators_are_restored_after_errors_too():
    before = np.random.get_state()[1].copy(), torch.get_rng_state()

    def draw_and_fail():
        with global_generators(3):
            np.random.rand(5)
            torch.rand(5)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        draw_and_fail()
    assert (np.random.get_state()[1] == before[0]).all()
    assert torch.equal(torch.get_rng_state(), before[1])


def test_eight_threads_get_what_each_gets_alone():
    classifier, bare, x = tiny(), with_modes().train(), pictures(1)
    images, labels = stripes(4, seed=1)
    settings = {"n_steps": 2, "n_samples": 3, "device": "cpu"}
    jobs = [
        lambda: attack("pgd", trained(), images, labels, 8, steps=2, seed=3),
        lambda: attack("pgd", trained(), images, labels, 8, steps=2, seed=4),
        lambda: saliency_map(x, SaliencyOptions(classifier, 1, "smoothgrad", seed=5, **settings)).map,
        lambda: saliency_map(x, SaliencyOptions(classifier, 1, "guided-backprop", **settings)).map,
        lambda: saliency_map(x, SaliencyOptions(classifier, 1, "gradcam", **settings)).map,
        lambda: saliency_map(x, SaliencyOptions(Classifier(copy.deepcopy(bare), 3), 1, "gradient", **settings)).map,
        lambda: MIGSG(bare).attribute(x, target=1, n_steps=2, n_samples=2),
        lambda: (
            deletion(bare, x, torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)), 1).probabilities
        ),
    ]
    alone = [job() for job in jobs]
    with ThreadPoolExecutor(8) as pool:
        together = [list(pool.map(lambda job: job(), jobs)) for _ in range(3)]
    for found in together:
        assert all(torch.equal(one, other) for one, other in zip(found, alone, strict=True))
    assert bare.training
