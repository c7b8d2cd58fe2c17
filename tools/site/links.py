"""Every link of a built site: one within it must lead to a file, and to an id in it; the others are listed, not fetched."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The ids of a page, what it links to, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.loaded: list[str] = []
        self.targets: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids |= {value for name in ("id", "name") if (value := given.get(name))}
        place = {"a": "href", "link": "href", "img": "src", "script": "src", "source": "src"}.get(tag)
        if place and (target := given.get(place)):
            self.targets.append(target)
            if tag in ("img", "script", "source") or (tag == "link" and given.get("rel") == "stylesheet"):
                self.loaded.append(target)


@dataclass
class Links:
    """What was found: numbers of pages and of links within, a line for each broken one, and the links out."""

    pages: int = 0
    internal: int = 0
    broken: list[str] = field(default_factory=list)
    external: list[str] = field(default_factory=list)


def check(site: Path) -> Links:
    """Follow every link of every page of a site that lies in a folder.

    Args:
        site: the folder of the built site, in which index.html lies.
    """
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    found, external = Links(pages=len(pages)), set()
    for path, page in pages.items():
        if path.name == "404.html":  # its links are those of the site's root, wherever it is shown
            continue
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme == "data":
                continue
            if parts.scheme or parts.netloc:
                external.add(target)
                if target in page.loaded:
                    found.broken.append(f"{path.relative_to(site)}: {target}: loaded from elsewhere")
                continue
            found.internal += 1
            if reason := _broken(site, pages, path, unquote(parts.path), unquote(parts.fragment)):
                found.broken.append(f"{path.relative_to(site)}: {target}: {reason}")
    found.external = sorted(external)
    return found


def _broken(site: Path, pages: dict[Path, Page], page: Path, target: str, fragment: str) -> str:
    """Why a link leads nowhere; empty if it does not."""
    place = page if not target else (page.parent / target).resolve()
    if place.is_dir():
        place /= "index.html"
    if not place.is_relative_to(site.resolve()) or not place.exists():
        return "no such file"
    if fragment and place in pages and fragment not in pages[place].ids | {"__top"}:
        return "no such anchor"
    return ""
