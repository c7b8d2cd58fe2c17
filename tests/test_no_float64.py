"""A device without float64, as Apple's MPS: nothing of a fit computes in it.

No such device is here. Every operation of the steps of a fit stands for one there, and one that makes float64 is refused, as MPS
does; what is planned before the first step, blended of tiles and written after the last, is on the CPU on any machine.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import preimage
from preimage.engine import devices
from preimage.explain.quality import stability
from preimage.explain.similarity import high_frequency_share


class NoFloat64(TorchDispatchMode):
    """Refuses every operation that makes or reads a tensor in double precision."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if any(isinstance(each, torch.Tensor) and each.dtype == torch.float64 for each in tree_leaves((args, made))):
            raise TypeError(f"Cannot convert a MPS Tensor to float64 dtype ({func})")
        return made


def test_the_fake_refuses_what_the_device_would():
    with NoFloat64(), pytest.raises(TypeError, match="float64"):
        torch.zeros(2).double()


@pytest.fixture
def no_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "has_float64", lambda device: False)


TASKS: dict[str, dict[str, Any]] = {
    "denoise": {"sigma": 25},
    "denoise, poisson": {"noise": "poisson"},
    "denoise, impulse": {"noise": "impulse"},
    "denoise, camera": {"noise": "camera"},
    "remove_jpeg_artifacts": {},
    "super_resolve": {"factor": 2},
    "inpaint": {"mask": "mask.png", "mask_white": "valid"},
    "deblur": {"kernel": "gaussian:1.5"},
    "flash_no_flash": {"flash": "flash.png"},
    "demosaic": {"pattern": "RGGB"},
}


@pytest.mark.parametrize("name", TASKS)
def test_a_restoration_takes_its_steps_without_float64(name, no_float64, sample_files, monkeypatch):
    monkeypatch.chdir(sample_files)
    task = name.partition(",")[0]
    picture = {"remove_jpeg_artifacts": "photo.jpg", "demosaic": "noisy.tif"}.get(task, "noisy.png")
    run = getattr(preimage, task)(picture, steps=3, device="cpu", **TASKS[name])
    with NoFloat64():
        steps = list(run)
    assert steps
    assert bool(run.result().image.isfinite().all())


@pytest.mark.parametrize("rule", ["risk", "held-out", "windowed-variance", "moving-variance", "discrepancy", "plateau"])
def test_a_stopping_rule_measures_without_float64(rule, no_float64, sample_files, monkeypatch):
    monkeypatch.chdir(sample_files)
    run = preimage.denoise("noisy.png", sigma=25, stop=rule, steps=4, device="cpu")
    with NoFloat64():
        assert len(list(run)) == 4


def test_what_an_explanation_is_measured_by_needs_no_float64(no_float64):
    change = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 0.5
    with NoFloat64():
        assert bool((high_frequency_share(change) > 0.5).all())
        assert abs(stability(change).change) < 0.2
