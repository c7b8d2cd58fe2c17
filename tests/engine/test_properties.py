"""Any state that is saved comes back as it was, and any byte that was changed since is noticed, in one line."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from properties import examples
from specimens import THIN, fit_of, noisy

from preimage.engine.averages import Averages
from preimage.engine.checkpoint import load, read, save
from preimage.errors import InputError

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)


@st.composite
def tensors(draw: Any) -> torch.Tensor:
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    values = torch.randn(shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    tensor = (50 * values).to(draw(st.sampled_from(DTYPES)))
    return tensor.mT if tensor.ndim >= 2 and draw(st.booleans()) else tensor


plain = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=8))
states = st.recursive(
    st.one_of(plain, tensors()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=3),
    ),
    max_leaves=12,
)


class Saved:
    """What a checkpoint needs of a run."""

    task = "any"
    current = SimpleNamespace(index=0)

    def __init__(self, state: Any, fingerprint: dict[str, Any]) -> None:
        self.state = state
        self.fingerprint = fingerprint

    def state_dict(self) -> dict[str, Any]:
        return {"any": self.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = state["any"]


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        alike = isinstance(other, torch.Tensor) and one.dtype == other.dtype and one.shape == other.shape
        return alike and torch.equal(one, other)
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other))


@examples(40)
@given(
    state=states,
    fingerprint=st.dictionaries(
        st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=5), st.booleans()), max_size=3
    ),
)
def test_any_state_comes_back(tmp_path: Path, state: Any, fingerprint: dict[str, Any]) -> None:
    path = tmp_path / "a.checkpoint"
    observer = Saved(state, {})
    save(Saved(state, fingerprint), path, {"observer": observer})  # type: ignore[arg-type]
    again, seen = Saved(None, fingerprint), Saved(None, {})
    load(again, path, {"observer": seen})  # type: ignore[arg-type]
    assert same(again.state, state)
    assert same(seen.state, state)
    other = Saved("untouched", {**fingerprint, "seed": "another"})
    with pytest.raises(InputError, match="made with") as caught:
        load(other, path)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert other.state == "untouched"


@examples(30)
@given(st.data())
def test_a_changed_byte_a_missing_end_and_a_further_one_are_refused_in_one_line(
    tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / "a.checkpoint"
    save(Saved(torch.arange(20.0), {"seed": 0}), path)  # type: ignore[arg-type]
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[place] ^= data.draw(st.integers(1, 255))
    for content in (bytes(changed), whole[:place], whole + b"\0", whole[:place] + whole[place + 1 :]):
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            read(path)
        assert caught.value.code == "checkpoint"
        assert "\n" not in str(caught.value)


@examples(5)
@given(st.integers(1, 6), st.integers(0, 6), st.integers(0, 2**31 - 1), st.integers(1, 2))
def test_a_fit_goes_on_from_any_step(tmp_path: Path, steps: int, cut: int, seed: int, restarts: int) -> None:
    recipe = replace(THIN, steps=steps)
    make = lambda: fit_of(noisy(16), recipe, seed=seed, restarts=restarts)  # noqa: E731
    straight = make().run()
    begun = make()
    for _ in range(min(cut, steps)):
        next(begun)
    save(begun, tmp_path / "a.checkpoint")
    resumed = make()
    load(resumed, tmp_path / "a.checkpoint")
    assert torch.equal(resumed.run().image, straight.image)
    assert torch.equal(begun.run().image, straight.image)  # saving changed nothing


@examples(60)
@given(st.lists(st.floats(-4, 4, width=16), min_size=1, max_size=20), st.floats(0, 0.99), st.booleans())
def test_an_average_lies_between_the_least_and_the_greatest_of_what_it_has_seen(
    values: list[float], momentum: float, debiased: bool
) -> None:
    averages = Averages(replace(THIN, averaging=momentum, debiased=debiased), 1)
    for value in values:
        averages.gather([0], [torch.full((1, 1, 2, 2), value)])
    found = float(averages.averages[0][0, 0, 0, 0])
    low, high = min(values), max(values)
    assert low - 1e-5 <= found <= high + 1e-5
