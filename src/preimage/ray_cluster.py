"""The cluster of Ray that serves folders and evaluations: connecting to it, and what of it a piece of work takes.

Ray is an extra, and is imported here alone before there is a connection.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preimage.errors import InputError
from preimage.extras import require

TIMEOUT = 10.0  # seconds until an address is said not to answer


@dataclass(frozen=True)
class Slots:
    """What a picture takes of a cluster, and how many find room at once.

    Args:
        threads: processor threads of each.
        gpus: the part of a GPU of each.
        count: how many find room.
    """

    threads: int
    gpus: float
    count: int

    @classmethod
    def of(cls, resources: dict[str, float], threads: int | None, gpu_share: float | None) -> Slots:
        """Of the resources of a cluster; each picture takes a core and, where there are GPUs, one of these, if nothing is stated.

        Raises:
            InputError: more than the cluster has.
        """
        cores, cards = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
        own, share = threads or 1, gpu_share if gpu_share is not None else min(1.0, cards)
        count = min([cores // own] + ([cards / share] if share else []))
        if count < 1:
            raise InputError(
                f"the cluster has {cores:g} cores and {cards:g} GPUs, an image is to take {own} and {share:g}: "
                "lower --threads or --gpu-share, or add machines",
                code="option",
            )
        return cls(own, share, int(count))


def connected(address: str) -> Any:
    """The module `ray`, connected to a cluster: "auto" is the one that runs on this machine, or that RAY_ADDRESS names.

    Raises:
        InputError: no Ray, no cluster, an address that does not answer within 10 seconds, another version.
    """
    require("ray")
    stated = os.environ.get("RAY_ADDRESS", "auto") if address == "auto" else address
    if stated != "auto":
        _reach(stated)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    try:
        ray.init(
            stated, namespace="preimage", log_to_driver=False, logging_level=logging.CRITICAL, ignore_reinit_error=True
        )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        if address == "auto" and stated == "auto":
            raise InputError("--ray auto: no cluster runs on this machine: ray start --head", code="option") from error
        raise InputError(f"--ray {address}: {reason_of(error)}", code="option") from error
    return ray


@contextmanager
def connection(address: str) -> Iterator[Any]:
    """The module `ray`, connected as by `connected` for as long as needed: with a cluster that ends, a connected process does.

    Raises:
        InputError: as `connected`.
    """
    known = sys.modules.get("ray")
    was_connected = known is not None and known.is_initialized()
    ray = connected(address)
    try:
        yield ray
    finally:
        if not was_connected:
            ray.shutdown()


def _reach(address: str) -> None:
    """See that a cluster answers: `ray.init` would wait for minutes, for whatever else listens there as well.

    Raises:
        InputError: an address without a port, or that does not answer.
    """
    host, _, port = address.rpartition("//")[2].partition("?")[0].rpartition(":")
    if not host or not port.isdigit():
        raise InputError(f"--ray must be auto or HOST:PORT, got {address!r}", code="option")
    try:
        socket.create_connection((host.strip("[]"), int(port)), TIMEOUT).close()
        healthy = (
            address.startswith("ray://")
            or not subprocess.run(
                [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address],
                capture_output=True,
                timeout=TIMEOUT,
            ).returncode
        )
        reason = None if healthy else "no cluster of this version of Ray"
    except (TimeoutError, subprocess.TimeoutExpired):
        reason = f"no answer within {TIMEOUT:g} seconds"
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    if reason is not None:
        raise InputError(f"--ray {address}: {reason}: is it the address that ray start --head printed?", code="option")


def reason_of(error: BaseException) -> str:
    """What it says in its last line: those before are the traceback of another process, if anything."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def check_shared(folder: str | Path) -> None:
    """See that the machine on which this runs knows a folder.

    Raises:
        FileNotFoundError: it does not.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(
            f"{socket.gethostname()} has no folder {folder}: give paths of storage that all machines share"
        )
