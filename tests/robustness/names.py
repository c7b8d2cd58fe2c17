"""Names that are odd, and places where a file should be and something else is."""

from __future__ import annotations

import os
import socket
from functools import partial
from pathlib import Path

from tests.robustness.base import AS_IT_IS, FIT, GRADIENT, TRAINING, Trial, pixels
from tests.robustness.server import Arena, Fault

_ODD = (
    "line\nbreak", "tab\t", "\x1b[31mred\x1b[0m", "\x07bell", "two  words ", " lead", "x" * 251, "é" * 125, "a.PNG", "é",
    "\u202egnp", "\U0001f600", "\udce9t\udce9", "\udcff", "back\\slash", "quote'\"", "$(touch x)", "`touch x`", "[scan] 001",
    "[red]x", "'[bold]'", "{a}", "null", "true", "1e9", "all", "none", "%s%n", "*", "?", "~", "#", "@file", "a@b", "a:b", "./-x",
    "torchvision:x", "..", "[1, 2]", "e\u0301", "noisy.png.partial", "a.png.checkpoint", ".hidden", "a.b.c", ".png",
)  # fmt: skip
NAMES = tuple(name if name.endswith(".PNG") else f"{name}.png" for name in _ODD)


def _named(name: str, where: str, arena: Arena) -> Fault | None:
    """A picture of that name is read, or written, as any; what is printed shows no control characters of it."""
    arena.take("noisy.png", "tiny.json")
    source, output = (name, "out.png") if where == "read" else ("noisy.png", name if where == "written" else "out.png")
    if where == "read":
        arena.file("noisy.png").rename(arena.file(name))
    made = os.path.normpath(output)
    ran = arena.run(
        "denoise", source, "-o", output, *FIT, "--steps", 2, "--report", "report.json", makes=(made, "report.json")
    )
    if ran.code:
        return "lost", f"exit {ran.code}: {ran.err.strip()[-110:]!r}"
    if pixels(arena.folder / output) is None or not arena.file("report.json").exists():
        return "lost", "exit 0 without picture or report"
    shown = ran.out + ran.err
    if any(sign in shown for sign in "\x1b\x07") or ("\n" in name and "line\nbreak" in shown):
        return "words", "control characters of a name are printed as they are"
    return None


# Where a file is named: the command with PLACE, and the usual ending of the name.
_PLACES = {
    "input": (("denoise", "PLACE", *AS_IT_IS), ".png"),
    "mask": (("inpaint", "noisy.png", "--mask", "PLACE", "--mask-white", "missing", *FIT), ".png"),
    "kernel": (("deblur", "noisy.png", "--kernel", "PLACE", *FIT), ".npy"),
    "kernel picture": (("deblur", "noisy.png", "--kernel", "PLACE", *FIT), ".png"),
    "recipe": (("denoise", "noisy.png", "--recipe", "PLACE"), ".json"),
    "reference": (("denoise", "noisy.png", "--reference", "PLACE", *FIT), ".png"),
    "flash": (("flash-no-flash", "noisy.png", "--flash", "PLACE", *FIT), ".png"),
    "thresholds": (("inspect", "noisy.png", "--classifier", "model.pt", "--thresholds", "PLACE"), ".json"),
    "model": (("saliency", "noisy.png", "--classifier", "PLACE", *GRADIENT), ".pt"),
    "table": (("train", "PLACE", *TRAINING), ".csv"),
    "npz": (("train", "PLACE", *TRAINING), ".npz"),
    "picture of a folder": (("train", "colors", *TRAINING), ".png"),
    "picture of a table": (("train", "table.csv", *TRAINING), ".png"),
    "checkpoint": (("denoise", "noisy.png", *FIT, "--resume"), ".checkpoint"),
    "report": (("denoise", "noisy.png", *FIT, "--report", "PLACE"), ".json"),
    "output": (("denoise", "noisy.png", *FIT, "--steps", 2), ".png"),
}
_KINDS = ("fifo", "loop", "dangling", "folder", "socket", "zero", "random", "empty")


