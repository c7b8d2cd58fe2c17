"""Faults of checkpoints: a command destroys those of an interrupted run, and those that it knows nothing of."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
import torch
from faults.parts import THIN, picture
from PIL import Image

from preimage import InputError, denoise
from preimage.engine import checkpoint

OWN = "classifiers.small:own_classifier"
TINY = ("--recipe", "tiny.json", "--device", "cpu")


def interrupted(command: tuple[str, ...], output: str) -> tuple[Path, bytes]:
    """The checkpoint that a run left behind which ended after some steps, and what is in it."""
    path = Path(f"{output}.checkpoint")
    fit = denoise(command[1], recipe=THIN, device="cpu")
    for step in fit:
        if step.index == 3:
            break
    checkpoint.save(fit, path)
    return path, path.read_bytes()


RESTORING = {
    "denoise": ("denoise", "noisy.png", *TINY),
    "denoise with autosave": ("denoise", "noisy.png", *TINY, "--autosave", "3"),
    "super-resolve": ("super-resolve", "noisy.png", "--factor", "2", *TINY, "--autosave", "3"),
    "purify": ("purify", "noisy.png", *TINY, "--autosave", "3"),
}


@pytest.mark.parametrize("command", RESTORING.values(), ids=RESTORING)
def test_a_checkpoint_that_is_there_is_never_lost_without_a_word(here, run, command):
    path, held = interrupted(command, "out.png")
    ran = run(*command, "-o", "out.png")
    assert ran.failed_in_one_line("--resume", "--overwrite", "out.png.checkpoint"), ran
    assert path.read_bytes() == held
    assert not Path("out.png").exists()


def test_of_several_inputs_one_with_a_checkpoint_is_left_alone_and_the_others_are_done(here, run):
    path, held = interrupted(("denoise", "noisy.png"), "noisy-denoise.png")
    ran = run("denoise", "noisy.png", "clean.png", *TINY, "--autosave", "3")
    assert ran.failed_in_one_line("--resume", "--overwrite"), ran
    assert path.read_bytes() == held
    assert Path("clean-denoise.png").exists()


def test_a_partial_output_beside_its_checkpoint_is_no_reason_to_overwrite(here, run):
    path, held = interrupted(("denoise", "noisy.png"), "out.png")
    Image.open("noisy.png").save("out.png")
    before = Path("out.png").read_bytes()
    ran = run("denoise", "noisy.png", *TINY, "--autosave", "3", "-o", "out.png")
    assert ran.failed_in_one_line("--resume", "--overwrite"), ran
    assert (path.read_bytes(), Path("out.png").read_bytes()) == (held, before)


def test_overwrite_starts_afresh_over_a_checkpoint(here, run):
    path, _ = interrupted(("denoise", "noisy.png"), "out.png")
    ran = run("denoise", "noisy.png", *TINY, "--autosave", "3", "-o", "out.png", "--overwrite")
    assert ran.code == 0, ran.err
    assert Path("out.png").exists()
    assert not path.exists()


EXPLAINING = {
    "counterfactual": ("counterfactual", "noisy.png"),
    "recover": ("recover", "noisy.png"),
    "invert": ("invert", "noisy.png", "--layers", "block1"),
    "maximize": ("maximize", "--target", "round", "--size", "16", "16"),
}


@pytest.mark.parametrize("autosave", [(), ("--autosave", "3")], ids=["", "autosave"])
@pytest.mark.parametrize("command", EXPLAINING.values(), ids=EXPLAINING)
def test_an_explaining_command_leaves_a_checkpoint_alone(here, run, command, autosave):
    path, held = interrupted(("denoise", "noisy.png"), "out.png")
    ran = run(*command, "--classifier", OWN, *TINY, "-o", "out.png", *autosave)
    assert ran.failed_in_one_line("--resume", "--overwrite", "out.png.checkpoint"), ran
    assert path.read_bytes() == held
    assert not Path("out.png").exists()


def test_a_training_leaves_the_checkpoint_of_an_interrupted_one_alone(here, run):
    x = np.random.default_rng(0).integers(0, 255, (24, 16, 16, 3), dtype=np.uint8)
    np.savez("data.npz", x=x, y=np.arange(24) % 2)
    path, held = interrupted(("denoise", "noisy.png"), "model.pt")
    command = ("train", "data.npz", "--backbone", "thin_resnet10", "--epochs", "1", "--device", "cpu", "-o", "model.pt")
    ran = run(*command)
    assert ran.failed_in_one_line("--resume", "--overwrite", "model.pt.checkpoint"), ran
    assert path.read_bytes() == held
    assert not Path("model.pt").exists()


# ---------------------------------------------------------------------- 12: what is said of one that cannot be read


def said_of(path: Path) -> str:
    with pytest.raises(InputError) as error:
        checkpoint.read(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_checkpoint_that_is_not_there_is_said_to_be_missing(tmp_path):
    path = tmp_path / "photo.checkpoint"
    assert "remove" not in said_of(path)
    assert str(path) in said_of(path)


def test_a_folder_is_not_to_be_removed(tmp_path):
    assert "remove" not in said_of(tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(PermissionError(errno.EACCES, "Permission denied", "photo.checkpoint"), id="permission"),
        pytest.param(OSError(errno.EIO, "Input/output error", "photo.checkpoint"), id="disk"),
        pytest.param(OSError(errno.EMFILE, "Too many open files", "photo.checkpoint"), id="too many files"),
        pytest.param(MemoryError(), id="memory"),
        pytest.param(
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), id="torch"
        ),
        pytest.param(torch.OutOfMemoryError("CUDA out of memory."), id="cuda"),
    ],
)
def test_a_whole_checkpoint_is_not_to_be_removed_for_what_kept_it_from_being_read(tmp_path, monkeypatch, error):
    path = tmp_path / "photo.checkpoint"
    checkpoint.save(denoise(picture(), recipe=THIN, device="cpu"), path)

    def fails(*args, **settings):
        raise error

    monkeypatch.setattr(torch, "load", fails)
    with pytest.raises((InputError, OSError, MemoryError, RuntimeError)) as raised:
        checkpoint.read(path)
    assert "remove" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 torn"], ids=["empty", "text", "torn"])
def test_a_file_that_is_no_checkpoint_may_be_removed(tmp_path, content):
    path = tmp_path / "photo.checkpoint"
    path.write_bytes(content)
    assert "remove" in said_of(path)
