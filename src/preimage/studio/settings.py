"""What a studio is started with, and the files by which it is the only one in its folder."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from preimage.errors import InputError
from preimage.in_use import lock

LOOPBACK = ("127.0.0.1", "localhost", "::1")
DAY = 86_400.0


@dataclass(frozen=True)
class Limits:
    """How much an upload may be, and what all of them together.

    Args:
        bytes: of one file.
        pixels: of one file, all pages together, by its header.
        quota: bytes of all uploads and jobs.
        age: seconds after which an upload that no page has asked for is removed.
        wait: seconds that a connection may take for the head of a request, or for its next bytes.
    """

    bytes: int = 10**9
    pixels: int = 500_000_000
    quota: int = 20 * 2**30
    age: float = 14 * DAY
    wait: float = 10.0


@dataclass(frozen=True)
class Settings:
    """What a studio is started with.

    Example:
        >>> Settings(Path("studio"), token="secret").is_local
        True

    Args:
        folder: of uploads, jobs and folder runs.
        token: what the page proves to be the user's with: in the address that is printed, then in a cookie.
        host, port: where it listens.
        password: asked for on the page instead of the token; needed where it listens to other machines.
        root: the folder below which folder runs may read and write; None: there are no folder runs.
        workers: jobs that run at a time.
        threads: processor threads of a job, unless it says so itself.
        memory: bytes of a job's process.
        classifiers: "module:function", which alone may be imported.
        names: further names of this machine, as a proxy in front of it has.
        limits: of uploads.
    """

    folder: Path
    token: str
    host: str = "127.0.0.1"
    port: int = 8421
    password: str | None = None
    root: Path | None = None
    workers: int = 1
    threads: int = 1
    memory: int = 8 * 2**30
    classifiers: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)

    @property
    def is_local(self) -> bool:
        """Whether it listens to this machine alone."""
        return self.host in LOOPBACK

    @property
    def cookie(self) -> str:
        """The name of its cookie: browsers send one to every port of a machine."""
        return f"preimage-studio-{self.port}"


def usual_folder() -> Path:
    """Where a studio keeps its files unless it is told another place.

    Example:
        >>> usual_folder().name
        'preimage-studio'
    """
    if os.name == "nt":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    else:
        base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "preimage-studio"


def prepared(folder: Path) -> Path:
    """A folder for a studio, made if it is not there, that its owner alone can read.

    Raises:
        InputError: a place that cannot be written to.
    """
    try:
        for each in (folder, folder / "files", folder / "jobs", folder / "folders"):
            each.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = folder / f".probe-{secrets.token_hex(4)}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"--folder {folder} cannot be written to ({reason}): give another", code="unwritable"
        ) from error
    return folder


def kept_token(folder: Path) -> str:
    """The token of a folder: random, the same after a restart so that open pages go on, and readable by its owner alone."""
    path = folder / "token"
    try:
        found = path.read_text(encoding="utf-8").strip()
        if len(found) >= 43:
            return found
    except (OSError, UnicodeDecodeError):
        pass
    token = secrets.token_urlsafe(32)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token)
    return token


def held(folder: Path) -> IO[Any]:
    """The lock of a folder, for as long as the file is open.

    Raises:
        InputError: another studio has it.
    """
    file = (folder / "lock").open("a+", encoding="utf-8")
    try:
        lock(file, wait=False)
    except OSError as error:
        file.close()
        raise InputError(f"another studio works in {folder}: end it, or give --folder", code="exists") from error
    return file
