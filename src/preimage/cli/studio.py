"""`preimage studio`: the local web page. What it does is in preimage.studio, which is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def studio(
    *,
    port: Annotated[int, Parameter(help="Port, 1 to 65535; 0: a free one.")] = 8421,
    browser: Annotated[bool, Parameter(negative="--no-browser", help="Open the page in the browser.")] = True,
    workers: Annotated[int, Parameter(help="Jobs that run at a time.")] = 1,
    folder: Annotated[
        Path | None, Parameter(help="Folder of uploads and jobs (default: that of the user's state).")
    ] = None,
    root: Annotated[Path | None, Parameter(help="Folder below which folder runs may read and write.")] = None,
    classifier: Annotated[
        tuple[str, ...],
        Parameter(name=("--classifier", "--predictor"), help="module:function of a classifier that jobs may import."),
    ] = (),
    host: Annotated[
        str, Parameter(help="Address to listen at; any but this machine's own demands --password.")
    ] = "127.0.0.1",
    password: Annotated[str | None, Parameter(help="Password that the page asks for.")] = None,
    name: Annotated[tuple[str, ...], Parameter(help="Further name of this machine, as a proxy has it.")] = (),
) -> int:
    """Open the local web page: a picture, a brush and a live fit in the browser."""
    from preimage.studio.command import serve

    return serve(
        host=host,
        port=port,
        password=password,
        workers=workers,
        folder=folder,
        root=root,
        classifiers=classifier,
        names=name,
        browser=browser,
    )
