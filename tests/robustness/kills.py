"""SIGKILL at any moment: what was done is not lost, and nothing half-written is left."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.robustness.base import FIT, TRAINING, Trial, random_of, same_weights
from tests.robustness.server import Arena, Fault

_SAVING = tuple(map(str, (*FIT, "--autosave", 4, "--report", "report.json")))
# Name: command, files that it needs, files that it makes.
_SCENES = {
    "denoise": ("denoise noisy.png -o out.png --steps 24", "noisy.png", "out.png"),
    "film": (
        "denoise noisy.png -o out.png --film film.gif --every 5 --restarts 2 --uncertainty unsure.tif --steps 20",
        "noisy.png", "out.png film.gif unsure.tif",
    ),
    "pages": ("denoise stack.tif --page all -o out.tif --steps 10", "stack.tif", "out.tif"),
    "tiles": ("denoise large.png -o out.png --tile 32 --steps 8", "large.png", "out.png"),
    "inpaint": (
        "inpaint noisy.png --mask mask.png --mask-white missing -o out.png --steps 16", "noisy.png mask.png", "out.png",
    ),
    "batch": (
        "denoise noisy.png other.png clean.png -o out --steps 9",
        "noisy.png other.png clean.png out", "out/noisy-denoise.png out/other-denoise.png out/clean-denoise.png",
    ),
    "warm": (
        "denoise noisy.png other.png -o out --warm-start --steps 9",
        "noisy.png other.png out", "out/noisy-denoise.png out/other-denoise.png",
    ),
    "train": ("train colors -o model.pt --epochs 2 --report report.json", "colors", "model.pt"),
}  # fmt: skip
SCENES = {
    name: ((*argv.split(), *(TRAINING if name == "train" else _SAVING)), needs.split(), makes.split())
    for name, (argv, needs, makes) in _SCENES.items()
}
_STABLE = ("task", "input", "output", "size", "reason", "reason_code", "steps", "kept_step", "seed")
_WRITES = ("os.rename", "os.link", "os.remove", "os.mkdir", "open")


def _events(then: Callable[[int], object], only: str = "") -> None:
    """In a child: call `then` before each change of a file of its folder, with its number from 1."""
    number, here = 0, str(Path.cwd())

    def hook(event: str, given: tuple[Any, ...]) -> None:
        nonlocal number
        reads = event == "open" and not (isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR))
        if reads or event not in ((only,) if only else _WRITES) or not isinstance(given[0], str | os.PathLike):
            return
        if str(Path.cwd() / given[0]).startswith(here):
            number += 1
            then(number)

    sys.addaudithook(hook)


def kill_at(moment: int, only: str = "") -> None:
    """In a child: die before that change of a file; `only`: changes of this kind."""
    _events(lambda number: os.kill(os.getpid(), signal.SIGKILL) if number == moment else None, only)


def _die_of_size() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # which Python ignores: the write that passes the limit is the last


def _count(counter: Path) -> None:
    descriptor = os.open(counter, os.O_WRONLY | os.O_CREAT)
    _events(lambda number: os.pwrite(descriptor, b"%d" % number, 0))


def _whole(arena: Arena, scene: str) -> tuple[Arena, int]:
    """The uninterrupted run of a scene, and how often it changes files."""
    argv, needs, makes = SCENES[scene]
    counter = arena.base.parent / f"events-{os.getpid()}-{scene}"

    def body(own: Arena) -> None:
        own.take(*needs, "tiny.json")
        own.run(*argv, makes=(*makes, "report.json"), inject=partial(_count, counter))

    whole = arena.undamaged(scene, body)
    if whole.last is None or whole.last.code:
        raise RuntimeError(f"the uninterrupted {scene} fails: {whole.last}")
    return whole, int(counter.read_text())


def _differs(arena: Arena, whole: Arena, scene: str) -> Fault | None:
    """What of a scene is not as if it had never been interrupted."""
    for name in SCENES[scene][2]:
        path, other = arena.file(name), whole.file(name)
        if not path.exists():
            return "lost", f"no {name}"
        if not (same_weights(path, other) if name == "model.pt" else path.read_bytes() == other.read_bytes()):
            return "wrong", f"{name} is not that of the uninterrupted run"
    if not arena.file("report.json").exists():
        return "lost", "no report.json"
    ours, theirs = (json.loads(each.file("report.json").read_text()) for each in (arena, whole))
    for own, other in zip(*(each if isinstance(each, list) else [each] for each in (ours, theirs)), strict=False):
        if wrong := [key for key in _STABLE if own.get(key) != other.get(key)]:
            return "lost", f"the report has another {wrong[0]}"
    if isinstance(theirs, list) and len(ours) != len(theirs):
        return "lost", f"the report has {len(ours)} of {len(theirs)}"
    return None


def _half_written(arena: Arena, whole: Arena, scene: str) -> Fault | None:
    """After a kill, each file is absent or whole."""
    for name in SCENES[scene][2]:
        path = arena.file(name)
        if path.exists() and name != "model.pt" and path.read_bytes() != whole.file(name).read_bytes():
            return "leftover", f"{name} is half-written after the kill"
    return None


def _killed(scene: str, how: str, at: float, arena: Arena, *, twice: bool) -> Fault | None:
    """Kill, as often as asked for, then resume; the files must be those of the uninterrupted run, and no others be left."""
    argv, needs, makes = SCENES[scene]
    whole, events = _whole(arena, scene)
    arena.take(*needs, "tiny.json")
    kills = 0
    for part in (at, at / 2) if twice else (at,):
        tokens = (*argv, "--resume") if twice else argv
        if how == "time":
            arena.run(*tokens, events=[(part * whole.seconds, signal.SIGKILL)], codes=(-9,))
        elif how == "write":
            arena.run(*tokens, inject=partial(kill_at, 1 + int(part * events)), codes=(-9,))
        else:
            limit = {resource.RLIMIT_FSIZE: 300 + int(part * 60_000)}
            arena.run(*tokens, inject=_die_of_size, limits=limit, codes=(-signal.SIGXFSZ,))
        kills += arena.last is not None and arena.last.code < 0
        if fault := _half_written(arena, whole, scene):
            return fault
    arena.faults.clear()  # what a killed run leaves is judged after it was resumed
    if not kills:
        return None
    ran = arena.run(*argv, "--resume", makes=(*makes, "report.json"))
    if ran.code:
        return "lost", f"--resume exits {ran.code}: {ran.err.strip()[-110:]}"
    if left := sorted(arena.listed() - whole.listed()):
        return "leftover", f"after --resume: {' '.join(left)[:80]}"
    return _differs(arena, whole, scene)


def kills(seed: int, count: int) -> list[Trial]:
    """SIGKILL at a random time, before a random change of a file, and in the midst of a write."""
    found = []
    for i in range(count):
        draw = random_of(seed, "kill", i)
        scene, how = list(SCENES)[i % len(SCENES)], ("time", "write", "write", "size")[i // len(SCENES) % 4]
        at, twice = draw.random(), i % 3 == 2
        name = f"{i:03} {scene} {how} {at:.3f}{' twice' * twice}"
        found.append(Trial("kill", name, partial(_killed, scene, how, at, twice=twice)))
    return found
