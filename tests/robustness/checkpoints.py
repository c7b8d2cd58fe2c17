"""Damaged checkpoints: they are refused in a line, and stay where they are, or change nothing."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from preimage.engine import checkpoint
from preimage.images.sealed import sealed
from tests.robustness.base import FIT, GRADIENT, TRAINING, Trial, random_of, same_weights
from tests.robustness.kills import kill_at
from tests.robustness.server import CANARY, Arena, Fault

Damage = Callable[[Path, Arena], object]
_DENOISE = ("denoise", "noisy.png", "-o", "out.png")
_BLIND = ("--recipe", "tiny.json", "--stop", "held-out", "--restarts", 2, "--seed", 0)
# Commands that save themselves, and what they write.
CALLS: dict[str, tuple[tuple[object, ...], str]] = {
    "fit": ((*_DENOISE, *FIT, "--steps", 12, "--autosave", 3), "out.png"),
    "held-out": ((*_DENOISE, *_BLIND, "--steps", 12, "--autosave", 3), "out.png"),
    "pages": (
        ("denoise", "stack.tif", "--page", "all", "-o", "out.tif", *FIT, "--steps", 4, "--autosave", 2),
        "out.tif",
    ),
    "tiles": (
        ("denoise", "large.png", "-o", "out.png", *FIT, "--steps", 4, "--autosave", 2, "--tile", 32),
        "out.png",
    ),
    "train": (("train", "colors", "-o", "out.pt", *TRAINING, "--epochs", 2), "out.pt"),
}
_NEEDS = ("noisy.png", "other.png", "stack.tif", "large.png", "tiny.json", "colors", "model.pt")


def spoilt(data: bytes, how: str, draw: random.Random, other: bytes) -> bytes:
    """Bytes of a file as a failing disk gives them back."""
    place = draw.randrange(len(data))
    if how == "flip":
        return data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]
    if how == "sector":
        size = draw.choice((512, 4096))
        place -= place % size
        return data[:place] + bytes(min(size, len(data) - place)) + data[place + size :]
    if how == "cut":
        return data[:place]
    return data[:place] + other[place:] if how == "torn" else data + data[: 1 + place % 5000]


def raw(edit: Callable[[dict[str, Any]], object], path: Path, arena: Arena) -> None:
    """The contents edited, and sealed anew: by somebody who knows how."""
    held = torch.load(path, weights_only=False)
    made = edit(held)
    with path.open("wb") as file:
        sealed(partial(torch.save, held if made is None else made))(file)


def without(key: str, held: dict[str, Any]) -> None:
    del held[key]


def pickle_that_runs(path: Path, arena: Arena) -> None:
    path.write_bytes(b"cos\nsystem\n(S'touch " + CANARY.encode() + b"'\ntR.")


def _interrupted(
    call: str, saves: int, arena: Arena, *more: object, picture: str = "noisy.png", seed: int = 0
) -> bytes:
    """The checkpoint of a run that was killed after so many."""
    argv, output = CALLS[call]
    at = argv.index("--seed") + 1
    argv = (*argv[:at], seed, *argv[at + 1 :])
    place = f"{output}.checkpoint"

    def body(own: Arena) -> None:
        own.take(*_NEEDS)
        own.file("noisy.png").write_bytes((own.base / picture).read_bytes())
        for number in range(2, 60):  # until so many are there
            own.run(*argv, *more, inject=partial(kill_at, number, "os.rename"), codes=(-signal.SIGKILL,))
            if number > saves and own.file(place).exists():
                break

    return arena.undamaged(f"interrupted {call} {saves} {more} {picture} {seed}", body).file(place).read_bytes()


def _resumed(call: str, damage: Damage, arena: Arena) -> Fault | None:
    """Go on from a checkpoint that was damaged."""
    argv, output = CALLS[call]

    def finished(own: Arena) -> None:
        own.take(*_NEEDS)
        own.run(*argv, makes=(output,))

    whole = arena.undamaged(f"finished {call}", finished).file(output)
    arena.take(*_NEEDS)
    place, path = arena.file(f"{output}.checkpoint"), arena.file(output)
    place.write_bytes(_interrupted(call, 1, arena))
    damage(place, arena)
    held = place.read_bytes()
    ran = arena.run(*argv, "--resume", makes=(output,))
    if ran.code:
        kept = place.exists() and place.read_bytes() == held
        return None if kept else ("lost", "refused, and the checkpoint is gone")
    if not path.exists():
        return "lost", "exit 0 without a result"
    same = same_weights(path, whole) if path.suffix == ".pt" else path.read_bytes() == whole.read_bytes()
    return None if same else ("wrong", "exit 0 with another result than the uninterrupted run")


def _damaged(how: str, key: int, seed: int, call: str, path: Path, arena: Arena) -> None:
    path.write_bytes(spoilt(path.read_bytes(), how, random_of(seed, how, key), _interrupted(call, 2, arena)))


def _swapped(source: str, path: Path, arena: Arena) -> None:
    """Another file in its place."""
    path.write_bytes({
        "another picture": lambda: _interrupted("fit", 1, arena, picture="other.png"),
        "another seed": lambda: _interrupted("fit", 1, arena, seed=1),
        "another weight": lambda: _interrupted("fit", 1, arena, "--tv", 0.1),
        "another rule": lambda: _interrupted("held-out", 1, arena),
        "another task": lambda: _interrupted("train", 1, arena),
    }.get(source, lambda: arena.file(source).read_bytes())())  # fmt: skip


# ------------------------------------------------------------------------------------------------- absurd values


def leaves(held: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the values of nested dictionaries and lists are."""
    for key, value in held.items() if isinstance(held, dict) else enumerate(held):
        yield from leaves(value, (*at, key)) if isinstance(value, dict | list) and value else [(*at, key)]


