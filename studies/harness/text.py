"""The prose of studies: Markdown in text/NAME.md, with {placeholders}, and results.md, which is made of their sections."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEXTS = Path(__file__).parents[1] / "text"


def fill(name: str, scale: str, values: Mapping[str, Any]) -> str:
    """A template with its values: the lines of a paragraph joined, those of other scales left out, and empty paragraphs.

    A line that begins with "@small " is one of scale small alone; "@small,paper " of both.
    """
    paragraphs = []
    for paragraph in re.split(r"\n{2,}", (TEXTS / f"{name}.md").read_text(encoding="utf-8").strip()):
        lines = (_of_scale(line, scale) for line in paragraph.splitlines())
        paragraphs.append(" ".join(filter(None, lines)).format_map(values).strip())
    return "\n\n".join(filter(None, paragraphs))


def with_section(text: str, name: str, section: str) -> str:
    """results.md with a study's section in the place of its former one, or at the end."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    marked = f"{begin}\n{section}\n{end}"
    text = text or (TEXTS / "heading.md").read_text(encoding="utf-8")
    if begin in text and end in text:
        before, rest = text.split(begin, 1)
        return before + marked + rest.split(end, 1)[1]
    return f"{text.rstrip()}\n\n{marked}\n"


def _of_scale(line: str, scale: str) -> str:
    scales, _, rest = line[1:].partition(" ") if line.startswith("@") else (scale, "", line)
    return rest.strip() if scale in scales.split(",") else ""
