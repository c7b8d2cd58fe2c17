"""The application: addresses, and what is done at each; everything it answers is JSON, a picture, a file or the page."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from preimage.errors import InputError
from preimage.studio.asked import asked
from preimage.studio.curves import curves_of
from preimage.studio.events import Hub
from preimage.studio.extras import installed_extras
from preimage.studio.folders import Folders
from preimage.studio.forms import forms
from preimage.studio.guard import Guard, Slow
from preimage.studio.probing import Busy, Prober, environment
from preimage.studio.queue import Entry, Jobs
from preimage.studio.settings import Settings
from preimage.studio.state import ending_of, new_id, remove
from preimage.studio.uploads import Files, NotThere, TooLarge
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
_PROBING_SECONDS = 300.0
_MOST_BODY = 2**20
Handler = Callable[[Request], Awaitable[Response]]


class Studio:
    """All that is behind the addresses.

    Args:
        settings: what the studio was started with.
        stop: ends the server.
    """

    def __init__(self, settings: Settings, stop: Callable[[], object] = lambda: None) -> None:
        self.settings, self.stop = settings, stop
        base = settings.folder
        idle = base / "empty"
        idle.mkdir(exist_ok=True)
        self.hub: Hub = Hub()
        self.views: Prober = self._prober(idle)
        self.slow: Prober = self._prober(idle, yields=True)
        self.classes: Prober = self._prober(idle, code=bool(settings.classifiers))
        self.files: Files = Files(
            base / "files", settings, self.hub, self.views, self.slow, lambda: self.jobs.paces_now
        )
        self.jobs: Jobs = Jobs(base / "jobs", settings, self.files, self.hub, self.views)
        self.folders: Folders = Folders(base / "folders", settings, self.files, self.hub, self.views)
        self.page: dict[str, Path] = _page_files()

    def _prober(self, folder: Path, *, code: bool = False, yields: bool = False) -> Prober:
        more = (Path.cwd(),) if code else ()
        return Prober(
            folder,
            memory=self.settings.memory,
            seconds=_PROBING_SECONDS,
            environment=environment(more=more),
            yields=yields,
        )

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
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
        settings, limits = self.settings, self.settings.limits
        return JSONResponse(
            {
                "version": __version__,
                "device": os.environ.get("PREIMAGE_DEVICE", "auto"),
                "threads": settings.threads,
                "workers": settings.workers,
                "limits": {"bytes": limits.bytes, "pixels": limits.pixels, "quota": limits.quota},
                "root": settings.root is not None,
                "code_classifiers": list(settings.classifiers),
                "tasks": list(await asyncio.to_thread(forms)),
                "extras": await asyncio.to_thread(installed_extras),
            }
        )

    async def events(self, request: Request) -> Response:
        del request
        stream = self.hub.opened()
        if stream is None:
            return _error(503, "too many pages are open: close some", "busy")
        return StreamingResponse(
            aiter(stream),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    async def shutdown(self, request: Request) -> Response:
        del request
        self.hub.end()
        asyncio.get_running_loop().call_later(0.2, self.stop)
        return JSONResponse({})

    # ------------------------------------------------------------------ files

    async def add_file(self, request: Request) -> Response:
        file = await self._received(request, unquote(request.headers.get("x-name", "file"), errors="replace"))
        if file.kind == "picture":
            self.files.find_facts(file)
        self.hub.tell("file", file.id, file.shown())
        return JSONResponse(file.shown(), 201)

    async def add_mask(self, request: Request) -> Response:
        picture = self.files.get(request.query_params.get("of"))
        file = await self._received(request, "mask.png", kind="mask", of=picture.id)
        try:
            await self.views.ask(
                "mask",
                path=str(self.files.path_of(file)),
                of=str(self.files.path_of(picture)),
                pixels=self.settings.limits.pixels,
            )
        except InputError as error:
            self.files.delete(file.id)
            raise InputError(str(error).replace(str(self.files.path_of(file)), "the mask"), code=error.code) from error
        self.hub.tell("file", file.id, file.shown())
        return JSONResponse(file.shown(), 201)

    async def _received(self, request: Request, name: str, **more: Any) -> Any:
        length = request.headers.get("content-length")
        announced = int(length) if length is not None and length.isascii() and length.isdigit() else None
        return await self.files.receive(request.stream(), name, announced, **more)

    async def list_files(self, request: Request) -> Response:
        del request
        return JSONResponse([file.shown() for file in self.files.all.values()])

    async def one_file(self, request: Request) -> Response:
        return JSONResponse(self.files.get(request.path_params["id"]).shown())

    async def delete_file(self, request: Request) -> Response:
        self.files.delete(request.path_params["id"])
        return JSONResponse({})

    async def raw_file(self, request: Request) -> Response:
        file = self.files.get(request.path_params["id"])
        return _download(self.files.path_of(file), file.name)

    async def view_file(self, request: Request) -> Response:
        return await self._view_file(request, dict(request.query_params))

    async def thumbnail(self, request: Request) -> Response:
        return await self._view_file(request, {"out": "128", "page": "1"})

    async def _view_file(self, request: Request, query: dict[str, Any]) -> Response:
        file = self.files.get(request.path_params["id"])
        path = self.files.path_of(file)
        if file.facts is None and file.kind == "picture":
            await self.views.ask("claims", path=str(path), pixels=self.settings.limits.pixels)
        try:
            size, data = await self.views.ask("view", path=str(path), query=query)
        except InputError as error:
            raise InputError(str(error).replace(str(path), file.name), code=error.code) from error
        del size
        return _png(data)

    # ------------------------------------------------------------------ jobs

    async def add_job(self, request: Request) -> Response:
        return JSONResponse((await self.jobs.add(await _body(request))).shown(), 201)

    async def list_jobs(self, request: Request) -> Response:
        del request
        return JSONResponse([entry.shown() for entry in self.jobs.all.values()])

    async def one_job(self, request: Request) -> Response:
        return JSONResponse(self._job(request).shown())

    async def delete_job(self, request: Request) -> Response:
        await self.jobs.delete(request.path_params["id"])
        return JSONResponse({})

    async def order_job(self, request: Request) -> Response:
        return JSONResponse(self.jobs.order(request.path_params["id"], request.path_params["order"]).shown())

    def _job(self, request: Request) -> Entry:
        return self.jobs.get(request.path_params["id"])

    async def curve(self, request: Request) -> Response:
        entry = self._job(request)
        found = await asyncio.to_thread(curves_of, self.jobs.place(entry))
        rule = entry.rule or {"name": None, "threshold": None}
        shown = {"loss": found["loss"], "rule": {**rule, "points": found["score"]}}
        return JSONResponse({**shown, "probability": found["probability"]})

    async def preview(self, request: Request) -> Response:
        path = self.jobs.place(self._job(request)) / "preview.png"
        if not path.is_file():
            raise NotThere("there is no preview yet")
        return _png(await asyncio.to_thread(path.read_bytes))

    async def view_job(self, request: Request) -> Response:
        entry = self._job(request)
        folder, query = str(self.jobs.place(entry)), dict(request.query_params)
        with _in_names(entry):
            _, data = await self.views.ask("job_view", folder=folder, name=request.path_params["what"], query=query)
        return _png(data)

    async def histogram(self, request: Request) -> Response:
        entry = self._job(request)
        with _in_names(entry):
            found, _ = await self.views.ask(
                "histogram", folder=str(self.jobs.place(entry)), query=dict(request.query_params)
            )
        return JSONResponse(found)

    async def download(self, request: Request) -> Response:
        entry, what = self._job(request), request.path_params["what"]
        if what == "report":
            if entry.report is None:
                raise NotThere("there is no report")
            text = json.dumps(entry.report, indent=2)
            return Response(text, media_type="application/json", headers=_attached(f"{_stem(entry)}-report.json"))
        if what not in entry.names or what not in entry.outputs:
            raise NotThere(f"there is no {what}")
        place, name = self.jobs.place(entry) / "out", entry.names[what]
        path = place / f"{what}{ending_of(name)}"
        strength = request.query_params.get("strength")
        if what == "output" and strength not in (None, ""):
            path = await self._blend(entry, strength, path)
        if not path.is_file():
            raise NotThere(f"there is no {what}")
        return _download(path, name)

    async def _blend(self, entry: Entry, strength: str, path: Path) -> Path:
        try:
            value = float(strength)
        except ValueError as error:
            raise InputError("strength must be a number from 0 to 1", code="type") from error
        if not 0 <= value <= 1:
            raise InputError(f"strength must be from 0 to 1, got {value:g}")
        if not entry.has.get("blend"):
            raise InputError("there is nothing to blend the result with", code="option")
        folder = self.jobs.place(entry) / "blends"
        folder.mkdir(exist_ok=True)
        target = folder / f"{value:.4f}{path.suffix}"
        if not target.is_file():
            for old in folder.iterdir():  # one at a time is kept
                old.unlink(missing_ok=True)
            with _in_names(entry):
                await self.slow.ask(
                    "blend", folder=str(folder.parent), strength=value, target=str(target), allow_code=False
                )
        return target

    async def classify(self, request: Request) -> Response:
        body = await _body(request)
        if not isinstance(body, dict):
            raise InputError("it is {classifier, file, page}", code="type")
        place = self.settings.folder / "empty" / new_id()
        place.mkdir()
        try:
            options = {"classifier": body.get("classifier")}
            wanted = asked(
                {"task": "saliency", "file": body.get("file"), "options": options},
                place,
                self.files.upload,
                classifiers=self.settings.classifiers,
                threads=self.settings.threads,
            )
            page = body.get("page") if isinstance(body.get("page"), int) else None
            try:
                found, _ = await self.classes.ask(
                    "classify", classifier=wanted.job.options["classifier"], path=wanted.job.input, page=page
                )
            except InputError as error:
                text = str(error)
                for path, name in wanted.names.items():
                    text = text.replace(path, name)
                raise InputError(text, code=error.code) from error
        finally:
            remove(place)
        return JSONResponse(found)

    # ------------------------------------------------------------------ folders

    async def list_folder(self, request: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(self.folders.listed, request.query_params.get("path", "")))

    async def add_run(self, request: Request) -> Response:
        return JSONResponse((await self.folders.add(await _body(request))).shown(), 201)

    async def list_runs(self, request: Request) -> Response:
        del request
        return JSONResponse([run.shown() for run in self.folders.all.values()])

    async def one_run(self, request: Request) -> Response:
        return JSONResponse(self.folders.get(request.path_params["id"]).shown(rows=True))

    async def order_run(self, request: Request) -> Response:
        return JSONResponse(self.folders.order(request.path_params["id"], request.path_params["order"]).shown())

    async def delete_run(self, request: Request) -> Response:
        await self.folders.delete(request.path_params["id"])
        return JSONResponse({})

    async def view_run(self, request: Request) -> Response:
        query = dict(request.query_params)
        what = "output" if query.pop("what", "output") != "input" else "input"
        return _png(await self.folders.view(request.path_params["id"], request.path_params["name"], what, query))


class StudioApp(Guard):
    """The application behind its guard.

    Args:
        app: what is behind the guard.
        settings: what the studio is started with.
        studio: what is behind the addresses.
    """

    def __init__(self, app: Any, settings: Settings, studio: Studio) -> None:
        super().__init__(app, settings)
        self.studio = studio


def application(settings: Settings, stop: Callable[[], object] = lambda: None) -> StudioApp:
    """The application behind its guard.

    Args:
        settings: what the studio is started with.
        stop: ends the server.
    """
    studio = Studio(settings, stop)
    job, file, run = "/api/jobs/{id}", "/api/files/{id}", "/api/folders/runs/{id}"
    routes = [
        Route("/", studio.index),
        Route("/page/{name}", studio.file_of_page),
        Route("/api/start", studio.start),
        Route("/api/events", studio.events),
        Route("/api/shutdown", studio.shutdown, methods=["POST"]),
        Route("/api/files", studio.list_files, methods=["GET"]),
        Route("/api/files", studio.add_file, methods=["POST"]),
        Route("/api/masks", studio.add_mask, methods=["POST"]),
        Route(file, studio.one_file, methods=["GET"]),
        Route(file, studio.delete_file, methods=["DELETE"]),
        Route(f"{file}/view", studio.view_file),
        Route(f"{file}/thumbnail", studio.thumbnail),
        Route(f"{file}/raw", studio.raw_file),
        Route("/api/jobs", studio.list_jobs, methods=["GET"]),
        Route("/api/jobs", studio.add_job, methods=["POST"]),
        Route(job, studio.one_job, methods=["GET"]),
        Route(job, studio.delete_job, methods=["DELETE"]),
        *(
            Route(f"{job}/{order}", _with(studio.order_job, order), methods=["POST"])
            for order in ("pause", "resume", "cancel", "finish")
        ),
        Route(f"{job}/curve", studio.curve),
        Route(f"{job}/preview/{{number:int}}", studio.preview),
        Route(f"{job}/view/{{what}}", studio.view_job),
        Route(f"{job}/histogram", studio.histogram),
        Route(f"{job}/download/{{what}}", studio.download),
        Route("/api/classify", studio.classify, methods=["POST"]),
        Route("/api/folders", studio.list_folder, methods=["GET"]),
        Route("/api/folders", studio.add_run, methods=["POST"]),
        Route("/api/folders/runs", studio.list_runs),
        Route(run, studio.one_run, methods=["GET"]),
        Route(run, studio.delete_run, methods=["DELETE"]),
        *(Route(f"{run}/{order}", _with(studio.order_run, order), methods=["POST"]) for order in ("stop", "resume")),
        Route(f"{run}/view/{{name:path}}", studio.view_run),
    ]
    app = Starlette(
        routes=routes,
        lifespan=studio.lifespan,
        exception_handlers={
            InputError: _input_error,
            Busy: _busy,
            Slow: _slow,
            HTTPException: _http_error,
            Exception: _defect,
        },
    )
    return StudioApp(app, settings, studio)


def _with(handler: Handler, order: str) -> Handler:
    async def handled(request: Request) -> Response:
        request.path_params["order"] = order
        return await handler(request)

    return handled


async def _body(request: Request) -> Any:
    """The JSON of a request, within its limit."""
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > _MOST_BODY:
            raise TooLarge(f"more than {_MOST_BODY} bytes")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError("the request is no JSON", code="format") from error


@contextlib.contextmanager
def _in_names(entry: Entry) -> Any:
    """Errors name files as the user does."""
    try:
        yield
    except InputError as error:
        raise InputError(entry.plain(str(error)), code=error.code) from error


def _png(data: bytes) -> Response:
    return Response(data, media_type="image/png", headers={"cache-control": "no-store"})


def _download(path: Path, name: str) -> Response:
    return FileResponse(path, media_type="application/octet-stream", headers=_attached(name))


def _attached(name: str) -> dict[str, str]:
    """A browser saves it, and shows none of it as a page."""
    plain = "".join(each if each.isascii() and (each.isalnum() or each in " ._-()") else "_" for each in name)
    return {
        "content-disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}",
        "cache-control": "no-store",
    }


def _stem(entry: Entry) -> str:
    name = entry.names.get("output") or f"{entry.name}-{entry.task}"
    return Path(name).stem


def _error(status: int, line: str, code: str) -> JSONResponse:
    return JSONResponse({"error": line, "code": code}, status)


async def _input_error(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, InputError)
    status = 413 if isinstance(error, TooLarge) else 404 if isinstance(error, NotThere) else 422
    response = _error(status, " ".join(str(error).split()), error.code)
    if status == 413:
        response.headers["connection"] = "close"
    return response


async def _busy(request: Request, error: Exception) -> Response:
    del request, error
    return _error(503, "too much is asked for at once: try again", "busy")


async def _slow(request: Request, error: Exception) -> Response:
    del request, error
    response = _error(408, "the request came too slowly", "slow")
    response.headers["connection"] = "close"
    return response


async def _http_error(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, HTTPException)
    return _error(
        error.status_code,
        {404: "there is no such address", 405: "not in this way"}.get(error.status_code, "no"),
        "path",
    )


async def _defect(request: Request, error: Exception) -> Response:
    del request
    return _error(500, f"unexpected {type(error).__name__} (a defect: please report it)", "defect")


def _page_files() -> dict[str, Path]:
    """The files of the page by name: these, and nothing else, are sent."""
    folder = Path(str(resources.files("preimage.studio"))) / "page"
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix in _KINDS}
