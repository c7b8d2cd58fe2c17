"""What Windows and macOS do otherwise, by fakes: names, open files, locks, flushing, processes, signals, text encodings."""

from __future__ import annotations

import ast
import errno
import importlib
import os
import signal
import sys
import types
from pathlib import Path
from typing import Any

import psutil
import pytest

from preimage import InputError, in_use
from preimage.folders import lease
from preimage.folders.lease import Lease
from preimage.folders.listing import listing_of
from preimage.images import atomic, remove_orphans, write_bytes_atomically
from preimage.in_use import name_key, patiently, refused_name
from preimage.jobs.job import Job
from preimage.jobs.places import places_of

ROOT = Path(__file__).parents[1]


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows, as the library tells it: no fcntl, no signal of 0, and no patience beyond a fifth of a second."""
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("ends a process on Windows"))
    monkeypatch.setattr(os, "link", lambda *_: pytest.fail("not on every disk of Windows"))
    monkeypatch.setattr(psutil, "pid_exists", lambda pid: pid == os.getpid())
    monkeypatch.setattr(in_use.patiently, "__kwdefaults__", {"seconds": 0.2})


class Open:
    """A file that another process has open for its first refusals: on Windows it can be neither renamed nor removed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: str, name: str, refusals: int) -> None:
        self.left = refusals
        usual = getattr(Path, method)

        def change(path: Path, *args: Any, **options: Any) -> Any:
            if self.left > 0 and any(name in str(each) for each in (path, *args)):
                self.left -= 1
                raise PermissionError(errno.EACCES, "The process cannot access the file", str(path))
            return usual(path, *args, **options)

        monkeypatch.setattr(Path, method, change)


@pytest.mark.parametrize(
    "name",
    ["NUL", "nul.png", "con", "COM1.tif", "lpt9.tar.gz", "aux .png", "a:b.png", "what?.png", "end.", "end ", "a|b"],
)
@pytest.mark.parametrize("folder", ["", "scans/"])
def test_names_that_windows_does_not_have_are_refused_before_any_fit(windows: None, name: str, folder: str) -> None:
    assert refused_name(folder + name) == name
    with pytest.raises(InputError, match="Windows has no file") as caught:
        atomic.check_place(folder + name)
    assert caught.value.code == "unwritable"


@pytest.mark.parametrize(
    "name", ["null.png", "console", "com.png", "com10.png", ".hidden", "a.b.c", "x/../y.png", "ä b.png", "auxx"]
)
def test_names_that_every_system_has_are_taken(windows: None, name: str) -> None:
    assert refused_name(name) is None


def test_elsewhere_every_name_is_taken(tmp_path: Path) -> None:
    for name in ("NUL", "a:b.png", "end."):
        assert write_bytes_atomically(tmp_path / name, b"x").read_bytes() == b"x"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_written_on_windows(windows: None, tmp_path: Path, overwrite: bool) -> None:
    target = tmp_path / "a.png"
    if overwrite:
        target.write_bytes(b"old")
    write_bytes_atomically(target, b"new", overwrite=overwrite)
    assert target.read_bytes() == b"new"
    assert [each.name for each in tmp_path.iterdir()] == ["a.png"]


