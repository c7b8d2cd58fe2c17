"""The application: addresses, and what is done at each; everything it answers is JSON, a picture, a file or the page."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from preimage.errors import InputError
from preimage.extras import EXTRAS, missing_of
from preimage.studio.answers import HANDLERS, body_of, download_of, error_answer, png_answer
from preimage.studio.forms import forms
from preimage.studio.guard import Guard
from preimage.studio.job_addresses import JobAddresses
from preimage.studio.parts import Parts
from preimage.studio.settings import Settings
from preimage.studio.uploads import NotThere
from preimage.version import __version__

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
}
Handler = Callable[[Request], Awaitable[Response]]


class Addresses:
    """Handlers of requests.

    Args:
        studio: what is behind them.
    """

    def __init__(self, studio: Parts) -> None:
        self.studio = studio
        self.page: dict[str, Path] = _page_files()

    # ------------------------------------------------------------------ the page

    async def index(self, request: Request) -> Response:
        return self._file_of_page("index.html", request)

    async def file_of_page(self, request: Request) -> Response:
        return self._file_of_page(request.path_params["name"], request)

    def _file_of_page(self, name: str, request: Request) -> Response:
        path = self.page.get(name)
        if path is None:
            raise NotThere("there is no such file")
        data = path.read_bytes()
        tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        headers = {"etag": tag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(data, headers=headers, media_type=_KINDS.get(path.suffix, "application/octet-stream"))

    async def start(self, request: Request) -> Response:
        del request
        settings, limits = self.studio.settings, self.studio.settings.limits
        return JSONResponse(
            {
                "version": __version__,
                "device": self.studio.views.device,
                "threads": settings.threads,
                "workers": settings.workers,
                "limits": {"bytes": limits.bytes, "pixels": limits.pixels, "quota": limits.quota},
                "root": settings.root is not None,
                "code_classifiers": list(settings.classifiers),
                "tasks": list(await asyncio.to_thread(forms)),
                "extras": {name: not missing_of(name) for name in EXTRAS},
            }
        )

    async def events(self, request: Request) -> Response:
        del request
        stream = self.studio.hub.opened()
        if stream is None:
            return error_answer(503, "too many pages are open: close some", "busy")
        return StreamingResponse(
            aiter(stream),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    async def shutdown(self, request: Request) -> Response:
        del request
        self.studio.hub.end()
        asyncio.get_running_loop().call_later(0.2, self.studio.stop)
        return JSONResponse({})

    # ------------------------------------------------------------------ files

    async def add_file(self, request: Request) -> Response:
        file = await self._received(request, unquote(request.headers.get("x-name", "file"), errors="replace"))
        if file.kind == "picture":
            self.studio.files.find_facts(file)
        self.studio.hub.tell("file", file.id, file.shown())
        return JSONResponse(file.shown(), 201)

    async def add_mask(self, request: Request) -> Response:
        picture = self.studio.files.get(request.query_params.get("of"))
        file = await self._received(request, "mask.png", kind="mask", of=picture.id)
        try:
            await self.studio.views.ask(
                "mask",
                path=str(self.studio.files.path_of(file)),
                of=str(self.studio.files.path_of(picture)),
                pixels=self.studio.settings.limits.pixels,
            )
        except InputError as error:
            self.studio.files.delete(file.id)
            raise InputError(
                str(error).replace(str(self.studio.files.path_of(file)), "the mask"), code=error.code
            ) from error
        self.studio.hub.tell("file", file.id, file.shown())
        return JSONResponse(file.shown(), 201)

    async def _received(self, request: Request, name: str, **more: Any) -> Any:
        length = request.headers.get("content-length")
        announced = int(length) if length is not None and length.isascii() and length.isdigit() else None
        return await self.studio.files.receive(request.stream(), name, announced, **more)

    async def list_files(self, request: Request) -> Response:
        del request
        return JSONResponse([file.shown() for file in self.studio.files.all.values()])

    async def one_file(self, request: Request) -> Response:
        return JSONResponse(self.studio.files.get(request.path_params["id"]).shown())

    async def delete_file(self, request: Request) -> Response:
        self.studio.files.delete(request.path_params["id"])
        return JSONResponse({})

    async def raw_file(self, request: Request) -> Response:
        file = self.studio.files.get(request.path_params["id"])
        return download_of(self.studio.files.path_of(file), file.name)

    async def view_file(self, request: Request) -> Response:
        return await self._view_file(request, dict(request.query_params))

    async def thumbnail(self, request: Request) -> Response:
        return await self._view_file(request, {"out": "128", "page": "1"})

    async def _view_file(self, request: Request, query: dict[str, Any]) -> Response:
        file = self.studio.files.get(request.path_params["id"])
        path = self.studio.files.path_of(file)
        if file.facts is None and file.kind == "picture":
            await self.studio.views.ask("claims", path=str(path), pixels=self.studio.settings.limits.pixels)
        try:
            size, data = await self.studio.views.ask("view", path=str(path), query=query)
        except InputError as error:
            raise InputError(str(error).replace(str(path), file.name), code=error.code) from error
        del size
        return png_answer(data)

    # ------------------------------------------------------------------ folders

    async def list_folder(self, request: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(self.studio.folders.listed, request.query_params.get("path", "")))

    async def add_run(self, request: Request) -> Response:
        return JSONResponse((await self.studio.folders.add(await body_of(request))).shown(), 201)

    async def list_runs(self, request: Request) -> Response:
        del request
        return JSONResponse([run.shown() for run in self.studio.folders.all.values()])

    async def one_run(self, request: Request) -> Response:
        return JSONResponse(self.studio.folders.get(request.path_params["id"]).shown(rows=True))

    async def order_run(self, request: Request) -> Response:
        return JSONResponse(self.studio.folders.order(request.path_params["id"], request.path_params["order"]).shown())

    async def delete_run(self, request: Request) -> Response:
        await self.studio.folders.delete(request.path_params["id"])
        return JSONResponse({})

    async def view_run(self, request: Request) -> Response:
        query = dict(request.query_params)
        what = "output" if query.pop("what", "output") != "input" else "input"
        return png_answer(
            await self.studio.folders.view(request.path_params["id"], request.path_params["name"], what, query)
        )


class StudioApp(Guard):
    """The application behind its guard.

    Args:
        app: what is behind the guard.
        settings: what the studio is started with.
        studio: what is behind the addresses.
    """

    def __init__(self, app: Any, settings: Settings, studio: Parts) -> None:
        super().__init__(app, settings)
        self.studio = studio


def application(settings: Settings, stop: Callable[[], object] = lambda: None) -> StudioApp:
    """The application behind its guard.

    Args:
        settings: what the studio is started with.
        stop: ends the server.
    """
    studio = Parts(settings, stop)
    at, at_jobs = Addresses(studio), JobAddresses(studio)
    job, file, run = "/api/jobs/{id}", "/api/files/{id}", "/api/folders/runs/{id}"
    routes = [
        Route("/", at.index),
        Route("/page/{name}", at.file_of_page),
        Route("/api/start", at.start),
        Route("/api/events", at.events),
        Route("/api/shutdown", at.shutdown, methods=["POST"]),
        Route("/api/files", at.list_files, methods=["GET"]),
        Route("/api/files", at.add_file, methods=["POST"]),
        Route("/api/masks", at.add_mask, methods=["POST"]),
        Route(file, at.one_file, methods=["GET"]),
        Route(file, at.delete_file, methods=["DELETE"]),
        Route(f"{file}/view", at.view_file),
        Route(f"{file}/thumbnail", at.thumbnail),
        Route(f"{file}/raw", at.raw_file),
        Route("/api/jobs", at_jobs.list_jobs, methods=["GET"]),
        Route("/api/jobs", at_jobs.add_job, methods=["POST"]),
        Route(job, at_jobs.one_job, methods=["GET"]),
        Route(job, at_jobs.delete_job, methods=["DELETE"]),
        *(
            Route(f"{job}/{order}", _with(at_jobs.order_job, order), methods=["POST"])
            for order in ("pause", "resume", "cancel", "finish")
        ),
        Route(f"{job}/curve", at_jobs.curve),
        Route(f"{job}/preview/{{number:int}}", at_jobs.preview),
        Route(f"{job}/view/{{what}}", at_jobs.view_job),
        Route(f"{job}/histogram", at_jobs.histogram),
        Route(f"{job}/download/{{what}}", at_jobs.download),
        Route("/api/classify", at_jobs.classify, methods=["POST"]),
        Route("/api/folders", at.list_folder, methods=["GET"]),
        Route("/api/folders", at.add_run, methods=["POST"]),
        Route("/api/folders/runs", at.list_runs),
        Route(run, at.one_run, methods=["GET"]),
        Route(run, at.delete_run, methods=["DELETE"]),
        *(Route(f"{run}/{order}", _with(at.order_run, order), methods=["POST"]) for order in ("stop", "resume")),
        Route(f"{run}/view/{{name:path}}", at.view_run),
    ]
    app = Starlette(
        routes=routes,
        lifespan=studio.lifespan,
        exception_handlers=HANDLERS,
    )
    return StudioApp(app, settings, studio)


def _with(handler: Handler, order: str) -> Handler:
    async def handled(request: Request) -> Response:
        request.path_params["order"] = order
        return await handler(request)

    return handled


def _page_files() -> dict[str, Path]:
    """The files of the page by name: these, and nothing else, are sent."""
    folder = Path(str(resources.files("preimage.studio"))) / "page"
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix in _KINDS}
