"""Checkpoints: nothing is lost by a crash, whenever it comes, and nothing foreign is taken for one."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from specimens import THIN, THIN_ADAM, THIN_MASKED, clean, fit_of, noisy, save_sealed

import preimage
from preimage.codes import Noise
from preimage.engine import checkpoint
from preimage.engine.checkpoint import load, read, save
from preimage.engine.fit import Fit
from preimage.errors import InputError
from preimage.networks import DeepDecoder
from preimage.observe import Curves, Film, OraclePeak, autosave, observe
from preimage.restore.denoise import denoise
from preimage.stopping import after, held_out, windowed_variance

SHORT = replace(THIN, steps=12)


def denoising(image: torch.Tensor | None = None, **changes) -> Fit:
    options = {"recipe": SHORT, "device": "cpu", "noise": "gaussian", "sigma": 0.1} | changes
    return denoise(noisy(16) if image is None else image, **options)


@pytest.mark.parametrize("recipe", [THIN, THIN_ADAM, THIN_MASKED], ids=["muon", "adam", "masked"])
@pytest.mark.parametrize("broken_at", [1, 7, 12])
def test_a_resumed_fit_ends_bit_for_bit_as_if_it_had_never_stopped(tmp_path, recipe, broken_at):
    recipe = replace(recipe, steps=12, restarts=2)
    straight = denoising(recipe=recipe).run()
    for step in autosave(denoising(recipe=recipe), tmp_path / "a.checkpoint", every=1):
        if step.index == broken_at:
            break
    resumed = denoising(recipe=recipe)
    load(resumed, tmp_path / "a.checkpoint")
    assert resumed.index == broken_at
    result = resumed.run()
    assert torch.equal(result.image, straight.image)
    assert torch.equal(result.history["loss"], straight.history["loss"])
    assert (result.reason, result.kept_step, result.steps) == (straight.reason, straight.kept_step, straight.steps)


def test_autosave_passes_every_step_through_and_saves_every_so_many(tmp_path):
    path = tmp_path / "a.checkpoint"
    saved = []
    for step in autosave(denoising(), path, every=5):
        saved.append(read(path)["state"]["index"] if path.exists() else 0)
        assert saved[-1] == step.index // 5 * 5
    assert len(saved) == 12
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.checkpoint"]


def test_autosave_changes_nothing(tmp_path):
    fit = denoising()
    list(autosave(fit, tmp_path / "a.checkpoint", every=1))
    assert torch.equal(fit.result().image, denoising().run().image)


@pytest.mark.parametrize("every", [0, -3])
def test_autosave_needs_a_number_of_steps(tmp_path, every):
    with pytest.raises(InputError, match=f"got {every}"):
        next(autosave(denoising(), tmp_path / "a.checkpoint", every=every))


@pytest.mark.parametrize(
    ("function", "error"), [("fsync", errno.ENOSPC), ("fsync", errno.EIO), ("replace", errno.EACCES)]
)
def test_a_write_that_fails_leaves_the_old_one_whole(tmp_path, monkeypatch, function, error):
    path = tmp_path / "a.checkpoint"
    fit = denoising()
    steps = iter(fit)
    next(steps)
    save(fit, path)
    before = path.read_bytes()
    next(steps)

    def fail(*arguments, **options):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(InputError, match=r"a\.checkpoint cannot be written"):
        save(fit, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("input", {"image": clean(16)}),
        ("noise", {"noise": "auto"}),
        ("sigma", {"sigma": 0.2}),
        ("tv", {"tv": 1e-6}),
        ("recipe", {"recipe": replace(SHORT, rate=0.01)}),
        ("recipe", {"recipe": replace(SHORT, steps=13)}),
        ("restarts", {"restarts": 2}),
        ("rule", {"stop": held_out()}),
        ("rule", {"stop": windowed_variance() | after(3)}),
        ("seed", {"seed": 1}),
    ],
)
def test_a_checkpoint_of_another_call_is_refused_by_name(tmp_path, key, changes):
    path = tmp_path / "a.checkpoint"
    fit = denoising()
    next(iter(fit))
    save(fit, path)
    with pytest.raises(InputError, match=rf"made with (recipe )?{key} ") as caught:
        load(denoising(**changes), path)
    assert caught.value.code == "checkpoint"
    load(denoising(), path)


def told(tmp_path, fit: Fit, other: Fit) -> str:
    """What is said of the checkpoint of one fit that another would go on from."""
    next(iter(fit))
    save(fit, tmp_path / "a.checkpoint")
    with pytest.raises(InputError) as caught:
        load(other, tmp_path / "a.checkpoint")
    return str(caught.value)


def test_of_a_recipe_only_what_differs_is_said(tmp_path):
    said = told(tmp_path, denoising(), denoising(recipe=replace(SHORT, steps=13, rate=0.5)))
    assert f"made with recipe rate {SHORT.rate}, not 0.5; recipe steps 12, not 13: repeat" in said
    said = told(
        tmp_path, denoising(), denoising(recipe=replace(SHORT, network=DeepDecoder.Config((8, 8)), code=Noise(8)))
    )
    assert "recipe network kind SkipNet, not DeepDecoder: repeat" in said
    assert "rate" not in said
    assert len(said) < 300 + len(str(tmp_path))


def test_of_another_picture_no_digits_are_said(tmp_path):
    said = told(tmp_path, denoising(), denoising(image=clean(16)))
    assert "made with input of another picture: repeat that call" in said
    assert len(said) < 200 + len(str(tmp_path))


@pytest.mark.parametrize("make", [lambda: held_out(every=1), lambda: windowed_variance(5) | after(9)])
def test_a_checkpoint_is_taken_to_the_device_of_the_fit(tmp_path, make):
    """It is read on the CPU; what a fit on another device goes on computing with must not stay there."""
    path = tmp_path / "a.checkpoint"
    fit = denoising(stop=make())
    for step in fit:
        if step.index == 6:
            break
    save(fit, path)
    elsewhere = denoising(stop=make())
    elsewhere.prior.device = torch.device("meta")  # a device that is everywhere
    load(elsewhere, path)
    snapshot = elsewhere.guard.snapshots[0]
    outputs, tracker = elsewhere.outputs, elsewhere.tracker
    tensors = [outputs.images[0], outputs.averages[0], tracker.best]
    tensors += [snapshot[name] for name in ("average", "image") if snapshot[name] is not None]
    parts = getattr(tracker, "trackers", (tracker,))
    tensors += [part.best for part in parts] + [part.ring for part in parts if hasattr(part, "ring")]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_a_checkpoint_of_another_task_is_refused(tmp_path):
    path = tmp_path / "a.checkpoint"
    fit = fit_of(noisy(16), SHORT, task="sharpen")
    next(iter(fit))
    save(fit, path)
    with pytest.raises(InputError, match="made with task sharpen, not fit"):
        load(fit_of(noisy(16), SHORT), path)


def test_numpy_numbers_are_options_as_any(tmp_path):
    path = tmp_path / "a.checkpoint"
    fit = denoising(sigma=np.float64(0.1), tv=np.float32(0.5), recipe=replace(SHORT, rate=np.float64(0.02)))
    next(iter(fit))
    save(fit, path)
    same = denoising(sigma=0.1, tv=0.5)
    load(same, path)
    assert same.index == 1


@pytest.mark.parametrize("number", [1, 3, None])
def test_another_format_is_refused(tmp_path, number):
    path = tmp_path / "a.checkpoint"
    fit = denoising()
    next(fit)
    save(fit, path)
    saved = torch.load(path, weights_only=True)
    assert saved["format"] == checkpoint.FORMAT == 2
    save_sealed(saved | {"format": number}, path)
    assert code_of(lambda: load(denoising(), path)) == "format"


def code_of(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return caught.value.code


def test_each_way_not_to_be_read_has_a_code_of_its_own(tmp_path, monkeypatch):
    assert code_of(lambda: read(tmp_path / "nothing.checkpoint")) == "not-found"
    assert code_of(lambda: read(tmp_path)) == "checkpoint"
    path = tmp_path / "a.checkpoint"
    fit = denoising()
    next(fit)
    save(fit, path)
    refusing = PermissionError(errno.EACCES, "Permission denied")
    for place, error, code in (
        ("preimage.images.files.os.open", refusing, "unreadable"),
        ("preimage.engine.checkpoint.read_bytes", MemoryError(), "memory"),
    ):

        def fail(*_, error=error):
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(place, fail)
            with pytest.raises(InputError) as caught:
                read(path)
        assert caught.value.code == code
        assert "remove" not in str(caught.value)  # it may be good
    assert read(path)["task"] == "denoise"


def test_observers_are_saved_and_loaded_beside_the_run(tmp_path):
    path = tmp_path / "a.checkpoint"

    def observers() -> dict:
        return {"oracle": OraclePeak(clean(16), lookahead=1.5), "curves": Curves(), "film": Film(3)}

    straight = observers()
    list(observe(denoising(stop=held_out()), *straight.values()))
    broken = observers()
    fit = denoising(stop=held_out())
    for step in observe(fit, *broken.values()):
        if step.index == 7:
            save(fit, path, broken)
            break
    resumed, fit = observers(), denoising(stop=held_out())
    load(fit, path, resumed)
    list(observe(fit, *resumed.values()))
    assert resumed["oracle"].curve == straight["oracle"].curve
    assert resumed["oracle"].peak == straight["oracle"].peak
    assert resumed["curves"].score == straight["curves"].score
    assert all(torch.equal(a, b) for a, b in zip(resumed["film"].frames, straight["film"].frames, strict=True))


RANDOM = np.random.default_rng(0).bytes(2000)


@pytest.mark.parametrize(
    "content",
    [b"", b".", b"a line of text\n", b"PK\x03\x04" + RANDOM, b"\x80\x02" + RANDOM, RANDOM, b"\x89PNG\r\n\x1a\n"],
    ids=["empty", "dot", "text", "zip", "pickle", "noise", "png"],
)
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "a.checkpoint"
    path.write_bytes(content)
    assert code_of(lambda: load(denoising(), path)) == "checkpoint"


def test_half_of_one_and_other_contents(tmp_path):
    path = tmp_path / "a.checkpoint"
    fit = denoising()
    next(iter(fit))
    save(fit, path)
    path.write_bytes(path.read_bytes()[:-5000])
    assert code_of(lambda: load(denoising(), path)) == "checkpoint"
    for content in ([1, 2], {"weights": torch.zeros(2)}, {"format": checkpoint.FORMAT}):
        save_sealed(content, path)
        assert code_of(lambda: load(denoising(), path)) == "checkpoint"


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_a_checkpoint_runs_no_code(tmp_path):
    path, mark = tmp_path / "a.checkpoint", tmp_path / "mark"
    save_sealed({"format": checkpoint.FORMAT, "task": "fit", "fingerprint": {}, "state": Trap(mark)}, path)
    assert code_of(lambda: load(denoising(), path)) == "checkpoint"
    assert not mark.exists()
    torch.load(path, weights_only=False)  # the trap does work
    assert mark.exists()


# One process imports the library once; what is killed are its children. A child says each step on a pipe.
KILLED = """
import os, random, signal, sys, time
from dataclasses import replace
from pathlib import Path
import torch
from preimage.engine.checkpoint import load, read
from preimage.observe import autosave
from preimage.codes import Noise
from preimage.networks import SkipNet
from preimage.restore.denoise import denoise
from specimens import THIN, noisy

