"""A page for each script in examples: its docstring, and its code."""

from __future__ import annotations

import ast

from tools.site.layout import ROOT

_INTRO = """# Examples

Short scripts, each complete: they draw or take what they need from scikit-image (photographs in the public domain), so that each
runs as it is, `python examples/denoise.py`. All of them run in the tests, at a small size.
"""


def pages() -> dict[str, str]:
    """The text of each page by its path, as if it lay in docs/examples."""
    groups: dict[str, list[str]] = {"Tasks": [], "More": []}
    found: dict[str, str] = {}
    for path in sorted((ROOT / "examples").glob("*.py")):
        code = path.read_text(encoding="utf-8")
        told = ast.get_docstring(ast.parse(code)) or ""
        title, _, rest = told.partition("\n\n")
        name = path.stem.replace("_", " ")
        heading = name[0].upper() + name[1:]
        title = " ".join(title.split())
        body = code.split('"""', 2)[2].strip()
        usage = "\n\n".join(_part(part) for part in rest.split("\n\n"))
        found[f"docs/examples/{path.stem}.md"] = f"# {heading}\n\n{title}\n\n{usage}\n\n```python\n{body}\n```\n"
        groups["Tasks" if path.stem.replace("_", "-") in _tasks() else "More"].append(
            f"- [{heading}]({path.stem}.md): {title}"
        )
    listed = "\n\n".join(f"## {group}\n\n" + "\n".join(lines) for group, lines in groups.items() if lines)
    return {"docs/examples/index.md": f"{_INTRO}\n{listed}\n", **found}


def _part(part: str) -> str:
    """A paragraph of a docstring; one of command lines is a block of code."""
    lines = [line.strip() for line in part.splitlines()]
    return "```bash\n" + "\n".join(lines) + "\n```" if part.strip().startswith(("python ", "pip ")) else part


def _tasks() -> set[str]:
    from preimage.registry import TASKS

    return set(TASKS)
