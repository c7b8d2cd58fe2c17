"""Answers: JSON, pictures, files that a browser saves and never shows as a page, and errors of one line."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from preimage.errors import InputError
from preimage.studio.entry import Entry
from preimage.studio.guard import Slow
from preimage.studio.probing import Busy
from preimage.studio.uploads import NotThere, TooLarge

_MOST_BODY = 2**20


async def body_of(request: Request) -> Any:
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
def in_names(entry: Entry) -> Iterator[None]:
    """Errors name files as the user does."""
    try:
        yield
    except InputError as error:
        raise InputError(entry.plain(str(error)), code=error.code) from error


def png_answer(data: bytes) -> Response:
    """A picture, of this moment."""
    return Response(data, media_type="image/png", headers={"cache-control": "no-store"})


def download_of(path: Path, name: str) -> Response:
    """A file that a browser saves."""
    return FileResponse(path, media_type="application/octet-stream", headers=attached(name))


def attached(name: str) -> dict[str, str]:
    """A browser saves it, and shows none of it as a page."""
    plain = "".join(each if each.isascii() and (each.isalnum() or each in " ._-()") else "_" for each in name)
    return {
        "content-disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}",
        "cache-control": "no-store",
    }


def error_answer(status: int, line: str, code: str) -> JSONResponse:
    """An error: one line for people, a code for programs."""
    return JSONResponse({"error": line, "code": code}, status)


async def _input_error(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, InputError)
    status = 413 if isinstance(error, TooLarge) else 404 if isinstance(error, NotThere) else 422
    response = error_answer(status, " ".join(str(error).split()), error.code)
    if status == 413:
        response.headers["connection"] = "close"
    return response


async def _busy(request: Request, error: Exception) -> Response:
    del request, error
    return error_answer(503, "too much is asked for at once: try again", "busy")


async def _slow(request: Request, error: Exception) -> Response:
    del request, error
    response = error_answer(408, "the request came too slowly", "slow")
    response.headers["connection"] = "close"
    return response


async def _http_error(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, HTTPException)
    return error_answer(
        error.status_code,
        {404: "there is no such address", 405: "not in this way"}.get(error.status_code, "no"),
        "path",
    )


async def _defect(request: Request, error: Exception) -> Response:
    del request
    return error_answer(500, f"unexpected {type(error).__name__} (a defect: please report it)", "defect")


HANDLERS: dict[Any, Any] = {
    InputError: _input_error,
    Busy: _busy,
    Slow: _slow,
    HTTPException: _http_error,
    Exception: _defect,
}
