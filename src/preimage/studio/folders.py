"""Folder runs: the folders below the root that the studio was started with, and runs over them, by a process each.

A path of a page is taken apart name by name, and is below the root or refused: also where a link leads out of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from preimage.errors import InputError
from preimage.images.formats import is_image_name
from preimage.studio.asked import asked, command_line, task_of
from preimage.studio.events import Hub
from preimage.studio.probing import Prober, environment, killed, start
from preimage.studio.settings import Settings
from preimage.studio.state import is_id, new_id, read_json, remove, write_json
from preimage.studio.uploads import Files, NotThere

ENDED = ("done", "failed", "stopped")
MOST_SHOWN = 2000  # folders, and rows
_TO_LEAVE = 20.0


@dataclass
class Run:
    """A folder run, as its folder's state.json has it."""

    id: str
    path: str
    out: str
    task: str
    state: str = "waiting"
    created: float = 0.0
    total: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    running: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    error: str | None = None
    command: str = ""

    def shown(self, *, rows: bool = False) -> dict[str, Any]:
        """As JSON for the page."""
        found = asdict(self)
        found["rows"] = list(self.rows.values())[:MOST_SHOWN] if rows else None
        counts: Counter[str] = Counter({"done": 0, "failed": 0})
        counts.update(row["state"] for row in self.rows.values())
        counts["waiting"] = max(0, self.total - sum(counts.values()) - len(self.running))
        return found | {"counts": dict(counts)}


