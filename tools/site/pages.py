"""All pages of the site in one folder: those that people wrote, with their links turned, beside those that are generated."""

from __future__ import annotations

import re
import shutil
from os.path import normpath, relpath
from pathlib import Path, PurePosixPath

from tools.site import examples, pictures, reference, results
from tools.site.layout import ROOT, repository

DOCS = ROOT / "docs"
# Pages that lie outside docs, by where they stand in the site.
BESIDE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "CODE_OF_CONDUCT.md": "code_of_conduct.md",
    "SECURITY.md": "security.md",
}
_SHELL = r"(?:preimage|make|python|pip|pipx|uv|git|find|ray|nvidia\S*|i=0|#SBATCH|source|\.venv/\S*) ?"


def generate(folder: Path) -> None:
    """Write all pages.

    Args:
        folder: where they are written; made anew.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("pictures", "assets"):
        shutil.copytree(DOCS / name, folder / name)
    pictures.write(folder / "pictures")
    for source, text in [*_written().items(), *examples.pages().items(), *results.pages(folder).items()]:
        place = place_of(source)
        _write(folder / place, site_text(text, source, place))
    for place, text in reference.pages().items():
        _write(folder / place, text)


def _written() -> dict[str, str]:
    """The text of each page that people wrote, by its path in the repository."""
    paths = [path for path in DOCS.rglob("*.md") if path != DOCS / "results.md"]
    paths += [ROOT / name for name in BESIDE if (ROOT / name).exists()]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in sorted(paths)}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def place_of(source: str) -> str:
    """Where a file of the repository stands in the site."""
    return BESIDE.get(source) or source.removeprefix("docs/")


def site_text(text: str, source: str, place: str) -> str:
    """A page as GitHub shows it, as the site needs it: its links, its lists and its command lines."""
    parts = re.split(r"^(```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)  # every second one is a fenced block
    for k in range(0, len(parts), 2):
        parts[k] = _fenced(_indented(parts[k]))
        parts[k] = re.sub(
            r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)", lambda match: _link(match, source, place), parts[k]
        )
    return "".join(parts)


def _link(match: re.Match[str], source: str, place: str) -> str:
    """A link of a page of the repository, as one of the site; to what is not in the site, of the repository, or its words."""
    image, words, target = match.groups()
    if words.removeprefix("docs/") == target.removeprefix("docs/") and (DOCS / target).exists():
        words = title_of(DOCS / target)
    if re.match(r"[a-z]+:|#", target):
        return match[0]
    path, _, anchor = target.partition("#")
    path = normpath(PurePosixPath(source).parent / path)
    if path == "docs/results.md":
        path, anchor = results.place_of_anchor(anchor)
    elif path in ("examples", "docs/examples"):
        path = "docs/examples/index.md"
    elif path.startswith("examples/") and path.endswith(".py"):
        path = f"docs/{path.removesuffix('.py')}.md"
    if not (path.startswith("docs/") or path in BESIDE):
        address = repository()
        return f"{image}[{words}]({address}/blob/main/{path})" if address else words
    target = relpath(place_of(path), PurePosixPath(place).parent)
    return f"{image}[{words}]({target}{'#' + anchor if anchor else ''})"


def title_of(page: Path) -> str:
    """The first heading of a page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    return next(line[2:] for line in lines if line.startswith("# ")).replace("`", "")


def _fenced(text: str) -> str:
    """Indented blocks of command lines as fenced ones, which are colored and can be copied."""

    def fence(match: re.Match[str]) -> str:
        lines = "\n".join(line[4:] for line in match[1].rstrip("\n").split("\n"))
        return f"\n\n```bash\n{lines}\n```\n"

    return re.sub(rf"\n\n((?:    {_SHELL}.*\n)(?:    .*\n|\n(?=    ))*)", fence, text)


def _indented(text: str) -> str:
    """What belongs to an item of a list is indented by four spaces, and a list begins after an empty line."""
    lines: list[str] = []
    inside = 0  # spaces by which what belongs to an item is indented
    for line in text.split("\n"):
        item = re.match(r"(- |\d+\. )", line)
        if item:
            if not inside and lines and lines[-1].strip():
                lines.append("")
            inside = len(item[1])
        elif line.strip() and not line.startswith(" "):
            inside = 0
        elif inside and line.startswith(" " * inside):
            line = " " * (4 - inside) + line
        lines.append(line)
    return "\n".join(lines)
