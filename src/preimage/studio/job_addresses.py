"""What is done at the addresses of jobs: they are added, ordered, looked at and taken; and a picture is classified."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from preimage.errors import InputError
from preimage.studio.answers import attached, body_of, download_of, in_names, png_answer
from preimage.studio.asked import asked
from preimage.studio.curves import curves_of
from preimage.studio.entry import Entry
from preimage.studio.state import ending_of, new_id, remove
from preimage.studio.uploads import NotThere

if TYPE_CHECKING:
    from preimage.studio.parts import Parts


class JobAddresses:
    """Handlers of requests.

    Args:
        studio: what is behind them.
    """

    def __init__(self, studio: Parts) -> None:
        self.studio = studio

    async def add_job(self, request: Request) -> Response:
        return JSONResponse((await self.studio.jobs.add(await body_of(request))).shown(), 201)

    async def list_jobs(self, request: Request) -> Response:
        del request
        return JSONResponse([entry.shown() for entry in self.studio.jobs.all.values()])

    async def one_job(self, request: Request) -> Response:
        return JSONResponse(self._job(request).shown())

    async def delete_job(self, request: Request) -> Response:
        await self.studio.jobs.delete(request.path_params["id"])
        return JSONResponse({})

    async def order_job(self, request: Request) -> Response:
        return JSONResponse(self.studio.jobs.order(request.path_params["id"], request.path_params["order"]).shown())

    def _job(self, request: Request) -> Entry:
        return self.studio.jobs.get(request.path_params["id"])

    async def curve(self, request: Request) -> Response:
        entry = self._job(request)
        found = await asyncio.to_thread(curves_of, self.studio.jobs.place(entry))
        rule = entry.rule or {"name": None, "threshold": None}
        shown = {"loss": found["loss"], "rule": {**rule, "points": found["score"]}}
        return JSONResponse({**shown, "probability": found["probability"]})

    async def preview(self, request: Request) -> Response:
        path = self.studio.jobs.place(self._job(request)) / "preview.png"
        if not path.is_file():
            raise NotThere("there is no preview yet")
        return png_answer(await asyncio.to_thread(path.read_bytes))

    async def view_job(self, request: Request) -> Response:
        entry = self._job(request)
        folder, query = str(self.studio.jobs.place(entry)), dict(request.query_params)
        with in_names(entry):
            _, data = await self.studio.views.ask(
                "job_view", folder=folder, name=request.path_params["what"], query=query
            )
        return png_answer(data)

    async def histogram(self, request: Request) -> Response:
        entry = self._job(request)
        with in_names(entry):
            found, _ = await self.studio.views.ask(
                "histogram", folder=str(self.studio.jobs.place(entry)), query=dict(request.query_params)
            )
        return JSONResponse(found)

    async def download(self, request: Request) -> Response:
        entry, what = self._job(request), request.path_params["what"]
        if what == "report":
            if entry.report is None:
                raise NotThere("there is no report")
            text = json.dumps(entry.report, indent=2)
            return Response(text, media_type="application/json", headers=attached(f"{report_stem(entry)}-report.json"))
        if what not in entry.names or what not in entry.outputs:
            raise NotThere(f"there is no {what}")
        place, name = self.studio.jobs.place(entry) / "out", entry.names[what]
        path = place / f"{what}{ending_of(name)}"
        strength = request.query_params.get("strength")
        if what == "output" and strength not in (None, ""):
            path = await self._blend(entry, strength, path)
        if not path.is_file():
            raise NotThere(f"there is no {what}")
        return download_of(path, name)

    async def _blend(self, entry: Entry, strength: str, path: Path) -> Path:
        try:
            value = float(strength)
        except ValueError as error:
            raise InputError("strength must be a number from 0 to 1", code="type") from error
        if not 0 <= value <= 1:
            raise InputError(f"strength must be from 0 to 1, got {value:g}")
        if not entry.has.get("blend"):
            raise InputError("there is nothing to blend the result with", code="option")
        folder = self.studio.jobs.place(entry) / "blends"
        folder.mkdir(exist_ok=True)
        target = folder / f"{value:.4f}{path.suffix}"
        if not target.is_file():
            for old in folder.iterdir():  # one at a time is kept
                old.unlink(missing_ok=True)
            with in_names(entry):
                await self.studio.slow.ask(
                    "blend", folder=str(folder.parent), strength=value, target=str(target), allow_code=False
                )
        return target

    async def classify(self, request: Request) -> Response:
        body = await body_of(request)
        if not isinstance(body, dict):
            raise InputError("it is {classifier, file, page}", code="type")
        place = self.studio.settings.folder / "empty" / new_id()
        place.mkdir()
        try:
            options = {"classifier": body.get("classifier")}
            wanted = asked(
                {"task": "saliency", "file": body.get("file"), "options": options},
                place,
                self.studio.files.upload,
                classifiers=self.studio.settings.classifiers,
                threads=self.studio.settings.threads,
            )
            page = body.get("page") if isinstance(body.get("page"), int) else None
            try:
                found, _ = await self.studio.classes.ask(
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


def report_stem(entry: Entry) -> str:
    """What the report of a job is called, but for its ending."""
    return Path(entry.names.get("output") or f"{entry.name}-{entry.task}").stem
