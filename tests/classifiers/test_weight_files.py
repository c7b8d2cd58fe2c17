"""Files of weights: what is a program and not weights is said in one line, without a warning of somebody else's."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from classifiers.small import refused
from torch import nn

from preimage.classifiers.weight_files import flattened, read_weights

MODEL = nn.Sequential(nn.Linear(3, 2), nn.ReLU())


@pytest.mark.parametrize("name", ["scripted.pt", "scripted.pth", "traced.pt", "frozen.ckpt"])
def test_a_program_of_torchscript_is_one_line_and_no_warning(tmp_path, name):
    path = tmp_path / name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # which torch.jit gives in itself
        made: Any = torch.jit.trace(MODEL, torch.rand(1, 3)) if name == "traced.pt" else torch.jit.script(MODEL.eval())
        torch.jit.save(torch.jit.freeze(made) if name == "frozen.ckpt" else made, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        message = refused("unreadable", read_weights, path, "it")
    assert "TorchScript" in message
    assert "state_dict()" in message


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 and no more"])
def test_a_damaged_file_is_no_program(tmp_path, content):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    assert "TorchScript" not in refused("unreadable", read_weights, path, "it")


@pytest.mark.parametrize("held", [MODEL.state_dict(), {"model": MODEL.state_dict()}, MODEL])
def test_weights_are_one_table_of_tensors(tmp_path, held):
    path = tmp_path / "w.pth"
    torch.save(held, path)
    found = flattened(read_weights(path, "it"))
    assert [name.rpartition("/")[2] for name in found] == ["0.weight", "0.bias"]
