"""The guard rail: what every task decides, computes and keeps is what it was.

(a) decisions: the adapted recipe, the rule and the remarks of each task x recipe name, before the first step;
(b) bits: twelve steps of each, bit by bit where processor, PyTorch and threads are those of the record, else the image after one
    step and the losses of three;
(c) stops: the step that a thin fit kept under each rule, and the code of its reason.

The tables are never re-recorded as a whole; a row changes only in the commit that changes it on purpose and says so (see
record.py). calls.py alone knows the names of the library.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from filelock import FileLock
from unchanged import tables

RECORDED = {name: tables.recorded(name) for name in tables.NAMES}
GROUPS = sorted({"/".join(key.split("/")[:2]) for key in RECORDED["decisions"]})

Computed = Callable[[str], tables.Table]


@pytest.fixture(scope="session")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Computed:
    """A table of the working tree by its name, computed once, whichever of several test processes asks first."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "unchanged"

    @cache
    def table(name: str) -> tables.Table:
        with FileLock(f"{folder}-{name}.lock"):
            if not (folder / f"{name}.json").exists():
                tables.compute([name], folder)
        return tables.read(folder, name)

    return table


@pytest.mark.parametrize("group", GROUPS)
def test_decides_as_it_did(group: str, computed: Computed):
    rows, chosen = computed("decisions"), tables.selection([group])
    lines: list[str] = []
    for key, before in RECORDED["decisions"].items():
        if chosen(key):
            exactly = tables.of_one_machine(rows[key], before)
            lines += tables.differences(_own(rows[key]), _own(before), f"{key} ", exactly=exactly)
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize("key", sorted(RECORDED["bits"]))
def test_computes_as_it_did(key: str, computed: Computed):
    row, before = computed("bits")[key], RECORDED["bits"][key]
    print(
        "bits compared" if tables.of_one_machine(row, before) else "first steps compared, for the processor is another"
    )
    lines = tables.bit_differences(row, before)
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize("key", sorted(RECORDED["stops"]))
def test_stops_as_it_did(key: str, computed: Computed):
    row, before = computed("stops")[key], RECORDED["stops"][key]
    assert row["reason"] == before["reason"]
    if tables.of_one_machine(row, before):
        assert row["kept_step"] == before["kept_step"]


@pytest.mark.parametrize("name", tables.NAMES)
def test_every_row_is_recorded(name: str, computed: Computed, capsys: pytest.CaptureFixture[str]):
    rows, before = computed(name), RECORDED[name]
    alike = sum(tables.of_one_machine(rows[key], before[key]) for key in rows.keys() & before.keys())
    with capsys.disabled():
        print(f"\nunchanged, {name}: {alike} rows compared bit by bit, {len(before) - alike} within tolerances")
    assert sorted(rows) == sorted(before)


def _own(row: tables.Table) -> tables.Table:
    return {name: value for name, value in row.items() if name != "hardware"}


# ---------------------------------------------------------------------- the comparisons themselves


@pytest.mark.parametrize(
    ("value", "other", "exactly", "alike"),
    [
        ({"rate": 0.02}, {"rate": 0.02}, True, True),
        ({"rate": 0.02}, {"rate": 0.0201}, True, False),
        ({"sigma": 0.02}, {"sigma": 0.0201}, False, True),
        ({"sigma": 0.02}, {"sigma": 0.021}, False, False),
        ({"steps": 600}, {"steps": 601}, False, False),
        ({"steps": 600}, {"steps": 600.0}, True, False),
        ({"stop": None}, {}, True, True),
        ({"stop": "auto"}, {}, False, False),
        ({"remarks": ["noise of 0.05 (a, 0.07)"]}, {"remarks": ["noise of 0.06 (a, 0.07)"]}, False, True),
        ({"remarks": ["noise of 0.05 (a, 0.07)"]}, {"remarks": ["noise of 0.05 (b, 0.07)"]}, False, False),
        ({"remarks": ["noise of 0.05"]}, {"remarks": ["noise of 0.08"]}, False, False),
        ({"remarks": ["one"]}, {"remarks": ["one", "two"]}, False, False),
    ],
)
def test_differences_are_seen(value: tables.Table, other: tables.Table, exactly: bool, alike: bool):
    assert (not tables.differences(value, other, exactly=exactly)) is alike


@pytest.mark.parametrize(
    ("changes", "alike"),
    [
        ({}, True),
        ({"sha256": "another"}, False),
        ({"hardware": {"flags": "other"}}, True),
        ({"hardware": {"flags": "other"}, "sha256": "another"}, True),
        ({"hardware": {"flags": "other"}, "first": np.full((1, 3, 4, 4), 0.5002)}, False),
        ({"hardware": {"flags": "other"}, "first": np.full((1, 1, 4, 4), 0.5)}, False),
        ({"hardware": {"flags": "other"}, "losses": [[0.3], [0.2], [0.104]]}, False),
        ({"hardware": {"flags": "other"}, "losses": [[0.3], [0.2], [0.1005]]}, True),
        ({"hardware": {"flags": "other"}, "losses": [[0.3], [0.2]]}, False),
        ({"hardware": {"flags": "other"}, "losses": [[0.301], [0.2], [0.1]]}, False),
        ({"hardware": {"flags": "other"}, "losses": [[0.3], [0.203], [0.1]]}, False),
    ],
)
def test_bits_are_compared_where_the_processor_is_one(changes: tables.Table, alike: bool):
    first = np.full((1, 3, 4, 4), 0.5)
    before = {"hardware": {"flags": "sse"}, "sha256": "some", "first": first, "losses": [[0.3], [0.2], [0.1]]}
    before["optimizer"] = "adam"
    assert (not tables.bit_differences(before | changes, before)) is alike


def test_rows_of_a_table_are_written_one_by_one(tmp_path):
    first = np.round(np.random.RandomState(0).random_sample((1, 3, 4, 4)) * 65535).astype(np.float32) / 65535
    rows = {"a/fast": {"sha256": "1", "first": first}, "b/fast": {"sha256": "2", "first": first}}
    tables.write(tmp_path, "bits", rows, {"flags": "sse"})
    before = (tmp_path / "bits.npz").read_bytes()
    tables.write(tmp_path, "bits", {"b/fast": {"sha256": "3", "first": first}}, {"flags": "avx"})
    found = tables.read(tmp_path, "bits")
    assert found["a/fast"]["sha256"] == "1"
    assert found["b/fast"]["sha256"] == "3"
    assert found["a/fast"]["hardware"] == {"flags": "sse"}
    assert found["b/fast"]["hardware"] == {"flags": "avx"}
    assert np.array_equal(found["a/fast"]["first"], first)
    assert (tmp_path / "bits.npz").read_bytes() == before
