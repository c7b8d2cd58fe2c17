"""What this installation is and can do, as plain data that may be published: no path and no name of the user is in it.

Versions, devices (a short fit on each), extras with the command that installs them, folders, memory and threads.
"""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import re
import shutil
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from preimage.extras import EXTRAS, missing_of
from preimage.version import __version__

SECONDS = 2.0  # of the fit on a device
SIDE = 64  # pixels, of the picture that is fitted
LIBRARIES = ("torch", "numpy", "pillow", "tifffile", "opencv-python-headless", "psutil", "rich", "cyclopts")
THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "PYTORCH_ENABLE_MPS_FALLBACK")

Findings = dict[str, dict[str, str]]
"""{part: {name: what was found, in words}}."""


def examine(seconds: float = SECONDS) -> Findings:
    """All parts: versions, devices, computing, extras, folders.

    Example:
        >>> found = examine(seconds=0.1)
        >>> list(found), found["versions"]["preimage"] == __version__
        (['versions', 'devices', 'computing', 'extras', 'folders'], True)

    Args:
        seconds: of the fit on each device, above 0.
    """
    found = {
        "versions": versions(),
        "devices": {device: tried(device, seconds) for device in devices()},
        "computing": computing(),
        "extras": extras(),
        "folders": folders(),
    }
    return {part: {name: without_names(said) for name, said in lines.items()} for part, lines in found.items()}


def is_well(found: Findings) -> bool:
    """Whether a fit worked on every device that is there."""
    return not any(said.startswith("fails") for said in found["devices"].values())


def versions() -> dict[str, str]:
    """Of this package, Python, the system and the libraries that every installation has."""
    own = {"preimage": __version__, "Python": platform.python_version(), "system": platform.platform()}
    return own | {name: version_of(name) or "not installed" for name in LIBRARIES}


def devices() -> list[str]:
    """The devices of this machine by PyTorch's names, the CPU first."""
    import torch

    found = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    return [*found, "mps"] if torch.backends.mps.is_available() else found


def tried(device: str, seconds: float = SECONDS) -> str:
    """What a fit on a device came to, in words that begin with "works" or "fails".

    Example:
        >>> tried("cpu", 0.1).partition(",")[0]
        'works'
    """
    import torch

    try:
        rows = torch.linspace(0, 6, SIDE)
        clean = 0.5 + 0.4 * torch.sin(rows)[:, None] * torch.cos(rows)
        noise = torch.randn(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
        losses, begin = _losses((clean + 0.1 * noise).clamp(0, 1), device, seconds)
        spent = time.perf_counter() - begin
    except Exception as error:  # of whatever kind a driver raises
        return f"fails: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    first, last, count = losses[0], losses[-1], len(losses)
    if not math.isfinite(last) or (count > 5 and last >= first):
        return f"fails: the loss of a fit went from {first:.3g} to {last:.3g} in {count} steps"
    return f"works, {count} steps of a fit at {SIDE} x {SIDE} pixels in {spent:.1f} s ({_named(device)})"


def _losses(image: Any, device: str, seconds: float) -> tuple[list[float], float]:
    """Of the steps of a fit in so much time, and when the first was done: before it modules are read and kernels compiled."""
    from preimage.restore.denoise import denoise

    begin, losses = 0.0, []
    for step in denoise(image, sigma=0.1, stop="steps", restarts=1, device=device):
        losses.append(float(step.loss.mean()))  # waits for the device
        begin = begin or time.perf_counter()
        if time.perf_counter() - begin > seconds:
            break
    return losses, begin


def _named(device: str) -> str:
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


def computing() -> dict[str, str]:
    """What a fit takes unless it is told otherwise: device, precision, threads; and memory."""
    import psutil
    import torch

    from preimage.engine.devices import SMALLEST_BF16_PIXELS, choose_device, choose_precision, free_memory

    device = choose_device()
    precisions = [choose_precision("auto", device, pixels) for pixels in (1, SMALLEST_BF16_PIXELS)]
    small, large = (str(precision).removeprefix("torch.") for precision in precisions)
    side = round(SMALLEST_BF16_PIXELS**0.5)
    free, whole = free_memory(device), f"{psutil.virtual_memory().total / 1e9:.1f} GB in this machine"
    set_by = [f"{name}={os.environ[name]}" for name in THREAD_SETTINGS if name in os.environ]
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} processors"
    return {
        "device": str(device),
        "precision": large if small == large else f"{large}; {small} below {side} x {side} pixels",
        "threads": ", ".join([threads, *set_by]),
        "memory": whole if free is None else f"{free / 1e9:.1f} GB free on {device}, {whole}",
    }


def extras() -> dict[str, str]:
    """Of each extra its versions, or the command that installs it."""
    found = {}
    for name, extra in EXTRAS.items():
        missing = missing_of(name)
        there = [
            f"{title} {version_of(title) or ''}".strip() for title in extra.packages.values() if title not in missing
        ]
        command = f"without {', '.join(missing)}: pip install 'preimage[{name}]' ({extra.purpose})"
        found[name] = command if missing else ", ".join(there)
    return found


def folders() -> dict[str, str]:
    """Of the folders that are written to: whether they can be, and how much room they have; their names are left out."""
    places = {"current folder": Path.cwd, "temporary folder": lambda: Path(tempfile.gettempdir())}
    return {name: _writable(place) for name, place in places.items()}


def _writable(place: Any) -> str:
    try:
        folder = place()
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(b"0")
        return f"writable, {shutil.disk_usage(folder).free / 1e9:.1f} GB free"
    except OSError as error:
        return f"not writable: {error.strerror or type(error).__name__}"


def version_of(package: str) -> str | None:
    """The version of a package by its name at PyPI; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def without_names(text: str) -> str:
    """A text without paths and without the names of user and machine, so that it may be published.

    Example:
        >>> without_names("cannot read /home/jane/x-ray of smith.png: no file")
        'cannot read <path> of smith.png: no file'
        >>> without_names("kept: 3 of 4 steps, a/b, https://pypi.org")
        'kept: 3 of 4 steps, a/b, https://pypi.org'
    """
    named = {_tried(Path.home): "<home>", _tried(Path.cwd): "<folder>", tempfile.gettempdir(): "<temporary>"}
    for path, word in sorted(named.items(), key=lambda pair: -len(pair[0])):
        if len(path) > 1:
            text = text.replace(path, word)
    text = re.sub(
        r"(?<![\w/:<.])(?:[A-Za-z]:\\|\\\\|~?/)[^\s'\",;:()]+|<(?:home|folder|temporary)>[/\\][^\s'\",;:()]*",
        "<path>",
        text,
    )
    for name in (_user(), _tried(socket.gethostname)):
        if len(name) > 2:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "<name>", text, flags=re.IGNORECASE)
    return text


def _tried(ask: Any) -> str:
    try:
        return str(ask())
    except (OSError, RuntimeError, KeyError):  # there may be none
        return ""


def _user() -> str:
    import getpass

    return _tried(getpass.getuser)
