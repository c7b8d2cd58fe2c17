"""Where a fit runs: devices by name, the table of precisions, and how much memory is left."""

from __future__ import annotations

import pytest
import torch

from preimage.engine import devices
from preimage.engine.devices import (
    SMALLEST_BF16_PIXELS,
    choose_device,
    choose_precision,
    free_memory,
    has_native_bfloat16,
)
from preimage.errors import InputError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(False, False, "cpu"), (True, False, "cuda"), (False, True, "mps"), (True, True, "cuda")],
)
def test_auto_takes_the_fastest_that_is_there(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device("auto") == choose_device() == torch.device(expected)


def test_a_test_is_about_the_processor_unless_it_is_marked_gpu():
    assert choose_device() == CPU
    assert not torch.cuda.is_available()


@pytest.fixture(scope="module")
def early() -> torch.device:
    """What a fixture of a module takes, which is made before any of a test's own."""
    return choose_device()


def test_so_is_what_fixtures_make(early):
    assert early == CPU


def test_a_device_that_is_there_is_taken_as_name_or_object():
    assert choose_device("cpu") == CPU
    assert choose_device(CPU) == CPU
    assert choose_device("meta").type == "meta"


@pytest.mark.parametrize("name", ["gpu", "", "cuda:99", "cpu:x", "xpu"])
def test_a_device_that_is_not_there_is_one_line(name):
    with pytest.raises(InputError, match=r"cannot be used .*: use 'auto' or 'cpu'") as caught:
        choose_device(name)
    assert "\n" not in str(caught.value)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("native", [True, False])
def test_auto_precision_is_bfloat16_where_that_is_native_and_pays(monkeypatch, native):
    monkeypatch.setattr(devices, "has_native_bfloat16", lambda device: native)
    small, large = SMALLEST_BF16_PIXELS - 1, SMALLEST_BF16_PIXELS
    fast = torch.bfloat16 if native else torch.float32
    assert choose_precision("auto", CPU, small) == torch.float32
    assert choose_precision("auto", CPU, large) == fast
    assert choose_precision("auto", torch.device("cuda"), small) == fast


@pytest.mark.parametrize("pixels", [16 * 16, 4096 * 4096])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_precision_that_was_asked_for_is_taken(precision, pixels):
    assert choose_precision(precision, CPU, pixels) == getattr(torch, precision)


@pytest.mark.parametrize("precision", ["float16", "half", ""])
def test_an_unknown_precision_is_said(precision):
    with pytest.raises(InputError, match=f"must be auto, float32 or bfloat16, got '{precision}'"):
        choose_precision(precision, CPU, 1)


def test_native_bfloat16_is_a_matter_of_the_processor(monkeypatch):
    for avx, amx in ((False, False), (True, False), (False, True)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx=avx: avx)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
        assert has_native_bfloat16(CPU) == (avx or amx)
    for major, native in ((7, False), (8, True), (9, True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, major=major: (major, 0))
        assert has_native_bfloat16(torch.device("cuda")) == native
    assert not has_native_bfloat16(torch.device("mps"))


def test_free_memory_of_this_machine_is_positive_and_unknown_for_others():
    import psutil

    free = free_memory(CPU)
    assert free is not None
    assert 0 < free <= psutil.virtual_memory().total
    assert free_memory(torch.device("mps")) is None
