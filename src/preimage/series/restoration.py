"""How a restoration starts: the image is read, planned page by page, and becomes a Run. Importing this imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from preimage.tasks import Output

if TYPE_CHECKING:
    from preimage.engine.recipe import Recipe
    from preimage.engine.run import Run

IMAGE_OUTPUTS = (
    Output("output", "Image to write; its extension chooses the format.", default="{stem}-{task}{suffix}"),
    Output("figure", "PNG: input, result, difference, loss and stopping curve.", (".png",), extra="figures"),
    Output(
        "uncertainty",
        "TIFF: standard deviation over the restarts (2 or more), in units of the input.",
        (".tif", ".tiff"),
    ),
    Output("film", "GIF or WebP: the outputs over the steps.", (".gif", ".webp")),
)


def restoration(
    name: str,
    plan: Callable[..., Any],
    recipes: Callable[[], Mapping[str, Recipe]],
    *,
    fills_missing: bool = False,
    takes_mosaic: bool = False,
) -> Callable[[Any, Any], Run]:
    """The `start` of the restoration task of this name.

    Args:
        plan: `plan(picture, options, choice)` -> Plan, for an image of one page.
        recipes: the task's recipes by name.
        fills_missing: whether missing values of the input are what it fills in.
        takes_mosaic: whether of a raw file it takes the mosaic.
    """

    def start(image: Any, options: Any) -> Run:
        from preimage.series.plan import begin

        return begin(name, plan, recipes(), image, options, fills_missing=fills_missing, takes_mosaic=takes_mosaic)

    return start
