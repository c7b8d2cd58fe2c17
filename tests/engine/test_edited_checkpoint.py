"""A checkpoint that was edited and sealed anew: what no fit can have is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from specimens import THIN, THIN_ADAM, noisy, save_sealed

from preimage.engine.checkpoint import load, read, save
from preimage.engine.fit import Fit
from preimage.errors import InputError
from preimage.restore.denoise import denoise

SHORT = replace(THIN, steps=12)


def denoising(**changes) -> Fit:
    options = {"recipe": SHORT, "device": "cpu", "noise": "gaussian", "sigma": 0.1} | changes
    return denoise(noisy(16), **options)


@pytest.mark.parametrize("index", [-1, SHORT.steps + 1, 10**6])
def test_a_step_that_the_recipe_does_not_have_is_refused(tmp_path, index):
    path = tmp_path / "a.checkpoint"
    save(denoising(), path)
    saved = read(path)
    saved["state"]["index"] = index
    save_sealed(saved, path)
    with pytest.raises(InputError, match="holds no state of this job") as raised:
        load(denoising(), path)
    assert raised.value.code == "checkpoint"


def test_observers_that_do_not_fit_are_refused(tmp_path):
    class Odd:
        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            raise KeyError("none")

    path = tmp_path / "a.checkpoint"
    save(denoising(), path, {"odd": Odd()})
    with pytest.raises(InputError, match="holds no state of this job"):
        load(denoising(), path, {"odd": Odd()})
    load(denoising(), path, {"another": Odd()})  # of which nothing was saved


def test_weights_that_are_not_finite_and_an_optimizer_of_others_are_refused(tmp_path):
    path = tmp_path / "a.checkpoint"
    fit = denoising(recipe=replace(THIN_ADAM, steps=12))
    next(iter(fit))
    save(fit, path)

    def refused(state) -> bool:
        save_sealed(read(path) | {"state": state}, tmp_path / "b.checkpoint")
        try:
            load(denoising(recipe=replace(THIN_ADAM, steps=12)), tmp_path / "b.checkpoint")
        except InputError as error:
            return error.code == "checkpoint"
        return False

    def edited(value, edit):
        """A state, each part of which may be replaced."""
        changed = edit(value)
        if changed is not None:
            return changed
        if isinstance(value, dict):
            return {name: edited(each, edit) for name, each in value.items()}
        return type(value)(edited(each, edit) for each in value) if isinstance(value, list | tuple) else value

    def infinite(value):
        return value / 0 if isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim == 4 else None

    def foreign(value):
        if isinstance(value, dict) and {"state", "param_groups"} <= value.keys():
            return value | {"state": value["state"] | {10**6: next(iter(value["state"].values()))}}
        return None

    state = read(path)["state"]
    assert not refused(state)
    assert refused(state | {"theta": edited(state["theta"], infinite)})
    assert refused(state | {"theta": edited(state["theta"], foreign)})


def test_a_number_of_numpy_is_no_other_option(tmp_path):
    path = tmp_path / "a.checkpoint"
    fit, other = denoising(), denoising()
    fit.fingerprint |= {"count": np.int64(3), "share": np.float32(0.5)}
    save(fit, path)
    other.fingerprint |= {"count": 3, "share": 0.5}
    load(other, path)
    other.fingerprint |= {"count": 4}
    with pytest.raises(InputError, match="was made with count") as raised:
        load(other, path)
    assert raised.value.code == "checkpoint"


@pytest.mark.parametrize("edit", [{"task": None}, {"state": None}, {"state": 3}, {"observers": []}])
def test_what_lacks_a_part_is_no_whole_checkpoint(tmp_path, edit):
    path = tmp_path / "a.checkpoint"
    save(denoising(), path)
    saved = {name: value for name, value in (read(path) | edit).items() if value is not None}
    save_sealed(saved, path)
    with pytest.raises(InputError, match="is not a whole checkpoint"):
        read(path)
