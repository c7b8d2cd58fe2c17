"""The process that reads pictures for the server: one request at a time, with a limit on its time and memory.

A file that ends it ends nothing else: the next request is for a new process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from preimage.errors import InputError

MOST_LINE = 2**24
_IDLE = 120.0  # seconds
_MOST_WAITING = 64  # requests of one process: a page that asks for more is told to wait


class Busy(Exception):
    """More requests than are kept waiting."""


class Prober:
    """A process of `preimage.studio.probe`, started when it is needed, and again when it has died.

    Args:
        folder: where it runs.
        memory: bytes that it may take.
        seconds: that a request may take.
        environment: of the process.
        yields: whether it leaves the processor to others, and ends when it has not been needed for a while.
    """

    def __init__(
        self, folder: Path, *, memory: int, seconds: float, environment: dict[str, str], yields: bool = False
    ) -> None:
        self.folder = folder
        self.memory = memory
        self.seconds = seconds
        self.environment = environment
        self.yields = yields
        self.device: str = "auto"  # that on which a job computes, once the process has told it
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._used = time.monotonic()
        self._is_over = False
        self._leaving: set[asyncio.Task[None]] = set()

    async def warm(self) -> None:
        """Start the process before it is needed."""
        with contextlib.suppress(InputError, Busy):
            self.device, _ = await self.ask("device")

    async def ask(self, what: str, *, patient: bool = False, **details: Any) -> tuple[Any, bytes]:
        """A value, and bytes with some of them.

        Raises:
            InputError: what is wrong with the file or the request.
            Busy: too many requests wait already, and this one is not patient.
        """
        if self._waiting >= _MOST_WAITING and not patient:
            raise Busy
        self._waiting += 1
        try:  # a page that has gone away must not leave half of an answer in the pipe
            task = asyncio.ensure_future(self._asked({"what": what, **details}))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be there to hear it
            return await asyncio.shield(task)
        finally:
            self._waiting -= 1
            self._used = time.monotonic()
            if self.yields:
                asyncio.get_running_loop().call_later(_IDLE + 1, self._leave)

    async def _asked(self, request: dict[str, Any]) -> tuple[Any, bytes]:
        async with self._turn:
            process = await self._running()
            try:
                answer, data = await asyncio.wait_for(self._exchange(process, request), self.seconds)
            except TimeoutError as error:
                await self._end()
                raise InputError(
                    f"it took more than {self.seconds:.0f} s and was given up: take a smaller picture", code="memory"
                ) from error
            except (OSError, asyncio.IncompleteReadError, ValueError) as error:
                await self._end()
                raise InputError(
                    "reading it ended the process that read it (damaged, or too large for the memory): "
                    "get or save the file again",
                    code="unreadable",
                ) from error
        if "error" in answer:
            raise InputError(answer["error"], code=answer.get("code", "unreadable"))
        return answer["value"], data

    async def _exchange(self, process: asyncio.subprocess.Process, request: dict[str, Any]) -> tuple[Any, bytes]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request).encode() + b"\n")
        await process.stdin.drain()
        line = await process.stdout.readuntil(b"\n")
        answer = json.loads(line)
        return answer, await process.stdout.readexactly(answer.get("bytes", 0))

    async def _running(self) -> asyncio.subprocess.Process:
        if self._is_over:
            raise InputError("the studio ends", code="device")
        if self._process is not None and self._process.returncode is None:
            return self._process
        self._process = await start(
            "preimage.studio.probe",
            [str(self.memory), "nice" if self.yields else "prompt"],
            self.folder,
            self.environment,
        )
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await killed(process)

    def _leave(self) -> None:
        """Let a process go that has had nothing to do."""
        process = self._process
        if process is not None and not self._waiting and time.monotonic() - self._used > _IDLE:
            self._process = None
            task = asyncio.ensure_future(killed(process))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """End the process."""
        self._is_over = True
        await self._end()
        await asyncio.gather(*self._leaving)


async def killed(process: asyncio.subprocess.Process) -> None:
    """End a process, and wait until it has."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


async def start(
    module: str, arguments: list[str], folder: Path, environment: dict[str, str], log: Any = asyncio.subprocess.DEVNULL
) -> asyncio.subprocess.Process:
    """A process of a module of ours in a folder, from which it imports nothing; what it prints elsewhere goes to `log`."""
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-P", "-m", module, *arguments]
    return await asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=pipe, stderr=log, cwd=folder, env=environment, limit=MOST_LINE
    )


def environment(*, more: tuple[Path, ...] = ()) -> dict[str, str]:
    """This process's environment, with its places of modules, this package's among them; `more` places where code may be."""
    own = dict(os.environ)
    places = [str(Path(__file__).parents[2])]
    places += [os.path.abspath(each) for each in own.get("PYTHONPATH", "").split(os.pathsep) if each]  # noqa: PTH100
    return own | {"PYTHONPATH": os.pathsep.join([*places, *map(str, more)])}
