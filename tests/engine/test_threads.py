"""Fits in several threads of one process give bit for bit what each gives alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from specimens import THIN, THIN_ADAM, THIN_MASKED, clean, fit_of, noisy

from preimage import memory
from preimage.engine import replay
from preimage.engine.fit import Fit
from preimage.engine.result import Result
from preimage.problem import Problem
from preimage.stopping import after, held_out, moving_variance, risk, windowed_variance

STEPS = {"steps": 25}
RULE = held_out(0.1) | after(20)


def level(recipe, rule) -> Fit:
    prior = recipe.prior(3, (32, 32), members=2, seed=5, device="cpu")
    return Fit(Problem(noisy(), noise_level=0.01), prior, recipe=recipe, rule=rule, restarts=2, seed=5)


MIXED: dict[str, Callable[[], Fit]] = {
    "muon": lambda: fit_of(noisy(), replace(THIN, **STEPS), rule=RULE),
    "the same rule": lambda: fit_of(clean(), replace(THIN, **STEPS), rule=RULE, seed=1),
    "adam": lambda: fit_of(noisy(), replace(THIN_ADAM, **STEPS), rule=moving_variance(patience=5), restarts=2),
    "masked": lambda: fit_of(noisy(), replace(THIN_MASKED, **STEPS), rule=windowed_variance(5), restarts=2, seed=2),
    "bfloat16": lambda: fit_of(noisy(), replace(THIN, precision="bfloat16", **STEPS), seed=3),
    "larger": lambda: fit_of(noisy(48), replace(THIN, **STEPS), seed=4),
    "stacked, by risk": lambda: level(replace(THIN, **STEPS), risk()),
    "small": lambda: fit_of(noisy(16), replace(THIN, **STEPS), rule=after(15), restarts=3),
}


@pytest.mark.long
def test_eight_threads_of_mixed_fits_give_what_each_gives_alone():
    """While another one draws from PyTorch's global generator, which none of them may read or set."""

    def run(make: Callable[[], Fit]) -> Result:
        torch.set_num_threads(1)
        return make().run()

    alone = [run(make) for make in MIXED.values()]
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    makes = list(MIXED.values()) * 2
    random.Random(0).shuffle(makes)
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(run, makes))
    assert torch.equal(torch.rand(3), expected)
    for make, result in zip(makes, together, strict=True):
        own = alone[list(MIXED.values()).index(make)]
        assert torch.equal(result.image, own.image)
        assert torch.equal(result.history["loss"].nan_to_num(-1), own.history["loss"].nan_to_num(-1))
        assert (result.kept_step, result.reason) == (own.kept_step, own.reason)


class Library:
    """A C library that counts what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []
        self.trimmed = 0

    def mallopt(self, setting: int, value: int) -> int:
        self.told.append((setting, value))
        return 1

    def malloc_trim(self, pad: int) -> int:
        self.trimmed += 1
        return 1


@pytest.fixture
def library(monkeypatch) -> Library:
    made = Library()
    for name in ("MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(memory.sys, "platform", "linux")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: made)
    monkeypatch.setattr(memory, "_kept", {})
    monkeypatch.setattr(memory, "_users", 0)
    return made


def test_memory_is_kept_by_one_setting_and_given_back_after_the_last_fit(library):
    first, second = fit_of(noisy(16), rule=after(3)), fit_of(noisy(16), rule=after(5))
    next(first)
    told = list(library.told)
    assert told
    next(second)
    list(first)
    assert library.trimmed == 0
    list(second)
    assert library.trimmed == 1
    fit_of(noisy(16), rule=after(2)).run()
    assert library.told == told  # set once in a process, and to nothing else afterwards
    assert library.trimmed == 2


def test_a_fit_that_is_dropped_gives_its_memory_back(library):
    fit = fit_of(noisy(16), rule=after(3))
    next(fit)
    del fit
    assert library.trimmed == 1


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_settings_of_the_user_are_left_alone(library, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    fit_of(noisy(16), rule=after(2)).run()
    assert not library.told
    assert not library.trimmed


def test_one_capture_at_a_time(monkeypatch):
    """Graphs of CUDA are recorded under a lock, and without a mind for what other threads do on the device."""
    modes = []

    class Capture:
        def __init__(self, graph, capture_error_mode: str) -> None:
            modes.append(capture_error_mode)

        def __enter__(self) -> None:
            assert replay._CAPTURING.locked()

        def __exit__(self, *error: object) -> None: ...

    monkeypatch.setattr(torch.cuda, "graph", Capture)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: None)
    replay.record_on_cuda([lambda: (torch.zeros(1), torch.zeros(1))], (), "in a row")
    assert modes == ["thread_local"]
    assert not replay._CAPTURING.locked()
