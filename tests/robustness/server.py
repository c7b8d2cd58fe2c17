"""A fork server: every command runs in a child of a process that has imported all and computed nothing.

A child has one thread, a process group, a bound of time and of address space, and files for what it prints. What it took is
measured from the fork on. `Arena.spawn` starts a program of its own instead, for what happens before and after `main`.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LONGEST = 60.0  # seconds
SPACE = 8 * 2**30  # bytes of address space beyond what the server has
MUCH = 10**9  # bytes that no refusal may take
CANARY = "foreign-code-ran"
# The worst first, of which a trial has one; broken: the harness itself failed.
VERDICTS = ("broken", "code", "hang", "wrong", "lost", "memory", "defect", "leftover", "words", "fine")
CODES = {0, 2, 128 + signal.SIGHUP, 128 + signal.SIGINT, 128 + signal.SIGTERM}
_OWN = re.compile(r"preimage: |.*: (step|epoch) \d+ of \d+|.*: (about|at most) [\d.]+ \w+ on this machine|\s*$")
_DEFECT = ("(a defect;", "Traceback (most recent call last)", "Exception ignored", "Fatal Python error", "core dumped")
Fault = tuple[str, str]  # verdict, and why
Event = tuple[float | str, int]


@dataclass(frozen=True)
class Ran:
    """What a command did. `code` is minus the signal that ended it; `memory` in bytes beyond the fork."""

    code: int
    out: str
    err: str
    seconds: float
    memory: int
    hung: bool


@dataclass
class Arena:
    """The folder of one trial: files are put there, commands run there, and faults of any command are noted."""

    folder: Path
    base: Path
    known: dict[str, Arena] = field(default_factory=dict)  # of undamaged runs, shared by trials
    faults: list[Fault] = field(default_factory=list)
    last: Ran | None = None
    seconds: float = 0.0
    memory: int = 0
    note: str = ""  # what was drawn by chance

    def take(self, *names: str) -> None:
        """Copy files and folders of the base."""
        for name in names:
            source, target = self.base / name, self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)

    def file(self, name: str) -> Path:
        return self.folder / name

    def run(self, *argv: object, makes: Collection[str] = (), codes: Collection[int] = (), **how: Any) -> Ran:
        """A command line in a forked child. `makes`: files that may be there after it; `codes`: exit codes beyond the usual.

        how: events ((seconds, signal) after the start, or after (file, 0): when that is there), limits {RLIMIT: bytes},
        inject (called in the child before the command), call (a function instead of the command line).
        """
        before = self.listed()
        ran = _forked(self.folder, [os.fsdecode(os.fsencode(str(each))) for each in argv], **how)
        return self._noted(ran, before, makes, codes)

    def spawn(self, *argv: object, makes: Collection[str] = (), codes: Collection[int] = (), **how: Any) -> Ran:
        """The same as a program of its own: how is of `_spawned`."""
        before = self.listed()
        return self._noted(_spawned(self.folder, [str(each) for each in argv], **how), before, makes, codes)

    def undamaged(self, name: str, body: Callable[[Arena], object]) -> Arena:
        """The folder of a run on sound files, made once under its name."""
        if name not in self.known:
            folder = self.base.parent / f"undamaged-{os.getpid()}-{len(self.known)}"
            folder.mkdir()
            arena = Arena(folder, self.base, self.known)
            body(arena)
            self.known[name] = arena
        return self.known[name]

    def listed(self) -> set[str]:
        found = (path for path in self.folder.rglob("*") if path.name not in (".out", ".err"))
        return {str(path.relative_to(self.folder)) for path in found}

    def _noted(self, ran: Ran, before: set[str], makes: Collection[str], codes: Collection[int]) -> Ran:
        self.last, self.seconds, self.memory = ran, self.seconds + ran.seconds, max(self.memory, ran.memory)
        self.faults += faults(ran, codes)
        new = self.listed() - before
        if CANARY in new:
            self.faults.append(("code", "code of a file was run"))
        if -ran.code not in (signal.SIGKILL, signal.SIGXFSZ):
            if left := sorted(new - set(makes) - {CANARY}):
                self.faults.append(("leftover", f"left {' '.join(left)[:80]!r}"))
            if ran.code == 2 and (written := sorted(new & set(makes))):
                self.faults.append(("leftover", f"refused, and wrote {' '.join(written)[:80]!r}"))
        return ran

    def verdict(self, own: Fault | None) -> Fault:
        """The worst of what was found."""
        found = [*self.faults, own or ("fine", "")]
        verdict, why = min(found, key=lambda fault: VERDICTS.index(fault[0]))
        return verdict, f"{why} ({self.note})" if self.note else why


def faults(ran: Ran, codes: Collection[int] = ()) -> list[Fault]:
    """What no command may do, whatever it was given."""
    if ran.hung:
        return [("hang", f"over {LONGEST:.0f} s")]
    if ran.code in codes and ran.code < 0:
        return []
    found: list[Fault] = []
    lines, text = ran.err.splitlines(), ran.err + ran.out
    said = next((line for line in lines if any(word in line for word in _DEFECT)), "")
    if any(word in text for word in _DEFECT):
        found.append(("defect", " ".join((said if "Traceback" not in said else lines[-1]).split())))
    elif ran.code not in CODES and ran.code not in codes:
        found.append(("defect", f"exit {ran.code}: {' '.join(ran.err.split())[-100:]}"))
    if ran.code == 2 and (ran.memory > MUCH or "the memory is used up" in ran.err):
        found.append(("memory", f"refused after {ran.memory / 1e9:.1f} GB: {' '.join(ran.err.split())[:80]}"))
    if other := [line for line in lines if not _OWN.match(line)]:
        found.append(("words", f"third-party or unexpected line: {other[0][:100]}"))
    own = [line for line in lines if line.startswith("preimage: ") and not line.startswith("preimage: warning: ")]
    if ran.code == 2 and len(own) != 1:
        found.append(("words", "refused, but not in one line: " + " | ".join(lines)[:100]))
    return found


def imports() -> None:
    """What a child needs, read once; nothing is computed, so that no thread pool is started before the forks."""
    import importlib
    import pkgutil

    import preimage

    for module in pkgutil.walk_packages(preimage.__path__, "preimage."):
        if not module.name.endswith(("__main__", "art_defence")):  # which imports ART
            importlib.import_module(module.name)
    for name in ("cv2", "skimage.metrics", "torchmetrics", "captum.attr", "scipy.optimize", "timm", "rich"):
        importlib.import_module(name)
    import torch
    from PIL import Image

    torch.set_num_threads(1)
    Image.init()


def _forked(folder: Path, argv: list[str], **how: Any) -> Ran:
    sys.stdout.flush()
    ready, ready_child = os.pipe()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            _child(folder, argv, ready_child, **how)
        os._exit(99)
    os.close(ready_child)
    start = os.read(ready, 32)  # resident bytes after the fork
    os.close(ready)
    return _waited(child, folder, int(start or 0), how.get("events", ()))


def _child(
    folder: Path,
    argv: list[str],
    ready: int,
    *,
    events: object = None,
    limits: Mapping[int, int] | None = None,
    inject: Callable[[], object] | None = None,
    call: Callable[[], object] | None = None,
) -> None:
    os.setpgid(0, 0)
    os.chdir(folder)
    for number, name in ((0, os.devnull), (1, ".out"), (2, ".err")):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC * (number > 0)), number)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=True)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), errors="backslashreplace", write_through=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    pages, resident = (int(each) * resource.getpagesize() for each in Path("/proc/self/statm").read_text().split()[:2])
    asked = {resource.RLIMIT_AS: SPACE, resource.RLIMIT_CORE: 0, **(limits or {})}
    for kind, value in asked.items():
        value += pages if kind == resource.RLIMIT_AS else 0
        resource.setrlimit(kind, (value, value))
    if inject is not None:
        inject()
    os.write(ready, b"%d" % resident)
    os.close(ready)
    from preimage.__main__ import run

    sys.argv = ["preimage", *argv]
    try:
        code = (call or run)()
        code = code if isinstance(code, int) else 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    os._exit(code)


_START = "import os, runpy; os.write({0}, b'x'); os.close({0}); "
_START += "runpy.run_module('preimage', run_name='__main__', alter_sys=True)"


def _spawned(
    folder: Path,
    argv: list[str],
    *,
    out: str = "file",
    err: str = "file",
    events: Sequence[Event] = (),
    env: Mapping[str, str] | None = None,
) -> Ran:
    """A program, whose clock starts when the interpreter is ready for the first line of preimage.

    Its streams go to a "file", are "closed", on a "full" disk, have a "gone" reader or a "head" that reads once; err may
    go where "out" goes.
    """
    ready, ready_child = os.pipe()
    streams = {1: _Stream(out, folder / ".out"), 2: _Stream(err, folder / ".err")}

    def before() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, stream in streams.items():
            if stream.how == "closed":
                os.close(number)

    process = subprocess.Popen(
        [sys.executable, "-c", _START.format(ready_child), *argv],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **(env or {})},
        preexec_fn=before, start_new_session=True, pass_fds=(ready_child,),
        stdin=subprocess.DEVNULL, stdout=streams[1].end, stderr=subprocess.STDOUT if err == "out" else streams[2].end,
    )  # fmt: skip
    os.close(ready_child)
    for end in {stream.end for stream in streams.values()} - {None}:
        os.close(end)
    os.read(ready, 1)
    os.close(ready)
    ran = _waited(process.pid, folder, 2**62, events, list(streams.values()))
    process.returncode = ran.code
    return ran


class _Stream:
    """Where a program prints to."""

    def __init__(self, how: str, path: Path) -> None:
        self.how, self.reader, self.end = how, None, None
        path.touch()
        if how in ("gone", "head"):
            reader, self.end = os.pipe()
            self.reader = reader if how == "head" else os.close(reader)
        elif how in ("file", "full"):
            self.end = os.open("/dev/full" if how == "full" else path, os.O_WRONLY)

    def poll(self, ended: bool = False) -> None:
        """Read what is there; whoever reads one line goes away after it."""
        if self.reader is None or not (ended or select.select([self.reader], [], [], 0)[0]):
            return
        if ended or os.read(self.reader, 4096):
            self.reader = os.close(self.reader)


def _waited(child: int, folder: Path, start: int, events: Sequence[Event], streams: Sequence[_Stream] = ()) -> Ran:
    begin = since = time.monotonic()
    due, hung = list(events), False
    try:
        while True:
            ended, status, usage = os.wait4(child, os.WNOHANG)
            now = time.monotonic()
            for stream in streams:
                stream.poll(bool(ended))
            if ended:
                break
            if due and isinstance(due[0][0], str):
                if (folder / due[0][0]).exists():
                    since = now
                    due.pop(0)
            elif due and now - since >= due[0][0]:
                os.kill(child, due.pop(0)[1])
            if now - begin > LONGEST and not hung:
                hung = True
                os.killpg(child, signal.SIGKILL)
            time.sleep(0.002 if due else 0.005)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)  # with whatever it started
    out, err = (_text(folder / name) for name in (".out", ".err"))
    memory = max(0, usage.ru_maxrss * 1024 - start)
    return Ran(os.waitstatus_to_exitcode(status), out, err, now - begin, memory, hung)


def _text(path: Path) -> str:
    return path.read_bytes()[:100_000].decode(errors="replace") if path.exists() else ""
