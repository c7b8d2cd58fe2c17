"""What must hold on a CUDA device, beside what holds on the CPU.

Nothing is compared bit by bit: sums are taken in another order there, and convolutions of float32 may round their inputs to
TensorFloat-32, whose 10 bits are 1e-3 of a value.
"""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from classifiers.small import tiny
from specimens import THIN, clean, noisy

from preimage import deblur, denoise, flash_no_flash, inpaint, invert, super_resolve
from preimage.engine.checkpoint import load, save
from preimage.engine.cuda_graphs import WARM_STEPS
from preimage.engine.devices import choose_device
from preimage.recipes import recipe
from studies import study

pytestmark = pytest.mark.gpu
CLOSE = 1e-2  # of values in 0 to 1, after one step in float32
# Jitter is left out: it is drawn on the device.
PLAIN = replace(THIN, jitter=0.0, jitter_pool=None, steps=6, precision="float32", stop="steps")


def test_auto_is_cuda():
    assert choose_device().type == choose_device("auto").type == "cuda"
    assert next(denoise(noisy(), recipe=PLAIN)).image.device.type == "cuda"


def test_one_step_is_that_of_the_cpu():
    steps = [next(denoise(noisy(), sigma=0.1, recipe=PLAIN, device=device)) for device in ("cpu", "cuda")]
    images, losses = [step.image.cpu() for step in steps], [step.loss.cpu() for step in steps]
    assert (images[0] - images[1]).abs().max() < CLOSE
    assert torch.allclose(losses[0], losses[1], rtol=CLOSE)


@pytest.mark.parametrize("restarts", [1, 2])
def test_results_are_on_the_cpu(restarts):
    result = denoise(noisy(), recipe=replace(PLAIN, restarts=restarts)).run()
    assert result.image.device.type == "cpu"
    assert result.history["loss"].device.type == "cpu"
    assert result.uncertainty is None or result.uncertainty.device.type == "cpu"
    assert torch.isfinite(result.image).all()


def test_every_restoration_runs_on_what_the_caller_has_on_either_device():
    known = (torch.arange(32) % 4 > 0).float().expand(1, 1, 32, 32)
    for place in ("cpu", "cuda"):
        given = noisy().to(place)
        for run in (
            inpaint(given, mask=known.to(place), mask_white="valid", recipe=PLAIN),
            deblur(given, kernel="gaussian:1", recipe=PLAIN),
            super_resolve(given, factor=2, recipe=PLAIN),
            denoise(given, recipe=PLAIN, tile=(24, 8)),
        ):
            result = run.run()
            assert result.image.device.type == "cpu"
            assert torch.isfinite(result.image).all()


@pytest.mark.parametrize(("place", "device"), [("cpu", "auto"), ("cuda", "auto"), ("cuda", "cpu")])
def test_a_model_of_the_user_stays_where_it_is(place, device):
    classifier = tiny().to(place)
    invert(clean(), classifier=classifier, layers="block1", recipe=recipe("fast", steps=2), device=device).run()
    places = {value.device.type for value in [*classifier.parameters(), *classifier.buffers()]}
    assert places == {place}


def test_a_checkpoint_of_cuda_goes_on_on_the_cpu(tmp_path):
    first = denoise(noisy(), sigma=0.1, recipe=PLAIN, device="cuda")
    for step in first:
        if step.index == 3:
            break
    save(first, tmp_path / "a.checkpoint")
    second = denoise(noisy(), sigma=0.1, recipe=PLAIN, device="cpu")
    load(second, tmp_path / "a.checkpoint")
    step = next(second)
    assert step.index == 4
    assert step.image.device.type == "cpu"
    assert second.run().steps == 6


@pytest.mark.parametrize("name", ["architecture", "super_resolution", "inpainting"])
def test_a_study_mixes_no_devices(name, tmp_path: Path):
    study(name, scale="smoke", output=tmp_path)
    with (tmp_path / "results" / f"{name}-smoke.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    column = "peak" if name == "architecture" else "blind"
    measured = [float(row[column]) for row in rows]
    assert all(math.isfinite(value) for value in measured if not math.isnan(value))
    assert not all(map(math.isnan, measured))  # the truth of a removed object is not known


TASKS = {
    "denoise": lambda: denoise(noisy(), recipe="fast"),
    "denoise apart": lambda: denoise(clean(128) + 0.1 * torch.randn(1, 3, 128, 128), sigma=0.1, restarts=3),
    "inpaint": lambda: inpaint(clean(64), mask=torch.arange(64).remainder(4).gt(0).expand(1, 1, 64, 64).float()),
    "super-resolve": lambda: super_resolve(clean(32), factor=2),
    "deblur": lambda: deblur(clean(64), kernel="gaussian:1.5"),
    "deblur blindly": lambda: deblur(clean(64), kernel="unknown"),
    "flash": lambda: flash_no_flash(noisy(), flash=clean()),
}


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_every_restoration_is_recorded_and_replayed(task):
    run = task()
    steps = iter(run)
    for _ in range(20):
        next(steps)
    fit = run.current
    assert fit.graphs is not None
    assert fit.graphs.ways == ["branches", "in a row"]
    assert fit.graphs.replays == 20 - WARM_STEPS
