"""What is kept of a fit that is done, as plain containers and tensors, and how several of them are told as one."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from preimage.engine.result import History, Result
from preimage.images import Picture


def part_of(result: Result) -> dict[str, Any]:
    """What is kept of a fit that is done."""
    names = ("image", "uncertainty", "kept_step", "steps", "seconds", "reason", "reason_code")
    return {
        **{name: getattr(result, name) for name in names},
        "history": {"names": result.history.names, **result.history.state_dict()},
        "operators": [operator.state_dict() for operator in result.operators],
    }


def history_of(part: dict[str, Any]) -> History:
    """The history of a part."""
    history = History(part["history"]["names"])
    history.load_state_dict(part["history"])
    return history


def operators_of(part: dict[str, Any], alike: Sequence[torch.nn.Module]) -> list[torch.nn.Module]:
    """The fitted operators of a part, made like those of another."""
    made = [copy.deepcopy(alike[0]) for _ in part["operators"]]
    for operator, state in zip(made, part["operators"], strict=True):
        operator.load_state_dict(state)
    return made


def side_by_side(histories: Sequence[History], word: str = "page") -> History:
    """The histories of fits that came one after another as that of one fit: a column a member, NaN after its end.

    A term that only some fits have is 0 in the others.
    """
    names = list(dict.fromkeys(name for history in histories for name in history.names))
    length = max(len(history) for history in histories)
    tables, events = [], []
    for number, history in enumerate(histories, 1):
        loss = history["loss"]
        table = torch.stack([history[name] if name in history.names else 0 * loss for name in names], 1)
        tables.append(functional.pad(table, (0, 0, 0, 0, 0, length - len(history)), value=float("nan")))
        events += [f"{word} {number}, {event}" for event in history.events]
    joined = History(names)
    joined.load_state_dict({"tables": torch.cat(tables, 2), "events": events})
    return joined


def pages_of(picture: Picture) -> list[Picture]:
    """Each page as a picture of its own, all of one range: (b, c, h, w) -> b times (1, c, h, w).

    Example:
        >>> from preimage.images import as_picture
        >>> [page.tensor.shape for page in pages_of(as_picture(torch.rand(2, 3, 32, 32)))]
        [torch.Size([1, 3, 32, 32]), torch.Size([1, 3, 32, 32])]
    """
    if len(picture.tensor) == 1:
        return [picture]
    pages = []
    for i in range(len(picture.tensor)):
        alpha = None if picture.alpha is None else picture.alpha[i : i + 1]
        missing = None if picture.missing is None else picture.missing[i : i + 1]
        missing = missing if missing is not None and bool(missing.any()) else None
        pages.append(replace(picture, tensor=picture.tensor[i : i + 1], alpha=alpha, missing=missing))
    return pages


def together(picture: Picture, pages: Sequence[Picture]) -> Picture:
    """The picture with the alpha, channels and metadata of its pages, as they will be written."""
    channels = max(page.tensor.shape[1] for page in pages)  # a page that is not fitted yet has those of the input
    tensor = torch.cat([page.tensor.expand(-1, channels, -1, -1) for page in pages])
    alphas = [page.alpha for page in pages if page.alpha is not None]
    alpha = np.concatenate(alphas) if alphas and len(alphas) == len(pages) else picture.alpha
    return replace(picture, tensor=tensor, alpha=alpha, metadata=pages[0].metadata)


def resized(tensor: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """An input (b, c, h, w) at the height and width of a result, to stand in its place until it is fitted."""
    if tuple(tensor.shape[-2:]) == tuple(size):
        return tensor
    return functional.interpolate(tensor, size=size, mode="bilinear", align_corners=False)


def merged(fingerprints: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Options by name: what all pages share, or a list of what each has."""
    joined: dict[str, Any] = {}
    for key in fingerprints[0]:
        values = [fingerprint.get(key) for fingerprint in fingerprints]
        joined[key] = values[0] if all(value == values[0] for value in values) else values
    return joined


def remarks_of_all(remarks: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The remarks that hold for all pages once, those of a page with its number."""
    shared = [line for line in remarks[0] if all(line in lines for lines in remarks)]
    own = [f"page {i}: {line}" for i, lines in enumerate(remarks, 1) for line in lines if line not in shared]
    return (*shared, *own)
