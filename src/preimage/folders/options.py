"""What a command over many pictures can be asked for, beside the options of its task."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from preimage.errors import InputError
from preimage.tasks import TaskOptions, TaskSpec, option

GROUP: Any = "Folder"


@dataclass(frozen=True, kw_only=True)
class FolderOptions(TaskOptions):
    """Options of a command whose input is a folder or a list; each of them also makes a list of the files that are named."""

    recursive: bool = option(
        False, help="Folders within folders as well, but not links to folders; their structure is kept.", group=GROUP
    )
    listed: str | None = option(
        None,
        help="File with a path on each line, or a table (.csv, .tsv) with a column of them; -: standard input.",
        group=GROUP,
        flags=("--from",),
        metavar="FILE",
    )
    workers: int | Literal["auto"] | None = option(
        None,
        help="Processes, or auto: one for every two cores, or for each of --gpus (default: 1).",
        group=GROUP,
        minimum=1,
    )
    gpus: str | None = option(None, help="Numbers of the GPUs, as 0,1: one worker on each.", group=GROUP)
    ray: str | None = option(
        None,
        help="Work on a cluster of Ray: auto, the one of this machine or of RAY_ADDRESS, or HOST:PORT. "
        "All its machines must know the paths.",
        group=GROUP,
        metavar="ADDRESS",
    )
    gpu_share: float | None = option(
        None,
        help="Of a GPU of the cluster, what one image takes: 0.25 puts four on each "
        "(default: 1 where there are GPUs, else 0).",
        group=GROUP,
        minimum=0,
    )
    shard: str | None = option(
        None, help="K/N: the K-th of N shares, by name, for as many machines (a Slurm array, say).", group=GROUP
    )
    retry_failed: bool = option(False, help="Try again what failed.", group=GROUP)
    dry_run: bool = option(
        False, help="Print what would be done and skipped, how long it takes, and the memory; do nothing.", group=GROUP
    )
    watch: bool = option(False, help="Go on with images that appear, until Ctrl-C.", group=GROUP)
    target_column: str | None = option(
        None, help="Column of the table of --from with the target class of each image.", group=GROUP
    )
    table: Path | None = option(
        None,
        help="CSV of the numbers of all images (default: OUTPUT/results.csv, but for restorations).",
        group=GROUP,
        kind="file",
        metavar="FILE",
    )

    def shares(self) -> tuple[int, int] | None:
        """--shard as (K, N).

        Raises:
            InputError: anything but K/N.
        """
        if self.shard is None:
            return None
        number, slash, of = self.shard.partition("/")
        if not (slash and number.strip().isdecimal() and of.strip().isdecimal()):
            raise InputError(f"--shard must be K/N with K from 1 to N, got {self.shard!r}", code="option")
        return int(number), int(of)

    def gpu_numbers(self) -> tuple[str, ...]:
        """--gpus, each by itself.

        Raises:
            InputError: a name that is no number.
        """
        if self.gpus is None:
            return ()
        found = tuple(each.strip() for each in self.gpus.split(","))
        if not all(each.isdecimal() for each in found):
            raise InputError(f"--gpus must be numbers with commas between, as 0,1, got {self.gpus!r}", code="option")
        return found

    def is_any(self) -> bool:
        """Whether anything was asked for."""
        return any(getattr(self, each.name) != each.default for each in fields(self))


def takes_folders(task: TaskSpec[..., Any]) -> bool:
    """Whether a task can be asked for of many pictures."""
    return task.inputs in ("images", "image")
