"""The parts of a studio, which begin and end together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from preimage.studio.events import Hub
from preimage.studio.folders import Folders
from preimage.studio.probing import Prober, environment
from preimage.studio.queue import Jobs
from preimage.studio.settings import Settings
from preimage.studio.uploads import Files

_PROBING_SECONDS = 300.0


class Parts:
    """All that is behind the addresses.

    Args:
        settings: what the studio was started with.
        stop: ends the server.
    """

    def __init__(self, settings: Settings, stop: Callable[[], object] = lambda: None) -> None:
        self.settings = settings
        self.stop = stop
        base = settings.folder
        idle = base / "empty"
        idle.mkdir(exist_ok=True)
        self.hub: Hub = Hub()
        self.views: Prober = self._prober(idle)
        self.slow: Prober = self._prober(idle, yields=True)
        self.classes: Prober = self._prober(idle, code=bool(settings.classifiers), yields=True)
        self.files: Files = Files(
            base / "files", settings, self.hub, self.views, self.slow, lambda: self.jobs.paces_now
        )
        self.jobs: Jobs = Jobs(base / "jobs", settings, self.files, self.hub, self.views)
        self.folders: Folders = Folders(base / "folders", settings, self.files, self.hub, self.views)

    def _prober(self, folder: Path, *, code: bool = False, yields: bool = False) -> Prober:
        more = (Path.cwd(),) if code else ()
        return Prober(
            folder,
            memory=self.settings.memory // 2,
            seconds=_PROBING_SECONDS,
            environment=environment(more=more),
            yields=yields,
        )

    @contextlib.asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:
        """From the start of the server to its end."""
        del app
        warming = asyncio.ensure_future(self.views.warm())
        self.jobs.begin()
        self.folders.begin()
        self.files.begin()
        try:
            yield
        finally:
            warming.cancel()
            self.hub.end()
            self.files.close()
            await asyncio.gather(self.jobs.close(), self.folders.close())
            for prober in (self.views, self.slow, self.classes):
                await prober.close()
