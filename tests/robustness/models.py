"""Damaged model files, recipes and jobs: nothing that they name is run, and no other model answers for them."""

from __future__ import annotations

import json
import os
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tests.cli.tiny import TINY
from tests.robustness.base import FIT, GRADIENT, Trial, random_of
from tests.robustness.checkpoints import Damage, pickle_that_runs, raw, spoilt, without
from tests.robustness.server import CANARY, Arena, Fault

_GIVEN = ("noisy.png", "--classifier", "model.pt")
_SHORT = (*FIT[:2], "--seed", 0, "--device", "cpu")
USES: tuple[tuple[object, ...], ...] = (
    ("saliency", *_GIVEN, *GRADIENT, "-o", "out.png"),
    ("saliency", *_GIVEN, "--method", "gradcam", "--device", "cpu", "-o", "out.png"),
    ("inspect", *_GIVEN, *_SHORT, "--report", "report.json"),
    ("counterfactual", *_GIVEN, *_SHORT, "-o", "out.png"),
)
_CHANGING = ("seconds", "memory", "peak", "threads")


def _used(use: int, damage: Damage, arena: Arena) -> Fault | None:
    """Use a model file that was damaged."""

    def body(own: Arena) -> None:
        own.take("noisy.png", "tiny.json", "model.pt", "other.pt", "evil.py")
        if own is arena:
            damage(own.file("model.pt"), own)
        own.run(*USES[use], makes=("out.png", "report.json"))

    body(arena)
    if arena.last is None or arena.last.code:
        return None
    whole = arena.undamaged(f"model {use}", body)
    ours, theirs = (_told(each) for each in (arena, whole))
    return None if ours == theirs else ("wrong", "exit 0, and it is another model")


def _told(arena: Arena) -> object:
    """A picture's bytes, or what a report says of the image."""
    report = arena.file("report.json")
    if not report.exists():
        return arena.file("out.png").read_bytes()
    held = json.loads(report.read_text())
    return {key: value for key, value in held.items() if not any(word in key for word in _CHANGING)}


def _damaged(how: str, key: int, seed: int, path: Path, arena: Arena) -> None:
    path.write_bytes(spoilt(path.read_bytes(), how, random_of(seed, "model", key), arena.file("other.pt").read_bytes()))


