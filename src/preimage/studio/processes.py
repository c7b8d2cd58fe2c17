"""Processes of jobs: one has imported its libraries before there is a job, so that the first one begins at once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from preimage.studio.probing import environment, killed, start

WORKER = "preimage.studio.worker"
Process = asyncio.subprocess.Process


class WorkerProcesses:
    """Starts the processes of jobs.

    Args:
        folder: in which one waits.
        memory: bytes that each may take.
    """

    def __init__(self, folder: Path, memory: int) -> None:
        self.folder = folder
        self.memory = memory
        self._spare: Process | None = None
        self._is_preparing = self._is_over = False

    async def started(self, place: Path, *, code: bool) -> Process:
        """The process of the job in a folder; `code`: it may import modules of the folder in which the studio was started."""
        if code and self._spare is not None:
            await self._end_spare()
        process, self._spare = self._spare, None
        if process is None or process.returncode is not None:
            process = await start(WORKER, [], place, environment(more=(Path.cwd(),) if code else ()))
        assert process.stdin is not None
        told = {"folder": str(place), "memory": self.memory, "code": code}
        process.stdin.write(json.dumps(told).encode() + b"\n")
        return process

    async def keep_spare(self) -> None:
        """Have a process that waits for a job."""
        if self._is_over or self._spare is not None or self._is_preparing:
            return
        self._is_preparing = True
        try:
            self._spare = await start(WORKER, [], self.folder, environment())
        finally:
            self._is_preparing = False
        if self._is_over:
            await self._end_spare()

    async def close(self) -> None:
        """Let the one that waits go."""
        self._is_over = True
        await self._end_spare()

    async def _end_spare(self) -> None:
        process, self._spare = self._spare, None
        if process is not None:
            await killed(process)
