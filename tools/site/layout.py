"""The order of the pages, and the settings of Zensical."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
Nav = list[dict[str, Any]]

# Pages that are not there (yet) are left out; "*" stands for all generated pages of a folder, its index first.
NAVIGATION: Nav = [
    {"Home": "index.md"},
    {
        "Start": [
            {"Three minutes": "start.md"},
            {"Install": "install.md"},
            {"How to choose": "choose.md"},
            {"In the browser": "studio.md"},
        ]
    },
    {
        "How-to": [
            {"How-to": "how-to/index.md"},
            {"Restore an image": "restore.md"},
            {"Explain a classifier": "explain.md"},
            {"Check a prediction": "defend.md"},
            {"Many images": "scale.md"},
            {
                "For your work": [
                    {"Photographer": "how-to/photographer.md"},
                    {"Microscopist": "how-to/microscopist.md"},
                    {"Archivist": "how-to/archivist.md"},
                    {"ML engineer": "how-to/ml-engineer.md"},
                    {"Data scientist in a clinic": "how-to/clinic.md"},
                    {"Researcher": "how-to/researcher.md"},
                ]
            },
            {"Examples": "examples/*"},
        ]
    },
    {
        "Explanation": [
            {"The equation": "equation.md"},
            {"When a fit stops": "stopping.md"},
            {"Why it is fast": "speed.md"},
            {"What the papers claim": "claims.md"},
            {"What survives a failure": "reliability.md"},
        ]
    },
    {
        "Reference": [
            {"Reference": "reference/index.md"},
            {"Tasks": "reference/tasks/*"},
            {"Python": "reference/api/*"},
            {"Command line": "reference/command-line.md"},
            {"Recipes": "reference/recipes.md"},
            {"File formats": "files.md"},
            {"Error codes": "reference/errors.md"},
        ]
    },
    {"Results": "results/*"},
    {
        "Contributing": [
            {"How to contribute": "contributing.md"},
            {"Architecture": "architecture.md"},
            {"How this site is made": "site.md"},
            {"Words": "reading.md"},
            {"Code of conduct": "code_of_conduct.md"},
            {"Security": "security.md"},
        ]
    },
    {"Changelog": "changelog.md"},
]


def project() -> dict[str, Any]:
    """The table [project] of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def repository() -> str | None:
    """The address of the repository, from pyproject.toml; None while it has none."""
    urls = {name.lower(): url for name, url in project().get("urls", {}).items()}
    return next((urls[name].rstrip("/") for name in ("repository", "source", "source code") if name in urls), None)


def navigation(pages: Path, entries: Nav = NAVIGATION) -> Nav:
    """The entries whose pages are there, every "*" replaced by what it stands for."""
    kept: Nav = []
    for entry in entries:
        ((title, place),) = entry.items()
        if isinstance(place, list):
            inner = navigation(pages, place)
            kept += [{title: inner}] if inner else []
        elif place.endswith("/*"):
            kept.append(
                {title: [{_title(path): path.relative_to(pages).as_posix()} for path in _all_of(pages / place[:-2])]}
            )
        elif (pages / place).exists():
            kept.append(entry)
    return kept


def _all_of(folder: Path) -> list[Path]:
    """The pages of a folder in the order of the links of its index."""
    index = folder / "index.md"
    text = index.read_text(encoding="utf-8")
    return [
        index,
        *sorted((each for each in folder.glob("*.md") if each != index), key=lambda each: text.find(f"({each.name})")),
    ]


def _title(page: Path) -> str:
    """The first heading of a page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    title = next(line[2:] for line in lines if line.startswith("# "))
    return title.replace("`", "")


def settings(pages: Path, site: Path) -> dict[str, Any]:
    """The settings of Zensical, in the form of mkdocs.yml.

    Args:
        pages: the folder of all pages.
        site: where the site is written.
    """
    source, palette = repository(), "material/theme-light-dark"
    return {
        "site_name": "preimage",
        "site_description": project()["description"],
        "docs_dir": pages.name,  # both beside the file of these settings
        "site_dir": site.name,
        "strict": True,
        "use_directory_urls": False,  # so that it works from a folder, without a server
        **({"repo_url": source} if source else {}),
        "copyright": "Apache-2.0. Every photograph on this site is in the public domain.",
        "nav": navigation(pages),
        "extra": {"generator": False},
        "extra_css": ["assets/site.css"],
        "extra_javascript": ["assets/site.js"],
        "theme": {
            "variant": "classic",
            "font": False,  # nothing is loaded from elsewhere
            "language": "en",
            "features": [
                "navigation.tabs",
                "navigation.indexes",
                "navigation.top",
                "navigation.footer",
                "toc.follow",
                "search.highlight",
                "content.code.copy",
                "content.tabs.link",
            ],
            "icon": {"logo": "material/image-filter-center-focus"},
            "palette": [
                {
                    "media": "(prefers-color-scheme)",
                    "primary": "custom",
                    "accent": "custom",
                    "toggle": {"icon": palette, "name": "Light theme"},
                },
                {
                    "media": "(prefers-color-scheme: light)",
                    "scheme": "default",
                    "primary": "custom",
                    "accent": "custom",
                    "toggle": {"icon": "material/weather-sunny", "name": "Dark theme"},
                },
                {
                    "media": "(prefers-color-scheme: dark)",
                    "scheme": "slate",
                    "primary": "custom",
                    "accent": "custom",
                    "toggle": {"icon": "material/weather-night", "name": "Theme of the system"},
                },
            ],
        },
        "plugins": [
            "search",
            "offline",
            {
                "mkdocstrings": {
                    "handlers": {"python": {"paths": [str(ROOT / "src")], "inventories": [], "options": _DOCSTRINGS}},
                }
            },
        ],
        "markdown_extensions": [
            "abbr",
            "admonition",
            "attr_list",
            "md_in_html",
            "tables",
            {"toc": {"permalink": True, "toc_depth": 3}},
            "pymdownx.details",
            {"pymdownx.highlight": {"anchor_linenums": False, "guess_lang": False}},
            "pymdownx.inlinehilite",
            "pymdownx.superfences",
            {"pymdownx.tabbed": {"alternate_style": True}},
        ],
    }


_DOCSTRINGS = {
    "docstring_style": "google",
    "docstring_options": {"warn_unknown_params": False, "warn_missing_types": False},
    "docstring_section_style": "list",
    "extensions": [{str(Path(__file__).with_name("docstrings.py")): {}}],
    "heading_level": 2,
    "members_order": "source",
    "filters": ["!^_"],
    "merge_init_into_class": True,
    "separate_signature": True,
    "show_if_no_docstring": False,
    "show_root_heading": True,
    "show_root_full_path": False,
    "show_signature_annotations": True,
    "show_source": False,
    "show_symbol_type_heading": True,
    "show_symbol_type_toc": True,
    "signature_crossrefs": True,
    "line_length": 100,
}
