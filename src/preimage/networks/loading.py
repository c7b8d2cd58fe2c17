"""Weights of one network taken over by another: copies that alias nothing, and one clear line where two are not alike."""

from __future__ import annotations

import torch
from torch import nn

from preimage.errors import InputError


def copied(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict on the CPU that shares no memory with the module that it is of."""
    return {name: value.detach().to("cpu", copy=True) for name, value in weights.items()}


def load_alike(module: nn.Module, saved: dict[str, torch.Tensor], name: str) -> None:
    """Load the weights of a module of another fit; InputError in one line where the two are not alike."""
    own, others = ({key: tuple(value.shape) for key, value in d.items()} for d in (module.state_dict(), saved))
    for key in own | others:
        if own.get(key) != others.get(key):
            raise InputError(
                f"initial holds the weights of another {name}: {key} is {others.get(key, 'not there')}, expected "
                f"{own.get(key, 'none')}: use a result of the same task and recipe, with as many channels",
                code="shape",
            )
    module.load_state_dict(saved)
