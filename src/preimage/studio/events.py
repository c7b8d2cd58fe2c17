"""The one stream of server-sent events of each open page: what has changed, the newest state of each thing alone.

A page that reads slowly is sent fewer states, and never makes the server keep more than one of each.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

AT_MOST_EVERY = 0.2  # seconds between two states of one thing
_SIGN_OF_LIFE = 15.0  # seconds without an event, after which a comment is sent
MOST_STREAMS = 64


class Hub:
    """The streams of all open pages."""

    def __init__(self) -> None:
        self._streams: set[Stream] = set()
        self.is_over: bool = False

    def tell(self, event: str, key: str, data: Any) -> None:
        """Tell every page."""
        for stream in self._streams:
            stream.add(event, key, data)

    def end(self) -> None:
        """Tell every page that the server ends."""
        self.is_over = True
        self.tell("bye", "", {})

    def opened(self) -> Stream | None:
        """A new stream; None if there are too many."""
        if len(self._streams) >= MOST_STREAMS:
            return None
        stream = Stream(self._streams)
        self._streams.add(stream)
        return stream


class Stream:
    """What one page has not been sent yet."""

    def __init__(self, streams: set[Stream]) -> None:
        self._streams = streams
        self._waiting: dict[tuple[str, str], Any] = {}
        self._sent: dict[tuple[str, str], float] = {}
        self._news = asyncio.Event()

    def add(self, event: str, key: str, data: Any) -> None:
        """A state of a thing, in place of an older one that was not sent."""
        self._waiting[event, key] = data
        self._news.set()

    def close(self) -> None:
        self._streams.discard(self)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            yield b"retry: 1000\n\n"
            while True:
                try:
                    await asyncio.wait_for(self._news.wait(), _SIGN_OF_LIFE)
                except TimeoutError:
                    yield b": here\n\n"
                    continue
                self._news.clear()
                now = time.monotonic()
                due = [key for key in self._waiting if now - self._sent.get(key, 0.0) >= AT_MOST_EVERY]
                for event, key in due:
                    data = self._waiting.pop((event, key))
                    self._sent[event, key] = now
                    yield f"event: {event}\ndata: {json.dumps(data)}\n\n".encode()
                    if event == "bye":
                        return
                if self._waiting:
                    later = min(self._sent[key] for key in self._waiting) + AT_MOST_EVERY - now
                    asyncio.get_running_loop().call_later(max(later, 0.01), self._news.set)
                if len(self._sent) > 1000:
                    self._sent = {key: at for key, at in self._sent.items() if now - at < AT_MOST_EVERY}
        finally:
            self.close()