class Folders:
    """All folder runs of a studio.

    Args:
        folder: of all, one folder for each.
        settings: the root, workers and threads.
        files: the uploads, for masks and classifiers.
        hub: is told what changes.
        prober: shows pictures.
    """

    def __init__(self, folder: Path, settings: Settings, files: Files, hub: Hub, prober: Prober) -> None:
        self.folder = folder
        self.settings = settings
        self.files = files
        self.hub = hub
        self.prober = prober
        self.all: dict[str, Run] = {}
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ends: dict[str, tuple[str, str | None]] = {}  # of processes that have not left yet
        self._is_over = False
        for each in sorted(self.folder.iterdir()):
            stored: Any = read_json(each / "state.json") if is_id(each.name) else None
            try:
                run = Run(**stored)
            except TypeError:
                remove(each)
                continue
            self.all[run.id] = run
        self.all = dict(sorted(self.all.items(), key=lambda pair: pair[1].created))

    def begin(self) -> None:
        """Go on with what was running when the server was lost."""
        for run in self.all.values():
            if run.state not in ENDED:
                self._start(run)

    @property
    def root(self) -> Path:
        """The folder below which all lies.

        Raises:
            InputError: the studio was started without one.
        """
        if self.settings.root is None:
            raise InputError("this studio was started without --root FOLDER", code="option")
        return self.settings.root.resolve()

    def below(self, given: Any, *, exists: bool = True) -> Path:
        """A path of the page as one below the root.

        Raises:
            InputError: any other.
        """
        root = self.root
        if not isinstance(given, str) or "\0" in given or "\\" in given or given.startswith("/") or len(given) > 4096:
            raise InputError("a path is relative to the root of the studio", code="option")
        parts = [each for each in given.split("/") if each not in ("", ".")]
        if any(each == ".." or each.startswith(".") or (":" in each) for each in parts):
            raise InputError("a path is below the root of the studio", code="option")
        path = root.joinpath(*parts)
        found = path.resolve()
        if found != root and root not in found.parents:
            raise InputError("a path is below the root of the studio", code="option")
        if exists and not found.is_dir():
            raise NotThere("there is no such folder")
        return found

    def listed(self, given: Any) -> dict[str, Any]:
        """The folders of a folder, and how many pictures it has."""
        place = self.below(given or "")
        folders, pictures = [], 0
        try:
            for each in sorted(place.iterdir(), key=lambda path: path.name):
                if each.name.startswith(".") or self.root not in each.resolve().parents:  # hidden, or led out by a link
                    continue
                if each.is_dir():
                    folders.append(each.name)
                else:
                    pictures += is_image_name(each.name)
        except OSError as error:
            raise InputError(f"the folder cannot be read ({error.strerror})", code="unreadable") from error
        return {"path": self._shown(place), "folders": folders[:MOST_SHOWN], "pictures": int(pictures)}

    def _shown(self, path: Path) -> str:
        return "" if path == self.root else path.relative_to(self.root).as_posix()

    async def add(self, body: Any) -> Run:
        """Begin a run.

        Raises:
            InputError: what cannot be used in it.
        """
        if not isinstance(body, dict):
            raise InputError("a folder run is {path, task, options, out}", code="type")
        source = self.below(body.get("path"))
        out = self.below(body.get("out"), exists=False)
        if out == self.root:
            raise InputError("give a folder for the results", code="option")
        if out == source or source in out.parents:
            raise InputError(
                "the folder of the results lies in that of the pictures: name one beside it", code="option"
            )
        task = task_of(body.get("task"))
        if task.inputs not in ("images", "image"):
            raise InputError(f"{task.name} takes no folder", code="option")
        id = new_id()  # noqa: A001
        place = self.folder / id
        place.mkdir(mode=0o700)
        try:
            wanted = asked(
                body,
                place,
                self.files.upload,
                classifiers=(),
                threads=self.settings.threads,
                input=source,
            )
            job = wanted.job
            await self.prober.ask("check", job=job.to_json(), out=str(place), stem="picture")
        except BaseException:
            remove(place)
            raise
        workers = body.get("workers", 1) if isinstance(body.get("workers", 1), int) else 1
        names = {**wanted.names, str(job.input): self._shown(source) or "."}
        command = command_line(job, names, {"output": self._shown(out)})
        run = Run(id, self._shown(source), self._shown(out), task.name, created=time.time())
        run.command = f"{command} --workers {workers}" + (" --recursive" if body.get("recursive") else "")
        told = {"job": job.to_json(), "folder": str(source), "out": str(out), "workers": max(1, min(workers, 16))}
        write_json(place / "run.json", told | {"recursive": bool(body.get("recursive"))})
        self.all[id] = run
        self._start(run)
        return run

    def get(self, id: Any) -> Run:  # noqa: A002
        """A run by its id."""
        if not isinstance(id, str) or id not in self.all:
            raise NotThere("there is no such folder run")
        return self.all[id]

    def order(self, id: str, what: str) -> Run:  # noqa: A002
        """Stop a run, or let it go on; what failed is then tried again."""
        run = self.get(id)
        process = self._processes.get(id)
        if what == "stop" and process is not None and process.stdin is not None:
            with contextlib.suppress(OSError, RuntimeError):
                process.stdin.write(b"stop\n")
        elif what == "resume" and id not in self._tasks:
            told = read_json(self.folder / id / "run.json")
            if run.state == "failed" and told is not None:
                write_json(self.folder / id / "run.json", told | {"retry_failed": True})
            self._start(run)
        return run

    async def delete(self, id: str) -> None:  # noqa: A002
        """Forget a run; its results stay where they are."""
        run = self.get(id)
        del self.all[run.id]
        process, task = self._processes.get(id), self._tasks.get(id)
        if process is not None and process.stdin is not None:
            process.stdin.close()
        if task is not None:
            await asyncio.wait([task], timeout=_TO_LEAVE)
        await asyncio.to_thread(remove, self.folder / id)
        self.hub.tell("folder-gone", id, {"id": id})

    async def view(self, id: str, name: str, what: str, query: dict[str, Any]) -> bytes:  # noqa: A002
        """Input or result of one picture of a run."""
        run = self.get(id)
        told = read_json(self.folder / id / "run.json")
        if name not in run.rows and not any(each["name"] == name for each in run.running):
            raise NotThere("there is no such picture in this run")
        base = Path(told["folder"]) if what == "input" else Path(told["out"])
        if what == "input":
            path = base / name
        else:
            (found,), _ = await self.prober.ask("written", out=told["out"], name=name, task=run.task)
            if found is None:
                raise NotThere("there is no result")
            path = base / found
        real = path.resolve()
        if self.root not in real.parents or not real.is_file():
            raise NotThere("there is no such picture")
        return (await self.prober.ask("view", path=str(real), query=query))[1]

    def _start(self, run: Run) -> None:
        run.state, run.error = "running", None
        self._save(run)
        self._tell(run)
        self._tasks[run.id] = asyncio.ensure_future(self._attend(run))

    async def _attend(self, run: Run) -> None:
        place = self.folder / run.id
        try:
            with (place / "log").open("ab") as log:
                process = await start("preimage.studio.folder_worker", [str(place)], place, environment(), log)
            self._processes[run.id] = process
            assert process.stdout is not None
            while line := await process.stdout.readline():
                with contextlib.suppress(ValueError, TypeError, KeyError):
                    self._hear(run, json.loads(line))
            await process.wait()
        finally:
            self._processes.pop(run.id, None)
            self._tasks.pop(run.id, None)
        if self._is_over:
            return
        run.state, run.error = self._ends.pop(run.id, ("failed", "its process ended: let it go on"))
        run.running = []
        self._save(run)
        self._tell(run)

    def _hear(self, run: Run, said: dict[str, Any]) -> None:
        if "row" in said:
            row = said["row"]
            run.rows[row["name"]] = row
            self._save(run)
        if "total" in said:
            run.total = int(said["total"])
        if "running" in said:
            run.running = said["running"]
        if "ended" in said:
            self._ends[run.id] = said["ended"], said.get("error")
        self._tell(run)

    def _save(self, run: Run) -> None:
        if run.id in self.all:
            with contextlib.suppress(OSError):
                write_json(self.folder / run.id / "state.json", asdict(run))

    def _tell(self, run: Run) -> None:
        if run.id in self.all:
            self.hub.tell("folder", run.id, run.shown())

    async def close(self) -> None:
        """Let the processes save what is at hand; the next server goes on."""
        self._is_over = True
        for process in list(self._processes.values()):
            if process.stdin is not None:
                process.stdin.close()
        if tasks := list(self._tasks.values()):
            await asyncio.wait(tasks, timeout=_TO_LEAVE)
        for process in list(self._processes.values()):
            await killed(process)
