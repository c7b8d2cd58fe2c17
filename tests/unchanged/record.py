"""Record the tables of the guard rail.

    python -m tests.unchanged.record                      # those of the first commit anew, for another processor
    python -m tests.unchanged.record --rows denoise/fast  # some rows from the working tree, to be committed

The first is computed in a git worktree of the commit that added these tables, and goes into a folder that git ignores
(out/unchanged; or --folder, which the tests are told by PREIMAGE_UNCHANGED). With it the tests compare bits on this processor as
well.

The tables are never re-recorded as a whole. A row changes only in the commit that changes it on purpose and says so; rows whose
sums were merely reordered change in a commit of their own, with the largest difference after one step (under 1e-5) in its
message. `--rows` prints that difference. It also adds the rows of a new task.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.unchanged import tables


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.unchanged.record", description="Record the tables.")
    parser.add_argument(
        "--folder", type=Path, default=tables.ROOT / tables.LOCAL, help="where to write the first tables"
    )
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="rows to record anew: a key, or what it begins with")
    options = parser.parse_args()
    return of_rows(options.rows) if options.rows else of_first_commit(options.folder)


def of_first_commit(folder: Path) -> int:
    """The tables of the commit that added them, by its own calls, with the rows as they were committed beside them."""
    found = _git("log", "--diff-filter=A", "--format=%H", "--", "tests/unchanged/first.md").split()
    if not found:
        print("no commit has added tests/unchanged/first.md: fetch the whole history")
        return 2
    with tempfile.TemporaryDirectory() as temporary:
        worktree = Path(temporary) / "first"
        _git("worktree", "add", "--detach", str(worktree), found[-1])
        try:
            shutil.rmtree(folder, ignore_errors=True)
            (folder / "first").mkdir(parents=True)
            for name in tables.NAMES:
                print(f"{name}, as of {found[-1][:12]}", flush=True)
                tables.compute([name], folder, root=worktree)
                for path in (worktree / "tests" / "unchanged").glob(f"{name}.*"):
                    shutil.copy(path, folder / "first")
        finally:
            _git("worktree", "remove", "--force", str(worktree))
    print(f"written to {folder}")
    return 0


def of_rows(rows: list[str]) -> int:
    """Some rows from the working tree, into the committed tables."""
    count = 0
    for name in tables.NAMES:
        with tempfile.TemporaryDirectory() as temporary:
            tables.compute([name], Path(temporary), rows)
            found, before = tables.read(Path(temporary), name), tables.read(tables.HERE, name)
        count += len(found)
        for key, row in found.items():
            said = "new"
            if key in before:
                said = "as before" if tables.same(row, before[key]) else "changed"
                if said == "changed" and "first" in row and row["first"].shape == before[key]["first"].shape:
                    said += f", after one step by {tables.after_one_step(row, before[key]):.2g} at most"
            print(f"{name}: {key}: {said}")
        if found:
            tables.write(tables.HERE, name, {k: _plain(row) for k, row in found.items()}, _machine(found))
    if not count:
        print(f"no row is called {', '.join(rows)}")
    return 0 if count else 2


def _plain(row: tables.Table) -> tables.Table:
    return {key: value for key, value in row.items() if key != "hardware"}


def _machine(found: tables.Table) -> tables.Table:
    return next(iter(found.values()))["hardware"]


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=tables.ROOT, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    raise SystemExit(main())
