"""Signals, streams that go away and limits: what comes from outside, at any moment."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.robustness.base import AS_IT_IS, FIT, GRADIENT, TRAINING, Trial, pixels, random_of
from tests.robustness.server import Arena, Fault

_LONG = (*FIT, "--steps", 20_000, "--autosave", 5, "--report", "report.json")


def _ended(number: int, seconds: float, argv: tuple[object, ...], times: int, arena: Arena) -> Fault | None:
    """A signal in the midst of a fit: the best so far is written, and the exit code says which signal it was."""
    arena.take("noisy.png", "other.png", "tiny.json", "out")
    written = "out.png" if "out.png" in argv else "out/noisy-denoise.png"
    events = [(f"{written}.checkpoint", 0), *((seconds + 0.5 * i, number) for i in range(times))]
    ran = arena.run(*argv, makes=(written, f"{written}.checkpoint", "report.json"), events=events)
    if ran.code != 128 + number:
        return "lost", f"exit {ran.code}, not {128 + number}: {ran.err.strip()[-90:]}"
    if times == 1 and pixels(arena.file(written)) is None:
        return "lost", f"no picture after signal {number}"
    return None


def _early(number: int, seconds: float, argv: tuple[object, ...], arena: Arena) -> Fault | None:
    """A signal in the first seconds of a program: one line and its exit code; SIGTERM and SIGHUP may just end it."""
    arena.take("noisy.png", "tiny.json", "model.pt", "colors")
    makes = ("out.png", "out.png.checkpoint", "report.json", "out.pt", "out.pt.checkpoint")
    ran = arena.spawn(*argv, makes=makes, events=[(seconds, number)], codes=(-signal.SIGTERM, -signal.SIGHUP))
    if ran.code not in (0, 128 + number) and (number == signal.SIGINT or ran.code != -number):
        return "lost", f"exit {ran.code}, not {128 + number}: {ran.err.strip()[-90:]}"
    if ran.code > 0 and sum(line.startswith("preimage: ") for line in ran.err.splitlines()) < 1:
        return "words", "ended without a word"
    return None


def signals(seed: int, count: int) -> list[Trial]:
    """SIGINT, SIGTERM and SIGHUP, in the first seconds of a program and in the midst of a fit; once and twice."""
    calls = {
        "denoise": ("denoise", "noisy.png", "-o", "out.png", *_LONG),
        "batch": ("denoise", "noisy.png", "other.png", "-o", "out", *_LONG),
        "saliency": ("saliency", "noisy.png", "--classifier", "model.pt", "-o", "out.png", "--samples", 100_000),
        "train": ("train", "colors", "-o", "out.pt", *TRAINING, "--epochs", 3000),
    }
    found = []
    for i in range(count):
        draw, number = random_of(seed, "signal", i), (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)[i % 3]
        word = signal.Signals(number).name
        if i % 2:
            call, times, at = ("denoise", "batch")[i // 2 % 2], 1 + (i % 10 == 9), draw.uniform(0, 1)
            body = partial(_ended, number, at, calls[call], times)
            found.append(Trial("signal", f"{i:03} {word} x {times} {call} {at:.2f} s", body))
        else:
            call, at = (
                ("denoise", "saliency", "train")[i // 2 % 3],
                draw.uniform(0.3, 3.0),
            )  # the interpreter itself is not ours
            found.append(
                Trial("signal", f"{i:03} {word} early {call} {at:.2f} s", partial(_early, number, at, calls[call]))
            )
    return found


# ------------------------------------------------------------------------------------------------- streams


def _streams(call: str, out: str, err: str, env: dict[str, str], stop: bool, arena: Arena) -> Fault | None:
    """Messages are never worth a picture, and what is not said is no failure."""
    arena.take("noisy.png", "tiny.json", "colors", "model.pt")
    fit = ("denoise", "noisy.png", "-o", "out.png", *FIT, "--steps", 12, "--report", "report.json")
    argv, makes, code = {
        "fit": (fit, ("out.png", "report.json"), 0),
        "json": ((*fit, "--json"), ("out.png", "report.json"), 0),
        "long": ((*fit[:4], *_LONG), ("out.png", "report.json", "out.png.checkpoint"), 143),
        "train": (("train", "colors", "-o", "out.pt", *TRAINING, "--epochs", 2), ("out.pt",), 0),
        "wrong": (("denoise", "no.png", "-o", "out.png", "--json"), (), 2),
        "doctor": (("doctor",), (), 0),
        "help": (("--help",), (), 0),
    }[call]
    events = [("out.png.checkpoint", 0), (0.2, signal.SIGTERM)] if stop else ()
    ran = arena.spawn(*argv, makes=makes, out=out, err=err, env=env, events=events)
    heard = (err == "file" or (err == "out" and out == "file")) and "utf-16" not in env.values()
    if not heard or call == "json":  # what could not be said cannot be judged; beside --json, remarks are on stderr
        arena.faults = [fault for fault in arena.faults if fault[0] != "words"]
    if out == "full" and call in ("json", "doctor", "help") and ran.code in (1, 2) and "Traceback" not in ran.err:
        code = ran.code  # what was asked for was what could not be printed
        arena.faults = [fault for fault in arena.faults if "refused, and wrote" not in fault[1]]
    if ran.code != code:
        return "lost", f"exit {ran.code}, not {code}: {ran.err.strip()[-90:]}"
    if missing := [name for name in makes if not arena.file(name).exists() and not name.endswith(".checkpoint")]:
        return "lost", f"no {missing[0]}"
    if "--json" in argv and out == "file" and ran.out.strip():
        try:
            json.loads(ran.out)
        except ValueError:
            return "words", f"stdout is not JSON: {ran.out[:80]}"
    return None


def streams(seed: int, count: int) -> list[Trial]:
    """Streams that are closed, full or gone, and encodings that cannot hold what is said."""
    bad = ("closed", "full", "gone", "head")
    pairs = [("file", each) for each in bad] + [(each, "file") for each in bad] + [(each, each) for each in bad]
    pairs += [("head", "out"), ("full", "out"), ("gone", "out")]
    cases = [(call, *pair, {}, False) for call in ("fit", "json", "wrong") for pair in pairs]
    cases += [("long", out, err, {}, True) for out, err in (("head", "out"), ("file", "gone"), ("gone", "file"))]
    cases += [
        (call, out, err, {}, False)
        for call in ("doctor", "help", "train")
        for out, err in (("head", "file"), ("full", "file"))
    ]
    for coding in ("ascii", "ascii:strict", "latin-1", "utf-16", "cp1252", "utf-8:strict"):
        cases.append(("fit", "file", "file", {"PYTHONIOENCODING": coding}, False))
    cases += [("json", "file", "file", {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, False)]
    found = []
    for call, out, err, env, stop in cases:
        name = " ".join(
            (call, f"out={out} err={err}", *(f"{key}={value}" for key, value in env.items()), "SIGTERM" * stop)
        )
        found.append(Trial("stream", name.strip(), partial(_streams, call, out, err, env, stop)))
    return found[: max(count, len(found))]


# ------------------------------------------------------------------------------------------------- limits


def _no_space(first: int, last: int) -> None:
    """In a child: the disk is full at some of its writes."""
    own, number = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal number
        number += 1
        if first <= number <= last:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        own(descriptor)

    os.fsync = fsync


def _limited(argv: tuple[object, ...], must: str, arena: Arena, **how: Any) -> Fault | None:
    """`must` be written whole for exit 0; or "any": a refusal in one line will do."""
    arena.take("noisy.png", "tiny.json", "model.pt", "colors", "stack.tif")
    makes = (
        "out.png",
        "noisy-denoise.png",
        "out.tif",
        "out.png.checkpoint",
        "report.json",
        "out.pt",
        "out.pt.checkpoint",
    )
    ran = arena.run(*argv, makes=makes, **how)
    if resource.RLIMIT_AS in how.get("limits", ()):
        arena.faults = [fault for fault in arena.faults if fault[0] != "memory"]
    if ran.code == 2 and must != "any":
        return "lost", f"exit 2: {ran.err.strip()[-100:]}"
    if ran.code == 0 and must != "any" and pixels(arena.file(must)) is None:
        return "lost", f"exit 0 without {must}"
    return None


def _as_nobody() -> None:
    Path.cwd().chmod(0o555)
    if os.getuid() == 0:
        os.setuid(65534)


def limits(seed: int, count: int) -> list[Trial]:
    """Files that may not grow, memory that is not there, disks that are full for a while, folders that cannot be written to."""
    fit = ("denoise", "noisy.png", "-o", "out.png", *FIT, "--steps", 24)
    saved, found = (*fit, "--autosave", 4), []

    def add(name: str, body: Callable[[Arena], Fault | None]) -> None:
        found.append(Trial("limit", name, body))

    for size in (4000, 6000, 10_000, 20_000):  # the picture fits, the checkpoint does not
        add(
            f"files of {size} bytes, autosave",
            partial(_limited, saved, "out.png", limits={resource.RLIMIT_FSIZE: size}),
        )
    for size in (600, 1500, 3000):
        add(f"files of {size} bytes", partial(_limited, saved, "any", limits={resource.RLIMIT_FSIZE: size}))
        add(f"files of {size} bytes, train", partial(
            _limited, ("train", "colors", "-o", "out.pt", *TRAINING, "--epochs", 1), "any", limits={resource.RLIMIT_FSIZE: size}
        ))  # fmt: skip
    for first, last in ((1, 1), (1, 3), (2, 2), (2, 4), (5, 5)):  # five checkpoints come before the picture
        add(f"disk full at writes {first} to {last} of 5", partial(
            _limited, saved, "out.png", inject=partial(_no_space, first, last)
        ))  # fmt: skip
    add("disk full from the start", partial(_limited, saved, "any", inject=partial(_no_space, 1, 10**6)))
    add("disk full at the picture", partial(_limited, fit, "any", inject=partial(_no_space, 1, 10**6)))
    calls = {
        "denoise": fit,
        "pages": ("denoise", "stack.tif", "--page", "all", "-o", "out.tif", *AS_IT_IS),
        "saliency": ("saliency", "noisy.png", "--classifier", "model.pt", "-o", "out.png", *GRADIENT),
        "train": ("train", "colors", "-o", "out.pt", *TRAINING, "--epochs", 1),
    }
    for space in (16, 64, 256, 512):
        for call, argv in calls.items():
            add(f"{space} MB more, {call}", partial(_limited, argv, "any", limits={resource.RLIMIT_AS: space * 2**20}))
    for files in (12, 20, 40):
        add(f"{files} open files", partial(_limited, saved, "any", limits={resource.RLIMIT_NOFILE: files}))
    add("a folder that cannot be written to", partial(_limited, saved, "any", inject=_as_nobody))
    for place in ("/proc/out.png", "/dev/full", "/dev/null", "/sys/out.png", "no/out.png", "noisy.png/out.png", "."):
        add(f"output {place}", partial(_limited, ("denoise", "noisy.png", "-o", place, *FIT), "any"))
    return found[: max(count, len(found))]