def test_a_reader_who_leaves_soon_is_waited_for(windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.png"
    target.write_bytes(b"old")
    reader = Open(monkeypatch, "replace", "a.png", 2)
    write_bytes_atomically(target, b"new", overwrite=True)
    assert target.read_bytes() == b"new"
    assert reader.left == 0


def test_a_file_that_stays_open_in_another_program_is_one_line(
    windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.png"
    target.write_bytes(b"old")
    Open(monkeypatch, "replace", "a.png", 10**6)
    with pytest.raises(InputError, match="another program has it open") as caught:
        write_bytes_atomically(target, b"new", overwrite=True)
    assert caught.value.code == "unwritable"
    assert target.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.png"]


def test_a_file_that_appears_meanwhile_is_not_replaced_on_windows(
    windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename(partial: Path, target: Path) -> None:
        target.write_bytes(b"another's")
        raise FileExistsError(errno.EEXIST, "exists")

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(InputError) as caught:
        write_bytes_atomically(tmp_path / "a.png", b"ours")
    assert caught.value.code == "exists"
    assert (tmp_path / "a.png").read_bytes() == b"another's"


def test_a_path_that_is_too_long_for_windows_says_so(
    windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("a" * 240 + ".png")

    def refuse(*_: Any, **__: Any) -> None:
        raise FileNotFoundError(errno.ENOENT, "The system cannot find the path specified")

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(InputError, match="too long"):
        atomic.check_place(long)


def test_orphans_are_swept_by_their_age_on_windows(windows: None, tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    old, new = atomic._partial_name(target), atomic._partial_name(target)
    for each in (old, new):
        each.write_bytes(b"half")
    os.utime(old, (0, 0))
    remove_orphans(target)
    assert [each.name for each in tmp_path.iterdir()] == [new.name]


def test_a_sweep_between_writing_and_naming_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On every system: what is written is locked until it has its name."""
    usual = atomic._rename

    def swept(partial: Path, target: Path, *, overwrite: bool) -> None:
        remove_orphans(target)
        usual(partial, target, overwrite=overwrite)

    monkeypatch.setattr(atomic, "_rename", swept)
    write_bytes_atomically(tmp_path / "a.png", b"whole")
    assert (tmp_path / "a.png").read_bytes() == b"whole"


def test_patience_is_for_windows_alone(tmp_path: Path) -> None:
    calls = []

    def refuse() -> None:
        calls.append(1)
        raise PermissionError

    with pytest.raises(PermissionError):
        patiently(refuse)
    assert len(calls) == 1


def test_locks_of_windows_are_beyond_the_file(windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: set[int] = set()

    def locking(descriptor: int, mode: int, count: int) -> None:
        place = os.lseek(descriptor, 0, os.SEEK_CUR)
        if place in held:
            held.clear() if mode == 2 and len(calls) > 2 else None
            calls.append(place)
            raise OSError(errno.EACCES, "locked")
        held.add(place)

    calls: list[int] = []
    fake = types.SimpleNamespace(locking=locking, LK_NBLCK=2)
    monkeypatch.setitem(sys.modules, "msvcrt", fake)
    with (tmp_path / "t.csv").open("w+b") as file:
        file.write(b"row\n")
        file.flush()
        in_use.lock(file, wait=False)
        assert file.tell() == 4
        assert min(held) > 2**30
        with pytest.raises(OSError, match="locked"):
            in_use.lock(file, wait=False)
        in_use.lock(file, wait=True)  # the other one lets go after a while
    assert len(calls) == 4


@pytest.mark.parametrize("works", [True, False])
def test_macos_flushes_to_the_disk_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool) -> None:
    asked: list[Any] = []

    def fcntl(file: Any, what: int) -> None:
        asked.append(what)
        if not works:
            raise OSError(errno.ENOTSUP, "a network folder")

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setitem(sys.modules, "fcntl", types.SimpleNamespace(fcntl=fcntl, F_FULLFSYNC=51))
    monkeypatch.setattr(os, "fsync", lambda descriptor: asked.append("fsync"))
    with (tmp_path / "a").open("wb") as file:
        in_use.flush(file)
    assert asked == ([51] if works else [51, "fsync"])


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_capitals_and_accents_make_no_other_file(system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("Page.png", "page.jpg", "caf\u00e9.png", "cafe\u0301.jpg"):
        (tmp_path / name).touch()
    assert len({entry.stem for entry in listing_of([tmp_path]).entries}) == 4  # here they are four files
    monkeypatch.setattr(sys, "platform", system)
    assert name_key("Caf\u00e9") == name_key("cafe\u0301")
    stems = [name_key(entry.stem) for entry in listing_of([tmp_path]).entries]
    assert len(set(stems)) == 4  # and where they would be written over each other, each has its own name
    assert all("-png-" in stem or "-jpg-" in stem for stem in stems)
    job = Job("denoise", {}, str(tmp_path / "Page.png"), {"output": str(tmp_path / "PAGE.PNG")})
    with pytest.raises(InputError) as caught:
        places_of(job).check()
    assert caught.value.code == "option"


def test_a_lease_of_a_process_that_ended_is_taken_over_on_windows(
    windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = tmp_path / "photo.png"
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: 99_999_999)
        dead = Lease.take(name)
    assert dead is not None
    dead._ended.set()
    with Lease.take(name) as mine:  # type: ignore[union-attr]
        assert mine.held
        assert Lease.take(name) is None
    assert list(tmp_path.iterdir()) == []


def test_a_lease_that_somebody_reads_is_given_back(
    windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = tmp_path / "photo.png"
    taken = Lease.take(name)
    assert taken is not None
    reader = Open(monkeypatch, "unlink", ".lease.", 2)
    taken.release()
    assert reader.left == 0
    assert list(tmp_path.iterdir()) == []
    taken = Lease.take(name)
    assert taken is not None
    reader.left = 10**6
    taken.release()  # no error: it becomes stale
    assert lease.is_held(name)


def test_a_lease_on_its_way_out_is_anothers_and_a_folder_without_rights_an_error(
    windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = os.open

    def refuse(path: Any, *args: Any, **options: Any) -> int:
        if ".lease." in str(path):
            raise PermissionError(errno.EACCES, "delete pending")
        return usual(path, *args, **options)

    monkeypatch.setattr(os, "open", refuse)
    assert Lease.take(tmp_path / "photo.png") is None
    monkeypatch.setattr(lease, "_now", lambda folder, default: default)
    with pytest.raises(PermissionError):
        Lease.take(tmp_path / "photo.png")


def test_signals_that_a_system_does_not_have_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from preimage.cli import interrupt

    with monkeypatch.context() as patch:
        patch.delattr(signal, "SIGHUP")
        patch.setattr(signal, "SIGBREAK", signal.SIGUSR1, raising=False)
        importlib.reload(interrupt)
        assert interrupt.SIGNALS == [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]
        with interrupt.Interrupt(quiet=True) as entered:
            signal.raise_signal(signal.SIGUSR1)
            assert entered.exit_code == 128 + signal.SIGUSR1
    importlib.reload(interrupt)
    assert signal.SIGHUP in interrupt.SIGNALS


# Calls that decode or encode text by the system's own coding (cp1252 on most Windows) unless one is stated.
TEXT = {"read_text": 0, "write_text": 1, "open": 1, "fdopen": 1, "NamedTemporaryFile": 0, "TextIOWrapper": 1}
TEMPORARY = {"NamedTemporaryFile", "TemporaryFile", "SpooledTemporaryFile"}  # of bytes, if nothing is said
OWN = {"read_text"}  # preimage.images.files.read_text is UTF-8
SOURCES = sorted(
    path for room in ("src", "studies", "benchmarks", "examples", "tools") for path in (ROOT / room).rglob("*.py")
)


def undecided(tree: ast.AST) -> list[int]:
    """Lines on which text is read or written without a stated coding."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        stated = {each.arg for each in node.keywords}
        if name in ("run", "Popen", "check_output") and "subprocess" in owner:
            if stated & {"text", "universal_newlines"} and "encoding" not in stated:
                found.append(node.lineno)
            continue
        is_text = (
            name in TEXT
            and not (name in OWN and not owner)
            and owner not in ("os", "Image", "Pillow", "fits", "archive", "zip", "webbrowser")
        )
        if not is_text or "encoding" in stated:
            continue
        if name in (*TEMPORARY, "open", "fdopen"):
            place = 0 if name in TEMPORARY or (name == "open" and owner) else 1
            given = node.args[place : place + 1] + [each.value for each in node.keywords if each.arg == "mode"]
            mode = (
                given[0].value if given and isinstance(given[0], ast.Constant) else "w+b" if name in TEMPORARY else "r"
            )
            if "b" in str(mode):
                continue
        found.append(node.lineno)
    return found


def test_text_has_a_stated_coding() -> None:
    wrong = {
        f"{path.relative_to(ROOT)}:{line}"
        for path in SOURCES
        for line in undecided(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert wrong == set()


def test_the_rule_finds_what_it_looks_for() -> None:
    bad = "open('a')\nPath('a').read_text()\nPath('a').open('w')\nsubprocess.run([], text=True)\nopen('a', mode='r')"
    good = "open('a', 'rb')\nPath('a').open('wb')\nread_text('a')\nPath('a').read_text(encoding='utf-8')"
    assert undecided(ast.parse(bad)) == [1, 2, 3, 4, 5]
    assert undecided(ast.parse(good)) == []
