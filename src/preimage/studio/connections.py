"""Connections that may not stay for nothing: the head of a request comes within some seconds, or the connection is closed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from preimage.studio.guard import MOST_HEADERS
from preimage.studio.settings import Settings

MOST_CONNECTIONS = 400


class PatientProtocol(H11Protocol):
    """HTTP/1.1 whose connections are closed if they do not say within `wait` seconds what they want."""

    wait: float = 10.0
    most: int = MOST_CONNECTIONS

    def connection_made(self, transport: Any) -> None:
        self._waiting: asyncio.TimerHandle | None = None
        if len(self.connections) >= self.most:
            transport.abort()
            return
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        if self.transport is None:
            return
        super().data_received(data)
        if self._is_at_work:
            self._stop_waiting()
        elif self._waiting is None:  # the next request of a connection, in part
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if self.transport is not None:
            super().connection_lost(exc)

    @property
    def _is_at_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(self.wait, self._give_up)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self._waiting = None
        if not self._is_at_work and not self.transport.is_closing():
            self.transport.abort()


class StudioServer(uvicorn.Server):
    """A server that a signal ends in order, with exit code 0; open event streams are told first.

    Args:
        config: of uvicorn.
        ending: is called when it begins to end.
    """

    def __init__(self, config: uvicorn.Config, ending: Callable[[], object]) -> None:
        super().__init__(config)
        self._ending = ending

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def shutdown(self, sockets: Any = None) -> None:
        self._ending()
        await super().shutdown(sockets=sockets)


def server_of(app: Any, settings: Settings, ending: Callable[[], object] = lambda: None) -> StudioServer:
    """The server of an application; `ending` is called when it begins to end."""
    protocol = type("Protocol", (PatientProtocol,), {"wait": settings.limits.wait})
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=protocol,
        ws="none",
        lifespan="on",
        log_level="error",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=int(settings.limits.wait),
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=MOST_HEADERS,
        backlog=128,
    )
    return StudioServer(config, ending)
