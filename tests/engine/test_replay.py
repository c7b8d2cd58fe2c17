"""What a stopping rule measures is recorded, and its replays measure the same."""

from __future__ import annotations

import gc
import weakref
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from engine.fake_cuda import captured, fake_cuda
from engine.test_cuda_graphs import RULES, fitted

from preimage.engine import replay
from preimage.engine.replay import Replay
from preimage.stopping import discrepancy

RECORDED = {name: RULES[name] for name in ("held out", "risk", "moving", "either")}
RECORDED["discrepancy"] = lambda: discrepancy(factor=0.2)
LATER = replay.WARM_STEPS + 3


@pytest.fixture
def cuda(monkeypatch):
    with fake_cuda():
        monkeypatch.setattr(replay, "recordable", lambda x: True)
        yield


def doubled(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return 2 * x + y, x.sum() - y


def test_a_replay_is_the_function_of_what_it_is_given(cuda):
    twice, found = Replay(), []
    for k in range(LATER):
        given = torch.rand(3, generator=torch.Generator().manual_seed(k)), torch.tensor(float(k))
        found.append((twice(doubled, *given), doubled(*given)))
    assert all(torch.equal(a, b) for ours, plain in found for a, b in zip(ours, plain, strict=True))
    assert [each.replays for each in captured] == [LATER - replay.WARM_STEPS]


def test_on_a_processor_nothing_is_recorded():
    with fake_cuda():
        twice = Replay()
        for _ in range(LATER):
            twice(doubled, torch.ones(3), torch.ones(()))
        assert not captured


def test_another_shape_is_recorded_anew(cuda):
    twice = Replay()
    for size in (3, 5):
        for _ in range(LATER):
            assert twice(doubled, torch.ones(size), torch.zeros(()))[0].tolist() == [2.0] * size
    assert len(captured) == 2


def test_what_reads_a_number_from_the_device_is_called_as_it_is(cuda):
    calls = []

    def reading(x):
        calls.append(float(x.sum()))
        return (x + calls[-1],)

    read = Replay()
    for k in range(LATER):
        assert read(reading, torch.full((2,), float(k)))[0].tolist() == [3.0 * k] * 2
    assert read.plainly


def test_a_replay_that_gives_other_numbers_is_not_trusted(cuda, monkeypatch):
    record = replay.record_on_cuda

    def wrong(*given):
        replayed = record(*given)
        return lambda: [tuple(x + 1 for x in each) for each in replayed()]

    def nearly(*given):
        replayed = record(*given)
        return lambda: [tuple(x + 1e-3 for x in each) for each in replayed()]

    monkeypatch.setattr(replay, "record_on_cuda", wrong)
    twice = Replay()
    for _ in range(LATER):
        assert twice(doubled, torch.ones(2), torch.ones(()))[0].tolist() == [3.0, 3.0]
    assert twice.plainly
    small = Replay()
    monkeypatch.setattr(replay, "record_on_cuda", nearly)
    for _ in range(LATER):
        assert small(doubled, torch.zeros(2), torch.zeros(()))[0].tolist() == [0.0, 0.0]
    assert small.plainly


@pytest.mark.parametrize("name", RECORDED)
def test_a_rule_whose_measurements_are_replayed_decides_the_same(name, cuda, monkeypatch):
    recorded = fitted(RECORDED[name]()).run()
    assert sum(each.replays for each in captured) > 2
    monkeypatch.setattr(replay, "recordable", lambda x: False)
    plain = fitted(RECORDED[name]()).run()
    assert torch.equal(recorded.image, plain.image)
    assert (recorded.kept_step, recorded.steps, recorded.reason) == (plain.kept_step, plain.steps, plain.reason)


@pytest.mark.parametrize("name", RECORDED)
def test_a_tracker_goes_with_its_fit_and_waits_for_no_collection_of_garbage(name):
    fit = fitted(RECORDED[name]())
    fit.run()
    kept = weakref.ref(fit.judge.tracker)
    gc.disable()
    try:
        del fit
        assert kept() is None
    finally:
        gc.enable()


def test_streams_and_graphs_are_of_the_device_of_the_tensors(cuda, monkeypatch):
    entered: list[torch.Tensor] = []

    @contextmanager
    def device_of(tensor):
        entered.append(tensor)
        yield

    monkeypatch.setattr(torch.cuda, "device_of", device_of)
    twice, given = Replay(), torch.ones(2)
    for _ in range(LATER):
        twice(doubled, given, torch.ones(()))
    assert len(entered) == LATER
    assert all(each is given for each in entered)
    fitted(RECORDED["risk"]()).run()
    assert {each.device.type for each in entered} == {"cpu"}
    assert len(entered) > 2 * LATER


def test_what_is_not_known_yet_is_replayed_as_well(cuda):
    unknown = Replay()
    for _ in range(LATER):
        assert unknown(lambda x: (x / x,), torch.zeros(2))[0].isnan().all()
    assert not unknown.plainly


@pytest.mark.parametrize("is_cuda", [True, False])
def test_only_on_cuda_anything_is_recorded(is_cuda):
    assert replay.recordable(SimpleNamespace(is_cuda=is_cuda)) is is_cuda  # type: ignore[arg-type]
