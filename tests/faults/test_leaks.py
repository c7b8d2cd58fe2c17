"""Faults of state that leaks: of the process, of the user's model, of a live fit, into a page, out of a hash."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from defend.small import BRIEF, pictures
from faults.parts import EXPLAINING, INVERTING, THIN, Normalized, normalized, picture, problem
from torch import nn

from preimage import Classifier, DefendedClassifier, counterfactual, denoise, invert, maximize, recover
from preimage.classifiers.labelled import Labelled
from preimage.classifiers.settings import Settings
from preimage.classifiers.train import Training
from preimage.defend.attacks import attack
from preimage.defend.attribution import saliency_map
from preimage.defend.inspection import Inspecting
from preimage.defend.saliency import SaliencyOptions
from preimage.memory import give_back_memory, keep_freed_memory

# ---------------------------------------------------------------------- 13: mallopt

MMAP_MAX, MMAP_DEFAULT, LARGE = -4, 65536, 2**32


class Mallinfo(ctypes.Structure):
    """glibc's struct mallinfo2; `hblks`: how many blocks were mapped on their own."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in (*("arena", "ordblks", "smblks", "hblks", "hblkhd"), *"abcde"))


def maps_large_blocks() -> bool:
    """Whether a large block is mapped on its own, as it is by default: what M_MMAP_MAX is, seen from outside."""
    library = ctypes.CDLL(None)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    library.mallinfo2.restype = Mallinfo
    before = library.mallinfo2().hblks
    block = library.malloc(LARGE)
    found = library.mallinfo2().hblks > before
    library.free(block)
    return found


@pytest.fixture
def malloc(monkeypatch) -> Iterator[Callable[[int], None]]:
    """Sets how many blocks may be mapped on their own, in a process that has fitted before; by default at first and at last."""
    for name in ("MALLOC_ARENA_MAX", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    # The first fit of a process sets it, for a step is a tenth slower without; what is set later by others stands.
    keep_freed_memory()
    give_back_memory()
    ctypes.CDLL(None).mallopt(MMAP_MAX, MMAP_DEFAULT)
    yield lambda count: ctypes.CDLL(None).mallopt(MMAP_MAX, count)
    ctypes.CDLL(None).mallopt(MMAP_MAX, MMAP_DEFAULT)


on_glibc = pytest.mark.skipif(
    not (sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "mallinfo2")), reason="mallopt is glibc's"
)


