"""What every request passes before anything else: whose it is, from which page, and what its answer forbids a browser.

A page of another site can make a browser send requests here, and a name server can call this machine by another name. So the Host
must be our own, a write and the event stream must come from our own page, and all but the door needs the cookie.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from preimage.studio.settings import Settings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; font-src 'self'; "
    "worker-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)
STREAM = "/api/events"
_READING = ("GET", "HEAD")
_LONGEST_PATH = 2048
MOST_HEADERS = 16_384  # bytes
_MOST_JSON = 2**20  # bytes of what is no upload
_UPLOADS = ("/api/files", "/api/masks")
_FOR_A_WRONG_PASSWORD = 1.0  # seconds


class Guard:
    """The ASGI application behind it is reached by requests of the user's own page alone.

    Args:
        app: the application.
        settings: host, port, token and password.
    """

    def __init__(self, app: App, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self._one_password_at_a_time = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        patient = Patient(receive, self.settings.limits.wait)
        guarded = _with_headers(send, api=scope["path"].startswith("/api/"))
        try:
            if await self._may_pass(scope, patient, guarded):
                await self.app(scope, patient, guarded)
        except Slow:
            await _answer(guarded, 408, "the request came too slowly", "slow")

    async def _may_pass(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Whether a request goes on to the application; else it is answered here."""
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEADERS:
            await _answer(send, 431, f"headers of more than {MOST_HEADERS} bytes", "size")
            return False
        headers = _headers_of(scope)
        hosts = headers.get("host", [])
        if len(hosts) != 1 or not self.is_own_host(hosts[0]):
            await _answer(send, 403, "this address is not the studio's own: open the one that was printed", "host")
            return False
        path, method = scope["path"], scope["method"]
        if len(path) > _LONGEST_PATH or any(ord(letter) < 32 for letter in path):
            await _answer(send, 400, "no such address", "path")
            return False
        writes = method not in _READING
        if (writes or path == STREAM or path.startswith("/api/")) and not self._is_from_own_page(headers, writes):
            await _answer(send, 403, "a page of another site may not do this", "origin")
            return False
        if path in ("/", "/login"):
            return await self._at_the_door(scope, headers, receive, send)
        if not self.has_cookie(headers):
            await _answer(send, 401, "open the address that `preimage studio` printed", "token")
            return False
        if writes and headers.get("x-preimage") != ["1"]:
            await _answer(send, 403, "a write needs the header X-Preimage: 1", "origin")
            return False
        if writes and path not in _UPLOADS and _length(headers) > _MOST_JSON:
            await _answer(send, 413, f"more than {_MOST_JSON} bytes", "size")
            return False
        return True

    def is_own_host(self, host: str) -> bool:
        """Whether a Host header names this studio, and not something that was made to lead here."""
        name, port = _split(host)
        if port != self.settings.port and not (port is None and self.settings.port == 80):
            return self._is_proxied(host)
        if name in ("localhost", "127.0.0.1", "::1", self.settings.host, *self.settings.names):
            return True
        if self.settings.is_local:
            return False
        try:
            ipaddress.ip_address(name)
            return True  # no name server has a part in a number
        except ValueError:
            return name in (socket.gethostname().lower(), socket.getfqdn().lower())

    def _is_proxied(self, host: str) -> bool:
        """A proxy in front has a port of its own."""
        return _split(host)[0] in self.settings.names

    def _is_from_own_page(self, headers: dict[str, list[str]], writes: bool) -> bool:
        sites = headers.get("sec-fetch-site", [])
        if any(site not in (("same-origin",) if writes else ("same-origin", "none")) for site in sites):
            return False
        host = headers["host"][0].lower()
        return all(origin.lower() in (f"http://{host}", f"https://{host}") for origin in headers.get("origin", []))

    def has_cookie(self, headers: dict[str, list[str]]) -> bool:
        """Whether a request has the token in its cookie."""
        for text in headers.get("cookie", []):
            try:
                found = SimpleCookie(text).get(self.settings.cookie)
            except CookieError:
                continue
            if found is not None and _same(found.value, self.settings.token):
                return True
        return False

    async def _at_the_door(self, scope: Scope, headers: dict[str, list[str]], receive: Receive, send: Send) -> bool:
        """`/` with the token in its address becomes `/` with a cookie; a password is asked for where there is one."""
        if scope["path"] == "/login":
            await self._log_in(scope, headers, receive, send)
            return False
        if scope["method"] not in _READING:
            await _answer(send, 405, "nothing is written here", "method")
            return False
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        if given and self.settings.password is None:
            if len(given) == 1 and _same(given[0], self.settings.token):
                await _redirect(send, self._cookie())
            else:
                await _page(send, 403, _OTHER_TOKEN)
            return False
        if self.has_cookie(headers):
            return True
        await _page(send, 401, _NO_TOKEN if self.settings.password is None else _PASSWORD)
        return False

    async def _log_in(self, scope: Scope, headers: dict[str, list[str]], receive: Receive, send: Send) -> None:
        if self.settings.password is None or scope["method"] != "POST" or _length(headers) > 4096:
            await _answer(send, 404, "no such page", "path")
            return
        body, more = b"", True
        while more and len(body) <= 4096:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        given = parse_qs(body[:4096].decode("utf-8", "replace")).get("password", [""])[0]
        async with self._one_password_at_a_time:
            if _same(given, self.settings.password):
                await _redirect(send, self._cookie(secure=headers.get("x-forwarded-proto") == ["https"]))
                return
            await asyncio.sleep(_FOR_A_WRONG_PASSWORD)
        await _page(send, 403, _PASSWORD)

    def _cookie(self, *, secure: bool = False) -> bytes:
        ways = "; Secure" if secure else ""
        return f"{self.settings.cookie}={self.settings.token}; Path=/; HttpOnly; SameSite=Strict{ways}".encode()


