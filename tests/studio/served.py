"""A studio that is served to a test, and a page that talks to it as a browser does."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from preimage.studio.app import StudioApp, application
from preimage.studio.command import bound
from preimage.studio.connections import server_of
from preimage.studio.settings import Limits, Settings, prepared

TOKEN = "a-token-that-only-the-tests-know-0123456789"
ENDED = ("done", "cancelled", "failed")


class Answer:
    """Status, headers and body."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return self.json["error"]


class Page:
    """A page of the studio, with its cookie."""

    def __init__(self, port: int, token: str | None = TOKEN) -> None:
        self.port = port
        self.host = f"127.0.0.1:{port}"
        self.cookie = None if token is None else f"preimage-studio-{port}={token}"

    def send(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """A request; a header of an empty value is left out."""
        own = {"Host": self.host, **({"Cookie": self.cookie} if self.cookie else {})}
        if method not in ("GET", "HEAD"):
            own |= {"X-Preimage": "1", "Origin": f"http://{self.host}", "Sec-Fetch-Site": "same-origin"}
        own = {name: value for name, value in (own | (headers or {})).items() if value}
        data = json.dumps(body).encode() if isinstance(body, dict | list) else body
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in own.items():
                connection.putheader(name, value)
            if data is not None and "Transfer-Encoding" not in own and "Content-Length" not in own:
                connection.putheader("Content-Length", str(len(data)))
            with contextlib.suppress(BrokenPipeError):  # the server has answered before it was told all
                connection.endheaders(data)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, headers=headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.send("POST", path, body if body is not None else b"", headers)

    def delete(self, path: str) -> Answer:
        return self.send("DELETE", path)

    def upload(self, data: bytes, name: str = "photo.png") -> dict[str, Any]:
        answer = self.send("POST", "/api/files", data, {"X-Name": quote(name, safe="")})
        assert answer.status == 201, answer.body
        return answer.json

    def facts(self, file: str) -> dict[str, Any]:
        """The file, once it is known what it is."""
        return self.until(f"/api/files/{file}", lambda found: found["facts"] is not None or found["error"] is not None)

    def job(self, task: str, file: str | None, **more: Any) -> dict[str, Any]:
        answer = self.post("/api/jobs", {"task": task, "file": file, **more})
        assert answer.status == 201, answer.body
        return answer.json

    def ended(self, job: str) -> dict[str, Any]:
        return self.until(f"/api/jobs/{job}", lambda found: found["state"] in ENDED)

    def until(self, path: str, holds: Any, seconds: float = 420.0) -> Any:
        """What is at a path once something holds."""
        deadline = time.monotonic() + seconds
        while not holds(found := self.get(path).json):
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        return found


@contextmanager
def served(folder: Path, limits: Limits | None = None, **settings: Any) -> Iterator[tuple[Page, StudioApp]]:
    """A studio on a free port, from its start to its end."""
    listening = bound("127.0.0.1", 0)
    listening.listen(128)
    port = listening.getsockname()[1]
    own = Settings(prepared(folder), TOKEN, port=port, threads=1, limits=limits or Limits())
    app = application(replace(own, **settings))
    server = server_of(app, app.settings, app.studio.hub.end)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    page = Page(port)
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    try:
        yield page, app
    finally:
        server.should_exit = True
        thread.join(40)
        assert not thread.is_alive()