def training() -> Training:
    x = torch.randint(256, (12, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte()
    parts = tuple("test" if i % 4 == 0 else "train" for i in range(12))
    data = Labelled(x, torch.arange(12) // 2 % 2, tuple(map(str, range(12))), parts, ("one", "two"), "data")
    return Training(data, Settings("thin_resnet10", epochs=2, layers=("layer1",)), device="cpu")


ITERATED = {"fit": lambda: denoise(picture(), recipe=THIN, device="cpu"), "training": training}
each_iterated = pytest.mark.parametrize("made", ITERATED.values(), ids=ITERATED)


@on_glibc
@each_iterated
def test_between_two_steps_the_process_is_as_it_was(malloc, made):
    assert maps_large_blocks()
    steps = iter(made())
    next(steps)
    assert maps_large_blocks()


@on_glibc
@each_iterated
def test_while_a_fit_runs_in_another_thread_the_process_is_as_it_was(malloc, made):
    begun, seen = threading.Event(), threading.Event()

    def work() -> None:
        for _ in made():
            begun.set()
            seen.wait(30)

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait(30)
    found = maps_large_blocks()
    seen.set()
    thread.join()
    assert found


@on_glibc
@each_iterated
def test_after_a_fit_in_another_thread_the_settings_of_the_user_stand(malloc, made):
    malloc(0)
    thread = threading.Thread(target=made().run)
    thread.start()
    thread.join()
    assert not maps_large_blocks()


# ---------------------------------------------------------------------- 13: the user's model

MODEL = "fault 13: the user's model is left changed: in evaluation mode, without gradients, elsewhere"
IMAGES, LABELS = pictures(2)
CPU = {"device": "cpu"}


def traits(model: nn.Module) -> list[Any]:
    """All that a call may change in a model, and must change back."""
    modules = list(model.modules())
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    values = [*model.parameters(), *model.buffers()]
    return [
        [module.training for module in modules],
        [[len(getattr(module, name)) for name in hooks] for module in modules],
        [(value.requires_grad, value.grad is None, str(value.device), value.is_contiguous()) for value in values],
    ]


def wrapped(model: nn.Module) -> Classifier:
    return Classifier(model, ["round", "square", "star"], (0.5,) * 3, (0.25,) * 3)


def of_training(model: nn.Module, device: str) -> Any:
    x = torch.randint(256, (18, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte()
    parts = tuple("test" if i % 6 < 2 else "train" for i in range(18))
    names = ("round", "square", "star")
    data = Labelled(x, torch.arange(18) // 2 % 3, tuple(map(str, range(18))), parts, names, "data")
    return Training(data, Settings(epochs=1, layers=("block1",)), classifier=wrapped(model), device=device).run()


EXPLAINED: dict[str, Callable[[nn.Module, str], Any]] = {
    "Classifier": lambda model, device: wrapped(model)(IMAGES),
    "Classifier.features": lambda model, device: wrapped(model).features(IMAGES, "block1"),
    "counterfactual": lambda model, device: counterfactual(
        picture(), classifier=wrapped(model), recipe=EXPLAINING, device=device
    ).run(),
    "recover": lambda model, device: recover(
        picture(), classifier=wrapped(model), recipe=EXPLAINING, device=device
    ).run(),
    "invert": lambda model, device: invert(
        picture(), classifier=wrapped(model), layers="block1", recipe=replace(INVERTING, steps=3), device=device
    ).run(),
    "maximize": lambda model, device: maximize(
        classifier=wrapped(model), target=0, size=(16, 16), recipe=replace(INVERTING, steps=3), device=device
    ).run(),
    "training beside it": of_training,
    **{
        method: lambda model, device, method=method: saliency_map(
            picture(), SaliencyOptions(wrapped(model), method=method, n_steps=2, n_samples=1, device=device)
        )
        for method in ("mig-sg", "guided-backprop", "gradcam", "smoothgrad", "occlusion")
    },
}
DEFENDED: dict[str, Callable[[nn.Module, str], Any]] = {
    "attack": lambda model, device: attack("bi", model, IMAGES, LABELS, 4, steps=1),
    "inspection": lambda model, device: Inspecting(IMAGES, model, recipe=BRIEF, device=torch.device(device)).run(),
    "DefendedClassifier": lambda model, device: DefendedClassifier(model, recipe=BRIEF)(IMAGES),
}


def learning() -> Normalized:
    """A model as its user trains it."""
    return Normalized().train()


CALLS = {**EXPLAINED, **DEFENDED}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_after_a_call_the_model_of_the_user_is_as_it_was(call):
    model = learning()
    before = traits(model)
    call(model, "cpu")
    assert traits(model) == before


class Failed(Exception):
    """What a model of a user raises."""


class Failing(Normalized):
    """A model that fails in the pass of a given number."""

    def __init__(self, at: int) -> None:
        self.left = at
        super().__init__(self.count)

    def count(self) -> None:
        self.left -= 1
        if self.left <= 0:
            raise Failed("the model failed")


@pytest.mark.parametrize("at", [1, 2, 4])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_after_an_error_in_a_call_the_model_of_the_user_is_as_it_was(call, at):
    model = Failing(at).train()
    before = traits(model)
    with contextlib.suppress(Failed):
        call(model, "cpu")
    assert traits(model) == before


MOVED = {name: EXPLAINED[name] for name in ("counterfactual", "recover", "invert", "maximize", "mig-sg", "gradcam")}
MOVED["inspection"] = DEFENDED["inspection"]


@pytest.mark.parametrize("call", MOVED.values(), ids=MOVED)
def test_after_a_call_that_failed_elsewhere_the_model_of_the_user_is_where_it_was(call):
    """The meta device, on which nothing can be worked out, stands for a graphics card that is full."""
    model = learning()
    weights = copy.deepcopy(model.state_dict())
    with pytest.raises(Exception):  # noqa: B017, PT011 (whatever the device says)
        call(model, "meta")
    assert {str(value.device) for value in model.parameters()} == {"cpu"}
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_an_operator_of_the_user_stays_where_it_is():
    blur = nn.Conv2d(3, 3, 3, padding=1).requires_grad_(False)
    problem(picture(), operator=blur).to(torch.device("meta"))
    assert str(blur.weight.device) == "cpu"


# ---------------------------------------------------------------------- 13: into another thread


class Meeting:
    """Holds the thread of a name where the model calls it, until it is released."""

    def __init__(self, *names: str) -> None:
        self.inside = {name: threading.Event() for name in names}
        self.release = {name: threading.Event() for name in names}

    def __call__(self) -> None:
        name = threading.current_thread().name
        if name in self.inside and not self.inside[name].is_set():
            self.inside[name].set()
            assert self.release[name].wait(30)


def test_reading_features_in_one_thread_ends_no_pass_of_another():
    meeting = Meeting("reading")
    classifier = normalized()
    first = classifier.model.get_submodule("block1.0")
    first.register_forward_pre_hook(lambda module, inputs: meeting())
    wanted = classifier(IMAGES)
    thread = threading.Thread(target=lambda: classifier.features(IMAGES, "block1"), name="reading")
    thread.start()
    assert meeting.inside["reading"].wait(30)
    try:
        assert torch.equal(classifier(IMAGES), wanted)
    finally:
        meeting.release["reading"].set()
        thread.join()


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(partial(attack, "bi", images=IMAGES, labels=LABELS, eps=4, steps=1), id="attack"),
        pytest.param(lambda model: Inspecting(IMAGES, model, recipe=BRIEF), id="inspection"),
    ],
)
def test_after_two_calls_at_once_the_model_of_the_user_is_as_it_was(call):
    meeting = Meeting("first", "second")
    model = Normalized(meeting).train()
    before = traits(model)
    threads = {name: threading.Thread(target=lambda: call(model=model), name=name) for name in meeting.inside}
    if not isinstance(call, partial):
        threads = {name: threading.Thread(target=lambda: call(model), name=name) for name in meeting.inside}
    for name, thread in threads.items():
        thread.start()
        meeting.inside[name].wait(2)  # a call that waits for the other to end is fine as well
    for name, thread in threads.items():
        meeting.release[name].set()
        thread.join(2)
    for thread in threads.values():
        thread.join()
    assert traits(model) == before
