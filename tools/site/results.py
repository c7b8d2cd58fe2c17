"""A page for each study, of its section in docs/results.md and of the rows in docs/results."""

from __future__ import annotations

import ast
import csv
import re
import shutil
from functools import cache
from pathlib import Path

from tools.site.layout import ROOT

DOCS = ROOT / "docs"
_INTRO = """# Results

Every table of these pages is written by a study, `make study NAME=...`, from rows that it measured; nothing is edited by
hand. PSNR is in dB over all values of the image, clipped to its range. *Blind*: what a user gets, without any
knowledge of the clean image. *Peak*: the best that would have been returned at any step, which only the clean image can tell.

| study | what it measures |
|---|---|
"""


def pages(folder: Path) -> dict[str, str]:
    """The text of each page by its path, as if it lay in docs/results; the rows are copied beside them.

    Args:
        folder: that of all pages of the site.
    """
    (folder / "results").mkdir(parents=True, exist_ok=True)
    for path in (DOCS / "results").glob("*.csv"):
        shutil.copy(path, folder / "results" / path.name)
    found, listed = {}, []
    for name, text in sections().items():
        title = text.split("\n", 1)[0].removeprefix("## ")
        listed.append(f"| [{title}]({name}.md) | {_summary(name)} |")
        found[f"docs/results/{name}.md"] = f"{_raised(text)}\n\n{_repeat(name)}"
    held = {path.name for name in sections() for path in _rows(name)}
    others = [path for path in sorted((DOCS / "results").glob("*.csv")) if path.name not in held]
    listed.append("\n## Rows of benchmarks\n\nOther measurements that the pages of this site cite:\n")
    listed += [f"- {_described(path)}" for path in others]
    return {"docs/results/index.md": _INTRO + "\n".join(listed) + "\n", **found}


@cache
def sections() -> dict[str, str]:
    """The text of each study, all of its scales one after another, in the order of docs/results.md."""
    text = (DOCS / "results.md").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for title, section in re.findall(r"<!-- begin (\S+) -->\n(.*?)\n<!-- end \1 -->", text, re.DOTALL):
        name = title.split("-")[0]
        found[name] = f"{found[name]}\n\n{section}" if name in found else section
    return found


def place_of_anchor(anchor: str) -> tuple[str, str]:
    """Of a heading of docs/results.md the page of the site it stands on, as a path in docs, and its anchor there."""
    if not anchor:
        return "docs/results/index.md", ""
    for name, text in sections().items():
        titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        if anchor in map(slug, titles):
            return f"docs/results/{name}.md", "" if anchor == slug(titles[0]) else anchor
    return "docs/results/index.md", anchor


def slug(title: str) -> str:
    """The anchor of a heading."""
    return re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower())


def _raised(text: str) -> str:
    """A section as a page: its first heading is the title; those of its other scales stay below it."""
    first, _, rest = text.partition("\n")
    return f"{first[1:]}\n{rest}"


def _summary(name: str) -> str:
    text = (ROOT / "studies" / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0].replace("\n", " ").replace("|", "\\|")


def _rows(name: str) -> list[Path]:
    """The files of the rows of a study."""
    return sorted(path for path in (DOCS / "results").glob("*.csv") if re.split(r"[-.]", path.name)[0] == name)


def _repeat(name: str) -> str:
    lines = ["## Repeat it", "", f"    make study NAME={name}", ""]
    if rows := _rows(name):
        lines += ["Rows of the tables:", "", *(f"- {_described(path)}" for path in rows)]
    else:
        lines.append("There are no rows yet: it was not measured.")
    return "\n".join(lines) + "\n"


def _described(path: Path) -> str:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    columns = ", ".join(f"`{each}`" for each in rows[0]) if rows else "empty"
    return f"[{path.name}]({path.name}), {max(0, len(rows) - 1)} rows: {columns}"
