"""An evaluation on a cluster of Ray: every batch once, the rows of one process alone, and what fails is said in one line."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cli.tiny import ENVIRONMENT
from defend.evaluation import evaluated
from defend.test_evaluate import rows_of
from robustness.crowd import PORT, cluster

from preimage.defend.cluster import share_out
from preimage.errors import InputError


class Ray(SimpleNamespace):
    """A cluster of two cores, on which a task is done when it is waited for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(asked=[], cancelled=[])
        monkeypatch.setattr("preimage.ray_cluster.connected", lambda address: self)
        self.shut_down = 0

    def shutdown(self) -> None:
        self.shut_down += 1

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def put(self, value: Any) -> Any:
        return value

    def remote(self, **own: Any) -> Any:
        self.asked.append(own)
        return lambda do: SimpleNamespace(options=lambda name: SimpleNamespace(remote=lambda *each: (do, each)))

    def wait(self, waiting: list[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        return waiting[-1:], waiting[:-1]

    def get(self, ended: list[Any]) -> None:
        for do, each in ended:
            do(*each)

    def cancel(self, task: Any, force: bool) -> None:
        self.cancelled.append(task)


def test_each_batch_is_a_task_of_one_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray, done = Ray(monkeypatch), []
    share_out("auto", lambda **given: done.append(given), {"table": str(tmp_path / "rows.csv"), "seed": 3}, shares=3)
    assert ray.asked == [{"num_cpus": 1, "num_gpus": 0.0, "max_retries": 3}]
    assert [each["worker"] for each in done] == [(2, 3), (1, 3), (0, 3)]
    assert {each["seed"] for each in done} == {3}
    assert ray.cancelled == []
    assert ray.shut_down == 1


class Wrapped(Exception):
    """As Ray's own, of what a task raised."""

    cause = InputError("labels must be whole numbers, got 0.5")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Wrapped("of another machine"), "labels must be whole numbers, got 0.5"),
        (RuntimeError("Traceback:\n...\nOSError: no space"), "--ray auto: OSError: no space: the rows so far are in"),
    ],
)
def test_a_batch_that_fails_ends_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fail(**given: Any) -> None:
        raise error

    ray = Ray(monkeypatch)
    with pytest.raises(InputError, match=said) as caught:
        share_out("auto", fail, {"table": str(tmp_path / "rows.csv")}, shares=3)
    assert "\n" not in str(caught.value)
    assert len(ray.cancelled) == 2
    assert ray.shut_down == 1


def test_a_connection_that_was_there_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = Ray(monkeypatch)
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: True))
    share_out("auto", lambda **given: None, {"table": str(tmp_path / "rows.csv")}, shares=1)
    assert ray.shut_down == 0


def test_storage_that_is_not_shared_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Ray(monkeypatch)
    with pytest.raises(InputError, match="give paths of storage that all machines share"):
        share_out("auto", print, {"table": str(tmp_path / "none" / "rows.csv")}, shares=1)


def test_shares_by_hand_and_by_ray_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give one of the two"):
        evaluated(tmp_path / "rows.csv", (1, 2), ray="auto")


@pytest.mark.long
def test_the_rows_are_those_of_one_process_alone(tmp_path: Path) -> None:
    evaluated(tmp_path / "alone.csv")
    with cluster("ray", {**ENVIRONMENT, "PYTHONPATH": ENVIRONMENT["PYTHONPATH"] + ":tests:."}):
        found = evaluated(tmp_path / "ray.csv", ray=f"127.0.0.1:{PORT}")
    assert rows_of(tmp_path / "ray.csv") == rows_of(tmp_path / "alone.csv")
    assert {accuracy.count for accuracy in found} == {8}
    assert not import_module("ray").is_initialized()  # else this process would end with the cluster
