"""What a stopping rule measures is recorded, and its replays measure the same."""

from __future__ import annotations

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
    twice, found = Replay(doubled), []
    for k in range(LATER):
        given = torch.rand(3, generator=torch.Generator().manual_seed(k)), torch.tensor(float(k))
        found.append((twice(*given), doubled(*given)))
    assert all(torch.equal(a, b) for ours, plain in found for a, b in zip(ours, plain, strict=True))
    assert [each.replays for each in captured] == [LATER - replay.WARM_STEPS]


def test_on_a_processor_nothing_is_recorded():
    with fake_cuda():
        twice = Replay(doubled)
        for _ in range(LATER):
            twice(torch.ones(3), torch.ones(()))
        assert not captured


def test_another_shape_is_recorded_anew(cuda):
    twice = Replay(doubled)
    for size in (3, 5):
        for _ in range(LATER):
            assert twice(torch.ones(size), torch.zeros(()))[0].tolist() == [2.0] * size
    assert len(captured) == 2


def test_what_reads_a_number_from_the_device_is_called_as_it_is(cuda):
    calls = []

    def reading(x):
        calls.append(float(x.sum()))
        return (x + calls[-1],)

    read = Replay(reading)
    for k in range(LATER):
        assert read(torch.full((2,), float(k)))[0].tolist() == [3.0 * k] * 2
    assert read.plainly


def test_a_replay_that_gives_other_numbers_is_not_trusted(cuda, monkeypatch):
    record = replay.record_on_cuda

    def wrong(*given):
        replayed = record(*given)
        return lambda: [tuple(x + 1 for x in each) for each in replayed()]

    monkeypatch.setattr(replay, "record_on_cuda", wrong)
    twice = Replay(doubled)
    for _ in range(LATER):
        assert twice(torch.ones(2), torch.ones(()))[0].tolist() == [3.0, 3.0]
    assert twice.plainly


@pytest.mark.parametrize("name", RECORDED)
def test_a_rule_whose_measurements_are_replayed_decides_the_same(name, cuda, monkeypatch):
    recorded = fitted(RECORDED[name]()).run()
    assert sum(each.replays for each in captured) > 2
    monkeypatch.setattr(replay, "recordable", lambda x: False)
    plain = fitted(RECORDED[name]()).run()
    assert torch.equal(recorded.image, plain.image)
    assert (recorded.kept_step, recorded.steps, recorded.reason) == (plain.kept_step, plain.steps, plain.reason)
