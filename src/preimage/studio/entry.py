"""A job of the page as plain data: what its folder's state.json has, and what a page is told of it."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath
from typing import Any, Literal

State = Literal["waiting", "running", "paused", "done", "cancelled", "failed"]
ENDED = ("done", "cancelled", "failed")
_HIDDEN = ("names", "paths", "allow_code", "attempts", "saved_step", "is_restoration", "threads", "earlier_previews")


@dataclass
class Entry:
    """A job, as its folder's state.json has it.

    Args:
        number: in the order in which they were asked for.
        file: id of the upload; its link in the job's folder stays when that is removed.
        of: steps at most.
        why: why it stopped, or the state of its stopping rule.
        names: of the files that it writes, what they are called when they are downloaded.
        paths: paths in the job's folder, and what the user calls these files.
        attempts: how often it was begun since it last came further.
    """

    id: str
    number: int
    task: str
    file: str | None
    name: str
    state: State = "waiting"
    created: float = 0.0
    begun: float | None = None
    ended: float | None = None
    step: int = 0
    of: int = 0
    usual: int | None = None
    phase: str = ""
    seconds_left: float | None = None
    loss: float | None = None
    why: str | None = None
    error: str | None = None
    code: str | None = None
    command: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    report: dict[str, Any] | None = None
    lines: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    preview: int = 0
    preview_at: float | None = None
    rule: dict[str, Any] | None = None
    has: dict[str, bool] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    allow_code: bool = False
    attempts: int = 0
    saved_step: int = 0
    is_restoration: bool = False
    threads: int = 1
    earlier_previews: int = 0

    def shown(self) -> dict[str, Any]:
        """As JSON for the page."""
        return {name: value for name, value in asdict(self).items() if name not in _HIDDEN}

    def plain(self, value: Any) -> Any:
        """A text, or plain data, with the user's names in place of our paths."""
        text = json.dumps(value)
        for path, name in sorted(self.paths.items(), key=lambda pair: -len(pair[0])):
            text = text.replace(json.dumps(path)[1:-1], json.dumps(name)[1:-1])
        return json.loads(text)

    def hear(self, said: dict[str, Any]) -> None:
        """Take what its process says: where it is, a preview, remarks, that it has paused."""
        for name in ("step", "of", "usual", "seconds_left", "loss", "why", "phase", "rule"):
            if name in said:
                setattr(self, name, said[name])
        if said.get("preview"):  # numbers go on where those of the process before ended
            self.preview = self.earlier_previews + said["preview"]
            self.preview_at = said.get("preview_at", self.preview_at)
        if "remarks" in said:
            self.remarks = self.plain(said["remarks"])
        if said.get("paused"):
            self.state = "paused"

    def end(self, outcome: dict[str, Any], *, has_result: bool) -> None:
        """Take what has become of it; has_result: whether its picture is there as an array."""
        self.state, self.ended = outcome["state"], time.time()
        self.phase, self.seconds_left = "", None
        for name in ("report", "lines", "error", "code", "why", "warnings"):
            if outcome.get(name) is not None:
                setattr(self, name, self.plain(outcome[name]))
        self.outputs = [name for name in outcome.get("written", []) if "-" not in name]
        if "uncertainty" in self.outputs:
            self.names.setdefault("uncertainty", f"{stem_of(self.names.get('output', self.name))}-uncertainty.tif")
        is_compared = has_result and bool(outcome.get("same_size"))
        self.has = {
            "uncertainty": "uncertainty" in self.outputs,
            "film": "film" in self.outputs,
            "difference": is_compared,
            "blend": is_compared,
            "saliency": "array" in self.outputs,
        }


def stem_of(name: str) -> str:
    """The beginning of the names of what is written, as the command line makes it of sky.fits.gz as well."""
    path = PurePath(name)
    return PurePath(path.stem).stem if path.suffix.lower() in (".gz", ".fz") else path.stem


def outputs_of(job: str) -> list[Path]:
    """The files that a job writes, from its JSON."""
    return [Path(each) for each in json.loads(job)["outputs"].values()]


def is_asked(body: Any, name: str) -> bool:
    """Whether the page asked for an output by its name."""
    wanted = body.get("outputs")
    return isinstance(wanted, list) and name in wanted
