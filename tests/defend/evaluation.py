"""An evaluation in a process of its own: TABLE, k, n. It can be killed at any moment, and goes on when it is called again."""

from __future__ import annotations

import sys

import torch
from defend.small import Shifted, pictures, trained

from preimage.defend.evaluate import evaluate_defence
from preimage.defend.threat import Threat

THREATS = [
    Threat("prior", 8, steps=2),
    Threat("bpda-eot", 8, steps=2, samples=2),
    Threat("bpda-eot", 8, steps=2, samples=2, knows_seed=True),
]
DEFENCES = {"none": None, "shifted": Shifted()}


def evaluated(table: object, worker: tuple[int, int] = (0, 1), count: int = 8, ray: str | None = None) -> list:
    images, labels = pictures(count, seed=4)
    return evaluate_defence(
        trained(), images, labels, THREATS, DEFENCES, table=str(table), seed=3, batch=4, worker=worker, ray=ray
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    evaluated(sys.argv[1], (int(sys.argv[2]), int(sys.argv[3])))
