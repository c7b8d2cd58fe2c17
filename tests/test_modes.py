"""Whatever PyTorch's modes are where a fit is called, it comes to the same bits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch

from preimage import deblur, denoise, remove_jpeg_artifacts, super_resolve
from preimage.recipes import recipe

TASKS = {
    "denoise": (denoise, {}),
    "super-resolve": (super_resolve, {"factor": 2}),
    "remove-jpeg-artifacts": (remove_jpeg_artifacts, {"jpeg_quality": 20}),
    "deblur": (deblur, {"kernel": "motion:5,30"}),
}


@contextlib.contextmanager
def float64_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


MODES = {
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
    "float64": float64_by_default,
    "device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu"),
}


def fitted(name: str, picture: torch.Tensor) -> torch.Tensor:
    task, options = TASKS[name]
    return task(picture, recipe=recipe("fast", steps=2), device="cpu", **options).run().image


@pytest.mark.parametrize("name", TASKS)
def test_modes_of_the_caller_change_nothing(name):
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    alone = fitted(name, picture)
    for mode, entered in MODES.items():
        with entered():
            found = fitted(name, picture)
        assert found.dtype == torch.float32, mode
        assert torch.equal(found, alone), mode


def test_an_image_made_in_inference_mode_is_an_image():
    with torch.inference_mode():
        picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(fitted("denoise", picture), fitted("denoise", picture.clone()))


def test_what_is_done_to_a_step_or_the_input_does_not_reach_the_fit():
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    alone = denoise(picture.clone(), recipe=recipe("fast", steps=8), device="cpu").run().image
    run = denoise(picture, recipe=recipe("fast", steps=8), device="cpu")
    for step in run:
        for tensor in (step.image, step.average, step.picture, step.mean, *step.terms.values(), picture):
            tensor.zero_()
    assert torch.equal(run.result().image, alone)
