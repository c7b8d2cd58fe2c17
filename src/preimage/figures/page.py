"""An explanation as one self-contained HTML page: images, numbers, settings, limits; nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import io
import json
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch

from preimage.errors import InputError
from preimage.extras import extra
from preimage.figures.explanation import curves_figure, is_heat_map
from preimage.figures.restoration import displayed, png_of
from preimage.images import write_bytes_atomically
from preimage.version import __version__

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; }
figure img { width: 18rem; max-width: 100%; image-rendering: auto; border: 1px solid #ccc; }
figcaption { font-size: .85rem; color: #444; max-width: 18rem; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .15rem 1rem .15rem 0; vertical-align: top; }
td.number { font-variant-numeric: tabular-nums; } .whole { max-width: 100%; }
@media (prefers-color-scheme: dark) { body { background: #181818; color: #ddd; } figcaption { color: #aaa; } }
"""


def explanation_page(explanation: Any, *, title: str | None = None, settings: dict[str, Any] | None = None) -> str:
    """The page of an Explanation as text.

    Its title is by default the task and the name of the input; `settings` are shown with those of the fit.

    Example:
        >>> page = explanation_page(counterfactual("a.png", classifier="model.pt").run())  # doctest: +SKIP
        >>> Path("a.html").write_text(page)  # doctest: +SKIP
    """
    name = str(explanation.picture.path or "") if explanation.picture is not None else ""
    heading = escape(title or (f"{explanation.task} of {name}" if name else explanation.task))
    pictures = "\n".join(
        f'<figure><img alt="{escape(caption)}" src="{_embedded(_panel_png(caption, panel))}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for caption, panel in explanation.panels.items()
    )
    limits = "".join(f"<li>{escape(line)}</li>" for line in explanation.limits)
    remarks = "".join(f"<p>{escape(line)}</p>" for line in (*explanation.remarks, explanation.reason))
    used = {"input": name} if name else {}
    used |= {name: getattr(explanation, name) for name in ("steps", "seconds", "seed", "device", "precision")}
    used |= {"seconds": round(explanation.seconds, 1), "recipe": explanation.recipe.describe(), "preimage": __version__}
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{heading}</title><style>{_STYLE}</style></head><body>
<h1>{heading}</h1>
{remarks}
<div class="pictures">{pictures}</div>
<h2>Numbers</h2>{_table(explanation.numbers)}
<h2>Loss and curves</h2><img class="whole" alt="loss and curves" src="{_embedded(png_of(curves_figure(explanation)))}">
<h2>Limits</h2><ul>{limits}</ul>
<h2>Settings</h2>{_table(used | (settings or {}))}
</body></html>
"""


def save_page(
    explanation: Any,
    path: str | Path,
    *,
    title: str | None = None,
    settings: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the page, whole or not at all.

    Raises:
        InputError: a name that is not .html, or a file that is there already.
    """
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{path}: a page is written as HTML: name it .html", code="format")
    page = explanation_page(explanation, title=title, settings=settings)
    return write_bytes_atomically(path, page.encode(), overwrite=overwrite)


def _table(values: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><th>{escape(name.replace('_', ' '))}</th><td class='number'>{_shown(value)}</td></tr>"
        for name, value in values.items()
    )
    return f"<table>{rows}</table>"


def _shown(value: Any) -> str:
    if isinstance(value, dict) and all(isinstance(each, float | int) for each in value.values()):
        parts = sorted(value.items(), key=lambda pair: -pair[1])[:6]
        return ", ".join(f"{escape(str(name))} {_shown(each)}" for name, each in parts)
    if isinstance(value, dict) and value and all(isinstance(each, dict) for each in value.values()):
        return "<br>".join(f"{escape(str(name))}: {_shown(each)}" for name, each in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict | list | tuple):
        return f"<code>{escape(json.dumps(value, default=str))}</code>"
    return escape(str(value))


def _panel_png(title: str, panel: torch.Tensor) -> bytes:
    with extra("figures"):
        from matplotlib import colormaps
    from PIL import Image

    shown = colormaps["inferno"](panel[0].numpy())[..., :3] if is_heat_map(title, panel) else displayed(panel)
    buffer = io.BytesIO()
    Image.fromarray((np.asarray(shown) * 255).round().astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _embedded(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