torch.set_num_threads(1)
folder, every, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
path = folder / "a.checkpoint"
chance = random.Random(every)

def made():
    recipe = replace(THIN, network=SkipNet.Config((4, 4), (4, 4), (2, 2)), code=Noise(2), steps=60)
    return denoise(noisy(16), noise="gaussian", sigma=0.1, recipe=recipe, device="cpu")

def fitting(autosaved, result, pipe):
    fit = made()
    if autosaved and path.exists():
        load(fit, path)
    for step in autosave(fit, path, every) if autosaved else fit:
        os.write(pipe, bytes([step.index]))
    torch.save(fit.result().image, result)

def child(*arguments):
    source, pipe = os.pipe()
    process = os.fork()
    if not process:
        code = 1
        try:
            fitting(*arguments, pipe)
            code = 0
        finally:
            os._exit(code)
    os.close(pipe)
    return process, source

made()  # what PyTorch imports late is imported here
killed, seen = 0, 0
for _ in range(rounds):
    process, source = child(True, folder / "unfinished.pt")
    for _ in range(chance.randint(1, 9)):
        seen = (os.read(source, 1) or b"\\0")[0]
    time.sleep(chance.uniform(0, 0.03))
    os.kill(process, signal.SIGKILL)
    killed += os.WIFSIGNALED(os.waitpid(process, 0)[1])
    while rest := os.read(source, 1):
        seen = rest[0]
    os.close(source)
    kept = read(path)["state"]["index"] if path.exists() else 0
    assert seen // every * every <= kept <= seen + 1, (seen, kept)
assert killed == rounds and not (folder / "unfinished.pt").exists(), killed
for name, autosaved in (("resumed.pt", True), ("straight.pt", False)):
    process, source = child(autosaved, folder / name)
    while os.read(source, 64):
        pass
    assert os.waitpid(process, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_moment_and_resumed_it_ends_bit_for_bit_the_same(tmp_path):
    paths = [str(Path(preimage.__file__).parents[1]), str(Path(__file__).parents[1])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-c", KILLED, str(tmp_path), "2", "6"]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert torch.equal(torch.load(tmp_path / "resumed.pt"), torch.load(tmp_path / "straight.pt"))