def _make(kind: str, path: Path) -> None:
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        here = Path.cwd()
        os.chdir(path.parent)  # names of sockets must be short
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
        os.chdir(here)
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        path.symlink_to({"loop": path.name, "dangling": "nowhere", "zero": "/dev/zero", "random": "/dev/urandom"}[kind])


def _placed(where: str, kind: str, arena: Arena) -> Fault | None:
    """What is no file is refused in a line, at once, before any fit."""
    arena.take("noisy.png", "tiny.json", "model.pt", "colors")
    argv, suffix = _PLACES[where]
    own = {"checkpoint": "out.png.checkpoint", "output": "out.png", "picture of a folder": "colors/red/odd.png"}
    name = own.get(where, f"place{suffix}")
    _make(kind, arena.file(name))
    if where == "picture of a table":
        rows = [f"colors/red/{i}.png,{i % 2}" for i in range(8)]
        arena.file("table.csv").write_text("\n".join(["filename,class_index", *rows, f"{name},1"]))
    output = ("-o", "out.pt" if argv[0] == "train" else "out.png") if where != "thresholds" else ()
    # A link to a file that is to be written leads to it; a folder as output is where the picture is written.
    may = {
        ("dangling", "output"): "nowhere",
        ("dangling", "report"): "nowhere",
        ("folder", "output"): "out.png/noisy-denoise.png",
    }
    made = may.get((kind, where))
    makes = {made, "out.png"} if where == "report" and made else {made} if made else ()
    ran = arena.run(*(name if token == "PLACE" else token for token in argv), *output, makes=makes)
    if made and (ran.code or not arena.file(made).is_file()):
        return "lost", f"exit {ran.code}: {ran.err.strip()[-110:]!r}"
    if ran.code == 0 and not made:
        return "wrong", "accepted"
    if ran.code == 2 and "step 1 of" in ran.err:
        return "lost", "found only after the fit"
    return None


_ROWS = {
    "absolute": "/etc/hostname.png",
    "above": "../above.png",
    "above hidden": "colors/../../above.png",
    "a link": "link.png",
}


def _outside(kind: str, arena: Arena) -> Fault | None:
    """Rows of a table that name files outside its folder are refused."""
    arena.take("colors")
    inner = arena.file("inner")
    inner.mkdir()
    arena.file("colors").rename(inner / "colors")
    (inner / "colors/red/7.png").rename(arena.file("above.png"))
    name = str(arena.file("above.png")) if kind == "absolute" else _ROWS[kind]
    if kind == "a link":
        (inner / "link.png").symlink_to("../above.png")
    rows = [f"colors/{color}/{i}.png,{color}" for color in ("red", "green") for i in range(7)]
    (inner / "table.csv").write_text("\n".join(["filename,word", *rows, f"{name},red"]) + "\n")
    ran = arena.run(
        "train",
        "inner/table.csv",
        "--label-column",
        "word",
        *TRAINING,
        "--epochs",
        1,
        "-o",
        "out.pt",
        makes=("out.pt",),
    )
    return ("wrong", "a picture outside the folder was read") if ran.code == 0 and kind != "a link" else None


def names(seed: int, count: int) -> list[Trial]:
    """Every odd name, read and written; everything that is no file, in every place of one; tables that lead outside."""
    found = [
        Trial("name", f"{where} {name[:40]!a}", partial(_named, name, where))
        for name in NAMES
        for where in ("read", "written")
    ]
    places = [(where, kind) for where in _PLACES for kind in _KINDS]
    found += [Trial("name", f"{kind} as {where}", partial(_placed, where, kind)) for where, kind in places]
    return found + [Trial("name", f"row of a table: {kind}", partial(_outside, kind)) for kind in _ROWS]