class _Runs:
    """Unpickled, it runs a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {CANARY}",)


def _scripted(path: Path, arena: Arena) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/constants.pkl", b"\x80\x02).")
        file.writestr("archive/data.pkl", b"cos\nsystem\n(S'touch " + CANARY.encode() + b"'\ntR.")
        file.writestr("archive/version", b"3\n")


def _change(edit: Any, held: dict[str, Any]) -> None:
    """Other values of the first weights that are a matrix."""
    name = next(key for key, value in held["weights"].items() if value.is_floating_point() and value.ndim > 1)
    held["weights"][name] = edit(held["weights"][name])


_WEIGHTS = {
    "NaN": lambda t: t * torch.nan,
    "infinite": lambda t: t + torch.inf,
    "halves": torch.Tensor.half,
    "complex": lambda t: t.to(torch.complex64),
    "whole numbers": torch.Tensor.char,
    "flat": torch.Tensor.flatten,
    "sparse": torch.Tensor.to_sparse,
    "meta": lambda t: t.to("meta"),
    "expanded": lambda t: t.flatten()[:1].expand(10**6, 10**6),
}
# Values of the fields of a model file, as JSON, with | between.
_FIELDS = """
spec "evil:run" | "os:abort" | "evil:run@model.pt" | "model.pt" | "timm:hf-hub:a/b" | "hf:/etc" | "hf:../.."
spec "torchvision:no" | "" | 7 | ["evil:run"] | "torchvision:vit_h_14@none" | "torchvision:regnet_y_128gf@none"
backbone "vit_h_14" | "regnet_y_128gf" | "resnet152" | "timm:vit_giant_patch14_224" | "timm:hf-hub:a/b"
backbone "evil:run" | "os" | "" | "../model" | 5 | null
classes [] | ["a"] | ["a", "a", "a"] | [1, 2, 3] | "abc" | null | [["a"], ["b"], ["c"]] | ["\\u001b[31ma", "b\\nc", "d"]
mean [NaN, NaN, NaN] | [0.5] | [1e30, 1e30, 1e30] | "abc" | null | [[0.5], [0.5], [0.5]] | [Infinity, 0, 0]
std [0, 0, 0] | [-1, -1, -1] | [NaN, NaN, NaN] | [0.5] | "abc" | [1e-45, 1e-45, 1e-45] | null
size [0, 0] | [-5, 5] | [1000000, 1000000] | [24.5, 32.5] | ["24", "32"] | [24] | "24" | [4611686018427387904, 2] | [1, 1]
weights {} | [] | null | "x"
estimator {} | [] | "x" | {"channels": {"layer1": 1000000000}, "units": 4, "weights": {}}
estimator {"channels": {"layer1": 8}, "units": 1000000000, "weights": {}} | {"channels": {"no": 8}, "units": 4, "weights": {}}
estimator {"channels": {}, "units": -1, "weights": null}
about "x" | null | {"target_quantile": NaN} | {"target_quantile": "x"} | {"target_quantile": 7}
small "yes" | 2 | null
format null | 1 | 3 | "2" | 2.5 | [2] | 1000000000
kind null | "x" | 2
"""


def _values(text: str) -> list[tuple[str, Any]]:
    lines = (line.partition(" ") for line in text.strip().splitlines())
    return [(key, json.loads(value)) for key, _, values in lines for value in values.split(" | ")]


def models(seed: int, count: int) -> list[Trial]:
    """Model files with flipped bits, lost sectors, pickled code, names of code, and fields that no training writes."""
    found: list[Trial] = []

    def add(name: str, damage: Damage, use: int = 0) -> None:
        found.append(Trial("model", f"{len(found):03} {name[:60]}", partial(_used, use, damage)))

    add("a pickle that runs", pickle_that_runs)
    add("a script", _scripted)
    add("an object that runs", partial(raw, lambda held: held.update(about=_Runs())))
    add("a picture", lambda path, arena: path.write_bytes(arena.file("noisy.png").read_bytes()))
    add("a long name", partial(raw, lambda held: held.update(classes=["x" * 10**6, "b", "c"])))
    add("many classes", partial(raw, lambda held: held.update(classes=[str(i) for i in range(10**6)])))
    for key, value in _values(_FIELDS):
        more = {"backbone": None} if key == "spec" else {}
        add(f"{key} {value!r}", partial(raw, partial(dict.update, **{key: value}, **more)), use=len(found) % 4)
    for key in ("spec", "classes", "weights", "size", "format", "kind"):
        add(f"without {key}", partial(raw, partial(without, key)))
    for name, edit in _WEIGHTS.items():
        add(f"weights {name}", partial(raw, partial(_change, edit)))
    hows = ("flip", "flip", "sector", "flip", "cut", "flip", "torn", "longer")
    for i in range(max(40, count - len(found))):
        add(f"{hows[i % 8]} {i}", partial(_damaged, hows[i % 8], i, seed), use=i % 4)
    return found


# ------------------------------------------------------------------------------------------------- recipes, jobs

_TEXTS = ["", "[]", "null", "7", '"x"', "[" * 100_000, '{"a":' * 5000, "{", "\ufeff{}", "\0" * 99, "NaN"]
_TEXTS += ['{"format": 2}', "{}{}", "é" * 9]
_RECIPES = """
steps 0 | -1 | "9" | 1.5 | true
restarts 0 | 1000000000 | [1]
format 1 | null | "2"
network null | {} | {"kind": "os:abort"} | "evil:run"
network {"kind": "SkipNet", "down": [20000, 20000], "up": [20000, 20000], "skip": [4, 4]}
network {"kind": "SkipNet", "down": [0, 0], "up": [4, 4], "skip": [2, 2]} | {"kind": "SkipNet", "down": [], "up": [], "skip": []}
code {"kind": "Noise", "channels": 1000000000} | {"kind": "Noise", "channels": 0} | {"kind": "evil:run"} | []
rate NaN | -1 | 1e300 | "x"
jitter Infinity | -1
jitter_pool 1000000000
averaging 2 | -1
optimizer "evil:run" | "os:abort"
unknown 1
"""


def _recipe(text: str, arena: Arena) -> Fault | None:
    arena.take("noisy.png", "evil.py")
    arena.file("recipe.json").write_text(text)
    ran = arena.run("denoise", "noisy.png", "--recipe", "recipe.json", "-o", "out.png", *_SHORT[2:], makes=("out.png",))
    return ("lost", "exit 0 without a picture") if ran.code == 0 and not arena.file("out.png").exists() else None


def _job(text: str, arena: Arena) -> Fault | None:
    """A job from elsewhere never chooses what is imported."""
    arena.take("noisy.png", "evil.py", "model.pt")
    raw(lambda held: held.update(spec="evil:run", backbone=None), arena.file("model.pt"), arena)

    def call() -> int:
        from preimage.errors import InputError
        from preimage.jobs.job import Job
        from preimage.jobs.run import run_job

        try:
            run_job(Job.from_json(text))
        except InputError as error:
            os.write(2, f"preimage: {error}\n".encode())
            return 2
        return 0

    ran = arena.run(call=call, makes=("out.png",))
    return ("wrong", "accepted") if ran.code == 0 else None


def settings(seed: int, count: int) -> list[Trial]:
    """Recipes and jobs: nested, absurd, of other kinds, and naming code."""
    found = [Trial("settings", f"recipe {text[:20]!a}", partial(_recipe, text)) for text in _TEXTS]
    for key, value in _values(_RECIPES):
        text = json.dumps({**TINY, "steps": 2, key: value})
        found.append(Trial("settings", f"recipe {key} {str(value)[:50]}", partial(_recipe, text)))
    nested = json.dumps({**TINY, "network": 0}).replace(": 0", ": " + '{"kind":' * 3000 + "1" + "}" * 3000)
    found.append(Trial("settings", "recipe network nested", partial(_recipe, nested)))
    for name in ("evil:run", " evil:run", "evil:run@model.pt", "model.pt", "os:abort", "./evil:run", "evil:run@none"):
        job = {"format": 2, "task": "saliency", "input": "noisy.png", "outputs": {"output": "out.png"}}
        text = json.dumps({**job, "options": {"classifier": name, "method": "gradient"}})
        found.append(Trial("settings", f"job with classifier {name!r}", partial(_job, text)))
    return [*found, Trial("settings", "job nested", partial(_job, "[" * 100_000))]
