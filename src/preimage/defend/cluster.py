"""The batches of an evaluation as tasks of Ray; what is computed stands in the table, so that nothing has to come back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from preimage.errors import InputError
from preimage.ray_cluster import Slots, check_shared, connection, reason_of

_RETRIES = 3  # of a batch whose process or machine was lost


def share_out(address: str, evaluate: Callable[..., object], given: Mapping[str, Any], *, shares: int) -> None:
    """Let a cluster do evaluate(**given, worker=(k, shares)) for every k, each on a core and, where there are GPUs, one of these.

    Args:
        address: as of `connected`.
        given: all that is needed; it is sent once. "table" is a path that all machines know.

    Raises:
        InputError: no such cluster, storage that is not shared, or what a share raised; the rows so far are in the table.
    """
    with connection(address) as ray:
        slots = Slots.of(ray.cluster_resources(), None, None)
        task: Any = ray.remote(num_cpus=slots.threads, num_gpus=slots.gpus, max_retries=_RETRIES)(_share)
        sent = ray.put(dict(given))
        waiting = [
            task.options(name=f"batch {k + 1} of {shares}").remote(evaluate, sent, k, shares) for k in range(shares)
        ]
        try:
            while waiting:
                ended, waiting = ray.wait(waiting, num_returns=1)
                ray.get(ended)
        except Exception as error:
            cause = getattr(error, "cause", None)  # of what a task raised, Ray's own error
            if isinstance(cause, InputError):
                raise cause from error
            raise InputError(f"--ray {address}: {reason_of(error)}: the rows so far are in {given['table']}") from error
        finally:
            for each in waiting:
                ray.cancel(each, force=True)


def _share(evaluate: Callable[..., object], given: Mapping[str, Any], k: int, shares: int) -> None:
    check_shared(Path(given["table"]).parent)
    evaluate(**given, worker=(k, shares))
