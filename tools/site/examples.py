"""A page for each script in examples: its docstring, and its code."""

from __future__ import annotations

import ast

from preimage.registry import TASKS
from tools.site.layout import ROOT

_INTRO = """# Examples

Short scripts, each complete: they draw or take what they need from scikit-image (photographs in the public domain), so that each
runs as it is, `python examples/denoise.py`. All of them run in the tests, at a small size.
"""
_NAMES = {
    "deepinv_physics": "deepinv: MRI",
    "flash_no_flash": "Flash and no flash",
    "inspect_images": "Inspect",
    "jupyter_progress": "Jupyter",
    "napari_widget": "napari",
    "own_classifier": "Your own classifier",
    "own_network": "Your own network",
    "own_operator": "Your own operator",
    "own_rule": "Your own stopping rule",
    "remove_jpeg_artifacts": "Remove JPEG artifacts",
    "scikit_image": "scikit-image",
}


def pages() -> dict[str, str]:
    """The text of each page by its path, as if it lay in docs/examples."""
    groups: dict[str, list[str]] = {"Tasks": [], "More": []}
    found: dict[str, str] = {}
    for path in sorted((ROOT / "examples").glob("*.py")):
        code = path.read_text(encoding="utf-8")
        told = ast.get_docstring(ast.parse(code)) or ""
        title, _, rest = told.partition("\n\n")
        heading = _NAMES.get(path.stem) or path.stem.replace("_", " ").capitalize()
        title = " ".join(title.split())
        body = code.split('"""', 2)[2].strip()
        usage = "\n\n".join(_part(part) for part in rest.split("\n\n"))
        parts = ("---\nhide:\n  - toc\n---", f"# {heading}", title, usage, f"```python\n{body}\n```\n")
        found[f"docs/examples/{path.stem}.md"] = "\n\n".join(parts)
        task = path.stem.removesuffix("_images").replace("_", "-")
        groups["Tasks" if task in TASKS else "More"].append(f"- [{heading}]({path.stem}.md): {title}")
    listed = "\n\n".join(f"## {group}\n\n" + "\n".join(lines) for group, lines in groups.items() if lines)
    return {"docs/examples/index.md": f"{_INTRO}\n{listed}\n", **found}


def _part(part: str) -> str:
    """A paragraph of a docstring; one of command lines is a block of code."""
    lines = [line.strip() for line in part.splitlines()]
    return "```bash\n" + "\n".join(lines) + "\n```" if part.strip().startswith(("python ", "pip ")) else part
