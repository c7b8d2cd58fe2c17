"""`preimage studio`: the server of the page, from its address to its end."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import webbrowser
from pathlib import Path
from typing import Any

from preimage.errors import InputError
from preimage.extras import require
from preimage.studio.settings import LOOPBACK, Settings, held, kept_token, prepared, usual_folder

_JOB_MEMORY = 0.8  # of the machine's, that all jobs together may take


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8421,
    password: str | None = None,
    workers: int = 1,
    folder: Path | None = None,
    root: Path | None = None,
    classifiers: tuple[str, ...] = (),
    names: tuple[str, ...] = (),
    browser: bool = True,
) -> int:
    """Serve the page until it is told to end; the exit code.

    Args:
        host, port: where it listens; port 0: a free one.
        password: of those who open the page from other machines.
        workers: jobs at a time.
        folder: of its files.
        root: the folder below which folder runs read and write.
        classifiers: "module:function" that jobs may import.
        names: further names by which this machine is reached.
        browser: whether the page is opened.

    Raises:
        InputError: a port that is taken, a folder that cannot be written to, another machine's address without a password.
    """
    require("studio", subject="the studio is a local web page")
    if host not in LOOPBACK and not password:
        raise InputError(
            f"--host {host} lets other machines in: give --password, and let a proxy in front do TLS", code="option"
        )
    if root is not None and not root.is_dir():
        raise InputError(f"--root {root} is no folder: give one that exists", code="not-found")
    if workers < 1:
        raise InputError(f"--workers must be at least 1, got {workers}", code="option")
    place = prepared((usual_folder() if folder is None else folder).expanduser().resolve())
    with held(place):
        listening = bound(host, port)
        settings = Settings(
            folder=place,
            token=kept_token(place),
            host=host,
            port=listening.getsockname()[1],
            password=password,
            root=None if root is None else root.resolve(),
            workers=workers,
            threads=max(1, (os.cpu_count() or 1) // workers),
            memory=memory_of_job(workers),
            classifiers=classifiers,
            names=tuple(name.lower() for name in names),
        )
        return _run(settings, listening, browser)


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        InputError: a port that is taken or may not be used, no such address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    if os.name != "nt":
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"port {port} of {host} cannot be used ({reason}): give --port N, or 0 for a free one", code="option"
        ) from error
    return listening


def memory_of_job(workers: int) -> int:
    """Bytes that the process of a job may take."""
    import psutil

    return int(_JOB_MEMORY * psutil.virtual_memory().total / workers)


def address_of(settings: Settings) -> str:
    """What is opened in a browser."""
    host = "localhost" if settings.host in ("0.0.0.0", "::") else settings.host
    host = f"[{host}]" if ":" in host else host
    key = "" if settings.password is not None else f"?token={settings.token}"
    return f"http://{host}:{settings.port}/{key}"


def _run(settings: Settings, listening: socket.socket, browser: bool) -> int:
    from preimage.studio.app import application
    from preimage.studio.connections import server_of

    server: Any = None

    def stop() -> None:
        server.should_exit = True

    app = application(settings, stop)
    server = server_of(app, settings, app.studio.hub.end)

    def announce() -> None:
        address = address_of(settings)
        print(address, flush=True)
        if settings.password is not None:
            print(
                "other machines reach it in the clear: TLS is the business of a proxy in front of it", file=sys.stderr
            )
        if browser:
            webbrowser.open(address)

    listening.listen(128)
    threading.Timer(0.0, announce).start()
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
    return 0
