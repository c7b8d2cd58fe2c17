"""Pictures of the home page, cut out of docs/pictures/demo.png, which `make demo` drew of a photograph in the public domain."""

from __future__ import annotations

from pathlib import Path

_PANELS = {"before": 0, "after": 1}  # of four that stand side by side


def write(folder: Path) -> None:
    """Write before.png and after.png.

    Args:
        folder: that of demo.png, in which they are written, too.
    """
    import numpy as np
    from PIL import Image

    sheet = Image.open(folder / "demo.png").convert("RGB")
    values = np.asarray(sheet)[: sheet.height // 2].astype(int)
    colored = (values.max(-1) - values.min(-1) > 12) | (values.max(-1) < 60)  # neither paper nor letters
    columns = _spans(colored.mean(0) > 0.5)
    rows = _spans(colored[:, columns[0][0] : columns[0][1]].mean(1) > 0.5)
    top, bottom = max(rows, key=lambda span: span[1] - span[0])
    for name, k in _PANELS.items():
        left, right = columns[k]
        sheet.crop((left, top, right, bottom)).resize((440, 440)).save(folder / f"{name}.png")


def _spans(flags: object) -> list[tuple[int, int]]:
    """Where a row of flags is true for more than 100 places: (from, to) each."""
    import numpy as np

    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(flags, dtype=int), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2) if b - a > 100]
