"""The queue: jobs are folders, done in the order of their numbers by a process each, so many at a time.

What stands in the folders is all that counts: a server that is killed leaves them, and the next one goes on with them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from preimage.errors import InputError
from preimage.jobs.job import Job
from preimage.studio.asked import asked, code_in, command_line
from preimage.studio.entry import ENDED, Entry, is_asked, outputs_of, stem_of
from preimage.studio.events import Hub
from preimage.studio.paces import Paces
from preimage.studio.probing import Prober, killed
from preimage.studio.processes import WorkerProcesses
from preimage.studio.settings import Settings
from preimage.studio.state import is_id, new_id, read_json, remove, write_json
from preimage.studio.uploads import Files, NotThere

OUTCOME = "outcome.json"
MOST_JOBS = 10_000
_MOST_ATTEMPTS = 3  # of a job during which the server was lost, without a step further
_TO_LEAVE = 15.0  # seconds that a process has to save a checkpoint


class Jobs:
    """All jobs of a studio.

    Args:
        folder: of all, one folder for each.
        settings: workers, threads, memory.
        files: the uploads.
        hub: is told what changes.
        prober: checks what is asked for.
    """

    def __init__(self, folder: Path, settings: Settings, files: Files, hub: Hub, prober: Prober) -> None:
        self.folder = folder
        self.settings = settings
        self.files = files
        self.hub = hub
        self.prober = prober
        self.all: dict[str, Entry] = {}
        self.paces: Paces = Paces(folder.parent / "paces.json")
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._attending: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._orders: dict[str, str] = {}  # for processes that have not begun
        self._deleted: set[str] = set()
        self._adding = asyncio.Lock()
        self._workers = WorkerProcesses(folder, settings.memory)
        self._is_over = False
        self._load()

    def _load(self) -> None:
        found = []
        for each in self.folder.iterdir():
            stored: Any = read_json(each / "state.json") if is_id(each.name) else None
            try:
                found.append(Entry(**stored))
            except TypeError:
                remove(each)  # half of a job, or of another version
        for entry in sorted(found, key=lambda entry: entry.number):
            self.all[entry.id] = entry
            if entry.state not in ENDED:
                self._take_up(entry)

    def _take_up(self, entry: Entry) -> None:
        """What a server has left that was lost."""
        outcome = read_json(self.folder / entry.id / OUTCOME)
        if outcome is not None:
            self._end(entry, outcome)
        elif entry.state == "running":
            entry.state = "waiting"
            if entry.attempts >= _MOST_ATTEMPTS:
                error = f"its process and the server ended {entry.attempts} times while it was at work: take a smaller picture"
                self._end(entry, {"state": "failed", "error": error, "code": "memory"})
            self._save(entry)

    @property
    def paces_now(self) -> tuple[dict[str, float], bool]:
        """Of each task the seconds that a pixel took here, and whether no job runs."""
        return self.paces.of, not self._attending

    def begin(self) -> None:
        """Begin with what is waiting."""
        self._fill()
        self._later(self._workers.keep_spare())

    def _later(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def get(self, id: Any) -> Entry:  # noqa: A002
        """A job by its id.

        Raises:
            NotThere: no such job.
        """
        found = self.all.get(id) if isinstance(id, str) else None
        if found is None:
            raise NotThere("there is no such job: it was deleted")
        return found

    def place(self, entry: Entry) -> Path:
        """The folder of a job."""
        return self.folder / entry.id

    async def add(self, body: Any) -> Entry:
        """A new job, checked as far as it can be before its picture is read; the last in the queue.

        Raises:
            InputError: what cannot be used in it.
        """
        if len(self.all) >= MOST_JOBS:
            raise InputError(f"{MOST_JOBS} jobs are the most: delete some", code="size")
        async with self._adding:  # the order in which they came
            return await self._added(body)

    async def _added(self, body: Any) -> Entry:
        id = new_id()  # noqa: A001
        place = self.folder / id
        out = place / "out"
        out.mkdir(parents=True, mode=0o700)
        try:
            wanted = asked(
                body, place, self.files.upload, classifiers=self.settings.classifiers, threads=self.settings.threads
            )
            name = "class" if wanted.job.input is None else wanted.names[wanted.job.input]
            checked, _ = await self.prober.ask("check", job=wanted.job.to_json(), out=str(out), stem=stem_of(name))
        except InputError as error:
            remove(place)
            raise InputError(_without(str(error), place), code=error.code) from error
        except BaseException:
            remove(place)
            raise
        (place / "job.json").write_text(checked["job"], encoding="utf-8")
        names: dict[str, str] = checked["names"]
        shown = {key: value for key, value in names.items() if key == "output" or is_asked(body, key)}
        entry = Entry(
            id=id,
            number=1 + max((each.number for each in self.all.values()), default=0),
            task=wanted.job.task,
            file=wanted.file,
            name=name,
            created=time.time(),
            command=command_line(wanted.job, wanted.names, shown),
            options=_plain(body.get("options")),
            names=names,
            paths={**wanted.names, **{str(path): names[path.stem] for path in outputs_of(checked["job"])}},
            allow_code=wanted.allow_code,
            is_restoration=checked["restores"],
            threads=wanted.job.run.threads or 1,
        )
        self._save(entry)
        self.all[id] = entry
        self.files.recount()
        self._tell(entry)
        self._fill()
        return entry

    # ------------------------------------------------------------------ orders

    def order(self, id: str, what: Literal["pause", "resume", "cancel", "finish"]) -> Entry:  # noqa: A002
        """Pause a job, let it go on, or end it with the best so far; one that has ended stays as it is."""
        entry = self.get(id)
        if entry.state in ENDED:
            return entry
        running = entry.id in self._attending
        if what == "pause":
            if running:
                self._send(entry, "pause")
            else:
                entry.state = "paused"
        elif what == "resume":
            if running:
                self._send(entry, "resume")
                entry.state = "running"
            elif entry.state == "paused":
                entry.state = "waiting"
        elif running:
            self._send(entry, what)
            self._orders[entry.id] = what  # for the next process, if this one is leaving after a pause
            entry.phase = "ending"
        elif self._has_checkpoint(entry):  # the best so far is in it
            self._orders[entry.id] = what
            self._begin(entry)
        else:
            self._end(entry, {"state": "cancelled", "lines": ["ended before it was begun"]})
        self._save(entry)
        self._tell(entry)
        self._fill()
        return entry

    def _has_checkpoint(self, entry: Entry) -> bool:
        return any((self.place(entry) / "out").glob("*.checkpoint"))

    def _send(self, entry: Entry, order: str) -> None:
        process = self._processes.get(entry.id)
        if process is None or process.stdin is None:
            self._orders[entry.id] = order
            return
        with contextlib.suppress(OSError, RuntimeError):
            process.stdin.write(f"{order}\n".encode())

    async def delete(self, id: str) -> None:  # noqa: A002
        """Remove a job and all that it has written; one at work is ended first."""
        entry = self.get(id)
        self._deleted.add(id)
        del self.all[id]
        process, task = self._processes.get(id), self._attending.get(id)
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        if task is not None:
            await asyncio.wait([task], timeout=5)
        await asyncio.to_thread(remove, self.place(entry))
        self.files.recount()
        self.hub.tell("job-gone", id, {"id": id})
        self._fill()

    # ------------------------------------------------------------------ processes

    def _fill(self) -> None:
        """Begin with the next jobs while there are workers."""
        if self._is_over:
            return
        waiting = sorted((e for e in self.all.values() if e.state == "waiting"), key=lambda entry: entry.number)
        for entry in waiting:
            if len(self._attending) >= self.settings.workers:
                return
            if entry.id not in self._attending:
                self._begin(entry)

    def _begin(self, entry: Entry) -> None:
        if entry.allow_code and not self._may_run_code(entry):
            error = "its classifier is a module:function that this studio was not started with: --classifier"
            self._end(entry, {"state": "failed", "error": error, "code": "classifier"})
            return
        entry.state, entry.phase, entry.attempts = "running", "starting", entry.attempts + 1
        entry.begun, entry.earlier_previews = entry.begun or time.time(), entry.preview
        self._save(entry)
        self._tell(entry)
        self._attending[entry.id] = asyncio.ensure_future(self._attend(entry))

    def _may_run_code(self, entry: Entry) -> bool:
        try:
            job = Job.from_json((self.place(entry) / "job.json").read_text(encoding="utf-8"))
        except (OSError, InputError):
            return False
        return all(each in self.settings.classifiers for each in code_in(job))

    async def _attend(self, entry: Entry) -> None:
        """One process of a job, from its start to what has become of it."""
        process = None
        try:
            process = self._processes[entry.id] = await self._workers.started(self.place(entry), code=entry.allow_code)
            order = self._orders.get(entry.id)
            if order is not None:
                self._send(entry, order)
            if order in ("pause", "resume"):
                del self._orders[entry.id]
            await self._listen(entry, process)
            await process.wait()
        except Exception as error:
            self._end(
                entry, {"state": "failed", "error": f"its process could not be started: {error}", "code": "device"}
            )
        finally:
            self._processes.pop(entry.id, None)
            self._attending.pop(entry.id, None)
        if entry.id in self._deleted or self._is_over:
            return
        if process is not None and entry.state not in ENDED:
            self._became(entry, process.returncode)
        self._fill()
        if not self._attending:
            await self._workers.keep_spare()

    async def _listen(self, entry: Entry, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            with contextlib.suppress(ValueError, TypeError, AttributeError):
                self._hear(entry, json.loads(line))

    def _hear(self, entry: Entry, said: dict[str, Any]) -> None:
        entry.hear(said)
        if said.get("paused"):
            self._save(entry)
        if entry.step > entry.saved_step and entry.attempts > 1:
            entry.attempts, entry.saved_step = 1, entry.step
            self._save(entry)
        self._tell(entry)

    def _became(self, entry: Entry, code: int | None) -> None:
        """What its process has left behind."""
        outcome = read_json(self.place(entry) / OUTCOME)
        if outcome is not None:
            self._end(entry, outcome)
        elif entry.state == "paused" or (code == 0 and self._has_checkpoint(entry)):
            entry.state = "paused" if entry.state == "paused" else "waiting"
            entry.phase, entry.seconds_left = "", None
            self._save(entry)
        else:
            how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
            error = f"its process ended ({how}), perhaps for lack of memory: take a smaller picture, or a crop"
            self._end(entry, {"state": "failed", "error": error, "code": "memory"})
        self._tell(entry)

    def _end(self, entry: Entry, outcome: dict[str, Any]) -> None:
        self._orders.pop(entry.id, None)
        entry.end(outcome, has_result=(self.place(entry) / "result.npy").exists())
        if entry.report is not None and entry.is_restoration and entry.state == "done" and not entry.options:
            self.paces.learn(entry.task, entry.report)
        self.files.recount()
        self._save(entry)
        self._tell(entry)

    def _save(self, entry: Entry) -> None:
        if entry.id not in self._deleted:
            with contextlib.suppress(OSError):
                write_json(self.place(entry) / "state.json", asdict(entry))

    def _tell(self, entry: Entry) -> None:
        if entry.id not in self._deleted:
            self.hub.tell("job", entry.id, entry.shown())

    async def close(self) -> None:
        """Let the processes save their checkpoints; the next server goes on with them."""
        self._is_over = True
        await self._workers.close()
        for process in list(self._processes.values()):
            if process.stdin is not None:
                process.stdin.close()
        tasks = list(self._attending.values())
        if tasks:
            await asyncio.wait(tasks, timeout=_TO_LEAVE)
        for process in list(self._processes.values()):
            await killed(process)
        await asyncio.gather(*self._tasks, *tasks, return_exceptions=True)


def _plain(options: Any) -> dict[str, Any]:
    return options if isinstance(options, dict) else {}


def _without(text: str, place: Path) -> str:
    return text.replace(f"{place}/out/", "").replace(f"{place}/", "").replace(str(place), "")
