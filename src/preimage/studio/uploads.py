"""Uploaded files: streamed to a folder of their own, within limits, under ids; what they are is found out by another process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from preimage.errors import InputError
from preimage.studio.asked import Upload
from preimage.studio.events import Hub
from preimage.studio.probing import Busy, Prober
from preimage.studio.settings import Limits, Settings
from preimage.studio.state import bytes_in, ending_of, is_id, new_id, read_json, remove, shown_name, write_json

Kind = Literal["picture", "mask", "other"]
_OTHERS = (".json", ".pt", ".pth", ".npy", ".npz", ".txt", ".csv", ".safetensors", ".onnx")  # models, recipes, kernels
_LEFT_FREE = 2**28  # bytes of the disk
_AT_ONCE = 4
_SWEPT_EVERY = 3600.0


class TooLarge(InputError):
    """More bytes than may be uploaded."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="size")


class NotThere(InputError):
    """No such file or job."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="not-found")


@dataclass(frozen=True)
class File:
    """An uploaded file, as the page knows it.

    Args:
        facts: what it is, once that is known; None before, and of what is no picture.
        error: why it cannot be read.
        used: when a page last asked for it, in seconds since 1970.
    """

    id: str
    name: str
    bytes: int
    added: float
    kind: Kind = "picture"
    of: str | None = None
    facts: dict[str, Any] | None = None
    error: str | None = None
    used: float = 0.0

    def shown(self) -> dict[str, Any]:
        """As JSON for the page."""
        return asdict(self)


class Files:
    """The uploaded files of a studio.

    Args:
        folder: of all, one folder for each.
        settings: limits and threads.
        hub: is told when the facts of a file are known.
        prober: reads them.
        timer: takes some steps, to foresee how long all of them take.
        paces: of each task the seconds that a pixel took here, and whether no job runs, beside which nothing is foreseen.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        hub: Hub,
        prober: Prober,
        timer: Prober,
        paces: Callable[[], tuple[dict[str, float], bool]],
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.hub = hub
        self.paces = paces
        self.prober = prober
        self.timer = timer
        self._finding = asyncio.Semaphore(4)
        self.all: dict[str, File] = {}
        self._coming = 0  # bytes of what is being uploaded
        self._at_once = 0
        self._held: int | None = None  # bytes of all that is kept, as far as they were counted
        self._tasks: set[asyncio.Task[None]] = set()
        self._load()

    @property
    def limits(self) -> Limits:
        return self.settings.limits

    def _load(self) -> None:
        found = []
        for each in self.folder.iterdir():
            stored: Any = read_json(each / "file.json") if is_id(each.name) else None
            try:
                file = File(**stored)
                if file.id != each.name or not self.path_of(file).is_file():
                    raise ValueError
                found.append(file)
            except (TypeError, ValueError):
                remove(each)  # half of an upload
        self.all = {file.id: file for file in sorted(found, key=lambda file: file.added)}

    def begin(self) -> None:
        """Find out what those are of which that is not known, and remove what is old, now and every hour."""
        for file in self.all.values():
            if file.facts is None and file.error is None and file.kind == "picture":
                self._later(self._find_facts(file.id))
        self._later(self._sweep())

    def path_of(self, file: File) -> Path:
        """Where it lies: its id, and an ending of letters and digits."""
        return self.folder / file.id / f"original{ending_of(file.name)}"

    def get(self, id: Any) -> File:  # noqa: A002
        """A file by its id.

        Raises:
            NotThere: no such file.
        """
        found = self.all.get(id) if isinstance(id, str) else None
        if found is None:
            raise NotThere("there is no such file: upload it again")
        found = self.all[found.id] = replace(found, used=time.time())
        return found

    def upload(self, id: Any) -> Upload:  # noqa: A002
        """A file as a job names it."""
        file = self.get(id)
        return Upload(file.id, self.path_of(file), file.name)

    async def receive(
        self,
        stream: AsyncIterator[bytes],
        name: str,
        length: int | None,
        *,
        kind: Kind | None = None,
        of: str | None = None,
    ) -> File:
        """Take a file in.

        Args:
            stream: its bytes.
            name: what the user calls it.
            length: bytes that are announced.
            kind: what it is; None: by its name.
            of: the picture that it is a mask of.

        Raises:
            TooLarge: more bytes than are taken, or than there is room for.
        """
        self._check_room(length or 0)
        if self._at_once >= _AT_ONCE:
            raise TooLarge(f"{_AT_ONCE} uploads at a time are the most: wait for one of them")
        shown = shown_name(name)
        file = File(new_id(), shown, 0, time.time(), kind or _kind_of(shown), of, used=time.time())
        place = self.folder / file.id
        place.mkdir(mode=0o700)
        self._at_once += 1
        try:
            size = await self._written(stream, self.path_of(file))
            if not size:
                raise InputError("the file is empty (0 bytes)", code="unreadable")
            file = replace(file, bytes=size)
            write_json(place / "file.json", file.shown())
        except BaseException:
            remove(place)
            raise
        finally:
            self._at_once -= 1
        self.all[file.id] = file
        self._held = None
        return file

    async def _written(self, stream: AsyncIterator[bytes], path: Path) -> int:
        size = 0
        try:
            with path.open("xb") as file:
                async for part in stream:
                    size += len(part)
                    self._coming += len(part)
                    self._check_room(size, counted=size)
                    file.write(part)
        except OSError as error:
            raise TooLarge(f"the file cannot be kept ({error.strerror}): free some space") from error
        finally:
            self._coming -= size
        return size

    def _check_room(self, size: int, counted: int = 0) -> None:
        """Raise TooLarge for more bytes than a file may have, or than there is room for."""
        if size > self.limits.bytes:
            raise TooLarge(f"a file of more than {self.limits.bytes} bytes is not taken")
        if self.held() + self._coming + size - counted > self.limits.quota:
            self._make_room(size)
            if self.held() + self._coming + size - counted > self.limits.quota:
                raise TooLarge(f"files and jobs hold {self.limits.quota} bytes, the most: delete some of them")
        if shutil.disk_usage(self.folder).free < size - counted + _LEFT_FREE:
            raise TooLarge("the disk is full: free some space")

    def held(self) -> int:
        """Bytes of all files and jobs, counted again when something was added or removed."""
        if self._held is None:
            self._held = bytes_in(self.folder) + bytes_in(self.folder.parent / "jobs")
        return self._held

    def recount(self) -> None:
        """What jobs hold has changed."""
        self._held = None

    def _make_room(self, size: int) -> None:
        """Remove what was not asked for longest, but for what was used within the last hour."""
        old = sorted(self.all.values(), key=lambda file: max(file.used, file.added))
        for file in old:
            if max(file.used, file.added) > time.time() - _SWEPT_EVERY or self.held() + size <= self.limits.quota:
                return
            self.delete(file.id)

    def delete(self, id: str) -> None:  # noqa: A002
        """Remove a file; jobs that read it have links of their own."""
        file = self.get(id)
        del self.all[file.id]
        remove(self.folder / file.id)
        self._held = None
        self.hub.tell("file-gone", file.id, {"id": file.id})

    def find_facts(self, file: File) -> None:
        """Begin to find out what a file is."""
        self._later(self._find_facts(file.id))

    async def _find_facts(self, id: str) -> None:  # noqa: A002
        path = self.path_of(self.all[id])
        try:
            async with self._finding:  # however many files come at once, a page's own requests find a place
                facts, _ = await self.prober.ask("facts", patient=True, path=str(path), pixels=self.limits.pixels)
        except InputError as error:
            kind: Kind = "other" if path.suffix in _OTHERS else "picture"
            self._know(id, kind=kind, error=str(error).replace(str(path), self.all[id].name if id in self.all else ""))
            return
        pixels = facts["width"] * facts["height"] * facts["pages"]
        paces, is_idle = self.paces()
        facts["seconds"] = {task: round(pace * pixels, 1) for task, pace in paces.items()}
        self._know(id, facts=facts)
        if is_idle and facts["suggested"]["task"] not in facts["seconds"]:
            with contextlib.suppress(InputError, Busy):
                threads = self.settings.threads
                seconds, _ = await self.timer.ask("seconds", path=str(path), of=facts, threads=threads)
                self._know(id, facts={**facts, "seconds": {**facts["seconds"], **seconds}})

    def _know(self, id: str, **what: Any) -> None:  # noqa: A002
        if id not in self.all:  # it was removed meanwhile
            return
        file = self.all[id] = replace(self.all[id], **what)
        with contextlib.suppress(OSError):
            write_json(self.folder / id / "file.json", file.shown())
        self.hub.tell("file", id, file.shown())

    async def _sweep(self) -> None:
        while True:
            for file in list(self.all.values()):
                if max(file.used, file.added) < time.time() - self.limits.age:
                    self.delete(file.id)
            await asyncio.sleep(_SWEPT_EVERY)

    def _later(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Leave what is not known yet."""
        for file in self.all.values():
            with contextlib.suppress(OSError):
                write_json(self.folder / file.id / "file.json", file.shown())
        for task in list(self._tasks):
            task.cancel()


def _kind_of(name: str) -> Kind:
    return "other" if os.path.splitext(name)[1].lower() in _OTHERS else "picture"  # noqa: PTH122