class Slow(Exception):
    """The next bytes of a request did not come in time."""


class Patient:
    """The messages of a request, each within so many seconds until its body is whole."""

    def __init__(self, receive: Receive, seconds: float) -> None:
        self._receive = receive
        self._seconds = seconds
        self._is_whole = False

    async def __call__(self) -> Message:
        if self._is_whole:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), self._seconds)
        except TimeoutError as error:
            raise Slow from error
        self._is_whole = not message.get("more_body", False)
        return message


def _headers_of(scope: Scope) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def _split(host: str) -> tuple[str, int | None]:
    """A Host header as name and port."""
    host = host.strip().lower()
    name, colon, port = host.rpartition(":")
    if not colon or (host.startswith("[") and host.endswith("]")):
        return host.strip("[]"), None
    return name.removeprefix("[").removesuffix("]"), int(port) if port.isascii() and port.isdigit() else -1


def _length(headers: dict[str, list[str]]) -> int:
    text = headers.get("content-length", ["0"])[0]
    return int(text) if text.isascii() and text.isdigit() else 0


def _same(given: str, own: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), own.encode())


def _with_headers(send: Send, *, api: bool) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = {name for name, _ in HEADERS}
            kept = [pair for pair in message.get("headers", []) if pair[0].lower() not in own]
            named = {name.lower() for name, _ in kept}
            more = [(b"cache-control", b"no-store")] if api and b"cache-control" not in named else []
            message = {**message, "headers": [*kept, *HEADERS, *more]}
        await send(message)

    return sent


async def _answer(send: Send, status: int, line: str, code: str) -> None:
    body = f'{{"error": "{line}", "code": "{code}"}}'.encode()
    await _send(send, status, body, b"application/json")


async def _page(send: Send, status: int, text: str) -> None:
    await _send(send, status, text.encode(), b"text/html; charset=utf-8")


async def _send(send: Send, status: int, body: bytes, kind: bytes) -> None:
    # What is still to come of a request that was refused is not read.
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _redirect(send: Send, cookie: bytes) -> None:
    headers = [(b"location", b"/"), (b"set-cookie", cookie), (b"content-length", b"0"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


_HEAD = '<!doctype html><html lang="en"><meta charset="utf-8"><title>preimage studio</title>'
_NO_TOKEN = (
    f"{_HEAD}<p>Open the address that <code>preimage studio</code> printed: it holds the key to this page.</p></html>"
)
_OTHER_TOKEN = (
    f"{_HEAD}<p>This key is of another studio: open the address that <code>preimage studio</code> printed.</p></html>"
)
_PASSWORD = (
    f'{_HEAD}<form method="post" action="/login"><label>Password <input type="password" name="password" required '
    'autocomplete="current-password"></label> <button>Open the studio</button></form></html>'
)
