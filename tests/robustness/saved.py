"""Damaged checkpoints, model files, recipes and jobs: they are refused in a line, or change nothing."""

from __future__ import annotations

import copy
import json
import os
import random
import signal
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from preimage.engine import checkpoint
from tests.robustness.base import FIT, GRADIENT, TRAINING, Trial, random_of
from tests.robustness.kills import kill_at
from tests.robustness.server import CANARY, Arena, Fault

Edit = Callable[[dict[str, Any]], object]


def spoilt(data: bytes, how: str, draw: random.Random, other: bytes) -> bytes:
    """Bytes of a file as a failing disk gives them back."""
    if how == "flip":
        place = draw.randrange(len(data))
        return data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]
    if how == "sector":
        size = draw.choice((512, 4096))
        place = draw.randrange(0, len(data), size)
        return data[:place] + bytes(min(size, len(data) - place)) + data[place + size :]
    if how == "cut":
        return data[: draw.randrange(len(data))]
    if how == "torn":  # half of one and half of another
        place = draw.randrange(len(data))
        return data[:place] + other[place:]
    return data + data[: draw.randrange(1, 5000)]  # "longer"


# ------------------------------------------------------------------------------------------------- checkpoints

CALLS: dict[str, tuple[tuple[object, ...], str]] = {
    "fit": (("denoise", "noisy.png", "-o", "out.png", *FIT, "--steps", 12, "--autosave", 3), "out.png"),
    "held-out": (
        (
            "denoise",
            "noisy.png",
            "-o",
            "out.png",
            "--recipe",
            "tiny.json",
            "--stop",
            "held-out",
            "--restarts",
            2,
            "--seed",
            0,
            "--steps",
            12,
            "--autosave",
            3,
        ),
        "out.png",
    ),
    "pages": (
        ("denoise", "stack.tif", "--page", "all", "-o", "out.tif", *FIT, "--steps", 4, "--autosave", 2),
        "out.tif",
    ),
    "tiles": (("denoise", "large.png", "-o", "out.png", *FIT, "--steps", 4, "--autosave", 2, "--tile", 32), "out.png"),
    "train": (("train", "colors", "-o", "out.pt", *TRAINING, "--epochs", 2), "out.pt"),
}
_NEEDS = ("noisy.png", "other.png", "stack.tif", "large.png", "tiny.json", "colors", "model.pt")


def _interrupted(call: str, saves: int, arena: Arena, *more: object) -> Arena:
    """A run that was killed after so many checkpoints."""

    def body(own: Arena) -> None:
        own.take(*_NEEDS)
        argv, output = CALLS[call]
        for number in range(2, 60):  # until so many are there
            own.run(*argv, *more, inject=partial(kill_at, number, "os.rename"), codes=(-signal.SIGKILL,))
            if number > saves and own.file(f"{output}.checkpoint").exists():
                break
        own.run("--version")

    return arena.undamaged(f"interrupted {call} {saves} {more}", body)


def _finished(call: str, arena: Arena) -> Arena:
    def body(own: Arena) -> None:
        own.take(*_NEEDS)
        own.run(*CALLS[call][0], makes=(CALLS[call][1],))

    return arena.undamaged(f"finished {call}", body)


def _resumed(call: str, damage: Callable[[Path, Arena], object], arena: Arena) -> Fault | None:
    """Go on from a checkpoint that was damaged."""
    argv, output = CALLS[call]
    arena.take(*_NEEDS)
    place = arena.file(f"{output}.checkpoint")
    place.write_bytes(_interrupted(call, 1, arena).file(place.name).read_bytes())
    damage(place, arena)
    held = place.read_bytes()
    ran = arena.run(*argv, "--resume", makes=(output,))
    if ran.code:
        kept = place.exists() and place.read_bytes() == held
        return None if kept else ("lost", "refused, and the checkpoint is gone")
    whole = _finished(call, arena).file(output)
    same = arena.file(output).exists() and _same(arena.file(output), whole)
    return None if same else ("wrong", "exit 0 with another result than the uninterrupted run")


