"""A cluster of Ray: what it is asked for, and what a wrong address says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from preimage import ray_cluster
from preimage.errors import InputError, MissingExtra
from preimage.ray_cluster import Slots, check_shared, connected, reason_of


@pytest.mark.parametrize(
    ("resources", "threads", "share", "expected"),
    [
        ({"CPU": 16.0}, None, None, Slots(1, 0.0, 16)),
        ({"CPU": 16.0}, 4, None, Slots(4, 0.0, 4)),
        ({"CPU": 16.0, "GPU": 2.0}, None, None, Slots(1, 1.0, 2)),
        ({"CPU": 16.0, "GPU": 2.0}, None, 0.25, Slots(1, 0.25, 8)),
        ({"CPU": 4.0, "GPU": 8.0}, None, 0.25, Slots(1, 0.25, 4)),
        ({"CPU": 16.0, "GPU": 2.0}, None, 0.0, Slots(1, 0.0, 16)),
    ],
)
def test_pictures_find_room_by_cores_and_gpus(resources, threads, share, expected):
    assert Slots.of(resources, threads, share) == expected


@pytest.mark.parametrize(("threads", "share"), [(8, None), (None, 0.5), (8, 2.0)])
def test_a_cluster_without_room_for_one_picture_is_refused(threads, share):
    with pytest.raises(InputError, match=r"the cluster has 4 cores and 0 GPUs, an image is to take"):
        Slots.of({"CPU": 4.0}, threads, share)


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("preimage.extras.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'preimage\[ray\]'"):
        connected("auto")


@pytest.mark.parametrize("address", ["nonsense", "host:", ":6379", "host:port", "ray://", "-1"])
def test_an_address_without_host_or_port_is_refused(address):
    with pytest.raises(InputError, match="must be auto or HOST:PORT"):
        connected(address)


def test_an_address_where_nobody_listens_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(InputError, match=f"--ray 127.0.0.1:{port}: .*ray start --head"):
        connected(f"127.0.0.1:{port}")


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where somebody listens, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept: list[socket.socket] = []

        def accept() -> None:
            try:
                while True:
                    kept.append(server.accept()[0])
            except OSError:
                return

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        for each in kept:
            each.close()


def test_an_address_that_does_not_answer_is_refused_soon(silent, monkeypatch):
    monkeypatch.setattr(ray_cluster, "TIMEOUT", 2.0)
    with pytest.raises(InputError, match="no answer within 2 seconds"):
        connected(f"127.0.0.1:{silent}")


def test_a_folder_that_a_machine_does_not_know_is_said(tmp_path: Path):
    check_shared(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"has no folder .*none: give paths of storage that all machines share"):
        check_shared(tmp_path / "none")


def test_of_a_traceback_from_elsewhere_the_last_line_is_told():
    assert reason_of(RuntimeError("Traceback:\n  ...\nOSError: no space")) == "OSError: no space"
    assert reason_of(KeyError()) == "KeyError"