def absurd(value: Any, draw: random.Random) -> Any:
    """Something that no run could have saved there."""
    nest: Any = 1
    for _ in range(300):
        nest = [nest]
    wrong: list[Any] = [nest, "os:abort", {"a": 1}, torch.zeros(2, 0, 3)]
    if isinstance(value, torch.Tensor):
        wrong = [value.flatten()[:-1], value[None], value.to(torch.complex64), None, "x", -1]
        if value.is_floating_point() and value.numel():
            wrong += [value * torch.nan, value + torch.inf] * 3
    elif isinstance(value, int | float):
        wrong += [10**9, -1, 2**63 - 1, float("nan"), float("inf")]
    return draw.choice(wrong)


def _edited(seed: int, key: int, path: Path, arena: Arena) -> None:
    """One value replaced, and the file written as the product writes it: with whatever it checks."""
    saved, draw = checkpoint.read(path), random_of(seed, "absurd", key)
    # A state of a random generator is as good as any other.
    places = [
        at for at in leaves(saved["state"], ("state",)) if "generator" not in str(at) and "streams" not in str(at)
    ]
    *way, last = draw.choice(places)
    holder: Any = saved
    for step in way:
        holder = holder[step]
    holder[last] = absurd(holder[last], draw)
    arena.note = f"{'/'.join(map(str, (*way, last)))} = {' '.join(str(holder[last]).split())[:20]}"
    run = SimpleNamespace(task=saved["task"], fingerprint=saved["fingerprint"], state_dict=lambda: saved["state"])
    observers = {name: SimpleNamespace(state_dict=partial(dict, state)) for name, state in saved["observers"].items()}
    checkpoint.save(run, path, observers)  # pyright: ignore[reportArgumentType]


def _foreign(argv: tuple[object, ...], name: str, arena: Arena) -> Fault | None:
    """A file that is nobody's checkpoint is neither overwritten nor removed."""
    arena.take(*_NEEDS)
    arena.file(name).write_bytes(b"mine")
    arena.run(*argv, makes=("out.png", "out.tif", "out.pt"))
    kept = arena.file(name).exists() and arena.file(name).read_bytes() == b"mine"
    return None if kept else ("lost", "a file of another was overwritten or removed")


def checkpoints(seed: int, count: int) -> list[Trial]:
    """Checkpoints with flipped bits, lost sectors, cut, torn, longer, swapped, of other versions, with absurd values."""
    found: list[Trial] = []

    def add(name: str, call: str, damage: Damage) -> None:
        found.append(Trial("checkpoint", f"{len(found):03} {call}: {name}", partial(_resumed, call, damage)))

    for name in ("another picture", "another seed", "another weight", "another rule", "another task"):
        add(name, "fit", partial(_swapped, name))
    for name in ("model.pt", "noisy.png", "tiny.json"):
        add(name, "fit", partial(_swapped, name))
    for version in (None, 0, 1, 3, 10**9, "2", 2.5, True, [2]):
        add(f"format {version!r}", "fit", partial(raw, partial(dict.update, format=version)))
    for key in ("format", "task", "fingerprint", "state", "observers"):
        add(f"without {key}", "fit", partial(raw, partial(without, key)))
        add(f"{key} is text", "fit", partial(raw, partial(dict.update, **{key: "os:abort"})))
    add("a list", "fit", partial(raw, lambda held: [held]))
    add("a pickle that runs", "fit", pickle_that_runs)
    explain = ("saliency", "noisy.png", "--classifier", "model.pt", "-o", "out.png", *GRADIENT)
    for call, (argv, output) in {**CALLS, "saliency": (explain, "out.png")}.items():
        body = partial(_foreign, argv, f"{output}.checkpoint")
        found.append(Trial("checkpoint", f"{len(found):03} {call}: a file of another", body))
    hows = ("flip", "flip", "sector", "absurd", "flip", "cut", "absurd", "sector", "torn", "absurd", "longer")
    for i in range(count - len(found)):
        how, call = hows[i % len(hows)], list(CALLS)[i // 2 % len(CALLS)]
        add(f"{how} {i}", call, partial(_edited, seed, i) if how == "absurd" else partial(_damaged, how, i, seed, call))
    return found
