"""No step of any task waits for an accelerator or makes a tensor of numbers, so that each can be recorded and replayed."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from engine.fake_cuda import fake_cuda
from explain.small import BRIEF, estimated, picture
from PIL import Image
from specimens import THIN, THIN_ADAM, THIN_MASKED, clean, noisy
from waits import counted

from preimage import (
    counterfactual,
    deblur,
    denoise,
    flash_no_flash,
    inpaint,
    invert,
    maximize,
    purify,
    recipe,
    recover,
    remove_jpeg_artifacts,
    super_resolve,
)
from preimage.engine.cuda_graphs import WARM_STEPS, CudaGraphs
from preimage.engine.fit import READ_EVERY, Fit

LONG = {"steps": 3 * READ_EVERY}
MASKED, NOISE, EXPLAINED = replace(THIN_MASKED, **LONG), replace(THIN, **LONG), replace(BRIEF, **LONG)


def bright() -> torch.Tensor:
    """Noise that was clipped at white: the fit models the clipping."""
    return (clean(48) + 0.45 + 0.1 * torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))).clamp(0, 1)


def jpeg() -> Any:
    file = io.BytesIO()
    pixels = (255 * clean(48)[0].movedim(0, -1)).round().byte().numpy()
    Image.fromarray(pixels).save(file, "JPEG", quality=20)
    return Image.open(io.BytesIO(file.getvalue()))


def holes() -> torch.Tensor:
    return (torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)) > 0.5).float()


def towards(**options: Any) -> Any:
    return counterfactual(picture(), classifier=estimated(), target=1, recipe=EXPLAINED, device="cpu", **options)


def of_network(task: Callable[..., Any], **options: Any) -> Any:
    return task(picture(), classifier=estimated(), recipe=EXPLAINED, device="cpu", **options)


TASKS: dict[str, Callable[[], Any]] = {
    **{
        f"denoise {kind}": lambda kind=kind: denoise(bright(), noise=kind, recipe=MASKED, device="cpu")
        for kind in ("gaussian", "poisson", "speckle", "impulse")
    },
    "denoise from noise": lambda: denoise(noisy(), recipe=NOISE, device="cpu"),
    "jpeg": lambda: remove_jpeg_artifacts(jpeg(), recipe=NOISE, device="cpu"),
    "super-resolve": lambda: super_resolve(clean(32), factor=2, recipe=NOISE, device="cpu"),
    "inpaint": lambda: inpaint(clean(32), mask=holes(), mask_white="valid", recipe=NOISE, device="cpu"),
    "deblur": lambda: deblur(clean(48), kernel="gaussian:1.5", recipe=NOISE, device="cpu"),
    "deblur blindly": lambda: deblur(clean(48), kernel="unknown", recipe=NOISE, device="cpu"),
    "flash": lambda: flash_no_flash(noisy(), flash=clean(), recipe=NOISE, device="cpu"),
    "purify": lambda: purify(noisy().repeat(2, 1, 1, 1), recipe=replace(THIN_ADAM, **LONG), device="cpu"),
    "recover": lambda: of_network(recover),
    "recover by entropy": lambda: of_network(recover, uncertainty="entropy"),
    "recover by energy": lambda: of_network(recover, uncertainty="energy"),
    "invert": lambda: of_network(invert, layers="block1"),
    "invert by total variation": lambda: invert(
        picture(), classifier=estimated(), layers="block1", prior="tv", recipe=recipe("fast", **LONG), device="cpu"
    ),
    "maximize": lambda: maximize(classifier=estimated(), target=1, recipe=EXPLAINED, size=(32, 32), device="cpu"),
    "counterfactual": towards,
    "counterfactual in a region": lambda: towards(region=torch.ones(32, 32)),
}


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_no_step_waits(task, monkeypatch):
    run = task()
    fit = getattr(run, "fit", run)
    fit.read_every = READ_EVERY
    steps = iter(run)
    for _ in range(READ_EVERY + 1):  # what is kept after the first steps is made there
        next(steps)
    with counted(monkeypatch) as waits:
        for _ in range(READ_EVERY - 2):
            next(steps)
    assert not waits.counts


STEPS_RECORDED = 10


def some_steps(run: Any) -> tuple[Any, Any]:
    """A Fit and the last of some steps."""
    fit = getattr(run, "fit", run)
    steps = iter(run)
    for _ in range(STEPS_RECORDED - 1):
        next(steps)
    return fit, next(steps)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_the_steps_of_every_task_are_recorded_and_are_the_steps(task, monkeypatch):
    _, plain = some_steps(task())
    begin = Fit._begin

    def recorded(self, *given, **options):
        begin(self, *given, **options)
        self.graphs = CudaGraphs(self.descent)

    monkeypatch.setattr(Fit, "_begin", recorded)
    with fake_cuda():
        fit, step = some_steps(task())
    assert fit.graphs.replays == STEPS_RECORDED - WARM_STEPS
    assert fit.graphs.ways == ["branches", "in a row"]
    assert torch.allclose(step.image, plain.image, atol=1e-6)