def _same(path: Path, other: Path) -> bool:
    from tests.robustness.base import same_weights

    return same_weights(path, other) if path.suffix == ".pt" else path.read_bytes() == other.read_bytes()


def _damage(how: str, key: int, seed: int, call: str, path: Path, arena: Arena) -> None:
    other = _interrupted(call, 2, arena).file(path.name).read_bytes()
    path.write_bytes(spoilt(path.read_bytes(), how, random_of(seed, how, key), other))


def _swapped(source: str, path: Path, arena: Arena) -> None:
    more = {"another picture": ("other.png",), "another seed": ("--seed", 1), "another rate": ("--tv", 0.1)}.get(source)
    if source == "another task":
        path.write_bytes(_interrupted("train", 1, arena).file("out.pt.checkpoint").read_bytes())
    elif source == "more steps":
        path.write_bytes(_interrupted("held-out", 1, arena).file(path.name).read_bytes())
    elif source in ("model.pt", "noisy.png", "tiny.json"):
        path.write_bytes(arena.file(source).read_bytes())
    elif source == "another picture":
        arena.file("noisy.png").write_bytes(arena.file("other.png").read_bytes())
    else:
        path.write_bytes(_interrupted("fit", 1, arena, *(more or ())).file(path.name).read_bytes())


def leaves(held: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the values of nested dictionaries and lists are."""
    items = held.items() if isinstance(held, dict) else enumerate(held) if isinstance(held, list) else ()
    for key, value in items:
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
    place = draw.choice(
        [at for at in leaves(saved["state"], ("state",)) if "generator" not in str(at) and "streams" not in str(at)]
    )
    _set(saved, place, absurd(_get(saved, place), draw))
    arena.note = f"{'/'.join(map(str, place))} = {str(_get(saved, place)).split()[0][:20]}"
    save_as(saved, path)


def save_as(saved: dict[str, Any], path: Path) -> None:
    run = SimpleNamespace(task=saved["task"], fingerprint=saved["fingerprint"], state_dict=lambda: saved["state"])
    observers = {
        name: SimpleNamespace(state_dict=lambda state=state: state) for name, state in saved["observers"].items()
    }
    checkpoint.save(run, path, observers)  # pyright: ignore[reportArgumentType]


def _get(held: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        held = held[key]
    return held


def _set(held: Any, place: tuple[Any, ...], value: Any) -> None:
    _get(held, place[:-1])[place[-1]] = value


def _raw(edit: Edit, path: Path, arena: Arena) -> None:
    """The contents edited by somebody who has only torch."""
    held = torch.load(path, weights_only=False)
    made = edit(held)
    torch.save(held if made is None else made, path)


def _foreign(argv: tuple[object, ...], name: str, arena: Arena) -> Fault | None:
    """A file that is nobody's checkpoint is neither overwritten nor removed."""
    arena.take(*_NEEDS)
    arena.file(name).write_bytes(b"mine")
    arena.run(*argv, makes=("out.png", "out.pt"))
    kept = arena.file(name).exists() and arena.file(name).read_bytes() == b"mine"
    return None if kept else ("lost", "a file of another was overwritten or removed")


def checkpoints(seed: int, count: int) -> list[Trial]:
    """Checkpoints with flipped bits, lost sectors, cut, torn, longer, swapped, of other versions, with absurd values."""
    found = []

    def add(name: str, call: str, damage: Callable[[Path, Arena], object]) -> None:
        found.append(Trial("checkpoint", f"{len(found):03} {call}: {name}", partial(_resumed, call, damage)))

    for name in (
        "another picture",
        "another seed",
        "another rate",
        "another task",
        "more steps",
        "model.pt",
        "noisy.png",
        "tiny.json",
    ):
        add(name, "fit", partial(_swapped, name))
    for version in (None, 0, 1, 3, 10**9, "2", 2.5, True, [2]):
        add(f"format {version!r}", "fit", partial(_raw, lambda held, version=version: held.update(format=version)))
    add("a list", "fit", partial(_raw, lambda held: [held]))
    for key in ("format", "task", "fingerprint", "state", "observers"):
        add(f"without {key}", "fit", partial(_raw, lambda held, key=key: held.pop(key) and None))
        add(f"{key} is text", "fit", partial(_raw, lambda held, key=key: held.update({key: "os:abort"})))
    add(
        "a pickle that runs",
        "fit",
        lambda path, arena: path.write_bytes(b"cos\nsystem\n(S'touch " + CANARY.encode() + b"'\ntR."),
    )
    for call, own in CALLS.items():
        argv = tuple(each for each in own[0])
        found.append(
            Trial(
                "checkpoint",
                f"{len(found):03} {call}: a file of another",
                partial(_foreign, argv, f"{own[1]}.checkpoint"),
            )
        )
    explain = ("saliency", "noisy.png", "--classifier", "model.pt", "-o", "out.png", *GRADIENT)
    found.append(
        Trial(
            "checkpoint",
            f"{len(found):03} saliency: a file of another",
            partial(_foreign, explain, "out.png.checkpoint"),
        )
    )
    hows = ("flip", "flip", "sector", "absurd", "flip", "cut", "absurd", "sector", "torn", "absurd", "longer")
    for i in range(count - len(found)):
        how, call = hows[i % len(hows)], list(CALLS)[i // 2 % len(CALLS)]
        if how == "absurd":
            add(f"absurd {i}", call, partial(_edited, seed, i))
        else:
            add(f"{how} {i}", call, partial(_damage, how, i, seed, call))
    return found


# ------------------------------------------------------------------------------------------------- models

USES: tuple[tuple[object, ...], ...] = (
    ("saliency", "noisy.png", "--classifier", "model.pt", *GRADIENT, "-o", "out.png"),
    ("saliency", "noisy.png", "--classifier", "model.pt", "--method", "gradcam", "--device", "cpu", "-o", "out.png"),
    (
        "inspect",
        "noisy.png",
        "--classifier",
        "model.pt",
        *FIT[:2],
        "--seed",
        0,
        "--device",
        "cpu",
        "--report",
        "report.json",
    ),
    (
        "counterfactual",
        "noisy.png",
        "--classifier",
        "model.pt",
        *FIT[:2],
        "--seed",
        0,
        "--device",
        "cpu",
        "-o",
        "out.png",
    ),
)


def _used(use: int, damage: Callable[[Path, Arena], object], arena: Arena) -> Fault | None:
    def body(own: Arena) -> None:
        own.take("noisy.png", "tiny.json", "model.pt", "other.pt", "evil.py")
        damage(own.file("model.pt"), own) if own is arena else None
        own.run(*USES[use], makes=("out.png", "report.json"))

    body(arena)
    if arena.last is None or arena.last.code:
        return None
    whole = arena.undamaged(f"model {use}", body)
    for name in ("out.png", "report.json"):
        if whole.file(name).exists():
            ours, theirs = (_told(each.file(name)) for each in (arena, whole))
            if ours != theirs:
                return "wrong", "exit 0, and it is another model"
    return None


def _told(path: Path) -> object:
    """A picture's bytes, or what a report says of the image."""
    if path.suffix != ".json":
        return path.read_bytes()
    changing = ("seconds", "memory", "peak", "threads")
    report = json.loads(path.read_text())
    return {key: value for key, value in report.items() if not any(word in key for word in changing)}


def _model_damage(how: str, key: int, seed: int, path: Path, arena: Arena) -> None:
    path.write_bytes(spoilt(path.read_bytes(), how, random_of(seed, "model", key), arena.file("other.pt").read_bytes()))


class _Runs:
    """Unpickled, it runs a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {CANARY}",)


def _pickled(path: Path, arena: Arena) -> None:
    torch.save({**torch.load(path, weights_only=True), "about": _Runs()}, path)


def _scripted(path: Path, arena: Arena) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/constants.pkl", b"\x80\x02).")
        file.writestr("archive/data.pkl", b"cos\nsystem\n(S'touch " + CANARY.encode() + b"'\ntR.")
        file.writestr("archive/version", b"3\n")


def _weights(edit: Callable[[torch.Tensor], torch.Tensor]) -> Edit:
    def change(held: dict[str, Any]) -> None:
        name = next(key for key, value in held["weights"].items() if value.is_floating_point() and value.ndim > 1)
        held["weights"][name] = edit(held["weights"][name])

    return change


_SPECS = ("evil:run", "os:abort", "evil:run@model.pt", "model.pt", "timm:hf-hub:a/b", "hf:/etc", "hf:../..", "torchvision:no", "torchvision:vit_h_14@none",
          "torchvision:regnet_y_128gf@none", "a" * 10**6, "", 7, ["evil:run"])  # fmt: skip
_BACKBONES = (
    "vit_h_14",
    "regnet_y_128gf",
    "resnet152",
    "timm:vit_giant_patch14_224",
    "timm:hf-hub:a/b",
    "evil:run",
    "os",
    "",
    "../model",
    5,
    None,
)
_FIELDS: dict[str, tuple[Any, ...]] = {
    "classes": ([], ["a"], ["a"] * 3, [1, 2, 3], ["x" * 10**6] * 3, [str(i) for i in range(10**6)], "abc", None, [["a"], ["b"], ["c"]], ["\x1b[31ma", "b\nc", "d"]),
    "mean": ([float("nan")] * 3, [0.5], [10.0**30] * 3, "abc", None, [[0.5]] * 3, [float("inf")] * 3),
    "std": ([0.0] * 3, [-1.0] * 3, [float("nan")] * 3, [0.5], "abc", [1e-45] * 3, None),
    "size": ([0, 0], [-5, 5], [10**6, 10**6], [24.5, 32.5], ["24", "32"], [24], "24", [2**62, 2**62], [1, 1]),
    "weights": ({}, [], None, "x"),
    "estimator": ({}, [], "x", {"channels": {"layer1": 10**9}, "units": 4, "weights": {}}, {"channels": {"layer1": 8}, "units": 10**9, "weights": {}},
                  {"channels": {"no": 8}, "units": 4, "weights": {}}, {"channels": {}, "units": -1, "weights": None}),
    "about": ("x", None, {"target_quantile": float("nan")}, {"target_quantile": "x"}, {"target_quantile": 7}),
    "small": ("yes", 2, None),
    "format": (None, 1, 3, "2", 2.5, [2], 10**9),
    "kind": (None, "x", 2),
}  # fmt: skip


def models(seed: int, count: int) -> list[Trial]:
    """Model files with flipped bits, lost sectors, pickled code, names of code, and fields that no training writes."""
    found: list[Trial] = []

    def add(name: str, damage: Callable[[Path, Arena], object], use: int = 0) -> None:
        found.append(Trial("model", f"{len(found):03} {name[:60]}", partial(_used, use, damage)))

    add("a pickle that runs", _pickled)
    add("a script", _scripted)
    add("another model", lambda path, arena: None if path.write_bytes(arena.file("noisy.png").read_bytes()) else None)
    for spec in _SPECS:
        add(
            f"spec {spec!r}",
            partial(_raw, lambda held, spec=spec: held.update(spec=spec, backbone=None)),
            use=len(found) % 4,
        )
    for name in _BACKBONES:
        add(f"backbone {name!r}", partial(_raw, lambda held, name=name: held.update(backbone=name)), use=len(found) % 4)
    for key, values in _FIELDS.items():
        for value in values:
            add(
                f"{key} {str(value)[:30]!r}",
                partial(_raw, lambda held, key=key, value=value: held.update({key: value})),
                use=len(found) % 4,
            )
    changes: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "NaN": lambda t: t * torch.nan, "halves": lambda t: t.half(), "complex": lambda t: t.to(torch.complex64), "shape": lambda t: t.flatten(),
        "sparse": lambda t: t.to_sparse(), "meta": lambda t: t.to("meta"), "whole numbers": lambda t: t.to(torch.int8), "infinite": lambda t: t + torch.inf,
        "expanded": lambda t: t.flatten()[:1].expand(10**6, 10**6),
    }  # fmt: skip
    for name, edit in changes.items():
        add(f"weights {name}", partial(_raw, _weights(edit)))
    hows = ("flip", "flip", "sector", "flip", "cut", "flip", "torn", "longer")
    for i in range(max(40, count - len(found))):
        add(f"{hows[i % 8]} {i}", partial(_model_damage, hows[i % 8], i, seed), use=i % 4)
    return found


# ------------------------------------------------------------------------------------------------- recipes, jobs

_NEST = "[" * 100_000
_TEXTS = (
    "",
    "[]",
    "null",
    "7",
    '"x"',
    _NEST,
    '{"a":' * 5000,
    "{",
    "\ufeff{}",
    "\0" * 99,
    "NaN",
    '{"format": 2}',
    "{}" * 2,
    "é" * 9,
)
_SETTINGS: tuple[tuple[str, Any], ...] = (
    ("steps", 0), ("steps", -1), ("steps", 10**12), ("steps", "9"), ("steps", 1.5), ("steps", True), ("restarts", 0), ("restarts", 10**9), ("restarts", [1]),
    ("format", 1), ("format", None), ("format", "2"), ("network", None), ("network", {}), ("network", {"kind": "os:abort"}), ("network", {"kind": "SkipNet", "down": [20_000] * 2}),
    ("network", {"kind": "SkipNet", "down": [4] * 500, "up": [4] * 500, "skip": [2] * 500}), ("network", {"kind": "SkipNet", "down": [], "up": [], "skip": []}),
    ("network", {"kind": "SkipNet", "down": [0, 0], "up": [4, 4], "skip": [2, 2]}), ("network", "evil:run"), ("code", {"kind": "Noise", "channels": 10**9}),
    ("code", {"kind": "Noise", "channels": 0}), ("code", {"kind": "evil:run"}), ("code", []), ("rate", float("nan")), ("rate", -1), ("rate", 1e300), ("rate", "x"),
    ("jitter", float("inf")), ("jitter_pool", 10**9), ("averaging", 2), ("averaging", -1), ("optimizer", "evil:run"), ("optimizer", "os:abort"), ("unknown", 1),
)  # fmt: skip


def _recipe(text: str, arena: Arena) -> Fault | None:
    arena.take("noisy.png", "evil.py")
    arena.file("recipe.json").write_text(text)
    argv = ("denoise", "noisy.png", "--recipe", "recipe.json", "-o", "out.png", "--seed", 0, "--device", "cpu")
    ran = arena.run(*argv, *(() if '"steps"' in text and "NaN" not in text else ("--steps", 2)), makes=("out.png",))
    return ("wrong", "accepted") if ran.code == 0 and not arena.file("out.png").exists() else None


def _job(options: dict[str, Any], arena: Arena) -> Fault | None:
    """A job from elsewhere never chooses what is imported."""
    arena.take("noisy.png", "evil.py", "model.pt")
    torch.save(
        {**torch.load(arena.file("model.pt"), weights_only=True), "spec": "evil:run", "backbone": None},
        arena.file("spec.pt"),
    )

    def call() -> int:
        from preimage.errors import InputError
        from preimage.jobs.job import Job
        from preimage.jobs.run import run_job

        try:
            run_job(Job.from_json(json.dumps(options)))
        except InputError as error:
            os.write(2, f"preimage: {error}\n".encode())
            return 2
        return 0

    arena.run(call=call, makes=("out.png",))
    return None


def settings(seed: int, count: int) -> list[Trial]:
    """Recipes and jobs: nested, absurd, of other kinds, and naming code."""
    from tests.cli.tiny import TINY

    found = [Trial("settings", f"recipe {text[:20]!r}", partial(_recipe, text)) for text in _TEXTS]
    for key, value in _SETTINGS:
        whole = json.dumps({**copy.deepcopy(TINY), "steps": 2, key: value})
        found.append(Trial("settings", f"recipe {key} {str(value)[:50]}", partial(_recipe, whole)))
    for name in (
        "evil:run",
        " evil:run",
        "evil:run@model.pt",
        "spec.pt",
        "os:abort",
        "./evil:run",
        "evil.py:run",
        "evil:run@none",
    ):
        job = {
            "format": 2,
            "task": "saliency",
            "input": "noisy.png",
            "options": {"classifier": name, "method": "gradient"},
            "outputs": {"output": "out.png"},
        }
        found.append(Trial("settings", f"job with classifier {name!r}", partial(_job, job)))
    return found
