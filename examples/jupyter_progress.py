"""A progress display for notebooks: the current image, the step and what the stopping rule says; then the Result shows itself.

In a notebook:

    from jupyter_progress import shown
    shown(denoise("photo.png"))
"""

from __future__ import annotations

import base64
import html
import io
from typing import Any


def shown(run: Any, every: int = 10) -> Any:
    """Do a run, show every tenth step in one place of the notebook, and return its result.

    Args:
        run: of any restoration.
        every: steps between two that are shown.
    """
    from IPython.display import HTML, display  # pyright: ignore[reportMissingImports]

    place = display(HTML("..."), display_id=True)
    for step in run:
        if step.index % every == 0:
            place.update(HTML(page(step)))
    result = run.result()
    place.update(result)  # a Result has a form in HTML
    return result


def page(step: Any) -> str:
    """A step in HTML: the image that would be returned now, and a bar below it."""
    from PIL import Image

    values = (step.picture[0].clamp(0, 1) * 255).byte().movedim(0, -1).cpu().numpy()
    buffer = io.BytesIO()
    Image.fromarray(values[..., :3] if values.shape[-1] >= 3 else values[..., 0]).save(buffer, "PNG")
    picture = base64.b64encode(buffer.getvalue()).decode()
    bar = f'<progress value="{step.index}" max="{step.total}"></progress>'
    return f'<img src="data:image/png;base64,{picture}"><br>{bar} {step.index}: {html.escape(step.status)}'


def main(steps: int | None = None) -> None:
    from skimage import data

    from preimage import denoise

    shown(denoise(data.chelsea()[30:222, 130:322], sigma=10, steps=steps))


if __name__ == "__main__":
    main()
